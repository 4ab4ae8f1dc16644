"""Figures of characteristic curves (ETL Fig. 3; low-cost Figs 7, 8 and 11). Offered by `plots`."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from facelab.errors import unknown
from facelab.workbench import style

NO_KNEE = -8.0  # per cent: below none, where the markers of layers without a knee stand


def characteristic_curve(curve, gamma: float | None = 0.01, *, scale: str = "auto", ax: Axes | None = None) -> Axes:
    """ETL Fig. 3, low-cost Figs 7, 8: filters kept against held-out RMSE, with the knee at `gamma`.

    curve: a `Curve`. The band is ± one standard deviation over folds, the dashed line the training error, the
    thin grey line the error of predicting the mean; the bar at the knee is its 95 % interval. No knee is said
    in words; gamma=None leaves the knee out. scale: "log" or "linear" for the filters; "auto" takes log where
    more than 64 are kept.
    """
    if scale not in ("auto", "log", "linear"):
        raise unknown("scale", scale, ("auto", "log", "linear"))
    ax, tint, num = style.axes(ax), style.inked(curve.task), np.asarray(curve.num, float)
    spread = curve.rmse_folds.std(1, ddof=1) if curve.rmse_folds.shape[1] > 1 else np.zeros(len(num))
    low, high = curve.rmse - spread, curve.rmse + spread
    ax.plot(num, curve.rmse, color=tint, lw=2, label="unseen people")
    ax.fill_between(num, low, high, color=tint, alpha=0.18, lw=0, label="± 1 SD over folds")
    ax.plot(num, curve.rmse_train, color=tint, lw=1.2, ls=(0, (4, 2)), label="training people")
    ax.axhline(curve.null_rmse, color="#888888", lw=0.9, label="predicting the mean")
    _filter_axis(ax, num.max(), scale)
    bottom, top = min(curve.rmse.min(), curve.rmse_train.min()), max(curve.null_rmse, curve.rmse.max())
    if curve.knee() is None:  # nothing falls: the band is what there is to see
        bottom, top = min(bottom, low.min()), max(top, high.max())
    span = top - bottom or 1.0
    ax.set_ylim(bottom - 0.06 * span, top + 0.06 * span)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(f"filters kept, of {curve.filters} in {curve.layer}")
    ax.set_ylabel(style.error_label(curve.task))
    style.legend(ax, above=True)
    if gamma is not None:
        mark_knee(ax, curve, gamma)
    return ax


def mark_knee(ax: Axes, curve, gamma: float) -> list[Artist]:
    """Draw the knee of a curve onto its axes; returns what was drawn."""
    knee = curve.knee(gamma)
    if knee is None:
        return [ax.annotate("no knee: no gain on unseen people", (0.02, 0.03), xycoords="axes fraction", fontsize=9)]
    text, drawn = f"knee (γ = {gamma:.3g}): {knee.num} filters", []
    if not np.isnan(knee.low):
        text += f" [{knee.low:.0f}, {knee.high:.0f}]"
        drawn += ax.plot((knee.low, knee.high), (knee.rmse,) * 2, color=style.INK, lw=1.4, marker="|", ms=8)
    drawn += ax.plot(knee.num, knee.rmse, "o", color=style.INK, ms=7)
    middle, low = ax.transData.inverted().transform(ax.transAxes.transform((0.55, 0.15)))
    lowest = min(curve.rmse_train[curve.num <= middle].min(), curve.rmse[curve.num <= middle].min())
    at, ha, va = ((0.02, 0.03), "left", "bottom") if lowest > low else ((0.99, 0.9), "right", "top")  # a free corner
    return [*drawn, ax.annotate(text, at, xycoords="axes fraction", ha=ha, va=va, fontsize=9)]


def compare_curves(curves: Mapping, gamma: float = 0.01, *, scale: str = "auto", ax: Axes | None = None) -> Axes:
    """One task read from several networks: a characteristic curve and a marker at its knee for each.

    curves: name of the network → its `Curve`. The names stand in the legend with layer and knee; the grey line is the
    error of predicting the mean. ValueError without a curve, with curves of several tasks, or more than six.
    """
    if not 1 <= len(curves) <= len(style.RIVALS):
        raise ValueError(f"{len(curves)} curves to compare: expected 1 to {len(style.RIVALS)}")
    tasks = {curve.task for curve in curves.values()}
    if len(tasks) > 1:
        raise ValueError(f"curves of {', '.join(sorted(tasks))}: expected all of one task")
    ax = style.axes(ax)
    for (name, curve), (tint, marker) in zip(curves.items(), style.RIVALS, strict=False):
        knee = curve.knee(gamma)
        said = "no knee" if knee is None else f"knee {knee.num} of {curve.filters}"
        ax.plot(curve.num, curve.rmse, color=tint, lw=1.8, label=f"{name}: {curve.layer}, {said}")
        if knee is not None:
            ax.plot(knee.num, knee.rmse, marker, color=tint, mec="white", mew=0.8, ms=8)
            if not np.isnan(knee.low):
                ax.plot((knee.low, knee.high), (knee.rmse,) * 2, color=tint, lw=1.2, marker="|", ms=7)
    _filter_axis(ax, max(curve.num.max() for curve in curves.values()), scale)
    null = max(curve.null_rmse for curve in curves.values())
    bottom = min(curve.rmse.min() for curve in curves.values())
    span = null - bottom or 1.0
    ax.axhline(null, color="#888888", lw=0.9)
    ax.set_ylim(bottom - 0.06 * span, null + 0.1 * span)
    ax.annotate("predicting the mean", (1, null), (0, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", va="bottom", fontsize=8, color="#666666")  # fmt: skip
    ax.set_xlabel(f"filters kept (markers: knee at γ = {gamma:g})")
    ax.set_ylabel(style.error_label(tasks.pop()))
    style.legend(ax, above=True, ncols=1)
    return ax


def curves_by_layer(task_curves: Mapping, gamma: float = 0.01, *, scale: str = "auto", ax: Axes | None = None) -> Axes:
    """Low-cost Fig. 8: every layer's curve of one task, dark = early, light = late, dots at the knees.

    task_curves: a `TaskCurves`. The layer with the lowest error is drawn thicker and named.
    """
    ax = style.axes(ax)
    layers = list(task_curves)
    if not layers:
        raise ValueError("no layer to draw: expected at least one curve")
    tints = style.layer_colours(layers)
    best = min(layers, key=lambda layer: task_curves[layer].rmse.min())
    for layer in sorted(layers, key=lambda layer: layer == best):  # the best one on top
        curve, knee = task_curves[layer], task_curves[layer].knee(gamma)
        ax.plot(curve.num, curve.rmse, color=tints[layer], lw=2.6 if layer == best else 1.3)
        if knee is not None:
            size = 7 if layer == best else 5
            ax.plot(knee.num, knee.rmse, "o", color=tints[layer], mec="white", mew=0.8, ms=size)
    curve = task_curves[best]
    ax.axhline(curve.null_rmse, color="#888888", lw=0.9)
    most = max(c.num.max() for c in task_curves.values())
    _filter_axis(ax, most, scale)
    span = curve.null_rmse - curve.rmse.min() or 1.0
    ax.set_ylim(curve.rmse.min() - 0.06 * span, curve.null_rmse + 0.1 * span)
    ax.annotate("predicting the mean", (1, curve.null_rmse), (0, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", va="bottom", fontsize=8, color="#666666")  # fmt: skip
    ax.annotate(f"thick: {best}, the lowest", (0, 1.01), xycoords="axes fraction", va="bottom", fontsize=8.5)
    ax.set_xlabel(f"filters kept (dots: knee at γ = {gamma:g})")
    ax.set_ylabel(style.error_label(curve.task))
    bar = mpl.cm.ScalarMappable(mpl.colors.BoundaryNorm(np.arange(len(layers) + 1) - 0.5, len(layers)),
                                mpl.colors.ListedColormap(list(tints.values())))  # fmt: skip
    shown = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), 8)).round().astype(int))
    side = ax.figure.colorbar(bar, ax=ax, ticks=shown, pad=0.02, aspect=30)
    side.ax.set_yticklabels([layers[i] for i in shown], fontsize=8)
    side.ax.invert_yaxis()
    side.ax.minorticks_off()
    side.outline.set_visible(False)
    return ax


def best_layers(
    scores: pd.DataFrame,
    *,
    low: pd.DataFrame | None = None,
    high: pd.DataFrame | None = None,
    unit: str = "R² on unseen people",
    ax: Axes | None = None,
) -> Axes:
    """Low-cost Fig. 11: layer against score, one line per task, the best layer ringed.

    scores: one row per layer in the order of the network, one column per task, higher is better, in `unit`;
    low, high: the same shape, drawn as bars.
    """
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and bound.shape != scores.shape:
            raise ValueError(f"{name} has shape {bound.shape}, the scores {scores.shape}: expected the same")
    ax = style.axes(ax, max(5.2, 0.24 * len(scores) + 2.6), 3.8)
    x = np.arange(len(scores))
    for i, task in enumerate(scores):
        tint, y = style.colour(task), scores[task].to_numpy(float)
        ax.plot(x, y, color=tint, lw=1.6, marker=style.TASK_MARKERS[task], ms=5, label=style.words(task))
        if low is not None and high is not None:
            nudge = 0.08 * (i - (scores.shape[1] - 1) / 2)  # bars of several tasks side by side
            ax.vlines(x + nudge, low[task], high[task], color=tint, lw=1)
        if np.isfinite(y).any():
            top = int(np.nanargmax(y))
            ax.plot(top, y[top], "o", ms=13, mfc="none", mec=tint, mew=1.4)
    _layer_axis(ax, scores.index)
    ax.set_ylabel(unit)
    style.legend(ax, beside="task (ring: best layer)")
    return ax


def knees(curves: Mapping, gamma: float | None = 0.01, *, names: bool = True, ax: Axes | None = None) -> Axes:
    """The share of its filters that each layer keeps at its knee, in per cent, with 95 % intervals.

    curves: a `TaskCurves` or `Curves` (one marker per task). names: layers by name, or by number where there
    is little room. A layer where a task has no knee shows its marker hollow at the bottom. gamma=None leaves
    the knees out.
    """
    if not curves:
        raise ValueError("no curves: there are no knees to draw")
    by_task = list(curves.values()) if isinstance(next(iter(curves.values())), Mapping) else [curves]
    width = {layer: curve.filters for layer, curve in by_task[0].items()}
    ax = style.axes(ax, max(5.2, (0.18 + 0.04 * len(by_task)) * len(width) + 2.6), 3.6)
    lacking = any(curve.knee() is None for of_task in by_task for curve in of_task.values())
    ax.set_ylim(NO_KNEE * 1.5 if lacking else 0, 103)
    ax.yaxis.set_major_locator(FixedLocator([*([NO_KNEE] if lacking else []), *range(0, 101, 20)]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v >= 0 else "no knee"))
    _layer_axis(ax, width, names)
    ax.set_ylabel(
        "filters kept" + (f" (% of the layer's, γ = {gamma:g})" if gamma is not None else " (% of the layer's)")
    )
    if gamma is not None:
        mark_knees(ax, curves, gamma)
        style.legend(ax, beside="task")
    return ax


def mark_knees(ax: Axes, curves: Mapping, gamma: float) -> list[Artist]:
    """Draw the knees of all layers onto axes that `knees` laid out; returns what was drawn."""
    table, drawn = curves.table(gamma), []
    place = {layer: i for i, layer in enumerate(dict.fromkeys(table["layer"]))}
    served = list(dict.fromkeys(table["task"]))
    for i, task in enumerate(served):
        rows = table[table["task"] == task]
        x = (rows["layer"].map(place) + 0.6 * ((i + 0.5) / len(served) - 0.5)).to_numpy(float)
        tint, marker = style.colour(task), style.TASK_MARKERS[task]
        kept = rows[["knee", "knee_low", "knee_high"]].apply(pd.to_numeric).to_numpy(float)
        share, low, high = 100 * kept.T / rows["filters"].to_numpy(float)
        drawn.append(ax.vlines(x, low, high, color=tint, lw=1.3))
        drawn += ax.plot(x, share, marker, color=tint, ms=5, label=style.words(task))
        none = np.isnan(share)
        drawn += ax.plot(x[none], np.full(none.sum(), NO_KNEE), marker, mfc="white", mec=tint, ms=5)
    return drawn


def _filter_axis(ax: Axes, most: float, scale: str) -> None:
    if scale == "log" or (scale == "auto" and most > 64):
        ax.set_xscale("symlog", linthresh=1, linscale=0.4)  # 0 filters are a point of the curve
        ax.set_xticks([0, *(t for t in (1, 3, 10, 30, 100, 300, 1000, 3000, 10000) if t <= most * 1.3)])
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(-0.15, most * 1.25)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(-0.02 * most, most * 1.03)


def _layer_axis(ax: Axes, layers, names: bool = True) -> None:
    """Layers by name, level where that fits, else upright, beyond 34 every second …; or by number from 1."""
    ax.set_xlim(-0.7, len(layers) - 0.3)
    ax.grid(axis="x", visible=False)
    if not names:
        ax.xaxis.set_major_locator(FixedLocator(range(0, len(layers), max(1, len(layers) // 7))))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x + 1:.0f}"))
        ax.set_xlabel("layer, counted from the input")
        return
    step = -(-len(layers) // 34)
    tilt = 90 if sum(len(str(layer)) + 3 for layer in layers) > 48 else 0
    ax.set_xticks(range(0, len(layers), step), list(layers)[::step], rotation=tilt, fontsize=8)
    ax.set_xlabel("layer (input → output)")
