"""Figures of routes from a face network to a task (ETL Figs 4–6; low-cost Figs 9–10). Offered by `plots`.

A route has the same colour everywhere: black the full fine-tuning, grey a control, blue plain ETL, orange ours.
"""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Patch

from facelab import errors
from facelab.workbench import style
from facelab.workbench.heat import heat

BASELINE = "full fine-tuning"  # the name of `routes.BASELINE`; a test holds them together
KINDS = {"baseline": "#000000", "control": "#999999", "ETL": "#0072B2", "ours": "#D55E00"}
MARKERS = {"full fine-tuning": "*", "": "o", "recalibrated": "D", "ours": "P", "ours, widths by 16": "p",
           "γ = 0.001": "<", "γ = 0.01": "^", "γ = 0.1": ">", "linear regression": "x"}  # fmt: skip
OTHERS = "svXdhH8+1234|"
AT = re.compile(r"(, | )?−?\d+ %$")  # how far a route cuts, at the end of its name
COSTS = {"macs": "MACs", "parameters": "parameters", "size": "bytes"}
COSTS |= {f"conv_{what}": f"{name}, convolutions only" for what, name in COSTS.items()}
DASHED = (0, (4, 2))
LEFT = {"macs_cut": "MACs", "size_cut": "bytes", "filters_cut": "filters"}


def kind(route: str, kinds: Mapping[str, str] | None = None) -> str:
    """Which colour a route has, by its name or as `kinds` says: baseline, control (random, L1, scratch), ETL, ours.

    >>> kind("full fine-tuning"), kind("ETL, from scratch"), kind("ETL −72 %"), kind("per layer −72 %")
    ('baseline', 'control', 'ETL', 'ours')
    """
    if route in (kinds or {}):
        if kinds[route] not in KINDS:
            raise errors.unknown(f"kind of route {route!r}", kinds[route], KINDS)
        return kinds[route]
    if route == BASELINE:
        return "baseline"
    if re.search(r"\b(random|l1|scratch)\b", route, re.IGNORECASE):
        return "control"
    return "ETL" if re.search(r"\betl\b", route, re.IGNORECASE) else "ours"


def markers(routes) -> dict[str, str]:
    """Route → marker. Routes that do the same have the same, whoever chooses their filters and however far they cut; so
    a control is the hollow marker of the route that it controls.

    >>> markers(["plain ETL", "random", "+ recalibrated", "random, recalibrated", "+ recalibrated, 72 %"]).values()
    dict_values(['o', 'o', 'D', 'D', 'D'])
    """
    does = {
        name: re.sub(r"^(plain ETL|random)\b,? ?|else as |\+ |, twice as long$", "", AT.sub("", name))
        for name in routes
    }
    rest = [what for what in dict.fromkeys(does.values()) if what not in MARKERS]
    shapes = MARKERS | {what: OTHERS[i % len(OTHERS)] for i, what in enumerate(rest)}
    return {name: shapes[what] for name, what in does.items()}


def frontier(
    table: pd.DataFrame, task: str, *, goals=(55.8, 72.0), kept: float = 99.5, guessed: float | None = None, kinds=None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """What is kept of the baseline's score against the MACs cut: markers by `markers`, bars from seed to seed.

    table: as `Journey.table`, `macs_cut` and `kept` as shares. goals: cuts to mark, kept: the line to reach, both in
    per cent; guessed: the share that the commonest answer has (`Journey.guessed`). kinds: route → one of `KINDS`, where
    its name does not say it. ValueError: no such task, a column that is not there, a route without a baseline.
    """
    rows = _rows(table, ("route", "macs_cut", "kept"), task)
    if rows["kept"].isna().any():
        lost = rows.loc[rows["kept"].isna(), "route"].iloc[0]
        raise ValueError(f"route {lost!r} has no share kept: its {BASELINE} is not in the table")
    names, told = list(dict.fromkeys(rows["route"])), set()
    shapes = markers(names)
    ax = style.axes(ax, 7.4, max(4.0, 0.19 * len(names) + 1.2))
    ax.axhline(100, color="#888888", lw=0.8)
    before, raised = -np.inf, False
    for goal in sorted(goals):
        raised = goal - before < 12 and not raised  # two that are close are written one above the other
        before = goal
        ax.axvline(goal, color="#888888", lw=0.9, ls=":")
        ax.annotate(f"{goal:g} %", (goal, 1), (0, 12 if raised else 2), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", fontsize=8, color="#666666")  # fmt: skip
    for name in names:
        own, sort = 100 * rows.loc[rows["route"] == name, ["macs_cut", "kept"]], kind(name, kinds)
        x, y, tint = own["macs_cut"], own["kept"], KINDS[sort]
        ax.vlines(x.mean(), y.min(), y.max(), color=tint, lw=1, alpha=0.7)
        ax.hlines(y.mean(), x.min(), x.max(), color=tint, lw=1, alpha=0.7)
        hollow = {"mfc": "none", "mec": tint, "mew": 1.5} if sort == "control" else {"mew": 0.5, "mec": "white"}
        again = AT.sub("", name) in told  # the same, cut further: where it stands says so
        told.add(name)
        ax.plot(x.mean(), y.mean(), shapes[name], color=tint, ms=13 if shapes[name] == "*" else 8,
                label=f"_{name}" if again else style.words(name), **hollow)  # fmt: skip
    ax.axhline(kept, color=style.INK, lw=1, ls=DASHED, zorder=1.5, label=f"{kept:g} % kept")
    if guessed is not None:
        _guess(ax.axhline, guessed)
    ax.margins(x=0.06, y=0.08)
    ax.set_xlabel("MACs cut (% of the whole network's)")
    ax.set_ylabel(f"{_score(rows)[2]} of {style.words(task)} kept (% of {BASELINE})")
    style.legend(ax, beside="route (bars: range over seeds)" if rows.duplicated("route").any() else "route")
    return ax


def _guess(line, guessed: float):
    return line(guessed, color="#888888", lw=1.2, ls=(0, (1, 2)), zorder=1.5, label="commonest answer")


def kept_bars(
    table: pd.DataFrame, *, goal: float = 99.5, guessed: float | None = None, kinds=None, ax: Axes | None = None
) -> Axes:
    """What each route keeps of the baseline's score, in per cent with its interval, in the order given.

    table: route, kept, low, high in per cent, as `Journey.kept` gives them. goal: the dashed line. guessed, kinds:
    as in `frontier`. The axis says where it begins. ValueError: a column that is not there.

    >>> from matplotlib import pyplot as plt
    >>> ax = kept_bars(pd.DataFrame({"route": ["ETL", "random"], "kept": [99, 91], "low": [98, 89], "high": [100, 93]}))
    >>> ax.get_xlabel()
    'score kept (% of full fine-tuning; the axis begins at 85)'
    >>> plt.close(ax.figure)
    """
    rows = _rows(table, ("route", "kept", "low", "high"))
    kept, low, high = rows[["kept", "low", "high"]].to_numpy(float).T
    least, most = (
        np.nanmin([kept, low, np.full(len(kept), np.inf if guessed is None else guessed)]),
        max(100.0, np.nanmax([kept, high])),
    )
    begin = 5 * np.floor((least - 2) / 5) if least < 0 or least > 40 else 0.0
    base, sorts = max(begin, 0.0), [kind(name, kinds) for name in rows["route"]]
    ax = _bars(ax, rows["route"], [style.interval(*v, 1) for v in zip(kept, low, high, strict=True)])
    ax.barh(range(len(rows)), kept - base, left=base, height=0.66, color=[KINDS[s] for s in sorts], alpha=0.75)
    ax.hlines(range(len(rows)), low, high, color=style.INK, lw=1.6)
    ax.axvline(100, color=style.INK, lw=0.9)
    line = ax.axvline(goal, color=style.INK, lw=1, ls=DASHED, label=f"{goal:g} %")
    ax.set_xlim(begin, most + 0.02 * (most - begin))
    ax.set_xlabel(f"score kept (% of {BASELINE}" + (f"; the axis begins at {begin:.0f})" if begin else ")"))
    drawn = [Patch(color=KINDS[sort], alpha=0.75, label=sort) for sort in KINDS if sort in sorts]
    lines = [line] if guessed is None else [line, _guess(ax.axvline, guessed)]
    style.legend(ax, above=True, handles=[*drawn, *lines], ncols=5)
    return ax


def filters_kept(widths: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Which share of its filters every layer keeps for every task, in per cent: dark = many.

    widths: one row per layer in the order of the network, one column per task, shares from 0 to 1; NaN (a layer that is
    removed) is left blank. ValueError: nothing to draw, or what is no share.
    """
    values = 100 * widths.to_numpy(float)
    if not values.size:
        raise ValueError(f"a table of {len(widths)} layers and {widths.shape[1]} tasks: nothing to draw")
    wrong = values[(values < 0) | (values > 100)] / 100
    if wrong.size:
        raise ValueError(f"share {wrong[0]:g} is out of range: expected 0 to 1")
    texts = [["" if np.isnan(v) else f"{v:.0f}" for v in row] for row in values]
    ax = heat(values, texts, widths.index, widths.columns, (colormaps[style.SEQUENTIAL], Normalize(0, 100)), ax=ax)
    ax.set_xlabel("filters kept (% of the layer's), by task")
    ax.set_ylabel("layer (input at the top)")
    return ax


def told_apart(shares: pd.DataFrame, task: str, *, ax: Axes | None = None) -> Axes:
    """How much of what each layer says differs from face to face, before training: a line per network, on a log scale.

    shares: one row per layer in the order of the network, one column per network (`kind` by its name, "whole network"
    black), above 0. ValueError: nothing to draw, or a share out of range.
    """
    values = shares.to_numpy(float)
    if not values.size:
        raise ValueError(f"a table of {len(shares)} layers and {shares.shape[1]} networks: nothing to draw")
    wrong = values[~((values > 0) & (values <= 1))]
    if wrong.size:
        raise ValueError(f"share {wrong[0]:g} is out of range: expected above 0, up to 1")
    ax, used, shapes = style.axes(ax, 7.4, 4.0), dict.fromkeys(KINDS, 0), markers(shares)
    for name in shares:
        sort = kind(name, {"whole network": "baseline"})
        line = "-" if sort == "baseline" else ("-", "--", ":")[used[sort] % 3]
        used[sort] += 1
        inside = "white" if sort == "control" else KINDS[sort]
        look = {"marker": shapes[name], "mfc": inside, "ms": 6, "lw": 1.6, "color": KINDS[sort]}
        ax.plot(range(len(shares)), shares[name], line, label=name, **look)
    ax.set_yscale("log")
    ax.set_xticks(range(len(shares)), [str(layer) for layer in shares.index], rotation=45, ha="right")
    ax.set_xlabel(f"layer, filters kept for {style.words(task)}")
    ax.set_ylabel("differs from face to face (share)")
    style.legend(ax, beside="before training")
    return ax


def costs(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What a small network saves of a whole one's MACs, parameters, bytes and time, in per cent; pale: what is left.

    table: as `Comparison.table`: what, cut (%), and, where they were measured, the quartiles low and high of the ratio
    small / whole, drawn as lines. ValueError: a column that is not there.
    """
    rows = _rows(table, ("what", "cut"))
    cut, y, timed = rows["cut"].to_numpy(float), np.arange(len(rows)), ~rows["what"].isin(COSTS).to_numpy()
    low, high = (100 * (1 - rows.get(end, cut + np.nan)) for end in ("high", "low"))  # of the cut
    names = [COSTS.get(what, f"time, {style.words(what)}") for what in rows["what"]]
    ax = _bars(ax, names, ["–" if np.isnan(v) else f"{0 - v:+.1f} %".replace("-", "−") for v in cut])
    ax.barh(y, 100, height=0.62, color="#EDEDED")
    for own, tint, name in ((~timed, "#0072B2", "counted"), (timed, "#E69F00", "measured (line: quartiles)")):
        if own.any():
            ax.barh(y[own], cut[own], height=0.62, color=tint, label=name)
    ax.hlines(y, low, high, color=style.INK, lw=1.6)
    ax.axvline(0, color="#888888", lw=0.8)
    ax.set_xlim(min(0.0, 1.1 * np.nanmin([cut, low])), 101)
    ax.set_xlabel("cut (% of the whole network's)")
    style.legend(ax, above=True)
    return ax


def gamma_sweep(table: pd.DataFrame, task: str, *, axes=None) -> np.ndarray:
    """ETL Fig. 6: γ against the score on unseen people, and against what is left of the network; dots are seeds.

    table: as `Journey.table` of the routes of the sweep: gamma, accuracy or r2, macs_cut and, where present, size_cut
    and filters_cut, as shares. γ = 0, the unpruned network, stands left of the others. axes: two. Returns both.
    ValueError: no such task, a column that is not there, a route without a γ, or two with the same.
    """
    rows = _rows(table, ("route", "gamma", "macs_cut"), task)
    score, times, name = _score(rows)
    if score is None:
        raise errors.lacking("the table lacks the column", ["accuracy"], table.columns)
    for gamma, own in rows.groupby("gamma", dropna=False)["route"]:
        if np.isnan(gamma):
            raise ValueError(f"route {own.iloc[0]!r} has no γ: leave it out")
        if own.nunique() > 1:
            raise ValueError(f"γ {gamma:g} is that of {' and '.join(map(repr, own.unique()))}: choose one")
    if axes is None:
        from matplotlib import pyplot as plt

        axes = plt.subplots(1, 2, figsize=(8.6, 3.4), layout="constrained")[1]
    known = np.sort(rows["gamma"].unique())
    nought = known[known > 0].min() / 10 if (known > 0).any() else 0.001
    left, right = (style.axes(ax) for ax in np.ravel(axes))
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xticks(np.where(known > 0, known, nought), [f"{gamma:g}" for gamma in known])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("γ (share of the curve's range; 0: unpruned)")
    lines = [(left, times * rows[score], style.inked(task), "o", None)]
    for (column, what), look in zip(LEFT.items(), style.RIVALS, strict=False):
        lines += [(right, 100 * (1 - rows[column]), *look, what)] if column in rows else []
    for ax, y, tint, marker, what in lines:
        x = rows["gamma"].where(rows["gamma"] > 0, nought)
        by = y.groupby(x)
        ax.vlines(known.clip(nought), by.min(), by.max(), color=tint, lw=1)
        ax.plot(x, y, ".", color=tint, ms=4, alpha=0.5)
        ax.plot(known.clip(nought), by.mean(), color=tint, marker=marker, ms=6, lw=1.6, label=what)
    left.set_ylabel(f"{name} of {style.words(task)}" + (" (%)" if times == 100 else " (1 = exact)"))
    right.set(ylim=(0, 105), ylabel="left (% of the whole network's)")
    style.legend(right, above=True, ncols=3)
    return np.array([left, right])


def learning(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """ETL Fig. 4: the seconds an epoch of training takes by route, and by how much that is less than the baseline.

    table: as `Journey.table`: task, route, seconds_per_epoch. Bars are means over seeds, in each task's colour, lines
    their range. A route that trains nothing says so. ValueError: a column that is not there.
    """
    rows = _rows(table, ("task", "route", "seconds_per_epoch"))
    names, several = (list(dict.fromkeys(rows[column])) for column in ("route", "task"))
    ax = _bars(style.axes(ax, 6.8, (0.12 + 0.2 * len(several)) * len(names) + 1.3), names, [])
    for i, task in enumerate(several):
        by = rows[rows["task"] == task].groupby("route", sort=False)["seconds_per_epoch"]
        seconds = by.agg(["mean", "min", "max"])
        y = np.array([names.index(name) for name in seconds.index]) + 0.8 * ((i + 0.5) / len(several) - 0.5)
        ax.barh(y, seconds["mean"], 0.72 / len(several), color=style.inked(task), label=style.words(task))
        ax.hlines(y, seconds["min"], seconds["max"], color=style.INK, lw=1.4)
        more = 100 * (seconds["mean"] / seconds["mean"].get(BASELINE, np.nan) - 1)
        for at, name, (mean, _, high) in zip(y, seconds.index, seconds.to_numpy(), strict=True):
            share = "" if name == BASELINE or np.isnan(more[name]) else f" ({more[name]:+.0f} %)".replace("-", "−")
            text = "trains nothing" if np.isnan(mean) else f"{mean:.3g} s{share}"
            ax.annotate(text, (np.nan_to_num(high), at), (4, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_xlim(0, 1.25 * np.nan_to_num(rows["seconds_per_epoch"].max()) or 1)
    ax.set_xlabel("training time per epoch (s)")
    style.legend(ax, above=True, ncols=4)
    return ax


def _rows(table: pd.DataFrame, columns, task: str | None = None) -> pd.DataFrame:
    if table.empty:
        raise ValueError("no row in the table: nothing to draw")
    missing = [c for c in (*columns, *(["task"] if task else [])) if c not in table]
    if missing:
        raise errors.lacking("the table lacks the column", missing, table.columns)
    if task and task not in set(table["task"]):
        raise errors.unknown("task", task, table["task"].unique())
    return (table[table["task"] == task] if task else table).reset_index(drop=True)


def _score(rows: pd.DataFrame) -> tuple[str | None, int, str]:
    """The column of the main score, what it is multiplied by, and its name."""
    found = [c for c in ("accuracy", "r2") if c in rows and rows[c].notna().any()]
    return {"accuracy": ("accuracy", 100, "accuracy"), "r2": ("r2", 1, "R²")}[found[0]] if found else (None, 1, "score")


def _bars(ax: Axes | None, names, values) -> Axes:
    """Axes for a row per name, from the top, with its value in words at the right."""
    ax = style.axes(ax, 7.4, 0.3 * len(names) + 1.2)
    ax.set_yticks(range(len(names)), [style.words(str(name)) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    for y, text in enumerate(values):
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    return ax
