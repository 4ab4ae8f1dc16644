import pytest
from nbformat.v4 import new_code_cell, new_notebook

from facelab.workbench import parameters


def cell(source, tags=("parameters",)):
    return new_code_cell(source, metadata={"tags": list(tags)})


def read(source):
    return parameters.read(new_notebook(cells=[cell(source)]), "07_x.ipynb")


def test_annotated_literals_with_comments():
    found = read('profile: str = "quick"  # one of four\n# how flat\ngamma: float = -1e-2\nlayers: list[str] = ["a"]\n')
    assert [str(p) for p in found.values()] == [
        "profile: str = 'quick'",
        "gamma: float = -0.01",
        "layers: list[str] = ['a']",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "gamma = 0.01",
        "import os",
        "print(1)",
        "folds: int = 2 * 3",
        "folds: int = n",
        'folds: int = "5"',
        "folds: int",
        "ok: bool = 1",
        "folds: int = True",
        "a.b: int = 1",
        "x: complex = 1j",
    ],
)
def test_anything_else_is_refused_with_its_line(line):
    with pytest.raises(ValueError, match=r"07_x\.ipynb: parameters cell, line 2: expected an annotated literal") as e:
        read(f"seed: int = 0\n{line}")
    assert f"`{line}`".replace('"', "'") in str(e.value)


def test_twice_the_same_name_and_bad_syntax():
    with pytest.raises(ValueError, match=r"line 2: 'seed' is set twice"):
        read("seed: int = 0\nseed: int = 1")
    with pytest.raises(ValueError, match=r"parameters cell, line 1: "):
        read("seed: int = ")


@pytest.mark.parametrize("n", [0, 2])
def test_exactly_one_cell(n):
    notebook = new_notebook(cells=[new_code_cell("x: int = 1")] + [cell("seed: int = 0") for _ in range(n)])
    with pytest.raises(ValueError, match=f"expected one code cell tagged 'parameters', found {n}"):
        parameters.read(notebook)


@pytest.mark.parametrize(
    "kind, default, text, value",
    [
        ("str", "", "0.5", "0.5"),
        ("int", 0, "-3", -3),
        ("float", 0.0, "3", 3),
        ("bool", False, "true", True),
        ("str | None", None, "none", None),
        ("str | None", None, "~/faces", "~/faces"),
        ("list[int]", [], "[1, 2]", [1, 2]),
    ],
)
def test_texts_from_the_command_line(kind, default, text, value):
    assert parameters.Parameter("x", kind, default).parse(text) == value


@pytest.mark.parametrize(
    "kind, default, value",
    [
        ("int", 0, 0.5),
        ("int", 0, True),
        ("float", 0.1, "a"),
        ("bool", True, 1),
        ("list[int]", [], [1, "a"]),
        ("str", "", 3),
    ],
)
def test_wrong_kinds(kind, default, value):
    with pytest.raises(TypeError, match=r"parameter 'x': expected .* \(as in `x: .*`\), not"):
        parameters.check({"x": value}, {"x": parameters.Parameter("x", kind, default)})


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown parameter 'gama': did you mean 'gamma'"):
        parameters.check({"gama": 1}, read("gamma: float = 0.1"))
