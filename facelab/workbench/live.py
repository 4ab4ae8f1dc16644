"""Controls beside a picture that follows them, in a notebook; a still picture everywhere else.

An explorer is shown by leaving it on a cell's last line. With a kernel it is live. In an HTML report, on a page that
only shows saved notebooks, or in a terminal it is its static twin: the same picture with the settings of that moment
(`image/png`) and one line of text. Standard ipywidgets only; figures are drawn by matplotlib's Agg into a
`widgets.Image`, so nothing has to be installed in the browser.
"""

import asyncio
import logging
import textwrap
from base64 import b64encode
from html import escape
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from facelab.errors import unknown
from facelab.workbench import style

log = logging.getLogger(__name__)
WAIT = 0.003  # seconds in which further changes are collected before a picture is drawn
IDLE = 0.3  # seconds without a change after which a draft is drawn again in full
DPI = 100
LABEL, WIDTH = "12em", "28em"  # of a control
MIN_PICTURE = "32em"  # a picture that has less room beside its controls goes below them


def slider(name: str, low, high, value, *, step=1, unit: str = "") -> widgets.Widget:
    """A labelled slider: whole numbers where all of its numbers are, else decimals."""
    whole = all(isinstance(v, int) for v in (low, high, value, step))
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, **_labelled(name, unit))


def log_slider(name: str, low: float, high: float, value: float, *, unit: str = "") -> widgets.Widget:
    """A slider of ratios, from 10^low to 10^high."""
    about = {"base": 10, "min": low, "max": high, "step": 0.05, "readout_format": ".3f"}
    return widgets.FloatLogSlider(value=value, **about, **_labelled(name, unit))


def choice(name: str, options, value=None) -> widgets.Widget:
    """A labelled list to choose from; the first by default."""
    options = list(options)
    return widgets.Dropdown(options=options, value=options[0] if value is None else value, **_labelled(name))


def count(name: str, low: int, high: int, value: int) -> widgets.Widget:
    """A labelled box for a whole number."""
    return widgets.BoundedIntText(value=value, min=low, max=high, **_labelled(name))


def _labelled(name: str, unit: str = "") -> dict:
    text = f"{name} ({unit})" if unit else name
    return {"description": text, "style": {"description_width": LABEL}, "layout": {"width": WIDTH}}


def _stepped(control: widgets.Dropdown) -> widgets.Widget:
    """A list and two buttons that step through it: while a list has the focus, JupyterLab keeps its keys to itself."""

    def button(sign: str, step: int, said: str) -> widgets.Button:
        def move(_button) -> None:
            at = control.index + step
            if not control.disabled and 0 <= at < len(control.options):
                control.index = at

        made = widgets.Button(description=sign, tooltip=f"{said}: {control.description}", layout={"width": "2em"})
        made.on_click(move)
        return made

    control.layout.width = f"calc({WIDTH} - 4em - 8px)"
    return widgets.HBox([control, button("‹", -1, "the one before"), button("›", 1, "the next one")])


class Explorer:
    """Controls and a picture. A subclass passes its controls and draws.

        MOVES = ("gamma",)                            # controls that do not change what `draw` drew …
        def mark(self, **settings) -> (artists, str)  # … but what this adds to it: redrawn alone when they move
        def draw(self, figure, **settings) -> str     # fills the figure, returns one line that says what is seen

    controls: name → widget, in the order in which the tab key visits them. inches: size of the picture.
    What goes wrong while drawing is shown below the place of the picture, and no picture that does not belong
    to the settings stays. Changes that arrive while a picture is drawn are collected: the next picture is
    that of the latest settings, none in between is drawn. With `DRAFTS` the pictures that follow a moving control
    are drafts (`self.draft`: `draw` and `mark` may take a short cut), and the last is drawn again when nothing moves.
    buttons: widgets below the controls that are no settings.
    """

    MOVES: tuple[str, ...] = ()
    DRAFTS = False

    def __init__(self, controls: dict[str, widgets.Widget], inches: tuple[float, float], buttons=()):
        self.controls, self._inches = controls, inches
        self._bytes, self._text, self._error, self._scene = b"", "", None, None
        self._stale, self._held, self._adapting, self.draft = True, False, False, False
        self._later, self._idle = None, None
        least, most = f"min(100%, {MIN_PICTURE})", f"min(100%, {round(DPI * inches[0])}px)"
        room = {"flex": f"1 1 {MIN_PICTURE}", "min_width": least, "max_width": most, "object_fit": "contain"}
        self.image = widgets.Image(format="png", layout=room)
        self.status = widgets.HTML()  # says the picture in words: a `widgets.Image` takes no alt text
        for name, control in controls.items():
            control.observe(lambda change, name=name: self._changed(name), names="value")
        rows = [_stepped(one) if isinstance(one, widgets.Dropdown) else one for one in controls.values()]
        side = widgets.VBox([*rows, *buttons], layout={"flex": "0 0 auto", "min_width": "29em"})
        flow = {"flex_flow": "row wrap", "align_items": "flex-start"}
        top = widgets.HBox([side, self.image], layout=flow)
        self.widget = widgets.VBox([top, self.status])
        self.picture()

    @property
    def settings(self) -> dict:
        """The value of every control."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **settings) -> "Explorer":
        """Move controls from Python, in their own order, whatever the order here: what the first ones choose decides
        what the others can be. ValueError for an unknown control or a value it cannot take.

        A slider moved by hand stops at its ends; a value from Python beyond them is an error.
        """
        for name in settings:
            if name not in self.controls:
                raise unknown("control", name, self.controls)
        self._held = True
        try:
            for name in (name for name in self.controls if name in settings):
                _check(name, self.controls[name], settings[name])
                self.controls[name].value = settings[name]
        finally:
            self._held = False
            self._refresh()
        self.picture()
        return self

    def picture(self) -> bytes:
        """The PNG of the current settings. Raises what `draw` raised."""
        self._refresh()
        if self._error is not None:
            raise self._error
        return self._bytes

    def adapt(self, name: str) -> None:
        """Called when a control has moved, before drawing: adjusts the controls that depend on it."""

    def draw(self, figure: Figure, **settings) -> str:
        """Draw the settings into `figure` and say in one line what is seen."""
        raise NotImplementedError(f"{type(self).__name__} does not draw anything yet")

    def mark(self, **settings) -> tuple[list, str]:
        """What the controls in `MOVES` add to the drawn figure, and the line that says what is seen."""
        return [], self._scene.text

    def glimpse(self) -> None:
        """Called before a draft is drawn: may `send` what is ready sooner, put into the last `frame`."""

    def frame(self) -> np.ndarray:
        """(h, w, 3) uint8: the pixels drawn last."""
        pixels = np.asarray(self._scene.canvas.buffer_rgba())
        return np.array(Image.frombuffer("RGBA", pixels.shape[1::-1], pixels, "raw", "RGBA", 0, 1).convert("RGB"))

    def send(self, pixels: np.ndarray) -> None:
        """Show these pixels (h, w, 3), a passing picture that nothing keeps."""
        self._put_picture(style.encode(pixels, draft=True), "jpeg")

    def _put_picture(self, encoded: bytes, kind: str) -> None:
        with self.image.hold_sync():
            self.image.format, self.image.value = kind, encoded

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self._said()}): {self._text or self._error}"

    def _said(self) -> str:
        """The settings that count, as a line: "person 3 · yaw −30 degrees"."""
        said = []
        for control in self.controls.values():
            name, _, unit = control.description.rstrip(")").partition(" (")
            value = control.value
            if isinstance(value, (int, float)):
                value = f"{value:.3g}".replace("-", "−")
            if not control.disabled:
                said.append(f"{name} {value} {unit if unit.isalpha() else ''}".strip())
        return " · ".join(said)

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        self._refresh()
        bundle = dict(self.widget._repr_mimebundle_())
        bundle["text/plain"] = repr(self)
        if self._error is not None:
            return bundle, {}
        bundle["image/png"] = b64encode(self._bytes).decode()
        return bundle, {"image/png": {"alt": repr(self)}}

    def _changed(self, name: str) -> None:
        self._stale = True
        if self._adapting:  # what `adapt` moves belongs to the same change
            return
        self._adapting = True
        try:
            self.adapt(name)
        except Exception as error:
            self._show(error)
            return
        finally:
            self._adapting = False
        if self._held:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: nothing will call later
            self._refresh()
            return
        if self._idle is not None:
            self._idle.cancel()
        if self._later is None:
            self._later = loop.call_later(WAIT, self._follow)

    def _follow(self) -> None:
        """Draw what a moved control asks for, in full at once or when nothing has moved for a while."""
        self._later = None
        self._refresh(draft=self.DRAFTS)
        if self.draft:
            self._idle = asyncio.get_running_loop().call_later(IDLE, self._refresh)

    def _refresh(self, draft: bool = False) -> None:
        if not self._stale and (draft or not self.draft):
            return
        self.draft = draft
        try:
            if draft and self._scene is not None:
                self.glimpse()
            self._bytes, self._text = self._drawn()
        except Exception as error:
            self._show(error)
        else:
            self._show(None)

    def _show(self, error: Exception | None) -> None:
        self._error, self._stale = error, False
        said = escape(self._text)
        if error is not None:
            log.error("%s could not draw %s", type(self).__name__, self.settings, exc_info=error)
            self._bytes, self._text, self._scene = b"", "", None
            said = f"<b>Cannot draw this:</b> {escape(str(error))}"
        self._put_picture(self._bytes, "jpeg" if self.draft else "png")
        self.image.layout.display = "none" if error else ""
        self.status.value = f'<div role="status" style="line-height: 1.4">{said}</div>'

    def _drawn(self) -> tuple[bytes, str]:
        settings = self.settings
        still = {name: value for name, value in settings.items() if name not in self.MOVES}
        if self._scene is None or self._scene.still != still or not self.MOVES:
            canvas = FigureCanvasAgg(Figure(figsize=self._inches, dpi=DPI))
            text = self.draw(canvas.figure, **settings)
            canvas.draw()
            self._scene = _Scene(still, canvas, canvas.copy_from_bbox(canvas.figure.bbox), text)
        canvas = self._scene.canvas
        canvas.restore_region(self._scene.pixels)
        marks, text = self.mark(**settings)
        if not self.draft:  # while a control moves, it says itself where it stands
            lines = textwrap.fill(self._said(), int(15 * self._inches[0]))
            marks = [*marks, canvas.figure.text(0.008, 0.012, lines, fontsize=8, color="#666666")]
        for artist in marks:
            artist.draw(canvas.get_renderer())
            artist.remove()
        return style.encode(self.frame(), draft=self.draft), text


class _Scene(NamedTuple):
    """What was drawn last, without its marks."""

    still: dict
    canvas: FigureCanvasAgg
    pixels: object
    text: str


def _check(name: str, control, value) -> None:
    if hasattr(control, "options"):
        if value not in control.options:
            raise unknown(name, value, control.options)
        return
    low, high = control.min, control.max
    if hasattr(control, "base"):
        low, high = control.base**low, control.base**high
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise ValueError(f"{name} {value!r} is out of range: expected a number from {low:g} to {high:g}")
