"""FaceStudio: a rendered head under sliders, and what filters, networks and the student make of it, live.

Every slider is an intervention: the same person, with that one thing changed. What responds was moved by it.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from facelab import tasks
from facelab.faces import rendered
from facelab.faces.faceset import FaceSet
from facelab.faces.people import GENDERS, person
from facelab.faces.photo import Shot
from facelab.faces.scenes import Sitting
from facelab.workbench import style
from facelab.workbench.live import WIDTH, Explorer, choice, slider
from facelab.workbench.observers import READINGS, Observers, Seen, one_thread, worded

FRONTAL = {"yaw": 0, "pitch": 0, "roll": 0, "expression": "neutral", "intensity": 1.0, "light": 25, "brightness": 1.0}
TURN = range(-90, 91, 15)  # degrees of yaw: the turn of the head against which a filter's bar is scaled
SWEPT = ("yaw", "pitch", "roll", "age", "gender", "intensity", "light", "brightness")
STEPS = 13  # pictures of a sweep
PAUSE = 0.02  # seconds between them, for the button and the sliders to be heard
TOP = 150  # %: where a bar ends, whatever the number beside it
EDGE = 4  # pixels left and above of the face
COARSE = 160  # pixels a side of the head that is shown while a slider moves, one point each
DEEP = 8  # numbers of a code below each other
SIGNED, RANGE = colormaps["RdBu_r"], 0.7  # their colours, from −RANGE to RANGE
COLUMNS = (0.372, 0.485, 0.635, 0.785)  # of the table of readings


class FaceStudio(Explorer):
    """A rendered head to turn, age, light and move; beside it what filters respond, networks read, the student says.

    seed: the first person. nets: {"age": net, "gender": net, "expression": net}, or some of them; None: the three
    sources of these names. net: the network the filters belong to; None: the source "identity". filters: name →
    (layer, filter), at most six, or what `find_crafts` found (the best filter of each kind); None: of all of the
    network's one of each kind, those that the first person's yaw moves most. probes: read-outs of responses of
    `net`, as `probes.fit` gives them. student: a network whose output is shown as a code; None: "student". size: pixels
    a side of the face that networks see.

    A bar is a filter's response in % of its largest while the first person turns through ±90° of yaw; the tick on it is
    the person of now, frontal and neutral, to whom the student's code is compared as well (cosine). "Sweep" plays one
    slider over its range and draws the responses against it. A source whose weights cannot be had is named in the
    picture, and why below it; the rest works without it.

    ValueError for a name, layer, filter or seed that does not exist, more than six filters, a probe of other responses.

        studio = FaceStudio(3, filters=crafts)  # on a cell's last line: live
        studio.set(yaw=-30, expression="happy").sweep("age")  # from Python: a table, a row per age
    """

    PEOPLE = 200
    FINE = 270  # pixels a side of the picture as it is shown
    MOVES = ("person", *SWEPT, "expression")
    DRAFTS = True

    def __init__(self, seed: int = 0, *, nets: Mapping | None = None, net=None, filters=None, probes: Iterable = (),
                 student=None, size: int = 128, device="auto"):  # fmt: skip
        if not 0 <= seed < self.PEOPLE:
            raise ValueError(f"seed {seed!r} is out of range: expected 0 to {self.PEOPLE - 1}")
        self.observers, self.size, self.device = Observers(nets, net, probes, student, device), size, device
        at = FRONTAL | _own(seed)
        controls = {
            "person": slider("person", 0, self.PEOPLE - 1, seed, unit="seed"),
            "yaw": slider("yaw", -90, 90, at["yaw"], step=5, unit="degrees"),
            "pitch": slider("pitch", -60, 60, at["pitch"], step=5, unit="degrees"),
            "roll": slider("roll", -45, 45, at["roll"], step=5, unit="degrees"),
            "age": slider("age", 5, 85, at["age"], unit="years"),
            "gender": slider("gender", 0.0, 1.0, at["gender"], step=0.05, unit="1 = male"),
            "expression": choice("expression", tasks.EXPRESSIONS, at["expression"]),
            "intensity": slider("intensity", 0.0, 1.0, at["intensity"], step=0.05, unit="0 to 1"),
            "light": slider("light from", -90, 90, at["light"], step=5, unit="degrees"),
            "brightness": slider("brightness", 0.4, 1.6, at["brightness"], step=0.05, unit="1 = normal"),
            "over": choice("sweep over", SWEPT),
        }
        controls["intensity"].disabled = True  # a neutral face has nothing to show
        self.curves, self._swept, self._player, self._stepping, self._home = None, None, None, False, None
        self._last, self._front, self._head = (None, None, None), (None, None), (None, None)
        turn = tuple(shot for yaw in TURN for shot in _sitting(at | {"yaw": yaw}).shots)
        self.largest = self.observers.choose(filters, self._photographed(replace(_sitting(at), shots=turn)))
        said = "Play the slider chosen above over its range, and draw the responses of the filters against it"
        self.button = widgets.Button(description="Sweep", tooltip=said, layout={"width": WIDTH})
        self.button.on_click(lambda _button: self._clicked())
        super().__init__(controls, (7.6, 5.55 + 0.26 * max(0, len(self._rows()) - 5)), [self.button])

    def adapt(self, name):
        if name == "person":  # everyone comes with an age and a gender of their own
            for own, value in _own(self.controls["person"].value).items():
                self.controls[own].value = value
        self.controls["intensity"].disabled = self.controls["expression"].value == "neutral"
        if self._player is not None and not self._stepping:  # a hand on a slider ends the play
            self._home = self._home if name != self.controls["over"].value else None
            self._player.cancel()

    # ---- the face, and what is made of it

    def sitting(self) -> Sitting:
        """What is photographed now."""
        return _sitting(self.settings)

    def _photographed(self, sitting: Sitting, size: int | None = None, **how) -> FaceSet:
        return rendered.draw([sitting], size=size or self.size, device=self.device, name="studio", **how)

    def _looked_at(self) -> tuple[FaceSet, Seen]:
        """The face of now and what is made of it; kept until a setting changes."""
        sitting = self.sitting()
        if self._last[0] != sitting:
            face = self._photographed(sitting)
            self._last = sitting, face, self.observers.see(face)
        return self._last[1:]

    def glimpse(self):
        """The head follows a slider at once, what is read of it as soon as it has been read."""
        if self._last[0] != self.sitting():
            frame = self.frame()
            frame[EDGE : EDGE + self.FINE, EDGE : EDGE + self.FINE] = self._picture()
            self.send(frame)

    def _frontal(self) -> Seen:
        """What is made of the person of now, frontal and neutral, with the age and gender the seed gives them."""
        seed = self.controls["person"].value
        if self._front[0] != seed:
            face = self._photographed(_sitting(FRONTAL | _own(seed)))
            self._front = seed, self.observers.see(face)
        return self._front[1]

    def _picture(self) -> np.ndarray:
        """(FINE, FINE, 3) uint8: the face of now as it is shown; in a draft a coarse one, enlarged."""
        wanted = self.sitting(), self.draft
        if self._head[0] != wanted:
            if self.draft:
                with one_thread():
                    face = self._photographed(wanted[0], COARSE, supersample=1)
            else:
                face = self._photographed(wanted[0], self.FINE)
            pixels = Image.fromarray(face.images[0].transpose(1, 2, 0))
            self._head = wanted, np.asarray(pixels.resize((self.FINE, self.FINE), Image.Resampling.BICUBIC))
        return self._head[1]

    # ---- the figure: what stays, and what moves in it

    def _rows(self) -> list[tuple[str, str]]:
        """What is read of the face, and by whom: (task, name of the reader)."""
        observers, rows = self.observers, []
        for name in READINGS:
            if name in observers.nets:
                rows.append((name, f"network for {name}"))
            if name in observers.missing:
                rows.append((name, "its weights are missing"))
        return rows + ([(p.task, f"probe at {p.layer}") for p in observers.probes] if observers.net else [])

    def draw(self, figure, over, **_moving):
        self._table, high = self._rows(), figure.get_figheight()
        for x, said in zip(COLUMNS, ("task", "rendered", "read as", "by"), strict=True):
            figure.text(x, 1 - 0.25 / high, said, fontsize=9, weight="bold", color=style.INK)
        for i, (task, by) in enumerate(self._table):
            figure.text(COLUMNS[0], self._line(i), style.words(task), fontsize=9, color=style.INK)
            figure.text(COLUMNS[3], self._line(i), by, fontsize=8, color=style.INK)
        self._strip = figure.add_axes((COLUMNS[0], 2.82 / high, 0.99 - COLUMNS[0], 0.56 / high))
        self._strip.set(xticks=[], yticks=[])
        self._bars = style.axes(figure.add_axes((0.2, 0.95 / high, 0.26, 1.5 / high)))
        self._curves = style.axes(figure.add_axes((0.615, 0.95 / high, 0.37, 1.5 / high)))
        names = [f"{name}\n{layer} · {at}" for name, (layer, at) in self.observers.filters.items()]
        self._bars.set(xlim=(0, TOP), ylim=(max(len(names), 1) - 0.4, -0.6), xticks=(0, 50, 100, TOP))
        self._bars.set_yticks(range(len(names)), names)
        self._bars.grid(axis="y", visible=False)
        self._bars.set_xlabel("response (% of its largest in a turn)", fontsize=9)
        figure.text(0.012, 2.55 / high, "filters (tick: this person frontal and neutral)", fontsize=9, color=style.INK)
        if not names:
            self._bars.text(0.5, 0.5, "no filters chosen", transform=self._bars.transAxes, ha="center", fontsize=9)
        control = self.controls[over]
        self._curves.set(xlim=(control.min, control.max), ylim=(0, TOP), yticks=(0, 50, 100, TOP))
        self._curves.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 1.5, 2, 3, 5, 10]))
        self._curves.set_xlabel(control.description, fontsize=9)
        self._curves.set_ylabel("response (%)", fontsize=9)
        for ax in (self._bars, self._curves):
            ax.tick_params(labelsize=8)
        return ""

    def _line(self, i: int) -> float:
        return 1 - (0.52 + 0.26 * i) / self._inches[1]

    def mark(self, over, **_moving):
        (face, seen), front, figure = self._looked_at(), self._frontal(), self._scene.canvas.figure
        bottom = round(figure.bbox.height) - self.FINE - EDGE
        artists, said = [figure.add_artist(_Pixels(self._picture(), EDGE, bottom))], []
        answers = [seen.read[0].get(task, "–") for task, _ in self._table[: len(self._table) - len(seen.probed[0])]]
        label = face.labels.iloc[0]
        for i, ((task, by), answer) in enumerate(zip(self._table, answers + seen.probed[0], strict=True)):
            true = worded(task, label[task]) if task in label else "–"
            for x, text in zip(COLUMNS[1:3], (true, answer), strict=True):
                artists.append(_said(figure, x, self._line(i), text))
            said.append(f"{style.words(task)} {true}, {by}: {answer}")
        percent = self._percent(seen.responses[0])
        artists += self._bar_marks(percent, self._percent(front.responses[0]))
        artists += self._curve_marks(over, percent)
        code, before = seen.codes[0], front.codes[0]
        cosine = float(code @ before / (np.linalg.norm(code) * np.linalg.norm(before)))
        artists += self._code_marks(code, before, cosine)
        said += [
            f"filter {name} {style.number(p, 0)} %" for name, p in zip(self.observers.filters, percent, strict=True)
        ]
        said.append(f"student's code: cosine {style.number(cosine)} with this person frontal and neutral")
        said += [f"{name}: {why}" for name, why in self.observers.missing.items()]
        return artists, "; ".join(said)

    def _percent(self, responses: np.ndarray) -> np.ndarray:
        return 100 * responses / np.where(self.largest > 0, self.largest, np.inf)

    def _bar_marks(self, percent, usual) -> list:
        artists = []
        for i, (p, before) in enumerate(zip(percent, usual, strict=True)):
            tint, marker = style.RIVALS[i]
            artists += [
                self._bars.add_artist(Rectangle((0, i - 0.25), min(p, TOP), 0.5, color=tint)),
                _drawn(self._bars, [before, before], [i - 0.36, i + 0.36], color=style.INK, lw=1.4),
                _drawn(self._bars, [min(p, TOP)], [i], marker=marker, color=tint, mec="white", ms=8, clip_on=False),
                _said(self._bars, TOP + 8, i, f"{style.number(p, 0)} %", fontsize=8.5, va="center"),
            ]
        return artists

    def _curve_marks(self, over: str, percent) -> list:
        """The curves of the last sweep over this slider, and where the filters are now."""
        ax, now, title = self._curves, self.controls[over].value, "press “Sweep” to draw the tuning curves"
        swept = self.curves is not None and self._swept[0] == over
        if swept:
            fits = self._swept[1] == self._others(over)
            title = f"tuning: {over} alone changes" if fits else f"tuning to {over} at earlier settings"
        artists = [_said(ax, 0, 1.05, title, transform=ax.transAxes)]
        for i, p in enumerate(percent):
            tint, marker = style.RIVALS[i]
            if swept:
                y = self._percent(self.curves.to_numpy())[:, i]
                artists.append(_drawn(ax, self.curves.index, y, color=tint, lw=1.8, ls="-" if fits else ":"))
            artists.append(
                _drawn(ax, [now], [min(p, TOP)], marker=marker, color=tint, mec="white", ms=8, clip_on=False)
            )
        return artists

    def _code_marks(self, code, usual, cosine) -> list:
        """The code as cells, column by column: its first numbers are large, so colours go by the signed root."""
        cells = np.full(-(-len(code) // DEEP) * DEEP, np.nan)
        cells[: len(code)] = np.sign(code) * np.sqrt(np.abs(code) / np.abs(usual).max())
        cells = SIGNED((cells.reshape(-1, DEEP).T / RANGE + 1) / 2, bytes=True)  # (DEEP, columns, 4)
        ax, box = self._strip, self._strip.bbox
        high, wide = int(box.height), int(box.width)
        row, column = np.arange(high) * DEEP // high, np.arange(wide) * cells.shape[1] // wide
        said = f"student's code, {len(code)} numbers (blue −, red +): cosine {style.number(cosine)} with frontal"
        return [
            ax.add_artist(_Pixels(cells[row][:, column], round(box.x0), round(box.y0))),
            _said(ax, 0, 1.12, said, transform=ax.transAxes),
        ]

    # ---- the sweep

    def sweep(self, over: str | None = None) -> pd.DataFrame:
        """Play a slider over its range: the response of every filter (columns) at every value of it (rows).

        over: the slider, by default the one chosen. ValueError for one that cannot be played.
        """
        if over is not None:
            self.set(over=over)
        with closing(self._steps()) as steps:
            for _ in steps:
                pass
        self.picture()
        return self.curves.copy()

    def _others(self, over: str) -> dict:
        return {name: value for name, value in self.settings.items() if name not in (over, "over")}

    def _steps(self) -> Iterator[None]:
        """Set the slider to one value after another and take down the responses; at last set it back."""
        over = self.controls["over"].value
        control = self.controls[over]
        whole = isinstance(control, widgets.IntSlider)
        values = np.round(np.linspace(control.min, control.max, STEPS) / control.step) * control.step
        names = list(self.observers.filters)
        self._swept, self._home = (over, self._others(over)), control.value
        rows = {}
        try:
            for value in values:
                self._put(control, int(value) if whole else round(float(value), 6))
                rows[control.value] = self._looked_at()[1].responses[0]
                self.curves = pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis(over)
                yield
        finally:
            if self._home is not None:
                self._put(control, self._home)

    def _put(self, control, value) -> None:
        self._held = self._stepping = True
        try:
            control.value = value
        finally:
            self._held = self._stepping = False
            self._stale = True

    def _clicked(self) -> None:
        if self._player is not None:
            self._player.cancel()
            return
        try:
            self._player = asyncio.get_running_loop().create_task(self._play())
        except RuntimeError:  # no kernel
            self.sweep()

    async def _play(self) -> None:
        self.button.description = "Stop"
        try:
            with closing(self._steps()) as steps:
                for _ in steps:
                    self._refresh(draft=True)
                    await asyncio.sleep(PAUSE)
        except Exception as error:
            self._show(error)
        finally:
            self._player, self.button.description = None, "Sweep"
            self._refresh()


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


_known = lru_cache(maxsize=8)(person)  # the same one at every move of another slider


def _own(seed: int) -> dict:
    """What comes with a person, to the steps of the sliders."""
    who = _known(seed)
    return {"person": seed, "age": round(who.age), "gender": round(20 * who.masculinity) / 20}


def _sitting(s: Mapping) -> Sitting:
    """What is photographed at these settings. The light comes so many degrees from the image's right."""
    x, y, z = Shot().light
    around, far = np.deg2rad(s["light"]), np.hypot(x, z)
    light = (float(far * np.sin(around)), y, float(far * np.cos(around)))
    pose = {name: float(s[name]) for name in ("yaw", "pitch", "roll")}
    gender = GENDERS[int(s["gender"] > 0.5)]
    who = replace(_known(s["person"]), age=float(s["age"]), masculinity=float(s["gender"]), gender=gender)
    shot = Shot(**pose, light=light, exposure=float(s["brightness"]))
    return Sitting(who, s["expression"], float(s["intensity"]), (shot,))
