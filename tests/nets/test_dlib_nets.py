"""The rebuilt networks: against the runtimes they come from where these are installed, and frozen outputs always."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facelab import nets
from facelab.nets.dlib_nets import Affine, Block, Chain, pour, resnet10, resnet29


@pytest.fixture
def run(formula):
    """name → chips uint8, network input and output, for three pictures."""

    def run(name: str):
        net = nets.load(name, device="cpu")
        chips = formula(net.size, 3)
        x = net.normalise(torch.from_numpy(chips))
        with torch.no_grad():
            return chips, x, net(x)

    return run


# The first numbers and the norm of the outputs for the pictures of `formula`, taken when the networks agreed with
# the runtimes they come from to 3e-6. Other processors sum in another order: hence 1e-4 here.
FROZEN = {
    "identity": [
        ([-0.1377824, 0.1524843, 0.06099612, -0.05725311, -0.06843723, -0.02773319, -0.04215975], 1.312742),
        ([-0.1090341, 0.1419712, 0.07054827, -0.07343697, -0.1058213, -0.05399847, -0.08095597], 1.385238),
        ([-0.08403546, 0.1254016, 0.04843093, -0.02817687, -0.1016638, -0.06191814, -0.0788264], 1.383973),
    ],
    "age": [
        ([4.45838, 1.022075, -0.7067757, 2.035839, 0.5115769, -1.892001, 0.3501365], 21.62034),
        ([6.706468, 1.025758, 1.770084, 2.37676, -0.8633358, 1.738425, 0.8925114], 19.33111),
        ([-0.7100978, 1.368125, -2.278622, -0.7381403, -0.7835045, -0.8032799, 0.3065007], 26.39788),
    ],
    "gender": [
        ([8.938521, -8.938509], 12.64097),
        ([9.853019, -9.85301], 13.93427),
        ([9.233579, -9.233566], 13.05824),
    ],
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_outputs(name, run):
    _, _, y = run(name)
    for row, (first, norm) in zip(y.numpy(), FROZEN[name], strict=True):
        np.testing.assert_allclose(row[:7], first, atol=2e-5, rtol=1e-4)
        assert np.linalg.norm(row) == pytest.approx(norm, rel=1e-4)


def test_identity_equals_dlib(run):
    dlib = pytest.importorskip("dlib")
    chips, _, y = run("identity")
    theirs = dlib.face_recognition_model_v1(str(nets.fetch("identity")))
    for chip, descriptor in zip(chips, y.numpy(), strict=True):
        expected = theirs.compute_face_descriptor(np.ascontiguousarray(chip.transpose(1, 2, 0)))
        assert np.abs(descriptor - np.array(expected)).max() <= 1e-5


@pytest.mark.parametrize("name", ["age", "gender"])
def test_age_and_gender_equal_onnxruntime(name, run):
    onnxruntime = pytest.importorskip("onnxruntime")
    _, x, y = run(name)
    session = onnxruntime.InferenceSession(nets.fetch(name).read_bytes(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"images": x.numpy()})[0]
    assert np.abs(y.softmax(1).numpy() - expected).max() <= 1e-5


@pytest.mark.parametrize(
    ("build", "size", "convs", "filters", "parameters", "outputs"),
    [(resnet29, 150, 29, 3552, 5614592, 128), (resnet10, 64, 11, 1728, 2689617, 81), (Chain, 32, 4, 192, 131538, 2)],
)
def test_structure(build, size, convs, filters, parameters, outputs):
    module = build().eval()
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert (len(layers), sum(m.out_channels for m in layers)) == (convs, filters)
    assert sum(p.numel() for p in module.parameters()) == parameters
    with torch.no_grad():
        assert module(torch.zeros(2, 3, size, size)).shape == (2, outputs)


def test_affine():
    affine = Affine(2)
    pour(affine, [np.array([2, 3, 10, 20], np.float32)])
    assert affine(torch.ones(1, 2, 1, 1)).flatten().tolist() == [12, 23]


@pytest.mark.parametrize("size", [7, 8, 11, 12])
@pytest.mark.parametrize("channels", [4, 6])
def test_the_way_down_adds_at_the_top_left(size, channels):
    """dlib's `add_prev`: the sum has the larger size of both in every axis, what is missing counts as zero."""
    torch.manual_seed(size)
    block = Block(4, channels, 2)
    for affine in (block.affine1, block.affine2):
        nn.init.normal_(affine.weight)
        nn.init.normal_(affine.bias)
    x = torch.randn(2, 4, size, size)
    y = block.affine2(block.conv2(F.relu(block.affine1(block.conv1(x)))))
    short = F.avg_pool2d(x, 2)
    total = torch.zeros(2, channels, size // 2, size // 2)
    for part in (y, short):
        total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
    torch.testing.assert_close(block(x), total.relu())


def test_pour_takes_exactly_what_fits():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2, 3))
    pour(module, [np.arange(7, dtype=np.float32), np.arange(7, 13, dtype=np.float32)])
    assert module[0].weight.flatten().tolist() == [0, 1] and module[0].bias.tolist() == [2, 3]
    assert module[2].weight.tolist() == [[4, 7], [5, 8], [6, 9]]  # stored (in, out)
    with pytest.raises(ValueError, match="the file holds 12 numbers, Sequential takes 13"):
        pour(module, [np.zeros(12, np.float32)])
