"""VGG-Face's shape at any width and side, and batch normalisations that fold away without a trace."""

import pytest
import torch
from torch import nn

from facelab.nets.vgg_face import CONVS, LAYERS, VGGFace, fold

SMALL = {"widths": (3, 4, 5, 4, 6), "hidden": 7, "people": 5}


@torch.no_grad()
def stirred(side, seed=0):
    torch.manual_seed(seed)
    module = VGGFace(**SMALL, side=side, norm=True)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.uniform_(-1.5, 1.5)
            layer.bias.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 3)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return module


@pytest.mark.parametrize("side", [1, 2, 7])
@pytest.mark.parametrize("norm", [False, True])
def test_images_of_32_times_the_last_map(side, norm):
    module = VGGFace(**SMALL, side=side, norm=norm).eval()
    assert module(torch.rand(2, 3, 32 * side, 32 * side)).shape == (2, 5)
    assert module.fc6.in_features == 6 * side**2
    with pytest.raises(RuntimeError):
        module(torch.rand(2, 3, 32 * (side + 1), 32 * (side + 1)))
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == ([c.out_channels for c in convs(module)] if norm else [])
    names = [name for name, m in module.named_children() if not isinstance(m, nn.BatchNorm2d)]
    assert names == [name for name, _ in VGGFace(**SMALL, side=side).named_children()]


def convs(module):
    return [module.get_submodule(name) for name in CONVS]


def test_it_is_as_published():
    with torch.device("meta"):
        module = VGGFace()
    assert sum(p.numel() for p in module.parameters()) == 145_002_878
    assert sum(c.out_channels for c in convs(module)) == 4224 and len(LAYERS) == 16
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_folding_changes_nothing_but_the_layers(side, seed):
    module = stirred(side, seed).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    plain = fold(module)
    assert module.training and not plain.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    x = torch.randn(4, 3, 32 * side, 32 * side)
    wanted = module.eval()(x)
    torch.testing.assert_close(plain(x), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    chain = VGGFace(**SMALL, side=side)
    assert plain.state_dict().keys() == chain.state_dict().keys()
    chain.load_state_dict(plain.state_dict())
    torch.testing.assert_close(chain.eval()(x), plain(x))


def test_folding_a_plain_network_is_a_copy():
    module = VGGFace(**SMALL, side=1)
    plain = fold(module)
    assert plain is not module
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), module.parameters(), strict=True))
    with torch.no_grad():
        plain.conv1_1.weight.zero_()
    assert module.conv1_1.weight.abs().sum() > 0
