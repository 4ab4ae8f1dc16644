"""Linear read-outs: how much of a task can be read from a layer, on people the read-out has never seen.

Ridge regression on standardised responses, in closed form from centred sums alone:

    β = (XᵀX / n + α I)⁻¹ Xᵀy / n

so moments measured once serve every fold and every α. Folds share nobody. For each held-out fold α is chosen
by leaving out each of the other folds in turn (nested, so the score has seen neither the faces nor the
choice). All held-out rows are scored together: where a fold holds three people with three ages, its own R² says
next to nothing, and neither does a mean of such.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.errors import unknown
from facelab.faces.faceset import split_people
from facelab.filters.clustered import draws
from facelab.filters.lasso import one_blas_thread
from facelab.filters.moments import Moments, System

ALPHAS = 10.0 ** np.arange(-7, 2.1)
DEAD = 1e-6  # a column whose spread is below this share of its mean is constant up to float32 rounding


@dataclass(frozen=True, eq=False)
class Linear:
    """ŷ = intercept (T,) + x · coef (C, T); `cut` (T,): above it a yes / no target counts as yes."""

    intercept: np.ndarray
    coef: np.ndarray
    cut: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, T) predicted targets from responses x (n, C)."""
        if np.ndim(x) != 2 or np.shape(x)[1] != len(self.coef):
            raise ValueError(f"responses of shape {np.shape(x)} do not fit a probe of {len(self.coef)} filters")
        return self.intercept + x @ self.coef


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear read-out of `task` from `layer`, fitted to all data, and how its twins did on unseen people.

    score: the held-out `metric` over all rows of all folds at once: R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² with ȳ the
        mean of all rows, both sums over rows and targets; or balanced accuracy.
    scores: one row per fold: fold, n, r2 (about the fold's own mean), and where the single rows were at hand
        accuracy and balanced_accuracy (classes) or mae (numbers). models: the fold's twin, fitted to the
        other folds.
    held_out: (n, T) each row's prediction by the twin that has not seen its person, NaN where the label is
        missing. fold: (n,) the row's fold, −1 where the label is missing. Both None where only moments were at
        hand.
    """

    task: str
    layer: str
    model: Linear
    alpha: float
    score: float
    scores: pd.DataFrame
    models: tuple[Linear, ...]
    held_out: np.ndarray | None = None
    fold: np.ndarray | None = None

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, T) predicted targets; T and their meaning: `tasks.get(task).target_names`."""
        return self.model.predict(x)

    def decide(self, x: np.ndarray) -> np.ndarray:
        """(n,) class indices, or (n, T) 0 / 1 for a task of several labels, or (n,) numbers."""
        return decide(self.task, self.predict(x), self.model.cut)

    @property
    def metric(self) -> str:
        """What `score` is: balanced_accuracy where classes could be counted, else r2."""
        return "balanced_accuracy" if "balanced_accuracy" in self.scores else "r2"

    def table(self) -> pd.DataFrame:
        """The held-out scores, one row per fold."""
        return self.scores.assign(task=self.task, layer=self.layer)


def fit(source, layer: str, task: str, *, folds: int = 5, seed: int = 0) -> Probe:
    """A ridge read-out of `task` from one layer of a response table or of moments.

    source: `Responses` (folds are drawn here: `folds`, `seed`) or `Moments` (which carry their own folds;
    scores are R² only, since moments know no single face; folds without a label are passed over). ValueError:
    unknown layer or task, labels missing or constant, fewer than 3 folds.

    >>> from types import SimpleNamespace
    >>> rng = np.random.default_rng(0)
    >>> yaw = rng.uniform(-60, 60, (200, 1))
    >>> x = np.hstack([0.1 * yaw + rng.normal(size=(200, 1)), rng.normal(size=(200, 2))])
    >>> table = SimpleNamespace(layers={"conv": x}, identities=np.arange(200) // 10, targets=lambda task: yaw)
    >>> probe = fit(table, "conv", "yaw")
    >>> probe.score > 0.9, probe.predict(x).shape
    (True, (200, 1))
    """
    if layer not in source.layers:
        raise unknown("layer", layer, source.layers)
    if isinstance(source, Moments):
        return _fit_moments(source, layer, tasks.get(task).name)
    targets = source.targets(tasks.get(task).name)
    return fit_table(source.layers[layer], targets, source.identities, task, folds=folds, seed=seed, layer=layer)


@one_blas_thread()
def fit_table(x, targets, identities, task: str, *, folds: int = 5, seed: int = 0, layer: str = "") -> Probe:
    """The same from plain arrays: responses x (n, C), targets (n, T) with NaN rows where missing, identities
    (n,)."""
    known = ~np.isnan(targets).any(1)
    if not known.any():
        raise ValueError(f"task {task!r}: none of the {len(known)} images has this label")
    if (np.ptp(targets[known], axis=0) == 0).all():
        raise ValueError(f"task {task!r}: the label is {targets[known][0]} on all {known.sum()} images")
    x, y = np.asarray(x, np.float64)[known], targets[known]
    fold = assign_folds(np.asarray(identities)[known], folds, seed)
    parts = _Parts(x, y, fold)
    alpha, models = _nested(parts.system, range(folds))
    unseen = held_out(models, x, fold)
    cut = np.stack([model.cut for model in models])[fold]
    rows = [_scores(task, y[fold == f], unseen[fold == f], cut[fold == f], f) for f in range(folds)]
    pooled = float(score(task, tally(task, y, unseen, cut, np.zeros(len(y), int)))[0])
    predicted, part = np.full(targets.shape, np.nan), np.full(len(known), -1)
    predicted[known], part[known] = unseen, fold
    whole = ridge(parts.system(range(folds)), alpha)
    return Probe(task, layer, whole, alpha, pooled, pd.DataFrame(rows), tuple(models), predicted, part)


def interval(probe: Probe, table, *, bootstraps: int = 1000, seed: int = 0) -> tuple[float, float]:
    """A 95 % interval of `probe.score`, low and high: its people drawn again with replacement.

    table: the response table the probe was fitted to. The held-out predictions stay as they are: the interval
    says how far the score hangs on who was looked at, not on whom the probe learned from; with a dozen people
    it is on the short side. ValueError for another table, or a probe fitted to moments.

    >>> from types import SimpleNamespace
    >>> rng = np.random.default_rng(0)
    >>> yaw = rng.uniform(-60, 60, (200, 1))
    >>> x, who = yaw + 20 * rng.normal(size=(200, 2)), np.arange(200) // 10
    >>> table = SimpleNamespace(layers={"conv": x}, identities=who, targets=lambda task: yaw)
    >>> low, high = interval(fit(table, "conv", "yaw"), table)
    >>> 0.8 < low < high < 1
    True
    """
    if probe.held_out is None:
        raise ValueError("a probe fitted to moments knows no single face: fit it to the response table")
    targets, known = table.targets(tasks.get(probe.task).name), probe.fold >= 0
    if targets.shape != probe.held_out.shape or (~np.isnan(targets).any(1) != known).any():
        raise ValueError(f"the probe was fitted to {known.sum()} labelled rows of {len(known)}, not to this table")
    cut = np.stack([model.cut for model in probe.models])[probe.fold[known]]
    people = np.unique(np.asarray(table.identities)[known], return_inverse=True)[1]
    each = tally(probe.task, targets[known], probe.held_out[known], cut, people)
    low, high = np.nanpercentile(score(probe.task, draws(len(each), bootstraps, seed) @ each), (2.5, 97.5))
    return float(low), float(high)


def tally(task: str, targets, predicted, cut, people) -> np.ndarray:
    """(k, m) sums per person from which the score of any set of people follows: for numbers n, Σ squared
    error and Σy, Σy² per target; for classes faces and right answers per class.

    targets, predicted, cut (n, T); people (n,) integers 0 … k−1.
    """
    if tasks.get(task).kind == "regression":
        error = np.square(targets - predicted).sum(1, keepdims=True)
        shifted = targets - targets.mean(0)  # so that Σy² − (Σy)² / n does not cancel
        rows = np.hstack([np.ones_like(error), error, shifted, shifted**2])
    else:
        said = decide(task, predicted, cut)
        if said.ndim == 1:
            truth = targets[:, 0].astype(int) if targets.shape[1] == 1 else targets.argmax(1)
            said, truth = said[:, None], truth[:, None]
        else:
            truth = targets.astype(int)
        classes = np.arange(max(2, targets.shape[1] if truth.shape[1] == 1 else 2))
        here = (truth[:, :, None] == classes).reshape(len(targets), -1)
        right = here & (said[:, :, None] == classes).reshape(len(targets), -1)
        rows = np.hstack([here, right]).astype(float)
    out = np.zeros((people.max() + 1, rows.shape[1]))
    np.add.at(out, people, rows)
    return out


def score(task: str, tallies: np.ndarray) -> np.ndarray:
    """(b,) R² pooled over targets, or balanced accuracy, from summed tallies (b, m); NaN where the label of a
    draw is constant."""
    if tasks.get(task).kind == "regression":
        n, error, (y, yy) = tallies[:, 0], tallies[:, 1], np.split(tallies[:, 2:], 2, axis=1)
        total = yy.sum(1) - (y**2).sum(1) / n
        return 1 - error / np.where(total > 1e-12 * yy.sum(1), total, np.nan)
    here, right = np.split(tallies, 2, axis=1)
    return np.nanmean(np.where(here > 0, right / np.maximum(here, 1), np.nan), 1)


def held_out(models, x: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(n, T) each row's prediction by the model of its own fold, which was fitted to the others."""
    out = np.empty((len(x), models[0].coef.shape[1]))
    for f, model in enumerate(models):
        out[fold == f] = model.predict(x[fold == f])
    return out


def assign_folds(identities: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each row; all rows of a person share one. ValueError for fewer people than folds."""
    if folds < 3:
        raise ValueError(f"{folds} folds: expected at least 3, to choose α inside each training part")
    codes = np.unique(identities, return_inverse=True)[1]
    return split_people(codes, np.full(folds, 1 / folds), seed=seed)


@one_blas_thread()
def ridge(system: System, alpha: float) -> Linear:
    """The ridge solution from centred sums, coefficients in raw units.

    Columns are standardised, so that α means the same in every layer; constant ones get 0.
    """
    coef = _coefficients(system, (alpha,))[0]
    intercept = system.mean_y - system.mean_x @ coef
    return Linear(intercept, coef, _cut(system, intercept, coef))


def _coefficients(system: System, alphas) -> np.ndarray:
    """(A, C, T) for all α at once: one eigendecomposition serves them all."""
    spread = np.sqrt(np.maximum(np.diagonal(system.xx), 0) / system.n)  # rounding may leave −1e-17 of a dead filter
    live = spread > DEAD * np.abs(system.mean_x)
    scale = spread[live]
    values, vectors = np.linalg.eigh(system.xx[np.ix_(live, live)] / np.outer(scale, scale) / system.n)
    rotated = vectors.T @ (system.xy[live] / scale[:, None]) / system.n  # (c, T)
    shrunk = rotated / (np.maximum(values, 0)[:, None] + np.asarray(alphas)[:, None, None])  # (A, c, T)
    out = np.zeros((len(alphas), *system.xy.shape))
    out[:, live] = vectors @ shrunk / scale[:, None]
    return out


def _errors(coef: np.ndarray, trained: System, system: System) -> np.ndarray:
    """(A,) Σ(y − ŷ)² on the rows of `system`, over all targets, of models (A, C, T) fitted to `trained`."""
    return system.rmse(trained.mean_y - trained.mean_x @ coef, coef) ** 2 * system.n * coef.shape[2]


def decide(task: str, predicted: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """What predicted targets (n, T) say: class indices (n,), 0 / 1 (n, T) for several labels, or numbers
    (n,)."""
    about = tasks.get(task)
    if about.kind == "regression":
        return predicted[:, 0]
    if about.kind == "labels":
        return (predicted > cut).astype(int)
    return (predicted > cut)[:, 0].astype(int) if predicted.shape[1] == 1 else predicted.argmax(1)


def _cut(system, intercept, coef) -> np.ndarray:
    """Half way between the mean prediction of the two classes: rare classes are not drowned by common
    ones."""
    share = np.clip(system.mean_y, 1e-12, 1 - 1e-12)  # of ones, where the target is 0 / 1
    tilt = (coef * system.xy).sum(0) / system.n  # the mean of the ones is `tilt / share` above the overall mean
    middle = intercept + system.mean_x @ coef + 0.5 * (tilt / share - tilt / (1 - share))
    return np.where(system.mean_y <= 0, np.inf, np.where(system.mean_y >= 1, -np.inf, middle))


@one_blas_thread()
def _nested(system: Callable, folds: Iterable[int]) -> tuple[float, list[Linear]]:
    """α for all the data, and each held-out fold's model with an α of its own choosing: that of the least
    squared error, summed over the folds left out in turn."""
    paths, everyone = {}, tuple(folds)

    def errors(training: tuple, unseen: int) -> np.ndarray:
        if training not in paths:  # leaving out {f, g} serves f's choice and g's
            trained = system(training)
            paths[training] = _coefficients(trained, ALPHAS), trained
        return _errors(*paths[training], system([unseen]))

    def best_alpha(inside: tuple) -> float:
        each = [errors(tuple(g for g in inside if g != f), f) for f in inside]
        return float(ALPHAS[np.sum(each, 0).argmin()])

    training = [tuple(g for g in everyone if g != f) for f in everyone]
    return best_alpha(everyone), [ridge(system(others), best_alpha(others)) for others in training]


@one_blas_thread()
def _fit_moments(moments, layer: str, task: str) -> Probe:
    if task not in moments.tasks:
        raise unknown("task", task, moments.tasks)
    fold = moments.fold
    folds = np.unique(fold[moments.present[:, moments.tasks.index(task)] & (moments.n > 0)]).tolist()
    if len(folds) < 3:
        raise ValueError(
            f"task {task!r}: {len(folds)} folds of these moments have its labels; expected at least 3, to choose α "
            "inside each training part"
        )
    system = partial(_system, moments, layer, task, fold)
    whole = system(folds)
    if not whole.yy.any():
        raise ValueError(f"task {task!r}: the label is {whole.mean_y} on all {int(whole.n)} images")
    alpha, models = _nested(system, folds)
    rows, error = [], 0.0
    for f, model in zip(folds, models, strict=True):
        others, unseen = system([g for g in folds if g != f]), system([f])
        wrong, total = _errors(model.coef[None], others, unseen)[0], unseen.yy.sum()
        rows.append({"fold": f, "n": int(unseen.n), "r2": 1 - wrong / total if total > 0 else np.nan})
        error += wrong
    pooled = float(1 - error / whole.yy.sum())
    return Probe(task, layer, ridge(whole, alpha), alpha, pooled, pd.DataFrame(rows), tuple(models))


def _system(moments, layer, task, fold, chosen):
    return moments.system(layer, task, weights=np.isin(fold, list(chosen)).astype(float))


class _Parts:
    """Centred sums of any union of folds, from the sums of each."""

    def __init__(self, x: np.ndarray, y: np.ndarray, fold: np.ndarray):
        self.x0, self.y0 = x.mean(0), y.mean(0)
        z = np.hstack([x - self.x0, y - self.y0])  # shifted first, so that nothing cancels
        self.c = x.shape[1]
        self.n = np.bincount(fold).astype(float)
        self.first = np.stack([z[fold == f].sum(0) for f in range(len(self.n))])
        self.second = np.stack([z[fold == f].T @ z[fold == f] for f in range(len(self.n))])

    def system(self, folds) -> System:
        folds, c = list(folds), self.c
        n, mean = self.n[folds].sum(), self.first[folds].sum(0) / self.n[folds].sum()
        s = self.second[folds].sum(0) - n * np.outer(mean, mean)
        return System(n, self.x0 + mean[:c], self.y0 + mean[c:], s[:c, :c], s[:c, c:], np.diagonal(s)[c:])


def _scores(task: str, y: np.ndarray, predicted: np.ndarray, cut: np.ndarray, fold: int) -> dict:
    total = np.square(y - y.mean(0)).sum()
    row = {
        "fold": fold,
        "n": len(y),
        "r2": 1 - np.square(y - predicted).sum() / total if total > 0 else np.nan,
    }
    about = tasks.get(task)
    if about.kind == "regression":
        return row | {"mae": np.abs(y - predicted).mean()}
    said = decide(task, predicted, cut)
    columns = [(y[:, 0], said)] if y.shape[1] == 1 else [(y.argmax(1), said)]
    if about.kind == "labels":
        columns = list(zip(y.T, said.T, strict=True))
    balanced = [np.mean([(b[a == c] == c).mean() for c in np.unique(a)]) for a, b in columns]
    return row | {
        "accuracy": np.mean([(a == b).mean() for a, b in columns]),
        "balanced_accuracy": np.mean(balanced),
    }
