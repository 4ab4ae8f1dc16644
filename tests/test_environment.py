"""environment.yml offers what pyproject.toml asks for, under conda's names, with the same bounds."""

import re
from pathlib import Path

import yaml

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings the same reader
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIRED = [
    *PROJECT["dependencies"],
    *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
]


def test_conda_and_pip_ask_for_the_same_versions():
    wanted = {}
    for requirement in REQUIRED:
        name, bound = re.fullmatch(r"([\w.-]+)\s*([^;\s]*).*", requirement).groups()
        wanted[CONDA_NAMES.get(name, name)] = bound
    offered, editable = {}, False
    for line in _lines(yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]):
        if line == "-e .":
            editable = True
        else:
            name, bound = re.fullmatch(r"([\w.-]+?)((?:[<>=]=?.*)?)", line).groups()
            offered[name] = bound
    assert offered.pop("python") == PROJECT["requires-python"] == ">=3.10"
    assert offered.pop("pip") == ""
    assert offered == wanted
    assert editable


def test_constraints_stay_within_the_bounds():
    from facelab.workbench.doctor import satisfies

    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = re.match(r"([\w.-]+)==([\w.]+)", line).groups()
            pinned[name] = version
    bounds = [re.fullmatch(r"([\w.-]+)\s*([^;\s]*).*", r).groups() for r in REQUIRED]
    assert {name for name, _ in bounds} <= set(pinned)
    for name, bound in bounds:
        assert satisfies(pinned[name], bound), f"{name} {pinned[name]} is not {bound}"


def _lines(dependencies: list) -> list[str]:
    return [line for d in dependencies for line in (d["pip"] if isinstance(d, dict) else [d])]
