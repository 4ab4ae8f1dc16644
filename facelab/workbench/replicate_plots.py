"""Figures of what holds from one set of faces to another: filters, read-outs, groups of people.

Each takes data and `ax` or `axes`, and returns them.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from facelab.filters.replicate import Agreement
from facelab.workbench import style


def scatter(found: Agreement, kind: str | None = None, *, sets=("rendered", "photos"), ax: Axes | None = None) -> Axes:
    """ρ of every filter on one set against ρ on the other, for one signal (default the first).

    The grey line is equality; the title says the rank correlation and its interval. ValueError for an unknown kind.
    """
    kinds = list(found.scores["kind"])
    kind = kinds[0] if kind is None else kind
    if kind not in kinds:
        raise ValueError(f"signal {kind!r}: expected one of {', '.join(kinds)}")
    rows = found.pairs[found.pairs["kind"] == kind]
    row = found.scores[found.scores["kind"] == kind].iloc[0]
    ax = style.axes(ax, 3.6, 3.6)
    ax.plot([-1, 1], [-1, 1], color=style.NONE, lw=1)
    ax.axhline(0, color=style.NONE, lw=0.8)
    ax.axvline(0, color=style.NONE, lw=0.8)
    ax.scatter(rows["first"], rows["second"], s=7, alpha=0.35, lw=0, color=style.inked(found.task), rasterized=True)
    most = 1.05 * max(0.1, float(rows[["first", "second"]].abs().max().max()))
    ax.set(xlim=(-most, most), ylim=(-most, most), xlabel=f"ρ on {sets[0]}", ylabel=f"ρ on {sets[1]}")
    said = style.interval(row["spearman"], row["low"], row["high"])
    ax.set_title(f"{found.task}: {kind}\nSpearman {said}", fontsize=9.5, loc="left", color=style.INK)
    return ax


def transfer(table: pd.DataFrame, *, titles=None, axes=None) -> np.ndarray:
    """The 2 × 2 of read-outs, a panel per task: a point per training and test set with its interval, a dash where the
    answer that looks at no face stands.

    table: the columns of `Across.scores` and task, metric. titles: task → what its panel is called. axes: as many as
    there are tasks. ValueError for too few axes.
    """
    names = list(dict.fromkeys(table["task"]))
    if not names:
        raise ValueError("an empty table: no read-out to draw")
    if axes is None:
        from matplotlib import pyplot as plt

        wide = min(3, len(names))
        tall = -(-len(names) // wide)
        axes = plt.subplots(tall, wide, figsize=(3.3 * wide + 0.3, 2.5 * tall + 0.3), layout="constrained")[1]
    axes = np.atleast_1d(np.asarray(axes))
    if axes.size < len(names):
        raise ValueError(f"{axes.size} axes for {len(names)} tasks: expected one each")
    for ax, name in zip(axes.flat, names, strict=False):
        style.axes(ax)
        rows = table[table["task"] == name]
        tests = list(dict.fromkeys(rows["test"]))
        learned = list(dict.fromkeys(rows["train"]))
        for i, (train, own) in enumerate(rows.groupby("train", sort=False)):
            at = [tests.index(t) + 0.24 * (i - (len(learned) - 1) / 2) for t in own["test"]]
            ends = own["score"] - own["low"], own["high"] - own["score"]
            tint, marker = style.RIVALS[i % len(style.RIVALS)]
            ax.errorbar(at, own["score"], ends, fmt=marker, color=tint, ms=5, capsize=2, label=f"learned on {train}")
            blind = "without looking" if i == len(learned) - 1 else None
            ax.scatter(at, own["constant"], marker="_", s=120, color="#888888", zorder=1, label=blind)
        ax.set_xticks(range(len(tests)), [f"tested on\n{t}" for t in tests])
        ax.set_xlim(-0.6, len(tests) - 0.4)
        ax.set_ylabel(rows["metric"].iloc[0])
        ax.set_title((titles or {}).get(name, style.words(name)), fontsize=10, loc="left", color=style.INK)
    shown = list(axes.flat)[: len(names)]
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    handles, labels = shown[0].get_legend_handles_labels()
    shown[0].figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return axes


def groups(table: pd.DataFrame, reading: str, *, title: str | None = None, ax: Axes | None = None) -> Axes:
    """The share of faces read rightly in each group, with its interval; the line is everybody's share.

    table: rows of `fairness.by_group`. ValueError for a reading that it does not have.
    """
    rows = table[table["reading"] == reading]
    if rows.empty:
        raise ValueError(f"reading {reading!r}: expected one of {', '.join(dict.fromkeys(table['reading']))}")
    everybody, rows = rows[rows["by"] == "all"].iloc[0], rows[rows["by"] != "all"]
    ax = style.axes(ax, 4.2, 0.24 * len(rows) + 0.9)
    ax.axvline(everybody["share"], color="#888888", lw=1)
    at = np.arange(len(rows))
    for by, own in rows.assign(at=at).groupby("by", sort=False):
        ends = own["share"] - own["low"], own["high"] - own["share"]
        known = by in style.TASK_COLOURS
        tint, marker = (style.inked(by), style.TASK_MARKERS[by]) if known else (style.INK, "o")
        ax.errorbar(own["share"], own["at"], xerr=ends, fmt=marker, color=tint, ms=5, capsize=2)
    ax.set_yticks(at, [f"{row.group} ({row.faces:,})" for row in rows.itertuples()])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("share read rightly")
    ax.set_title(title or reading, fontsize=10, loc="left", color=style.INK)
    return ax
