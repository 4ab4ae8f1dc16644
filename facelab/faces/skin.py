"""Skin: its colour, gloss and relief at a place of a face, what age does to it, and the hair that lies flat on it.

All are smooth functions of the place on the template, in units of 0.1 m; relief is a height in the same unit.
"""

from dataclasses import replace
from typing import NamedTuple

import torch

from facelab.faces.beards import beard_density
from facelab.faces.patterns import band, bump, colour, noise
from facelab.faces.people import Person


def _dense(points) -> torch.Tensor:
    """Points of a polyline, six to a piece."""
    p = torch.tensor(points)
    t = torch.arange(6)[:, None, None] / 6
    return (p[:-1] + t * (p[1:] - p[:-1])).transpose(0, 1).reshape(-1, 2)


# The edge of the upper and of the lower lid on the template, x counted outwards from the middle of the face.
_UPPER_LID = _dense(((0.21, 7.285), (0.218, 7.299), (0.235, 7.309), (0.271, 7.319), (0.314, 7.325), (0.351, 7.326),
              (0.385, 7.321), (0.407, 7.317), (0.422, 7.308), (0.436, 7.29)))  # fmt: skip
_LOWER_LID = _dense(((0.222, 7.258), (0.24, 7.253), (0.277, 7.246), (0.314, 7.243), (0.356, 7.245), (0.402, 7.255),
              (0.43, 7.272)))  # fmt: skip


class Skin(NamedTuple):
    """albedo (n, 3) linear RGB; gloss (n,) strength of the highlight; relief (n,) in 0.1 m."""

    albedo: torch.Tensor
    gloss: torch.Tensor
    relief: torch.Tensor


def ageing(person: Person) -> float:
    """How far skin has aged: 0 until 25, then fast, ½ at about 40, 1 at about 65; a tenth sooner or later in some."""
    pace = 0.9 + 0.2 * ((person.seed * 0.618034) % 1)
    return min(1.2 * (max(person.age - 25, 0) / 50 * pace) ** 0.7, 1.35)


def skin(person: Person, w: torch.Tensor, masks: torch.Tensor) -> Skin:
    """The skin at places w (n, 3) with masks (n, 3) as `heads.MASKS`."""
    x, y, z = w.unbind(1)
    ax, old = x.abs(), ageing(person)
    base = colour(person.skin, w)
    pale = min(float(sum(person.skin)) / 1.2, 1.0)  # blood shows through light skin
    front = torch.sigmoid((z - 0.75) / 0.06)
    crease = creases(person, w)
    mottled = noise(person.seed, w, 7, 1)
    tone = 1 + (0.025 + 0.02 * old) * mottled + (0.012 + 0.03 * old) * noise(person.seed, w, 30, 2)
    red = 0.5 * bump((ax - 0.42) ** 2 + (y - 6.93) ** 2, 0.17) + 0.5 * bump(x**2 + (y - 7.0) ** 2, 0.13)
    red = red + 0.12 * (1 + mottled) * old + 0.2 * bump(x**2 + (y - 6.35) ** 2, 0.15)
    red = (red * front + 0.25 * masks[:, 2]) * 0.2 * pale
    under = bump((ax - 0.3) ** 2 / 2.2 + (y - 7.17) ** 2 * 2.2, 0.065) * front  # below the eyes
    tone = tone * (1 - (0.05 + 0.2 * old) * under) * (1 - (0.5 * crease).clamp(0, 0.6))
    albedo = base * tone[:, None] * torch.stack([1 + 0.35 * red, 1 - red, 1 - red], 1)
    gloss = 0.06 + 0.05 * front * bump(x**2 + ((y - 7.3) / 1.6) ** 2, 0.3)
    relief = -0.03 * crease + (0.0003 + 0.0008 * old) * noise(person.seed, w, 85, 12, 10)
    albedo = albedo * (1 - _spots(person, w, front))[:, None]
    albedo = _made_up(person, w, albedo, front)
    _lips(person, w, masks, base, albedo, gloss, relief)
    _brows(person, w, base, albedo, relief)
    _beard(person, w, masks, base, albedo, gloss, relief)
    return Skin(albedo, gloss, relief)


# ---- what age does


def creases(person: Person, w: torch.Tensor) -> torch.Tensor:
    """(n,) depth of wrinkles and folds, 1 = a deep one: forehead lines, frown, crow's feet, bags, nasolabial and
    marionette folds, lines of the upper lip, of cheek and neck. Each has a strength of its own in every person."""
    old = ageing(person)
    out = torch.zeros_like(w[:, 0])
    if old < 0.02:
        return out
    g = torch.Generator().manual_seed(person.seed + 7)
    own = ((0.55 + 0.8 * torch.rand(10, generator=g)) * (0.85 + 0.3 * person.masculinity)).tolist()
    own[0], own[4] = own[0] * (0.65 + 0.35 * person.masculinity), own[4] * (0.35 + 0.5 * person.masculinity)
    a, b, c, d = torch.rand(4, generator=g).tolist()
    near = ((w[:, 2] > 0.75) & (w[:, 1] > 5.6)).nonzero()[:, 0]
    x, y, z = w[near].unbind(1)
    ax, front = x.abs(), torch.sigmoid((z - 0.9) / 0.04)
    lines = torch.sin(6.2832 * (y * (5.2 + 1.8 * a) + 0.16 * torch.sin(4.5 * x + 6.3 * b) + 0.1 * torch.sin(13 * x)))
    broken = 0.75 + 0.25 * torch.sin(17 * x + 9 * y + 6.3 * c)
    forehead = ((lines - 0.35).clamp(min=0) / 0.65) * broken * bump((ax / 2.4) ** 2 + (y - 7.8) ** 2, 0.16)
    fan = torch.sin(torch.atan2(y - 7.27, ax - 0.4) * (9 + 3 * c))
    feet = ((fan - 0.2).clamp(min=0) / 0.8) * bump((ax - 0.58) ** 2 + ((y - 7.26) * 0.8) ** 2, 0.075)
    t = ((6.97 - y) / 0.44).clamp(0, 1)  # from the wing of the nose down, outside the corner of the mouth
    fold = bump((ax - (0.19 + 0.19 * t**0.85)) ** 2, 0.03 + 0.014 * t) * band(y, 6.5, 6.98)
    down = ((6.66 - y) / 0.32).clamp(0, 1)  # from the corner of the mouth towards the jaw
    marionette = bump((ax - (0.315 + 0.05 * down)) ** 2, 0.026) * band(y, 6.3, 6.68)
    arc = y - (7.13 - 0.09 * bump((ax - 0.3) ** 2, 0.12))
    bags = (bump(arc**2, 0.022) + 0.5 * bump((arc + 0.075) ** 2, 0.016)) * band(ax, 0.13, 0.5)
    frown = bump((ax - 0.06 - 0.02 * d) ** 2, 0.018) * band(y, 7.4, 7.58)
    purse = (torch.sin(62 * x) - 0.3).clamp(min=0) * bump((ax / 1.7) ** 2 + (y - 6.83) ** 2, 0.07)
    cheek = bump((ax - (0.56 - 0.12 * ((y - 6.6) / 0.4))) ** 2, 0.03) * band(y, 6.5, 6.95)
    neck = (torch.sin(6.2832 * (y * 5 + 0.1 * torch.sin(5 * x))) - 0.7).clamp(min=0) / 0.3 * band(y, 5.6, 6.15)
    late = max(old - 0.4, 0.0) * 1.6
    depth = old * (0.75 * own[0] * forehead + 0.6 * own[1] * feet + 0.95 * own[2] * fold + 0.7 * own[3] * bags)
    depth = depth + old * 0.7 * own[4] * frown + late * (0.85 * own[5] * marionette + 0.5 * own[6] * purse)
    depth = depth + late * 0.55 * own[7] * cheek
    out[near] = depth * front + late * 0.5 * own[8] * neck
    if old > 0.35:  # fine lines everywhere, crossing
        fine = (noise(person.seed, w[near] * torch.tensor([1.0, 2.2, 1.0], device=w.device), 34, 13).abs() - 1.1).clamp(
            min=0
        )
        out[near] += 0.22 * (old - 0.35) * fine * front
    return out


def _spots(person: Person, w: torch.Tensor, front: torch.Tensor) -> torch.Tensor:
    """(n,) how much freckles, age spots and moles darken the skin."""
    x, y, z = w.unbind(1)
    dark, old = torch.zeros_like(x), ageing(person)
    if person.freckles:
        fine = (noise(person.seed, w, 26, 3) + noise(person.seed, w, 41, 4) - 2.2).clamp(0, 1)
        dark = 0.45 * person.freckles * fine * bump(((x.abs() - 0.3) / 1.6) ** 2 + (y - 7.02) ** 2, 0.22) * front
    if old > 0.6:
        large = torch.sigmoid((noise(person.seed, w, 13, 14) + 0.6 * noise(person.seed, w, 29, 15) - 1.9) / 0.12)
        dark = dark + 0.6 * (old - 0.6) * large * torch.sigmoid((z - 0.3) / 0.1)
    for mx, my in person.moles:
        dark = dark + 0.6 * torch.sigmoid((0.013 - ((x - mx) ** 2 + (y - my) ** 2).sqrt()) / 0.003) * (z > 0.6)
    return dark.clamp(0, 0.85)


# ---- eyes' surroundings, lips, brows, beard


def _made_up(person: Person, w, albedo, front) -> torch.Tensor:
    """Lashes along both lids, and what is painted on the lids and cheeks."""
    x, y, z = w.unbind(1)
    made = person.makeup
    near = ((z > 1.15) & (y > 7.15) & (y < 7.5) & (x.abs() < 0.6)).nonzero()[:, 0]
    ax, h = x[near].abs(), y[near]
    place = torch.stack([ax, h], 1)
    upper = torch.cdist(place, _UPPER_LID.to(w)).amin(1)
    lower = torch.cdist(place, _LOWER_LID.to(w)).amin(1)
    long = 1.0 if person.masculinity > 0.5 else 1.3 + 0.7 * made
    lash = (0.75 + 0.15 * made) * torch.sigmoid((0.019 * long - upper) / 0.005)
    lash = torch.maximum(lash, (0.3 + 0.4 * made) * torch.sigmoid((0.012 - lower) / 0.004))
    lid = 0.42 * made * torch.sigmoid((0.1 - upper) / 0.025) * torch.sigmoid((h - 7.3) / 0.02)
    lash_colour = torch.tensor([0.02, 0.014, 0.012], device=w.device) + 0.15 * colour(person.natural, place)
    shadow = albedo[near] * torch.tensor([0.55, 0.42, 0.45], device=w.device)
    albedo[near] = torch.lerp(torch.lerp(albedo[near], shadow, lid[:, None]), lash_colour, lash[:, None])
    if made:
        blush = 0.07 * made * bump(((x.abs() - 0.5) * 0.8) ** 2 + (y - 6.98) ** 2, 0.14) * front
        albedo = albedo * torch.stack([1 + 0.3 * blush, 1 - blush, 1 - 0.8 * blush], 1)
    return albedo


def _lips(person: Person, w, masks, base, albedo, gloss, relief) -> None:
    at = (masks[:, 0] > 0.01).nonzero()[:, 0]
    old, cover = ageing(person), masks[at, :1].clamp(0, 1)
    own = base[at] * torch.tensor([0.86, 0.56, 0.57], device=w.device) ** (0.5 + 0.75 * person.lips)
    own = torch.lerp(own, base[at] * torch.tensor([0.9, 0.75, 0.73], device=w.device), 0.4 * min(old, 1.0))
    if person.makeup > 0.35:  # lipstick
        g = torch.Generator().manual_seed(person.look + 3)
        shade = torch.tensor([0.42, 0.06, 0.08]) * (0.6 + 0.8 * torch.rand(1, generator=g))
        shade = shade + torch.tensor([0.06, 0.05, 0.06]) * torch.rand(1, generator=g)
        own = torch.lerp(
            own, shade.to(w), 0.6 * (person.makeup - 0.35) / 0.65 * (0.4 + 0.6 * (base[at] / 0.5).clamp(0, 1))
        )
    fine = noise(person.seed, w[at] * torch.tensor([1.0, 0.25, 0.6], device=w.device), 60, 5)
    albedo[at] = torch.lerp(albedo[at], own * (1 + 0.04 * fine)[:, None], cover)
    gloss[at] += 0.12 * cover[:, 0]
    relief[at] += 0.003 * fine * cover[:, 0]


def _brows(person: Person, w, base, albedo, relief) -> None:
    """The eyebrows: an arc above each eye, thick at the nose, thin outwards, made of hairs."""
    at = ((w[:, 1] > 7.3) & (w[:, 1] < 7.7) & (w[:, 2] > 0.8)).nonzero()[:, 0]
    thick, arch, dark = person.brows
    x, y = w[at, 0], w[at, 1]
    t = (x.abs() - 0.115) / 0.46
    middle = 7.455 + 0.034 * arch * torch.sin(3.1416 * (0.2 + 0.56 * t).clamp(0, 1))
    ends = torch.sigmoid(t / 0.035) * torch.sigmoid((1 - t) / 0.05)
    half = 0.042 * thick * (1 - 0.6 * t.clamp(0, 1)) * (0.75 + 0.25 * torch.sigmoid((t - 0.12) / 0.04))
    slanted = torch.stack([x.abs() + 0.9 * (y - middle), 0.35 * y, w[at, 2]], 1)
    hairs = noise(person.seed, slanted, 120, 8, 14)
    cover = torch.sigmoid((half - (y - middle).abs() + 0.004 * hairs) / 0.011) * ends
    grown = min(max((person.age - 4) / 12, 0.3), 1.0)
    faint = 0.9 + 0.08 * hairs - 0.2 * person.greyness * (1 - person.makeup)
    cover = (cover * faint * 0.85 * dark * grown).clamp(0, 0.95)
    hair = torch.lerp(colour(person.natural_now, w[at]), colour(person.natural, w[at]), max(0.8 * person.makeup, 0.35))
    albedo[at] = torch.lerp(albedo[at], hair * 0.45 + 0.05 * base[at], cover[:, None])
    relief[at] += cover * (0.008 + 0.0015 * hairs)


def _beard(person: Person, w, masks, base, albedo, gloss, relief) -> None:
    """Beard and stubble; the shade that shaving leaves on a man."""
    grown = min(max((person.age - 16) / 5, 0.0), 1.0) * (person.masculinity > 0.5)
    if person.beard == "none" and not grown:
        return
    at = ((w[:, 1] < 7.5) & (w[:, 2] > 0.4) & (w[:, 1] > 5.8)).nonzero()[:, 0]
    lips = masks[at, 0].clamp(0, 1)
    hair = colour(person.natural_now, w[at])
    if grown and person.beard != "full":  # the roots show through shaven skin, bluish under pale skin
        roots = beard_density(replace(person, beard="full"), w[at]) * (1 - lips)
        shaven = (0.1 + 0.12 * ((person.seed * 0.754878) % 1)) * grown * (1 - 0.6 * person.greyness)
        cool = torch.tensor([0.86, 0.95, 1.05], device=w.device) * base[at] * 0.55 + 0.2 * hair
        albedo[at] = torch.lerp(albedo[at], cool, (shaven * roots)[:, None])
    if person.beard == "none":
        return
    beard = beard_density(person, w[at]) * (1 - lips)
    strand = noise(person.seed, w[at] * torch.tensor([1.0, 0.3, 1.0], device=w.device), 80, 6)
    cover = (beard * (0.88 + 0.18 * strand)).clamp(0, 0.95)
    albedo[at] = torch.lerp(albedo[at], hair * (0.75 + 0.12 * strand)[:, None] + 0.04 * base[at], cover[:, None])
    gloss[at] *= 1 - 0.7 * beard
    relief[at] += 0.012 * cover * strand
