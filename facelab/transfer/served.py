"""Whom do the networks that come with facelab serve? Each is asked about people it did not learn from, group by group.

`vgg-narrow` and `student` verify: at one distance for everybody, of how many pairs of strangers alike in a group is it
said that they are one person? `student` is also read out by a small head for gender and age, `pose` for yaw and pitch.
Rows are recorded results under NETWORK.SET.MEASURE.BY.GROUP, with 95 % intervals that draw people, not pictures.

    facelab cards [--photos FOLDER]
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from facelab import tasks
from facelab.faces.duplicates import duplicates
from facelab.faces.faceset import FaceSet, split_people
from facelab.faces.load import load
from facelab.nets import pose
from facelab.nets.embed import embed
from facelab.nets.fairness import FEW, wilson
from facelab.nets.locate import locate
from facelab.transfer import heads

STRANGERS = 0.01  # of all pairs of strangers that the common distance takes for one person
LEAST = 10  # people below which a group is left out
DRAWS = 400  # bootstraps
FOLDERS = {"mtfl": "MTFL", "utkface": "UTKFace", "london": "london_set"}  # inside the folder of photographs


def groups(labels: pd.DataFrame, people: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(name, mask) of everybody and of each gender, ethnic group and age band with at least `LEAST` people.

    people (n,): who it is, as `FaceSet.identities`.

    >>> labels = pd.DataFrame({"gender": ["male"] * 12 + ["female"] * 3})
    >>> [name for name, _ in groups(labels, np.arange(15))]
    ['all.everybody', 'gender.male']
    """
    yield "all.everybody", np.ones(len(labels), bool)
    own = {by: labels[by].to_numpy(object) for by in ("gender", "ethnicity") if by in labels}
    if "age" in labels:
        bands = np.array([*tasks.get("age_band").classes, None], object)
        own["age"] = bands[tasks.age_bands(labels["age"].to_numpy(float))]
    for by, column in own.items():
        for group in sorted({g for g in column if isinstance(g, str)}):
            mask = column == group
            if len(np.unique(people[mask])) >= LEAST:
                yield f"{by}.{group.replace('–', '-')}", mask


def share(values: np.ndarray, people: np.ndarray, *, seed: int = 0) -> tuple[float, float, float]:
    """The mean of values (n,) and its 95 % interval, drawing the people (n,) again; Wilson's interval of as many people
    where all values are 0 or all are 1.

    >>> share(np.array([1.0, 0.0] * 50), np.arange(100))[0]
    0.5
    """
    who, values = np.unique(people, return_inverse=True)[1], np.asarray(values, float)
    total, count = np.bincount(who, values), np.bincount(who)
    mean = float(values.mean())
    if (values == values[0]).all() and values[0] in (0, 1):
        return mean, *wilson(mean * len(count), len(count))
    drawn = np.random.default_rng(seed).multinomial(len(count), np.full(len(count), 1 / len(count)), DRAWS)
    low, high = np.quantile((drawn @ total) / (drawn @ count), (0.025, 0.975))
    return mean, float(min(low, mean)), float(max(high, mean))


def verification(codes: np.ndarray, labels: pd.DataFrame, people: np.ndarray, *, seed: int = 0) -> dict[str, tuple]:
    """What one distance for everybody does to each group: name → (value, low, high, people).

    The distance is that at which 1 % of all pairs of different people are taken for one. strangers_taken: the same
    share among pairs of which both are of the group. own_missed: of pairs of pictures of one person of the group, those
    that are farther apart.

    >>> codes = np.random.default_rng(0).normal(size=(80, 8))
    >>> labels = pd.DataFrame(index=range(80))
    >>> round(verification(codes, labels, np.repeat(np.arange(40), 2))["strangers_taken.all.everybody"][0], 2)
    0.01
    """
    distance = cdist(codes, codes)
    limit = np.quantile(distance[people[:, None] != people], STRANGERS)
    rows = {}
    for name, mask in groups(labels, people):
        who = np.unique(people[mask], return_inverse=True)[1]
        member = np.eye(who.max() + 1)[who]  # (n, people)
        near = (distance[np.ix_(mask, mask)] <= limit).astype(float)
        near = member.T @ near @ member  # pairs of pictures of persons i and j that are taken for one
        size = member.sum(0)
        pairs = np.outer(size, size)
        own, own_near = np.diag(pairs) - size, np.diag(near) - size  # less each picture with itself
        strangers, taken = pairs - np.diag(np.diag(pairs)), near - np.diag(np.diag(near))
        drawn = np.random.default_rng(seed).multinomial(len(size), np.full(len(size), 1 / len(size)), DRAWS)
        with np.errstate(invalid="ignore"):  # a draw of one person alone has no strangers
            both = ((drawn @ taken) * drawn).sum(1) / ((drawn @ strangers) * drawn).sum(1)
        rows[f"strangers_taken.{name}"] = _row(taken.sum() / strangers.sum(), both, len(size))
        if own.sum():
            with np.errstate(invalid="ignore"):  # or nobody with two pictures
                missed = 1 - (drawn @ own_near) / (drawn @ own)
            rows[f"own_missed.{name}"] = _row(1 - own_near.sum() / own.sum(), missed, len(size))
    return rows


def _row(value: float, drawn: np.ndarray, people: int) -> tuple:
    if value in (0, 1):  # no draw differs: as if each person were one trial
        return float(value), *wilson(value * people, people), people
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(value), float(min(low, value)), float(max(high, value)), people


def readings(
    codes: np.ndarray, labels: pd.DataFrame, people: np.ndarray, *, folds: int = 4, seed: int = 0, device="auto"
) -> dict[str, tuple]:
    """Gender as labelled and age within ten years, read from a code by a small head (`heads.fit`) that learned from
    other people: every fold of people is asked once. name → (share, low, high, people)."""
    fold = split_people(people, (1 / folds,) * folds, seed=seed)
    right = {"gender": np.full(len(labels), np.nan), "age": np.full(len(labels), np.nan)}
    classes = np.array(tasks.get("gender").classes)
    for k in range(folds):
        learners = np.flatnonzero(fold != k)
        part = np.full(len(labels), heads.TEST)
        part[learners] = split_people(people[learners], (0.85, 0.15), seed=seed)  # TRAIN and VALIDATION
        said = heads.fit(codes, labels, ["gender", "age"], part, epochs=20, seed=seed, device=device).said
        asked = labels[fold == k]
        named, years = asked["gender"].notna().to_numpy(), asked["age"].to_numpy(float)
        right["gender"][fold == k] = np.where(named, classes[said["gender"].argmax(1)] == asked["gender"], np.nan)
        right["age"][fold == k] = np.where(np.isfinite(years), np.abs(said["age"] - years) <= 10, np.nan)
    return _by_group({"gender_right": right["gender"], "age_within_10": right["age"]}, labels, people)


def turning(faces: FaceSet, *, device="auto") -> dict:
    """How far `pose` is off in degrees, and the share of faces found: name → (value, low, high, people)."""
    labels, people = faces.labels.assign(row=np.arange(len(faces))), faces.identities
    seen = pose.seen(FaceSet(faces.name, faces.images, labels, faces.landmarks), device=device)
    rows = seen.labels["row"].to_numpy(int)
    said = pose.angles(seen.landmarks)
    values = {"found": np.isin(np.arange(len(faces)), rows).astype(float)}
    for i, angle in enumerate(pose.ANGLES):
        values[f"{angle}_off"] = np.full(len(faces), np.nan)
        values[f"{angle}_off"][rows] = np.abs(said[:, i] - seen.labels[angle].to_numpy(float))
    return _by_group(values, faces.labels, people)


def sides(faces: FaceSet, *, device="auto") -> dict:
    """Of turned faces whose yaw is one of a few classes, those that `pose` says are turned to that side."""
    turned = faces[np.flatnonzero(np.abs(faces.labels["yaw"].to_numpy(float)) >= 20)]
    seen = pose.seen(turned, device=device)
    right = np.sign(pose.angles(seen.landmarks)[:, 0]) == np.sign(seen.labels["yaw"].to_numpy(float))
    return _by_group({"side_right": right.astype(float)}, seen.labels, seen.identities)


def _by_group(values: dict[str, np.ndarray], labels: pd.DataFrame, people: np.ndarray) -> dict:
    rows = {}
    for name, mask in groups(labels, people):
        for what, own in values.items():
            known = mask & np.isfinite(own)
            if len(count := np.unique(people[known])) >= LEAST:
                rows[f"{what}.{name}"] = (*share(own[known], people[known]), len(count))
    return rows


UNITS = {"yaw_off": "°", "pitch_off": "°"}  # all else are shares
ABOUT = {
    "strangers_taken": "pairs of two people of the group taken for one, at the distance that takes 1 % of all pairs so",
    "own_missed": "pairs of one person of the group taken for two, at that distance",
    "gender_right": "gender as labelled, by a head that learned from other people",
    "age_within_10": "age within ten years, by a head that learned from other people",
    "found": "faces that the detector finds",
    "yaw_off": "mean absolute error of yaw, of faces found",
    "pitch_off": "mean absolute error of pitch, of faces found",
    "side_right": "faces labelled as turned by 30° or 60°, said to be turned to that side, of those found",
}


def measure(photos: str | Path | None = None, *, device="auto") -> dict[str, dict]:
    """All rows as recorded results (value, low, high, unit, paper, note): rendered people from whom none of the
    three learned and, with a folder of photographs, London Set, UTKFace and MTFL."""
    wild = load("rendered/wild", device=device)
    level = np.abs(wild.labels["yaw"].to_numpy(float)) <= 30
    codes = {net: embed(net, wild, device=device) for net in ("vgg-narrow", "student")}
    results = {}
    for net, own in codes.items():
        found = verification(_compared(net, own[level]), wild.labels[level], wild.identities[level])
        results |= _entries(net, "rendered", found, "rendered/wild within ±30° of yaw")
    found = readings(codes["student"], wild.labels, wild.identities, device=device)
    results |= _entries("student", "rendered", found, "rendered/wild")
    album = load("rendered/album", device=device)[::3]
    results |= _entries("pose", "rendered", turning(album, device=device), "rendered/album, one picture of each person")
    if photos is None:
        return results
    root = Path(photos).expanduser()
    london = _located(load("london", root=root / FOLDERS["london"]), device)
    for net in ("vgg-narrow", "student"):
        own = _compared(net, embed(net, london, device=device))
        found = verification(own, london.labels, london.identities)
        results |= _entries(net, "london", found, "London Set, a neutral and a smiling photograph of each person")
    utk = _located(load("utkface", root=root / FOLDERS["utkface"], rows=slice(None, None, 4)), device)
    utk = utk[~duplicates(utk, near=24).extra]
    found = readings(embed("student", utk, device=device), utk.labels, utk.identities, device=device)
    about = "one photograph in 4 of UTKFace, whose part 1 the student was shown without labels"
    results |= _entries("student", "utkface", found, about, "faces")
    mtfl = load("mtfl", root=root / FOLDERS["mtfl"], rows=slice(None, None, 8))
    return results | _entries("pose", "mtfl", sides(mtfl, device=device), "one photograph in 8 of MTFL", "faces")


def _compared(net: str, codes: np.ndarray) -> np.ndarray:
    """Codes as they are compared: those of the student centred and by their direction, as in its own test."""
    if net != "student":
        return codes
    codes = codes - codes.mean(0)
    return codes / np.linalg.norm(codes, axis=1, keepdims=True)


def _located(faces: FaceSet, device) -> FaceSet:
    faces = locate(faces, device=device)
    return faces[np.isfinite(faces.landmarks).all((1, 2))]


def _entries(net: str, where: str, rows: dict[str, tuple], about: str, counted: str = "people") -> dict[str, dict]:
    found = {}
    for name, (value, low, high, count) in rows.items():
        what = name.split(".")[0]
        few = "; few" if count < FEW else ""
        entry = {"value": value, "unit": UNITS.get(what, "share"), "low": low, "high": high, "paper": None}
        entry |= {"note": f"{ABOUT[what]}; {about}; {count:,} {counted}{few}"}
        found[f"{net}.{where}.{name}"] = entry | {"about": about, "count": count, "counted": counted}
    return found
