"""Skin, lips, brows, eyes and hair: the colour of a point of a face, a smooth function of its place on the template.

Evaluated per pixel, so it is as sharp as the picture, and the same for every pose, light and expression of a person.
"""

from typing import NamedTuple

import torch

from facelab.faces import bust as geometry
from facelab.faces.people import Person


class Surface(NamedTuple):
    """albedo (n, 3) linear RGB; gloss (n,) strength of the highlight; sharp (n,) its exponent; relief (n,) height of what
    is too fine for the mesh, in half head heights."""

    albedo: torch.Tensor
    gloss: torch.Tensor
    sharp: torch.Tensor
    relief: torch.Tensor


def paint(person: Person, where: torch.Tensor, part: torch.Tensor, masks: torch.Tensor, cloth=None) -> Surface:
    """The surface at n points: where (n, 3) template positions, part (n,), masks (n, 3); cloth: linear RGB of what
    covers the shoulders, None = nothing."""
    albedo, gloss = torch.empty_like(where), torch.full_like(where[:, 0], 0.05)
    sharp, relief = torch.full_like(gloss, 14.0), torch.zeros_like(gloss)
    for code in part.unique().tolist():
        at = (part == code).nonzero()[:, 0]
        w = where[at]
        if code == 0 or code == 6:
            albedo[at], gloss[at] = _skin(person, w, masks[at])
            if cloth is not None:
                worn = at[w[:, 1] < 5.95 - 0.3 * w[:, 2]]
                weave = 1 + 0.06 * _noise(person, where[worn], 55, 11, 5)
                albedo[worn] = _colour(cloth, where[worn]) * weave[:, None]
                gloss[worn] = 0.01
        elif code in (1, 2):
            albedo[at] = _eye(person, w, 1.0 if code == 1 else -1.0)
            gloss[at], sharp[at] = 0.5, 90.0
        elif code == geometry.HAIR:
            albedo[at], gloss[at] = _strands(person, w)
        elif code == geometry.GLASSES:
            albedo[at], gloss[at], sharp[at] = _colour((0.02, 0.018, 0.016), w), 0.5, 40.0
        else:
            flat = {3: (0.72, 0.68, 0.58), 4: (0.42, 0.13, 0.12), 5: (0.16, 0.035, 0.035)}[code]
            inwards = ((w[:, 2] - 0.9) / 0.5).clamp(0.05, 1)[:, None]  # the mouth is dark inside
            albedo[at] = _colour(flat, w) * inwards
    return Surface(albedo.clamp(0.002, 1), gloss, sharp, relief)


def _colour(rgb, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(rgb, dtype=like.dtype, device=like.device).expand(len(like), 3)


def _bump(d2: torch.Tensor, width: float) -> torch.Tensor:
    return torch.exp(-d2 / (2 * width**2))


def _noise(person: Person, w: torch.Tensor, frequency: float, salt: int, waves: int = 6) -> torch.Tensor:
    """(n,) smooth noise of zero mean and unit variance: a sum of waves of random direction and phase."""
    g = torch.Generator().manual_seed(person.seed * 31 + salt)
    direction = torch.randn(waves, 3, generator=g)
    k = direction / direction.norm(dim=1, keepdim=True) * frequency * (0.6 + 0.8 * torch.rand(waves, 1, generator=g))
    phase = 6.2832 * torch.rand(waves, generator=g)
    return torch.addmm(phase.to(w), w, k.T.to(w)).sin_().sum(1) * (2 / waves) ** 0.5


def _skin(person: Person, w: torch.Tensor, masks: torch.Tensor):
    """Colour (n, 3) and gloss (n,) of skin, with the hair that lies on it."""
    x, y, z = w.unbind(1)
    ax = x.abs()
    old = min(max((person.age - 28) / 50, 0.0), 1.0)
    skin = _colour(person.skin, w)
    dark = float(sum(person.skin)) / 3 < 0.12
    tone = 1 + 0.035 * _noise(person, w, 5, 1) + (0.015 + 0.025 * old) * _noise(person, w, 34, 2)
    red = 0.5 * _bump((ax - 0.42) ** 2 + (y - 6.93) ** 2, 0.17) + 0.45 * _bump(x**2 + (y - 7.0) ** 2, 0.13)
    red = (red * (z > 0.6) + 0.25 * masks[:, 2]) * (0.10 if dark else 0.2)
    under = _bump((ax - 0.3) ** 2 / 2 + (y - 7.16) ** 2 * 2.2, 0.07) * (z > 1)  # under the eyes
    tone = (tone - (0.06 + 0.16 * old) * under) * (1 - _wrinkles(person, ax, x, y, z))
    colour = skin * tone[:, None] * torch.stack([1 + 0.4 * red, 1 - red, 1 - red], 1)
    gloss = 0.07 + 0.05 * _bump(x**2 + (y - 7.1) ** 2, 0.25)
    if person.freckles or old > 0.5:
        spots = (_noise(person, w, 26, 3) + _noise(person, w, 41, 4) - 2.2).clamp(0, 1)
        amount = person.freckles * _bump(((ax - 0.3) / 1.6) ** 2 + (y - 7.02) ** 2, 0.22) + max(old - 0.5, 0)
        colour = colour * (1 - 0.45 * spots * amount * (z > 0.5))[:, None]
    for mx, my in person.moles:
        mole = torch.sigmoid((0.013 - ((x - mx) ** 2 + (y - my) ** 2).sqrt()) / 0.003) * (z > 0.6)
        colour = colour * (1 - 0.6 * mole)[:, None]
    made = person.makeup
    lash = (0.6 + 0.3 * made) * _bump((y - 7.345) ** 2 + ((ax - 0.31) / 9) ** 2, 0.016 + 0.006 * made)
    lash = lash + 0.4 * made * _bump((y - 7.225) ** 2 + ((ax - 0.31) / 9) ** 2, 0.012)
    lid = 0.3 * made * _bump(((y - 7.385) / 0.7) ** 2 + ((ax - 0.32) / 3.5) ** 2, 0.045)
    colour = colour * (1 - ((lash + lid) * (z > 1.15)).clamp(0, 0.9))[:, None]
    hair = _colour(person.natural_now, w)
    brow = torch.lerp(hair, _colour(person.natural, w), 0.8 * person.makeup)  # pencilled brows keep their colour

    at = (masks[:, 0] > 0.01).nonzero()[:, 0]
    lip = skin[at] * torch.tensor([0.95, 0.55, 0.58], device=w.device) ** (0.6 + 0.8 * person.lips)
    lip = torch.lerp(skin[at] * torch.tensor([0.82, 0.62, 0.6], device=w.device), lip, 0.8)
    lip = torch.lerp(lip, skin[at], 0.35 * old)  # lips pale with age
    lip = lip * (1 + 0.05 * _noise(person, w[at], 40, 5))[:, None]
    colour[at] = torch.lerp(colour[at], lip, masks[at, :1].clamp(0, 1))
    gloss[at] += 0.1 * masks[at, 0]

    at = ((y > 7.3) & (y < 7.7) & (z > 0.8)).nonzero()[:, 0]
    colour[at] = torch.lerp(colour[at], brow[at] * 0.4 + 0.07 * skin[at], _brows(person, w[at])[:, None])

    if person.beard != "none":
        at = ((y < 7.5) & (z > 0.4) & (y > 5.8)).nonzero()[:, 0]
        beard = geometry.beard_density(person, w[at]) * (1 - masks[at, 0])
        strand = 0.85 + 0.2 * _noise(person, w[at] * torch.tensor([1.0, 0.35, 1.0], device=w.device), 75, 6)
        cover = (beard * strand).clamp(0, 0.95)[:, None]
        colour[at] = torch.lerp(colour[at], hair[at] * 0.7 + 0.06 * skin[at], cover)
        gloss[at] *= 1 - 0.6 * beard

    inside = geometry.hairiness(person, w)
    at = (inside > -0.15).nonzero()[:, 0]
    if person.hair_style == "bald":  # a shaved or bald scalp keeps a shade of hair round the back
        cover = 0.25 * torch.sigmoid(inside[at] / 0.08) * torch.sigmoid((7.75 - y[at]) / 0.08)
    else:
        soft, most = (0.05, 0.8) if person.hair_style == "buzz" else (0.025, 1.0)
        fringed = w[at] * torch.tensor([1.0, 0.25, 1.0], device=w.device)
        cover = most * torch.sigmoid((inside[at] + 0.018 * _noise(person, fringed, 48, 7)) / soft)
    cover = cover * (1 - masks[at, 2])
    strands, shine = _strands(person, w[at])
    colour[at] = torch.lerp(colour[at], strands, cover[:, None])
    gloss[at] = torch.lerp(gloss[at], shine, cover)
    return colour, gloss


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
    fold = _bump((ax - (0.2 + 0.17 * t**0.8)) ** 2, 0.024) * _band(y, 6.5, 6.97)
    down = ((6.66 - y) / 0.3).clamp(0, 1)  # from the corner of the mouth towards the jaw
    corner = _bump((ax - (0.31 + 0.06 * down)) ** 2, 0.02) * _band(y, 6.38, 6.66)
    bag = _bump((y - (7.1 - 0.08 * _bump((ax - 0.3) ** 2, 0.13))) ** 2 * 2, 0.02) * _band(ax, 0.14, 0.5)
    frown = _bump((ax - 0.055) ** 2, 0.014) * _band(y, 7.42, 7.58)
    return old * front * (0.3 * forehead + 0.3 * feet + 0.4 * fold + 0.3 * corner + 0.3 * bag + 0.25 * frown)


def _band(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return torch.sigmoid((value - low) / 0.025) * torch.sigmoid((high - value) / 0.025)


def _brows(person: Person, w: torch.Tensor) -> torch.Tensor:
    """(n,) cover of the eyebrows: an arc above each eye, thick at the nose, thin outwards, broken into hairs."""
    thick, arch, dark = person.brows
    x, y = w[:, 0], w[:, 1]
    t = (x.abs() - 0.125) / 0.44
    middle = 7.462 + 0.032 * arch * torch.sin(3.1416 * (0.2 + 0.52 * t).clamp(0, 1))
    half = 0.04 * thick * (1 - 0.6 * t.clamp(0, 1)) * torch.sigmoid(t / 0.05) * torch.sigmoid((1 - t) / 0.05)
    hairs = 0.85 + 0.15 * _noise(person, w, 70, 8) - 0.25 * person.greyness * (1 - person.makeup)
    cover = torch.sigmoid((half - (y - middle).abs()) / 0.012) * (half > 0.006)
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
    sclera = torch.tensor([0.72, 0.68, 0.66], device=w.device) * (1 - 0.25 * (r / 0.14).clamp(0, 1) ** 2)[:, None]
    sclera = sclera * torch.stack([torch.ones_like(r), 1 - 0.06 * (r > 0.1), 1 - 0.06 * (r > 0.1)], 1)
    colour = torch.lerp(iris, sclera, torch.sigmoid((r - 0.072) / 0.004)[:, None])
    return torch.lerp(colour, 0.01 * torch.ones_like(colour), torch.sigmoid((0.03 - r) / 0.003)[:, None])


def _strands(person: Person, w: torch.Tensor):
    """Colour (n, 3) and gloss (n,) of hair: streaks along its fall, or curls."""
    if person.hair_style in ("afro", "buzz"):
        streak = (0.2 if person.hair_style == "afro" else 0.12) * _noise(person, w, 55, 9)
        shine = torch.full_like(w[:, 0], 0.02)
    else:
        stretched = w * torch.tensor([1.0, 0.12, 0.3], device=w.device)
        fine = _noise(person, stretched, 90, 10)
        streak = 0.2 * _noise(person, stretched, 38, 9) + 0.12 * fine
        shine = (0.09 + 0.04 * fine).clamp(min=0.02)
    return _colour(person.hair_now, w) * (1 + streak).clamp(0.3, 2)[:, None], shine
