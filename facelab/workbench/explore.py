"""Explorers: controls beside a picture that follows them, in a notebook; a still picture everywhere else.

An explorer is shown by leaving it on a cell's last line. With a kernel it is live. In an HTML report, on a
page that only shows saved notebooks, or in a terminal it is its static twin: the same picture with the
settings of that moment (`image/png`) and one line of text. Standard ipywidgets only; figures are drawn by
matplotlib's Agg into a `widgets.Image`, so nothing has to be installed in the browser.
"""

import asyncio
import logging
from base64 import b64encode
from html import escape

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from facelab import faces as faces_room
from facelab import tasks
from facelab.errors import unknown
from facelab.workbench import plots, style

log = logging.getLogger(__name__)
WAIT = 0.02  # seconds in which further changes are collected before a picture is drawn
NUMBER = "by number"
ALL = "all layers"


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
    return {"description": text, "style": {"description_width": "11em"}, "layout": {"width": "26em"}}


class Explorer:
    """Controls and a picture. A subclass passes its controls and draws.

        def draw(self, figure, **settings) -> str     # fills the figure, returns one line that says what is
        seen

    controls: name → widget, in the order in which the tab key visits them. inches: size of the picture.
    Whatever happens in `draw` while a control is moved is shown below the picture; the last good picture is
    taken away, for it is not that of the settings. Changes that arrive while a picture is drawn are
    collected: the next picture is that of the latest settings, none in between is drawn.
    """

    def __init__(self, controls: dict[str, widgets.Widget], inches: tuple[float, float]):
        self.controls, self._inches = controls, inches
        self._bytes, self._text, self._error = b"", "", None
        self._stale, self._held, self._adapting, self._later = True, False, False, None
        self.image = widgets.Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})
        self.status = widgets.HTML()
        for name, control in controls.items():
            control.observe(lambda change, name=name: self._changed(name), names="value")
        side = widgets.VBox(list(controls.values()), layout={"min_width": "27em"})
        flow = {"flex_flow": "row wrap", "align_items": "flex-start"}
        top = widgets.HBox([side, self.image], layout=flow)
        self.widget = widgets.VBox([top, self.status])
        self.picture()

    @property
    def settings(self) -> dict:
        """The value of every control."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **settings) -> "Explorer":
        """Move controls from Python. ValueError for an unknown control or a value it cannot take.

        A slider moved by hand stops at its ends; a value from Python beyond them is an error.
        """
        for name in settings:
            if name not in self.controls:
                raise unknown("control", name, self.controls)
        self._held = True
        try:
            for name, value in settings.items():
                _check(name, self.controls[name], value)
                self.controls[name].value = value
        finally:
            self._held = False
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

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self._said()}): {self._text or self._error}"

    def _said(self) -> str:
        return " · ".join(
            f"{c.description} {f'{c.value:.4g}' if isinstance(c.value, float) else c.value}".replace("-", "−")
            for c in self.controls.values()
            if not c.disabled
        )

    def _repr_mimebundle_(self, **options) -> dict:
        self._refresh()
        bundle = dict(self.widget._repr_mimebundle_())
        bundle["text/plain"] = repr(self)
        if self._error is None:
            bundle["image/png"] = b64encode(self._bytes).decode()
        return bundle

    def _changed(self, name: str) -> None:
        self._stale = True
        if self._adapting:  # what `adapt` moves belongs to the same change
            return
        self._adapting = True
        try:
            self.adapt(name)
        finally:
            self._adapting = False
        if self._held:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: nothing will call later
            self._refresh()
            return
        if self._later is None:
            self._later = loop.call_later(WAIT, self._refresh)

    def _refresh(self) -> None:
        self._later = None
        if not self._stale:
            return
        self._stale = False
        figure = Figure(figsize=self._inches)
        try:
            self._text, self._error = self.draw(figure, **self.settings), None
            figure.text(0.008, 0.012, self._said(), fontsize=8, color="#666666")
            self._bytes = style.png(figure)
        except Exception as error:
            log.exception("%s could not draw %s", type(self).__name__, self.settings)
            self._bytes, self._text, self._error = b"", "", error
        self.image.value = self._bytes
        self.image.layout.display = "none" if self._error else ""
        said = escape(self._text) if self._error is None else f"<b>Cannot draw this:</b> {escape(str(self._error))}"
        self.status.value = f'<div role="status" style="line-height:1.4">{said}</div>'


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


class HeadExplorer(Explorer):
    """A rendered head to turn, age and move: the exact labels behind every number of the notebooks.

    seed: the first person shown. size: pixels a side. nets: {"age": net, "gender": net}: networks whose
    readings are shown beside the picture, each with its own name as key.
    """

    PEOPLE = 200

    def __init__(self, seed: int = 0, *, size: int = 192, nets: dict | None = None, device="auto"):
        if not 0 <= seed < self.PEOPLE:
            raise ValueError(f"seed {seed!r} is out of range: expected 0 to {self.PEOPLE - 1}")
        self.size, self.nets, self.device = size, nets or {}, device
        controls = {
            "person": slider("person", 0, self.PEOPLE - 1, seed),
            "yaw": slider("yaw", -90, 90, 0, step=5, unit="degrees"),
            "pitch": slider("pitch", -60, 60, 0, step=5, unit="degrees"),
            "age": slider("age", 5, 85, round(faces_room.person(seed).age), unit="years"),
            "expression": choice("expression", tasks.EXPRESSIONS),
            "intensity": slider("its intensity", 0.0, 1.0, 1.0, step=0.05, unit="0 to 1"),
        }
        super().__init__(controls, (5.6, 3.2))

    def adapt(self, name):
        if name == "person":  # everyone comes with an age of their own
            self.controls["age"].value = round(faces_room.person(self.controls["person"].value).age)

    def face(self, person, yaw, pitch, age, expression, intensity):
        """The face of these settings: a FaceSet of one."""
        who = faces_room.person(person)
        look = {"yaw": float(yaw), "pitch": float(pitch), "expression": expression, "intensity": intensity}
        return faces_room.sweep(who, "age", [age], size=self.size, device=self.device, **look)

    def draw(self, figure, **settings):
        face = self.face(**settings)
        plots.faces(face, ax=figure.add_axes((0.0, 0.07, 0.53, 0.93)))
        who, age = face.labels.iloc[0], settings["age"]
        lines = [
            f"{who['gender']}, {who['ethnicity']}, {age} years",
            f"valence {style.number(who['valence'])}",
        ]
        readings = []
        for name, net in self.nets.items():
            value = float(np.ravel(net.predict(face))[0])
            readings.append(f"age {value:.0f} years" if name == "age" else f"male {100 * value:.0f} %")
        figure.text(0.56, 0.9, "the label says", fontsize=9, weight="bold", va="top")
        figure.text(0.56, 0.82, "\n".join(lines), fontsize=9, va="top", linespacing=1.5)
        if readings:
            figure.text(0.56, 0.52, "networks read", fontsize=9, weight="bold", va="top")
            figure.text(0.56, 0.44, "\n".join(readings), fontsize=9, va="top", linespacing=1.5)
        return "; ".join(lines + [f"networks read {r}" for r in readings])


class FilterExplorer(Explorer):
    """One filter after another: its response against the label, and the faces it answers most and least.

    responses: a response table. crafts: `find_crafts(responses, task)`, or several of them by task. faces:
    the faces the responses were measured on, to show some; without them the curve stands alone.
    """

    RANKS = 20
    SHOWN = 5

    def __init__(self, responses, crafts, faces=None):
        self.crafts = dict(crafts) if isinstance(crafts, dict) else {crafts.task: crafts}
        if faces is not None and len(faces) != len(responses.labels):
            raise ValueError(
                f"{len(faces)} faces for responses to {len(responses.labels)}: expected the set they came from"
            )
        self.responses, self.faces = responses, faces
        self._tables = {task: c.table().dropna(subset="rho") for task, c in self.crafts.items()}
        task = next(iter(self.crafts))
        layers = list(responses.layers)
        controls = {
            "task": choice("task", self.crafts),
            "show": choice("show", self._kinds(task)),
            "rank": slider("rank", 1, self.RANKS, 1, unit="1 = strongest"),
            "layer": choice("layer", [ALL, *layers]),
            "filter": count("filter", 0, max(x.shape[1] for x in responses.layers.values()) - 1, 0),
        }
        controls["filter"].disabled = True
        self.row = None
        super().__init__(controls, (9.2, 3.5))

    def _kinds(self, task):
        return [*(f"best {kind}" for kind in dict.fromkeys(self._tables[task]["kind"])), NUMBER]

    def adapt(self, name):
        task, show, rank, layer, number = self.controls.values()
        if name == "task":
            show.options = self._kinds(task.value)
            show.value = show.options[0]
        by_number = show.value == NUMBER
        if by_number and layer.value == ALL:  # go on from the filter that is shown
            layer.value, number.value = self.row["layer"], int(self.row["filter"])
        if by_number:
            number.max = self.responses[layer.value].shape[1] - 1
        number.disabled, rank.disabled = not by_number, by_number

    def chosen(self, task, show, rank, layer, filter) -> pd.Series:
        """The row of the crafts' table that these settings stand for."""
        table = self._tables[task]
        if layer != ALL:
            table = table[table["layer"] == layer]
        if show != NUMBER:
            return plots.best(table, show.removeprefix("best "), rank)
        table = table[table["filter"] == filter]
        if layer == ALL:
            raise ValueError("a filter's number needs its layer: choose one")
        if table.empty:
            raise ValueError(f"filter {filter} of {layer} never responds, or there is none")
        return table.loc[table["rho"].idxmax()]

    def draw(self, figure, **settings):
        self.row = row = self.chosen(**settings)
        task, x = settings["task"], self.responses[row["layer"]][:, row["filter"]]
        wide = 0.36 if self.faces is not None else 0.88
        ax = figure.add_axes((0.075, 0.24, wide, 0.6))
        values = plots.label_values(self.responses.labels, task)
        plots.response_curves(values, x, self.responses.identities, task=task, ax=ax)
        said = plots.caption(row)
        ax.set_title(said, fontsize=9, loc="left", color=style.INK)
        if self.faces is not None:
            known = np.flatnonzero(values.notna().to_numpy())
            order = known[np.argsort(x[known], kind="stable")]
            for bottom, name, rows in (
                (0.53, "highest responses", order[::-1][: self.SHOWN]),
                (0.09, "lowest responses", order[: self.SHOWN]),
            ):
                strip = figure.add_axes((0.47, bottom, 0.52, 0.4))
                texts = [v if isinstance(v, str) else f"{v:.0f}".replace("-", "−") for v in values.iloc[rows]]
                plots.faces(self.faces, rows, texts, columns=self.SHOWN, ax=strip)
                strip.set_title(f"{name} (below: {style.label(task)})", fontsize=9, loc="left", color=style.INK)
        return said.replace("\n", ": ")


class CurveExplorer(Explorer):
    """How many filters a task needs: one layer's characteristic curve, and the knees of all, as γ moves.

    curves: what `characteristic_curves` returned.
    """

    def __init__(self, curves):
        self.curves = curves
        task = next(iter(curves))
        controls = {
            "task": choice("task", curves),
            "layer": choice("layer", curves[task], curves[task].best_layer),
            "gamma": log_slider("γ", -3, np.log10(0.5), 0.01, unit="share of the error's range"),
        }
        super().__init__(controls, (10.0, 4.0))

    def adapt(self, name):
        if name == "task":
            of_task = self.curves[self.controls["task"].value]
            self.controls["layer"].options = list(of_task)
            self.controls["layer"].value = of_task.best_layer

    def draw(self, figure, task, layer, gamma):
        curves = self.curves[task]
        plots.characteristic_curve(curves[layer], gamma, ax=figure.add_axes((0.07, 0.2, 0.36, 0.6)))
        ax = plots.knees(curves, gamma, names=False, ax=figure.add_axes((0.52, 0.2, 0.36, 0.6)))
        at = list(curves).index(layer)
        ax.axvspan(at - 0.5, at + 0.5, color=style.INK, alpha=0.15, lw=0)
        ax.set_title(f"dark: layer {at + 1}, {layer}", fontsize=9, loc="left", color=style.INK)
        table = curves.table(gamma).dropna(subset="knee")
        kept = dict(zip(table["layer"], table["knee"], strict=True))
        every = sum(curve.filters for curve in curves.values())
        text = f"At γ = {gamma:.3g} {task} keeps {sum(kept.values())} of {every} filters "
        text += f"({100 * sum(kept.values()) / every:.1f} %) on {len(kept)} of {len(curves)} layers; "
        return text + (f"{layer}: {kept[layer]} of {curves[layer].filters}." if layer in kept else f"{layer}: no knee.")
