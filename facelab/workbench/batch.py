"""A grid of runs: notebooks × parameters, several side by side, compared on one page.

    # grid.yaml: one block, or a list of such blocks
    notebook: 01
    profile: quick
    parameters:
      source: [identity, expression]
      seed: [0, 1, 2]

A cell is one notebook with one value of each parameter. It is a run of its own (`runner.run`), in a folder named after
the notebook and all its parameters: a grid that grows, or is run again after an interruption, keeps its finished cells.
"""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

import joblib
import pandas as pd
import yaml

from facelab import cache
from facelab.errors import unknown, whole
from facelab.workbench import reference, report, runner, runs, tables

log = logging.getLogger(__name__)
KEYS = ("notebook", "profile", "parameters")


@dataclass(frozen=True)
class Cell:
    """One notebook with all its parameters; set_names: those of them that the grid sets."""

    notebook: Path
    parameters: dict
    set_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its run, the same in every grid."""
        return f"{self.notebook.stem[:2]}-{cache.digest([self.notebook.stem, self.parameters])[:10]}"

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={self.parameters[name]}" for name in self.set_names)
        return f"{self.notebook.stem} ({', '.join(filter(None, [chosen, self.parameters['profile']]))})"


@dataclass(frozen=True)
class Batch:
    """What became of a grid's cells: state of each, by name: "ok", "failed" or "waiting"; error: of those without a
    report."""

    folder: Path
    cells: tuple[Cell, ...]
    states: dict[str, str]
    outcomes: dict[str, runs.Outcome]
    errors: dict[str, str]

    @property
    def index(self) -> Path:
        return self.folder / "index.html"

    @property
    def ok(self) -> bool:
        return all(state == "ok" for state in self.states.values())

    def results(self, cell: Cell) -> dict[str, dict]:
        """What a cell that succeeded recorded."""
        return self.outcomes[cell.name].results if self.states[cell.name] == "ok" else {}

    def table(self) -> pd.DataFrame:
        """One row per cell: cell, notebook, the parameters that the grid sets, profile, state, minutes, and a column
        per recorded number; NaN where a notebook does not record it."""
        names = list(dict.fromkeys(name for cell in self.cells for name in cell.set_names))
        rows = []
        for cell in self.cells:
            outcome = self.outcomes.get(cell.name)
            row = {"cell": cell.name, "notebook": cell.notebook.stem}
            row |= {name: cell.parameters.get(name) for name in [*names, "profile"]}
            row |= {"state": self.states[cell.name], "minutes": outcome.minutes if outcome else float("nan")}
            rows.append(row | {key: entry["value"] for key, entry in self.results(cell).items()})
        return pd.DataFrame(rows)

    def seeds(self) -> pd.DataFrame:
        """One row per number and setting that several seeds share: notebook, setting, key, seeds (how many), mean, low,
        high; low and high are the least and the largest. Empty where no setting has two seeds that succeeded."""
        found: dict[tuple, dict[str, list[float]]] = {}
        for cell in self.cells:
            others = {name: cell.parameters[name] for name in cell.set_names if name != "seed"}
            setting = ", ".join(f"{k}={v}" for k, v in {**others, "profile": cell.parameters["profile"]}.items())
            for key, entry in self.results(cell).items():
                found.setdefault((cell.notebook.stem, setting), {}).setdefault(key, []).append(entry["value"])
        rows = [
            (*setting, key, len(values), sum(values) / len(values), min(values), max(values))
            for setting, numbers in found.items()
            for key, values in numbers.items()
            if len(values) > 1
        ]
        return pd.DataFrame(rows, columns=["notebook", "setting", "key", "seeds", "mean", "low", "high"])


def read(file: Path) -> tuple[Cell, ...]:
    """The cells of a grid file, in order; one that two blocks ask for is there once.

    ValueError names the file and what in it is wrong: no YAML, an unknown key, notebook, profile or parameter with the
    nearest that exists, a parameter without values. TypeError: a value of the wrong kind.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        blocks = yaml.load(text, _Texts)
    except FileNotFoundError:
        raise ValueError(f"no grid file {str(file)!r}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    cells: dict[str, Cell] = {}
    for block in blocks if isinstance(blocks, list) else [blocks]:
        try:
            cells |= {cell.name: cell for cell in _cells(block)}
        except (ValueError, TypeError) as error:
            raise type(error)(f"{file}: {error}") from error
    if not cells:
        raise ValueError(f"{file}: no block, so there is nothing to run")
    return tuple(cells.values())


class _Texts(yaml.BaseLoader):
    """Every value as it is written (01 stays 01): a notebook's own declaration says of what kind it is. A key that
    stands twice in a block is an error, not the last one."""

    def construct_mapping(self, node, deep=False):
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return found


def _cells(block) -> list[Cell]:
    if not isinstance(block, dict) or "notebook" not in block:
        raise ValueError(f"expected a block with the key notebook, or a list of them, not {block!r}")
    for key in block:
        if key not in KEYS:
            raise unknown("key of a grid", key, KEYS)
    if not isinstance(block["notebook"], str) or not block["notebook"]:
        raise ValueError(f"notebook {block['notebook']!r}: expected one name or number; another is another block")
    (file,) = runner.find([block["notebook"]])
    values = block.get("parameters") or {}
    if not isinstance(values, dict):
        raise ValueError(f"parameters {values!r}: expected name: value, or name: [value, value]")
    if "profile" in values:
        raise ValueError("profile is a key of the block, beside parameters")
    axes = {"profile": block.get("profile", "quick"), **values}
    axes = {name: value if isinstance(value, list) else [value] for name, value in axes.items()}
    for name, value in axes.items():
        if not value:
            raise ValueError(f"{name} has no value: expected one or more")
    for profile in axes["profile"]:
        if profile not in runner.PROFILES:
            raise unknown("profile", profile, runner.PROFILES)
    grid = [dict(zip(axes, chosen, strict=True)) for chosen in product(*axes.values())]
    try:
        return [Cell(file, runner.settings([file], chosen)[file], tuple(values)) for chosen in grid]
    except (ValueError, TypeError) as error:
        raise type(error)(f"{file.stem}: {error}") from error


def of_run(notebooks: list[Path], profile: str, parameters: dict) -> tuple[Cell, ...]:
    """The notebooks of one run as cells: what `runner.run` would run. Errors as there."""
    if profile not in runner.PROFILES:
        raise unknown("profile", profile, runner.PROFILES)
    given = runner.settings(notebooks, {**parameters, "profile": profile})
    return tuple(
        Cell(file, given[file], tuple(name for name in parameters if name in given[file])) for file in notebooks
    )


def expected(cell: Cell, folder: Path) -> tuple[float, str] | None:
    """The minutes a cell will take, and whose they are: the median of this notebook with this profile in the same
    batch, in the other runs, or in a reference run on the same faces; None where it was never run."""

    def same(outcome: runs.Outcome) -> bool:
        return (outcome.notebook, outcome.profile, outcome.status) == (stem, cell.parameters["profile"], "ok")

    stem = cell.notebook.stem
    for where, folders in (("this batch", folder.glob("*/")), ("an earlier run", folder.parent.glob("*/"))):
        known = [o.minutes for found in folders for o in runs.outcomes(found, stem).values() if same(o)]
        if known:
            return median(known), where
    for published in sorted((cell.notebook.parents[1] / "reports" / "reference").glob("*/results.json")):
        about = reference.read(published.parent)["run"]
        asked = about["notebooks"].get(stem, {}).get("parameters", {})
        if asked and all(asked.get(name) == cell.parameters.get(name) for name in ("profile", "faces")):
            return about["minutes"][stem], f"reference run {published.parent.name!r}"
    return None


def current(cells, folder: Path, about: dict) -> dict[str, runs.Outcome]:
    """The outcomes of those cells that need not run again. about: `runner.surroundings()`."""
    found = {c.name: runner.current(c.notebook, folder / c.name, c.parameters, about) for c in cells}
    return {name: outcome for name, outcome in found.items() if outcome}


def run(
    cells: tuple[Cell, ...],
    name: str,
    out: Path | None = None,
    *,
    jobs: int | None = None,
    again: bool = False,
    tell: Callable[[str], None] = log.info,
) -> Batch:
    """Run the cells (see `read`) that are not up to date into `<out>/<name>/<cell>/`, and compare all of them.

    jobs: processes side by side, which share the cores among them; None: one, or all workers where joblib has been told
    to work elsewhere (`fl.cluster`; its workers see the same disk and have one thread each). again: run also what is up
    to date. tell: gets one line per cell. The page is written anew after each cell.

    A cell that fails does not keep the others from running. KeyboardInterrupt stops those that are running and passes
    through; what had finished is kept. ValueError: a malformed name, fewer than one job, workers of several threads, a
    batch of this name that is going on.
    """
    if jobs is not None:
        whole("jobs", jobs, 1)
    folder = runs.folder(name, out)
    client = getattr(joblib.parallel.get_active_backend()[0], "client", None)
    if client and max(client.nthreads().values(), default=1) > 1:
        raise ValueError("a notebook needs a worker of its own: start them as `dask worker --nthreads 1`")
    with runs.alone(folder):
        return _all(cells, folder, jobs, again, tell)


def _all(cells, folder: Path, jobs: int | None, again: bool, tell) -> Batch:
    about = runner.surroundings()
    kept = {} if again else current(cells, folder, about)
    states = {cell.name: "ok" if cell.name in kept else "waiting" for cell in cells}
    batch = Batch(folder, cells, states, dict(kept), {})
    folder.mkdir(parents=True, exist_ok=True)
    write(batch)
    todo = [cell for cell in cells if states[cell.name] == "waiting"]
    if kept:
        tell(f"{len(kept)} of {len(cells)} cells are up to date")
    by_name = {cell.name: cell for cell in todo}
    try:
        work = (joblib.delayed(_run)(cell, folder, about) for cell in todo)
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        with closing(parallel(work)) as done:
            for count, (ended, error) in enumerate(done, 1):
                cell = by_name[ended]
                outcome = runs.outcomes(folder / ended).get(cell.notebook.stem)
                if outcome and not error:
                    batch.outcomes[ended], states[ended], error = outcome, outcome.status, outcome.error
                else:
                    states[ended], batch.errors[ended] = "failed", error
                took = f" after {outcome.minutes:.1f} min" if outcome else ""
                tell(f"{cell}: {states[ended]}{took} ({count} of {len(todo)}) {error}".rstrip())
                write(batch)
    finally:
        for leftover in (
            *folder.glob("*/.*.partial.ipynb"),
            *folder.glob("*/.*.results"),
        ):  # of cells that were stopped
            leftover.unlink(missing_ok=True)
        write(batch)
    return batch


def _run(cell: Cell, folder: Path, about: dict) -> tuple[str, str]:
    """Run one cell; its name, and what kept it from having a report."""
    others = {name: value for name, value in cell.parameters.items() if name != "profile"}
    try:
        how = {"parameters": others, "out": folder, "force": True, "about": about}
        runner.run([str(cell.notebook)], cell.parameters["profile"], cell.name, **how)
    except Exception as error:  # a full disk, a notebook that has gone: the other cells still run
        log.debug("cell %s failed", cell.name, exc_info=True)
        return cell.name, f"{type(error).__name__}: {error}"
    return cell.name, ""


def write(batch: Batch) -> None:
    """The page that compares the cells, and its tables as cells.csv, cells.tex, seeds.csv and seeds.tex."""
    cells, seeds = batch.table(), batch.seeds()
    for name, table in (("cells", cells), ("seeds", seeds)):
        cache.write_text(batch.folder / f"{name}.csv", table.to_csv(index=False))
    shown = [_comparison(batch, notebook) for notebook in dict.fromkeys(cell.notebook for cell in batch.cells)]
    keys = [key for part in shown for key in part["keys"]]
    fixed = [c for c in cells.columns if "." not in c and c != "cell"]
    cache.write_text(batch.folder / "cells.tex", tables.latex(cells[[*fixed, *(k for k in keys if k in cells)]]))
    cache.write_text(batch.folder / "seeds.tex", tables.latex(seeds[seeds["key"].isin(keys)]))
    page = report.batch(batch, shown, seeds[seeds["key"].isin(keys)].to_dict("records"))
    cache.write_text(batch.index, page)


def _comparison(batch: Batch, notebook: Path) -> dict:
    """One notebook's cells with their headline numbers: difference to the first cell that has one, least, largest."""
    cells = [cell for cell in batch.cells if cell.notebook == notebook]
    every: dict[str, dict] = {}
    for cell in cells:
        every |= batch.results(cell)
    rows = []
    columns = {key: [batch.results(cell).get(key, {}).get("value") for cell in cells] for key in every}
    for i, cell in enumerate(cells):
        numbers = {}
        for key, column in columns.items():
            known = [value for value in column if value is not None]
            if (value := column[i]) is not None:
                ends = {min(known): "least", max(known): "largest"} if min(known) < max(known) else {}
                first = next(j for j, v in enumerate(column) if v is not None)
                entry = batch.results(cell)[key]
                numbers[key] = {**entry, "end": ends.get(value, ""), "change": None if i == first else value - known[0]}
        rows.append({"cell": cell, "numbers": numbers})
    title = next((o.title for c in cells if (o := batch.outcomes.get(c.name))), notebook.stem)
    names = list(dict.fromkeys(name for cell in cells for name in cell.set_names))
    return {"stem": notebook.stem, "title": title, "names": names, "rows": rows,
            "keys": tables.headline(every), "every": list(every)}  # fmt: skip
