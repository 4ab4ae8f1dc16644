"""The explorer of multi-task networks: choose a face, see what every head of every variant says of it."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize

from facelab import tasks
from facelab.errors import unknown
from facelab.workbench import plots, style
from facelab.workbench.fusion_plots import heat
from facelab.workbench.live import Explorer, choice, slider


class MultitaskExplorer(Explorer):
    """A face and a task: the probabilities (or the number) that each network gives, the true class framed.

    faces: those to look at. networks: name → `Trained`. ValueError: no network, or no task.
    """

    def __init__(self, faces, networks: Mapping[str, object]):
        if not networks or len(faces) == 0:
            raise ValueError(f"{len(networks)} networks and {len(faces)} faces: expected at least one of each")
        self.faces = faces
        self.said = {name: trained.predict(faces) for name, trained in networks.items()}
        known = list(dict.fromkeys(task for one in self.said.values() for task in one))
        controls = {"task": choice("task", known), "face": slider("face", 0, len(faces) - 1, 0)}
        super().__init__(controls, (9.6, max(3.3, 0.32 * len(networks) + 1.4)))

    def draw(self, figure, task, face):
        if task not in (about := tasks.TASKS):
            raise unknown("task", task, about)
        about, high = tasks.get(task), figure.get_figheight()
        who = figure.add_axes((0.01, 0.5 / high, 0.24, (high - 0.9) / high))
        plots.faces(self.faces, [face], ax=who)
        who.set_anchor("N")
        try:
            code = np.asarray(about.encode(self.faces.labels))[face]
        except ValueError:
            code = np.full(len(about.classes), np.nan) if about.kind == "labels" else np.nan
        names = [name for name, one in self.said.items() if task in one]
        values = np.array([np.atleast_1d(self.said[name][task][face]) for name in names], float)  # (networks, classes)
        tall, shades = 0.32 * len(names), colormaps[style.SEQUENTIAL]
        ax = figure.add_axes((0.44, (high - 0.4 - tall) / high, 0.54, tall / high))
        if about.kind == "regression":
            texts = [[f"{style.number(v[0], 1)} {about.unit}"] for v in values]
            truth = "not known" if np.isnan(code) else f"{style.number(float(code), 1)} {about.unit}"
            heat(np.full((len(names), 1), np.nan), texts, names, [style.label(task)], (shades, None), ax=ax)
        else:
            texts = [[style.number(100 * v, 0) for v in row_] for row_ in values]
            yes = code == 1 if about.kind == "labels" else np.arange(len(about.classes)) == code
            bold = [[bool(y) for y in yes]] * len(names)
            heat(values, texts, names, about.classes, (shades, Normalize(0, 1)), bold=bold, ax=ax)
            for at in np.flatnonzero(yes):
                ax.axvspan(at - 0.5, at + 0.5, fill=False, ec=style.INK, lw=1.6)
            truth = ", ".join(np.array(about.classes)[yes]) or "not known"
        ax.set_title(f"{style.words(task)}, %" if about.kind != "regression" else style.words(task), fontsize=10,
                     loc="left", color=style.INK)  # fmt: skip
        who.set_title(f"true {style.words(task)}: {truth}", fontsize=9, loc="left", color=style.INK)
        best = [about.classes[int(v.argmax())] for v in values] if about.kind == "classes" else [t[0] for t in texts]
        said = "; ".join(f"{style.words(name)}: {one}" for name, one in zip(names, best, strict=True))
        return f"face {face}, {style.words(task)}: true {truth}. {said}"
