"""Which way faces are turned, by their landmarks alone: the check on the sign of any yaw label."""

import numpy as np

from facelab.faces.faceset import FaceSet


def turn(faces: FaceSet) -> np.ndarray:
    """(n,) how far the nose is from the middle of the eyes, in eye distances along the line of the eyes; NaN without
    landmarks.

    turn = (nose − (left + right) / 2) · (right − left) / |right − left|²: about 0 for a frontal face, + where the nose
    is to the image's right, that is where the subject turns to their own left, as yaw is counted here. A mirror image
    has the opposite turn.

    >>> import pandas as pd
    >>> points = np.array([[[10, 20], [30, 20], [25, 30], [12, 40], [28, 40]]], np.float32)
    >>> faces = FaceSet("one", np.zeros((1, 3, 50, 50), np.uint8), pd.DataFrame(index=[0]), points)
    >>> turn(faces).tolist(), turn(faces.flip()).tolist()
    ([0.25], [-0.25])
    """
    left, right, nose = faces.landmarks[:, :3].astype(float).transpose(1, 0, 2)
    across = right - left
    length = (across**2).sum(1)
    along = ((nose - (left + right) / 2) * across).sum(1)
    return np.divide(along, length, out=np.full(len(faces), np.nan), where=length > 0)
