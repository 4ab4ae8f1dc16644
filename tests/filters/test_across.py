"""Read-outs on two made sets whose difference is known: none, a shift, another direction, other classes."""

import numpy as np
import pandas as pd
import pytest

from facelab.filters.across import across
from facelab.filters.responses import Responses


def faces(n=300, seed=0, *, shift=0.0, turn=1.0, classes=("happy", "sad", "neutral")):
    rng = np.random.default_rng(seed)
    yaw, shown = rng.uniform(-60, 60, n), rng.integers(0, len(classes), n)
    known = np.stack([turn * yaw / 30 + 0.3 * rng.normal(size=n), rng.normal(size=n)], 1)
    codes = np.array([{"happy": 0, "sad": 1}.get(c, 2) for c in classes])[shown]
    seen = 4 * np.eye(3)[codes] + rng.normal(size=(n, 3))
    labels = pd.DataFrame({"yaw": yaw, "expression": np.array(classes)[shown]})
    layers = {"noise": rng.normal(size=(n, 4)), "known": np.hstack([known, seen]) + shift}
    return Responses("made", layers, labels, np.arange(n) // 2)


def parts(**other):
    return (
        {"here": faces(seed=0), "there": faces(seed=1, **other)},
        {"here": faces(seed=2), "there": faces(seed=3, **other)},
    )


def cells(found, responses="raw"):
    return found.scores.query("responses == @responses").set_index(["train", "test"])["score"].to_dict()


def test_alike_sets_give_four_alike_scores():
    found = across(*parts(), "yaw", bootstraps=100)
    assert all(score > 0.85 for score in cells(found).values())
    rows = found.table()
    assert set(rows["layer"]) == {"known"} and (rows["low"] <= rows["score"]).all()
    assert (rows["score"] <= rows["high"]).all() and (rows["mae"] < 0.5 * rows["constant_mae"]).all()
    assert rows["constant"].max() <= 0


def test_a_shift_is_undone_without_labels_and_another_direction_is_not():
    shifted = across(*parts(shift=3.0), "yaw", bootstraps=10)
    assert cells(shifted)["here", "there"] < 0 < 0.85 < cells(shifted, "aligned")["here", "there"]
    assert cells(shifted)["here", "here"] == cells(shifted, "aligned")["here", "here"]
    turned = cells(across(*parts(turn=-1.0), "yaw", bootstraps=10), "aligned")
    assert turned["here", "there"] < 0 < 0.85 < turned["there", "there"]


def test_a_filter_that_is_dead_on_one_set_does_no_harm():
    train, test = parts()
    for one in (train["there"], test["there"]):
        one.layers["known"][:, 1] = 7.0
    assert min(cells(across(train, test, "yaw", bootstraps=10), "aligned").values()) > 0.85


def test_only_classes_that_both_sets_have_count():
    found = across(*parts(classes=("happy", "sad", "fear")), "expression", bootstraps=10)
    assert set(found.table()["constant"]) == {1 / 2}
    assert min(cells(found).values()) > 0.9
    test = faces(seed=2)
    said = found.said["here", "here", "raw"]
    assert (np.isnan(said).all(1) == (test.labels["expression"] == "neutral")).all()


def test_tasks_of_another_column_can_be_asked():
    train, test = parts()
    for one in (*train.values(), *test.values()):
        one.labels["age"] = np.where(one.labels["yaw"] > 0, 60.0, 20.0)
    assert min(cells(across(train, test, "over_40", bootstraps=10)).values()) > 0.9


def test_what_cannot_be_asked_is_refused():
    train, test = parts()
    with pytest.raises(ValueError, match="expected the same names"):
        across(train, {"here": test["here"]}, "yaw")
    with pytest.raises(ValueError, match="did you mean 'known'"):
        across(train, test, "yaw", layers=["know"])
    with pytest.raises(ValueError, match="1 classes in common"):
        across(*parts(classes=("happy", "fear")), "expression")
    with pytest.raises(ValueError, match="no labels of task 'gender'"):
        across(train, test, "gender")
