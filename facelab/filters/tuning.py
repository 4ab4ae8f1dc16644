"""The ways in which a response can follow a label: left or right, sideways or frontal, rising or falling."""

import numpy as np

from facelab import tasks

SIDES = {  # what +, −, |·| and −|·| of an angle are called
    "yaw": ("left", "right", "sideways", "frontal"),
    "pitch": ("up", "down", "tilted", "level"),
    "roll": ("clockwise", "anticlockwise", "tilted", "upright"),
}


def signals(task: str, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """The kinds of tuning a task can have: (kind, its opposite, signal (n,)) for each thing tested.

    An angle gives two: + against − ("left", "right") and |·| against −|·| ("sideways", "frontal"; ETL Fig.
    2). Any other number: "rising", "falling". Classes: one column each, against "not …"; two classes against
    each other. A response is tuned to `kind` where it correlates positively with the signal, to the opposite
    where negatively. targets (n, t) are those of `tasks.Task.targets`. ValueError for an unknown task.

    >>> [kinds[:2] for kinds in signals("yaw", np.array([[-30.0], [60.0]]))]
    [('left', 'right'), ('sideways', 'frontal')]
    >>> [kinds[:2] for kinds in signals("gender", np.array([[0.0], [1.0]]))]
    [('male', 'female')]
    """
    about = tasks.get(task)
    if task in SIDES:
        plus, minus, outer, inner = SIDES[task]
        y = targets[:, 0]
        return [(plus, minus, y), (outer, inner, np.abs(y))]
    if about.kind == "regression":
        return [("rising", "falling", targets[:, 0])]
    if targets.shape[1] == 1:
        return [(about.classes[1], about.classes[0], targets[:, 0])]
    return [(c, f"not {c}", targets[:, i]) for i, c in enumerate(about.classes)]
