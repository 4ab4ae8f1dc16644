from dataclasses import replace

import numpy as np
import pytest
import torch

from facelab.faces import bust, light
from facelab.faces.people import person
from facelab.faces.photo import Shot, photograph
from facelab.faces.skin import ageing, creases


@pytest.fixture(scope="module")
def bald():
    return bust.make(replace(person(11, gender="male", age=30.0), hair_style="bald", wears=(), beard="none"))


def slope(relief, side=20):
    """Normals of a flat wall that faces the camera, one unit to 40 points, with this relief at its points."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    place = torch.stack([column / 40, -row / 40, 0 * row], -1).reshape(-1, 3).float()
    normal = torch.tensor([0.0, 0.0, 1.0]).expand_as(place)
    return light.bumped(normal, place, relief(place), torch.arange(side * side), side).view(side, side, 3)


def test_relief_tilts_the_normal_as_the_surface_would():
    flat = slope(lambda p: 0 * p[:, 0])
    assert torch.allclose(flat, torch.tensor([0.0, 0.0, 1.0]).expand_as(flat))
    tilted = slope(lambda p: 0.1 * p[:, 0])  # rises to the right: the normal leans to the left
    expected = torch.nn.functional.normalize(torch.tensor([-0.1, 0.0, 1.0]), dim=0)
    assert torch.allclose(tilted[5:-5, 5:-5], expected.expand_as(tilted[5:-5, 5:-5]), atol=1e-4)
    tilted = slope(lambda p: 0.1 * p[:, 1])
    assert tilted[10, 10, 1] == pytest.approx(-0.0995, abs=1e-3)


def test_a_step_is_no_slope():
    stepped = slope(lambda p: (p[:, 0] > 0.25).float())
    assert torch.allclose(stepped, torch.tensor([0.0, 0.0, 1.0]).expand_as(stepped))


def test_the_nose_casts_a_shadow_away_from_the_light(bald):
    """Lit from far to the picture's right, the cheek left of the nose is darker than the one on the right, and so it is
    with the light from the other side: not the shape of this face, but the shadow."""
    shots = [Shot(light=(x, 0.15, 0.35), top=(0, 0, 0), bottom=(0, 0, 0), fill=(0.1, 0.1, 0.1)) for x in (1.0, -1.0)]
    (from_right, from_left), marks = photograph(bald, shots, 128)
    x, y = (int(v) for v in marks[0, 2])
    spots = [
        image[:, y - 6 : y + 3, x + d - 3 : x + d + 4].mean() for image in (from_right, from_left) for d in (-13, 13)
    ]
    assert spots[1] > 1.5 * spots[0] and spots[2] > 1.5 * spots[3]


def test_light_that_nothing_blocks_arrives_in_full():
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    place = torch.rand(50, 3) * 1.6 - 0.8
    place[:, 2] = 0
    towards = torch.tensor([0.0, 0.6, 0.8])
    assert light.lit(square, faces, place, towards).min() > 0.9
    assert light.lit(square, faces, place - 0.5 * towards, towards).max() < 0.01


def test_a_light_from_behind_brightens_the_outline_only(bald):
    dark = Shot(top=(0, 0, 0), bottom=(0, 0, 0), fill=(0.2, 0.2, 0.2))
    (plain, rimmed), marks = photograph(bald, [dark, replace(dark, rim=2.0)], 96)
    gain = rimmed.astype(float).mean(0) - plain.astype(float).mean(0)
    x, y = (int(v) for v in marks[0, 2])
    assert gain[y - 4 : y, x - 2 : x + 3].mean() < 5 < gain.max() / 3


def test_old_skin_has_creases_and_young_skin_none():
    old = replace(person(4, gender="male"), age=75.0)
    place = torch.rand(4000, 3) * torch.tensor([1.2, 2.0, 0.8]) + torch.tensor([-0.6, 6.2, 0.9])
    assert ageing(replace(old, age=20.0)) == 0 and creases(replace(old, age=20.0), place).abs().max() == 0
    deep = [float(creases(replace(old, age=a), place).mean()) for a in (35.0, 50.0, 65.0, 80.0)]
    assert deep == sorted(deep) and deep[-1] > 5 * deep[0]


def test_a_picture_is_the_same_every_time(bald):
    shot = Shot(yaw=20, blobs=3, noise=0.02, grain=7, occluder=5)
    first, second = (photograph(bald, [shot], 64)[0] for _ in range(2))
    assert np.array_equal(first, second)
