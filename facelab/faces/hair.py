"""Where hair grows, how thick, and how they look: functions of a place on the template head.

What lies close to the skin is the skin pushed outwards and painted (`hair_depth`), so that there is never a
gap to see through; over it lie the locks that `locks` grooms.
"""

import torch

from facelab.faces import heads
from facelab.faces.mesh import CENTRE

_DEPTHS = {  # how far the hair's body lifts the surface (0.1 m): on top, at the sides
    "bald": (0, 0), "horseshoe": (0.0, 0.03), "buzz": (0.02, 0.015), "cornrows": (0.03, 0.025), "short": (0.05, 0.03),
    "side": (0.07, 0.035), "quiff": (0.07, 0.025), "pixie": (0.07, 0.05), "fringe": (0.07, 0.06), "bob": (0.06, 0.07),
    "long": (0.06, 0.06), "curly": (0.1, 0.09), "braids": (0.04, 0.04), "bun": (0.04, 0.04), "ponytail": (0.04, 0.04),
    "afro": (0.36, 0.3),
}  # fmt: skip


def outwards(where: torch.Tensor) -> torch.Tensor:
    """(n, 3) unit directions from the middle of the skull."""
    return torch.nn.functional.normalize(where - torch.as_tensor(CENTRE).to(where), dim=1)


def hairiness(person, where: torch.Tensor) -> torch.Tensor:
    """(n,) how far inside the hairline a place on the head lies (0.1 m), negative outside it; of the person only
    hair_style, hairline and masculinity matter.

    The line runs over the forehead, in at the temples, down before the ears, under them and round the nape.
    """
    d = where - torch.as_tensor(CENTRE).to(where)
    angle = torch.atan2(d[:, 0].abs(), d[:, 2]) * (180 / torch.pi)  # 0 = front, 180 = back
    male = person.masculinity >= 0.5
    front, side, nape = 7.98 + person.hairline, 7.25 if person.hair_style != "buzz" else 7.35, 6.7
    temple = front + (0.08 + 0.6 * max(person.hairline, 0.0) if male else 0.02)
    knots = torch.tensor([0.0, 22.0, 42.0, 64.0, 80.0, 92.0, 108.0, 130.0, 180.0])
    lines = torch.tensor([front, front, temple - 0.04, 7.62, 7.38, side, 7.15, nape, nape - 0.15])
    line = _interpolate(angle, knots, lines)
    wobble = torch.sin(angle * 0.55 + 1.3) + torch.sin(angle * 1.27) + 0.7 * torch.sin(angle * 2.9 + 0.4)
    inside = where[:, 1] - line - 0.012 * wobble
    if person.hair_style == "horseshoe":  # bare on top, hair round the back
        inside = torch.minimum(inside, 7.88 - 0.28 * d[:, 2] - where[:, 1])
    return inside


def hair_depth(person, where: torch.Tensor, masks: torch.Tensor, covered=0.0) -> torch.Tensor:
    """(n,) how far hair lifts the surface (0.1 m); covered (n,) in 0 … 1: where a hat presses it flat."""
    style = person.hair_style
    top, sides = _DEPTHS[style]
    inside = (hairiness(person, where) / 0.28).clamp(0, 1)
    up = ((where[:, 1] - 7.5) / 0.8).clamp(0, 1)
    depth = (sides + (top - sides) * up) * person.hair_volume
    ears = masks[:, heads.MASKS.index("ears")]
    depth = depth * inside.sqrt() * (1 - ears)
    return depth + covered * (depth.clamp(max=0.02) - depth)


def surface(person, detail: torch.Tensor, *, beard: bool = False):
    """Albedo (n, 3), gloss (n,) and its exponent (n,) of locks: detail (n, 3) = how far across the lock (−1 … 1), how
    far along it (0 … 1), the lock's own number in 0 … 1."""
    across, along, own = detail.unbind(1)
    colour = torch.tensor(person.natural_now if beard else person.hair_now, device=detail.device)
    coiled = person.hair_style in ("afro", "curly", "braids") and not beard
    strands = torch.sin(9 * across + 200 * own) + torch.sin(23 * across + 3 * along + 610 * own)
    tone = (0.8 + 0.34 * own) * (0.9 + 0.2 * along) * (1 + 0.09 * strands)
    gloss = torch.full_like(tone, 0.05 if coiled or beard else 0.4) * (1 + 0.3 * strands)
    return colour * tone[:, None], gloss, torch.full_like(tone, 16.0)


def _interpolate(x: torch.Tensor, knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    knots, values = knots.to(x), values.to(x)
    i = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    t = (x - knots[i - 1]) / (knots[i] - knots[i - 1])
    t = t * t * (3 - 2 * t)
    return values[i - 1] + t * (values[i] - values[i - 1])
