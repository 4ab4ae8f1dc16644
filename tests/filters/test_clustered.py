"""Sums per person against plain loops; calibration of the tests and intervals where the truth is known."""

import itertools

import numpy as np
import pytest
from scipy import stats

from facelab.filters import clustered


def people(k, m, filters, seed, *, slope=0.0, spread=0.0, constant=False):
    """x = slope_i·y + who it is + noise, slope_i drawn per person."""
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.normal(size=(k, 1)), m, 1) if constant else rng.normal(size=(k, m))
    slopes = slope + spread * rng.normal(size=(k, 1, filters))
    x = slopes * y[:, :, None] + rng.normal(size=(k, 1, filters)) + rng.normal(size=(k, m, filters))
    return x.reshape(k * m, filters), y.reshape(-1, 1), np.repeat(np.arange(k), m)


def test_rho_and_within_rho_are_pearsons():
    x, y, who = people(7, 11, 5, 0, slope=0.5)
    y = np.hstack([y, y**2])
    total = clustered.sums(x, y, who)
    mean = lambda a: np.stack([a[who == i].mean(0) for i in range(7)])[who]  # noqa: E731
    for s in range(2):
        for c in range(5):
            assert total.rho()[s, c] == pytest.approx(stats.pearsonr(x[:, c], y[:, s])[0], abs=1e-12)
            inside = stats.pearsonr((x - mean(x))[:, c], (y - mean(y))[:, s])[0]
            assert total.within().rho()[s, c] == pytest.approx(inside, abs=1e-10)


def test_a_bootstrap_draw_is_the_correlation_of_the_drawn_people():
    x, y, who = people(6, 5, 3, 1, slope=1.0)
    total, weights = clustered.sums(x, y, who), clustered.draws(6, 20, 0)
    for b, rho in enumerate(total.rho(weights.astype(float))):
        rows = np.concatenate([np.flatnonzero(who == i) for i in range(6) for _ in range(weights[b, i])])
        assert rho[0] == pytest.approx([np.corrcoef(x[rows, c], y[rows, 0])[0, 1] for c in range(3)], abs=1e-9)


def test_units_and_offsets_do_not_matter():
    x, y, who = people(8, 6, 4, 2, slope=0.4)
    a = clustered.sums(x, y, who)
    b = clustered.sums(1e4 + 1e-2 * x, 300 * y - 5, who)
    assert b.rho() == pytest.approx(a.rho(), abs=1e-8)
    assert p_values(clustered.flip_evidence, b) == pytest.approx(p_values(clustered.flip_evidence, a))


@pytest.mark.parametrize("k, m, spread", [(10, 20, 0.0), (10, 20, 0.4), (40, 5, 0.4)])
def test_the_interval_covers_what_it_should(k, m, spread):
    truth = clustered.sums(*people(20_000, m, 1, 99, slope=0.8, spread=spread))
    truth = truth.rho()[0, 0], truth.within().rho()[0, 0]
    hits = np.zeros(2)
    for seed in range(10):
        total, weights = (
            clustered.sums(*people(k, m, 60, seed, slope=0.8, spread=spread)),
            clustered.draws(k, 400, seed),
        )
        for i, part in enumerate((total, total.within())):
            low, high = clustered.interval(part, weights)
            hits[i] += ((low < truth[i]) & (truth[i] < high)).mean() / 10
    assert (hits > 0.90).all() and (hits < 0.99).all(), hits


def p_values(read, total, permutations=999, seed=0):
    return clustered.p_values(lambda: iter([read(total, 0)]), permutations, seed)


def test_flip_p_values_against_plain_loops():
    x, y, who = people(6, 4, 3, 3, slope=0.6)
    centred = lambda a, i: (a - a[who == i].mean(0))[who == i]  # noqa: E731
    score = np.stack([(centred(x, i) * centred(y, i)).sum(0) for i in range(6)])
    signs = np.array([[1, *s] for s in itertools.product([1, -1], repeat=5)])
    a = np.abs(signs @ score) / np.sqrt((score**2).sum(0))  # (32, 3), row 0 as observed
    expected = [(1 + (a[1:] >= a[0, c] * (1 - 1e-9)).sum()) / (1 + 31 * 3) for c in range(3)]
    assert p_values(clustered.flip_evidence, clustered.sums(x, y, who)) == pytest.approx(expected)


def test_exchange_p_values_against_plain_loops():
    x, y, who = people(9, 3, 4, 5, constant=True)
    keep = np.random.default_rng(0).random(len(who)) < 0.8  # people with different numbers of images
    x, y, who = x[keep], y[keep], np.unique(who[keep], return_inverse=True)[1]
    k = who.max() + 1
    label = np.array([y[who == i][0, 0] for i in range(k)])
    mean = np.stack([x[who == i].mean(0) for i in range(k)])
    orders = np.random.default_rng(7).permuted(np.tile(np.arange(k), (99, 1)), axis=1)
    a = lambda order: np.abs([np.corrcoef(c, label[order])[0, 1] for c in mean.T])  # noqa: E731
    null, seen = np.stack([a(order) for order in orders]), a(np.arange(k))
    expected = [(1 + (null >= seen[c] * (1 - 1e-9)).sum()) / (1 + 99 * 4) for c in range(4)]
    assert p_values(clustered.exchange_evidence, clustered.sums(x, y, who), 99, 7) == pytest.approx(expected)


def test_blocks_of_filters_share_one_null():
    x, y, who = people(30, 5, 8, 4, slope=0.1)
    whole = p_values(clustered.flip_evidence, clustered.sums(x, y, who))
    parts = [clustered.flip_evidence(clustered.sums(part, y, who), 0) for part in (x[:, :3], x[:, 3:])]
    assert clustered.p_values(lambda: iter(parts), 999, 0) == pytest.approx(whole)


@pytest.mark.parametrize("k", [8, 12, 60])  # all patterns of signs, or some
@pytest.mark.parametrize("spread", [0.0, 0.5])  # nobody's filter follows the label; everybody's does, either way
def test_flip_p_values_are_calibrated(k, spread):
    p = [
        p_values(clustered.flip_evidence, clustered.sums(*people(k, 6, 300, s, spread=spread)), 200, s)
        for s in range(20)
    ]
    for level in (0.001, 0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=4.5 * np.sqrt(level / np.size(p)))


def test_unequal_people_do_not_break_the_calibration():
    """Filters with skewed noise, people with two to thirty images and spreads of their own."""
    p = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(14), rng.integers(2, 30, 14))
        x = rng.exponential(size=(len(who), 200)) * np.exp(rng.normal(size=(14, 200)))[who]
        p.append(p_values(clustered.flip_evidence, clustered.sums(x, rng.normal(size=(len(who), 1)), who), 200))
    for level in (0.001, 0.01, 0.05, 0.2):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, rel=0.25, abs=0.001)


def test_exchange_p_values_are_calibrated_where_a_test_over_images_is_not():
    naive, ours = [], []
    for seed in range(200):
        x, y, who = people(24, 8, 20, seed, constant=True)
        ours.append(p_values(clustered.exchange_evidence, clustered.sums(x, y, who), 100, seed))
        naive.append([stats.pearsonr(column, y[:, 0])[1] for column in x.T[:2]])
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(np.array(ours) <= level) == pytest.approx(level, abs=4.5 * np.sqrt(level / np.size(ours)))
    assert (np.array(naive) <= 0.05).mean() > 0.3


def test_dead_filters_and_flat_signals():
    x, y, who = people(8, 4, 3, 6, slope=1.0)
    x[:, 1] = np.float32(0.1)  # constant, and no power of two
    total = clustered.sums(x.astype(np.float32), np.hstack([y, np.ones_like(y)]), who)
    assert np.isnan(total.rho()[:, 1]).all() and np.isnan(total.rho()[1]).all()
    assert p_values(clustered.flip_evidence, total)[1] == p_values(clustered.exchange_evidence, total)[1] == 1
    low, high = clustered.interval(total, clustered.draws(8, 50, 0))
    assert np.isnan(low[0, 1]) and np.isnan(high[0, 1]) and np.isfinite(low[0, [0, 2]]).all()


def test_only_people_whose_label_varies_take_part_in_a_flip_test():
    x, y, who = people(10, 4, 2, 8, slope=1.0)
    y[who >= 6] = 0.0
    assert clustered.flip_evidence(clustered.sums(x, y, who), 0).unit.shape == (6, 2)


def seldom(seed, filters=200, k=15, m=93, classes=7, rate=0.02):
    """Filters that fire on 2 % of the images, at random, and one class of seven: nothing to find."""
    rng = np.random.default_rng(seed)
    x = (rng.random((k * m, filters)) < rate) * rng.exponential(size=(k * m, filters))
    y = np.eye(classes)[rng.integers(0, classes, k * m)]
    return x, y, np.repeat(np.arange(k), m)


def test_permuting_within_people_is_calibrated_where_flipping_is_not():
    flips, orders = [], []
    for seed in range(6):
        x, y, who = seldom(seed)
        flips.append(p_values(clustered.flip_evidence, clustered.sums(x, y[:, :1], who), 500, seed))
        orders.append(clustered.permutation_p_values(lambda x=x: iter([x]), y[:, :1], who, 200, seed)[0])
    flips, orders = np.concatenate(flips), np.concatenate(orders)
    assert (flips <= 0.05).mean() > 0.1
    for level in (0.01, 0.05, 0.2):
        assert (orders <= level).mean() == pytest.approx(level, abs=4.5 * np.sqrt(level / orders.size))


def test_permutation_p_values_against_plain_loops():
    x, y, who = people(5, 6, 3, 3, slope=0.4)
    x[:, 2], y = 7.0, np.hstack([y > 0, y > 0.5]).astype(float)
    mixed = np.random.default_rng(1).permutation(30)  # rows in any order
    found = clustered.permutation_p_values(lambda: iter([x[mixed, :1], x[mixed, 1:]]), y[mixed], who[mixed], 4000, 0)
    rng, inside = np.random.default_rng(2), lambda a: a - np.stack([a[who == i].mean(0) for i in range(5)])[who]
    orders = [np.lexsort((rng.random(30), who)) for _ in range(4000)]
    for s in range(2):
        score = np.abs(np.array([inside(x[:, :2]).T @ y[order, s] for order in [np.arange(30), *orders]]))
        score /= np.sqrt((score[1:] ** 2).mean(0))
        expected = [(score[1:] >= score[0, c] * (1 - 1e-6)).mean() for c in range(2)]
        assert found[s, :2] == pytest.approx(expected, abs=0.02) and found[s, 2] == 1
