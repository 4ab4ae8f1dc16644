"""The real sets where they are on this machine, whole or in part: counts, labels, signs. They are looked for below
$FACELAB_PHOTOS, else ~/faces; a test whose set is not there is skipped."""

import os
from pathlib import Path

import numpy as np
import pytest

from facelab import nets
from facelab.faces import lfw, load, readers, turn, turn_sign

ROOTS = {"utkface": "UTKFace", "mtfl": "MTFL", "fer2013": "fer2013", "lfw": "lfw", "london": "london_set"}


def root(name):
    folder = Path(os.environ.get("FACELAB_PHOTOS") or "~/faces").expanduser() / ROOTS[name]
    if not readers.SETS[name].here(folder):
        pytest.skip(f"{readers.SETS[name].title} is not in {folder}")
    return folder


def listing(name):
    """The whole set as listed, no picture opened."""
    folder = root(name)
    files = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    return readers.SETS[name].read(folder, files)


def read(name, **options):
    return load(name, root=root(name), progress=False, **options)


def test_mtfl_has_its_five_poses():
    found = listing("mtfl")
    assert len(found) == 12_995 and not found.skipped
    assert found.table["split"].value_counts().to_dict() == {"train": 10_000, "test": 2_995}
    poses = found.table["yaw"].value_counts().sort_index()
    assert poses.to_dict() == {-60: 329, -30: 1_563, 0: 9_270, 30: 1_512, 60: 321}
    assert np.isfinite(found.landmarks).all()


def test_yaw_of_mtfl_has_the_sign_of_its_landmarks():
    faces = read("mtfl", rows=slice(None, None, 25))
    by_pose = [np.median(turn(faces)[faces.labels["yaw"] == yaw]) for yaw in (-60, -30, 0, 30, 60)]
    assert (np.diff(by_pose) > 0.1).all() and abs(by_pose[2]) < 0.02
    mirrored = faces.flip()
    np.testing.assert_allclose(turn(mirrored), -turn(faces), atol=1e-4)
    assert turn_sign(faces, "yaw") == turn_sign(mirrored, "yaw") == 1
    sides = faces.labels["yaw"].to_numpy() != 0
    assert (np.sign(turn(mirrored))[sides] == np.sign(mirrored.labels["yaw"])[sides]).mean() > 0.98


def test_landmarks_of_mtfl_lie_on_eyes():
    """Eyes are darker than the skin between and below them."""
    faces = read("mtfl", rows=slice(None, None, 25))
    grey, marks = faces.images.mean(1), faces.landmarks
    cheeks = (marks[:, :2] + marks[:, [2, 2]]) / 2

    def light(points):
        x, y = np.clip(np.round(points), 0, faces.images.shape[3] - 1).astype(int).T
        return grey[np.arange(len(faces)), y, x]

    eyes, below = (np.mean([light(where[:, side]) for side in (0, 1)], 0) for where in (marks, cheeks))
    assert (eyes < below).mean() > 0.75


def test_utkface_has_its_three_labels():
    found = listing("utkface")
    assert 9_000 < len(found) <= readers.SETS["utkface"].pictures and 1 <= len(found.skipped) <= 5
    assert {why for _, why in found.skipped} == {"name is not age_gender_ethnicity_date.jpg"}
    assert 0.1 < (found.table["age"] <= 7).mean() < 0.3 and found.table["age"].max() >= 100
    groups = found.table["ethnicity"].value_counts()
    assert groups.idxmax() == "white" and set(groups.index) == {"white", "black", "asian", "indian", "other"}
    faces = read("utkface", rows=60)
    assert faces.images.shape == (60, 3, 128, 128) and len(faces.report.skipped) == len(found.skipped)


def test_fer2013_has_both_test_parts_whole():
    found = listing("fer2013")
    parts = found.table["split"].value_counts()
    assert parts["validation"] == parts["test"] == 3_589 and 9_000 <= parts["train"] <= 28_709
    assert found.table["expression"].value_counts().idxmax() == "happy"
    faces = read("fer2013", rows=slice(None, None, 400), size=48)
    assert (faces.images[:, 0] == faces.images[:, 1]).all()


def test_lfw_has_the_people_of_its_pairs():
    found = listing("lfw")
    assert 7_701 <= len(found) <= readers.SETS["lfw"].pictures and 4_000 < found.table["identity"].nunique() <= 5_749
    faces = read("lfw", rows=40)
    assert faces.images.std() > 30


def test_london_has_102_people_twice():
    faces = read("london")
    assert len(faces) == 204 and faces.labels["identity"].nunique() == 102
    assert faces.labels["smile"].value_counts().to_dict() == {"yes": 102, "no": 102}
    assert faces.labels["gender"].value_counts().to_dict() == {"male": 106, "female": 98}
    assert faces.labels["age"].notna().sum() == 200


def test_lfw_has_its_official_pairs():
    folder, files, pairs = lfw.protocol(root("lfw"))
    each = pairs.groupby(["fold", "same"]).size()
    assert len(pairs) == 6_000 and len(each) == 20 and (each == 300).all()
    people = np.array([Path(file).parent.name for file in files])
    assert ((people[pairs["first"]] == people[pairs["second"]]) == pairs["same"]).all()
    assert all((folder / file).is_file() for file in files[::50])


def test_the_detector_finds_the_face_in_the_middle_of_photographs_of_lfw():
    """LFW's pictures were cut about a face that another detector had found: it lies in the middle."""
    folder, files, _ = lfw.protocol(root("lfw"))
    found = nets.faces_in([folder / file for file in files[::120]], size=64, cached=False, progress=False, device="cpu")
    labels = found.faces.labels[found.faces.labels["face"] == 0].merge(found.photos, on="file")
    assert len(found.unreadable) == 0 and len(found.undetected) <= 0.03 * len(found.photos)
    x = (labels["left"] + labels["right"]) / 2 / labels["width"]
    y = (labels["top"] + labels["bottom"]) / 2 / labels["height"]
    assert (np.hypot(x - 0.5, y - 0.5) < 0.1).mean() > 0.9
