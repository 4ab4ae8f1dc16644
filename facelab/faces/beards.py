"""Beards: where they grow on the template's face, how thick, and the hairs that stand off it."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from facelab.faces import heads, mesh
from facelab.faces.locks import VARIANTS, sheets

# Number of locks, the length of the shortest and of the longest beard (0.1 m).
_LOCKS = {
    "full": (260, 0.1, 0.3),
    "goatee": (110, 0.1, 0.24),
    "moustache": (60, 0.1, 0.14),
    "sideburns": (70, 0.06, 0.1),
}


def beard_density(person, where: torch.Tensor) -> torch.Tensor:
    """(n,) how densely facial hair grows at places on the face, 0 … 1."""
    if person.beard == "none":
        return torch.zeros(len(where), device=where.device)
    x, y, z = where[:, 0].abs(), where[:, 1], where[:, 2]

    def inside(value, low, high, soft=0.05):
        return torch.sigmoid((value - low) / (soft / 4)) * torch.sigmoid((high - value) / (soft / 4))

    front = torch.sigmoid((z - 0.55) / 0.03)
    upper = 6.62 + 0.55 * ((x - 0.3) / 0.5).clamp(0, 1)  # the cheek line rises towards the ear
    jaw = torch.sigmoid((upper - y) / 0.03) * torch.sigmoid((y - 5.95) / 0.04) * front
    lip = (
        inside(x, -0.34, 0.31, 0.08)
        * inside(y, 6.745 - 0.16 * x, 6.885 - 0.2 * x, 0.03)
        * torch.sigmoid((z - 1.2) / 0.02)
    )
    chin = inside(x, -0.3, 0.24, 0.08) * inside(y, 6.1, 6.56, 0.06) * torch.sigmoid((z - 1.05) / 0.03)
    strip = inside(z, 0.58, 0.86, 0.06) * inside(y, 6.72, 7.4, 0.08) * torch.sigmoid((x - 0.6) / 0.02)
    around = inside(x, 0.22, 0.36, 0.08) * inside(y, 6.4, 6.8, 0.06) * torch.sigmoid((z - 1.1) / 0.03)
    whole = torch.stack([jaw, lip, strip, chin]).amax(0)
    density = {
        "shadow": 0.42 * whole, "goatee": torch.stack([chin, 0.9 * lip, 0.8 * around]).amax(0), "moustache": lip,
        "sideburns": strip, "full": whole,
    }[person.beard]  # fmt: skip
    return density


def beard_depth(person, where: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(n,) how far facial hair lifts the surface (0.1 m)."""
    deep = {"full": 0.05, "goatee": 0.045, "moustache": 0.03, "sideburns": 0.02}.get(person.beard, 0.0)
    return deep * beard_density(person, where) * (1 - masks[:, heads.MASKS.index("lips")])


def of(person, device="cpu") -> tuple[mesh.Carried, ...]:
    """The locks of a person's beard, tied to the skin."""
    return _beard(person.beard, person.look % VARIANTS, str(device)) if person.beard in _LOCKS else ()


class _Beard(NamedTuple):
    beard: str


@lru_cache(maxsize=64)
def _beard(kind: str, variant: int, device: str) -> tuple[mesh.Carried, ...]:
    rng = np.random.default_rng([0xBEA2D, variant])
    n, shortest, longest = _LOCKS[kind]
    model, own = heads.load(), mesh.template_skin()
    faces = model.faces[model.part == heads.SKIN]
    centre = model.template[faces].mean(1)
    lips = model.masks[faces][..., heads.MASKS.index("lips")].amax(1)
    density = beard_density(_Beard(kind), centre) * (lips < 0.3) * (centre[:, 1] > 6.14 - 0.1 * (centre[:, 2] > 1))
    a, b, c = model.template[faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1)
    share = (area * (density > 0.5)).double().numpy()
    chosen = rng.choice(len(faces), n, p=share / share.sum())
    weight = rng.dirichlet((1, 1, 1), n)
    root = np.einsum("nk,nkc->nc", weight, model.template[faces[chosen]].double().numpy())
    normal = own.normals[own.tree.query(root)[1]]
    x, y, z = root.T
    if kind == "moustache":
        heading = np.stack([np.sign(x) * (0.4 + np.abs(x)), -0.6 + 0 * y, 0.2 + 0 * z], 1) + 0.2 * normal
    else:
        heading = np.stack([0.15 * x, -1 + 0 * y, 0.15 + 0 * z], 1) + 0.3 * normal
    low = np.clip((6.65 - y) / 0.4, 0, 1) * np.clip((z - 0.7) / 0.5, 0, 1)  # longest at the chin
    short = 1 - 0.45 * np.clip((y - 6.75) / 0.3, 0, 1)
    length = (shortest + (longest - shortest) * rng.random() ** 2 * low) * short * rng.uniform(0.8, 1.2, n)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    t = np.linspace(0, 1, 5)[None, :, None]
    path = root[:, None] + normal[:, None] * (0.01 + 0.025 * t) + heading[:, None] * length[:, None, None] * t
    path = path - np.array([0, 1.0, 0]) * 0.25 * length[:, None, None] * t**2
    points, triangles, detail, shade = sheets(path, 0.017 if kind == "moustache" else 0.024, rng, layer=rng.random(n))
    return (mesh.carried(mesh.piece(mesh.BEARD, points, triangles, detail=detail, shade=shade, spread=3), 4, device),)
