"""Tiny notebooks, and one run of several that fare differently."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from facelab.faces.faceset import FaceSet
from facelab.filters.craft import find_crafts
from facelab.filters.curves import characteristic_curves
from facelab.filters.responses import Responses
from facelab.workbench import runner

PARAMETERS = 'profile: str = "quick"\nseed: int = 0\ngamma: float = 0.01'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
GOOD = [
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    "import sys\nfrom tqdm import tqdm\nfor i in tqdm(range(3)):\n    pass\nprint(sys.executable)",
    # A widget the way an explorer is one: a live view, and its static twin (here one grey pixel) as PNG.
    """import ipywidgets
class Twin(ipywidgets.VBox):
    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | {"image/png": "PIXEL"}
Twin([ipywidgets.IntSlider()])""".replace("PIXEL", PIXEL),
    "import facelab as fl\n"
    'fl.record("01.score", 0.5, unit="R²", low=0.4, high=0.6, paper=0.7, note=f"{profile} {gamma}")\n'
    "fl.recorded()",
]


def write(folder: Path, name: str, *cells: str, parameters: str = PARAMETERS) -> Path:
    """A notebook with a heading, a tagged parameters cell and these code cells."""
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    code = [new_code_cell(cell) for cell in cells]
    notebook = new_notebook(cells=[new_markdown_cell(f"# What is {name}?"), tagged, *code])
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def notebook(tmp_path):
    return lambda name, *cells, **options: write(tmp_path / "notebooks", name, *cells, **options)


@pytest.fixture
def pixel():
    return PIXEL


@dataclass(frozen=True)
class Mixed:
    run: runner.Run
    told: list[str]

    @property
    def folder(self) -> Path:
        return self.run.folder

    def page(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def results(self) -> dict:
        return json.loads(self.page("results.json"))


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """One run of five notebooks of which one is good, on a machine whose `python3` kernel is a stale one."""
    folder = tmp_path_factory.mktemp("mixed")
    stale = folder / "jupyter" / "kernels" / "python3"
    stale.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "stale", "language": "python"}
    (stale / "kernel.json").write_text(json.dumps(spec))
    notebooks = [
        write(folder, "01_good", *GOOD),
        write(folder, "02_raises", 'import facelab as fl\nfl.record("02.a", 1)', 'raise KeyError("lost")', "2"),
        write(folder, "03_silent", "1 + 1"),
        write(folder, "04_dies", "import os\nos._exit(3)"),
        write(folder, "05_foreign", 'import facelab as fl\nfl.record("01.score", 1)'),
    ]
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        run = runner.run(notebooks, "smoke", "mixed", {"gamma": 0.5}, folder / "runs", tell=told.append)
    return Mixed(run, told)


@pytest.fixture(scope="session")
def seen():
    """16 people at 9 yaws, alternating genders, and what two layers answer: filter 0 left, 1 right, 2 sideways,
    3 frontal, 4 gender, the rest noise; the second layer is louder."""
    rng = np.random.default_rng(0)
    person, yaw = np.repeat(np.arange(16), 9), np.tile(np.arange(-60.0, 61.0, 15.0), 16)
    labels = {"identity": [f"p{i}" for i in person], "yaw": yaw, "gender": np.where(person % 2, "male", "female")}
    labels["expression"] = rng.choice(["neutral", "happy", "sad"], len(yaw))
    tuned = np.stack([yaw / 60, -yaw / 60, np.abs(yaw) / 60, -np.abs(yaw) / 60, person % 2], 1)
    layers = {}
    for name, width in (("conv1", 8), ("conv2", 20)):
        x = rng.normal(0, 0.2, (len(yaw), width))
        x[:, :5] += tuned
        layers[name] = x.astype(np.float32)
    return Responses("sixteen", layers, pd.DataFrame(labels), person)


@pytest.fixture(scope="session")
def faces(seen):
    images = np.random.default_rng(0).integers(0, 255, (len(seen), 3, 12, 12)).astype(np.uint8)
    return FaceSet("sixteen", images, seen.labels, np.zeros((len(seen), 5, 2), np.float32))


@pytest.fixture(scope="session")
def crafts(seen):
    return {task: find_crafts(seen, task, bootstraps=100, permutations=999) for task in ("yaw", "gender")}


@pytest.fixture(scope="session")
def curves(seen):
    """Curves of yaw, which both layers carry, and of expression, which none does."""
    moments = seen.moments(["yaw", "expression"], blocks=8)
    return characteristic_curves(moments, n_lambdas=30, ratio=1e-3, half_samples=8, progress=False)


@pytest.fixture(scope="session")
def check():
    """A function that asserts of axes: labelled, within the figure, and no text over another."""

    def looks_right(ax):
        ax.figure.canvas.draw()  # warnings are errors
        assert ax.get_xlabel() and (ax.get_ylabel() or ax.get_yticklabels())
        box, view = ax.get_tightbbox(), ax.figure.bbox
        assert box.x0 >= view.x0 - 2 and box.x1 <= view.x1 + 2 and box.y0 >= view.y0 - 2 and box.y1 <= view.y1 + 2
        every = [*ax.findobj(Text), ax.xaxis.label, ax.yaxis.label]
        straight = {id(t): t for t in every if t.get_text() and t.get_visible() and t.get_rotation() in (0, 90)}
        boxes = [(t.get_text(), t.get_window_extent()) for t in straight.values()]
        for (one, a), (two, b) in itertools.combinations(boxes, 2):
            assert not a.overlaps(b), (one, two)

    return looks_right
