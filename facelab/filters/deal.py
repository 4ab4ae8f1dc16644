"""Who is held out, and whether the others are enough to learn from."""

import numpy as np
import pandas as pd
from scipy.special import gammaln

VARIES = 0.1  # a label varies within people when at least this share of its variance does
DEALS = 20  # ways to hold people out among which to choose


def deal(y: np.ndarray, people: np.ndarray, away: int, inside: bool, seed: int) -> np.ndarray:
    """(k,) whether a person is held out: `away` at random; or, where labels are constant within people, evenly
    spaced in the order of the label, the deal of some in which most signals vary on either side."""
    k, rng = people.max() + 1, np.random.default_rng(seed)
    if inside:
        return rng.permutation(k) < away
    mean = means(y, people)
    best, most = None, -1
    for _ in range(DEALS):
        order = np.lexsort((rng.random(k), *mean.T[::-1]))  # by label, at random among equals
        held = np.zeros(k, bool)
        held[order[((np.arange(away) + rng.random()) * k / away).astype(int)]] = True
        count = sum((np.ptp(mean[side], axis=0) > 0).sum() for side in (held, ~held) if side.any())
        if count > most:
            best, most = held, count
    return best


def means(y: np.ndarray, people: np.ndarray) -> np.ndarray:
    """(k, S) every person's mean."""
    return np.stack([np.bincount(people, column) for column in y.T], 1) / np.bincount(people)[:, None]


def able(y: np.ndarray, people: np.ndarray, inside: bool) -> float:
    """What a signal has to go by: how many people whose label varies; or if it varies between them, in how many
    ways it can be dealt to people, as far as |ρ| tells them apart."""
    if not len(y):
        return 0.0
    if inside:
        spread = pd.Series(y).groupby(people).agg(np.ptp)
        return float((spread > 0).sum())
    label = np.sort(means(y[:, None], np.unique(people, return_inverse=True)[1])[:, 0])
    ways = gammaln(len(label) + 1) - gammaln(np.unique(label.round(9), return_counts=True)[1] + 1).sum()
    mirrored = np.allclose(label, label[0] + label[-1] - label[::-1])  # then ρ and −ρ are the same deal twice
    return float(np.floor(np.exp(min(ways, 700)) / (2 if mirrored else 1) + 0.5)) if np.ptp(label) > 0 else 0.0


def varies(y: np.ndarray, people: np.ndarray) -> bool:
    """Whether at least `VARIES` of the variance of the signals y (n, S) is within people."""
    shares = [np.var(c - m[people]) / np.var(c) for c, m in zip(y.T, means(y, people).T, strict=True) if np.ptp(c) > 0]
    return bool(np.mean(shares) >= VARIES)
