import numpy as np
import pandas as pd
import pytest
from scipy import stats

from facelab.nets import fairness


def test_wilson_is_scipys():
    for right, n in ((0, 7), (3, 7), (7, 7), (450, 500)):
        exact = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert fairness.wilson(right, n) == pytest.approx((exact.low, exact.high))


def test_wilson_covers_the_truth():
    drawn = np.random.default_rng(0).binomial(40, 0.9, 2000)
    inside = [low <= 0.9 <= high for low, high in (fairness.wilson(k, 40) for k in drawn)]
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.parametrize("counts", [(1, 0), (3, 2), (-1, 5)])
def test_no_counts(counts):
    with pytest.raises(ValueError, match="expected a count"):
        fairness.wilson(*counts)


def test_groups_are_counted_and_unread_faces_left_out():
    labels = pd.DataFrame({"gender": ["male", "female"] * 50, "ethnicity": ["asian"] * 30 + ["black"] * 70})
    labels["age"] = np.linspace(1, 80, 100)
    right = np.where(labels["gender"] == "male", 1.0, 0.0)
    right[:10] = np.nan
    table = fairness.by_group({"gender": right}, labels).set_index(["by", "group"])
    assert table.loc[("gender", "male"), "share"] == 1 and table.loc[("gender", "female"), "share"] == 0
    assert table.loc[("ethnicity", "asian"), "faces"] == 20 and table.loc[("all", "everybody"), "faces"] == 90
    assert table.loc["age", "faces"].sum() == 90
    assert (table["low"] <= table["share"]).all() and (table["share"] <= table["high"]).all()


def test_ends_pass_over_small_groups():
    labels = pd.DataFrame({"ethnicity": ["asian"] * 5 + ["black"] * 40 + ["white"] * 40})
    right = np.r_[np.zeros(5), np.ones(30), np.zeros(10), np.ones(40)]
    table = fairness.by_group({"age": right}, labels)
    worst, best = fairness.ends(table, "age", "ethnicity")
    assert (worst["group"], best["group"]) == ("black", "white")
    with pytest.raises(ValueError, match="0 groups of at least 50"):
        fairness.ends(table, "age", "ethnicity", least=50)


def test_bad_input():
    with pytest.raises(ValueError, match=r"\(2,\) readings for 3 faces"):
        fairness.by_group({"age": [1, 0]}, pd.DataFrame({"gender": ["male"] * 3}))
    with pytest.raises(ValueError, match="name no groups"):
        fairness.by_group({"age": [1]}, pd.DataFrame({"yaw": [3.0]}))
