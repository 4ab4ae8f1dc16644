"""README.md: its code runs, and the numbers it quotes are those of the committed reference run."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import torch

import facelab as fl
from facelab.workbench import reference

ROOT = Path(__file__).parents[1]


def test_readme_quotes_the_reference_run():
    text = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    folder = ROOT / "reports" / "reference" / reference.RUN
    if not (folder / "results.json").exists():
        assert "<!--result" not in text, "README.md quotes a reference run that is not committed"
        return
    assert text == reference.interpolate(text, reference.read(folder)), "run `facelab report --publish rendered`"


def test_reference_pages_are_those_of_their_results():
    for results in (ROOT / "reports" / "reference").glob("*/results.json"):
        page = (results.parent / "README.md").read_text(encoding="utf-8")
        assert page == reference.describe(reference.read(results.parent), results.parent.name), results


def test_readme_code_runs_and_ends_in_a_table(monkeypatch):
    """As printed, on fewer and smaller faces and a network that needs no download."""
    text = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    code, further = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    load = fl.faces.load

    def few(name):
        return load(name, size=40, progress=False, device="cpu", people=12, per_person=2)

    def untrained(name):
        assert name in fl.nets.SOURCES
        torch.manual_seed(0)
        convs = torch.nn.Conv2d(3, 8, 5, 4), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2)
        return fl.nets.wrap(torch.nn.Sequential(*convs), size=40, name="untrained")

    monkeypatch.setattr(fl.faces, "load", few)
    monkeypatch.setattr(fl.nets, "load", untrained)
    monkeypatch.setenv("FACELAB_DEVICE", "cpu")
    *lines, last = ast.parse(code).body
    names = {}
    exec(compile(ast.Module(lines, []), "README.md", "exec"), names)
    table = eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    assert list(table["layer"]) == ["0", "2"] and set(table["task"]) == {"yaw"}
    assert set(names["curves"]) == {"yaw", "age"}
    names["curves"] = {"yaw": SimpleNamespace(knees=lambda gamma: {"0": [0, 2], "2": [1]})}  # noise has none
    exec(compile(further, "README.md", "exec"), names)
    assert [layer.out_channels for layer in names["small"].convs.values()] == [2]  # the last one gives the output
    assert names["done"].metric == "mae"
