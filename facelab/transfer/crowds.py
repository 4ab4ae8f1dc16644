"""Two crowds that share nobody: one without labels, to fuse and distil on, and one with, to ask (notebooks 05, 06)."""

from collections.abc import Mapping

import numpy as np

from facelab.faces.faceset import FaceSet
from facelab.faces.load import load
from facelab.nets.ready import photographs, ready


def two(faces: str, size: Mapping, *, seed: int = 0, device="auto") -> tuple[list[FaceSet], FaceSet]:
    """The unlabelled crowd, one set or several, and the labelled one, of a face set that `fl.faces.load` knows.

    size: of "rendered/wild", how many are rendered for each: people "crowd" and, of rendered/album, "album" for the
    first, and "people" with "per_person" pictures for the second. Of any other set, and of it where "crowd" is 0,
    three fifths of the people are the first crowd. Of photographs, at most "photos" (None: all), each once and as far
    as their landmarks are known or found (`fl.nets.ready`).
    """
    if faces == "rendered/wild" and size["crowd"]:
        crowd = [load(faces, seed=seed + 1, people=size["crowd"], device=device)]
        if size["album"]:
            crowd.append(load("rendered/album", seed=seed + 1, people=size["album"], device=device))
        return crowd, load(faces, seed=seed, people=size["people"], per_person=size["per_person"], device=device)
    if faces.startswith("rendered/"):
        everybody = load(faces, seed=seed, device=device)
    else:
        everybody = ready(photographs(faces), size["photos"], seed=seed, device=device)
    first, people = everybody.parts((0.6, 0.4), seed=seed)
    return [first], people


def whose(sets: list[FaceSet], suffix: str = "") -> np.ndarray:
    """(n,) whose face each picture of the sets is; nobody is in two sets."""
    return np.concatenate([[f"{one.name}{suffix} {who}" for who in one.identities] for one in sets])
