"""Duplicates: the same pixels, nearly the same, and neither; across a split; each picture once."""

import io
import logging
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from facelab.faces import duplicates
from facelab.faces.faceset import FaceSet


def scenes(n, size=64, seed=0):
    """(n, 3, size, size): soft shapes, as different from each other as photos are."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 12, 12, 3), dtype=np.uint8)
    grown = [np.asarray(Image.fromarray(s).resize((size, size), Image.Resampling.BICUBIC)) for s in small]
    return np.stack(grown).transpose(0, 3, 1, 2)


def as_faces(images, **labels):
    labels = pd.DataFrame(labels, index=range(len(images)))
    return FaceSet("made", np.ascontiguousarray(images), labels, np.full((len(images), 5, 2), np.nan, np.float32))


def _compressed(image):
    out = io.BytesIO()
    image.save(out, "jpeg", quality=60)
    return Image.open(out)


CHANGES = {
    "compressed": _compressed,
    "smaller": lambda image: image.resize((40, 40)).resize((64, 64)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "noisy": lambda image: Image.fromarray(
        np.clip(np.asarray(image) + np.random.default_rng(0).normal(0, 6, (64, 64, 3)), 0, 255).astype(np.uint8)
    ),
}


def test_pictures_that_differ_are_no_duplicates():
    found = duplicates(as_faces(scenes(300)))
    assert len(found) == 0 and not found.extra.any() and found.groups.tolist() == list(range(300))
    assert list(found.table()) == ["first", "second", "kind", "bits", "across", "differ"]


def test_equal_pixels_are_exact_and_named_with_the_first():
    images = scenes(9)
    images[[4, 8]], images[7] = images[1], images[5]
    table = duplicates(as_faces(images)).table()
    assert table[["first", "second"]].to_numpy().tolist() == [[1, 4], [1, 8], [5, 7]]
    assert (table["kind"] == "exact").all() and (table["bits"] == 0).all()


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_in_another_form_is_near(change):
    images = scenes(40)
    for i in (3, 20):
        image = CHANGES[change](Image.fromarray(images[i].transpose(1, 2, 0)))
        images[i + 10] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    found = duplicates(as_faces(images))
    assert np.stack([found.first, found.second], 1).tolist() == [[3, 13], [20, 30]] and not found.exact.any()
    assert (found.bits <= 24).all()


def test_mirror_images_and_other_plain_pictures_are_none():
    images = scenes(6)
    images[5] = images[0, :, :, ::-1]
    images[1], images[2] = 0, 200  # no contours at all
    assert len(duplicates(as_faces(images))) == 0


def test_pairs_of_all_blocks_are_found(monkeypatch):
    """As one comparison of everything with everything would."""
    images = scenes(50)
    for a, b in ((0, 49), (7, 8), (15, 33)):
        images[b] = np.clip(images[a].astype(int) + 3, 0, 255)
    whole = duplicates(as_faces(images)).table()
    monkeypatch.setattr(sys.modules[duplicates.__module__], "_BLOCK", 7)
    pd.testing.assert_frame_equal(duplicates(as_faces(images)).table(), whole)
    assert whole[["first", "second"]].to_numpy().tolist() == [[0, 49], [7, 8], [15, 33]]


def test_pairs_across_a_split_are_told(caplog):
    images = scenes(6)
    images[3], images[5], images[4] = images[0], images[1], images[2]
    split = ["train", "train", "train", "test", "train", None]
    with caplog.at_level(logging.WARNING):
        found = duplicates(as_faces(images, split=split, age=[1.0, 2, 3, 1, 9, 2]))
    assert found.part == "split" and found.table()["across"].tolist() == [True, False, False]
    assert "made: 1 pairs of duplicates lie in two parts of 'split'" in caplog.text
    assert found.table()["differ"].tolist() == ["", "", "age"]
    by_fold = duplicates(as_faces(images, fold=[0, 1, 2, 0, 2, 3]))
    assert by_fold.part == "fold" and by_fold.across.tolist() == [False, True, False]
    own = duplicates(as_faces(images, split=split, site=list("aabbbb")), part="site")
    assert own.across.tolist() == [True, True, False]


def test_each_picture_once_and_groups_through_others():
    images = scenes(8)
    images[2] = np.clip(images[0].astype(int) + 2, 0, 255)
    images[6] = np.clip(images[2].astype(int) + 2, 0, 255)
    found = duplicates(as_faces(images), near=40)
    assert found.extra.tolist() == [False, False, True, False, False, False, True, False]
    assert found.groups[0] == found.groups[2] == found.groups[6] and len(set(found.groups)) == 6
    once = found.faces[~found.extra]
    assert len(duplicates(once, near=40)) == 0 and len(once) == 6


def test_copies_in_two_parts_are_found_beside_one_that_has_none():
    images = scenes(4)
    images[1] = images[2] = images[0]
    found = duplicates(as_faces(images, split=[None, "train", "test", "train"]))
    assert found.table()[["first", "second", "across"]].to_numpy().tolist() == [[0, 1, False], [1, 2, True]]
    assert found.extra.tolist() == [False, True, True, False]


def test_two_people_before_a_plain_wall_are_two_pictures():
    """Where nothing is drawn every contour agrees; what is drawn has to as well."""
    rng = np.random.default_rng(0)
    walls = np.full((3, 3, 64, 64), 120, np.uint8)
    for wall in walls[:2]:
        wall[:, 24:40, 24:40] = np.repeat(np.repeat(rng.integers(40, 220, (3, 4, 4)), 4, 1), 4, 2)
    walls[2] = np.clip(1.1 * walls[0].astype(float) - 6, 0, 255)  # the first one, a little harder
    found = duplicates(as_faces(walls), near=60)
    assert found.table()[["first", "second"]].to_numpy().tolist() == [[0, 2]]


def test_bad_requests_are_named():
    faces = as_faces(scenes(2), age=[1.0, 2.0])
    with pytest.raises(ValueError, match="face set 'made' has no label 'splt': it has age"):
        duplicates(faces, part="splt")
    with pytest.raises(ValueError, match="near -1: expected at least 0"):
        duplicates(faces, near=-1)
    assert len(duplicates(faces[[]])) == 0
