"""Rendered faces with exact labels: presets, one person swept through one task.

`pose`: the protocol of the Head Pose Image Database (the data of ETL Fig. 2): 15 people × 2 series × 93 poses = 2,790
pictures; yaw −90 … 90 in steps of 15 at each pitch in {−60, −30, −15, 0, 15, 30, 60}, and pitch ±90 at yaw 0. Within a
series nothing else varies. Series 2 differs from series 1 by the light's side and by glasses, taken off or put on.
Everyone is adult and neutral.

`wild`: 800 people (balanced in gender, five ethnic groups and age, 5 to 80 years) × 3 pictures; pose, expression and
its intensity, light, background, camera, framing, clothes and glasses are drawn anew for every picture: yaw N(0, 28²)
within ±60°, pitch N(0, 11²) within ±25°, roll N(0, 8²) within ±20°, a third of the faces neutral, the rest one of six
expressions (happy most often) with an intensity of 0.4 to 1. Hair and beard belong to the person.

Labels: identity, gender, ethnicity, age, expression, intensity, valence, smile, yaw, pitch, roll, facial_hair:…,
accessories:…, glasses, hair (its style), domain. `smile` is yes for a happy face (all have an intensity of 0.4 or
more), no for the others. Accessories are what is worn, also where hair or the picture's edge hides it.
"""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file
from tqdm import tqdm

from facelab import cache, devices, tasks
from facelab.errors import unknown
from facelab.faces import bust, expressions, heads
from facelab.faces.faceset import FaceSet
from facelab.faces.people import Person, restyled
from facelab.faces.people import people as _people
from facelab.faces.photo import Shot, photograph
from facelab.faces.raycast import Scene

PRESETS = {"rendered/pose": {"people": 15, "series": 2}, "rendered/wild": {"people": 800, "per_person": 3}}
POSES = [(yaw, pitch) for pitch in (-60, -30, -15, 0, 15, 30, 60) for yaw in range(-90, 91, 15)] + [
    (0, -90),
    (0, 90),
]
SITTING = {"rendered/pose": len(POSES), "rendered/wild": 1}  # pictures, for each of people × the other option
VARIES = {
    "rendered/pose": "93 head poses, yaw and pitch to ±90°; within a series nothing else varies",
    "rendered/wild": "age 5 to 80, pose, expression, light, background, framing, clothes and glasses",
}
_LOOK = 3  # raised when the same seed gives other pixels, so that no stale set is read
_PER_SHARD = 24  # people's faces kept in one resumable piece


@dataclass(frozen=True)
class Sitting:
    """One person with one expression before the camera, and the pictures taken."""

    person: Person
    expression: str
    intensity: float
    shots: tuple[Shot, ...]


def load(name: str = "rendered/wild", *, size: int = 128, seed: int = 0, device="auto", progress: bool = True,
         **options) -> FaceSet:  # fmt: skip
    """The rendered set of that name: from the cache, or rendered now (an interrupted call is taken up again).

    size: pixels a side (32 to 1024). Options of "rendered/pose": people=15, series=2 (1 or 2); of "rendered/wild":
    people=800, per_person=3. The same name, options, size and seed give the same pixels on the same kind of device.
    Raises ValueError for an unknown name or option and for values out of range.
    """
    if name not in PRESETS:
        raise unknown("face set", name, PRESETS)
    for option in options:
        if option not in PRESETS[name]:
            raise unknown(f"option of {name!r}", option, PRESETS[name])
    settings = PRESETS[name] | options
    for option, value in {**settings, "size": size, "seed": seed}.items():
        low, high = {"size": (32, 1024), "seed": (0, 2**31), "series": (1, 2)}.get(option, (1, 100_000))
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
            raise ValueError(f"{option} {value!r} is out of range: expected a whole number from {low} to {high}")
    settings = {k: int(v) for k, v in settings.items()}
    where = devices.device(device)
    make = {"rendered/pose": _pose, "rendered/wild": _wild}[name]
    entry = cache.path("faces", name, size=int(size), seed=int(seed), look=_LOOK, device=where.type, **settings)
    cache.build(
        entry,
        lambda folder: _fill(folder, name, make(seed=int(seed), **settings), int(size), where, progress),
        about={"set": name, "size": int(size), "seed": int(seed), **settings},
    )
    return FaceSet.open(entry, name)


def sweep(who: Person, task: str, values, *, size: int = 128, device="auto", **fixed) -> FaceSet:
    """The same person in the same light and place, with only `task` changed: an intervention, not a correlation.

    task: yaw, pitch or roll (degrees), age (years, 1 to 90), gender (0 = female … 1 = male), or an expression's name
    (values = intensity 0 … 1). fixed: other fields of `photo.Shot`, and expression= and intensity=.

        faces = sweep(person(1), "yaw", range(-60, 61, 10))
    """
    known = ("yaw", "pitch", "roll", "age", "gender", *tasks.EXPRESSIONS)
    if task not in known:
        raise unknown("task to sweep", task, known)
    values = [float(v) for v in values]
    if not values or not np.isfinite(values).all():
        raise ValueError(f"values {values} to sweep {task!r} must be at least one finite number")
    expression, intensity = fixed.pop("expression", "neutral"), float(fixed.pop("intensity", 0.0))
    for field in fixed:
        if field not in Shot.__dataclass_fields__:
            raise unknown("field of a shot", field, [*Shot.__dataclass_fields__, "expression", "intensity"])
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
        elif task in tasks.EXPRESSIONS:
            face = (task, value)
        else:
            shot = replace(shot, **{task: value})
        sittings.append(Sitting(now, *face, (shot,)))
    images, landmarks = _render(sittings, size, devices.device(device))
    labels = _labels(sittings, "rendered/sweep")
    if task == "gender":
        labels["masculinity"] = values
    return FaceSet(f"sweep of {task}", images, labels, landmarks)


def speed(people: int = 2, *, size: int = 128, seed: int = 10_000, device="auto") -> float:
    """Pictures a second that this machine draws of `pose`: measured on `people` new people, nothing kept or cached."""
    where = devices.device(device)
    sittings = _pose(people, 2, seed)
    with _workers(where) as pool:
        started = time.perf_counter()
        drawn = sum(pool.map(lambda sitting: len(_render([sitting], size, where)[0]), sittings))
        return drawn / (time.perf_counter() - started)


# ---- the presets: which sittings


def _pose(people: int, series: int, seed: int) -> list[Sitting]:
    rng = np.random.default_rng([0x9053, seed])
    out = []
    for i, who in enumerate(_people(people, seed, ages=(18.0, 65.0))):
        tone = tuple(float(c) for c in rng.uniform(0.25, 0.45) * rng.normal(1, 0.05, 3))
        cloth = tuple((rng.uniform(0.03, 0.4) * rng.uniform(0.3, 1, 3)).tolist())
        base = Shot(top=tone, bottom=tone, cloth=cloth)
        for s in range(series):
            side = 1 if s == 0 else -1
            light = (side * base.light[0], base.light[1], base.light[2])
            shots = tuple(replace(base, yaw=float(y), pitch=float(p), light=light) for y, p in POSES)
            bare = replace(who, wears=("eyeglasses",) if (i + s) % 2 else ())
            out.append(Sitting(bare, "neutral", 0.0, shots))
    return out


def _wild(people: int, per_person: int, seed: int) -> list[Sitting]:
    out = []
    for i, who in enumerate(_people(people, seed, ages=(5.0, 80.0))):
        rng = np.random.default_rng([0x317D, seed, i])
        for _ in range(per_person):
            expression, intensity = "neutral", 0.0
            if rng.random() > 1 / 3:
                expression = str(rng.choice(tasks.EXPRESSIONS[1:], p=(0.1, 0.1, 0.1, 0.42, 0.12, 0.16)))
                intensity = round(float(rng.uniform(0.4, 1.0)), 3)
            out.append(Sitting(restyled(who, rng), expression, intensity, (_snapshot(rng),)))
    return out


def _snapshot(rng) -> Shot:
    """A picture taken anywhere, in any light."""

    def bounded(sigma, limit):
        return round(float(np.clip(rng.normal(0, sigma), -limit, limit)), 2)

    side, up = np.radians(rng.uniform(-75, 75)), np.radians(rng.uniform(-5, 60))
    light = (float(np.sin(side) * np.cos(up)), float(np.sin(up)), float(np.cos(side) * np.cos(up)))
    warm = rng.normal(0, 0.07)
    key = rng.uniform(0.45, 1.25) * np.array([1 + warm, 1.0, 1 - 1.3 * warm])
    cool = rng.normal(0, 0.06)
    fill = rng.uniform(0.22, 0.6) * np.array([1 + cool, 1.0, 1 - cool])
    top = rng.uniform(0.02, 0.75) * rng.uniform(0.75, 1.15, 3)
    bottom = top * rng.uniform(0.4, 1.3)
    return Shot(
        yaw=bounded(28, 60), pitch=bounded(11, 25), roll=bounded(8, 20), light=light, key=tuple(key.tolist()),
        fill=tuple(fill.tolist()), head=float(rng.uniform(0.62, 0.74)), distance=float(rng.uniform(5, 14)),
        offset=(bounded(0.015, 0.04), 0.02 + bounded(0.015, 0.03)), top=tuple(top.tolist()),
        bottom=tuple(bottom.tolist()), blobs=int(rng.integers(1, 2**31)) if rng.random() < 0.75 else 0,
        cloth=tuple((rng.uniform(0.02, 0.5) * rng.uniform(0.3, 1, 3)).tolist()),
        exposure=float(np.exp(rng.normal(0, 0.15))),
    )  # fmt: skip


# ---- rendering, in pieces that survive an interruption


def _labels(sittings: list[Sitting], domain: str) -> pd.DataFrame:
    rows = []
    for s in sittings:
        for shot in s.shots:
            rows.append(
                {
                    "identity": f"{s.person.seed:07d}",
                    "gender": s.person.gender,
                    "ethnicity": s.person.ethnicity,
                    "age": s.person.age,
                    "expression": s.expression,
                    "intensity": s.intensity,
                    "valence": round(expressions.valence(s.expression, s.intensity), 4),
                    "smile": "yes" if s.expression == "happy" and s.intensity > 0 else "no",
                    "yaw": shot.yaw,
                    "pitch": shot.pitch,
                    "roll": shot.roll,
                    **s.person.facial_hair,
                    **s.person.accessories,
                    "glasses": "yes" if "eyeglasses" in s.person.wears else "no",
                    "hair": s.person.hair_style,
                    "domain": domain,
                }
            )
    return pd.DataFrame(rows)


def _render(sittings: list[Sitting], size: int, device: torch.device):
    images, landmarks = [], []
    for s in sittings:
        actions = expressions.actions(s.expression, s.intensity)
        mesh = bust.make(s.person, actions, device=device)
        a, b = photograph(mesh, list(s.shots), size)
        images.append(a)
        landmarks.append(b)
    return np.concatenate(images), np.concatenate(landmarks)


def _fill(folder: Path, name: str, sittings: list[Sitting], size: int, device, progress: bool) -> None:
    """Renders shard by shard; shards an interrupted call finished are used again if their checksums hold."""
    shards, shard, count = [], [], 0
    for s in sittings:  # at most about `_PER_SHARD` pictures, whole sittings
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

        def finish(i: int) -> int:
            file = pieces / f"{i:05d}.safetensors"
            if not _sound(file):
                images, landmarks = _render(shards[i], size, device)
                _write(file, {"images": images, "landmarks": landmarks})
            return sum(len(s.shots) for s in shards[i])

        with _workers(device) as pool:
            for done in pool.map(finish, range(len(shards))):
                bar.update(done)
    landmarks, header = [], {"descr": "|u1", "fortran_order": False, "shape": (total, 3, size, size)}
    with open(folder / "images.npy", "wb") as file:  # written, not mapped: a full disk kills who fills a map's holes
        np.lib.format.write_array_header_1_0(file, header)
        for i in range(len(shards)):
            piece = load_file(pieces / f"{i:05d}.safetensors")
            file.write(piece["images"])
            landmarks.append(piece["landmarks"])
    np.save(folder / "landmarks.npy", np.concatenate(landmarks), allow_pickle=False)
    _labels(sittings, name).to_csv(folder / "labels.csv", index=False)
    for file in pieces.iterdir():
        file.unlink()
    pieces.rmdir()


@contextmanager
def _workers(device: torch.device):
    """Threads that render shards side by side, one per core (rays and torch both leave Python's lock); each computes
    with one thread of its own. What is not begun is dropped when one fails or Ctrl-C comes."""
    heads.load(str(device))  # the model and the kernel are made ready once, before the threads begin
    one = torch.eye(3, device=device)
    Scene(one, torch.tensor([[0, 1, 2]], device=device)).cast(one, one)
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
    return file.is_file() and noted.is_file() and noted.read_text() == hashlib.sha256(file.read_bytes()).hexdigest()
