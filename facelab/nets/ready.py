"""Photographs made ready to be asked: so many of them, aligned by their landmarks, each picture once."""

import numpy as np

from facelab.errors import whole
from facelab.faces.duplicates import duplicates
from facelab.faces.faceset import FaceSet
from facelab.nets.locate import locate


def ready(faces: FaceSet, most: int | None = None, *, near: int = 24, seed: int = 0, device="auto") -> FaceSet:
    """Those of at most `most` faces, drawn at random, whose landmarks are known or found, each picture once.

    A set with a face that lacks landmarks gets all of them by `locate`, so that all are aligned in one way; a face
    that it does not see is left out. Where a set does not name its people, a photograph counts as a person, and the
    same picture in two parts of a split would be a person known beforehand: of pictures that differ in at most `near`
    of 256 bits (`faces.duplicates`) the first stays. The order stays too. ValueError: an empty set, `most` below 1,
    no face with landmarks.

        people = ready(fl.faces.load("utkface", root="UTKFace"), 2400)
    """
    if most is not None:
        whole("most", most, 1, "face")
    if len(faces) == 0:
        raise ValueError(f"face set {faces.name!r} is empty: there is nothing to ask")
    order = np.random.default_rng(seed).permutation(len(faces))
    chosen = drawn = faces[np.sort(order[:most])]
    if not np.isfinite(chosen.landmarks).all():
        chosen = locate(chosen, device=device)
    chosen = chosen[np.isfinite(chosen.landmarks).all((1, 2))]
    if len(chosen) == 0:
        raise ValueError(f"face set {faces.name!r}: none of {len(drawn)} faces has landmarks, or any that are found")
    return chosen[~duplicates(chosen, near=near).extra]
