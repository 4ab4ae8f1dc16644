"""A face set of all faces in a folder of ordinary photos."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from facelab import cache, devices
from facelab.errors import number, whole
from facelab.faces.faceset import FaceSet
from facelab.faces.picture import ENDINGS, upright
from facelab.nets import mtcnn
from facelab.nets.detect import LONGEST, SMALLEST, THRESHOLDS, checked, pixels, search
from facelab.nets.sources import PROPOSALS, REFINEMENT, SOURCES

VERSION = 2  # raised when the same photo gives other faces, so that no stale ones are read
EDGES = ("left", "top", "right", "bottom")
NONE = "no face found"


@dataclass(frozen=True, eq=False)
class Found:
    """The faces of some photos.

    faces: square crops with landmarks in crop pixels; labels: file, face (its number in the photo, the largest 0),
    score (the probability of a face), and left, top, right, bottom of its box in pixels of the upright photo. photos: a
    row per file: file, width, height, faces (how many), problem ("" where there are faces).
    """

    faces: FaceSet
    photos: pd.DataFrame

    @property
    def undetected(self) -> pd.DataFrame:
        """The photos without a face. In a comparison with labels they count as wrong, or for a number as the middle of
        its range (`transfer.selection.with_missed`)."""
        return self.photos[self.photos["problem"] == NONE].reset_index(drop=True)

    @property
    def unreadable(self) -> pd.DataFrame:
        """The files that are no image, or only half of one; `problem` says what was wrong."""
        return self.photos[~self.photos["problem"].isin(["", NONE])].reset_index(drop=True)

    def table(self) -> pd.DataFrame:
        """A row per photo."""
        return self.photos.copy()


def faces_in(
    photos,
    *,
    size: int = 224,
    margin: float = 0.2,
    smallest: float = SMALLEST,
    thresholds: Sequence[float] = THRESHOLDS,
    most: int | None = None,
    device="auto",
    cached: bool = True,
    progress: bool = True,
) -> Found:
    """All faces of a folder of photos, of a file or of a list of files, each cut out as a square of `size` pixels.

    The square has the middle of the face's box and 1 + 2 · margin times its longer side; what lies outside the photo is
    black. It is cut from the photo as it is, even where the photo was shrunk to be searched. smallest, thresholds and
    most: see `detect`. A file that cannot be read is named in the result and does not stop the others.

    The faces of each photo are kept in the cache, under the photo's content and the settings: a second call, or one
    that goes on after an interruption, searches only what is new. cached=False keeps nothing.

    FileNotFoundError: no such folder or file. ValueError: a folder without an image file, an empty list, settings out
    of range. `FetchError` where the detector's weights cannot be had.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (80, 60), "grey").save(Path(folder) / "wall.png")
    ...     found = faces_in(folder, cached=False, progress=False, device="cpu")
    >>> len(found.faces), found.undetected["file"].tolist()
    (0, ['wall.png'])
    """
    checked(smallest, thresholds, most)
    whole("size", size, 32, "pixels")
    number("margin", margin)
    if not 0 <= margin <= 2:
        raise ValueError(f"margin {margin!r}: expected 0 to 2, a share of the box on every side")
    name, files = _files(photos)
    settings = {"size": int(size), "margin": float(margin), "smallest": float(smallest)}
    settings |= {"thresholds": [float(t) for t in thresholds], "most": most and int(most)}
    look = _Look(settings, devices.device(device), cached)
    parts, rows = [], []
    for label, file in tqdm(files.items(), desc=name, unit="photo", disable=not progress):
        try:
            part, (width, height) = look(file)
        except ValueError as error:
            rows.append({"file": label, "width": 0, "height": 0, "faces": 0, "problem": str(error)})
            continue
        n = len(part["scores"])
        problem = "" if n else NONE
        rows.append({"file": label, "width": width, "height": height, "faces": n, "problem": problem})
        parts.append((label, part))
    images = [np.zeros((0, 3, size, size), np.uint8), *(part["images"] for _, part in parts)]
    landmarks = [np.zeros((0, 5, 2), np.float32), *(part["landmarks"] for _, part in parts)]
    labels = [_labels(label, part) for label, part in parts]
    empty = pd.DataFrame({"file": [], "face": [], "score": [], **{edge: [] for edge in EDGES}})
    table = pd.concat(labels, ignore_index=True) if labels else empty
    return Found(FaceSet(name, np.concatenate(images), table, np.concatenate(landmarks)), pd.DataFrame(rows))


def _labels(label: str, part: dict[str, np.ndarray]) -> pd.DataFrame:
    n = len(part["scores"])
    table = pd.DataFrame({"file": [label] * n, "face": np.arange(n), "score": part["scores"].astype(float)})
    return table.assign(**dict(zip(EDGES, part["boxes"].astype(float).T, strict=True)))


def _files(photos) -> tuple[str, dict[str, Path]]:
    """A name for the set, and the files by what they are called in its table."""
    if isinstance(photos, (str, Path)):
        path = Path(photos).expanduser()
        if not path.is_dir():
            photos = [path]
        else:
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
            if not found:
                raise ValueError(f"{path} has no image ({', '.join(ENDINGS)})")
            return path.resolve().name, {f.relative_to(path).as_posix(): f for f in found}
    if not isinstance(photos, (list, tuple)):
        raise TypeError(f"{type(photos).__name__}: expected a folder, a file or a list of files")
    files = {str(f): Path(f).expanduser() for f in photos}
    if not files:
        raise ValueError("no photo to look for faces in")
    for file in files.values():
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    return "photos", files


class _Look:
    """The faces of one file after the other, by networks that are loaded when the first new one comes."""

    def __init__(self, settings: dict, device: torch.device, cached: bool):
        self.settings, self.device, self.cached, self.nets = settings, device, cached, None
        self.depends = settings | {"version": VERSION, "longest": LONGEST, "device": device.type}
        self.depends["weights"] = [source.sha256 for source in (PROPOSALS, REFINEMENT, SOURCES["landmarks"])]

    def __call__(self, file: Path) -> tuple[dict[str, np.ndarray], tuple[int, int]]:
        """images, landmarks (in crop pixels), boxes and scores of a photo, and its width and height."""
        if not self.cached:
            return self.search(file)
        try:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror})") from error
        depends = {"content": content, **self.depends}

        def fill(folder: Path) -> None:
            arrays, shape = self.search(file)
            cache.write_tensors(folder / "faces.safetensors", arrays, {"shape": shape})

        entry = cache.build(cache.path("photos", content[:8], **depends), fill, about=depends)
        arrays, about = cache.read_tensors(entry / "faces.safetensors")
        return arrays, tuple(about["shape"])

    def search(self, file: Path) -> tuple[dict[str, np.ndarray], tuple[int, int]]:
        image = upright(file)
        if self.nets is None:
            self.nets = mtcnn.load(self.device)
        size, margin = self.settings["size"], self.settings["margin"]
        how = (self.settings[name] for name in ("smallest", "thresholds", "most"))
        boxes, scores, points = search(self.nets, pixels(image), *how)
        images, landmarks = np.zeros((len(boxes), 3, size, size), np.uint8), np.zeros_like(points)
        for i, box in enumerate(boxes.astype(float)):
            side = (1 + 2 * margin) * (box[2:] - box[:2]).max()
            corner = (box[:2] + box[2:] - side) / 2
            images[i] = crop(image, corner, side, size)
            landmarks[i] = (points[i] + 0.5 - corner) * size / side - 0.5
        return {"images": images, "landmarks": landmarks, "boxes": boxes, "scores": scores}, image.size


def crop(image: Image.Image, corner, side: float, size: int) -> np.ndarray:
    """uint8 (3, size, size): the square of `side` pixels from `corner` (x, y) on, black outside the picture.

    >>> crop(Image.new("RGB", (4, 4), "white"), (-2, 0), 4, 4)[0, 0].tolist()
    [0, 0, 255, 255]
    """
    low, high = np.floor(corner).astype(int), np.ceil(np.add(corner, side)).astype(int)
    inside = image.crop((*low.tolist(), *high.tolist()))  # of whole pixels
    (x, y), (right, bottom) = np.subtract(corner, low), np.minimum(np.add(corner, side) - low, high - low)
    square = inside.resize((size, size), Image.Resampling.BILINEAR, box=(x, y, right, bottom))
    return np.asarray(square).transpose(2, 0, 1)
