import numpy as np
import pytest
import torch

from facelab.faces import heads, mesh


def test_a_piece_is_carried_along_exactly_when_the_skin_is_shifted():
    points, faces = mesh.balls(np.array([[0.0, 7.3, 2.0]]), 0.2)
    piece = mesh.carried(mesh.piece(mesh.HAT, points, faces), 8)
    moves = torch.tensor([0.1, -0.2, 0.3]).expand_as(heads.load().template)
    assert torch.allclose(piece.shift(moves), moves[: len(points)], atol=1e-6)


def test_a_piece_follows_the_skin_near_it():
    template = heads.load().template
    points, faces = mesh.balls(np.array([[0.0, 8.6, 0.6], [0.0, 5.3, 1.1]]), 0.05)
    piece = mesh.carried(mesh.piece(mesh.HAT, points, faces), 8)
    shift = piece.shift(torch.where(template[:, 1:2] > 7, 1.0, 0.0).expand(-1, 3))
    top, bottom = shift.chunk(2)
    assert torch.allclose(top, torch.ones_like(top)) and torch.allclose(bottom, torch.zeros_like(bottom))


def test_points_that_spread_move_together():
    points = np.random.default_rng(0).normal(0, 0.3, (30, 3)) + np.array([0, 8.5, 0.5])
    piece = mesh.carried(mesh.piece(mesh.HAIR, points, mesh.grid(10, 3), spread=3), 4)
    shift = piece.shift(torch.randn(heads.load().template.shape, generator=torch.Generator().manual_seed(0)))
    assert shift.shape == (30, 3)
    assert torch.equal(shift[0::3], shift[1::3]) and torch.equal(shift[1::3], shift[2::3])


def test_clear_keeps_off_the_skin():
    own = mesh.template_skin()
    smooth = own.points[~own.ears & (own.points[:, 1] > 7.8)]
    raised = mesh.clear(smooth, np.full(len(smooth), 0.1))
    distance, _ = own.tree.query(raised)
    assert distance.min() > 0.07
    assert np.allclose(mesh.clear(raised, 0.0), raised)
    back = mesh.clear(raised, np.full(len(raised), 0.02), hold=1.0)
    assert own.tree.query(back)[0].mean() < 0.06


@pytest.mark.parametrize("closed", [False, True])
def test_tubes_and_balls_are_whole(closed):
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points, faces = mesh.tube(np.stack([np.cos(t), np.sin(t), 0 * t], 1), 0.1, closed=closed)
    assert len(points) == 120 and set(faces.ravel()) == set(range(120))
    both, triangles = mesh.joined((points, faces), mesh.balls(np.zeros((2, 3)), 0.5))
    assert triangles.max() == len(both) - 1


def test_the_skull_is_met_where_it_is():
    d = mesh.direction(np.array([0.0, np.pi]), np.array([0.0, 0.0]))
    front, back = mesh.skull(d)
    assert 0.9 < front < 1.15 and 0.8 < back < 1.05
    points, normals = mesh.body(np.array([0.0, np.pi]), np.array([5.3, 5.3]))
    assert points[0, 2] > 0.8 and points[1, 2] < -0.3
    assert normals[0, 2] > 0.5 > -0.5 > normals[1, 2]
