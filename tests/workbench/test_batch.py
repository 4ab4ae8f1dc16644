import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pandas as pd
import pytest
from click.testing import CliRunner

from facelab.workbench import batch, runner, tables
from facelab.workbench.cli import main

RECORD = """import facelab as fl
if gamma == 0.5:
    raise ValueError("too much")
fl.record("01.score", gamma + seed, "R²", paper=0.3)"""


@pytest.fixture
def grid(tmp_path, notebook):
    """Writes a grid over the notebook 01_a and gives its file."""
    file = notebook("01_a", RECORD)

    def write(text: str):
        (tmp_path / "mine.yaml").write_text(text.replace("NOTEBOOK", str(file)))
        return tmp_path / "mine.yaml"

    return write


def facelab(*arguments):
    return CliRunner().invoke(main, ["batch", *map(str, arguments)])


def test_a_grid_is_every_combination(grid):
    cells = batch.read(grid("notebook: NOTEBOOK\nprofile: smoke\nparameters: {gamma: [0.1, 1e-3], seed: [0, 1]}"))
    assert [(c.parameters["gamma"], c.parameters["seed"]) for c in cells] == [
        (0.1, 0),
        (0.1, 1),
        (0.001, 0),
        (0.001, 1),
    ]
    assert str(cells[1]) == "01_a (gamma=0.1, seed=1, smoke)"
    assert len({c.name for c in cells}) == 4
    first = "- notebook: NOTEBOOK\n  profile: smoke\n  parameters: {seed: [1, 2], gamma: 0.1}\n"
    second = "- notebook: NOTEBOOK\n  profile: [smoke, full]\n  parameters: {gamma: 0.1, seed: 2}"
    more = batch.read(grid(first + second))
    assert len(more) == 3  # what both blocks ask for is there once
    assert more[0].name == cells[1].name  # and a cell keeps its name in another grid


def test_a_number_of_a_notebook_stays_as_it_is_written(tmp_path):
    (tmp_path / "g.yaml").write_text("notebook: 01\nparameters: {source: [identity, expression]}")
    cells = batch.read(tmp_path / "g.yaml")
    assert [c.notebook.stem for c in cells] == ["01_craft_discovery"] * 2
    assert [c.parameters["profile"] for c in cells] == ["quick"] * 2


@pytest.mark.parametrize(
    "text, error, says",
    [
        ("notebok: 01", ValueError, "mine.yaml: expected a block with the key notebook"),
        ("notebook: 01\nparameter: {}", ValueError, "unknown key of a grid 'parameter': did you mean 'parameters'"),
        ("notebook: 01_craft_discvery", ValueError, "did you mean '01_craft_discovery'"),
        (
            "notebook: NOTEBOOK\nparameters: {gama: 1}",
            ValueError,
            "01_a: unknown parameter 'gama': did you mean 'gamma'",
        ),
        ("notebook: NOTEBOOK\nparameters: {gamma: small}", TypeError, "'gamma': expected float .* not str 'small'"),
        ("notebook: NOTEBOOK\nparameters: {gamma: []}", ValueError, "gamma has no value: expected one or more"),
        ("notebook: NOTEBOOK\nprofile: quik", ValueError, "unknown profile 'quik': did you mean 'quick'"),
        ("notebook: NOTEBOOK\nparameters: {profile: full}", ValueError, "profile is a key of the block"),
        ("notebook: NOTEBOOK\nparameters: gamma", ValueError, "parameters 'gamma': expected name: value"),
        ("notebook: [01, 02]", ValueError, "expected one name or number"),
        ("notebook: NOTEBOOK\nnotebook: 01", ValueError, "a key stands twice"),
        ("notebook: [", ValueError, "mine.yaml is no YAML: .* line 1"),
        ("[]", ValueError, "no block, so there is nothing to run"),
    ],
)
def test_mistakes_are_found_before_anything_runs(grid, tmp_path, text, error, says):
    with pytest.raises(error, match=says):
        batch.read(grid(text))
    result = facelab(grid(text), "--out", tmp_path / "runs")
    assert result.exit_code == 2 and result.output.startswith("Error: ") and not (tmp_path / "runs").exists()


def test_cells_run_side_by_side_and_are_compared(grid, tmp_path, monkeypatch):
    """Two cells of four fail; a grid that has grown by one runs the new one alone."""
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(runner, "PACKAGE", tmp_path / "package")
    file = grid("notebook: NOTEBOOK\nprofile: smoke\nparameters: {gamma: [0.25, 0.5], seed: [0, 1]}")
    result = facelab(file, "--jobs", 2, "--out", tmp_path / "runs")
    assert result.exit_code == 1
    assert "failed: 01_a (gamma=0.5, seed=0, smoke), 01_a (gamma=0.5, seed=1, smoke)" in result.output
    folder = tmp_path / "runs" / "mine"
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("status ok") == 2 and page.count("status failed") == 2 and "too much" in page
    for link in re.findall(r'href="([^"#]+)"', page):
        assert (folder / link).is_file(), link
    assert "<small>+1</small>" in page
    cells = pd.read_csv(folder / "cells.csv")
    assert cells["01.score"].dropna().tolist() == [0.25, 1.25] and cells["state"].tolist().count("failed") == 2
    (row,) = pd.read_csv(folder / "seeds.csv").to_dict("records")
    assert (row["setting"], row["seeds"], row["mean"]) == ("gamma=0.25, profile=smoke", 2, 0.75)
    assert (row["low"], row["high"]) == (0.25, 1.25)
    assert r"01.score" in (folder / "cells.tex").read_text() and r"\bottomrule" in (folder / "seeds.tex").read_text()

    grown = grid("notebook: NOTEBOOK\nprofile: smoke\nparameters: {gamma: 0.25, seed: [0, 1, 2]}")
    plan = facelab(grown, "--out", tmp_path / "runs", "--dry-run").output
    assert plan.count("up to date") == 2 and "min, as in this batch" in plan and "3 in all, 1 to run" in plan
    again = facelab(grown, "--out", tmp_path / "runs")
    assert again.exit_code == 0 and "2 of 3 cells are up to date" in again.output
    assert again.output.count("ok after") == 1 and "seed=2" in again.output


def test_what_changed_is_run_again(grid, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(runner, "_papermill", lambda file, partial, parameters: ran.append(parameters) or "no")
    cells = batch.read(grid("notebook: NOTEBOOK\nparameters: {seed: [0, 1]}"))
    for _ in range(2):  # what failed is not kept
        done = batch.run(cells, "b", tmp_path)
        assert not done.ok and set(done.states.values()) == {"failed"}
    assert len(ran) == 4
    assert {o.error for o in done.outcomes.values()} == {"no"}


def test_a_cell_without_a_report_says_why(grid, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(runner, "run", full)
    done = batch.run(batch.read(grid("notebook: NOTEBOOK")), "b", tmp_path)
    assert "OSError: the disk is full" in done.index.read_text(encoding="utf-8")


def test_unknown_minutes_are_said(grid, tmp_path):
    said = facelab(grid("notebook: NOTEBOOK"), "--dry-run", "--out", tmp_path / "runs").output
    assert "minutes not known" in said and "and 1 whose minutes are not known" in said
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_other_commands_starts_nothing(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *_, **__: pytest.fail("it ran"))
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))
    file = notebook("01_a", RECORD)
    said = CliRunner().invoke(main, ["report", str(file), "--out", str(tmp_path), "--set", "seed=3", "--dry-run"])
    assert said.output.splitlines()[0] == "01_a (seed=3, quick): minutes not known", said.output
    wrong = CliRunner().invoke(main, ["report", str(file), "--set", "sede=3", "--dry-run"])
    assert wrong.exit_code == 2 and "did you mean 'seed'" in wrong.output
    faces = ["faces", "render", "rendered/wild", "--people", "400", "--size", "64", "--dry-run"]
    said = CliRunner().invoke(main, faces).output
    assert said.startswith("rendered/wild: 1,200 images of 64 × 64, 14,745,600 bytes; about "), said
    assert not (tmp_path / "cache").exists()


def test_minutes_of_the_reference_run_are_known(tmp_path):
    (tmp_path / "g.yaml").write_text("notebook: 05\nprofile: full")
    (cell,) = batch.read(tmp_path / "g.yaml")
    minutes, where = batch.expected(cell, tmp_path / "runs" / "g")
    assert where == "reference run 'rendered'" and minutes > 1
    (tmp_path / "g.yaml").write_text("notebook: 05\nprofile: full\nparameters: {faces: utkface}")
    (cell,) = batch.read(tmp_path / "g.yaml")
    assert batch.expected(cell, tmp_path / "runs" / "g")[1] == "reference run 'utkface'"


def test_stopped_it_keeps_what_finished_and_leaves_no_process(notebook, tmp_path):
    """SIGTERM to the one process, which raises what Ctrl-C does."""
    started = tmp_path / "started"
    code = f"""import os, pathlib, time
import facelab as fl
fl.record("01.score", seed)
if seed == 1:
    pathlib.Path({str(started)!r}).write_text(str(os.getpid()))
    time.sleep(300)"""
    (tmp_path / "g.yaml").write_text(
        f"notebook: {notebook('01_a', code)}\nprofile: smoke\nparameters: {{seed: [0, 1]}}"
    )
    command = [sys.executable, "-m", "facelab.workbench.cli", "batch", tmp_path / "g.yaml", "--out", tmp_path / "runs"]
    process = subprocess.Popen(
        [*map(str, command), "--jobs=2"],
        stderr=subprocess.PIPE,
        start_new_session=True,  # the signal goes to it alone, and the clean-up below to all of them
    )
    folder = tmp_path / "runs" / "g"
    try:
        deadline = time.monotonic() + 300
        while not (started.exists() and started.read_text() and list(folder.glob("*/results.json"))
                   and "status ok" in (folder / "index.html").read_text(encoding="utf-8")):  # fmt: skip
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        process.terminate()
        process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 1
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("status ok") == 1 and page.count("status waiting") == 1
    assert not list(folder.glob("*/.*"))
    kernel, deadline = int(started.read_text()), time.monotonic() + 20
    while _alive(kernel):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_recorded_numbers_as_tables(tmp_path):
    entry = {"value": 0.831264, "low": 0.8, "high": 0.85, "unit": "R²", "paper": None, "note": "50 % & _x_ ρ"}
    tables.write({"02.yaw.score": entry}, tmp_path / "tables" / "02")
    table = pd.read_csv(tmp_path / "tables" / "02.csv")
    assert table["value"].tolist() == [0.831264] and table["paper"].isna().all()
    row = (tmp_path / "tables" / "02.tex").read_text().splitlines()[4]
    assert row == r"02.yaw.score & 0.8313 & 0.8 & 0.85 & R$^2$ &  & 50 \% \& \_x\_ $\rho$ \\"


def test_the_headline_is_what_the_readme_quotes():
    entries = {key: {"paper": None} for key in ("01.other", "01.yaw.n_crafts", "01.yaw.best_rho")}
    assert tables.headline(entries) == ["01.yaw.n_crafts", "01.yaw.best_rho"]
    assert json.dumps(tables.headline({"91.a": {"paper": None}, "91.b": {"paper": 1.0}}, 1)) == '["91.b"]'
