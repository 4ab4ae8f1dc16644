"""What a label means: numbers, classes, missing ones, and what a mirror does to them."""

import numpy as np
import pandas as pd
import pytest

from facelab import tasks

TABLE = pd.DataFrame(
    {
        "identity": ["a", "b", None, "a"],
        "gender": ["male", "female", None, "male"],
        "expression": ["happy", np.nan, "neutral", "surprise"],
        "age": [30.0, np.nan, 0.0, 120.0],
        "yaw": [-60.0, 0.0, 60.0, np.nan],
        "pitch": [0.0, 30.0, -30.0, 0.0],
        **{f"accessories:{c}": [1.0, 0.0, np.nan, 1.0] for c in tasks.get("accessories").classes},
    }
)


def test_every_task_says_what_it_is():
    for name, task in tasks.TASKS.items():
        assert task.name == name and task.metric
        assert task.kind in ("regression", "classes", "labels", "identity")
        assert bool(task.classes) == (task.kind in ("classes", "labels"))
        assert len(task.target_names) == len(set(task.target_names))
    assert len(tasks.EXPRESSIONS) == 7 and len(tasks.get("pose").classes) == 9


@pytest.mark.parametrize("name", [n for n in tasks.TASKS if n != "identity"])
def test_targets_have_one_column_per_name_and_missing_rows_are_nan(name):
    task = tasks.get(name)
    values = [*(task.classes[-2:] if task.kind == "classes" else (0.0, 1.0)), None]
    table = pd.DataFrame({column: values for column in task.columns})
    targets = task.targets(table)
    assert targets.shape == (3, len(task.target_names)) and targets.dtype == np.float64
    assert np.isnan(targets[2]).all() and not np.isnan(targets[:2]).any()


def test_encoding():
    assert tasks.get("gender").encode(TABLE).tolist() == [1, 0, -1, 1]
    assert tasks.get("identity").encode(TABLE).tolist() == [0, 1, -1, 0]
    np.testing.assert_array_equal(tasks.get("age").encode(TABLE), [30, np.nan, 0, 120])
    assert tasks.get("gender").targets(TABLE)[:, 0].tolist()[:2] == [1.0, 0.0]
    one_hot = tasks.get("expression").targets(TABLE)
    assert one_hot[0].argmax() == tasks.EXPRESSIONS.index("happy") and one_hot[0].sum() == 1


def test_labels_are_missing_where_one_of_them_is():
    table = TABLE.copy()
    table.loc[0, "accessories:hat"] = np.nan
    assert np.isnan(tasks.get("accessories").targets(table)).all(1).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("task", "column", "value", "message"),
    [
        ("age", "age", 121.0, "age 121 is out of range: expected 0 to 120 years"),
        ("age", "age", -1.0, "age -1 is out of range"),
        ("age", "age", np.inf, "age inf is out of range"),
        ("valence", "valence", 1.5, "valence 1.5 is out of range: expected -1 to 1$"),
        ("age", "age", "thirty", "labels of task 'age' must be numbers or missing: .*thirty"),
        ("gender", "gender", "mail", "unknown gender class 'mail': did you mean 'male'"),
        ("gender", "gender", 1, "unknown gender class 1: expected one of 'female', 'male'"),
        ("accessories", "accessories:hat", 0.5, None),
        ("accessories", "accessories:hat", 2.0, "accessories 2 is out of range: expected 0.0 to 1.0"),
    ],
)
def test_values_that_cannot_be(task, column, value, message):
    table = TABLE.astype({column: object}) if column in TABLE else TABLE.assign(**{column: 0}).astype({column: object})
    table.loc[1, column] = value
    if message is None:
        tasks.get(task).encode(table)
    else:
        with pytest.raises(ValueError, match=message):
            tasks.get(task).encode(table)


def test_missing_columns_and_unknown_tasks():
    with pytest.raises(ValueError, match="task 'roll' has no labels here: the table lacks 'roll'"):
        tasks.get("roll").encode(TABLE)
    with pytest.raises(ValueError, match="the table lacks 'accessories:hat'"):
        tasks.get("accessories").encode(TABLE.drop(columns="accessories:hat"))
    with pytest.raises(ValueError, match="unknown task 'emotion': expected one of 'identity'"):
        tasks.get("emotion")
    with pytest.raises(ValueError, match="open set"):
        tasks.get("identity").targets(TABLE)


def test_pose_comes_from_yaw_and_pitch():
    pose = tasks.get("pose")
    names = [pose.classes[i] if i >= 0 else None for i in pose.encode(TABLE)]
    assert names == ["level right", "up frontal", "down left", None]
    own = TABLE.assign(pose=["up left", None, "up left", "up left"])
    assert pose.encode(own).tolist() == [8, -1, 8, 8]  # a column of its own goes first


def test_pose_bins_of_a_mirror_image_are_mirrored_even_on_the_edges():
    yaw, pitch = (a.ravel() for a in np.meshgrid([-90, -22.5, -10, 0, 10, 22.5, 90.0], [-30, -20, 0, 20, 30.0]))
    table = pd.DataFrame({"yaw": yaw, "pitch": pitch})
    bins = tasks.get("pose").encode(table)
    named = pd.DataFrame({"pose": [tasks.get("pose").classes[i] for i in bins]})
    mirrored = tasks.get("pose").encode(tasks.flip_labels(table))
    assert np.array_equal(mirrored, tasks.get("pose").encode(tasks.flip_labels(named)))
    assert set(bins) == set(range(9))


def test_flipping_twice_changes_nothing():
    twice = tasks.flip_labels(tasks.flip_labels(TABLE))
    pd.testing.assert_frame_equal(twice, TABLE)
    assert tasks.flip_labels(TABLE)["yaw"][0] == 60 and TABLE["yaw"][0] == -60
