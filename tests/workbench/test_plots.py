import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from facelab import tasks
from facelab.filters.causal import CausalCurve
from facelab.filters.drops import Ablation
from facelab.workbench import plots, style

# What the eye sees: Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
EYES = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def lab(colour, eye):
    rgb = np.array(colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.asarray(EYES[eye]) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def check(ax):
    """Draws the figure (warnings are errors), and asks for labels with a unit and for texts that keep apart."""
    ax.figure.canvas.draw()
    assert re.search(r"\(.+\)|filter|layer|R²|column|score", ax.get_xlabel()), ax.get_xlabel()
    assert ax.get_ylabel() or len(ax.get_yticklabels()) or not ax.spines["left"].get_visible()
    names = [t for t in ax.get_xticklabels() if t.get_text()]
    boxes = [t.get_window_extent() for t in names if not t.get_rotation()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    box, view = ax.get_tightbbox(), ax.figure.bbox
    assert box.x0 >= view.x0 - 2 and box.x1 <= view.x1 + 2 and box.y0 >= view.y0 - 2 and box.y1 <= view.y1 + 2


@pytest.mark.parametrize("eye", EYES)
def test_colours_of_tasks_stay_apart(eye):
    seen = {task: lab(colour, eye) for task, colour in style.TASK_COLOURS.items()}
    near = min((np.linalg.norm(seen[a] - seen[b]), a, b) for a, b in itertools.combinations(seen, 2))
    assert near[0] > 15, near
    none = lab(style.NONE, eye)
    assert min(np.linalg.norm(v - none) for v in seen.values()) > 15


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("palette", [style.GENDER_COLOURS, style.TURN_COLOURS])
def test_colours_of_groups_and_kinds_stay_apart(eye, palette):
    seen = [lab(colour, eye) for colour in palette.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


def test_every_task_has_a_colour_and_a_marker_of_its_own():
    assert set(style.TASK_COLOURS) == set(tasks.TASKS)
    assert len(set(style.TASK_MARKERS.values())) == len(tasks.TASKS)
    with pytest.raises(ValueError, match="unknown task 'yawn': did you mean 'yaw'"):
        style.colour("yawn")


def test_labels_carry_units():
    for task in tasks.TASKS.values():
        if task.kind != "identity":
            assert "(" in style.label(task.name) and "(" in style.error_label(task.name)


@pytest.mark.parametrize("where", ["baseline", "center"])
def test_a_quick_line_of_text_stands_where_matplotlib_puts_it(where):
    boxes = []
    for kind in (Text, style.Line):
        canvas = FigureCanvasAgg(Figure(figsize=(3, 1), dpi=100))
        look = {"fontsize": 9, "color": "#c00000", "verticalalignment": where}
        canvas.figure.add_artist(kind(0.1, 0.4, "yaw −30°: 87 %", **look))
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba()).astype(int)
        inked = np.argwhere(pixels[..., 1] < 128)
        boxes.append([*inked.min(0), *inked.max(0)])
        assert (pixels[..., 0] >= pixels[..., 1]).all() and len(inked) > 100
    assert np.abs(np.subtract(*boxes)).max() <= 3, boxes  # pixels


def test_a_caption_of_several_lines_has_room_above_the_next_row(faces):
    tall = [plots.faces(faces, [0, 1], [text] * 2, columns=1) for text in ("a", "a\nb", "a\nb\nc")]
    heights = [ax.images[0].get_array().shape[0] for ax in tall]
    assert heights == sorted(set(heights))
    for ax in tall:
        plt.close(ax.figure)


def test_contact_sheet(faces):
    ax = plots.faces(faces, [3, 1, 4], "yaw", columns=2)
    assert [t.get_text() for t in ax.texts] == ["−15", "−45", "0"]
    sheet = ax.images[0].get_array()
    assert (sheet[:12, :12] == faces.images[3].transpose(1, 2, 0)).all()
    assert (sheet[-1] == 255).all() and not ax.axison
    mask = np.zeros(len(faces), bool)
    mask[7] = True
    assert (plots.faces(faces, mask).images[0].get_array()[:12, :12] == faces.images[7].transpose(1, 2, 0)).all()
    with pytest.raises(ValueError, match="2 captions for 3 faces"):
        plots.faces(faces, [0, 1, 2], ["a", "b"])
    with pytest.raises(ValueError, match="did you mean 'yaw'"):
        plots.faces(faces, [0], "yaws")
    with pytest.raises(ValueError, match="no face"):
        plots.faces(faces, [])


def test_response_curves_draw_each_person_and_their_mean(seen):
    x = seen["conv1"][:, 0]
    ax = plots.response_curves(seen.labels["yaw"], x, seen.identities, task="yaw")
    check(ax)
    assert ax.get_xlabel() == "yaw (degrees)"
    lines = [line for line in ax.lines if len(line.get_xdata()) == 9]
    assert len(lines) == 17  # 16 people and the mean
    np.testing.assert_allclose(lines[-1].get_ydata(), x.reshape(16, 9).mean(0), rtol=1e-5)
    check(plots.response_curves(seen.labels["yaw"], x, seen.identities, "degrees"))
    with pytest.raises(ValueError, match="expected equally many"):
        plots.response_curves([1, 2], x, seen.identities)
    with pytest.raises(ValueError, match="no label value is known"):
        plots.response_curves(np.full(len(x), np.nan), x, seen.identities)


def test_many_people_become_points_and_the_mean_over_bins():
    rng = np.random.default_rng(0)
    age = rng.uniform(5, 80, 600)
    ax = plots.response_curves(age, age / 80, np.arange(600) // 2, task="age")
    check(ax)
    mean = ax.containers[0].lines[0].get_xydata()
    assert len(mean) == plots.BINS
    np.testing.assert_allclose(mean[:, 1], mean[:, 0] / 80, rtol=1e-6)


def test_categories_keep_the_order_of_the_task(seen):
    ax = plots.response_curves(seen.labels["expression"], seen["conv1"][:, 0], seen.identities, task="expression")
    check(ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["neutral", "happy", "sad"]


def test_tuning_shows_the_planted_filters(seen, crafts):
    axes = plots.tuning(seen, crafts["yaw"], "yaw")
    assert axes.shape == (2, 2)
    for ax, (kind, filter) in zip(axes.flat, [("left", 0), ("right", 1), ("either", 2), ("frontal", 3)], strict=True):
        check(ax)
        title = ax.get_title(loc="left")
        assert kind in title and f"filter {filter} " in title and re.search(r"ρ = 0\.\d\d \[0\.\d\d, ", title)
    axes = plots.tuning(seen, crafts["gender"], "gender")
    assert axes.shape == (1, 1) and "filter 4 " in axes[0, 0].get_title(loc="left")
    with pytest.raises(ValueError, match="did you mean 'left'"):
        plots.tuning(seen, crafts["yaw"], "yaw", kinds=["lefd"])


@pytest.mark.parametrize("order", ["filter", "task"])
def test_task_map_counts(crafts, order):
    table = pd.concat([c.table().assign(task=task) for task, c in crafts.items()])
    ax = plots.task_map(table, layer="conv2", order=order)
    check(ax)
    named = [t.get_text() for legend in ax.artists for t in legend.get_texts()] or [
        t.get_text() for t in ax.get_legend().get_texts()
    ]
    assert named == ["none: 15", "yaw: 4", "gender: 1"]
    drawn = {tuple(colors.to_rgb(c.get_facecolor()[0])): len(c.get_offsets()) for c in ax.collections}
    assert drawn[colors.to_rgb(style.TASK_COLOURS["yaw"])] == 4
    assert drawn[colors.to_rgb(style.NONE)] == 15
    with pytest.raises(ValueError, match="2 layers in this table: choose one"):
        plots.task_map(table)
    with pytest.raises(ValueError, match="did you mean 'conv"):
        plots.task_map(table, layer="conv3")


def test_characteristic_curve_marks_the_knee(curves):
    curve = curves["yaw"]["conv2"]
    ax = plots.characteristic_curve(curve, gamma=0.05)
    check(ax)
    assert ax.get_ylabel() == "RMSE of yaw (degrees)"
    knee = curve.knee(0.05)
    dot = next(line for line in ax.lines if line.get_marker() == "o")
    assert (*dot.get_xdata(), *dot.get_ydata()) == (knee.num, knee.rmse)
    assert f"{knee.num} filters [{knee.low:.0f}, {knee.high:.0f}]" in ax.texts[0].get_text()
    with pytest.raises(ValueError, match="gamma 2 is out of range"):
        plots.characteristic_curve(curve, gamma=2)
    with pytest.raises(ValueError, match="unknown scale 'logg'"):
        plots.characteristic_curve(curve, scale="logg")


def test_the_knee_is_said_where_no_curve_is(curves):
    """Falling late (filters on a log scale) leaves the lower left corner free, falling early the upper right one."""
    curve = curves["yaw"]["conv2"]
    k = len(curve.lambdas)
    few = replace(curve, num=np.minimum(np.arange(k), curve.filters))
    for rmse, corner in ((np.linspace(1, 0.2, k), "left"), (np.r_[1, np.full(k - 1, 0.2)], "right")):
        ax = plots.characteristic_curve(replace(few, rmse=rmse, rmse_train=rmse, null_rmse=1.0), scale="linear")
        assert ax.texts[-1].get_text().startswith("knee") and ax.texts[-1].get_ha() == corner


def test_no_knee_is_said(curves):
    ax = plots.characteristic_curve(curves["expression"]["conv1"])
    check(ax)
    assert curves["expression"]["conv1"].knee() is None and "no knee" in ax.texts[0].get_text()
    ax = plots.knees(curves)
    check(ax)
    assert "no knee" in [t.get_text() for t in ax.get_yticklabels()]
    ax = plots.knees(curves["yaw"])
    assert "no knee" not in [t.get_text() for t in ax.get_yticklabels()]


def test_two_networks_are_compared_by_their_curves(curves):
    known, flat = curves["yaw"]["conv2"], curves["expression"]["conv1"]
    ax = plots.compare_curves({"mine": known, "yours": curves["yaw"]["conv1"]}, 0.05)
    check(ax)
    mine, yours = (text.get_text() for text in ax.get_legend().get_texts())
    assert mine == f"mine: conv2, knee {known.knee(0.05).num} of {known.filters}" and yours.startswith("yours: conv1")
    ax = plots.compare_curves({"mine": flat})
    assert ax.get_legend().get_texts()[0].get_text() == "mine: conv1, no knee"
    with pytest.raises(ValueError, match="curves of expression, yaw: expected all of one task"):
        plots.compare_curves({"mine": known, "yours": flat})
    with pytest.raises(ValueError, match="0 curves to compare: expected 1 to 6"):
        plots.compare_curves({})


def test_curves_by_layer_and_best_layers(curves):
    ax = plots.curves_by_layer(curves["yaw"])
    check(ax)
    assert curves["yaw"].best_layer in ax.texts[-1].get_text()
    scores = curves.table().pivot(index="layer", columns="task", values="r2")
    ax = plots.best_layers(scores, low=scores - 0.05, high=scores + 0.05)
    check(ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["conv1", "conv2"]
    with pytest.raises(ValueError, match="low has shape"):
        plots.best_layers(scores, low=scores.iloc[:1], high=scores)


def test_causal_curve_of_one_filter():
    values, people = np.arange(-60.0, 61.0, 30.0), np.arange(3.0)
    answers = np.stack([people[:, None] + values, -values + people[:, None]], 2)  # (3, 5, 2)
    curve = CausalCurve("yaw", "conv1", np.array([4, 9]), values, answers)
    ax = plots.causal(curve, 9)
    check(ax)
    np.testing.assert_allclose(ax.lines[3].get_ydata(), 1 - values)
    assert "conv1 · 9" in ax.get_ylabel()
    with pytest.raises(ValueError, match="unknown filter 5: expected one of '4', '9'"):
        plots.causal(curve, 5)
    check(plots.causal(CausalCurve("happy", "conv1", np.array([4]), values / 60, answers[:, :, :1])))


def test_ablation_shows_found_random_and_difference():
    row = {f"{c}{end}": v for c, v in (("drop", 0.3), ("random_drop", 0.1), ("difference", 0.2)) for end in ("",)}
    bounds = {f"{c}_{end}": row[c] + d for c in row for end, d in (("low", -0.05), ("high", 0.05))}
    sets = pd.DataFrame(
        {"set": ["found", "random 0", "random 1"], "probe": "refitted", "score": 0.5, "drop": [0.3, 0.09, 0.11]}
    )
    summary = pd.DataFrame([{"probe": "refitted", **row, **bounds}])
    result = Ablation("yaw", "conv1", "zero", "r2", {"conv1": np.arange(7)}, sets, summary)
    ax = plots.ablation(result)
    check(ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["7 found filters", "7 random filters", "difference"]
    assert [t.get_text() for t in ax.texts] == [
        "0.300 [0.250, 0.350]",
        "0.100 [0.050, 0.150]",
        "0.200 [0.150, 0.250]",
    ]
    with pytest.raises(ValueError, match="unknown probe 'refited': did you mean 'refitted'"):
        plots.ablation(result, "refited")


def test_a_given_axes_is_drawn_into(curves):
    ax = plt.subplots()[1]
    assert plots.characteristic_curve(curves["yaw"]["conv1"], ax=ax) is ax
    assert len(plt.get_fignums()) == 1
