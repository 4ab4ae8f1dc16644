"""What a person wears besides hats and clothes: glasses, earrings, necklace, necktie; how everything worn looks.

Kind and shape come from `Person.look` as one of a few variants, each made once on the template head; colours come from
the look too.
"""

from functools import lru_cache

import numpy as np
import torch

from facelab.faces import clothes, hair, hats, mesh
from facelab.faces.mesh import BEADS, BEARD, GLASSES, HAIR, HAT, LENS, METAL, TIE
from facelab.faces.patterns import colour

VARIANTS = 24  # shapes of each accessory
FACIAL = (BEARD, METAL)  # parts that follow the face's movements, not only its shape
_METALS = ((0.83, 0.62, 0.24), (0.72, 0.72, 0.74), (0.8, 0.5, 0.36), (0.55, 0.55, 0.58))
_DYES = ((0.5, 0.02, 0.03), (0.03, 0.06, 0.25), (0.02, 0.16, 0.09), (0.015, 0.015, 0.018), (0.42, 0.33, 0.22),
         (0.3, 0.3, 0.32), (0.55, 0.22, 0.05), (0.28, 0.05, 0.22), (0.1, 0.3, 0.42), (0.7, 0.66, 0.58),
         (0.6, 0.12, 0.22), (0.12, 0.06, 0.03))  # fmt: skip
_FELTS = ((0.015, 0.015, 0.016), (0.09, 0.05, 0.025), (0.16, 0.16, 0.17), (0.02, 0.03, 0.08), (0.3, 0.23, 0.15))


def of(person, device="cpu") -> tuple[mesh.Carried, ...]:
    """All a person wears besides a hat, tied to the skin."""
    variant, out = person.look // 3 % VARIANTS, []
    for name in ("eyeglasses", "earrings", "necklace", "necktie"):
        if name in person.wears:
            out += _made(name, variant, device)
    return tuple(out)


@lru_cache(maxsize=128)
def _made(name: str, variant: int, device: str) -> tuple[mesh.Carried, ...]:
    rng = np.random.default_rng([0x3EA2, variant, len(name)])
    build = {"eyeglasses": _glasses, "earrings": _earrings, "necklace": _necklace, "necktie": _necktie}[name]
    near = {"eyeglasses": 40, "earrings": 5}.get(name, 8)
    return tuple(mesh.carried(piece, near, device) for piece in build(rng))


# ---- shapes


def _glasses(rng):
    """Two rims, a bridge and two arms; dark lenses on one pair in eight."""
    metal = rng.random() < 0.45
    wide, high = rng.uniform(0.23, 0.285), rng.uniform(0.15, 0.235)
    thick = rng.uniform(0.011, 0.016) if metal else rng.uniform(0.02, 0.036)
    square, cat, drop = rng.uniform(2, 4.5), rng.uniform(0, 0.05) * (rng.random() < 0.3), 0.0
    if rng.random() < 0.2:  # pilots' glasses: fuller below and outside
        high, square, drop = 0.23, 2.4, 0.25
    elif rng.random() < 0.2:  # round
        high = wide = rng.uniform(0.21, 0.24)
        square = 2.0
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    cos, sin = np.cos(t), np.sin(t)
    parts, lenses = [], []
    for side in (-1, 1):
        ex, ey = np.sign(cos) * np.abs(cos) ** (2 / square), np.sign(sin) * np.abs(sin) ** (2 / square)
        x = side * (0.33 + wide * ex * (1 - drop * np.clip(-ey, 0, 1) * np.clip(-ex, 0, 1)))
        y = 7.24 + high * ey + cat * np.clip(ex, 0, 1) * np.clip(ey, 0, 1)
        z = 1.62 - 0.56 * (np.abs(x) - 0.1).clip(0) ** 1.5
        rim = np.stack([x, y, z], 1)
        parts.append(mesh.tube(rim, thick * np.where(ey > 0.5, 1.0 if metal else 1.35, 1.0), closed=True))
        middle = rim.mean(0) - np.array([0, 0, 0.02])
        rings = middle + np.linspace(0.02, 1, 5)[:, None, None] * (rim - middle)
        lenses.append((rings.reshape(-1, 3), mesh.grid(5, 36, closed=True)[:, ::-side]))
        end = 0.33 + wide
        arm = [
            (side * end, 7.32, rim[0, 2]),
            (side * 0.8, 7.34, 1.2),
            (side * 0.9, 7.34, 0.7),
            (side * 0.92, 7.3, 0.45),
        ]
        parts.append(mesh.tube(np.array(arm), thick * (0.8 if metal else 1.2)))
    gap = 0.33 - wide + 0.01
    bridge = np.array([(-gap, 7.28, 1.62), (-gap / 2, 7.325, 1.65), (gap / 2, 7.325, 1.65), (gap, 7.28, 1.62)])
    parts.append(mesh.tube(bridge, thick))
    frame = mesh.piece(GLASSES, *mesh.joined(*parts), detail=(float(metal), 0, 0))
    dark = mesh.piece(LENS, *mesh.joined(*lenses), shade=0.9)
    return [frame, dark] if rng.random() < 0.125 else [frame]


def _earrings(rng):
    """Studs, hoops, drops or pearls, hanging from both lobes."""
    kind, size = rng.choice(("stud", "hoop", "drop", "drop", "hoop", "pearl")), rng.uniform(0.8, 1.25)
    metal, beads = [], []
    t = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    for side in (-1.0, 1.0):
        lobe = np.array([side * 0.755, 6.865, 0.59])
        if kind == "stud":
            metal.append(mesh.balls(lobe[None], 0.045 * size, 6, 9))
        elif kind == "pearl":
            beads.append(mesh.balls(lobe[None] + np.array([side * 0.02, -0.01, 0]), 0.065 * size, 7, 10))
        elif kind == "hoop":
            r = 0.15 * size
            ring = np.stack([0.015 * side * np.cos(t), r * np.cos(t) - r + 0.01, r * np.sin(t)], 1)
            metal.append(mesh.tube(lobe + ring, 0.018 * size, closed=True))
        else:
            long = 0.2 * size
            metal.append(mesh.balls(lobe[None], 0.03, 5, 7))
            wire = lobe + np.outer(np.linspace(0, 1, 4), [side * 0.01, -long, 0])
            metal.append(mesh.tube(wire, 0.009))
            axes = np.array([[0.05, 0.09, 0.05]]) * size
            (beads if rng.random() < 0.5 and len(beads) == len(metal) // 3 - 1 else metal).append(
                mesh.balls(wire[-1][None] - np.array([0, axes[0, 1], 0]), axes, 7, 10)
            )
    groups = ((METAL, metal), (BEADS, beads))
    return [mesh.piece(code, *mesh.joined(*parts), shade=0.9) for code, parts in groups if parts]


def _necklace(rng):
    """A chain or a string of beads about the base of the neck, with a pendant or without."""
    n = 160
    azimuth = np.linspace(0, 2 * np.pi, n, endpoint=False)
    beaded = rng.random() < 0.5
    radius = rng.uniform(0.035, 0.06) if beaded else rng.uniform(0.014, 0.026)
    low = rng.uniform(5.66, 5.84)
    height = 6.06 + (low - 6.06) * ((1 + np.cos(azimuth)) / 2) ** 1.2
    points, normal = mesh.body(azimuth, height)
    path = mesh.clear(points + normal * radius, radius + 0.035)
    for _ in range(6):  # a thread runs smoothly
        path = (np.roll(path, 1, 0) + 2 * path + np.roll(path, -1, 0)) / 4
    path = mesh.clear(path, radius + 0.03)
    lengths = np.linalg.norm(np.roll(path, -1, 0) - path, axis=1)
    along = np.concatenate([[0], np.cumsum(lengths)])
    out = []
    if beaded:
        count = int(along[-1] / (2.02 * radius))
        at = np.linspace(0, along[-1], count, endpoint=False)
        closed = np.concatenate([path, path[:1]])
        centres = np.stack([np.interp(at, along, closed[:, c]) for c in range(3)], 1)
        graded = radius * (1 + rng.choice((0.0, 0.25)) * np.cos(2 * np.pi * at / along[-1]))
        out.append(mesh.piece(BEADS, *mesh.balls(centres, graded, 6, 8), shade=0.9, head=False))
    else:
        links = radius * (1 + 0.45 * np.sign(np.sin(np.arange(n) * np.pi / 1.5)))
        out.append(mesh.piece(METAL, *mesh.tube(path, links, closed=True), shade=0.9, head=False))
    if not beaded or rng.random() < 0.25:
        at = path[0] + np.array([0, -0.1, 0.03])
        shape = np.array([[0.075, 0.09, 0.03]]) * rng.uniform(0.7, 1.3)
        code = METAL if rng.random() < 0.6 else BEADS
        out.append(mesh.piece(code, *mesh.balls(mesh.clear(at[None], 0.06), shape, 7, 12), shade=0.9, head=False))
    return out


def _necktie(rng):
    """A knot between the collar's tips and a blade down the chest."""
    wide, knot, columns = rng.uniform(0.26, 0.4), rng.uniform(0.14, 0.19), 9
    down = np.concatenate([[0.0, 0.04, 0.16, 0.25, 0.28, 0.31], np.linspace(0.36, 1.6, 12)])
    half = np.interp(
        down, [0, 0.04, 0.25, 0.28, 0.31, 0.36, 1.6], knot * np.array([0.9, 1, 0.72, 0.62, 0.6, 0.64, wide / knot])
    )
    thick = np.interp(down, [0, 0.05, 0.2, 0.28, 0.31, 1.6], [0.05, 0.1, 0.1, 0.05, 0.025, 0.03])
    height = 6.02 - down
    front, _ = mesh.body(np.zeros(len(down)), height)
    depth = np.maximum.accumulate(front[:, 2].clip(0.74)) + 0.07
    across = np.linspace(-1, 1, columns)
    x = half[:, None] * across
    z = depth[:, None] + thick[:, None] * (1 - across**2) - 0.02 * np.abs(across)
    points = np.stack(np.broadcast_arrays(x, height[:, None], z), -1)
    own = np.stack(np.broadcast_arrays((down < 0.29)[:, None].astype(float), across[None], down[:, None]), -1)
    return [
        mesh.piece(
            TIE, points.reshape(-1, 3), mesh.grid(len(down), columns)[:, ::-1], detail=own.reshape(-1, 3), head=False
        )
    ]


# ---- how it looks


def surface(code: int, person, w: torch.Tensor, detail: torch.Tensor, cloth=None):
    """Albedo (n, 3), gloss (n,) and its exponent (n,) of places w (n, 3) with detail (n, 3) on a part of `mesh`."""
    if code in (HAIR, BEARD):
        return hair.surface(person, detail, beard=code == BEARD)
    look = person.look
    a = detail[:, 0]
    gloss, sharp = torch.full_like(a, 0.02), torch.full_like(a, 12.0)
    if code == GLASSES:
        frame = _METALS[look // 17 % 4] if a[0] > 0.5 else _frame(look)
        return colour(frame, a), gloss + 0.5, sharp + 40
    if code == LENS:
        return colour((0.012, 0.012, 0.014), a), gloss + 0.6, sharp + 120
    if code == METAL:
        return colour(_METALS[look // 19 % 4], a) * 0.75, gloss + 0.9, sharp + 30
    if code == BEADS:
        pearl = look // 23 % 5 < 2
        return colour((0.78, 0.74, 0.68) if pearl else _DYES[look // 29 % len(_DYES)], a), gloss + 0.45, sharp + 40
    if code == TIE:
        return _tie(look, w, detail), gloss + 0.05, sharp + 8
    if code == HAT:
        return _hat(person, w, detail), gloss, sharp
    return clothes.surface(person, detail, w, cloth), gloss, sharp


def _frame(look: int):
    shades = ((0.012, 0.011, 0.01), (0.06, 0.03, 0.015), (0.16, 0.08, 0.035), (0.02, 0.03, 0.08), (0.2, 0.02, 0.03))
    return shades[look // 17 % len(shades)] if look // 37 % 3 else shades[0]


def _tie(look: int, w: torch.Tensor, detail: torch.Tensor) -> torch.Tensor:
    base, other = (colour(_DYES[look // d % len(_DYES)], w) for d in (31, 43))
    pattern = look // 47 % 3
    slant = (w[:, 0] * 0.9 + w[:, 1] + 2 * detail[:, 0] * w[:, 0]) * (2 * torch.pi / 0.17)
    if pattern == 0:
        mark = 0 * slant
    elif pattern == 1:
        mark = (torch.sin(slant) > 0.45).to(w.dtype)
    else:
        dots = torch.sin(w[:, 0] * 70) * torch.sin(w[:, 1] * 70)
        mark = (dots > 0.7).to(w.dtype)
    light = torch.where((other - base).abs().sum(1, keepdim=True) < 0.15, base * 0.4 + 0.35, other)
    return torch.lerp(base, light, 0.85 * mark[:, None]) * (1 - 0.25 * detail[:, 1] ** 4)[:, None]


def _hat(person, w: torch.Tensor, detail: torch.Tensor) -> torch.Tensor:
    part, azimuth, share = detail.unbind(1)
    worn, look = hats.kind(person), person.look
    base, other = colour(_DYES[look // 53 % len(_DYES)], w), colour(_DYES[look // 59 % len(_DYES)], w)
    if worn == "beanie":
        ribs = 0.12 * torch.sin(52 * azimuth) * (part < 2.5) + 0.06 * torch.sin(60 * w[:, 1])
        striped = (look // 61 % 3 == 0) & (torch.sin(share * 24) > 0.2) & (part < 0.5)
        return torch.where((striped | (part > 2.5))[:, None], other, base) * (1 + ribs)[:, None]
    if worn == "cap":
        seams = torch.exp(-((torch.remainder(azimuth + 0.5236, 1.0472) - 0.5236) ** 2) / 0.0008) * (part < 0.5)
        second = (part > 0.5) if look // 61 % 2 else part > 9
        return torch.where(second[:, None], other, base) * (1 - 0.3 * seams * (share < 0.97))[:, None]
    if worn in ("brimmed", "sun hat"):
        straw = worn == "sun hat" or look // 61 % 4 == 0
        felt = colour((0.55, 0.4, 0.22) if straw else _FELTS[look // 53 % len(_FELTS)], w)
        weave = 0.12 * torch.sin(90 * share + 0 * azimuth) * torch.sin(60 * azimuth) if straw else 0 * share
        band = colour((0.02, 0.02, 0.02), w) if look // 67 % 2 else other
        return torch.where((part > 1.5)[:, None], band, felt * (1 + weave)[:, None])
    spots = torch.sin(w[:, 0] * 19) * torch.sin(w[:, 1] * 19) * torch.sin(w[:, 2] * 19)
    printed = (worn == "kerchief") & (spots.abs() > 0.45) & (look // 61 % 3 > 0)
    return torch.where(printed[:, None], other, base) * (1 + 0.04 * torch.sin(70 * w[:, 1]))[:, None]
