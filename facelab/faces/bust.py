"""One person with one expression as a mesh that can be photographed: the head, its hair and beard, what it wears.

Hair and beard are volume, the skin under them pushed outwards, with locks over it (`locks`); hats, glasses, jewellery,
collars and ties are meshes of their own (`hats`, `wear`), made on the template head and carried along by the nearest
points of the skin, so they fit every shape. Every vertex keeps its place on the template, `where`, by which `paint`
knows what it is.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from facelab.faces import beards, clothes, hats, heads, locks, wear
from facelab.faces.beards import beard_depth
from facelab.faces.hair import hair_depth, outwards
from facelab.faces.mesh import HAIR, Carried, turning
from facelab.faces.people import Person
from facelab.faces.raycast import vertex_normals

EYE_FRONT = 1.36  # an eye is marked where its iris is, not at the middle of the ball, 1.3 cm behind it
_PLACES = {"nose": (0.0, 7.0, 1.69), "left": (-0.254, 6.62, 1.437), "right": (0.254, 6.62, 1.437),
           "crown": (0.0, 8.49, 0.62), "chin": (0.0, 6.17, 1.43), "neck": (0.0, 6.55, -0.1)}  # fmt: skip


@dataclass(frozen=True)
class Bust:
    """A mesh in units of half the head's height, the middle of the head at the origin.

    points (v, 3); faces (f, 3); part (f,): an index into heads.PARTS or a part of `mesh` (HAIR, GLASSES, …); where
    (v, 3) template positions; masks (v, 3) as heads.MASKS, on parts of `mesh` their detail; shade (v,) share of sky
    seen; turn (v,): 1 = moves with the head, 0 = with the shoulders; landmarks (5, 3) in the order of
    faceset.LANDMARKS; pivot (3,): where the neck bends.
    """

    person: Person
    points: torch.Tensor
    faces: torch.Tensor
    part: torch.Tensor
    where: torch.Tensor
    masks: torch.Tensor
    shade: torch.Tensor
    turn: torch.Tensor
    landmarks: torch.Tensor
    pivot: torch.Tensor


def make(person: Person, actions: dict[str, float] | None = None, *, device="cpu") -> Bust:
    """The bust of a person with these facial actions and what the person wears."""
    model, fixed = heads.load(str(device)), _fixed(str(device))
    dress = _dress(_Style(*(getattr(person, name) for name in _Style._fields)), str(device))
    neutral = model.vertices(person.phenotype, person.shape)
    moved = neutral + model.displacements(actions) if actions else neutral
    points = moved + dress.lift[:, None] * vertex_normals(moved, fixed.skin) + dress.hair[:, None] * fixed.outwards
    all_points = [points + fixed.inset]
    for piece, at in dress.pieces:
        follows = moved if piece.code in wear.FACIAL else neutral
        all_points.append(at + piece.shift(follows - model.template))
    scale, middle, landmarks, pivot = _frame(neutral, moved, fixed)
    return Bust(
        person, (torch.cat(all_points) - middle) * scale, *dress.mesh,
        (landmarks - middle) * scale, (pivot - middle) * scale,
    )  # fmt: skip


class _Style(NamedTuple):
    """All that decides the shape of hair, beard, clothes and what is worn: nothing of the head's own shape or age."""

    hair_style: str
    hair_volume: float
    hairline: float
    masculinity: float
    beard: str
    wears: tuple[str, ...]
    look: int


class _Dress(NamedTuple):
    """A style on the template head: lift and hair (V,), how far the skin is moved along its normals and outwards; the
    pieces and where their points lie (n, 3); mesh: faces, part, where, masks, shade and turn of the `Bust`."""

    lift: torch.Tensor
    hair: torch.Tensor
    pieces: list[tuple[Carried, torch.Tensor]]
    mesh: tuple[torch.Tensor, ...]


@lru_cache(maxsize=2)  # for who sees one person age, or show one expression after another
def _dress(style: _Style, device: str) -> _Dress:
    model = heads.load(device)
    where, pieces, total = model.template, [], len(model.template)
    parts = [(model.faces, model.part, where, model.masks, model.shade, _fixed(device).turn)]
    for piece in (p for module in (locks, beards, hats, clothes, wear) for p in module.of(style, device)):
        at, triangles = _under_hat(style, piece) if piece.code == HAIR else (piece.points, piece.faces)
        pieces.append((piece, at))
        part = model.part.new_full((len(triangles),), piece.code)
        parts.append((triangles + total, part, piece.points, piece.detail, piece.shade, piece.turn))
        total += len(at)
    lift = beard_depth(style, where, model.masks) + clothes.thickness(style, where)
    hair = hair_depth(style, where, model.masks, hats.covered(style, where))
    return _Dress(lift, hair, pieces, tuple(torch.cat(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class _Fixed:
    """What is the same for everybody, of the model's V vertices: skin (f, 3) its triangles; outwards (V, 3) directions
    from the middle of the skull; inset (V, 3) how teeth are moved in; turn (V,) as in `Bust`; place: the vertex of each
    of `_PLACES`; eyes: the vertices of either eye, the image's left first."""

    skin: torch.Tensor
    outwards: torch.Tensor
    inset: torch.Tensor
    turn: torch.Tensor
    place: dict[str, int]
    eyes: tuple[torch.Tensor, torch.Tensor]


@lru_cache(maxsize=2)
def _fixed(device: str) -> _Fixed:
    model = heads.load(device)
    where = model.template
    place = {n: int((where - torch.tensor(p).to(where)).square().sum(1).argmin()) for n, p in _PLACES.items()}
    balls = (torch.unique(model.faces[model.part == p]) for p in (heads.RIGHT_EYE, heads.LEFT_EYE))
    eyes = tuple(ball[where[ball][:, 2] > EYE_FRONT] for ball in balls)
    skin = model.faces[model.part == heads.SKIN]
    return _Fixed(skin, outwards(where), _inset(model), turning(where), place, eyes)


def _inset(model: heads.Heads) -> torch.Tensor:
    """(v, 3) moves the teeth a little back, the roots of the lower ones more: a narrow chin would show them."""
    teeth, where = torch.unique(model.faces[model.part == heads.TEETH]), model.template
    out = torch.zeros_like(where)
    x, y, _ = where[teeth].unbind(1)
    root = (6.62 - y).clamp(min=0)
    out[teeth] = torch.stack([-0.08 * x - 0.6 * root * x, 0.35 * root, -0.06 - 0.5 * root], 1)
    return out


def _frame(neutral, moved, fixed: _Fixed):
    """Scale, middle of the head, landmarks and pivot of the neck, before scaling."""
    at = fixed.place
    crown, chin = neutral[at["crown"]], neutral[at["chin"]]
    middle = torch.stack([torch.zeros_like(crown[0]), (crown[1] + chin[1]) / 2, (crown[2] + chin[2]) / 2 - 0.25])
    mouth = (moved[at["nose"]], moved[at["left"]], moved[at["right"]])
    landmarks = torch.stack([*(moved[e].mean(0) for e in fixed.eyes), *mouth])
    pivot = neutral[at["neck"]] + torch.tensor([0.0, -0.25, 0.45]).to(neutral)
    return 2 / (crown[1] - chin[1]), middle, landmarks, pivot


def _under_hat(person: Person | _Style, piece: Carried):
    """Locks as full as the person's hair, flat under the hat; those wholly under it are left out."""
    near = ((piece.points[:, 1] - 6.9) / 0.4).clamp(0, 1)  # where hair hangs free its fullness changes nothing
    full, triangles = 1 + (person.hair_volume - 1) * near, piece.faces
    if hats.kind(person) is not None:
        triangles = triangles[(hats.covered(person, piece.points) < 0.5)[triangles].any(1)]
        full = full * (1 - 0.92 * hats.covered(person, piece.points, 0.5))
    foot = piece.spreading(piece.foot)
    at = torch.addcmul(foot, piece.points - foot, full[:, None])
    if (
        "earrings" in person.wears and person.hair_style in locks.HANGING
    ):  # hair is put back behind the ears, or no one would see them
        low = ((7.4 - at[:, 1]) / 0.25).clamp(0, 1) * (at[:, 0].abs() > 0.45)
        at[:, 2] -= 0.9 * low * (at[:, 2] - 0.28).clamp(min=0)
    return at, triangles
