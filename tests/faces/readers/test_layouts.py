"""Every reader on its official layout, written small: each label of each picture, its landmarks, its mirror image."""

import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest

from facelab import tasks
from facelab.faces import load, readers, turn


def read(layout, root, **options):
    return load(layout.split()[0], root=root, progress=False, **{"size": 32} | options)


def test_every_set_has_a_layout_here(layouts):
    assert {name.split()[0] for name in layouts} == set(readers.SETS)


def test_labels_are_those_of_the_files(layout, layouts, tmp_path):
    wanted = layouts[layout](tmp_path)
    faces = read(layout, tmp_path)
    assert sorted(faces.labels["file"]) == sorted(wanted) and faces.name == layout.split()[0]
    for row in faces.labels.to_dict("records"):
        for label, value in wanted[row["file"]].items():
            if value is None:
                assert pd.isna(row[label]), (row["file"], label)
            else:
                assert row[label] == (pytest.approx(value) if isinstance(value, float) else value), (row["file"], label)
    told = set(readers.SETS[faces.name].labels)
    named = {label.partition(":")[0] for label in faces.labels}
    landmarks = {"landmarks"} if np.isfinite(faces.landmarks).all() else set()
    told -= {"attributes"} | ({"fold"} - named)
    assert told <= named | landmarks and ("landmarks" in told) == bool(landmarks)


def test_labels_that_are_tasks_can_be_asked(layout, layouts, tmp_path):
    layouts[layout](tmp_path)
    faces = read(layout, tmp_path)
    asked = [task for task in tasks.TASKS.values() if set(task.columns) & set(faces.labels)]
    assert asked
    for task in asked:
        if set(task.columns) <= set(faces.labels):
            assert len(faces.encode(task.name)) == len(faces)


def test_pictures_are_upright_squares_of_the_asked_size(layout, layouts, tmp_path):
    layouts[layout](tmp_path)
    faces = read(layout, tmp_path, size=24)
    assert faces.images.shape == (len(faces), 3, 24, 24)
    middle = faces.images[:, :, 12, 12].astype(int)
    if layout == "fer2013":
        np.testing.assert_array_equal(middle, [[30] * 3, [70] * 3, [110] * 3])
    else:
        assert np.abs(middle - (200, 100, 50)).max() < 6


def test_a_mirror_image_has_the_opposite_yaw_and_turn(layout, layouts, tmp_path):
    layouts[layout](tmp_path)
    faces = read(layout, tmp_path)
    mirrored = faces.flip()
    np.testing.assert_allclose(turn(mirrored), -turn(faces), atol=1e-5)
    for label, sign in (("yaw", -1), ("roll", -1), ("pitch", 1)):
        if label in faces.labels:
            np.testing.assert_array_equal(mirrored.labels[label], sign * faces.labels[label])
    if "yaw" in faces.labels:
        turned = np.abs(faces.labels["yaw"]) > 1
        assert turned.any() and (np.sign(turn(faces)[turned]) == np.sign(faces.labels["yaw"][turned])).all()


def test_angles_of_aflw2000_are_those_of_its_own_projection(layouts, tmp_path):
    """The nose goes up with pitch, the eyes' line turns clockwise with roll."""
    layouts["aflw2000"](tmp_path)
    faces = read("aflw2000", tmp_path, size=400)
    left, right, nose = faces.landmarks[:, :3].transpose(1, 0, 2)
    below = (nose - (left + right) / 2)[:, 1]
    up, down, tilted = range(3)
    assert faces.labels["pitch"][up] > 10 > -10 > faces.labels["pitch"][down]
    assert below[up] < below[tilted] < below[down]
    lean = np.degrees(np.arctan2(*(right - left)[tilted][::-1]))
    assert faces.labels["roll"][tilted] == pytest.approx(lean, abs=0.1)


def test_sets_fitted_as_aflw2000_is_are_read_whatever_their_names(layouts, tmp_path):
    wanted = layouts["aflw2000"](tmp_path)
    for file in list(tmp_path.iterdir()):
        file.rename(file.with_name(file.name.replace("image0000", "LFPW_Test_")))
    faces = read("aflw2000", tmp_path)
    assert faces.labels["file"].tolist() == [name.replace("image0000", "LFPW_Test_") for name in wanted]
    for file in tmp_path.glob("*.mat"):  # none lies beside a picture of its name
        file.rename(file.with_name(f"of_{file.name}"))
    with pytest.raises(FileNotFoundError, match="AFLW2000"):
        read("aflw2000", tmp_path)


def test_pictures_that_a_list_says_nothing_of_stay_and_are_counted(layouts, tmp_path):
    layouts["celeba"](tmp_path / "a")
    for name in ("identity_CelebA", "list_eval_partition", "list_landmarks_align_celeba"):
        file = tmp_path / "a" / f"{name}.txt"
        file.write_text("".join(line for line in file.read_text().splitlines(True) if "000002" not in line))
    faces = read("celeba", tmp_path / "a")
    assert len(faces) == 3 and faces.labels["identity"].isna().tolist() == [False, True, False]
    second = "img_align_celeba/000002.jpg"
    reasons = (
        "no row in identity_CelebA",
        "no 0, 1 or 2 in list_eval_partition",
        "no row in list_landmarks_align_celeba",
    )
    assert faces.report.lacking == tuple((second, why) for why in reasons)
    assert "without a label: 1 (no row in identity_CelebA)" in str(faces.report)
    assert np.isfinite(faces.landmarks).all((1, 2)).tolist() == [True, False, True]
    again = read("celeba", tmp_path / "a")  # from the cache
    assert again.report == faces.report and (again.images == faces.images).all()
    layouts["lfw"](tmp_path / "b")
    (tmp_path / "b" / "people.txt").write_text("2\n1\nAnn_Lee\t2\n0\n", encoding="utf-8")
    faces = read("lfw", tmp_path / "b")
    assert faces.labels["fold"].isna().sum() == 1
    assert [why for _, why in faces.report.lacking] == ["person not in people.txt"]


def test_landmarks_go_with_the_picture(layouts, tmp_path):
    """CelebA's 178 × 218 becomes 32 × 32: scaled by 32 / 218, bars at the sides."""
    layouts["celeba"](tmp_path)
    faces = read("celeba", tmp_path)
    width = round(178 * 32 / 218)
    x = (69 + 0.5) * width / 178 - 0.5 + (32 - width) // 2
    np.testing.assert_allclose(faces.landmarks[0, 0], (x, (109 + 0.5) * 32 / 218 - 0.5), atol=0.51)


def test_points_of_fgnet_are_taken_by_its_own_mark_up(layouts, tmp_path):
    """30 × 20 becomes 60 × 40 in 60 × 60. A picture whose points are missing, or lie as in no face, stays without."""
    layouts["fgnet"](tmp_path)
    faces = read("fgnet", tmp_path, size=60)
    wanted = 2 * (np.array([(10, 6), (20, 6), (16, 10), (12, 15), (19, 15)]) + 0.5) - 0.5 + (0, 10)
    np.testing.assert_allclose(faces.landmarks, [wanted] * 3, atol=1e-4)
    (tmp_path / "points" / "001a02.pts").unlink()
    upside_down = tmp_path / "points" / "082a10.pts"
    upside_down.write_text(upside_down.read_text().replace("15.0000\n", "2.0000\n"))
    faces = read("fgnet", tmp_path, size=60)
    known = np.isfinite(faces.landmarks).all((1, 2))
    assert dict(zip(faces.labels["file"], known, strict=True)) == {
        "images/001A02.JPG": False, "images/001A43a.JPG": True, "images/082A10.JPG": False,
    }  # fmt: skip


def test_boxes_take_the_part_about_the_face(layouts, tmp_path):
    """Eyes of 60 pixels' distance in a picture of 720: they are far apart in the part that is taken."""
    layouts["afew-va"](tmp_path)
    faces = read("afew-va", tmp_path, size=100)
    assert faces.landmarks[0, 1, 0] - faces.landmarks[0, 0, 0] > 7 > 60 * 100 / 720 * 0.8
    assert (faces.landmarks > 0).all() and (faces.landmarks < 100).all()


def test_frames_of_a_clip_are_of_one_person(layouts, tmp_path):
    """Also where its actor is not named: no split has them on both sides."""
    layouts["afew-va"](tmp_path)
    for file in tmp_path.rglob("[0-9]*.json"):
        about = json.loads(file.read_text(encoding="utf-8"))
        about.pop("actor", None)
        file.write_text(json.dumps(about), encoding="utf-8")
    labels = read("afew-va", tmp_path).labels
    assert labels["identity"].tolist() == [f"clip {clip}" for clip in labels["clip"]]


def test_older_and_other_forms(layouts, tmp_path):
    layouts["celeba"](tmp_path / "a")
    (tmp_path / "a" / "Anno").mkdir()
    for file in list((tmp_path / "a").glob("*.txt")):
        file.rename(file.parent / "Anno" / file.name)
    assert read("celeba", tmp_path / "a").labels["split"].tolist() == ["train", "validation", "test"]
    layouts["rafdb"](tmp_path / "b")
    (tmp_path / "b" / "Image" / "aligned").rename(tmp_path / "b" / "Image" / "original")
    for file in (tmp_path / "b" / "Image" / "original").iterdir():
        file.rename(file.with_name(file.name.replace("_aligned", "")))
    assert read("rafdb", tmp_path / "b").labels["file"][0] == "Image/original/train_00001.jpg"
    (tmp_path / "c").mkdir()
    layouts["fer2013"](tmp_path / "c")
    csv = tmp_path / "c" / "fer2013.csv"
    rows = [line.split(",") for line in csv.read_text().splitlines()]
    (tmp_path / "c" / "icml_face_data.csv").write_text("".join(f"{a}, {c}, {b}\n" for a, b, c in rows))
    csv.unlink()
    assert read("fer2013", tmp_path / "c").labels["expression"].tolist() == ["angry", "happy", "neutral"]
    (tmp_path / "d").mkdir()
    layouts["fer2013 folders"](tmp_path / "d")
    (tmp_path / "d" / "PublicTest").rename(tmp_path / "d" / "val")
    assert set(read("fer2013", tmp_path / "d").labels["split"]) == {"train", "validation", "test"}
    (tmp_path / "e").mkdir()
    layouts["utkface"](tmp_path / "e")
    name = next((tmp_path / "e").rglob("*.jpg.chip.jpg"))
    for typo in ("24_0_1_20170116220224657 .jpg.chip.jpg", "55_0_0_20170116232725357jpg.chip.jpg"):
        shutil.copy(name, name.with_name(typo))
    assert {24, 55} <= set(read("utkface", tmp_path / "e").labels["age"])


DAMAGE = {  # layout: (file, what is put in place of what, why its rows are left out, how many)
    "mtfl": ("training.txt", ("2 1 2 1", "2 1 2 9"), "no row of 10 numbers and 4 classes", 1),
    "mtfl twice": (
        "training.txt",
        ("net_7876/0001.jpg", "lfw_5590\\Ann_Lee_0001.jpg"),
        "listed twice: its first row",
        1,
    ),
    "fer2013": ("fer2013.csv", ("30 30", "30 300"), "no 48 × 48 pixels of 0 to 255", 1),
    "celeba": ("list_attr_celeba.txt", ("-1 -1 -1  1  1 -1  1", "-1 -1"), "not as many values as attributes", 1),
    "rafdb": ("EmoLabel/list_patition_label.txt", (".jpg 4", ".jpg 9"), "no picture of train or test with a class", 1),
    "adience": ("fold_2_data.txt", ("\t9\t35\tu\t0\t0\t9\t9\t0\t0\t90", ""), "fewer than five columns", 1),
    "afew-va": ("001/001.json", ('"valence": 10.0', '"valence": "x"'), "no valence, arousal and 68 landmarks", 1),
    "headpose": ("Person15/person15192+90+0.txt", ("Face", "Fade"), "the text beside it has no box of a face", 1),
    "ckplus": ("Landmarks/S005/001/S005_001_00000002_landmarks.txt", ("\n", " "), "landmarks are not 68 points", 1),
    "ckplus below 0": ("Emotion/S005/001/S005_001_00000003_emotion.txt", ("3.0", "-3."), "no number from 0 to 7", 3),
    "ckplus a word": ("Emotion/S010/001/S010_001_00000003_emotion.txt", ("2.0", "sad"), "no number from 0 to 7", 3),
    "aflw2000": ("image00002.mat", None, "its .mat file has no Pose_Para and no pt3d_68", 1),
    "fgnet": ("points/001a02.pts", ("1.0000 1.0000\n", ""), "its .pts file has no 68 points", 1),
}


@pytest.mark.parametrize("which", DAMAGE)
def test_rows_that_cannot_be_read_are_left_out_and_counted(which, layouts, tmp_path, caplog):
    name = which.partition(" ")[0]
    whole = len(layouts[name](tmp_path))
    place, swap, why, count = DAMAGE[which]
    file = tmp_path / place
    if swap:
        text = file.read_text(encoding="utf-8")
        assert swap[0] in text
        file.write_text(text.replace(*swap, 1), encoding="utf-8")
    else:
        file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        faces = read(name, tmp_path)
    assert len(faces) == whole - count
    (skipped,) = [n for reason, n in faces.report.counts.items() if why in reason]
    assert skipped == count and f"left out: {count} (" in caplog.text
    assert faces.report.table().loc[faces.report.table()["why"].str.contains(why), "file"].str.len().min() > 3


NAMES = {
    "utkface": ("39_1_20170116174525125.jpg.chip.jpg", "name is not age_gender_ethnicity_date.jpg"),
    "lfw": ("lfw_funneled/Ann_Lee/Bo_0001.jpg", "name is not Name/Name_0001.jpg"),
    "london": ("neutral_front/999_03.jpg", "no row in the table of people"),
    "fer2013 folders": ("Training/bored/a.png", "its folder is no expression"),
    "fer2013 folders else": ("more/happy/a.png", "in no folder of a part and an expression"),
    "headpose": ("Person15/person15.jpg", "name is not person, series, number, tilt and pan"),
    "agedb": ("12_Someone_f.jpg", "name is not number_person_age_gender.jpg"),
    "fgnet": ("images/portrait.jpg", "name is not person, A and age"),
    "ckplus": ("cohn-kanade-images/S005/001/S006_001_00000001.png", "path is not person/sequence"),
    "morph": ("portrait.jpg", "name is not person_number, gender and age"),
    "aflw2000": ("image00008.jpg", "no .mat file beside it"),
    "mtfl": ("AFLW/0002-image.jpg", "there, but not listed"),
    "celeba": ("img_align_celeba/000004.jpg", "there, but not listed"),
    "rafdb": ("Image/aligned/test_0003_aligned.jpg", "there, but not listed"),
    "adience": ("aligned/71@N0/landmark_aligned_face.9.2_o.jpg", "there, but not listed"),
    "afew-va": ("001/00002.png", "there, but not listed"),
}


@pytest.mark.parametrize("name", NAMES)
def test_pictures_without_labels_are_left_out_and_counted(name, layouts, tmp_path):
    file, why = NAMES[name]
    name = name.removesuffix(" else")
    whole = len(layouts[name](tmp_path))
    (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / file).write_bytes(next(tmp_path.rglob("*.[jpJP][npNP]*[gG]")).read_bytes())
    faces = read(name, tmp_path)
    assert len(faces) == whole
    ((skipped, reason),) = faces.report.skipped
    assert skipped == file and why in reason


@pytest.mark.parametrize("name", ["mtfl", "celeba", "rafdb", "adience", "imdb", "afew-va"])
def test_listed_pictures_that_are_not_there_are_left_out_and_counted(name, layouts, tmp_path):
    wanted = layouts[name](tmp_path)
    gone = next(iter(wanted))
    (tmp_path / gone).unlink()
    faces = read(name, tmp_path)
    assert len(faces) == len(wanted) - 1 and (gone, "listed, but not there") in faces.report.skipped
    for file in list(wanted)[1:]:
        (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"none of the {len(wanted)} pictures of .* is below"):
        read(name, tmp_path)


def test_an_album_is_in_one_part(layouts, tmp_path):
    """Adience does not say who is seen, but whose pictures they are."""
    layouts["adience"](tmp_path)
    table = tmp_path / "fold_0_data.txt"
    table.write_text(table.read_text() + table.read_text().splitlines()[1].replace("1_o.jpg", "2_o.jpg") + "\n")
    shutil.copy(*(tmp_path / f"aligned/70@N0/landmark_aligned_face.9.{i}_o.jpg" for i in (1, 2)))
    faces = read("adience", tmp_path)
    owners = faces.labels["album"].to_numpy()
    assert len(faces) == 6 and len(np.unique(faces.identities)) == 5
    for seed in range(5):
        part = faces.assign((0.5, 0.5), seed=seed)
        assert len(set(part[owners == "70@N0"])) == 1


def test_pixels_of_mtfl_are_counted_from_nought(layouts, tmp_path):
    layouts["mtfl"](tmp_path)
    faces = read("mtfl", tmp_path, size=30)  # 30 × 20 pixels, with five black rows above
    of = faces.labels["file"].to_list().index("net_7876/0001.jpg")
    np.testing.assert_allclose(faces.landmarks[of, :3], [[7, 12], [21, 12], [14, 16]], atol=1e-4)


def test_ages_out_of_range_are_left_out(layouts, tmp_path):
    layouts["utkface"](tmp_path)
    (tmp_path / "1_0_4_20161219140623097.jpg.chip.jpg").rename(tmp_path / "121_0_4_20161219140623097.jpg.chip.jpg")
    faces = read("utkface", tmp_path)
    assert sorted(faces.labels["age"]) == [26, 116]
    assert faces.report.skipped == (("121_0_4_20161219140623097.jpg.chip.jpg", "age outside 0 to 120 years"),)


def test_a_row_without_a_person_is_nobodys(layouts, tmp_path):
    layouts["london"](tmp_path)
    before, file = read("london", tmp_path).labels, tmp_path / "london_faces_info.csv"
    file.write_text(file.read_text() + "," * file.read_text().splitlines()[0].count(",") + "\n")
    assert read("london", tmp_path).labels.equals(before)


def test_faces_not_found_are_left_out_of_imdb(layouts, tmp_path):
    layouts["imdb"](tmp_path)
    assert ("03/nm3.jpg", "no face was found in it") in read("imdb", tmp_path).report.skipped


@pytest.mark.parametrize(
    ("name", "file", "text", "says"),
    [
        ("celeba", "list_attr_celeba.txt", "Young\n000001.jpg 1\n", "it begins with 'Young', not with the number"),
        ("celeba", "list_attr_celeba.txt", "1\nYoung\n000001.jpg yes\n", "some of its values are no numbers"),
        ("celeba", "list_attr_celeba.txt", "1\nYoung\n000001.jpg 1 1\n", "its rows have more values than its header"),
        ("celeba", "identity_CelebA.txt", "000001.jpg 7\n000001.jpg 8\n", "it has two rows of 000001.jpg"),
        (
            "adience",
            "fold_0_data.txt",
            "a\tb\n1\t2\n",
            r"fold_0_data.txt begins with \['a', 'b'\]: expected \['user_id'",
        ),
        (
            "fer2013",
            "fer2013.csv",
            "emotion,pixels\n1,2\n",
            "has the columns emotion, pixels: expected emotion, pixels",
        ),
        ("fer2013", "fer2013.csv", "emotion,pixels,Usage\n1,2,Training\n", "no row of FER2013 can be read"),
        ("london", "london_faces_info.csv", "face_id,face_age\nX001,3\n", "lacks ethnicity, gender: it has identity"),
        ("lfw", "people.txt", "2\n1\nBo\t1\n", r"people\.txt is no list of people in folds"),
        ("imdb", "imdb.mat", "no Matlab", r"imdb\.mat is not that of IMDB-WIKI|cannot be read as a Matlab file"),
        ("mtfl", "training.txt", "\0\1\2", r"training\.txt is no text: expected a label file"),
    ],
)
def test_label_files_of_another_form_are_named(name, file, text, says, layouts, tmp_path):
    layouts[name](tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=says):
        read(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "gone", "says"),
    [
        ("mtfl", "testing.txt", r"there is no .*testing\.txt: MTFL has training.txt and testing.txt"),
        ("adience", "fold_3_data.txt", r"there is no .*fold_3_data\.txt: Adience has"),
        ("celeba", "img_align_celeba", "has none of the folders .*CelebA's pictures lie there"),
        ("rafdb", "Image", "has none of the folders .*RAF-DB's pictures lie there"),
        ("adience", "aligned", "has neither of the folders aligned, faces"),
        ("london", "london_faces_info.csv", "has none of the tables london_faces_info.csv"),
    ],
)
def test_missing_parts_are_named(name, gone, says, layouts, tmp_path):
    layouts[name](tmp_path)
    (tmp_path / gone).rename(tmp_path.with_name(f"{tmp_path.name} {gone}"))
    with pytest.raises(FileNotFoundError, match=says):
        read(name, tmp_path)
