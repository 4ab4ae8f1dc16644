"""Faces anywhere in ordinary photos: boxes, how sure, and five landmarks.

The detector is MTCNN's cascade (`mtcnn`). Its networks come out of the package of the source `landmarks`: it needs no
further dependency and has the same licence (MIT); once fetched it runs offline, and every box brings the landmarks by
which all networks here align. Others lack one of these: dlib's frontal detector gives no landmarks and misses turned
heads, InsightFace's weights are for non-commercial research and are downloaded at first use, MediaPipe's six points are
others and bring a runtime of their own.

Photos are searched one at a time: they differ in size, and padded to one they would not give the same boxes. What can
be stacked is: all candidates of a photo go through R-Net and O-Net together. What is found and missed, by pose, gender,
ethnic group and age band, is measured by `python tests/benchmarks/bench_detect.py`; the numbers are in
reports/reference/benchmarks/detect.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional as F

from facelab import devices
from facelab.errors import number, whole
from facelab.faces.picture import coloured, upright
from facelab.nets import mtcnn

LONGEST = 2048  # px; larger photos are shrunk to this before they are searched
SMALLEST = 24  # px
THRESHOLDS = (0.6, 0.7, 0.7)


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of n photos, the largest first.

    photos: their names. boxes: per photo (k, 4) float32, left, top, right and bottom edge in pixels, (0, 0) the
    top-left corner of the photo. scores: per photo (k,), the probability of a face. landmarks: per photo (k, 5, 2), in
    the order and convention of `FaceSet.landmarks`.
    """

    photos: tuple[str, ...]
    boxes: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]
    landmarks: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def counts(self) -> np.ndarray:
        """(n,) how many faces each photo has."""
        return np.array([len(found) for found in self.scores], int)

    def table(self) -> pd.DataFrame:
        """A row per face: photo, face (its number in the photo), score, left, top, right, bottom."""
        numbers = [i for found in self.scores for i in range(len(found))]
        edges = np.concatenate([np.zeros((0, 4), np.float32), *self.boxes])
        table = pd.DataFrame({"photo": np.repeat(np.array(self.photos, object), self.counts), "face": numbers})
        table["score"] = np.concatenate([np.zeros(0, np.float32), *self.scores])
        return table.assign(**dict(zip(("left", "top", "right", "bottom"), edges.T, strict=True)))


def detect(
    photos,
    *,
    smallest: float = SMALLEST,
    thresholds: Sequence[float] = THRESHOLDS,
    most: int | None = None,
    device="auto",
) -> Detections:
    """Every face of a photo, or of several.

    photos: one or a list of: the path of an image file (rotation tags are obeyed), a Pillow image, uint8 RGB (3, h, w);
    or uint8 (n, 3, h, w), such as the images of a face set. smallest: side in pixels of the smallest face that is
    looked for; half of it takes about four times as long. A photo whose longer side has more than 2,048 px is first
    shrunk to that, and `smallest` counts in the shrunk one; boxes and landmarks are always those of the photo given.
    thresholds: the probability of a face that a box needs in P-Net, R-Net and O-Net. most: at most so many faces of a
    photo, the largest.

    Each photo is searched by itself: it gives the same faces alone and among others. ValueError: no photo, a file that
    cannot be read as an image, another array, settings out of range. TypeError: what is no photo. `FetchError` where
    the weights cannot be had.

    >>> found = detect(np.full((3, 60, 80), 128, np.uint8), device="cpu")  # plain grey
    >>> found.counts.tolist(), found.table().columns.tolist()
    ([0], ['photo', 'face', 'score', 'left', 'top', 'right', 'bottom'])
    """
    checked(smallest, thresholds, most)
    several = _several(photos)
    nets = mtcnn.load(devices.device(device))
    names = [str(p) if isinstance(p, (str, Path)) else f"photo {i}" for i, p in enumerate(several)]
    found = [search(nets, pixels(p), smallest, thresholds, most) for p in several]
    return Detections(tuple(names), *map(tuple, zip(*found, strict=True)))


def checked(smallest, thresholds, most) -> None:
    """TypeError or ValueError for settings of another kind or out of range."""
    number("smallest", smallest)
    if not 12 <= smallest < float("inf"):
        raise ValueError(f"smallest {smallest!r}: expected at least 12 pixels, what the first network sees of a face")
    if np.shape(thresholds) != (3,):
        raise ValueError(f"thresholds {thresholds!r}: expected three probabilities, of P-Net, R-Net and O-Net")
    for value in thresholds:
        number("threshold", value)
        if not 0 < value < 1:
            raise ValueError(f"threshold {value!r}: expected a probability between 0 and 1")
    if most is not None:
        whole("most", most, 1, "face")


def search(nets: mtcnn.Cascade, rgb: np.ndarray, smallest, thresholds, most) -> tuple[np.ndarray, ...]:
    """Boxes, scores and landmarks of the faces in one photo (3, h, w), float32, the largest first."""
    photo = torch.from_numpy(rgb).to(nets.device).float()
    h, w = photo.shape[1:]
    scale = max(1, max(h, w) / LONGEST)
    if scale > 1:
        shape = max(1, round(h / scale)), max(1, round(w / scale))
        photo = F.interpolate(photo[None], shape, mode="bilinear", antialias=True)[0]
    boxes, sure, points = mtcnn.find(nets, photo, smallest, thresholds)
    back = boxes.new_tensor([w / photo.shape[2], h / photo.shape[1]])
    boxes, points = boxes * back.repeat(2), (points + 0.5) * back - 0.5
    order = (boxes[:, 2:] - boxes[:, :2]).prod(1).argsort(descending=True, stable=True)[:most]
    return tuple(found[order].cpu().numpy() for found in (boxes, sure, points))


def pixels(photo) -> np.ndarray:
    """uint8 (3, h, w) of anything that `detect` takes for a photo."""
    if isinstance(photo, (str, Path)):
        photo = upright(Path(photo).expanduser())
    if isinstance(photo, Image.Image):
        return np.ascontiguousarray(np.asarray(coloured(photo)).transpose(2, 0, 1))
    if not isinstance(photo, (np.ndarray, torch.Tensor)):
        raise TypeError(f"{type(photo).__name__} is no photo: expected a path, a Pillow image or uint8 RGB (3, h, w)")
    photo = np.asarray(photo.cpu() if isinstance(photo, torch.Tensor) else photo)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[0] != 3 or photo.size == 0:
        turned = photo.ndim == 3 and photo.shape[2] == 3
        hint = ": give photo.transpose(2, 0, 1)" if turned and photo.dtype == np.uint8 else ""
        raise ValueError(f"a photo of {photo.dtype} {photo.shape}: expected uint8 RGB (3, h, w){hint}")
    return np.array(photo)


def _several(photos) -> list:
    if isinstance(photos, (np.ndarray, torch.Tensor)):
        photos = list(photos) if photos.ndim == 4 else [photos]
    if isinstance(photos, (str, Path, Image.Image)):
        photos = [photos]
    if not isinstance(photos, (list, tuple)):
        raise TypeError(f"{type(photos).__name__} is no photo and no list of photos: see fl.nets.detect")
    if not photos:
        raise ValueError("no photo to look for faces in")
    return list(photos)
