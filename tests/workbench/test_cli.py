import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from facelab import faces as faces_room
from facelab import nets
from facelab.faces import presets, readers
from facelab.faces.faceset import FaceSet
from facelab.nets import torchvision_nets
from facelab.workbench import doctor, runner, runs
from facelab.workbench.cli import main
from facelab.workbench.cli_common import absolute


def facelab(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_help_answers_without_loading_anything_heavy():
    heavy = {"torch", "numpy", "pandas", "nbconvert", "papermill"}
    code = f"import sys, facelab.workbench.cli; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
    assert {"fetch", "faces", "report", "doctor"} <= set(facelab("--help").output.split())


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["fetch"], "name some sources (identity"),
        (["fetch", "idnetity"], "unknown source 'idnetity': did you mean 'identity'"),
        (["report", "--profile", "quik"], "unknown profile 'quik': did you mean 'quick'"),
        (["report", "--set", "gamma"], "--set 'gamma': expected KEY=VALUE"),
        (["report", "no_such_notebook"], "unknown notebook 'no_such_notebook'"),
        (["report", "--publish", "rendered", "--name", "never-run"], "no run in "),
        (["report", "03", "--publish", "rendered"], "--publish copies a whole run, or of it --keys"),
        (["report", "--publish", "rendered", "--dry-run"], "--publish copies a whole run, or of it --keys"),
        (["report", "--set", "profile=full"], "parameter profile=full: expected it as profile, or --profile"),
        (["faces", "render", "rendered/pose", "--set", "seed=4"], "--set seed=4: expected it as --seed"),
        (["report", "--keys", "07.photos"], "--keys 07.photos goes with --publish REFERENCE"),
        (["faces", "render", "rendered/posse"], "did you mean 'rendered/pose'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, says):
    result = facelab(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert result.output.startswith("Error: ") and result.output.count("\n") == 1


def test_what_goes_wrong_outside_is_exit_code_1(monkeypatch):
    def full(name):
        raise OSError(28, "the disk is full: free some space", "/x")

    monkeypatch.setattr(nets, "fetch", full)
    result = facelab("fetch", "identity")
    assert result.exit_code == 1 and "the disk is full" in result.output


def test_fetch_all_fetches_every_source(monkeypatch):
    fetched = []
    monkeypatch.setattr(nets, "fetch", lambda name: fetched.append(name) or f"/weights/{name}")
    assert facelab("fetch", "--all").output.splitlines()[0] == "identity: /weights/identity"
    assert fetched == [*nets.SOURCES, "proposals", "refinement"]


def test_report_says_where_and_fails_with_a_failing_notebook(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_papermill", lambda *_: "cell 2: ValueError: no")
    result = facelab("report", notebook("01_a", "1"), "--out", tmp_path / "runs", "--name", "mine")
    assert result.exit_code == 1
    index = tmp_path / "runs" / "mine" / "index.html"
    assert index.is_file() and str(index) in result.output.splitlines()
    assert result.output.splitlines()[-1] == "Error: failed: 01_a"


def test_parameters_reach_the_notebook(notebook, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(runner, "_papermill", lambda file, partial, parameters: given.append(parameters) or "x")
    facelab("report", notebook("01_a", "1"), "--out", tmp_path, "--profile", "smoke", "--set", "gamma=0.1")
    assert given == [{"profile": "smoke", "seed": 0, "gamma": 0.1}]


def test_rendered_faces_as_a_folder(tmp_path, monkeypatch):
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    made = FaceSet("tiny", images, pd.DataFrame({"yaw": [0.0, 30.0]}), np.full((2, 5, 2), np.nan, np.float32))
    monkeypatch.setattr(faces_room, "load", lambda name, **_: made, raising=False)
    result = facelab("faces", "render", "rendered/pose", "--out", tmp_path / "set")
    assert result.exit_code == 0, result.output
    from PIL import Image

    table = pd.read_csv(tmp_path / "set" / "labels.csv")
    assert list(table["yaw"]) == [0.0, 30.0] and "landmark_4_y" in table
    read = np.asarray(Image.open(tmp_path / "set" / table["file"][1]))
    np.testing.assert_array_equal(read.transpose(2, 0, 1), images[1])


def test_a_few_faces_for_other_programs(tmp_path):
    """The whole way: drawn, written, and a row per picture that holds every label a preset gives."""
    asked = ("faces", "render", "rendered/wild", "--people", "3", "--size", "64", "--out", tmp_path)
    assert facelab(*asked).exit_code == 0
    table, n = pd.read_csv(tmp_path / "labels.csv", dtype={"identity": str}), 3 * 3
    assert len(table) == n and table["identity"].nunique() == 3
    labels = presets.labels(presets.sittings("rendered/wild", people=3), "rendered/wild")
    marks = [f"landmark_{k}_{axis}" for k in range(5) for axis in "xy"]
    assert list(table) == ["file", *labels, *marks]
    assert table["age"].tolist() == labels["age"].tolist() and table["hair"].tolist() == labels["hair"].tolist()
    assert table[marks].to_numpy().min() > 0 and table[marks].to_numpy().max() < 63
    assert sorted(f.name for f in tmp_path.glob("*.png")) == table["file"].tolist()
    assert f"({n} of them already there)" in facelab(*asked).output


def test_render_passes_options_on(tmp_path, monkeypatch):
    images = np.zeros((1, 3, 4, 4), np.uint8)
    made, asked = FaceSet("tiny", images, pd.DataFrame({"yaw": [0.0]}), np.zeros((1, 5, 2), np.float32)), []
    monkeypatch.setattr(faces_room, "load", lambda name, **more: asked.append((name, more)) or made, raising=False)
    facelab("faces", "render", "rendered/lab_a", "--people", "3", "--set", "frames=2", "--seed", "4")
    (name, more), *_ = asked
    assert name == "rendered/lab_a"
    assert more.items() >= {"people": 3, "frames": 2, "seed": 4, "size": 128}.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "frames"], "expected KEY=VALUE, e.g. frames=4"),
        (["--set", "frames=two"], "--set frames=two: expected a whole number"),
        (["--set", "frame=2"], "unknown option of 'rendered/lab_a' 'frame': did you mean 'frames'"),
        (["--set", "people=2", "--people", "3"], "--people 3 and --set people=2: expected one of them"),
        (["--people", "0"], "people 0 is out of range: expected a whole number from 1"),
        (["--out", __file__], "is a file: expected a folder"),
    ],
)
def test_bad_render_options_are_named(options, message):
    result = facelab("faces", "render", "rendered/lab_a", *options)
    assert result.exit_code == 2 and message in result.output


def test_presets_are_listed():
    lines = facelab("faces", "list").output.splitlines()
    assert lines[0] == "rendered/pose  2,790 images (people=15, series=2), like the Head Pose Image Database"
    assert lines[1].startswith("  ") and "93 head poses" in lines[1]
    assert "rendered/wild  2,400 images (people=800, per_person=3, restyle=1), like CelebA" in lines
    assert [line.split()[0] for line in lines[::2]] == [*faces_room.PRESETS, *readers.SETS]


def test_public_sets_are_listed_with_their_terms():
    lines = facelab("faces", "list").output.splitlines()
    at = lines.index("utkface  23,708 images, UTKFace: age, gender, ethnicity")
    assert lines[at + 1].startswith("  terms: non-commercial research; from Yang Song and Hairong Qi")
    assert "on disk: pictures named 25_0_2_" in lines[at + 1]


class TestFetchingFaces:
    @pytest.fixture
    def downloads(self, monkeypatch, tmp_path):
        """scikit-learn's download, without a network: what it leaves in its folder."""
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))
        calls = []

        def download(data_home, **_):
            calls.append(data_home)
            from PIL import Image

            person = Path(data_home) / "lfw_home" / "lfw_funneled" / "Ann_Lee"
            person.mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(person / "Ann_Lee_0001.jpg")

        monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", download)
        return calls

    def test_terms_come_first_and_no_is_no(self, downloads):
        result = CliRunner().invoke(main, ["faces", "fetch", "lfw"], input="n\n")
        assert result.exit_code == 1 and "Terms: research." in result.output and not downloads
        assert result.output.index("Terms") < result.output.index("Do you agree")
        assert "Error: LFW is not fetched" in result.output
        assert CliRunner().invoke(main, ["faces", "fetch", "lfw"], input="").output.count("Aborted!") == 1

    def test_fetched_once_and_found_without_a_root(self, downloads, tmp_path):
        assert facelab("faces", "fetch", "lfw", "--yes").output.endswith(f"{tmp_path / 'cache' / 'sets' / 'lfw'}\n")
        assert faces_room.load("lfw", size=16, progress=False).labels["identity"].tolist() == ["Ann_Lee"]
        facelab("faces", "fetch", "lfw", "--yes")
        assert len(downloads) == 1 and not list((tmp_path / "cache" / "sets").glob("*.partial"))

    def test_elsewhere_but_not_over_something_else(self, downloads, tmp_path):
        assert facelab("faces", "fetch", "lfw", "--yes", "--root", tmp_path / "own").exit_code == 0
        assert (tmp_path / "own" / "lfw_funneled").is_dir()
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("")
        result = facelab("faces", "fetch", "lfw", "--yes", "--root", tmp_path / "mine")
        assert result.exit_code == 2 and "mine is there and is not LFW" in result.output and len(downloads) == 1

    def test_a_failed_download_leaves_nothing_and_is_taken_up(self, downloads, monkeypatch, tmp_path):
        import sklearn.datasets

        whole = sklearn.datasets.fetch_lfw_people

        def fails(data_home, **_):
            (Path(data_home) / "lfw_home" / "lfw_funneled").mkdir(parents=True)
            raise OSError("no network")

        monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", fails)
        result = facelab("faces", "fetch", "lfw", "--yes")
        assert result.exit_code == 1 and "LFW could not be fetched: OSError: no network" in result.output
        assert not (tmp_path / "cache" / "sets" / "lfw").exists()
        monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", lambda **_: None)
        assert "is not LFW: expected one of the folders" in facelab("faces", "fetch", "lfw", "--yes").output
        monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", whole)
        assert facelab("faces", "fetch", "lfw", "--yes").exit_code == 0

    def test_celeba_comes_through_torchvision(self, downloads, monkeypatch, tmp_path):
        def download(root, download):
            assert download
            (Path(root) / "celeba").mkdir()
            (Path(root) / "celeba" / "list_attr_celeba.txt").write_text("")

        module = types.ModuleType("torchvision.datasets")
        module.CelebA = download
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
        result = facelab("faces", "fetch", "celeba", "--yes")
        assert result.exit_code == 0 and (tmp_path / "cache" / "sets" / "celeba" / "list_attr_celeba.txt").is_file()

    def test_others_come_with_a_plain_instruction(self, downloads):
        result = facelab("faces", "fetch", "agedb", "--yes")
        assert result.exit_code == 2
        assert "AgeDB cannot be fetched by a program: ask its owner, Intelligent Behaviour" in result.output
        assert "fl.faces.load('agedb', root=…), root being the folder with pictures such as" in result.output
        assert "unknown face set 'lwf': did you mean 'lfw'" in facelab("faces", "fetch", "lwf").output


class TestDoctor:
    def test_missing_weights_come_with_their_fix(self, monkeypatch, tmp_path):
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
        result = facelab("doctor")
        assert result.exit_code == 1
        for name in nets.SOURCES:
            assert re.search(f"missing +weights: {name} +not fetched yet", result.output)
        assert re.search(r"optional +weights: vgg-face +needs your weight file", result.output)
        assert re.search(r"ok +torchvision networks +\d+, e\.g\. 'torchvision/", result.output)
        fix = next(line for line in result.output.splitlines() if line.endswith("fetch identity"))
        program, *arguments = shlex.split(fix.partition("→")[2])
        assert Path(program).is_absolute()
        helped = subprocess.run([program, *arguments[:-1], "--help"], capture_output=True, text=True, check=True)
        assert "Fetch the weights" in helped.stdout

    def test_a_fix_without_the_script_names_the_module(self, monkeypatch, tmp_path):
        monkeypatch.setattr(doctor.sys, "executable", str(tmp_path / "my env" / "python"))
        assert doctor._command() == f"'{tmp_path}/my env/python' -m facelab.workbench.cli"

    def test_all_there(self, monkeypatch, tmp_path):
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
        monkeypatch.setattr(doctor, "_weights", lambda: [])
        result = facelab("doctor")
        assert result.exit_code == 0, result.output
        assert str(tmp_path) in result.output

    def test_torchvision_that_does_not_fit_is_no_hindrance(self, monkeypatch):
        def broken():
            raise ImportError("torchvision cannot be imported beside torch 2.6")

        monkeypatch.setattr(torchvision_nets, "names", broken)
        found = doctor._torchvision()
        assert found.state == "optional" and "beside torch 2.6" in found.found
        assert found.fix.endswith("-m pip install --force-reinstall --no-deps torchvision")

    def test_old_and_absent_packages(self, monkeypatch):
        requires = ["torch>=99", "no-such-package>=1", 'nor-this>=2; extra == "fast"', "click"]
        monkeypatch.setattr(doctor.metadata, "requires", lambda _: requires)
        old, absent, optional, any_version = doctor._packages()
        assert (old.state, absent.state, optional.state, any_version.state) == (
            "missing",
            "missing",
            "optional",
            "ok",
        )
        assert ">=99 is needed" in old.found and old.fix == f"{sys.executable} -m pip install 'torch>=99'"
        assert not doctor.Diagnosis((absent,)).usable and doctor.Diagnosis((optional,)).usable

    def test_an_unusable_cache_and_device(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "file" / "cache"))
        assert [f.fix for f in doctor._caches()] == ["set FACELAB_CACHE to a folder you can write to"]
        monkeypatch.setenv("FACELAB_DEVICE", "cuda:7")
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert doctor._device().fix == "unset FACELAB_DEVICE"

    def test_old_python(self, monkeypatch):
        fake = types.SimpleNamespace(version_info=(3, 9, 1), executable="python")
        monkeypatch.setattr(doctor, "sys", fake)
        assert doctor._python().state == "missing"

    @pytest.mark.parametrize(
        "have, bounds, meets",
        [("2.0", ">=2.0.0", True), ("1.10", ">=1.9", True), ("2.0", "", True), ("3.1", ">=3.0,==3.2", False)],
    )
    def test_versions(self, have, bounds, meets):
        assert doctor.satisfies(have, bounds) is meets


def test_root_is_the_clone():
    assert (runs.root() / "pyproject.toml").is_file()


def test_words_are_not_taken_for_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rendered" / "wild").mkdir(parents=True)
    for name in ("identity", "0", "mine.csv"):
        (tmp_path / name).write_text("x")
    for value in ("rendered/wild", "identity", "0", "a" * 300, "~nobody-of-this-name/x", "", "mtfl"):
        assert absolute(value) == value
        assert runner._stamp(tmp_path / "notebooks", value) is None
    assert absolute("mine.csv") == str(tmp_path / "mine.csv") and absolute("rendered") == "rendered"
    assert absolute("./rendered") == str(tmp_path / "rendered")
