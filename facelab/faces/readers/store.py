"""Reading a set once: its files are listed, its pictures decoded side by side, and both kept in the cache."""

import errno
import json
import logging
import os
from dataclasses import asdict
from operator import index
from pathlib import Path

import numpy as np
from PIL import Image

from facelab import cache
from facelab.errors import whole
from facelab.faces import picture
from facelab.faces.faceset import FaceSet, write_labels
from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing
from facelab.faces.report import Report

log = logging.getLogger(__name__)
_FORM = 3  # raised when pictures are made square in another way, so that no stale set is read
PASSING = (
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
)  # the next time it may do
UNREADABLE, ABSENT, UNLABELLED = "cannot be read as an image", "listed, but not there", "there, but not listed"


def stored(data: DataSet, root: Path, there: list[tuple[str, int, int]], *, size: int = 128, rows=None,
           broken: str = "error", progress: bool = True) -> FaceSet:  # fmt: skip
    """The set at `root`, from the cache if its files have not changed by name, size or time, else read now.

    there: its files, as `scan` gives them. rows: the first so many, a slice, or row numbers. broken: "error", or "skip"
    to leave out what cannot be read. ValueError names a broken picture; FileNotFoundError where none of the listed
    pictures is there.
    """
    whole("size", size, 8)
    rows = _rows(rows)
    entry = cache.path("faces", data.name, form=_FORM, version=data.version, size=size, broken=broken, rows=rows,
                       files=cache.digest(there))  # fmt: skip

    def fill(folder: Path) -> None:
        listing = _checked(data, data.read(root, [file for file, _, _ in there]), root, {file for file, _, _ in there})
        chosen = listing[_chosen(rows, len(listing))]
        if len(chosen) == 0:
            raise ValueError(f"rows {rows} choose none of the {len(listing):,} pictures of {data.title}")
        _write(folder, chosen, root, data.name, size, broken, progress)

    cache.build(entry, fill, about={"set": data.name, "size": size, "rows": rows})
    faces = FaceSet.open(entry, data.name)
    noted = json.loads((entry / "report.json").read_text(encoding="utf-8"))
    report = Report(
        **{key: tuple(map(tuple, value)) if isinstance(value, list) else value for key, value in noted.items()}
    )
    report.tell(log)
    return FaceSet(data.name, faces.images, faces.labels, faces.landmarks, report)


def scan(root: Path) -> list[tuple[str, int, int]]:
    """Every file below a folder, links followed once: (path, bytes, time of change in ns), in order of path."""
    found, seen = [], set()
    for folder, below, names in os.walk(root, followlinks=True):
        if (place := os.path.realpath(folder)) in seen:
            below.clear()
            continue
        seen.add(place)
        found += [Path(os.path.relpath(os.path.join(folder, name), root)).as_posix() for name in names]
    return about(root, sorted(found))


def about(root: Path, files: list[str]) -> list[tuple[str, int, int]]:
    """(path, bytes, time of change in ns) of each of these files below `root` that is there."""
    found = []
    for file in files:
        try:
            stat = os.stat(os.path.join(root, file))
        except (FileNotFoundError, NotADirectoryError):  # or a link to nowhere
            continue
        found.append((file, stat.st_size, stat.st_mtime_ns))
    return found


def _rows(rows):
    """`rows` as JSON: None, a number, or [start, stop, step], or a list of numbers under "of"."""
    if rows is None:
        return None
    if isinstance(rows, slice):
        return [None if end is None else index(end) for end in (rows.start, rows.stop, rows.step)]
    if np.ndim(rows) == 0:
        whole("rows", rows, 1)
        return index(rows)
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise TypeError(f"rows {rows!r}: expected a number, a slice or a list of row numbers")
    return {"of": numbers.tolist()}


def _chosen(rows, n: int) -> np.ndarray:
    every = np.arange(n)
    if isinstance(rows, dict):
        far = [i for i in rows["of"] if not -n <= i < n]
        if far:
            raise IndexError(f"row {far[0]} is out of range: there are {n:,} pictures")
        return every[rows["of"]]
    return every[slice(*rows)] if isinstance(rows, list) else every[:rows]


def _checked(data: DataSet, listing: Listing, root: Path, there: set[str]) -> Listing:
    """The listing without pictures that are not there; pictures beside them that have no row are counted too."""
    if listing.pixels is not None:
        if len(listing) == 0:
            raise ValueError(f"{root}: no row of {data.title} can be read; the first: {listing.skipped[:1]}")
        return listing
    listed = len(listing)
    listing = listing.without(~listing.table["file"].isin(there).to_numpy(), ABSENT)
    if len(listing) == 0:
        if listed:
            example = listing.skipped[-1][0]
            raise FileNotFoundError(f"none of the {listed:,} pictures of {data.title} is below {root}, e.g. {example}")
        first = f"; the first left out: {listing.skipped[0][0]} ({listing.skipped[0][1]})" if listing.skipped else ""
        raise ValueError(f"{root} has no picture of {data.title}: expected {data.layout}{first}")
    if data.labelled_by_file:
        known = {*listing.table["file"], *(file for file, _ in listing.skipped)}
        folders = {os.path.dirname(file) for file in listing.table["file"]}
        more = [
            f for f in sorted(there - known) if os.path.dirname(f) in folders and f.lower().endswith(picture.ENDINGS)
        ]
        listing.skipped.extend((file, UNLABELLED) for file in more)
    return listing


def _write(folder: Path, listing: Listing, root: Path, name: str, size: int, broken: str, progress: bool) -> None:
    """images.npy, landmarks.npy, labels.csv and report.json: pictures go to the disk as they are decoded."""
    skipped, kept, landmarks = list(listing.skipped), [], []
    file = listing.table["file"].to_numpy()

    def decode(i: int):
        if listing.pixels is not None:
            grey = Image.fromarray(listing.pixels[i]).resize((size, size), Image.Resampling.BILINEAR)
            return np.broadcast_to(np.asarray(grey), (3, size, size)), listing.landmarks[i]
        box = None if np.isnan(listing.boxes[i]).any() else listing.boxes[i]
        return picture.read(root / file[i], size, listing.landmarks[i], box)

    def header(n: int) -> None:
        np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (n, 3, size, size)})

    jobs = {"broken": broken, "chunk": picture.chunk(size), "progress": progress, "name": name}
    try:
        with open(folder / "images.npy", "wb") as out:
            header(len(listing))
            begins = out.tell()
            for i, result in picture.read_all(range(len(listing)), decode, **jobs):
                if isinstance(result, ValueError):
                    if getattr(result.__cause__, "errno", None) in PASSING:
                        raise result.__cause__
                    skipped.append((file[i], UNREADABLE))
                    continue
                out.write(np.ascontiguousarray(result[0]))
                landmarks.append(result[1])
                kept.append(i)
            if not kept:
                raise ValueError(f"none of the {len(listing):,} pictures of {name} can be read")
            out.seek(0)
            header(len(kept))  # it has room for any number, so that what follows stays in its place
            if out.tell() != begins:
                raise RuntimeError(f"the header of {folder / 'images.npy'} has changed its length")
    except BaseException:
        (folder / "images.npy").unlink(missing_ok=True)
        raise
    np.save(folder / "landmarks.npy", np.stack(landmarks).astype(np.float32), allow_pickle=False)
    write_labels(listing.table.iloc[kept], folder)
    here = set(file[kept])
    lacking = [(name, why) for name, why in listing.lacking if name in here]
    report = asdict(Report(name, len(kept), tuple(skipped), tuple(lacking)))
    cache.write_text(folder / "report.json", json.dumps(report))
