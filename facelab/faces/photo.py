"""Photographing a bust: pose, camera, light, background.

The camera stands on the z axis and looks at the middle of the head; the light is fixed to the camera, as in a room
where the sitter turns: it is the head that turns relative to both. Pose R = Rz(−roll) Ry(yaw) Rx(−pitch) turns the
head about its own middle, so it stays in the middle of the picture; the shoulders follow, by a third of its yaw and a
tenth of its pitch and roll.
"""

from dataclasses import dataclass

import numpy as np
import torch

from facelab import errors
from facelab.faces.bust import Bust
from facelab.faces.develop import develop
from facelab.faces.light import reflected
from facelab.faces.occluder import hide
from facelab.faces.raster import rasterise

SHOULDERS = (0.35, 0.1, 0.1)  # share of yaw, pitch and roll that the shoulders follow


_RANGES = {"yaw": (-180, 180), "pitch": (-180, 180), "roll": (-180, 180), "head": (0.05, 4), "distance": (2, 1000),
           "exposure": (0, 100), "blur": (0, 1), "noise": (0, 1), "rim": (0, 100), "saturation": (0, 10),
           "contrast": (0, 10)}  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """How one picture is taken.

    yaw, pitch, roll in degrees; light = direction to the key light in camera axes (x right, y up, z to the camera), key
    and fill their linear RGB strength; head = the head's height as a share of the picture's; distance of the camera in
    half head heights; offset (x, y) of the head in pictures; background = linear RGB at the top and bottom and a seed
    for its blobs (0 = plain); cloth = linear RGB over the shoulders; exposure multiplies everything; blur = sigma of a
    Gaussian as a share of the picture's side; noise = the sensor's standard deviation at mid grey, in 0 … 1 of sRGB,
    grain its seed; occluder = seed of something before the face (0 = nothing); rim = strength of a light from behind;
    saturation and contrast as 1 = as it is. ValueError, TypeError: a number out of range, or none.
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

    def __post_init__(self):
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            errors.number(f"{name} of a shot", value)
            if not low <= value <= high:
                raise ValueError(f"{name} of a shot {value:g} is out of range: expected {low:g} to {high:g}")


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


@torch.inference_mode()
def photograph(bust: Bust, shots: list[Shot], size: int, *, supersample: int = 2):
    """Pictures of one bust: uint8 (n, 3, size, size) and landmarks float32 (n, 5, 2).

    Every pixel is the mean of supersample² points, averaged in linear light, then encoded as sRGB.
    """
    images, landmarks, faces = [], [], bust.faces.int().contiguous()
    for shot in shots:
        points = posed(bust, shot)
        side = size * supersample
        picture = _background(shot, side, points.device).reshape(-1, 3)
        seen = rasterise(on_screen(points, shot, side), faces, side)
        turned = rotation(*torch.tensor([shot.yaw, shot.pitch, shot.roll])).to(points)
        picture[seen.at] = reflected(bust, points, faces, seen, shot, turned, side)
        if shot.occluder:
            hide(picture.view(side, side, 3), shot.occluder, bust.person.skin, shot.light, shot.fill)
        picture = picture.view(size, supersample, size, supersample, 3)
        picture = sum(picture[:, i, :, j] for i in range(supersample) for j in range(supersample)) / supersample**2
        images.append(develop(picture, shot).permute(2, 0, 1).cpu().numpy())
        landmarks.append(project(bust.landmarks @ turned.T, shot, size).cpu().numpy())
    return np.ascontiguousarray(np.stack(images)), np.stack(landmarks).astype(np.float32)


def on_screen(points: torch.Tensor, shot: Shot, side: int) -> torch.Tensor:
    """(v, 3) what `rasterise` takes: column, row, 1 / distance from the camera's plane."""
    return torch.cat([project(points, shot, side), 1 / (shot.distance - points[:, 2:])], 1)


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
