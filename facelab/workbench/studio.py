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
from facelab.workbench.studio_plots import EDGE, Board, inches

FRONTAL = {"yaw": 0, "pitch": 0, "roll": 0, "expression": "neutral", "intensity": 1.0, "light": 25, "brightness": 1.0}
TURN = range(-90, 91, 15)  # degrees of yaw: the turn of the head against which a filter's bar is scaled
SWEPT = ("yaw", "pitch", "roll", "age", "gender", "intensity", "light", "brightness")
STEPS = 13  # pictures of a sweep
PAUSE = 0.02  # seconds between them, for the button and the sliders to be heard
COARSE = 160  # pixels a side of the head that is shown while a slider moves, one point each


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
        super().__init__(controls, inches(len(self._rows())), [self.button])

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
        """The head follows a slider at once, coarsely drawn; what is read of it follows, later by that one drawing."""
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

    def _picture(self, face: FaceSet | None = None) -> np.ndarray:
        """(FINE, FINE, 3) uint8: the face of now as it is shown; in a draft a coarse one or `face`, enlarged."""
        wanted = self.sitting(), self.draft
        if self._head[0] != wanted:
            if not self.draft:
                face = self._photographed(wanted[0], self.FINE)
            elif face is None:
                with one_thread():
                    face = self._photographed(wanted[0], COARSE, supersample=1)
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
        self._board = Board(figure, self._rows(), self.observers.filters, self.controls[over])
        return ""

    def mark(self, over, **_moving):
        (face, seen), front, board = self._looked_at(), self._frontal(), self._board
        read = [seen.read[0].get(task, "–") for task, _ in board.readings[: len(board.readings) - len(seen.probed[0])]]
        label, answers, said = face.labels.iloc[0], [], []
        for (task, by), answer in zip(board.readings, read + seen.probed[0], strict=True):
            true = worded(task, label[task]) if task in label else "–"
            answers.append((true, answer))
            said.append(f"{style.words(task)} {true}, {by}: {answer}")
        percent, usual = (self._percent(one.responses[0]) for one in (seen, front))
        said += [
            f"filter {name} {style.number(p, 0)} %" for name, p in zip(self.observers.filters, percent, strict=True)
        ]
        code, before = seen.codes[0], front.codes[0]
        cosine = float(code @ before / (np.linalg.norm(code) * np.linalg.norm(before)))
        said.append(f"student's code: cosine {style.number(cosine)} with this person frontal and neutral")
        said += [f"{name}: {why}" for name, why in self.observers.missing.items()]
        artists = [
            *board.show_face(self._picture(face)),
            *board.show_readings(answers),
            *board.show_bars(percent, usual),
            *self._curves(over, percent),
            *board.show_code(code, before, cosine),
        ]
        return artists, "; ".join(said)

    def _percent(self, responses: np.ndarray) -> np.ndarray:
        return 100 * responses / np.where(self.largest > 0, self.largest, np.inf)

    def _curves(self, over: str, percent: np.ndarray) -> list:
        """The curves of the last sweep over this slider, and where the filters are now."""
        now = self.controls[over].value
        if self.curves is None or self._swept[0] != over:
            return self._board.show_curves("press “Sweep” to draw the tuning curves", now, percent, None, False)
        fits = self._swept[1] == self._others(over)
        title = f"tuning: {over} alone changes" if fits else f"tuning to {over} at earlier settings"
        swept = pd.DataFrame(self._percent(self.curves.to_numpy()), self.curves.index)
        return self._board.show_curves(title, now, percent, swept, fits)

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
