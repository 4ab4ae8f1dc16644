"""Adience: family photos in five folds (E. Eidinger, R. Enbar, T. Hassner, "Age and gender estimation of unfiltered
faces", IEEE TIFS 2014)."""

import re
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, first, lines, listed

FOLDS = tuple(f"fold_{i}_data.txt" for i in range(5))
GROUPS = ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))  # years
IMAGES = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}
_HEAD = ["user_id", "original_image", "face_id", "age", "gender"]


def read(root: Path, files: list[str]) -> Listing:
    """fold_0_data.txt to fold_4_data.txt: user, picture, face, age group, gender. Aligned pictures first.

    `age_group` is one of the set's eight ("25–32"), `age` is given only for faces that have a number of years; a few
    groups are mistyped and read as those they begin like. `album` is who owns the pictures, not who is seen; folds do
    not share owners, and neither do the parts of `FaceSet.assign`.
    """
    folder = first(root, *IMAGES)
    if folder is None:
        raise FileNotFoundError(f"{root} has neither of the folders {', '.join(IMAGES)}: Adience's pictures lie there")
    rows, skipped = [], []
    for fold, name in enumerate(FOLDS):
        if not (root / name).is_file():
            raise FileNotFoundError(f"there is no {root / name}: Adience has {FOLDS[0]} to {FOLDS[-1]}")
        head, *body = [line.split("\t") for line in lines(root / name)]
        if head[:5] != _HEAD:
            raise ValueError(f"{root / name} begins with {head[:5]}: expected {_HEAD}")
        for i, parts in enumerate(body):
            if len(parts) < 5:
                skipped.append((f"{name}, line {i + 2}", "fewer than five columns"))
                continue
            user, picture, face, age, gender = parts[:5]
            years, group = _age(age)
            rows.append({
                "file": f"{folder.name}/{user}/{IMAGES[folder.name]}.{face}.{picture}",
                "gender": {"f": "female", "m": "male"}.get(gender),
                "age": years,
                "age_group": group,
                "album": user,
                "fold": fold,
            })  # fmt: skip
    return listed(rows, skipped)


def _age(text: str) -> tuple[float, str | None]:
    """The years and the group that a cell says: "(25, 32)", "35" or "None".

    >>> _age("(25, 32)"), _age("35"), _age("None"), _age("(8, 23)")
    ((nan, '25–32'), (35.0, None), (nan, None), (nan, '8–12'))
    """
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if len(numbers) == 1:
        return float(numbers[0]), next((f"{a}–{b}" for a, b in GROUPS if a <= numbers[0] <= b), None)
    if len(numbers) == 2:
        near = [(a, b) for a, b in GROUPS if a == numbers[0]] or [g for g in GROUPS if g[0] <= numbers[0] <= g[1]]
        return float("nan"), f"{near[0][0]}–{near[0][1]}" if near else None
    return float("nan"), None


SET = DataSet(
    name="adience",
    title="Adience",
    pictures=19_370,
    labels=("gender", "age", "age_group", "fold", "album"),
    owner="Tal Hassner, Open University of Israel",
    terms="research; the photos' own Creative Commons licences; registration",
    layout="fold_0_data.txt to fold_4_data.txt and the folder aligned or faces",
    signs=("fold_0_data.txt",),
    read=read,
    labelled_by_file=True,
)
