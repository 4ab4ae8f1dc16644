"""Which way heads are turned: by landmarks alone, from profile to profile."""

import dataclasses

import numpy as np
import pytest

from facelab.faces import FaceSet, person, sweep, turn, turn_sign


@pytest.fixture(scope="module")
def turned():
    """A rendered head at all yaws, level, looking up and down, with its exact landmarks."""
    yaws = range(-90, 91, 15)
    return FaceSet.join([sweep(person(3), "yaw", yaws, size=40, device="cpu", pitch=p) for p in (0, 25, -25)], "turned")


def test_it_grows_with_yaw_and_changes_sign_in_the_mirror(turned):
    """Also where the eyes of a profile coincide."""
    level = turn(turned)[:13]
    assert (np.diff(level[1:-1]) > 0).all() and abs(level[6]) < 0.03
    np.testing.assert_allclose(turn(turned.flip()), -turn(turned), atol=1e-4)


def test_a_tilted_head_is_turned_no_further(turned):
    tilted = sweep(person(3), "yaw", range(-45, 46, 15), size=40, device="cpu", roll=30)
    np.testing.assert_allclose(turn(tilted), turn(turned)[3:10], atol=0.06)


def test_the_sign_of_an_angle_is_found(turned):
    labels = turned.labels.assign(pan=-turned.labels["yaw"], level=5.0, chance=np.arange(39) % 2)
    faces = dataclasses.replace(turned, labels=labels)
    assert (turn_sign(faces, "yaw"), turn_sign(faces.flip(), "yaw"), turn_sign(faces, "pan")) == (1, 1, -1)
    with pytest.raises(ValueError, match="'turned' lacks the label 'yow'; the nearest is 'yaw'"):
        turn_sign(faces, "yow")
    with pytest.raises(ValueError, match="39 faces of 'turned' have landmarks and a level: expected 10 that differ"):
        turn_sign(faces, "level")
    with pytest.raises(ValueError, match=r"chance of 'turned' does not follow the landmarks: rank correlation -?0\.\d"):
        turn_sign(faces, "chance")
    with pytest.raises(ValueError, match="9 faces of 'turned' have landmarks and a yaw: expected 10"):
        turn_sign(faces[:9], "yaw")


def test_unknown_landmarks_have_no_turn(turned):
    unknown = dataclasses.replace(turned, landmarks=np.full_like(turned.landmarks, np.nan))
    assert np.isnan(turn(unknown)).all()
    with pytest.raises(ValueError, match="0 faces of 'turned' have landmarks and a yaw"):
        turn_sign(unknown, "yaw")
