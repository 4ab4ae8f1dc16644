"""Whom networks serve: one distance for everybody, heads on people not learned from, intervals over people."""

import numpy as np
import pandas as pd
import pytest

from facelab.faces.faceset import FaceSet
from facelab.transfer import served


def test_one_distance_for_everybody_takes_strangers_who_look_alike():
    """Two groups of 40 people; in one of them the people are twice as near to each other."""
    rng = np.random.default_rng(0)
    spread = np.repeat([2.0, 1.0], 40)
    people = np.repeat(np.arange(80), 3)
    codes = (rng.normal(size=(80, 4)) * spread[:, None])[people] + 0.02 * rng.normal(size=(240, 4))
    labels = pd.DataFrame({"gender": np.where(people < 40, "female", "male")})
    rows = served.verification(codes, labels, people)
    taken = {name.removeprefix("strangers_taken."): row for name, row in rows.items() if "taken" in name}
    assert taken["all.everybody"][0] == pytest.approx(0.01, abs=0.002)
    assert taken["gender.male"][0] > 4 * taken["gender.female"][0] and taken["gender.male"][1] > 0.01
    assert rows["own_missed.all.everybody"][0] == 0 and 0 < rows["own_missed.all.everybody"][2] < 0.1
    assert taken["gender.male"][3] == 40


def test_verification_counts_pairs_of_pictures():
    """By hand: two people of two pictures; at a distance that takes one of four strangers' pairs."""
    codes, people = np.array([[0.0], [1.0], [1.1], [9.0]]), np.array([0, 0, 1, 1])
    labels = pd.DataFrame(index=range(4))
    share, least = served.STRANGERS, served.LEAST
    rows = served.verification(codes, labels, people)
    assert share == 0.01 and least == 10
    # strangers: 1.1, 9, 0.1, 8; the limit lies at the nearest of them; the two own pairs, 1 and 7.9, are farther
    assert rows["strangers_taken.all.everybody"][0] == pytest.approx(0.25)
    assert rows["own_missed.all.everybody"][0] == 1


def test_heads_are_asked_about_people_they_did_not_learn_from():
    """A code that names the person tells the label of a person who was learned, and nothing of others."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(120), 3)
    labels = pd.DataFrame(
        {"gender": rng.choice(["female", "male"], 120)[people], "age": rng.uniform(5, 80, 120)[people]}
    )
    named = rng.normal(size=(120, 64))[people]
    blind = served.readings(named, labels, people, device="cpu")["gender_right.all.everybody"]
    assert blind[1] < 0.62
    telling = np.where(labels["gender"] == "male", 1.0, -1.0)[:, None] + 0.1 * rng.normal(size=(360, 4))
    assert served.readings(telling, labels, people, device="cpu")["gender_right.all.everybody"][0] > 0.99
    half = labels.astype({"gender": object})
    half.loc[people % 2 == 0, "gender"], half.loc[people % 2 == 1, "age"] = None, np.nan  # not known is not wrong
    assert served.readings(telling, half, people, device="cpu")["gender_right.all.everybody"][0] > 0.99


def test_intervals_draw_people_and_not_pictures():
    values, people = np.repeat([0.0, 1.0] * 10, 50), np.repeat(np.arange(20), 50)
    _, low, high = served.share(values, people)
    _, narrow_low, narrow_high = served.share(values, np.arange(1000))
    assert high - low > 4 * (narrow_high - narrow_low)
    assert served.share(np.ones(30), np.arange(30))[1] < 0.95  # all right is not certain


def test_pose_is_measured_on_the_faces_found(monkeypatch):
    labels = pd.DataFrame({"yaw": np.full(40, 10.0), "pitch": np.zeros(40), "gender": ["female", "male"] * 20})
    faces = FaceSet("some", np.zeros((40, 3, 8, 8), np.uint8), labels, np.zeros((40, 5, 2), np.float32))
    monkeypatch.setattr(served.pose, "seen", lambda faces, device: faces[np.arange(0, 40, 2)])  # the women
    monkeypatch.setattr(served.pose, "angles", lambda marks: np.tile([4.0, 1.0, 0.0], (len(marks), 1)))
    rows = served.turning(faces)
    assert rows["found.gender.female"][0] == 1 and rows["found.gender.male"][0] == 0
    assert rows["yaw_off.all.everybody"][0] == 6 and "yaw_off.gender.male" not in rows
    turned = faces.labels.assign(yaw=np.where(np.arange(40) < 20, 30.0, -30.0))
    rows = served.sides(FaceSet("some", faces.images, turned, faces.landmarks))
    assert rows["side_right.all.everybody"][0] == 0.5  # all are said to be turned to their left
