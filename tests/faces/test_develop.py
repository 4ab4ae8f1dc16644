from dataclasses import replace

import numpy as np
import pytest
import torch

from facelab.faces.develop import blurred, develop
from facelab.faces.occluder import KINDS, hide
from facelab.faces.photo import Shot

GREY = torch.full((64, 64, 3), 0.2140)  # sRGB 128


def test_encoding_is_srgb():
    ramp = torch.tensor([0.0, 0.2140, 0.6])[:, None, None].expand(3, 1, 3)
    assert develop(ramp, Shot())[:, 0, 0].tolist() == pytest.approx([0, 128, 203], abs=1)


def test_exposure_acts_on_light():
    assert torch.equal(develop(GREY / 2, Shot(exposure=2.0)), develop(GREY, Shot()))
    assert not torch.equal(develop(GREY / 2, Shot()), develop(GREY, Shot()))


def test_noise_has_its_strength_its_seed_and_no_bias():
    shot = Shot(noise=0.05, grain=3)
    picture = develop(GREY, shot).float() / 255
    assert picture.std().item() == pytest.approx(0.05, rel=0.1)
    assert picture.mean().item() == pytest.approx(128 / 255, abs=0.005)
    assert torch.equal(develop(GREY, shot), develop(GREY, shot))
    assert not torch.equal(develop(GREY, shot), develop(GREY, replace(shot, grain=4)))
    dark = develop(GREY / 20, shot).float() / 255
    assert dark.std() < 0.8 * picture.std()


def test_saturation_keeps_the_light_and_contrast_the_middle():
    colour = torch.tensor([0.4, 0.2, 0.1]).expand(4, 4, 3)
    grey = develop(colour, Shot(saturation=0.0))
    assert grey.unique().numel() == 1
    middle = develop(torch.tensor([[[0.1706] * 3]]), Shot(contrast=1.5))  # sRGB 0.45
    assert middle.flatten().tolist() == pytest.approx([115] * 3, abs=1)
    assert develop(GREY * 2, Shot(contrast=1.3)).float().mean() > develop(GREY * 2, Shot()).float().mean()


def test_blur_keeps_the_light_and_spreads_a_point_as_a_gaussian():
    point = torch.zeros(41, 41, 3)
    point[20, 20] = 1.0
    spread = blurred(point, 2.0)
    assert spread.sum().item() == pytest.approx(3.0, rel=1e-4)
    at = torch.arange(41) - 20.0
    variance = (spread[..., 0].sum(0) * at**2).sum().item()
    assert variance == pytest.approx(4.0, rel=0.05)
    edge = torch.cat([torch.zeros(32, 64, 3), torch.ones(32, 64, 3)])
    steps = [np.abs(np.diff(develop(edge, Shot(blur=b))[:, 5, 0].numpy().astype(int))).max() for b in (0.0, 0.02, 0.05)]
    assert steps[0] > steps[1] > steps[2]


def test_every_kind_of_thing_covers_some_of_the_picture():
    kinds = set()
    for seed in range(1, 25):
        picture = torch.zeros(96, 96, 3)
        hide(picture, seed, (0.4, 0.3, 0.2), (0.3, 0.5, 0.8), (0.4, 0.4, 0.4))
        covered = (picture.sum(-1) > 0).float()
        assert 0.01 < covered.mean() < 0.45 and torch.isfinite(picture).all()
        kinds.add(KINDS[np.random.default_rng([0x0CC1, seed]).integers(len(KINDS))])
    assert kinds == set(KINDS)
