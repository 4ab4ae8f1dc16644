"""The exact LASSO path of a task on a layer's filters, from moments alone, each point with its certificate."""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from threading import Lock

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import ThreadpoolController

from facelab import errors
from facelab.filters import _homotopy, _repair

BACKENDS = ("auto", "numba", "numpy")
TOLERANCE = 1e-9  # of ½Var(y): a larger duality gap is repaired
SYMMETRY = 1e-8  # of the columns' deviations: a larger difference between xx and its transpose is an error
DEAD = 1e-30  # a variance below this share of the largest is no variance


class NotCertified(RuntimeWarning):
    """A point of a path whose duality gap stayed above the tolerance after every repair."""


@dataclass(frozen=True, eq=False)
class LassoPath:
    """One path, λ descending. Coefficients in raw units: the model is ȳ + (x − x̄) · coef."""

    lambdas: np.ndarray  # (k,) descending, in units of y
    coef: np.ndarray  # (k, C) units of y per unit of x
    gap: np.ndarray  # (k,) duality gap in units of ½Var(y)
    events: int  # joins and drops along the path
    fallbacks: int  # points that had to be repaired to reach the tolerance
    tolerance: float = TOLERANCE

    @property
    def support(self) -> np.ndarray:
        """Which filters are in the model, (k, C)."""
        return self.coef != 0

    @property
    def num(self) -> np.ndarray:
        """How many filters are in the model, (k,)."""
        return np.count_nonzero(self.coef, axis=1)

    @property
    def certified(self) -> bool:
        """Whether every point's duality gap is within the tolerance."""
        return bool((self.gap <= self.tolerance).all())

    def table(self) -> pd.DataFrame:
        """One row a λ: `lam`, `num` (filters in the model), `gap` (of ½Var(y))."""
        return pd.DataFrame({"lam": self.lambdas, "num": self.num, "gap": self.gap})


def lasso_path(
    xx, xy, yy, n, *, lambdas=None, n_lambdas=100, ratio=1e-4, standardize=True, backend="auto", tol=TOLERANCE
) -> LassoPath:
    """The exact path of min over β0, β of 1/(2n) Σ (y − β0 − xβ)² + λ‖β‖₁ (ETL §3.2, Eq. 3), from centred sums.

    `xx` (C, C) = Σ (x − x̄)(x − x̄)ᵀ, `xy` (C,) = Σ (x − x̄)(y − ȳ), `yy` = Σ (y − ȳ)², over `n` rows.
    `lambdas`: any positive values in any order, in units of y; by default `n_lambdas` values from
    `lambda_max` down to `ratio` times it, geometrically. `standardize` divides the columns by their
    population deviation first and gives the coefficients back in raw units. `backend`: "numba", "numpy"
    (the same walk, slower), or "auto" (numba where it is installed).

    The homotopy (Osborne, Presnell and Turlach 2000; Efron et al. 2004) needs no tolerance; `tol` is for
    the certificate. Every point gets its duality gap, in closed form on the moments. With e = y − xβ, r =
    Xᵀe / n:

        gap = ½|e|²/n + λ‖β‖₁ − s·yᵀe/n + ½s²·|e|²/n,    s = min(yᵀe / |e|², λ / max|r|)

    A point above `tol` is repaired and counted; one that stays above it raises a `NotCertified` warning.
    A column without variance gets no coefficient; of duplicated columns the path takes the first.

    Departs from the paper by standardising the columns: else λ means something else in every layer.

    ValueError: shapes that do not match, NaN or infinity, n < 2, asymmetric `xx`, sums no data can have,
    λ ≤ 0.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8))
    >>> y = 3 * x[:, 2] - x[:, 5] + rng.normal(size=500)
    >>> x, y = x - x.mean(0), y - y.mean()
    >>> path = lasso_path(x.T @ x, x.T @ y, y @ y, len(y), n_lambdas=5)
    >>> path.num.tolist(), path.coef[1].nonzero()[0].tolist()
    ([0, 2, 6, 8, 8], [2, 5])
    >>> path.certified, path.fallbacks
    (True, 0)
    """
    xy = np.asarray(xy, dtype=np.float64)
    if xy.ndim != 1:
        raise ValueError(f"xy has shape {xy.shape}: expected (C,), one target; lasso_paths takes several")
    with one_blas_thread():
        system = _System(xx, xy[:, None], np.atleast_1d(yy), n, standardize)
        return _paths(system, lambdas, n_lambdas, ratio, backend, tol)[0]


def lasso_paths(
    systems: Sequence,
    *,
    lambdas=None,
    n_lambdas=100,
    ratio=1e-4,
    standardize=True,
    backend="auto",
    tol=TOLERANCE,
    jobs=1,
) -> list[list[LassoPath]]:
    """`lasso_path` for many systems, `jobs` at a time in threads: for each system a list with one path a target.

    A system has the attributes `xx` (C, C), `xy` (C, T), `yy` (T,) and `n`, as `Moments.system` gives
    them. Targets of one system share a λ grid: from the largest of their `lambda_max` on. `lambdas`: one
    grid for all, or a list of one grid for each system.

    >>> from types import SimpleNamespace
    >>> xx, xy = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> [[yaw, age]] = lasso_paths([SimpleNamespace(xx=xx, xy=xy, yy=np.array([3.0, 2.0]), n=2)], n_lambdas=3)
    >>> yaw.num.tolist(), age.num.tolist()
    ([0, 1, 1], [0, 2, 2])
    """
    systems = list(systems)
    each = isinstance(lambdas, (list, tuple)) and len(lambdas) > 0 and np.ndim(lambdas[0]) == 1
    if each and len(lambdas) != len(systems):
        raise ValueError(
            f"{len(lambdas)} grids of lambdas for {len(systems)} systems: expected one each, or one for all"
        )

    def solve(k):
        system = _System(systems[k].xx, systems[k].xy, systems[k].yy, systems[k].n, standardize)
        return _paths(system, lambdas[k] if each else lambdas, n_lambdas, ratio, backend, tol)

    _backend(backend)  # compile once, before the threads start
    with one_blas_thread():
        if jobs == 1:  # joblib would cost more than a small path
            return [solve(k) for k in range(len(systems))]
        return joblib.Parallel(n_jobs=jobs, prefer="threads")(joblib.delayed(solve)(k) for k in range(len(systems)))


def lambda_max(xx, xy, n, standardize=True) -> float:
    """The smallest λ at which every coefficient is zero: max_c |Σ (x_c − x̄_c)(y − ȳ)| / n, on standardised columns.

    With `xy` (C, T) the largest over the targets.

    >>> lambda_max(np.diag([8.0, 2.0]), np.array([4.0, 3.0]), 2)  # deviations 2 and 1
    1.5
    """
    xy = np.asarray(xy, dtype=np.float64)
    system = _System(xx, xy.reshape(len(xy), -1), None, n, standardize)
    return float(system.top.max())


class _System:
    """Checked moments without units: live columns only, divided by their deviations; targets by theirs."""

    def __init__(self, xx, xy, yy, n, standardize):
        xx, xy = np.asarray(xx, dtype=np.float64), np.asarray(xy, dtype=np.float64)
        if xx.ndim != 2 or xx.shape[0] != xx.shape[1] or not len(xx):
            raise ValueError(f"xx has shape {xx.shape}: expected (C, C) with C ≥ 1")
        if xy.ndim != 2 or len(xy) != len(xx):
            raise ValueError(f"xy has shape {xy.shape}: expected {len(xx)} rows, as xx has")
        if not np.isfinite(n) or n < 2:
            raise ValueError(f"n is {n!r}: a path needs at least 2 rows")
        for name, values in (("xx", xx), ("xy", xy)):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{name} holds NaN or infinity, first at {tuple(np.argwhere(~np.isfinite(values))[0].tolist())}"
                )
        self.size, self.n = len(xx), float(n)

        variance = np.diagonal(xx) / n
        largest = max(variance.max(), 0.0)
        self.live = np.flatnonzero(variance > max(DEAD * largest, np.finfo(float).tiny))
        if len(self.live) < self.size:
            xx, xy = xx[np.ix_(self.live, self.live)], xy[self.live]
        deviation = np.sqrt(variance[self.live])
        gram = xx * (1.0 / deviation)
        gram *= (1.0 / (n * deviation))[:, None]
        self._check_symmetric(gram)
        c = xy / deviation[:, None] / n  # units of y

        if yy is not None:
            yy = np.asarray(yy, dtype=np.float64)
            if yy.shape != (xy.shape[1],):
                raise ValueError(f"yy has shape {yy.shape}: expected ({xy.shape[1]},), one value a target, as xy has")
            if not np.isfinite(yy).all() or (yy < -1e-9 * n).any():
                raise ValueError(f"yy is {yy.tolist()}: expected sums of squares, finite and ≥ 0")
            self.spread = np.sqrt(np.maximum(yy, 0.0) / n)
            c[:, self.spread == 0] = 0.0  # a constant target: what is left in xy is rounding
            self._check_possible(gram, c, variance[self.live], largest)

        if standardize:
            self.unit = deviation
        else:  # the penalty is on raw coefficients: one common unit, so the same numbers come back
            self.unit = np.full(len(deviation), np.sqrt(largest))
            share = deviation / self.unit
            gram *= share * share[:, None]
            c *= share[:, None]
        # What λ is multiplied by when that unit is taken out.
        self.penalty = 1.0 if standardize else float(np.sqrt(largest)) or 1.0
        self.gram, self.c = np.ascontiguousarray(gram), c
        self.top = np.abs(c).max(axis=0, initial=0.0) * self.penalty

    def _check_symmetric(self, gram):
        """A matrix and its transpose take one vector to one place: cheaper than comparing every pair."""
        probe = 1.0 + np.modf(np.arange(1, len(gram) + 1) * 0.6180339887498949)[0]
        if np.abs(gram @ probe - probe @ gram).max(initial=0.0) > SYMMETRY:
            i, j = np.unravel_index(np.abs(gram - gram.T).argmax(), gram.shape)
            raise ValueError(
                f"xx is not symmetric: in units of the deviations, entry ({self.live[i]}, {self.live[j]}) is "
                f"{gram[i, j]:.6g} and its mirror {gram[j, i]:.6g}"
            )

    def _check_possible(self, gram, c, variance, largest):
        """Cauchy–Schwarz. A column that fails it and is all rounding counts as dead; otherwise the sums are wrong."""
        limit = 1 + 1e-6
        if max(gram.max(initial=0.0), -gram.min(initial=0.0)) <= limit and (np.abs(c) <= limit * self.spread).all():
            return
        over = self._impossible(gram, c, limit)
        noise = over & (variance < 1e-12 * largest)
        gram[noise], gram[:, noise], c[noise] = 0.0, 0.0, 0.0
        gram[noise, noise] = 1.0
        over = self._impossible(gram, c, limit)
        if over.any():
            raise ValueError(
                f"the sums of column {self.live[over.argmax()]} are larger than any data can have (Cauchy–Schwarz): "
                "are xx, xy, yy centred, and over the same rows?"
            )

    def _impossible(self, gram, c, limit):
        return (np.abs(c) > limit * self.spread).any(axis=1) | (np.abs(gram) > limit).any(axis=1)


def _paths(system, lambdas, n_lambdas, ratio, backend, tol):
    """One path a target, on one grid."""
    if lambdas is None:
        if not (isinstance(n_lambdas, (int, np.integer)) and n_lambdas >= 1):
            raise ValueError(f"n_lambdas is {n_lambdas!r}: expected a whole number ≥ 1")
        if not 0 < ratio < 1:
            raise ValueError(f"ratio is {ratio!r}: expected 0 < ratio < 1")
        grid = system.top.max() * np.geomspace(1.0, ratio, n_lambdas)
    else:
        grid = np.sort(np.atleast_1d(np.asarray(lambdas, dtype=np.float64)))[::-1]
        if grid.ndim != 1 or not len(grid) or not np.isfinite(grid).all() or grid[-1] <= 0:
            raise ValueError(f"lambdas are {lambdas}: expected a row of finite values > 0 (λ = 0 is least squares)")
    walk, block = _backend(backend)
    return [_path(system, t, grid, walk, block, tol) for t in range(system.c.shape[1])]


def _path(system, t, grid, walk, block, tol):
    """The path of target t, its certificate, and what had to be repaired."""
    spread = system.spread[t]
    if spread == 0 or system.top[t] == 0:  # nothing to explain, or nothing to explain it with
        return LassoPath(grid, np.zeros((len(grid), system.size)), np.zeros(len(grid)), 0, 0, tol)
    gram, c = system.gram, np.ascontiguousarray(system.c[:, t] / spread)
    steps = grid / (spread * system.penalty)
    unit, events = walk(gram, c, steps, 50 * len(c) + 100, block)
    unit[grid >= (1 - 1e-13) * system.top[t]] = 0.0  # λ_max itself, where rounding may say "just below"
    gap = duality_gap(gram, c, steps, unit)
    bad = np.flatnonzero(~(gap <= tol))
    if len(bad):
        _repair.repair(gram, c, steps, unit, gap, bad, tol, duality_gap)
        if not (gap <= tol).all():
            warnings.warn(
                f"{(~(gap <= tol)).sum()} of {len(grid)} points stay above the duality gap {tol:g} of ½Var(y) after "
                f"repair: at worst {np.nanmax(gap):.2g}; the moments are too close to singular for float64",
                NotCertified,
                stacklevel=4,
            )
    unit *= spread / system.unit
    if len(c) == system.size:
        coef = unit
    else:
        coef = np.zeros((len(grid), system.size))
        coef[:, system.live] = unit
    return LassoPath(grid, coef, gap, int(events), len(bad), tol)


def duality_gap(gram, c, lambdas, coef) -> np.ndarray:
    """How far above the optimum, at most, each row of `coef` (k, C) is, in units of ½Var(y), from unit-free moments.

    `gram` (C, C) and `c` (C,) are the correlations of the columns with each other and with y. The bound
    is the dual value of the residual, scaled to be feasible; it asks nothing of how the coefficients were
    found.

    >>> float(duality_gap(np.eye(1), np.array([0.5]), np.array([0.2]), np.array([[0.3]]))[0]) < 1e-15  # 0.5 − 0.2
    True
    """
    r = c - coef @ gram  # (k, C)
    fit = coef @ c
    y_e = 1.0 - fit  # yᵀe / n, with Var(y) = 1
    e_e = np.maximum(y_e - np.einsum("kc,kc->k", coef, r), 0.0)  # |e|² / n
    top = np.abs(r).max(axis=1, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.minimum(np.where(e_e > 0, y_e / e_e, 1.0), np.where(top > 0, lambdas / top, np.inf))
    gap = e_e + 2.0 * lambdas * np.abs(coef).sum(axis=1) - scale * (2.0 * y_e - scale * e_e)
    return np.maximum(gap, 0.0)


def _backend(name):
    """The walk, and how many pivots it lets wait."""
    if name not in BACKENDS:
        raise errors.unknown("backend", name, BACKENDS)
    if name == "numpy" or (name == "auto" and find_spec("numba") is None):
        return _homotopy.walk, _homotopy.BLOCKS["numpy"]
    return _homotopy.compiled(), _homotopy.BLOCKS["numba"]


_pins, _pins_lock, _pinned = 0, Lock(), None
_controller = cache(ThreadpoolController)


@contextmanager
def one_blas_thread():
    """BLAS on one thread while any path is being solved (two stalled 70 ms a call), however threads come and go."""
    global _pins, _pinned
    with _pins_lock:
        if _pins == 0:
            _pinned = _controller().limit(limits=1, user_api="blas")
            _pinned.__enter__()
        _pins += 1
    try:
        yield
    finally:
        with _pins_lock:
            _pins -= 1
            if _pins == 0:
                _pinned.__exit__(None, None, None)
                _pinned = None
