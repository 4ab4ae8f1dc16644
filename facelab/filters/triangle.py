"""Symmetric matrices kept as their upper triangle: half the memory, half the time to add them up."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=32)
def triangle(c: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the upper triangle lies in a flat (C, C) matrix, and where each entry of the matrix lies in the
    triangle.

    >>> triangle(2)
    (array([0, 1, 3]), array([[0, 1],
           [1, 2]], dtype=int32))
    """
    i, j = np.triu_indices(c)
    full = np.empty((c, c), np.int32)
    full[i, j] = full[j, i] = np.arange(len(i))
    return i * c + j, full


def pack(matrix: np.ndarray) -> np.ndarray:
    """(C, C) symmetric → (C (C + 1) / 2,)."""
    return matrix.ravel()[triangle(len(matrix))[0]]


def unpack(packed: np.ndarray, c: int) -> np.ndarray:
    """The inverse of `pack`."""
    return packed[triangle(c)[1]]
