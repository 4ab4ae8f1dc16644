"""Which way faces are turned, by their landmarks alone: the check on the sign of any yaw label."""

import numpy as np
from scipy.stats import spearmanr

from facelab.errors import lacking
from facelab.faces.faceset import FaceSet


def turn(faces: FaceSet) -> np.ndarray:
    """(n,) how far the nose is beside the line from the middle of the eyes to that of the mouth, in lengths of that
    line; NaN without landmarks.

    With d = mouth − eyes, turn = ((nose − eyes) × d) / |d|²: about 0 for a frontal face, + where the nose is to the
    image's right, that is where the subject turns to their own left, as yaw is counted here. A mirror image has the
    opposite turn. Unlike the distance of the eyes, d does not shrink as a head turns, so profiles count as well.

    >>> import pandas as pd
    >>> points = np.array([[[10, 20], [30, 20], [25, 30], [12, 40], [28, 40]]], np.float32)
    >>> faces = FaceSet("one", np.zeros((1, 3, 50, 50), np.uint8), pd.DataFrame(index=[0]), points)
    >>> turn(faces).tolist(), turn(faces.flip()).tolist()
    ([0.25], [-0.25])
    """
    points = faces.landmarks.astype(float)
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    (x, y), (down_x, down_y) = (points[:, 2] - eyes).T, (mouth - eyes).T
    length = down_x**2 + down_y**2
    return np.divide(x * down_y - y * down_x, length, out=np.full(len(faces), np.nan), where=length > 0)


def turn_sign(faces: FaceSet, label: str) -> int:
    """1 where a column of angles grows with `turn`, as yaw does here, −1 where it counts the other way.

    By the rank correlation over all faces with both. ValueError where the faces do not decide it: no such column, fewer
    than 10 of them, or a correlation below 0.5 either way.

    >>> import pandas as pd
    >>> points = np.zeros((21, 5, 2), np.float32)
    >>> points[:, 2, 0], points[:, 3:, 1] = np.arange(21), 20
    >>> labels = pd.DataFrame({"pan": np.arange(50, -55, -5)})
    >>> turn_sign(FaceSet("swept", np.zeros((21, 3, 8, 8), np.uint8), labels, points), "pan")
    -1
    """
    if label not in faces.labels:
        raise lacking(f"face set {faces.name!r} lacks the label", [label], faces.labels)
    turned, angles = turn(faces), faces.labels[label].to_numpy(float)
    both = np.isfinite(turned) & np.isfinite(angles)
    if both.sum() < 10 or np.ptp(angles[both]) == 0:
        raise ValueError(f"{both.sum()} faces of {faces.name!r} have landmarks and a {label}: expected 10 that differ")
    rank = spearmanr(turned[both], angles[both])[0]
    if not abs(rank) >= 0.5:
        raise ValueError(f"{label} of {faces.name!r} does not follow the landmarks: rank correlation {rank:.2f}")
    return 1 if rank > 0 else -1
