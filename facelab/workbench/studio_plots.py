"""The picture of `FaceStudio`: where its parts stand, and how what moves in them is drawn.

What moves is drawn anew at every move of a slider, so by the shortest ways: lines without new limits, text by Pillow
(`style.Line`), pixels as they are.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from facelab.workbench import style

TOP = 150  # %: where a bar ends, whatever the number beside it
EDGE = 4  # pixels left and above of the face
DEEP = 8  # numbers of a code below each other
SIGNED, RANGE = colormaps[style.DIVERGING], 0.7  # their colours, from −RANGE to RANGE
COLUMNS = (0.372, 0.485, 0.635, 0.785)  # of the table of readings
FEW = 5  # readings there is room for beside the face; a line of LINE inches more for each further one
LINE = 0.26


def inches(readings: int) -> tuple[float, float]:
    """Width and height of the picture with so many readings."""
    return 7.6, 5.55 + LINE * max(0, readings - FEW)


class Board:
    """The parts of the picture in `figure`, as wide and high as `inches` says.

    readings: (task, name of the reader), a line of the table each. filters: name → (layer, filter), a bar and a curve
    each. control: the slider over which curves are drawn. Every method draws one part of what moves and returns its
    artists, which whoever called removes again.
    """

    def __init__(self, figure: Figure, readings: Sequence[tuple[str, str]], filters: Mapping, control):
        self.figure, self.readings, high = figure, list(readings), figure.get_figheight()
        for x, said in zip(COLUMNS, ("task", "rendered", "read as", "by"), strict=True):
            figure.text(x, 1 - 0.25 / high, said, fontsize=9, weight="bold", color=style.INK)
        for i, (task, by) in enumerate(self.readings):
            figure.text(COLUMNS[0], self._line(i), style.words(task), fontsize=9, color=style.INK)
            figure.text(COLUMNS[3], self._line(i), by, fontsize=8, color=style.INK)
        self.strip = figure.add_axes((COLUMNS[0], 2.82 / high, 0.99 - COLUMNS[0], 0.56 / high))
        self.strip.set(xticks=[], yticks=[])
        self.bars = style.axes(figure.add_axes((0.2, 0.95 / high, 0.26, 1.5 / high)))
        self.curves = style.axes(figure.add_axes((0.615, 0.95 / high, 0.37, 1.5 / high)))
        names = [f"{name}\n{layer} · {at}" for name, (layer, at) in filters.items()]
        self.bars.set(xlim=(0, TOP), ylim=(max(len(names), 1) - 0.4, -0.6), xticks=(0, 50, 100, TOP))
        self.bars.set_yticks(range(len(names)), names)
        self.bars.grid(axis="y", visible=False)
        self.bars.set_xlabel("response (% of its largest in a turn)", fontsize=9)
        figure.text(0.012, 2.55 / high, "filters (tick: this person frontal and neutral)", fontsize=9, color=style.INK)
        if not names:
            self.bars.text(0.5, 0.5, "no filters chosen", transform=self.bars.transAxes, ha="center", fontsize=9)
        self.curves.set(xlim=(control.min, control.max), ylim=(0, TOP), yticks=(0, 50, 100, TOP))
        self.curves.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 1.5, 2, 3, 5, 10]))
        self.curves.set_xlabel(control.description, fontsize=9)
        self.curves.set_ylabel("response (%)", fontsize=9)
        for ax in (self.bars, self.curves):
            ax.tick_params(labelsize=8)

    def _line(self, i: int) -> float:
        return 1 - (0.52 + LINE * i) / self.figure.get_figheight()

    def show_face(self, pixels: np.ndarray) -> list:
        """The face, (h, w, 3) uint8, `EDGE` pixels from the upper left corner."""
        bottom = round(self.figure.bbox.height) - len(pixels) - EDGE
        return [self.figure.add_artist(_Pixels(pixels, EDGE, bottom))]

    def show_readings(self, answers: Sequence[tuple[str, str]]) -> list:
        """What is true and what is read of it, a pair for every reading."""
        return [
            _said(self.figure, x, self._line(i), text)
            for i, texts in enumerate(answers)
            for x, text in zip(COLUMNS[1:3], texts, strict=True)
        ]

    def show_bars(self, percent: np.ndarray, usual: np.ndarray) -> list:
        """The responses (f,) of now as bars, and as ticks those to the frontal face, in % of the largest."""
        artists = []
        for i, (p, before) in enumerate(zip(percent, usual, strict=True)):
            tint, marker = style.RIVALS[i]
            artists += [
                self.bars.add_artist(Rectangle((0, i - 0.25), min(p, TOP), 0.5, color=tint)),
                _drawn(self.bars, [before, before], [i - 0.36, i + 0.36], color=style.INK, lw=1.4),
                _drawn(self.bars, [min(p, TOP)], [i], marker=marker, color=tint, mec="white", ms=8, clip_on=False),
                _said(self.bars, TOP + 8, i, f"{style.number(p, 0)} %", fontsize=8.5, va="center"),
            ]
        return artists

    def show_curves(self, title: str, now: float, percent: np.ndarray, swept: pd.DataFrame | None, fits: bool) -> list:
        """Where the filters are now (f,), in %, over the curves of a sweep (a row per value, a column per filter), if
        there was one; dotted unless they fit the settings of now."""
        ax = self.curves
        artists = [_said(ax, 0, 1.05, title, transform=ax.transAxes)]
        for i, p in enumerate(percent):
            tint, marker = style.RIVALS[i]
            if swept is not None:
                y = swept.iloc[:, i]
                artists.append(_drawn(ax, swept.index, y, color=tint, lw=1.8, ls="-" if fits else ":"))
            artists.append(
                _drawn(ax, [now], [min(p, TOP)], marker=marker, color=tint, mec="white", ms=8, clip_on=False)
            )
        return artists

    def show_code(self, code: np.ndarray, usual: np.ndarray, cosine: float) -> list:
        """The code as cells, column by column: its first numbers are large, so colours go by the signed root."""
        cells = np.full(-(-len(code) // DEEP) * DEEP, np.nan)
        cells[: len(code)] = np.sign(code) * np.sqrt(np.abs(code) / np.abs(usual).max())
        cells = SIGNED((cells.reshape(-1, DEEP).T / RANGE + 1) / 2, bytes=True)  # (DEEP, columns, 4)
        ax, box = self.strip, self.strip.bbox
        high, wide = int(box.height), int(box.width)
        row, column = np.arange(high) * DEEP // high, np.arange(wide) * cells.shape[1] // wide
        said = f"student's code, {len(code)} numbers (blue −, red +): cosine {style.number(cosine)} with frontal"
        return [
            ax.add_artist(_Pixels(cells[row][:, column], round(box.x0), round(box.y0))),
            _said(ax, 0, 1.12, said, transform=ax.transAxes),
        ]


class _Pixels(Artist):
    """Pixels (h, w, 3 or 4) uint8 as they are, at whole pixels of the figure, in a fraction of an image's time."""

    def __init__(self, pixels: np.ndarray, left: int, bottom: int):
        super().__init__()
        opaque = [] if pixels.shape[2] == 4 else [np.full(pixels.shape[:2], 255, np.uint8)]
        self._pixels, self._at = np.dstack([pixels, *opaque])[::-1], (left, bottom)

    def draw(self, renderer):
        renderer.draw_image(renderer.new_gc(), *self._at, self._pixels)


def _drawn(ax, x, y, **look) -> Line2D:
    """A line as `ax.plot` draws it, without looking for new limits, which takes longer than the line."""
    return ax.add_artist(Line2D(x, y, **look))


def _said(at, x, y, text: str, **look) -> style.Line:
    """Text in an axes (data coordinates, unless a `transform` says others) or in a figure."""
    return at.add_artist(style.Line(x, y, text, **{"fontsize": 9, "color": style.INK} | look))
