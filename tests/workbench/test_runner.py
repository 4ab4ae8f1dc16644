import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from facelab.workbench import runner, runs


def test_a_good_notebook_is_kept_with_all_it_came_from(mixed):
    good = mixed.run.outcomes["01_good"]
    assert (good.status, good.error, good.title) == ("ok", "", "What is 01_good?")
    assert good.parameters == {"profile": "smoke", "seed": 0, "gamma": 0.5}
    assert good.results["01.score"]["note"] == "smoke 0.5"  # what the kernel was given
    assert 0 < good.minutes < 5
    assert runs.outcomes(mixed.folder)["01_good"] == good


def test_kernels_are_of_this_interpreter_whatever_kernels_are_installed(mixed):
    executed = nbformat.read(mixed.folder / "01_good.ipynb", as_version=4)
    printed = "".join(o.get("text", "") for c in executed.cells for o in c.get("outputs", []))
    assert sys.executable in printed


def test_failures_do_not_keep_the_others_from_running(mixed):
    errors = {name: o.error for name, o in mixed.run.outcomes.items() if o.status == "failed"}
    assert not mixed.run.ok
    assert set(errors) == {"02_raises", "03_silent", "04_dies", "05_foreign"}
    assert "KeyError: 'lost'" in errors["02_raises"]
    assert errors["03_silent"].startswith("recorded nothing")
    assert "DeadKernelError" in errors["04_dies"]
    assert "belongs to notebook 01, but this is notebook 05" in errors["05_foreign"]
    assert any(line.startswith("02_raises: failed after") for line in mixed.told)


def test_results_hold_what_succeeded_and_how(mixed):
    results = mixed.results()
    assert set(results) == {"01.score", "run"}
    assert results["01.score"] == {
        "value": 0.5, "unit": "R²", "low": 0.4, "high": 0.6, "paper": 0.7, "note": "smoke 0.5",
    }  # fmt: skip
    about = results["run"]
    assert (about["profile"], about["seeds"], about["device"]) == (
        "smoke",
        [0],
        mixed.run.outcomes["01_good"].device,
    )
    assert about["versions"]["torch"] and about["versions"]["python"]
    assert about["commit"] is None  # these notebooks are outside git
    assert set(about["minutes"]) == {"01_good"}


def test_no_half_files_are_left(mixed):
    assert not [file for file in mixed.folder.rglob(".*")]


RECORD = 'import facelab as fl\nfl.record("01.a", gamma)'


def test_only_what_changed_is_run_again(notebook, tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "workbench").mkdir(parents=True)
    (package / "lasso.py").write_text("1")
    monkeypatch.setattr(runner, "PACKAGE", package)
    file = notebook("01_a", RECORD)

    def again(**options):
        done = runner.run([file], "smoke", out=tmp_path / "runs", **options)
        assert done.ok
        return not done.skipped

    assert again()
    assert not again()
    (package / "workbench" / "report.py").write_text("how it is shown")
    assert not again()
    (package / "lasso.py").write_text("2")
    assert again()
    assert again(parameters={"gamma": 0.2})
    assert json.loads((tmp_path / "runs/default/results.json").read_text())["01.a"]["value"] == 0.2
    assert not again(parameters={"gamma": 0.2})


def test_a_file_that_a_parameter_names_is_part_of_the_key(notebook, tmp_path):
    file = notebook("01_a", RECORD, parameters='profile: str = "quick"\ncsv: str = ""')

    def key(value):
        return runner._key(file, {"profile": "quick", "csv": value}, {})

    table, folder = tmp_path / "mine.csv", tmp_path / "photos"
    table.write_text("age\n310\n")
    folder.mkdir()
    before = key(str(table)), key(f"{table}:part"), key(str(folder)), key("rendered/wild")
    assert before == (key(str(table)), key(f"{table}:part"), key(str(folder)), key("rendered/wild"))
    table.write_text("age\n31\n")
    (folder / "new.png").write_bytes(b"")
    after = key(str(table)), key(f"{table}:part"), key(str(folder)), key("rendered/wild")
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, False, True]


def test_two_runs_of_one_name_do_not_mix(notebook, tmp_path, monkeypatch):
    file, inner = notebook("01_a", RECORD), []

    def meanwhile(*_):
        with pytest.raises(ValueError, match="run 'default' is going on in another process"):
            runner.run([file], "smoke", out=tmp_path / "runs")
        inner.append(1)
        return "seen"

    monkeypatch.setattr(runner, "_papermill", meanwhile)
    runner.run([file], "smoke", out=tmp_path / "runs")
    assert inner == [1]
    with pytest.raises(ValueError, match="'01_a' and '01_other' of run 'default' have one number: renumber one"):
        runner.run([notebook("01_other", RECORD)], "smoke", out=tmp_path / "runs")


def test_results_that_cannot_be_read_fail_their_notebook_alone(notebook, tmp_path, monkeypatch):
    def half(file, partial, parameters):
        Path(os.environ["FACELAB_RESULTS"]).write_text('{"01.a": {"val')
        return ""

    monkeypatch.setattr(runner, "_papermill", half)
    done = runner.run([notebook("01_a", RECORD)], "smoke", out=tmp_path / "runs")
    assert "its results cannot be read" in done.outcomes["01_a"].error and done.index.exists()


def test_the_key_of_a_notebook_is_its_source_not_its_outputs(notebook):
    file = notebook("01_a", RECORD)
    before = runner._source(file)
    executed = nbformat.read(file, as_version=4)
    executed.cells[2].outputs = [nbformat.v4.new_output("stream", text="hello")]
    executed.cells[2].execution_count = 7
    nbformat.write(executed, file)
    assert runner._source(file) == before
    executed.cells[2].source += "\n"
    nbformat.write(executed, file)
    assert runner._source(file) != before


def test_what_failed_or_cannot_be_read_is_run_again(notebook, tmp_path, monkeypatch):
    calls = []

    def fail(file, partial, parameters):
        calls.append(file.name)
        return "no such luck"

    monkeypatch.setattr(runner, "_papermill", fail)
    file = notebook("01_a", RECORD)
    for _ in range(2):
        assert runner.run([file], "smoke", out=tmp_path).outcomes["01_a"].error == "no such luck"
    (tmp_path / "default" / "01_a.json").write_text('{"half')
    assert runs.outcomes(tmp_path / "default") == {}
    runner.run([file], "smoke", out=tmp_path)
    assert len(calls) == 3
    assert "no such luck" in (tmp_path / "default" / "01_a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"profile": "quik"}, ValueError, "unknown profile 'quik': did you mean 'quick'"),
        ({"parameters": {"gama": 0.1}}, ValueError, "unknown parameter 'gama': did you mean 'gamma'"),
        ({"parameters": {"gamma": "a"}}, TypeError, "parameter 'gamma': expected float .* not str 'a'"),
        ({"parameters": {"seed": 0.5}}, TypeError, "parameter 'seed': expected int .* not float 0.5"),
        ({"name": "../up"}, ValueError, "run name '../up': expected letters"),
    ],
)
def test_mistakes_are_found_before_anything_runs(notebook, tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        runner.run([notebook("01_a", RECORD)], out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_derived_parameters_and_missing_profile(notebook):
    with pytest.raises(ValueError, match=r"01_a.ipynb: parameters cell, line 2: .* not `n = 2 \* 3`"):
        runner.run([notebook("01_a", RECORD, parameters='profile: str = "quick"\nn = 2 * 3')])
    with pytest.raises(ValueError, match=r'02_b.ipynb: its parameters cell lacks `profile: str = "quick"`'):
        runner.run([notebook("02_b", RECORD, parameters="seed: int = 0")])


def test_a_parameter_goes_to_the_notebooks_that_declare_it(notebook):
    files = [notebook("01_a", RECORD), notebook("02_b", RECORD, parameters='profile: str = "quick"')]
    settings = runner.settings(files, {"profile": "full", "gamma": "0.3"})
    assert [s.get("gamma") for s in settings.values()] == [0.3, None]
    assert {s["profile"] for s in settings.values()} == {"full"}


def test_finding_notebooks(notebook, tmp_path):
    one, two = notebook("01_one", RECORD), notebook("02_two", RECORD)
    folder = one.parent
    assert runner.find((), folder) == [one, two]
    assert runner.find(["02", "01_one", "notebooks/02_two.ipynb"], folder) == [two, one]
    assert runner.find([str(two)], tmp_path) == [two]
    with pytest.raises(ValueError, match="unknown notebook"):
        runner.find(["/nowhere/at/all/01_one.ipynb"], folder)
    with pytest.raises(ValueError, match="unknown notebook '01_on': did you mean '01_one'"):
        runner.find(["01_on"], folder)
    with pytest.raises(ValueError, match=r"no notebook NN_name\.ipynb in"):
        runner.find((), tmp_path)
    with pytest.raises(ValueError, match=r"expected a name NN_name\.ipynb"):
        runner.find([str(notebook("mine", RECORD))], folder)


def test_ctrl_c_keeps_what_finished_and_leaves_no_kernel(notebook, tmp_path):
    done = notebook("01_a", RECORD)
    started = tmp_path / "started"
    says = f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))"
    sleeps = f"import os, pathlib, time\n{says}\ntime.sleep(300)"
    command = [
        sys.executable,
        "-m",
        "facelab.workbench.cli",
        "report",
        str(done),
        str(notebook("02_b", sleeps)),
    ]
    process = subprocess.Popen(
        [*command, "--profile=smoke", f"--out={tmp_path / 'runs'}"],
        stderr=subprocess.PIPE,
        # a test run put into the background by a shell ignores SIGINT, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        _wait(lambda: started.exists() and started.read_text(), 120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert said.strip().endswith(b"Aborted!")
    folder = tmp_path / "runs" / "default"
    assert list(runs.outcomes(folder)) == ["01_a"]
    assert "01.a" in json.loads((folder / "results.json").read_text())
    assert not list(folder.glob(".*"))
    assert (folder / "index.html").exists()
    _wait(lambda: not _alive(int(started.read_text())), 20)


def _wait(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_progress_bars_are_text():
    """A notebook bar (tqdm.auto, tqdm.notebook) stands at 0 % in a saved notebook."""
    for file in runner.PACKAGE.rglob("*.py"):
        assert "tqdm." not in re.sub(r"tqdm\.(write|update|close)", "", file.read_text(encoding="utf-8")), file


def test_commit_outside_and_inside_git(tmp_path):
    assert runs.commit(tmp_path) is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "f").write_text("1")
    for command in (["init", "-q"], ["add", "f"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    found = runs.commit(tmp_path)
    assert len(found["id"]) == 40 and not found["dirty"]
    (tmp_path / "notes.txt").write_text("no code")
    assert not runs.commit(tmp_path)["dirty"]
    (tmp_path / "new.py").write_text("code that git does not know")
    assert runs.commit(tmp_path)["dirty"]
    (tmp_path / "new.py").unlink()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "01_x.ipynb").write_text("what a run wrote")
    assert not runs.commit(tmp_path)["dirty"]
    (tmp_path / "02_new.ipynb").write_text("a notebook that git does not know")
    assert runs.commit(tmp_path)["dirty"]
    (tmp_path / "02_new.ipynb").unlink()
    (tmp_path / "f").write_text("2")
    assert runs.commit(tmp_path)["dirty"]
