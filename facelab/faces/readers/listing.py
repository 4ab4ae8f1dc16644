"""What the files of a data set say, before any picture is opened."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from facelab import tasks

TWICE = "listed twice: its first row counts"


@dataclass(frozen=True)
class Listing:
    """The pictures of a set in its own order, with their labels.

    table: one row per picture; `file` (relative to the set's folder), the labels, named as in `facelab.tasks` where
    they are tasks. landmarks: (n, 5, 2) pixels of the stored file, NaN = unknown. boxes: (n, 4) left, top, right,
    bottom: the part of the picture to take, NaN = all of it. skipped: (file or row, why) of what has no usable label.
    pixels: the pictures themselves, (n, h, w) grey, where they lie in a label file. lacking: (file, why) of pictures
    that are in the table, but of which one label file says nothing.
    """

    table: pd.DataFrame
    landmarks: np.ndarray
    boxes: np.ndarray
    skipped: list[tuple[str, str]] = field(default_factory=list)
    pixels: np.ndarray | None = None
    lacking: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows) -> "Listing":
        return replace(
            self,
            table=self.table.iloc[rows].reset_index(drop=True),
            landmarks=self.landmarks[rows],
            boxes=self.boxes[rows],
            pixels=None if self.pixels is None else self.pixels[rows],
        )

    def once(self) -> "Listing":
        """The first row of each picture, or of each box in it; the others count as skipped."""
        boxes = pd.DataFrame(np.nan_to_num(self.boxes, nan=-1.0))
        return self.without(boxes.assign(file=self.table["file"].to_numpy()).duplicated().to_numpy(), TWICE)

    def without(self, bad: np.ndarray, why: str) -> "Listing":
        """The others, with those in the mask `bad` counted as skipped."""
        kept, skipped = self[np.flatnonzero(~bad)], [(file, why) for file in self.table["file"][bad]]
        return replace(kept, skipped=[*self.skipped, *skipped])


def listed(rows: list[dict], skipped: list[tuple[str, str]], pixels=None) -> Listing:
    """A listing from one dict per picture: `file`, labels, and perhaps `landmarks` (5, 2) and `box`.

    A picture whose number is outside the range of its task is skipped, and so is a second row of the same picture.

    >>> found = listed([{"file": "a.jpg", "age": 30}, {"file": "b.jpg", "age": 300}], [])
    >>> found.table["age"].tolist(), found.skipped
    ([30.0], [('b.jpg', 'age outside 0 to 120 years')])
    """
    points = np.full((len(rows), 5, 2), np.nan, np.float64)
    boxes = np.full((len(rows), 4), np.nan)
    for i, row in enumerate(rows):
        if (found := row.pop("landmarks", None)) is not None:
            points[i] = found
        if (found := row.pop("box", None)) is not None:
            boxes[i] = found
    table = pd.DataFrame(rows) if rows else pd.DataFrame({"file": []})
    listing = Listing(table, points, boxes, list(skipped), pixels).once()
    for task in tasks.TASKS.values():
        if task.kind != "regression" or task.name not in listing.table:
            continue
        values = listing.table[task.name].astype(float)
        listing.table[task.name] = values
        low, high = (-np.inf if task.low is None else task.low), (np.inf if task.high is None else task.high)
        bad = (values.notna() & ~values.between(low, high)).to_numpy()
        if bad.any():
            allowed = f"{task.low} to {task.high} {task.unit}".rstrip()
            listing = listing.without(bad, f"{task.name} outside {allowed}")
    return listing


def told_by_name(files: list[str], pattern: re.Pattern, form: str, labels: Callable[[re.Match], dict]) -> Listing:
    """The .jpg files whose names tell their labels; those that do not fit the pattern are skipped. form: of the names,
    in words.

    >>> number = re.compile("([0-9]+).jpg")
    >>> ages = told_by_name(["7.jpg", "x.jpg"], number, "age.jpg", lambda name: {"age": int(name[1])})
    >>> ages.table["age"].tolist(), ages.skipped
    ([7.0], [('x.jpg', 'name is not age.jpg')])
    """
    rows, skipped = [], []
    for file in files:
        name = Path(file).name
        if not name.lower().endswith(".jpg"):
            continue
        if (parts := pattern.fullmatch(name)) is None:
            skipped.append((file, f"name is not {form}"))
        else:
            rows.append({"file": file} | labels(parts))
    return listed(rows, skipped)


def five(points) -> np.ndarray:
    """The five landmarks of `faceset.LANDMARKS` among the 68 of the Multi-PIE mark-up: eyes are means of six points.

    points: (68, 2), numbered from the image's left. ValueError for another shape.

    >>> five(np.arange(136).reshape(68, 2)).tolist()
    [[77.0, 78.0], [89.0, 90.0], [60.0, 61.0], [96.0, 97.0], [108.0, 109.0]]
    """
    points = np.asarray(points, float)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks of shape {points.shape}: expected (68, 2)")
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def around(points, margin: float = 0.5) -> tuple[float, float, float, float]:
    """A square box about these points: their extent's longer side, and `margin` of it on either side.

    >>> around([(10, 20), (30, 30)])
    (0.0, 5.0, 40.0, 45.0)
    """
    points = np.asarray(points, float)
    low, high = points.min(0), points.max(0)
    half = (high - low).max() * (0.5 + margin)
    (x, y) = (low + high) / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def lines(file: Path) -> list[str]:
    """The lines of a label file that are not empty. ValueError where it is no text; bytes outside UTF-8 are read as
    Latin-1."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "\0" in text:
        raise ValueError(f"{file} is no text: expected a label file")
    return [line for line in text.splitlines() if line.strip()]


def mat(file: Path) -> dict[str, np.ndarray]:
    """The variables of a Matlab file. ValueError where it cannot be read as one."""
    try:
        return loadmat(file)
    except Exception as error:  # SciPy has no error of its own for a file that is damaged
        raise ValueError(f"{file} cannot be read as a Matlab file ({type(error).__name__}: {error})") from error


def first(root: Path, *names: str) -> Path | None:
    """The first of these files or folders that exists below `root`."""
    return next((root / name for name in names if (root / name).exists()), None)
