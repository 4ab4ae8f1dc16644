"""Batches that mix face sets, each labelled for some tasks only (2MD-MTL §3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from facelab import tasks as asked
from facelab.errors import named, number, whole
from facelab.faces.faceset import FaceSet
from facelab.training.inputs import Inputs
from facelab.training.objective import Objective, present


@dataclass(frozen=True, eq=False)
class Part:
    """A face set, the tasks whose labels of it are used, and how many of its faces are in a batch (the paper's b̂)."""

    faces: FaceSet
    tasks: Sequence[str] | str
    share: int = 32


class Mixture:
    """Batches of Σ share faces, `share` from every part; a small set is gone through more often than a large one.

    Faces without any label of their part's tasks are left out. tasks: all that any part is labelled for. objectives:
    what each of them minimises, from the labels of all parts that have it. target, mirrored: task → labels of the n
    faces of all parts (of their mirror images), missing where the part is not labelled for it. domain (n,): whose part
    a face is. alternating: each batch comes from one part, in turns that keep the shares; it has as many faces.

    ValueError: no part, a share below 1 (a batch smaller than the number of sets), a part of fewer than two labelled
    faces, a part that lacks a task's labels; what `Objective.of` raises.

    >>> images, points = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 5, 2), np.float32)
    >>> young = FaceSet("a", images, pd.DataFrame({"gender": ["male", "female"] * 3}), points)
    >>> turned = FaceSet("b", images, pd.DataFrame({"yaw": [-30.0, 30.0] * 3}), points)
    >>> mixed = Mixture([Part(young, "gender", 2), Part(turned, "yaw", 1)])
    >>> mixed.tasks, mixed.target["gender"].tolist()[4:8], mixed.domain[mixed.batch(0)].tolist()
    (['gender', 'yaw'], [1, 0, -1, -1], [0, 0, 1])
    """

    def __init__(self, parts: Sequence[Part], *, alternating: bool = False, seed: int = 0):
        self.parts = list(parts)
        if not self.parts:
            raise ValueError("there are no parts: expected at least one face set with its tasks")
        whole("seed", seed, 0)
        self.alternating, self.seed = alternating, seed
        self.tasks, self.rows = [], []
        for part in self.parts:
            name = part.faces.name
            whole(f"share of {name!r} in a batch", part.share, 1)
            known = np.zeros(len(part.faces), bool)
            own = named("task", part.tasks)
            if not own:
                raise ValueError(f"{name!r} is labelled for no task: name at least one")
            for task in own:
                try:
                    labelled = present(part.faces.encode(task)) > 0
                except ValueError as error:
                    raise ValueError(f"{name!r}: {error}") from error
                if not labelled.any():
                    raise ValueError(f"task {task!r}: none of the {len(known)} faces of {name!r} has this label")
                known |= labelled
                self.tasks += [task] if task not in self.tasks else []
            if known.sum() < 2:
                raise ValueError(f"{name!r} has {known.sum()} labelled face: expected at least 2")
            self.rows.append(np.flatnonzero(known))
        sizes = [len(rows) for rows in self.rows]
        self.starts = np.cumsum([0, *sizes])
        self.domain = np.repeat(np.arange(len(sizes)), sizes)
        self.objectives, self.target, self.mirrored = {}, {}, {}
        for task in self.tasks:
            self._ask(task)

    def __len__(self) -> int:
        return len(self.domain)

    def _ask(self, task: str) -> None:
        has = [task in named("task", part.tasks) for part in self.parts]
        labels = [part.faces.labels.iloc[rows] for part, rows in zip(self.parts, self.rows, strict=True)]
        columns = [about for about, yes in zip(labels, has, strict=True) if yes]
        objective = Objective.of(task, pd.concat([_own(task, about) for about in columns], ignore_index=True))
        self.objectives[task] = objective
        for store, change in ((self.target, lambda x: x), (self.mirrored, asked.flip_labels)):
            blank = objective.targets(columns[0].iloc[:1])
            missing = -torch.ones_like(blank) if blank.dtype == torch.int64 else blank * torch.nan
            blocks = [
                objective.targets(change(about)) if yes else missing.expand(len(about), *missing.shape[1:])
                for about, yes in zip(labels, has, strict=True)
            ]
            store[task] = torch.cat(blocks)

    @property
    def shares(self) -> np.ndarray:
        return np.array([part.share for part in self.parts])

    def inputs(self, net) -> "Chips":
        """The network's inputs for the n faces, by position."""
        return Chips([Inputs(net, p.faces, rows) for p, rows in zip(self.parts, self.rows, strict=True)], self.starts)

    def batch(self, step: int) -> np.ndarray:
        """Positions (Σ share,) of the faces of a step, from 0. The same seed, the same batches."""
        total = self.shares.sum()
        if not self.alternating:
            return np.concatenate([self._next(i, step * n, n) for i, n in enumerate(self.shares)])
        turns = _turns(self.shares)
        rounds, at = divmod(step, len(turns))
        part = turns[at]
        before = rounds * (turns == part).sum() + (turns[:at] == part).sum()
        return self._next(part, before * total, total)

    def _next(self, part: int, start: int, count: int) -> np.ndarray:
        """`count` faces of an endless row of shuffled rounds through a part."""
        n = len(self.rows[part])
        rounds = range(start // n, (start + count - 1) // n + 1)
        row = np.concatenate([np.random.default_rng([self.seed, part, r]).permutation(n) for r in rounds])
        first = start - rounds[0] * n
        return self.starts[part] + row[first : first + count]


class Chips:
    """Inputs of several parts, one after another."""

    def __init__(self, inputs: list[Inputs], starts: np.ndarray):
        self.inputs, self.starts = inputs, starts

    def __getitem__(self, at: np.ndarray) -> Tensor:
        whose = np.searchsorted(self.starts, at, side="right") - 1
        out = None
        for part in np.unique(whose):
            mine = np.flatnonzero(whose == part)
            x = self.inputs[part][at[mine] - self.starts[part]]
            out = x.new_empty(len(at), *x.shape[1:]) if out is None else out
            out[torch.from_numpy(mine)] = x
        return out


def _own(task: str, labels: pd.DataFrame) -> pd.DataFrame:
    """The labels of a task in columns of its own, also where they are derived from others."""
    about = asked.get(task)
    code = about.encode(labels)
    if about.kind == "classes":
        return pd.DataFrame({task: [about.classes[k] if k >= 0 else None for k in code]})
    return pd.DataFrame(code.reshape(len(labels), -1), columns=about.columns)


def _turns(shares: np.ndarray) -> np.ndarray:
    """Whose turn each step of a round is: always the part that is furthest behind its share.

    >>> _turns(np.array([64, 32, 32])).tolist()
    [0, 1, 2, 0]
    """
    steps = shares.sum() // np.gcd.reduce(shares)
    wanted, had, turns = shares / shares.sum(), np.zeros(len(shares)), []
    for step in range(steps):
        part = int(np.argmax(wanted * (step + 1) - had))
        had[part] += 1
        turns.append(part)
    return np.array(turns)


def fewer(part: Part, people: float, *, seed: int = 0) -> Part:
    """The part with a share of its people, at least two; its share of a batch stays. ValueError: no share above 0.

    >>> images, points = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 5, 2), np.float32)
    >>> six = FaceSet("six", images, pd.DataFrame({"gender": ["male", "female"] * 3}), points)
    >>> len(fewer(Part(six, "gender"), 0.5).faces)
    3
    """
    number("people", people)
    if not 0 < people <= 1:
        raise ValueError(f"a share of {people!r} of the people: expected more than 0, up to 1")
    who, of = np.unique(part.faces.identities, return_inverse=True)
    kept = np.random.default_rng(seed).permutation(len(who))[: max(2, round(people * len(who)))]
    return replace(part, faces=part.faces[np.isin(of, kept)])
