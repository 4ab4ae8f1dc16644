"""Figures of task relationships: the two matrices, every task from every layer, answers beside faces, and what an
identity-agnostic network gives up. Each takes data and `ax`, and returns `ax`."""

import json
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.patches import Rectangle

from facelab import tasks
from facelab.errors import unknown
from facelab.filters import decisions
from facelab.workbench import curve_plots, plots, style
from facelab.workbench.heat import heat

FAINT = 30.0  # per cent


def accuracy_matrix(matrix: pd.DataFrame, *, given=None, ax: Axes | None = None) -> Axes:
    """Low-cost Fig. 5, left: the accuracy in per cent of every satellite (column) read from every primary (row).

    matrix: as `Relations.accuracy`, shares. Framed: the network that was trained for the task itself. given: rows that
    were not measured here but are given (from a reference run, say), named in grey and italics. NaN is left blank.
    """
    values = 100 * matrix.to_numpy(float)
    ax = _matrix(matrix, values, "{:.0f}", (colormaps[style.SEQUENTIAL], Normalize(0, 100)), ax)
    for text in ax.get_yticklabels():
        if text.get_text() in {style.words(name) for name in given or ()}:
            text.set(style="italic", color="#777777")
    ax.set_title("accuracy (%; identity: 100 × AUC)", fontsize=10, loc="left", color=style.INK)
    return ax


def reduction_matrix(matrix: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Low-cost Fig. 5, right: by how many per cent each reading is worse (red) or better (blue) than the network
    trained for that task; white = 0.

    matrix: as `Relations.reduction`; columns without a network trained for them are blank.
    """
    values = matrix.to_numpy(float)
    most = float(np.nanmax(np.abs(values), initial=FAINT))  # a few per cent are pale, whatever the others are
    shades = colormaps[style.DIVERGING], TwoSlopeNorm(0.0, -most, most)
    ax = _matrix(matrix, values, "{:+.0f}", shades, ax)
    ax.set_title("reduction against the trained network (%)", fontsize=10, loc="left", color=style.INK)
    return ax


def _matrix(matrix: pd.DataFrame, values: np.ndarray, pattern: str, shades: tuple, ax: Axes | None) -> Axes:
    texts = [["" if np.isnan(v) else _signed(pattern.format(v)) for v in row] for row in values]
    ax = heat(values, texts, matrix.index, matrix.columns, shades, ax=ax)
    ax.set_xlabel("satellite: the task that is read (column)")
    ax.set_ylabel("primary: trained for")
    for i, row in enumerate(matrix.index):
        if row in matrix.columns:  # the network that was trained for it
            at = (list(matrix.columns).index(row) - 0.5, i - 0.5)
            ax.add_patch(Rectangle(at, 1, 1, fill=False, ec=style.INK, lw=1.6))
    return ax


def _signed(text: str) -> str:
    return "0" if text in ("+0", "-0") else text.replace("-", "−")


def layer_lines(layers: pd.DataFrame, *, last: int | None = None, ax: Axes | None = None) -> Axes:
    """Low-cost Fig. 11: the accuracy of every task read from every layer, the best ringed.

    layers: as `Relations.layers`, shares. last: the last so many layers only (the paper draws 6).
    """
    shown = layers if last is None else layers.iloc[-last:]
    return curve_plots.best_layers(100 * shown, unit="accuracy on unseen people (%)", ax=ax)


def frontier(table: pd.DataFrame, *, auc: float = 0.55, kept: float = 95.0, ax: Axes | None = None) -> Axes:
    """What is left of identity against what is kept of expression, a line per route, its start marked large.

    table: as `agnostic.Frontier.table`. auc, kept: the goal, shaded; 0.5 is chance. Bars: 95 % intervals of the AUC.
    A route called "random …" is drawn in grey.
    """
    if table.empty:
        raise ValueError("no step of any route: nothing to draw")
    ax = style.axes(ax, 6.2, 4.0)
    low = min(70.0, float(table["kept_pct"].min()) - 4)
    high = max(103.0, float(table["kept_pct"].max()) + 3)
    top = max(0.62, float(table["high"].max()) + 0.02)
    ax.add_patch(Rectangle((kept, 0), high - kept, auc, color="#E3F1EC", lw=0, zorder=0))
    ax.axhline(0.5, color="#888888", lw=0.8)
    ax.annotate("chance", (0.005, 0.5), xycoords=("axes fraction", "data"), fontsize=8, va="bottom", color="#666666")
    colours, controls = cycle(style.RIVALS), cycle("x+1")
    for route, own in table.groupby("route", sort=False):
        tint, marker = ("#999999", next(controls)) if str(route).startswith("random") else next(colours)
        x, y = own["kept_pct"], own["auc"]
        ax.vlines(x, own["low"], own["high"], color=tint, lw=0.8, alpha=0.6)
        ax.plot(x, y, color=tint, marker=marker, ms=5, lw=1.5, label=style.words(str(route)))
        ax.plot(x.iloc[:1], y.iloc[:1], marker=marker, ms=10, mfc="none", mec=tint, mew=1.4)
    ax.set(xlim=(low, high), ylim=(min(0.47, float(table["low"].min()) - 0.01), top))
    ax.set_xlabel("expression accuracy kept (% of the whole network's)")
    ax.set_ylabel("identity: verification AUC\n(unseen people, same expressions)")
    style.legend(ax, beside="route (ring: start;\nshaded: the goal)")
    return ax


def said(task: str, answer) -> str:
    """An answer as a caption: a class, the labels that were said, or "none".

    >>> said("age", 3), said("accessories", np.array([0, 1, 0, 0, 1])), said("facial_hair", np.zeros(5))
    ('30–39 years', 'hat, eyeglasses', 'none')
    """
    names = decisions.classes(task)
    if np.ndim(answer) == 0:
        return "not labelled" if answer < 0 else names[int(answer)]
    return ", ".join(name for name, yes in zip(names, answer, strict=True) if yes == 1) or "none"


def strip(faces, reading, *, show: int = 8, columns: int = 8, seed: int = 0, ax: Axes | None = None) -> Axes:
    """Low-cost Fig. 4: rendered faces of unseen people with what was read; where it is wrong, with the true label.

    faces: the set `reading` (a `satellites.Reading`) is of. show: so many of its test faces, drawn from `seed` whether
    right or wrong. ValueError for identity, which has no label to show.
    """
    if reading.task == "identity":
        raise ValueError("identity is a question about pairs: there is no label to write under a face")
    if len(reading.rows) and reading.rows.max() >= len(faces):
        raise ValueError(f"the reading is of row {reading.rows.max()}, but {faces.name!r} has {len(faces)} faces")
    known = np.flatnonzero(~np.isnan(reading.right))
    chosen = np.sort(np.random.default_rng(seed).permutation(known)[:show])
    truth = decisions.truth(reading.task, faces.labels.iloc[reading.rows[chosen]])
    captions = []
    for i, true in zip(chosen, truth, strict=True):
        answer = said(reading.task, reading.said[i])
        right = reading.right[i] == 1
        captions.append(_short(answer) if right else f"{_short(answer)}\n✗ {_short(said(reading.task, true))}")
    ax = plots.faces(faces, reading.rows[chosen], captions, columns=min(show, columns), ax=ax)
    for text in ax.texts:
        wrong = "✗" in text.get_text()
        text.set(fontsize=7, color="#B3261E" if wrong else style.INK)
    return ax


def _short(text: str, most: int = 17) -> str:
    lines, line = [], ""
    for word in text.split(", "):
        joined = f"{line}, {word}" if line else word
        if line and len(joined) > most:
            lines.append(line + ",")
            joined = word
        line = joined
    return "\n".join([*lines, line])


def reading_bars(table: pd.DataFrame, primary: str, *, ax: Axes | None = None) -> Axes:
    """Everything read from one primary: its accuracy (dot, 95 % interval), always giving the commonest answer (grey
    line) and the network trained for the task (hollow square), where there is one.

    table: as `Relations.table`.
    """
    read = table[(table["kind"] == "read") & (table["primary"] == primary)]
    if read.empty:
        raise unknown("primary", primary, table["primary"].unique())
    own = table[table["kind"] == "own"].set_index("satellite")["accuracy"]
    ax = style.axes(ax, 5.6, 0.36 * len(read) + 1.2)
    for y, row in enumerate(read.itertuples()):
        tint = style.inked(row.satellite)
        ax.hlines(y, 100 * row.low, 100 * row.high, color=tint, lw=1.8)
        ax.plot(100 * row.accuracy, y, marker=style.TASK_MARKERS[row.satellite], color=tint, ms=7, zorder=3)
        ax.plot([100 * row.majority] * 2, [y - 0.3, y + 0.3], color="#888888", lw=2)
        if row.satellite in own.index:
            ax.plot(100 * own[row.satellite], y, "s", ms=10, mfc="none", mec=style.INK, mew=1.1)
    ax.set_yticks(range(len(read)), [style.words(name) for name in read["satellite"]])
    ax.set_ylim(len(read) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlim(min(45.0, 100 * float(read[["low", "majority"]].min().min()) - 5), 101)
    ax.set_xlabel("accuracy (%; identity: 100 × AUC)")
    for marker, colour, text in (("o", style.INK, "read, 95 %"), ("s", style.INK, "trained for it"),
                                 ("|", "#888888", "commonest answer")):  # fmt: skip
        hollow = {"mfc": "none"} if marker == "s" else {}
        ax.plot([], [], marker, color=colour, ms=8, mew=1.5, label=text, **hollow)
    style.legend(ax, above=True, ncols=3)
    return ax


def names_of(table: pd.DataFrame) -> list[str]:
    """The tasks of a table of relations that have a label to show."""
    return [name for name in dict.fromkeys(table["satellite"]) if tasks.get(name).kind != "identity"]


def reference_rows(file: str | Path) -> pd.DataFrame:
    """The accuracy matrix that a committed run recorded as 04.matrix.PRIMARY.SATELLITE, shares; empty where the file
    does not exist or holds none.

    >>> reference_rows("nowhere.json").empty
    True
    """
    file = Path(file)
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    parts = {tuple(key.split(".")[2:]): entry for key, entry in results.items() if key.startswith("04.matrix.")}
    found = pd.Series({key: entry["value"] for key, entry in parts.items() if len(key) == 2}, dtype=float)
    return found.unstack(sort=False) if len(found) else pd.DataFrame()
