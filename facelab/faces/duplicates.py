"""Pictures that are there twice: the same pixels, or nearly the same, above all in two parts of a split."""

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from facelab import tasks
from facelab.errors import whole
from facelab.faces.faceset import FaceSet

log = logging.getLogger(__name__)
BITS = 256
_LIGHT = 24  # grey levels by which near pictures may differ on average
_REST = 4.0  # and by which their cells may, after the best gain and offset: before a plain wall contours say little
_BLOCK = 2048  # rows compared at a time


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of faces of one set that show the same picture.

    first, second: (k,) rows, first < second. bits: (k,) of the 256 bits of their contours that differ; exact: (k,)
    whether all pixels are equal. part: the label column whose parts must not share a picture, None without one.
    across: (k,) whether the two lie in different parts. Of n equal pictures only the pairs with the first are named,
    that is the first of those that have a part.
    """

    faces: FaceSet
    first: np.ndarray
    second: np.ndarray
    bits: np.ndarray
    exact: np.ndarray
    part: str | None
    across: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def of(self, pairs: np.ndarray) -> "Duplicates":
        """Those pairs alone: a (k,) mask."""
        chosen = {name: getattr(self, name)[pairs] for name in ("first", "second", "bits", "exact", "across")}
        return replace(self, **chosen)

    @cached_property
    def groups(self) -> np.ndarray:
        """(n,) integers: faces that are duplicates of each other, through others too, share one. For `split_people`."""
        n, pairs = len(self.faces), (self.first, self.second)
        _, groups = connected_components(coo_matrix((np.ones(len(self)), pairs), (n, n)), directed=False)
        return groups.astype(np.int64)

    @property
    def extra(self) -> np.ndarray:
        """(n,) whether a face is a duplicate of an earlier one: `faces[~found.extra]` holds each picture once."""
        extra = np.ones(len(self.faces), bool)
        extra[np.unique(self.groups, return_index=True)[1]] = False
        return extra

    def table(self) -> pd.DataFrame:
        """One row per pair: first, second, kind (exact, near), bits, across, and `differ`, the tasks whose labels are
        not the same."""
        labels = self.faces.labels
        differ = [""] * len(self)
        for column in [c for task in tasks.TASKS.values() for c in task.columns if c in labels]:
            a, b = labels[column].iloc[self.first].to_numpy(), labels[column].iloc[self.second].to_numpy()
            other = (a != b) & ~(pd.isna(a) | pd.isna(b))
            differ = [f"{named}, {column}".strip(", ") if o else named for named, o in zip(differ, other, strict=True)]
        kind = np.where(self.exact, "exact", "near")
        return pd.DataFrame({"first": self.first, "second": self.second, "kind": kind, "bits": self.bits,
                             "across": self.across, "differ": differ})  # fmt: skip


def duplicates(faces: FaceSet, *, near: int = 24, part: str | None = None) -> Duplicates:
    """The pairs of equal pictures, and of nearly equal ones, whose contours differ in at most `near` of 256 bits.

    Contours: whether each of 16 × 16 grey cells is darker than its right neighbour. Compression and a change of size or
    light alter a few bits; two photos hardly ever differ in fewer than 30, also of one person. part: the label
    column of a split (default `split`, else `fold`, where the set has one); pairs across its parts are counted in a
    log line, for a network tested on what it learned from scores too well.
    All pairs are compared: 256 · n² operations, some seconds for 10,000 faces.
    ValueError for a column that is not there.

    >>> images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    >>> images[2] = images[0]
    >>> labels = pd.DataFrame({"age": [30.0, 40.0, 31.0], "split": ["train", "train", "test"]})
    >>> faces = FaceSet("three", images, labels, np.full((3, 5, 2), np.nan, np.float32))
    >>> duplicates(faces).table().to_dict("records")
    [{'first': 0, 'second': 2, 'kind': 'exact', 'bits': 0, 'across': True, 'differ': 'age'}]
    """
    whole("near", near, 0)
    if part is None:
        part = next((column for column in ("split", "fold") if column in faces.labels), None)
    elif part not in faces.labels:
        raise ValueError(f"face set {faces.name!r} has no label {part!r}: it has {', '.join(faces.labels)}")
    digests = [hashlib.sha256(np.ascontiguousarray(image)).digest() for image in faces.images]
    parts = np.zeros(len(faces), int) if part is None else pd.factorize(faces.labels[part])[0]
    order = np.argsort(parts < 0, kind="stable")  # those without a part last
    _, one, same = np.unique(np.array(digests, "S32")[order], return_index=True, return_inverse=True)
    earliest = np.empty(len(faces), np.int64)  # the first face with the same pixels
    earliest[order] = order[one][same]
    copies = np.flatnonzero(earliest != np.arange(len(faces)))
    one = np.unique(earliest)
    a, b, bits = _near(*_looks(faces.images, one), near)
    pairs = np.concatenate([np.stack([earliest[copies], copies]), np.stack([one[a], one[b]])], 1)
    first, second = pairs.min(0), pairs.max(0)
    bits = np.concatenate([np.zeros(len(copies), np.int64), bits])
    exact = np.arange(len(first)) < len(copies)
    order = np.lexsort((second, first))
    first, second, bits, exact = first[order], second[order], bits[order], exact[order]
    across = (parts[first] != parts[second]) & (parts[first] >= 0) & (parts[second] >= 0)
    if across.any():
        log.warning("%s: %d pairs of duplicates lie in two parts of %r", faces.name, across.sum(), part)
    return Duplicates(faces, first, second, bits, exact, part, across)


def _looks(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each picture its contours, (n, 256) float32 of −1 and 1, and its light in 16 × 16 cells, (n, 256) float32."""
    contours, light = np.empty((len(rows), BITS), np.float32), np.empty((len(rows), BITS), np.float32)
    for i, row in enumerate(rows):
        grey = Image.fromarray(np.ascontiguousarray(images[row].transpose(1, 2, 0))).convert("L")
        cells = np.asarray(grey.resize((17, 16), Image.Resampling.BOX), np.float32)
        contours[i] = np.where(cells[:, 1:] > cells[:, :-1], 1, -1).ravel()
        light[i] = cells[:, 1:].ravel()
    return contours, light


def _near(contours: np.ndarray, light: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs a < b with at most `most` other bits and the same light but for gain and offset, and how many bits."""
    pairs = [np.empty((0, 3), np.int64)]
    for start in range(0, len(contours), _BLOCK):
        block = contours[start : start + _BLOCK]
        for other in range(start, len(contours), _BLOCK):
            alike = block @ contours[other : other + _BLOCK].T  # 256 − 2 · other bits
            a, b = np.nonzero(alike >= BITS - 2 * most)
            bits = ((BITS - alike[a, b]) / 2).astype(np.int64)
            a, b = a + start, b + other
            kept = a < b
            a, b, bits = a[kept], b[kept], bits[kept]
            kept = (np.abs(light[a] - light[b]).mean(1) <= _LIGHT) & (_rest(light[a], light[b]) <= _REST)
            pairs.append(np.stack([a[kept], b[kept], bits[kept]], 1))
    found = np.concatenate(pairs)
    return found[:, 0], found[:, 1], found[:, 2]


def _rest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k,) by how many grey levels (root mean square) the cells of two pictures differ after the best gain and offset,
    each fitted to the other, the larger of the two."""
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    both, one, two = ((x * y).mean(1) for x, y in ((a, b), (a, a), (b, b)))
    share = 1 - np.square(both) / np.maximum(one * two, 1e-9)
    return np.sqrt(np.maximum(share, 0) * np.maximum(one, two))
