"""Labeled Faces in the Wild: photos of people in the news (G. Huang et al., technical report 07-49, University of
Massachusetts, 2007). `facelab.faces.lfw.pairs` gives its ten folds of verification pairs."""

import re
from dataclasses import replace
from pathlib import Path

from facelab.faces.lfw import IMAGES
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, first, lines, listed

_NAME = re.compile(r"(.+)_(\d{4})\.jpg")


def read(root: Path, files: list[str]) -> Listing:
    """Pictures Name/Name_0001.jpg with identity, and with people.txt the fold (0 to 9) of each person; whom it does not
    name has none."""
    below = f"{first(root, *IMAGES).name}/"
    rows, skipped, lacking = [], [], []
    folds = _folds(root / "people.txt") if (root / "people.txt").is_file() else {}
    for file in files:
        if not file.startswith(below) or not file.endswith(".jpg"):
            continue
        name = _NAME.fullmatch(Path(file).name)
        if name is None or name[1] != Path(file).parent.name:
            skipped.append((file, "name is not Name/Name_0001.jpg"))
            continue
        row = {"file": file, "identity": name[1]}
        rows.append(row | {"fold": folds.get(name[1])} if folds else row)
        if folds and name[1] not in folds:
            lacking.append((file, "person not in people.txt"))
    return replace(listed(rows, skipped), lacking=lacking)


def _folds(file: Path) -> dict[str, int]:
    """people.txt: the number of folds, then for each the number of its people and a line for each of them."""
    rest = [line.split() for line in lines(file)]
    folds, at = {}, 1
    try:
        for fold in range(int(rest[0][0])):
            count = int(rest[at][0])
            folds |= {line[0]: fold for line in rest[at + 1 : at + 1 + count]}
            at += 1 + count
    except (ValueError, IndexError) as error:
        raise ValueError(f"{file} is no list of people in folds ({error})") from error
    return folds


SET = DataSet(
    name="lfw",
    title="LFW",
    pictures=13_233,
    labels=("identity", "fold"),
    owner="Computer Vision Laboratory, University of Massachusetts, Amherst",
    terms="research",
    layout=f"one of the folders {', '.join(IMAGES)} with Name/Name_0001.jpg, and pairs.txt for the official pairs",
    signs=tuple(f"{folder}/*/*_0001.jpg" for folder in IMAGES),
    read=read,
    version=2,
)
