import errno
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from facelab import cache, tasks
from facelab.faces import FaceSet, heads, load, person, presets, rendered, sweep
from facelab.faces.scenes import POSES

QUIET = dict(progress=False, device="cpu")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache that borrows the prepared head model and kernels."""
    heads.load("cpu")
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def wild():
    return load("rendered/wild", people=10, per_person=2, size=48, **QUIET)


@pytest.fixture(scope="module")
def pose():
    return load("rendered/pose", people=1, series=2, size=40, **QUIET)


def test_wild_has_every_label(wild):
    assert wild.images.shape == (20, 3, 48, 48) and wild.images.dtype == np.uint8
    table = wild.labels
    for task in ("gender", "ethnicity", "age", "expression", "valence", "yaw", "pitch", "roll", "facial_hair",
                 "accessories", "smile", "glasses", "pose"):  # fmt: skip
        assert len(tasks.get(task).encode(table)) == 20
        assert np.isfinite(tasks.get(task).targets(table)).all()
    assert table["identity"].nunique() == 10
    assert table.groupby("identity")[["gender", "ethnicity", "age"]].nunique().to_numpy().max() == 1
    assert table["gender"].value_counts().to_dict() == {"female": 10, "male": 10}
    assert (table["domain"] == "rendered/wild").all()
    assert table["yaw"].abs().max() <= 60 and table["pitch"].abs().max() <= 25 and table["roll"].abs().max() <= 20
    assert ((table["expression"] == "neutral") == (table["intensity"] == 0)).all()
    assert ((table["smile"] == "yes") == (table["expression"] == "happy")).all()


def test_landmarks_follow_the_image(wild):
    marks = wild.landmarks
    assert marks.shape == (20, 5, 2) and np.isfinite(marks).all()
    assert ((marks > 0) & (marks < 47)).all()
    frontal = wild.labels["yaw"].abs().to_numpy() < 40
    assert (marks[frontal, 0, 0] < marks[frontal, 1, 0]).all() and (marks[frontal, 3, 0] < marks[frontal, 4, 0]).all()


def test_pose_is_the_protocol(pose):
    assert len(POSES) == len(set(POSES)) == 93
    assert len(pose) == 2 * 93
    table = pose.labels
    for s in range(2):
        series = table.iloc[93 * s : 93 * (s + 1)]
        assert set(zip(series["yaw"], series["pitch"], strict=True)) == set(POSES)
        varying = [c for c in series if series[c].nunique() > 1]
        assert varying == ["yaw", "pitch"]  # nothing else changes within a series
    assert (table["expression"] == "neutral").all() and (table["age"] >= 18).all()
    background = pose.images[:93, :, 0, :3].reshape(93, -1)
    assert (background == background[0]).all()
    assert set(table["glasses"]) == {"yes", "no"}


def test_same_seed_same_pixels(own_cache, monkeypatch):
    """Drawn twice, into two empty caches."""
    asked = dict(people=4, per_person=2, size=48, **QUIET)
    first = load("rendered/wild", **asked)
    monkeypatch.setenv("FACELAB_CACHE", str(own_cache / "fresh"))
    again = load("rendered/wild", **asked)
    assert (np.asarray(again.images) == np.asarray(first.images)).all()
    assert (again.landmarks == first.landmarks).all()
    pd.testing.assert_frame_equal(again.labels, first.labels)
    other = load("rendered/wild", people=2, per_person=1, size=48, seed=1, **QUIET)
    assert not set(other.labels["identity"]) & set(first.labels["identity"])


def test_a_flip_is_the_opposite_pose(pose):
    mirrored = pose.flip()
    here = mirrored.labels.query("yaw == 30 and pitch == 0").index[0]
    there = pose.labels.query("yaw == 30 and pitch == 0").index[0]
    gap = np.abs(mirrored.landmarks[here] - pose.landmarks[there]).max()
    assert gap < 0.05 * 40  # people are not quite symmetric
    unflipped = pose.labels.query("yaw == -30 and pitch == 0").index[0]
    assert np.abs(pose.landmarks[there] - pose.landmarks[unflipped]).max() > 4


def test_a_second_load_renders_nothing(wild, monkeypatch):
    monkeypatch.setattr(rendered, "_render", lambda *a: pytest.fail("rendered again"))
    again = load("rendered/wild", people=10, per_person=2, size=48, **QUIET)
    assert isinstance(again.images, np.memmap) and len(again) == 20


@pytest.mark.parametrize("damage", ["cut short", "altered"])
def test_an_interrupted_rendering_is_taken_up(own_cache, monkeypatch, damage):
    """Stopped after two shards, one of them damaged since: the result is what an undisturbed run gives."""
    asked = dict(people=4, per_person=1, size=32, **QUIET)
    monkeypatch.setattr(rendered, "_PER_SHARD", 1)
    render, done = rendered._render, []

    def stops(sittings, size, device):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(sittings[0].person.seed)
        return render(sittings, size, device)

    monkeypatch.setattr(rendered.os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(rendered, "_render", stops)
    with pytest.raises(KeyboardInterrupt):
        load("rendered/wild", **asked)
    (partial,) = (own_cache / "faces").glob("*.partial")
    shards = sorted((partial / "shards").glob("*.safetensors"))
    assert len(shards) == 2 and not list((own_cache / "faces").glob("*.partial/images.npy"))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-100] if damage == "cut short" else whole[:-100] + bytes(b ^ 1 for b in whole[-100:]))

    again = []

    def counts(sittings, size, device):
        again.append(sittings[0].person.seed)
        return render(sittings, size, device)

    monkeypatch.setattr(rendered, "_render", counts)
    resumed = load("rendered/wild", **asked)
    assert len(again) == 3 and done[0] not in again and done[1] in again
    assert not list((own_cache / "faces").rglob("shards"))

    monkeypatch.setenv("FACELAB_CACHE", str(own_cache / "fresh"))
    fresh = load("rendered/wild", **asked)
    assert (np.asarray(fresh.images) == np.asarray(resumed.images)).all()
    pd.testing.assert_frame_equal(fresh.labels, resumed.labels)


def test_a_damaged_set_is_rendered_anew(own_cache):
    asked = dict(people=1, per_person=1, size=32, **QUIET)
    first = np.array(load("rendered/wild", **asked).images)
    (entry,) = [p for p in (own_cache / "faces").iterdir() if p.is_dir()]
    file = entry / "images.npy"
    file.write_bytes(file.read_bytes()[:-50])
    assert (np.asarray(load("rendered/wild", **asked).images) == first).all()
    assert cache.problem(entry) is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rendered/wildd", {}, "unknown face set 'rendered/wildd': did you mean 'rendered/wild'"),
        ("faces94", {}, "unknown face set 'faces94': expected one of 'rendered/pose', 'rendered/wild'"),
        ("rendered/wild", {"peple": 3}, "unknown option of 'rendered/wild' 'peple': did you mean 'people'"),
        ("rendered/wild", {"series": 1}, "unknown option of 'rendered/wild' 'series'"),
        ("rendered/album", {"restyle": 2}, "restyle 2 is out of range: expected a whole number from 0 to 1"),
        ("rendered/lab_a", {"per_person": 3}, "unknown option of 'rendered/lab_a' 'per_person'"),
        ("rendered/wild", {"people": 0}, "people 0 is out of range: expected a whole number from 1"),
        ("rendered/wild", {"people": 2.5}, "people 2.5 is out of range"),
        ("rendered/pose", {"series": 3}, "series 3 is out of range: expected a whole number from 1 to 2"),
        ("rendered/wild", {"people": "3"}, "people '3' is out of range: expected a whole number from 1"),
        ("rendered/wild", {"size": 2048}, "size 2048 is out of range: expected a whole number from 32 to 1024"),
        ("rendered/wild", {"size": 8}, "size 8 is out of range: expected a whole number from 32 to 1024"),
        ("rendered/wild", {"seed": -1}, "seed -1 is out of range"),
        ("rendered/wild", {"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_bad_requests_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, **options)


@pytest.mark.parametrize(("task", "values"), [("yaw", [-40, 0, 40]), ("age", [10, 40, 80]), ("gender", [0, 1]),
                                              ("happy", [0, 0.5, 1])])  # fmt: skip
def test_a_sweep_changes_one_thing(task, values):
    faces = sweep(person(4, gender="female", age=30), task, values, size=40, device="cpu")
    assert isinstance(faces, FaceSet) and len(faces) == len(values)
    column = "intensity" if task == "happy" else task
    varying = {c for c in faces.labels if faces.labels[c].nunique() > 1}
    allowed = {"happy": {"intensity", "valence", "smile"}, "gender": {"gender", "masculinity"}}.get(task, {task})
    assert column in varying and varying <= allowed
    if task != "gender":
        assert faces.labels[column].tolist() == pytest.approx(values)
    steps = [np.abs(faces.images[i].astype(int) - faces.images[i + 1]).mean() for i in range(len(values) - 1)]
    assert min(steps) > 0.5
    if task == "happy":
        assert (faces.labels["expression"] == "happy").all()


def test_a_sweep_keeps_the_rest_as_asked():
    faces = sweep(person(4), "pitch", [0, 20], size=40, device="cpu", yaw=30, expression="sad", intensity=0.5)
    assert (faces.labels["yaw"] == 30).all() and (faces.labels["expression"] == "sad").all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("yawn", [0]), "unknown task to sweep 'yawn': did you mean 'yaw'"),
        (("yaw", []), "at least one finite number"),
        (("yaw", [np.nan]), "at least one finite number"),
        (("age", [0]), "age 0 is out of range: expected 1 to 90"),
        (("gender", [2]), "gender 2 is out of range"),
        (("happy", [1.2]), "intensity 1.2 of 'happy' is out of range"),
    ],
)
def test_bad_sweeps_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sweep(person(1), *arguments, size=32, device="cpu")
    with pytest.raises(ValueError, match="happy is swept: expression cannot be fixed at 'angry' as well"):
        sweep(person(1), "happy", [1], size=32, device="cpu", expression="angry")
    with pytest.raises(ValueError, match="unknown field of a shot 'yow': did you mean 'yaw'"):
        sweep(person(1), "roll", [1], yow=3)


def test_own_sittings_are_drawn_in_order_or_refused():
    sat = presets.sittings("rendered/wild", people=3, per_person=1)
    faces = rendered.draw(sat, size=32, device="cpu", name="mine")
    assert faces.name == "mine" and faces.images.shape == (3, 3, 32, 32)
    alone = rendered.draw(sat[2:], size=32, device="cpu")
    assert (alone.images[0] == faces.images[2]).all() and alone.labels["age"][0] == faces.labels["age"][2]
    with pytest.raises(ValueError, match="face set 'mine': no sittings, so there is nothing to draw"):
        rendered.draw([], name="mine")
    for call in (lambda: rendered.draw(sat, size=16), lambda: sweep(person(1), "yaw", [0], size=16)):
        with pytest.raises(ValueError, match="size 16 is out of range: expected a whole number from 32 to 1024"):
            call()


def test_a_coarse_picture_shows_the_points_that_a_fine_one_averages():
    sat = presets.sittings("rendered/pose", people=1, series=1)[:1]
    sat = [replace(sat[0], shots=sat[0].shots[:1])]
    fine, coarse = (rendered.draw(sat, size=32 * n, device="cpu", supersample=3 - n).images[0] for n in (1, 2))
    gap = coarse.reshape(3, 32, 2, 32, 2).mean((2, 4)) - fine  # means of what is shown, not of light
    assert -1 < np.median(gap) <= 0.5 and np.abs(gap).mean() < 2
    with pytest.raises(ValueError, match="supersample 0 is out of range: expected a whole number from 1 to 8"):
        rendered.draw(sat, supersample=0)


def test_a_set_of_an_earlier_look_is_not_read(own_cache, monkeypatch):
    asked = dict(people=1, per_person=1, size=32, **QUIET)
    load("rendered/wild", **asked)
    monkeypatch.setattr(rendered, "_LOOK", rendered._LOOK + 1)
    load("rendered/wild", **asked)
    assert len(list((own_cache / "faces").glob("*/images.npy"))) == 2


def test_the_rasteriser_is_ready_before_the_threads_begin(monkeypatch):
    prepared = []
    monkeypatch.setattr(rendered, "rasterise", lambda screen, faces, side: prepared.append(side))
    with rendered._workers(rendered.devices.device("cpu")) as pool:
        assert pool.submit(lambda: len(prepared)).result() == 1


def test_a_preset_has_as_many_images_as_it_says(wild, pose):
    assert len(wild) == presets.images("rendered/wild", people=10, per_person=2)
    assert len(pose) == presets.images("rendered/pose", people=1, series=2)


def test_speed_is_pictures_a_second():
    began = time.perf_counter()
    rate = rendered.speed(people=1, size=32)
    assert rate >= 2 * 93 / (time.perf_counter() - began)
    assert rendered.speed(2, "rendered/lab_b", size=32) > 0
    with pytest.raises(ValueError, match="unknown face set 'rendered/album2': did you mean 'rendered/album'"):
        rendered.speed(preset="rendered/album2")


def test_images_are_written_as_numpy_writes_them(own_cache):
    images = load("rendered/wild", people=10, per_person=3, size=32, **QUIET).images  # two shards
    [file] = own_cache.glob("faces/*/images.npy")
    np.save(own_cache / "again.npy", images, allow_pickle=False)
    assert file.read_bytes() == (own_cache / "again.npy").read_bytes()


@pytest.mark.parametrize("where", ["a shard", "the images"])
def test_a_full_disk_says_so(own_cache, monkeypatch, where):
    def shard(*args, **more):
        raise cache.SafetensorError("I/O error: No space left on device (os error 28)")

    def images(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "a shard":
        monkeypatch.setattr(cache, "save_file", shard)
    else:
        monkeypatch.setattr(rendered, "open", images, raising=False)
    with pytest.raises(OSError, match="the disk is full: free some space or set FACELAB_CACHE") as caught:
        load("rendered/wild", people=1, per_person=1, size=32, **QUIET)
    assert caught.value.errno == errno.ENOSPC


def test_a_sweep_wants_values_and_changes_what_nothing_fixes():
    with pytest.raises(TypeError, match=r"values 30 to sweep 'yaw': expected several numbers"):
        sweep(person(1), "yaw", 30, size=32, device="cpu")
    with pytest.raises(ValueError, match="yaw is swept: it cannot be fixed"):
        sweep(person(1), "yaw", [0, 20], size=32, device="cpu", yaw=3.0)
