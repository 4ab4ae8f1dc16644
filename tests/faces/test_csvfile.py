"""Any CSV file of pictures: labels mean what their columns say, and mistakes in it are named."""

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import facelab as fl
from facelab import tasks
from facelab.faces import from_csv
from facelab.faces.faceset import FaceSet
from facelab.workbench import export


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "zoë 李").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "zoë 李/c.png")):
        Image.new("RGB", (20, 20), (80 * i, 0, 0)).save(folder / name)
    return folder


def read(file, text, **options):
    Path(file).write_text(text, encoding="utf-8")
    return from_csv(file, progress=False, **{"size": 20} | options)


def test_labels_of_tasks_and_others(photos):
    text = "path,identity,age,gender,yaw,note\na.png,007,30,female,-20,x\nzoë 李/c.png,NA,,male,15.5,\nb.jpg,,4,,,z\n"
    faces = read(photos / "mine.csv", text)
    assert faces.name == "mine" and list(faces.labels) == ["file", "identity", "age", "gender", "yaw", "note"]
    assert faces.labels["file"].tolist() == ["a.png", "zoë 李/c.png", "b.jpg"]
    np.testing.assert_allclose(faces.images[:, 0].mean((1, 2)), [0, 160, 80], atol=3)
    assert faces.labels["identity"].tolist()[:2] == ["007", "NA"] and faces.identities.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(faces.encode("age"), [30, np.nan, 4])
    assert faces.encode("gender").tolist() == [0, 1, -1] and np.isnan(faces.landmarks).all()
    assert faces.labels["note"].tolist()[::2] == ["x", "z"]
    np.testing.assert_array_equal(faces.flip().labels["yaw"], [20, -15.5, np.nan])


def test_root_is_where_the_pictures_are(photos, tmp_path):
    faces = read(tmp_path / "lists.csv", "path,age\na.png,3\n", root=photos)
    assert len(faces) == 1
    assert len(read(tmp_path / "lists.csv", f"path,age\n{photos}/b.jpg,3\n")) == 1
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere: expected that of the pictures of"):
        from_csv(tmp_path / "lists.csv", root=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"none of the 1 pictures of .*lists.csv is below .*, e.g. a.png"):
        read(tmp_path / "lists.csv", "path,age\na.png,3\n")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.csv"):
        from_csv(tmp_path / "none.csv")


def test_other_labels_are_other_faces_though_the_pictures_are_the_same(photos):
    assert read(photos / "mine.csv", "path,age\na.png,3\n").labels["age"].tolist() == [3]
    assert read(photos / "mine.csv", "path,age\na.png,40\n").labels["age"].tolist() == [40]


def test_what_facelab_wrote_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    labels = pd.DataFrame({"identity": ["01", "02"], "yaw": [-30.25, np.nan], "smile": ["yes", None],
                           "facial_hair:goatee": [1.0, 0.0]})  # fmt: skip
    marks = rng.uniform(2, 18, (2, 5, 2)).astype(np.float32)
    made = FaceSet("made", rng.integers(0, 256, (2, 3, 20, 20), dtype=np.uint8), labels, marks)
    export.write(made, tmp_path / "out")
    back = from_csv(tmp_path / "out" / "labels.csv", size=20, progress=False)
    np.testing.assert_array_equal(back.images, made.images)
    np.testing.assert_allclose(back.landmarks, made.landmarks, atol=1e-4)
    for column in labels:
        assert (
            back.labels[column].astype(object).where(back.labels[column].notna(), None).tolist()
            == labels[column].astype(object).where(labels[column].notna(), None).tolist()
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pth,age\na.png,3\n", "mine.csv lacks the column 'path'; the nearest is 'pth'"),
        ("a.png;3\n", "mine.csv lacks the column 'path'; there are 'a.png;3'"),
        ("path,gender\na.png,mail\n", "mine.csv: unknown gender class 'mail': did you mean 'male'"),
        ("path,gender\na.png,M\n", "mine.csv: unknown gender class 'M': expected one of 'female', 'male'"),
        ("path,age\na.png,300\n", "mine.csv: age 300 is out of range: expected 0 to 120 years"),
        ("path,age\na.png,old\n", "mine.csv: labels of task 'age' must be numbers or missing"),
        ("path,facial_hair:goatee\na.png,7\n", "mine.csv: facial_hair 7 is out of range: expected 0.0 to 1.0"),
        ("path,age\n", "mine.csv has no rows: expected one for each picture"),
        ("", "mine.csv cannot be read as a CSV file"),
        ("path,age\na.png,3\n,4\n", "mine.csv, row 2: the path is empty"),
        ("path,age\na.png,3\nb.jpg,4,5,6\n", "mine.csv cannot be read as a CSV file"),
        ("path,landmark_0_x\na.png,3\n", "mine.csv has landmarks but lacks the column 'landmark_0_y' and 8 more"),
        ("path," + ",".join(fl.faces.csvfile.MARKS) + "\na.png" + ",x" * 10 + "\n", "landmarks must be numbers"),
    ],
)
def test_mistakes_are_named(text, says, photos):
    with pytest.raises(ValueError, match=says):
        read(photos / "mine.csv", text)


def test_a_file_that_is_no_text_is_named(photos):
    (photos / "mine.csv").write_bytes(b"path,age\n\xff\xfe\x00,3\n")
    with pytest.raises(ValueError, match=r"mine\.csv cannot be read as a CSV file"):
        from_csv(photos / "mine.csv")


@pytest.mark.parametrize(
    ("column", "near"), [("Age", "age"), ("gendr", "gender"), ("expresion", "expression"), ("Yaw ", "yaw")]
)
def test_a_column_nearly_named_as_a_task_is_pointed_out(column, near, photos, caplog):
    with caplog.at_level(logging.WARNING):
        faces = read(photos / "mine.csv", f"path,{column},camera\na.png,x,y\n")
    assert f"the column {column!r} is kept as it is: did you mean {near!r}?" in caplog.text
    assert caplog.text.count("did you mean") == 1 and column in faces.labels


def test_a_second_row_of_a_picture_is_left_out_and_counted(photos, caplog):
    with caplog.at_level(logging.WARNING):
        faces = read(photos / "mine.csv", "path,age\na.png,3\nb.jpg,5\na.png,4\n")
    assert faces.labels["age"].tolist() == [3, 5]
    assert (
        faces.report.counts == {"listed twice: its first row counts": 1} and "left out: 1 (listed twice" in caplog.text
    )


def test_missing_and_broken_pictures(photos, caplog):
    (photos / "b.jpg").write_bytes(b"no picture")
    text = "path,age\na.png,3\ngone.png,4\nb.jpg,5\nzoë 李/c.png,6\n"
    with pytest.raises(ValueError, match=r"b\.jpg cannot be read as an image"):
        read(photos / "mine.csv", text)
    with caplog.at_level(logging.WARNING):
        faces = read(photos / "mine.csv", text, broken="skip")
    assert faces.labels["age"].tolist() == [3, 6]
    assert faces.report.skipped == (("gone.png", "listed, but not there"), ("b.jpg", "cannot be read as an image"))
    assert "mine: 2 faces; left out: 1 (listed, but not there), 1 (cannot be read as an image)" in caplog.text
    assert read(photos / "mine.csv", text, broken="skip", rows=1).labels["age"].tolist() == [3]


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", " n/a", "null", "None"])
def test_words_for_a_missing_number_are_missing(photos, word):
    faces = read(photos / "mine.csv", f"path,age,yaw,note,weight\na.png,{word},-3,{word},\nb.jpg,4,{word},x,{word}\n")
    np.testing.assert_array_equal(faces.encode("age"), [np.nan, 4])
    np.testing.assert_array_equal(faces.encode("yaw"), [-3, np.nan])
    assert faces.labels["note"].tolist() == [word.strip(), "x"]


def test_windows_paths_and_a_comma_at_the_end(photos):
    rows = "zoë 李\\c.png,3,007,\nb.jpg,4,008,\n"
    for text in (f"path,age,identity\n{rows}", f"path,age,identity,\n{rows}"):
        faces = read(photos / "mine.csv", text)
        assert faces.labels["file"].tolist() == ["zoë 李/c.png", "b.jpg"] and list(faces.labels)[1:] == [
            "age",
            "identity",
        ]
        assert faces.labels["age"].tolist() == [3, 4] and faces.labels["identity"].tolist() == ["007", "008"]
    with pytest.raises(ValueError, match=r"mine.csv has rows of more cells than its header names"):
        read(photos / "mine.csv", "path,age\na.png,3,x\nb.jpg,4,y\n")


def test_names_that_are_long_or_no_utf8(photos):
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "a.png").rename(photos / name)
    faces = fl.faces.from_folder(photos, size=20, progress=False)
    assert name in set(faces.labels["file"]) and len(faces.fingerprint) == 64
    long = photos / ("m" * 240 + ".csv")
    assert len(read(long, "path,age\nb.jpg,4\n")) == 1


def test_words_stay_where_they_may_be_meant(photos, monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "beard", tasks.Task("beard", "classes", "accuracy", ("none", "1", "2")))
    faces = read(photos / "mine.csv", "path,beard,code,age\na.png,none,007,\nb.jpg,1,NA,\n")
    assert faces.encode("beard").tolist() == [0, 1] and faces.labels["code"].tolist() == ["007", "NA"]
    assert np.isnan(faces.encode("age")).all() and np.isnan(faces.flip().encode("age")).all()


def test_a_csv_of_any_name(photos):
    assert len(read(photos / os.fsdecode(b"caf\xe9.csv"), "path,age\nb.jpg,4\n")) == 1


def test_a_folder_in_the_place_of_a_picture_is_skipped(photos):
    (photos / "dir.png").mkdir()
    faces = read(photos / "mine.csv", "path,age\ndir.png,3\nb.jpg,4\n", broken="skip")
    assert len(faces) == 1 and faces.report.skipped == (("dir.png", "cannot be read as an image"),)
