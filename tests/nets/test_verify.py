import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from facelab.nets.verify import ten_folds, verify


def codes_of(people=12, each=4, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(people), each)
    return rng.normal(size=(people, 3))[ids] + noise * rng.normal(size=(len(ids), 3)), ids


def test_the_auc_is_that_of_scikit_learn():
    codes, ids = codes_of()
    codes = codes.round(1)  # ties too
    i, j = np.triu_indices(len(ids), k=1)
    distance = np.linalg.norm(codes[i] - codes[j], axis=1)
    found = verify(codes, ids)
    assert found.auc == pytest.approx(roc_auc_score(ids[i] == ids[j], -distance), abs=1e-9)
    assert found.low < found.auc < found.high
    assert (found.same, found.different) == (12 * 6, 48 * 47 // 2 - 12 * 6)


def test_a_code_that_is_all_group_is_chance_within_groups():
    rng = np.random.default_rng(1)
    ids, group = np.repeat(np.arange(40), 3), np.repeat(np.arange(40) % 2, 3)
    codes = 5.0 * group[:, None] + rng.normal(size=(120, 2))
    assert verify(codes, ids).auc > 0.7
    assert abs(verify(codes, ids, within=group).auc - 0.5) < 0.08


def test_faces_without_a_name_are_in_no_pair():
    codes = np.array([[0.0], [0.1], [5.0], [5.1], [0.0], [9.0]])
    for names in (["a", "a", "b", "b", None, None], ["a", "a", "b", "b", np.nan, np.nan], [1, 1, 2, 2, np.nan, np.nan]):
        found = verify(codes, names, within=["w", "w", "w", "w", np.nan, np.nan])
        assert (found.auc, found.same, found.different) == (1.0, 2, 4)


def test_without_pairs_of_both_sorts_it_says_so():
    with pytest.raises(ValueError, match="0 pairs of one person"):
        verify(np.eye(4), np.arange(4))
    with pytest.raises(ValueError, match="0 of two"):
        verify(np.eye(4), np.zeros(4))


def test_missing_groups_and_numbers_that_are_none():
    codes = np.array([[0.0], [0.1], [5.0], [5.1], [0.0], [9.0]])
    for unknown in (None, np.nan):
        groups = np.array(["a", "a", "a", "a", unknown, unknown], object)
        assert verify(codes, [0, 0, 1, 1, 2, 3], within=groups).different == 4
    with pytest.raises(ValueError, match="the code of row 2 is not finite"):
        verify(np.where(codes == 5.0, np.nan, codes), [0, 0, 1, 1, 2, 3])
    with pytest.raises(ValueError, match="the distance of pair 1 is not finite"):
        ten_folds([0.1, np.nan], [True, False], [0, 1])


def test_many_faces_are_compared_in_drawn_pairs(monkeypatch):
    rng = np.random.default_rng(0)
    ids, group = np.repeat(np.arange(60), 3), np.repeat(np.arange(60) % 2, 3)
    codes = rng.normal(size=(60, 3))[ids] + 0.7 * rng.normal(size=(180, 3))
    listed = [verify(codes, ids, within=within, bootstraps=0) for within in (None, group)]
    monkeypatch.setattr(sys.modules["facelab.nets.verify"], "LISTED", 1000)
    drawn = [verify(codes, ids, within=within, most=20_000, bootstraps=0) for within in (None, group)]
    assert drawn == listed  # with 100 rounds all pairs come up
    few = verify(codes, ids, most=5000, bootstraps=0)
    assert few.same == 180 and few.different == 5000 and abs(few.auc - listed[0].auc) < 0.01
