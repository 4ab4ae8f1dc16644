"""Skin, lips, brows, eyes and hair: the colour of a point of a face, as a smooth function of where it lies on the template.

Evaluated per pixel, so it is as sharp as the picture, and the same for every pose, light and expression of a person.
"""

from typing import NamedTuple

import torch

from facelab.faces import bust as geometry
from facelab.faces import heads
from facelab.faces.people import Person


class Surface(NamedTuple):
    """albedo (n, 3) linear RGB; gloss (n,) strength of the highlight; sharp (n,) its exponent."""

    albedo: torch.Tensor
    gloss: torch.Tensor
    sharp: torch.Tensor


def paint(person: Person, where: torch.Tensor, part: torch.Tensor, masks: torch.Tensor) -> Surface:
    """The surface at n points: where (n, 3) template positions, part (n,), masks (n, 3)."""
    albedo, gloss = torch.empty_like(where), torch.full_like(where[:, 0], 0.05)
    sharp = torch.full_like(gloss, 16.0)
    for code in part.unique().tolist():
        at = part == code
        w = where[at]
        if code == 0 or code == 6:
            albedo[at], gloss[at] = _skin(person, w, masks[at])
        elif code in (1, 2):
            albedo[at] = _eye(person, w, 1.0 if code == 1 else -1.0)
            gloss[at], sharp[at] = 0.5, 90.0
        elif code == geometry.HAIR:
            albedo[at] = _strands(person, w, _hair(person, w))
            gloss[at] = 0.06
        elif code == geometry.GLASSES:
            albedo[at], gloss[at], sharp[at] = _colour((0.02, 0.018, 0.016), w), 0.5, 40.0
        else:
            flat = {3: (0.72, 0.68, 0.58), 4: (0.42, 0.13, 0.12), 5: (0.16, 0.035, 0.035)}[code]
            inwards = ((w[:, 2] - 0.9) / 0.5).clamp(0.05, 1)[:, None]  # the mouth is dark inside
            albedo[at] = _colour(flat, w) * inwards
    return Surface(albedo.clamp(0.002, 1), gloss, sharp)


def _colour(rgb, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(rgb, dtype=like.dtype, device=like.device).expand(len(like), 3)


def _bump(d2: torch.Tensor, width: float) -> torch.Tensor:
    return torch.exp(-d2 / (2 * width**2))


def _noise(person: Person, w: torch.Tensor, frequency: float, salt: int, waves: int = 10) -> torch.Tensor:
    """(n,) smooth noise of zero mean and unit variance: a sum of waves of random direction and phase."""
    g = torch.Generator().manual_seed(person.seed * 31 + salt)
    direction = torch.randn(waves, 3, generator=g)
    k = (
        direction
        / direction.norm(dim=1, keepdim=True)
        * frequency
        * (0.6 + 0.8 * torch.rand(waves, 1, generator=g))
    )
    phase = 6.2832 * torch.rand(waves, generator=g)
    return torch.sin(w @ k.T.to(w) + phase.to(w)).sum(1) * (2 / waves) ** 0.5


def _skin(person: Person, w: torch.Tensor, masks: torch.Tensor):
    x, y, z = w.unbind(1)
    ax = x.abs()
    old = min(max((person.age - 28) / 50, 0.0), 1.0)
    skin = _colour(person.skin, w)
    dark = float(sum(person.skin)) / 3 < 0.12
    tone = 1 + 0.035 * _noise(person, w, 5, 1) + (0.02 + 0.02 * old) * _noise(person, w, 34, 2)
    red = 0.5 * _bump((ax - 0.42) ** 2 + (y - 6.93) ** 2, 0.17) + 0.45 * _bump(x**2 + (y - 7.0) ** 2, 0.13)
    red = (red + 0.25 * masks[:, 2]) * (z > 0.3) * (0.10 if dark else 0.2)
    under = _bump((ax - 0.3) ** 2 / 2 + (y - 7.16) ** 2 * 2.2, 0.07) * (z > 1)  # under the eyes
    tone = tone - (0.06 + 0.16 * old) * under
    colour = skin * tone[:, None] * torch.stack([1 + 0.4 * red, 1 - red, 1 - red], 1)
    colour = colour * (1 - _wrinkles(person, ax, x, y, z))[:, None]
    if person.freckles or old > 0.5:
        spots = (_noise(person, w, 26, 3) + _noise(person, w, 41, 4) - 2.2).clamp(0, 1)
        amount = person.freckles * _bump(((ax - 0.3) / 1.6) ** 2 + (y - 7.02) ** 2, 0.22) + max(old - 0.5, 0)
        colour = colour * (1 - 0.45 * spots * amount * (z > 0.5))[:, None]
    for mx, my in person.moles:
        colour = colour * (1 - 0.75 * ((x - mx) ** 2 + (y - my) ** 2 < 0.018**2) * (z > 0.6))[:, None]
    gloss = torch.full_like(x, 0.07) + 0.05 * _bump(x**2 + (y - 7.1) ** 2, 0.25)

    lips = masks[:, 0][:, None]
    lip = skin * torch.tensor([0.95, 0.55, 0.58], device=w.device) ** (0.6 + 0.8 * person.lips)
    lip = torch.lerp(skin * torch.tensor([0.82, 0.62, 0.6], device=w.device), lip, 0.8)
    colour = torch.lerp(colour, lip * (1 + 0.05 * _noise(person, w, 40, 5))[:, None], lips.clamp(0, 1))
    gloss = gloss + 0.1 * lips[:, 0]

    hair = _hair(person, w)
    lash = 0.55 * _bump((y - 7.345 - 0.0 * ax) ** 2 + ((ax - 0.31) / 4) ** 2, 0.018) * (z > 1.2)
    colour = torch.lerp(colour, 0.35 * colour, lash[:, None])
    brow = _brows(person, w)[:, None]
    colour = torch.lerp(colour, hair * 0.55 + 0.1 * skin, brow)
    beard = geometry.beard_density(person, w) * (1 - masks[:, 0])
    strand = (0.8 + 0.25 * _noise(person, w * torch.tensor([1.0, 0.35, 1.0], device=w.device), 75, 6)).clamp(
        0, 1.2
    )
    colour = torch.lerp(colour, hair * 0.7 + 0.06 * skin, (beard * strand).clamp(0, 0.95)[:, None])

    if person.hair_style != "bald":
        edge = geometry.hairiness(person, w) + 0.025 * _noise(person, w, 30, 7)
        soft = 0.045 if person.hair_style == "buzz" else 0.028
        cover = torch.sigmoid(edge / soft) * (1 - masks[:, 2]) * (0.8 if person.hair_style == "buzz" else 1.0)
    else:  # a shaved or bald scalp keeps a shade of hair round the back
        cover = (
            0.25 * torch.sigmoid((geometry.hairiness(person, w)) / 0.08) * torch.sigmoid((7.75 - y) / 0.08)
        )
        cover = cover * (1 - masks[:, 2])
    colour = torch.lerp(colour, _strands(person, w, hair), cover[:, None])
    return colour, gloss * (1 - 0.5 * cover)


def _wrinkles(person: Person, ax, x, y, z) -> torch.Tensor:
    """(n,) how much creases darken the skin: forehead lines, crow's feet, nasolabial folds, deeper from 30 to 75."""
    old = min(max((person.age - 30) / 45, 0.0), 1.2)
    if old == 0:
        return torch.zeros_like(x)
    g = torch.Generator().manual_seed(person.seed + 7)
    a, b, c = (float(v) for v in torch.rand(3, generator=g))
    front = (z > 0.9).float()
    lines = torch.sin(6.2832 * (y * (7 + 2 * a) + 0.25 * torch.sin(5 * x + 6 * b)))
    forehead = (lines - 0.55).clamp(0, 1) / 0.45 * _bump((ax / 2.6) ** 2 + (y - 7.78) ** 2, 0.15)
    fan = torch.sin(torch.atan2(y - 7.27, ax - 0.42) * (12 + 4 * c))
    feet = (fan - 0.4).clamp(0, 1) * _bump((ax - 0.6) ** 2 + (y - 7.27) ** 2, 0.07)
    t = ((6.95 - y) / 0.42).clamp(0, 1)  # down from the wing of the nose, outside the corner of the mouth
    fold = (
        _bump((ax - (0.2 + 0.17 * t**0.8)) ** 2, 0.022)
        * torch.sigmoid((6.97 - y) / 0.02)
        * torch.sigmoid((y - 6.45) / 0.03)
    )
    return old * front * (0.2 * forehead + 0.2 * feet + 0.26 * fold)


def _brows(person: Person, w: torch.Tensor) -> torch.Tensor:
    """(n,) cover of the eyebrows: an arc above each eye, thick at the nose, thin outwards, broken into hairs."""
    thick, arch, dark = person.brows
    x, y, z = w.unbind(1)
    t = (x.abs() - 0.1) / 0.46
    middle = 7.445 + 0.075 * arch * torch.sin(3.1416 * (0.08 + 0.72 * t).clamp(0, 1)) - 0.01
    half = 0.042 * thick * (1 - 0.6 * t.clamp(0, 1)) * torch.sigmoid(t / 0.05) * torch.sigmoid((1 - t) / 0.05)
    hairs = 0.8 + 0.3 * _noise(person, w, 60, 8)
    cover = torch.sigmoid((half - (y - middle).abs()) / 0.012) * (half > 0.006) * (z > 0.8)
    return (cover * hairs * (0.85 * dark)).clamp(0, 0.95)


def _eye(person: Person, w: torch.Tensor, side: float) -> torch.Tensor:
    """Sclera, iris with a dark rim and fibres, pupil: by the distance from the middle of the eye's front."""
    centre = torch.tensor([side * 0.31, 7.285], device=w.device)
    d = w[:, :2] - centre
    r = torch.where(w[:, 2] > 1.245, d.norm(dim=1), torch.ones_like(d[:, 0]))
    fibre = 1 + 0.2 * torch.sin(torch.atan2(d[:, 1], d[:, 0]) * 23 + person.seed) * (r / 0.07)
    iris = _colour(person.eyes, w) * (fibre * (0.65 + 0.5 * (r / 0.07)))[:, None]
    rim = torch.sigmoid((r - 0.06) / 0.004)[:, None]
    iris = torch.lerp(iris, 0.25 * iris, rim)
    sclera = (
        torch.tensor([0.72, 0.68, 0.66], device=w.device) * (1 - 0.25 * (r / 0.14).clamp(0, 1) ** 2)[:, None]
    )
    sclera = sclera * torch.stack([torch.ones_like(r), 1 - 0.06 * (r > 0.1), 1 - 0.06 * (r > 0.1)], 1)
    colour = torch.lerp(iris, sclera, torch.sigmoid((r - 0.072) / 0.004)[:, None])
    return torch.lerp(colour, 0.01 * torch.ones_like(colour), torch.sigmoid((0.03 - r) / 0.003)[:, None])


def _hair(person: Person, w: torch.Tensor) -> torch.Tensor:
    return _colour(person.hair_now, w)


def _strands(person: Person, w: torch.Tensor, hair: torch.Tensor) -> torch.Tensor:
    """Hair with streaks along its fall (or curls)."""
    if person.hair_style in ("afro", "buzz"):
        streak = 0.3 * _noise(person, w, 42, 9)
    else:
        stretched = w * torch.tensor([1.0, 0.12, 0.3], device=w.device)
        streak = 0.22 * _noise(person, stretched, 38, 9) + 0.12 * _noise(person, stretched, 90, 10)
    return hair * (1 + streak).clamp(0.25, 2)[:, None]
