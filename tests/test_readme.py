"""README.md: its code runs, and the numbers it quotes are those of the committed reference run."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image

import facelab as fl
from facelab.workbench import reference

ROOT = Path(__file__).parents[1]


def test_readme_quotes_the_reference_run():
    text = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    folder = ROOT / "reports" / "reference" / reference.RUN
    if not (folder / "results.json").exists():
        assert "<!--result" not in text, "README.md quotes a reference run that is not committed"
        return
    assert text == reference.interpolate(text, reference.committed(ROOT)), "run `facelab report --publish rendered`"


def test_reference_pages_are_those_of_their_results():
    for results in (ROOT / "reports" / "reference").glob("*/results.json"):
        page = (results.parent / "README.md").read_text(encoding="utf-8")
        assert page == reference.describe(reference.read(results.parent), results.parent.name), results


def test_readme_code_runs_and_ends_in_a_table(monkeypatch):
    """As printed, on fewer and smaller faces and a network that needs no download."""
    text = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    code, further, _ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
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


def test_readme_code_for_own_faces_runs(monkeypatch, tmp_path):
    """As printed, on tiny files; the network that finds landmarks is left out."""
    *_, code = re.findall(r"```python\n(.*?)```", (ROOT / reference.PAGE).read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fl.nets, "locate", lambda faces: faces)
    for file in (
        "photos/a.png",
        "UTKFace/30_0_1_20170109203250123.jpg.chip.jpg",
        "UTKFace/30_0_1_20170109203250124.jpg",
    ):
        Path(file).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (200, 90, 10)).save(file)
    Path("mine.csv").write_text("path,yaw\nphotos/a.png,-30\n")
    names = {"fl": fl}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["faces"]) == 2 and len(names["copies"]) == 1 and names["faces"].report.kept == 2


def test_readme_lists_the_public_sets():
    rows = ["| name | set | pictures | labels | terms | whom to ask |", "|---|---|---|---|---|---|"]
    for data in fl.faces.readers.SETS.values():
        cells = f"`{data.name}`", data.title, f"{data.pictures:,}", ", ".join(data.labels), data.terms, data.owner
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join(rows)
    assert f"\n{table}\n\n" in (ROOT / reference.PAGE).read_text(encoding="utf-8"), f"README.md should hold\n{table}"
