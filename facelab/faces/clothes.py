"""Clothes on the template's shoulders: their neckline, colour and thickness; collars and hoods as meshes.

A garment is the skin of neck and shoulders, lifted a little and coloured; its kind comes from `Person.look` and from
what is worn with it: a necktie needs a shirt, a necklace a free neck.
"""

from functools import lru_cache

import numpy as np
import torch

from facelab.faces import mesh
from facelab.faces.mesh import CLOTH
from facelab.faces.patterns import colour

VARIANTS = 12  # of each collar
GARMENTS = ("crew", "v", "scoop", "shirt", "turtleneck", "hood")


def garment(person) -> str:
    """What covers the shoulders: one of GARMENTS, or a suit (shirt and jacket)."""
    if "necktie" in person.wears:
        return "suit" if person.look // 5 % 3 else "shirt"
    if "necklace" in person.wears:
        return ("crew", "v", "scoop")[person.look // 5 % 3]
    return GARMENTS[person.look // 5 % len(GARMENTS)]


def of(person, device="cpu") -> tuple[mesh.Carried, ...]:
    """The garment below the model's edge, and its collar or hood if it has one, tied to the skin."""
    name = {"shirt": "collar", "suit": "collar"}.get(garment(person), garment(person))
    rest = _made(name, person.look // 3 % VARIANTS, str(device)) if name in _BUILD else ()
    return (*_made("hem", 0, str(device)), *rest)


@lru_cache(maxsize=64)
def _made(name: str, variant: int, device: str) -> tuple[mesh.Carried, ...]:
    rng = np.random.default_rng([0xC107, variant, len(name)])
    return tuple(mesh.carried(piece, 40 if name == "hem" else 8, device) for piece in _BUILD[name](rng))


def _collar(rng):
    """A shirt's collar: a band round the neck, folded over and open in front."""
    spread, deep, columns = rng.uniform(0.3, 0.55), rng.uniform(0.36, 0.46), 57
    across = np.linspace(-1, 1, columns)
    rows = []
    for opening, drop, off in ((0.02, 0.26, 0.02), (0.05, 0.02, 0.045), (0.07, 0.0, 0.07), (0.09, 0.02, 0.095),
                               (spread * 0.5, 0.6 * deep, 0.12), (spread, deep, 0.14)):  # fmt: skip
        azimuth = np.pi - across * (np.pi - opening)
        front = (1 + np.cos(azimuth)) / 2
        height = 6.24 - 0.14 * front**1.5 - drop * (0.85 + 0.3 * front**4)
        points, _ = mesh.body(azimuth, np.maximum(height, 5.98 - 0.1 * front))
        level = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], 1)
        points = points + off * level
        points[:, 1] = height
        rows.append(mesh.clear(points, off * 0.8))
    points = np.stack(rows)
    own = np.stack(np.broadcast_arrays(1.0, across[None], np.linspace(0, 1, 6)[:, None]), -1)
    return [mesh.piece(CLOTH, points.reshape(-1, 3), mesh.grid(6, columns), detail=own.reshape(-1, 3), head=False)]


def _turtleneck(rng):
    azimuth = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rows = []
    for height, off in ((5.9, 0.06), (5.95, 0.12), (6.05, 0.14), (6.16, 0.13), (6.2, 0.09), (6.17, 0.03), (6.1, 0.0)):
        tilt = height + 0.1 * (1 - np.cos(azimuth)) / 2
        points, _ = mesh.body(azimuth, np.maximum(tilt, 5.96))
        points[:, 1] = tilt
        level = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], 1)
        rows.append(points + off * level)
    points = np.stack(rows)
    own = np.stack(np.broadcast_arrays(2.0, azimuth[None], np.linspace(0, 1, 7)[:, None]), -1)
    faces = mesh.grid(7, 48, closed=True)
    return [mesh.piece(CLOTH, points.reshape(-1, 3), faces, detail=own.reshape(-1, 3), head=False)]


def _hood(rng):
    """A hood lying on the shoulders: a roll, thick behind the neck."""
    azimuth = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    behind = (1 - np.cos(azimuth)) / 2
    points, normal = mesh.body(azimuth, 5.78 + 0.32 * behind)
    radius = 0.07 + 0.13 * behind**1.5
    path = points + normal * (0.5 * radius)[:, None]
    for _ in range(4):
        path = (np.roll(path, 1, 0) + 2 * path + np.roll(path, -1, 0)) / 4
    roll = mesh.tube(path, radius * (1 + 0.06 * np.sin(9 * azimuth)), closed=True, sides=10)
    cords = []
    for side in (-1, 1):
        y = np.linspace(5.72, 5.1, 8)
        front, _ = mesh.body(np.full(8, 0.16 * side), y)
        cords.append(mesh.tube(np.stack([0 * y + 0.15 * side, y, front[:, 2] + 0.07], 1), 0.02))
    body = mesh.piece(CLOTH, *roll, detail=(2.0, 0, 0), head=False)
    return [body, mesh.piece(CLOTH, *mesh.joined(*cords), detail=(3.0, 0, 0), head=False)]


def _hem(rng):
    """What hangs below the head model's ragged edge at chest and upper arms: small shoulders show it."""
    azimuth = np.linspace(-np.pi, np.pi, 72, endpoint=False)
    sin, cos = (np.sign(v) * np.abs(v) ** 0.8 for v in (np.sin(azimuth), np.cos(azimuth)))
    rows = []
    for height, off in ((5.2, -0.3), (5.0, -0.1), (4.8, 0.0), (4.5, 0.03), (2.0, 0.03)):
        deep = np.where(cos > 0, 0.95, 0.86) + off  # from the neck's axis to the chest and to the back
        rows.append(np.stack([(2.32 + off) * sin, height + 0 * sin, mesh.AXIS + deep * cos], 1))
    faces = mesh.grid(len(rows), len(azimuth), closed=True)[:, ::-1]
    return [mesh.piece(CLOTH, np.concatenate(rows), faces, shade=0.95, head=False)]


_BUILD = {"hem": _hem, "collar": _collar, "turtleneck": _turtleneck, "hood": _hood}


# ---- the skin of neck and shoulders, lifted and coloured


def _inside(person, w: torch.Tensor) -> torch.Tensor:
    """(n,) how far inside the garment's neckline a place on the shoulders lies (0.1 m), negative outside it."""
    x, y, z = w[:, 0].abs(), w[:, 1], w[:, 2]
    kind = garment(person)
    line = 5.98 - 0.3 * z + (0.1 if kind in ("shirt", "suit") else 0.24 if kind in ("turtleneck", "hood") else 0.0)
    if kind == "v":
        line = line - 0.5 * (1 - x / 0.41).clamp(min=0) * (z > 0.4)
    elif kind == "scoop":
        line = line - 0.08 - 0.22 * (1 - (x / 0.6) ** 2).clamp(min=0) * (z > 0.4)
    return line - y


def thickness(person, w: torch.Tensor) -> torch.Tensor:
    """(n,) how far clothes lift the skin of the shoulders (0.1 m)."""
    return 0.035 * (_inside(person, w) / 0.06 + 0.5).clamp(0, 1) * (w[:, 1] < 6.3)


def covering(person, w: torch.Tensor, cloth):
    """Which of the places (n, 3) on the skin are clothed (n,) bool, and of those the albedo (m, 3) and the relief (m,);
    cloth: linear RGB."""
    inside = _inside(person, w)
    worn = (inside > 0) & (w[:, 1] < 6.3)
    w, inside, kind = w[worn], inside[worn], garment(person)
    x, y = w[:, 0].abs(), w[:, 1]
    knit = torch.sin(w[:, 0] * 130) * torch.sin(y * 110)
    seam = torch.exp(-(((inside - 0.085) / 0.008) ** 2)) * (x < 1) if kind in ("crew", "v", "scoop") else 0 * inside
    rib = (inside < 0.085) & (x < 1) if kind in ("crew", "v") else inside < -1
    tone = 1 + 0.04 * knit - 0.35 * seam - 0.15 * rib + rib * 0.08 * torch.sin(170 * w[:, 0])
    relief = 0.002 * knit - 0.008 * seam + 0.006 * rib
    albedo = colour(cloth, w) * tone[:, None]
    if kind in ("shirt", "suit"):
        front = w[:, 2] > 0.3
        linen = shirt(person, w, cloth)
        if kind == "shirt":
            button = torch.sqrt(x**2 + (torch.remainder(y, 0.34) - 0.17) ** 2)
            placket = torch.exp(-(((x - 0.1) / 0.008) ** 2)) * front
            linen = linen * (1 - 0.3 * placket - 0.4 * (button < 0.028) * front)[:, None]
            albedo = linen
        else:
            open_to = 0.42 + (y - 5.75) * 0.34  # half width of the shirt's front at a height
            lapel = (x - open_to) / 0.26
            edge = torch.exp(-(((lapel - 1) / 0.05) ** 2)) + torch.exp(-((lapel / 0.04) ** 2))
            jacket = albedo * (1 - 0.5 * (edge * front).clamp(0, 1))[:, None]
            albedo = torch.where(((x < open_to) & front)[:, None], linen, jacket)
            relief = relief + 0.01 * ((lapel > 0) & (lapel < 1) & front)
    return worn, albedo, relief


def shirt(person, w: torch.Tensor, cloth) -> torch.Tensor:
    """(n, 3) the shirt: white, pale or striped under a jacket or a tie, otherwise of the cloth's colour."""
    if "necktie" not in person.wears:
        return colour(cloth, w)
    pale = ((0.72, 0.72, 0.72), (0.5, 0.6, 0.74), (0.74, 0.72, 0.66), (0.7, 0.58, 0.6))[person.look // 11 % 4]
    stripe = 1 - 0.25 * (person.look // 13 % 4 == 0) * (torch.sin(w[:, 0] * 60) > 0.6)
    return torch.tensor(pale, device=w.device) * stripe[:, None]


def surface(person, detail: torch.Tensor, w: torch.Tensor, cloth=None) -> torch.Tensor:
    """Albedo (n, 3) of collars and hoods: detail = 0 hem, 1 collar, 2 roll, 3 cord; across; 0 … 1 outwards."""
    a, b, c = detail.unbind(1)
    cloth = (0.3, 0.3, 0.3) if cloth is None else cloth
    worn = shirt(person, w, cloth)
    if garment(person) == "suit":
        worn = torch.where((a == 0)[:, None], colour(cloth, w), worn)
    ribs = 1 + 0.1 * torch.sin(64 * b) * (a > 1.5) * (garment(person) == "turtleneck")
    stitch = 1 - 0.25 * ((c > 0.93) | (b.abs() > 0.985)) * (a == 1)
    return worn * (ribs * stitch * (1 + 0.8 * (a > 2.5)))[:, None]
