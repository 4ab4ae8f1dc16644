"""The explorers of the notebooks: a studio, filters to look through, a map of them, curves to cut (how they live:
`live`). All ask in one order: what (a network, a task), where (a layer), which one (a rank, a filter, γ, a face)."""

import numpy as np
import pandas as pd

from facelab.workbench import plots, style
from facelab.workbench.live import Explorer, choice, count, log_slider, slider
from facelab.workbench.studio import FaceStudio

__all__ = ["CurveExplorer", "Explorer", "FaceStudio", "FilterExplorer", "TaskMapExplorer"]
NUMBER = "by number"
ALL = "all layers"
ORDERS = {"their own": "filter", "the tasks": "task"}


class FilterExplorer(Explorer):
    """One filter after another: its response against the label, and the faces it answers most and least.

    responses: a response table. crafts: `find_crafts(responses, task)`, or several of them by task. faces:
    the faces the responses were measured on, to show some; without them the curve stands alone.
    """

    RANKS = 20
    SHOWN = 5

    def __init__(self, responses, crafts, faces=None):
        self.crafts = dict(crafts) if isinstance(crafts, dict) else {crafts.task: crafts}
        if not self.crafts:
            raise ValueError("no filters to look through: expected find_crafts(responses, task), or several of them")
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
            "layer": choice("layer", [ALL, *layers]),
            "show": choice("show", self._kinds(task)),
            "rank": slider("rank", 1, self.RANKS, 1, unit="1 = strongest"),
            "filter": count("filter", 0, max(x.shape[1] for x in responses.layers.values()) - 1, 0),
        }
        controls["filter"].disabled = True
        self.row, self.controls = None, controls
        self.adapt("rank")
        super().__init__(controls, (9.2, 3.5))

    def _kinds(self, task):
        return [*(f"best {kind}" for kind in dict.fromkeys(self._tables[task]["kind"])), NUMBER]

    def adapt(self, name):
        task, layer, show, rank, number = self.controls.values()
        if name == "task":
            show.options = self._kinds(task.value)
            show.value = show.options[0]
        by_number = show.value == NUMBER
        if by_number and layer.value == ALL:  # go on from the filter that is shown
            layer.value, number.value = self.row["layer"], int(self.row["filter"])
        if by_number:
            number.max = self.responses[layer.value].shape[1] - 1
        else:  # no further than there are filters
            rank.max = max(1, min(self.RANKS, len(self._of(**self.settings))))
        number.disabled, rank.disabled = not by_number, by_number

    def _of(self, task, show, layer, **_settings) -> pd.DataFrame:
        """The tests of this layer, or of all, and of this kind, or of any."""
        table = self._tables[task]
        if layer != ALL:
            table = table[table["layer"] == layer]
        return table if show == NUMBER else table[table["kind"] == show.removeprefix("best ")]

    def chosen(self, task, show, rank, layer, filter) -> pd.Series:
        """The row of the crafts' table that these settings stand for."""
        table = self._of(task, show, layer)
        if show != NUMBER:
            if table.empty:
                raise ValueError(f"no filter of {layer} responds {style.describe(show.removeprefix('best '))}")
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
        ax.set_title(said, fontsize=9, loc="left", color=style.INK, y=1.0)
        if self.faces is not None:
            known = np.flatnonzero(values.notna().to_numpy())
            order = known[np.argsort(x[known], kind="stable")]
            for bottom, name, rows in (
                (0.53, "highest responses", order[::-1][: self.SHOWN]),
                (0.09, "lowest responses", order[: self.SHOWN]),
            ):
                strip = figure.add_axes((0.47, bottom, 0.52, 0.4))
                texts = [v if isinstance(v, str) else style.number(v, 0) for v in values.iloc[rows]]
                plots.faces(self.faces, rows, texts, columns=self.SHOWN, ax=strip)
                named = f"{name}, with their {style.label(task)}"
                strip.set_title(named, fontsize=9, loc="left", color=style.INK, y=1.0)
        alone = "" if self.faces is not None else ". No faces were given, so none are shown: pass faces="
        return said.replace("\n", ": ") + alone


class TaskMapExplorer(Explorer):
    """Low-cost Fig. 1 to walk about in: all filters of a layer by the task they serve best, and of one of them how far
    it follows every task.

    table: the tables of several tasks' `Crafts` below each other, with a column `task`, as for `plots.task_map`.
    ValueError for an empty table.
    """

    def __init__(self, table):
        self.table = table.dropna(subset="rho")
        if self.table.empty:
            raise ValueError(
                "no filter was tested: expected the tables of find_crafts(responses, task), with a column task"
            )
        layers = list(dict.fromkeys(self.table["layer"]))
        controls = {
            "layer": choice("layer", layers, layers[-1]),
            "filter": count("filter", 0, int(self.table["filter"].max()), 0),
            "order": choice("in the order of", ORDERS),
        }
        best = plots.served(self._of(layers[-1]))[1]
        controls["filter"].value = int(best.index[0]) if len(best) else int(self._of(layers[-1])["filter"].iloc[0])
        super().__init__(controls, (10.8, 4.0))

    def adapt(self, name):
        layer, filter, _ = self.controls.values()
        filter.max = int(self._of(layer.value)["filter"].max())

    def _of(self, layer) -> pd.DataFrame:
        return self.table[self.table["layer"] == layer]

    def draw(self, figure, layer, filter, order):
        rows, order = self._of(layer), ORDERS[order]
        own = rows[rows["filter"] == filter].assign(strength=lambda t: t["rho"].abs())
        if own.empty:
            raise ValueError(f"filter {filter} of {layer} never responds, or there is none")
        left, right = figure.add_axes((0.06, 0.22, 0.52, 0.66)), figure.add_axes((0.83, 0.22, 0.15, 0.62))
        plots.task_map(self.table, layer=layer, order=order, ax=left)
        plots.mark_filter(left, rows, filter, order)
        own = own.sort_values(["craft", "strength"], ascending=False).drop_duplicates("task")
        said = f"filter {filter} follows\n(pale: did not pass)"
        style.axes(right).set_title(said, fontsize=9, loc="left", color=style.INK)
        for y, row in enumerate(own.itertuples()):
            right.barh(y, row.strength, 0.62, color=style.inked(row.task), alpha=1.0 if row.craft else 0.25)
        right.set_yticks(range(len(own)), [style.words(task) for task in own["task"]])
        right.set(xlim=(0, 1), ylim=(len(own) - 0.5, -0.5), xlabel="|ρ|, strongest kind", xticks=(0, 0.5, 1))
        right.grid(axis="y", visible=False)
        serves = [f"{style.words(row.task)} (ρ = {style.number(row.rho)})" for row in own.itertuples() if row.craft]
        return f"filter {filter} of {layer} serves {', '.join(serves) or f'none of the {len(own)} tasks'}"


class CurveExplorer(Explorer):
    """How many filters a task needs: one layer's characteristic curve, and the knees of all, as γ moves.

    curves: what `characteristic_curves` returned.
    """

    MOVES = ("gamma",)

    def __init__(self, curves):
        if not curves:
            raise ValueError("no curves to look at: expected what characteristic_curves returned, of one task or more")
        self.curves = curves
        task = next(iter(curves))
        controls = {
            "task": choice("task", curves),
            "layer": choice("layer", curves[task], curves[task].best_layer),
            "gamma": log_slider("γ", -3, np.log10(0.5), 0.01, unit="share of error range"),
        }
        super().__init__(controls, (10.0, 4.0))

    def adapt(self, name):
        if name == "task":
            of_task = self.curves[self.controls["task"].value]
            self.controls["layer"].options = list(of_task)
            self.controls["layer"].value = of_task.best_layer

    def draw(self, figure, task, layer, gamma):
        curves = self.curves[task]
        left, right = figure.add_axes((0.07, 0.2, 0.38, 0.64)), figure.add_axes((0.54, 0.2, 0.45, 0.64))
        plots.characteristic_curve(curves[layer], None, ax=left)
        plots.knees(curves, None, names=False, ax=right)
        at = list(curves).index(layer)
        right.axvspan(at - 0.5, at + 0.5, color=style.INK, alpha=0.15, lw=0)
        said = f"knees of all layers (dark: {layer})"
        right.set_title(said, fontsize=9, loc="left", color=style.INK, y=1.0)
        return ""

    def mark(self, task, layer, gamma):
        curves, (left, right) = self.curves[task], self._scene.canvas.figure.axes
        table = curves.table(gamma).dropna(subset="knee")
        kept, every = dict(zip(table["layer"], table["knee"], strict=True)), sum(c.filters for c in curves.values())
        total = sum(kept.values())
        text = f"At γ = {gamma:.3g} {task} keeps {total:.0f} of {every} filters ({100 * total / every:.1f} %) on "
        text += f"{len(kept)} of {len(curves)} layers; {layer}: "
        text += f"{kept[layer]:.0f} of {curves[layer].filters}." if layer in kept else "no knee."
        marks = [*plots.mark_knee(left, curves[layer], gamma), *plots.mark_knees(right, curves, gamma)]
        return marks, text
