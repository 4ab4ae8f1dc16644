"""The look of every figure: one colour and marker per meaning, axis labels with units, PNG bytes.

The colours stay apart under protanopia and deuteranopia (a test measures it), and wherever a colour carries
meaning a marker or a printed name says the same thing again.
"""

import re
from functools import lru_cache
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from facelab import tasks
from facelab.errors import unknown
from facelab.filters.tuning import SIDES

TASK_COLOURS = {
    "identity": "#000000",
    "yaw": "#0072B2",
    "pitch": "#56B4E9",
    "roll": "#5A45FF",
    "pose": "#16105C",
    "age": "#D55E00",
    "gender": "#CC79A7",
    "ethnicity": "#7A2E62",
    "expression": "#009E73",
    "valence": "#E69F00",
    "smile": "#F0E442",
    "glasses": "#A8F0FF",
    "facial_hair": "#5C3A0E",
    "accessories": "#BFEB92",
    "age_band": "#2288FF",
    "over_40": "#E60050",
}
TASK_MARKERS = dict(zip(TASK_COLOURS, "*o<>sDv^Pp8XhdH|", strict=True))
NONE = "#C4C4C4"  # serves no task, chance, a random set: whatever is only there to compare with
INK = "#333333"
RIVALS = (  # networks side by side, in order: colour and marker
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#000000", "P"),
)
GENDER_COLOURS = {"female": "#CC79A7", "male": "#0072B2"}  # where faces of both are shown
TURN_COLOURS = {"left": "#00304B", "right": "#2D86BB", "sideways": "#8FC1DF", "frontal": "#D6E8F3"}  # tints of yaw's
SEQUENTIAL, DIVERGING = "YlGnBu", "RdBu_r"  # of tables of numbers, which are read in grey by what is printed on them
LAYERS = mpl.colormaps["viridis"]  # light = late; read in grey as well
_KINDS = {
    "left": "more when turned to the left",
    "right": "more when turned to the right",
    "sideways": "more when turned to either side",
    "frontal": "more when frontal",
}


def colour(task: str) -> str:
    """The colour of a task, the same in every figure.

    >>> colour("yaw")
    '#0072B2'
    """
    if task not in TASK_COLOURS:
        raise unknown("task", task, TASK_COLOURS)
    return TASK_COLOURS[task]


def inked(task: str) -> str:
    """The task's colour, darkened where thin lines or letters in it would be too faint on white."""
    red, green, blue = mpl.colors.to_rgb(colour(task))
    light = 0.3 * red + 0.59 * green + 0.11 * blue
    return mpl.colors.to_hex(np.array([red, green, blue]) * min(1.0, 0.6 / light) if light > 0 else "black")


def layer_colours(layers) -> dict[str, tuple]:
    """A dark-to-light colour for each layer, in order of depth."""
    layers = list(layers)
    return dict(zip(layers, LAYERS(np.linspace(0.0, 0.9, len(layers))), strict=True))


def label(task: str) -> str:
    """The axis label of a task's values, with its unit.

    >>> label("yaw"), label("expression"), label("valence")
    ('yaw (degrees)', 'expression (class)', 'valence (−1 to 1)')
    """
    t = tasks.get(task)
    if t.kind != "regression":
        return f"{words(task)} (class)"
    span = f"{t.low:g} to {t.high:g}".replace("-", "−") if t.low is not None else "no unit"
    return f"{words(task)} ({t.unit or span})"


def error_label(task: str | None) -> str:
    """The axis label of a read-out's root mean squared error, in the unit of its targets.

    >>> error_label("age"), error_label("gender")
    ('RMSE of age (years)', 'RMSE of gender (0 / 1 targets)')
    """
    if task is None:
        return "RMSE (unit of the label)"
    return (
        f"RMSE of {label(task)}" if tasks.get(task).kind == "regression" else f"RMSE of {words(task)} (0 / 1 targets)"
    )


def score_label(task: str, metric: str) -> str:
    """What a task is scored by, with its unit.

    >>> score_label("age", "mae"), score_label("gender", "accuracy"), score_label("valence", "rmse")
    ('mean error (years)', 'share right', 'RMSE (−1 to 1)')
    """
    names = {"mae": "mean error", "rmse": "RMSE", "accuracy": "share right", "error": "error rate", "auc": "AUC"}
    if metric not in names:
        raise unknown("metric", metric, names)
    return names[metric] + (label(task)[len(words(task)) :] if metric in ("mae", "rmse") else "")


def words(name: str) -> str:
    """A name as a reader sees it, the subscripts of the papers' letters and the numbers of layers left alone.

    >>> words("facial_hair"), words("ĥ_MT + MLP"), words("conv4_3")
    ('facial hair', 'ĥ_MT + MLP', 'conv4_3')
    """
    return re.sub(r"(?<!\bh)(?<!\bĥ)(?<!\d)_", " ", name)


def describe(kind: str) -> str:
    """What a tuning kind means, as a panel says it.

    >>> describe("left"), describe("not happy")
    ('more when turned to the left', 'less for happy')
    """
    if kind in ("rising", "falling"):
        return f"{kind} with the label"
    return _KINDS.get(kind, f"less for {kind[4:]}" if kind.startswith("not ") else f"more for {kind}")


def number(value: float, digits: int = 2) -> str:
    """A number for print, with a true minus sign where it is not 0; NaN is an en dash.

    >>> number(-0.5), number(-0.2, 0), number(float("nan"))
    ('−0.50', '0', '–')
    """
    return "–" if np.isnan(value) else f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A value with its interval.

    >>> interval(0.9, 0.85, 0.94)
    '0.90 [0.85, 0.94]'
    """
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def axes(ax: Axes | None, width: float = 5.2, height: float = 3.6) -> Axes:
    """`ax`, or that of a new figure of this size in inches, with the house's spines and grid."""
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#888888")
    ax.tick_params(which="both", colors=INK, labelsize=9)
    ax.grid(color="#E6E6E6", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.xaxis.label.set_size(10)
    ax.yaxis.label.set_size(10)
    return ax


def angles(ax: Axes, task: str | None) -> None:
    """Round degrees as ticks and a line at 0, where the task is an angle."""
    if task in SIDES:
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 1.5, 3, 4.5, 6, 9, 10]))
        ax.axvline(0, color="#888888", lw=0.8)


def legend(ax: Axes, *, beside: str | None = None, above: bool = False, **options):
    """A small legend without a box, or none where nothing is named.

    beside: right of the axes, under this title; above: over the axes, in two columns. Neither hides a curve.
    """
    if beside is not None:
        options = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "title": beside, "title_fontsize": 9,
                   "alignment": "left"} | options  # fmt: skip
    if above:
        options = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2} | options
    if ax.get_legend_handles_labels()[0] or "handles" in options:
        return ax.legend(**{"frameon": False, "fontsize": 8.5, "handlelength": 1.6, **options})


class Line(Text):
    """A line of text that Pillow draws, in a fraction of the time that matplotlib takes for one: for what is drawn
    again at every move of a slider. Left-aligned, upright, on its baseline or (va="center") about its middle."""

    def draw(self, renderer):
        text = self.get_text()
        font = _font(self.get_fontweight(), renderer.points_to_pixels(self.get_fontsize()))
        anchor = "lm" if self.get_verticalalignment() == "center" else "ls"
        left, top, right, bottom = font.getbbox(text, anchor=anchor)
        cover = Image.new("L", (max(1, right - left), max(1, bottom - top)))
        ImageDraw.Draw(cover).text((-left, -top), text, fill=255, font=font, anchor=anchor)
        pixels = np.empty((cover.height, cover.width, 4), np.uint8)
        pixels[..., :3], pixels[..., 3] = np.round(255 * np.array(to_rgb(self.get_color()))), np.asarray(cover)[::-1]
        x, y = self.get_transform().transform(self.get_position())
        renderer.draw_image(renderer.new_gc(), round(x + left), round(y - bottom), pixels)


@lru_cache(maxsize=32)
def _font(weight, pixels: float):
    return ImageFont.truetype(findfont(FontProperties(weight=weight)), pixels)


def encode(pixels: np.ndarray, *, draft: bool = False) -> bytes:
    """Pixels uint8 (h, w, 3 or 4) as a PNG, or for a draft as a JPEG, which is made sooner; transparency is dropped.

    >>> encode(np.zeros((2, 2, 3), np.uint8))[:4]
    b'\\x89PNG'
    """
    out = BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    image.save(out, format="jpeg", quality=85, subsampling=0) if draft else image.save(out, "png", compress_level=1)
    return out.getvalue()
