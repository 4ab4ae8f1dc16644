"""Verification: do two pictures show the same person? The identity task on people a network has never seen."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

LISTED = 5_000_000  # pairs of faces; of more, pairs are drawn
ROUNDS = 100


@dataclass(frozen=True)
class Verification:
    """auc: the chance that a pair of one person is nearer than a pair of two people; low, high: its 95 % interval
    over people; same, different: pairs compared."""

    auc: float
    low: float
    high: float
    same: int
    different: int


def verify(
    codes, identities, *, within=None, bootstraps: int = 200, most: int = 200_000, seed: int = 0
) -> Verification:
    """Area under the ROC curve of the Euclidean distance between codes (n, d), identities (n,).

    A face whose identity is missing (None, NaN) is in no pair. within: (n,) any labels; only pairs of different people
    with equal labels (none of them missing) count, so that what the label names (gender, ethnicity, age band) cannot
    tell them apart. At most `most` pairs of different people are drawn. The interval draws people again: a pair counts
    as often as both its people were drawn. ValueError without a pair of either sort.

    >>> codes = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> verify(codes, [0, 0, 1, 1]).auc
    1.0
    """
    ids = pd.factorize(pd.Series(identities, dtype=object), sort=True)[0]
    named = np.flatnonzero(ids >= 0)
    codes, ids = np.asarray(codes, np.float64)[named], ids[named]
    if not np.isfinite(codes).all():
        raise ValueError(f"the code of row {named[(~np.isfinite(codes).all(1)).argmax()]} is not finite")
    groups = np.zeros(len(ids)) if within is None else pd.factorize(pd.Series(within, dtype=object).iloc[named])[0]
    one, rng = of_one(ids), np.random.default_rng(seed)
    two = of_two(ids, most, rng, lambda a, b: (groups[a] == groups[b]) & (groups[a] >= 0))
    if one.shape[1] == 0 or two.shape[1] == 0:
        raise ValueError(f"{one.shape[1]} pairs of one person and {two.shape[1]} of two: expected some of both")
    first, second = np.concatenate([one, two], 1)
    same, distance = np.arange(len(first)) < one.shape[1], apart(codes, first, second)
    order = np.argsort(distance, kind="stable")
    first, second, same, distance = ids[first[order]], ids[second[order]], same[order], distance[order]
    people, values = ids.max() + 1, []
    for _ in range(bootstraps):
        times = np.bincount(rng.integers(0, people, people), minlength=people).astype(float)
        weight = np.where(same, times[first], times[first] * times[second])
        values.append(_auc(same, weight, distance))
    values = [v for v in values if np.isfinite(v)]
    low, high = np.quantile(values, (0.025, 0.975)) if values else (np.nan, np.nan)
    auc = _auc(same, np.ones(len(same)), distance)
    return Verification(auc, float(min(low, auc)), float(max(high, auc)), int(same.sum()), int((~same).sum()))


def of_one(ids: np.ndarray) -> np.ndarray:
    """(2, k) the rows a < b of all pairs of one person, in order.

    >>> of_one(np.array([5, 7, 5, 5])).tolist()
    [[0, 0, 2], [2, 3, 3]]
    """
    rows = np.split(np.argsort(ids, kind="stable"), np.cumsum(np.unique(ids, return_counts=True)[1])[:-1])
    found = np.concatenate([own[np.stack(np.triu_indices(len(own), k=1))] for own in rows], 1)
    return found[:, np.lexsort((found[1], found[0]))]


def of_two(ids: np.ndarray, most: int, rng, allowed) -> np.ndarray:
    """(2, k) the rows a < b of pairs of two people, in order: of those that allowed(a, b) says yes to all, or `most` at
    random. Where there are very many pairs they are drawn, not listed: of few that are allowed some may be missed."""
    n = len(ids)
    if n * (n - 1) // 2 <= LISTED:
        a, b = np.triu_indices(n, k=1)
        found = np.flatnonzero((ids[a] != ids[b]) & allowed(a, b))
        found = np.sort(rng.choice(found, most, replace=False)) if len(found) > most else found
        return np.stack([a[found], b[found]])
    found = np.empty(0, np.int64)
    for _ in range(ROUNDS):
        a, b = np.sort(rng.integers(0, n, (2, 2 * most)), 0)
        good = (ids[a] != ids[b]) & allowed(a, b)
        found = np.unique(np.concatenate([found, a[good] * n + b[good]]))
        if len(found) >= most:
            found = np.sort(rng.choice(found, most, replace=False))
            break
    return np.stack(np.divmod(found, n))


def apart(codes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(k,) the Euclidean distances between the codes of these rows."""
    found = np.empty(len(first))
    for at in range(0, len(first), 4096):
        some = slice(at, at + 4096)
        found[some] = np.linalg.norm(codes[first[some]] - codes[second[some]], axis=1)
    return found


def ten_folds(distance, same, fold) -> tuple[float, float]:
    """LFW's protocol: the accuracy of "nearer than a threshold means one person", each fold with the threshold that is
    best on the others; mean over folds and its standard error.

    distance (n,), same (n,) yes / no, fold (n,). ValueError for fewer than two folds.

    >>> ten_folds([0.1, 0.9, 0.2, 0.8], [True, False, True, False], [0, 0, 1, 1])
    (1.0, 0.0)
    """
    distance, same, fold = np.asarray(distance, float), np.asarray(same, bool), np.asarray(fold)
    if not np.isfinite(distance).all():
        raise ValueError(f"the distance of pair {(~np.isfinite(distance)).argmax()} is not finite")
    names, right = np.unique(fold), []
    if len(names) < 2:
        raise ValueError(f"{len(names)} fold: the threshold is chosen on other folds, so there must be two or more")
    for name in names:
        others, order = fold != name, np.argsort(distance[fold != name], kind="stable")
        near, said = distance[others][order], same[others][order]
        hits = np.r_[0, np.cumsum(said)] + np.r_[(~said).sum(), (~said).sum() - np.cumsum(~said)]
        hits[1:-1][near[1:] == near[:-1]] = -1  # no threshold parts equal distances
        at = int(hits.argmax())  # so many of the nearest are called the same
        edges = np.r_[near[0] - 1, near, near[-1] + 1]
        threshold = (edges[at] + edges[at + 1]) / 2
        right.append(((distance < threshold) == same)[fold == name].mean())
    return float(np.mean(right)), float(np.std(right, ddof=1) / np.sqrt(len(right)))


def _auc(same, weight, distance) -> float:
    """Of pairs sorted by distance: the weighted share of (same, different) couples in the right order, ties half."""
    start = np.flatnonzero(np.r_[True, np.diff(distance) > 0])  # runs of equal distance
    near = np.add.reduceat(np.where(same, weight, 0), start)
    far = np.add.reduceat(np.where(same, 0, weight), start)
    if near.sum() == 0 or far.sum() == 0:
        return np.nan
    return float(((np.cumsum(near) - near / 2) * far).sum() / (near.sum() * far.sum()))
