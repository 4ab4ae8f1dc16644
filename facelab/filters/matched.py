"""Is there still a person in a code? Verification in which the expression, or whatever else is shown, cannot help."""

from dataclasses import dataclass

import numpy as np

from facelab.nets.verify import apart, of_one, of_two


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of identity: auc and its 95 % interval over people; same, different: pairs compared."""

    auc: float
    low: float
    high: float
    same: int
    different: int


def matched_auc(codes, identities, shown, *, bootstraps: int = 200, most: int = 200_000, seed: int = 0) -> Left:
    """Verification in which what is shown cannot help.

        Σ_s w_s P(d_same < d_different | s) / Σ_s w_s

    over the unordered pairs s = {a, b} of classes shown: a pair of pictures of one person is compared only with pairs
    of two people that show the same two classes. w_s: the number of one-person pairs. d: Euclidean between codes
    (n, d). At most `most` pairs of two people are drawn. The interval draws people again.

    `nets.verify(within=…)` would not do: it matches the pairs of two people only, and a code of pure expression would
    then come out far below 0.5.

    ValueError: no class with a pair of one person and one of two.

    >>> rng = np.random.default_rng(0)
    >>> who, shown = np.repeat(np.arange(40), 4), rng.integers(0, 2, 160)
    >>> abs(matched_auc(shown[:, None] + 0.1 * rng.normal(size=(160, 1)), who, shown).auc - 0.5) < 0.05
    True
    >>> matched_auc(who[:, None], who, shown).auc
    1.0
    """
    x, ids = np.asarray(codes, np.float64), np.unique(identities, return_inverse=True)[1]
    kinds, shown = np.unique(shown, return_inverse=True)

    def strata(a, b):
        return np.minimum(shown[a], shown[b]) * len(kinds) + np.maximum(shown[a], shown[b])

    one, rng = of_one(ids), np.random.default_rng(seed)
    asked = np.unique(strata(*one))
    two = of_two(ids, most, rng, lambda a, b: np.isin(strata(a, b), asked))
    first, second = np.concatenate([one, two], 1)
    same, stratum = np.arange(len(first)) < one.shape[1], strata(first, second)
    pairs = np.isin(stratum, np.intersect1d(stratum[same], stratum[~same]))
    if not pairs.any():
        raise ValueError(
            f"{same.sum()} pairs of one person, {(~same).sum()} of two, none of both sorts with the same classes shown"
        )
    first, second, same, stratum = first[pairs], second[pairs], same[pairs], stratum[pairs]
    distance = apart(x, first, second)
    order = np.lexsort((distance, stratum))
    first, second, same = ids[first[order]], ids[second[order]], same[order]
    stratum, distance = np.unique(stratum[order], return_inverse=True)[1], distance[order]
    start = np.flatnonzero(np.r_[True, (np.diff(distance) > 0) | (np.diff(stratum) > 0)])  # runs of equal distance
    of = stratum[start]
    value = _stratified(same, np.ones(len(same)), start, of)
    values, people = [], ids.max() + 1
    for _ in range(bootstraps):
        times = np.bincount(rng.integers(0, people, people), minlength=people).astype(float)
        values.append(_stratified(same, np.where(same, times[first], times[first] * times[second]), start, of))
    low, high = np.nanquantile(values, (0.025, 0.975)) if values else (value, value)
    return Left(value, float(min(low, value)), float(max(high, value)), int(same.sum()), int((~same).sum()))


def discriminant(codes, identities, *, most: int = 32, shrink: float = 0.1) -> np.ndarray:
    """(d, r) directions that tell people apart: what somebody who wants to know who it is would learn of codes (n, d).

    Linear discriminant analysis: the leading eigenvectors of S_within^{-1/2} S_between S_within^{-1/2}, times
    S_within^{-1/2}, with `shrink` of S_within's mean eigenvalue added to it. What changes within a person, expression
    above all, is played down by that. r: `most`, or fewer where there are fewer dimensions or people. ValueError where
    nobody has two images.

    >>> rng = np.random.default_rng(0)
    >>> who, loud = np.repeat(np.arange(60), 4), 30 * rng.normal(size=240)
    >>> codes = np.stack([loud, rng.normal(size=60)[who] + 0.1 * rng.normal(size=240)], 1)
    >>> matched_auc(codes @ discriminant(codes, who), who, np.zeros(240)).auc > matched_auc(codes, who, loud > 0).auc
    True
    """
    x = np.asarray(codes, np.float64)
    person, counts = np.unique(identities, return_inverse=True, return_counts=True)[1:]
    if counts.max() < 2:
        raise ValueError(f"{len(counts)} people in {len(x)} images: expected several images of some")
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, person, x)
    means = sums / counts[:, None]
    rest, means = x - means[person], means - x.mean(0)
    within = rest.T @ rest / max(len(x) - len(counts), 1)
    within += max(shrink * np.trace(within) / x.shape[1], 1e-12) * np.eye(x.shape[1])
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    scatter = whiten.T @ (means.T * counts) @ means @ whiten / len(x)
    return whiten @ np.linalg.eigh(scatter)[1][:, ::-1][:, : min(most, len(counts) - 1)]


def _stratified(same, weight, start, of) -> float:
    near = np.add.reduceat(np.where(same, weight, 0), start)
    far = np.add.reduceat(np.where(same, 0, weight), start)
    total_near, total_far = np.bincount(of, near), np.bincount(of, far)
    before = np.cumsum(near) - np.r_[0, np.cumsum(total_near)][of] - near / 2  # in the run's own stratum
    won = np.bincount(of, before * far)
    there = (total_near > 0) & (total_far > 0)
    return float((won[there] / total_far[there]).sum() / total_near[there].sum()) if there.any() else np.nan
