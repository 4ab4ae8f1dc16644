"""Which block, fold and group every image belongs to: people stay together, missing labels stay explicit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from facelab import errors, tasks
from facelab.faces.faceset import split_people


def partition(identities, *, blocks: int = 40, folds: int = 5, seed: int = 0, name: str = "these faces") -> np.ndarray:
    """(n,) the block of each image: whole people, dealt at random into `blocks` blocks of about as many
    people each.

    Block b belongs to fold b mod `folds`. With fewer people than blocks every person is a block. A bootstrap
    over blocks wants at least 30. identities: (n,) integers, one per person (`FaceSet.identities`).
    ValueError where there are fewer people or blocks than folds.

    >>> partition([0, 0, 1, 1, 2], blocks=40, folds=3).tolist()
    [1, 1, 2, 2, 0]
    """
    identities = np.asarray(identities)
    people = len(np.unique(identities))
    if folds < 2:
        raise ValueError(f"{folds!r} folds: expected at least 2")
    if blocks < folds:
        raise ValueError(f"{blocks} blocks, too few for {folds} folds: every fold is a union of blocks")
    if people < folds:
        raise ValueError(
            f"{name}: {people} {'person' if people == 1 else 'people'}, too few for {folds} folds that share nobody"
        )
    return split_people(identities, np.full(min(blocks, people), 1 / min(blocks, people)), seed=seed, name=name)


@dataclass(frozen=True, eq=False)
class Rows:
    """What each of n images adds, and to which of g groups.

    targets (n, T): of all tasks side by side, NaN = missing; centre (T,) their means. group (n,): index, −1 =
    no label of any task. used: indices of the images with a group. block, fold (g,), present (g, tasks): the
    groups, one per block and pattern of present labels. people: the block of every named person.
    """

    tasks: tuple[str, ...]
    folds: int
    targets: np.ndarray
    centre: np.ndarray
    group: np.ndarray
    used: np.ndarray
    block: np.ndarray
    fold: np.ndarray
    present: np.ndarray
    people: dict[str, int]

    @classmethod
    def of(
        cls,
        labels: pd.DataFrame,
        identities: np.ndarray,
        names: Sequence[str],
        *,
        folds: int = 5,
        blocks: int | np.ndarray = 40,
        seed: int = 0,
        name: str = "these faces",
    ) -> "Rows":
        """The rows of a label table. blocks: how many, or (n,) the block of each image (see `partition`).

        ValueError for an unknown task or one without any label, an empty table, too few people, or given
        blocks that tear a person apart. TypeError where names or folds are none.
        """
        names = tuple(dict.fromkeys(errors.named("task", names)))
        errors.whole("folds", folds, 1)
        if not names:
            raise ValueError("no task named: expected one or more of " + ", ".join(tasks.TASKS))
        known = [tasks.get(n) for n in names]
        if len(labels) == 0:
            raise ValueError(f"{name}: empty, there is nothing to measure")
        parts = [task.targets(labels) for task in known]
        has = np.stack([~np.isnan(part).any(1) for part in parts], 1)  # (n, tasks)
        if not has.any(0).all():
            task = names[int(np.argmin(has.any(0)))]
            raise ValueError(f"{name}: not one image has a label of task {task!r} (all {len(labels)} are missing)")
        targets = np.concatenate(parts, 1)
        block = _blocks(identities, blocks, folds, seed, name)
        used = np.flatnonzero(has.any(1))
        keys, group_of_used = np.unique(np.column_stack([block, has])[used], axis=0, return_inverse=True)
        group = np.full(len(labels), -1)
        group[used] = group_of_used.ravel()
        people = {}
        if "identity" in labels:
            named = labels["identity"].notna().to_numpy()
            people = dict(zip(labels["identity"][named].astype(str), block[named].tolist(), strict=True))
        return cls(
            tasks=names,
            folds=int(folds),
            targets=targets,
            centre=np.nanmean(targets, 0),
            group=group,
            used=used,
            block=keys[:, 0],
            fold=keys[:, 0] % folds,
            present=keys[:, 1:].astype(bool),
            people=people,
        )


def _blocks(identities, blocks, folds, seed, name) -> np.ndarray:
    if np.ndim(blocks) == 0:
        return partition(identities, blocks=int(blocks), folds=folds, seed=seed, name=name)
    blocks = np.asarray(blocks)
    if blocks.shape != np.shape(identities) or blocks.dtype.kind not in "iu" or blocks.min() < 0:
        raise ValueError(
            f"blocks must be a number or {len(identities)} integers from 0, not {blocks.dtype} {blocks.shape}"
        )
    pairs = np.unique(np.column_stack([identities, blocks]), axis=0)
    torn, times = np.unique(pairs[:, 0], return_counts=True)
    if (times > 1).any():
        raise ValueError(f"{name}: person {torn[times.argmax()]} is in {times.max()} blocks: expected one per person")
    return blocks.astype(np.int64)
