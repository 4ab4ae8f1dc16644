"""How alike two codes of the same faces are, whatever their widths: linear CKA (Kornblith et al., ICML 2019)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from facelab.transfer.codes import DEAD, Rows

__all__ = ["cka", "cka_matrix"]


def cka(a, b) -> float:
    """Linear centred kernel alignment of two codes of the same faces (Kornblith et al. 2019, Eq. 3 and §2.2).

    CKA = ‖AᵀB‖² / (‖AᵀA‖ ‖BᵀB‖), Frobenius norms, A and B centred

    a (n, d1), b (n, d2). 1: the same up to rotation, scale and shift; 0: nothing linear in common. It is biased by few
    faces: two codes of independent noise, d wide, score about d / (n + d), so take many more faces than dimensions.

    ValueError: another number of rows, fewer than 2, a number that is not finite (its row is named), a constant code.

    >>> a = np.random.default_rng(0).normal(size=(500, 4))
    >>> round(cka(a, 10 * a[:, ::-1] + 3), 6), bool(cka(a, np.random.default_rng(1).normal(size=(500, 4))) < 0.05)
    (1.0, True)
    """
    return float(cka_matrix({"a": a, "b": b}).iloc[0, 1])


def cka_matrix(codes: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Linear CKA of every pair of codes: a symmetric table with 1 on its diagonal, in the order given.

    codes: name → (n, d), of any widths, memory maps allowed. Computed from one covariance (Σ d, Σ d) in blocks of
    rows, or from one Gram matrix (n, n) a code, whichever holds fewer numbers: the result is the same. Errors as `cka`.

    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> cka_matrix({"face": x, "doubled": 2 * x, "first": x[:, :1]}).round(1)
             face  doubled  first
    face      1.0      1.0    0.6
    doubled   1.0      1.0    0.6
    first     0.6      0.6    1.0
    """
    if not isinstance(codes, Mapping):
        raise TypeError(f"codes are {type(codes).__name__}: expected a dictionary name → (faces, width)")
    rows = Rows(codes)
    n, m = len(rows), len(rows.sources)
    if n < 2:
        raise ValueError(f"{n} faces: expected at least 2 to compare codes")
    mean, loudest = _centre(rows)
    shared = _by_faces(rows, mean, loudest) if m * n * n < rows.width**2 else _by_features(rows, mean, loudest)
    norm = np.sqrt(np.diagonal(shared))
    table = shared / np.outer(norm, norm)
    table = np.clip((table + table.T) / 2, 0.0, 1.0)  # rounding
    np.fill_diagonal(table, 1.0)
    return pd.DataFrame(table, list(rows.sources), list(rows.sources))


def _centre(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """(D,) the mean and the largest magnitude of each dimension."""
    total, largest = np.zeros(rows.width), np.zeros(rows.width)
    for _, block in rows.blocks():
        total += block.sum(0)
        largest = np.maximum(largest, np.abs(block).max(0))
    return total / len(rows), largest


def _scales(rows: Rows, squares: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(D,) what brings each code to unit total variance, so that no product overflows; constant codes are refused."""
    scale = np.empty(rows.width)
    for name, columns in rows.columns.items():
        spread = np.sqrt(squares[columns] / len(rows))
        if (spread <= DEAD * largest[columns]).all():
            raise ValueError(f"source {name!r} is constant: all {len(rows)} rows have the code of row 0")
        scale[columns] = 1 / np.sqrt(squares[columns].sum())
    return scale


def _by_features(rows: Rows, mean: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(M, M) of ‖AᵢᵀAⱼ‖²."""
    products = np.zeros((rows.width, rows.width))
    for _, block in rows.blocks():
        block -= mean
        products += block.T @ block
    scale = _scales(rows, np.diagonal(products), largest)
    products *= scale[:, None]
    products *= scale
    parts = rows.columns.values()
    return np.array([[np.square(products[i, j]).sum() for j in parts] for i in parts])


def _by_faces(rows: Rows, mean: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """The same from the Gram matrices, since ‖AᵢᵀAⱼ‖² = Σ (AᵢAᵢᵀ)(AⱼAⱼᵀ)."""
    x = rows.take(np.arange(len(rows))) - mean
    x *= _scales(rows, np.square(x).sum(0), largest)
    grams = np.stack([(x[:, columns] @ x[:, columns].T).ravel() for columns in rows.columns.values()])  # (M, n²)
    return grams @ grams.T
