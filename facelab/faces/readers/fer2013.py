"""FER2013: small grey faces with seven expressions (I. Goodfellow et al., "Challenges in representation learning: a
report on three machine learning contests", ICONIP 2013)."""

from pathlib import Path

import numpy as np
import pandas as pd

from facelab.faces.picture import ENDINGS
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, first, listed

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FOLDERS = SPLITS | {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
CSV = ("fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv")
_SIDE = 48


def read(root: Path, files: list[str]) -> Listing:
    """fer2013.csv (emotion, pixels, Usage), or pictures in folders Usage/expression.

    Split: Training is train, PublicTest validation, PrivateTest test, as in the contest. Folders called train, test,
    validation or val are taken at their word: in copies that have only train and test, test may hold both parts of the
    contest's test.
    """
    csv = first(root, *CSV)
    return _from_csv(csv, root) if csv else _from_folders(files)


def _from_csv(csv: Path, root: Path) -> Listing:
    table = pd.read_csv(csv, dtype=str, skipinitialspace=True)
    table.columns = [c.strip() for c in table]
    if not {"emotion", "pixels", "Usage"} <= set(table):
        raise ValueError(f"{csv} has the columns {', '.join(table)}: expected emotion, pixels and Usage")
    rows, skipped, pixels = [], [], []
    name = csv.relative_to(root).as_posix()
    for i, (emotion, numbers, usage) in enumerate(table[["emotion", "pixels", "Usage"]].itertuples(index=False)):
        where = f"{name}, line {i + 2}"
        grey = (
            np.fromstring(numbers, np.int64, sep=" ") if isinstance(numbers, str) and _plain(numbers) else np.empty(0)
        )
        if len(grey) != _SIDE**2 or grey.min() < 0 or grey.max() > 255:
            skipped.append((where, f"no {_SIDE} × {_SIDE} pixels of 0 to 255"))
        elif emotion not in set("0123456") or usage not in SPLITS:
            skipped.append((where, "no emotion of 0 to 6 and Usage"))
        else:
            rows.append({"file": where, "expression": EXPRESSIONS[int(emotion)], "split": SPLITS[usage]})
            pixels.append(grey.astype(np.uint8).reshape(_SIDE, _SIDE))
    return listed(rows, skipped, np.stack(pixels) if pixels else np.empty((0, _SIDE, _SIDE), np.uint8))


def _plain(numbers: str) -> bool:
    return numbers.isascii() and numbers.replace(" ", "").isdecimal()


def _from_folders(files: list[str]) -> Listing:
    rows, skipped = [], []
    for file in files:
        parts = Path(file).parts
        if Path(file).suffix.lower() not in ENDINGS:
            continue
        if len(parts) < 3 or parts[-3] not in FOLDERS:
            skipped.append((file, "in no folder of a part and an expression, such as Training/happy"))
            continue
        if parts[-2].lower() not in EXPRESSIONS:
            skipped.append((file, "its folder is no expression"))
            continue
        rows.append({"file": file, "expression": parts[-2].lower(), "split": FOLDERS[parts[-3]]})
    return listed(rows, skipped)


SET = DataSet(
    name="fer2013",
    title="FER2013",
    pictures=35_887,
    labels=("expression", "split"),
    owner="Kaggle, Challenges in Representation Learning: Facial Expression Recognition",
    terms="research, under the rules of the contest",
    layout="fer2013.csv, or folders such as Training/happy, PublicTest/sad, PrivateTest/fear",
    signs=(*CSV, "Training/happy", "train/happy", "PublicTest/happy", "PrivateTest/happy"),
    read=read,
)
