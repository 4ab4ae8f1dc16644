"""What routes end in: a row for each task, route and seed, and what all of them say together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import errors
from facelab.faces.faceset import FaceSet
from facelab.filters import saved
from facelab.filters.route_scores import goodness, guessed, per_face, unscaled_per_face
from facelab.filters.route_settings import BASELINE, Route
from facelab.nets.net import Net


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
        return saved.load(self.file, device=device)


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

    def kept(
        self, task: str, route: str, *, seeds=None, bootstraps: int = 1000, seed: int = 0
    ) -> tuple[float, float, float]:
        """Per cent of the baseline's score that the route keeps, mean over seeds, with a 95 % interval: held-out people
        drawn again, the same for both, in every seed (or in these `seeds`). Some people are
        held out in several seeds, and what training anew would change is not in it: see `verdict`. ValueError where the
        baseline explains nothing."""
        rng, draws, points = np.random.default_rng(seed), [], []
        base = {row.seed: row for row in self.of(task, BASELINE.name)}
        for row in (row for row in self.of(task, route) if seeds is None or row.seed in seeds):
            whole = base[row.seed]
            people = np.unique(self.faces.identities[row.test], return_inverse=True)[1]
            good = [per_face(task, r.said, self.faces, r.test) for r in (row, whole)]  # (n,) of either
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

    def verdict(self, task: str, one: str, other: str) -> str:
        """Whether a route keeps more than another: "better" or "worse" where the intervals of `kept` over the seeds of
        both lie apart, and so does what they keep in one training and the next; else "not told apart", or "one
        training" where they share fewer than two seeds, which deal other people too."""
        seeds = sorted({row.seed for row in self.of(task, one)} & {row.seed for row in self.of(task, other)})
        if len(seeds) < 2:
            return "one training"

        def spread(route: str) -> tuple[float, float]:
            _, low, high = self.kept(task, route, seeds=seeds)
            each = [self.kept(task, route, seeds=[seed])[0] for seed in seeds]
            return min(low, *each), max(high, *each)

        (low, high), (least, most) = spread(one), spread(other)
        return "better" if low > most else "worse" if high < least else "not told apart"

    def guessed(self, task: str) -> float:
        """Per cent of the baseline's score that the commonest answer has, mean over seeds: what a network that learned
        nothing "keeps"."""
        base = self.of(task, BASELINE.name)
        return 100 * float(np.mean([guessed(task, self.faces, row.test) / goodness(task, row.scores) for row in base]))

    def groups(self, task: str, routes: Sequence[str], columns=("gender", "ethnicity", "age band")) -> pd.DataFrame:
        """The score of every group of held-out people by route, over all seeds: accuracy, or mean absolute error; with
        the numbers of faces and people. Columns that the faces have no labels of are left out."""
        labels, found = self.faces.labels, []
        if "age" in labels:
            labels = labels.assign(**{"age band": pd.cut(labels["age"], (0, 20, 40, 60, 121), right=False)})
        for route in routes:
            for row in self.of(task, route):
                own = labels.iloc[row.test]
                who, value = self.faces.identities[row.test], unscaled_per_face(task, row.said, self.faces, row.test)
                for column in [column for column in columns if column in labels]:
                    for group, at in own.groupby(column, observed=True).indices.items():
                        one = {"group": f"{column}: {group}", "route": route, "score": np.nanmean(value[at])}
                        found.append(one | {"faces": len(at), "people": len(np.unique(who[at]))})
        if not found:
            raise ValueError(f"{self.faces.name!r} has labels of none of {', '.join(columns)}: there are no groups")
        table = pd.DataFrame(found).groupby(["group", "route"], sort=False).mean().unstack()
        sizes = {what: table[what].iloc[:, 0].round().astype(int) for what in ("faces", "people")}
        return table["score"][list(routes)].assign(**sizes)
