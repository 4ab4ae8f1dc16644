import numpy as np
import pytest
import torch

from facelab.faces.align import similarity, warp

TEMPLATE = torch.tensor([[20.0, 22.0], [44.0, 22.0], [32.0, 36.0], [23.0, 47.0], [41.0, 47.0]])


def turned(points, scale, degrees, shift):
    a = np.deg2rad(degrees)
    turn = scale * torch.tensor([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]], dtype=torch.float32)
    return points @ turn.T + torch.tensor(shift)


def gradient(h, w):
    """An image whose three channels are x, y and a constant: a warp shows where each pixel came from."""
    y, x = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
    return torch.stack([x, y, torch.full((h, w), 100.0)])


@pytest.mark.parametrize(("scale", "degrees", "shift"), [(1, 0, [0, 0]), (2.5, 30, [7, -3]), (0.2, -170, [50, 9])])
def test_similarity_is_recovered(scale, degrees, shift):
    points = turned(TEMPLATE, scale, degrees, [float(s) for s in shift])
    m = similarity(points[None], TEMPLATE)[0]
    back = points.double() @ m[:, :2].T + m[:, 2]
    assert (back - TEMPLATE).abs().max() < 1e-4
    assert m[:, :2].norm(dim=1).numpy() == pytest.approx([1 / scale] * 2, rel=1e-5)
    assert torch.linalg.det(m[:, :2]) > 0


def test_similarity_is_the_least_squares_one():
    generator = torch.Generator().manual_seed(0)
    points = TEMPLATE + torch.randn(5, 2, generator=generator) * 4
    best = similarity(points[None], TEMPLATE)[0]

    def loss(m):
        return ((points.double() @ m[:, :2].T + m[:, 2] - TEMPLATE) ** 2).sum()

    for _ in range(100):
        a, b, x, y = (torch.randn(4, generator=generator) * 0.01).tolist()
        nudge = torch.tensor([[a, -b, x], [b, a, y]], dtype=torch.float64)
        assert loss(best) < loss(best + nudge)


def test_landmarks_in_one_point():
    points = torch.stack([TEMPLATE, TEMPLATE[:1].expand(5, 2)])
    with pytest.raises(ValueError, match="landmarks of face 1 all lie in one point"):
        similarity(points, TEMPLATE)


def test_warp_without_change_is_exact():
    image = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    chips = warp(image, similarity(TEMPLATE.expand(2, 5, 2), TEMPLATE), 64)
    assert (chips - image).abs().max() < 1e-3


@pytest.mark.parametrize(("scale", "degrees"), [(0.5, 0), (0.8, 25), (1.0, 90), (2.6, -40)])
def test_warp_samples_where_the_transform_says(scale, degrees):
    middle = torch.tensor([32.0, 32.0])
    points = turned(TEMPLATE - middle, scale, degrees, [100.0, 90.0])
    m = similarity(points[None], TEMPLATE)
    chip = warp(gradient(200, 220)[None], m, 64)[0]
    inside = chip[2] > 99.9
    assert inside.float().mean() > 0.9
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    expected = turned(torch.stack([x, y], -1) - middle, scale, degrees, [100.0, 90.0])
    assert (chip[:2].movedim(0, -1) - expected)[inside].abs().max() < 1e-2


def test_outside_is_black():
    chip = warp(torch.full((1, 3, 50, 50), 200.0), similarity((TEMPLATE - 40)[None], TEMPLATE), 64)[0]
    assert chip[:, :39].max() == 0 and (chip[:, 41:, 41:] > 199).all()


def test_small_chips_do_not_alias():
    """A fine checkerboard becomes grey, where plain bilinear sampling would keep its contrast."""
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    board = ((x + y) % 2 * 255.0).expand(1, 3, 160, 160)
    chip = warp(board, similarity(5 * TEMPLATE[None] / 2, TEMPLATE), 64)[0, :, 2:60, 2:60]
    assert chip.std() < 15 and chip.mean() == pytest.approx(127.5, abs=3)


def test_a_face_gives_the_same_chip_in_any_company():
    points = torch.stack([turned(TEMPLATE, s, 5, [3.0, 4.0]) for s in (0.7, 1.6, 3.1)])
    images = torch.rand(3, 3, 150, 150, generator=torch.Generator().manual_seed(2)) * 255
    m = similarity(points, TEMPLATE)
    together = warp(images, m, 64)
    for i in range(3):
        assert (warp(images[i : i + 1], m[i : i + 1], 64)[0] - together[i]).abs().max() < 1e-3
