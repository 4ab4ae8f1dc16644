"""What the student reads in a face: linear heads on its code, for age, gender and expression.

The student that comes with facelab gives a code and no label. These heads are a ridge regression (age) and logistic
regressions (gender, expression) on the code of rendered faces, whose labels are exact and whose people the student was
not taught on; landmarks are those of the detector, as faces in photos have them.

    facelab train-heads [--photos FOLDER]
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from facelab import cache, tasks
from facelab.faces.faceset import FaceSet
from facelab.nets.load import load
from facelab.nets.pose import seen

FILE = Path(__file__).with_name("weights") / "student-heads.safetensors"
TASKS = ("age", "gender", "expression")
STRENGTHS = np.logspace(-4, 0, 5)  # C of the logistic regressions, chosen over three folds
LEAST = 30  # faces of a group that is scored by itself
PENALTIES = np.logspace(0, 6, 13)  # of the ridge, chosen by leaving one face out


def read(file: str | Path = FILE) -> tuple[dict[str, np.ndarray], dict]:
    """The heads, TASK.weight (k, d) and TASK.bias (k,), and where they come from: command, data, seed, metrics."""
    return cache.read_tensors(Path(file))


def said(codes: np.ndarray, layers: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """What the heads say of codes (n, d): age (n,) years, gender (n, 2) and expression (n, 7) probabilities of the
    task's classes. layers: by default those that come with facelab. ValueError: codes of another width.

    >>> {task: out.shape for task, out in said(np.zeros((2, 373))).items()}
    {'age': (2,), 'gender': (2, 2), 'expression': (2, 7)}
    """
    layers, codes = read()[0] if layers is None else layers, np.asarray(codes, np.float64)
    width = layers["age.weight"].shape[1]
    if codes.ndim != 2 or codes.shape[1] != width:
        raise ValueError(f"codes of shape {codes.shape}: expected (n, {width}), as the student gives them")
    out = {task: codes @ layers[f"{task}.weight"].T + layers[f"{task}.bias"] for task in TASKS}
    return {"age": np.maximum(out["age"][:, 0], 0)} | {task: softmax(out[task], 1) for task in TASKS[1:]}


def learn(faces: FaceSet, *, seed: int = 0, device="auto") -> tuple[dict[str, np.ndarray], dict]:
    """The heads fitted to three quarters of the people, and how they do on the others (`measured`). Only faces that the
    detector finds count."""
    train, test = seen(faces, device=device).parts((0.75, 0.25), seed=seed)
    codes, layers = load("student", device=device).embed(train), {}
    for task in TASKS:
        true = tasks.get(task).encode(train.labels)
        scaler = StandardScaler().fit(codes)
        if task == "age":
            fitted = RidgeCV(PENALTIES).fit(scaler.transform(codes), true)
        else:  # people are not kept apart in these folds: they choose one number
            search = GridSearchCV(LogisticRegression(max_iter=500), {"C": STRENGTHS}, cv=3)
            fitted = search.fit(scaler.transform(codes), true).best_estimator_
        weight, bias = np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)
        if task == "gender":  # one line for two classes: the first one's is 0
            weight, bias = np.vstack([0 * weight, weight]), np.concatenate([0 * bias, bias])
        weight = weight / scaler.scale_
        layers[f"{task}.weight"] = weight.astype(np.float32)
        layers[f"{task}.bias"] = (bias - weight @ scaler.mean_).astype(np.float32)
    return layers, measured(test, layers, device=device)


def measured(faces: FaceSet, layers: dict[str, np.ndarray], *, device="auto") -> dict:
    """How the heads do on faces, for the tasks these are labelled for: mean absolute error in years, and accuracy; each
    beside the best guess that looks at no face. Of all, and of each gender and ethnic group of at least `LEAST`."""
    told = said(load("student", device=device).embed(faces), layers)
    row = _scores(told, faces.labels)
    for by in (by for by in ("gender", "ethnicity") if by in faces.labels):
        for group, rows in sorted(faces.labels.groupby(by).indices.items()):
            if len(rows) >= LEAST:
                row[f"{by}: {group}"] = _scores(
                    {task: out[rows] for task, out in told.items()}, faces.labels.iloc[rows]
                )
    return row


def _scores(told: dict[str, np.ndarray], labels: pd.DataFrame) -> dict:
    row = {"faces": len(labels)}
    for task in (task for task in TASKS if task in labels and labels[task].notna().any()):
        true = tasks.get(task).encode(labels)
        if task == "age":
            known = np.isfinite(true)
            row["age, years off"] = round(float(np.abs(told[task] - true)[known].mean()), 2)
            row["age, always the median"] = round(float(np.abs(true - np.nanmedian(true))[known].mean()), 2)
        else:
            known = true >= 0
            row[f"{task}, share right"] = round(float((told[task].argmax(1) == true)[known].mean()), 3)
            row[f"{task}, always the commonest"] = round(float(np.bincount(true[known]).max() / known.sum()), 3)
    return row
