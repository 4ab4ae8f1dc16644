"""What a training is fed: which faces, who is held out, and the network's inputs for them."""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from facelab import tasks
from facelab.training.objective import present

MEMORY = 2 << 30  # bytes of inputs kept between epochs; a larger set is cut anew for every batch
CHUNK = 256


class Inputs:
    """The inputs of the faces at `rows`, by position: `inputs[i]` is (len(i), …) on the CPU, float32.

    Where they fit into `MEMORY` they are cut once: as uint8 chips if the net tells chips from their normalisation
    (`chips`, `normalise`), else as the net prepares them. keep=False keeps nothing.
    """

    def __init__(self, net, faces, rows: np.ndarray, *, keep: bool = True):
        self.net, self.faces, self.rows = net, faces, np.asarray(rows)
        self.labels = faces.labels.iloc[self.rows]
        self.bytes = all(hasattr(net, name) for name in ("chips", "normalise"))
        self.kept = None
        if keep and len(self.rows) and self._cut(np.arange(1)).nbytes * len(self.rows) <= MEMORY:
            starts = range(0, len(self.rows), CHUNK)
            self.kept = torch.cat([self._cut(np.arange(len(self.rows))[s : s + CHUNK]) for s in starts])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: np.ndarray) -> Tensor:
        x = self._cut(at) if self.kept is None else self.kept[torch.from_numpy(at)]
        return self.net.normalise(x) if self.bytes else x

    @torch.no_grad()
    def _cut(self, at: np.ndarray) -> Tensor:
        return (self.net.chips if self.bytes else self.net.prepare)(self.faces, self.rows[at]).cpu()


def split(faces, task: str | None, validation, seed: int, taught=None):
    """Rows to train on, the set that holds the validation faces, and their rows there (None, None without any).

    validation: the share of people held out, a face set of its own, or None / 0. Rows without a label of the task are
    left out. taught: (n,) the rows to train on where what is learnt is no label. ValueError where a side has no
    labelled face, or there are too few people for two sides; TypeError for anything else.
    """
    name = getattr(faces, "name", "faces")
    labelled = taught if task is None else present(faces.encode(tasks.get(task).name)) > 0
    if not labelled.any():
        raise ValueError(f"task {task!r}: none of the {len(labelled)} images of {name!r} has this label")
    taught = labelled if taught is None else taught
    if validation is None or (validation == 0 and isinstance(validation, (int, float))):
        return np.flatnonzero(taught), None, None
    if hasattr(validation, "encode"):
        if task is None:
            raise ValueError(
                f"validation {validation.name!r}: without a task, what its faces should give is not known; give a share"
            )
        held = np.flatnonzero(present(validation.encode(task)) > 0)
        if len(held) == 0:
            raise ValueError(f"task {task!r}: none of the {len(validation)} validation images has this label")
        return np.flatnonzero(taught), validation, held
    if isinstance(validation, bool) or not isinstance(validation, (int, float)):
        raise TypeError(f"validation {validation!r}: expected a share of the people, a face set or None")
    if not 0 < validation < 1:
        raise ValueError(f"validation {validation!r}: expected a share of the people, above 0 and below 1")
    side = faces.assign((1 - validation, validation), seed=seed)  # 0 train, 1 validation; by person
    rows = [np.flatnonzero(mask & (side == part)) for part, mask in enumerate((taught, labelled))]
    for part, found in zip(("train on", "validate on"), rows, strict=True):
        if len(found) == 0:
            raise ValueError(
                f"task {task!r}: the {labelled.sum()} labelled images of {name!r} are too few or of too few people: "
                f"split by person, none is left to {part}"
            )
    return rows[0], faces, rows[1]


@torch.no_grad()
def outputs(module, inputs: Inputs, batch: int, width: int, fabric=None) -> Tensor:
    """(n, width) float32 on the CPU: the module's outputs in evaluation mode, each process computing its share."""
    modes = {m: m.training for m in module.modules()}
    rank, world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    device = next(module.parameters()).device
    found = torch.zeros(len(inputs), width, device=device)
    mine = np.arange(len(inputs))[rank::world]
    module.eval()
    try:
        with fabric.autocast() if fabric else nullcontext():
            for start in range(0, len(mine), batch):
                at = mine[start : start + batch]
                found[at] = module(inputs[at].to(device)).float().reshape(len(at), width)
    finally:
        for m, training in modes.items():
            m.training = training
    return (fabric.all_reduce(found, reduce_op="sum") if fabric else found).cpu()
