"""One task read from the pooled responses of one network by linear regression (low-cost §3, Algorithm 1).

A *satellite* task is one that the network was not trained for. Its people are split in three: the regression is fitted
to the training part; ridge penalty, thresholds, bins and layer are chosen on the validation part; the score is that of
the test part.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.errors import named, unknown, whole
from facelab.faces.faceset import split_people
from facelab.filters import decisions
from facelab.filters.lasso import one_blas_thread
from facelab.filters.probes import ALPHAS, DEAD
from facelab.nets.verify import verify

SHARES = (0.5, 0.25, 0.25)  # training, validation, test
BANDS = (0, 13, 20, 35, 50, 65, 121)  # years


@dataclass(frozen=True, eq=False)
class Reading:
    """One task read from one network on one partition.

    layer: the best on the validation part. layers: a row per layer: validation and accuracy (test part), the shares of
    right answers (for several labels the mean over them; for identity the AUC of verification), and
    balanced_accuracy (NaN for identity). score, balanced, majority: of that layer, and of always giving the most common
    answer. rows (m,): the test images. said: their answers as `decisions.truth` codes them, or for identity the codes
    (m, c) that are compared. right (m,): 1, 0, or a share; NaN where the label is missing.
    """

    task: str
    layer: str
    layers: pd.DataFrame
    score: float
    balanced: float
    majority: float
    rows: np.ndarray
    said: np.ndarray
    right: np.ndarray = field(repr=False)

    def table(self) -> pd.DataFrame:
        """One row: what was read, where, how well."""
        row = {"task": self.task, "layer": self.layer, "accuracy": self.score, "balanced_accuracy": self.balanced}
        return pd.DataFrame([row | {"majority": self.majority, "images": len(self.rows)}])

    def groups(self, table) -> pd.DataFrame:
        """The score for each gender, ethnic group and age band of the test people: by, group, faces, accuracy; no row
        where nothing of these is known.

        table: the response table it was read from, or its faces. For identity the AUC among the group's own faces,
        which is harder than among all.
        """
        labels = table.labels.iloc[self.rows].reset_index(drop=True)
        people = np.asarray(table.identities)[self.rows]
        columns = {name: labels[name] for name in ("gender", "ethnicity") if name in labels}
        if "age" in labels:
            names = [f"{a}–{b - 1}" if b < BANDS[-1] else f"{a}+" for a, b in pairwise(BANDS)]
            columns["age"] = pd.cut(labels["age"], BANDS, right=False, labels=names)
        found = []
        for name, column in columns.items():
            for group in pd.unique(column.dropna().sort_values()):
                mask = (column == group).to_numpy()
                found.append({"by": name, "group": str(group), "faces": int(mask.sum())})
                found[-1]["accuracy"] = (
                    _auc(self.said[mask], people[mask]) if self.task == "identity" else _mean(self.right[mask])
                )
        return pd.DataFrame(found, columns=["by", "group", "faces", "accuracy"])


class Reader:
    """A table of responses, its people split in three, ready to be asked for one task after another.

        β = (ZᵀZ / n + α I)⁻¹ Zᵀy / n,   Z the standardised responses of the training part

    One eigendecomposition of ZᵀZ per layer serves every α and every task whose labels are present on the same images:
    a further task costs a few products. α: the least squared error on the validation part.

    table: `Responses`, or anything with layers, labels and identities. most: at most so many images (whole people,
    drawn at random; the paper takes 20,000). seed: draws the people and the partition.

    ValueError: fewer people than parts; a share that is none.

    >>> from types import SimpleNamespace
    >>> rng = np.random.default_rng(0)
    >>> male = rng.integers(0, 2, 400)
    >>> x = np.hstack([male[:, None] + 0.1 * rng.normal(size=(400, 1)), rng.normal(size=(400, 5))])
    >>> labels = pd.DataFrame({"gender": np.where(male, "male", "female")})
    >>> reader = Reader(SimpleNamespace(layers={"conv": x}, labels=labels, identities=np.arange(400) // 2))
    >>> reader.read("gender").score > 0.95
    True
    """

    def __init__(self, table, *, shares: Sequence[float] = SHARES, most: int | None = 20_000, seed: int = 0):
        if len(shares) != 3:
            raise ValueError(f"shares {tuple(shares)}: expected three, for training, validation and test")
        if most is not None:
            whole("most", most, 3, "images")
        if not table.layers:
            raise ValueError("no layer to read from: the table of responses is empty")
        self.table, self.layers = table, dict(table.layers)
        people = np.asarray(table.identities)
        name = f"table {getattr(table, 'name', 'of responses')!r}"
        self.part = split_people(people, shares, seed=seed, name=name)  # (n,) 0, 1, 2; −1 = left out
        if most is not None and len(people) > most:
            chosen = _some(people, most, seed)
            self.part = np.full(len(people), -1)
            self.part[chosen] = split_people(people[chosen], shares, seed=seed, name=f"{name}, {len(chosen)} images")
        self._bases, self._rows = {}, None

    @one_blas_thread()
    def read(self, task: str, layers: Sequence[str] | str | None = None) -> Reading:
        """Read one task from every layer, or those named.

        ValueError: unknown task or layer; a task without classes; labels missing, or all the same, in the training
        part; no label in another part.
        """
        names = list(self.layers) if layers is None else named("layer", layers)
        for name in names:
            if name not in self.layers:
                raise unknown("layer", name, self.layers)
        if tasks.get(task).kind == "identity":
            return self._verify(names)
        labels = self.table.labels
        codes, y = decisions.truth(task, labels), decisions.targets(task, labels)
        train, held, test = (np.flatnonzero((self.part == p) & ~np.isnan(y).any(1)) for p in range(3))
        self._check(task, codes, y, train, held, test)
        rows, best = [], None
        for name in names:
            found = _scores(task, *self._predict(name, y, train, held, test), codes[held], codes[test])
            rows.append({"layer": name, **{k: found[k] for k in ("validation", "accuracy", "balanced_accuracy")}})
            if best is None or found["validation"] > best["validation"]:
                best = found | {"layer": name}
        return Reading(
            task, best["layer"], pd.DataFrame(rows), best["accuracy"], best["balanced_accuracy"],
            decisions.majority(codes[train], codes[test]), test, best["said"], best["right"],
        )  # fmt: skip

    def own(self, task: str, outputs) -> Reading:
        """The same score for outputs (n, …) that are there already: those of a network trained for the task.

        Cuts are learned on the validation part as they are for a reading. For identity: codes (n, d). The layer is
        called "head". ValueError as `read`, and for outputs of another number of images.
        """
        outputs = np.asarray(outputs, float)
        if len(outputs) != len(self.part):
            raise ValueError(f"{len(outputs)} outputs of task {task!r} for {len(self.part)} images")
        if tasks.get(task).kind == "identity":
            return self._verify(["head"], {"head": outputs})
        codes, said = decisions.truth(task, self.table.labels), decisions.scale(task, outputs)
        known = codes >= 0 if codes.ndim == 1 else ~np.isnan(codes).any(1)
        train, held, test = (np.flatnonzero((self.part == p) & known) for p in range(3))
        self._check(task, codes, codes.reshape(len(codes), -1), train, held, test)
        best = _scores(task, said[held], said[test], codes[held], codes[test])
        row = pd.DataFrame([{"layer": "head", **{k: best[k] for k in ("validation", "accuracy", "balanced_accuracy")}}])
        guess = decisions.majority(codes[train], codes[test])
        return Reading(
            task, "head", row, best["accuracy"], best["balanced_accuracy"], guess, test, best["said"], best["right"]
        )

    @staticmethod
    def _check(task, codes, y, train, held, test) -> None:
        for part, rows in (("training", train), ("validation", held), ("test", test)):
            if len(rows) == 0:
                raise ValueError(f"task {task!r}: no image of the {part} part has this label")
        if (np.ptp(y[train], axis=0) == 0).all():
            only = codes[train[0]] if codes.ndim == 2 else decisions.classes(task)[codes[train[0]]]
            raise ValueError(f"task {task!r}: the label is {only!r} on all {len(train)} images of the training part")

    def _predict(self, layer: str, y, train, held, test) -> tuple[np.ndarray, np.ndarray]:
        """What is predicted of the validation and of the test part, (n, T) each."""
        rows = train.tobytes(), held.tobytes(), test.tobytes()
        if rows != self._rows:  # other labels are missing: those bases would only take room
            self._rows, self._bases = rows, {}
        if layer not in self._bases:
            z = standardised(np.asarray(self.layers[layer], np.float64), train)
            values, vectors = np.linalg.eigh(z[train].T @ z[train] / len(train))
            self._bases[layer] = *(z[rows] @ vectors for rows in (train, held, test)), np.maximum(values, 0)
        *(fitted, choosing, scored), values = self._bases[layer]  # (n, c) in the eigenbasis, and c eigenvalues
        mean = y[train].mean(0)
        projected = fitted.T @ (y[train] - mean) / len(train)  # (c, T)
        coef = projected[:, None] / (values[:, None, None] + ALPHAS[:, None])  # (c, A, T)
        width = np.maximum(y[train].std(0), 1e-12)  # so that no target owns the choice of α
        said = mean + np.tensordot(choosing, coef, 1)  # (n, A, T)
        best = int(np.square((said - y[held][:, None]) / width).sum((0, 2)).argmin())
        return said[:, best], mean + scored @ coef[:, best]

    def _verify(self, names, codes=None) -> Reading:
        people, (train, held, test) = (
            np.asarray(self.table.identities),
            (np.flatnonzero(self.part == p) for p in range(3)),
        )
        rows, best = [], None
        for name in names:
            x = np.asarray((codes or self.layers)[name], np.float64)
            z = x if codes is not None else standardised(x, train)
            value = _auc(z[held], people[held])
            rows.append({"layer": name, "validation": value, "accuracy": _auc(z[test], people[test])})
            if best is None or value > best[0]:
                best = value, name, rows[-1]["accuracy"], z[test]
        table = pd.DataFrame(rows).assign(balanced_accuracy=np.nan)
        return Reading("identity", best[1], table, best[2], np.nan, 0.5, test, best[3], np.full(len(test), np.nan))


def interval(reading: Reading, identities, *, bootstraps: int = 500, seed: int = 0) -> tuple[float, float]:
    """A 95 % interval of a reading's score: its test people drawn again with replacement."""
    people = np.unique(np.asarray(identities)[reading.rows], return_inverse=True)[1]
    if reading.task == "identity":
        found = verify(reading.said, people, bootstraps=100, most=20_000, seed=seed)
        return min(found.low, reading.score), max(found.high, reading.score)
    known = ~np.isnan(reading.right)
    right = np.bincount(people[known], reading.right[known], people.max() + 1)
    of = np.bincount(people[known], minlength=people.max() + 1)
    times = np.random.default_rng(seed).multinomial(len(of), np.full(len(of), 1 / len(of)), bootstraps)
    low, high = np.quantile((times @ right) / np.maximum(times @ of, 1), (0.025, 0.975))
    return min(float(low), reading.score), max(float(high), reading.score)


def standardised(x: np.ndarray, train) -> np.ndarray:
    """x (n, c) with the mean and spread of the rows `train` taken out; columns that do not vary there are left out."""
    mean, spread = x[train].mean(0), x[train].std(0)
    live = spread > DEAD * np.abs(mean)
    return (x[:, live] - mean[live]) / spread[live]


def _scores(task, said, said_test, codes, codes_test) -> dict:
    """What is said and known of the validation part, then of the test part."""
    cut = decisions.learn(task, said, codes)
    answers = decisions.answer(task, said_test, cut)
    even = decisions.answer(task, said_test, decisions.learn(task, said, codes, balanced=True))
    right = decisions.right(answers, codes_test)
    return {
        "validation": _mean(decisions.right(decisions.answer(task, said, cut), codes)),
        "accuracy": _mean(right),
        "balanced_accuracy": decisions.balanced(even, codes_test),
        "said": answers,
        "right": right,
    }


def _mean(right: np.ndarray) -> float:
    return float(np.nanmean(right)) if (~np.isnan(right)).any() else np.nan


def _auc(codes, people) -> float:
    """NaN where there is no pair of one person, or none of two."""
    counts = np.unique(people, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2 or codes.shape[1] == 0:
        return np.nan
    return verify(codes, people, bootstraps=0, most=50_000).auc


def _some(people: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of whole people, drawn at random, at most so many images."""
    own, person, counts = np.unique(people, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(own))
    taken = order[np.cumsum(counts[order]) <= most]
    return np.flatnonzero(np.isin(person, taken))
