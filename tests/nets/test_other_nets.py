"""The expression, landmarks and object networks: against the runtimes they come from where these are installed, and
frozen outputs always."""

import importlib
import os

import numpy as np
import pytest
import torch
from torch import nn

from facelab import nets
from facelab.nets import torchvision_nets
from facelab.nets.efficientnet import ConvSame
from facelab.nets.onet import ONet, landmarks
from facelab.nets.xception import MaxPoolSame, same


@pytest.fixture
def run(formula):
    """name → network, input and output, for three pictures."""

    def run(name: str):
        net = nets.load(name, device="cpu")
        x = net.normalise(torch.from_numpy(formula(net.size, 3)))
        with torch.no_grad():
            return net, x, net(x)

    return run


# The first numbers and the norm of the outputs for the pictures of `formula`, taken when the networks agreed with the
# runtimes they come from to 2e-7.
FROZEN = {
    "expression": [
        ([2.249971, -5.634417, -0.1545543, 1.044277, 1.013322, -1.91552, 2.234067], 6.900037),
        ([2.911869, -6.011787, -0.3200313, 0.4061074, 0.9612534, -2.37618, 1.728919], 7.378842),
        ([3.104802, -5.219361, -0.9110708, 0.1015583, 0.7048292, -1.247991, 1.111255], 6.403986),
    ],
    "landmarks": [
        ([4.424191, -4.418951, 0.101592, -0.2366414, -0.05316664, -0.03476552, 0.5112835], 6.524102),
        ([5.837371, -5.83196, 0.05766797, -0.2267655, -0.08288664, -0.04279031, 0.4063738], 8.440334),
        ([4.438313, -4.435378, 0.1036781, -0.1451865, -0.05179347, 0.03922495, 0.3391199], 6.538353),
    ],
    "object": [
        ([0.579526, 1.286876, -1.573795, -1.697266, -0.949092, 0.2590975, -0.9383869], 40.31881),
        ([0.8548878, 1.46545, -1.338114, -1.663567, -1.013462, 0.581358, -0.7512445], 39.60227),
        ([0.9425538, 1.533485, -1.359061, -1.427301, -0.6414121, 0.5171157, -0.8556685], 39.20329),
    ],
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_outputs(name, run):
    _, _, y = run(name)
    for row, (first, norm) in zip(y.numpy(), FROZEN[name], strict=True):
        np.testing.assert_allclose(row[:7], first, atol=2e-5, rtol=1e-4)
        assert np.linalg.norm(row) == pytest.approx(norm, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_expression_equals_keras(run, monkeypatch):
    if "KERAS_BACKEND" not in os.environ and not importlib.util.find_spec("tensorflow"):
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    net, x, y = run("expression")
    theirs = keras.models.load_model(nets.fetch("expression"), compile=False)
    said = keras.ops.convert_to_numpy(theirs(x.permute(0, 2, 3, 1).numpy()))
    order = [6, 0, 1, 2, 3, 4, 5]
    assert np.abs(net.decode(y).numpy() - said[:, order]).max() <= 1e-5


@pytest.mark.filterwarnings("ignore")
def test_landmarks_equal_facenet(run):
    torchvision_nets.models()  # which it imports, so that it can be
    mtcnn = pytest.importorskip("facenet_pytorch.models.mtcnn")
    _, x, y = run("landmarks")
    theirs = mtcnn.ONet(pretrained=False).eval()
    theirs.load_state_dict(torch.load(nets.fetch("landmarks"), weights_only=True))
    with torch.no_grad():
        box, places, face = theirs(x)
    assert (torch.cat([face, box, places], 1) - torch.cat([y[:, :2].softmax(1), y[:, 2:]], 1)).abs().max() <= 1e-5


def test_object_equals_its_package(run):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    _, x, y = run("object")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(nets.fetch("object"), weights_only=True))
    with torch.no_grad():
        assert (theirs(x) - y).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [7, 8, 15, 30])
def test_same_padding(size):
    """TensorFlow's rule, written out: every output takes its window where the input, padded more at the end, has it."""
    x = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(size))
    before, after = same(size, 3, 2)
    padded = nn.functional.pad(x, (before, after, before, after), value=-torch.inf)
    rows = range(0, padded.shape[2] - 2, 2)
    expected = torch.tensor([[padded[0, 0, i : i + 3, j : j + 3].max() for j in rows] for i in rows])
    assert len(expected) == -(-size // 2) and 0 <= after - before <= 1
    assert torch.equal(MaxPoolSame()(x)[0, 0], expected)
    conv = ConvSame(1, 1, 3, 2, bias=False)
    expected = nn.functional.conv2d(padded.clamp_min(-1e9).where(padded.isfinite(), 0), conv.weight, stride=2)
    torch.testing.assert_close(conv(x), expected)


def test_landmarks_are_pixels_of_the_chip():
    output = torch.zeros(1, 16)
    output[0, 6:] = torch.tensor([0.25, 0.75, 0.5, 0.3, 0.7, 0.4, 0.4, 0.6, 0.8, 0.8])  # all x, then all y
    edges = np.array([[12, 19.2], [36, 19.2], [24, 28.8], [14.4, 38.4], [33.6, 38.4]])  # counted from the chip's edge
    np.testing.assert_allclose(landmarks(output)[0], edges - 0.5, rtol=1e-6)


def test_the_dense_layer_reads_channel_by_channel():
    """The file's dense layer takes the maps as (columns, rows, channels)."""
    module, original = (
        nets.load("landmarks", device="cpu").module,
        torch.load(nets.fetch("landmarks"), weights_only=True),
    )
    maps = torch.rand(2, 128, 3, 3)
    theirs = maps.permute(0, 3, 2, 1).flatten(1) @ original["dense5.weight"].T + original["dense5.bias"]
    torch.testing.assert_close(module.dense5(maps.flatten(1)), theirs)
    assert isinstance(module, ONet)
