import numpy as np
import pandas as pd
import pytest

from facelab.faces.faceset import FaceSet


def _formula(size: int, n: int) -> np.ndarray:
    """uint8 (n, 3, size, size): pictures that integer arithmetic alone defines."""
    i, y, x = np.indices((n, size, size))
    red = (x * 7 + y * 3 + 40 * i) % 256
    green = (x * x // 17 + y * (5 + i)) % 256
    blue = (abs(x - size // 2) * 3 + abs(y - size // 2 + 5) * 2 + 9 * i) % 256
    return np.stack([red, green, blue], 1).astype(np.uint8)


@pytest.fixture
def formula():
    return _formula


@pytest.fixture
def pictures():
    """Five pictures of 96 × 96 with landmarks where a face would have them, slightly different ones each."""
    eyes = np.array([[34.0, 40], [62, 41], [48, 57], [37, 70], [60, 70]])
    landmarks = np.stack([eyes + 2 * np.sin(np.arange(10) + i).reshape(5, 2) for i in range(5)])
    labels = pd.DataFrame({"identity": list("abcde")})
    return FaceSet("pictures", _formula(96, 5), labels, landmarks.astype(np.float32))
