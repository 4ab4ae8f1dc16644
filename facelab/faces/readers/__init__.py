"""Readers of public data sets: one module for each, and the table of all.

    faces = fl.faces.load("utkface", root="UTKFace")

A reader only lists: it turns the names and label files of the official layout into a table. Pictures are decoded, made
square and kept by `store`.
"""

from pathlib import Path

import pandas as pd

from facelab.errors import unknown
from facelab.faces.faceset import FaceSet
from facelab.faces.readers import (
    adience,
    afew_va,
    aflw2000,
    agedb,
    celeba,
    ckplus,
    fer2013,
    fgnet,
    headpose,
    imdb_wiki,
    lfw,
    london,
    morph,
    mtfl,
    rafdb,
    utkface,
)
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.store import scan, stored

SETS = {
    data.name: data
    for data in (
        utkface.SET,
        mtfl.SET,
        fer2013.SET,
        lfw.SET,
        london.SET,
        celeba.SET,
        headpose.SET,
        aflw2000.SET,
        agedb.SET,
        fgnet.SET,
        rafdb.SET,
        ckplus.SET,
        adience.SET,
        imdb_wiki.IMDB,
        imdb_wiki.WIKI,
        afew_va.SET,
        morph.SET,
    )
}


def get(name: str) -> DataSet:
    """The set of that name; ValueError with the nearest names otherwise.

    >>> get("utkface").labels
    ('age', 'gender', 'ethnicity')
    """
    if name not in SETS:
        raise unknown("face set", name, SETS)
    return SETS[name]


def read(name: str, root: str | Path, *, size: int = 128, rows=None, broken: str = "error",
         progress: bool = True) -> FaceSet:  # fmt: skip
    """The public set of that name from its folder (see `table`), `size` pixels a side; kept in the cache, so that the
    second time takes a moment.

    rows: the first so many, a slice, or row numbers (of the official order). broken: "error" names the first picture
    that cannot be read; "skip" leaves such out. What was left out, and why, is in `faces.report` and in a log line.
    ValueError for an unknown name; FileNotFoundError says what was expected below root, and what seems to be there.
    """
    data = get(name)
    root = data.place(root, SETS.values())
    return stored(data, root, scan(root), size=size, rows=rows, broken=broken, progress=progress)


def table() -> pd.DataFrame:
    """One row per public set: name, title, pictures, labels, terms, owner (whose project page has it), layout.

    >>> table().set_index("name").loc["utkface", "pictures"]
    np.int64(23708)
    """
    columns = ("name", "title", "pictures", "labels", "terms", "owner", "layout")
    rows = [{c: getattr(data, c) for c in columns} | {"labels": ", ".join(data.labels)} for data in SETS.values()]
    return pd.DataFrame(rows)
