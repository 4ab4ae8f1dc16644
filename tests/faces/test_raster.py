import os
import subprocess
import sys

import pytest
import torch

from facelab.faces import bust
from facelab.faces.people import person
from facelab.faces.raster import rasterise
from facelab.faces.raycast import Scene

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def seen_by_rays(points, faces, distance, zoom, side):
    """The same question put to the ray caster: a camera at (0, 0, distance), one ray through every point."""
    at = (torch.arange(side) - (side - 1) / 2) / zoom
    y, x = torch.meshgrid(-at, at, indexing="ij")
    direction = torch.stack([x, y, torch.full_like(x, -distance)], -1).reshape(-1, 3)
    return Scene(points, faces).cast(torch.tensor([0.0, 0.0, distance]).expand_as(direction), direction)


def screen(points, distance, zoom, side):
    near = distance / (distance - points[:, 2:])
    flat = points[:, :2] * points.new_tensor([1.0, -1.0]) * near * zoom + (side - 1) / 2
    return torch.cat([flat, near / distance], 1)


@pytest.mark.parametrize("device", DEVICES)
def test_sees_what_rays_see(device):
    """On a whole bust with hair, which crosses itself: the same triangle, the same place, the same depth."""
    mesh = bust.make(person(3, gender="female", age=40.0))
    distance, zoom, side = 6.0, 60.0, 200
    rays = seen_by_rays(mesh.points, mesh.faces, distance, zoom, side)
    found = rasterise(screen(mesh.points, distance, zoom, side).to(device), mesh.faces.to(device), side)
    face = torch.full((side * side,), -1)
    face[found.at.cpu()] = found.face.cpu()
    assert 0.3 < (face >= 0).float().mean() < 0.95
    assert (face == rays.face).float().mean() > 0.995  # edges and touching triangles may go either way
    same = (face == rays.face) & (face >= 0)
    rows = same[found.at.cpu()].nonzero()[:, 0]
    weights = rays.weights[found.at.cpu()[rows]]
    assert (found.weights.cpu()[rows] - weights).abs().quantile(0.99) < 2e-3
    depth = distance * rays.distance[found.at.cpu()[rows]]  # directions have length `distance` along the axis
    assert (1 / found.nearness.cpu()[rows] - depth).abs().max() < 1e-3


def test_the_nearer_triangle_wins_whatever_the_order():
    near = torch.tensor([[0.0, 0, 0.5], [8, 0, 0.5], [0, 8, 0.5]])
    points = torch.cat([near * torch.tensor([1, 1, 0.5]), near])
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        found = rasterise(points, torch.tensor(order), 6)
        assert {tuple(order[f]) for f in found.face.unique().tolist()} == {(3, 4, 5)}
        assert found.nearness.unique().tolist() == [0.5]


def test_weights_are_places_in_space_not_in_the_picture():
    """Half way along an edge in the picture lies nearer to the far end in space: perspective."""
    line = torch.tensor([[0.0, 0.0, 1.0], [4.0, 0.0, 0.25], [0.0, 4.0, 1.0]])
    found = rasterise(line, torch.tensor([[0, 1, 2]]), 5)
    middle = found.weights[found.at.tolist().index(2)]  # row 0, column 2
    assert middle.tolist() == pytest.approx([0.8, 0.2, 0.0], abs=1e-6)  # (½ · 1, ½ · ¼) made to sum to one


def test_both_windings_are_seen_and_what_lies_behind_the_camera_is_not():
    triangle = torch.tensor([[0.0, 0.0, 0.5], [4.0, 0.0, 0.5], [0.0, 4.0, 0.5]])
    both = [rasterise(triangle, torch.tensor([order]), 5).at.tolist() for order in ([0, 1, 2], [0, 2, 1])]
    assert both[0] == both[1] and len(both[0]) == 15
    behind = triangle * torch.tensor([1.0, 1.0, -1.0])
    assert len(rasterise(behind, torch.tensor([[0, 1, 2]]), 5).at) == 0


def test_an_empty_picture():
    found = rasterise(torch.tensor([[50.0, 50, 1], [60, 50, 1], [50, 60, 1]]), torch.tensor([[0, 1, 2]]), 5)
    assert [len(part) for part in found] == [0, 0, 0, 0]


def test_the_nearest_wins_up_to_the_stated_nearness():
    triangle = torch.tensor([[-1.0, -1.0, 2047.0], [9.0, -1.0, 2047.0], [-1.0, 9.0, 2047.0]])
    points = torch.cat([triangle, triangle * torch.tensor([1, 1, 0.5])])
    assert rasterise(points, torch.tensor([[0, 1, 2], [3, 4, 5]]), 3).face.unique().tolist() == [0]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"vertices \(v, 3\) and faces \(f, 3\), not \(4, 2\)"):
        rasterise(torch.zeros(4, 2), torch.zeros(1, 3, dtype=torch.long), 5)


def test_nothing_is_printed():
    code = (
        "import torch; from facelab.faces.raster import rasterise\n"
        "rasterise(torch.rand(3, 3) * 5, torch.tensor([[0, 1, 2]]), 5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout == "" and done.stderr == ""
