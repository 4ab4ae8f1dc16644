"""CK+: sequences from a neutral face to the peak of a posed expression (P. Lucey et al., "The extended Cohn-Kanade
dataset (CK+)", CVPR workshops 2010)."""

import re
from itertools import groupby
from pathlib import Path

import numpy as np

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, around, five, lines, listed

EMOTIONS = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")  # the set's 0 to 7
IMAGES = "cohn-kanade-images"
_NAME = re.compile(rf"{IMAGES}/(S\d+)/(\d+)/\1_\2_(\d+)\.png")


def read(root: Path, files: list[str]) -> Listing:
    """cohn-kanade-images/S005/001/S005_001_00000011.png with Emotion/…_emotion.txt and Landmarks/…_landmarks.txt.

    `shown` is the emotion of the whole sequence, missing where it was not coded; `expression` is given only at the
    peak, the last picture, and missing for contempt, which is no class of that task. `frame` counts from 0 to `frames`
    less one. With landmarks, the part of the picture about the face is taken.
    """
    there, rows, skipped, matched = set(files), [], [], []
    for file in files:
        if not file.startswith(f"{IMAGES}/") or not file.endswith(".png"):
            continue
        if parts := _NAME.fullmatch(file):
            matched.append((parts[1], parts[2], int(parts[3]), file))
        else:
            skipped.append((file, "path is not person/sequence/person_sequence_number.png"))
    for (person, sequence), pictures in groupby(sorted(matched), key=lambda picture: picture[:2]):
        pictures = list(pictures)
        try:
            shown = _shown(root, there, pictures)
        except (ValueError, KeyError):
            skipped += [(file, "the emotion of its sequence is no number from 0 to 7") for *_, file in pictures]
            continue
        for at, (*_, file) in enumerate(pictures):
            peak = at == len(pictures) - 1 and shown != "contempt"
            row = {"file": file, "identity": person, "sequence": f"{person}_{sequence}", "shown": shown,
                   "expression": shown if peak else None, "frame": at, "frames": len(pictures)}  # fmt: skip
            points = _beside(file, "Landmarks", "_landmarks.txt")
            if points in there:
                try:
                    marks = np.array([line.split() for line in lines(root / points)], float)
                    row |= {"landmarks": five(marks), "box": around(marks)}
                except ValueError:
                    skipped.append((file, "its landmarks are not 68 points"))
                    continue
            rows.append(row)
    return listed(rows, skipped)


def _shown(root: Path, there: set[str], pictures) -> str | None:
    """The emotion of a sequence: in a file by the name of its last picture. ValueError, KeyError: it holds another
    text."""
    file = _beside(pictures[-1][-1], "Emotion", "_emotion.txt")
    if file not in there:
        return None
    return dict(enumerate(EMOTIONS))[float(" ".join(lines(root / file)))]


def _beside(file: str, folder: str, ending: str) -> str:
    return file.replace(IMAGES, folder, 1).removesuffix(".png") + ending


SET = DataSet(
    name="ckplus",
    title="CK+",
    pictures=10_708,
    labels=("identity", "expression", "shown", "sequence", "frame", "frames", "landmarks"),
    owner="Jeffrey Cohn, Affect Analysis Group, University of Pittsburgh",
    terms="non-commercial research, on request",
    layout="cohn-kanade-images, Emotion and Landmarks",
    signs=(f"{IMAGES}/S[0-9][0-9][0-9]",),
    read=read,
)
