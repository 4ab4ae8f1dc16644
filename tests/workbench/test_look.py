"""`facelab look`: what is read is what the networks say, and what is written says what it is worth."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import facelab as fl
from facelab.nets import pose, student_heads
from facelab.tasks import EXPRESSIONS
from facelab.workbench import folders, runs
from facelab.workbench import look as looking
from facelab.workbench.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos of rendered heads, one of none, and a file that is no photo."""
    heads = fl.faces.load("rendered/wild", people=30, progress=False)
    near = heads[((np.abs(heads.labels["yaw"]) <= 15) & (np.abs(heads.labels["pitch"]) <= 12)).to_numpy()]
    album = tmp_path_factory.mktemp("look") / "album zoë"
    album.mkdir()
    for name, rows in (("one.png", [0]), ("three.png", [4, 8, 12]), ("two.png", [1, 10])):
        photo = Image.new("RGB", (480, 200), (120, 130, 140))
        for i, row in enumerate(rows):
            photo.paste(Image.fromarray(near.images[row].transpose(1, 2, 0)), (15 + 150 * i, 30))
        photo.save(album / name)
    Image.new("RGB", (200, 150), (90, 120, 90)).save(album / "meadow.png")
    (album / "words.jpg").write_text("no picture at all")
    return album


@pytest.fixture(scope="module")
def seen(folder):
    return looking.look(folder, cached=False, device="cpu", progress=False)


def test_readings_are_what_the_sources_say(seen):
    table, faces = seen.table(), seen.found.faces
    assert len(table) == len(faces) == 6 and table["file"].tolist() == ["one.png"] + ["three.png"] * 3 + ["two.png"] * 2
    says = {name: fl.nets.load(name, device="cpu").predict(faces) for name in ("age", "gender", "expression")}
    np.testing.assert_allclose(table["age"], says["age"], atol=1e-3)
    np.testing.assert_allclose(table["male"], says["gender"], atol=1e-4)
    assert table["gender"].tolist() == ["male" if p > 0.5 else "female" for p in says["gender"]]
    shares = table[[f"expression:{name}" for name in EXPRESSIONS]].to_numpy()
    np.testing.assert_allclose(shares, says["expression"], atol=1e-4)
    np.testing.assert_array_equal(table[["yaw", "pitch", "roll"]], pose.angles(faces.landmarks))
    assert table["expression"].tolist() == [EXPRESSIONS[i] for i in shares.argmax(1)]


def test_the_student_is_asked_too(seen):
    table, codes = seen.table(), fl.nets.load("student", device="cpu").embed(seen.found.faces)
    says = student_heads.said(codes)
    np.testing.assert_allclose(table["student_age"], says["age"], atol=1e-3)
    np.testing.assert_allclose(table["student_male"], says["gender"][:, 1], atol=1e-4)
    assert table["student_expression"].tolist() == [EXPRESSIONS[i] for i in says["expression"].argmax(1)]
    row = table.iloc[0].to_dict()
    assert looking.says(row)["student"] == f"student: {row['student_age']:.0f}, {row['student_gender']}"
    assert f"{row['student_expression']} " in looking.says(row)["student_expression"]
    assert looking.says(row)["student"] in looking.summary(seen)
    assert any("the student" in line and "mtfl" in line for line in looking.limits())


def test_landmarks_are_those_of_the_photo(seen, folder):
    here = fl.nets.detect(folder / "three.png", device="cpu").landmarks[0]
    rows = seen.table().query("file == 'three.png'")
    for k in range(5):
        np.testing.assert_allclose(rows[[f"landmark_{k}_x", f"landmark_{k}_y"]], here[:, k], atol=1e-2)


def test_everything_is_written_and_says_the_same(seen, tmp_path):
    out = tmp_path / "results"
    out.mkdir()
    (out / "sheet-07.png").write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=r"holds 'sheet-07\.png': expected a folder, new or empty or of an earlier"):
        looking.write(seen, out)
    (out / folders.MARK).write_text("facelab look")  # so it was of an earlier look
    (out / "mine.txt").write_text("stays")
    files = looking.write(seen, out)
    assert sorted(f.name for f in out.iterdir()) == [".facelab", "faces.csv", "mine.txt", "sheet-01.png", "summary.txt"]
    assert {f.name for f in files} == {"faces.csv", "sheet-01.png", "summary.txt"}
    pd.testing.assert_frame_equal(pd.read_csv(out / "faces.csv"), seen.table(), check_dtype=False)
    text = (out / "summary.txt").read_text()
    assert text.startswith("6 faces in 3 of 5 photos.\nno face found: meadow.png\nleft out: ")
    assert "words.jpg cannot be read as an image" in text
    for row in seen.table().to_dict("records"):
        assert f"{row['file']}, face {row['face']}: {row['age']:.0f} years, {row['gender']}" in text


def test_a_sheet_shows_each_photo_with_its_boxes_beside_its_faces(seen, folder):
    (sheet,) = looking.sheets(seen)
    pixels = np.asarray(sheet).astype(int)
    assert pixels.shape[1] == looking._PAGE
    blue = np.abs(pixels - [0x00, 0x72, 0xB2]).sum(2) < 12  # the boxes' colour
    assert blue[:, : looking._PHOTO[0] + 12].sum() > 6 * 4 * 10 and not blue[:, looking._PHOTO[0] + 13 :].any()
    block = looking._block(seen, "one.png", seen.table().query("file == 'one.png'"))
    left, size = looking._PHOTO[0] + 2 * looking._GAP, looking._TILE
    tile = np.asarray(block)[looking._GAP : looking._GAP + size, left : left + size].astype(int)
    face = Image.fromarray(seen.found.faces.images[0].transpose(1, 2, 0)).resize((size, size), Image.BILINEAR)
    differs = np.abs(tile - np.asarray(face).astype(int)).sum(2) > 0
    assert 0 < differs.mean() < 0.02  # five dots


def test_many_photos_take_several_sheets(seen, monkeypatch):
    monkeypatch.setattr(looking, "PHOTOS_A_SHEET", 1)
    assert len(list(looking.sheets(seen))) == 3
    monkeypatch.setattr(looking, "SHEETS", 2)
    assert len(list(looking.sheets(seen))) == 2
    assert "The sheets show the first 2 photos with faces" in looking.summary(seen)


def test_a_name_that_is_no_utf8_is_legible(folder, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(folder / "one.png", tmp_path / "in" / os.fsdecode(b"caf\xe9.png"))
    shutil.copy(folder / "words.jpg", tmp_path / "in" / os.fsdecode(b"\xe9.jpg"))
    one = looking.look(tmp_path / "in", device="cpu", progress=False)
    files = looking.write(one, tmp_path / "out")
    assert len(files) == 3 and pd.read_csv(files[1])["file"].tolist() == [r"caf\udce9.png"]
    assert r"caf\udce9.png, face 0" in files[0].read_text(encoding="utf-8") and "left out:" in looking.summary(one)


def test_no_face_at_all(tmp_path):
    Image.new("RGB", (100, 80), (90, 120, 90)).save(tmp_path / "meadow.png")
    none = looking.look(tmp_path / "meadow.png", cached=False, device="cpu", progress=False)
    files = looking.write(none, tmp_path / "out")
    assert [f.name for f in files] == ["summary.txt", "faces.csv"]
    assert files[0].read_text().startswith(f"0 faces in 0 of 1 photos.\nno face found: {tmp_path}/meadow.png\n")
    assert len(pd.read_csv(files[1])) == 0


def test_limits_are_read_from_the_committed_results(tmp_path, monkeypatch):
    reference = tmp_path / "reports" / "reference"
    (reference / "rendered").mkdir(parents=True)
    (reference / "benchmarks").mkdir()
    worst = {"value": 0.4321, "low": 0.4, "high": 0.5, "unit": "share", "note": "the worst of 3 groups: left-handers"}
    results = {"00.render.gender_acc_worst_ethnicity": worst}
    (reference / "rendered" / "results.json").write_text(json.dumps(results))
    groups = (("tall", 0.9), ("small", 0.1))
    row = {"of": "UTKFace", "by": "ethnicity", "n": 1500, "low": 0, "high": 1}
    rows = [row | {"what": w, "group": g, "value": v} for w in ("recall", "age off, years") for g, v in groups]
    (reference / "benchmarks" / "detect.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(runs, "root", lambda: tmp_path)
    text = "\n".join(looking.limits())
    assert "gender, rendered heads: 0.43 [0.40, 0.50] right in the worst of 3 groups: left-handers" in text
    assert "faces found, 1,500 photos of UTKFace by ethnicity: 0.10 [0.00, 1.00] in the worst group, small" in text
    assert "age off, years, 1,500 photos of UTKFace by ethnicity: 0.90 [0.00, 1.00] in the worst group, tall" in text


def test_limits_without_a_clone_say_where_they_are(monkeypatch):
    def none():
        raise ValueError("no folder 'notebooks'")

    monkeypatch.setattr(runs, "root", none)
    text = "\n".join(looking.limits())
    assert "no basis for a decision about anybody" in text and "reports/reference of facelab's repository" in text
    row = pose.read()[1]["measured"]["rendered/wild, other people"]
    assert f"yaw off by {row['yaw']:.0f}°" in text


def test_results_do_not_go_where_the_photos_are(folder, tmp_path):
    for out in (folder, folder / "results"):
        with pytest.raises(ValueError, match="is in the folder of photos"):
            looking.check(folder, out)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: expected a folder"):
        looking.check(folder, tmp_path / "file")
    looking.check(folder, folder.parent / "album zoë 2")


# ---- the command


def command(*arguments):
    return CliRunner().invoke(main, ["look", *map(str, arguments)])


def test_the_command_looks_and_keeps_nothing_else(folder, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(fl.cache, "build", lambda entry, fill, about=None, real=fl.cache.build: (
        kept.append(entry.parent.name) or real(entry, fill, about)))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    said = command(folder, "--no-cache", "--most", 1)
    assert said.exit_code == 0, said.output
    assert "3 faces in 3 of 5 photos." in said.output and "no basis for a decision about anybody" in said.output
    assert said.output.endswith("summary.txt, faces.csv, sheet-01.png: look-album zoë\n")
    assert len(pd.read_csv(tmp_path / "look-album zoë" / "faces.csv")) == 3
    assert set(kept) == {"weights"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "there is no file nowhere"),
        ([".", "--out", "./here"], 2, "is in the folder of photos"),
        (["empty", "--out", "there"], 2, "empty has no image"),
        (["empty", "--smallest", 3], 2, "smallest 3.0: expected at least 12 pixels"),
        (["empty", "--most", 0], 2, "most 0: expected at least 1 face"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    said = command(*arguments)
    assert said.exit_code == code and message in said.output and said.output.count("\n") == 1
