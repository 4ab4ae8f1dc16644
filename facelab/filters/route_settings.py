"""What a route is: which filters stay, what they start from, what is trained, and how (ETL §3.5, low-cost §4).

A row in the cache is found again by these settings: a field more is another key for every route.
"""

from dataclasses import dataclass

from facelab import errors
from facelab.filters.heads import HEADS

FILTERS = ("all", "curves", "per layer", "random", "l1")
STARTS = ("pretrained", "baseline", "scratch")
TRAINED = ("all", "head", "nothing")
LEAST = 0.02


@dataclass(frozen=True)
class Route:
    """One way to a task.

    filters: which stay: "all"; "curves", ETL's: those with a weight at the knee, one γ for all layers; "per layer": a γ
    for each layer, none of which keeps less than the share `least`; "random" and "l1": as many per layer as "curves"
    keeps (as "per layer" keeps, where `least` is given), at random or with the largest weights.
    macs_cut: the share of the multiplications that must go, which sets γ; or gamma itself. scale: β in front of the
    filters (ETL Eq. 5), in units of its root mean square. top: the layers behind the one that reads the task best go
    (low-cost §4). head: "pool", average pooling and one new linear layer, or "keep", the linear layers of the network,
    of which only the last is new, or, where the baseline is cut, none. start: the weights: "pretrained", those of
    "baseline" (the whole network after fine-tuning, whose own curves then choose), or "scratch" (drawn anew). refit:
    the kept weights are fitted again, so that each layer gives what it gave (`sparse.refit`); recalibrate: each kept
    filter gets back the mean and spread that it had (`sparse.recalibrate`). multiple: layers are as wide as a multiple
    of it (`sparse.budget`). train: "all" weights, the linear layers ("head"), or "nothing": the task is then read by
    ridge regression from the pooled responses of the last layer, or, with all filters, of the best one. times: as many
    times the epochs. distil: half of what is learnt is the label, half what the baseline says.
    """

    name: str
    filters: str = "all"
    macs_cut: float | None = None
    gamma: float | None = None
    scale: bool = False
    least: float = LEAST
    top: bool = False
    head: str = "pool"
    start: str = "pretrained"
    refit: bool = False
    recalibrate: bool = False
    multiple: int = 1
    train: str = "all"
    times: int = 1
    distil: bool = False

    def __post_init__(self):
        for what, value, known in (
            ("filters", self.filters, FILTERS),
            ("start", self.start, STARTS),
            ("head", self.head, HEADS),
            ("train", self.train, TRAINED),
        ):
            if value not in known:
                raise errors.unknown(what, value, known)
        if self.filters != "all" and (self.macs_cut is None) == (self.gamma is None):
            raise ValueError(f"route {self.name!r} cuts filters: say how much, by macs_cut or by gamma")
        if self.filters == "per layer" and self.gamma is not None:
            raise ValueError(f"route {self.name!r} has a γ per layer: say macs_cut, not gamma {self.gamma}")
        for what in ("multiple", "times"):
            errors.whole(what, getattr(self, what), 1)
        fitted = [what for what in ("refit", "recalibrate") if getattr(self, what)]
        idle = [what for what in ("macs_cut", "gamma", "top", "scale", *fitted) if getattr(self, what)]
        idle += ["multiple"] if self.multiple > 1 else []
        if self.filters == "all" and (idle or self.start == "baseline"):
            raise ValueError(f"route {self.name!r} keeps all filters: {', '.join(idle) or 'start'} says nothing then")
        if self.train == "nothing" and (self.distil or self.times > 1):
            what = "there is nothing to distil into" if self.distil else f"times={self.times} says nothing then"
            raise ValueError(f"route {self.name!r} trains nothing: {what}")
        if len(fitted) == 2 or (fitted and self.start == "scratch"):
            why = "weights that are drawn anew" if len(fitted) == 1 else "weights that are fitted"
            raise ValueError(f"route {self.name!r}: {fitted[-1]} says nothing about {why}")
        if self.multiple > 1 and self.macs_cut is None:
            raise ValueError(
                f"route {self.name!r} has γ {self.gamma}: widths are rounded to {self.multiple} by macs_cut"
            )
        if self.top and self.head == "keep":
            raise ValueError(f"route {self.name!r} takes the top layers off, so it cannot keep the head behind them")
        if self.scale and (fitted or self.filters != "curves" or self.multiple > 1):
            others = "what is refitted, recalibrated or widened"
            raise ValueError(f"route {self.name!r}: β scales what the curves keep at one γ, and not {others}")


BASELINE = Route("full fine-tuning")


@dataclass(frozen=True)
class Training:
    """How every route is trained: `fl.fit`'s settings. held_out: share of the people a score is taken on;
    refit_faces: as many of the others are looked at where weights are refitted."""

    epochs: int = 8
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.02
    precision: str = "bf16"
    held_out: float = 0.25
    refit_faces: int = 1000
