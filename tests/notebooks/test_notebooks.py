"""Every notebook: how it is built, and that it runs with profile smoke. All are globbed; there is no list."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from facelab.workbench import parameters, runner

FOLDER = Path(__file__).parents[2] / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
each = pytest.mark.parametrize("file", ALL, ids=lambda file: file.stem)


def texts(file: Path, kind: str) -> list[str]:
    return [c.source for c in nbformat.read(file, as_version=4).cells if c.cell_type == kind]


@each
def test_name_and_parameters(file):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", file.stem)
    declared = parameters.read(nbformat.read(file, as_version=4), file.name)
    assert declared["profile"].default == "quick"
    assert declared["seed"].default == 0


def test_numbers_are_not_shared():
    numbers = [file.stem[:2] for file in ALL]
    assert len(numbers) == len(set(numbers))


@each
def test_committed_without_outputs(file):
    verify = subprocess.run([sys.executable, "-m", "nbstripout", "--verify", file], capture_output=True, text=True)
    assert verify.returncode == 0, f"run `nbstripout {file.relative_to(FOLDER.parent)}`\n{verify.stdout}"


@each
def test_opens_with_its_question_and_closes_with_what_was_measured(file):
    opening = texts(file, "markdown")[0]
    assert opening.startswith("# ") and "?" in opening
    for profile in runner.PROFILES:
        minutes = r" \d" if profile in ("smoke", "quick") else ""  # the long ones may say that they were not timed
        assert re.search(f"`{profile}`{minutes}", opening), f"the opening states the minutes of profile {profile}"
    assert "recorded()" in texts(file, "code")[-1]


@each
def test_two_exercises_with_hidden_solutions(file):
    assert "\n".join(texts(file, "markdown")).count("<details>") >= 2


@each
def test_prose_reads_without_a_network(file):
    prose = re.sub(r"```.*?```|`[^`]*`", "", "\n".join(texts(file, "markdown")), flags=re.DOTALL)
    assert not re.search(r"!\[[^\]]*\]\(https?:|<img[^>]+https?:", prose)
    assert not re.search(r"\$[^$\n]+\$|\\\(|\\\[", prose), "reports set no LaTeX: write formulas as plain text"


def with_solutions(file: Path, folder: Path) -> Path:
    """A copy of the notebook whose exercises are solved before its last cell, beside the reports that it reads."""
    notebook = nbformat.read(file, as_version=4)
    found = re.findall(r"<summary>Solution</summary>(.*?)</details>", "\n".join(texts(file, "markdown")), re.DOTALL)
    code = [one for solution in found for one in re.findall(r"```python\n(.*?)```", solution, re.DOTALL)]
    notebook.cells[-1:-1] = [nbformat.v4.new_code_cell(one) for one in code]
    (folder / "notebooks").mkdir()
    (folder / "reports").symlink_to(FOLDER.parent / "reports")
    nbformat.write(notebook, folder / "notebooks" / file.name)
    return folder / "notebooks" / file.name


@pytest.mark.slow
@each
def test_it_runs_and_so_do_its_solutions(file, tmp_path):
    done = runner.run([str(with_solutions(file, tmp_path))], "smoke", out=tmp_path / "runs")
    outcome = done.outcomes[file.stem]
    assert outcome.status == "ok", outcome.error
    assert all(key.startswith(f"{file.stem[:2]}.") for key in outcome.results)
    assert (done.folder / f"{file.stem}.html").is_file()
