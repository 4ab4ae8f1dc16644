"""Hats on the template head: beanie, cap, brimmed hat, kerchief, veil; what of the head they cover."""

from functools import lru_cache

import numpy as np
import torch

from facelab.faces import mesh
from facelab.faces.mesh import CENTRE, HAT

VARIANTS = 6  # of each kind
# Height of the rim on the template at the front (z = 1.5) and at the back (z = −0.35).
_RIMS = {"beanie": (7.78, 7.0), "cap": (7.8, 7.15), "brimmed": (7.8, 7.2), "sun hat": (7.82, 7.15),
         "kerchief": (7.94, 6.95)}  # fmt: skip
# The veil: half width, front and back at heights, and how far its opening reaches round the face (degrees).
_VEIL = np.array([
    (8.6, 0.02, 0.68, 0.62, 0), (8.52, 0.34, 0.98, 0.25, 0), (8.36, 0.56, 1.2, -0.05, 0), (8.1, 0.74, 1.4, -0.28, 0),
    (7.98, 0.78, 1.45, -0.35, 0), (7.9, 0.8, 1.47, -0.38, 18), (7.72, 0.84, 1.5, -0.43, 36),
    (7.5, 0.88, 1.52, -0.45, 46), (7.2, 0.92, 1.5, -0.45, 52),
    (6.95, 0.9, 1.48, -0.42, 52), (6.7, 0.84, 1.45, -0.38, 47), (6.45, 0.74, 1.4, -0.34, 38),
    (6.28, 0.67, 1.36, -0.34, 24), (6.12, 0.64, 1.24, -0.36, 0), (5.98, 0.72, 1.1, -0.44, 0),
    (5.82, 1.0, 1.08, -0.52, 0), (5.65, 1.4, 1.12, -0.6, 0), (5.4, 1.8, 1.2, -0.68, 0), (5.1, 2.0, 1.3, -0.74, 0),
])  # fmt: skip


def kind(person) -> str | None:
    """The kind of hat a person wears, None = no hat."""
    if "hat" not in person.wears:
        return None
    men, women = ("beanie", "cap", "brimmed", "cap", "beanie"), ("beanie", "cap", "sun hat", "kerchief", "veil")
    kinds = men if person.masculinity >= 0.5 else women
    kind = kinds[person.look // 7 % 5]
    hidden = kind == "veil" and not {"earrings", "necklace", "necktie"}.isdisjoint(person.wears)
    return "kerchief" if hidden else kind


def of(person, device="cpu") -> tuple[mesh.Carried, ...]:
    """The hat a person wears, tied to the skin: one piece or none."""
    worn = kind(person)
    return () if worn is None else (_made(worn, person.look // 41 % VARIANTS, str(device)),)


def covered(person, where: torch.Tensor, below: float = 0.0) -> torch.Tensor:
    """(n,) whether places on the template lie under the hat, 0 … 1; `below` = also so far under its rim, fading."""
    worn = kind(person)
    if worn is None:
        return torch.zeros_like(where[:, 0])
    if worn == "veil":
        return torch.ones_like(where[:, 0])
    front, back = _RIMS[worn]
    line = back + (front - back) * (where[:, 2] + 0.35) / 1.85
    return torch.sigmoid((where[:, 1] - line - 0.04 + below / 2) / (0.012 + below / 6))


@lru_cache(maxsize=64)
def _made(worn: str, variant: int, device: str) -> mesh.Carried:
    rng = np.random.default_rng([0x4A7, variant, len(worn)])
    build = {"beanie": _beanie, "cap": _cap, "brimmed": _brimmed, "sun hat": _sun_hat, "kerchief": _kerchief,
             "veil": _veil}[worn]  # fmt: skip
    points, faces, detail = build(rng)
    return mesh.carried(mesh.piece(HAT, points, faces, detail=detail, shade=0.85), 16, device)


# Every builder returns points, triangles and detail (n, 3): 0 crown, 1 brim, 2 band; azimuth; 0 … 1 from rim to crown.


def _rim(worn: str, azimuth: np.ndarray) -> np.ndarray:
    """(n,) elevation at which the rim's plane meets the skull."""
    front, back = _RIMS[worn]
    low, high = np.full(len(azimuth), -0.9), np.full(len(azimuth), 1.3)
    for _ in range(18):
        middle = (low + high) / 2
        d = mesh.direction(azimuth, middle)
        p = CENTRE + d * mesh.skull(d, 12)[:, None]
        above = p[:, 1] > back + (front - back) * (p[:, 2] + 0.35) / 1.85
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def _dome(worn: str, thick, rows: int = 14, columns: int = 44, ears: float = 0.04):
    """A shell over the skull from the rim to the crown; thick(share, azimuth) = its distance from the skull."""
    azimuth = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    rim = _rim(worn, azimuth)
    share = np.concatenate([[0.0], np.linspace(0, 1, rows) ** 1.1])
    d = mesh.direction(azimuth, rim + (np.pi / 2 - rim) * share[:, None])  # (rows + 1, columns, 3)
    gap = thick(share[:, None], azimuth[None]) + 0 * d[..., 0]
    gap[0] = -0.02  # the first row is tucked in, so that the rim has an edge
    gap[1:] += ears * np.exp(-(((np.abs(np.sin(azimuth)) - 1) / 0.12) ** 2)) * np.clip(1 - share[1:, None] / 0.3, 0, 1)
    points = CENTRE + d * (mesh.skull(d, 12) + gap)[..., None]
    detail = np.stack(np.broadcast_arrays(0.0, azimuth[None], share[:, None]), -1)
    return points, mesh.grid(rows + 1, columns, closed=True), detail


def _flat(points, faces, detail, *more):
    parts = [(points.reshape(-1, 3), faces), *((p.reshape(-1, 3), f) for p, f, _ in more)]
    details = [detail.reshape(-1, 3), *(np.broadcast_to(d, (*p.shape[:-1], 3)).reshape(-1, 3) for p, _, d in more)]
    return (*mesh.joined(*parts), np.concatenate(details))


def _beanie(rng):
    fold, slack = rng.uniform(0.16, 0.3), rng.uniform(0.02, 0.2)
    points, faces, detail = _dome(
        "beanie", lambda s, a: 0.1 + 0.055 * (s < fold) + slack * np.clip((s - 0.4) / 0.6, 0, 1) ** 2, rows=18
    )
    back = np.clip((points[..., 1] - 8.2) / 0.5, 0, 1) * slack
    points = points - back[..., None] * np.array([0, 0, 1.0])
    detail = detail + np.stack([2.0 * (detail[..., 2] < fold), 0 * back, 0 * back], -1)
    if rng.random() < 0.4:
        ball, triangles = mesh.balls(points[-1].mean(0)[None] + np.array([0, 0.1, 0]), 0.19, 8, 12)
        return _flat(points, faces, detail, (ball, triangles, np.array([3.0, 0, 0])))
    return _flat(points, faces, detail)


def _cap(rng):
    points, faces, detail = _dome(
        "cap", lambda s, a: 0.07 + 0.1 * np.clip(np.cos(a), 0, 1) ** 2 * np.sin(np.pi * s.clip(0.02, 1)) ** 0.7
    )
    across, out = np.linspace(-1, 1, 21), np.linspace(0, 1, 6)[:, None]
    rim = _rim("cap", across * 1.12)
    d = mesh.direction(across * 1.12, rim)
    start = CENTRE + d * (mesh.skull(d, 12) + 0.06)[:, None]
    long = rng.uniform(0.5, 0.68) * (1 - 0.62 * across**2)
    away = np.stack([0.35 * np.sin(across), -0.2 + 0 * across, 1.0 + 0 * across], -1)
    brim = start + (out * long)[..., None] * away - np.array([0, 1.0, 0]) * (0.13 * across**2 * out)[..., None]
    under = brim - np.array([0, 0.03, 0]) * np.minimum(1, 4 * (1 - out))[..., None]
    button, triangles = mesh.balls(points[-1].mean(0)[None], 0.06, 5, 8)
    return _flat(
        points, faces, detail, (np.concatenate([brim, under[::-1]]), mesh.grid(12, 21)[:, ::-1], np.array([1.0, 0, 0])),
        (button, triangles, np.array([1.0, 0, 0])),
    )  # fmt: skip


def _crowned(rng, worn: str, wide: float, curl: float, droop: float, dent: float, tall: float):
    """A hat with a crown of its own and a brim all round."""
    points, faces, detail = _dome(worn, lambda s, a: 0.07 + 0 * s, rows=16)
    share = detail[..., 2]
    rim, middle = points[1], points[1].mean(0)
    up = np.clip(share / 0.72, 0, 1)
    shrink = np.where(share < 0.72, 0.2 * up**2, 0.2 + 0.8 * np.clip((share - 0.72) / 0.28, 0, 1) ** 1.3)
    top = np.array([middle[0], 8.58 + tall, middle[2] + 0.02])
    flat = rim + shrink[..., None] * (top - rim) * np.array([1, 0, 1.0])
    height = rim[None, :, 1] + (top[1] - rim[None, :, 1]) * np.sin(up * np.pi / 2) ** 1.2
    own = np.stack([flat[..., 0], height, flat[..., 2]], -1)
    crest = np.clip((share - 0.6) / 0.3, 0, 1)
    own[..., 1] -= dent * crest * np.exp(-((own[..., 0] / 0.16) ** 2))
    pinch = dent * 0.9 * np.exp(-((np.abs(own[..., 0]) - 0.3) ** 2) / 0.03) * np.clip(own[..., 2] - 0.9, 0, 1) * up
    own[..., 2] -= pinch
    d = own - CENTRE
    far = np.linalg.norm(d, axis=-1, keepdims=True)
    own = CENTRE + d / far * np.maximum(far[..., 0], mesh.skull(d / far, 12) + 0.05)[..., None]
    own[0] = points[0]
    detail = detail + np.stack([2.0 * (share < 0.22), 0 * share, 0 * share], -1)
    detail[0, :, 0] = 1.0  # below the brim
    out = np.linspace(0, 1, 7)[:, None]
    azimuth = detail[0, :, 1]
    away = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], -1)
    long = wide * (1 + 0.15 * np.cos(azimuth))
    rise = out**2 * (curl * np.sin(azimuth) ** 2 - droop * (0.6 + 0.4 * np.cos(2 * azimuth)))
    wave = 0.02 * np.sin(3 * azimuth + rng.uniform(0, 6)) * out
    brim = rim - away * 0.03 + (out * long)[..., None] * away + np.array([0, 1.0, 0]) * (rise + wave)[..., None]
    ring = np.stack(np.broadcast_arrays(1.0, azimuth[None], out), -1)
    return _flat(own, faces, detail, (brim, mesh.grid(7, len(azimuth), closed=True)[:, ::-1], ring))


def _brimmed(rng):
    return _crowned(rng, "brimmed", rng.uniform(0.3, 0.42), 0.16, 0.05, rng.uniform(0.1, 0.18), rng.uniform(0.0, 0.08))


def _sun_hat(rng):
    return _crowned(rng, "sun hat", rng.uniform(0.5, 0.8), 0.0, rng.uniform(0.05, 0.22), 0.0, rng.uniform(-0.02, 0.05))


def _kerchief(rng):
    points, faces, detail = _dome("kerchief", lambda s, a: 0.075 + 0.012 * np.sin(7 * a + 9 * s) * (1 - s), ears=0.02)
    knot = np.array([0, 6.98, -0.4])
    ball, triangles = mesh.balls(knot[None], np.array([[0.12, 0.08, 0.07]]), 6, 10)
    across, down = np.linspace(-1, 1, 5), np.linspace(0, 1, 7)[:, None]
    tails = []
    for side in (-1, 1):
        x = side * (0.06 + 0.16 * down) + across * (0.05 + 0.07 * down)
        y = knot[1] - 0.6 * down + 0.04 * side * down
        z = knot[2] - 0.06 - 0.06 * np.sin(3 * down) + 0.03 * across
        tail = np.stack(np.broadcast_arrays(x, y, z), -1)
        tails.append((tail, mesh.grid(7, 5), np.array([0.0, 0, 0])))
    return _flat(points, faces, detail, (ball, triangles, np.array([0.0, 0, 0])), *tails)


def _veil(rng):
    heights = np.interp(np.linspace(0, 1, 40), np.linspace(0, 1, len(_VEIL)), _VEIL[:, 0])
    half, front, back, opening = (np.interp(-heights, -_VEIL[:, 0], _VEIL[:, i]) for i in range(1, 5))
    across = np.linspace(-1, 1, 60)
    open_to = np.radians(opening)[:, None]
    around = np.sign(across) * (open_to + (np.pi - open_to) * np.abs(across))  # 0 = front
    loose = np.clip((7.2 - heights) / 1.2, 0, 1)[:, None]
    fold = 0.012 * np.sin(2.2 * around + 9 * heights[:, None] + rng.uniform(0, 6)) * (0.4 + loose)
    fold = fold + 0.03 * loose * np.sin(7 * around + 3 * heights[:, None] + rng.uniform(0, 6))
    wide, cos = 1.03 + fold, np.cos(around)
    x = half[:, None] * np.sin(around) * wide
    z = 0.45 + np.where(cos > 0, front[:, None] - 0.45, 0.45 - back[:, None]) * cos * wide
    points = np.stack(np.broadcast_arrays(x, heights[:, None], z), -1)
    gap = np.where(points[..., 1] < 6.2, 0.1, 0.05).ravel()  # over the clothes
    points = mesh.clear(points.reshape(-1, 3), gap, ears=True).reshape(points.shape)
    detail = np.stack(np.broadcast_arrays(0.0, across[None], heights[:, None]), -1)
    faces = mesh.grid(40, 60)
    row, column = faces.min(1) // 60, faces % 60
    across_face = (column.min(1) == 29) & (column.max(1) == 30) & ((opening[:-1] + opening[1:])[row] > 0)
    return _flat(points, faces[~across_face, ::-1], detail)
