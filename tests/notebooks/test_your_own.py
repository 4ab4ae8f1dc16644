"""Notebook 09 with what a user brings: a CSV, a network in a package or in a file, a task of her own, and mistakes."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import facelab as fl
from facelab import tasks
from facelab.workbench import runner, style

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "09_your_own.ipynb"
CODE = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    body = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU()
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))
"""
FED = {"size": 32, "mean": [127.5], "std": [64.0], "whole_pictures": True}


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A folder with 120 grainy pictures of 40 people, brighter and darker, their table, and a package with a network;
    its cache is empty."""
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of the kernel
    monkeypatch.syspath_prepend(str(tmp_path))
    rng, rows = np.random.default_rng(0), []
    (tmp_path / "photos").mkdir()
    for i in range(120):
        light = rng.uniform(60, 190)
        pixels = (light + rng.normal(0, 25, (32, 32, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
        person = i // 3
        rows.append({"path": f"{i}.png", "identity": f"p{person}", "gender": ("female", "male")[person % 2],
                     "age": 20 + person, "brightness": light})  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "photos" / "mine.csv", index=False)
    (tmp_path / "my_nets").mkdir()
    for name in ("__init__.py", "small.py"):
        (tmp_path / "my_nets" / name).write_text(CODE if name == "small.py" else "", encoding="utf-8")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "my_nets"]:
        del sys.modules[name]


@pytest.fixture
def walk():
    """Runs the cells of the notebook here, with these parameters, until `last` is bound; returns what is bound."""
    before = dict(tasks.TASKS), dict(style.TASK_COLOURS), dict(style.TASK_MARKERS)

    def run(last, **parameters):
        bound = {"display": lambda _: None, "__name__": "notebook"}
        for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            exec(cell.source, bound)
            if "parameters" in cell.metadata.get("tags", []):
                bound |= {"profile": "smoke", **parameters}
            if last in bound:
                break
        return bound

    yield run
    plt.close("all")
    for known, own in zip((tasks.TASKS, style.TASK_COLOURS, style.TASK_MARKERS), before, strict=True):
        known.clear()
        known.update(own)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["my_nets.small:build", "{folder}/my_nets/small.py:build"])
def test_own_faces_own_network_and_own_task_go_all_the_way(place, brought):
    given = {"faces_csv": str(brought / "photos" / "mine.csv"), "network": place.format(folder=brought),
             "task": "brightness", "out": str(brought / "kept"), **FED}  # fmt: skip
    done = runner.run([str(NOTEBOOK)], "smoke", parameters=given, out=brought / "runs")
    outcome = done.outcomes[NOTEBOOK.stem]
    assert outcome.status == "ok", outcome.error
    found = outcome.results
    assert not [key for key in found if key.startswith("09.standin")]
    assert found["09.faces.used"]["value"] == 120 and "of 40 people" in found["09.faces.used"]["note"]
    assert found["09.brightness.score"]["value"] > 0.9 and found["09.linear.score"]["value"] > 0.9
    assert abs(found["09.constant.score"]["value"]) < 0.2 and found["09.macs_cut_pct"]["value"] > 0
    [file] = (brought / "kept").glob("*.safetensors")
    kept = fl.sparse.load(file)
    assert kept.size == 32 and sum(layer.out_channels for layer in kept.convs.values()) < 20


def test_an_own_task_is_made_of_its_column(brought, walk):
    table = pd.read_csv(brought / "photos" / "mine.csv")
    table["mood"] = np.where(table["brightness"] > 120, "light", "dark")
    table.to_csv(brought / "photos" / "mine.csv", index=False)
    walk("columns", faces_csv=str(brought / "photos" / "mine.csv"), task="mood")
    assert tasks.get("mood").kind == "classes" and tasks.get("mood").classes == ("dark", "light")
    walk("columns", faces_csv=str(brought / "photos" / "mine.csv"), task="brightness")
    assert tasks.get("brightness").kind == "regression"
    for missing in ([], [7]):  # a column of True and False, whole or not
        lit = (table["brightness"] > 120).astype(object)
        lit[missing] = None
        for said, classes in ((lit, ("False", "True")), (lit.map({True: 1, False: 0}), ("0", "1"))):
            table.assign(lit=said).to_csv(brought / "photos" / "mine.csv", index=False)
            tasks.TASKS.pop("lit", None)
            found = walk("named", faces_csv=str(brought / "photos" / "mine.csv"), task="lit")["everything"]
            assert tasks.get("lit").classes == classes and set(found.labels["lit"].dropna()) == set(classes)
            assert (found.encode("lit") == np.where(lit.isna(), -1, lit.eq(True))).all()
    with pytest.raises(
        ValueError, match=r"column 'path' has 120 different texts: expected numbers, or 2 to 20 classes"
    ):
        walk("columns", faces_csv=str(brought / "photos" / "mine.csv"), task="path")


def test_blue_first_turns_the_first_layer_round(brought, walk):
    given = {"faces_csv": str(brought / "photos" / "mine.csv"), "network": "my_nets.small:build", "task": "age", **FED}
    plain, turned = (walk("net", **given, bgr=bgr)["net"] for bgr in (False, True))
    assert (plain.module[0].weight.flip(1) == turned.module[0].weight).all()
    assert plain.name == "small" and plain.template is None and plain.mean == (127.5,) * 3


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"faces_csv": "mien.csv"}, FileNotFoundError, r"no file .*mien\.csv; CSV files .*: mine\.csv"),
        ({"task": "agee"}, ValueError, "unknown task 'agee': did you mean 'age'"),
        ({"task": "brightnes"}, ValueError, "unknown task 'brightnes': did you mean 'brightness'"),
        ({"task": "identity"}, ValueError, "task 'identity' is of kind 'identity': expected a number"),
        ({"network": "identty"}, ValueError, "unknown network 'identty': did you mean 'identity'"),
        ({"network": "no_such_package:build"}, ModuleNotFoundError, "No module named 'no_such_package'"),
        ({"network": "my_nets.small:biuld"}, ValueError, r"function of my_nets\.small 'biuld': did you mean 'build'"),
        ({"network": "nowhere.py:build"}, FileNotFoundError, r"there is no file .*nowhere\.py: expected FILE\.py:f"),
        ({"size": 0, "std": []}, ValueError, "'my_nets.small:build' is a bare module: say how it was fed, size, std"),
    ],
)  # fmt: skip
def test_mistakes_are_named(wrong, error, says, brought, walk):
    given = {"faces_csv": "mine.csv", "network": "my_nets.small:build", "task": "age", **FED} | wrong
    given["faces_csv"] = str(brought / "photos" / given["faces_csv"])
    with pytest.raises(error, match=says):
        walk("net", **given)
