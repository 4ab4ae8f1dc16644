"""The exact path against scikit-learn at a tight tolerance, its own properties, and every input that breaks solvers."""

import os
import subprocess
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn import linear_model

from facelab.filters import _homotopy, lasso
from facelab.filters.lasso import NotCertified, duality_gap, lambda_max, lasso_path, lasso_paths

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
BACKENDS = ["numpy", pytest.param("numba", marks=needs_numba)]


def moments(x, y):
    """Centred sums of data (n, C), (n,)."""
    x, y = x - x.mean(axis=0), y - y.mean()
    return x.T @ x, x.T @ y, y @ y, len(y)


def responses(seed, n=300, size=30, rank=8, noise=0.4):
    """Non-negative and correlated, as filters' mean responses are, and a target a few factors explain."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, rank))
    mixed = factors @ rng.normal(size=(rank, size)) / np.sqrt(rank) + noise * rng.normal(size=(n, size))
    return np.maximum(mixed + 0.3 * rng.normal(size=size), 0), factors[:, :3].sum(axis=1) + rng.normal(size=n)


def standardised(path, x, y):
    """Coefficients for columns and a target of unit deviation."""
    return path.coef * x.std(axis=0) / y.std()


# Against scikit-learn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("seed", "n", "size"), [(0, 300, 30), (1, 60, 25), (2, 500, 60), (3, 40, 10)])
def test_equals_scikit_learn_on_data(backend, seed, n, size):
    x, y = responses(seed, n, size)
    path = lasso_path(*moments(x, y), n_lambdas=30, ratio=1e-3, backend=backend)
    z, t = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    _, expected, _ = linear_model.lasso_path(z, t, alphas=path.lambdas / y.std(), tol=1e-14, max_iter=1_000_000)
    ours = standardised(path, x, y)
    assert np.abs(ours - expected.T).max() < 1e-6
    events = near_event(ours, z, t, path.lambdas / y.std())
    assert events.mean() < 0.2
    np.testing.assert_array_equal(path.support[~events], np.abs(expected.T[~events]) > 1e-9)
    assert path.gap.max() < 1e-12
    assert path.fallbacks == 0


def near_event(coef, z, t, lambdas, margin=1e-7):
    """The λ that lie on a join or drop to within `margin`: there the support is a matter of rounding."""
    r = np.abs(z.T @ (t[:, None] - z @ coef.T) / len(t)).T  # (k, C)
    joins = (coef == 0) & (r > (1 - margin) * lambdas[:, None])
    return (joins | ((coef != 0) & (np.abs(coef) < margin))).any(axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn_on_the_gram_matrix(seed):
    x, y = responses(seed, 200, 20)
    x, y = x - x.mean(axis=0), y - y.mean()
    xx, xy, yy, n = moments(x, y)
    path = lasso_path(xx, xy, yy, n, n_lambdas=20, ratio=1e-3, standardize=False)
    _, expected, _ = linear_model.lasso_path(
        x, y, alphas=path.lambdas, precompute=xx, Xy=xy, tol=1e-14, max_iter=1_000_000
    )
    assert np.abs(path.coef - expected.T).max() < 1e-6


def test_equals_lasso_with_its_intercept_in_raw_units():
    x, y = responses(7)
    x, y = x * 3 + 5, y * 10 - 40
    path = lasso_path(*moments(x, y), lambdas=[0.5, 2.0], standardize=False)
    model = linear_model.Lasso(alpha=0.5, tol=1e-14, max_iter=1_000_000).fit(x, y)
    np.testing.assert_allclose(path.coef[1], model.coef_, atol=1e-6)
    assert abs(y.mean() - x.mean(axis=0) @ path.coef[1] - model.intercept_) < 1e-6


def test_drops_are_followed():
    """A path with drops, where forward selection alone goes wrong: LARS with the lasso modification agrees."""
    x, y = responses(11, n=80, size=60, rank=5, noise=0.1)
    z, t = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    alphas, active, coefs = linear_model.lars_path(z, t, method="lasso")
    path = lasso_path(*moments(z, t), lambdas=alphas[1:-1])
    assert len(alphas) - 1 > len(set(active)) + 5, "this sample has no drops"
    assert path.events > np.count_nonzero(path.coef[-1]) + 5
    assert np.abs(path.coef - coefs.T[1:-1]).max() < 1e-6


# Properties -------------------------------------------------------------------------------------------------------

SAMPLES = [(seed, n, size, noise) for seed, (n, size, noise) in enumerate(
    [(50, 1, 0.5), (100, 3, 0.5), (300, 40, 0.5), (300, 40, 0.02), (30, 50, 0.5), (200, 120, 0.1), (2000, 64, 0.3)]
)]  # fmt: skip


@pytest.fixture(params=SAMPLES, ids=str)
def sample(request):
    seed, n, size, noise = request.param
    return responses(seed, n, size, noise=noise)


@needs_numba
def test_backends_agree(sample):
    x, y = sample
    plain, fast = (lasso_path(*moments(x, y), backend=backend) for backend in ("numpy", "numba"))
    assert np.abs(standardised(plain, x, y) - standardised(fast, x, y)).max() < 1e-9
    np.testing.assert_array_equal(plain.support, fast.support)
    assert plain.events == fast.events


@pytest.mark.parametrize("backend", BACKENDS)
def test_optimality_conditions(sample, backend):
    x, y = sample
    xx, xy, yy, n = moments(x, y)
    path = lasso_path(xx, xy, yy, n, backend=backend)
    assert path.certified
    r = (xy - path.coef @ xx) / n / x.std(axis=0)  # (k, C)
    lam = path.lambdas[:, None]
    assert (np.abs(r) <= lam * (1 + 1e-8)).all()
    assert np.abs(np.where(path.support, r - lam * np.sign(path.coef), 0) / lam).max() < 1e-8


def test_lambdas_fall_from_lambda_max(sample):
    xx, xy, yy, n = moments(*sample)
    path = lasso_path(xx, xy, yy, n)
    assert len(path.lambdas) == 100
    assert np.all(np.diff(path.lambdas) < 0)
    assert path.lambdas[0] == pytest.approx(lambda_max(xx, xy, n))
    assert path.lambdas[0] / path.lambdas[-1] == pytest.approx(1e4)
    assert path.num[0] == 0
    just_below = lasso_path(xx, xy, yy, n, lambdas=[path.lambdas[0] * (1 - 1e-6)])
    assert just_below.num[0] == 1


def test_objective_falls_with_lambda(sample):
    """The error falls and the norm grows, monotonically."""
    x, y = sample
    path = lasso_path(*moments(x, y))
    error = (((y - y.mean())[:, None] - (x - x.mean(axis=0)) @ path.coef.T) ** 2).mean(axis=0)
    assert (np.diff(error) <= 1e-12 * y.var()).all()
    assert (np.diff(np.abs(standardised(path, x, y)).sum(axis=1)) >= -1e-9).all()


def test_columns_in_another_order(sample):
    x, y = sample
    order = np.random.default_rng(0).permutation(x.shape[1])
    straight, mixed = lasso_path(*moments(x, y)), lasso_path(*moments(x[:, order], y))
    assert np.abs(standardised(straight, x, y)[:, order] - standardised(mixed, x[:, order], y)).max() < 1e-8


def test_column_units_do_not_matter(sample):
    x, y = sample
    unit = 10.0 ** np.random.default_rng(0).integers(-6, 7, size=x.shape[1])
    path, scaled = lasso_path(*moments(x, y)), lasso_path(*moments(x * unit, y))
    assert np.abs(standardised(path, x, y) - standardised(scaled, x * unit, y)).max() < 1e-7
    np.testing.assert_allclose(path.lambdas, scaled.lambdas, rtol=1e-9)


def test_target_units_and_sign(sample):
    x, y = sample
    path, other = lasso_path(*moments(x, y)), lasso_path(*moments(x, -1000 * y))
    np.testing.assert_allclose(other.lambdas, 1000 * path.lambdas, rtol=1e-9)
    assert np.abs(standardised(path, x, y) + standardised(other, x, -1000 * y)).max() < 1e-8


def test_grid_in_any_order():
    xx, xy, yy, n = moments(*responses(0))
    grid = lambda_max(xx, xy, n) * np.array([0.02, 3.0, 0.5, 0.1])
    path = lasso_path(xx, xy, yy, n, lambdas=grid)
    np.testing.assert_array_equal(path.lambdas, np.sort(grid)[::-1])
    assert path.num[0] == 0
    for k, lam in enumerate(path.lambdas):
        np.testing.assert_allclose(lasso_path(xx, xy, yy, n, lambdas=lam).coef[0], path.coef[k], atol=1e-12)


def test_inputs_are_left_alone():
    xx, xy, yy, n = moments(*responses(0))
    before = xx.copy(), xy.copy()
    lasso_path(xx, xy, yy, n, standardize=False)
    np.testing.assert_array_equal(xx, before[0])
    np.testing.assert_array_equal(xy, before[1])


def test_table():
    path = lasso_path(*moments(*responses(0)), n_lambdas=7)
    table = path.table()
    assert list(table) == ["lam", "num", "gap"]
    assert len(table) == 7
    assert table["num"].tolist() == path.support.sum(axis=1).tolist()


# What breaks solvers ----------------------------------------------------------------------------------------------


def hard_cases():
    rng = np.random.default_rng(5)
    x, y = responses(5, 200, 24)
    yield "dead columns", np.c_[x, np.ones((200, 2)), np.zeros((200, 2))], y
    yield "duplicated", np.c_[x, x, x[:, :3]], y
    yield "mirrored", np.c_[x, -x], y
    for share in (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10):
        yield f"near collinear {share:g}", np.c_[x, x + share * rng.normal(size=x.shape)], y
    yield "sums of others", np.c_[x, x @ rng.normal(size=(24, 10))], y
    yield "low rank", rng.normal(size=(200, 5)) @ rng.normal(size=(5, 40)), y
    yield "fewer rows than columns", x[:12], y[:12]
    yield "two rows", x[:2], y[:2]
    yield "N < C, low rank", np.maximum(rng.normal(size=(60, 8)) @ rng.normal(size=(8, 120)), 0), rng.normal(size=60)
    rare = np.zeros(5000)
    rare[:5] = 1
    yield "5 of 5000", np.maximum(rng.normal(size=(5000, 10)) @ rng.normal(size=(10, 64)), 0), rare
    yield "shuffled labels", x, rng.permutation(y)
    yield "label is a column", x, x[:, 3].copy()
    yield "one column", x[:, :1], y
    yield "scales", x * 10.0 ** rng.integers(-6, 7, size=24), y
    orthogonal = hadamard(32)[:, 1:].astype(float)
    yield "all tie", orthogonal, orthogonal.sum(axis=1)
    yield "groups tie", orthogonal, orthogonal[:, :4].sum(axis=1) + 0.5 * orthogonal[:, 4:].sum(axis=1)
    around = np.array([np.roll(np.r_[1.0, 1, 1, np.zeros(21)], k) for k in range(24)])
    yield "ties in a ring", around, np.r_[np.ones(12), np.zeros(12)]
    yield "ties, N < C", rng.integers(0, 2, size=(15, 30)).astype(float), rng.integers(0, 2, size=15).astype(float)
    yield "one-hot columns", np.eye(8)[rng.integers(0, 8, size=200)], y
    yield "float32 responses", x.astype(np.float32).astype(float)[:20], y[:20]


HARD = {name: (x, y) for name, x, y in hard_cases()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", HARD)
def test_hard_cases_are_certified(name, backend):
    x, y = HARD[name]
    path = lasso_path(*moments(x, y), backend=backend)
    assert path.certified
    assert path.gap.max() <= 1e-9
    assert np.isfinite(path.coef).all()
    assert path.num[0] == 0
    # The certificate again, from the data: the dual value of the scaled residual.
    z = np.divide(x - x.mean(axis=0), x.std(axis=0), out=np.zeros_like(x), where=x.std(axis=0) > 1e-12)
    t = y - y.mean()
    for k in (1, 50, 99):
        e = t - (x - x.mean(axis=0)) @ path.coef[k]
        lam = path.lambdas[k]
        primal = e @ e / 2 / len(y) + lam * np.abs(path.coef[k] * x.std(axis=0)).sum()
        dual_point = e * min(1.0, lam / max(np.abs(z.T @ e).max() / len(y), 1e-300))
        dual = (t @ t - (t - dual_point) @ (t - dual_point)) / 2 / len(y)
        assert primal - dual <= 1e-7 * t.var() / 2


def test_dead_columns_change_nothing():
    x, y = HARD["dead columns"]
    path, without = lasso_path(*moments(x, y)), lasso_path(*moments(x[:, :24], y))
    np.testing.assert_allclose(path.coef[:, :24], without.coef, atol=1e-12)
    assert not path.coef[:, 24:].any()


@pytest.mark.parametrize("name", ["duplicated", "mirrored"])
def test_duplicates_fit_as_one(name):
    x, y = HARD[name]
    path, alone = lasso_path(*moments(x, y)), lasso_path(*moments(x[:, :24], y))
    np.testing.assert_allclose(
        (x - x.mean(axis=0)) @ path.coef.T, (x[:, :24] - x[:, :24].mean(axis=0)) @ alone.coef.T, atol=1e-7
    )
    np.testing.assert_array_equal(path.num, alone.num)


def test_constant_labels_give_an_empty_certified_path():
    x, _ = responses(0)
    path = lasso_path(*moments(x, np.full(len(x), 3.0)))
    assert not path.coef.any()
    assert not path.gap.any()
    assert path.events == path.fallbacks == 0
    assert not lasso_path(*moments(x, np.full(len(x), 3.0)), lambdas=[1.0, 0.1]).coef.any()


def test_all_columns_dead():
    for xx in (np.zeros((3, 3)), -1e-15 * np.eye(3)):
        for standardize in (True, False):
            path = lasso_path(xx, np.zeros(3), 5.0, 10, standardize=standardize)
            assert not path.coef.any()
            assert path.certified


def test_one_lambda():
    path = lasso_path(*moments(*responses(0)), n_lambdas=1)
    assert path.coef.shape == (1, 30)
    assert path.num.tolist() == [0]


def test_rounding_noise_in_dead_and_dependent_columns():
    """Training moments are a difference (total − fold): what should be zero is noise of either sign."""
    rng = np.random.default_rng(0)
    x, y = HARD["duplicated"]
    xx, xy, yy, n = moments(np.c_[x, np.zeros((200, 4))], y)
    noise = rng.normal(size=xx.shape) * 1e-13
    xx += noise + noise.T
    xx[-4:, -4:] = np.diag([-1e-13, 1e-13, -1e-20, 1e-20])
    xy += rng.normal(size=len(xy)) * 1e-13
    path = lasso_path(xx, xy, yy, n)
    clean = lasso_path(*moments(x, y))
    assert path.certified
    assert np.linalg.eigvalsh(xx).min() < 0
    np.testing.assert_allclose(
        (x - x.mean(axis=0)) @ path.coef[:, :-4].T, (x - x.mean(axis=0)) @ clean.coef.T, atol=1e-5
    )


# The certificate and the repair -----------------------------------------------------------------------------------


def unit_moments(x, y):
    z, t = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    return z.T @ z / len(y), z.T @ t / len(y)


def test_the_certificate_bounds_the_true_distance():
    """For any coefficients at all the gap is at least their distance from the optimum."""
    x, y = responses(3)
    gram, c = unit_moments(x, y)
    lambdas = np.abs(c).max() * np.geomspace(1, 1e-3, 15)
    exact, _ = _homotopy.walk(gram, c, lambdas, 1000, 8)
    assert duality_gap(gram, c, lambdas, exact).max() < 1e-13

    def value(b):
        return 1 - 2 * b @ c + np.einsum("kc,cd,kd->k", b, gram, b) + 2 * lambdas * np.abs(b).sum(axis=1)

    rng = np.random.default_rng(0)
    for size in (1e-6, 1e-4, 1e-2, 1.0):
        wrong = exact + size * rng.normal(size=exact.shape)
        gap = duality_gap(gram, c, lambdas, wrong)
        assert (gap >= value(wrong) - value(exact) - 1e-14).all()
        assert (gap > 1e-9).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("damage", ["noise", "missing filter", "not a number", "nothing", "stopped half way"])
def test_a_wrong_walk_is_noticed_and_repaired(monkeypatch, backend, damage):
    x, y = responses(4, 200, 40)
    right = lasso_path(*moments(x, y), n_lambdas=40)
    walk, block = lasso._backend(backend)

    def broken(*arguments):
        coef, events = walk(*arguments)
        if damage == "noise":
            coef[5:] += 1e-3 * np.random.default_rng(0).normal(size=coef[5:].shape)
        elif damage == "missing filter":
            coef[:, np.abs(coef[-1]).argmax()] = 0
        elif damage == "not a number":
            coef[20] = np.nan
        elif damage == "nothing":
            coef[:] = 0
        else:
            coef[20:] = 0
        return coef, events

    monkeypatch.setattr(lasso, "_backend", lambda name: (broken, block))
    path = lasso_path(*moments(x, y), n_lambdas=40)
    assert path.fallbacks >= 1
    assert path.certified
    assert np.abs(standardised(path, x, y) - standardised(right, x, y)).max() < 1e-4
    if damage == "not a number":
        assert path.fallbacks == 1
    else:
        assert path.fallbacks > 10


def test_what_cannot_be_repaired_is_said_aloud(monkeypatch):
    x, y = responses(4)
    monkeypatch.setattr(lasso, "_backend", lambda name: (lambda g, c, lams, *_: (np.zeros((len(lams), len(c))), 0), 8))
    monkeypatch.setattr(lasso._repair, "active_set", lambda gram, c, lam, beta, rounds, singular: (beta, 1))
    with pytest.warns(NotCertified, match="stay above the duality gap 1e-09"):
        path = lasso_path(*moments(x, y), n_lambdas=10)
    assert not path.certified
    assert path.gap[-1] > 0.1
    assert path.fallbacks == 9


def test_endless_ties_break_off_and_are_repaired():
    """The walk gives up after `max_events`; the points it did not reach are zero rows, and their gaps show it."""
    gram, c = unit_moments(*responses(0))
    lambdas = np.abs(c).max() * np.geomspace(1, 1e-3, 20)
    coef, events = _homotopy.walk(gram, c, lambdas, 5, 8)
    gap = duality_gap(gram, c, lambdas, coef)
    assert events == 6
    assert gap[0] < 1e-12
    assert gap[-1] > 0.1


# Several at once --------------------------------------------------------------------------------------------------


def systems(count):
    rng = np.random.default_rng(0)
    for seed in range(count):
        x, y = responses(seed, 100, 12)
        x, y = x - x.mean(axis=0), np.c_[y, rng.normal(size=100), np.zeros(100)]
        y -= y.mean(axis=0)
        yield SimpleNamespace(xx=x.T @ x, xy=x.T @ y, yy=(y**2).sum(axis=0), n=100)


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_systems_in_threads(jobs):
    made = list(systems(4))
    results = lasso_paths(made, n_lambdas=9, jobs=jobs)
    for system, paths in zip(made, results, strict=True):
        assert len(paths) == 3
        grid = lambda_max(system.xx, system.xy, system.n) * np.geomspace(1, 1e-4, 9)
        for t, path in enumerate(paths):
            np.testing.assert_allclose(path.lambdas, grid)
            alone = lasso_path(system.xx, system.xy[:, t], system.yy[t], 100, lambdas=grid)
            np.testing.assert_allclose(path.coef, alone.coef, atol=1e-12)
        assert not paths[2].coef.any()


def test_a_grid_for_each_system():
    made = list(systems(2))
    first, second = lasso_paths(made, lambdas=[np.array([1.0, 0.1]), np.array([0.5])])
    assert len(first[0].lambdas) == 2
    assert len(second[0].lambdas) == 1
    with pytest.raises(ValueError, match="3 grids of lambdas for 2 systems"):
        lasso_paths(made, lambdas=[np.ones(1)] * 3)


def test_blas_threads_are_given_back():
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with lasso.one_blas_thread(), lasso.one_blas_thread():
        assert set(threads()) == {1}
    with pytest.raises(ValueError, match="backend"):
        lasso_path(*moments(*responses(0)), backend="cuda")
    assert threads() == before


# Bad input --------------------------------------------------------------------------------------------------------


def test_bad_input():
    xx, xy, yy, n = moments(*responses(0))
    bad = xx.copy()
    bad[2, 3] = np.nan
    crooked = xx.copy()
    crooked[2, 3] *= 1.01
    for arguments, message in [
        ((xx[:, :5], xy, yy, n), r"xx has shape \(30, 5\): expected \(C, C\)"),
        ((np.zeros((0, 0)), np.zeros(0), yy, n), "C ≥ 1"),
        ((xx, xy[:5], yy, n), r"xy has shape \(5, 1\): expected 30 rows"),
        ((xx, xy[:, None], yy, n), "one target; lasso_paths takes several"),
        ((xx, xy, [yy, yy], n), r"yy has shape \(2,\): expected \(1,\)"),
        ((bad, xy, yy, n), r"xx holds NaN or infinity, first at \(2, 3\)"),
        ((xx, np.where(np.arange(30) == 4, np.inf, xy), yy, n), r"xy holds NaN or infinity, first at \(4, 0\)"),
        ((xx, xy, np.nan, n), "yy is"),
        ((xx, xy, -5.0, 1), "n is 1: a path needs at least 2 rows"),
        ((xx, xy, -5.0, n), r"yy is \[-5.0\]: expected sums of squares"),
        ((xx, xy, yy, 0), "n is 0"),
        ((crooked, xy, yy, n), r"not symmetric: .*\((2, 3|3, 2)\)"),
        ((xx, 100 * xy, yy, n), "Cauchy–Schwarz"),
    ]:
        with pytest.raises(ValueError, match=message):
            lasso_path(*arguments)
    for options, message in [
        ({"lambdas": [0.1, -0.1]}, "expected a row of finite values > 0"),
        ({"lambdas": [0.0]}, "least squares"),
        ({"lambdas": []}, "lambdas"),
        ({"lambdas": [[1.0], [2.0]]}, "lambdas"),
        ({"n_lambdas": 0}, "n_lambdas is 0: expected a whole number ≥ 1"),
        ({"n_lambdas": 2.5}, "n_lambdas is 2.5"),
        ({"ratio": 1.5}, "ratio is 1.5: expected 0 < ratio < 1"),
        ({"backend": "nunba"}, "unknown backend 'nunba': did you mean 'numba'"),
    ]:
        with pytest.raises(ValueError, match=message):
            lasso_path(xx, xy, yy, n, **options)


def test_the_plain_path_needs_no_numba(monkeypatch):
    monkeypatch.setattr(lasso, "find_spec", lambda name: None)
    walk, _ = lasso._backend("auto")
    assert walk is _homotopy.walk


def test_no_warnings_from_arithmetic():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x, y in HARD.values():
            lasso_path(*moments(x, y), n_lambdas=10, backend="numpy")


@needs_numba
def test_damaged_compiled_code_is_compiled_anew(tmp_path):
    first = [sys.executable, "-c", "from facelab.filters._homotopy import compiled; compiled()"]
    environment = {**os.environ, "FACELAB_CACHE": str(tmp_path)}
    run = partial(subprocess.run, first, env=environment, capture_output=True, text=True, check=False)
    (tmp_path / "faces").mkdir()
    assert run().stderr == ""
    indices = list(tmp_path.glob("numba/*/*.nbi"))
    assert indices
    for file in indices:
        file.write_bytes(file.read_bytes()[:-40])
    done = run()
    assert done.returncode == 0, done.stderr
    assert "cannot be used" in done.stderr and "compiling it anew" in done.stderr
    assert (tmp_path / "faces").is_dir() and list(tmp_path.glob("numba/*/*.nbi"))
    assert run().stderr == ""
