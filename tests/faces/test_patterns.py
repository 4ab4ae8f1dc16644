import pytest
import torch

from facelab.faces.patterns import band, bump, colour, linear, noise


def test_linear_light():
    assert linear((0, 188, 255)) == pytest.approx([0, 0.5029, 1], abs=1e-4)


def test_a_colour_is_the_same_everywhere():
    assert colour((0.1, 0.2, 0.3), torch.zeros(4, 2)).tolist() == [pytest.approx([0.1, 0.2, 0.3])] * 4


def test_noise_has_zero_mean_unit_variance_and_a_seed():
    w = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) * 10
    drawn = [noise(seed, w, 30, 1, waves=40) for seed in (1, 2)]
    for values in drawn:
        assert abs(float(values.mean())) < 0.05 and float(values.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(noise(1, w, 30, 1, waves=40), drawn[0])
    assert abs(float((drawn[0] * drawn[1]).mean())) < 0.05


def test_edges_are_soft():
    at = torch.tensor([0.0, 1.0, 1.5, 2.0, 3.0])
    assert band(at, 1.0, 2.0).tolist() == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-6)
    assert bump(torch.tensor([0.0, 4.0]), 2.0).tolist() == pytest.approx([1, 0.60653], abs=1e-5)
