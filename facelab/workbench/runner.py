"""The strict notebook runner: each notebook in a fresh kernel, headlessly; what came of it is kept.

A notebook fails that raises, records nothing, runs no cell, records another notebook's key; it still gets its
page, and the other notebooks still run. One whose source, package, parameters, versions and device are those
of its last success is not run again.
"""

import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat

from facelab import cache
from facelab.errors import unknown
from facelab.workbench import parameters as declared_parameters
from facelab.workbench import record, report, runs

log = logging.getLogger(__name__)
PROFILES = ("smoke", "quick", "full", "paper")
PACKAGE = Path(__file__).parents[1]
# No notebook's numbers depend on these: changing one re-draws the pages but re-runs nothing.
_PRESENTATION = {
    *("atlas.py", "batch.py", "cli.py", "cli_common.py", "cli_faces.py", "doctor.py", "export.py", "folders.py"),
    *("look.py", "models.py", "papers.py", "parameters.py", "reference.py", "report.py", "runner.py", "runs.py"),
    *("tables.py", "training_plan.py"),
}


@dataclass(frozen=True)
class Run:
    """What `run` did: the folder, each notebook's outcome, and which of them were up to date."""

    folder: Path
    outcomes: dict[str, runs.Outcome]
    skipped: tuple[str, ...]

    @property
    def index(self) -> Path:
        return self.folder / "index.html"

    @property
    def ok(self) -> bool:
        return all(o.status == "ok" for o in self.outcomes.values())


def find(names=(), folder: Path | None = None) -> list[Path]:
    """The notebooks meant by `names`: paths, names or numbers ("01"); all `NN_*.ipynb` of `folder` if empty.

    ValueError for a name that is none, or where there are no notebooks at all.
    """
    folder = folder or runs.root() / "notebooks"
    here = {file.stem: file for file in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not names and not here:
        raise ValueError(f"no notebook NN_name.ipynb in {folder}")
    found = []
    for name in map(str, names):
        by_number = [file for stem, file in here.items() if stem[:2] == name]
        if name.endswith(".ipynb") and Path(name).is_file():
            if not re.match(r"\d\d_", Path(name).name):
                raise ValueError(f"notebook {name!r}: expected a name NN_name.ipynb, NN its two-digit number")
            found.append(Path(name).resolve())
        elif by_number:
            found += by_number
        elif (stem := Path(name).name.removesuffix(".ipynb")) in here and _of(name, folder):
            found.append(here[stem])
        else:
            raise unknown("notebook", name, here)
    return list(dict.fromkeys(found)) or list(here.values())


def _of(name: str, folder: Path) -> bool:
    """Whether a name is no path, or one into the notebooks' own folder."""
    parent = Path(name).parent
    return parent == Path() or folder.resolve() in (parent.resolve(), (folder.parent / parent).resolve())


def run(
    notebooks=(),
    profile: str = "quick",
    name: str = "default",
    parameters: dict | None = None,
    out: Path | None = None,
    *,
    force: bool = False,
    about: dict | None = None,
    tell: Callable[[str], None] = log.info,
) -> Run:
    """Execute notebooks (see `find`) with a profile and parameters into the run's folder `<out>/<name>`.

    parameters: values, or texts as from a command line where the parameter is not a text; each must be
    declared by at least one of the notebooks and is given to those that declare it.  force: run also what is
    up to date. about: `surroundings()`, where the caller knows it. tell: gets one line per notebook.

    Before anything runs: ValueError for an unknown profile, notebook or parameter, a malformed parameters cell,
    two notebooks of one number, a run of this name that is going on; TypeError for a value of the wrong kind.
    KeyboardInterrupt passes through; what had finished is kept.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    if "profile" in (parameters or {}):
        raise ValueError(f"parameter profile={parameters['profile']}: expected it as profile, or --profile")
    files = find(notebooks)
    given = settings(files, {**(parameters or {}), "profile": profile})
    with runs.alone(folder := runs.folder(name, out)):
        return _run(files, given, profile, folder, force, about, tell)


def _run(files, given, profile: str, folder: Path, force: bool, about: dict | None, tell) -> Run:
    numbered = {stem[:2]: stem for stem in runs.outcomes(folder)}
    for file in files:  # figures and keys have the number alone
        if (other := numbered.setdefault(file.stem[:2], file.stem)) != file.stem:
            raise ValueError(
                f"notebooks {other!r} and {file.stem!r} of run {folder.name!r} have one number: renumber one, or use "
                "another --name"
            )
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    about, done, skipped = about or surroundings(), {}, []
    try:
        for file in files:
            if not force and (last := current(file, folder, given[file], about)):
                done[file.stem] = last
                skipped.append(file.stem)
                tell(f"{file.stem}: up to date")
                continue
            tell(f"{file.stem}: running, profile {profile}")
            outcome = _execute(file, folder, given[file], _key(file, given[file], about), about)
            outcome.save(folder)
            done[file.stem] = outcome
            tell(f"{file.stem}: {outcome.status} after {outcome.minutes:.1f} min {outcome.error}".rstrip())
    finally:
        runs.merge(folder)
        report.write(folder)
    return Run(folder, done, tuple(skipped))


def surroundings() -> dict:
    """All that results depend on besides a notebook and its parameters: package, versions, device."""
    return {"package": package_digest(PACKAGE), "versions": runs.versions(), "device": _device()}


def current(file: Path, folder: Path, parameters: dict, about: dict) -> runs.Outcome | None:
    """The outcome in a run's folder, if the notebook succeeded there and nothing that it depends on has changed.

    parameters: in full (see `settings`). about: `surroundings()`.
    """
    last = runs.outcomes(folder, file.stem).get(file.stem)
    kept = (folder / f"{file.stem}.ipynb").is_file()
    return last if last and kept and (last.digest, last.status) == (_key(file, parameters, about), "ok") else None


def _key(file: Path, parameters: dict, about: dict) -> str:
    named = {name: _stamp(file.parent, value) for name, value in parameters.items() if isinstance(value, str)}
    named = {name: stamp for name, stamp in named.items() if stamp}
    return cache.digest(
        {**about, "source": _source(file), "parameters": parameters} | ({"files": named} if named else {})
    )


def _stamp(folder: Path, value: str):
    """What a parameter that names a file (or FILE:part) or a folder depends on besides its name; None for others."""
    try:
        path = folder / Path(value.partition(":")[0]).expanduser() if value else folder
        file, inner = value and path.is_file(), value and os.sep in value and path.is_dir()
    except (OSError, RuntimeError):  # too long for a name, ~ of nobody
        return None
    if file:
        return cache.sha256(path)
    if inner:
        inside = sorted(one for one in path.rglob("*") if one.is_file())
        return cache.digest(
            [[one.relative_to(path).as_posix(), one.stat().st_size, one.stat().st_mtime_ns] for one in inside]
        )
    return None


def settings(files: list[Path], wanted: dict) -> dict[Path, dict]:
    """Every notebook's parameters in full: `wanted` in place of the defaults of those that declare them.

    Values, or texts as from a command line where the parameter is not a text. ValueError for a malformed parameters
    cell and a parameter that no notebook declares, TypeError for a value of the wrong kind.
    """
    found, everything = {}, {}
    for file in files:
        declared = declared_parameters.read(nbformat.read(file, as_version=4), file.name)
        if "profile" not in declared:
            raise ValueError(f'{file.name}: its parameters cell lacks `profile: str = "quick"`')
        everything |= declared
        own = {k: _value(declared[k], v) for k, v in wanted.items() if k in declared}
        found[file] = declared_parameters.check(own, declared)
    for name in wanted:
        if name not in everything:
            raise unknown("parameter", name, everything)
    return found


def _value(parameter: declared_parameters.Parameter, value):
    return parameter.parse(value) if isinstance(value, str) else parameter.check(value)


def _source(file: Path) -> list:
    """A notebook's source without outputs and other traces of its having been run."""
    cells = nbformat.read(file, as_version=4).cells
    return [[c.cell_type, c.source, sorted(c.metadata.get("tags", []))] for c in cells]


def package_digest(package: Path) -> str:
    """A key of the sources that notebooks can depend on."""
    total = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        own = file.relative_to(package)
        shown_only = own.parts[0] == "workbench" and (file.name in _PRESENTATION or "pages" in own.parts)
        if file.is_file() and "__pycache__" not in own.parts and not shown_only:
            total.update(f"{own.as_posix()}\0{cache.sha256(file)}\n".encode())
    return total.hexdigest()


def _device() -> str:
    from facelab import devices  # here, not above: torch takes seconds and `find` does not need it

    return str(devices.device("auto"))


def _execute(file: Path, folder: Path, parameters: dict, key: str, about: dict) -> runs.Outcome:
    """Run one notebook in a kernel of this very interpreter. The executed notebook appears under its own name
    only when it has ended, well or badly."""
    partial, collected = folder / f".{file.stem}.partial.ipynb", folder / f".{file.stem}.results"
    for leftover in (partial, collected):
        leftover.unlink(missing_ok=True)
    began, commit = time.monotonic(), runs.commit(file.parent)
    told = {record.RESULTS: str(collected), record.NOTEBOOK: file.stem[:2]}
    for name in ("FACELAB_CACHE", "FACELAB_PHOTOS", "XDG_CACHE_HOME"):  # a kernel starts in another folder
        if os.environ.get(name):
            told[name] = str(Path(os.environ[name]).expanduser().absolute())
    try:
        with _environment(told):
            error = _papermill(file, partial, parameters)
            if error.startswith("RuntimeError: Kernel"):  # it never answered: another process took its port, say
                log.warning("%s: %s; once more", file.stem, error)
                error = _papermill(file, partial, parameters)
        minutes = (time.monotonic() - began) / 60
        try:
            results = record.read(collected)
        except ValueError as damaged:  # half a line, by a disk that was full
            results, error = {}, error or f"its results cannot be read ({damaged})"
        if not partial.exists():  # the kernel never started
            nbformat.write(nbformat.read(file, as_version=4), partial)
        executed = nbformat.read(partial, as_version=4)
        if not error and not any(c.get("execution_count") for c in executed.cells):
            error = "no code cell ran"
        if not error and not results:
            error = "recorded nothing: a notebook records what it measured with fl.record"
        os.replace(partial, folder / f"{file.stem}.ipynb")
    finally:
        for leftover in (partial, collected):
            leftover.unlink(missing_ok=True)
    return runs.Outcome(
        notebook=file.stem,
        title=_title(executed, file.stem),
        status="failed" if error else "ok",
        error=error,
        minutes=minutes,
        digest=key,
        parameters=parameters,
        results=results,
        versions=about["versions"],
        device=about["device"],
        commit=commit,
    )


def _papermill(file: Path, partial: Path, parameters: dict) -> str:
    """Execute into `partial`; the error in one line, "" if there was none."""
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class SameInterpreter(AsyncKernelManager):
        """A kernel of the interpreter that runs this, whatever `python3` kernel a user has installed
        elsewhere."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]))

    try:
        papermill.execute_notebook(
            str(file),
            str(partial),
            parameters,
            kernel_name="python3",
            language="python",
            cwd=str(file.parent),
            progress_bar=sys.stderr.isatty(),
            kernel_manager_class=SameInterpreter,
            store_widget_state=False,  # reports show the static twins
        )
    except papermill.PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}".strip()
    except Exception as error:  # a kernel that dies or never starts must not keep the other notebooks from running
        log.debug("papermill failed", exc_info=True)
        return f"{type(error).__name__}: {error}".strip()
    return ""


@contextmanager
def _environment(values: dict[str, str]):
    """Kernels inherit the environment: set `values` while one is started, then put everything back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            with suppress(KeyError):
                del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _title(notebook, otherwise: str) -> str:
    """The first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (match := re.search(r"^# +(.+)$", cell.source, re.MULTILINE)):
            return match[1].strip()
    return otherwise
