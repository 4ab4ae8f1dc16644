"""MORPH, album 2: police photos of adults over the years (K. Ricanek, T. Tesafaye, "MORPH: a longitudinal image
database of normal adult age-progression", FG 2006)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, listed

_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d{2})\.jpg", re.IGNORECASE)


def read(root: Path, files: list[str]) -> Listing:
    """Names such as 009055_1M54.JPG: person, number of the photo, gender, age in years."""
    rows, skipped = [], []
    for file in files:
        name = Path(file).name
        if not name.lower().endswith(".jpg"):
            continue
        if (parts := _NAME.fullmatch(name)) is None:
            skipped.append((file, "name is not person_number, gender and age"))
            continue
        gender = {"F": "female", "M": "male"}[parts[3].upper()]
        rows.append({"file": file, "identity": parts[1], "age": int(parts[4]), "gender": gender})
    return listed(rows, skipped)


_SIGN = "[0-9]*_*[MF][0-9][0-9].[jJ][pP][gG]"
SET = DataSet(
    name="morph",
    title="MORPH album 2",
    pictures=55_134,
    labels=("identity", "age", "gender"),
    owner="Face Aging Group, University of North Carolina Wilmington",
    terms="by licence, academic or commercial",
    layout="pictures such as 009055_1M54.JPG, in it or in a folder below",
    signs=(_SIGN, f"*/{_SIGN}"),
    read=read,
)
