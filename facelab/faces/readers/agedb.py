"""AgeDB: photos of people known by name, with their age by hand (S. Moschoglou et al., "AgeDB: the first manually
collected, in-the-wild age database", CVPR workshops 2017)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, listed

_NAME = re.compile(r"\d+_(.+)_(\d+)_([fm])\.jpg", re.IGNORECASE)


def read(root: Path, files: list[str]) -> Listing:
    """Names such as 0_MariaCallas_35_f.jpg: number, person, age in years, gender."""
    rows, skipped = [], []
    for file in files:
        name = Path(file).name
        if not name.lower().endswith(".jpg"):
            continue
        if (parts := _NAME.fullmatch(name)) is None:
            skipped.append((file, "name is not number_person_age_gender.jpg"))
            continue
        gender = {"f": "female", "m": "male"}[parts[3].lower()]
        rows.append({"file": file, "identity": parts[1], "age": int(parts[2]), "gender": gender})
    return listed(rows, skipped)


SET = DataSet(
    name="agedb",
    title="AgeDB",
    pictures=16_488,
    labels=("identity", "age", "gender"),
    owner="Intelligent Behaviour Understanding Group, Imperial College London",
    terms="non-commercial research, on request",
    layout="pictures such as 0_MariaCallas_35_f.jpg",
    signs=("[0-9]*_*_[0-9]*_[fm].jpg",),
    read=read,
)
