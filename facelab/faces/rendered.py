"""Rendered faces with exact labels: whole sets (which there are: `presets`), and one person swept through one task."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from facelab import cache, devices, workers
from facelab.errors import unknown
from facelab.faces import bust, expressions, heads, presets
from facelab.faces.faceset import FaceSet
from facelab.faces.people import Person
from facelab.faces.photo import Shot, photograph
from facelab.faces.raster import rasterise
from facelab.faces.scenes import Sitting

_LOOK = 9  # raised when the same seed gives other pixels or landmarks, so that no stale set is read
_SIZES = 32, 1024  # pixels a side
_SUPERSAMPLES = 1, 8
_PER_SHARD = 24  # pictures kept in one resumable piece


def load(name: str = "rendered/wild", *, size: int = 128, seed: int = 0, device="auto", progress: bool = True,
         **options) -> FaceSet:  # fmt: skip
    """The rendered set of that name: from the cache, or rendered now (an interrupted call is taken up again).

    Drawn by threads here, or wherever joblib works (`facelab.workers`): the pixels are the same.
    size: pixels a side (32 to 1024). options: `PRESETS[name]` holds those of each preset with their defaults, such as
    people=15 and series=2 of "rendered/pose" (`presets` says what they mean). The same name, options, size and seed
    give the same pixels on the same kind of device. Raises ValueError for an unknown name or option and for values
    out of range.
    """
    settings = presets.settings(name, **options)
    size, seed = presets.whole("size", size, *_SIZES), presets.whole("seed", seed, 0, 2**31)
    where = devices.device(device)
    entry = cache.path("faces", name, size=size, seed=seed, look=_LOOK, device=where.type, **settings)
    cache.build(
        entry,
        lambda folder: _fill(folder, name, presets.sittings(name, seed, **settings), size, where, progress),
        about={"set": name, "size": size, "seed": seed, **settings},
    )
    return FaceSet.open(entry, name)


def sweep(who: Person, task: str, values, *, size: int = 128, device="auto", **fixed) -> FaceSet:
    """The same person in the same light and place, with only `task` changed: an intervention, not a correlation.

    task: yaw, pitch or roll (degrees), age (years, 1 to 90), gender (0 = female … 1 = male), or an expression's name
    (values = intensity 0 … 1; contempt too). fixed: other fields of `photo.Shot`, and expression=, intensity= and
    variant= (see `expressions.actions`). ValueError for an unknown task or field and for values out of range.

        faces = sweep(person(1), "yaw", range(-60, 61, 10))
    """
    known = ("yaw", "pitch", "roll", "age", "gender", *expressions.SHOWN)
    if task not in known:
        raise unknown("task to sweep", task, known)
    if np.ndim(values) != 1:
        raise TypeError(f"values {values!r} to sweep {task!r}: expected several numbers, e.g. range(-60, 61, 10)")
    size, values = presets.whole("size", size, *_SIZES), [float(v) for v in values]
    if not values or not np.isfinite(values).all():
        raise ValueError(f"values {values} to sweep {task!r} must be at least one finite number")
    if task in expressions.SHOWN:
        for field in {"expression", "intensity"} & set(fixed):
            raise ValueError(f"{task} is swept: {field} cannot be fixed at {fixed[field]!r} as well")
    expression, intensity = fixed.pop("expression", "neutral"), float(fixed.pop("intensity", 0.0))
    variant = fixed.pop("variant", 0)
    for field in fixed:
        if field == task:
            raise ValueError(f"{task} is swept: it cannot be fixed at {fixed[task]!r} as well")
        if field not in Shot.__dataclass_fields__:
            raise unknown("field of a shot", field, [*Shot.__dataclass_fields__, "expression", "intensity", "variant"])
    sittings = []
    for value in values:
        now, shot, face = who, Shot(**fixed), (expression, intensity)
        if task == "age":
            if not 1 <= value <= 90:
                raise ValueError(f"age {value:g} is out of range: expected 1 to 90 years")
            now = replace(who, age=value)
        elif task == "gender":
            if not 0 <= value <= 1:
                raise ValueError(f"gender {value:g} is out of range: expected 0 (female) to 1 (male)")
            now = replace(who, masculinity=value, gender="male" if value > 0.5 else "female")
        elif task in expressions.SHOWN:
            face = (task, value)
        else:
            shot = replace(shot, **{task: value})
        sittings.append(Sitting(now, *face, (shot,), variant))
    images, landmarks = _render(sittings, size, devices.device(device))
    labels = presets.labels(sittings, "rendered/sweep")
    if task == "gender":
        labels["masculinity"] = values
    return FaceSet(f"sweep of {task}", images, labels, landmarks)


def draw(
    sittings: list[Sitting], *, size: int = 128, device="auto", name: str = "rendered/own", supersample: int = 2
) -> FaceSet:
    """The pictures of any sittings (see `presets.sittings`), rendered side by side; nothing is kept or cached.

    supersample: as in `photograph`; the sets have 2, and 1 is a coarse picture, drawn sooner.
    ValueError where there are no sittings, or for a size or supersample out of range.
    """
    size, where = presets.whole("size", size, *_SIZES), devices.device(device)
    supersample = presets.whole("supersample", supersample, *_SUPERSAMPLES)
    if not sittings:
        raise ValueError(f"face set {name!r}: no sittings, so there is nothing to draw")
    if len(sittings) == 1:  # threads would take longer to begin than they save
        images, landmarks = _render(sittings, size, where, supersample)
    else:
        with _workers(where) as pool:
            drawn = list(pool.map(lambda sitting: _render([sitting], size, where, supersample), sittings))
        images, landmarks = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    return FaceSet(name, images, presets.labels(sittings, name), landmarks)


def speed(
    people: int | None = None, preset: str = "rendered/pose", *, size: int = 128, seed: int = 10_000, device="auto"
) -> float:
    """Pictures a second that this machine draws of a preset: measured on new people, nothing kept or cached.

    people: how many (default: enough for 48 pictures).
    """
    where = devices.device(device)
    if people is None:
        people = -(-48 // presets.images(preset, people=1))
    sittings = presets.sittings(preset, seed, people=people)
    with _workers(where) as pool:
        started = time.perf_counter()
        drawn = sum(pool.map(lambda sitting: len(_render([sitting], size, where)[0]), sittings))
        return drawn / (time.perf_counter() - started)


# ---- rendering, in pieces that survive an interruption


def _render(sittings: list[Sitting], size: int, device: torch.device, supersample: int = 2):
    images, landmarks = [], []
    for s in sittings:
        mesh = _mesh(s.person, s.expression, s.intensity, s.variant, device)
        a, b = photograph(mesh, list(s.shots), size, supersample=supersample)
        images.append(a)
        landmarks.append(b)
    return np.concatenate(images), np.concatenate(landmarks)


@lru_cache(maxsize=4)  # for who photographs one face again and again, turned or lit otherwise
def _mesh(person, expression: str, intensity: float, variant: int, device: torch.device) -> bust.Bust:
    return bust.make(person, expressions.actions(expression, intensity, variant), device=device)


def _fill(folder: Path, name: str, sittings: list[Sitting], size: int, device, progress: bool) -> None:
    """Renders shard by shard; shards an interrupted call finished are used again if their checksums hold."""
    shards, shard, count = [], [], 0
    for s in sittings:  # whole sittings, `_PER_SHARD` pictures or a few more
        shard.append(s)
        count += len(s.shots)
        if count >= _PER_SHARD:
            shards.append(shard)
            shard, count = [], 0
    shards += [shard] if shard else []
    pieces = folder / "shards"
    pieces.mkdir(exist_ok=True)
    total = sum(len(s.shots) for s in sittings)
    with tqdm(total=total, desc=f"rendering {name}", unit="face", disable=not progress) as bar:
        files = [pieces / f"{i:05d}.safetensors" for i in range(len(shards))]
        if workers.here():
            with _workers(device) as pool:
                for count in pool.map(lambda file, shard: _finish(file, shard, size, device), files, shards):
                    bar.update(count)
        else:
            missing = [(file, shard) for file, shard in zip(files, shards, strict=True) if not _sound(file)]
            bar.update(total - sum(len(s.shots) for _, shard in missing for s in shard))
            drawn = workers.spread(_drawn, (shard for _, shard in missing), (size, device))
            for (file, _), (images, landmarks) in zip(missing, drawn, strict=True):
                _write(file, {"images": images, "landmarks": landmarks})
                bar.update(len(images))
    landmarks, header = [], {"descr": "|u1", "fortran_order": False, "shape": (total, 3, size, size)}
    with open(folder / "images.npy", "wb") as file:  # written, not mapped: a full disk kills who fills a map's holes
        np.lib.format.write_array_header_1_0(file, header)
        for piece in files:
            drawn, _ = cache.read_tensors(piece)
            file.write(drawn["images"])
            landmarks.append(drawn["landmarks"])
    np.save(folder / "landmarks.npy", np.concatenate(landmarks), allow_pickle=False)
    presets.labels(sittings, name).to_csv(folder / "labels.csv", index=False)
    for file in pieces.iterdir():
        file.unlink()
    pieces.rmdir()


def _finish(file: Path, shard: list[Sitting], size: int, device) -> int:
    """How many pictures the shard has, once they are in the file."""
    if not _sound(file):
        images, landmarks = _render(shard, size, device)
        _write(file, {"images": images, "landmarks": landmarks})
    return sum(len(s.shots) for s in shard)


def _drawn(how: tuple, shard: list[Sitting]):
    """A shard's images and landmarks, drawn by a worker with one thread as elsewhere."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        return _render(shard, *how)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _workers(device: torch.device):
    """Threads that render shards side by side, one per core (warp and torch both leave Python's lock); each computes
    with one thread of its own. What is not begun is dropped when one fails or Ctrl-C comes."""
    heads.load(str(device))  # the model and the kernels are made ready once, before the threads begin
    rasterise(torch.eye(3, device=device), torch.tensor([[0, 1, 2]], device=device), 1)
    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(1 if device.type == "cuda" else cores)
    try:
        torch.set_num_threads(1)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """The file and its checksum beside it, the checksum last."""
    file.with_suffix(".sha256").unlink(missing_ok=True)
    cache.write_tensors(file, arrays, {})
    cache.write_text(file.with_suffix(".sha256"), cache.sha256(file))


def _sound(file: Path) -> bool:
    noted = file.with_suffix(".sha256")
    return file.is_file() and noted.is_file() and noted.read_text() == cache.sha256(file)
