"""FG-NET: scanned photos of 82 people from childhood on (A. Lanitis, C. Taylor, T. Cootes, "Toward automatic simulation
of aging effects on face images", PAMI 2002; the FG-NET project)."""

import re
from pathlib import Path

import numpy as np

from facelab.faces.picture import ENDINGS
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, lines, listed

_NAME = re.compile(r"(\d{3})A(\d{2})([a-z]?)", re.IGNORECASE)
POINTS = (31, 36, 67, 48, 54)  # of its 68, counted from 0: the two pupils, the tip of the nose, the mouth's corners


def read(root: Path, files: list[str]) -> Listing:
    """Names such as 001A43a.JPG: person, age in years, and a letter where the person has several of that age.

    Beside them, or in a folder `points`, 001a43a.pts with 68 points in the mark-up of XM2VTS, which is not that of
    Multi-PIE (`listing.five`). A picture without such a file, or one whose points lie as no face in that mark-up does,
    has no landmarks.
    """
    marked = {Path(file).stem.lower(): file for file in files if file.lower().endswith(".pts")}
    rows, skipped = [], []
    for file in files:
        path = Path(file)
        if path.suffix.lower() not in ENDINGS:
            continue
        if (parts := _NAME.fullmatch(path.stem)) is None:
            skipped.append((file, "name is not person, A and age"))
            continue
        row = {"file": file, "identity": parts[1], "age": int(parts[2])}
        if points := marked.get(path.stem.lower()):
            try:
                row["landmarks"] = landmarks(lines(root / points))
            except ValueError:
                skipped.append((file, "its .pts file has no 68 points"))
                continue
        rows.append(row)
    return listed(rows, skipped)


def landmarks(text: list[str]) -> np.ndarray | None:
    """The five landmarks among the 68 points of a .pts file, None where they lie as in no face; ValueError where there
    are no 68 points between braces.

    >>> points = np.zeros((68, 2))
    >>> points[[31, 36, 67, 48, 54]] = [[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]]
    >>> landmarks(["version: 1", "n_points: 68", "{", *(f"{x} {y}" for x, y in points), "}"])[2].tolist()
    [50.0, 60.0]
    """
    if "{" not in text or "}" not in text:
        raise ValueError("no points between braces")
    points = np.array([line.split() for line in text[text.index("{") + 1 : text.index("}")]], float)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"points of shape {points.shape}: expected (68, 2)")
    left, right, nose, *mouth = five = points[list(POINTS)]
    across, down = right - left, np.mean(mouth, 0) - (left + right) / 2
    below = across[0] * down[1] - across[1] * down[0] > 0  # the mouth is on the chin's side of the eyes
    between = 0 < (nose - (left + right) / 2) @ down < down @ down
    return five if below and between and across[0] > 0 and (mouth[1] - mouth[0]) @ across > 0 else None


_SIGN = "[0-9][0-9][0-9][Aa][0-9][0-9]*.[jJ][pP][gG]"
SET = DataSet(
    name="fgnet",
    title="FG-NET",
    pictures=1_002,
    labels=("identity", "age", "landmarks"),
    owner="the FG-NET project, Andreas Lanitis, Cyprus",
    terms="research",
    layout="pictures such as 001A02.JPG, in it or in the folder images, and their 001a02.pts, beside them or in points",
    signs=(_SIGN, f"images/{_SIGN}", f"Images/{_SIGN}"),
    read=read,
    version=2,  # landmarks came in
)
