import numpy as np
import pytest

from facelab.transfer import codes as codes_module
from facelab.transfer import similarity
from facelab.transfer.similarity import cka, cka_matrix

SHAPES = [(300, 5, 9), (300, 40, 3), (30, 80, 64), (12, 4, 200), (2, 3, 3)]


def draw(seed, n, d1, d2):
    """Two codes that share two directions, far from the origin."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 2))
    a, b = (common @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n, d)) + 7 for d in (d1, d2))
    return a, b


def plain(a, b):
    """The definition, by Gram matrices and the centring matrix: HSIC(K, L) / √(HSIC(K, K) HSIC(L, L))."""
    n = len(a)
    h = np.eye(n) - np.ones((n, n)) / n
    k, l = a @ a.T, b @ b.T

    def hsic(k, l):
        return np.trace(k @ h @ l @ h) / (n - 1) ** 2

    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_plain_formula_whichever_way_it_is_computed(seed, shape, monkeypatch):
    a, b = draw(seed, *shape)
    assert cka(a, b) == pytest.approx(plain(a, b), abs=1e-9)
    monkeypatch.setattr(codes_module, "BLOCK", 7)  # many blocks
    monkeypatch.setattr(similarity, "_by_faces", similarity._by_features)
    assert cka(a, b) == pytest.approx(plain(a, b), abs=1e-9)


@pytest.mark.parametrize("shape", [(200, 6, 10), (20, 60, 30)])
def test_the_cheaper_way_is_taken(shape, monkeypatch):
    def dear(*args):
        raise AssertionError("the dear way")

    monkeypatch.setattr(similarity, "_by_faces" if shape[0] == 200 else "_by_features", dear)
    cka(*draw(0, *shape))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_scale_and_shift_change_nothing(seed, shape):
    a, b = draw(seed, *shape)
    rng = np.random.default_rng(seed + 10)
    turn = np.linalg.qr(rng.normal(size=(a.shape[1],) * 2))[0]
    moved = 1e3 * a @ turn + rng.normal(size=a.shape[1])
    assert cka(moved, b) == pytest.approx(cka(a, b), abs=1e-9)
    assert cka(a, moved) == pytest.approx(1, abs=1e-9)
    assert cka(a, b) == pytest.approx(cka(b, a), abs=1e-12)
    order = rng.permutation(len(a))
    assert cka(a[order], b[order]) == pytest.approx(cka(a, b), abs=1e-9)


def test_stretching_one_direction_counts():
    a = np.random.default_rng(0).normal(size=(300, 5))
    assert cka(a, a * [100, 1, 1, 1, 1]) == pytest.approx(1 / np.sqrt(5), abs=0.1)


def test_independent_codes_share_what_their_width_gives():
    rng = np.random.default_rng(0)
    n, d = 500, 50
    found = np.mean([cka(rng.normal(size=(n, d)), rng.normal(size=(n, d))) for _ in range(5)])
    assert found == pytest.approx(d / (n + d), rel=0.05)


@pytest.mark.parametrize("n", [15, 400])
def test_the_matrix_holds_every_pair(n):
    a, b = draw(0, n, 12, 5)
    codes = {"a": a, "b": b.astype(np.float32), "noise": np.random.default_rng(1).normal(size=(n, 8))}
    table = cka_matrix(codes)
    assert list(table.index) == list(table.columns) == list(codes)
    np.testing.assert_array_equal(table, table.T)
    np.testing.assert_array_equal(np.diagonal(table), 1)
    for i in codes:
        for j in codes:
            assert table.loc[i, j] == pytest.approx(plain(*(np.asarray(codes[k], float) for k in (i, j))), abs=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e100])
def test_loud_and_faint_codes_are_no_trouble(scale):
    a, b = draw(0, 100, 4, 6)
    assert cka(scale * a, b) == pytest.approx(cka(a, b), abs=1e-9)


def test_it_says_what_is_wrong():
    a, b = draw(0, 20, 3, 4)
    with pytest.raises(ValueError, match="source 'b' has 19 rows, but 'a' has 20"):
        cka(a, b[1:])
    bad = b.copy()
    bad[5, 1] = np.nan
    with pytest.raises(ValueError, match="source 'b': the embedding of row 5 is not finite"):
        cka(a, bad)
    for constant in (np.ones((20, 4)), np.full((20, 4), 0.1) + 1e-9 * b):
        with pytest.raises(ValueError, match="source 'b' is constant"):
            cka(a, constant)
    with pytest.raises(ValueError, match=r"shape \(20,\): expected \(faces, width\)"):
        cka(a, b[:, 0])
    with pytest.raises(ValueError, match="1 faces: expected at least 2"):
        cka(a[:1], b[:1])
    with pytest.raises(TypeError, match="expected a dictionary"):
        cka_matrix([a, b])
    with pytest.raises(ValueError, match="there are no sources"):
        cka_matrix({})
