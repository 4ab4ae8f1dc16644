"""AgeDB: photos of people known by name, with their age by hand (S. Moschoglou et al., "AgeDB: the first manually
collected, in-the-wild age database", CVPR workshops 2017)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, told_by_name

_NAME = re.compile(r"\d+_(.+)_(\d+)_([fm])\.jpg", re.IGNORECASE)


def read(root: Path, files: list[str]) -> Listing:
    """Names such as 0_MariaCallas_35_f.jpg: number, person, age in years, gender."""

    def labels(name: re.Match) -> dict:
        return {"identity": name[1], "age": int(name[2]), "gender": {"f": "female", "m": "male"}[name[3].lower()]}

    return told_by_name(files, _NAME, "number_person_age_gender.jpg", labels)


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
