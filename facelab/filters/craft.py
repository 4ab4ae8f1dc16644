"""CRAFTs: filters of a network that follow a task it was never trained for.

ETL §3.1–3.2, Eqs 1–2; low-cost §3. A filter c is tuned to a task when its response X[n, c] (mean over its
map) correlates with the label over the images:

    ρ_c = Σ (x − x̄)(y − ȳ) / √(Σ (x − x̄)² Σ (y − ȳ)²)

Departs from the papers, which read ρ off all images at once, in what it takes to believe it. People are the
independent units: some are held out; on the rest ρ gets a clustered bootstrap interval, a permutation p-value
by person and Benjamini–Hochberg's false-discovery rate over all filters of all layers and all kinds of
tuning; a filter that follows the label only because it knows who it is fails the test within people; and what
is found must show on the held-out people too.
"""

import logging
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from facelab import tasks
from facelab.errors import unknown
from facelab.filters import clustered, deal
from facelab.filters.tuning import signals

log = logging.getLogger(__name__)

BLOCK = 2**25  # numbers held at a time in the sums per person (256 MB)


@dataclass(frozen=True, eq=False)
class Crafts:
    """What `find_crafts` found.

    tests: one row per filter and signal. kind: the side it is tuned to, so that rho ≥ 0; rho, low, high:
        Pearson ρ on the discovery people with its 95 % clustered interval; within, within_low: the same with
        every person's own mean removed (NaN where the label is constant within people and the question does
        not arise); p, q: clustered permutation test and false-discovery rate; held_out_rho: ρ on the held-out
        people, in the direction of `kind`; replicated: held_out_rho ≥ floor; craft: q ≤ alpha, within_low (or
        low, where within is NaN) ≥ floor, and replicated. A dead filter has NaN rho and p = 1.
    varies: whether the label varies within people, which decides test and criterion. people, held_out_people:
        how many.
    """

    task: str
    tests: pd.DataFrame
    varies: bool
    people: int
    held_out_people: int
    alpha: float
    floor: float

    def __repr__(self) -> str:
        filters = len(self.tests[["layer", "filter"]].drop_duplicates())
        kinds = ", ".join(self.kinds) or "none"
        return f"Crafts of {self.task!r}: {self.n} of {filters} filters; kinds {kinds}"

    def table(self, crafts_only: bool = False) -> pd.DataFrame:
        """All tests, or the crafts alone, strongest first."""
        rows = self.tests[self.tests["craft"]] if crafts_only else self.tests
        return rows.sort_values("rho", ascending=False, kind="stable").reset_index(drop=True)

    @property
    def n(self) -> int:
        """How many different filters are CRAFTs."""
        return sum(map(len, self.layers.values()))

    @property
    def kinds(self) -> list[str]:
        """The kinds that have a CRAFT, the most frequent first."""
        return list(self.tests.loc[self.tests["craft"], "kind"].value_counts().index)

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """Layer → its CRAFTs' filter indices, for layers that have any."""
        return self.strongest()

    def strongest(self, per_layer: int | None = None, *kinds: str) -> dict[str, np.ndarray]:
        """Layer → filter indices (sorted) of its CRAFTs, at most `per_layer` of them (by ρ), of some kinds or of any:
        `crafts.strongest(20, "left", "right")`. ValueError for a kind that no filter has."""
        rows = self.table(crafts_only=True)
        rows = rows[rows["kind"].isin([self._kind(kind) for kind in kinds])] if kinds else rows
        rows = rows.drop_duplicates(["layer", "filter"])
        rows = rows.groupby("layer", sort=False).head(per_layer or len(rows))
        order = self.tests["layer"].drop_duplicates()
        found = {layer: np.sort(rows.loc[rows["layer"] == layer, "filter"].to_numpy()) for layer in order}
        return {layer: filters for layer, filters in found.items() if len(filters)}

    def best(self, kind: str | None = None) -> pd.Series:
        """The test with the largest ρ on the discovery people, of one kind or of any. Its `held_out_rho` is
        free of the selection. ValueError for a kind that no filter has."""
        rows = self.tests if kind is None else self.tests[self.tests["kind"] == self._kind(kind)]
        return rows.loc[rows["rho"].idxmax()]

    def _kind(self, kind: str) -> str:
        known = self.tests["kind"].unique()
        if kind not in known:
            raise unknown(f"{self.task} kind", kind, known)
        return kind


def find_crafts(
    responses,
    task: str,
    *,
    layers: list[str] | None = None,
    alpha: float = 0.05,
    floor: float = 0.3,
    bootstraps: int = 1000,
    permutations: int = 1000,
    held_out: float = 0.34,
    seed: int = 0,
) -> Crafts:
    """The filters tuned to `task`, with the evidence.

    responses: a response table (`fl.responses`): `.layers` {layer: (n, C)}, `.identities` (n,),
    `.targets(task)`. layers: some layers only. alpha: false-discovery rate. floor: least |ρ| that counts as
    tuned. held_out: share of the people kept for replication. Images without the label are left out.

    Test and criterion depend on the label. It varies within people (yaw, expression): the sign-flip test of
    `clustered.flip_evidence`, and the lower bound of the within-person ρ must reach `floor`. It is constant
    within people (gender; or every image is another person): the exchange of labels of
    `clustered.exchange_evidence`; there is nothing within people to ask, and the lower bound of ρ itself must
    reach `floor`.

    Classes that vary within people are tested twice, p is the larger: the flip test assumes a symmetry that a
    rare class and a filter that seldom fires do not have (`clustered.permutation_p_values` does not, but takes a
    person's images for exchangeable). A single filter's p is calibrated on the average over all filters, q
    approximate to the same degree.

    Who is held out is drawn at random, or where the label is constant within people dealt over its classes or
    ranks. ValueError: unknown task or layer, no labels, labels that do not vary (a kind that does not vary among
    the held-out people is not tested, with a warning), too few people for `alpha`.

    >>> from types import SimpleNamespace
    >>> rng = np.random.default_rng(0)
    >>> yaw = rng.uniform(-60, 60, (240, 1))
    >>> x = np.hstack([yaw + 30 * rng.normal(size=(240, 1)), rng.normal(size=(240, 3))])  # filter 0 knows yaw
    >>> table = SimpleNamespace(layers={"conv": x}, identities=np.arange(240) // 12, targets=lambda task: yaw)
    >>> crafts = find_crafts(table, "yaw", bootstraps=200)
    >>> crafts
    Crafts of 'yaw': 1 of 4 filters; kinds left
    >>> crafts.layers
    {'conv': array([0])}
    """
    table = _Table.of(responses, task, layers, held_out, alpha, seed)
    tests = _test(table, table.signals, alpha, floor, permutations, bootstraps, seed)
    held = len(np.unique(table.people[table.held]))
    return Crafts(task, tests, table.varies, table.k - held, held, alpha, floor)


def shuffled(
    responses,
    task: str,
    *,
    shuffles: int = 20,
    layers: list[str] | None = None,
    alpha: float = 0.05,
    floor: float = 0.3,
    bootstraps: int = 1000,
    permutations: int = 1000,
    held_out: float = 0.34,
    seed: int = 0,
) -> np.ndarray:
    """How many filters `find_crafts` finds when the labels are permuted by person: (shuffles,) counts.

    A label that varies within people is mirrored about the mean of randomly chosen people; one that is
    constant is exchanged between people. Either leaves every person's images, and what filters share, as they
    are.
    """
    table = _Table.of(responses, task, layers, held_out, alpha, seed)
    people, y = table.people, table.signals
    mean = deal.means(y, people)
    counts = []
    for child in np.random.SeedSequence(seed).spawn(shuffles):
        rng = np.random.default_rng(child)
        if table.varies:
            sign = rng.choice((-1.0, 1.0), table.k)[people, None]
            null = mean[people] + sign * (y - mean[people])
        else:
            null = mean[rng.permutation(table.k)][people]
        tests = _test(table, null, alpha, floor, permutations, bootstraps, seed, only_passing=True)
        counts.append(tests.loc[tests["craft"], ["layer", "filter"]].drop_duplicates().shape[0])
    return np.array(counts)


@dataclass(frozen=True, eq=False)
class _Table:
    """What is tested: the rows that carry the label, people numbered 0 … k−1, and who is held out."""

    layers: dict[str, np.ndarray]
    kinds: list[tuple[str, str]]
    signals: np.ndarray  # (n, S)
    people: np.ndarray  # (n,)
    held: np.ndarray  # (n,) bool
    varies: bool
    classes: bool

    @property
    def k(self) -> int:
        return int(self.people.max()) + 1

    @classmethod
    def of(cls, responses, task, layers, held_out, alpha, seed) -> "_Table":
        if not 0 < held_out < 1:
            raise ValueError(f"held_out {held_out!r} must be a share of the people between 0 and 1")
        for layer in layers or []:
            if layer not in responses.layers:
                raise unknown("layer", layer, responses.layers)
        targets = responses.targets(tasks.get(task).name)
        known = ~np.isnan(targets).any(1)
        if not known.any():
            raise ValueError(f"task {task!r}: none of the {len(known)} images has this label")
        people = np.unique(np.asarray(responses.identities)[known], return_inverse=True)[1]
        k = people.max() + 1
        away = int(np.clip(round(held_out * k), 1, max(k - 1, 1)))
        found = signals(task, targets[known])
        y = np.stack([column for *_, column in found], 1)
        if (np.ptp(y, axis=0) == 0).all():
            raise ValueError(f"task {task!r}: the label is {targets[known][0]} on all {known.sum()} images")
        varies = deal.varies(y, people)
        held = deal.deal(y, people, away, varies, seed)[people]
        # The observed pattern is left out of the null: filters that all go together pass once in 2^(people − 1)
        # or in as many arrangements of the labels as there are, for each of the signals.
        needed = np.ceil(1 + np.log2(max(2, len(found)) / alpha)) if varies else 1 / alpha
        able = np.array([deal.able(column[~held], people[~held], varies) for column in y.T])
        able[np.ptp(y[held], axis=0) == 0] = 0  # nothing to replicate on
        what = "people with labels to learn from" if varies else "ways to deal the labels to people"
        if max(able) < needed:
            raise ValueError(
                f"task {task!r}: {k} people, {away} of them held out, are too few for a false-discovery rate "
                f"of {alpha:g}: of the others come {max(able):g} {what}, and it takes {needed:g} (none where the "
                "label does not vary among the held-out)"
            )
        for (kind, *_), count in zip(found, able, strict=True):
            if count < needed:
                log.warning("task %r: %r is not tested, people are too few (%g %s)", task, kind, count, what)
        tested = able >= needed
        kinds = [(kind, opposite) for (kind, opposite, _), test in zip(found, tested, strict=True) if test]
        chosen = {layer: responses.layers[layer][known] for layer in layers or responses.layers}
        classes = tasks.get(task).kind != "regression"
        return cls(chosen, kinds, y[:, tested], people, held, varies, classes)


def _test(table, y, alpha, floor, permutations, bootstraps, seed, only_passing=False) -> pd.DataFrame:
    """All statistics as one table. only_passing: intervals only where q ≤ alpha, as the shuffled control
    needs."""
    names = [(layer, c) for layer, x in table.layers.items() for c in range(x.shape[1])]
    held, there = table.held, np.unique(table.people[~table.held], return_inverse=True)[1]
    seen, unseen = _sums(table, y, ~held, there), _sums(table, y, held, np.zeros(held.sum(), int))
    rho = np.concatenate([block.rho() for block in seen()], 1)  # (S, F)
    within = np.concatenate([block.within().rho() for block in seen()], 1)
    held_out = np.concatenate([block.rho() for block in unseen()], 1)

    read = clustered.flip_evidence if table.varies else clustered.exchange_evidence
    signals = range(y.shape[1])
    p = [clustered.p_values(lambda s=s: (read(block, s) for block in seen()), permutations, seed) for s in signals]
    q = false_discovery_control(np.ravel(p)).reshape(rho.shape)
    if table.varies and table.classes and not (only_passing and q.min() > alpha):
        blocks = partial(_blocks, table.layers, ~held)
        p = np.maximum(p, clustered.permutation_p_values(blocks, y[~held], there, permutations, seed))
        q = false_discovery_control(np.ravel(p)).reshape(rho.shape)

    need = (q <= alpha).any(0) if only_passing else np.ones(q.shape[1], bool)
    weights = clustered.draws(there.max() + 1, bootstraps, seed)
    limits, start = np.full((4, *q.shape), np.nan), 0
    for block in seen():
        chosen = need[start : start + len(block.dead)]
        columns = start + np.flatnonzero(chosen)
        if len(columns):
            some = block.filters(chosen)
            limits[:2, :, columns] = clustered.interval(some, weights)
            if table.varies:
                limits[2:, :, columns] = clustered.interval(some.within(), weights)
        start += len(block.dead)

    sign = np.where(rho < 0, -1.0, 1.0)
    bounds = np.where(sign > 0, limits, -limits[[1, 0, 3, 2]])  # of sign · ρ: low, high, within low, within high
    if not table.varies:
        within = np.full(rho.shape, np.nan)
    replicated = sign * held_out >= floor
    craft = (q <= alpha) & (bounds[2 if table.varies else 0] >= floor) & replicated
    kinds = np.array(table.kinds, object)  # (S, 2)
    columns = {
        "kind": np.where(sign > 0, kinds[:, :1], kinds[:, 1:]),
        "rho": sign * rho, "low": bounds[0], "high": bounds[1],
        "within": sign * within, "within_low": bounds[2],
        "p": np.array(p), "q": q, "held_out_rho": sign * held_out, "replicated": replicated, "craft": craft,
    }  # fmt: skip
    where = pd.DataFrame(names * len(kinds), columns=["layer", "filter"])
    return where.assign(**{name: values.ravel() for name, values in columns.items()})


def _blocks(layers, rows: np.ndarray):
    """The responses of chosen rows, some filters at a time."""
    width = max(64, BLOCK // (3 * len(rows)))
    for x in layers.values():
        for start in range(0, x.shape[1], width):
            yield x[rows, start : start + width]


def _sums(table: _Table, y: np.ndarray, rows: np.ndarray, people: np.ndarray):
    """The sums per person of all filters at chosen rows, some thousand filters at a time: a function that
    gives them again at every call, kept where they are small, else taken from the responses anew."""
    each = (people.max() + 1) * (3 + 2 * y.shape[1])  # numbers per filter in the sums
    width = max(64, BLOCK // (each + 3 * len(rows)))

    def stream():
        for x in table.layers.values():
            for start in range(0, x.shape[1], width):
                yield clustered.sums(x[rows, start : start + width], y[rows], people)

    if each * sum(x.shape[1] for x in table.layers.values()) > BLOCK:
        return stream
    kept = list(stream())
    return lambda: iter(kept)
