"""One task's classes from the labels of another set or another task, where sets name them differently."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from facelab import tasks
from facelab.errors import unknown
from facelab.faces.faceset import FaceSet


def translate(
    faces: FaceSet, task: str, classes: Mapping[str, str | None], *, of: str | None = None, rest: str | None = None
) -> FaceSet:
    """The same faces with `task` labelled by translating the labels in column `of` (None: the task's own).

    classes: their label → one of the task's classes, or None: then the face has no label. rest: what every label that
    is not in `classes` becomes; without it such a label is an error, so that no class is lost unnoticed.

    ValueError: a task that has no classes, a column that is not there, a class that the task does not know, a label
    that does not map.

    >>> import numpy as np
    >>> images, points = np.zeros((3, 3, 8, 8), np.uint8), np.zeros((3, 5, 2), np.float32)
    >>> labels = pd.DataFrame({"expression": ["happy", "sad", None]})
    >>> smiling = translate(FaceSet("a", images, labels, points), "smile", {"happy": "yes"}, of="expression", rest="no")
    >>> smiling.labels["smile"].tolist()
    ['yes', 'no', None]
    """
    about, of = tasks.get(task), of or task
    if about.kind != "classes":
        raise ValueError(f"task {task!r} is a {about.kind}, it has no classes to translate into")
    if of not in faces.labels:
        raise unknown(f"label column of {faces.name!r}", of, faces.labels)
    for name in [*classes.values(), rest]:
        if name is not None and name not in about.classes:
            raise unknown(f"{task} class", name, about.classes)
    theirs = faces.labels[of]
    lost = [label for label in theirs.dropna().unique() if label not in classes]
    if lost and rest is None:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ValueError(
            f"label {lost[0]!r}{more} in column {of!r} of {faces.name!r} maps to no class of {task!r}: "
            f"name one of {', '.join(map(repr, about.classes))} or None for it, or give rest="
        )
    ours = [None if pd.isna(label) else classes.get(label, rest) for label in theirs]
    column = pd.Series(ours, index=faces.labels.index, dtype=object)
    return replace(faces, labels=faces.labels.assign(**{task: column}))
