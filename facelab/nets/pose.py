"""Where a head is turned, read from its five landmarks.

Roll is the turn of the line through the eyes. Yaw and pitch are linear in where the landmarks lie once the face is
turned upright, put in the middle and scaled to unit size: a ridge regression, learned on rendered heads (whose angles
are exact) and their mirror images, so that left and right are read alike, with the landmarks of the detector, as faces
in photos have them. Pitch is read far less well than yaw: a short face may be one that looks down.

    facelab train-pose [--mtfl FOLDER]
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV

from facelab import cache
from facelab.faces.faceset import FaceSet
from facelab.nets.detect import detect

FILE = Path(__file__).with_name("weights") / "pose.safetensors"
ANGLES = ("yaw", "pitch")
STRENGTHS = np.logspace(-6, 2, 17)  # of the ridge, chosen by leaving one picture out


def read(file: str | Path = FILE) -> tuple[dict[str, np.ndarray], dict]:
    """The layer, weight (2, 10) and bias (2,), and where it comes from: command, data, seed, metrics."""
    return cache.read_tensors(Path(file))


def angles(landmarks: np.ndarray, layer: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """(n, 3): yaw, pitch and roll in degrees of faces with landmarks (n, 5, 2), NaN where they are unknown.

    layer: weight and bias, by default those that come with facelab.

    >>> frontal = np.array([[[-1.0, 0.0], [1.0, 0.0], [0.0, 1.2], [-0.8, 2.2], [0.8, 2.2]]])
    >>> turned = frontal + [[0, 0], [0, 0], [0.5, 0], [0, 0], [0, 0]]  # the nose further to the image's right
    >>> bool(angles(turned)[0, 0] > angles(frontal)[0, 0] + 10)
    True
    """
    layer = read()[0] if layer is None else layer
    said = shape(landmarks) @ layer["weight"].T + layer["bias"]
    return np.concatenate([said, np.degrees(roll(landmarks))[:, None]], 1)


def roll(landmarks: np.ndarray) -> np.ndarray:
    """(n,) radians by which the line through the eyes is turned, + clockwise in the image.

    >>> roll(np.array([[[0.0, 0.0], [0.0, 2.0], [0, 0], [0, 0], [0, 0]]])).round(2).tolist()
    [1.57]
    """
    x, y = (landmarks[:, 1] - landmarks[:, 0]).T.astype(float)
    return np.arctan2(y, x)


def shape(landmarks: np.ndarray) -> np.ndarray:
    """(n, 10): x of the five landmarks, then y, of the face turned upright, its middle at 0 and Σ x² + y² = 1.

    >>> face = np.array([[[0.0, 0.0], [2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [2.0, 2.0]]])
    >>> np.allclose(shape(face), shape(3 * face + 7))
    True
    """
    points = landmarks.astype(float)
    x, y = np.moveaxis(points - points.mean(1, keepdims=True), 2, 0)  # (n, 5) each
    cos, sin = np.cos(roll(landmarks))[:, None], np.sin(roll(landmarks))[:, None]
    upright = np.concatenate([cos * x + sin * y, cos * y - sin * x], 1)
    return upright / np.linalg.norm(upright, axis=1, keepdims=True)


def learn(faces: FaceSet, *, seed: int = 0, device="auto") -> tuple[dict[str, np.ndarray], dict]:
    """The layer fitted to three quarters of the people and their mirror images, and how it does on the others: faces,
    the mean absolute error of yaw and pitch in degrees, and that of always saying the median. Only faces that the
    detector finds count."""
    train, test = seen(faces, device=device).parts((0.75, 0.25), seed=seed)
    both = [train, train.flip()]
    true = np.concatenate([part.labels[list(ANGLES)].to_numpy(float) for part in both])
    held = test.labels[list(ANGLES)].to_numpy(float)
    ridge = RidgeCV(STRENGTHS).fit(np.concatenate([shape(part.landmarks) for part in both]), true)
    layer = {"weight": ridge.coef_.astype(np.float32), "bias": ridge.intercept_.astype(np.float32)}
    off = np.abs(angles(test.landmarks, layer)[:, :2] - held).mean(0)
    guess = np.abs(np.median(true, 0) - held).mean(0)
    row = {"faces": len(test)}
    for i, angle in enumerate(ANGLES):
        row |= {angle: round(float(off[i]), 2), f"{angle}, always the median": round(float(guess[i]), 2)}
    return layer, row


def classes(faces: FaceSet, layer: dict[str, np.ndarray], *, device="auto") -> dict:
    """What is said of faces whose yaw is known as one of a few classes: per class how many the detector found, the mean
    yaw and its standard deviation, in degrees."""
    found = seen(faces, device=device)
    said, true = angles(found.landmarks, layer)[:, 0], found.labels["yaw"].to_numpy(float)
    rows = {}
    for value in np.unique(true):
        own = said[true == value]
        rows[f"{value:g}"] = {"faces": len(own), "mean": round(own.mean(), 1), "deviation": round(own.std(), 1)}
    return rows


def seen(faces: FaceSet, *, device="auto") -> FaceSet:
    """The faces that the detector finds where they are, with its landmarks."""
    side = faces.images.shape[3]
    parts = [
        detect(np.array(faces.images[i : i + 64]), smallest=max(12, 0.3 * side), most=1, device=device).landmarks
        for i in range(0, len(faces), 64)
    ]
    points = [found[0] if len(found) else np.full((5, 2), np.nan, np.float32) for part in parts for found in part]
    off = np.linalg.norm(np.mean(points, 1) - faces.landmarks.mean(1), axis=1)
    rows = np.flatnonzero(off < 0.15 * side)
    return replace(faces[rows], landmarks=np.array(points, np.float32)[rows])
