"""Made-up responses of a layer, chunk by chunk: any number of rows in the memory of one chunk."""

from collections.abc import Iterator

import numpy as np

from facelab import tasks
from facelab.filters.groups import Rows
from facelab.filters.moments import CHUNK

BLOCKS, FOLDS = 40, 5  # what `measure` deals people into by default


class Layer:
    """`size` filters as `facelab.filters.race.like_responses` makes them, and `targets` labels of their factors.

    max(0, factors · weights + shift) with factors whose deviation falls as 1 / rank; every label follows twenty
    factors, half of its variance is noise. A row depends on the seed and its chunk alone.

    >>> chunks = list(Layer(8, 2).chunks(5000))
    >>> [x.shape for x, _ in chunks], chunks[1][1].shape
    ([(4096, 8), (904, 8)], (904, 2))
    """

    def __init__(self, size: int, targets: int = 1, seed: int = 0):
        rng = np.random.default_rng(seed)
        fall = 1.0 / np.arange(1, size + 1)
        self.size, self.seed = size, seed
        self.weights = fall[:, None] * rng.standard_normal((size, size)) / np.linalg.norm(fall)
        self.shift = 0.5 * rng.standard_normal(size)
        asked = rng.standard_normal((min(size, 20), targets))
        self.asked = asked / np.linalg.norm(asked, axis=0)

    def chunks(self, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows, size) float32 responses and (rows, targets) float64 labels, `CHUNK` rows at a time, n in all."""
        for i, start in enumerate(range(0, n, CHUNK)):
            rows = min(CHUNK, n - start)
            rng = np.random.default_rng([self.seed, i])
            factors = rng.standard_normal((rows, self.size))
            noise = rng.standard_normal((rows, self.asked.shape[1]))
            x = np.maximum(factors @ self.weights + self.shift, 0.0)
            yield x.astype(np.float32), factors[:, : len(self.asked)] @ self.asked + noise

    def table(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """All n rows at once: (n, size) float32 and (n, targets)."""
        parts = list(self.chunks(n))
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def rows_of(names: tuple[str, ...], y: np.ndarray) -> Rows:
    """Rows with the targets y (n, T) of these tasks, dealt into 40 blocks and 5 folds, everything labelled.

    ValueError where y has not as many columns as the tasks have targets.
    """
    width = sum(len(tasks.get(name).target_names) for name in names)
    if y.shape[1] != width:
        raise ValueError(f"y has {y.shape[1]} columns: expected {width}, the targets of {', '.join(names)}")
    block = np.arange(BLOCKS)
    return Rows(
        tasks=names, folds=FOLDS, targets=y, centre=y.mean(0), group=np.arange(len(y)) % BLOCKS,
        used=np.arange(len(y)), block=block, fold=block % FOLDS, present=np.ones((BLOCKS, len(names)), bool), people={},
    )  # fmt: skip
