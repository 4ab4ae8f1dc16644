"""Costs against torch's own counter, by hand, and against each other; times as ratios only."""

import copy
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import facelab as fl
from facelab import latency as timed
from facelab.cost import compare, count, latency
from facelab.nets.torchvision_nets import models


def flops(net, shape) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(net).eval()(torch.rand(1, *shape))
    return counter.get_total_flops()


@pytest.mark.parametrize("seed", range(30))
def test_any_convolution_is_half_of_torchs_flops(seed):
    """Grouped, depthwise, dilated, strided, padded, oblong, with and without bias; 1, 2, 3 dimensions."""
    rng = np.random.default_rng(seed)
    dims, groups = int(rng.integers(1, 4)), int(rng.choice([1, 2, 4]))
    c_in, c_out = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    each = {"kernel_size": (1, 4), "stride": (1, 3), "padding": (0, 3), "dilation": (1, 3)}
    settings = {name: tuple(rng.integers(*ends, dims).tolist()) for name, ends in each.items()}
    layer = kind(c_in, c_out, groups=groups, bias=bool(rng.integers(2)), **settings)
    shape = (c_in, *rng.integers(7, 10, dims).tolist())
    cost = count(layer, shape)
    assert 2 * cost.macs == flops(layer, shape) and cost.conv_macs == cost.macs
    # Eqs 6–8 spelled out
    k, out = np.prod(settings["kernel_size"]), np.prod(layer(torch.rand(1, *shape)).shape[2:])
    assert cost.macs == c_in // groups * k * c_out * out
    assert cost.parameters == sum(p.numel() for p in layer.parameters()) and cost.size == 4 * cost.parameters


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121", "googlenet"])
def test_whole_networks_are_half_of_torchs_flops(name):
    settings = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    net = models().get_model(name, weights=None, **settings)
    cost = count(net, (3, 64, 64))
    assert 2 * cost.macs == flops(net, (3, 64, 64))
    assert cost.parameters == sum(p.numel() for p in net.parameters())
    assert cost.size == sum(t.numel() * t.element_size() for t in net.state_dict().values())
    assert cost.conv_parameters <= cost.parameters and cost.conv_macs <= cost.macs and cost.conv_size <= cost.size
    table = cost.table()
    assert table["macs"].iloc[:-1].sum() == table["macs"].iloc[-1] == cost.macs
    assert list(table["layer"])[:-1] == list(cost.layers["layer"])
    assert net.training and not any(m._forward_hooks for m in net.modules())


def test_vgg16_has_the_15_billion_of_the_literature():
    with torch.device("meta"):
        net = models().vgg16(weights=None, init_weights=False)
    cost = count(net, (3, 224, 224))  # on the meta device: shapes only
    assert cost.macs == pytest.approx(1.547e10, rel=1e-3)
    fc = cost.parameters - cost.conv_parameters
    assert fc / cost.parameters == pytest.approx(0.894, abs=1e-3)


def test_layers_used_twice_count_twice_and_weigh_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(5, 5)
            self.tied = nn.Linear(5, 5)
            self.tied.weight = self.fc.weight

        def forward(self, x):
            return self.tied(self.fc(self.conv(self.conv(x))))  # linear along the last axis

    net = Twice()
    cost = count(net, (3, 4, 5))
    assert 2 * cost.macs == flops(net, (3, 4, 5))
    assert cost.layers.set_index("layer")["calls"].to_dict() == {"conv": 2, "fc": 1, "tied": 1}
    assert cost.parameters == 84 + 25 + 5 + 5 and cost.size == 4 * cost.parameters


def test_transposed_convolutions():
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    assert 2 * count(layer, (4, 5, 7)).macs == flops(layer, (4, 5, 7)) == 2 * 4 * 35 * 9 * 3


def test_a_net_knows_its_own_size():
    net = fl.nets.wrap(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), size=8, grey=True, name="mine")
    cost = count(net)
    assert cost.name == "mine" and cost.input == (1, 8, 8) and cost.macs == 9 * 2 * 36
    assert list(cost.layers["layer"]) == ["0"]  # as net.convs names them
    assert count(net, torch.rand(7, 1, 8, 8)).macs == cost.macs  # per image


def test_what_cannot_be_counted_is_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"Sequential cannot take an input of shape \(1, 1, 8, 8\): .*channels"):
        count(net, (1, 8, 8))
    with pytest.raises(ValueError, match="no convolution and no linear layer"):
        count(nn.ReLU(), (3, 8, 8))
    with pytest.raises(ValueError, match=r"does not say what it takes: give an input"):
        count(net)
    with pytest.raises(ValueError, match=r"input shape \(3, 0, 8\): a side of 0: expected at least 1"):
        count(net, (3, 0, 8))
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, not int"):
        count(3, (3, 8, 8))
    assert net.training and not net[0]._forward_hooks


def big_and_small():
    return [nn.Sequential(nn.Conv2d(3, c, 3), nn.ReLU(), nn.Conv2d(c, c, 3), nn.Flatten()) for c in (96, 12)]


def test_two_networks_are_compared_in_every_runtime():
    big, small = big_and_small()
    found = compare(big, small, (3, 48, 48), batch=2, rounds=9, warmup=2)
    table = found.table().set_index("what")
    assert table.loc["macs", "ratio"] == found.b.macs / found.a.macs < 0.05
    for runtime in ("eager", "channels_last", "channels_last_bf16"):
        row = table.loc[runtime]
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert row["cut"] == pytest.approx(100 * (1 - row["ratio"]))
    assert table.loc["eager", "against_eager"] == table.loc["eager", "ratio"]
    assert set(found.latency.runs["net"]) == {"Sequential (a)", "Sequential (b)"}
    assert (found.latency.runs.groupby(["net", "runtime"]).size() == 9).all()


def test_timing_leaves_network_and_threads_alone():
    big, _ = big_and_small()
    big.train()
    before = torch.get_num_threads()
    found = latency({"big": big}, (3, 8, 8), threads=2, rounds=3)
    assert torch.get_num_threads() == before and big.training
    assert big[0].weight.is_contiguous() and not big[0].weight.is_contiguous(memory_format=torch.channels_last)
    table = found.table()
    assert (table["low"] <= table["ms"]).all() and (table["ms"] <= table["high"]).all()
    assert list(table["runtime"]) == ["eager", "channels_last", "channels_last_bf16"] and set(table["threads"]) == {2}
    assert table["images_per_s"].tolist() == pytest.approx((1000 / table["ms"]).tolist())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_every_runtime_has_its_own_layout_however_the_network_comes(layout):
    seen = []

    class Watched(nn.Conv2d):
        def forward(self, x):
            for tensor in (x, self.weight):
                seen.append((tensor.is_contiguous(), tensor.is_contiguous(memory_format=torch.channels_last)))
            return super().forward(x)

    net = Watched(3, 8, 3).to(memory_format=layout)
    x = torch.rand(2, 3, 8, 8).contiguous(memory_format=layout)
    for runtime, wanted in (("eager", (True, False)), ("channels_last", (False, True))):
        job = timed._job(net, x, runtime, 1)
        seen.clear()
        job()
        assert seen == [wanted, wanted]
    assert net.weight.is_contiguous(memory_format=layout)


def test_timing_refuses_what_does_not_fit():
    big, _ = big_and_small()
    with pytest.raises(ValueError, match="unknown runtime 'channel_last': did you mean 'channels_last'"):
        latency(big, (3, 8, 8), runtimes=["channel_last"])
    for settings, says in (({"batch": 0}, "batch 0"), ({"rounds": 0}, "rounds 0"), ({"threads": 0}, "threads 0")):
        with pytest.raises(ValueError, match=f"{says}: expected at least 1"):
            latency(big, (3, 8, 8), **settings)
    with pytest.raises(ValueError, match="cannot take an input of shape"):
        latency(big, (1, 8, 8))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_is_timed():
    found = latency(big_and_small()[1], (3, 16, 16), runtimes=["eager", "compiled"], rounds=3)
    assert list(found.table()["runtime"]) == ["eager", "compiled"]


@pytest.fixture
def onnxruntime():
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


def test_an_exported_network_is_timed_beside_the_others(onnxruntime):
    big, small = big_and_small()
    big.train()
    table = compare(big, small, (3, 32, 32), batch=2, rounds=5, runtimes=["eager", "onnxruntime"]).table()
    row = table.set_index("what").loc["onnxruntime"]
    assert 0 < row["ratio"] < 0.7 and row["against_eager"] > 0
    assert big.training and big[0].weight.requires_grad


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_the_exported_network_computes_the_same(onnxruntime, batch):
    net = fl.nets.wrap(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten(), nn.Linear(4 * 36, 2)), size=8
    )
    x = torch.randn(batch, 3, 8, 8)
    [found] = timed._job(net, x, "onnxruntime", 1)()
    np.testing.assert_allclose(found, net(x).numpy(), atol=1e-5)


def test_a_runtime_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("onnx") else name)
    with pytest.raises(ImportError, match="'onnxruntime' needs onnx and onnxscript and onnxruntime: pip install onnx"):
        latency(big_and_small()[1], (3, 8, 8), runtimes=["onnxruntime"])


def test_what_cannot_be_exported_is_named(onnxruntime):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(x) if x.sum() > 0 else self.conv(-x)

    with pytest.raises(ValueError, match="torch cannot export 'Odd'"):
        latency(Odd(), (3, 8, 8), runtimes=["onnxruntime"], rounds=1)
