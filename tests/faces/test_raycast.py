import os
import subprocess
import sys

import pytest
import torch

from facelab.faces.raycast import Scene, vertex_normals

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def soup(n=40, seed=0):
    """n random triangles."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(n, 1, 3, generator=g) * 4 - 2
    points = (centre + torch.randn(n, 3, 3, generator=g) * 0.6).reshape(-1, 3)
    return points, torch.arange(3 * n).reshape(n, 3)


def brute(points, faces, origin, direction):
    """Möller–Trumbore over every pair of ray and triangle."""
    a, b, c = (x[None] for x in points[faces].double().unbind(1))
    o, d = origin[:, None].double(), direction[:, None].double()
    e1, e2 = b - a, c - a
    p = torch.linalg.cross(d.expand(-1, len(faces), -1), e2.expand(len(o), -1, -1))
    det = (e1 * p).sum(-1)
    s = o - a
    u = (s * p).sum(-1) / det
    q = torch.linalg.cross(s, e1.expand(len(o), -1, -1))
    v = (d * q).sum(-1) / det
    t = (e2 * q).sum(-1) / det
    t = torch.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, torch.inf)
    return t.min(1)


@pytest.mark.parametrize("device", DEVICES)
def test_first_hit_is_the_nearest_triangle(device):
    points, faces = soup()
    g = torch.Generator().manual_seed(1)
    origin = torch.randn(500, 3, generator=g) * 0.3 + torch.tensor([0.0, 0.0, 8.0])
    direction = torch.randn(500, 3, generator=g) * 0.25 + torch.tensor([0.0, 0.0, -1.0])
    hits = Scene(points.to(device), faces.to(device)).cast(origin.to(device), direction.to(device))
    nearest = brute(points, faces, origin, direction)
    met = nearest.values.isfinite()
    assert 50 < met.sum() < 450  # the test sees hits and misses
    assert ((hits.face >= 0).cpu() == met).all()
    assert (hits.face.cpu()[met] == nearest.indices[met]).all()
    assert torch.allclose(hits.distance.cpu()[met].double(), nearest.values[met], rtol=1e-4)
    place = torch.einsum("nk,nkc->nc", hits.weights.cpu()[met], points[faces[hits.face.cpu()[met]]])
    along = origin[met] + hits.distance.cpu()[met, None] * direction[met]
    assert (place - along).abs().max() < 1e-3  # the weights are those of the point met
    assert hits.weights.sum(1).cpu()[met].numpy() == pytest.approx(1, abs=1e-5)


def test_the_scene_keeps_its_own_copy():
    points, faces = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]])
    scene = Scene(points, faces)
    points += 100
    assert scene.cast(torch.tensor([[0.0, 0, 5]]), torch.tensor([[0.0, 0, -1]])).face.item() == 0


def test_normals_of_a_sphere_point_outwards():
    u, v = torch.meshgrid(torch.linspace(0.1, 3.04, 40), torch.linspace(0, 6.2832, 61)[:-1], indexing="ij")
    points = torch.stack([u.sin() * v.cos(), u.sin() * v.sin(), u.cos()], -1).reshape(-1, 3)
    i, j = (x.reshape(-1) for x in torch.meshgrid(torch.arange(39), torch.arange(60), indexing="ij"))
    a, b = i * 60 + j, i * 60 + (j + 1) % 60
    faces = torch.cat([torch.stack([a, a + 60, b], 1), torch.stack([b, a + 60, b + 60], 1)])
    inner = (u > 0.3).reshape(-1) & (u < 2.8).reshape(-1)
    assert (vertex_normals(points, faces) * points).sum(1)[inner].min() > 0.99


def test_a_mesh_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"points \(v, 3\) and faces \(f, 3\), not \(4, 2\)"):
        Scene(torch.zeros(4, 2), torch.zeros(1, 3, dtype=torch.long))


def test_nothing_is_printed():
    code = (
        "import torch; from facelab.faces.raycast import Scene\n"
        "Scene(torch.eye(3), torch.tensor([[0, 1, 2]])).cast(torch.zeros(1, 3), torch.ones(1, 3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout == "" and done.stderr == ""
