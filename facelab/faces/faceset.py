"""FaceSet: images, labels and landmarks that belong together."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.faces.report import Report

LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")  # in the image
_MIRROR = [1, 0, 2, 4, 3]


@dataclass(frozen=True, eq=False)
class FaceSet:
    """n faces with what is known about them.

    images: uint8 (n, 3, h, w) RGB, an array or a read-only memory map. labels: n rows; columns as
    `facelab.tasks` defines them; a missing label is NaN or None, never a made-up value. landmarks: float32
    (n, 5, 2), pixels (x, y), in the order of `LANDMARKS` (left = the image's left), NaN = unknown; (0, 0) is
    the centre of the top-left pixel. report: what a reader of files left out, None for other sets.
    """

    name: str
    images: np.ndarray
    labels: pd.DataFrame
    landmarks: np.ndarray
    report: Report | None = None

    def __post_init__(self):
        n = len(self.labels)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (n, 3, h, w) RGB, not {self.images.dtype} {self.images.shape}")
        if len(self.images) != n or self.landmarks.shape != (n, 5, 2):
            raise ValueError(
                f"face set {self.name!r}: {len(self.images)} images, {n} rows of labels and landmarks of "
                f"shape {self.landmarks.shape} do not belong together: expected ({n}, 5, 2)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        people = f", {self.labels['identity'].nunique()} people" if "identity" in self.labels else ""
        h, w = self.images.shape[2:]
        return f"FaceSet {self.name!r}: {len(self)} images of {h} × {w}{people}; labels {', '.join(self.labels)}"

    def __getitem__(self, rows) -> "FaceSet":
        """The faces at `rows`: a slice, a boolean mask or indices."""
        if isinstance(rows, slice):  # a view: images on disk stay there
            labels = self.labels.iloc[rows].reset_index(drop=True)
            return replace(self, images=self.images[rows], labels=labels, landmarks=self.landmarks[rows])
        rows = np.atleast_1d(np.asarray(rows))
        if rows.size == 0:
            rows = rows.astype(np.intp)
        if rows.dtype == bool:
            if len(rows) != len(self):
                raise IndexError(f"a mask of {len(rows)} for {len(self)} faces")
            rows = np.flatnonzero(rows)
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels.iloc[rows].reset_index(drop=True),
            landmarks=self.landmarks[rows],
        )

    def encode(self, task: str) -> np.ndarray:
        """The labels of one task as numbers (see `tasks.Task.encode`)."""
        return tasks.get(task).encode(self.labels)

    def targets(self, task: str) -> np.ndarray:
        """What a linear read-out of one task is fitted to (see `tasks.Task.targets`)."""
        return tasks.get(task).targets(self.labels)

    @property
    def identities(self) -> np.ndarray:
        """(n,) integers, one per person. A face without an identity label counts as a person of its own; in a set that
        names nobody but says whose pictures they are (`album`), all of an owner count as one."""
        column = next((column for column in ("identity", "album") if column in self.labels), None)
        if column is None:
            return np.arange(len(self))
        codes, people = pd.factorize(self.labels[column])
        alone = codes < 0
        codes[alone] = len(people) + np.arange(alone.sum())
        return codes

    def parts(self, shares=(0.5, 0.25, 0.25), *, seed: int = 0) -> list["FaceSet"]:
        """Disjoint parts with about these shares of the people: nobody is in two parts.

        ValueError where there are fewer people than parts.
        """
        folds = self.assign(shares, seed=seed)
        return [self[folds == i] for i in range(len(shares))]

    def folds(self, k: int = 5, *, seed: int = 0) -> np.ndarray:
        """(n,) integers 0 … k−1: the fold of each image; all images of a person share one."""
        if k < 1:
            raise ValueError(f"{k!r} folds: expected at least 1")
        return self.assign(np.full(k, 1 / k), seed=seed)

    def assign(self, shares, *, seed: int = 0) -> np.ndarray:
        """(n,) the part of each image, −1 = none (see `split_people`)."""
        return split_people(self.identities, shares, seed=seed, name=f"face set {self.name!r}")

    @cached_property
    def fingerprint(self) -> str:
        """A key of the images, labels and landmarks (not of the name): the same faces, the same key, in any
        process.

        A set that was saved and opened again keeps it. An array that is changed in place afterwards is not
        noticed.
        """
        total = hashlib.sha256(f"{self.images.shape} {self.landmarks.dtype}".encode())
        for start in range(0, len(self), 256):
            total.update(np.ascontiguousarray(self.images[start : start + 256]))
        total.update(np.ascontiguousarray(self.landmarks))
        total.update(self.labels.to_csv(index=False, lineterminator="\n").encode(errors="surrogateescape"))
        return total.hexdigest()

    def flip(self) -> "FaceSet":
        """The mirror images, with the labels of mirror images (yaw and roll change sign)."""
        landmarks = self.landmarks[:, _MIRROR].copy()
        landmarks[..., 0] = self.images.shape[3] - 1 - landmarks[..., 0]
        return replace(
            self,
            images=np.ascontiguousarray(self.images[..., ::-1]),
            labels=tasks.flip_labels(self.labels),
            landmarks=landmarks,
        )

    @classmethod
    def join(cls, sets, name: str) -> "FaceSet":
        """Several sets, one after another; a label that a set does not have is missing there. Identities of different
        sets are different people, and albums others' (the set's position is put before them); where one set names
        people, another's albums are taken for people. ValueError for images of different sizes.
        """
        sets = list(sets)
        if len({s.images.shape[2:] for s in sets}) != 1:
            sizes = ", ".join(f"{s.name!r} {s.images.shape[2]} × {s.images.shape[3]}" for s in sets)
            raise ValueError(f"face sets to join must have images of one size, not {sizes or 'none at all'}")
        named, labels = any("identity" in part.labels for part in sets), []
        for i, part in enumerate(sets):
            table = part.labels.copy()
            if named and "identity" not in table and "album" in table:
                table["identity"] = table["album"]
            for column in {"identity", "album"} & set(table):
                table[column] = [None if pd.isna(who) else f"{i}/{who}" for who in table[column]]
            labels.append(table)
        return cls(
            name,
            np.concatenate([s.images for s in sets]),
            pd.concat(labels, ignore_index=True),
            np.concatenate([s.landmarks for s in sets]),
        )

    def save(self, folder: Path) -> None:
        """Write images.npy, landmarks.npy and labels.csv into an existing folder."""
        np.save(folder / "images.npy", self.images, allow_pickle=False)
        np.save(folder / "landmarks.npy", self.landmarks, allow_pickle=False)
        write_labels(self.labels, folder)

    @classmethod
    def open(cls, folder: Path, name: str) -> "FaceSet":
        """A saved set; its images stay on disk (memory-mapped)."""
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        landmarks = np.load(folder / "landmarks.npy", allow_pickle=False)
        return cls(name, images, _read_labels(folder / "labels.csv"), landmarks)


def write_labels(labels: pd.DataFrame, folder: Path) -> None:
    """labels.csv, and texts.json, which of its columns are texts: "007" comes back as it went."""
    known = {name: labels[name].dropna() for name in labels}
    texts = [name for name, has in known.items() if len(has) and has.map(lambda value: isinstance(value, str)).all()]
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    labels.to_csv(folder / "labels.csv", index=False, errors="surrogateescape")


def _read_labels(file: Path) -> pd.DataFrame:
    """Only an empty cell is a missing label (a person may be called "NA"), and numbers come back bit by bit."""
    how = {"keep_default_na": False, "na_values": [""], "encoding_errors": "surrogateescape"}
    noted = file.parent / "texts.json"
    texts = ["identity", *(json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else [])]
    labels = pd.read_csv(file, dtype=dict.fromkeys(texts, str), **how)
    text = pd.read_csv(file, dtype=str, **how)
    for column in labels.select_dtypes("float"):  # whose last bit a fast reader may miss
        labels[column] = text[column].astype(float)
    return labels


def split_people(identities, shares, *, seed: int = 0, name: str = "these faces") -> np.ndarray:
    """(n,) the part of each image: whole people in random order, about these shares of them, at least one in
    each.

    Shares that sum to less than 1 leave people out: −1. identities: (n,) integers, one per person. ValueError
    for shares that are no shares, or where there are fewer people than parts.

    >>> split_people([7, 7, 8, 9, 9, 9], (0.8, 0.1, 0.1)).tolist()
    [1, 1, 2, 0, 0, 0]
    """
    shares = np.asarray(shares, float)
    if shares.ndim != 1 or len(shares) < 1 or not (shares > 0).all() or shares.sum() > 1 + 1e-9:
        raise ValueError(f"shares {shares.tolist()} must be positive and sum to at most 1")
    people, person = np.unique(identities, return_inverse=True)
    parts = np.arange(1, len(shares) + 1)
    if len(people) < len(shares):
        raise ValueError(f"{name}: {len(people)} people, too few for {len(shares)} parts that share nobody")
    # The last person of each part; every part is pushed to hold at least one, and to leave one for each that
    # follows.
    last = np.ceil(np.cumsum(shares) * len(people) - 0.5 - 1e-9).astype(int)
    last = np.minimum(np.maximum.accumulate(np.maximum(last - parts, 0)), len(people) - len(shares)) + parts
    part = np.searchsorted(last, np.arange(1, len(people) + 1))
    part[part == len(shares)] = -1
    of_person = np.empty(len(people), np.int64)
    of_person[np.random.default_rng(seed).permutation(len(people))] = part
    return of_person[person]
