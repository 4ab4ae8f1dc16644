"""`facelab train`: what it is told reaches the training, and what it writes says so."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from facelab.faces.faceset import FaceSet
from facelab.nets import narrow, student
from facelab.transfer import distill
from facelab.transfer.autoencoder import AE
from facelab.workbench.cli import main

OPERATOR = AE(1, hidden=2, epochs=0, device="cpu").fit({"age": np.random.default_rng(0).normal(size=(20, 3))})


def facelab(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def made(name, n, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return FaceSet(name, images, pd.DataFrame({"yaw": np.zeros(n)}), np.zeros((n, 5, 2), np.float32))


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


def test_what_is_written_says_how_to_write_it_again(calls, tmp_path):
    out, photos = tmp_path / "net.safetensors", tmp_path / "holiday"
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


def test_lfw_is_measured_on_and_named(calls, tmp_path):
    out = tmp_path / "net.safetensors"
    assert facelab("train", "vgg-narrow", "--lfw", tmp_path / "faces" / "lfw", "--out", out).exit_code == 0
    assert calls["examine"] == tmp_path / "faces" / "lfw"
    assert narrow.read(out)[1]["command"].endswith("--seed 1 --lfw lfw")


def test_another_training_has_another_checkpoint(calls, tmp_path):
    out = tmp_path / "net.safetensors"
    for more in ((), (), ("--seed", 2), ("--epochs", 3), ("--photos", tmp_path / "a")):
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
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_exit_code_2_and_train_nothing(calls, tmp_path, arguments, says):
    result = facelab("train", *arguments, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 2 and says in result.output
    assert not calls and not (tmp_path / "net.safetensors").exists()


def test_help_says_what_is_trained_from():
    said = facelab("train", "--help").output
    assert "on people it has not seen" in " ".join(said.split())
    for option in ("--people", "--photos", "--lfw", "--epochs", "--seed", "--out"):
        assert option in said


def test_the_student_learns_a_code_of_the_rendered_faces_from_all(calls, monkeypatch, tmp_path):
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
    result = facelab("train", "student", "--people", 9, "--photos", tmp_path / "holiday", "--seed", 3, "--out", out)
    assert result.exit_code == 0, result.output
    assert calls["fuse"] == ["wild", "album"] and calls["teach"] == (["wild", "album", "holiday"], OPERATOR, 45)
    net, about = student.read(out)
    assert about["command"] == "facelab train student --people 9 --epochs 45 --seed 3 --photos holiday"
    assert about["measured"] == {"student": {"rendered_auc": 0.8}} and "train" not in calls
    assert net.module.code.out_features == 4
