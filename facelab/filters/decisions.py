"""From predicted numbers to answers: what counts as right, and the thresholds and bins learned for it (low-cost §3).

The papers regress a task to numbers and turn these into classes: gender by a threshold, age and pose by bins, the seven
expressions by the largest of seven outputs. A class that is a stretch of the number line needs cuts; they are put where
most validation images fall on the right side. One rule serves a yes / no answer (one cut) and ten decades (nine).
"""

import numpy as np
import pandas as pd

from facelab import tasks

DECADES = 10  # bins of age, ten years each, the last one open (low-cost Table 1)
PITCHES, YAWS = ("down", "level", "up"), ("right", "frontal", "left")


def classes(task: str) -> tuple[str, ...]:
    """What the answers are called, in the order of `truth`'s codes.

    >>> classes("age")[:2], classes("gender")
    (('0–9 years', '10–19 years'), ('female', 'male'))
    """
    about = tasks.get(task)
    if task == "age":
        return (*(f"{10 * i}–{10 * i + 9} years" for i in range(DECADES - 1)), "90 years and more")
    if about.kind in ("regression", "identity"):
        others = "age, pose and the tasks with classes"
        raise ValueError(f"task {task!r} has no classes to be right or wrong about: expected {others}")
    return about.classes


def truth(task: str, labels: pd.DataFrame) -> np.ndarray:
    """The right answers: (n,) class codes, −1 missing, or for a task of several labels (n, k) 1, 0 or NaN.

    Age in decades. ValueError for an unknown task, one without classes (identity, yaw …) and labels out of range.

    >>> truth("age", pd.DataFrame({"age": [4.0, 31.5, 104.0, None]})).tolist()
    [0, 3, 9, -1]
    """
    classes(task)
    codes = tasks.get(task).encode(labels)
    if task != "age":
        return codes
    return np.where(np.isnan(codes), -1, np.minimum(np.nan_to_num(codes) // 10, DECADES - 1)).astype(np.int64)


def targets(task: str, labels: pd.DataFrame) -> np.ndarray:
    """(n, T) the numbers a read-out is fitted to, rows of NaN where missing: `tasks.Task.targets`, but for pose yaw and
    pitch where the table has them (low-cost §3: "a continuous label space based on the original labels")."""
    classes(task)
    if task == "pose" and {"yaw", "pitch"} <= set(labels):
        both = np.hstack([tasks.get(name).targets(labels) for name in ("yaw", "pitch")])
        both[np.isnan(both).any(1)] = np.nan
        return both
    return tasks.get(task).targets(labels)


def cuts(said, codes, k: int, weight=None) -> np.ndarray:
    """(k − 1,) rising cuts of the number line into k stretches, one a class, that put the most weight right.

        max over c₁ ≤ … ≤ c_{k−1} of  Σ_n w_n [c_{y_n} ≤ s_n < c_{y_n + 1}],   c₀ = −∞, c_k = ∞

    Exact, by dynamic programming in O(n k). said (n,) numbers, codes (n,) classes 0 … k−1, weight (n,), by default 1. A
    class that gets no stretch has two equal cuts around it.

    >>> cuts([1.0, 2.0, 4.0, 9.0], [0, 0, 1, 2], 3).tolist()
    [3.0, 6.5]
    """
    said, codes = np.asarray(said, float), np.asarray(codes)
    order = np.argsort(said, kind="stable")
    s, n = said[order], len(said)
    mass = np.zeros((k, n + 1))  # of each class among the first i
    w = np.ones(n) if weight is None else np.asarray(weight, float)
    mass[codes[order], np.arange(1, n + 1)] = w[order]
    mass = mass.cumsum(1)
    allowed = np.r_[True, s[1:] > s[:-1], True]  # equal numbers get the same answer
    best, back = mass[0], []
    for c in range(1, k):
        start = np.where(allowed, best - mass[c], -np.inf)
        top = np.maximum.accumulate(start)
        back.append(np.maximum.accumulate(np.where(start == top, np.arange(n + 1), 0)))
        best = top + mass[c]
    at, found = n, []
    for pointers in reversed(back):
        at = int(pointers[at])
        found.append(-np.inf if at == 0 else np.inf if at == n else 0.5 * (s[at - 1] + s[at]))
    return np.array(found[::-1])


def scale(task: str, outputs: np.ndarray) -> np.ndarray:
    """A trained network's outputs (n, width) as `learn` and `answer` want them: of two classes the difference.

    >>> scale("gender", np.array([[0.5, 2.0]])).tolist()
    [[1.5]]
    """
    outputs = np.asarray(outputs, float).reshape(len(outputs), -1)
    two = tasks.get(task).kind == "classes" and len(tasks.get(task).classes) == 2
    return outputs[:, 1:] - outputs[:, :1] if two and outputs.shape[1] == 2 else outputs


def learn(task: str, said: np.ndarray, codes: np.ndarray, *, balanced: bool = False) -> list[np.ndarray]:
    """The cuts of each column of said (n, T), best for the accuracy on these images, or for the balanced accuracy.

    codes: from `truth`. Classes that are the largest of several columns need none: []. ValueError where no image has a
    label.
    """
    columns = _columns(task, said, codes)
    found = []
    for column, code, k in columns:
        known = code >= 0
        if not known.any():
            raise ValueError(f"task {task!r}: none of {len(said)} images has this label, nothing to learn a cut from")
        weight = None
        if balanced:
            weight = 1 / np.maximum(np.bincount(code[known], minlength=k), 1)[code[known]]
        found.append(cuts(column[known], code[known], k, weight))
    return found


def answer(task: str, said: np.ndarray, learned: list[np.ndarray]) -> np.ndarray:
    """The answers as `truth` codes them: (n,) classes, or (n, k) 1 / 0 for a task of several labels."""
    if not learned:
        return said.argmax(1)
    found = np.stack([np.searchsorted(c, s, side="right") for c, s in zip(learned, said.T, strict=True)], 1)
    if tasks.get(task).kind == "labels":
        return found
    return 3 * found[:, 1] + found[:, 0] if task == "pose" else found[:, 0]


def _columns(task: str, said: np.ndarray, codes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Numbers, codes and number of classes of each column that is cut."""
    if tasks.get(task).kind == "labels":
        return [
            (column, np.where(np.isnan(code), -1, code).astype(int), 2)
            for column, code in zip(said.T, codes.T, strict=True)
        ]
    if task == "pose" and said.shape[1] == 2:  # yaw and pitch
        sides, ups = np.where(codes < 0, -1, codes % 3), np.where(codes < 0, -1, codes // 3)
        return [(said[:, 0], sides, len(YAWS)), (said[:, 1], ups, len(PITCHES))]
    return [(said[:, 0], codes, len(classes(task)))] if said.shape[1] == 1 else []


def right(answers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n,) 1 where the answer is right, 0 where not, the share of right labels for several; NaN where missing."""
    if codes.ndim == 1:
        return np.where(codes < 0, np.nan, answers == codes)
    known = ~np.isnan(codes)
    total = known.sum(1)
    return np.where(total > 0, ((answers == codes) & known).sum(1) / np.maximum(total, 1), np.nan)


def balanced(answers: np.ndarray, codes: np.ndarray) -> float:
    """The mean share of right answers over the classes that occur; for several labels the mean over labels."""
    if codes.ndim == 2:
        parts = [(a[known], c[known]) for a, c in zip(answers.T, codes.T, strict=True) if (known := ~np.isnan(c)).any()]
        return float(np.mean([_per_class(a, c) for a, c in parts]))
    return _per_class(answers[codes >= 0], codes[codes >= 0])


def _per_class(answers, codes) -> float:
    return float(np.mean([(answers[codes == c] == c).mean() for c in np.unique(codes)]))


def majority(codes: np.ndarray, of: np.ndarray) -> float:
    """The accuracy on `of` of always giving the answer most common in `codes`: what a read-out has to beat."""
    if codes.ndim == 2:
        guess = np.tile(2 * np.nansum(codes, 0) > (~np.isnan(codes)).sum(0), (len(of), 1)).astype(float)
    else:
        guess = np.full(len(of), np.bincount(codes[codes >= 0]).argmax())
    return float(np.nanmean(right(guess, of)))
