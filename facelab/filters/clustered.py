"""Correlation where the independent unit is the person, not the image.

2,790 images of 15 people are 15 independent things: every interval and every p-value here re-draws people.
Both need only sums per person (n, Σx, Σx², Σxy, Σy, Σy²), so a thousand bootstraps of thousands of filters
are a few matrix products, and no image is looked at twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

CHUNK = 250  # draws held at a time
KEPT = 2**25  # numbers of draws kept for all blocks of filters (256 MB)
ORDERS = 32  # orders of all images held at a time
TIE = 1e-9  # statistics closer than this (relative) count as equal
TIE32 = 1e-5  # the same where they are computed in float32


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums per person of filters x and signals y, both standardised over all images. k people, F filters, S
    signals.

    n (k,); x, xx (k, F); y, yy (k, S); xy (S, k, F). `dead` (F,): filters that never change; `flat` (S,)
    likewise.
    """

    n: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    dead: np.ndarray
    flat: np.ndarray

    @property
    def k(self) -> int:
        return len(self.n)

    def filters(self, keep: np.ndarray) -> "Sums":
        """The same for some filters only."""
        x, xx, xy = self.x[:, keep], self.xx[:, keep], self.xy[:, :, keep]
        return Sums(self.n, x, xx, self.y, self.yy, xy, self.dead[keep], self.flat)

    def within(self) -> "Sums":
        """The sums after x and y are centred on each person's own mean: what is left once identity is
        known."""
        n = self.n[:, None]
        return Sums(
            self.n,
            np.zeros_like(self.x),
            np.maximum(self.xx - self.x**2 / n, 0),
            np.zeros_like(self.y),
            np.maximum(self.yy - self.y**2 / n, 0),
            self.xy - self.x * (self.y / n).T[:, :, None],
            self.dead,
            self.flat,
        )

    def rho(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Pearson ρ (S, F), or (b, S, F) with `weights` (b, k) = how often each person was drawn. NaN where a
        filter or a signal does not vary."""
        w = np.ones((1, self.k)) if weights is None else weights
        n = w @ self.n  # (b,)
        x, y = w @ self.x / n[:, None], w @ self.y / n[:, None]  # (b, F), (b, S)
        var_x = w @ self.xx / n[:, None] - x**2
        var_y = w @ self.yy / n[:, None] - y**2
        var_x[(var_x < 1e-9) | self.dead] = np.nan
        var_y[(var_y < 1e-9) | self.flat] = np.nan
        out = np.stack([w @ xy for xy in self.xy], 1) / n[:, None, None]  # (b, S, F)
        out -= y[:, :, None] * x[:, None]
        out /= np.sqrt(var_y)[:, :, None]
        out /= np.sqrt(var_x)[:, None]
        np.clip(out, -1, 1, out=out)
        return out[0] if weights is None else out


def sums(x: np.ndarray, y: np.ndarray, people: np.ndarray) -> Sums:
    """Sums per person. x (n, F), y (n, S), people (n,) integers 0 … k−1.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=(60, 1)); x = y + rng.normal(size=(60, 2))
    >>> total = sums(x, y, np.repeat(np.arange(6), 10))
    >>> np.allclose(total.rho()[0, 1], np.corrcoef(x[:, 1], y[:, 0])[0, 1])
    True
    """
    x, dead = standardise(x)
    y, flat = standardise(y)
    rows, k = np.arange(len(x)), int(people.max()) + 1
    member = sparse.csr_matrix((np.ones(len(x)), (people, rows)), (k, len(x)))  # (k, n)
    xy = [sparse.csr_matrix((column, (people, rows)), (k, len(x))) @ x for column in y.T]
    n = np.bincount(people, minlength=k).astype(float)
    return Sums(n, member @ x, member @ x**2, member @ y, member @ y**2, np.stack(xy), dead, flat)


def standardise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of mean 0 and standard deviation 1 in float64, and which of them are constant (those become 0).

    Constant: a spread below a millionth of the mean, which is what float32 rounding leaves of a dead filter.
    """
    x = np.asarray(x, np.float64)
    mean, sd = x.mean(0), x.std(0)
    constant = ~(sd > 1e-6 * np.abs(mean))
    return np.where(constant, 0, x - mean) / np.where(constant, 1, sd), constant


def draws(k: int, bootstraps: int, seed: int) -> np.ndarray:
    """(bootstraps, k) how often each person is drawn when k people are drawn with replacement."""
    return np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), bootstraps).astype(np.uint16)


def interval(total: Sums, weights: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Clustered bootstrap interval of ρ, low and high (S, F).

    tanh(atanh ρ ± t · s), s = standard deviation of atanh ρ* over the re-drawn people (`weights` from
    `draws`), inflated by √(k / (k−1)), t = Student's quantile with k−1 degrees of freedom. With a dozen
    people the plain percentile interval is too short; this one keeps its coverage (see the tests).
    """
    k = total.k
    count, first, second = 0.0, 0.0, 0.0
    centre = np.arctanh(np.clip(total.rho(), -1 + 1e-9, 1 - 1e-9))
    for start in range(0, len(weights), CHUNK):
        z = np.arctanh(np.clip(total.rho(weights[start : start + CHUNK].astype(float)), -1 + 1e-9, 1 - 1e-9))
        seen = ~np.isnan(z)  # a draw in which nothing varies says nothing
        z = np.where(seen, z - centre, 0)
        count, first, second = count + seen.sum(0), first + z.sum(0), second + (z**2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(second / count - (first / count) ** 2, 0) * k / (k - 1))
    half = stats.t.ppf((1 + level) / 2, k - 1) * spread
    return np.tanh(centre - half), np.tanh(centre + half)


@dataclass(frozen=True, eq=False)
class Evidence:
    """One number per person and filter, and how the null re-draws it: the statistic is A = |w · unit|.

    unit (k, F): columns of length 1, 0 for dead filters; observed (k,): the weights w of the people as they
    are.
    """

    unit: np.ndarray
    observed: np.ndarray
    flips: bool

    def statistic(self, weights: np.ndarray | None = None) -> np.ndarray:
        """A (F,) as observed, or (b, F) under re-drawn weights (b, k)."""
        return np.abs((self.observed if weights is None else weights) @ self.unit)

    def null(self, permutations: int, seed: int):
        """Re-drawn weights, (b, k) at a time: all patterns of signs (up to a common one, without the observed
        one) where there are at most `permutations`, else that many random ones; or random orders of the
        labels."""
        k, rng = len(self.observed), np.random.default_rng(seed)
        exact = self.flips and k < 60 and 2 ** (k - 1) - 1 <= permutations
        total = 2 ** (k - 1) - 1 if exact else permutations
        for start in range(0, total, CHUNK):
            rows = np.arange(start, min(start + CHUNK, total)) + 1
            if exact:
                yield 1.0 - 2.0 * (rows[:, None] >> np.arange(k) & 1)
            elif self.flips:
                yield rng.choice((-1.0, 1.0), (len(rows), k))
            else:
                yield rng.permuted(np.tile(self.observed, (len(rows), 1)), axis=1)


def flip_evidence(total: Sums, signal: int) -> Evidence:
    """Against "no relation within a person", for a label that varies within people.

    s_i = Σ_j (x_ij − x̄_i)(y_ij − ȳ_i) is person i's own score. If a filter does not follow the label, s_i is
    as likely positive as negative, independently over people: flipping the sign of whole people gives the
    null of A = |Σ s_i| / √Σ s_i² (Student's t over people, up to a monotone map). Exchanging labels between
    people would be no test at all where everybody takes the same poses. Only people whose label varies take
    part.

    It assumes that under the null s_i is symmetric about 0. Exact where the label or the response is (angles
    that go both ways); for labels and responses both skewed (a class of few images, a filter that seldom fires)
    s_i is many small negatives and a rare large positive, and p comes out too small: `permutation_p_values`
    stands beside it for classes.
    """
    inside = total.within()
    score = inside.xy[signal][inside.yy[:, signal] > 1e-9]
    return Evidence(_unit(score), np.ones(len(score)), True)


def exchange_evidence(total: Sums, signal: int) -> Evidence:
    """Against "no relation between people", for a label that is constant within people.

    A = |correlation over people of their mean response with their label|; whole people exchange their labels.
    """
    label = total.y[:, signal] / total.n
    x = total.x / total.n[:, None]
    return Evidence(_unit(x - x.mean(0)), _unit((label - label.mean())[:, None])[:, 0], False)


def _unit(columns: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(columns, axis=0)
    return columns / np.where(length > 1e-9, length, np.inf)


def p_values(evidence: Callable[[], Iterable[Evidence]], permutations: int, seed: int) -> np.ndarray:
    """Two-sided p-values (F,) of one signal, over all blocks of filters that `evidence()` yields.

    p = (1 + #{filters f, draws b: A_f(b) ≥ A}) / (1 + #{f, b}), the null pooled over the filters, each
    re-drawn in the same way so that what they share is kept. Ten people have only 511 patterns of signs: a
    filter's own null stops at p = 0.002, at which no correction for thousands of filters lets anything pass.
    A is free of scale (a filter's null depends on k alone, nearly), which is what makes pooling fair: p is
    calibrated on the average over the filters, a single filter's only as far as its null is like the others',
    and q is approximate to the same degree. Dead filters get 1 and stay out of the pool.
    """
    observed = np.concatenate([part.statistic() for part in evidence()])
    order = np.sort(observed * (1 - TIE))
    below, pairs = np.zeros(len(order) + 1), 0
    drawn = []  # the same for every block of filters: drawn once, where they are small
    for part in evidence():
        live = part.unit.any(0)
        if not drawn and permutations * len(part.observed) <= KEPT:
            drawn = list(part.null(permutations, seed))
        for weights in drawn or part.null(permutations, seed):
            null = part.statistic(weights)[:, live]
            below += np.bincount(np.searchsorted(order, null.ravel(), "right"), minlength=len(below))
            pairs += null.size
    exceed = pairs - np.cumsum(below)[:-1]  # how many null values reach the i-th smallest observed one
    p = (1 + exceed[np.searchsorted(order, observed * (1 - TIE))]) / (1 + pairs)
    return np.where(observed > 0, p, 1.0)


def permutation_p_values(
    blocks: Callable[[], Iterable[np.ndarray]], y: np.ndarray, people: np.ndarray, permutations: int, seed: int
) -> np.ndarray:
    """Two-sided p-values (S, F) from exchanging the labels of each person's own images.

    blocks: gives x (n, F') for some filters at a time; y (n, S) signals; people (n,). The statistic of a filter is
    |Σ_ij (x_ij − x̄_i) y_ij| over its standard deviation when every person's labels are put in random order,
    √Σ_i S_xx,i S_yy,i / (n_i − 1): exact whatever the shape of x and y, if a person's images are exchangeable,
    and in units of its own null, so that the null is pooled over filters as in `p_values` (calibrated on the
    average). The same orders serve all filters and signals, so that what they share is kept.
    """
    order = np.argsort(people, kind="stable")
    who = np.unique(people[order], return_inverse=True)[1]
    n = np.bincount(who).astype(float)
    member = sparse.csr_matrix((np.ones(len(who)), (who, np.arange(len(who)))))
    labels = _inside(y[order], member, n)
    room = (member @ labels**2) / np.maximum(n - 1, 1)[:, None]  # (k, S)

    def scaled():
        for x in blocks():
            x = _inside(standardise(x)[0][order], member, n)
            sd = np.sqrt(room.T @ (member @ x**2))  # (S, F)
            yield x.astype(np.float32), np.where(sd > 1e-6, sd, np.inf).astype(np.float32)

    labels = labels.astype(np.float32)
    observed = np.concatenate([np.abs(labels.T @ x) / sd for x, sd in scaled()], 1)
    least = [np.sort(row) for row in observed * (1 - TIE32)]
    below, pairs = np.zeros((len(least), len(least[0]) + 1), np.int64), np.zeros((len(least), 1), np.int64)
    for x, sd in scaled():
        rng, live = np.random.default_rng(seed), np.isfinite(sd)
        for start in range(0, permutations, ORDERS):
            orders = [np.argsort(who + rng.random(len(who))) for _ in range(start, min(start + ORDERS, permutations))]
            drawn = np.concatenate([labels[o].T for o in orders])  # (b·S, n): whole people stay in place
            null = np.abs(drawn @ x).reshape(len(orders), *sd.shape) / sd
            for s, alive in enumerate(live):
                places = np.searchsorted(least[s], null[:, s, alive].ravel(), "right")
                below[s] += np.bincount(places, minlength=below.shape[1])
        pairs += permutations * live.sum(1, keepdims=True)
    exceed = pairs - np.cumsum(below, 1)[:, :-1]
    rank = np.stack([np.searchsorted(a, row * (1 - TIE32)) for a, row in zip(least, observed, strict=True)])
    p = (1 + np.take_along_axis(exceed, rank, 1)) / (1 + pairs)
    return np.where(observed > 0, p, 1.0)


def _inside(columns: np.ndarray, member: sparse.csr_matrix, n: np.ndarray) -> np.ndarray:
    """Columns (n, c), ordered by person, less every person's own mean."""
    return columns - np.repeat((member @ columns) / n[:, None], n.astype(int), 0)
