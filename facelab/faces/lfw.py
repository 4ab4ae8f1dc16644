"""LFW's official verification pairs (G. Huang et al., "Labeled faces in the wild", 2007; view 2, ten folds)."""

from pathlib import Path

import pandas as pd

from facelab.faces.faceset import FaceSet
from facelab.faces.folder import from_folder

IMAGES = ("lfw-deepfunneled", "lfw_funneled", "lfw")


def pairs(root: str | Path, *, size: int = 250, progress: bool = True) -> tuple[FaceSet, pd.DataFrame]:
    """The pictures that the pairs need, with identity, and the pairs: first, second (rows), same, fold.

    root: the folder with pairs.txt and the pictures in lfw-deepfunneled/ or lfw/. Landmarks are unknown.
    FileNotFoundError where either is missing; ValueError for a pairs.txt of another form.
    """
    folder, files, table = protocol(root)
    faces = from_folder(folder, size=size, files=files, progress=progress)
    labels = faces.labels.assign(identity=[name.split("/")[0] for name in files])
    return FaceSet("lfw", faces.images, labels, faces.landmarks), table


def protocol(root: str | Path) -> tuple[Path, list[str], pd.DataFrame]:
    """What `pairs` will read: the folder of the pictures, the files in it, and the pairs. Errors as there."""
    root = Path(root).expanduser()
    listed = root / "pairs.txt"
    if not listed.is_file():
        raise FileNotFoundError(f"there is no {listed}: expected LFW's folder with pairs.txt")
    if not (folder := next((root / name for name in IMAGES if (root / name).is_dir()), None)):
        raise FileNotFoundError(f"{root} has neither of the folders {', '.join(IMAGES)}")
    lines = [line.split() for line in listed.read_text().splitlines() if line.strip()]
    head = lines[0] if lines else []
    if len(head) not in (1, 2) or not all(number.isdecimal() for number in head):
        raise ValueError(f"{listed} begins with {' '.join(head)!r}: expected the numbers of folds and of pairs in each")
    folds, each = (int(head[0]), int(head[1])) if len(head) == 2 else (1, int(head[0]))
    rows = {}

    def row(person: str, number: str) -> int:
        return rows.setdefault(f"{person}/{person}_{int(number):04d}.jpg", len(rows))

    table = []
    for i, line in enumerate(lines[1:]):
        if len(line) not in (3, 4) or not all(number.isdecimal() for number in (line[1], line[-1])):
            raise ValueError(f"{listed}, line {i + 2}: {' '.join(line)!r} is no pair of LFW")
        same = len(line) == 3
        first, second = (line[0], line[1]), (line[0] if same else line[2], line[-1])
        table.append({"first": row(*first), "second": row(*second), "same": same, "fold": i // (2 * each)})
    if len(table) != 2 * folds * each:
        raise ValueError(f"{listed} says {folds} folds of {each} pairs of either kind, but has {len(table)} pairs")
    return folder, list(rows), pd.DataFrame(table)
