"""Routes from a face network to a new task, run side by side: fine-tuning whole, reading out, and sparse transfer.

ETL §3.5, Table 1; low-cost §4, Tables 2–6. Every route has the same faces, the same people held out and the same
number of epochs, and ends in one row: how well the task is done on unseen people, and at what cost. Finished rows are
kept in the cache, so a run that is interrupted goes on where it stopped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import nn
from tqdm import tqdm

from facelab import cache, cost, errors, tasks
from facelab.faces.faceset import FaceSet
from facelab.filters import probes, sparse
from facelab.filters.curves import TaskCurves, characteristic_curves
from facelab.filters.heads import HEADS
from facelab.filters.responses import responses
from facelab.nets.net import Net
from facelab.training.loop import fit
from facelab.training.objective import Objective, present, with_head

FILTERS = ("all", "curves", "per layer", "random", "l1")
STARTS = ("pretrained", "baseline", "scratch")
TRAINED = ("all", "head", "nothing")
LEAST = 0.02
VERSION = 1  # raised when a row would come out otherwise


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
    the kept weights are fitted again, so that each layer gives what it gave. train: "all" weights, the linear layers
    ("head"), or "nothing": the task is then read by ridge regression from the pooled responses of the last layer, or,
    with all filters, of the best one. distil: half of what is learnt is the label, half what the baseline says.
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
    train: str = "all"
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
        idle = [what for what in ("macs_cut", "gamma", "top", "scale", "refit") if getattr(self, what)]
        if self.filters == "all" and (idle or self.start == "baseline"):
            raise ValueError(f"route {self.name!r} keeps all filters: {', '.join(idle) or 'start'} says nothing then")
        if self.train == "nothing" and self.distil:
            raise ValueError(f"route {self.name!r} trains nothing: there is nothing to distil into")
        if self.top and self.head == "keep":
            raise ValueError(f"route {self.name!r} takes the top layers off, so it cannot keep the head behind them")
        if self.scale and (self.refit or self.filters != "curves"):
            raise ValueError(f"route {self.name!r}: β scales what the curves keep at one γ, and not what is refitted")


BASELINE = Route("full fine-tuning")


@dataclass(frozen=True, eq=False)
class Row:
    """How a route ended. scores: accuracy (classes; age in decades), balanced accuracy, mae, rmse, r2, as the task has
    them; what: macs, parameters, size and their conv_ parts (`facelab.cost.count`), macs_cut (share of the whole
    network's), gamma, seconds per epoch; filters: how many each layer keeps; said: what it says of the held-out faces
    (`test`, rows of the face set); file: the network, where one was trained."""

    route: Route
    task: str
    seed: int
    scores: dict
    what: dict
    filters: dict
    said: np.ndarray
    test: np.ndarray
    file: Path | None

    def net(self, device="auto") -> Net:
        """The trained network. ValueError where the route trained none."""
        if self.file is None:
            raise ValueError(f"route {self.route.name!r} reads out of responses and trains no network")
        return sparse.load(self.file, device=device)


@dataclass(frozen=True, eq=False)
class Journey:
    """All rows of some tasks, routes and seeds."""

    rows: tuple[Row, ...]
    faces: FaceSet

    def table(self) -> pd.DataFrame:
        """One row per task, route and seed; `kept`: the main score (`goodness`) as a share of the baseline's."""
        base = {(r.task, r.seed): goodness(r.task, r.scores) for r in self.rows if r.route == BASELINE}
        return pd.DataFrame(
            [
                {"task": r.task, "route": r.route.name, "seed": r.seed, **r.scores, **r.what}
                | {"kept": goodness(r.task, r.scores) / base.get((r.task, r.seed), np.nan)}
                for r in self.rows
            ]
        )

    def joined(self, other: "Journey") -> "Journey":
        """These rows and those of another journey with the same faces that are not among them."""
        have = {(r.task, r.route, r.seed) for r in self.rows}
        return Journey((*self.rows, *(r for r in other.rows if (r.task, r.route, r.seed) not in have)), self.faces)

    def of(self, task: str, route: str) -> list[Row]:
        """The rows of a route, by seed. ValueError where there are none."""
        found = [r for r in self.rows if (r.task, r.route.name) == (task, route)]
        if not found:
            raise errors.unknown(f"route to {task!r}", route, {r.route.name for r in self.rows if r.task == task})
        return found

    def kept(self, task: str, route: str, *, bootstraps: int = 1000, seed: int = 0) -> tuple[float, float, float]:
        """Per cent of the baseline's score that the route keeps, mean over seeds, with a 95 % interval: held-out people
        drawn again, the same for both, in every seed. Some people are held out in several
        seeds, and what training anew would change is not in it. ValueError where the baseline explains nothing."""
        rng, draws, points = np.random.default_rng(seed), [], []
        base = {row.seed: row for row in self.of(task, BASELINE.name)}
        for row in self.of(task, route):
            whole = base[row.seed]
            people = np.unique(self.faces.identities[row.test], return_inverse=True)[1]
            good = [_each(task, r.said, self.faces, r.test) for r in (row, whole)]  # (n,) of either
            known = np.isfinite(good[0])
            sums = [np.bincount(people[known], weights=g[known], minlength=people.max() + 1) for g in good]
            if sums[1].sum() <= 0:
                raise ValueError(f"the baseline explains nothing of {task!r} (R² ≤ 0): there is nothing to keep")
            times = rng.multinomial(len(sums[0]), np.full(len(sums[0]), 1 / len(sums[0])), size=bootstraps)
            points.append(100 * sums[0].sum() / sums[1].sum())
            draws.append(100 * (times @ sums[0]) / np.maximum(times @ sums[1], 1e-12))
        low, high = np.quantile(np.mean(draws, 0), (0.025, 0.975))
        point = float(np.mean(points))
        return point, min(float(low), point), max(float(high), point)

    def groups(self, task: str, routes: Sequence[str], columns=("gender", "ethnicity", "age band")) -> pd.DataFrame:
        """The score of every group of held-out people by route, over all seeds: accuracy, or mean absolute error; with
        the numbers of faces and people. Columns that the faces have no labels of are left out."""
        labels, found = self.faces.labels, []
        if "age" in labels:
            labels = labels.assign(**{"age band": pd.cut(labels["age"], (0, 20, 40, 60, 121), right=False)})
        for route in routes:
            for row in self.of(task, route):
                own = labels.iloc[row.test]
                who, value = self.faces.identities[row.test], _absolute(task, row.said, self.faces, row.test)
                for column in [column for column in columns if column in labels]:
                    for group, at in own.groupby(column, observed=True).indices.items():
                        one = {"group": f"{column}: {group}", "route": route, "score": np.nanmean(value[at])}
                        found.append(one | {"faces": len(at), "people": len(np.unique(who[at]))})
        if not found:
            raise ValueError(f"{self.faces.name!r} has labels of none of {', '.join(columns)}: there are no groups")
        table = pd.DataFrame(found).groupby(["group", "route"], sort=False).mean().unstack()
        sizes = {what: table[what].iloc[:, 0].round().astype(int) for what in ("faces", "people")}
        return table["score"][list(routes)].assign(**sizes)


def goodness(task: str, scores: dict) -> float:
    """The score that a route should keep: accuracy, or, of numbers without classes, R²."""
    return scores["accuracy"] if "accuracy" in scores else scores["r2"]


def score(task: str, said: np.ndarray, faces: FaceSet, rows) -> dict:
    """How good predictions (as `Fit.predict` gives them) are on the faces at `rows`."""
    about, truth = tasks.get(task), tasks.get(task).encode(faces.labels.iloc[rows])
    if about.kind == "classes":
        right, known = said.argmax(1) == truth, truth >= 0
        each = [right[truth == c].mean() for c in np.unique(truth[known])]
        return {"accuracy": float(right[known].mean()), "balanced accuracy": float(np.mean(each))}
    known = np.isfinite(truth)
    error = (said - truth)[known]
    found = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt(np.square(error).mean()))}
    found["r2"] = 1 - float(np.square(error).sum() / np.square(truth[known] - truth[known].mean()).sum())
    if task == "age":
        found["accuracy"] = float((decade(said) == decade(truth))[known].mean())
    return found


def decade(age: np.ndarray) -> np.ndarray:
    """Ages as the papers class them: 0 for 0–9 years, 1 for 10–19 …, 9 from 90 on."""
    return np.clip(np.floor(age / 10), 0, 9)


def _each(task: str, said: np.ndarray, faces: FaceSet, rows) -> np.ndarray:
    """(n,) what each face adds to the score: 1 where right, else 0; of numbers without classes the share of variance
    that is explained. NaN where the label is missing."""
    truth = tasks.get(task).encode(faces.labels.iloc[rows])
    if tasks.get(task).kind == "classes":
        return np.where(truth >= 0, said.argmax(1) == truth, np.nan)
    if task == "age":
        return np.where(np.isfinite(truth), decade(said) == decade(truth), np.nan)
    return 1 - np.square(said - truth) / np.nanmean(np.square(truth - np.nanmean(truth)))


def _absolute(task: str, said: np.ndarray, faces: FaceSet, rows) -> np.ndarray:
    if tasks.get(task).kind == "classes":
        return _each(task, said, faces, rows)
    return np.abs(said - tasks.get(task).encode(faces.labels.iloc[rows]))


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


def travel(
    net: Net,
    faces: FaceSet,
    names,
    routes: Sequence[Route] | Mapping[str, Sequence[Route]],
    *,
    seeds: Sequence[int] = (0,),
    training: Training | None = None,
    n_jobs: int = 1,
    progress: bool = True,
) -> Journey:
    """Every route to every task, for every seed (which deals the people, draws the heads and orders the batches).

    routes: for all tasks, or a list for each. The full fine-tuning that all are measured against is added. A row that
    is in the cache is not run again. n_jobs: processes, each with one thread. ValueError: no face with a label of a
    task, a route that cannot be gone (as `sparse.budget` and `fl.fit` say). TypeError: no Net.

        journey = travel(net, faces, "yaw", [Route("sparse", filters="curves", gamma=0.01)])
        journey.table()
    """
    if not isinstance(net, Net):
        raise TypeError(f"expected a Net (fl.nets.load, or fl.nets.wrap your module), not {type(net).__name__}")
    names, training = errors.named("task", names), training or Training()
    for name in names:
        if tasks.get(name).kind not in ("classes", "regression"):
            raise ValueError(f"task {name!r} is of kind {tasks.get(name).kind!r}: expected classes or a number")
    wanted = {name: routes[name] if isinstance(routes, Mapping) else routes for name in names}
    wanted = {name: [BASELINE, *(route for route in routes if route != BASELINE)] for name, routes in wanted.items()}
    for name, every in wanted.items():
        called = [route.name for route in every]
        if twice := [one for one in called if called.count(one) > 1]:
            raise ValueError(f"two routes to {name!r} are called {twice[0]!r}: their rows could not be told apart")
    work = [
        delayed(_go)(net, faces, name, wanted[name], seed, training, n_jobs > 1) for seed in seeds for name in names
    ]
    done = Parallel(n_jobs=n_jobs, return_as="generator")(work)
    done = tqdm(done, total=len(work), desc="routes", unit="task and seed", disable=not progress)
    return Journey(tuple(row for rows in done for row in rows), faces)


def _go(net, faces, task, routes, seed, training, alone) -> list[Row]:
    if alone:
        torch.set_num_threads(1)
    bench = _Bench(net, faces, task, seed, training)
    return [bench.row(route) for route in routes]


@dataclass(eq=False)
class _Bench:
    """One task and one seed."""

    net: Net
    faces: FaceSet
    task: str
    seed: int
    training: Training
    memory: dict = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[np.ndarray]:
        known = present(self.faces.encode(self.task)) > 0
        if not known.any():
            raise ValueError(
                f"task {self.task!r}: none of the {len(known)} images of {self.faces.name!r} has this label"
            )
        side = self.faces.assign((1 - self.training.held_out, self.training.held_out), seed=self.seed)
        return [np.flatnonzero(known & (side == part)) for part in (0, 1)]

    @cached_property
    def train(self) -> FaceSet:
        return self.faces[self.rows[0]]

    @cached_property
    def test(self) -> FaceSet:
        return self.faces[self.rows[1]]

    @property
    def outputs(self) -> int:
        about = tasks.get(self.task)
        return 1 if about.kind == "regression" else len(about.classes)

    @cached_property
    def whole(self) -> cost.Cost:
        """Of the whole network with the task's head, which all cuts are measured against."""
        return cost.count(self.start(BASELINE)[0])

    @cached_property
    def key(self) -> dict:
        return {"net": self.net.fingerprint, "faces": self.faces.fingerprint, "training": asdict(self.training)}

    def entry(self, route: Route) -> Path:
        depends = self.key | {"task": self.task, "seed": self.seed, "route": asdict(route), "version": VERSION}
        return cache.path("routes", f"{self.net.name}-{self.task}-{route.name}", **depends)

    def row(self, route: Route) -> Row:
        entry = cache.build(self.entry(route), lambda folder: self.run(route, folder), {"route": asdict(route)})
        about = json.loads((entry / "row.json").read_text(encoding="utf-8"))
        said = cache.read_tensors(entry / "said.safetensors")[0]["said"]
        file = entry / "net.safetensors"
        return Row(
            route, self.task, self.seed, about["scores"], about["what"], about["filters"], said, self.rows[1],
            file if file.exists() else None,
        )  # fmt: skip

    def run(self, route: Route, folder: Path) -> None:
        small, gamma = self.start(route)
        what, seconds = cost.count(small), np.nan
        if route.train == "nothing":
            said = self.read_out(small, route)
        else:
            done = fit(
                small, self.train, self.task, targets=self.taught() if route.distil else None, validation=None,
                epochs=self.training.epochs, batch=self.training.batch, lr=self.training.lr,
                weight_decay=self.training.weight_decay, schedule="onecycle", precision=self.training.precision,
                train=_linear(small) if route.train == "head" else None, seed=self.seed, device=self.net.device,
                progress=False,
            )  # fmt: skip
            said, seconds = done.predict(self.test), float(done.history["seconds"].median())
            sparse.save(done.finished(), folder / "net.safetensors")
            if route == BASELINE:  # which others learn from
                cache.write_tensors(folder / "trained.safetensors", {"said": done.predict(self.train)}, {})
        about = {key: int(getattr(what, key)) for key in ("macs", "parameters", "size")}
        about |= {f"conv_{key}": int(getattr(what, f"conv_{key}")) for key in ("macs", "parameters", "size")}
        about |= {"macs_cut": 1 - what.macs / self.whole.macs, "size_cut": 1 - what.size / self.whole.size}
        about |= {"conv_size_cut": 1 - what.conv_size / self.whole.conv_size}
        about |= {"gamma": gamma, "seconds_per_epoch": seconds}
        filters = {name: layer.out_channels for name, layer in small.convs.items()}
        scores = score(self.task, said, self.faces, self.rows[1])
        cache.write_tensors(folder / "said.safetensors", {"said": said}, {})
        cache.write_text(folder / "row.json", json.dumps({"scores": scores, "what": about, "filters": filters}))

    def start(self, route: Route) -> tuple[Net, float]:
        """The network before training, and its γ (NaN without one)."""
        parent = self.baseline.net(self.net.device) if route.start == "baseline" else self.net
        if route.filters == "all":
            whole = with_head(parent, self.outputs, seed=self.seed)
            whole.name = f"{self.net.name}-{self.task}"
            if route.start == "scratch":
                _draw(whole, self.seed)
            return whole, np.nan
        keep, gamma = self.keep(route, parent)
        scale = self.scale(route, gamma, keep) if route.scale else None
        top = self.top(route)
        outputs = None if route.head == "keep" and route.start == "baseline" else self.outputs
        small = sparse.cut(parent, keep, scale=scale, top=top, head=route.head, outputs=outputs, seed=self.seed)
        if outputs is None and tasks.get(self.task).kind == "regression":
            self.standardise(small)
        if route.refit:
            small = sparse.refit(small, parent, keep, self.train, most=self.training.refit_faces, seed=self.seed).net
        if route.start == "scratch":
            _draw(small, self.seed)
        small.name = f"{self.net.name}-{self.task}"
        return small, gamma

    def scale(self, route: Route, gamma: float, keep) -> dict[str, np.ndarray]:
        """β by layer, divided by its root mean square over the filters kept: its unit is the label's per response."""
        betas = {layer: beta for layer, beta in self.curves(route.start).betas(gamma).items() if layer in keep}
        return {layer: beta / np.sqrt(np.mean(beta[keep[layer]] ** 2)) for layer, beta in betas.items()}

    @torch.no_grad()
    def standardise(self, net: Net) -> None:
        """Let a network that says numbers in the task's unit (`Fit.finished`) say them as they are trained."""
        objective = Objective.of(self.task, self.train.labels)
        last = net.module.get_submodule(_linear(net)[-1])
        last.weight.div_(objective.scale)
        last.bias.sub_(objective.center).div_(objective.scale)

    def top(self, route: Route) -> str | None:
        return self.curves(route.start).best_layer if route.top else None

    def keep(self, route: Route, parent: Net) -> tuple[dict, float]:
        curves = self.curves(route.start)
        if route.gamma is not None:
            keep, gamma = curves.knees(route.gamma), route.gamma
        else:
            per_layer = route.filters == "per layer" or (route.filters != "curves" and route.least > LEAST)
            found = sparse.budget(
                parent, curves, route.macs_cut, per_layer=per_layer, least=route.least,
                head=route.head, top=self.top(route), outputs=self.outputs,
            )  # fmt: skip
            keep, gamma = found.keep, np.nan if found.gamma is None else found.gamma
        if route.filters in ("random", "l1"):
            plan = sparse.plan(parent, keep)
            keep = (
                sparse.keep_l1(parent, plan)
                if route.filters == "l1"
                else sparse.keep_random(parent, plan, seed=self.seed)
            )
        return keep, gamma

    def curves(self, start: str) -> TaskCurves:
        start = "baseline" if start == "baseline" else "pretrained"
        if start not in self.memory:
            net = self.baseline.net(self.net.device) if start == "baseline" else self.net
            table = responses(net, self.train, progress=False)
            self.memory[start] = characteristic_curves(
                table.moments([self.task], seed=self.seed), half_samples=0, progress=False
            )[self.task]
        return self.memory[start]

    @property
    def baseline(self) -> Row:
        if BASELINE not in self.memory:
            self.memory[BASELINE] = self.row(BASELINE)
        return self.memory[BASELINE]

    def taught(self) -> np.ndarray:
        """Half the label, half what the baseline says of the faces to train on."""
        entry = self.baseline.file.parent
        said = cache.read_tensors(entry / "trained.safetensors")[0]["said"]
        truth = tasks.get(self.task).encode(self.train.labels)
        if tasks.get(self.task).kind == "classes":
            truth = np.eye(self.outputs)[truth]
        return (truth + said) / 2

    def read_out(self, small: Net, route: Route) -> np.ndarray:
        """What ridge regression on pooled responses says of the held-out faces."""
        layers = None if route.filters == "all" else [list(small.convs)[-1]]
        table, unseen = (responses(small, part, layers=layers, progress=False) for part in (self.train, self.test))
        found = [probes.fit(table, layer, self.task, seed=self.seed) for layer in table.layers]
        best = max(found, key=lambda probe: probe.score)
        said = best.predict(unseen[best.layer])
        if tasks.get(self.task).kind == "regression":
            return said[:, 0]
        return np.hstack([2 * best.model.cut - said, said]) if said.shape[1] == 1 else said


def _linear(net: Net) -> list[str]:
    return [name for name, layer in net.module.named_modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _draw(net: Net, seed: int) -> None:
    """New weights in every layer but the last linear one, which is new already: He's in convolutions and linear layers,
    torch's own in others. ValueError for a layer with weights that torch cannot draw."""
    generator, last = torch.Generator().manual_seed(seed), _linear(net)[-1:]
    for name, layer in net.module.named_modules():
        if name in last or not list(layer.parameters(recurse=False)):
            continue
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        else:
            raise ValueError(f"layer {name!r} ({type(layer).__name__}) of {net.name!r} cannot be drawn anew")
