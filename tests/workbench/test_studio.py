"""The studio with a renderer that paints the settings as colours: no head model, no weight file is needed."""

import asyncio

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facelab import nets
from facelab.faces.faceset import FaceSet
from facelab.faces.photo import Shot
from facelab.filters import probes
from facelab.nets.fetch import FetchError
from facelab.workbench import observers, studio
from facelab.workbench.explore import FaceStudio


class Reader:
    def __init__(self, *said):
        self.said = said

    def predict(self, faces):
        return np.array([self.said[0] if len(self.said) == 1 else self.said] * len(faces), np.float32)


class Code:
    """A student whose code is the red and the green of the first pixel."""

    def predict(self, faces):
        return faces.images[:, :2, 0, 0].astype(np.float32)


@pytest.fixture
def asked(monkeypatch):
    """Red is 128 + yaw, green 100 × brightness, blue the age."""
    calls = []

    def draw(sittings, *, size, device, name, supersample=2):
        calls.extend((sitting, size) for sitting in sittings)
        shots = [(sitting, shot) for sitting in sittings for shot in sitting.shots]
        colours = [(128 + shot.yaw, 100 * shot.exposure, sitting.person.age) for sitting, shot in shots]
        images = np.array(colours).round().astype(np.uint8)[:, :, None, None].repeat(size, 2).repeat(size, 3)
        rows = [
            {"yaw": shot.yaw, "age": s.person.age, "gender": s.person.gender, "expression": s.expression}
            for s, shot in shots
        ]
        return FaceSet(name, images, pd.DataFrame(rows), np.zeros((len(shots), 5, 2), np.float32))

    monkeypatch.setattr(studio.rendered, "draw", draw)
    return calls


@pytest.fixture
def net():
    """Filter 0 answers with red, 1 with what red lacks, 2 with green, 3 with blue."""
    conv = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        for filter, (colour, weight) in enumerate(((0, 1), (0, -1), (1, 1), (2, 1))):
            conv.weight[filter, colour] = weight
        conv.bias[1] = 1
    return nets.wrap(nn.Sequential(conv, nn.ReLU()), size=8, name="colours")


@pytest.fixture
def make(asked, net):
    def made(seed=4, **options):
        return FaceStudio(seed, **({"nets": {}, "net": net, "student": Code(), "size": 32, "device": "cpu"} | options))

    return made


def test_the_face_is_what_the_controls_say(make, asked):
    shown = make()
    before = shown.picture()
    shown.set(yaw=-30, pitch=10, roll=5, expression="sad", intensity=0.5, age=71, gender=0.8, light=0, brightness=1.2)
    assert shown.picture() != before
    sitting = asked[-1][0]
    assert (sitting.person.seed, sitting.person.age, sitting.person.masculinity) == (4, 71.0, 0.8)
    assert (sitting.person.gender, sitting.expression, sitting.intensity) == ("male", "sad", 0.5)
    (shot,) = sitting.shots
    assert (shot.yaw, shot.pitch, shot.roll, shot.exposure) == (-30.0, 10.0, 5.0, 1.2)
    assert shot.light[0] == 0 and shot.light[1] == Shot().light[1]
    (right,) = shown.set(light=90).sitting().shots
    assert right.light[0] > 0 and abs(right.light[2]) < 1e-9


def test_everyone_comes_with_an_age_and_a_gender_of_their_own(make, asked):
    shown = make(0)
    shown.set(person=4)
    who = asked[-1][0].person
    assert shown.settings["age"] == round(studio.person(4).age) == who.age and who.gender == "female"
    with pytest.raises(ValueError, match="yaw 120 is out of range: expected a number from -90 to 90"):
        shown.set(yaw=120)
    with pytest.raises(ValueError, match="seed 999 is out of range"):
        make(999)


def test_intensity_is_for_faces_that_show_something(make):
    shown = make()
    assert shown.controls["intensity"].disabled
    assert not shown.set(expression="happy").controls["intensity"].disabled


def test_bars_are_responses_as_shares_of_a_turn(make):
    shown = make(filters={"red": ("0", 0), "green": ("0", 2)})
    assert np.allclose(shown.largest, (218 / 255, 100 / 255))
    for yaw in (0, 45):
        assert f"filter red {100 * (128 + yaw) / 218:.0f} %; filter green 100 %" in repr(shown.set(yaw=yaw))
    assert "filter green 120 %" in repr(shown.set(brightness=1.2))


def test_without_a_choice_the_filters_that_yaw_moves_most_are_shown(make):
    assert {kind: make().observers.filters[kind] for kind in ("left", "right")} == {"left": ("0", 0), "right": ("0", 1)}


def test_crafts_give_the_best_filter_of_each_kind(make, crafts):
    best = {kind: crafts["yaw"].best(kind)["filter"] for kind in crafts["yaw"].kinds}
    two = nn.Sequential()
    two.add_module("conv1", nn.Conv2d(3, 8, 1))
    two.add_module("conv2", nn.Conv2d(8, 20, 1))
    found = make(filters=crafts["yaw"], net=nets.wrap(two, size=8)).observers.filters
    assert {kind: at for kind, (_, at) in found.items()} == best


def test_networks_are_quoted_in_words(make):
    said = repr(
        make(nets={"age": Reader(33.3), "gender": Reader(0.2), "expression": Reader(0.1, 0, 0, 0, 0.75, 0.15, 0)})
    )
    for text in ("network for age: 33 years", "network for gender: male 20 %", "network for expression: happy 75 %"):
        assert text in said
    with pytest.raises(ValueError, match="unknown network to read a head with 'gendre': did you mean 'gender'"):
        make(nets={"gendre": Reader(0.2)})


def test_probes_read_the_responses(make):
    yaw = np.linspace(-90, 90, 60)[:, None]
    noise = np.random.default_rng(0).normal(size=(60, 3))
    probe = probes.fit_table(np.hstack([(128 + yaw) / 255, noise]), yaw, np.arange(60) // 3, "yaw", layer="0")
    shown = make(probes=[probe])
    for angle in (-45, 60):
        said = repr(shown.set(yaw=angle))
        assert f"yaw {angle}°, probe at 0: ".replace("-", "−") in said
        read = float(said.split("probe at 0: ")[1].split("°")[0].replace("−", "-"))
        assert (
            abs(read - shown.observers.probes[0].predict(shown.observers._captured(shown._looked_at()[0])["0"])[0, 0])
            <= 0.5
        )
    wide = probes.fit_table(np.hstack([yaw, noise, noise]), yaw, np.arange(60) // 3, "yaw", layer="0")
    with pytest.raises(ValueError, match="the probe of 'yaw' reads 7 responses, '0' of 'colours' has 4"):
        make(probes=[wide])


def test_the_students_code_is_compared_with_the_frontal_face(make):
    shown = make(4)
    assert "cosine 1.00 with this person" in repr(shown)
    code, frontal = np.array([218, 40]), np.array([128, 100])
    cosine = code @ frontal / np.linalg.norm(code) / np.linalg.norm(frontal)
    assert f"cosine {cosine:.2f} with this person" in repr(shown.set(yaw=90, brightness=0.4))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"a": ("00", 0)}, "unknown layer '00'"),
        ({"a": ("0", 4)}, "filter 'a': '0' has no number 4: expected 0 to 3"),
        ({str(i): ("0", 0) for i in range(7)}, "7 filters: expected at most 6"),
    ],
)
def test_filters_that_do_not_exist_are_errors(make, filters, message):
    with pytest.raises(ValueError, match=message):
        make(filters=filters)


def test_a_sweep_gives_the_responses_over_the_range(make):
    shown = make(filters={"red": ("0", 0), "green": ("0", 2)})
    before = shown.set(yaw=20).picture()
    curves = shown.sweep("yaw")
    assert list(curves.index) == list(range(-90, 91, 15)) and list(curves.columns) == ["red", "green"]
    assert np.allclose(curves["red"], (128 + curves.index.to_numpy()) / 255) and np.allclose(curves["green"], 100 / 255)
    assert np.allclose(100 * curves["red"].max() / shown.largest[0], 100)  # the person of the scale
    assert shown.settings["yaw"] == 20 and shown.picture() != before
    bright = shown.sweep("brightness")
    assert bright.index[0] == 0.4 and bright.index[-1] == 1.6 and bright["green"].is_monotonic_increasing
    with pytest.raises(ValueError, match="unknown over 'yawn': did you mean 'yaw'"):
        shown.sweep("yawn")


def test_the_button_plays_the_slider_and_sets_it_back(make, asked):
    shown, seen = make(), []
    shown.set(over="pitch", pitch=10)
    shown.image.observe(lambda change: seen.append(change["new"]), names="value")

    async def play():
        shown.button.click()
        await asyncio.sleep(0)
        assert shown.button.description == "Stop"
        await shown._player
        assert shown.button.description == "Sweep"

    asyncio.run(play())
    assert len(set(seen)) > studio.STEPS and shown.settings["pitch"] == 10
    assert list(shown.curves.index) == list(range(-60, 61, 10)) and shown.image.value == shown.picture()
    assert all(size != studio.COARSE for _, size in asked)  # the faces that networks see are there: they are shown


def test_a_hand_on_a_slider_ends_the_play(make):
    shown = make()

    async def play(control, value):
        shown.button.click()
        await asyncio.sleep(3 * studio.PAUSE)
        shown.controls[control].value = value
        with pytest.raises(asyncio.CancelledError):
            await shown._player
        assert len(shown.curves) < studio.STEPS and shown.button.description == "Sweep"

    asyncio.run(play("yaw", 35))  # the hand's value stays
    assert shown.settings["yaw"] == 35
    asyncio.run(play("age", 70))
    assert (shown.settings["yaw"], shown.settings["age"]) == (35, 70)
    assert "yaw 35 degrees" in repr(shown) and shown.image.value == shown.picture()


def test_missing_weights_are_named_and_the_rest_works(make, monkeypatch):
    def load(name, device):
        if name in ("age", "identity"):
            raise FetchError(f"cannot fetch {name}: no connection; then: facelab fetch {name}")
        return Reader(0.2) if name == "gender" else Reader(0.1, 0, 0, 0, 0.75, 0.15, 0)

    monkeypatch.setattr(observers.nets_room, "load", load)
    shown = make(nets=None, net=None)
    missing = ("age 42 years, its weights are missing: –", "then: facelab fetch age", "identity: cannot fetch identity")
    for text in (*missing, "network for gender: male 20 %"):
        assert text in repr(shown)
    assert len(shown.sweep("yaw").columns) == 0 and shown.picture()[:4] == b"\x89PNG"


def test_what_follows_a_slider_is_a_coarse_head_and_what_networks_see(make, asked, monkeypatch):
    monkeypatch.setattr("facelab.workbench.live.IDLE", 0.1)
    shown = make()
    asked.clear()

    async def move():
        shown.controls["yaw"].value = 30
        await asyncio.sleep(0.08)
        assert [size for _, size in asked] == [studio.COARSE, 32]
        await asyncio.sleep(0.3)
        assert [size for _, size in asked] == [studio.COARSE, 32, shown.FINE]

    asyncio.run(move())


def test_the_filters_network_may_be_the_student_too(make, net):
    pooled = nets.wrap(nn.Sequential(*net.module, nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=8, name="pooled")
    alone, both = make(net=pooled).set(yaw=-30), make(net=pooled, student=pooled).set(yaw=-30)
    seen = [shown._looked_at()[1] for shown in (alone, both)]
    assert np.array_equal(seen[0].responses, seen[1].responses) and seen[1].codes.shape == (1, 4)
    assert np.allclose(seen[1].codes, pooled.predict(both._looked_at()[0]))


def test_the_head_follows_before_what_is_read_of_it(make, monkeypatch):
    sent = []

    async def moved():
        shown = make()
        before = shown.frame()
        monkeypatch.setattr(FaceStudio, "send", lambda self, pixels: sent.append(pixels.copy()))
        shown.controls["yaw"].value = 45
        shown._later.cancel()
        shown._follow()
        shown._idle.cancel()
        return shown, before

    shown, before = asyncio.run(moved())
    (glimpse,) = sent
    head = np.s_[studio.EDGE : studio.EDGE + shown.FINE, studio.EDGE : studio.EDGE + shown.FINE]
    final = shown.frame()
    assert np.array_equal(glimpse[head], final[head]) and not np.array_equal(glimpse[head], before[head])
    glimpse[head], before[head] = 0, 0
    assert np.array_equal(glimpse, before)  # nothing else has changed yet
