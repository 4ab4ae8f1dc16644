"""Ablated maps are exactly constant and everything downstream follows; what a probe loses is what was taken."""

from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facelab import nets
from facelab.faces.faceset import FaceSet
from facelab.filters import drops
from facelab.filters.ablate import ablate_columns, ablated, ablation
from facelab.filters.responses import Responses, responses


class Residual(nn.Module):
    """Non-linearities as calls, in place and after a skip; the last conv has none."""

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.b, self.c = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 5, 3)

    def forward(self, x, keep=None):
        """`keep`: the same network with masks where the non-linearities' results are read."""
        keep = keep or {}
        a = F.relu(self.bn(self.a(x))) * keep.get("a", 1) + keep.get("+a", 0)
        b = F.silu(self.b(a) + a, inplace=True) * keep.get("b", 1) + keep.get("+b", 0)
        c = self.c(F.max_pool2d(b, 2)) * keep.get("c", 1) + keep.get("+c", 0)
        return c.mean((2, 3))


def mask(channels, off, value=0.0):
    keep = torch.ones(channels)
    keep[list(off)] = 0
    return keep[:, None, None], (1 - keep)[:, None, None] * value


def make(seed=0):
    torch.manual_seed(seed)
    module = Residual()
    module.bn.running_mean.uniform_(-1, 1)
    return nets.wrap(module, size=12)


def people(k=12, m=20, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (k * m, 3, 12, 12), dtype=np.uint8)
    labels = pd.DataFrame({"identity": [f"p{i}" for i in np.repeat(np.arange(k), m)]})
    return FaceSet("noise", images, labels, np.zeros((k * m, 5, 2), np.float32))


@pytest.mark.parametrize("filters", [{"a": [0, 2]}, {"b": [1]}, {"c": [4]}, {"a": [1], "b": [0, 3], "c": [0]}])
@pytest.mark.parametrize("value", [0.0, 0.7])
@torch.no_grad()
def test_the_output_is_that_of_the_network_with_its_maps_replaced(filters, value):
    net, x = make(), torch.rand(3, 3, 12, 12)
    keep = {}
    for layer, off in filters.items():
        keep[layer], keep["+" + layer] = mask(net.convs[layer].out_channels, off, value)
    means = {layer: np.full(8, value) for layer in filters}
    expected, plain = net.module(x, keep), net(x)
    with ablated(net, filters, how="mean" if value else "zero", means=means):
        assert torch.allclose(net(x), expected, atol=1e-6)
        assert torch.allclose(net(x), expected, atol=1e-6)  # and again
    assert torch.equal(net(x), plain) and not torch.allclose(plain, expected)


@pytest.mark.parametrize("layer", ["a", "b", "c"])
def test_measuring_under_an_ablation_sees_it(layer):
    net, faces = make(), people(3, 2)
    with ablated(net, {layer: [1]}):
        under = responses(net, faces, progress=False)  # cached or not: an ablated network is another network
    plain = responses(net, faces, progress=False, cached=False)
    assert (under[layer][:, 1] == 0).all() and (plain[layer][:, 1] != 0).all()
    other = np.arange(4) != 1
    assert np.allclose(under[layer][:, :4][:, other], plain[layer][:, :4][:, other], atol=1e-6)
    later = {"a": "b", "b": "c", "c": None}[layer]
    assert later is None or not np.allclose(under[later], plain[later])


class Odd(nn.Module):
    """Networks whose maps pass several calls that could be theirs. `keep` masks the one that `responses` measures."""

    def __init__(self, kind):
        super().__init__()
        self.kind, wide = kind, dict(kernel_size=3, padding=1)
        self.stem, self.bn = nn.Conv2d(3, 4, **wide), nn.BatchNorm2d(4)
        self.c1, self.c2 = nn.Conv2d(4, 4, **wide), nn.Conv2d(4, 4, **wide)

    def forward(self, x, keep=1):
        return getattr(self, self.kind)(self.stem(x), keep)

    def pre_activation(self, x, keep):
        x = x + self.c1(F.relu(x) * keep)
        x = x + self.c2(F.relu(x))
        return F.relu(x)

    def gated(self, x, keep):
        h = self.bn(x)
        return self.c2(self.c1(h) + h * torch.sigmoid(h) * keep)

    def gate_read_twice(self, x, keep):
        gate = torch.sigmoid(x)
        return self.c2(x * gate * keep) + self.c1(gate)

    def squeezed(self, x, keep):
        y = self.bn(x)
        gate = torch.sigmoid(self.c1(F.relu(self.c2(F.adaptive_avg_pool2d(y, 1)))))
        return F.relu(y * gate + 0.3) * keep

    def pooled_before(self, x, keep):
        pooled = F.max_pool2d(self.bn(x), 2)
        return self.c1(pooled) + self.c2(F.relu(pooled) * keep)

    def linear_stream(self, x, keep):
        x = self.bn(x) * keep
        x = x + self.c1(x)
        return x + self.c2(x)


ODD = ["pre_activation", "gated", "gate_read_twice", "squeezed", "pooled_before", "linear_stream"]


def odd(kind):
    torch.manual_seed(1)
    module = Odd(kind)
    module.bn.running_mean.uniform_(-1, 1)
    nn.init.constant_(module.bn.bias, 1.5)  # no map is all negative
    return nets.wrap(module, size=12)


@pytest.mark.parametrize("kind", ODD)
@torch.no_grad()
def test_only_the_map_that_responses_records_is_replaced(kind):
    net, x = odd(kind), torch.rand(3, 3, 12, 12)
    expected, plain = net.module(x, mask(4, [1])[0]), net(x)
    with ablated(net, {"stem": [1]}):
        for _ in range(2):
            assert torch.allclose(net(x), expected, atol=1e-6)
    assert torch.equal(net(x), plain) and not torch.allclose(plain, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("where", ["after", "before"])
@torch.no_grad()
def test_measuring_neither_moves_an_ablation_nor_misses_it(kind, where):
    net, faces = odd(kind), people(3, 2)
    plain = responses(net, faces, where=where, cached=False, progress=False)
    with ablated(net, {"stem": [1]}):
        under = responses(net, faces, where=where, cached=False, progress=False)
    if where == "after":
        assert (under["stem"][:, 1] == 0).all() and (plain["stem"][:, 1] != 0).all()
        assert np.allclose(np.delete(under["stem"], 1, 1), np.delete(plain["stem"], 1, 1), atol=1e-6)
        return
    seen = {}  # every conv's own output, in the masked network
    with ExitStack() as stack:
        for name, layer in net.convs.items():
            look = lambda _m, _a, out, name=name: seen.update({name: out.mean((2, 3))})  # noqa: E731
            stack.callback(layer.register_forward_hook(look).remove)
        net.module(net.prepare(faces), mask(4, [1])[0])
    for name, expected in seen.items():
        assert np.allclose(under[name], expected, atol=1e-6)


def test_a_pass_that_fails_does_not_spoil_the_next():
    net, x = odd("pre_activation"), torch.rand(2, 3, 12, 12)
    with torch.no_grad(), ablated(net, {"stem": [1]}):
        expected = net(x)
        with pytest.raises(RuntimeError):
            net.module(x, torch.ones(5, 1, 1))
        assert torch.equal(net(x), expected)


def test_a_layer_that_has_no_single_map_cannot_be_ablated():
    net = odd("pre_activation")
    net.module.pre_activation = lambda x, keep: net.module.c1(net.module.c1(x))
    with pytest.raises(ValueError, match="layer 'c2' never ran"), ablated(net, {"c2": [0]}):
        pass
    with pytest.raises(ValueError, match="layer 'c1' runs more than once"), ablated(net, {"c1": [0]}):
        pass
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.module.modules())


def test_hooks_are_gone_even_after_an_error():
    net = make()
    with pytest.raises(RuntimeError, match="halt"), ablated(net, {"a": [0]}):
        raise RuntimeError("halt")
    assert not any(m._forward_hooks for m in net.module.modules())


def test_a_mask_or_a_mean_that_is_missing_is_refused():
    net = nets.wrap(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1)), size=16)
    mask = np.isin(np.arange(6), (4, 5))
    with (
        pytest.raises(TypeError, match=r"layer '0': array\(.* expected the indices of its filters"),
        ablated(net, {"0": mask}),
    ):
        pass
    means = {"2": np.zeros(4)}
    with (
        pytest.raises(ValueError, match="unknown layer with a mean '0'"),
        ablated(net, {"0": [1]}, how="mean", means=means),
    ):
        pass


def test_bad_filters():
    net = make()
    with pytest.raises(ValueError, match="unknown layer 'aa': did you mean 'a'"), ablated(net, {"aa": [0]}):
        pass
    with pytest.raises(ValueError, match="layer 'a' has no filter 4: expected 0 to 3"), ablated(net, {"a": [4]}):
        pass
    with pytest.raises(ValueError, match="unknown how 'zeros': did you mean 'zero'"), ablated(net, {}, how="zeros"):
        pass
    with pytest.raises(ValueError, match="needs means"), ablated(net, {"a": [0]}, how="mean"):
        pass


def brightness(k=12, m=20, seed=0):
    """Faces whose red and green channels say yaw, and a net whose first two of eight filters read them, four read blue
    noise; a 1 × 1 layer mixes all."""
    rng = np.random.default_rng(seed)
    yaw = rng.uniform(-60, 60, k * m)
    images = rng.integers(0, 256, (k * m, 3, 8, 8), dtype=np.uint8)
    images[:, :2] = (128 + 1.5 * yaw)[:, None, None, None] + rng.integers(-30, 30, (k * m, 2, 8, 8))
    labels = pd.DataFrame({"identity": np.repeat([f"p{i}" for i in range(k)], m), "yaw": yaw})
    labels["glasses"] = np.where(yaw > 20, "yes", "no")
    torch.manual_seed(seed)
    first, second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
    with torch.no_grad():
        first.weight[:] = first.weight.abs() * torch.eye(3)[[0, 1] + [2] * 6][:, :, None, None]
        first.bias.zero_()
        second.weight.abs_()
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nets.wrap(module, size=8), FaceSet("bright", images, labels, np.zeros((k * m, 5, 2), np.float32))


@pytest.mark.parametrize("read", [None, "2"])
@pytest.mark.parametrize("how", ["zero", "mean"])
def test_what_carries_the_task_is_missed_and_random_sets_are_not(read, how):
    net, faces = brightness()
    lost = ablation(
        net, faces, {"0": [0, 1]}, "yaw", read=read, how=how, random_sets=6, bootstraps=200, images=160, progress=False
    )
    table = lost.table().set_index("probe")
    assert (table["base"] > 0.9).all() and lost.metric == "r2"
    assert table.loc["refitted", "drop"] > 0.7  # nothing is left to read
    assert table.loc["refitted", "difference_low"] > 0.3
    assert ((table["drop_low"] <= table["drop"]) & (table["drop"] <= table["drop_high"])).all()
    assert table.loc["fixed", "drop"] >= table.loc["refitted", "drop"] - 0.05
    assert len(lost.sets) == 2 * 7 and lost.sets.query("set == 'found'")["drop"].tolist() == table["drop"].tolist()


def test_classes_are_scored_by_balanced_accuracy():
    net, faces = brightness()
    lost = ablation(net, faces, {"0": [0, 1]}, "glasses", random_sets=3, bootstraps=100, progress=False)
    row = lost.summary.set_index("probe").loc["refitted"]
    assert lost.metric == "balanced_accuracy" and row["base"] > 0.9 and 0.3 < row["drop"] < 0.6


def test_the_same_seed_gives_the_same_numbers():
    net, faces = brightness()
    a, b = (ablation(net, faces, {"0": [0]}, "yaw", random_sets=2, bootstraps=50, progress=False) for _ in range(2))
    pd.testing.assert_frame_equal(a.summary, b.summary)
    pd.testing.assert_frame_equal(a.sets, b.sets)


def test_ablation_wants_something_to_ablate_and_known_names():
    net, faces = brightness(k=5, m=4)
    with pytest.raises(ValueError, match="no filters to ablate"):
        ablation(net, faces, {"0": []}, "yaw")
    with pytest.raises(ValueError, match="unknown layer '22': did you mean '2'"):
        ablation(net, faces, {"0": [0]}, "yaw", read="22")
    with pytest.raises(ValueError, match="unknown task 'yawn'"):
        ablation(net, faces, {"0": [0]}, "yawn")


def test_a_wrong_how_is_found_before_any_pass(monkeypatch):
    net, faces = brightness(k=5, m=4)
    monkeypatch.setattr(net.module, "forward", lambda x: pytest.fail("the network ran"))
    with pytest.raises(ValueError, match="unknown how 'zeros': did you mean 'zero'"):
        ablation(net, faces, {"0": [0]}, "yaw", how="zeros", progress=False)
    with pytest.raises(ValueError, match="unknown how 'zeros': did you mean 'zero'"):
        ablate_columns(None, "conv", [0], "yaw", how="zeros")


def test_faces_without_landmarks_are_named_as_the_caller_numbers_them():
    net, faces = brightness()
    net = nets.wrap(net.module, size=8, template=np.array([[2, 2], [6, 2], [4, 4], [2, 6], [6, 6]], float))
    faces.labels.loc[:9, "yaw"] = np.nan
    faces.landmarks[5:] = net.template
    faces.landmarks[[3, 117, 200]] = np.nan  # 3 has no label, so it is not needed
    with pytest.raises(ValueError, match=r"face 117 of 'bright' has no landmarks \(NaN\); 2 of its 230 labelled"):
        ablation(net, faces, {"0": [0]}, "yaw", images=50, progress=False)


def table(x, labels):
    labels = pd.DataFrame(labels)
    people = pd.factorize(labels["identity"])[0]
    return Responses("made up", {"conv": x.astype(np.float32)}, labels, people)


@pytest.mark.parametrize("how", ["zero", "mean"])
def test_columns_whose_copy_remains_are_not_missed_by_a_refitted_probe(how):
    rng = np.random.default_rng(0)
    yaw = rng.uniform(-60, 60, 400)
    x = rng.normal(size=(400, 12))
    x[:, 0] += 0.1 * yaw
    x[:, 1] = x[:, 0]
    made = table(x, {"identity": np.repeat(np.arange(20), 20), "yaw": yaw})
    one = ablate_columns(made, "conv", [0], "yaw", how=how, random_sets=10, bootstraps=50)
    both = ablate_columns(made, "conv", {"conv": [0, 1]}, "yaw", how=how, random_sets=10, bootstraps=50)
    one, both = (lost.summary.set_index("probe") for lost in (one, both))
    assert abs(one.loc["refitted", "drop"]) < 0.01 and one.loc["fixed", "drop"] > 0.1
    assert both.loc["refitted", "drop"] > 0.8


def test_a_random_set_against_random_sets_shows_no_difference():
    """The interval of the difference covers 0 about as often as it says."""
    covers = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        yaw = rng.uniform(-60, 60, 300)
        x = 0.02 * yaw[:, None] + rng.normal(size=(300, 12))
        made = table(x, {"identity": np.repeat(np.arange(15), 20), "yaw": yaw})
        chosen = rng.choice(12, 4, replace=False)
        row = ablate_columns(made, "conv", chosen, "yaw", random_sets=15, bootstraps=100, seed=seed).summary.loc[1]
        covers.append(row["difference_low"] <= 0 <= row["difference_high"])
    assert np.mean(covers) >= 0.75


def test_crafts_can_be_given_as_they_are():
    rng = np.random.default_rng(0)
    yaw = rng.uniform(-60, 60, 200)
    x = np.hstack([0.1 * yaw[:, None], np.zeros((200, 5))]) + rng.normal(size=(200, 6))
    made = table(x, {"identity": np.repeat(np.arange(10), 20), "yaw": yaw})
    crafts = SimpleNamespace(layers={"conv": np.array([0])})
    assert ablate_columns(made, "conv", crafts, "yaw", random_sets=3, bootstraps=20).filters["conv"].tolist() == [0]
    elsewhere = SimpleNamespace(layers={"other": np.array([0])})
    with pytest.raises(ValueError, match="no filters to ablate"):
        ablate_columns(made, "conv", elsewhere, "yaw")
    with pytest.raises(ValueError, match="layer 'conv' has no filter 6"):
        ablate_columns(made, "conv", [6], "yaw")


def test_a_number_beyond_the_labels_counts_as_their_end():
    """A filter that hardly ever stirs, and then wildly, cannot cost more than the labels reach."""
    rng = np.random.default_rng(0)
    yaw = rng.uniform(-60, 60, (200, 1))
    x = np.hstack([yaw + rng.normal(size=(200, 1)), 1e-6 * rng.normal(size=(200, 1))])
    wild = x.copy()
    wild[:, 0] = 0
    wild[::40, 0] = 1e6
    lost = drops.compare(yaw, np.arange(200), "yaw", x, [wild], {"conv": [0]}, "conv", "zero", 5, 50, 0)
    worst = 1 - (2 * 60) ** 2 / yaw.var()
    assert (lost.sets["score"] > worst).all()
