"""Face Research Lab London Set: studio photos of 102 adults, neutral and smiling (L. DeBruine, B. Jones, 2017)."""

from pathlib import Path

import pandas as pd

from facelab.faces.picture import ENDINGS
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, first, listed

FRONTS = {"neutral_front": "neutral", "smiling_front": "happy"}
ETHNICITIES = {"white": "white", "black": "black", "east_asian": "asian", "west_asian": "other"}
TABLES = ("london_faces_info.csv", "neutral_front/london_faces_info.csv", "labels.csv")


def read(root: Path, files: list[str]) -> Listing:
    """The two frontal views, neutral_front and smiling_front, with what london_faces_info.csv or labels.csv says.

    People described themselves; `ethnicity` is white, black, asian (east Asian) or other (west Asian, mixed), and
    `ethnicity_stated` their own word. A smile counts as the expression happy.
    """
    people, skipped, rows = _people(root), [], []
    for file in files:
        parts = Path(file).parts
        if Path(file).suffix.lower() not in ENDINGS or len(parts) < 2 or parts[-2] not in FRONTS:
            continue
        who = parts[-1].partition("_")[0]
        if who not in people:
            skipped.append((file, "no row in the table of people"))
            continue
        smiles = parts[-2] == "smiling_front"
        row = {"file": file, "identity": who, "expression": FRONTS[parts[-2]], "smile": "yes" if smiles else "no"}
        rows.append(row | people[who])
    return listed(rows, skipped)


def _people(root: Path) -> dict[str, dict]:
    file = first(root, *TABLES)
    if file is None:
        raise FileNotFoundError(f"{root} has none of the tables {', '.join(TABLES)}")
    table = pd.read_csv(file, dtype=str)
    own = {"face_id": "identity", "face_age": "age", "face_sex": "gender", "face_gender": "gender",
           "face_eth": "ethnicity"}  # fmt: skip
    table = table.rename(columns=own)
    if missing := {"identity", "age", "gender", "ethnicity"} - set(table):
        raise ValueError(f"{file} lacks {', '.join(sorted(missing))}: it has {', '.join(table)}")
    people = {}
    for row in table[table["identity"].notna()].itertuples():
        ethnicity = ETHNICITIES.get(row.ethnicity, "other") if isinstance(row.ethnicity, str) else None
        people[row.identity.lstrip("X").zfill(3)] = {
            "age": pd.to_numeric(row.age, errors="coerce"),
            "gender": row.gender if row.gender in ("female", "male") else None,
            "ethnicity": ethnicity,
            "ethnicity_stated": row.ethnicity,
        }
    return people


SET = DataSet(
    name="london",
    title="the Face Research Lab London Set",
    pictures=204,
    labels=("identity", "age", "gender", "ethnicity", "expression", "smile"),
    owner="Lisa DeBruine and Benedict Jones, Face Research Lab",
    terms="CC BY 4.0",
    layout="neutral_front, smiling_front (or in images/) and london_faces_info.csv or labels.csv",
    signs=("neutral_front/*.jpg", "images/neutral_front/*.jpg", "london_faces_info.csv"),
    read=read,
)
