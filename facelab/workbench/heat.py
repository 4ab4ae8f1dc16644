"""The one heat map: a table of texts, each cell shaded by its value."""

import numpy as np
from matplotlib.axes import Axes

from facelab.workbench import style


def heat(values, texts, rows, columns, shades, *, bold=None, ax: Axes | None = None) -> Axes:
    """A table of texts (r, c) shaded by values (r, c) through shades = (map, norm); NaN is left white.

    rows, columns: their names. bold: (r, c), which texts are. ValueError: no cell.

    >>> from matplotlib import colormaps, pyplot as plt
    >>> from matplotlib.colors import Normalize
    >>> ax = heat([[0.0, 1.0]], [["0", "1"]], ["yaw"], ["AE", "PCA"], (colormaps["YlGnBu"], Normalize(0, 1)))
    >>> [text.get_text() for text in ax.texts]
    ['0', '1']
    >>> plt.close(ax.figure)
    """
    values = np.asarray(values, float)
    if not values.size:
        raise ValueError(f"a matrix of {len(rows)} × {len(columns)}: nothing to draw")
    rows, columns = [style.words(str(r)) for r in rows], [style.words(str(c)) for c in columns]
    wide = max(len(name) for name in columns)
    body = max(3.6, 0.66 * len(columns)), max(1.5, 0.34 * len(rows))  # below this the title has no room
    ax = style.axes(ax, body[0] + 0.075 * max(map(len, rows)) + 0.6, body[1] + 1.0 + 0.05 * (wide if wide > 8 else 0))
    image = ax.imshow(np.ma.masked_invalid(values), aspect="auto", cmap=shades[0], norm=shades[1])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    tilt = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if wide > 8 else {}
    ax.set_xticks(range(len(columns)), columns, **tilt)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    for (i, j), value in np.ndenumerate(values):
        if not texts[i][j]:
            continue
        dark = np.isfinite(value) and np.dot(image.cmap(image.norm(value))[:3], (0.3, 0.59, 0.11)) < 0.55
        weight = "bold" if bold is not None and bold[i][j] else "normal"
        ax.text(j, i, texts[i][j], ha="center", va="center", fontsize=9, weight=weight,
                color="white" if dark else style.INK)  # fmt: skip
    return ax


def part(ax: Axes, *, row: int | None = None, column: int | None = None) -> None:
    """A white gap before this row and this column of a heat map, where there is one on both sides."""
    bottom, right = ax.images[0].get_array().shape
    if row is not None and 0 < row < bottom:
        ax.axhline(row - 0.5, color="white", lw=6)
    if column is not None and 0 < column < right:
        ax.axvline(column - 0.5, color="white", lw=6)
