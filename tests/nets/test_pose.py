"""The pose of a head from its landmarks: in degrees, with the house's signs, on heads not learned from."""

from dataclasses import replace

import numpy as np
import pytest

import facelab as fl
from facelab import cache
from facelab.nets import pose


@pytest.fixture(scope="module")
def turned():
    """A person of another seed, turned from −45° to 45°, with the detector's landmarks."""
    return pose.seen(fl.faces.sweep(fl.faces.person(4711), "yaw", range(-45, 46, 15), device="cpu"), device="cpu")


def test_yaw_is_followed_in_degrees(turned):
    said, true = pose.angles(turned.landmarks), turned.labels["yaw"].to_numpy(float)
    assert said.shape == (len(turned), 3) and len(turned) >= 6
    assert np.corrcoef(said[:, 0], true)[0, 1] > 0.9 and np.abs(said[:, 0] - true).mean() < 15
    assert 0.6 < np.polyfit(true, said[:, 0], 1)[0] < 1.6


def test_a_mirror_image_is_turned_the_other_way(turned):
    here, there = pose.angles(turned.landmarks), pose.angles(turned.flip().landmarks)
    np.testing.assert_allclose(there, here * [-1, 1, -1], atol=1e-2)
    assert np.sign(here[[0, -1], 0]).tolist() == (-np.sign(there[[0, -1], 0])).tolist() == [-1, 1]


def test_pitch_is_positive_for_a_head_that_looks_up():
    heads = fl.faces.sweep(fl.faces.person(4711), "pitch", (-25, 0, 25), device="cpu")
    low, level, high = pose.angles(heads.landmarks)[:, 1]
    assert low < level < high and high - low > 10


def test_place_size_and_roll_of_a_face_leave_yaw_and_pitch(turned):
    turn = np.radians(20)
    clockwise = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # of rows (x, y)
    before, after = pose.angles(turned.landmarks), pose.angles(2.5 * turned.landmarks.astype(float) @ clockwise + 30)
    np.testing.assert_allclose(after[:, :2], before[:, :2], atol=1e-2)
    np.testing.assert_allclose(after[:, 2], before[:, 2] + 20, atol=1e-2)


def test_unknown_landmarks_have_no_pose(turned):
    points = turned.landmarks.copy()
    points[1] = np.nan
    said = pose.angles(points)
    assert np.isnan(said[1]).all() and np.isfinite(np.delete(said, 1, 0)).all()


def test_what_was_measured_is_better_than_a_guess():
    layer, about = pose.read()
    assert layer["weight"].shape == (2, 10) and layer["bias"].shape == (2,)
    assert about["command"].startswith("facelab train-pose") and pose.FILE.stat().st_size < 10_000
    row = about["measured"]["rendered/wild, other people"]
    assert row["faces"] > 100 and all(row[a] < row[f"{a}, always the median"] for a in pose.ANGLES)


def test_a_layer_is_learned_again_as_it_was_and_written(tmp_path):
    faces = fl.faces.load("rendered/wild", people=30, progress=False)
    layer, row = pose.learn(faces, device="cpu")
    assert row["yaw"] < row["yaw, always the median"] and 5 < row["faces"] < 40
    cache.write_tensors(tmp_path / "mine.safetensors", layer, {"command": "mine"})
    again, about = pose.read(tmp_path / "mine.safetensors")
    few = faces.landmarks[:5]
    np.testing.assert_array_equal(pose.angles(few, again), pose.angles(few, layer))
    np.testing.assert_array_equal(pose.learn(faces, device="cpu")[0]["weight"], layer["weight"])
    assert about == {"command": "mine"}


def test_classes_are_counted_and_averaged(turned):
    rows = pose.classes(turned, pose.read()[0], device="cpu")
    assert sum(row["faces"] for row in rows.values()) == len(turned)
    assert rows["-30"]["mean"] < rows["0"]["mean"] < rows["30"]["mean"]


def test_only_faces_that_are_found_where_they_are_count(turned):
    elsewhere = replace(turned, landmarks=turned.landmarks + 60)
    assert len(pose.seen(elsewhere, device="cpu")) == 0
