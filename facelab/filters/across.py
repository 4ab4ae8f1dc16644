"""Linear read-outs across sets: learned on one, tested on another, and each within its own.

A read-out is ridge regression on one layer's responses (`probes`). Layer and α are chosen by cross-validation inside
the training part of the set it is learned on; the test parts, which share nobody with it, are looked at once. Where a
score is lost on the way, it may be that other filters carry the task there, or only that all responses are shifted. The
second can be undone without a label, by giving every filter the mean and spread on the tested set that it had on the
one learned on: the diagonal of CORAL (B. Sun, J. Feng, K. Saenko, "Return of frustratingly easy domain adaptation",
AAAI 2016). Both are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.errors import unknown
from facelab.filters import probes
from facelab.filters.clustered import draws, standardise
from facelab.filters.responses import Responses


@dataclass(frozen=True, eq=False)
class Across:
    """Every read-out tested on every set.

    scores: a row per train, test and responses ("raw" or "aligned", the same within a set): layer, faces (tested),
    score (balanced accuracy for classes, R² for a number), low and high (95 %, people drawn again), constant (the same
    for the best answer that looks at no face: 1 / classes, or the training mean), and for a number mae and constant_mae
    (of the training median) in its unit. said: (train, test, responses) → (n, T) predicted targets, NaN where the face
    has no label.
    """

    task: str
    scores: pd.DataFrame
    said: dict[tuple[str, str, str], np.ndarray] = field(repr=False)

    def table(self) -> pd.DataFrame:
        """One row per training set, test set and kind of responses."""
        return self.scores


def across(
    train: Mapping[str, Responses],
    test: Mapping[str, Responses],
    task: str,
    *,
    layers: Sequence[str] | None = None,
    folds: int = 5,
    bootstraps: int = 1000,
    seed: int = 0,
) -> Across:
    """Learn `task` on each set of `train`, test it on each set of `test` of the same names.

    layers: among which to choose, default all. Aligned: means and spreads are those of the training parts, whose labels
    are not looked at. Of several classes only those count that all training parts have.
    ValueError: unknown task or layer, other names, fewer than two classes in common; what `probes.fit` raises.

    >>> rng = np.random.default_rng(0)
    >>> def faces(n, shift):
    ...     yaw = rng.uniform(-60, 60, n)
    ...     x = np.stack([yaw + 9 * rng.normal(size=n) + shift, rng.normal(size=n)], 1)
    ...     return Responses("some", {"conv": x}, pd.DataFrame({"yaw": yaw}), np.arange(n))
    >>> parts = [{"one": faces(200, 0), "other": faces(200, 50)} for _ in range(2)]
    >>> scores = across(*parts, "yaw").scores.query("train != test").groupby("responses")["score"].min()
    >>> bool(scores["aligned"] > 0.9 > scores["raw"])
    True
    """
    about = tasks.get(task)
    if list(train) != list(test):
        raise ValueError(f"training sets {', '.join(train)}, test sets {', '.join(test)}: expected the same names")
    names = list(layers or next(iter(train.values())).layers)
    for one in (*train.values(), *test.values()):
        for layer in names:
            if layer not in one.layers:
                raise unknown("layer", layer, one.layers)
    if about.kind == "classes":
        train, test = _common(train, task), test
        codes = about.encode(next(iter(train.values())).labels)
        test = {name: _only(one, about, np.unique(codes[codes >= 0])) for name, one in test.items()}
    rows, said = [], {}
    for learned, own in train.items():
        best = max((probes.fit(own, layer, task, folds=folds, seed=seed) for layer in names), key=lambda p: p.score)
        y = own.targets(task)
        y, home = y[~np.isnan(y).any(1)], own.layers[best.layer]
        for tested, other in test.items():
            x, away = other.layers[best.layer].astype(float), train[tested].layers[best.layer]
            known = ~np.isnan(other.targets(task)).any(1)
            for responses, moved in (("raw", x), ("aligned", x if tested == learned else _aligned(x, away, home))):
                predicted = best.predict(moved)
                row = {"train": learned, "test": tested, "responses": responses, "layer": best.layer}
                rows.append(row | _scored(task, other, predicted, best.model.cut, y, bootstraps, seed))
                said[learned, tested, responses] = np.where(known[:, None], predicted, np.nan)
    return Across(task, pd.DataFrame(rows), said)


def _aligned(x: np.ndarray, away: np.ndarray, home: np.ndarray) -> np.ndarray:
    """Responses x of the set of `away`, every filter with the mean and spread of `home`; one that never changes in
    `away` stays at the mean."""
    spread = np.where(standardise(away)[1], np.inf, away.std(0))
    return (x - away.mean(0)) / spread * home.std(0) + home.mean(0)


def _only(one: Responses, about: tasks.Task, classes) -> Responses:
    """Without the labels of other classes than these numbers."""
    codes = about.encode(one.labels)
    own = np.array([*about.classes, None], object)[np.where(np.isin(codes, classes), codes, -1)]
    return replace(one, labels=one.labels.assign(**{about.name: own}))


def _common(sets: Mapping[str, Responses], task: str) -> dict[str, Responses]:
    """The sets with the labels that all of them have; others are taken away."""
    about, codes = tasks.get(task), []
    for name, one in sets.items():
        try:
            codes.append(about.encode(one.labels))
        except ValueError as error:
            has = ", ".join(one.labels)
            raise ValueError(f"set {name!r} has no labels of task {task!r} ({error}): it has {has}") from error
    shared = set.intersection(*({*code[code >= 0].tolist()} for code in codes))
    if len(shared) < 2:
        raise ValueError(f"task {task!r}: the sets {', '.join(sets)} have {len(shared)} classes in common")
    return {name: _only(one, about, sorted(shared)) for name, one in sets.items()}


def _scored(task, faces: Responses, predicted, cut, learned, bootstraps, seed) -> dict:
    targets = faces.targets(task)
    known = ~np.isnan(targets).any(1)
    if not known.any():
        raise ValueError(f"task {task!r}: none of the {len(known)} test faces of {faces.name!r} has this label")
    y, guess = targets[known], predicted[known]
    people = np.unique(faces.identities[known], return_inverse=True)[1]
    each = probes.tally(task, y, guess, np.broadcast_to(cut, y.shape), people)
    score = float(probes.score(task, each.sum(0, keepdims=True))[0])
    low, high = np.nanpercentile(probes.score(task, draws(len(each), bootstraps, seed) @ each), (2.5, 97.5))
    row = {"faces": len(y), "score": score, "low": min(low, score), "high": max(high, score)}
    if tasks.get(task).kind == "classes":
        classes = len(np.unique(y[:, 0])) if y.shape[1] == 1 else int(y.any(0).sum())
        return row | {"constant": 1 / classes, "mae": np.nan, "constant_mae": np.nan}
    mean = np.broadcast_to(learned.mean(0), y.shape)
    constant = probes.score(task, probes.tally(task, y, mean, mean, people).sum(0, keepdims=True))[0]
    off = {"mae": np.abs(y - guess).mean(), "constant_mae": np.abs(y - np.median(learned, 0)).mean()}
    return row | {"constant": float(constant), **off}
