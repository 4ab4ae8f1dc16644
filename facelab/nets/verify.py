"""Verification: do two pictures show the same person? The identity task on people a network has never seen."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist


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
    with equal labels count, so that what the label names (gender, ethnicity, age band) cannot tell them apart. At
    most `most` pairs of different people are drawn. The interval draws people again: a pair counts as often as both
    its people were drawn. ValueError without a pair of either sort.

    >>> codes = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> verify(codes, [0, 0, 1, 1]).auc
    1.0
    """
    ids = pd.factorize(np.asarray(identities), sort=True)[0]
    named = np.flatnonzero(ids >= 0)
    codes, ids = np.asarray(codes, np.float64)[named], ids[named]
    first, second = np.triu_indices(len(ids), k=1)
    same = ids[first] == ids[second]
    allowed = np.ones(len(first), bool)
    if within is not None:
        groups = np.unique(np.asarray(within)[named], return_inverse=True)[1]
        allowed = groups[first] == groups[second]
    rng = np.random.default_rng(seed)
    different = np.flatnonzero(~same & allowed)
    if len(different) > most:
        different = rng.choice(different, most, replace=False)
    if not same.any() or len(different) == 0:
        raise ValueError(f"{same.sum()} pairs of one person and {len(different)} of two: expected some of both")
    pairs = np.concatenate([np.flatnonzero(same), different])
    first, second, same = first[pairs], second[pairs], same[pairs]
    distance = cdist(codes, codes)[first, second]
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


def ten_folds(distance, same, fold) -> tuple[float, float]:
    """LFW's protocol: the accuracy of "nearer than a threshold means one person", each fold with the threshold that is
    best on the others; mean over folds and its standard error.

    distance (n,), same (n,) yes / no, fold (n,). ValueError for fewer than two folds.

    >>> ten_folds([0.1, 0.9, 0.2, 0.8], [True, False, True, False], [0, 0, 1, 1])
    (1.0, 0.0)
    """
    distance, same, fold = np.asarray(distance, float), np.asarray(same, bool), np.asarray(fold)
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
