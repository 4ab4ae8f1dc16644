"""Faces from a folder of image files."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm import tqdm

from facelab.faces.faceset import FaceSet

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def from_folder(folder: str | Path, *, size: int = 128, files=None, progress: bool = True) -> FaceSet:
    """Every image below a folder, made square by black bars and resized to `size`; labels: `file`, relative to it.

    Each image should show one face, near its middle. Landmarks are unknown (NaN): `fl.nets.locate` finds them. files:
    these alone, relative to the folder, in this order. Rotation tags are obeyed; grey and 16-bit pictures become RGB.
    ValueError where there is no image, or one cannot be read (its name is given); FileNotFoundError without the folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (40, 30), 200).save(Path(folder) / "one.png")
    ...     from_folder(folder, size=32, progress=False).labels["file"].tolist()
    ['one.png']
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if files is None:
        found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
        files = [f.relative_to(folder).as_posix() for f in found]
    files = [str(f) for f in files]
    if not files:
        raise ValueError(f"{folder} has no image ({', '.join(ENDINGS)})")
    images = np.empty((len(files), 3, size, size), np.uint8)
    for i, name in enumerate(tqdm(files, desc=folder.name, unit="image", disable=not progress)):
        images[i] = _read(folder / name, size)
    landmarks = np.full((len(files), 5, 2), np.nan, np.float32)
    return FaceSet(folder.name, images, pd.DataFrame({"file": files}), landmarks)


def _read(file: Path, size: int) -> np.ndarray:
    """(3, size, size) uint8."""
    try:
        with Image.open(file) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits
                image = Image.fromarray((np.asarray(image) / 257).astype(np.uint8))
            if image.mode == "P" and "transparency" in image.info:  # or Pillow warns
                image = image.convert("RGBA")
            image = ImageOps.pad(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR, color=0)
            return np.array(image).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image ({error})") from error
