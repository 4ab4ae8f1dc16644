"""The explorer of multi-task networks: choose a face, see what every head of every variant says of it."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize

from facelab import tasks
from facelab.errors import unknown
from facelab.workbench import plots, style
from facelab.workbench.heat import heat
from facelab.workbench.live import Explorer, choice, slider

ALL = "all heads"
LEFT, RIGHT, GAP = 0.41, 0.985, 0.25  # where the heads begin and end; between two of them, in columns
ROW = 0.32  # inches, of one network


class MultitaskExplorer(Explorer):
    """A face, and the probabilities (or the number) that each head of each network gives, the true class framed; all
    heads side by side, or those of one task.

    faces: those to look at. networks: name → `Trained`. ValueError: no network, or no task.
    """

    def __init__(self, faces, networks: Mapping[str, object]):
        if not networks or len(faces) == 0:
            raise ValueError(f"{len(networks)} networks and {len(faces)} faces: expected at least one of each")
        self.faces = faces
        self.said = {name: trained.predict(faces) for name, trained in networks.items()}
        self.known = list(dict.fromkeys(task for one in self.said.values() for task in one))
        controls = {"task": choice("task", [ALL, *self.known]), "face": slider("face", 0, len(faces) - 1, 0)}
        super().__init__(controls, (11.4, max(3.3, ROW * len(networks) + 1.4)))

    def draw(self, figure, task, face):
        if task not in (ALL, *self.known):
            raise unknown("task", task, (ALL, *self.known))
        shown, high = self.known if task == ALL else [task], figure.get_figheight()
        who = figure.add_axes((0.01, 0.5 / high, 0.22, (high - 0.9) / high))
        plots.faces(self.faces, [face], ax=who)
        who.set_anchor("N")
        columns = [len(tasks.get(t).classes or (t,)) for t in shown]  # a number takes one
        wide = (RIGHT - LEFT) / max(9, sum(columns) + GAP * (len(shown) - 1))
        tall, at, told, truths = ROW * len(self.said), LEFT, [], []
        for i, (name, count) in enumerate(zip(shown, columns, strict=True)):
            ax = figure.add_axes((at, (high - 0.4 - tall) / high, count * wide, tall / high))
            truth, said = self._head(ax, name, face)
            if i:
                ax.set_yticks([])
            at += (count + GAP) * wide
            truths.append(f"{style.words(name)}: {truth}")
            told.append(f"{style.words(name)}: true {truth}. {said}")
        below = {"xycoords": "axes fraction", "va": "top", "fontsize": 9, "color": style.INK}
        who.annotate("true " + "\n".join(truths), (0, -0.03), **below)
        return f"face {face}. " + " ".join(told)

    def _head(self, ax, task: str, face: int) -> tuple[str, str]:
        """Draw what every network says for a task; the truth, and what they say, in words."""
        about, shades, n = tasks.get(task), colormaps[style.SEQUENTIAL], len(self.said)
        try:
            code = np.asarray(about.encode(self.faces.labels))[face]
        except ValueError:
            code = np.full(len(about.classes), np.nan) if about.kind == "labels" else np.nan
        values = [np.atleast_1d(one[task][face]).astype(float) if task in one else None for one in self.said.values()]
        names = dict(zip(self.said, values, strict=True))
        if about.kind == "regression":
            texts = [["–" if v is None else f"{style.number(v[0], 1)} {about.unit}"] for v in values]
            truth = "not known" if np.isnan(code) else f"{style.number(float(code), 1)} {about.unit}"
            heat(np.full((n, 1), np.nan), texts, names, [style.label(task)], (shades, None), ax=ax)
            best = [text for (text,) in texts]
        else:
            yes = code == 1 if about.kind == "labels" else np.arange(len(about.classes)) == code
            known = np.array([np.full(len(yes), np.nan) if v is None else v for v in values])
            texts = [["–" if np.isnan(v) else style.number(100 * v, 0) for v in line] for line in known]
            bold = [[bool(y) for y in yes]] * n
            heat(known, texts, names, about.classes, (shades, Normalize(0, 1)), bold=bold, ax=ax)
            for i in np.flatnonzero(yes):
                ax.axvspan(i - 0.5, i + 0.5, fill=False, ec=style.INK, lw=1.6)
            truth = ", ".join(np.array(about.classes)[yes]) or "not known"
            best = [
                about.classes[int(v.argmax())]
                if about.kind == "classes"
                else ", ".join(np.array(about.classes)[v >= 0.5]) or "none"
                for v in known
            ]
        title = f"{style.words(task)}, %" if about.kind != "regression" else style.words(task)
        ax.set_title(title, fontsize=10, loc="left", color=style.INK)
        said = zip(names.items(), best, strict=True)
        return truth, "; ".join(f"{style.words(name)}: {one}" for (name, v), one in said if v is not None)
