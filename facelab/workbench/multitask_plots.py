"""Figures of learning from half-labelled sets: the ablation, what weights and rates did, who is taken for whom.

2MD-MTL Tables 1–3, Figs 4–5. Each takes data and `ax` or `axes`, and returns them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from facelab.workbench import style
from facelab.workbench.fusion_plots import needed
from facelab.workbench.heat import heat

SMOOTH = 15  # steps in the running mean of a loss


def ablation(
    table: pd.DataFrame, *, paper: Mapping[str, Mapping[str, float]] | None = None, beside: str = "trained on",
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """2MD-MTL Table 3: how often each row is right, a line each, a marker for each set that was trained on.

    table: row, trained (on which sets), accuracy (0 to 1), and low, high where there are intervals (a row without one,
    a single training, is drawn small); NaN is left out.
    paper: row → trained → its percentage, drawn hollow. beside: what `trained` holds, above the legend.
    ValueError: a column that is not there, an accuracy out of range.

    >>> from matplotlib import pyplot as plt
    >>> table = pd.DataFrame({"row": ["baseline", "full"], "trained": ["A", "A"], "accuracy": [0.33, 0.4]})
    >>> [text.get_text() for text in ablation(table).get_yticklabels()]
    ['baseline', 'full']
    >>> plt.close("all")
    """
    table = needed(table, ("row", "trained", "accuracy"))
    wrong = table.loc[(table["accuracy"] < 0) | (table["accuracy"] > 1), "accuracy"]
    if len(wrong):
        raise ValueError(f"accuracy {wrong.iloc[0]:g} is out of range: expected a share, 0 to 1")
    rows, sets = list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["trained"]))
    ax = style.axes(ax, 7.6, max(0.42, 0.16 * len(sets)) * len(rows) + 1.2)
    gap = min(0.22, 0.8 / len(sets))
    for k, name in enumerate(sets):
        tint, marker = style.RIVALS[k % len(style.RIVALS)]
        shift = gap * (k - (len(sets) - 1) / 2)
        own = table[table["trained"] == name].set_index("row").reindex(rows)
        y = np.arange(len(rows)) + shift
        sure = np.ones(len(rows), bool)
        if {"low", "high"} <= set(own):
            ax.hlines(y, 100 * own["low"], 100 * own["high"], color=tint, lw=1.4, alpha=0.6)
            sure = own["low"].notna().to_numpy()
        right = 100 * own["accuracy"].to_numpy()
        ax.plot(right[sure], y[sure], marker, color=tint, ms=6.5, label=style.words(str(name)))
        ax.plot(right[~sure], y[~sure], marker, color=tint, ms=3.5, alpha=0.6)
        if paper is not None:
            known = [(paper[row][name], at) for row, at in zip(rows, y, strict=True) if name in paper.get(row, ())]
            said, at = np.array(known, float).reshape(-1, 2).T
            ax.plot(said, at, marker, mfc="none", mec=tint, ms=6.5, alpha=0.55)
    if {"low", "high"} <= set(table) and table["low"].isna().any():
        ax.plot([], [], "o", color=style.INK, ms=3.5, alpha=0.6, label="a single training")
    if paper is not None:
        ax.plot([], [], "o", mfc="none", mec=style.INK, ms=6.5, label="the paper's, on photographs")
    ax.set_yticks(range(len(rows)), [style.words(str(row)) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("right (%)")
    style.legend(ax, beside=beside)
    return ax


def course(history: pd.DataFrame, *, axes=None) -> np.ndarray:
    """What happened over the steps of a training: losses (running means), the tasks' weights, the learning rate.

    history: `Trained.history`. axes: three; returns them.
    """
    if axes is None:
        from matplotlib import pyplot as plt

        axes = plt.subplots(1, 3, figsize=(11.4, 3.2), layout="constrained")[1]
    axes = np.asarray(axes)
    tasks = [name.partition(":")[2] for name in history if name.startswith("loss:")]
    loss, weight, rate = (style.axes(ax) for ax in axes.flat)
    for task in tasks:
        look = {"color": style.inked(task), "lw": 1.6, "label": style.words(task)}
        mean = history[f"loss:{task}"].rolling(SMOOTH, min_periods=1).mean()
        loss.plot(history["step"], mean, **look)
        weight.plot(history["step"], history[f"weight:{task}"], **look)
    loss.set_ylabel(f"loss (mean of {SMOOTH} steps)")
    loss.set_ylim(0)
    weight.set_ylabel("weight of the task")
    weight.axhline(1, color="#888888", lw=0.8)
    rate.plot(history["step"], history["lr"], color=style.INK, lw=1.6)
    rate.set_yscale("log")
    rate.set_ylabel("learning rate (logarithmic)")
    for ax in axes.flat:
        ax.set_xlabel("step (batches)")
    style.legend(loss)
    return axes


def rates(histories: Mapping[str, pd.DataFrame], *, ax: Axes | None = None) -> Axes:
    """The learning rates of several trainings over their steps. histories: name → `Trained.history`."""
    ax = style.axes(ax, 6.4, 3.2)
    for i, (name, history) in enumerate(histories.items()):
        tint, _ = style.RIVALS[i % len(style.RIVALS)]
        dashes = ("-", "--", ":")[i // len(style.RIVALS) % 3]
        ax.plot(history["step"], history["lr"], color=tint, lw=1.6, ls=dashes, label=style.words(name))
    ax.set_yscale("log")
    ax.set_xlabel("step (batches)")
    ax.set_ylabel("learning rate (logarithmic)")
    style.legend(ax, beside="schedule")
    return ax


def confusion(truth: np.ndarray, said: np.ndarray, classes: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """2MD-MTL Figs 4–5: of the faces of each class (row), the share that is taken for each class (column), in %.

    truth, said: (n,) class numbers, −1 of a truth is left out; classes that no face is of or taken for are, too.

    >>> from matplotlib import pyplot as plt
    >>> ax = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), ["happy", "sad", "fear"])
    >>> [text.get_text() for text in ax.texts]
    ['50', '50', '0', '100']
    >>> plt.close("all")
    """
    known = truth >= 0
    if not known.any():
        raise ValueError("no face has a label: nothing to draw")
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (truth[known], said[known]), 1)
    here = np.flatnonzero(counts.sum(1) + counts.sum(0))
    names = [classes[k] for k in here]
    counts = counts[np.ix_(here, here)]
    share = 100 * counts / np.where(counts.sum(1) > 0, counts.sum(1), np.nan)[:, None]
    texts = [[style.number(v, 0) for v in row] for row in share]
    ax = heat(share, texts, names, names, (colormaps[style.SEQUENTIAL], Normalize(0, 100)), ax=ax)
    ax.set_xlabel("taken for")
    ax.set_ylabel("is")
    ax.set_title("of each class, %", fontsize=10, loc="left", color=style.INK)
    return ax


def gap(table: pd.DataFrame, *, chance: float, ax: Axes | None = None) -> Axes:
    """How well an independent probe tells the sets apart by each network's features: a bar each, against chance.

    table: network, accuracy (balanced, 0 to 1), and low, high where there are intervals.
    """
    table = needed(table, ("network", "accuracy"))
    ax = style.axes(ax, 5.6, 0.36 * len(table) + 1.0)
    y = np.arange(len(table))
    ax.barh(y, 100 * table["accuracy"], height=0.6, color=style.RIVALS[0][0], alpha=0.85)
    if {"low", "high"} <= set(table):
        ax.hlines(y, 100 * table["low"], 100 * table["high"], color=style.INK, lw=1.4)
    ax.axvline(100 * chance, color="#888888", lw=1.2, ls="--")
    ax.annotate("chance", (100 * chance, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                fontsize=8.5, color=style.INK)  # fmt: skip
    ax.set_yticks(y, [style.words(str(name)) for name in table["network"]])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("sets told apart by a probe (balanced, %)")
    ax.grid(axis="y", visible=False)
    return ax
