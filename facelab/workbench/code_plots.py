"""Figures of single faces in their codes: numbers read back, one error among many, a map coloured by a label.

Each takes data and `ax`, and returns `ax`.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm

from facelab import tasks
from facelab.workbench import style

GROUPS = 10  # more than this many groups cannot be told apart by colour
TINTS = [tint for tint, _ in style.RIVALS] + ["#56B4E9", "#7A2E62", "#5C3A0E", "#9A9A00"]
MARKS = [marker for _, marker in style.RIVALS] + ["<", ">", "p", "X"]


def read_back(x, x_hat, *, tint: str = "#0072B2", ax: Axes | None = None) -> Axes:
    """One face's embedding (d,) against what was read back of it (d,), a dot per dimension; on the line: perfect.

    Both in standard deviations from the mean of the dimension. ValueError: of unlike lengths, or empty.
    """
    x, x_hat = np.asarray(x, float), np.asarray(x_hat, float)
    if x.shape != x_hat.shape or x.ndim != 1 or not x.size:
        raise ValueError(f"embedding of shape {x.shape}, read back as {x_hat.shape}: expected (d,) for both")
    ax = style.axes(ax, 3.4, 3.4)
    most = 1.08 * max(1.0, float(np.abs(x).max()), float(np.abs(x_hat).max()))
    ax.plot([-most, most], [-most, most], color="#888888", lw=1, zorder=1)
    size = float(np.clip(60 / np.sqrt(x.size), 2.5, 7))
    ax.plot(x, x_hat, "o", color=tint, ms=size, alpha=0.55, mew=0)
    ax.set(xlim=(-most, most), ylim=(-most, most), xlabel="original (std. deviations)", ylabel="read back (std. dev.)")
    return ax


def error_histogram(errors, at: int, *, tint: str = "#0072B2", ax: Axes | None = None) -> Axes:
    """Where the error of one face, number `at`, lies among those of all faces (n,): RMS in standard deviations."""
    errors = np.asarray(errors, float)
    ax = style.axes(ax, 3.4, 3.4)
    ax.hist(errors, bins=int(np.clip(np.sqrt(len(errors)), 5, 40)), color=style.NONE)
    ax.axvline(errors[at], color=tint, lw=2.2, label="this face")
    ax.set_xlabel("error (std. deviations)")
    ax.set_ylabel("faces (number)")
    style.legend(ax, above=True, handlelength=1.2)
    return ax


def code_map(points, values, name: str, *, at: int | None = None, here=None, ax: Axes | None = None) -> Axes:
    """Faces as dots (n, 2), coloured by a label: numbers by a continuous map, groups by colour and marker.

    values (n,): the label of each face, missing ones are grey crosses. name: of the label, a task or any other. at: the
    number of a face to ring; here (2,): where it lies, when it is none of the dots. Of more than 10 groups (people,
    say) only that of the ringed face is coloured. ValueError: lengths that differ.

    >>> from matplotlib import pyplot as plt
    >>> ax = code_map([[0, 0], [1, 1], [2, 0]], ["female", "male", None], "gender", at=1)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['female', 'male', 'unknown', 'this face']
    >>> plt.close(ax.figure)
    """
    points, values = np.asarray(points, float), pd.Series(values).reset_index(drop=True)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(values):
        raise ValueError(f"points of shape {points.shape} and {len(values)} labels: expected (n, 2) and n")
    ax = style.axes(ax, 5.6, 3.8)
    ax.grid(False)
    known = values.notna().to_numpy()
    if continuous(values, name):
        _shaded(ax, points[known], values[known].to_numpy(float), name)
    else:
        same = np.zeros(len(values), bool) if at is None else (values == values[at]).to_numpy(bool, na_value=False)
        _grouped(ax, points, groups(values, name), known & same, name)
    if not known.all():
        ax.plot(*points[~known].T, "x", color="#999999", ms=4, mew=0.9, label="unknown", zorder=1.5)
    where = here if here is not None else points[at] if at is not None else None
    if where is not None:
        ax.plot(*np.reshape(where, (2, 1)), "o", mfc="none", mec="black", ms=13, mew=2, label="this face", zorder=4)
    ax.set_xticks([])
    ax.set_yticks([])
    if ax.child_axes:  # the shades stand beside
        style.legend(ax, above=True)
    else:
        style.legend(ax, beside=style.words(name))
    return ax


def continuous(values: pd.Series, name: str) -> bool:
    """Whether a label is a number to shade by, rather than one of a few groups.

    >>> continuous(pd.Series([1.0, 0.0]), "yaw"), continuous(pd.Series([1.0, 0.0]), "accessories:hat")
    (True, False)
    """
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    if name in tasks.TASKS:
        return tasks.get(name).kind == "regression"
    return values.nunique() > GROUPS


def groups(values: pd.Series, name: str) -> pd.Series:
    """The label as words, a categorical in the order of the task, if it is one; 0 and 1 are no and yes."""
    if not pd.api.types.is_numeric_dtype(values):  # dates and the like as texts
        values = values.map(lambda v: v if isinstance(v, (str, int, float)) else str(v), na_action="ignore")
    present = list(pd.unique(values.dropna()))
    if name in tasks.TASKS and set(present) <= set(tasks.get(name).classes):
        order = [c for c in tasks.get(name).classes if c in present]
    else:
        order = sorted(present, key=lambda v: (isinstance(v, str), v))
    if order and all(v in (0, 1) for v in order):
        said = {v: "yes" if v else "no" for v in order}
    else:
        said = {v: style.words(v) if isinstance(v, str) else f"{v:g}".replace("-", "−") for v in order}
    return pd.Series(pd.Categorical(values.map(said), list(dict.fromkeys(said.values()))))


def _shaded(ax: Axes, points: np.ndarray, values: np.ndarray, name: str) -> None:
    task = tasks.TASKS.get(name)
    signed = (values < 0).any() and (values > 0).any() and (task is None or (task.low or 0) < 0)
    most = float(np.abs(values).max(initial=0)) or 1.0
    norm = TwoSlopeNorm(0.0, -most, most) if signed else Normalize(*_ends(values))
    dots = ax.scatter(*points.T, c=values, cmap=style.DIVERGING if signed else "viridis", norm=norm, s=22,
                      edgecolors="#777777", linewidths=0.4, zorder=2)  # fmt: skip
    bar = ax.figure.colorbar(dots, cax=ax.inset_axes((1.03, 0.0, 0.035, 1.0)))
    bar.set_label(style.label(name) if task else style.words(name), size=9)
    bar.ax.tick_params(labelsize=8.5, colors=style.INK)
    bar.outline.set_visible(False)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _grouped(ax: Axes, points: np.ndarray, words: pd.Series, same: np.ndarray, name: str) -> None:
    names = list(words.cat.categories)
    if len(names) > GROUPS:
        rest = words.notna().to_numpy() & ~same
        ax.plot(*points[rest].T, "o", color=style.NONE, ms=4.5, mew=0, zorder=2, label=f"others ({len(names)} in all)")
        if same.any():
            label = f"the same {style.words(name)}"
            ax.plot(*points[same].T, "s", color=TINTS[1], ms=6, mec="white", mew=0.4, zorder=3, label=label)
        return
    own = style.GENDER_COLOURS if name == "gender" else {}
    for word, tint, mark in zip(names, TINTS, MARKS, strict=False):
        tint, at = own.get(word, tint), (words == word).to_numpy()
        ax.plot(*points[at].T, mark, color=tint, ms=5.5, mec="white", mew=0.4, alpha=0.85, zorder=2, label=word)
