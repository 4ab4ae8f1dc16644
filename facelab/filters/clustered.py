"""Correlation where the independent unit is the person, not the image.

2,790 images of 15 people are 15 independent things: every interval and every p-value here re-draws people.
Both need only sums per person (n, Σx, Σx², Σxy, Σy, Σy²), so a thousand bootstraps of thousands of filters
are a few matrix products, and no image is looked at twice.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

CHUNK = 250  # draws held at a time
EXACT = 15  # people up to which all 2^(k−1) sign flips are enumerated
TIE = 1e-9  # statistics closer than this (relative) count as equal


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


def sign_flips(k: int, permutations: int, seed: int) -> tuple[np.ndarray, float]:
    """(b, k) signs, and the smallest p-value they can give.

    All 2^(k−1) patterns up to a common sign where k ≤ 15 (the p-value is exact then, and cannot be smaller
    than 2^-(k−1)), else `permutations` random ones.
    """
    if k <= EXACT:
        bits = np.arange(2 ** (k - 1))[:, None] >> np.arange(k)[None] & 1
        return (1 - 2 * bits).astype(np.int8), 2.0 ** -(k - 1)
    flips = np.random.default_rng(seed).integers(0, 2, (permutations, k), np.int8)
    return 2 * flips - 1, 1 / (permutations + 1)


def flip_test(total: Sums, permutations: int, seed: int) -> tuple[np.ndarray, float]:
    """p-values (S, F) of "no relation within a person", two-sided, and the smallest p-value possible.

    s_i = Σ_j (x_ij − x̄_i)(y_ij − ȳ_i) is person i's own score. If a filter does not follow the label, s_i is
    as likely positive as negative, independently over people: flipping the sign of whole people gives the
    null of |Σ s_i|. (Exchanging label sequences between people would be no test at all where everybody has
    the same poses.) Only people whose label varies take part.
    """
    inside = total.within()
    p, smallest = np.ones(inside.xy.shape[::2]), 0.0
    for s, score in enumerate(inside.xy):
        score = score[inside.yy[:, s] > 1e-9]
        if len(score) == 0:
            smallest = 1.0
            continue
        flips, least = sign_flips(len(score), permutations, seed)
        smallest = max(smallest, least)
        observed = np.abs(score.sum(0)) * (1 - TIE)
        parts = np.array_split(flips.astype(float), -(-len(flips) // CHUNK))
        hits = _exceed(lambda part, score=score: np.abs(part @ score), parts, observed)
        p[s] = hits / len(flips) if len(score) <= EXACT else (hits + 1) / (len(flips) + 1)
        p[s, total.dead | (observed == 0)] = 1.0
    return p, smallest


def exchange_test(total: Sums, permutations: int, seed: int) -> tuple[np.ndarray, float]:
    """p-values (S, F) of "no relation between people", two-sided, and the smallest p-value possible.

    For labels that are constant within a person: whole people exchange their labels, and |ρ| of the images
    with the exchanged labels is the null. A person's mean label stands for the person.
    """
    label = total.y / total.n[:, None]  # (k, S)
    n, mean_x = total.n.sum(), total.x.sum(0) / total.n.sum()
    p = np.ones((label.shape[1], total.x.shape[1]))
    for s in np.flatnonzero(~total.flat):

        def statistic(order, s=s):
            y = label[order, s]  # (b, k)
            mean = y @ total.n / n
            spread = np.sqrt(np.maximum(y**2 @ total.n / n - mean**2, 1e-300))
            covariance = y @ total.x - (mean * n)[:, None] * mean_x
            return np.abs(covariance) / spread[:, None]  # ∝ |ρ|: the spread of x stays the same

        observed = statistic(np.arange(total.k)[None])[0] * (1 - TIE)
        p[s] = (_exceed(statistic, _orders(total.k, permutations, seed), observed) + 1) / (permutations + 1)
        p[s, total.dead] = 1.0
    return p, 1 / (permutations + 1)


def _orders(k: int, permutations: int, seed: int):
    """Random orders of k people, some at a time: all at once would not fit in memory where k is large."""
    rng = np.random.default_rng(seed)
    for start in range(0, permutations, CHUNK):
        rows = min(CHUNK, permutations - start)
        yield rng.permuted(np.tile(np.arange(k), (rows, 1)), axis=1)


def _exceed(statistic, parts, observed: np.ndarray) -> np.ndarray:
    """In how many draws the statistic is at least as large as observed (F,)."""
    hits = np.zeros(observed.shape)
    for part in parts:
        hits += (statistic(part) >= observed).sum(0)
    return hits
