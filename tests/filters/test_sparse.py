"""A cut network computes what the whole one does with the removed maps zeroed, whatever is kept and however its layers
are coupled; what cannot be cut exactly is refused."""

import copy
import json
import logging
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import facelab as fl
from facelab import nets
from facelab.filters import bare, sparse
from facelab.filters.ablate import ablated
from facelab.filters.responses import Responses
from facelab.nets import dlib_nets
from facelab.nets.lightcnn import LightCNN9, LightCNN29
from facelab.nets.vgg_face import VGGFace


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@torch.no_grad()
def stir(module, share=0.3):
    """Random weights through which an image can still be told at the end, and normalisations that do something."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                layer.bias.normal_(0, 0.1)
        if isinstance(layer, (nn.BatchNorm2d, dlib_nets.Affine)):
            layer.weight.mul_(1 + share * torch.randn_like(layer.weight))
            layer.bias.add_(share * torch.randn_like(layer.bias))
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, share)
            layer.running_var.uniform_(0.5, 1.5)
    return module


def chain():
    """Convolutions with and without normalisation, in front of a flattened linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 5, 3, bias=False), nn.PReLU(5), nn.Conv2d(5, 7, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Flatten(), nn.Linear(7 * 5 * 5, 9), nn.ReLU(), nn.Linear(9, 4)),
    )


class Mine(nn.Module):
    """A skip, a concatenation, a depthwise convolution, calls instead of layers, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.side, self.deep = nn.Conv2d(6, 4, 1), nn.Conv2d(10, 10, 3, groups=10)
        self.last, self.fc = nn.Conv2d(10, 5, 1), nn.Linear(5, 2)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = F.relu(x + self.gain * self.b(x))
        x = torch.cat([x, F.silu(self.side(x))], 1)
        x = F.relu(self.last(F.relu(self.deep(x))))
        return self.fc(x.mean((2, 3)))


def make(kind):
    match kind:
        case "chain":
            return nets.wrap(stir(chain()), size=16)
        case "mine":
            return nets.wrap(stir(Mine()), size=12)
        case "vgg":
            return nets.wrap(stir(VGGFace(widths=(4, 6, 6, 8, 8), hidden=12, people=5)), size=224, embedding="relu7")
        case "lightcnn":
            module = stir(LightCNN9(widths=(6, 8, 10, 6), people=5))
            return nets.wrap(module, size=128, grey=True, mean=0, embedding="fc1")
        case "lightcnn-29":
            return nets.wrap(stir(LightCNN29(widths=(4, 6, 6, 6), people=5, v2=True)), size=128, grey=True, mean=0)
        case "resnet18":
            net = nets.load("torchvision/resnet18", device="cpu")
            stir(net.module, 0.1)
            net.size = 64
            return net
        case "dlib":
            return nets.wrap(stir(dlib_nets.resnet29(), 0.05), size=150, embedding="pool")


SMALL = ["chain", "mine", "vgg", "lightcnn", "lightcnn-29"]
ALL = [*SMALL, "resnet18", "dlib"]


def lists(net, seed, share=None, layers=None):
    """A random list of filters for some of the layers."""
    rng, keep = np.random.default_rng(seed), {}
    for name, layer in net.convs.items():
        if (layers is None and rng.random() < 0.9) or name in (layers or ()):
            count = max(2, round(layer.out_channels * (share or rng.uniform(0.2, 0.9))))
            keep[name] = rng.choice(layer.out_channels, min(count, layer.out_channels), replace=False)
    return keep


def noise(net, n=3):
    return torch.randn(n, 1 if net.grey else 3, net.size, net.size, generator=torch.Generator().manual_seed(1))


def off(channels):
    def hook(module, args, out):
        out = out.clone()
        out[:, list(channels)] = 0
        return out

    return hook


@torch.no_grad()
def zeroed(net, places):
    """The output with channels set to zero in the outputs of named modules."""
    with ExitStack() as stack:
        for name, channels in places.items():
            stack.callback(net.module.get_submodule(name).register_forward_hook(off(channels)).remove)
        return net(noise(net))


def far(a, b):
    return ((a - b).abs().max() / a.abs().max()).item()


def width(net):
    return sum(layer.out_channels for layer in net.convs.values())


# Where the map of a layer is, after the affine layer and the non-linearity, in networks whose modules are known.


def maps_of(kind, removed):
    for layer, channels in removed.items():
        match kind:
            case "chain":
                yield {"0": "2", "4": "5", "6": "7"}[layer], channels
            case "vgg":
                yield layer.replace("conv", "relu"), channels
            case "lightcnn" | "lightcnn-29":
                yield layer, channels  # both of the pair are 0, and so is the larger
            case "resnet18":
                block, _, name = layer.rpartition(".")
                if name == "conv1":
                    yield f"{block}.bn1" if block else "relu", channels  # ReLU(0) = 0
                elif name == "conv2":
                    yield block, channels
            case "dlib":
                block, _, name = layer.rpartition(".")
                yield {"conv": "relu", "conv1": f"{block}.relu1", "conv2": f"{block}.relu2"}[name], channels


@pytest.mark.parametrize("kind", [k for k in ALL if k != "mine"])
@pytest.mark.parametrize("seed", range(2))
@torch.no_grad()
def test_the_cut_network_is_the_whole_one_with_the_removed_maps_zeroed(kind, seed):
    net = make(kind)
    keep = lists(net, seed)
    before = copy.deepcopy(net.module.state_dict())
    planned, small = sparse.plan(net, keep), sparse.cut(net, keep)
    wanted = zeroed(net, dict(maps_of(kind, planned.removed)))
    assert far(wanted, small(noise(net))) <= 1e-5
    assert far(wanted, net(noise(net))) > 0.05  # something was lost
    for name, layer in small.convs.items():
        assert layer.out_channels == len(planned.kept[name]) == layer.weight.shape[0]
        assert set(keep.get(name, ())) <= set(planned.kept[name])
    assert width(small) == sum(map(len, planned.kept.values())) < width(net)
    for name, value in net.module.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("kind", ["mine", "chain"])
@pytest.mark.parametrize("seed", range(8))
@torch.no_grad()
def test_so_does_a_network_of_the_users_own(kind, seed):
    net = make(kind)
    keep = lists(net, seed)
    planned, small = sparse.plan(net, keep), sparse.cut(net, keep)
    with ablated(net, planned.removed):
        whole = net(noise(net))
    assert far(whole, small(noise(net))) <= 1e-5
    assert far(whole, net(noise(net))) > 0.01


@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_a_cut_by_hand_gives_the_same_tensors(seed):
    net = make("chain")
    keep = {name: np.sort(index) for name, index in lists(net, seed, layers=net.convs).items()}
    small, hand = sparse.cut(net, keep).module, copy.deepcopy(net.module)
    a, b, c = (torch.from_numpy(keep[name]) for name in ("0", "4", "6"))
    for layer, out, read in ((hand[0], a, torch.arange(3)), (hand[4], b, a), (hand[6], c, b)):
        layer.weight.data = layer.weight[out][:, read]
        if layer.bias is not None:
            layer.bias.data = layer.bias[out]
    norm, prelu, fc = hand[1], hand[5], hand[9]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(norm, name).data = getattr(norm, name)[a]
    prelu.weight.data = prelu.weight[b]
    fc.weight.data = fc.weight.view(9, 7, 25)[:, c].reshape(9, -1)
    wanted, found = hand.state_dict(), small.state_dict()
    assert list(wanted) == list(found)
    for name in wanted:
        assert torch.equal(wanted[name], found[name]), name


def test_the_plan_shows_what_is_coupled():
    net = make("resnet18")
    keep = {"layer1.0.conv2": [0, 1], "conv1": [1, 5], "layer2.0.conv1": [3]}
    planned = sparse.plan(net, keep)
    for name in ("conv1", "layer1.0.conv2", "layer1.1.conv2"):
        np.testing.assert_array_equal(planned.kept[name], [0, 1, 5])
        assert len(planned.coupled[name]) == 2 and not planned.scalable(name)
    table = planned.table().set_index("layer")
    assert list(table.columns) == ["filters", "kept", "coupled with", "why"]
    assert table.loc["layer1.1.conv2", "coupled with"] == "conv1, layer1.0.conv2"
    assert table.loc["conv1", "why"] == "the union of 2 lists"
    assert table.loc["layer1.1.conv2", "why"] == "not in keep: the union of 2 lists"
    assert table.loc["layer2.0.conv1", ["kept", "why"]].tolist() == [1, "its own list"]
    assert table.loc["layer3.0.conv2", ["kept", "why"]].tolist() == [256, "not in keep: whole"]


@pytest.mark.parametrize("seed", range(3))
def test_halves_of_a_maximum_stay_together(seed):
    net = make("lightcnn")
    keep = lists(net, seed)
    planned = sparse.plan(net, keep)
    for name, asked in keep.items():
        n = planned.filters[name] // 2
        half = set(np.asarray(asked) % n)
        assert set(planned.kept[name]) == half | {k + n for k in half}


@pytest.mark.parametrize("seed", range(3))
def test_dlibs_stages_keep_the_same_of_what_they_share_and_add_zeros_again(seed):
    net = make("dlib")
    keep = lists(net, seed, share=0.05)
    planned, small = sparse.plan(net, keep), sparse.cut(net, keep)
    ends = [name for name in net.convs if not name.endswith("conv1")]
    union = set().union(*(keep.get(name, ()) for name in ends))
    for name in ends:
        assert set(planned.kept[name]) == {k for k in union if k < planned.filters[name]}
    for block in small.module.blocks:
        assert type(block) is dlib_nets.Block
        assert isinstance(block.shortcut, nn.Identity if block.stride == 1 else nn.AvgPool2d)
        assert block.extra == block.conv2.out_channels - block.conv1.in_channels


# Heads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chain", "mine", "vgg", "lightcnn", "dlib"])
@torch.no_grad()
def test_a_pooled_head_reads_the_average_of_the_last_maps(kind):
    net = make(kind)
    small = sparse.cut(net, lists(net, 0, share=0.5), head="pool", outputs=3, seed=1)
    x = noise(net)
    assert small(x).shape == (3, 3)
    linear = small.module.get_submodule(small.embedding.removesuffix(":input"))[2]
    channels = list(small.convs.values())[-1].out_channels // (2 if kind.startswith("lightcnn") else 1)
    assert linear.weight.shape == (3, channels)
    again = sparse.cut(net, lists(net, 0, share=0.5), head="pool", outputs=3, seed=1)
    assert torch.equal(again(x), small(x))
    other = sparse.cut(net, lists(net, 0, share=0.5), head="pool", outputs=3, seed=2)
    assert not torch.equal(other(x), small(x))


@pytest.mark.parametrize("top", ["conv1_2", "conv3_1", "conv4_3"])
@torch.no_grad()
def test_top_layers_are_removed_and_the_map_there_is_pooled(top):
    net = make("vgg")
    keep = lists(net, 0, share=0.5, layers=net.convs)
    small = sparse.cut(net, keep, top=top, head="pool", outputs=2)
    assert list(small.convs) == list(net.convs)[: list(net.convs).index(top) + 1]
    assert not [name for name, _ in small.module.named_modules() if name.startswith("fc")]
    planned, seen = sparse.plan(net, keep), []
    relu = net.module.get_submodule(top.replace("conv", "relu"))
    hook = relu.register_forward_hook(lambda _m, _a, out: seen.append(out.clone()))
    zeroed(net, dict(maps_of("vgg", planned.removed)))
    hook.remove()
    maps = seen[0][:, planned.kept[top]].mean((2, 3))
    assert far(F.linear(maps, small.module.head[2].weight, small.module.head[2].bias), small(noise(net))) <= 1e-5


def test_an_inner_layer_of_a_residual_network_can_be_the_top():
    net = make("dlib")
    small = sparse.cut(net, lists(net, 0, share=0.3, layers=net.convs), top="blocks.4.conv1", head="pool", outputs=2)
    assert list(small.convs)[-1] == "blocks.4.conv1"
    assert small(noise(net)).shape == (3, 2)


@torch.no_grad()
def test_the_last_linear_layer_can_be_another():
    net = make("vgg")
    small = sparse.cut(net, lists(net, 0), outputs=7)
    assert small(noise(net)).shape == (3, 7) and small.module.fc8.in_features == 12
    assert net.module.fc8.out_features == 5
    with pytest.raises(ValueError, match="does not end in a linear layer"):
        sparse.cut(
            nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=8), {"0": [0]}, outputs=7
        )


def test_maps_that_are_the_output_stay_whole(caplog):
    net = nets.wrap(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)), size=9)
    with caplog.at_level(logging.WARNING):
        small = sparse.cut(net, {"0": [1, 2], "2": [0]})
    assert small(noise(net)).shape[1] == 4
    assert "2 of 'Sequential' stays whole" in caplog.text
    assert sparse.plan(net, {"0": [1, 2], "2": [0]}).why["2"] == "its maps are the network's output: whole"
    pooled = sparse.cut(net, {"0": [1, 2], "2": [0]}, top="2", head="pool", outputs=3)
    assert pooled.convs["2"].out_channels == 1


# β ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chain", "vgg"])
@torch.no_grad()
def test_scaling_multiplies_the_map_before_the_non_linearity(kind):
    net = make(kind)
    keep = lists(net, 0, share=0.6, layers=net.convs)
    rng = np.random.default_rng(0)
    scale = {name: rng.normal(size=layer.out_channels) for name, layer in net.convs.items()}
    plain, scaled, kept = sparse.cut(net, keep), sparse.cut(net, keep, scale=scale), sparse.plan(net, keep).kept
    for name, layer in plain.convs.items():
        other, x = scaled.convs[name], torch.randn(2, layer.in_channels, 8, 8)
        a, b = layer(x), other(x)
        if kind == "chain" and name == "0":
            a, b = plain.module[1](a), scaled.module[1](b)
        beta = torch.tensor(scale[name][kept[name]], dtype=torch.float32)
        assert far(a * beta[:, None, None], b) <= 1e-5


@torch.no_grad()
def test_affine_layers_take_the_factor_and_coupled_layers_none():
    net = make("dlib")
    keep = lists(net, 0, share=0.3, layers=net.convs)
    scale = {name: np.full(layer.out_channels, 2.0) for name, layer in net.convs.items()}
    plain, scaled = sparse.cut(net, keep), sparse.cut(net, keep, scale=scale)
    for (name, a), (_, b) in zip(plain.module.named_parameters(), scaled.module.named_parameters(), strict=True):
        assert torch.equal(2 * a if ".affine1." in name else a, b), name


def test_a_negative_beta_silences_a_filter():
    net = nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=9)
    net.module[0].bias.data += 10
    assert (sparse.cut(net, {"0": [0, 1]}).module[:2](noise(net)) > 0).any()
    silent = sparse.cut(net, {"0": [0, 1]}, scale={"0": -np.ones(4)})
    assert silent.module[:2](noise(net)).max() == 0


def test_curves_give_what_cut_takes():
    net, rng = make("chain"), np.random.default_rng(0)
    yaw, old = rng.uniform(-60, 60, 400), rng.integers(0, 3, 400)
    x = {name: rng.normal(size=(400, layer.out_channels)).astype(np.float32) for name, layer in net.convs.items()}
    x["0"][:, 1] += yaw / 30
    x["4"][:, :2] -= yaw[:, None] / 30
    x["0"][:, 3] += old == 0
    labels = pd.DataFrame({"yaw": yaw, "expression": np.array(["neutral", "happy", "angry"])[old]})
    seen = Responses("toy", x, labels, np.arange(400) // 10)
    curves = fl.characteristic_curves(seen.moments(["yaw", "expression"]), half_samples=0, progress=False)
    keep, scale = curves["yaw"].knees(gamma=0.05), curves["yaw"].betas(gamma=0.05)
    assert list(keep) == list(scale) == ["0", "4"]  # the third layer knows nothing
    for name, index in keep.items():
        np.testing.assert_array_equal(np.flatnonzero(scale[name]), index)
    assert scale["0"][1] > 0 > scale["4"][0]
    small = fl.sparse.cut(net, keep, scale=scale)
    assert [len(keep["0"]), len(keep["4"]), 7] == [layer.out_channels for layer in small.convs.values()]
    classes = curves["expression"].betas(gamma=0.05)["0"]
    assert classes.shape == (6,) and classes.min() >= 0 < classes[3]


# Controls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chain", "mine", "lightcnn", "resnet18", "dlib"])
def test_controls_leave_as_many_filters_in_every_layer(kind):
    net = make(kind)
    planned = sparse.plan(net, lists(net, 3, share=0.2))
    for control in (
        sparse.keep_random(net, planned, seed=0),
        sparse.keep_random(net, planned, seed=1),
        sparse.keep_l1(net, planned),
    ):
        other = sparse.plan(net, control)
        assert {k: len(v) for k, v in other.kept.items()} == {k: len(v) for k, v in planned.kept.items()}
        np.testing.assert_equal({k: other.kept[k] for k in control}, control)  # coupled filters come together


def test_controls_draw_by_seed_or_by_weight():
    net = make("vgg")
    counts = {"conv1_1": 2, "conv5_3": 5}
    first, same, other = (sparse.keep_random(net, counts, seed=s) for s in (0, 0, 1))
    np.testing.assert_equal(first, same)
    assert any(not np.array_equal(first[k], other[k]) for k in counts)
    for name, index in sparse.keep_l1(net, counts).items():
        norms = net.convs[name].weight.detach().abs().sum((1, 2, 3)).numpy()
        assert set(index) == set(np.argsort(-norms)[: counts[name]])
    with pytest.raises(ValueError, match="did you mean 'conv1_1'"):
        sparse.keep_random(net, {"conv11": 2})
    with pytest.raises(ValueError, match="has 4 filters"):
        sparse.keep_l1(net, {"conv1_1": 5})
    with pytest.raises(TypeError, match="whole number"):
        sparse.keep_l1(net, {"conv1_1": [0, 1]})
    with pytest.raises(TypeError, match="must be a Plan"):
        sparse.keep_l1(net, 5)
    with pytest.raises(ValueError, match="of another network"):
        sparse.keep_random(make("chain"), sparse.plan(net, {"conv1_1": [0]}))


# Saving -----------------------------------------------------------------------------------------------------

BARE = """
import runpy, sys
for name in sys.argv[5].split():
    sys.modules[name] = None  # importing it is an error
import torch
module, about = runpy.run_path(sys.argv[1])["read"](sys.argv[2])
assert not [name for name in sys.modules if name.startswith("facelab.")]
x, wanted = (torch.frombuffer(bytearray(open(f, "rb").read()), dtype=torch.float32) for f in sys.argv[3:5])
shape = (-1, 1 if about["grey"] else 3, about["size"], about["size"])
with torch.no_grad():
    out = module(x.view(shape))
print(float((out.flatten() - wanted).abs().max()))
"""


def foreign() -> str:
    """The names of all packages here but torch and safetensors, and what these require."""
    wanted, needed = ["torch", "safetensors"], set()
    while wanted:
        name = re.split(r"[^A-Za-z0-9._-]", wanted.pop())[0].lower().replace("_", "-")
        if name not in needed:
            needed.add(name)
            with suppress(metadata.PackageNotFoundError):  # of another platform
                wanted += [r for r in metadata.requires(name) or [] if "extra ==" not in r]
    found = metadata.packages_distributions().items()
    return " ".join(top for top, owners in found if not needed & {o.lower().replace("_", "-") for o in owners})


@pytest.mark.parametrize("kind", ["vgg", "dlib"])
@torch.no_grad()
def test_a_bare_python_with_torch_reads_what_was_saved(kind, tmp_path):
    net = make(kind)
    small = sparse.cut(net, lists(net, 0, share=0.3))
    file, x = sparse.save(small, tmp_path / "small.safetensors"), noise(net)
    (tmp_path / "x").write_bytes(x.numpy().tobytes())
    (tmp_path / "y").write_bytes(small(x).numpy().tobytes())
    reader, others = shutil.copy(bare.__file__, tmp_path / "reader.py"), foreign()
    assert {"facelab", "numpy", "pandas", "torchvision", "torch_pruning"} <= set(others.split())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BARE, reader, file, tmp_path / "x", tmp_path / "y", others],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-5
    assert sorted(f.name for f in tmp_path.iterdir()) == ["reader.py", "small.safetensors", "x", "y"]


@pytest.mark.parametrize("kind", [*SMALL, "resnet18"])
@pytest.mark.parametrize("head", ["keep", "pool"])
@torch.no_grad()
def test_a_loaded_network_is_the_saved_one_and_can_be_cut_again(kind, head, tmp_path):
    net = make(kind)
    small = sparse.cut(net, lists(net, 0, share=0.7), head=head, outputs=3 if head == "pool" else None)
    loaded = sparse.load(sparse.save(small, tmp_path / "net.safetensors"), device="cpu")
    assert far(small(noise(net)), loaded(noise(net))) <= 1e-5
    assert list(loaded.convs) == list(small.convs)
    assert (loaded.name, loaded.size, loaded.mean, loaded.std, loaded.grey) == (
        *(small.name, small.size, small.mean, small.std, small.grey),
    )
    keep = lists(small, 1, share=0.6)
    assert far(sparse.cut(small, keep)(noise(net)), sparse.cut(loaded, keep)(noise(net))) <= 1e-5


def layouts(net):
    """Whether filters are contiguous, and whether channels last."""
    weights = [layer.weight for layer in net.convs.values() if layer.in_channels > 1 and layer.kernel_size != (1, 1)]
    formats = torch.contiguous_format, torch.channels_last
    return [all(w.is_contiguous(memory_format=format) for w in weights) for format in formats]


@pytest.mark.parametrize("kind", ["vgg", "dlib", "lightcnn"])
@pytest.mark.parametrize("head", ["keep", "pool"])
def test_a_cut_network_is_stored_as_the_whole_one_and_a_loaded_one_channels_last(kind, head, tmp_path):
    net = make(kind)
    for layout, wanted in ((torch.channels_last, [False, True]), (torch.contiguous_format, [True, False])):
        net.to(memory_format=layout)
        outputs = 3 if head == "pool" else None
        small = sparse.cut(net, lists(net, 0, share=0.7), head=head, outputs=outputs)
        assert layouts(net) == layouts(small) == wanted
    assert layouts(sparse.load(sparse.save(small, tmp_path / "net.safetensors"), device="cpu")) == [False, True]


@pytest.mark.parametrize("kind", ["vgg", "lightcnn", "dlib", "mine"])
@pytest.mark.parametrize("head", ["keep", "pool"])
@torch.no_grad()
def test_the_embedding_survives(kind, head, tmp_path, noisy_faces):
    net = make(kind)
    small = sparse.cut(net, lists(net, 0, share=0.7), head=head, outputs=3 if head == "pool" else None)
    loaded = sparse.load(sparse.save(small, tmp_path / "net.safetensors"), device="cpu")
    loaded.to(memory_format=torch.contiguous_format)  # as `small` is: another layout rounds otherwise
    np.testing.assert_allclose(loaded.embed(noisy_faces), small.embed(noisy_faces), atol=1e-5)


@pytest.fixture
def noisy_faces():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    return fl.faces.FaceSet("noise", images, pd.DataFrame({"age": [1.0, 2, 3]}), np.zeros((3, 5, 2), np.float32))


def test_a_cut_and_a_loaded_network_learn(tmp_path):
    net = make("chain")
    net.module[0].weight.requires_grad_(False)
    small = sparse.cut(net, lists(net, 0, layers=net.convs))
    loaded = sparse.load(sparse.save(small, tmp_path / "net.safetensors"), device="cpu")
    assert not small.module[0].weight.requires_grad and small.module[4].weight.requires_grad
    for one in (small, loaded):
        one.train()
        one(noise(net)).square().sum().backward()
        assert all(p.grad is not None for p in one.parameters() if p.requires_grad)


def test_no_code_is_read_from_a_file(tmp_path):
    file = sparse.save(make("mine"), tmp_path / "net.safetensors")
    with safe_open(file, framework="pt") as f:
        recipe = json.loads(f.metadata()["network"])
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118

    def changed(change):
        other = copy.deepcopy(recipe)
        change(other)
        save_file(tensors, tmp_path / "other.safetensors", metadata={"network": json.dumps(other)})
        return tmp_path / "other.safetensors"

    def call(op, target, args=(), kwargs=None):
        return lambda r: r["calls"].insert(1, ["evil", op, target, list(args), kwargs or {}])

    for change, match in [
        (call("call_function", "torch:load", ["x.pt"]), "'torch:load' is not allowed"),
        (call("call_function", "os:system", ["true"]), "not allowed"),
        (call("call_method", "__reduce__", [{"node": "x"}]), "not allowed"),
        (call("call_method", "relu", [{"node": "x"}], {"a=print(1)": 1}), "is no name"),
        (call("get_attr", "a.weight\nprint(1)"), "is no name"),
        (call("call_module", 'a"); print(1); ("'), "is no name"),
        (call("call_function", "builtins:getattr", [{"node": "x"}, "__class__"]), "not allowed"),
        (lambda r: r["layers"].update(a=["Module", {}]), "not allowed"),
        (lambda r: r.update(version=2), "version 2"),
        (lambda r: r.pop("calls"), "damaged"),
    ]:
        with pytest.raises(ValueError, match=match):
            bare.read(changed(change))


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved network"):
        sparse.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="damaged or not a saved network"):
        sparse.load(tmp_path / "text")
    file = sparse.save(make("chain"), tmp_path / "net.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or not a saved network"):
        sparse.load(file)

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return torch.special.bessel_j0(self.conv(x))

    with pytest.raises(ValueError, match=r"'Odd' cannot be saved: it calls .*bessel_j0"):
        sparse.save(nets.wrap(Odd(), size=8), tmp_path / "odd.safetensors")
    assert not (tmp_path / "odd.safetensors").exists()


def test_a_part_with_a_name_of_the_record_is_refused(tmp_path):
    class Coder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.code = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.code(self.conv(x).mean((2, 3)))

    small = sparse.cut(nets.wrap(Coder(), size=8, name="coder"), {"conv": [0, 1]})
    with pytest.raises(ValueError, match=r"a part of 'coder.*' is called 'code'.*give that part another name"):
        sparse.save(small, tmp_path / "small.safetensors")


@torch.no_grad()
def test_onnx(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    net = make("mine")
    small = sparse.cut(net, lists(net, 0))
    file = sparse.to_onnx(small, tmp_path / "net.onnx")
    [out] = runtime.InferenceSession(str(file)).run(None, {"x": noise(net, 4).numpy()})
    np.testing.assert_allclose(out, small(noise(net, 4)).numpy(), atol=1e-5)


def test_onnx_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        sparse.to_onnx(make("chain"), tmp_path / "net.onnx")


# Bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keep, error, match",
    [
        ({}, ValueError, "keep is empty"),
        ({"0": []}, ValueError, "'0' keeps no filter"),
        ({"00": [1]}, ValueError, "unknown layer '00'"),
        ({"0": [1, 6]}, ValueError, "'0' has no filter 6: expected 0 to 5"),
        ({"0": [-1]}, ValueError, "no filter -1"),
        ({"0": [1, 2, 1]}, ValueError, "keeps filter 1 twice"),
        ({"0": np.ones(6, bool)}, TypeError, "indices of its filters"),
        ({"0": [0.5]}, TypeError, "indices of its filters"),
        ({"0": 3}, TypeError, "indices of its filters"),
        ([0, 1], TypeError, "must map layers"),
        ({"0": range(6), "4": range(5)}, ValueError, "nothing to cut"),
    ],
)
def test_bad_lists_are_refused(keep, error, match):
    net = make("chain")
    for call in (sparse.plan, sparse.cut):
        with pytest.raises(error, match=match):
            call(net, keep)


@pytest.mark.parametrize(
    "more, error, match",
    [
        ({"head": "poll"}, ValueError, "did you mean 'pool'"),
        ({"head": "pool"}, ValueError, "say how many outputs"),
        ({"head": "pool", "outputs": 0}, ValueError, "at least 1"),
        ({"top": "4"}, ValueError, "give head='pool'"),
        ({"top": "44", "head": "pool", "outputs": 1}, ValueError, "unknown top layer '44'"),
        ({"scale": [1]}, TypeError, "scale must map"),
        ({"scale": {"4": np.ones(5)}}, ValueError, "which keep does not name"),
        ({"scale": {"00": np.ones(5)}}, ValueError, "unknown layer"),
        ({"scale": {"0": np.ones(2)}}, ValueError, r"expected \(6,\)"),
        ({"scale": {"0": np.full(6, np.nan)}}, ValueError, "finite"),
        ({"scale": {"0": np.arange(6.0)}}, ValueError, "0 for filter 0"),
    ],
)
def test_bad_settings_are_refused(more, error, match):
    with pytest.raises(error, match=match):
        sparse.cut(make("chain"), {"0": [0, 1]}, **more)


def test_only_a_net_is_cut():
    with pytest.raises(TypeError, match=r"fl\.nets\.wrap your module"):
        sparse.cut(chain(), {"0": [0]})
    with pytest.raises(ValueError, match="nothing to cut: every layer that keep names comes after"):
        sparse.cut(make("chain"), {"6": [0]}, top="4", head="pool", outputs=1)


class Wrong(nn.Module):
    """Two convolutions, and something between them."""

    def __init__(self, between, **settings):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, **settings)
        self.between, self.fc = between, nn.Linear(4, 2)

    def forward(self, x):
        x = self.between(F.relu(self.a(x)))
        return self.fc(F.relu(self.b(x)).mean((2, 3)))


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.inside = nn.Identity()  # so that the function is traced

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * int(x.sum().abs() + 1),
        lambda x: x if x.max().item() > 0 else -x,
        lambda x: x * 2 if float(x.abs().max()) > 0 else x,
    ],
)
def test_a_way_that_depends_on_values_is_refused(function):
    net = nets.wrap(Wrong(Call(function)), size=12)
    with pytest.raises(ValueError, match="must not depend on values"):
        sparse.cut(net, {"a": [0, 1]})


def test_a_way_that_depends_on_sizes_is_not(tmp_path):
    def function(x):
        _n, _c, h, w = x.shape
        x = F.pad(x, (0, 12 - w)) if h < 12 and x.dim() == 4 else x
        return x.view(x.size(0), -1, *x.shape[2:]) * (2 if len(x.shape) == 4 else 1)

    net = nets.wrap(Wrong(Call(function)), size=12)
    small = sparse.cut(net, {"a": [0, 3]})
    loaded = sparse.load(sparse.save(small, tmp_path / "net.safetensors"), device="cpu")
    assert far(small(noise(net, 5)), loaded(noise(net, 5))) <= 1e-6  # another batch


@pytest.mark.parametrize(
    "between, settings, match",
    [
        (nn.GroupNorm(2, 8), {}, r"'between' \(GroupNorm\) normalises over several channels"),
        (nn.Identity(), {"groups": 2}, "'b' is a convolution in 2 groups"),
        (Call(lambda x: x / (1 + x.mean(1, keepdim=True))), {}, "off by|cannot be followed"),
        (Call(lambda x: x.flip(1)), {}, "off by"),
        (Call(lambda x: F.pad(x, (0, 0, 0, 0, 1, -1))), {}, "off by"),
    ],
)
def test_what_cannot_be_cut_exactly_is_refused(between, settings, match):
    net = nets.wrap(Wrong(between, **settings), size=12)
    with pytest.raises(ValueError, match=match):
        sparse.cut(net, {"a": [0, 1, 5]})


def test_a_layer_that_never_runs_is_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(F.relu(self.used(x)).mean((2, 3)))

    with pytest.raises(ValueError, match="'idle' never ran"):
        sparse.cut(nets.wrap(Idle(), size=8), {"idle": [0]})


def test_an_unnamed_layer_is_not_left_empty():
    net = make("dlib")
    with pytest.raises(ValueError, match="would keep no filter: name it in keep"):
        sparse.plan(net, {"blocks.13.conv2": [200]})
