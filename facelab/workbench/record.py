"""The one way a notebook states a number worth quoting.

A headless run names a file in `$FACELAB_RESULTS`; every entry is appended to it as one line of JSON, so that
whatever was recorded before a crash is kept. Without that file entries stay in memory and notebooks work the
same by hand.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from pathlib import Path

import pandas as pd

RESULTS = "FACELAB_RESULTS"  # the file a headless run collects results in
NOTEBOOK = "FACELAB_NOTEBOOK"  # the two-digit number of the notebook that run executes
KEY = re.compile(r"(\d\d)((?:\.[^\W_][\w+-]*)+)")  # letters of any script
COLUMNS = ["value", "low", "high", "unit", "paper", "note"]

_memory: dict[str, dict] = {}


def record(
    key: str,
    value: float,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    paper: float | None = None,
    note: str = "",
) -> dict:
    """Record one number and return its entry.

    key: "NN.name", NN the notebook's number, e.g. "02.yaw.score".  low, high: the ends of its 95 % interval,
    both or neither.  paper: the value the paper prints.  A key recorded twice keeps its last value.

    Raises ValueError for a malformed key or one of another notebook, a value that is not finite, an interval
    that does not hold the value; TypeError for what is not a number or not a text.

    >>> record("02.yaw.score", 0.96, low=0.95, high=0.97, paper=0.9)["value"]
    0.96
    >>> record("02.yaw.score", float("nan"))
    Traceback (most recent call last):
        ...
    ValueError: 02.yaw.score: value must be finite, not nan
    """
    match = KEY.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        raise ValueError(f"key {key!r} is not of the form 'NN.name', e.g. '02.yaw.score'")
    if (notebook := os.environ.get(NOTEBOOK)) and match[1] != notebook:
        raise ValueError(f"key {key!r} belongs to notebook {match[1]}, but this is notebook {notebook}")
    numbers = {"value": value, "low": low, "high": high, "paper": paper}
    for name, number in numbers.items():
        if number is not None or name == "value":
            numbers[name] = _number(key, name, number)
    value, low, high = numbers["value"], numbers["low"], numbers["high"]
    if (low is None) != (high is None):
        raise ValueError(f"{key}: an interval needs both ends, not low={low} and high={high}")
    if low is not None and not low <= value <= high:
        raise ValueError(f"{key}: expected low ≤ value ≤ high, not {low} ≤ {value} ≤ {high}")
    for name, text in (("unit", unit), ("note", note)):
        if not isinstance(text, str):
            raise TypeError(f"{key}: {name} must be a text, not {type(text).__name__} {text!r}")
    entry = {
        "value": value,
        "unit": unit,
        "low": low,
        "high": high,
        "paper": numbers["paper"],
        "note": note,
    }
    if file := os.environ.get(RESULTS):
        _append(Path(file), json.dumps({key: entry}, ensure_ascii=False) + "\n")
    else:
        _memory[key] = entry
    return entry


def record_groups(notebook: str, table: pd.DataFrame, units: Mapping[str, str] | None = None, note: str = "") -> None:
    """Record what each group of people gets, as "NN.group.TASK.BY.GROUP".

    notebook: its two digits. table: indexed by (by, group), e.g. ("gender", "female"), a column per task, and "faces",
    how many of the group were asked; NaN is left out. units: task → unit. Raises ValueError for another index and what
    `record` raises.

    >>> about = pd.DataFrame({"age": [7.5], "faces": [40]}, index=pd.MultiIndex.from_tuples([("gender", "female")]))
    >>> record_groups("05", about, {"age": "years"})
    >>> recorded().loc["05.group.age.gender.female", ["unit", "note"]].tolist()
    ['years', '40 faces']
    """
    if table.index.nlevels != 2:
        raise ValueError(f"a table of groups is indexed by (by, group), not by {table.index.names}")
    named: dict[str, tuple] = {}
    for (by, group), row in table.iterrows():
        faces = f"{row['faces']:.0f} faces" if "faces" in row else ""
        for task, value in row.drop("faces", errors="ignore").dropna().items():
            key = ".".join(re.sub(r"[\W_]+", "_", str(part)).strip("_") or "other" for part in (task, by, group))
            if named.setdefault(key, (by, group)) != (by, group):
                raise ValueError(f"groups {named[key]!r} and {(by, group)!r} would both be recorded as {key!r}")
            about = "; ".join(part for part in (faces, note) if part)
            record(f"{notebook}.group.{key}", value, (units or {}).get(task, ""), note=about)


def record_missed(
    notebook: str, scores: Mapping[str, float], found: pd.DataFrame, missed: pd.DataFrame, note: str = ""
) -> pd.DataFrame:
    """Record how many faces were asked of nothing because no landmarks were found in them, as "NN.undetected_pct", and
    what scores become when these count as wrong (general-model §4.1), as "NN.undetected.TASK".

    notebook: its two digits. scores: task → score over faces that were found, in the task's own metric. found, missed:
    labels of the faces found and of the others; those that have the task's label count, as
    `transfer.selection.with_missed` says, with its errors. Returns a row per task, columns "found" and "all".

    >>> found, missed = (pd.DataFrame({"gender": ["male"] * n}) for n in (3, 1))
    >>> record_missed("05", pd.Series({"gender": 1.0}), found, missed)
            found   all
    gender    1.0  0.75
    >>> float(recorded().loc["05.undetected_pct", "value"])
    25.0
    """
    from facelab import tasks
    from facelab.training.objective import present
    from facelab.transfer import heads, selection

    scores, every = dict(scores), len(found) + len(missed)
    record(f"{notebook}.undetected_pct", 100 * len(missed) / every, "%", note=f"of {every} faces, by MTCNN's O-Net")
    known = {task: int((present(tasks.get(task).encode(found)) > 0).sum()) for task in scores}
    of_all = {task: selection.with_missed(task, score, known[task], missed) for task, score in scores.items()}
    about = "; ".join(part for part in (note, "a missed face counted as wrong") if part)
    for task, value in of_all.items():
        record(f"{notebook}.undetected.{task}", value, heads.metric(task), note=about)
    return pd.DataFrame({"found": pd.Series(scores, dtype=float), "all": pd.Series(of_all, dtype=float)})


def _number(key: str, name: str, number) -> int | float:
    """A plain Python number (JSON knows no arrays of one); whole numbers stay whole."""
    if hasattr(number, "item"):
        with suppress(ValueError, RuntimeError):  # of several numbers: not one
            number = number.item()
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"{key}: {name} must be a number, not {type(number).__name__} {number!r}")
    if not math.isfinite(number):
        raise ValueError(f"{key}: {name} must be finite, not {number}")
    return int(number) if isinstance(number, int) else float(number)


def _append(file: Path, line: str) -> None:
    """One write to a file opened for appending: a line arrives whole or not at all."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read(file: str | Path) -> dict[str, dict]:
    """The entries a run has collected in `file` so far, in the order of their first recording."""
    entries: dict[str, dict] = {}
    if Path(file).exists():
        for line in Path(file).read_text(encoding="utf-8").split("\n"):
            entries |= json.loads(line or "{}")
    return entries


def recorded() -> pd.DataFrame:
    """What has been recorded so far: one row per key; columns value, low, high, unit, paper, note.

    Closes every notebook: `fl.recorded()` shows what was measured beside what the paper prints.

    >>> _ = record("00.render.images_per_s", 25.0, "images/s")
    >>> recorded().loc["00.render.images_per_s", "unit"]
    'images/s'
    """
    file = os.environ.get(RESULTS)
    entries = read(file) if file else _memory
    table = pd.DataFrame.from_dict(entries, orient="index", columns=COLUMNS)
    return table.astype({"value": float, "low": float, "high": float, "paper": float})
