"""Faces from a folder of image files."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from facelab.errors import whole
from facelab.faces import picture
from facelab.faces.faceset import FaceSet
from facelab.faces.picture import ENDINGS
from facelab.faces.report import Report

log = logging.getLogger(__name__)


def listed(folder: str | Path) -> list[str]:
    """Every image file below a folder, relative to it, in order. FileNotFoundError without the folder; ValueError where
    there is no image."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    if not found:
        raise ValueError(f"{folder} has no image ({', '.join(ENDINGS)})")
    return [f.relative_to(folder).as_posix() for f in found]


def from_folder(
    folder: str | Path, *, size: int = 128, files=None, broken: str = "error", progress: bool = True
) -> FaceSet:
    """Every image below a folder, made square by black bars and resized to `size`; labels: `file`, relative to it.

    Each image should show one face, near its middle. Landmarks are unknown (NaN): `fl.nets.locate` finds them. files:
    these alone, relative to the folder, in this order. broken="skip" leaves out what cannot be read and counts it in
    `report`. Rotation tags are obeyed; grey, 16-bit and CMYK pictures become RGB.
    ValueError where there is no image, or one cannot be read (its name is given); FileNotFoundError without the folder.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (40, 30), 200).save(Path(folder) / "one.png")
    ...     from_folder(folder, size=32, progress=False).labels["file"].tolist()
    ['one.png']
    """
    whole("size", size, 8)
    folder = Path(folder).expanduser()
    files = listed(folder) if files is None or not folder.is_dir() else [str(f) for f in files]
    if not files:
        raise ValueError(f"{folder} has no image ({', '.join(ENDINGS)})")
    images, kept, skipped = np.empty((len(files), 3, size, size), np.uint8), [], []
    how = {"broken": broken, "chunk": picture.chunk(size), "progress": progress, "name": folder.name}
    for name, result in picture.read_all(files, lambda name: picture.read(folder / name, size)[0], **how):
        if isinstance(result, ValueError):
            skipped.append((name, "cannot be read as an image"))
        else:
            images[len(kept)] = result
            kept.append(name)
    if not kept:
        raise ValueError(f"none of the {len(files)} images of {folder} can be read")
    report = Report(folder.name, len(kept), tuple(skipped))
    report.tell(log)
    landmarks = np.full((len(kept), 5, 2), np.nan, np.float32)
    return FaceSet(folder.name, images[: len(kept)], pd.DataFrame({"file": kept}), landmarks, report)
