"""One person with one expression as a mesh that can be photographed: the head, its hair, beard and glasses.

Hair and beard are volume: the skin under them is pushed outwards (a silhouette, no second surface to see through).
Hair that hangs (bob, long), a bun and glasses are meshes of their own, made on the template head and carried along by
the nearest points of the skin, so they fit every shape. Every vertex keeps its place on the template, `where`, by which
`paint` knows what it is.
"""

from dataclasses import dataclass

import numpy as np
import torch

from facelab.faces import heads
from facelab.faces.people import Person
from facelab.faces.raycast import vertex_normals

HAIR, GLASSES = len(heads.PARTS), len(heads.PARTS) + 1  # parts beyond the head model's own
EYES = torch.tensor([[-0.31, 7.285, 1.245], [0.31, 7.285, 1.245]])  # template: image left first
CENTRE = torch.tensor([0.0, 7.3, 0.55])  # template: middle of the skull
_NOSE, _MOUTH = torch.tensor([0.0, 7.0, 1.69]), torch.tensor([[-0.27, 6.705, 1.4], [0.27, 6.705, 1.4]])
_CROWN, _CHIN, _NECK = torch.tensor([0.0, 8.49, 0.62]), torch.tensor([0.0, 6.17, 1.43]), (0.0, 6.25, 0.4)


@dataclass(frozen=True)
class Bust:
    """A mesh in units of half the head's height, the middle of the head at the origin.

    points (v, 3); faces (f, 3); part (f,): an index into heads.PARTS, HAIR or GLASSES; where (v, 3) template positions;
    masks (v, 3) as heads.MASKS; shade (v,) share of sky seen; turn (v,): 1 = moves with the head, 0 = with the
    shoulders; landmarks (5, 3) in the order of faceset.LANDMARKS; pivot (3,): where the neck bends.
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
    model = heads.load(str(device))
    neutral = model.vertices(person.phenotype, person.shape)
    moved = model.vertices(person.phenotype, person.shape, actions) if actions else neutral
    where, skin = model.template, model.part == 0
    normal = vertex_normals(moved, model.faces[skin])
    points = moved + normal * beard_depth(person, where, model.masks)[:, None]
    hair = hair_depth(person, where, model.masks)
    points = points + hair[:, None] * _outwards(where)
    faces, part, shade, masks = model.faces, model.part, model.shade, model.masks
    anchors = torch.unique(faces[skin])
    for code, extra in _extras(person):
        at, triangles = (torch.from_numpy(x).to(points.device) for x in extra)
        shift = _carried(at, model.template[anchors], (neutral - model.template)[anchors], k=6 if code == HAIR else 40)
        faces = torch.cat([faces, triangles + len(points)])
        part = torch.cat([part, torch.full((len(triangles),), code, device=part.device)])
        points, where = torch.cat([points, at + shift]), torch.cat([where, at])
        shade = torch.cat([shade, shade.new_full((len(at),), 0.8)])
        masks = torch.cat([masks, masks.new_zeros(len(at), masks.shape[1])])
    return _normalised(person, points, faces, part, where, masks, shade, neutral, moved, model)


def _normalised(person, points, faces, part, where, masks, shade, neutral, moved, model) -> Bust:
    def on(vertices, place):  # positions of the skin vertices nearest to places on the template
        return vertices[torch.cdist(place.to(model.template).reshape(-1, 3), model.template).argmin(1)]

    crown, chin = on(neutral, _CROWN)[0], on(neutral, _CHIN)[0]
    scale = 2 / (crown[1] - chin[1])
    middle = torch.stack([torch.zeros_like(crown[0]), (crown[1] + chin[1]) / 2, (crown[2] + chin[2]) / 2 - 0.25])
    eyes = [moved[torch.unique(model.faces[model.part == p])].mean(0) for p in (2, 1)]  # right eye = image left
    landmarks = torch.stack([*eyes, on(moved, _NOSE)[0], *on(moved, _MOUTH)])
    y1 = 6.15 + (1.0 - where[:, 2]) * 0.36  # the jaw's underside rises towards the nape
    turn = ((where[:, 1] - y1) / 0.65 + 1).clamp(0, 1)
    hanging = torch.zeros(len(where), dtype=torch.bool, device=where.device)
    hanging[torch.unique(faces[part >= HAIR])] = True
    turn = torch.where(hanging, turn.clamp(min=0.75), turn)
    pivot = on(neutral, torch.tensor([0.0, 6.55, -0.1]))[0] + torch.tensor([0.0, -0.25, 0.45]).to(points)
    return Bust(
        person, (points - middle) * scale, faces, part, where, masks, shade, turn * turn * (3 - 2 * turn),
        (landmarks - middle) * scale, (pivot - middle) * scale,
    )  # fmt: skip


def _outwards(where: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(where - CENTRE.to(where), dim=1)


# ---- where hair grows (template positions; used for the mesh and, finer, by `paint`)


def hairiness(person: Person, where: torch.Tensor) -> torch.Tensor:
    """(n,) how far inside the hairline a place on the head lies (0.1 m), negative outside it.

    The line runs over the forehead, in at the temples, down before the ears, under them and round the nape.
    """
    d = where - CENTRE.to(where)
    angle = torch.atan2(d[:, 0].abs(), d[:, 2]) * (180 / torch.pi)  # 0 = front, 180 = back
    front = 7.98 + person.hairline
    side = 7.25 if person.hair_style != "buzz" else 7.35
    if person.hair_style == "fringe":
        front = 7.66
    temple = front + (0.02 if person.masculinity < 0.5 else 0.08 + 0.6 * max(person.hairline, 0.0))
    knots = torch.tensor([0.0, 22.0, 42.0, 64.0, 80.0, 92.0, 108.0, 130.0, 180.0])
    lines = torch.tensor([front, front, temple - 0.04, 7.62, 7.38, side, 7.15, 6.7, 6.55])
    return where[:, 1] - _interpolate(angle, knots, lines)


def hair_depth(person: Person, where: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(n,) how far hair lifts the surface (0.1 m)."""
    style = person.hair_style
    top, sides = {"bald": (0, 0), "buzz": (0.02, 0.015), "short": (0.11, 0.05), "side": (0.17, 0.06),
                  "fringe": (0.13, 0.1), "bob": (0.14, 0.12), "long": (0.12, 0.1), "bun": (0.05, 0.05),
                  "afro": (0.36, 0.3)}[style]  # fmt: skip
    inside = (hairiness(person, where) / 0.28).clamp(0, 1)
    up = ((where[:, 1] - 7.5) / 0.8).clamp(0, 1)
    depth = (sides + (top - sides) * up) * person.hair_volume
    if style == "side":  # parted: fuller on one side
        depth = depth * (1 + 0.35 * torch.tanh(4 * (where[:, 0] + 0.2)))
    ears = masks[:, heads.MASKS.index("ears")]
    return depth * inside.sqrt() * (1 - ears)


def beard_density(person: Person, where: torch.Tensor) -> torch.Tensor:
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


def beard_depth(person: Person, where: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(n,) how far facial hair lifts the surface (0.1 m)."""
    deep = {"full": 0.07, "goatee": 0.05, "moustache": 0.035, "sideburns": 0.03}.get(person.beard, 0.0)
    return deep * beard_density(person, where) * (1 - masks[:, heads.MASKS.index("lips")])


def _interpolate(x: torch.Tensor, knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    knots, values = knots.to(x), values.to(x)
    i = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    t = (x - knots[i - 1]) / (knots[i] - knots[i - 1])
    t = t * t * (3 - 2 * t)
    return values[i - 1] + t * (values[i] - values[i - 1])


# ---- meshes of their own


def _extras(person: Person):
    if person.hair_style in ("bob", "long"):
        yield HAIR, _curtain(person)
    if person.hair_style == "bun":
        yield HAIR, _ball((0.0, 7.95, -0.55), 0.27 * person.hair_volume)
    if "eyeglasses" in person.wears:
        yield GLASSES, _glasses(person)


def _carried(at, anchors, shifts, k: int):
    """The shift of free points: that of the k nearest anchors, weighted by inverse squared distance."""
    distance, index = torch.cdist(at, anchors).topk(k, largest=False)
    weight = 1 / (distance**2 + 1e-3)
    return (weight[..., None] * shifts[index]).sum(1) / weight.sum(1, keepdim=True)


def _grid(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])


def _curtain(person: Person):
    """Hair that hangs: a sheet round the sides and the back, from inside the hair on top to its ends."""
    end = 6.55 if person.hair_style == "bob" else 5.55
    rng = np.random.default_rng([person.look, 1])
    volume = 0.10 * person.hair_volume
    angle = np.radians(np.linspace(54, 306, 61))  # round the back; the face stays free
    height = np.linspace(8.05, end, 22)
    fall = np.clip((height - 7.35) / 1.15, 0, 1)[:, None]
    girth = np.sqrt(1 - 0.86 * fall**2)  # follows the skull above, hangs straight below the ears
    below = np.clip((7.0 - height) / 1.5, 0, 1)[:, None]
    wave = (
        1 + 0.02 * np.sin(9 * angle + rng.uniform(0, 6))[None] + 0.015 * np.sin(7 * height + rng.uniform(0, 6))[:, None]
    )
    x = (0.86 + volume) * np.sin(angle)[None] * girth * (1 - 0.12 * below) * wave
    z = 0.5 + (0.94 + volume) * np.cos(angle)[None] * girth * (1 - 0.3 * below) * wave + 0.1 * below
    y = np.repeat(height[:, None], len(angle), 1) + 0.05 * np.sin(11 * angle)[None] * below
    points = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    return points, _grid(len(height), len(angle))


def _ball(centre, radius: float):
    up, around = np.linspace(0, np.pi, 9), np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.sin(up)[:, None]
    points = np.stack([ring * np.cos(around), np.cos(up)[:, None] + 0 * around, ring * np.sin(around)], -1)
    return (points.reshape(-1, 3) * radius + centre).astype(np.float32), _grid(9, 16, closed=True)


def _glasses(person: Person):
    """Two rims, a bridge and two arms, as tubes along curves."""
    rng = np.random.default_rng([person.look, 2])
    wide, high, thick = rng.uniform(0.23, 0.28), rng.uniform(0.15, 0.23), rng.uniform(0.014, 0.03)
    square = rng.uniform(2, 4)
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cos, sin = np.cos(t), np.sin(t)
    curves = []
    for side in (-1, 1):
        x = side * 0.33 + wide * np.sign(cos) * np.abs(cos) ** (2 / square)
        y = 7.25 + high * np.sign(sin) * np.abs(sin) ** (2 / square)
        z = 1.62 - 0.35 * (np.abs(x) - 0.1).clip(0) ** 1.5 * 1.6
        curves.append((np.stack([x, y, z], 1), True))
        end = 0.33 + wide
        arm = [
            (side * end, 7.32, 1.5),
            (side * 0.8, 7.33, 1.2),
            (side * 0.9, 7.33, 0.7),
            (side * 0.92, 7.3, 0.45),
        ]
        curves.append((np.array(arm), False))
    gap = 0.33 - wide
    curves.append((np.array([(-gap, 7.3, 1.63), (0, 7.33, 1.66), (gap, 7.3, 1.63)]), False))
    points, faces, total = [], [], 0
    for curve, closed in curves:
        tube, triangles = _tube(curve, thick, closed)
        points.append(tube)
        faces.append(triangles + total)
        total += len(tube)
    return np.concatenate(points).astype(np.float32), np.concatenate(faces)


def _tube(curve: np.ndarray, radius: float, closed: bool, sides: int = 6):
    along = np.roll(curve, -1, 0) - np.roll(curve, 1, 0) if closed else np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(along, (0.05, 0.2, 1.0))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = first[:, None] * np.cos(turn)[:, None] + second[:, None] * np.sin(turn)[:, None]
    points = (curve[:, None] + radius * ring).reshape(-1, 3)
    faces = _grid(len(curve), sides, closed=True)
    if closed:  # join the last ring to the first
        last, j = (len(curve) - 1) * sides, np.arange(sides)
        a, b, c, d = last + j, last + (j + 1) % sides, j, (j + 1) % sides
        faces = np.concatenate([faces, np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    return points, faces
