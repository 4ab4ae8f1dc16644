"""How many filters each layer keeps for a given cost: the characteristic curves read backwards.

ETL chooses γ and reports the MACs that go. Networks are compared at equal cost, so here the MACs that must go are
given, and γ is found: one for all layers, as in the paper, or one for each, where little of the curve is lost for much
of the cost.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from facelab import errors
from facelab.cost import count
from facelab.filters import narrowing
from facelab.filters.curve import TaskCurves
from facelab.filters.heads import with_head
from facelab.filters.narrowing import Path
from facelab.filters.planning import check_net
from facelab.filters.widths import Widths
from facelab.nets.net import Net


@dataclass(frozen=True, eq=False)
class Budget:
    """The filters to keep for a given cost.

    keep: layer → indices, for `cut`. gamma: the one γ, None where each layer has its own. macs_cut: the share of the
    MACs that goes, ≥ what was asked for. excess: Σ over layers of (RMSE − min r) / (max r − min r), the γ that a layer
    is at. layers: a row per convolution: layer, filters, kept, gamma, excess (both NaN for a layer that no curve
    thins), macs, macs_left.
    """

    keep: dict[str, np.ndarray]
    gamma: float | None
    macs_cut: float
    excess: float
    layers: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per convolution."""
        return self.layers.copy()


def budget(
    net: Net,
    curves: TaskCurves,
    macs_cut: float,
    *,
    per_layer: bool = False,
    least: float = 0.02,
    multiple: int = 1,
    head: str = "keep",
    top: str | None = None,
    outputs: int | None = None,
) -> Budget:
    """The filters to keep so that at least the share `macs_cut` of the network's MACs goes (0.558: 55.8 %).

        per_layer=False   the smallest γ with  MACs(knees(γ)) ≤ (1 − macs_cut) · MACs(net)       (ETL Eq. 4)
        per_layer=True    min over γ_1 … γ_L of  Σ_l (RMSE_l(γ_l) − min r_l) / (max r_l − min r_l)  within these MACs

    MACs as `facelab.cost.count` gives them for `net` and for `cut(net, keep, head=…, top=…, outputs=…)`; give the
    latter's settings here too. curves: of one task, `characteristic_curves(…)["yaw"]`. A higher γ keeps fewer filters.

    per_layer walks from the whole network, each step going to the point of one layer's curve that saves most MACs per
    unit of excess error, with its neighbours as wide as they are then; steps no longer needed at the end are taken
    back, and one γ for all is taken where it does better. Coupled layers go together, at one γ. No layer falls below 2
    filters or the share `least` of them: a curve says what can be read from a layer, not what the next ones need of it,
    and a network is as good as its narrowest place. Layers without a knee stay whole, as in `knees`; only where nothing
    else reaches the budget they are thinned too, all to the same share, by the L1 norm of their filters.

    multiple: layers are widened to a multiple of it (16 is faster on most processors), by the filters that come in next
    on the LASSO path, then by L1 norm. Those have β = 0 at the knee, so `cut` cannot scale such a network by β.

    Departs from the paper by all but the plain γ. ValueError: a share that cannot be reached (it says what can), no
    layer with a knee, unknown layer, curves of another network, numbers out of range, and as `cut`. TypeError: no
    `Net`, no curves of one task, the wrong kind.

    >>> from torch import nn
    >>> from facelab import characteristic_curves, nets
    >>> from facelab.filters.responses import Responses
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)), size=8)
    >>> rng = np.random.default_rng(0)
    >>> yaw, x = rng.uniform(-60, 60, 400), rng.normal(size=(400, 8)).astype(np.float32)
    >>> x[:, :2] += yaw[:, None] / 30  # the first two of eight filters carry yaw
    >>> seen = Responses("toy", {"0": x}, pd.DataFrame({"yaw": yaw}), np.arange(400) // 10)
    >>> curves = characteristic_curves(seen.moments(["yaw"]), half_samples=20, progress=False)["yaw"]
    >>> found = budget(net, curves, 0.7)
    >>> found.keep, found.macs_cut, f"{found.gamma:.3f}"
    ({'0': array([0, 1])}, 0.75, '0.001')
    """
    _check(net, curves, macs_cut)
    errors.whole("multiple", multiple, 1)
    errors.number("least", least)
    if not 0 < least <= 1:
        raise ValueError(f"least {least!r} is out of range: expected a share of a layer's filters, 0 < least ≤ 1")
    small, _ = with_head(net, top, head, outputs, 0)
    total, widths = count(net).macs, Widths(small)
    knees = {name: curve for name, curve in curves.items() if name in small.convs and curve.knee(0.5)}
    if not knees and not per_layer:
        raise ValueError(f"no layer has a knee for {curves.task!r}: there is nothing that γ could cut")
    norms = {name: layer.weight.detach().abs().flatten(1).sum(1).cpu().numpy() for name, layer in small.convs.items()}
    paths = []
    for group in widths.groups:
        seen = {name: knees[name] for name in group.member if name in knees}
        paths.append(narrowing.path(group, seen, norms, least if per_layer else 0, multiple))
    walk = _Walk(widths, paths, (1 - macs_cut) * total)
    sighted = [u for u, path in enumerate(paths) if path.excess]
    gamma, at = walk.uniform()
    if per_layer:
        found = walk.greedy([0] * len(paths), sighted)
        if not walk.fits(found):
            thinned = [u for u in range(len(paths)) if u not in sighted]
            for u in thinned:
                paths[u] = narrowing.thinner(paths[u].group, norms, multiple)
            for step in range(narrowing.THIN):
                found = [step if u in thinned else i for u, i in enumerate(found)]
                if walk.fits(found):
                    break
        if any(found) and not (walk.fits(at) and walk.price(at) < walk.price(found)):
            at, gamma = found, None
    if not walk.fits(at):
        hint = f" with least={least:g}" if per_layer else "; per_layer=True may cut more"
        raise ValueError(
            f"{net.name!r} cannot lose {macs_cut:.1%} of its MACs by the curves of {curves.task!r}: at most "
            f"{1 - walk.macs(at) / total:.1%}{hint}"
        )
    return _result(small, widths, walk, at, gamma, total)


def _check(net, curves, macs_cut) -> None:
    check_net(net)
    if not isinstance(curves, TaskCurves):
        raise TypeError(f"expected the curves of one task, as curves['yaw'], not {type(curves).__name__}")
    for name, curve in curves.items():
        if name not in net.convs:
            raise errors.unknown("layer", name, net.convs)
        if curve.filters != net.convs[name].out_channels:
            raise ValueError(
                f"layer {name!r} has {net.convs[name].out_channels} filters, its curve is of {curve.filters}: "
                "expected the curves of this network"
            )
    errors.number("macs_cut", macs_cut)
    if not 0 < macs_cut < 1:
        raise ValueError(f"macs_cut {macs_cut!r} is out of range: expected a share, 0 < macs_cut < 1")


class _Walk:
    """Where every group is on its path, and what that costs."""

    def __init__(self, widths: Widths, paths: list[Path], limit: float):
        self.widths, self.paths, self.limit = widths, paths, limit

    def sums(self, at: list[int]) -> tuple[np.ndarray, np.ndarray]:
        pairs = list(zip(self.paths, at, strict=True))
        out = self.widths.fixed_out + sum(path.out[i] for path, i in pairs)
        return out, self.widths.fixed_into + sum(path.into[i] for path, i in pairs)

    def macs(self, at: list[int]) -> float:
        return float(self.widths.left(*self.sums(at)).sum())

    def fits(self, at: list[int]) -> bool:
        return self.macs(at) <= self.limit

    def price(self, at: list[int]) -> float:
        return sum(path.price[i] for path, i in zip(self.paths, at, strict=True))

    def uniform(self) -> tuple[float, list[int]]:
        """The smallest γ for all layers that fits, or the largest there is."""
        at, gamma = [0] * len(self.paths), 0.0
        for gamma in np.unique(np.concatenate([[], *(path.gamma[1:] for path in self.paths if path.excess)])):
            at = [int(np.searchsorted(path.gamma, gamma, side="right")) - 1 for path in self.paths]
            if self.fits(at):
                break
        return float(gamma), at

    def greedy(self, at: list[int], movable: Iterable[int]) -> list[int]:
        """From `at` on, the step of most MACs per excess error, until it fits or ends; then back where it can."""
        at, movable = list(at), list(movable)
        while (now := self.macs(at)) > self.limit:
            (out, into), steps = self.sums(at), []
            for u in movable:
                path, i = self.paths[u], at[u]
                moved = out - path.out[i] + path.out[i + 1 :], into - path.into[i] + path.into[i + 1 :]
                saved = now - self.widths.left(*moved).sum(1)
                rate = saved / np.maximum(path.price[i + 1 :] - path.price[i], 1e-9)
                steps += [(rate[j], u, i + 1 + j) for j in [int(rate.argmax())] if saved[j] > 0] if len(rate) else []
            if not steps:
                return at
            _, u, step = max(steps)
            at[u] = step
        for u in sorted(movable, key=lambda u: -self.paths[u].price[at[u]]):
            price = self.paths[u].price
            for i in range(at[u]):
                if price[i] < price[at[u]] and self.fits([*at[:u], i, *at[u + 1 :]]):
                    at[u] = i
        return at


def _result(net: Net, widths: Widths, walk: _Walk, at: list[int], gamma: float | None, total: int) -> Budget:
    kept = {name: np.arange(layer.out_channels) for name, layer in net.convs.items()}
    keep, points = {}, {}
    for path, i in zip(walk.paths, at, strict=True):
        for name in path.group.member:
            kept[name] = path.group.kept(name, path.stays[i])
            if path.excess or i:
                keep[name] = kept[name]
            if name in path.excess:
                points[name] = path.gamma[i], path.excess[name][i]
    left = widths.left(*walk.sums(at))
    rows = [
        {
            "layer": name,
            "filters": net.convs[name].out_channels,
            "kept": len(kept[name]),
            "gamma": points.get(name, (np.nan, np.nan))[0],
            "excess": points.get(name, (np.nan, np.nan))[1],
            "macs": int(whole),
            "macs_left": round(rest),
        }
        for name, whole, rest in zip(widths.names, widths.macs, left, strict=True)
        if name in net.convs
    ]
    keep = {name: keep[name] for name in net.convs if name in keep}
    layers = pd.DataFrame(rows)
    return Budget(keep, gamma, float(1 - left.sum() / total), float(layers["excess"].sum()), layers)
