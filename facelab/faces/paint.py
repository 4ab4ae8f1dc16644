"""The colour of a point of a bust: skin, eyes, hair, cloth and what is worn, smooth functions of its template place.

Evaluated per pixel, so it is as sharp as the picture, and the same for every pose, light and expression of a person.
"""

from typing import NamedTuple

import torch

from facelab.faces import clothes, heads, wear
from facelab.faces.hair import hairiness
from facelab.faces.mesh import HAIR
from facelab.faces.patterns import colour, noise
from facelab.faces.people import Person
from facelab.faces.skin import skin

_INSIDE = {heads.TEETH: (0.86, 0.83, 0.75), heads.TONGUE: (0.42, 0.13, 0.12), heads.MOUTH: (0.16, 0.035, 0.035)}


class Surface(NamedTuple):
    """albedo (n, 3) linear RGB; gloss (n,) strength of the highlight; sharp (n,) its exponent; relief (n,) height of
    what is too fine for the mesh, in 0.1 m; hair (n,) how much it shines like hair, in bands across the strands."""

    albedo: torch.Tensor
    gloss: torch.Tensor
    sharp: torch.Tensor
    relief: torch.Tensor
    hair: torch.Tensor


def paint(person: Person, where: torch.Tensor, part: torch.Tensor, masks: torch.Tensor, cloth=None) -> Surface:
    """The surface at n points: where (n, 3) template positions, part (n,) and masks (n, 3) as in `bust.Bust`;
    cloth: linear RGB of what covers the shoulders, None = nothing."""
    albedo, gloss = torch.empty_like(where), torch.full_like(where[:, 0], 0.05)
    sharp, relief, hair = torch.full_like(gloss, 12.0), torch.zeros_like(gloss), torch.zeros_like(gloss)
    for code in part.unique().tolist():
        at = (part == code).nonzero()[:, 0]
        w = where[at]
        if code in (heads.SKIN, heads.SOCKETS):
            albedo[at], gloss[at], relief[at], hair[at] = _head(person, w, masks[at])
            if cloth is not None:
                worn, colours, raised = clothes.covering(person, w, cloth)
                albedo[at[worn]], gloss[at[worn]], relief[at[worn]] = colours, 0.01, raised
        elif code in (heads.LEFT_EYE, heads.RIGHT_EYE):
            albedo[at] = _eye(person, w, 1.0 if code == heads.LEFT_EYE else -1.0)
            gloss[at], sharp[at] = 0.3, 500.0
        elif code >= HAIR:
            albedo[at], gloss[at], sharp[at] = wear.surface(code, person, w, masks[at], cloth)
            hair[at] = float(code == HAIR)
        else:
            flat = _INSIDE[code]
            inwards = ((w[:, 2] - 0.9) / 0.5).clamp(0.05, 1)  # the mouth is dark inside, and in its corners
            corner = torch.sigmoid((0.19 - w[:, 0].abs()) / 0.025).clamp(min=0.06)
            albedo[at] = colour(flat, w) * (inwards * corner)[:, None]
    return Surface(albedo.clamp(0.002, 1), gloss, sharp, relief, hair)


def _head(person: Person, w: torch.Tensor, masks: torch.Tensor):
    """Skin, and the hair that grows on the scalp."""
    albedo, gloss, relief = skin(person, w, masks)
    hair = torch.zeros_like(gloss)
    inside = hairiness(person, w)
    at = (inside > -0.15).nonzero()[:, 0]
    if person.hair_style == "bald":  # a shaved or bald scalp keeps a shade of hair round the back
        cover = 0.25 * torch.sigmoid(inside[at] / 0.08) * torch.sigmoid((7.75 - w[at, 1]) / 0.08)
    else:
        soft, most = {"buzz": (0.05, 0.8), "cornrows": (0.05, 0.4)}.get(person.hair_style, (0.03, 1.0))
        fringed = w[at] * torch.tensor([1.0, 0.25, 1.0], device=w.device)
        cover = most * torch.sigmoid((inside[at] + 0.022 * noise(person.seed, fringed, 60, 7)) / soft)
    cover = cover * (1 - masks[at, 2])
    strands, shine, raised = _strands(person, w[at])
    albedo[at] = torch.lerp(albedo[at], strands, cover[:, None])
    gloss[at] = torch.lerp(gloss[at], shine, cover)
    relief[at] = torch.lerp(relief[at], raised, cover)
    hair[at] = cover
    return albedo, gloss, relief, hair


def _strands(person: Person, w: torch.Tensor):
    """Colour (n, 3), gloss (n,) and relief (n,) of hair: streaks along its fall, or curls."""
    if person.hair_style in ("afro", "buzz", "cornrows", "braids", "curly"):
        curl = noise(person.look, w, 55, 9) + 0.5 * noise(person.look, w, 110, 10)
        tone, deep = (0.2, 0.016) if person.hair_style == "afro" else (0.12, 0.004)
        return (
            colour(person.hair_now, w) * (1 + tone * curl).clamp(0.3, 2)[:, None],
            torch.full_like(curl, 0.015),
            deep * curl,
        )
    along = w * torch.tensor([1.0, 0.1, 0.35], device=w.device)
    coarse, fine = noise(person.look, along, 30, 9), noise(person.look, along, 95, 10)
    streak = 0.16 * coarse + 0.12 * fine
    return (
        colour(person.hair_now, w) * (1 + streak).clamp(0.3, 2)[:, None],
        (0.5 + 0.3 * fine).clamp(min=0.05),
        (0.012 * coarse + 0.005 * fine),
    )


def _eye(person: Person, w: torch.Tensor, side: float) -> torch.Tensor:
    """Sclera, iris with a dark rim and fibres, pupil: by the distance from the middle of the eye's front; the upper lid
    shades all of them."""
    centre = torch.tensor([side * 0.31, 7.285], device=w.device)
    d = w[:, :2] - centre
    r = torch.where(w[:, 2] > 1.245, d.norm(dim=1), torch.ones_like(d[:, 0]))
    fibre = 1 + 0.2 * torch.sin(torch.atan2(d[:, 1], d[:, 0]) * 23 + person.seed) * (r / 0.06)
    iris = colour(person.eyes, w) * (fibre * (0.8 + 0.5 * (r / 0.06)))[:, None]
    iris = torch.lerp(iris, 0.2 * iris, torch.sigmoid((r - 0.052) / 0.003)[:, None])
    sclera = torch.tensor([0.62, 0.58, 0.56], device=w.device) * (1 - 0.3 * (r / 0.14).clamp(0, 1) ** 2)[:, None]
    red = torch.sigmoid((r - 0.1) / 0.01)  # towards the corners
    sclera = sclera * torch.stack([1 - 0.02 * red, 1 - 0.14 * red, 1 - 0.14 * red], 1)
    white = torch.lerp(iris, sclera, torch.sigmoid((r - 0.061) / 0.003)[:, None])
    black = torch.lerp(white, 0.01 * torch.ones_like(white), torch.sigmoid((0.024 - r) / 0.002)[:, None])
    return black * (1 - 0.55 * torch.sigmoid((w[:, 1] - 7.318) / 0.008))[:, None]
