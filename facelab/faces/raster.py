"""Which triangle of a mesh a camera sees at each point of its picture: a z-buffer. One path for CPU and CUDA (warp).

It answers what casting a ray through every point would answer (`raycast`), from the triangles' side: each visits the
few points it covers, and the nearest keeps them. For a head of 10,000 small triangles that is many times faster than
finding each ray's way through a tree of boxes, which is built anew for every pose (`tests/benchmarks/bench_render.py`).
"""

from functools import lru_cache
from typing import NamedTuple

import torch

from facelab.faces.raycast import warp


class Seen(NamedTuple):
    """at (n,) int64: the points of the picture, row · side + column, where the mesh is seen; face (n,) int64: the
    triangle nearest to the camera there; weights (n, 3): its corners' shares of the place seen, in space, not in the
    picture; nearness (n,): 1 / depth."""

    at: torch.Tensor
    face: torch.Tensor
    weights: torch.Tensor
    nearness: torch.Tensor


@lru_cache(maxsize=1)
def _kernels():
    wp = warp()

    @wp.kernel
    def cover(
        screen: wp.array(dtype=wp.vec3),
        faces: wp.array(dtype=wp.int32),
        side: int,
        nearest: wp.array(dtype=wp.int64),
    ):
        f = wp.tid()
        a, b, c = screen[faces[3 * f]], screen[faces[3 * f + 1]], screen[faces[3 * f + 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area != 0.0 and wp.min(a[2], wp.min(b[2], c[2])) > 0.0:
            left = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])))), 0)
            right = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])))), side - 1)
            top = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])))), 0)
            bottom = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])))), side - 1)
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    px, py = float(x), float(y)
                    u = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
                    v = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
                    w = 1.0 - u - v
                    if u >= 0.0 and v >= 0.0 and w >= 0.0:
                        near = u * a[2] + v * b[2] + w * c[2]
                        key = wp.int64(near * 1073741824.0) * wp.int64(4194304) + wp.int64(f)  # nearness, then face
                        wp.atomic_max(nearest, y * side + x, key)

    @wp.kernel
    def place(
        screen: wp.array(dtype=wp.vec3),
        faces: wp.array(dtype=wp.int32),
        side: int,
        at: wp.array(dtype=wp.int64),
        face: wp.array(dtype=wp.int64),
        weights: wp.array(dtype=wp.vec3),
        nearness: wp.array(dtype=wp.float32),
    ):
        i = wp.tid()
        f = int(face[i])
        a, b, c = screen[faces[3 * f]], screen[faces[3 * f + 1]], screen[faces[3 * f + 2]]
        px, py = float(at[i] % wp.int64(side)), float(at[i] / wp.int64(side))
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        u = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area * a[2]
        v = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area * b[2]
        w = wp.max(0.0, 1.0 - u / a[2] - v / b[2]) * c[2]
        weights[i] = wp.vec3(u, v, w) / (u + v + w)
        nearness[i] = u + v + w

    return wp, cover, place


def rasterise(screen: torch.Tensor, faces: torch.Tensor, side: int) -> Seen:
    """What is seen at the side × side points of a picture.

    screen (v, 3) float32: a vertex's column, row and nearness. Points lie at whole columns and rows, (0, 0) is the
    top-left one. The nearness is 1 / depth and must be below 2,048; a triangle with a corner at nearness ≤ 0 reaches
    behind the camera and is left out. A parallel projection has no such depth: give it 1 / (c + depth), one c for all.
    faces (f, 3) int32, f < 4,194,304. ValueError for other shapes.

    >>> triangle = torch.tensor([[-1.0, -1.0, 0.5], [9.0, -1.0, 0.5], [-1.0, 9.0, 0.5]])
    >>> rasterise(triangle, torch.tensor([[0, 1, 2]]), 3).at.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    if screen.ndim != 2 or screen.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f"expected vertices (v, 3) and faces (f, 3), not {tuple(screen.shape)} and {tuple(faces.shape)}"
        )
    wp, cover, place = _kernels()
    screen, faces = screen.float().contiguous(), faces.int().contiguous().reshape(-1)
    vertices, corners = wp.from_torch(screen, dtype=wp.vec3), wp.from_torch(faces)
    device = wp.device_from_torch(screen.device)
    nearest = torch.full((side * side,), -1, dtype=torch.int64, device=screen.device)
    wp.launch(cover, dim=len(faces) // 3, inputs=[vertices, corners, side, wp.from_torch(nearest)], device=device)
    if screen.device.type == "cuda":
        wp.synchronize_device(device)
    at = (nearest >= 0).nonzero()[:, 0]
    face = nearest[at] & 4194303
    weights, nearness = screen.new_zeros(len(at), 3), screen.new_zeros(len(at))
    found = [wp.from_torch(at), wp.from_torch(face), wp.from_torch(weights, dtype=wp.vec3), wp.from_torch(nearness)]
    wp.launch(place, dim=len(at), inputs=[vertices, corners, side, *found], device=device)
    if screen.device.type == "cuda":
        wp.synchronize_device(device)
    return Seen(at, face, weights, nearness)
