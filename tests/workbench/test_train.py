"""`facelab train`: what it is told reaches the training, and what it writes says so."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from facelab.faces.faceset import FaceSet
from facelab.nets import narrow, student
from facelab.transfer import distill
from facelab.transfer.autoencoder import AE
from facelab.workbench import training_plan
from facelab.workbench.cli import main

OPERATOR = AE(1, hidden=2, epochs=0, device="cpu").fit({"age": np.random.default_rng(0).normal(size=(20, 3))})


def facelab(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def made(name, n, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return FaceSet(name, images, pd.DataFrame({"yaw": np.zeros(n)}), np.zeros((n, 5, 2), np.float32))


@pytest.fixture
def holiday(tmp_path):
    """A folder with three pictures."""
    (tmp_path / "holiday").mkdir()
    for i in range(3):
        Image.new("RGB", (20, 20), (9 * i, 0, 0)).save(tmp_path / "holiday" / f"{i}.png")
    return tmp_path / "holiday"


@pytest.fixture
def lfw(tmp_path):
    """LFW with one pair of either kind, of four pictures that nobody has read yet."""
    (tmp_path / "faces" / "lfw" / "lfw").mkdir(parents=True)
    (tmp_path / "faces" / "lfw" / "pairs.txt").write_text("1\nA\t1\t2\nA\t1\tB\t1\n")
    return tmp_path / "faces" / "lfw"


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Everything that takes long, replaced; the calls in order."""
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))
    calls = {}

    def training_faces(people, photos, seed):
        calls["faces"] = (people, tuple(photos), seed)
        return [made("wild", 5, seed), made("album", 3, seed), *(made(p.name, 2, seed) for p in photos)]

    def train(sets, **settings):
        calls.setdefault("train", []).append(settings)
        return narrow.untrained(4, widths=(1, 1, 1, 1, 1), norm=False), {"unexplained": 0.5, "seconds": 1.0}

    def examine(net, lfw):
        calls["examine"] = lfw
        return {"vgg-narrow": {"rendered_auc": 0.9}}

    for name, stub in (("training_faces", training_faces), ("train", train), ("examine", examine)):
        monkeypatch.setattr(narrow, name, stub)
    return calls


def test_what_is_written_says_how_to_write_it_again(calls, holiday, tmp_path):
    out, photos = tmp_path / "net.safetensors", holiday
    result = facelab("train", "vgg-narrow", "--people", 9, "--photos", photos, "--epochs", 2, "--seed", 3, "--out", out)
    assert result.exit_code == 0, result.output
    assert calls["faces"] == (9, (photos,), 3) and calls["examine"] is None
    (settings,) = calls["train"]
    assert settings["epochs"] == 2 and settings["seed"] == 3
    net, about = narrow.read(out)
    assert about["command"] == "facelab train vgg-narrow --people 9 --epochs 2 --seed 3 --photos holiday"
    assert about["data"] == {"rendered faces": 8, "photographs": {"holiday": 2}}
    assert about["seed"] == 3 and about["teacher"] == "identity"
    assert about["learned"]["unexplained"] == 0.5 and about["measured"] == {"vgg-narrow": {"rendered_auc": 0.9}}
    assert len(net.convs) == 13
    shown, _, last = result.output.strip().rpartition("\n")
    assert json.loads(shown) == about and last == str(out)


def test_lfw_is_measured_on_and_named(calls, lfw, tmp_path):
    out = tmp_path / "net.safetensors"
    assert facelab("train", "vgg-narrow", "--lfw", lfw, "--out", out).exit_code == 0
    assert calls["examine"] == lfw
    assert narrow.read(out)[1]["command"].endswith("--seed 1 --lfw lfw")


def test_another_training_has_another_checkpoint(calls, holiday, tmp_path):
    out = tmp_path / "net.safetensors"
    for more in ((), (), ("--seed", 2), ("--epochs", 3), ("--photos", holiday)):
        assert facelab("train", "vgg-narrow", "--out", out, *more).exit_code == 0
    folders = [settings["checkpoint"] for settings in calls["train"]]
    assert folders[0] == folders[1] and len(set(folders)) == 4
    assert all(folder.is_relative_to(tmp_path / "cache") for folder in folders)


def test_without_out_a_file_is_written_here_and_not_into_the_package(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = facelab("train", "vgg-narrow")
    assert result.exit_code == 0 and result.output.splitlines()[-1] == "vgg-narrow.safetensors"
    assert (tmp_path / "vgg-narrow.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vgg-narrow", "--seed", 0], "seed 0: those rendered people are the ones it is measured on"),
        (["vgg-wide"], "'vgg-wide' is not one of 'vgg-narrow', 'student'"),
        (["vgg-narrow", "--epochs", "few"], "'few' is not a valid integer"),
        (["vgg-narrow", "--epochs", 0], "epochs 0: expected"),
        (["student", "--people", 0], "people 0: expected"),
        (["student", "--people", 0, "--dry-run"], "people 0: expected"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_exit_code_2_and_train_nothing(calls, tmp_path, arguments, says):
    result = facelab("train", *arguments, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 2 and says in result.output
    assert not calls and not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("option", "says"), [("--photos", "there is no folder"), ("--lfw", "expected LFW's folder with pairs.txt")]
)
def test_a_folder_that_is_not_there_is_missed_before_the_work(calls, tmp_path, option, says, dry):
    result = facelab("train", "vgg-narrow", option, tmp_path / "nowhere", *dry, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 1 and says in result.output and "nowhere" in result.output and not calls


def plan(*arguments) -> list[str]:
    result = facelab(*arguments, "--dry-run")
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_a_dry_run_counts_pictures_steps_and_bytes_and_trains_nothing(calls, holiday, lfw, tmp_path, monkeypatch):
    monkeypatch.setattr(training_plan, "STEPS", 1)
    monkeypatch.chdir(tmp_path)
    told = plan("train", "vgg-narrow", "--people", 80, "--photos", holiday, "--lfw", lfw, "--epochs", 7)
    n = 80 * 3 + 30 * 3 + 3
    assert told[0].startswith("render 240 pictures of rendered/wild: 0.2 minutes")
    assert told[0].endswith(f", {240 * 3 * 128**2 / 1e6:.1f} MB")  # bytes of pixels
    assert told[1].startswith("render 90 pictures of rendered/album")
    assert told[2] == "read 3 pictures of holiday: minutes not known: weights are not fetched"  # by an empty cache
    assert told[3].startswith(f"embed {n} faces by `identity`: minutes not known")
    assert told[4].startswith(f"train vgg-narrow on {n} faces, 7 epochs of {-(-n * 0.96 // 128):.0f} steps: ")
    assert told[6].startswith(f"measure on up to {2400 + 3:,} faces: ")
    assert told[-1].startswith("in all about ") and ", and what is not known" in told[-1]
    assert not calls and not list(tmp_path.glob("*.safetensors"))
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_more_epochs_and_more_faces_take_more_minutes(monkeypatch):
    monkeypatch.setattr(training_plan, "STEPS", 1)
    few, many = (training_plan._trained("student", 1650, epochs) for epochs in (100, 10_000))
    assert 5 < many.minutes / few.minutes < 2000  # 100, but for what else the machine does
    assert few.bytes == many.bytes > 4 * 177_000 * 4  # weights, two moments and the best weights
    few, many = (training_plan._fused(n, {"age": 60, "gender": 40}) for n in (10_000, 1_000_000))
    assert few.what == "fuse the embeddings of 10,000 faces, 30 epochs" and 5 < many.minutes / few.minutes < 2000


def test_the_plan_of_the_student_names_the_six_and_the_code(calls, monkeypatch):
    monkeypatch.setattr(training_plan, "_fused", lambda n, widths: training_plan.Stage(f"fuse {n}, {widths}", 1.5))
    monkeypatch.setattr(training_plan, "STEPS", 1)
    told = plan("train", "student", "--people", 8)
    assert told[2].startswith("embed 33 faces by 6 networks: minutes not known")
    assert told[3].startswith("fuse 33, {") and "'object'" in told[3] and told[3].endswith("}: 1.5 minutes")
    assert told[4].startswith("train student on 33 faces, 45 epochs of 1 steps: ") and not calls


def test_a_network_that_is_there_is_timed():
    crowd = training_plan.made_up(4)
    start = time.perf_counter()
    pace = training_plan._asking(student.untrained(), crowd)
    assert 0 < pace <= (time.perf_counter() - start) / 4


def test_the_layer_that_reads_pose_has_a_plan_too(calls, tmp_path):
    told = plan("train-pose")
    assert told[0].startswith("render 2,400 pictures of rendered/wild: 1.6 minutes")
    assert told[1] == "look for 1,200 faces and fit: minutes not known: weights are not fetched"
    result = facelab("train-pose", "--mtfl", tmp_path / "nowhere", "--out", tmp_path / "pose.safetensors")
    assert result.exit_code == 1 and "nowhere" in result.output and not (tmp_path / "pose.safetensors").exists()


def test_the_heads_of_the_student_have_a_plan_too(calls, tmp_path):
    told = plan("train-heads")
    assert told[0].startswith("render 2,400 pictures of rendered/wild: 1.6 minutes")
    assert told[1] == "look for 2,400 faces and fit: minutes not known: weights are not fetched" and len(told) == 3
    for name in ("UTKFace", "MTFL"):
        (tmp_path / name).mkdir()
    assert "measure on up to 2,000 photographs" in " ".join(plan("train-heads", "--photos", tmp_path))
    (tmp_path / "none").mkdir()
    result = facelab("train-heads", "--photos", tmp_path / "none")
    assert result.exit_code == 2 and "holds none of UTKFace, MTFL and fer2013" in result.output


def test_help_says_what_is_trained_from():
    said = facelab("train", "--help").output
    assert "on people it has not seen" in " ".join(said.split())
    for option in ("--people", "--photos", "--lfw", "--epochs", "--seed", "--out", "--dry-run"):
        assert option in said


def test_the_student_learns_a_code_of_the_rendered_faces_from_all(calls, holiday, monkeypatch, tmp_path):
    def fuse(sets):
        calls["fuse"] = [one.name for one in sets]
        return OPERATOR

    def teach(sets, operator, **settings):
        calls["teach"] = [one.name for one in sets], operator, settings["epochs"]
        return student.untrained(4), {"cosine": 0.5}

    monkeypatch.setattr(distill, "fuse", fuse)
    monkeypatch.setattr(distill, "teach", teach)
    monkeypatch.setattr(narrow, "examine", lambda net, lfw, unit: {"student": {"rendered_auc": 0.8}} if unit else None)
    out = tmp_path / "student.safetensors"
    result = facelab("train", "student", "--people", 9, "--photos", holiday, "--seed", 3, "--out", out)
    assert result.exit_code == 0, result.output
    assert calls["fuse"] == ["wild", "album"] and calls["teach"] == (["wild", "album", "holiday"], OPERATOR, 45)
    net, about = student.read(out)
    assert about["command"] == "facelab train student --people 9 --epochs 45 --seed 3 --photos holiday"
    assert about["measured"] == {"student": {"rendered_auc": 0.8}} and "train" not in calls
    assert net.module.code.out_features == 4
