"""Does what filters follow on one set of faces hold on another, say on photographs what was found on rendered heads?

Every filter c has a Pearson ρ_c with a label on either set (ETL Eq. 2). Three questions, none of which asks that the
sizes agree, since a set with little yaw has small ρ everywhere: do the filters come in the same order (Spearman's rank
correlation over filters, of ρ and of |ρ|); do they lean to the same side; are those selected on one set those selected
on the other, more often than as many of each layer drawn at random?

Filters of one network are not independent, so no p-value is taken from their number: intervals draw the people of both
sets again, and chance is what labels exchanged between people give.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from facelab import tasks
from facelab.errors import whole
from facelab.filters import clustered
from facelab.filters.tuning import signals

BLOCK = 64  # filters at a time


@dataclass(frozen=True, eq=False)
class Tuning:
    """ρ of every filter with every signal of a task on one set.

    kinds: S pairs (what ρ > 0 is called, what ρ < 0). filters: F rows, layer and filter. rho (S, F), NaN for a filter
    that never changes. drawn (b, S, F): the same with people drawn again. people: how many.
    """

    task: str
    kinds: tuple[tuple[str, str], ...]
    filters: pd.DataFrame
    rho: np.ndarray
    drawn: np.ndarray = field(repr=False)
    people: int

    def table(self) -> pd.DataFrame:
        """One row per signal and filter: kind, layer, filter, rho."""
        rows = [self.filters.assign(kind=kind, rho=rho) for (kind, _), rho in zip(self.kinds, self.rho, strict=True)]
        return pd.concat(rows, ignore_index=True)[["kind", "layer", "filter", "rho"]]


def tuning(responses, task: str, *, bootstraps: int = 100, shuffle: bool = False, seed: int = 0) -> Tuning:
    """ρ of every filter of a response table with `task`; images without the label are left out.

    shuffle: the control, with the labels exchanged between people at random (a person's labels stay together).
    ValueError: unknown task, no labels, labels that do not vary.

    >>> from types import SimpleNamespace
    >>> rng = np.random.default_rng(0)
    >>> yaw = rng.uniform(-60, 60, (300, 1))
    >>> x = yaw * [1, -1, 0] + 30 * rng.normal(size=(300, 3))
    >>> table = SimpleNamespace(layers={"conv": x}, identities=np.arange(300), targets=lambda task: yaw)
    >>> tuning(table, "yaw").rho[0].round(1).tolist()
    [0.8, -0.8, 0.0]
    """
    whole("bootstraps", bootstraps, 2)
    targets = responses.targets(tasks.get(task).name)
    known = ~np.isnan(targets).any(1)
    if not known.any():
        raise ValueError(f"task {task!r}: none of the {len(known)} images has this label")
    y = targets[known]
    if (np.ptp(y, axis=0) == 0).all():
        raise ValueError(f"task {task!r}: the label is {y[0]} on all {known.sum()} images")
    people = np.unique(np.asarray(responses.identities)[known], return_inverse=True)[1]
    if shuffle:
        y = _exchanged(y, people, seed)
    found = signals(task, y)
    y = np.stack([column for *_, column in found], 1)
    weights = clustered.draws(people.max() + 1, bootstraps, seed).astype(float)
    rho, drawn = [], []
    for x in responses.layers.values():
        for start in range(0, x.shape[1], BLOCK):
            total = clustered.sums(x[known, start : start + BLOCK], y, people)
            rho.append(total.rho())
            drawn.append(total.rho(weights))
    names = [(layer, c) for layer, x in responses.layers.items() for c in range(x.shape[1])]
    filters = pd.DataFrame(names, columns=["layer", "filter"])
    kinds = tuple((kind, opposite) for kind, opposite, _ in found)
    return Tuning(task, kinds, filters, np.concatenate(rho, 1), np.concatenate(drawn, 2), int(people.max()) + 1)


def _exchanged(y: np.ndarray, people: np.ndarray, seed: int) -> np.ndarray:
    """Every person gets the labels of another; repeated or cut where that one has fewer or more images."""
    rows = np.split(np.argsort(people, kind="stable"), np.cumsum(np.bincount(people))[:-1])
    out = np.empty_like(y)
    for mine, other in zip(rows, np.random.default_rng(seed).permutation(len(rows)), strict=True):
        out[mine] = y[np.resize(rows[other], len(mine))]
    return out


@dataclass(frozen=True, eq=False)
class Agreement:
    """How the tuning of the same filters compares on two sets.

    pairs: a row per signal and filter: kind, layer, filter, first, second (ρ on either set). scores: a row per signal:
    kind, filters, spearman of ρ with low and high, spearman_abs of |ρ| with abs_low and abs_high, same_side (share of
    the filters with |ρ| ≥ `least` on the first set whose ρ has the same sign on the second), strong (how many these
    are).
    """

    task: str
    against: str
    pairs: pd.DataFrame
    scores: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per signal."""
        return self.scores


def agreement(first: Tuning, second: Tuning, *, least: float = 0.2) -> Agreement:
    """The rank correlation over filters of the tuning on two sets, with 95 % intervals.

    Interval: tanh(atanh r ± 1.96 s), s the standard deviation of atanh r* over draws of the people of both sets. Two
    tasks may be compared, as a control: every signal of one with every signal of the other. ValueError for tunings of
    other filters.

    >>> names = pd.DataFrame({"layer": ["conv"] * 4, "filter": range(4)})
    >>> rho = np.array([[0.8, 0.1, -0.2, -0.7]])
    >>> one = Tuning("yaw", (("left", "right"),), names, rho, np.stack([rho, rho]), 50)
    >>> agreement(one, Tuning("yaw", one.kinds, names, rho / 2, one.drawn, 90)).table()["spearman"].tolist()
    [1.0]
    """
    if not first.filters.equals(second.filters):
        raise ValueError(f"{len(first.filters)} and {len(second.filters)} filters: expected those of one network")
    same = first.kinds == second.kinds
    signs = [(s, s) for s in range(len(first.kinds))] if same else list(np.ndindex(len(first.kinds), len(second.kinds)))
    times = min(len(first.drawn), len(second.drawn))
    pairs, scores = [], []
    for i, j in signs:
        live = np.isfinite(first.rho[i]) & np.isfinite(second.rho[j])
        a, b = first.rho[i, live], second.rho[j, live]
        drawn = [np.nan_to_num(one.drawn[:times, k][:, live]) for one, k in ((first, i), (second, j))]
        strong = np.abs(a) >= least
        kind = first.kinds[i][0] if same else f"{first.kinds[i][0]}, {second.kinds[j][0]}"
        row = {"kind": kind, "filters": int(live.sum())}
        row |= dict(zip(("spearman", "low", "high"), _rank(a, b, *drawn), strict=True))
        sizes = np.abs(a), np.abs(b), *map(np.abs, drawn)
        row |= dict(zip(("spearman_abs", "abs_low", "abs_high"), _rank(*sizes), strict=True))
        row["same_side"] = float((np.sign(a) == np.sign(b))[strong].mean()) if strong.any() else np.nan
        scores.append(row | {"strong": int(strong.sum())})
        pairs.append(first.filters[live].assign(kind=kind, first=a, second=b))
    return Agreement(first.task, second.task, pd.concat(pairs, ignore_index=True), pd.DataFrame(scores))


def _rank(a, b, drawn_a, drawn_b) -> tuple[float, float, float]:
    def spearman(x, y) -> np.ndarray:
        x, y = (stats.rankdata(v, axis=-1) for v in (x, y))
        x, y = (v - v.mean(-1, keepdims=True) for v in (x, y))
        with np.errstate(invalid="ignore"):
            return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))

    centre = float(np.clip(spearman(a, b), -1, 1))
    edge = 1 - 1e-9
    spread = np.nanstd(np.arctanh(np.clip(spearman(drawn_a, drawn_b), -edge, edge)), ddof=1)
    z, half = np.arctanh(np.clip(centre, -edge, edge)), stats.norm.ppf(0.975) * spread
    return centre, float(min(centre, np.tanh(z - half))), float(max(centre, np.tanh(z + half)))


@dataclass(frozen=True)
class Overlap:
    """first, second: filters selected on either set; shared: on both; chance, low, high: how many are shared by as many
    of each layer drawn at random, mean and 95 % of the draws; p: the share of draws with as many or more, at least
    1 / draws."""

    first: int
    second: int
    shared: int
    chance: float
    low: float
    high: float
    p: float

    def table(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([vars(self)])


def overlap(first: Mapping, second: Mapping, widths: Mapping, *, draws: int = 10_000, seed: int = 0) -> Overlap:
    """The filters selected twice, against chance within layers.

    first, second: layer → filters, as `Crafts.layers` gives them; widths: layer → how many it has. Chance keeps how
    many of each layer are selected, else two selections from the same few layers would agree by that alone: the sum
    over layers of hypergeometric numbers. ValueError for a layer or filter that `widths` does not have.

    >>> overlap({"conv": [0, 1, 2]}, {"conv": [1, 2, 3]}, {"conv": 100}).shared
    2
    """
    whole("draws", draws, 1)
    rng, total, shared = np.random.default_rng(seed), np.zeros(draws), 0
    sets = [{layer: set(np.asarray(some).tolist()) for layer, some in one.items()} for one in (first, second)]
    for one in sets:
        for layer, some in one.items():
            if layer not in widths or any(not 0 <= f < widths[layer] for f in some):
                raise ValueError(f"filters {sorted(some)[:3]} … of layer {layer!r}: it has {widths.get(layer, 0)}")
    for layer in (layer for layer in widths if layer in sets[0] and layer in sets[1]):
        a, b = (one[layer] for one in sets)
        shared += len(a & b)
        total += rng.hypergeometric(len(a), widths[layer] - len(a), len(b), draws)
    low, high = np.quantile(total, (0.025, 0.975))
    counts = [sum(map(len, one.values())) for one in sets]
    p = max(1 / draws, float((total >= shared).mean()))
    return Overlap(*counts, shared, float(total.mean()), float(low), float(high), p)
