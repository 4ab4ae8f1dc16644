"""Rays against a triangle mesh: which face a ray meets first, and where on it. One path for CPU and CUDA (warp).

Pictures are not made this way (`raster` makes them): rays measure how much sky every vertex of the template sees, once,
and check the rasteriser in its tests.
"""

import os
import sys
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch

from facelab import cache


class Hits(NamedTuple):
    """face (n,) int64, −1 where the ray meets nothing; weights (n, 3) of the face's corners at the point met;
    distance (n,) along the ray in lengths of its direction, inf where it meets nothing."""

    face: torch.Tensor
    weights: torch.Tensor
    distance: torch.Tensor


@lru_cache(maxsize=1)
def warp():
    """The module warp, made ready: it compiles kernels on first use into our cache folder, without its banner."""
    import warp as wp

    wp.config.log_level = 40  # errors only
    wp.config.quiet = True  # the same in releases before log levels
    wp.config.kernel_cache_dir = str(cache.folder() / "warp")
    with _hushed(not torch.cuda.is_available()):
        wp.init()
    return wp


@lru_cache(maxsize=1)
def _kernel():
    wp = warp()

    @wp.kernel
    def cast(
        mesh: wp.uint64,
        origin: wp.array(dtype=wp.vec3),
        direction: wp.array(dtype=wp.vec3),
        face: wp.array(dtype=wp.int32),
        weights: wp.array(dtype=wp.vec3),
        distance: wp.array(dtype=wp.float32),
    ):
        i = wp.tid()
        hit = wp.mesh_query_ray(mesh, origin[i], direction[i], 1.0e6)
        if hit.result:
            face[i] = hit.face
            weights[i] = wp.vec3(hit.u, hit.v, 1.0 - hit.u - hit.v)
            distance[i] = hit.t

    return wp, cast


@contextmanager
def _hushed(hush: bool):
    """Without a graphics card warp's native part writes a warning straight to file descriptor 2: keep it out."""
    if not hush:
        yield
        return
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class Scene:
    """A mesh that rays can be cast against many times.

    >>> triangle = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    >>> scene = Scene(triangle, torch.tensor([[0, 1, 2]]))
    >>> hits = scene.cast(torch.tensor([[0.2, 0.3, 5.0], [2.0, 2.0, 5.0]]), torch.tensor([[0.0, 0, -1], [0, 0, -1]]))
    >>> hits.face.tolist(), hits.distance.tolist()
    ([0, -1], [5.0, inf])
    """

    def __init__(self, points: torch.Tensor, faces: torch.Tensor):
        """points (v, 3) float, faces (f, 3) integer, on one device."""
        if points.ndim != 2 or points.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(
                f"a mesh needs points (v, 3) and faces (f, 3), not {tuple(points.shape)} and {tuple(faces.shape)}"
            )
        wp = warp()
        self.device = points.device
        self._points = points.float().contiguous().clone()
        self._faces = faces.int().contiguous().reshape(-1)
        self._mesh = wp.Mesh(wp.from_torch(self._points, dtype=wp.vec3), wp.from_torch(self._faces))

    def cast(self, origin: torch.Tensor, direction: torch.Tensor) -> Hits:
        """The first face each ray meets: origin (n, 3), direction (n, 3) of any length."""
        wp, kernel = _kernel()
        n = len(origin)
        origin, direction = origin.float().contiguous(), direction.float().contiguous()
        face = torch.full((n,), -1, dtype=torch.int32, device=self.device)
        weights = torch.zeros(n, 3, device=self.device)
        distance = torch.full((n,), torch.inf, device=self.device)
        wp.launch(
            kernel,
            dim=n,
            inputs=[
                self._mesh.id,
                wp.from_torch(origin, dtype=wp.vec3),
                wp.from_torch(direction, dtype=wp.vec3),
                wp.from_torch(face),
                wp.from_torch(weights, dtype=wp.vec3),
                wp.from_torch(distance),
            ],
            device=wp.device_from_torch(self.device),
        )
        if self.device.type == "cuda":
            wp.synchronize_device(wp.device_from_torch(self.device))
        return Hits(face.long(), weights, distance)


def vertex_normals(points: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """(v, 3) unit normals, the average of the faces around a vertex weighted by their area.

    >>> vertex_normals(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))[0].tolist()
    [0.0, 0.0, 1.0]
    """
    a, b, c = points[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)  # (f, 3), its length twice the area
    out = torch.zeros_like(points)
    for corner in range(3):
        out.index_add_(0, faces[:, corner], normal)
    return torch.nn.functional.normalize(out, dim=1)
