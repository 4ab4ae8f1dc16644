"""Faces from any CSV file that lists pictures and their labels."""

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.errors import lacking
from facelab.faces.faceset import FaceSet
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing
from facelab.faces.readers.store import about, stored

log = logging.getLogger(__name__)
MISSING = ("nan", "na", "n/a", "null", "none")  # what other programs write for a number that is missing
MARKS = tuple(f"landmark_{k}_{axis}" for k in range(5) for axis in "xy")  # as `facelab faces render --out` writes them


def from_csv(file: str | Path, *, root: str | Path | None = None, size: int = 128, rows=None, broken: str = "error",
             progress: bool = True) -> FaceSet:  # fmt: skip
    """The pictures that a CSV file lists, with the labels in its other columns; kept in the cache.

    Its column `path` (or `file`) says where the pictures are, below root (the CSV's own folder). Columns named as in
    `facelab.tasks` are labels of tasks and must hold what those allow; others are kept as they are, with a warning in
    the log where a name is nearly that of a task. Ten columns landmark_0_x, landmark_0_y … landmark_4_y are the
    landmarks in pixels of the stored picture. Pictures with the same `identity` are of one person; without that
    column, those of the same `album` are kept together. An empty cell is a missing label, and so are words such as NaN
    among the numbers of a task; paths may be written with \\; a second row of a picture is left out; pictures beside
    those that it lists are not looked at: a CSV may be a part of a set.
    rows and broken as for `load`.
    ValueError: no such column, a label that its task does not allow, a picture that cannot be read. FileNotFoundError:
    no such file, or none of the pictures is there.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (40, 40), 200).save(f"{folder}/one.png")
    ...     _ = Path(folder, "mine.csv").write_text("path,yaw,note\\none.png,-30,a\\n")
    ...     from_csv(f"{folder}/mine.csv", size=32, progress=False)
    FaceSet 'mine': 1 images of 32 × 32; labels file, yaw, note
    """
    file = Path(file).expanduser()
    root = file.parent if root is None else Path(root).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}: expected that of the pictures of {file}")
    table = _table(file)
    landmarks = _landmarks(file, table)
    table = table.drop(columns=[c for c in MARKS if c in table])
    _check(file, table)
    listing = Listing(table, landmarks, np.full((len(table), 4), np.nan)).once()
    there = about(root, [*dict.fromkeys(table["file"])])
    data = DataSet(
        name=file.stem,
        title=str(file),
        pictures=len(table),
        labels=tuple(table),
        owner="",
        terms="",
        layout="the pictures that it lists",
        signs=(),
        read=lambda root, files: listing,
    )
    key = [*there, *about(file.parent, [file.name])]
    return stored(data, root, key, size=size, rows=rows, broken=broken, progress=progress)


def _table(file: Path) -> pd.DataFrame:
    """The rows, their picture in the column `file`, which comes first; an empty cell alone is missing."""
    how = {"keep_default_na": False, "na_values": [""], "dtype": {"identity": str, "path": str, "file": str}}
    how |= {"encoding": "utf-8-sig", "skipinitialspace": True}
    try:
        table = pd.read_csv(file, **how)
        if not isinstance(table.index, pd.RangeIndex):  # rows have one cell more than the header
            if table.iloc[:, -1].notna().any():
                raise ValueError(f"{file} has rows of more cells than its header names")
            table = pd.read_csv(file, usecols=range(table.shape[1]), index_col=False, **how)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{file} cannot be read as a CSV file ({error})") from error
    table = table.drop(
        columns=[c for c in table if c.startswith("Unnamed: ") and table[c].isna().all()]
    )  # a last comma
    if "path" in table:
        table = table.drop(columns="file", errors="ignore").rename(columns={"path": "file"})
    if "file" not in table:
        raise lacking(f"{file} lacks the column", ["path"], table.columns)
    if table.empty:
        raise ValueError(f"{file} has no rows: expected one for each picture")
    if table["file"].isna().any():
        raise ValueError(f"{file}, row {int(table['file'].isna().to_numpy().argmax()) + 1}: the path is empty")
    table["file"] = table["file"].str.replace("\\", "/")
    classes = {column: task.classes for column, task in _tasks().items() if task.kind != "identity"}
    for column in table:
        if column in MARKS or column in classes:
            table[column] = numbers(table[column], classes.get(column, ()))
    return table[["file", *(c for c in table if c != "file")]]


def numbers(column: pd.Series, classes: Sequence[str] = ()) -> pd.Series:
    """The column as numbers where its cells are numbers, empty or words for a missing one (`MISSING`, save those that
    are among `classes`); any other column as it is.

    >>> numbers(pd.Series(["1", "NA", "2.5"])).tolist()
    [1.0, nan, 2.5]
    >>> numbers(pd.Series(["1", "none"]), classes=("none", "1")).tolist()
    ['1', 'none']
    """
    if pd.api.types.is_numeric_dtype(column):
        return column
    text = column.astype(str).str.strip()
    words = text.str.lower().isin(MISSING) & ~text.isin(classes)
    found = pd.to_numeric(column.mask(words), errors="coerce")
    whole = found.notna().equals(column.notna() & ~words)
    return found if whole and words.any() and found.notna().any() else column


def _tasks() -> dict[str, tasks.Task]:
    """The task that reads a column of this name."""
    return {column: task for task in tasks.TASKS.values() for column in task.columns}


def _landmarks(file: Path, table: pd.DataFrame) -> np.ndarray:
    missing = [c for c in MARKS if c not in table]
    if len(missing) == len(MARKS):
        return np.full((len(table), 5, 2), np.nan)
    if missing:
        raise lacking(f"{file} has landmarks but lacks the column", missing, table.columns)
    try:
        return table[list(MARKS)].to_numpy(float).reshape(-1, 5, 2)
    except ValueError as error:
        raise ValueError(f"{file}: landmarks must be numbers or missing ({error})") from error


def _check(file: Path, table: pd.DataFrame) -> None:
    """Every task can read its labels, and names that are nearly those of tasks are pointed out."""
    known = _tasks()
    for task in {known[c].name: known[c] for c in table if c in known}.values():
        others = {c: np.nan for c in task.columns if c not in table}  # of several labels a table may have some
        if not others or task.kind == "labels":
            try:
                task.encode(table.assign(**others))
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
    for column in table:
        if column not in known and column != "file":
            near = get_close_matches(column.strip().lower(), known, n=1, cutoff=0.8)
            if near:
                log.warning("%s: the column %r is kept as it is: did you mean %r?", file, column, near[0])
