"""Photographing a bust: pose, camera, light, background.

The camera stands on the z axis and looks at the middle of the head; the light is fixed to the camera, as in a room
where the sitter turns: it is the head that turns relative to both. Pose R = Rz(−roll) Ry(yaw) Rx(−pitch) turns the
head about its own middle, so it stays in the middle of the picture; the shoulders follow by a third.
"""

from dataclasses import dataclass

import numpy as np
import torch

from facelab.faces.bust import Bust
from facelab.faces.paint import paint
from facelab.faces.raster import rasterise
from facelab.faces.raycast import vertex_normals

SHOULDERS = (0.35, 0.1, 0.1)  # share of yaw, pitch and roll that the shoulders follow


@dataclass(frozen=True)
class Shot:
    """How one picture is taken.

    yaw, pitch, roll in degrees; light = direction to the key light in camera axes (x right, y up, z to the camera), key
    and fill their linear RGB strength; head = the head's height as a share of the picture's; distance of the camera in
    half head heights; offset (x, y) of the head in pictures; background = linear RGB at the top and bottom and a seed
    for its blobs (0 = plain); cloth = linear RGB over the shoulders; exposure multiplies everything; blur = sigma of a
    Gaussian as a share of the picture's side; noise = the sensor's standard deviation at mid grey, in 0 … 1 of sRGB,
    grain its seed; occluder = seed of something before the face (0 = nothing); rim = strength of a light from behind;
    saturation and contrast as 1 = as it is.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    light: tuple[float, float, float] = (0.35, 0.5, 0.8)
    key: tuple[float, float, float] = (0.95, 0.93, 0.9)
    fill: tuple[float, float, float] = (0.42, 0.43, 0.46)
    head: float = 0.66
    distance: float = 9.0
    offset: tuple[float, float] = (0.0, 0.02)
    top: tuple[float, float, float] = (0.32, 0.34, 0.36)
    bottom: tuple[float, float, float] = (0.32, 0.34, 0.36)
    blobs: int = 0
    cloth: tuple[float, float, float] = (0.1, 0.12, 0.18)
    exposure: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    grain: int = 0
    occluder: int = 0
    rim: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0


def rotation(yaw, pitch, roll) -> torch.Tensor:
    """(…, 3, 3) of angles in degrees (tensors of one shape): Rz(−roll) Ry(yaw) Rx(−pitch).

    >>> nose = torch.tensor([0.0, 0.0, 1.0])
    >>> (rotation(*torch.tensor([90.0, 0.0, 0.0])) @ nose)[0].item()  # yaw +: to the image's right
    1.0
    """
    a, b, c = (torch.deg2rad(torch.as_tensor(v)) for v in (yaw, pitch, roll))
    sa, ca, sb, cb, sc, cc = a.sin(), a.cos(), b.sin(), b.cos(), c.sin(), c.cos()
    o, i = torch.zeros_like(a), torch.ones_like(a)

    def matrix(*rows):
        return torch.stack([torch.stack(r, -1) for r in rows], -2)

    rz = matrix((cc, sc, o), (-sc, cc, o), (o, o, i))
    ry = matrix((ca, o, sa), (o, i, o), (-sa, o, ca))
    rx = matrix((i, o, o), (o, cb, sb), (o, -sb, cb))
    return rz @ ry @ rx


def posed(bust: Bust, shot: Shot) -> torch.Tensor:
    """(v, 3) points of the bust in camera axes: the head turned, the neck bent, the shoulders following."""
    angles = torch.tensor([shot.yaw, shot.pitch, shot.roll], device=bust.points.device)
    follow = torch.tensor(SHOULDERS, device=bust.points.device)
    levels = torch.linspace(0, 1, 65, device=bust.points.device)[:, None]
    steps = rotation(*((follow + (1 - follow) * levels) * angles).unbind(1))  # (65, 3, 3) from shoulders to head
    turn = (bust.turn * 64).round().long()
    pivot = steps[-1] @ bust.pivot
    return pivot + torch.einsum("vij,vj->vi", steps[turn], bust.points - bust.pivot)


def project(points: torch.Tensor, shot: Shot, size: int) -> torch.Tensor:
    """(n, 2) pixels of points (n, 3) in camera axes; (0, 0) is the centre of the top-left pixel."""
    scale = shot.distance / (shot.distance - points[:, 2:]) * shot.head * size / 2
    middle = torch.tensor([0.5 + shot.offset[0], 0.5 + shot.offset[1]], device=points.device) * size - 0.5
    return middle + points[:, :2] * torch.tensor([1.0, -1.0], device=points.device) * scale


def photograph(bust: Bust, shots: list[Shot], size: int, *, supersample: int = 2):
    """Pictures of one bust: uint8 (n, 3, size, size) and landmarks float32 (n, 5, 2).

    Every pixel is the mean of supersample² points, averaged in linear light, then encoded as sRGB.
    """
    images, landmarks, faces = [], [], bust.faces.int().contiguous()
    for shot in shots:
        points = posed(bust, shot)
        side = size * supersample
        picture = _background(shot, side, points.device).reshape(-1, 3)
        seen = rasterise(_screen(points, shot, side), faces, side)
        picture[seen.at] = _shaded(bust, points, faces, seen, shot, side)
        picture = picture.reshape(size, supersample, size, supersample, 3)
        picture = sum(picture[:, i, :, j] for i in range(supersample) for j in range(supersample)) / supersample**2
        images.append(_encoded(picture * shot.exposure).permute(2, 0, 1).cpu().numpy())
        turn = rotation(*torch.tensor([shot.yaw, shot.pitch, shot.roll])).to(points)
        landmarks.append(project(bust.landmarks @ turn.T, shot, size).cpu().numpy())
    return np.ascontiguousarray(np.stack(images)), np.stack(landmarks).astype(np.float32)


def _screen(points: torch.Tensor, shot: Shot, side: int) -> torch.Tensor:
    """(v, 3) what `rasterise` takes: column, row, 1 / distance from the camera's plane."""
    return torch.cat([project(points, shot, side), 1 / (shot.distance - points[:, 2:])], 1)


def _shaded(bust: Bust, points, faces, seen, shot: Shot, side: int) -> torch.Tensor:
    """(n, 3) linear light from the points seen."""
    carried = torch.cat([points, vertex_normals(points, bust.faces), bust.where, bust.masks, bust.shade[:, None]], 1)
    at = torch.nn.functional.embedding_bag(
        bust.faces[seen.face], carried, per_sample_weights=seen.weights, mode="sum"
    )  # (n, 13)
    place, normal, where, masks, shade = at.split((3, 3, 3, 3, 1), 1)
    camera = torch.tensor([0.0, 0.0, shot.distance], device=points.device)
    towards = torch.nn.functional.normalize(camera - place, dim=1)
    normal = torch.nn.functional.normalize(normal, dim=1)
    facing = (normal * towards).sum(1, keepdim=True)
    normal = torch.where(facing < 0, normal - 2 * facing * towards, normal)  # sheets have two sides
    surface = paint(bust.person, where, bust.part[seen.face], masks, shot.cloth)
    normal = _bumped(normal, place, surface.relief / 1.16, seen.at, side)  # 1.16 × 0.1 m in half a head
    light = torch.nn.functional.normalize(torch.tensor(shot.light, device=points.device), dim=0)
    lit = _lit(points, faces, place, light)[:, None]
    shade = torch.where((bust.part[seen.face] - 1.5).abs()[:, None] < 1, shade.clamp(min=0.75), shade)  # eyes
    wrap = torch.tensor([0.25, 0.12, 0.1], device=points.device)  # light that skin scatters past the terminator
    cosine = (normal @ light)[:, None]
    diffuse = ((cosine + wrap) / (1 + wrap)).clamp(min=0) * (0.5 + 0.5 * shade) * (0.15 + 0.85 * lit)
    sky = (0.72 + 0.28 * normal[:, 1:2]) * (0.25 + 0.75 * shade)
    half = torch.nn.functional.normalize(towards + light, dim=1)
    shine = (normal * half).sum(1).clamp(min=0) ** surface.sharp * surface.gloss * (surface.sharp + 8) / 25
    shine = torch.lerp(shine, surface.gloss * _strand_shine(normal, half, light, shot), surface.hair)[:, None]
    grazing = (1 - (normal * towards).sum(1, keepdim=True).clamp(0, 1)) ** 4
    key, fill = (torch.tensor(c, device=points.device) for c in (shot.key, shot.fill))
    light_in = key * diffuse + fill * sky + shot.rim * grazing * (0.3 + 0.7 * shade)
    tint = torch.lerp(torch.ones_like(surface.albedo), 0.25 + 3 * surface.albedo, surface.hair[:, None])
    return surface.albedo * light_in + (key * lit * shine * tint + 0.12 * fill * grazing) * (0.3 + 0.7 * shade)


def _strand_shine(normal, half, light, shot: Shot) -> torch.Tensor:
    """(n,) the highlight of hair that falls down over the surface: sin(T, H)⁶⁰ with T along the strands, a band across
    them (Kajiya and Kay 1989)."""
    down = -rotation(*torch.tensor([shot.yaw, shot.pitch, shot.roll]))[:, 1].to(normal)
    strand = torch.nn.functional.normalize(down - (normal @ down)[:, None] * normal + 0.1 * normal, dim=1)
    sine = (1 - (strand * half).sum(1) ** 2).clamp(min=0)
    return 0.35 * sine**30 * ((normal @ light) * 2).clamp(0, 1)


def _bumped(normal, place, relief, at, side: int) -> torch.Tensor:
    """Normals (n, 3) tilted by the slope of the relief (n,), found from the neighbours in the picture.

    With σx, σy the steps in space and hx, hy the steps in height to the next column and row, the surface gradient is
    sign(d) (hx σy × N + hy N × σx), d = σx · (σy × N), and the new normal is parallel to |d| N minus it (Blinn 1978, in
    the form that needs no coordinates on the surface).
    """
    row = torch.full((side * side + 2 * side,), -1, dtype=torch.int64, device=at.device)
    row[at + side] = torch.arange(len(at), device=at.device)

    def steps(stride):
        here = torch.arange(len(at), device=at.device)
        after, before = row[at + side + stride], row[at + side - stride]
        after, before = torch.where(after < 0, here, after), torch.where(before < 0, here, before)
        space, height = place[after] - place[before], relief[after] - relief[before]
        broken = (space.norm(dim=1) > 0.12) | (height.abs() > 0.05)  # the edge of something
        return space, torch.where(broken, 0.0, height)[:, None]

    sx, hx = steps(1)
    sy, hy = steps(side)
    a, b = torch.linalg.cross(sy, normal), torch.linalg.cross(normal, sx)
    d = (sx * a).sum(1, keepdim=True)
    return torch.nn.functional.normalize(d.abs() * normal - d.sign() * (hx * a + hy * b) + 1e-9 * normal, dim=1)


def _lit(points, faces, place, light, side: int = 320) -> torch.Tensor:
    """(n,) share of the key light that reaches the places: a picture taken from the light, looked up softly."""
    helper = torch.tensor([0.0, 1.0, 0.0], device=light.device)
    across = torch.nn.functional.normalize(torch.linalg.cross(helper, light), dim=0)
    frame = torch.stack([across, torch.linalg.cross(light, across), light], 1)  # (3, 3)
    zoom = side / 4.8

    def seen_from_light(x):
        x = x @ frame
        return torch.cat([x[:, :2] * zoom + side / 2, 1 / (8 - x[:, 2:])], 1)

    found = rasterise(seen_from_light(points), faces, side)
    nearest = torch.zeros(side * side, device=light.device)
    nearest[found.at] = found.nearness
    x = seen_from_light(place)
    depth = 1 / x[:, 2]
    lit = torch.zeros_like(depth)
    for dx, dy in ((0, 0), (2, 1), (-1, 2), (-2, -1), (1, -2)):
        column = (x[:, 0] + dx).round().long().clamp(0, side - 1)
        line = (x[:, 1] + dy).round().long().clamp(0, side - 1)
        near = nearest[line * side + column]
        gap = depth - 1 / near.clamp(min=1e-3)  # how far behind what the light meets first
        lit += torch.where(near > 0, ((0.12 - gap) / 0.06).clamp(0, 1), 1.0)
    return lit / 5


def _background(shot: Shot, side: int, device) -> torch.Tensor:
    down = torch.linspace(0, 1, side, device=device)[:, None, None]
    top, bottom = (torch.tensor(c, device=device) for c in (shot.top, shot.bottom))
    picture = (top + (bottom - top) * down).expand(side, side, 3).clone()  # (side, side, 3)
    if shot.blobs:
        g = torch.Generator().manual_seed(shot.blobs)
        coarse = torch.rand(1, 3, 5, 5, generator=g) * 0.25 + torch.rand(1, 1, 5, 5, generator=g) * 1.3 + 0.2
        smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)
        picture = picture * smooth[0].permute(1, 2, 0).to(device).clamp(0.1, 2.5)
    return picture


def _encoded(colour: torch.Tensor) -> torch.Tensor:
    """sRGB bytes of linear light, highlights rolled off softly."""
    c = torch.where(colour > 0.7, 0.7 + 0.3 * torch.tanh((colour - 0.7) / 0.3), colour.clamp(min=0))
    c = torch.where(c <= 0.0031308, 12.92 * c, 1.055 * c.clamp(min=1e-6) ** (1 / 2.4) - 0.055)
    return (c * 255 + 0.5).to(torch.uint8)
