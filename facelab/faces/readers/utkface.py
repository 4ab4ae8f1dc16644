"""UTKFace: aligned crops whose names say age, gender, ethnicity (Z. Zhang, Y. Song, H. Qi, "Age progression/regression
by conditional adversarial autoencoder", CVPR 2017)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, told_by_name

GENDERS = ("male", "female")
ETHNICITIES = ("white", "black", "asian", "indian", "other")
_NAME = re.compile(r"(\d+)_([01])_([0-4])_\d+ ?\.?jpg(\.chip\.jpg)?", re.IGNORECASE)  # two names have a typing error


def read(root: Path, files: list[str]) -> Listing:
    """Labels from names `age_gender_ethnicity_date.jpg.chip.jpg`; a few of the official names lack a part: skipped."""

    def labels(name: re.Match) -> dict:
        age, gender, ethnicity = (int(part) for part in name.groups()[:3])
        return {"age": age, "gender": GENDERS[gender], "ethnicity": ETHNICITIES[ethnicity]}

    return told_by_name(files, _NAME, "age_gender_ethnicity_date.jpg", labels)


SET = DataSet(
    name="utkface",
    title="UTKFace",
    pictures=23_708,
    labels=("age", "gender", "ethnicity"),
    owner="Yang Song and Hairong Qi, University of Tennessee",
    terms="non-commercial research",
    layout="pictures named 25_0_2_20170116174525125.jpg.chip.jpg, in it or in part1 to part3",
    signs=("[0-9]*_[01]_[0-4]_20*.jpg", "part1/[0-9]*_[01]_[0-4]_20*.jpg"),
    read=read,
)
