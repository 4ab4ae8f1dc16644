"""Figures of interventions. Offered by `plots`."""

import numpy as np
from matplotlib.axes import Axes

from facelab import tasks
from facelab.errors import unknown
from facelab.workbench import style


def causal(curve, filter: int | None = None, *, ax: Axes | None = None) -> Axes:
    """The response of one filter to one thing changed on rendered people, a line each, thick the mean.

    curve: a `CausalCurve`. filter: one of `curve.filters`, the first by default.
    """
    filter = int(curve.filters[0] if filter is None else filter)
    if filter not in curve.filters:
        raise unknown("filter", filter, curve.filters)
    values, x = curve.values, curve.responses[:, :, list(curve.filters).index(filter)]  # (p, v)
    expression = curve.task in tasks.EXPRESSIONS
    tint = style.inked("expression" if expression else curve.task)
    ax = style.axes(ax, 4.4, 3.2)
    ax.plot(values, x.T, color=tint, lw=0.9, alpha=0.5)
    ax.plot(values, x.mean(0), color="black", lw=2.2, label=f"mean of {len(x)} rendered people")
    named = {"gender": "masculinity (0 = female, 1 = male)"}.get(curve.task)
    ax.set_xlabel(f"intensity of {curve.task} (0 to 1)" if expression else named or style.label(curve.task))
    style.angles(ax, curve.task)
    ax.set_ylabel(f"response of {curve.layer} · {filter}\n(mean activation)")
    style.legend(ax, above=True)
    return ax


def ablation(result, probe: str = "refitted", *, ax: Axes | None = None) -> Axes:
    """What a probe loses when the found filters are silenced, beside random sets of as many (dots: each set).

    result: an `Ablation`. probe: "refitted" to what is left, or "fixed". Bars are 95 % intervals. Left of 0 the task is
    read better than before; a difference right of 0 says that the found filters cost more than random ones.
    """
    table = result.summary.set_index("probe")
    if probe not in table.index:
        raise unknown("probe", probe, table.index)
    row, count = table.loc[probe], sum(map(len, result.filters.values()))
    columns = {"drop": f"{count} found filters", "random_drop": f"{count} random filters", "difference": "difference"}
    values, low, high = ([row[f"{c}{end}"] for c in columns] for end in ("", "_low", "_high"))
    metric = {"r2": "R²", "balanced_accuracy": "balanced accuracy"}[result.metric]
    unit = f"{metric} lost, {probe} probe on unseen people (below 0: gained)"
    ax = _intervals(columns.values(), values, low, high, unit, ax)
    sets = result.sets[(result.sets["probe"] == probe) & (result.sets["set"] != "found")]
    ax.plot(sets["drop"], np.full(len(sets), 1.0), "o", color=style.NONE, ms=4, zorder=1)
    ax.axvline(0, color="#888888", lw=0.8)
    return ax


def _intervals(names, values, low, high, unit: str, ax: Axes | None) -> Axes:
    """Rows of a point and its 95 % interval, both printed at the right."""
    names = [str(name) for name in names]
    ax = style.axes(ax, 6.4, 0.32 * len(names) + 1.1)
    y = np.arange(len(names))
    values, low, high = (np.asarray(v, float) for v in (values, low, high))
    ax.hlines(y, low, high, color=style.INK, lw=1.8)
    ax.plot(values, y, "o", color=style.INK, ms=6, label="measured, 95 % interval")
    texts = [style.interval(*v, 3) for v in zip(values, low, high, strict=True)]
    for at, text in zip(y, texts, strict=True):
        ax.annotate(text, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    ax.set_yticks(y, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.08)
    ax.set_xlabel(unit or "value (no unit)")
    return ax
