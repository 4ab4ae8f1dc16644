import asyncio
import base64
import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from facelab.workbench import explore, live
from facelab.workbench.live import Explorer, choice, count, log_slider, slider


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture(autouse=True)
def no_figure_left_open():
    yield
    assert plt.get_fignums() == []


class Dial(Explorer):
    """A square as grey as its first control says; fails at 13."""

    drawn: list

    def __init__(self):
        self.drawn = []
        controls = {"level": slider("level", 0, 100, 50, unit="percent"), "side": choice("side", ["left", "right"])}
        super().__init__(controls, (2, 1))

    def draw(self, figure, level, side):
        if level == 13:
            raise ValueError("13 <is> unlucky")
        self.drawn.append(level)
        figure.patch.set_facecolor((level / 100,) * 3)
        return f"grey {level}"


def test_static_twin_is_the_picture_of_the_settings():
    dial = Dial()
    for level in (10, 90):
        dial.set(level=level)
        bundle, metadata = dial._repr_mimebundle_()
        png = base64.b64decode(bundle["image/png"])
        assert png == dial.picture() == dial.image.value
        assert abs(int(pixels(png)[2, 2, 0]) - level * 2.55) <= 1
        assert bundle["text/plain"] == f"Dial (level {level} percent · side left): grey {level}"
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == dial.widget.model_id
        assert f"grey {level}" in dial.status.value
        assert metadata["image/png"]["alt"] == bundle["text/plain"]


def test_moving_a_control_by_hand_redraws():
    dial = Dial()
    before = dial.image.value
    dial.controls["level"].value = 80
    assert dial.image.value != before and dial.drawn == [50, 80]


def test_only_the_latest_of_many_changes_is_drawn():
    dial = Dial()

    async def drag():
        for level in range(60, 71):
            dial.controls["level"].value = level
        assert dial.drawn == [50]  # nothing is drawn while messages come in
        await asyncio.sleep(0.2)
        assert dial.drawn == [50, 70]
        dial.controls["level"].value = 75
        assert "grey 75" in dial._repr_mimebundle_()[0]["text/plain"]  # what is shown is never behind the settings
        await asyncio.sleep(0.1)
        assert dial.drawn == [50, 70, 75]

    asyncio.run(drag())


def test_a_draft_is_drawn_again_in_full_when_nothing_moves(monkeypatch):
    class Sketch(Dial):
        DRAFTS = True

        def draw(self, figure, **settings):
            self.drawn.append((settings["level"], "draft" if self.draft else "full"))
            return ""

    dial = Sketch()

    async def drag():
        monkeypatch.setattr(live, "IDLE", 0.2)
        for level in (60, 61, 62):
            dial.controls["level"].value = level
            await asyncio.sleep(0.06)
        assert dial.drawn == [(50, "full"), (60, "draft"), (61, "draft"), (62, "draft")]
        await asyncio.sleep(0.4)
        assert dial.drawn[4:] == [(62, "full")]
        dial.controls["level"].value = 70
        await asyncio.sleep(0.06)
        dial._repr_mimebundle_()  # what is kept is never a draft
        await asyncio.sleep(0.4)
        assert dial.drawn[5:] == [(70, "draft"), (70, "full")]

    asyncio.run(drag())


def test_an_error_is_shown_and_the_old_picture_goes(caplog):
    dial = Dial()
    dial.controls["level"].value = 13
    assert "Cannot draw this" in dial.status.value and "13 &lt;is&gt; unlucky" in dial.status.value
    assert dial.image.value == b"" and "image/png" not in dial._repr_mimebundle_()[0]
    assert "could not draw" in caplog.text
    with pytest.raises(ValueError, match="unlucky"):
        dial.picture()
    dial.controls["level"].value = 14
    assert "grey 14" in dial.status.value and dial.image.value == dial.picture() != b""
    with pytest.raises(ValueError, match="unlucky"):
        dial.set(level=13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 101}, "level 101 is out of range: expected a number from 0 to 100"),
        ({"level": "high"}, "level 'high' is out of range"),
        ({"level": True}, "level True is out of range"),
        ({"levl": 1}, "unknown control 'levl': did you mean 'level'"),
        ({"side": "lefft"}, "unknown side 'lefft': did you mean 'left'"),
    ],
)
def test_values_out_of_range_are_errors(settings, message):
    dial = Dial()
    with pytest.raises(ValueError, match=message):
        dial.set(**settings)
    assert dial.settings == {"level": 50, "side": "left"}


def test_every_control_is_labelled_alike():
    made = [slider("a", 0, 1, 0), slider("b", 0.0, 1.0, 0.5, step=0.1), log_slider("c", -2, 0, 0.1),
            choice("d", "xy"), count("e", 0, 3, 1)]  # fmt: skip
    assert [control.description for control in made] == list("abcde")
    assert {(c.layout.width, c.style.description_width) for c in made} == {(live.WIDTH, live.LABEL)}


def test_curve_explorer_moves_only_the_knee(curves):
    explorer = explore.CurveExplorer(curves)
    first, scene = explorer.picture(), explorer._scene
    assert explorer.set(gamma=0.3).picture() != first and explorer._scene is scene
    assert explorer.set(gamma=0.01).picture() == first  # nothing of the knee in between is left over
    best = curves["yaw"][curves["yaw"].best_layer]
    assert f"{best.layer}: {best.knee(0.01).num} of {best.filters}." in repr(explorer)
    kept = sum(len(filters) for filters in curves["yaw"].knees(0.01).values())
    assert f"keeps {kept} of 28 filters ({100 * kept / 28:.1f} %) on 2 of 2 layers" in repr(explorer)
    explorer.set(task="expression")
    assert explorer._scene is not scene and "no knee" in repr(explorer)
    with pytest.raises(ValueError, match=r"gamma 0\.9 is out of range"):
        explorer.set(gamma=0.9)


def test_filter_explorer_finds_the_planted_filters(seen, faces, crafts):
    explorer = explore.FilterExplorer(seen, crafts, faces)
    pictures = set()
    for kind, filter in (("left", 0), ("right", 1), ("sideways", 2), ("frontal", 3)):
        pictures.add(explorer.set(show=f"best {kind}").picture())
        assert f"filter {filter} · ρ = 0." in repr(explorer)
    assert len(pictures) == 4
    explorer.set(task="gender", layer="conv2")
    assert "conv2 · filter 4" in repr(explorer) and explorer.settings["show"] == "best male"


def test_filter_explorer_ranks_no_further_than_there_are_filters(seen, crafts):
    explorer = explore.FilterExplorer(seen, crafts["yaw"])
    explorer.set(show="best left", layer="conv1")
    table = crafts["yaw"].table()
    there = ((table["layer"] == "conv1") & (table["kind"] == "left")).sum()
    assert explorer.controls["rank"].max == there < explorer.RANKS
    explorer.set(rank=int(there))
    assert "conv1" in repr(explorer)
    explorer.set(layer="all layers", show="best right")
    assert explorer.controls["rank"].max == min(explorer.RANKS, (table["kind"] == "right").sum())


def test_filter_explorer_by_number_goes_on_from_what_is_shown(seen, crafts):
    explorer = explore.FilterExplorer(seen, crafts["yaw"])
    explorer.set(show="best frontal")
    assert explorer.controls["filter"].disabled and not explorer.controls["rank"].disabled
    layer = explorer.row["layer"]
    explorer.set(show="by number")
    assert (explorer.settings["layer"], explorer.settings["filter"]) == (layer, 3)
    assert not explorer.controls["filter"].disabled and explorer.controls["rank"].disabled
    explorer.set(layer="conv1", filter=7)
    assert "did not pass" in repr(explorer)
    with pytest.raises(ValueError, match="filter 8 is out of range: expected a number from 0 to 7"):
        explorer.set(filter=8)


def test_filter_explorer_shows_the_faces_with_the_highest_and_lowest_response(seen, faces, crafts, monkeypatch):
    shown = []
    monkeypatch.setattr(explore.plots, "faces", lambda faces, rows, *a, **k: shown.append(list(rows)))
    explore.FilterExplorer(seen, crafts["yaw"], faces).set(show="best left", layer="conv1")
    order = np.argsort(seen["conv1"][:, 0])
    assert shown[-2:] == [list(order[::-1][:5]), list(order[:5])]
    with pytest.raises(ValueError, match="10 faces for responses to 144"):
        explore.FilterExplorer(seen, crafts, faces[:10])


def test_task_map_explorer_says_what_a_filter_serves(crafts):
    table = pd.concat([one.table().assign(task=task) for task, one in crafts.items()], ignore_index=True)
    explorer = explore.TaskMapExplorer(table)
    assert list(explorer.controls) == ["layer", "filter", "order"]
    passed = table[(table["layer"] == "conv2") & table["craft"]]
    assert (
        explorer.settings["filter"] == passed.loc[passed["rho"].abs().idxmax(), "filter"]
    )  # begins with the strongest
    first = explorer.set(layer="conv1", filter=0).picture()
    assert "filter 0 of conv1 serves yaw (ρ = 0." in repr(explorer)
    assert explorer.set(order="the tasks").picture() != first
    explorer.set(layer="conv1", filter=7)
    assert "serves none of the 2 tasks" in repr(explorer)
    with pytest.raises(ValueError, match="no filter was tested"):
        explore.TaskMapExplorer(table.iloc[:0])


def test_what_is_missing_is_said(seen, crafts):
    with pytest.raises(ValueError, match="no filters to look through: expected find_crafts"):
        explore.FilterExplorer(seen, {})
    with pytest.raises(ValueError, match="no curves to look at: expected what characteristic_curves returned"):
        explore.CurveExplorer({})
    assert "pass faces=" in repr(explore.FilterExplorer(seen, crafts))


def test_explorers_of_one_family_order_their_controls_alike(seen, crafts, curves):
    """What is asked, then where, then which one."""
    assert list(explore.FilterExplorer(seen, crafts).controls) == ["task", "layer", "show", "rank", "filter"]
    assert list(explore.CurveExplorer(curves).controls) == ["task", "layer", "gamma"]


def test_buttons_step_through_a_list(seen, crafts):
    shown = explore.FilterExplorer(seen, crafts)
    control = shown.controls["show"]
    row = next(row for row in shown.widget.children[0].children[0].children if control in getattr(row, "children", ()))
    _, back, on = row.children
    assert [button.tooltip for button in (back, on)] == ["the one before: show", "the next one: show"]
    before = shown.image.value
    on.click()
    assert control.index == 1 and shown.image.value != before
    back.click()
    back.click()  # stops at the first
    assert control.index == 0 and shown.image.value == before
    for _ in range(len(control.options) + 3):
        on.click()
    assert control.index == len(control.options) - 1
