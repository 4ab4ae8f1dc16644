"""Things between camera and face: a raised hand, a microphone, a cup, leaves. All are made of round bars."""

import numpy as np
import torch

KINDS = ("hand", "microphone", "cup", "leaves")


def hide(picture: torch.Tensor, seed: int, skin, light, fill) -> None:
    """Draws the thing of this seed over a picture (side, side, 3) of linear light, in place.

    It enters from an edge and reaches over a part of the lower face or of one side. skin: linear RGB of a hand; light:
    the direction to the key light, fill: linear RGB of the light from all sides.
    """
    rng = np.random.default_rng([0x0CC1, seed])
    kind = KINDS[rng.integers(len(KINDS))]
    side, device = len(picture), picture.device
    direction = torch.nn.functional.normalize(torch.tensor(light, device=device), dim=0)
    at = (torch.arange(side, device=device) + 0.5) / side
    for start, end, radius, colour in _bars(kind, rng, skin):
        a, b = torch.tensor(start, device=device), torch.tensor(end, device=device)
        rows, columns = (
            slice(max(int((min(p, q) - radius) * side), 0), max(int((max(p, q) + radius) * side) + 1, 0))
            for p, q in ((start[1], end[1]), (start[0], end[0]))
        )
        place = torch.stack(torch.meshgrid(at[columns], at[rows], indexing="xy"), -1)  # (rows, columns, 2)
        if not place.numel():
            continue
        along = (((place - a) @ (b - a)) / ((b - a) ** 2).sum()).clamp(0, 1)
        off = (place - (a + along[..., None] * (b - a))) / radius
        inside = off.norm(dim=-1)
        normal = torch.cat([off * off.new_tensor([1.0, -1.0]), (1 - inside**2).clamp(min=0).sqrt()[..., None]], -1)
        shine = 0.85 * (normal @ direction).clamp(min=0)[..., None] + off.new_tensor(fill)
        cover = ((1 - inside) * radius * side).clamp(0, 1)[..., None]
        picture[rows, columns] = torch.lerp(picture[rows, columns], off.new_tensor(colour) * shine, cover)


def _bars(kind: str, rng, skin):
    """(start, end, radius, colour) of each bar, in pictures from the top left corner."""
    left = rng.random() < 0.5

    def mirrored(x):
        return float(1 - x if left else x)

    if kind == "hand":
        x, y = rng.uniform(0.5, 0.68), rng.uniform(0.52, 0.66)
        lean = rng.uniform(-0.08, 0.12)
        yield (mirrored(x + 0.12), y + 0.27), (mirrored(x + 0.2), 1.2), 0.12, skin  # wrist
        yield (mirrored(x + 0.02), y + 0.2), (mirrored(x + 0.16), y + 0.2), 0.085, skin  # palm
        for i in range(4):
            end = y + (0.045, 0.0, 0.015, 0.06)[i]
            yield (mirrored(x + 0.058 * i + lean * 0.2), y + 0.22), (mirrored(x + 0.058 * i - lean), end), 0.031, skin
    elif kind == "microphone":
        x, y = rng.uniform(0.46, 0.56), rng.uniform(0.66, 0.74)
        yield (mirrored(x + 0.01), y + 0.04), (mirrored(x + rng.uniform(0.05, 0.2)), 1.2), 0.03, (0.02, 0.02, 0.022)
        yield (mirrored(x), y), (mirrored(x + 0.01), y + 0.05), 0.058, (0.12, 0.12, 0.13)
    elif kind == "cup":
        x, y = rng.uniform(0.5, 0.6), rng.uniform(0.66, 0.74)
        colour = tuple((rng.uniform(0.2, 0.8) * rng.uniform(0.4, 1, 3)).tolist())
        yield (mirrored(x), y), (mirrored(x), y + 0.12), 0.1, colour
        for i in range(4):
            yield (mirrored(x + 0.02), y + 0.01 + 0.045 * i), (mirrored(x + 0.16), y + 0.03 + 0.045 * i), 0.027, skin
        yield (mirrored(x + 0.17), y + 0.1), (mirrored(x + 0.3), 1.2), 0.085, skin
    else:
        for _ in range(int(rng.integers(5, 10))):
            x, y, turn = rng.uniform(0.62, 1.05), rng.uniform(0.0, 1.0), rng.uniform(0, np.pi)
            green = tuple((rng.uniform(0.03, 0.2) * np.array([0.6, 1.0, 0.25])).tolist())
            tip = (mirrored(x + 0.13 * np.cos(turn)), float(y + 0.13 * np.sin(turn)))
            yield (mirrored(x), float(y)), tip, float(rng.uniform(0.02, 0.045)), green
