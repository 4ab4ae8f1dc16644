"""LFW's protocol against every threshold tried one by one."""

import numpy as np
import pytest

from facelab.nets.verify import ten_folds


def by_hand(distance, same, fold):
    """Accuracies that a best threshold of the other folds can give: the least and the most, mean over folds."""
    low, high = [], []
    values = np.unique(distance)
    thresholds = np.r_[values[0] - 1, (values[1:] + values[:-1]) / 2, values[-1] + 1]
    for name in np.unique(fold):
        out = fold == name
        right = np.array([((distance < t) == same)[~out].sum() for t in thresholds])
        best = thresholds[right == right.max()]
        found = [((distance < t) == same)[out].mean() for t in best]
        low.append(min(found))
        high.append(max(found))
    return np.mean(low), np.mean(high)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("levels", [None, 7, 2])
def test_each_fold_has_a_threshold_that_is_best_on_the_others(seed, levels):
    rng = np.random.default_rng(seed)
    n, folds = int(rng.integers(12, 60)), int(rng.integers(2, 6))
    same, fold = rng.random(n) < 0.5, np.arange(n) % folds
    distance = rng.normal(same * -1.0, 1)
    if levels:  # many equal distances
        distance = np.round(distance * levels / 3)
    low, high = by_hand(distance, same, fold)
    found, error = ten_folds(distance, same, fold)
    assert low - 1e-9 <= found <= high + 1e-9 and error >= 0
    order = rng.permutation(n)
    assert low - 1e-9 <= ten_folds(distance[order], same[order], fold[order])[0] <= high + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_only_the_order_of_distances_counts_where_they_part_the_pairs(seed):
    rng = np.random.default_rng(seed)
    same, fold = np.arange(200) % 2 == 0, np.repeat(np.arange(10), 20)
    distance = np.where(same, rng.uniform(0, 1, 200), rng.uniform(2, 3, 200))
    assert ten_folds(distance, same, fold) == (1.0, 0.0)
    assert ten_folds(np.exp(3 * distance), same, fold.astype(str)) == (1.0, 0.0)
    assert ten_folds(-distance, same, fold)[0] <= 0.5


def test_the_error_is_that_of_a_mean_over_folds():
    """Four folds that are parted alike but for one pair each of two."""
    distance = np.tile([0.0, 0.1, 1.0, 1.1], 4)
    same = np.tile([True, True, False, False], 4)
    same[[0, 4]] = False
    found, error = ten_folds(distance, same, np.repeat(np.arange(4), 4))
    each = np.array([0.75, 0.75, 1, 1])
    assert found == pytest.approx(each.mean()) and error == pytest.approx(each.std(ddof=1) / 2)


def test_one_fold_has_no_others():
    with pytest.raises(ValueError, match="1 fold: the threshold is chosen on other folds"):
        ten_folds([0.1, 0.9], [True, False], [3, 3])
