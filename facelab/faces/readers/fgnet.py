"""FG-NET: scanned photos of 82 people from childhood on (A. Lanitis, C. Taylor, T. Cootes, "Toward automatic simulation
of aging effects on face images", PAMI 2002; the FG-NET project)."""

import re
from pathlib import Path

from facelab.faces.picture import ENDINGS
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, listed

_NAME = re.compile(r"(\d{3})A(\d{2})([a-z]?)", re.IGNORECASE)


def read(root: Path, files: list[str]) -> Listing:
    """Names such as 001A43a.JPG: person, age in years, and a letter where the person has several of that age."""
    rows, skipped = [], []
    for file in files:
        path = Path(file)
        if path.suffix.lower() not in ENDINGS:
            continue
        if (parts := _NAME.fullmatch(path.stem)) is None:
            skipped.append((file, "name is not person, A and age"))
            continue
        rows.append({"file": file, "identity": parts[1], "age": int(parts[2])})
    return listed(rows, skipped)


_SIGN = "[0-9][0-9][0-9][Aa][0-9][0-9]*.[jJ][pP][gG]"
SET = DataSet(
    name="fgnet",
    title="FG-NET",
    pictures=1_002,
    labels=("identity", "age"),
    owner="the FG-NET project, Andreas Lanitis, Cyprus",
    terms="research",
    layout="pictures such as 001A02.JPG, in it or in the folder images",
    signs=(_SIGN, f"images/{_SIGN}", f"Images/{_SIGN}"),
    read=read,
)
