"""How the pictures of each preset are taken: who sits with which expression, before which camera, in which light.

One function per preset of `presets`, which documents them and their options: people in, sittings out. Everything is
drawn from the seed and the person's place in the crowd, so that a person's pictures do not depend on how many are taken
of others.
"""

from dataclasses import dataclass, replace

import numpy as np

from facelab import tasks
from facelab.faces.people import Person, restyled
from facelab.faces.photo import Shot

POSES = [(yaw, pitch) for pitch in (-60, -30, -15, 0, 15, 30, 60) for yaw in range(-90, 91, 15)] + [
    (0, -90),
    (0, 90),
]
LAB = {
    "rendered/lab_a": ("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"),
    "rendered/lab_b": ("angry", "disgust", "fear", "happy", "sad", "surprise"),
}


@dataclass(frozen=True)
class Sitting:
    """One person with one expression before the camera, and the pictures taken.

    variant: which way of showing the expression (see `expressions.actions`); labelled: whether `expression` is given.
    """

    person: Person
    expression: str
    intensity: float
    shots: tuple[Shot, ...]
    variant: int = 0
    labelled: bool = True


def pose(crowd: list[Person], series: int, seed: int) -> list[Sitting]:
    """Every head pose of `POSES` in each series; the second with the light from the other side."""
    rng = np.random.default_rng([0x9053, seed])
    out = []
    for i, who in enumerate(crowd):
        tone = tuple(float(c) for c in rng.uniform(0.25, 0.45) * rng.normal(1, 0.05, 3))
        base = Shot(top=tone, bottom=tone, cloth=_cloth(rng))
        for s in range(series):
            side = 1 if s == 0 else -1
            light = (side * base.light[0], base.light[1], base.light[2])
            shots = tuple(replace(base, yaw=float(y), pitch=float(p), light=light) for y, p in POSES)
            bare = replace(who, wears=("eyeglasses",) if (i + s) % 2 else ())
            out.append(Sitting(bare, "neutral", 0.0, shots))
    return out


def wild(crowd: list[Person], per_person: int, restyle: int, seed: int) -> list[Sitting]:
    """Snapshots: everything drawn anew for every picture (restyle 0: the style is kept)."""
    out = []
    for i, who in enumerate(crowd):
        rng = np.random.default_rng([0x317D, seed, i])
        who = restyled(who, who.seed)  # for everybody a first style, hats and all
        for _ in range(per_person):
            face, shot = _feeling(rng), _snapshot(rng)
            today = restyled(who, np.random.default_rng(rng.integers(2**31)))
            out.append(Sitting(today if restyle else who, *face[:2], (shot,), face[2]))
    return out


def _feeling(rng) -> tuple[str, float, int]:
    """An expression as people show it in photos, its intensity and variant."""
    drawn = rng.random(), rng.choice(tasks.EXPRESSIONS[1:], p=(0.1, 0.1, 0.1, 0.42, 0.12, 0.16)), rng.uniform(0.4, 1.0)
    variant = int(rng.integers(1, 2**31))
    return ("neutral", 0.0, 0) if drawn[0] < 1 / 3 else (str(drawn[1]), round(float(drawn[2]), 3), variant)


def lab_a(crowd: list[Person], frames: int, seed: int) -> list[Sitting]:
    """Sequences of seven expressions in even light before plain grey."""

    def room(rng) -> Shot:
        tone = (float(rng.uniform(0.3, 0.42)),) * 3
        return Shot(
            light=(0.12, 0.3, 0.95), key=(0.72,) * 3, fill=(0.55,) * 3, head=0.7, distance=11.0, top=tone, bottom=tone,
            offset=(0.0, 0.0), cloth=(float(rng.uniform(0.05, 0.5)),) * 3, saturation=0.3,
        )  # fmt: skip

    return _sequences("rendered/lab_a", crowd, frames, seed, 5.0, ("earrings",), room)


def lab_b(crowd: list[Person], frames: int, seed: int) -> list[Sitting]:
    """Sequences of six expressions, near, in dim warm light from one side."""

    def room(rng) -> Shot:
        wall = tuple((rng.uniform(0.015, 0.04) * np.array([1.2, 1.0, 0.8])).tolist())
        return Shot(
            light=(-0.85, 0.3, 0.55), key=(0.78, 0.58, 0.36), fill=(0.17, 0.135, 0.1), head=0.82, distance=4.5,
            offset=(0.0, 0.03), top=wall, bottom=wall, cloth=_cloth(rng), blur=0.004, noise=0.02,
            grain=int(rng.integers(1, 2**31)),
        )  # fmt: skip

    return _sequences("rendered/lab_b", crowd, frames, seed, 8.0, ("earrings", "eyeglasses"), room)


def _sequences(name, crowd, frames, seed, limit, allowed, room) -> list[Sitting]:
    """Everyone shows every expression of a laboratory, from neutral to the peak."""
    steps = np.linspace(0, 1, frames) if frames > 1 else np.ones(1)
    out = []
    for i, who in enumerate(crowd):
        rng = np.random.default_rng([0x1AB, seed, list(LAB).index(name), i])
        who = restyled(who, rng)
        who = replace(who, wears=tuple(w for w in who.wears if w in allowed))
        here = room(rng)
        for expression in LAB[name]:
            peak, variant = rng.uniform(0.8, 1.0), int(rng.integers(1, 2**31))
            pose = rng.normal(0, limit / 2.5, 3).clip(-limit, limit)
            for step in steps:
                yaw, pitch, roll = (pose + rng.normal(0, 0.5, 3)).clip(-limit, limit).round(2).tolist()
                shot = replace(here, yaw=yaw, pitch=pitch, roll=roll, grain=here.grain and int(rng.integers(1, 2**31)))
                intensity = round(float(peak * step), 3)
                out.append(Sitting(who, expression, intensity, (shot,), variant, labelled=bool(step >= 0.5)))
    return out


def mugshot(crowd: list[Person], per_person: int, restyle: int, seed: int) -> list[Sitting]:
    """Frontal and neutral, with flash, up to four years apart (restyle 0: the style is kept)."""
    out = []
    for i, who in enumerate(crowd):
        rng = np.random.default_rng([0x3065, seed, i])
        who = _booked(who, who.seed)
        for k in range(per_person):
            yaw, pitch, roll = rng.normal(0, (3, 3, 2)).clip(-8, 8).round(2).tolist()
            blue = rng.uniform(0.85, 1.15) * np.array([0.15, 0.2, 0.29])
            shot = Shot(
                yaw=yaw, pitch=pitch, roll=roll, light=(float(rng.normal(0, 0.04)), 0.12, 1.0), key=(1.15, 1.13, 1.1),
                fill=(0.16, 0.17, 0.19), head=float(rng.uniform(0.53, 0.58)), distance=8.0, offset=(0.0, -0.06),
                top=tuple(blue.tolist()), bottom=tuple((0.85 * blue).tolist()), cloth=_cloth(rng), contrast=1.1,
            )  # fmt: skip
            later = round(min(who.age + k * float(rng.uniform(0, 4)) / max(per_person - 1, 1), 77.0), 1)
            today = _booked(who, int(rng.integers(2**31))) if restyle else who
            out.append(Sitting(replace(today, age=later), "neutral", 0.0, (shot,)))
    return out


def _booked(who: Person, seed: int) -> Person:
    """Styled as on a booking photo: no hat, seldom glasses, most men with a beard."""
    rng = np.random.default_rng([0xB00C, seed])
    today = restyled(who, rng)
    wears = tuple(w for w in today.wears if w != "hat" and (w in ("earrings", "necklace") or rng.random() < 0.3))
    again = restyled(who, rng).beard  # drawn twice where the first is none
    return replace(today, wears=wears, beard=again if today.beard == "none" else today.beard)


def album(crowd: list[Person], per_person: int, restyle: int, seed: int) -> list[Sitting]:
    """Snapshots by amateurs (restyle 0: the style is kept)."""
    out = []
    for i, who in enumerate(crowd):
        rng = np.random.default_rng([0xA1B0, seed, i])
        who = restyled(who, who.seed)
        for _ in range(per_person):
            face, shot = _feeling(rng), _poor(rng, _snapshot(rng))
            today = restyled(who, np.random.default_rng(rng.integers(2**31)))
            if rng.random() < 0.2 and "hat" not in today.wears:
                today = replace(today, wears=(*today.wears, "hat"))
            out.append(Sitting(today if restyle else who, *face[:2], (shot,), face[2]))
    return out


def _cloth(rng) -> tuple[float, float, float]:
    return tuple((rng.uniform(0.02, 0.5) * rng.uniform(0.3, 1, 3)).tolist())


def _bounded(rng, sigma: float, limit: float) -> float:
    return round(float(np.clip(rng.normal(0, sigma), -limit, limit)), 2)


def _snapshot(rng) -> Shot:
    """A picture taken anywhere, in any light, with a fair camera."""
    side, up = np.radians(rng.uniform(-75, 75)), np.radians(rng.uniform(-5, 60))
    light = (float(np.sin(side) * np.cos(up)), float(np.sin(up)), float(np.cos(side) * np.cos(up)))
    warm, cool = rng.normal(0, 0.07), rng.normal(0, 0.06)
    key = rng.uniform(0.45, 1.25) * np.array([1 + warm, 1.0, 1 - 1.3 * warm])
    fill = rng.uniform(0.28, 0.75) * np.array([1 + cool, 1.0, 1 - cool])
    top = rng.uniform(0.02, 0.75) * rng.uniform(0.75, 1.15, 3)
    bottom = top * rng.uniform(0.4, 1.3)
    blurred, noisy, behind, hidden = rng.random(4) < (0.25, 0.3, 0.12, 0.05)
    amounts = rng.uniform((0.002, 0.005, 0.3), (0.006, 0.03, 1.0)) * (blurred, noisy, behind)
    seeds = [int(v) for v in rng.integers(1, 2**31, 3)]
    return Shot(
        yaw=_bounded(rng, 28, 60), pitch=_bounded(rng, 11, 25), roll=_bounded(rng, 8, 20), light=light,
        key=tuple(key.tolist()), fill=tuple(fill.tolist()), head=float(rng.uniform(0.52, 0.68)),
        distance=float(rng.uniform(5, 14)), offset=(_bounded(rng, 0.015, 0.04), _bounded(rng, 0.015, 0.03) - 0.03),
        top=tuple(top.tolist()), bottom=tuple(bottom.tolist()), blobs=seeds[0] if rng.random() < 0.75 else 0,
        cloth=_cloth(rng), exposure=float(np.exp(rng.normal(0, 0.15))), blur=float(amounts[0]),
        noise=float(amounts[1]), grain=seeds[1], rim=float(amounts[2]), occluder=seeds[2] if hidden else 0,
        saturation=float(rng.uniform(0.85, 1.15)), contrast=float(rng.uniform(0.92, 1.1)),
    )  # fmt: skip


def _poor(rng, shot: Shot) -> Shot:
    """The same by an amateur: heads turned and tilted, any framing, blur, noise, backlight, things in the way."""
    blurred, noisy, behind, hidden = rng.random(4) < (0.5, 0.5, 0.3, 0.2)
    blur, noise, rim = (rng.uniform((0.002, 0.01, 0.6), (0.009, 0.04, 2.0)) * (blurred, noisy, behind)).tolist()
    dim = 0.45 if behind else 1.0  # a face against the light lies in the shade
    bright = 2.0 if behind else 1.0
    return replace(
        shot, yaw=_bounded(rng, 32, 75), pitch=_bounded(rng, 14, 35), roll=_bounded(rng, 18, 45),
        head=float(rng.uniform(0.46, 0.74)), offset=(_bounded(rng, 0.04, 0.09), _bounded(rng, 0.02, 0.04) - 0.01),
        key=tuple(dim * c for c in shot.key), top=tuple(min(bright * c, 1.0) for c in shot.top),
        bottom=tuple(min(bright * c, 1.0) for c in shot.bottom), exposure=float(np.exp(rng.normal(0, 0.25))),
        blur=blur, noise=noise, rim=rim, occluder=int(rng.integers(1, 2**31)) if hidden else 0,
        saturation=float(rng.uniform(0.55, 1.4)), contrast=float(rng.uniform(0.75, 1.25)),
    )  # fmt: skip


MAKE = {
    "rendered/pose": pose, "rendered/wild": wild, "rendered/lab_a": lab_a, "rendered/lab_b": lab_b,
    "rendered/mugshot": mugshot, "rendered/album": album,
}  # fmt: skip
