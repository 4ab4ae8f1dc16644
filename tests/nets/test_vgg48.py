"""vgg48: the trunk of the multi-task notebook, from random weights and pre-trained."""

import numpy as np
import pytest
import torch

import facelab as fl
from facelab.nets import vgg48
from facelab.transfer import multitask
from facelab.transfer.mixture import Mixture, Part

TINY = (2, 3, 4, 3, 5)


@pytest.fixture(scope="module")
def faces():
    return fl.faces.load("rendered/album", people=8, seed=1, size=64, progress=False)


def test_the_paper_s_trunk_has_vgg_16_s_convolutions_and_four_poolings():
    layers = [type(layer).__name__ for layer in vgg48.untrained(widths=TINY).module]
    assert layers.count("Conv2d") == layers.count("BatchNorm2d") == 13 and layers.count("MaxPool2d") == 4


def test_pre_training_learns_descriptors_and_is_kept(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    told = lambda one, device: one.images.reshape(len(one), -1)[:, :12288:96].astype(float)  # noqa: E731
    monkeypatch.setattr(vgg48, "descriptors", told)
    how = {"widths": TINY, "epochs": 2, "seed": 3, "device": "cpu"}
    net = vgg48.pretrained([faces], **how)
    start = vgg48.untrained(widths=TINY, seed=3).module.state_dict()
    assert not torch.equal(net.module.conv1_1.weight, start["conv1_1.weight"])
    assert net(torch.zeros(2, 3, 48, 48)).shape == (2, 128)
    monkeypatch.setattr(vgg48, "imitate", None)
    again = vgg48.pretrained([faces], **how)
    np.testing.assert_array_equal(net.embed(faces), again.embed(faces))
    assert not list((tmp_path / "trained").glob("*.training"))


def test_the_heads_of_the_tasks_replace_the_descriptor(faces):
    objectives = Mixture([Part(faces, "gender", 4)]).objectives
    net = multitask.headed(vgg48._described(TINY, 0), objectives, 8, 0)
    assert net.module.features(torch.zeros(2, 3, 48, 48)).shape == (2, 45)
