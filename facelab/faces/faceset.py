"""FaceSet: images, labels and landmarks that belong together."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import tasks

LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")  # as seen in the image
_MIRROR = [1, 0, 2, 4, 3]


@dataclass(frozen=True, eq=False)
class FaceSet:
    """n faces with what is known about them.

    images: uint8 (n, 3, h, w) RGB, an array or a read-only memory map.
    labels: n rows; columns as `facelab.tasks` defines them; a missing label is NaN or None, never a made-up value.
    landmarks: float32 (n, 5, 2), pixels (x, y), in the order of `LANDMARKS` (left = the image's left), NaN = unknown;
        (0, 0) is the centre of the top-left pixel.
    """

    name: str
    images: np.ndarray
    labels: pd.DataFrame
    landmarks: np.ndarray

    def __post_init__(self):
        n = len(self.labels)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(
                f"images must be uint8 (n, 3, h, w) RGB, not {self.images.dtype} {self.images.shape}"
            )
        if len(self.images) != n or self.landmarks.shape != (n, 5, 2):
            raise ValueError(
                f"face set {self.name!r}: {len(self.images)} images, {n} rows of labels and landmarks of shape "
                f"{self.landmarks.shape} do not belong together: expected ({n}, 5, 2)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        people = f", {self.labels['identity'].nunique()} people" if "identity" in self.labels else ""
        h, w = self.images.shape[2:]
        return f"FaceSet {self.name!r}: {len(self)} images of {h} × {w}{people}; labels {', '.join(self.labels)}"

    def __getitem__(self, rows) -> "FaceSet":
        """The faces at `rows`: a slice, a boolean mask or indices."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        rows = np.atleast_1d(np.asarray(rows))
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
        """(n,) integers, one per person. A face without an identity label counts as a person of its own."""
        if "identity" not in self.labels:
            return np.arange(len(self))
        codes, people = pd.factorize(self.labels["identity"])
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
        return self.assign(np.full(k, 1 / k), seed=seed)

    def assign(self, shares, *, seed: int = 0) -> np.ndarray:
        """(n,) the part of each image, parts being filled with whole people in random order."""
        shares = np.asarray(shares, float)
        if len(shares) < 1 or (shares <= 0).any() or shares.sum() > 1 + 1e-9:
            raise ValueError(f"shares {shares.tolist()} must be positive and sum to at most 1")
        ids = self.identities
        people = np.unique(ids)
        if len(people) < len(shares):
            raise ValueError(
                f"face set {self.name!r} has {len(people)} people, too few for {len(shares)} parts that share nobody"
            )
        order = np.random.default_rng(seed).permutation(people)
        edges = np.cumsum(shares) * len(people)
        part = np.searchsorted(edges, np.arange(len(people)) + 0.5)
        part = np.where(part >= len(shares), -1, part)  # shares that sum to less than 1 leave people out
        of_person = np.empty(people.max() + 1, np.int64)
        of_person[order] = part
        return of_person[ids]

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

    def save(self, folder: Path) -> None:
        """Write images.npy, landmarks.npy and labels.csv into an existing folder."""
        np.save(folder / "images.npy", self.images, allow_pickle=False)
        np.save(folder / "landmarks.npy", self.landmarks, allow_pickle=False)
        self.labels.to_csv(folder / "labels.csv", index=False)

    @classmethod
    def open(cls, folder: Path, name: str) -> "FaceSet":
        """A saved set; its images stay on disk (memory-mapped)."""
        return cls(
            name,
            np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
            pd.read_csv(folder / "labels.csv", dtype={"identity": str}),
            np.load(folder / "landmarks.npy", allow_pickle=False),
        )
