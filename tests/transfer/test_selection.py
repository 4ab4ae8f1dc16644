"""Choosing among codes: combinations, the best by validation, ranks, groups."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import facelab as fl
from facelab.nets.embed import Mapped
from facelab.transfer import fusion, heads, selection


def test_all_combinations_are_two_to_the_power_of_six_less_one():
    found = selection.subsets("abcdef")
    assert len(found) == len(set(found)) == 63 and found[-1] == tuple("abcdef")
    assert len(selection.subsets("abcdef", 2)) == 6 + 15 + 1
    with pytest.raises(ValueError, match="most 0"):
        selection.subsets("abc", 0)


def test_the_best_is_chosen_by_validation_not_by_test_and_in_the_targets_direction():
    rows = [
        {"target": "age", "code": "a", "score": 9.0, "validation": 5.0},
        {"target": "age", "code": "b", "score": 6.0, "validation": 7.0},
        {"target": "gender", "code": "a", "score": 0.9, "validation": 0.7},
        {"target": "gender", "code": "b", "score": 0.6, "validation": 0.8},
    ]
    found = selection.best(pd.DataFrame(rows))
    assert found["code"].to_dict() == {"age": "a", "gender": "b"}
    assert found["score"].to_dict() == {"age": 9.0, "gender": 0.6}


def test_seeds_are_averaged_before_choosing():
    rows = [("a", 0.9), ("a", 0.1), ("b", 0.6), ("b", 0.6)]
    table = pd.DataFrame([{"target": "gender", "code": c, "score": v, "validation": v} for c, v in rows])
    assert selection.best(table).loc["gender", "code"] == "b"


def test_groups_count_the_test_people_and_score_them():
    labels = pd.DataFrame({"gender": ["male", "female"] * 4, "age": [5.0, 15, 25, 40, 55, 70, 30, 31]})
    test = np.arange(2, 8)
    said = {"age": labels["age"].to_numpy()[test] + 2, "gender": np.tile([0.9, 0.1], (6, 1))}
    found = selection.groups(said, labels.iloc[test])
    assert found.loc[("gender", "female"), ["age", "gender", "faces"]].tolist() == [2.0, 1.0, 3.0]
    assert found.loc[("gender", "male"), "gender"] == 0.0
    assert found.loc[("age", "20\u201334"), "faces"] == 3 and ("age", "0\u201312") not in found.index


def test_missed_faces_are_wrong_or_in_the_middle():
    hair = pd.DataFrame({f"facial_hair:{c}": [1.0] for c in fl.tasks.get("facial_hair").classes})
    assert selection.with_missed("facial_hair", 0.2, 3, hair) == pytest.approx(0.4)
    assert selection.with_missed("valence", 0.5, 3, pd.DataFrame({"valence": [1.0]})) == pytest.approx(
        (1.75 / 4) ** 0.5
    )
    unlabelled = pd.DataFrame({"gender": ["male", None], "age": [50.0, np.nan]})
    assert selection.with_missed("gender", 1.0, 3, unlabelled) == 0.75
    assert selection.with_missed("age", 5.0, 1, unlabelled) == 7.5
    assert selection.with_missed("yaw", 8.0, 10, pd.DataFrame({"yaw": []})) == 8.0
    assert selection.with_missed("gender", np.nan, 0, unlabelled) == 0.0
    assert np.isnan(selection.with_missed("age", np.nan, 0, pd.DataFrame({"age": [np.nan]})))
    with pytest.raises(ValueError, match="pairs"):
        selection.with_missed("identity", 0.9, 3, pd.DataFrame({"identity": [1]}))


def test_combinations_are_scored_as_their_codes_are_and_the_crowd_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    labels, part = pd.DataFrame({"gender": rng.choice(["female", "male"], 90)}), np.arange(90) % 3
    seen = {"good": rng.normal(0, 0.3, (90, 3)) + (labels["gender"] == "male").to_numpy()[:, None] * 2.0}
    seen["noise"] = rng.normal(size=(90, 4))
    crowd = {name: (5 * rng.normal(size=(5000, one.shape[1])) + 1).astype(np.float32) for name, one in seen.items()}
    how = {"epochs": 3, "batch": 32, "device": "cpu", "seeds": [0, 1]}
    each = []
    for some in (["good"], ["noise"], ["good", "noise"]):
        code = fusion.Concat().fit({s: crowd[s] for s in some}).transform({s: seen[s] for s in some})
        each.append(heads.scores(code, labels, ["gender"], part, **how).assign(code=" + ".join(some)))
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("scores.json")}
    known = {name: Mapped([one[:100], one[100:]]) for name, one in crowd.items()}
    monkeypatch.setattr(Mapped, "__array__", lambda *a, **k: pytest.fail("the whole crowd was read"))
    found = selection.scores(known, seen, labels, ["gender"], part, progress=False, **how)
    pd.testing.assert_frame_equal(found, pd.concat(each, ignore_index=True))
    assert len(kept) == 6 and kept == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("scores.json")}


def test_what_cannot_be_scored_is_not_asked():
    n, part = 60, np.arange(60) % 3
    gender = np.where(np.arange(n) // 3 % 2, "male", "female").astype(object)
    labels = pd.DataFrame({"gender": gender, "age": np.linspace(20, 60, n), "identity": np.arange(n) // 6})
    wanted = ["gender", "age", "identity"]
    assert selection.askable(labels, wanted, part) == wanted
    labels.loc[part == 1, "gender"] = None
    labels.loc[part == 2, "age"] = np.nan
    labels["identity"] = labels["identity"].astype(object)
    labels.loc[0, "identity"] = None
    assert selection.askable(labels, wanted, part) == []
    assert selection.askable(labels.drop(columns="identity"), wanted, part) == []


def test_ages_that_are_all_missing_make_no_groups():
    labels = pd.DataFrame({"gender": ["female", "male"], "age": [None, None]})
    found = selection.groups({"gender": np.array([[0.9, 0.1], [0.9, 0.1]])}, labels)
    assert list(found.index) == [("gender", "female"), ("gender", "male")]


def test_of_one_seed_there_is_no_interval():
    assert selection.averaged([0.5]) == {"value": 0.5, "note": ""}
    assert selection.averaged([0.1, 0.1, 0.1], "all labels") == {
        "value": 0.1,
        "note": "all labels",
    }  # nothing was drawn
    near = np.nextafter(0.1, 1)
    found = selection.averaged([0.1, 0.1, near], "all labels")
    assert found["low"] == 0.1 <= found["value"] <= near == found["high"]  # whatever the mean is rounded to
    assert found["note"] == "all labels; low and high: least and largest of 3 seeds"


class _Says:
    """Stands for a network: says the same of any faces."""

    def __init__(self, said):
        self.said = np.asarray(said, float)

    def predict(self, faces):
        return self.said[: len(faces)]


def test_the_sources_own_answers_are_scored_without_learning():
    labels = pd.DataFrame({"age": [20.0, 30.0, 40.0, np.nan], "gender": ["male", "male", "female", "female"],
                           "identity": ["a", "a", "b", "b"]})  # fmt: skip
    faces = fl.faces.FaceSet("four", np.zeros((4, 3, 8, 8), np.uint8), labels, np.zeros((4, 5, 2), np.float32))
    nets = {
        "age": _Says([21, 30, 42, 7]),
        "gender": _Says([0.9, 0.2, 0.1, 0.4]),  # of being male
        "identity": _Says([[0, 0], [0, 1], [9, 9], [9, 8]]),
        "expression": _Says(np.eye(7)[:4]),  # no label to score it by
        "object": _Says(np.zeros((4, 1000))),
    }
    found = selection.originals(nets, faces)
    assert found.to_dict() == {"identity": 1.0, "age": 1.0, "gender": 0.75}
    three = faces.labels.assign(identity=["a", "a", "b", None])
    assert selection.originals(nets, replace(faces, labels=three))["identity"] == 1.0
    alone = fl.faces.FaceSet("two", faces.images[:2], labels[:2].assign(identity=["a", "b"]), faces.landmarks[:2])
    assert "identity" not in selection.originals(nets, alone)


def test_groups_of_faces_of_which_nothing_is_known_are_none():
    said = {"expression": np.eye(7)[:2]}
    alone = selection.groups(said, pd.DataFrame({"expression": ["happy", "sad"]}))
    assert len(alone) == 0 and alone.index.nlevels == 2 and list(alone) == ["expression", "faces"]
    named = selection.groups(said, pd.DataFrame({"expression": ["neutral", "sad"], "gender": ["male", "female"]}))
    assert named["expression"].to_dict() == {("gender", "female"): 0.0, ("gender", "male"): 1.0}
