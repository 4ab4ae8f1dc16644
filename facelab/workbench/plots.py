"""Figures of faces, filters and results. Each function takes data and `ax`, and returns `ax`.

`ax=None` draws into a new figure. Colours, markers and labels come from `style`. The figures of characteristic curves
(`curve_plots`), of results (`result_plots`) and of routes (`route_plots`) are offered here too.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from facelab import tasks
from facelab.errors import unknown
from facelab.filters.tuning import SIDES
from facelab.workbench import style
from facelab.workbench.curve_plots import (
    best_layers,
    characteristic_curve,
    compare_curves,
    curves_by_layer,
    knees,
    mark_knee,
    mark_knees,
)
from facelab.workbench.result_plots import ablation, causal
from facelab.workbench.route_plots import costs, filters_kept, frontier, gamma_sweep, kept_bars, learning, told_apart

__all__ = [
    "ablation",
    "best_layers",
    "causal",
    "characteristic_curve",
    "compare_curves",
    "costs",
    "curves_by_layer",
    "faces",
    "filters_kept",
    "frontier",
    "gamma_sweep",
    "kept_bars",
    "knees",
    "learning",
    "mark_knee",
    "mark_knees",
    "response_curves",
    "task_map",
    "told_apart",
    "tuning",
]
LINES = 40  # more people than this are drawn as points: lines would be a tangle
BINS = 12


def faces(faceset, rows=None, captions=None, *, columns: int | None = None, ax: Axes | None = None) -> Axes:
    """A contact sheet of faces.

    rows: indices or a mask, all faces by default. captions: one text per face shown, or the name of a
    column of the labels, written under the pictures. columns: pictures side by side, 8 or fewer by default.
    ValueError: no face chosen, or another number of captions than faces.

    >>> from matplotlib import pyplot as plt
    >>> from facelab.faces.faceset import FaceSet
    >>> black, nowhere = np.zeros((3, 3, 8, 8), np.uint8), np.zeros((3, 5, 2), np.float32)
    >>> ax = faces(FaceSet("black", black, pd.DataFrame({"yaw": [0, 1, 2]}), nowhere), captions="yaw")
    >>> [text.get_text() for text in ax.texts]
    ['0', '1', '2']
    >>> plt.close(ax.figure)
    """
    rows = np.arange(len(faceset)) if rows is None else np.atleast_1d(np.asarray(rows))
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    if len(rows) == 0:
        raise ValueError(f"no face of {faceset.name!r} was chosen: expected at least one row")
    if isinstance(captions, str):
        if captions not in faceset.labels:
            raise unknown("label column", captions, faceset.labels)
        column = faceset.labels[captions].iloc[rows]
        captions = [f"{v:g}".replace("-", "−") if isinstance(v, float) else str(v) for v in column]
    if captions is not None and len(captions) != len(rows):
        raise ValueError(f"{len(captions)} captions for {len(rows)} faces: expected one each")
    columns = min(columns or 8, len(rows))
    lines = -(-len(rows) // columns)
    height, width = faceset.images.shape[2:]
    tall = max(str(caption).count("\n") + 1 for caption in captions) if captions is not None else 0
    gap, foot = max(2, width // 24), (max(2, width // 24), width // 6, (2 * width) // 7, (2 * width) // 5)[min(tall, 3)]
    sheet = np.full((lines * (height + foot), columns * (width + gap) - gap, 3), 255, np.uint8)
    if ax is None:
        ax = style.axes(None, columns * 1.25, lines * 1.25 * (height + foot) / (width + gap))
    for i, row in enumerate(rows):
        y, x = (i // columns) * (height + foot), (i % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = faceset.images[row].transpose(1, 2, 0)
        if captions is not None:
            at = x + width / 2, y + height + foot * 0.08
            ax.text(*at, captions[i], ha="center", va="top", fontsize=8.5, color=style.INK)
    ax.imshow(sheet, interpolation="antialiased")
    ax.set_axis_off()
    return ax


def response_curves(
    label_values, response, identities, unit: str = "", *, task: str | None = None, ax: Axes | None = None
) -> Axes:
    """ETL Fig. 2: the mean response of one filter at each label value, a line per person, thick the mean.

    label_values (n,): numbers with their unit, or texts (one category each); missing ones are left out.
    response (n,), identities (n,). task: names the axis and gives the colour. People with one or two values
    each, or more than 40 of them, are drawn as points, and the mean over twelve equally filled bins with
    its standard error over people.
    """
    values, response, identities = pd.Series(label_values), np.asarray(response), np.asarray(identities)
    lengths = len(values), len(response), len(identities)
    if len(set(lengths)) > 1:
        raise ValueError("{} labels, {} responses and {} identities: expected equally many".format(*lengths))
    data = pd.DataFrame({"value": values.to_numpy(), "response": response, "person": identities}).dropna()
    if data.empty:
        raise ValueError("no label value is known: nothing to draw")
    ax = style.axes(ax, 4.4, 3.2)
    tint = style.inked(task) if task else style.INK
    categories = None
    if not pd.api.types.is_numeric_dtype(data["value"]):
        present = set(data["value"])
        order = tasks.get(task).classes if task else sorted(present)
        categories = [c for c in order if c in present]
        data["value"] = pd.Categorical(data["value"], categories).codes
    lines = data.groupby(["person", "value"])["response"].mean()
    people = data["person"].nunique()
    if people <= LINES and len(lines) / people >= 3:
        for _, line in lines.groupby(level=0):
            ax.plot(line.index.get_level_values(1), line, color=tint, lw=0.9, alpha=0.45)
        mean = lines.groupby(level=1).mean()
        ax.plot(mean.index, mean, color="black", lw=2.2, label=f"mean of {people} people")
    else:
        _binned(ax, data, tint, categories, people)
    if categories:
        tilt = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(categories) > 4 else {}
        ax.set_xticks(range(len(categories)), [style.words(c) for c in categories], **tilt)
    style.angles(ax, task)
    ax.set_xlabel(style.label(task) if task else f"label ({unit})" if unit else "label (no unit)")
    ax.set_ylabel("mean response (activation)")
    ax.margins(x=0.03)
    return ax


def _binned(ax, data, tint, categories, people):
    aside = np.random.default_rng(0).uniform(-0.25, 0.25, len(data)) if categories else 0.0
    ax.plot(data["value"] + aside, data["response"], ".", color=tint, ms=3.5, alpha=0.4, mew=0)
    bins = data["value"]
    if data["value"].nunique() > 2 * BINS:
        bins = pd.qcut(data["value"], BINS, labels=False, duplicates="drop")
    own = data.groupby([bins.rename("bin"), "person"]).mean()  # a person counts once in a bin
    by_bin = own.groupby(level="bin")
    line = {"fmt": "o" if categories else "o-", "color": "black", "ms": 4, "lw": 1.8, "capsize": 2}
    x, y, error = by_bin["value"].mean(), by_bin["response"].mean(), by_bin["response"].sem().fillna(0.0)
    ax.errorbar(x, y, error, label="mean ± standard error", **line)


def tuning(responses, crafts, task: str, *, kinds=None, axes=None) -> np.ndarray:
    """ETL Fig. 2 as a 2 × 2 figure: for each kind of tuning the strongest filter, with its ρ and interval.

    responses: a response table; crafts: `find_crafts(responses, task)`. kinds: up to four, by default left,
    right, sideways, frontal for yaw, else those with the strongest filters that passed every test. A filter
    that did not pass is drawn only where its kind has none, and says so. axes: as many as there are kinds.
    Returns the array of axes.
    """
    table = crafts.table()
    rows = [best(table, kind) for kind in kinds or _four(table, task)]
    if axes is None:
        from matplotlib import pyplot as plt

        wide = min(2, len(rows))
        size = (4.5 * wide, 3.1 * -(-len(rows) // wide))
        axes = plt.subplots(-(-len(rows) // wide), wide, figsize=size, layout="constrained", squeeze=False)[1]
    axes = np.asarray(axes)
    if axes.size < len(rows):
        raise ValueError(f"{axes.size} axes for {len(rows)} kinds of tuning: expected one each")
    values = label_values(responses.labels, task)
    for ax, row in zip(axes.flat, rows, strict=False):
        response = responses[row["layer"]][:, row["filter"]]
        response_curves(values, response, responses.identities, task=task, ax=ax)
        ax.set_title(caption(row), fontsize=9, loc="left", color=style.INK)
    for ax in list(axes.flat)[len(rows) :]:
        ax.set_visible(False)
    return axes


def caption(row: pd.Series) -> str:
    """What is known about a filter, in two lines: its kind of tuning, its name, ρ with the interval."""
    rho = style.interval(row["rho"], row["low"], row["high"])
    passed = "" if row["craft"] else " (did not pass)"
    return f"{style.describe(row['kind'])}{passed}\n{row['layer']} · filter {row['filter']} · ρ = {rho}"


def label_values(labels: pd.DataFrame, task: str) -> pd.Series:
    """The labels of a task as a reader names them: numbers or class names."""
    about = tasks.get(task)
    if about.kind == "labels":
        raise ValueError(f"task {task!r} has several labels at once: draw one of {', '.join(about.columns)}")
    if task in labels:
        return labels[task]
    codes = about.encode(labels)  # derived, as `pose` is from yaw and pitch
    return pd.Series([about.classes[c] if c >= 0 else None for c in codes])


def best(table: pd.DataFrame, kind: str, rank: int = 1) -> pd.Series:
    """The `rank`-th strongest filter of a kind, those that passed every test first."""
    rows = table[table["kind"] == kind].sort_values(["craft", "rho"], ascending=False, kind="stable")
    if rows.empty:
        raise unknown("kind", kind, table["kind"].unique())
    if not 1 <= rank <= len(rows):
        raise ValueError(f"rank {rank} is out of range: {len(rows)} filters are of kind {kind!r}")
    return rows.iloc[rank - 1]


def _four(table: pd.DataFrame, task: str) -> list[str]:
    rows = table.sort_values(["craft", "rho"], ascending=False, kind="stable")
    if task in SIDES:
        return [kind for kind in SIDES[task] if kind in set(rows["kind"])]
    rows = rows[~rows["kind"].str.startswith("not ")]
    return list(dict.fromkeys(rows.loc[rows["craft"] if rows["craft"].any() else rows.index, "kind"]))[:4]


def task_map(table: pd.DataFrame, *, layer: str | None = None, order: str = "filter", ax: Axes | None = None) -> Axes:
    """Low-cost Fig. 1: every filter of a layer, in the colour of the task it serves best, grey = none.

    table: the tables of several tasks' `Crafts` below each other, with a column `task`. layer: to be
    named where the table has several. A dot's size is its |ρ|; a ring is the task it serves second. order:
    "filter" leaves the filters in their own order, 32 to a row, so that each can be looked up; "task" puts
    those that serve alike together.
    """
    layers = list(dict.fromkeys(table["layer"]))
    if layer is None and len(layers) > 1:
        raise ValueError(f"{len(layers)} layers in this table: choose one with layer=, e.g. {layers[-1]!r}")
    layer = layers[0] if layer is None else layer
    if layer not in layers:
        raise unknown("layer", layer, layers)
    if order not in ("filter", "task"):
        raise unknown("order", order, ("filter", "task"))
    filters, first, second = served(table[table["layer"] == layer], order)
    counts = first["task"].value_counts()
    wide = _wide(len(filters))
    spot = {f: (i % wide, i // wide) for i, f in enumerate(filters)}
    tall = -(-len(filters) // wide)
    room = max(2.9, 0.2 * len(counts) + 1.5)  # what labels and legend need beside a layer of few filters
    ax = style.axes(ax, 0.235 * wide + 2.2, max(0.235 * tall + 0.9, room))

    def dots(some, **options):
        if len(some):
            x, y = np.array([spot[f] for f in some]).T
            ax.scatter(x, y, **options)

    dots([f for f in filters if f not in first.index], s=12, color=style.NONE, lw=0,
         label=f"none: {len(filters) - len(first)}")  # fmt: skip
    for task in counts.index:
        own = first[first["task"] == task]
        look = {"facecolors": style.colour(task), "edgecolors": style.inked(task), "lw": 0.6}  # pale ones need an edge
        dots(own.index, s=20 + 80 * own["strength"] ** 2, **look,
             marker=style.TASK_MARKERS[task], label=f"{style.words(task)}: {len(own)}")  # fmt: skip
    for task, own in second.groupby("task"):
        dots(own.index, s=135, facecolors="none", edgecolors=style.inked(task), lw=1.3)
    ax.set(xlim=(-1, wide), ylim=(tall - 0.3, -0.8), aspect="equal")
    ax.grid(False)
    if order == "filter":
        ax.set_xticks(range(0, wide, 8))
        lines = range(0, tall, max(1, tall // 8))
        ax.set_yticks(lines, [wide * i for i in lines])
        ax.set_ylabel("row")
        ax.set_xlabel(f"column (filter of {layer} = row + column)")
    else:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        ax.set_xlabel(f"the {len(filters)} filters of {layer}, by task")
    if len(second):
        ring = {"facecolors": "none", "edgecolors": style.INK, "lw": 1.2}
        ax.scatter([], [], s=90, **ring, label="ring: the task it\nserves second")
    style.legend(ax, beside="filters by best task\n(size: |ρ|)", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def served(rows: pd.DataFrame, order: str = "filter") -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """The filters of one layer in the order of `task_map`, and by filter the task that each serves best and second."""
    passed = rows[rows["craft"]].assign(strength=lambda t: t["rho"].abs())
    passed = passed.sort_values("strength", ascending=False).drop_duplicates(["filter", "task"])
    first = passed.drop_duplicates("filter").set_index("filter")
    second = passed[passed["filter"].duplicated()].drop_duplicates("filter").set_index("filter")
    filters = np.sort(rows["filter"].unique())
    if order == "task":
        place = {task: i for i, task in enumerate(first["task"].value_counts().index)}
        weight = first["strength"].reindex(filters).fillna(0)
        where = first["task"].map(place).reindex(filters).fillna(len(place))
        filters = filters[np.lexsort((-weight, where))]
    return filters, first, second


def mark_filter(ax: Axes, rows: pd.DataFrame, filter: int, order: str = "filter") -> None:
    """Frame one filter on axes that `task_map` drew from these rows of its layer."""
    filters = served(rows, order)[0]
    at, wide = int(np.flatnonzero(filters == filter)[0]), _wide(len(filters))
    ax.plot(at % wide, at // wide, "s", ms=15, mfc="none", mec="black", mew=1.8)


def _wide(filters: int) -> int:
    return 32 if filters >= 256 else 16
