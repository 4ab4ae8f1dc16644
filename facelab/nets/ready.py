"""Photographs made ready to be asked: so many of them, aligned by their landmarks, each picture once."""

import logging
from dataclasses import replace

import numpy as np

from facelab import cache, devices
from facelab.errors import whole
from facelab.faces.duplicates import duplicates
from facelab.faces.faceset import FaceSet
from facelab.faces.load import load
from facelab.faces.report import Report
from facelab.nets.locate import locate
from facelab.nets.sources import SOURCES

log = logging.getLogger(__name__)
VERSION = 1  # raised when `locate` finds other landmarks
UNSEEN, COPY = "no landmarks are known or found", "the same picture as an earlier one, or nearly"


def photographs(name: str) -> FaceSet:
    """The public set of that name, to ask the sources of: without pictures that cannot be read, and without the part
    that a source was trained on and would know by heart (FER2013's training part, by `expression`).

    Read from where `fl.faces.load` finds it, whose errors are these.

        people = fl.nets.ready(fl.nets.photographs("utkface"), 2400)
    """
    faces = load(name, broken="skip")
    for source in SOURCES.values():
        if source.saw and source.saw[0] == name:
            seen = (faces.labels["split"] == source.saw[1]).to_numpy()
            log.info("%s: %d faces are left out: %s was trained on them", name, seen.sum(), source.name)
            faces = faces[~seen]
    return faces


def ready(faces: FaceSet, most: int | None = None, *, near: int = 24, seed: int = 0, device="auto") -> FaceSet:
    """Those of at most `most` faces, drawn at random, whose landmarks are known or found, each picture once.

    A set with a face that lacks landmarks gets all of them by `locate`, so that all are aligned in one way (they are
    kept in the cache); a face that it does not see is left out. Where a set does not name its people, a photograph
    counts as a person, and the same picture in two parts of a split would be a person known beforehand: of equal
    pictures, and of those that differ in at most `near` of 256 bits (`faces.duplicates`), the first stays. Near ones of
    one named person all stay, as the frames of a film: no split parts them. The order stays too. The set's `report`
    tells which were left out of those drawn, and why, after what its reader left out; a log line (INFO) tells how many.
    ValueError: an empty set, `most` below 1, no face with landmarks.

        people = fl.nets.ready(fl.nets.photographs("utkface"), 2400)
    """
    rows, chosen, seen = _drawn(faces, most, seed, device)
    if not seen.any():
        raise ValueError(f"face set {faces.name!r}: none of {len(rows)} faces has landmarks, or any that are found")
    kept = np.flatnonzero(seen)
    found, people = duplicates(chosen[kept], near=near), chosen.identities[kept]
    extra = found.of(found.exact | (people[found.first] != people[found.second])).extra
    left = [(i, UNSEEN) for i in np.flatnonzero(~seen)] + [(i, COPY) for i in kept[extra]]
    report = Report(faces.name, int((~extra).sum()), tuple((_name(faces, rows[i]), why) for i, why in left))
    log.info("of %d faces drawn, %s", len(rows), report)
    if faces.report is not None:
        report = replace(faces.report, kept=report.kept, skipped=faces.report.skipped + report.skipped)
    return replace(chosen[kept[~extra]], report=report)


def missed(faces: FaceSet, most: int | None = None, *, seed: int = 0, device="auto") -> FaceSet:
    """The faces that `ready` leaves out of the same draw because no landmarks are known or found: an empty set where
    there are none. What is scored on the others alone flatters; `transfer.selection.with_missed` counts these as wrong.
    Arguments and errors are those of `ready`.

        others = fl.nets.missed(fl.nets.photographs("utkface"), 2400)
    """
    _, chosen, seen = _drawn(faces, most, seed, device)
    return chosen[~seen]


def _drawn(faces: FaceSet, most: int | None, seed: int, device) -> tuple[np.ndarray, FaceSet, np.ndarray]:
    """At most `most` faces at random: their rows, they themselves with landmarks, and of whom these are known."""
    if most is not None:
        whole("most", most, 1, "face")
    if len(faces) == 0:
        raise ValueError(f"face set {faces.name!r} is empty: there is nothing to ask")
    rows = np.sort(np.random.default_rng(seed).permutation(len(faces))[:most])
    chosen = faces[rows]
    if not np.isfinite(chosen.landmarks).all():
        about = {"faces": chosen.fingerprint, "device": devices.device(device).type, "version": VERSION}
        about["weights"] = SOURCES["landmarks"].sha256

        def fill(folder):
            points = locate(chosen, device=device).landmarks
            cache.write_tensors(folder / "landmarks.safetensors", {"landmarks": points}, {})

        entry = cache.build(cache.path("landmarks", faces.name, **about), fill, about)
        chosen = replace(chosen, landmarks=cache.read_tensors(entry / "landmarks.safetensors")[0]["landmarks"])
    return rows, chosen, np.isfinite(chosen.landmarks).all((1, 2))


def _name(faces: FaceSet, row: int) -> str:
    return str(faces.labels["file"].iloc[row]) if "file" in faces.labels else f"face {row}"
