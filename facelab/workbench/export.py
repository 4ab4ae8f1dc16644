"""A face set as a folder of pictures and a table: what other programs read."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from facelab import cache
from facelab.faces import presets
from facelab.workbench import folders, runs

COMMAND = "facelab faces render"
_OWN = re.compile(r"\d{5,}\.(png|partial)|\.?labels\.csv.*")


def check(out: Path) -> None:
    """ValueError where `out` is a file, or a folder that is no earlier export or holds other things: nothing is mixed,
    and nobody's pictures go."""
    folders.check(out, COMMAND, _OWN, alone=True)


def write(faces, out: Path) -> int:
    """Images as PNG; labels.csv, written last, has a row per image: its file, its labels, its landmarks in pixels.

    Every file is whole or not there. An interrupted export is taken up where it stopped: a picture that is there with
    the right pixels is kept, pictures of a larger earlier export go. Returns how many pictures were written.
    """
    check(out)
    folders.claim(out, COMMAND)
    files, written = [f"{i:05d}.png" for i in range(len(faces))], 0
    (out / "labels.csv").unlink(missing_ok=True)
    for stale in {f.name for f in out.iterdir()} - {*files, folders.MARK}:
        (out / stale).unlink()
    for file, image in zip(files, faces.images, strict=True):
        pixels = image.transpose(1, 2, 0)
        if not _shows(out / file, pixels):
            _replace(out / file, pixels)
            written += 1
    points = {f"landmark_{k}_{axis}": faces.landmarks[:, k, j] for k in range(5) for j, axis in enumerate("xy")}
    labels = faces.labels.rename(columns={"file": "source_file"})  # of a set that was read from files
    table = pd.concat([pd.Series(files, name="file"), labels, pd.DataFrame(points)], axis=1)
    cache.write_text(out / "labels.csv", table.to_csv(index=False))
    return written


def plan(preset: str, size: int, **options) -> str:
    """What rendering a preset takes: images, bytes in the cache, and minutes at the pace that was measured on two cores
    with 128 pixels a side, where the preset's is in the reference. ValueError as `faces.load`.

    >>> plan("rendered/wild", 32, people=10).partition(";")[0]
    'rendered/wild: 30 images of 32 × 32, 92,160 bytes'
    """
    images = presets.images(preset, **options)
    size = presets.whole("size", size, 32, 1024)
    return f"{preset}: {images:,} images of {size} × {size}, {3 * size**2 * images:,} bytes; {_minutes(preset, images)}"


def _minutes(preset: str, images: int) -> str:
    if (known := minutes(preset, images)) is None:
        return "minutes not known"
    return f"about {known:.1f} minutes on two cores at 128 pixels"


def minutes(preset: str, images: int) -> float | None:
    """What so many pictures take on two cores with 128 pixels a side; None where the preset was never timed."""
    try:
        file = runs.root() / "reports" / "reference" / "benchmarks" / "render.json"
        rows = json.loads(file.read_text(encoding="utf-8"))["presets"]
        (pace,) = [row["median"] for row in rows if row["preset"] == preset]
    except (ValueError, OSError):
        return None
    return images / pace / 60


def whole(option: str, value: str) -> int:
    """The whole number that was typed; ValueError otherwise.

    >>> whole("frames", "4")
    4
    """
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"--set {option}={value}: expected a whole number") from None


def _shows(file: Path, pixels: np.ndarray) -> bool:
    if not file.is_file():
        return False
    try:
        with Image.open(file) as there:
            return np.array_equal(np.asarray(there.convert("RGB")), pixels)
    except (OSError, SyntaxError):  # no picture, or half of one
        return False


def _replace(file: Path, pixels: np.ndarray) -> None:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    partial = file.with_suffix(".partial")
    partial.write_bytes(encoded.getvalue())
    partial.replace(file)
