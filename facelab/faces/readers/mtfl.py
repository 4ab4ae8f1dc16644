"""MTFL: photos from the web with five landmarks and four attributes (Z. Zhang, P. Luo, C. C. Loy, X. Tang, "Facial
landmark detection by deep multi-task learning", ECCV 2014)."""

import re
from pathlib import Path

import numpy as np

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, lines, listed

SPLITS = {"training.txt": "train", "testing.txt": "test"}
YAW = {"1": -60, "2": -30, "3": 0, "4": 30, "5": 60}  # the paper's bins; "left" is the image's left


def read(root: Path, files: list[str]) -> Listing:
    """training.txt and testing.txt: path, x of five landmarks, y of five, gender, smile, glasses, pose.

    Pixels count from 1 in these files, as in Matlab, and from 0 here. Yaw is the middle of one of five bins, as the
    paper names them: −60, −30, 0, 30, 60 degrees. Identity is known for the part that comes from LFW, by its names.
    """
    rows, skipped = [], []
    for listing, split in SPLITS.items():
        if not (root / listing).is_file():
            raise FileNotFoundError(f"there is no {root / listing}: MTFL has training.txt and testing.txt")
        for i, line in enumerate(lines(root / listing)):
            parts = line.split()
            try:
                file, numbers, (gender, smile, glasses, pose) = parts[0], np.array(parts[1:11], float), parts[11:]
                row = {
                    "file": file.replace("\\", "/"),
                    "gender": {"1": "male", "2": "female"}[gender],
                    "smile": {"1": "yes", "2": "no"}[smile],
                    "glasses": {"1": "yes", "2": "no"}[glasses],
                    "yaw": YAW[pose],
                    "split": split,
                    "landmarks": numbers.reshape(2, 5).T - 1,
                }
            except (ValueError, KeyError):
                skipped.append((f"{listing}, line {i + 1}", "no row of 10 numbers and 4 classes"))
                continue
            person = re.fullmatch(r"lfw_5590/(.+)_\d{4}\.jpg", row["file"])
            rows.append(row | {"identity": person[1] if person else None})
    return listed(rows, skipped)


SET = DataSet(
    name="mtfl",
    title="MTFL",
    pictures=12_995,
    labels=("yaw", "gender", "smile", "glasses", "identity", "split", "landmarks"),
    owner="Multimedia Laboratory, Chinese University of Hong Kong",
    terms="research; no redistribution of its AFLW part",
    layout="training.txt, testing.txt and the folders AFLW, lfw_5590 and net_7876",
    signs=("lfw_5590", "net_7876"),
    read=read,
    version=2,  # pixels counted from 0
    labelled_by_file=True,
)
