"""Figures of fused codes: how well they are read back, how they rank on new targets, which codes are alike.

General-model Fig. 2, Tables 3, 5 and 6. Each takes data and `ax`, and returns `ax`. Those of students and routes are
in `student_plots`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm

from facelab import errors
from facelab.workbench import style
from facelab.workbench.heat import heat, part

ANCHORS = ("mean", "shuffled", "uniform")  # what says nothing: the rows of `fusion.anchors`
AVERAGE, MEAN_RANK = "average", "mean rank"
WORST = 2.0  # nRMSE from which on a cell is no redder
FIXED = ("PCA", "AE", "VAE", "DAE", "one-stage student", "Concat")  # these have the same look in every figure,
ROUTES = ("student tuned", "h_G + MLP", "student + MLP", "best source + MLP", "P-CNN", "best of 63 + MLP")  # and these
CONTROLS = ("scratch", "random", *ANCHORS)  # a name with one of these words is only there to compare with
ARROWS = {1: "↑", -1: "↓"}


def looks(names: Iterable[str]) -> dict[str, dict]:
    """Colour, marker and line of each operator or route, as keywords of `Axes.plot`; controls are grey.

    >>> looks(["VAE", "from scratch"])["from scratch"]
    {'color': '#888888', 'marker': 'x', 'linestyle': (0, (4, 2))}
    >>> looks(["VAE"]) == {"VAE": looks(["PCA", "AE", "VAE"])["VAE"]}
    True
    """
    names = list(dict.fromkeys(names))
    own = {name: i for fixed in (FIXED, ROUTES) for i, name in enumerate(fixed) if name in names}
    free = [i for i in range(len(style.RIVALS)) if i not in own.values()]
    free += [len(style.RIVALS) + i for i in range(len(names))]  # once more, dashed
    dashes, crosses, out = ("-", (0, (5, 1.5)), (0, (1, 1.2))), iter("x+1234|" * len(names)), {}
    for name in names:
        if any(word in str(name) for word in CONTROLS):
            out[name] = {"color": "#888888", "marker": next(crosses), "linestyle": (0, (4, 2))}
            continue
        at = own[name] if name in own else free.pop(0)
        tint, marker = style.RIVALS[at % len(style.RIVALS)]
        again = at // len(style.RIVALS)
        out[name] = {"color": tint, "marker": "ph"[again % 2] if again else marker, "linestyle": dashes[again % 3]}
    return out


def reconstruction(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """General-model Table 5: the nRMSE with which every operator (row) reads back every source (column).

    Blue is better than the mean face (1, white), red worse; the least of each column is bold. What says nothing (mean,
    shuffled, uniform) stands apart, and so does the average over the sources, taken here where there is no such column.
    NaN is an en dash. ValueError: nothing to draw, a negative error.

    >>> from matplotlib import pyplot as plt
    >>> rows = {"mean": [1.0, 1.0], "PCA": [0.3, 0.5], "AE": [0.25, 0.45]}
    >>> ax = reconstruction(pd.DataFrame.from_dict(rows, orient="index", columns=["age", "yaw"]))
    >>> [text.get_text() for text in ax.get_yticklabels()], ax.texts[2].get_text()
    (['PCA', 'AE', 'mean'], '0.40')
    >>> plt.close(ax.figure)
    """
    table = _filled(table)
    wrong = table.to_numpy(float)[table.to_numpy(float) < 0]
    if wrong.size:
        raise ValueError(f"nRMSE {wrong[0]:g}: expected 0 or more")
    if AVERAGE not in table:
        table = table.assign(**{AVERAGE: table.mean(axis=1)})
    table = table[[c for c in table if c != AVERAGE] + [AVERAGE]]
    asked = [row for row in table.index if row not in ANCHORS]
    table = table.loc[asked + [row for row in ANCHORS if row in table.index]]
    values = table.to_numpy(float)
    best = np.zeros(values.shape, bool)
    if len(asked) > 1:
        best[: len(asked)] = values[: len(asked)] == table.loc[asked].min().to_numpy()
    texts = [[style.number(v) for v in row] for row in values]
    shades = colormaps[style.DIVERGING], TwoSlopeNorm(1.0, 0.0, WORST)
    ax = heat(np.clip(values, 0, WORST), texts, table.index, table.columns, shades, bold=best, ax=ax)
    part(ax, column=len(table.columns) - 1, row=len(asked))
    ax.set_xlabel("source network")
    ax.set_ylabel("read back from")
    ax.set_title("nRMSE (0: perfect, 1: the mean face)", fontsize=10, loc="left", color=style.INK)
    return ax


def sweep(table: pd.DataFrame, *, rule: float | None = None, ax: Axes | None = None) -> Axes:
    """General-model Fig. 2: the reconstruction error against the size of the code, a line per operator.

    table: operator, dimension, nrmse, and low, high where there are intervals. rule: the rule-of-thumb size, the
    average width of the sources, as a dotted line. ValueError: a column that is not there, a dimension below 1.
    """
    rows = needed(table, ("operator", "dimension", "nrmse"))
    _positive(rows, "dimension")
    ax = style.axes(ax, 6.4, 3.7)
    ax.set_xscale("log", base=2)
    low, high = np.log2(min(rows["dimension"].min(), rule or np.inf)), np.log2(max(rows["dimension"].max(), rule or 0))
    ax.set_xlim(2 ** (low - 0.25), 2 ** (high + 0.25))
    for name, look in looks(rows["operator"]).items():
        own = rows[rows["operator"] == name].sort_values("dimension")
        line(ax, own, "dimension", "nrmse", style.words(str(name)), look)
    powers = 2.0 ** np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    ax.set_xticks(powers if len(powers) > 1 else sorted(set(rows["dimension"])))
    ax.set_xticklabels([f"{v:g}" for v in ax.get_xticks()])
    ax.set_xticks([], minor=True)
    if rule is not None:
        ax.axvline(rule, color="#888888", lw=1, ls=":", zorder=1)
        ax.annotate(f"average width {rule:g}", (rule, 1), (0, 3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", fontsize=8.5, color="#666666")  # fmt: skip
    ax.set_xlabel("size of the code (numbers per face)")
    ax.set_ylabel("nRMSE (0: perfect, 1: the mean face)")
    style.legend(ax, beside="operator")
    return ax


def ratio(table: pd.DataFrame, *, paper: float | None = None, ax: Axes | None = None) -> Axes:
    """Does learning pay: the error of the auto-encoder divided by that of PCA against the faces it learned from.

    table: dimension, faces, ratio; several rows of one point (seeds) are drawn as their mean and range. A line per
    dimension, dark = small. At 1 there is no gain over PCA; paper: the published ratio, a dashed line. ValueError: a
    column that is not there, no face.
    """
    rows = needed(table, ("dimension", "faces", "ratio"))
    _positive(rows, "faces")
    ax = style.axes(ax, 6.4, 3.7)
    ax.set_xscale("log")
    low, high = rows["faces"].min(), rows["faces"].max()
    ax.set_xlim(low / 1.25, 1.25 * high)
    ax.axhline(1.0, color=style.INK, lw=1.2, zorder=1.5, label="no gain over PCA")
    if paper is not None:
        ax.axhline(paper, color=style.INK, lw=1.1, ls=(0, (4, 2)), zorder=1.5, label=f"the paper's, {paper:g}")
    tints, markers = style.layer_colours(sorted(set(rows["dimension"]))), "os^Dv<>phP"
    for i, (dimension, tint) in enumerate(tints.items()):
        by = rows[rows["dimension"] == dimension].groupby("faces")["ratio"]
        own = by.agg(ratio="mean", low="min", high="max").reset_index()
        look = {"color": tint, "marker": markers[i % len(markers)]}
        line(ax, own, "faces", "ratio", f"{dimension:g} numbers", look)
    steps = np.outer(10.0 ** np.arange(13), (1, 2, 5) if high < 200 * low else (1, 3) if high < 3000 * low else (1,))
    inside = [v for v in steps.ravel() if 0.95 * low <= v <= 1.05 * high]
    ax.set_xticks(inside if len(inside) > 1 else sorted(set(rows["faces"])))
    ax.set_xticklabels([thousands(v) for v in ax.get_xticks()])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("training faces")
    ax.set_ylabel("error of AE / error of PCA (ratio)")
    style.legend(ax, beside="size of the code")
    return ax


def ranks(
    table: pd.DataFrame,
    better: Mapping[str, int],
    *,
    scores: Mapping[str, str] | None = None,
    what: str = "code",
    ordered: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """General-model Tables 3 and 6: the score of every code or route (column) on every target (row), shaded by its
    rank within the row, and the mean rank below.

    better: target → 1 where higher is better, −1 where lower is; the arrow beside the name says which. scores: target →
    what its score is called, with its unit. what: what the columns are. ordered: the best mean rank first, else the
    order given. Equal scores share their rank; NaN (an en dash) has none. ValueError: nothing to draw, a target without
    its direction.

    >>> from matplotlib import pyplot as plt
    >>> table = pd.DataFrame({"PCA": [0.90, 6.1], "AE": [0.92, 5.9]}, index=["gender", "age"])
    >>> ax = ranks(table, {"gender": 1, "age": -1})
    >>> [text.get_text() for text in ax.texts]
    ['0.920', '0.900', '5.90', '6.10', '1.0', '2.0']
    >>> plt.close(ax.figure)
    """
    table = _filled(table)
    better = directions(table.index, better)
    signed = table.mul([better[target] for target in table.index], axis=0)
    places = signed.rank(axis=1, ascending=False)
    mean = places.mean()
    if ordered:
        columns = mean.sort_values(kind="stable").index
        table, places, mean = table[columns], places[columns], mean[columns]
    values = np.vstack([places.to_numpy(float), mean.to_numpy(float)])
    texts = [[style.number(v, _digits(row)) for v in row] for row in table.to_numpy(float)]
    texts.append([style.number(v, 1) for v in mean])
    said = {target: f", {name}" for target, name in (scores or {}).items()}
    names = [f"{style.words(str(t))}{said.get(t, '')} {ARROWS[better[t]]}" for t in table.index] + [MEAN_RANK]
    shades = colormaps[f"{style.SEQUENTIAL}_r"], Normalize(1, max(2, table.shape[1]))
    best = values == np.where(np.isnan(values), np.inf, values).min(axis=1, keepdims=True)
    ax = heat(values, texts, names, table.columns, shades, bold=best, ax=ax)
    part(ax, row=len(table))
    ax.set_xlabel(what + (" (best mean rank first)" if ordered else ""))
    ax.set_ylabel("target (↑ or ↓: better)")
    ax.set_title("score; shade: rank within the row (dark: best)", fontsize=10, loc="left", color=style.INK)
    return ax


def similarity(matrix: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How alike codes are, 0 to 1: `similarity.cka_matrix`. ValueError: not square, or a value out of range."""
    matrix = _filled(matrix)
    values = matrix.to_numpy(float)
    if list(matrix.index) != list(matrix.columns):
        raise ValueError(f"a matrix of rows {list(matrix.index)} and columns {list(matrix.columns)}: expected the same")
    wrong = values[(values < 0) | (values > 1)]
    if wrong.size:
        raise ValueError(f"similarity {wrong[0]:g} is out of range: expected 0 to 1")
    texts = [[style.number(v) for v in row] for row in values]
    ax = heat(values, texts, matrix.index, matrix.columns, (colormaps[style.SEQUENTIAL], Normalize(0, 1)), ax=ax)
    ax.set_xlabel("code")
    ax.set_ylabel("code")
    ax.set_title("linear CKA (0: nothing in common, 1: the same)", fontsize=10, loc="left", color=style.INK)
    return ax


def line(ax: Axes, rows: pd.DataFrame, x: str, y: str, name: str, look: dict) -> None:
    """One line with markers, and bars from low to high where the rows know them."""
    if {"low", "high"} <= set(rows):
        ax.vlines(rows[x], rows["low"], rows["high"], color=look["color"], lw=1.1, alpha=0.7)
    ax.plot(rows[x], rows[y], label=name, **{"lw": 1.7, "ms": 6, **look})


def thousands(value: float) -> str:
    """A round number of faces, short: 20000 → 20 k."""
    return f"{value / 1000:g} k" if value >= 1000 else f"{value:g}"


def directions(targets: Iterable[str], better: Mapping[str, int]) -> dict[str, int]:
    """target → 1 or −1. ValueError for a target without its direction, or for another number."""
    better = dict(better)
    missing = [target for target in targets if target not in better]
    if missing:
        raise errors.lacking("`better` lacks the target", missing, better)
    for target in targets:
        if better[target] not in ARROWS:
            raise ValueError(f"direction {better[target]!r} of {target!r}: expected 1 (higher is better) or −1 (lower)")
    return {target: int(better[target]) for target in targets}


def needed(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table, where it has rows and these columns; ValueError otherwise."""
    if table.empty:
        raise ValueError("no row in the table: nothing to draw")
    missing = [c for c in columns if c not in table]
    if missing:
        raise errors.lacking("the table lacks the column", missing, table.columns)
    return table


def _digits(row: np.ndarray) -> int:
    """Decimals that give the largest score three figures, and all scores of a row the same."""
    largest = np.abs(row[np.isfinite(row)]).max(initial=0.0)
    return int(np.clip(2 - np.floor(np.log10(largest)), 0, 3)) if largest else 0


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise ValueError(f"a table of {len(table)} rows and {table.shape[1]} columns: nothing to draw")
    return table


def _positive(rows: pd.DataFrame, column: str) -> None:
    wrong = rows.loc[~(rows[column] >= 1), column]
    if len(wrong):
        raise ValueError(f"{column} {wrong.iloc[0]:g}: expected 1 or more")
