"""LFW's pairs: every line is read as it stands, each picture once, and what is no list of pairs is refused."""

import numpy as np
import pytest
from PIL import Image

from facelab.faces import lfw

PEOPLE = {"Ann_Lee": 3, "Bo": 2, "José_Ñ": 2}


def write(root, text, folder="lfw"):
    for i, (who, count) in enumerate(PEOPLE.items()):
        (root / folder / who).mkdir(parents=True, exist_ok=True)
        for k in range(1, count + 1):
            Image.new("RGB", (20, 20), (60 * i + 40, 20 * k, 0)).save(root / folder / who / f"{who}_{k:04d}.jpg")
    (root / "pairs.txt").write_text(text, encoding="utf-8")
    return root


TWO_FOLDS = "2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t1\tBo\t2\n\nJosé_Ñ\t1\t2\nBo\t2\tJosé_Ñ\t1\n"


@pytest.mark.parametrize("folder", lfw.IMAGES)
def test_pairs_point_at_their_pictures(tmp_path, folder):
    faces, table = lfw.pairs(write(tmp_path, TWO_FOLDS, folder), size=20, progress=False)
    assert list(table) == ["first", "second", "same", "fold"]
    assert table["same"].tolist() == [True, False, True, False] and table["fold"].tolist() == [0, 0, 1, 1]
    files = faces.labels["file"].to_numpy()
    pairs = [(files[a], files[b]) for a, b in zip(table["first"], table["second"], strict=True)]
    assert pairs[0] == ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0003.jpg")
    assert pairs[3] == ("Bo/Bo_0002.jpg", "José_Ñ/José_Ñ_0001.jpg")
    assert len(files) == len(set(files)) == 5  # a picture in two pairs is read once
    who = faces.labels["identity"].to_numpy()
    assert ((who[table["first"]] == who[table["second"]]) == table["same"]).all()
    for name, person, image in zip(files, who, faces.images, strict=True):
        red, green = 60 * list(PEOPLE).index(person) + 40, 20 * int(name[-8:-4])
        assert np.abs(image.mean((1, 2)) - (red, green, 0)).max() < 6
    assert np.isnan(faces.landmarks).all() and faces.images.shape[2:] == (20, 20)


def test_a_list_without_folds_is_one(tmp_path):
    _, table = lfw.pairs(write(tmp_path, "1\nBo 1 2\nAnn_Lee 1 Bo 2\n"), size=8, progress=False)
    assert table["fold"].tolist() == [0, 0] and table["same"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2 1\nAnn_Lee 1 3\nAnn_Lee\nBo 1 2\nBo 2 Ann_Lee 1\n", "line 3: 'Ann_Lee' is no pair of LFW"),
        ("1 1\nAnn_Lee 1 3 Bo 2\nBo 1 2\n", "line 2: 'Ann_Lee 1 3 Bo 2' is no pair of LFW"),
        ("1 1\nAnn_Lee 1 three\nBo 1 Ann_Lee 2\n", "line 2: 'Ann_Lee 1 three' is no pair of LFW"),
        ("2 1\nAnn_Lee 1 3\nAnn_Lee 1 Bo 2\n", "says 2 folds of 1 pairs of either kind, but has 2 pairs"),
        ("1 1\nAnn_Lee 1 3\nAnn_Lee 1 Bo 2\nBo 1 2\n", "says 1 folds of 1 pairs of either kind, but has 3"),
        ("2\nAnn_Lee 1 3\nAnn_Lee 1 Bo 2\n", "says 1 folds of 2 pairs of either kind, but has 2 pairs"),
        ("Bo 1 2\nAnn_Lee 1 3\nBo 1 Ann_Lee 2\n", r"pairs.txt begins with 'Bo 1 2': expected the numbers of folds"),
        ("ten 300\n", "begins with 'ten 300'"),
        ("\n", "begins with ''"),
        ("1 1\nBo 1 2\nBo 1 Ann_Lee 9\n", r"Ann_Lee_0009\.jpg cannot be read"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(tmp_path, text, says):
    with pytest.raises(ValueError, match=says):
        lfw.pairs(write(tmp_path, text), size=8, progress=False)


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*pairs\.txt: expected LFW's folder"):
        lfw.pairs(tmp_path)
    (tmp_path / "pairs.txt").write_text(TWO_FOLDS, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="has neither of the folders lfw-deepfunneled, lfw"):
        lfw.pairs(tmp_path)
