"""CelebA: photos of celebrities with 40 attributes (Z. Liu, P. Luo, X. Wang, X. Tang, "Deep learning face attributes in
the wild", ICCV 2015)."""

from pathlib import Path

import numpy as np
import pandas as pd

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, first

TASKS = {  # attributes that are tasks here
    "5_o_Clock_Shadow": "facial_hair:5 o'clock shadow",
    "Goatee": "facial_hair:goatee",
    "Sideburns": "facial_hair:sideburns",
    "Mustache": "facial_hair:moustache",
    "No_Beard": "facial_hair:no beard",
    "Wearing_Earrings": "accessories:earrings",
    "Wearing_Hat": "accessories:hat",
    "Wearing_Necklace": "accessories:necklace",
    "Wearing_Necktie": "accessories:necktie",
    "Eyeglasses": "accessories:eyeglasses",
}
CLASSES = {
    "Male": ("gender", "male", "female"),
    "Smiling": ("smile", "yes", "no"),
    "Eyeglasses": ("glasses", "yes", "no"),
}
SPLITS = {0: "train", 1: "validation", 2: "test"}
IMAGES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba")


def read(root: Path, files: list[str]) -> Listing:
    """list_attr_celeba, identity_CelebA, list_eval_partition and list_landmarks_align_celeba, those that are there.

    Attributes that are tasks of facelab get its names, the others keep their own, with 1 and 0. A picture that one of
    the other files says nothing of stays, without that label.
    """
    folder = first(root, *IMAGES)
    if folder is None:
        raise FileNotFoundError(f"{root} has none of the folders {', '.join(IMAGES)}: CelebA's pictures lie there")
    attributes = _file(root, "list_attr_celeba", header=True)
    if attributes is None:
        raise FileNotFoundError(f"{root} has no list_attr_celeba.txt")
    broken = attributes.isna().any(axis=1)
    skipped = [
        (f"list_attr_celeba, row of {name}", "not as many values as attributes") for name in attributes.index[broken]
    ]
    attributes = attributes[~broken]
    known = attributes.drop(columns=[c for c in attributes if c in TASKS or c in CLASSES])
    table = (attributes[[c for c in attributes if c in TASKS]].rename(columns=TASKS) > 0).astype(float)
    for attribute, (task, yes, no) in CLASSES.items():
        if attribute in attributes:
            table[task] = np.where(attributes[attribute] > 0, yes, no)
    unknown = {}
    if (identity := _file(root, "identity_CelebA")) is not None:
        names = identity.iloc[:, 0].reindex(table.index)
        table["identity"] = [None if pd.isna(who) else str(int(who)) for who in names]
        unknown["no row in identity_CelebA"] = names.isna().to_numpy()
    if (partition := _file(root, "list_eval_partition")) is not None:
        table["split"] = partition.iloc[:, 0].reindex(table.index).map(SPLITS)
        unknown["no 0, 1 or 2 in list_eval_partition"] = table["split"].isna().to_numpy()
    landmarks = np.full((len(table), 5, 2), np.nan)
    if (points := _file(root, "list_landmarks_align_celeba", header=True)) is not None:
        if points.shape[1] != 10:
            raise ValueError(f"list_landmarks_align_celeba has {points.shape[1]} numbers a picture: expected 10")
        landmarks = points.reindex(table.index).to_numpy(float).reshape(-1, 5, 2)
        unknown["no row in list_landmarks_align_celeba"] = ~np.isfinite(landmarks).all((1, 2))
    table = pd.concat([table, (known > 0).astype(float)], axis=1)
    below = folder.relative_to(root).as_posix()
    pictures = {Path(file).stem: file for file in files if Path(file).parent.as_posix() == below}  # .jpg or .png
    table.insert(0, "file", [pictures.get(Path(name).stem, f"{below}/{name}") for name in table.index])
    lacking = [(file, why) for why, mask in unknown.items() for file in table["file"][mask]]
    boxes = np.full((len(table), 4), np.nan)
    return Listing(table.reset_index(drop=True), landmarks, boxes, skipped, lacking=lacking)


def _file(root: Path, name: str, *, header: bool = False) -> pd.DataFrame | None:
    """A label file by picture: the official .txt, in which a count may come before the header, or a .csv copy."""
    file = first(root, *(f"{below}{name}{end}" for end in (".txt", ".csv") for below in ("", "Anno/", "Eval/")))
    if file is None:
        return None
    try:
        if file.suffix == ".csv":
            table = pd.read_csv(file, index_col=0)
        elif header:
            with open(file, encoding="utf-8") as f:
                count, columns = f.readline().strip(), f.readline().split()
            if not count.isdecimal():
                raise ValueError(f"it begins with {count!r}, not with the number of its rows")
            table = pd.read_csv(file, sep=r"\s+", skiprows=2, header=None, names=["file", *columns], index_col=0)
        else:
            table = pd.read_csv(file, sep=r"\s+", header=None, index_col=0)
        if "file" in table:  # pandas has taken one more column for the names of the rows
            raise ValueError("its rows have more values than its header has names")
        if table.shape[1] == 0 or not all(map(pd.api.types.is_numeric_dtype, table.dtypes)):
            raise ValueError("some of its values are no numbers")
        if table.index.has_duplicates:
            raise ValueError(f"it has two rows of {table.index[table.index.duplicated()][0]}")
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{file} is no label file of CelebA: {error}") from error
    return table


SET = DataSet(
    name="celeba",
    title="CelebA",
    pictures=202_599,
    labels=("gender", "smile", "glasses", "facial_hair", "accessories", "identity", "split", "landmarks", "attributes"),
    owner="Multimedia Laboratory, Chinese University of Hong Kong",
    terms="non-commercial research; no redistribution",
    layout="img_align_celeba and list_attr_celeba.txt, identity_CelebA.txt, list_eval_partition.txt, "
    "list_landmarks_align_celeba.txt (beside it or in Anno and Eval)",
    signs=tuple(f"{below}list_attr_celeba.{end}" for below in ("", "Anno/") for end in ("txt", "csv")),
    read=read,
    version=2,
    labelled_by_file=True,
)
