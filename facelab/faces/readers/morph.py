"""MORPH, album 2: police photos of adults over the years (K. Ricanek, T. Tesafaye, "MORPH: a longitudinal image
database of normal adult age-progression", FG 2006)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, told_by_name

_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d{2})\.jpg", re.IGNORECASE)


def read(root: Path, files: list[str]) -> Listing:
    """Names such as 009055_1M54.JPG: person, number of the photo, gender, age in years."""

    def labels(name: re.Match) -> dict:
        return {"identity": name[1], "age": int(name[4]), "gender": {"F": "female", "M": "male"}[name[3].upper()]}

    return told_by_name(files, _NAME, "person_number, gender and age", labels)


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
