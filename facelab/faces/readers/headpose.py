"""Head Pose Image Database: 15 people before 93 marks on the wall, twice (N. Gourier, D. Hall, J. Crowley, "Estimating
face orientation from robust detection of salient facial features", Pointing 2004)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, lines, listed

_NAME = re.compile(r"person(?:ne)?(\d\d)([12])(\d\d)([+-]\d{1,2})([+-]\d{1,2})\.jpg", re.IGNORECASE)
MARGIN = 0.6  # of the face's longer side, on either side of the box that the set gives


def read(root: Path, files: list[str]) -> Listing:
    """Person01/person01146-30+0.jpg: person, series, number, vertical angle, horizontal angle.

    pitch is the vertical angle (+ = up). The horizontal angle is given as `pan`, as it stands in the name, and no yaw:
    which of its signs is the subject's left is not written down. The pictures tell:

        faces = fl.nets.locate(fl.faces.load("headpose", root="HeadPoseImageDatabase"))
        faces.labels["yaw"] = fl.faces.turn_sign(faces, "pan") * faces.labels["pan"]

    A text file beside the picture holds the face's box; the part about it is taken.
    """
    rows, skipped, there = [], [], set(files)
    for file in files:
        path = Path(file)
        if path.suffix.lower() != ".jpg" or not path.parent.name.startswith("Person"):
            continue
        if (parts := _NAME.fullmatch(path.name)) is None:
            skipped.append((file, "name is not person, series, number, tilt and pan"))
            continue
        row = {
            "file": file,
            "identity": parts[1],
            "series": int(parts[2]),
            "pitch": int(parts[4]),
            "pan": int(parts[5]),
        }
        beside = path.with_suffix(".txt").as_posix()
        if beside in there:
            box = _box(root / beside)
            if box is None:
                skipped.append((file, "the text beside it has no box of a face"))
                continue
            row["box"] = box
        rows.append(row)
    return listed(rows, skipped)


def _box(file: Path) -> tuple[float, float, float, float] | None:
    """After the line "Face": its middle x and y, width and height."""
    text = [line.strip() for line in lines(file)]
    numbers = text[text.index("Face") + 1 :][:4] if "Face" in text else []
    if len(numbers) < 4 or not all(number.isdecimal() for number in numbers):
        return None
    x, y, width, height = map(int, numbers)
    half = (0.5 + MARGIN) * max(width, height)
    return (x - half, y - half, x + half, y + half) if half else None


SET = DataSet(
    name="headpose",
    title="the Head Pose Image Database",
    pictures=2_790,
    labels=("identity", "pitch", "pan", "series"),
    owner="Nicolas Gourier and James Crowley, INRIA Grenoble",
    terms="research; cite the paper",
    layout="the folders Person01 to Person15 with pictures such as person01146-30+0.jpg",
    signs=("Person[0-9][0-9]/person*.jpg", "Personne[0-9][0-9]/personne*.jpg"),
    read=read,
)
