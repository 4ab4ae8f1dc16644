"""Figures of routes to a new target through fused codes and their students: labels needed, time taken.

General-model Fig. 3 and label budgets. Each takes data and `ax` or `axes`, and returns them. Scores of all routes on
all targets (Table 3) are drawn by `fusion_plots.ranks`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from facelab.workbench import style
from facelab.workbench.fusion_plots import ARROWS, directions, line, looks, needed

UNITS = {  # where an axis of time may have a tick, s
    0.001: "1 ms", 0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h",
    36_000: "10 h", 360_000: "100 h", 3_600_000: "1,000 h",
}  # fmt: skip
COLUMNS = 3


def budgets(
    table: pd.DataFrame, *, better: Mapping[str, int] | None = None, scores: Mapping[str, str] | None = None, axes=None
) -> np.ndarray:
    """What each route reaches with a share of the target's labels: a panel per target, a line per route.

    table: target, route, share (above 0, up to 1), score, and low, high where there are intervals. better: target → 1
    where higher is better, −1 where lower is, shown as an arrow. scores: target → what its score is called, with its
    unit. axes: as many as there are targets; without them a new figure has one legend for all. Returns the array of
    axes. ValueError: a column that is not there, a share out of range, several scores for one, too few axes.
    """
    rows = needed(table, ("target", "route", "share", "score"))
    wrong = rows.loc[~((rows["share"] > 0) & (rows["share"] <= 1)), "share"]
    if len(wrong):
        raise ValueError(f"share {wrong.iloc[0]:g} is out of range: expected more than 0, up to 1")
    if (twice := rows[rows.duplicated(["target", "route", "share"])]).size:
        one = twice.iloc[0]
        raise ValueError(
            f"target {one['target']!r}, route {one['route']!r} and share {one['share']:g} have several scores: "
            "expected one, their mean, say, with low and high"
        )
    targets = list(dict.fromkeys(rows["target"]))
    arrows = {t: f" {ARROWS[sign]}" for t, sign in directions(targets, better).items()} if better is not None else {}
    wide, own_figure = min(COLUMNS, len(targets)), axes is None
    look = looks(rows["route"])
    fit = max(1, int(3.1 * wide / (0.085 * max(len(str(name)) for name in look) + 0.55)))  # names side by side
    if own_figure:
        from matplotlib import pyplot as plt

        tall, above = -(-len(targets) // wide), 0.2 * -(-len(look) // fit)
        size = (3.1 * wide + 0.2, 2.5 * tall + 0.2 + above)
        axes = plt.subplots(tall, wide, figsize=size, layout="constrained")[1]
    axes = np.atleast_1d(np.asarray(axes))
    if axes.size < len(targets):
        raise ValueError(f"{axes.size} axes for {len(targets)} targets: expected one each")
    for ax, target in zip(axes.flat, targets, strict=False):
        _budget(style.axes(ax), rows[rows["target"] == target], look)
        ax.set_title(f"{style.words(str(target))}{arrows.get(target, '')}", fontsize=10, loc="left", color=style.INK)
        ax.set_ylabel((scores or {}).get(target, "score"))
    for ax in list(axes.flat)[len(targets) :]:
        ax.set_visible(False)
    handles, shown = {}, list(axes.flat)[: len(targets)]
    for ax in shown:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    options = {"handles": list(handles.values()), "labels": list(handles), "handlelength": 2.6}
    if own_figure:
        shown[0].figure.legend(loc="outside upper center", ncols=fit, frameon=False, fontsize=9, **options)
    else:
        style.legend(shown[-1], beside="route", **options)
    return axes


def _budget(ax: Axes, rows: pd.DataFrame, look: Mapping[str, dict]) -> None:
    ax.set_xscale("log")
    ticks = np.unique(np.round(100 * rows["share"], 6))
    ax.set_xlim(ticks[0] / 1.25, 1.25 * ticks[-1])
    for name, own in rows.assign(percent=100 * rows["share"]).groupby("route", sort=False):
        line(ax, own.sort_values("percent"), "percent", "score", style.words(str(name)), look[name] | {"ms": 5})
    ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("labels used (%)")


def times(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """General-model Fig. 3: how long each route trains in all, a bar each on a logarithmic axis, in the order given.

    table: route, seconds, note where there is something to add to the time, and once (hatched) where it is spent once
    for all targets. NaN: the route trains nothing. ValueError: a column that is not there, no or a negative time.

    >>> from matplotlib import pyplot as plt
    >>> ax = times(pd.DataFrame({"route": ["student", "best of 63"], "seconds": [400, 7200.0]}))
    >>> [text.get_text() for text in ax.texts]
    ['6.7 min', '2 h']
    >>> plt.close(ax.figure)
    """
    rows = needed(table, ("route", "seconds"))
    seconds = rows["seconds"].to_numpy(float)
    wrong = rows.loc[seconds <= 0, "seconds"]
    if len(wrong):
        raise ValueError(f"{wrong.iloc[0]:g} seconds: expected more than 0, or NaN for a route that trains nothing")
    names = [style.words(str(name)) for name in rows["route"]]
    notes = [str(n) if isinstance(n, str) and n else "" for n in rows.get("note", [""] * len(rows))]
    texts = ["trains nothing" if np.isnan(s) else duration(s) for s in seconds]
    texts = [f"{text} ({note})" if note else text for text, note in zip(texts, notes, strict=True)]
    longest = max(map(len, names)) + max(map(len, texts))
    ax = style.axes(ax, 3.9 + 0.075 * longest, 0.34 * len(rows) + 0.9)
    ax.set_xscale("log")
    known = seconds[np.isfinite(seconds)]
    least, most = (known.min(), known.max()) if known.size else (1.0, 10.0)
    ends = np.array(sorted(UNITS))
    low = ends[max(0, np.searchsorted(ends, least) - 1)] if least > ends[0] else least / 2
    once = rows["once"].to_numpy(bool) if "once" in rows else np.zeros(len(rows), bool)
    look = looks(rows["route"][~once])
    tints = [look[name]["color"] if name in look else "white" for name in rows["route"]]
    long = np.nan_to_num(seconds, nan=low) - low
    bars = ax.barh(range(len(rows)), long, left=low, height=0.62, color=tints, alpha=0.85)
    for bar in np.array(bars.patches, object)[once]:
        bar.set(hatch="////", edgecolor=style.INK, lw=0.8)
    ax.set_xlim(low, 1.15 * most)
    ticks = [s for s in UNITS if low <= s <= 1.15 * most]
    ax.set_xticks(ticks, [UNITS[s] for s in ticks])
    ax.set_xticks([], minor=True)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    for y, text in enumerate(texts):
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    ax.set_xlabel(f"training time (logarithmic, from {duration(low)}" + ("; hatched: once)" if once.any() else ")"))
    return ax


def duration(seconds: float) -> str:
    """A time as a reader says it.

    >>> duration(0.25), duration(90), duration(400), duration(7200), duration(400_000)
    ('0.25 s', '1.5 min', '6.7 min', '2 h', '111 h')
    """
    units = {"h": (3600, 3600), "min": (60, 60), "s": (1, 0.1), "ms": (1e-3, 0)}  # its seconds, and from where on
    unit, (size, _) = next((unit, own) for unit, own in units.items() if seconds >= own[1])
    value = seconds / size
    return f"{value:,.0f} {unit}" if value >= 9.95 else f"{value:.2g} {unit}"
