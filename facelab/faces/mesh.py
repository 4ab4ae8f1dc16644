"""Meshes of hair, clothes and accessories: made on the template head, then carried along to anybody's.

A piece knows for each of its points the nearest points of the template's skin; when those move, as the head becomes
somebody's, the point moves by the mean of their moves. So a piece is made once and fits every head, at no more cost
than that of a weighted mean.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from facelab.faces import heads
from facelab.faces.raycast import vertex_normals

# Parts of a bust beyond the head model's own.
HAIR, GLASSES, BEARD, LENS, METAL, BEADS, HAT, TIE, CLOTH = range(len(heads.PARTS), len(heads.PARTS) + 9)
CENTRE = np.array([0.0, 7.3, 0.55])  # template: middle of the skull


class Piece(NamedTuple):
    """Part of a bust, on the template: code (part number), points (n, 3), faces (f, 3), detail (n, 3) numbers for its
    surface function, shade (n,) share of sky seen; head = moves with the head rather than with the shoulders; spread =
    so many points in a row, the middle one deciding, follow the skin together."""

    code: int
    points: np.ndarray
    faces: np.ndarray
    detail: np.ndarray
    shade: np.ndarray
    head: bool = True
    spread: int = 1


class Carried(NamedTuple):
    """A piece on a device, ready to be fitted: points, detail (n, 3), shade (n,), turn (n,) as in `bust.Bust`, faces
    (f, 3); for every `spread` points foot (n / spread, 3), the skin under them, and index and weight (n / spread, k) of
    the skin's points they follow."""

    code: int
    points: torch.Tensor
    faces: torch.Tensor
    detail: torch.Tensor
    shade: torch.Tensor
    turn: torch.Tensor
    spread: int
    foot: torch.Tensor
    index: torch.Tensor
    weight: torch.Tensor

    def shift(self, moves: torch.Tensor) -> torch.Tensor:
        """(n, 3) how the piece moves when the vertices of the head model move by `moves` (V, 3)."""
        mean = torch.nn.functional.embedding_bag(self.index, moves, per_sample_weights=self.weight, mode="sum")
        return self.spreading(mean)

    def spreading(self, x: torch.Tensor) -> torch.Tensor:
        """(n, …) of (n / spread, …)."""
        return x if self.spread == 1 else x.repeat_interleave(self.spread, 0)


class TemplateSkin(NamedTuple):
    """The template's skin: vertex numbers (s,), points and unit normals (s, 3), a search tree, which are ears (s,)."""

    numbers: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    tree: cKDTree
    ears: np.ndarray


@lru_cache(maxsize=1)
def template_skin() -> TemplateSkin:
    """The skin that pieces follow, of the model on the CPU."""
    model = heads.load()
    numbers = torch.unique(model.faces[model.part == heads.SKIN])
    normals = vertex_normals(model.template, model.faces[model.part == heads.SKIN])[numbers].numpy()
    points = model.template[numbers].double().numpy()
    ears = model.masks[numbers, heads.MASKS.index("ears")].numpy() > 0.3
    return TemplateSkin(numbers.numpy(), points, normals.astype(float), cKDTree(points), ears)


def carried(piece: Piece, k: int, device="cpu") -> Carried:
    """The piece tied to its k nearest points of the skin, weighted by inverse squared distance."""
    own = template_skin()
    rows = piece.points[piece.spread // 2 :: piece.spread]
    distance, index = own.tree.query(rows, k)
    weight = 1 / (distance**2 + 1e-3)
    weight /= weight.sum(1, keepdims=True)
    foot = rows
    if piece.code == HAIR:  # what presses hair flat presses it to the skull, not to the ears
        tree, bare = _earless_tree()
        distance, near = tree.query(rows, 4)
        pull = 1 / (distance**2 + 1e-3)
        foot = np.einsum("nk,nkc->nc", pull / pull.sum(1, keepdims=True), bare[near])

    def put(x, kind=torch.float32):
        return torch.as_tensor(np.array(x), dtype=kind, device=device)

    points = put(piece.points)
    turn = turning(points)
    if piece.head:  # what hangs from the head swings with it, less where it lies on the shoulders
        turn = torch.maximum(turn, 0.45 + 0.55 * ((points[:, 1] - 5.6) / 1.1).clamp(0, 1))
    return Carried(
        piece.code, points, put(piece.faces, torch.int64), put(piece.detail), put(piece.shade), turn, piece.spread,
        put(foot), put(own.numbers[index], torch.int32), put(weight),
    )  # fmt: skip


def turning(where: torch.Tensor) -> torch.Tensor:
    """(n,) 1 on the head, 0 on the shoulders; the jaw's underside rises towards the nape."""
    low = 6.15 + (1.0 - where[:, 2]) * 0.36
    turn = ((where[:, 1] - low) / 0.65 + 1).clamp(0, 1)
    return turn * turn * (3 - 2 * turn)


@lru_cache(maxsize=1)
def _earless_tree():
    own = template_skin()
    return cKDTree(own.points[~own.ears]), own.points[~own.ears]


@lru_cache(maxsize=1)
def _skull_tree():
    own = template_skin()
    keep = (own.points[:, 1] > 6.9) & ~own.ears & (np.abs(own.points - CENTRE).sum(1) > 0.5)
    offset = own.points[keep] - CENTRE
    radius = np.linalg.norm(offset, axis=1)
    return cKDTree(offset / radius[:, None]), radius


def skull(direction: np.ndarray, k: int = 6) -> np.ndarray:
    """(…,) distance from CENTRE to the skull, ears left out, in unit directions (…, 3); a larger k is smoother."""
    tree, radius = _skull_tree()
    distance, index = tree.query(direction, k)
    weight = 1 / (distance**2 + 0.002)
    return (radius[index] * weight).sum(-1) / weight.sum(-1)


def direction(azimuth, elevation) -> np.ndarray:
    """(…, 3) unit directions from CENTRE; azimuth from the front towards +x, both in radians."""
    azimuth, elevation = np.broadcast_arrays(azimuth, elevation)
    level = np.cos(elevation)
    return np.stack([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)], -1)


AXIS = 0.25  # z of the neck's axis, about which `body` turns


@lru_cache(maxsize=1)
def _body_tree():
    own = template_skin()
    x, y, z = own.points.T
    keep = (y < 6.5) & ~((y > 6.02) & (z > 0.8)) & (np.abs(x) < 2)  # neck, shoulders and chest without the jaw
    x, y, z = own.points[keep].T
    around = np.arctan2(x, z - AXIS)
    return cKDTree(np.stack([np.sin(around), np.cos(around), y], 1)), own.points[keep], own.normals[keep]


def body(azimuth, height) -> tuple[np.ndarray, np.ndarray]:
    """Points (…, 3) on neck, shoulders or chest at azimuths about the neck's axis and heights; the normals there."""
    azimuth, height = np.broadcast_arrays(azimuth, height)
    tree, points, normals = _body_tree()
    distance, index = tree.query(np.stack([np.sin(azimuth), np.cos(azimuth), height], -1), 6)
    weight = 1 / (distance**2 + 0.002)
    weight /= weight.sum(-1, keepdims=True)
    radius = (np.hypot(points[index, 0], points[index, 2] - AXIS) * weight).sum(-1)
    normal = (normals[index] * weight[..., None]).sum(-2)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.stack([radius * np.sin(azimuth), height, AXIS + radius * np.cos(azimuth)], -1), normal


def clear(points: np.ndarray, gap, ears: bool = False, hold=0.0) -> np.ndarray:
    """Points (n, 3) pushed out of the skin until at least `gap` above it, and pulled back to it by at most `hold` (both
    a number or (n,), 0.1 m); ears = keep off the ears too."""
    own = template_skin()
    distance, index = own.tree.query(points, 4)
    weight = 1 / (distance**2 + 0.003) * (1.0 if ears else np.where(own.ears[index], 1e-3, 1.0))
    weight /= weight.sum(1, keepdims=True)
    normal = np.einsum("nk,nkc->nc", weight, own.normals[index])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    above = np.einsum("nc,nc->n", points - np.einsum("nk,nkc->nc", weight, own.points[index]), normal)
    return points + np.clip(gap - above, -hold, 0.3)[:, None] * normal


# ---- surfaces


def grid(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """(f, 3) triangles between points in rows; closed = the last column meets the first. The front is where a step to
    the next column crossed with a step to the next row points."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])


def tube(curve: np.ndarray, radius, closed: bool = False, sides: int = 6):
    """Points and triangles of a tube round a curve (n, 3); radius: a number or (n,)."""
    along = np.roll(curve, -1, 0) - np.roll(curve, 1, 0) if closed else np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(along, (0.05, 0.2, 1.0))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = first[:, None] * np.cos(turn)[:, None] + second[:, None] * np.sin(turn)[:, None]
    points = (curve[:, None] + np.broadcast_to(radius, len(curve))[:, None, None] * ring).reshape(-1, 3)
    faces = grid(len(curve), sides, closed=True)
    if closed:  # join the last ring to the first
        last, j = (len(curve) - 1) * sides, np.arange(sides)
        a, b, c, d = last + j, last + (j + 1) % sides, j, (j + 1) % sides
        faces = np.concatenate([faces, np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return points, faces


def balls(centres: np.ndarray, radius, up: int = 6, around: int = 8):
    """Points and triangles of balls at centres (n, 3); radius: a number, (n,), or (n, 3) half axes."""
    a, b = np.linspace(0, np.pi, up), np.linspace(0, 2 * np.pi, around, endpoint=False)
    ring = np.sin(a)[:, None]
    ball = np.stack([ring * np.cos(b), np.cos(a)[:, None] + 0 * b, ring * np.sin(b)], -1).reshape(-1, 3)
    radius = np.asarray(radius, float)
    radius = np.broadcast_to(radius[:, None] if radius.ndim == 1 else radius, centres.shape)
    points = centres[:, None] + ball * radius[:, None]
    faces = grid(up, around, closed=True) + (np.arange(len(centres)) * len(ball))[:, None, None]
    return points.reshape(-1, 3), faces.reshape(-1, 3)


def joined(*parts):
    """Points and triangles of several (points, triangles) as one."""
    start = np.cumsum([0] + [len(p) for p, _ in parts[:-1]])
    return np.concatenate([p for p, _ in parts]), np.concatenate(
        [f + s for (_, f), s in zip(parts, start, strict=True)]
    )


def piece(code: int, points, faces, *, detail=None, shade=0.8, head=True, spread=1) -> Piece:
    """A piece; detail (n, 3) or (3,), shade (n,) or a number."""
    n = len(points)
    detail = np.zeros(3) if detail is None else np.asarray(detail, float)
    return Piece(code, points, faces, np.broadcast_to(detail, (n, 3)), np.broadcast_to(shade, n), head, spread)
