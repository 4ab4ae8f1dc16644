"""Locks of hair: thin tapering sheets that are combed over the template's head and fall, style by style.

A lock starts on the scalp, is combed in some direction, bends downwards by its weight and is kept off the skin. A
groom (style, variant, hairline) is made once on the template and carried to every head that has it.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from facelab.faces import hair, mesh
from facelab.faces.mesh import CENTRE

VARIANTS = 8  # grooms of a style that differ in parting, waves, length and in every lock
HANGING = ("bob", "long", "curly", "braids")  # styles that cover the ears
_DOWN, _BACK = np.array([0, -1.0, 0]), np.array([0, 0.1, -1.0])


class Groom(NamedTuple):
    """What decides where locks grow: all that `hair.hairiness` reads of a person."""

    hair_style: str
    hairline: float
    masculinity: float


def of(person, device="cpu") -> tuple[mesh.Carried, ...]:
    """The locks of a person's hair, tied to the skin."""
    variant = person.look % VARIANTS
    male = person.masculinity >= 0.5
    receding = min(max(round(person.hairline / 0.12), 0), 2) * 0.12 if male else 0.0  # few values: a groom is kept
    groom = Groom(person.hair_style, receding, float(male))
    return _hair(groom, variant, str(device)) if person.hair_style in _STYLES else ()


@lru_cache(maxsize=160)
def _hair(groom: Groom, variant: int, device: str) -> tuple[mesh.Carried, ...]:
    rng = np.random.default_rng([0x10C5, variant])
    made = _STYLES[groom.hair_style](groom, rng)
    return tuple(
        mesh.carried(mesh.piece(mesh.HAIR, p, f, detail=d, shade=s, spread=3), 4, device) for p, f, d, s in made
    )


# ---- from paths to sheets


def _roots(groom: Groom, n: int, rng, inside: float = 0.0) -> np.ndarray:
    """(m, 3) about n places spread evenly over the hairy scalp, more than `inside` within the hairline."""
    i = np.arange(2 * n) + 0.5
    d = mesh.direction(i * 2.399963 + rng.uniform(0, 6), np.arcsin(1 - i / n))
    d = d + rng.normal(0, 0.02, d.shape)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    points = CENTRE + d * mesh.skull(d)[:, None]
    depth = hair.hairiness(groom, torch.from_numpy(points)).numpy()
    return points[(depth + rng.normal(0, 0.03, len(depth)) > inside) & (np.abs(points[:, 0]) < 0.95)]


def _along(points: np.ndarray, heading) -> np.ndarray:
    """(n, 3) headings as unit directions along the skull's surface at the points."""
    d = points - CENTRE
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    flat = heading - (heading * d).sum(1, keepdims=True) * d
    return flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-6)


def _fall(root, heading, length, lift, *, steps=9, weight=0.3, steer=None, hold=0.0, above=0.0) -> np.ndarray:
    """(n, steps, 3) paths of locks: from the root in the heading (n, 3), bent down by `weight` a step, kept `lift` (n,)
    off the skin, and pulled back to it by `hold` a step where y > `above`; steer(points, share of the way) → (n, 3)
    adds to the heading."""
    path, v, lift = [root], heading.astype(float), np.broadcast_to(lift, len(root))
    step = np.broadcast_to(length, len(root))[:, None] / (steps - 1)
    for i in range(1, steps):
        v = v + weight * _DOWN + (0 if steer is None else steer(path[-1], i / (steps - 1)))
        v = v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-6)
        path.append(
            mesh.clear(path[-1] + v * step, lift * min(1.0, 0.35 + i / 4), hold=hold * (path[-1][:, 1] > above))
        )
        v = path[-1] - path[-2]
        v = v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-6)
    return np.stack(path, 1)


def sheets(path, width, rng, *, wave=0.0, turns=0.0, tip=0.08, knots=0, layer=None):
    """Sheets along paths (n, s, 3): three points across, the middle raised; width (n,) or a number (half, 0.1 m).
    wave, turns: radius and number of the coils; tip: width at the end; knots: bulges, as of a braid; layer (n,) 0 =
    inside, dark … 1 = outside. Points, triangles, detail and shade."""
    n, s, _ = path.shape
    t = np.linspace(0, 1, s)
    tangent = np.gradient(path, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True).clip(1e-6)
    middle = np.stack([0 * path[..., 0], path[..., 1].clip(6.5, 7.3), 0 * path[..., 0] + 0.4], -1)
    normal = path - middle
    normal -= (normal * tangent).sum(2, keepdims=True) * tangent
    normal /= np.linalg.norm(normal, axis=2, keepdims=True).clip(1e-6)
    side = np.cross(tangent, normal)
    if wave:
        phase = rng.uniform(0, 6.28, (n, 1)) * (0.25 if turns < 3 else 1) + 6.28 * turns * t
        grown = np.clip(t / 0.3, 0, 1) if turns < 3 else np.clip((t - 0.1) / 0.5, 0, 1)
        path = path + (wave * grown * np.sin(phase))[..., None] * side
        path = path + (0.6 * wave * grown * (1 + np.cos(phase)))[..., None] * normal
    profile = np.minimum(0.55 + 2 * t, 1) * np.where(t > 0.5, tip + (1 - tip) * np.sqrt((1 - t) / 0.5 + 1e-9), 1)
    if knots:
        profile = profile * (0.65 + 0.35 * np.abs(np.sin(np.pi * knots * t)))
    half = np.broadcast_to(width, n)[:, None] * profile
    rise = half * (1.0 if knots else 0.4)
    points = np.stack(
        [path - half[..., None] * side, path + rise[..., None] * normal, path + half[..., None] * side], 2
    )
    faces = mesh.grid(s, 3) + (np.arange(n) * 3 * s)[:, None, None]
    own = np.broadcast_to(rng.random(n)[:, None, None], (n, s, 3))
    detail = np.stack([np.broadcast_to([-1.0, 0, 1], (n, s, 3)), np.broadcast_to(t[:, None], (n, s, 3)), own], -1)
    layer = np.ones(n) if layer is None else layer
    shade = np.broadcast_to((0.55 + 0.4 * layer)[:, None, None] * [0.85, 1.0, 0.85], (n, s, 3))
    return points.reshape(-1, 3), faces.reshape(-1, 3), detail.reshape(-1, 3), shade.reshape(-1)


# ---- styles: each returns a list of sheets


def _cropped(groom, rng, top=None, sides=0.12, sweep=None, lift=(0.04, 0.09), stand=0.0, n=760):
    """Short hair, longer on top: swept forwards, across or up; cut rounder or closer at the sides."""
    top = rng.uniform(0.2, 0.4) if top is None else top
    root = _roots(groom, n, rng, 0.01)
    d = (root - CENTRE) / np.linalg.norm(root - CENTRE, axis=1, keepdims=True)
    up = np.clip((root[:, 1] - 7.5) / 0.6, 0, 1)
    sweep = np.array(sweep if sweep is not None else (rng.uniform(-0.8, 0.8), 0, 1.0))
    heading = sweep * up[:, None] + (_DOWN + 0.5 * _BACK) * (1 - up)[:, None] + rng.normal(0, 0.12, root.shape)
    front = np.clip((root[:, 2] - 0.8) / 0.4, 0, 1) * up
    heading = _along(root, heading) + d * (stand * front)[:, None]
    length = (sides + (top - sides) * up) * rng.uniform(0.75, 1.15, len(root))
    layer = rng.random(len(root))
    high = (lift[0] + (lift[1] - lift[0]) * layer) * (0.5 + 0.5 * up)
    high = high + 0.8 * stand * front * (lift[1] - lift[0])
    path = _fall(root, heading, length, high, steps=5, weight=0.1, hold=0.05)
    return [
        sheets(path, (0.034 + 0.022 * up) * rng.uniform(0.8, 1.2, len(root)), rng, layer=0.5 + 0.5 * layer, tip=0.2)
    ]


def _side(groom, rng):
    way = rng.choice((-1.0, 1.0))
    return _cropped(groom, rng, rng.uniform(0.45, 0.65), sweep=(way, 0, 0.15), lift=(0.06, 0.13), stand=0.25)


def _quiff(groom, rng):
    sweep = (rng.uniform(-0.5, 0.5), 0, -0.8)
    return _cropped(groom, rng, rng.uniform(0.4, 0.55), 0.08, sweep=sweep, lift=(0.06, 0.16), stand=0.8)


def _pixie(groom, rng):
    way = rng.choice((-1.0, 1.0))
    return _cropped(groom, rng, rng.uniform(0.5, 0.7), 0.28, sweep=(way, 0, 0.55), lift=(0.06, 0.12), n=560)


def _horseshoe(groom, rng):
    return _cropped(groom, rng, 0.14, 0.16, sweep=(0, -1, -0.5), lift=(0.03, 0.06), n=800)


def _fringe(groom, rng):
    """Combed forwards from the crown over the forehead, down at the sides and the back."""
    root = _roots(groom, 440, rng)
    up = np.clip((root[:, 1] - 7.5) / 0.5, 0, 1)[:, None]
    crown = root - np.array([0, 8.3, 0.25])
    heading = _along(root, crown * up + _DOWN * (1 - up) + rng.normal(0, 0.12, root.shape))
    end = rng.uniform(7.52, 7.64)
    front = np.clip((root[:, 2] - 0.9) / 0.3, 0, 1)
    length = np.where(front > 0.3, (root[:, 1] - end).clip(0.1) * 1.25, rng.uniform(0.25, 0.4))
    layer = rng.random(len(root))
    path = _fall(
        root, heading, length * rng.uniform(0.85, 1.08, len(root)), 0.07 + 0.07 * layer, steps=7, weight=0.1, hold=0.03
    )
    return [sheets(path, rng.uniform(0.05, 0.08, len(root)), rng, layer=0.5 + 0.5 * layer, tip=0.2)]


def _parted(
    groom, rng, end, *, n=380, wave=0.0, turns=0.0, width=(0.05, 0.1), lift=(0.08, 0.17), knots=0, tip=0.08, steps=13
):
    """Parted on top, falling round the face to the height `end` (n,) or a number, in layers."""
    root = _roots(groom, n, rng)
    part = rng.choice((0.0, -0.22, 0.22, -0.3, 0.3))
    side = np.sign(root[:, 0] - part - rng.normal(0, 0.03, len(root)))
    up = np.clip((root[:, 1] - 7.4) / 0.6, 0, 1)
    front = np.clip((root[:, 2] - 0.5) / 0.5, 0, 1)
    away = np.stack([side, 0 * side, -0.15 - 0.5 * front], 1)
    heading = _along(root, away * up[:, None] + _DOWN * (1.15 - up)[:, None] + rng.normal(0, 0.1, root.shape))
    layer = rng.random(len(root))
    end = end + rng.uniform(-0.12, 0.3, len(root)) * (1.3 - layer)
    arc = 0.55 * up * (0.3 + np.abs(root[:, 0] - side * 0.8)) + (root[:, 1] - end).clip(0.2)

    def steer(p, t):  # off the face, and in towards the neck or down over the shoulders
        face = np.clip((p[:, 2] - 0.75) / 0.3, 0, 1) * np.clip((7.95 - p[:, 1]) / 0.3, 0, 1)
        near = face * np.clip((0.86 - np.abs(p[:, 0])) / 0.2, 0, 1)
        push = np.stack([0.9 * near * side, 0 * near, -0.9 * near], 1)
        loose = np.clip((7.1 - p[:, 1]) / 0.5, 0, 1) * 0.1
        return push - np.stack([loose * np.sign(p[:, 0]) * (np.abs(p[:, 0]) > 0.62), 0 * loose, 0 * loose], 1)

    high = lift[0] + (lift[1] - lift[0]) * layer
    path = _fall(
        root, heading, arc, high, steps=steps, weight=0.55 * 12 / (steps - 1), steer=steer, hold=0.08, above=7.6
    )
    half = rng.uniform(*width, len(root))
    return [sheets(path, half, rng, wave=wave, turns=turns, layer=layer, knots=knots, tip=tip)]


def _bob(groom, rng):
    straight = rng.random() < 0.6
    return _parted(groom, rng, rng.uniform(6.4, 6.8), wave=0.01 if straight else 0.04, turns=1.5, tip=0.3)


def _long(groom, rng):
    wave = rng.choice((0.01, 0.03, 0.055))
    return _parted(groom, rng, rng.uniform(5.2, 6.0), wave=wave, turns=rng.uniform(2, 3.5))


def _curly(groom, rng):
    end = rng.uniform(6.2, 7.0)
    return _parted(
        groom, rng, end, n=340, wave=0.07, turns=rng.uniform(3.5, 5), width=(0.035, 0.06), lift=(0.12, 0.3), steps=18
    )


def _braids(groom, rng):
    end = rng.uniform(5.5, 6.3)
    return _parted(groom, rng, end, n=300, width=(0.03, 0.036), lift=(0.08, 0.2), knots=11, tip=0.6)


def _tied(groom, rng, knot, n=330):
    """Combed back, close to the skull, to a knot; some short hairs escape at the hairline."""
    root = _roots(groom, n, rng)
    gap = np.linalg.norm(root - knot, axis=1)
    heading = _along(root, knot - root + rng.normal(0, 0.04, root.shape))

    def steer(p, t):
        return _along(p, knot - p) * 0.9

    layer = rng.random(len(root))
    path = _fall(root, heading, gap * 1.12, 0.05 + 0.035 * layer, steps=9, weight=0.0, steer=steer, hold=0.3)
    return sheets(path, rng.uniform(0.05, 0.08, len(root)), rng, layer=layer, tip=0.5)


def _bun(groom, rng):
    low = rng.random() < 0.4
    knot = np.array([0, 7.0, -0.42]) if low else np.array([0, rng.uniform(7.75, 8.35), -0.42])
    if knot[1] > 8.0:
        knot[2] = 0.05
    size, n = rng.uniform(0.26, 0.36), 70
    ball = knot + size * 0.6 * (knot - CENTRE) / np.linalg.norm(knot - CENTRE)
    axis = rng.normal(0, 0.5, (n, 3)) + (knot - CENTRE)  # hairs wound about the bun, each about its own axis
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    first = np.cross(axis, rng.normal(0, 1, (n, 3)))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(axis, first)
    t = np.linspace(0, rng.uniform(2, 4), 9)[None, :, None]
    height = rng.uniform(-0.8, 0.8, (n, 1, 1))
    ring = first[:, None] * np.cos(t) + second[:, None] * np.sin(t)
    path = ball + size * (np.sqrt(1 - height**2) * ring + height * axis[:, None]) * rng.uniform(0.93, 1.05, (n, 1, 1))
    core = mesh.balls(ball[None], size * 0.93, 9, 14)
    inner = (*core, np.broadcast_to([0.0, 0.5, 0.4], core[0].shape), np.full(len(core[0]), 0.6))
    return [_tied(groom, rng, knot), sheets(path, 0.06, rng), inner]


def _ponytail(groom, rng):
    knot, n = np.array([0, rng.uniform(7.3, 8.0), -0.42]), 70
    root = knot + rng.normal(0, 0.05, (n, 3))
    out = np.array([rng.uniform(-0.1, 0.1), 0.35, -1.0]) + rng.normal(0, 0.16, (n, 3))
    layer, length = rng.random(n), rng.uniform(1.1, 1.9)
    path = _fall(root, out, length * rng.uniform(0.8, 1.1, n), 0.04, steps=11, weight=0.4)
    wave = rng.choice((0.01, 0.04))
    return [_tied(groom, rng, knot), sheets(path, 0.07, rng, wave=wave, turns=2, layer=layer)]


def _afro(groom, rng):
    """Coils that stand on the body of the hair and break its outline."""
    root = _roots(groom, 620, rng, 0.06)
    root = root[(root[:, 1] > 7.4) | (root[:, 2] < 0.3)]  # not before the ears
    d = (root - CENTRE) / np.linalg.norm(root - CENTRE, axis=1, keepdims=True)
    up = np.clip((root[:, 1] - 7.5) / 0.8, 0, 1)
    inside = np.sqrt(np.clip(hair.hairiness(groom, torch.from_numpy(root)).numpy() / 0.28, 0, 1))
    start = root + d * ((0.3 + 0.06 * up) * inside - 0.03)[:, None]
    t = np.linspace(0, 1, 6)[None, :, None]
    twist = rng.normal(0, 1, (len(root), 1, 3)) * 0.08
    path = start[:, None] + d[:, None] * t * rng.uniform(0.02, 0.075, (len(root), 1, 1)) + twist * np.sin(2.6 * t)
    return [sheets(path, 0.055, rng, tip=0.5, layer=rng.random(len(root)))]


def _cornrows(groom, rng):
    """Rows of braids from the forehead to the nape."""
    count, s = 11, 24
    a = np.linspace(-1.25, 1.25, count)[:, None]  # which row: its slope to the side
    t = np.linspace(0.0, 1.0, s)
    roll = np.pi * (0.17 + 0.85 * t)[None]
    d = np.stack([np.sin(a) * np.sin(roll * 0.97), np.sin(roll) * np.cos(a), np.cos(roll) + 0 * a], -1)
    d /= np.linalg.norm(d, axis=2, keepdims=True)
    path = CENTRE + d * (mesh.skull(d) + 0.035)[..., None]
    inside = hair.hairiness(groom, torch.from_numpy(path.reshape(-1, 3))).numpy().reshape(count, s)
    rows = []
    for line, ok in zip(path, inside > 0, strict=True):
        line = line[ok]
        u = np.linspace(0, 1, 34)
        if len(line) > 3:
            rows.append(np.stack([np.interp(u, np.linspace(0, 1, len(line)), line[:, c]) for c in range(3)], 1))
    return [sheets(np.stack(rows), 0.055, rng, knots=16, tip=0.5)]


_STYLES = {
    "short": _cropped, "side": _side, "quiff": _quiff, "pixie": _pixie, "horseshoe": _horseshoe, "fringe": _fringe,
    "bob": _bob, "long": _long, "curly": _curly, "braids": _braids, "bun": _bun, "ponytail": _ponytail, "afro": _afro,
    "cornrows": _cornrows,
}  # fmt: skip
