import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from facelab.nets import Net, load, wrap


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())


TEMPLATE = [[11, 12], [20, 12], [15.5, 18], [12, 23], [19, 23]]


def test_wrap_states_itself():
    net = wrap(small().train(), size=32, mean=127.5, std=128, name="mine")
    assert isinstance(net, Net) and not net.module.training
    assert list(net.convs) == ["0", "2"] and net.convs["2"] is net.module[2]
    assert net.mean == (127.5,) * 3 and net.std == (128.0,) * 3
    assert repr(net) == "Net 'mine': 3 × 32 × 32, 2 convolutions, 10 filters"


@pytest.mark.parametrize(
    ("module", "settings", "error", "message"),
    [
        ("resnet", {}, TypeError, "must be a torch.nn.Module, not str ('resnet')"),
        (np.zeros(3), {}, TypeError, "must be a torch.nn.Module, not ndarray"),
        (nn.Linear(3, 4), {}, ValueError, "Linear has no convolution"),
        (small(), {"size": "32"}, TypeError, "size must be a whole number of pixels, not '32'"),
        (small(), {"size": 32.0}, TypeError, "size must be a whole number of pixels, not 32.0"),
        (small(), {"size": 0}, ValueError, "at least one pixel, not 0"),
        (small(), {"mean": (1, 2)}, ValueError, "mean must be one finite number or 3, not (1, 2)"),
        (small(), {"mean": float("nan")}, ValueError, "mean must be one finite number or 3, not nan"),
        (small(), {"grey": True, "std": (1, 2, 3)}, ValueError, "std must be one finite number or 1, not (1, 2, 3)"),
        (small(), {"std": 0}, ValueError, "std must be positive"),
        (small(), {"template": [[1, 2]]}, ValueError, "template must be (5, 2) finite chip pixels"),
        (nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3))), {"embedding": "0.1"}, ValueError, "did you mean '0.0'"),
    ],
)
def test_wrap_refuses(module, settings, error, message):
    with pytest.raises(error, match=re.escape(message)):
        wrap(module, **{"size": 32, **settings})


def test_chips_bring_landmarks_to_the_template(pictures):
    """The picture's three channels are not needed: dots are drawn at the landmarks and found at the template."""
    images = np.zeros_like(pictures.images)
    points = np.array(TEMPLATE, np.float32)[None] * 2 + [[[20, 15]], [[5, 9]], [[0, 0]], [[30, 30]], [[11, 3]]]
    for i in range(5):
        for x, y in points[i]:
            images[i, :, round(float(y)), round(float(x))] = 255
    points = points.round().astype(np.float32)
    net = wrap(small(), size=32, template=TEMPLATE)
    chips = net.chips(replace(pictures, images=images, landmarks=points))
    assert chips.dtype == torch.uint8 and chips.shape == (5, 3, 32, 32)
    for i in range(5):
        y, x = np.nonzero(chips[i, 0].numpy() > 10)
        found = np.stack([x, y], 1)
        for target in TEMPLATE:
            assert np.abs(found - target).sum(1).min() <= 1


def test_rows(pictures):
    net = wrap(small(), size=32, template=TEMPLATE)
    every = net.chips(pictures)
    for rows in ([3, 1], slice(1, 3), np.array([True, False, False, True, False])):
        assert torch.equal(net.chips(pictures, rows), every[np.arange(5)[rows]])


def test_no_template_takes_the_whole_image(pictures):
    assert torch.equal(wrap(small(), size=96).chips(pictures), torch.from_numpy(pictures.images))
    blind = replace(pictures, landmarks=np.full((5, 5, 2), np.nan, np.float32))
    assert wrap(small(), size=32).chips(blind).shape == (5, 3, 32, 32)


def test_missing_landmarks_are_named(pictures):
    landmarks = pictures.landmarks.copy()
    landmarks[[2, 4], 1] = np.nan
    blind = replace(pictures, landmarks=landmarks)
    net = wrap(small(), size=32, template=TEMPLATE, name="mine")
    with pytest.raises(ValueError, match=re.escape("face 2 of 'pictures' has no landmarks (NaN); 2 of 5 faces")):
        net.chips(blind)
    with pytest.raises(ValueError, match="face 4 of 'pictures'"):
        net.chips(blind, [0, 1, 4])
    assert len(net.chips(blind, [0, 1, 3])) == 3
    net.template = None  # as the message says
    assert len(net.chips(blind)) == 5


def test_normalisation(pictures):
    mean, std = (10.0, 20.0, 30.0), (50.0, 60.0, 70.0)
    x = wrap(small(), size=96, mean=mean, std=std).prepare(pictures)
    expected = (pictures.images - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x, expected, atol=1e-5)
    grey = wrap(nn.Conv2d(1, 2, 3), size=96, grey=True, mean=127.5, std=127.5).prepare(pictures)
    luma = (pictures.images * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
    np.testing.assert_allclose(grey, luma / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_embed(pictures, batch):
    module = small()
    with torch.no_grad():
        x = torch.from_numpy(pictures.images).float() / 255
        first = module[:2](x).mean((2, 3)).numpy()
        last = module(x).flatten(1).numpy()
    net = wrap(module, size=96, embedding="1")
    found = net.embed(pictures, batch=batch)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, first, atol=1e-6)
    np.testing.assert_allclose(wrap(module, size=96).embed(pictures, batch=batch), last, atol=1e-5)
    assert not any(layer._forward_hooks for layer in module.modules())
    np.testing.assert_array_equal(net.predict(pictures).shape, (5, 6, 45, 45))


def test_embed_leaves_no_hook_behind_when_it_fails(pictures):
    module = small()
    net = wrap(module, size=1, embedding="1")
    with pytest.raises(RuntimeError):
        net.embed(pictures)
    assert not any(layer._forward_hooks for layer in module.modules())


def test_empty_set(pictures):
    with pytest.raises(ValueError, match="'pictures' is empty"):
        wrap(small(), size=32).embed(pictures[:0])


def test_fingerprint():
    settings = {"size": 32, "template": TEMPLATE, "name": "mine"}
    first = wrap(small(), **settings)
    key = first.fingerprint
    assert key == first.fingerprint == wrap(small(), **settings).fingerprint
    others = [
        wrap(small(1), **settings),
        wrap(small(), **{**settings, "size": 33}),
        wrap(small(), **{**settings, "template": None}),
        wrap(small(), **settings, mean=1),
        wrap(small(), **settings, std=1),
        wrap(small(), **settings, embedding="1"),
        wrap(nn.Sequential(*small()[:3], nn.Tanh()), **settings),
    ]
    assert len({key, *(other.fingerprint for other in others)}) == 8
    with torch.no_grad():
        first.module[0].weight[0, 0, 0, 0] += 1e-6
    assert first.fingerprint != key


def test_fingerprint_knows_a_users_own_code_and_numbers():
    """A layer that is edited between two runs must not find the old one's results in the cache."""

    def mine(bend, power=1.0, shift=0.0):
        class Mine(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.power, self.plain = nn.Conv2d(3, 4, 3), power, torch.full((2,), shift)
                self.register_buffer("hidden", torch.full((1,), shift), persistent=False)

            def forward(self, x):
                return bend(self.conv(x)) ** self.power

        torch.manual_seed(0)
        return wrap(Mine(), size=16).fingerprint

    assert mine(torch.relu) == mine(torch.relu)
    keys = {mine(torch.relu), mine(torch.sigmoid), mine(torch.relu, 2.0), mine(torch.relu, shift=1.0)}
    keys |= {mine(lambda x: x + 1), mine(lambda x: x + 2)}
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("held", "other"),
    [(torch.relu, torch.tanh), ([1, 2], [1, 3]), ({"a": 1.0}, {"a": 2.0}), (np.zeros(2000), np.ones(2000)),
     (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16))],
    ids=("function", "list", "dict", "array", "bfloat16"),
)  # fmt: skip
def test_fingerprint_knows_whatever_a_users_own_layer_holds(held, other):
    class Mine(nn.Module):
        def __init__(self, held):
            super().__init__()
            self.conv, self.held = nn.Conv2d(3, 4, 3), held

    def key(held):
        torch.manual_seed(0)
        return wrap(Mine(held), size=16).fingerprint

    assert key(held) == key(held) != key(other)


def test_fingerprint_of_a_hooked_net_is_never_the_same():
    net = wrap(small(), size=32)
    key = net.fingerprint
    hook = net.module[0].register_forward_hook(lambda _layer, _input, y: y * 0)
    assert len({key, net.fingerprint, net.fingerprint}) == 3
    hook.remove()
    assert net.fingerprint == key


def test_embedding_may_be_what_a_layer_reads(pictures):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    read = wrap(module, size=96, embedding="4:input").embed(pictures)
    np.testing.assert_array_equal(read, wrap(module, size=96, embedding="3").embed(pictures))
    assert not any(layer._forward_pre_hooks for layer in module.modules())
    with pytest.raises(ValueError, match="unknown embedding layer '5:input'"):
        wrap(module, size=96, embedding="5:input")


@pytest.mark.parametrize("name", [3, None, ["age"]])
def test_only_a_name_is_loaded(name):
    with pytest.raises(TypeError, match=f"expected the name of a source, e.g. 'identity', not {type(name).__name__}"):
        load(name)
