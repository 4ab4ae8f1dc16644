"""Data distillation: a trained multi-task network gives every face set the labels it lacks (2MD-MTL §3.2)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from facelab import tasks as asked
from facelab.errors import named, unknown
from facelab.faces.faceset import FaceSet
from facelab.training.inputs import Inputs
from facelab.training.objective import present
from facelab.transfer.mixture import Part
from facelab.transfer.multitask import Trained

SHIFT, ZOOM = 3, 1.1  # pixels; the scale of "larger", and of "smaller" inversely
GIVEN, DISTILLED = "given", "distilled"


def _same(x: Tensor) -> Tensor:
    return x


def _flip(x: Tensor) -> Tensor:
    return x.flip(-1)


def _shifted(right: int, down: int):
    def shift(x: Tensor) -> Tensor:
        padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
        h, w = x.shape[2:]
        return padded[:, :, SHIFT - down : SHIFT - down + h, SHIFT - right : SHIFT - right + w]

    return shift


def _scaled(by: float):
    def scale(x: Tensor) -> Tensor:
        matrix = x.new_tensor([[1 / by, 0, 0], [0, 1 / by, 0]]).expand(len(x), 2, 3)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    return scale


TRANSFORMS = {
    "same": _same,
    "flip": _flip,
    "left": _shifted(-SHIFT, 0),
    "right": _shifted(SHIFT, 0),
    "up": _shifted(0, -SHIFT),
    "down": _shifted(0, SHIFT),
    "larger": _scaled(ZOOM),
    "smaller": _scaled(1 / ZOOM),
}


@torch.no_grad()
def aggregated(
    teacher: Trained, faces: FaceSet, transforms: Sequence[str] = tuple(TRANSFORMS), *, batch: int = 256
) -> dict[str, np.ndarray]:
    """task → the mean over transforms of what the teacher says: (n,) numbers in the task's unit, or (n, classes)
    probabilities. What it says of a mirrored face is mirrored back. The order of the transforms does not matter.

    ValueError: an unknown transform, or none.
    """
    for name in transforms:
        if name not in TRANSFORMS:
            raise unknown("transform", name, TRANSFORMS)
    if not transforms:
        raise ValueError(f"there are no transforms: expected at least one of {', '.join(TRANSFORMS)}")
    if len(faces) == 0:
        raise ValueError(f"face set {faces.name!r} is empty")
    names = sorted(set(transforms))
    net = teacher.net.eval()
    inputs, found = Inputs(net, faces, np.arange(len(faces)), keep=False), {t: [] for t in teacher.tasks}
    for start in range(0, len(faces), batch):
        x = inputs[np.arange(start, min(start + batch, len(faces)))].to(net.device)
        said = {name: net.module(TRANSFORMS[name](x)) for name in names}
        for task, objective in teacher.objectives.items():
            each = [objective.read(said[name][task]) for name in names]
            each = [objective.mirrored(y) if name == "flip" else y for name, y in zip(names, each, strict=True)]
            found[task].append(np.mean(each, axis=0))
    return {task: np.concatenate(blocks) for task, blocks in found.items()}


def completed(
    teacher: Trained, part: Part, tasks: Sequence[str] | None = None,
    transforms: Sequence[str] = tuple(TRANSFORMS), *, least: float = 0.0,
) -> Part:  # fmt: skip
    """The part with a label of every task for every face that has one of its own tasks': hard ones, from the teacher.

    Class: the likeliest; yes / no: above one half; number: the mean over transforms, kept within the task's range.
    Labels that are given stay. Column `origin:TASK` says of each face "given" (all of it) or "distilled" (None: no
    label). tasks: None: all that the teacher knows. least: a class label is left missing where its probability is below
    (0: never, as in the paper); a task of which nothing is left is none of the new part's.

    Labels of the part's faces for other tasks than its own are not looked at.
    """
    own = named("task", part.tasks)
    tasks = teacher.tasks if tasks is None else named("task", tasks)
    for task in tasks:
        if task not in teacher.objectives:
            raise unknown("task of the teacher", task, teacher.objectives)
    labels = part.faces.labels
    codes = {task: asked.get(task).encode(labels) for task in own}
    known = np.any([present(code) > 0 for code in codes.values()], axis=0)
    kept = np.flatnonzero(known)
    if len(kept) == 0:
        raise ValueError(f"none of the {len(labels)} faces of {part.faces.name!r} has a label of {', '.join(own)}")
    faces, new, left = part.faces[kept], {}, []
    said = aggregated(teacher, faces, transforms)
    for task in tasks:
        about, y = asked.get(task), said[task]
        given = codes[task][kept] if task in codes else None
        if about.kind == "classes":
            label = np.where(y.max(1) >= least, y.argmax(1), -1)
            label = label if given is None else np.where(given >= 0, given, label)
            new[task] = [about.classes[k] if k >= 0 else None for k in label]
        elif about.kind == "labels":
            label = (y > 0.5).astype(float)
            label = label if given is None else np.where(np.isnan(given), label, given)
            new |= dict(zip(about.columns, label.T, strict=True))
        else:
            label = np.clip(y, about.low, about.high)
            new[task] = label if given is None else np.where(np.isnan(given), label, given)
        here = np.zeros(len(kept), bool) if given is None else present(given) == np.size(given[0])
        if f"origin:{task}" in faces.labels:  # a label that was distilled before
            here &= faces.labels[f"origin:{task}"].ne(DISTILLED).to_numpy()
        filled = present(label if label.dtype.kind == "i" else np.asarray(label, float)) > 0
        new[f"origin:{task}"] = [GIVEN if h else DISTILLED if f else None for h, f in zip(here, filled, strict=True)]
        left += [task] if filled.any() else []
    rest = faces.labels.drop(columns=[c for c in new if c in faces.labels])
    table = pd.concat([rest, pd.DataFrame(new, index=rest.index)], axis=1)
    return replace(part, faces=replace(faces, labels=table), tasks=tuple(left))
