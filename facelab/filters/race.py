"""The exact LASSO path side by side with scikit-learn's solvers: time, duality gap and support, in one run.

Seconds depend on the machine; ratios of interleaved runs hardly do. Everyone starts from moments and gets one thread;
times are processor seconds of this process, which other programs disturb least. Ours is timed with everything: checks,
standardising, path, certificate.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path_gram
from sklearn.linear_model import lasso_path as coordinate_descent

from facelab import errors
from facelab.filters.lasso import duality_gap, lasso_path, one_blas_thread


@dataclass(frozen=True, eq=False)
class Entry:
    """One solver's part: seconds of each run, its worst duality gap (of ½Var(y)), and how it compares with ours."""

    name: str
    seconds: np.ndarray  # (runs,)
    ratio: float  # median over rounds of its time / ours in the same round
    gap: float  # over all λ
    same_support: float  # share of the λ at which it keeps exactly the filters of the certified path
    finished: bool  # whether it claims to have converged


@dataclass(frozen=True, eq=False)
class Race:
    """What `race` measured: one `Entry` a solver, the reference ("ours") first."""

    size: int
    entries: tuple[Entry, ...]

    def ratio(self, name: str) -> float:
        """How many times our time a solver takes."""
        names = [entry.name for entry in self.entries]
        if name not in names:
            raise errors.unknown("solver", name, names)
        return self.entries[names.index(name)].ratio

    def table(self) -> pd.DataFrame:
        """One row a solver: milliseconds (median, fastest, slowest), runs, ratio, gap, support, finished."""
        return pd.DataFrame(
            {
                "solver": entry.name,
                "C": self.size,
                "ms": 1e3 * np.median(entry.seconds),
                "ms_low": 1e3 * entry.seconds.min(),
                "ms_high": 1e3 * entry.seconds.max(),
                "runs": len(entry.seconds),
                "ratio": entry.ratio,
                "gap": entry.gap,
                "same_support": entry.same_support,
                "finished": entry.finished,
            }
            for entry in self.entries
        )


def race(xx, xy, yy, n, *, rivals=("sklearn", "lars"), runs=5, n_lambdas=100, ratio=1e-4) -> Race:
    """Time the path of one system (`xx` (C, C), `xy` (C,), `yy`, `n`: centred sums) against `rivals`, interleaved.

    Rivals: "numpy" (our plain path), "sklearn" (`lasso_path` on the Gram matrix, default tolerance), "sklearn_tight"
    (the same at tol = 1e-6, with as many iterations as it takes) and "lars" (`lars_path_gram`). `runs`: how often, one
    number or a mapping from name to number (a tight run takes 18 s at C = 256, and far longer at 512).

    >>> xx, xy, yy, n = like_responses(16, 200)
    >>> race(xx, xy, yy, n, rivals=["sklearn"], runs=2).table()["solver"].tolist()
    ['ours', 'sklearn']
    """
    for name in rivals:
        if name not in SOLVERS:
            raise errors.unknown("solver", name, SOLVERS)
    fixed = {name: runs.get(name, 5) if isinstance(runs, Mapping) else runs for name in rivals}
    if min(fixed.values(), default=1) < 1:
        raise ValueError(f"runs is {runs!r}: expected at least 1 for every solver")
    ours = partial(lasso_path, xx, xy, yy, n, n_lambdas=n_lambdas, ratio=ratio)
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        path = ours()  # the first run compiles
        problem = _Problem(xx, xy, yy, n, path.lambdas)
        mine, theirs, ratios, answers = [], {name: [] for name in rivals}, {name: [] for name in rivals}, {}
        for turn in range(max(fixed.values(), default=1)):
            for name in rivals:
                if turn < fixed[name]:
                    beside = [_timed(ours)[0] for _ in range(3)]
                    seconds, answers[name] = _timed(partial(SOLVERS[name], problem))
                    beside += [_timed(ours)[0] for _ in range(3)]
                    mine += beside
                    theirs[name].append(seconds)
                    ratios[name].append(seconds / np.median(beside))
    entries = [Entry("ours", np.array(mine), 1.0, float(path.gap.max()), 1.0, path.certified)]
    for name in rivals:
        coef, finished = answers[name]
        gap = duality_gap(problem.gram, problem.c, problem.lambdas, coef).max()
        same = ((coef != 0) == path.support[:, problem.live]).all(axis=1).mean()
        entries.append(
            Entry(name, np.array(theirs[name]), float(np.median(ratios[name])), float(gap), float(same), finished)
        )
    return Race(len(xx), tuple(entries))


def race_network(systems: Sequence, *, runs=1, n_lambdas=100, ratio=1e-4) -> tuple[float, float, float]:
    """All paths of a network, every layer and task: our seconds, scikit-learn's (Gram, default tolerance), the ratio.

    `systems` as `Moments.system` gives them (`xx` (C, C), `xy` (C, T), `yy` (T,), `n`). Interleaved path by path;
    the ratio is that of the sums.

    >>> from types import SimpleNamespace
    >>> xx, xy, yy, n = like_responses(8, 100)
    >>> ours, theirs, ratio = race_network([SimpleNamespace(xx=xx, xy=xy[:, None], yy=np.array([yy]), n=n)])
    >>> ratio == theirs / ours
    True
    """
    ours = theirs = 0.0
    for system in systems:
        for t in range(system.xy.shape[1]):
            one = race(system.xx, system.xy[:, t], system.yy[t], system.n, rivals=("sklearn",), runs=runs,
                       n_lambdas=n_lambdas, ratio=ratio)  # fmt: skip
            ours += float(np.median(one.entries[0].seconds))
            theirs += float(np.median(one.entries[1].seconds))
    return ours, theirs, theirs / ours


def like_responses(size: int, n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Moments (xx, xy, yy, n) of `size` made-up filters: non-negative, and as correlated as a deep layer's responses.

    max(0, factors · weights + shift) with factors whose deviation falls as 1 / rank: at 256 filters the eigenvalues of
    the correlations fall from 80 to 5e-3, those of a late layer of the identity network on photos from 52 to 1e-3.
    The target follows twenty factors, half of its variance is noise.

    >>> xx, xy, yy, n = like_responses(16, 200)
    >>> xx.shape, xy.shape, n
    ((16, 16), (16,), 200)
    """
    rng = np.random.default_rng(seed)
    fall = 1.0 / np.arange(1, size + 1)
    factors = rng.standard_normal((n, size))
    mixed = (factors * fall) @ rng.standard_normal((size, size)) / np.linalg.norm(fall)
    x = np.maximum(mixed + 0.5 * rng.standard_normal(size), 0.0)
    y = factors[:, :20] @ rng.standard_normal(min(size, 20))
    y = y / y.std() + rng.standard_normal(n)
    x, y = x - x.mean(axis=0), y - y.mean()
    return x.T @ x, x.T @ y, float(y @ y), n


class _Problem:
    """The same system as the rivals want it: unit-free correlations, and rows of data that have these moments.

    scikit-learn's Gram solver reads only the number of rows from the data; C + 1 rows carry all the moments.
    """

    def __init__(self, xx, xy, yy, n, lambdas):
        variance = np.diagonal(xx) / n
        self.live = np.flatnonzero(variance > 1e-30 * variance.max())
        self.moments = xx, xy, yy, n
        self.deviation, self.spread = np.sqrt(variance[self.live]), np.sqrt(yy / n)
        gram = xx[np.ix_(self.live, self.live)] / self.deviation / self.deviation[:, None] / n
        self.gram = np.ascontiguousarray(gram)
        self.c = xy[self.live] / self.deviation / self.spread / n
        self.lambdas = lambdas / self.spread
        whole = np.block([[self.gram, self.c[:, None]], [self.c[None], np.ones((1, 1))]])
        values, vectors = np.linalg.eigh(whole)
        self.rows = len(whole)
        root = np.sqrt(self.rows * np.maximum(values, 0.0))[:, None] * vectors.T  # rootᵀ root / rows = whole
        self.x, self.y = np.asfortranarray(root[:, :-1]), np.ascontiguousarray(root[:, -1])
        self.xx, self.xy = self.gram * self.rows, self.c * self.rows


def _sklearn(problem, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        _, coef, _ = coordinate_descent(
            problem.x, problem.y, alphas=problem.lambdas, precompute=problem.xx, Xy=problem.xy, **options
        )
    return coef.T, not said


def _lars(problem):
    alphas, _, coefs = lars_path_gram(
        problem.c, problem.gram, n_samples=1, method="lasso", alpha_min=problem.lambdas[-1], max_iter=100_000
    )
    coef = np.empty((len(problem.lambdas), len(problem.c)))
    for k, lam in enumerate(problem.lambdas):  # linear between the knots
        right = min(max(int(np.searchsorted(-alphas, -lam)), 1), len(alphas) - 1)
        high, low = alphas[right - 1], alphas[right]
        share = min(max((high - lam) / (high - low), 0.0), 1.0) if high > low else 1.0
        coef[k] = (1 - share) * coefs[:, right - 1] + share * coefs[:, right]
    return coef, bool(alphas[-1] <= problem.lambdas[-1] * (1 + 1e-9))


def _plain(problem):
    path = lasso_path(*problem.moments, lambdas=problem.lambdas * problem.spread, backend="numpy")
    return path.coef[:, problem.live] * (problem.deviation / problem.spread), path.certified


SOLVERS: dict[str, Callable] = {
    "numpy": _plain,
    "sklearn": _sklearn,
    "sklearn_tight": partial(_sklearn, tol=1e-6, max_iter=1_000_000),
    "lars": _lars,
}


def _timed(call):
    start = time.process_time()
    answer = call()
    return time.process_time() - start, answer
