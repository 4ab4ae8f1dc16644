"""`ready`: a random part of a set, with landmarks, each picture once."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from facelab import nets
from facelab.faces import FaceSet
from facelab.faces.report import Report


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    landmarks = rng.uniform(8, 24, (30, 5, 2)).astype(np.float32)
    return FaceSet("noise", images, pd.DataFrame({"age": np.arange(30.0)}), landmarks)


def test_a_random_part_in_the_order_of_the_set(faces):
    some = nets.ready(faces, 12, seed=3)
    rows = some.labels["age"].to_numpy(int)
    assert len(some) == 12 and (np.diff(rows) > 0).all()
    assert (some.images == faces.images[rows]).all() and (some.landmarks == faces.landmarks[rows]).all()
    assert nets.ready(faces, 12, seed=3).fingerprint == some.fingerprint
    assert nets.ready(faces, 12, seed=4).fingerprint != some.fingerprint
    assert len(nets.ready(faces, 99)) == len(nets.ready(faces)) == 30


def test_a_picture_that_is_there_twice_stays_once(faces):
    images = faces.images.copy()
    images[20] = images[7]
    kept = nets.ready(replace(faces, images=images)).labels["age"]
    assert 7 in set(kept) and 20 not in set(kept) and len(kept) == 29


def test_frames_of_one_person_stay_and_near_copies_of_two_people_do_not(faces):
    images, names = faces.images.copy(), [f"p{i}" for i in range(30)]
    images[8] = images[9] = images[7] + (images[7] < 255)  # nearly the same
    names[8] = names[7]  # a frame of the same film; 9 is said to be another person
    images[20], names[20] = images[21], names[21]  # the very same picture
    kept = nets.ready(replace(faces, images=images, labels=faces.labels.assign(identity=names))).labels["age"]
    assert set(range(30)) - {*kept.astype(int)} == {9, 21}


def test_what_a_source_was_trained_on_is_left_out(faces, monkeypatch):
    labels = faces.labels.assign(split=["train", "test", "validation"] * 10)
    monkeypatch.setattr(sys.modules["facelab.nets.ready"], "load", lambda name, broken: replace(faces, labels=labels))
    assert set(nets.photographs("fer2013").labels["split"]) == {"test", "validation"}
    assert len(nets.photographs("fer2013")) == 20 and len(nets.photographs("mtfl")) == 30


def test_landmarks_are_looked_for_where_some_are_missing(faces, monkeypatch):
    looked = []

    def locate(some, device):
        looked.append(len(some))
        points = np.ones_like(some.landmarks)
        points[some.labels["age"].to_numpy() < 5] = np.nan  # no face is seen there
        return replace(some, landmarks=points)

    monkeypatch.setattr(sys.modules["facelab.nets.ready"], "locate", locate)
    assert np.isfinite(nets.ready(faces).landmarks).all() and not looked
    missing = faces.landmarks.copy()
    missing[11] = np.nan
    found = nets.ready(replace(faces, landmarks=missing))
    assert looked == [30] and len(found) == 25 and (found.landmarks == 1).all() and found.labels["age"].min() == 5
    missed = nets.missed(replace(faces, landmarks=missing))
    assert looked == [30]  # once for both
    assert list(missed.labels["age"]) == [0, 1, 2, 3, 4] and len(nets.missed(faces)) == 0
    of_draw = {*nets.ready(replace(faces, landmarks=missing), 12, seed=3).labels["age"]}
    of_draw |= {*nets.missed(replace(faces, landmarks=missing), 12, seed=3).labels["age"]}
    assert of_draw == {*nets.ready(faces, 12, seed=3).labels["age"]}
    with pytest.raises(ValueError, match="face set 'noise': none of 5 faces has landmarks, or any that are found"):
        nets.ready(replace(faces, landmarks=np.full_like(missing, np.nan))[:5])


def test_the_report_tells_what_was_left_out(faces, monkeypatch, caplog):
    def locate(some, device):
        points = np.ones_like(some.landmarks)
        points[3] = np.nan
        return replace(some, landmarks=points)

    monkeypatch.setattr(sys.modules["facelab.nets.ready"], "locate", locate)
    images, missing = faces.images.copy(), faces.landmarks.copy()
    images[20], missing[11] = images[7], np.nan
    before = Report("noise", 30, (("z.jpg", "cannot be read"),))
    with caplog.at_level("INFO", logger="facelab.nets.ready"):
        some = nets.ready(replace(faces, images=images, landmarks=missing, report=before))
    unseen, copy = ("face 3", "no landmarks are known or found"), "the same picture as an earlier one, or nearly"
    assert some.report.skipped == (("z.jpg", "cannot be read"), unseen, ("face 20", copy))
    assert some.report.kept == len(some) == 28
    assert "of 30 faces drawn, noise: 28 faces; left out: 1 (no landmarks are known or found)" in caplog.text


def test_what_cannot_be_asked_is_refused(faces):
    with pytest.raises(ValueError, match="face set 'noise' is empty"):
        nets.ready(faces[:0])
    with pytest.raises(ValueError, match="most 0: expected at least 1 face"):
        nets.ready(faces, 0)
    with pytest.raises(TypeError, match=r"most 0\.5: expected a whole number"):
        nets.ready(faces, 0.5)
