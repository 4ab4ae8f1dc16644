"""One picture file made square: upright, eight bits of red, green and blue, and where each of its points went."""

import struct
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps
from tqdm import tqdm

from facelab.errors import unknown

READ = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")
UNREAD = (".heic", ".heif", ".dng", ".nef", ".cr2", ".arw")  # pictures all the same: named, and not passed over
ENDINGS = READ + UNREAD
_ORIENTATION = 0x0112  # EXIF tag: how the stored pixels are to be turned
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def read(file: str | Path, size: int, points=None, box=None) -> tuple[np.ndarray, np.ndarray]:
    """A picture made square by black bars and resized, (3, size, size) uint8, and its points there, (k, 2) float32.

    points: (k, 2) pixels (x, y) of the picture as it is stored. box: (left, top, right, bottom), the part to take, also
    in stored pixels; black where it leaves the picture. Rotation tags are obeyed, points and box with them; grey,
    16-bit, CMYK, palette and transparent pictures become RGB. ValueError names a file that cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (40, 20), 200).save(f"{folder}/one.png")
    ...     image, points = read(f"{folder}/one.png", 20, points=[(19.5, 9.5)])
    >>> image.shape, image[0, :, 10].tolist()[3:7], points.tolist()
    ((3, 20, 20), [0, 0, 200, 200], [[9.5, 9.5]])
    """
    image, turned = _open(file)
    points = np.full((0, 2), np.nan) if points is None else np.asarray(points, float)
    points = _turn(points, turned, image.size)
    if box is not None:
        corners = _turn(np.reshape(np.asarray(box, float) - 0.5, (2, 2)), turned, image.size) + 0.5
        (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        if right <= left or bottom <= top:
            raise ValueError(f"{file}: the box {tuple(box)} of its face is empty")
        image, points = image.crop((left, top, right, bottom)), points - (left, top)
    fitted = ImageOps.contain(image, (size, size), Image.Resampling.BILINEAR)
    at = [round((size - side) / 2) for side in fitted.size]
    square = Image.new("RGB", (size, size))
    square.paste(fitted, tuple(at))
    scale = np.divide(fitted.size, image.size)
    return np.array(square).transpose(2, 0, 1), ((points + 0.5) * scale - 0.5 + at).astype(np.float32)


def upright(file: str | Path) -> Image.Image:
    """A whole picture in red, green and blue, turned as its rotation tag says. ValueError names a file that cannot be
    read."""
    return _open(file)[0]


def _open(file: str | Path) -> tuple[Image.Image, int]:
    """A picture, upright, and the tag that said how to turn it."""
    try:
        with Image.open(file) as image:
            turned = image.getexif().get(_ORIENTATION, 1)
            turned = turned if turned in range(1, 9) else 1  # as Pillow takes any other
            image = ImageOps.exif_transpose(image)
            return coloured(image), turned
    except _BROKEN as error:
        hint = "; save it as JPEG or PNG" if Path(file).suffix.lower() in UNREAD else ""
        raise ValueError(f"{file} cannot be read as an image ({error}{hint})") from error


def coloured(image: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB; 16 bits lose their lower eight. ValueError: other values than these."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError("its values are no whole numbers of at most 16 bits")
        image = Image.fromarray((values / 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:  # or Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")


def _turn(points: np.ndarray, tag: int, size: tuple[int, int]) -> np.ndarray:
    """Stored pixels (x, y) as pixels of the upright picture, whose width and height are `size`."""
    x, y = points.T if tag in (1, 2, 3, 4) else points[:, ::-1].T
    if tag in (2, 3, 6, 7):
        x = size[0] - 1 - x
    if tag in (3, 4, 7, 8):
        y = size[1] - 1 - y
    return np.stack([x, y], 1)


def read_all(jobs, work, *, broken: str = "error", chunk: int = 256, progress: bool = True, name: str = "pictures"):
    """Yields (job, work(job)) in order, `chunk` at a time by threads on all cores; a job that fails with ValueError
    ends it (broken="error") or yields the error in place of its result (broken="skip").

    ValueError for another word.

    >>> list(read_all(["1", "one"], int, broken="skip", progress=False))[1][1]
    ValueError("invalid literal for int() with base 10: 'one'")
    """
    if broken not in ("error", "skip"):
        raise unknown("way with broken pictures", broken, ("error", "skip"))
    jobs = list(jobs)
    bar = tqdm(total=len(jobs), desc=name, unit="image", disable=not progress)
    with bar, Parallel(n_jobs=-1, require="sharedmem") as pool:
        for start in range(0, len(jobs), chunk):
            part = jobs[start : start + chunk]
            for job, result in zip(part, pool(delayed(_tried)(work, job) for job in part), strict=True):
                if isinstance(result, ValueError) and broken == "error":
                    raise result
                yield job, result
            bar.update(len(part))


def _tried(work, job):
    try:
        return work(job)
    except ValueError as error:
        return error


def chunk(size: int) -> int:
    """How many pictures of this size are held at a time: about 32 MB of them."""
    return max(8, 2**25 // (3 * size * size))
