"""How well a route does its task: the scores of what it says of held-out faces."""

import numpy as np

from facelab import tasks
from facelab.faces.faceset import FaceSet


def goodness(task: str, scores: dict) -> float:
    """The score that a route should keep: accuracy, or, of numbers without classes, R²."""
    return scores["accuracy"] if "accuracy" in scores else scores["r2"]


def score(task: str, said: np.ndarray, faces: FaceSet, rows) -> dict:
    """How good predictions (as `Fit.predict` gives them) are on the faces at `rows`."""
    about, truth = tasks.get(task), tasks.get(task).encode(faces.labels.iloc[rows])
    if about.kind == "classes":
        right, known = said.argmax(1) == truth, truth >= 0
        each = [right[truth == c].mean() for c in np.unique(truth[known])]
        return {"accuracy": float(right[known].mean()), "balanced accuracy": float(np.mean(each))}
    known = np.isfinite(truth)
    error = (said - truth)[known]
    found = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt(np.square(error).mean()))}
    found["r2"] = 1 - float(np.square(error).sum() / np.square(truth[known] - truth[known].mean()).sum())
    if task == "age":
        found["accuracy"] = float((decade(said) == decade(truth))[known].mean())
    return found


def decade(age: np.ndarray) -> np.ndarray:
    """Ages as the papers class them: 0 for 0–9 years, 1 for 10–19 …, 9 from 90 on."""
    return np.clip(np.floor(age / 10), 0, 9)


def per_face(task: str, said: np.ndarray, faces: FaceSet, rows) -> np.ndarray:
    """(n,) what each face adds to the score: 1 where right, else 0; of numbers without classes the share of variance
    that is explained. NaN where the label is missing."""
    truth = tasks.get(task).encode(faces.labels.iloc[rows])
    if tasks.get(task).kind == "classes":
        return np.where(truth >= 0, said.argmax(1) == truth, np.nan)
    if task == "age":
        return np.where(np.isfinite(truth), decade(said) == decade(truth), np.nan)
    return 1 - np.square(said - truth) / np.nanmean(np.square(truth - np.nanmean(truth)))


def guessed(task: str, faces: FaceSet, rows) -> float:
    """The score of the best answer that looks at no face: the share of the commonest class (age: decade); of numbers
    without classes 0, the R² of their mean."""
    truth = tasks.get(task).encode(faces.labels.iloc[rows])
    if tasks.get(task).kind != "classes" and task != "age":
        return 0.0
    known = truth[truth >= 0] if task != "age" else decade(truth[np.isfinite(truth)])
    return float(np.unique(known, return_counts=True)[1].max() / len(known))


def unscaled_per_face(task: str, said: np.ndarray, faces: FaceSet, rows) -> np.ndarray:
    """(n,) of classes what `per_face` says, of numbers the absolute error in the task's unit."""
    if tasks.get(task).kind == "classes":
        return per_face(task, said, faces, rows)
    return np.abs(said - tasks.get(task).encode(faces.labels.iloc[rows]))
