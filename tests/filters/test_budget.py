"""Filters for a given cost: the arithmetic is what a real cut is counted at, the plain γ is the smallest that does, and
one γ per layer loses no more of the curves than one for all."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facelab import characteristic_curves, nets
from facelab.cost import count
from facelab.filters import sparse
from facelab.filters.responses import Responses
from facelab.filters.widths import Widths
from facelab.nets import dlib_nets
from facelab.nets.lightcnn import LightCNN9


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def chain(widths=(8, 20, 24, 16)):
    layers, before = [], 3
    for i, c in enumerate(widths):
        layers += [nn.Conv2d(before, c, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if i % 2 else [])]
        before = c
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 16, 10), nn.ReLU(), nn.Linear(10, 4))


class Mine(nn.Module):
    """A skip, a concatenation and a depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.side, self.deep = nn.Conv2d(16, 12, 1), nn.Conv2d(28, 28, 3, groups=28)
        self.last, self.fc = nn.Conv2d(28, 10, 1), nn.Linear(10, 2)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = F.relu(x + self.b(x))
        x = torch.cat([x, F.relu(self.side(x))], 1)
        return self.fc(F.relu(self.last(F.relu(self.deep(x)))).mean((2, 3)))


def make(kind):
    match kind:
        case "chain":
            return nets.wrap(chain(), size=16)
        case "mine":
            return nets.wrap(Mine(), size=12)
        case "lightcnn":
            return nets.wrap(LightCNN9(widths=(8, 12, 16, 8), people=5), size=128, grey=True, mean=0)
        case "dlib":
            return nets.wrap(dlib_nets.resnet29(), size=150)


def curves_of(net, seed=0, blind=(), n=240):
    """Curves of made-up responses in which more and more filters of a layer carry a little more of yaw."""
    rng = np.random.default_rng(seed)
    yaw, layers = rng.normal(size=n), {}
    for name, layer in net.convs.items():
        x = rng.normal(size=(n, layer.out_channels)) * (name not in blind)
        if name not in blind:
            x += yaw[:, None] * rng.exponential(rng.uniform(0.3, 0.8), layer.out_channels)
        layers[name] = x.astype(np.float32)
    seen = Responses("made up", layers, pd.DataFrame({"yaw": yaw}), np.arange(n) // 6)
    return characteristic_curves(seen.moments(["yaw"]), half_samples=0, progress=False)["yaw"]


KINDS = ["chain", "mine", "lightcnn"]


@pytest.mark.parametrize("kind", [*KINDS, "dlib"])
@pytest.mark.parametrize("seed", range(2))
def test_the_arithmetic_is_what_a_cut_is_counted_at(kind, seed):
    net, rng = make(kind), np.random.default_rng(seed)
    keep = {
        name: rng.choice(layer.out_channels, max(1, int(layer.out_channels * rng.uniform(0.2, 0.9))), replace=False)
        for name, layer in net.convs.items()
    }
    widths, planned = Widths(net), sparse.plan(net, keep)
    whole = [np.ones(len(group.out), bool) for group in widths.groups]
    assert widths.left(*widths.sums(whole)).sum() == count(net).macs
    stays = [group.stay({name: keep[name] for name in group.member}) for group in widths.groups]
    for group, stay in zip(widths.groups, stays, strict=True):
        for name in group.member:
            np.testing.assert_array_equal(group.kept(name, stay), planned.kept[name])
    left = dict(zip(widths.names, widths.left(*widths.sums(stays)), strict=True))
    counted = count(sparse.cut(net, keep)).layers
    assert left == pytest.approx(dict(zip(counted["layer"], counted["macs"], strict=True)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("multiple", [1, 4])
def test_a_cut_costs_what_the_budget_says(kind, per_layer, multiple):
    net = make(kind)
    curves = curves_of(net)
    for share in (0.3, 0.7):
        found = sparse.budget(net, curves, share, per_layer=per_layer, multiple=multiple)
        small = sparse.cut(net, found.keep)
        assert 1 - count(small).macs / count(net).macs == pytest.approx(found.macs_cut) and found.macs_cut >= share
        table = found.table().set_index("layer")
        assert list(table.columns) == ["filters", "kept", "gamma", "excess", "macs", "macs_left"]
        for name, layer in small.convs.items():
            c = net.convs[name].out_channels
            assert layer.out_channels == table.loc[name, "kept"] == len(found.keep[name])
            assert layer.out_channels % multiple == 0 or layer.out_channels == c
            assert not per_layer or layer.out_channels >= 2
        counted = count(small).layers.set_index("layer")["macs"]
        assert (table["macs_left"] == counted[table.index]).all()
        assert found.excess == pytest.approx(table["excess"].sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.2, 0.558, 0.721, 0.9])
def test_the_plain_gamma_is_the_smallest_that_cuts_enough(seed, share):
    net = make("chain")
    curves = curves_of(net, seed)
    found, total = sparse.budget(net, curves, share), count(net).macs
    knees = curves.knees(found.gamma)
    assert list(found.keep) == list(knees)
    for name in knees:
        np.testing.assert_array_equal(found.keep[name], knees[name])
    cut = lambda gamma: 1 - count(sparse.cut(net, curves.knees(gamma))).macs / total  # noqa: E731
    assert cut(found.gamma) == pytest.approx(found.macs_cut)
    for gamma in np.linspace(1e-6, found.gamma * (1 - 1e-6), 5) if found.gamma > 1e-6 else ():
        assert cut(gamma) < share
    more = sparse.budget(net, curves, min(share + 0.03, 0.95))
    assert more.gamma >= found.gamma and more.macs_cut >= found.macs_cut


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_one_gamma_per_layer_loses_no_more_than_one_for_all(seed, share):
    net = make("chain")
    curves = curves_of(net, seed)
    plain, own = (sparse.budget(net, curves, share, per_layer=p) for p in (False, True))
    assert own.excess <= plain.excess + 1e-12
    for name, gamma in own.table().set_index("layer")["gamma"].items():
        kept = curves[name].knee(gamma).filters if gamma else np.arange(net.convs[name].out_channels)
        np.testing.assert_array_equal(own.keep[name], kept)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 0.55, 0.75])
def test_the_walk_is_close_to_the_best_of_all_choices(seed, share):
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1)
    net = nets.wrap(nn.Sequential(*list(chain((8, 10, 6)))[:7], *head), size=16)
    curves = curves_of(net, seed)
    whole = {name: [(0.0, np.arange(c.filters), 0.0)] for name, c in curves.items()}
    for name, curve in curves.items():
        spread = curve.null_rmse - curve.rmse.min()
        for gamma in np.unique((curve.rmse - curve.rmse.min()) / spread) * (1 + 1e-9) + 1e-12:
            if gamma < 1 and len((knee := curve.knee(gamma)).filters) >= 2:
                whole[name].append((gamma, knee.filters, (knee.rmse - curve.rmse.min()) / spread))
    total, best = count(net).macs, np.inf
    for (_, a, x), (_, b, y), (_, c, z) in itertools.product(*whole.values()):
        a, b, c = len(a), len(b), len(c)
        if 9 * (3 * a * 256 + a * b * 256 + b * c * 64) + c <= (1 - share) * total:
            best = min(best, x + y + z)
    found = sparse.budget(net, curves, share, per_layer=True)
    assert best - 1e-9 <= found.excess <= best * 1.25 + 0.02


def test_widths_are_filled_up_along_the_path():
    net = make("chain")
    curves = curves_of(net)
    found = sparse.budget(net, curves, 0.7, multiple=4)
    for name, index in found.keep.items():
        curve = curves[name]
        knee = curve.knee(found.gamma)
        assert set(knee.filters) <= set(index) and len(index) == min(-(-knee.num // 4) * 4, curve.filters)
        later = (curve.coef[knee.index :] != 0).any(2)
        entry = np.where(later.any(0), later.argmax(0), len(later))
        out = np.setdiff1d(np.arange(curve.filters), index)
        assert not len(out) or entry[index].max() <= entry[out].min()


def test_layers_without_a_knee_stay_whole_while_that_will_do():
    net = make("chain")
    curves = curves_of(net, blind=["2"])
    assert curves["2"].knee() is None
    for per_layer in (False, True):
        found = sparse.budget(net, curves, 0.5, per_layer=per_layer)
        assert "2" not in found.keep and found.table().set_index("layer").loc["2", "kept"] == 20
        assert np.isnan(found.table().set_index("layer").loc["2", "gamma"])
    blind = curves_of(net, blind=["0", "2", "5"])
    with pytest.raises(ValueError, match=r"cannot lose 90.0% of its MACs .* at most \d+\.\d%; per_layer=True may cut"):
        sparse.budget(net, blind, 0.9)
    found = sparse.budget(net, blind, 0.9, per_layer=True)
    assert found.macs_cut >= 0.9 and set(found.keep) == set(net.convs)
    norm = net.convs["2"].weight.detach().abs().sum((1, 2, 3)).numpy()
    assert set(found.keep["2"]) == set(np.argsort(-norm)[: len(found.keep["2"])])


def test_removed_layers_count_as_cut():
    net = make("chain")
    curves = curves_of(net)
    settings = {"head": "pool", "top": "5", "outputs": 3}
    found = sparse.budget(net, curves, 0.6, **settings)
    small = sparse.cut(net, found.keep, **settings)
    assert 1 - count(small).macs / count(net).macs == pytest.approx(found.macs_cut) and "7" not in found.keep
    assert found.gamma <= sparse.budget(net, curves, 0.6).gamma


def test_the_network_stays_as_it_is():
    net = make("mine").train()
    before = copy.deepcopy(net.module.state_dict())
    sparse.budget(net, curves_of(net), 0.5, per_layer=True)
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.module.state_dict().items())


def test_no_layer_falls_below_the_least_share():
    net = make("chain")
    found = sparse.budget(net, curves_of(net), 0.6, per_layer=True, least=0.55)
    widths = {name: layer.out_channels for name, layer in net.convs.items()}
    assert all(len(kept) >= 0.55 * widths[name] for name, kept in found.keep.items())
    assert found.macs_cut >= 0.6
    with pytest.raises(ValueError, match="least 0 is out of range"):
        sparse.budget(net, curves_of(net), 0.6, per_layer=True, least=0)


def test_bad_budgets_are_refused():
    net = make("chain")
    curves = curves_of(net)
    for share, error in ((0, ValueError), (1, ValueError), (55.8, ValueError), ("half", TypeError)):
        with pytest.raises(error, match="macs_cut"):
            sparse.budget(net, curves, share)
    with pytest.raises(TypeError, match=r"one task, as curves\['yaw'\]"):
        sparse.budget(net, {"0": [1]}, 0.5)
    with pytest.raises(ValueError, match="multiple 0"):
        sparse.budget(net, curves, 0.5, multiple=0)
    with pytest.raises(ValueError, match="unknown layer '0'"):
        sparse.budget(make("mine"), curves, 0.5)
    with pytest.raises(ValueError, match="its curve is of 8"):
        sparse.budget(nets.wrap(chain((9, 20, 24, 16)), size=16), curves, 0.5)
    with pytest.raises(ValueError, match=r"cannot lose 99.9% .* at most \d\d\.\d% with least=0.02$"):
        sparse.budget(net, curves, 0.999, per_layer=True)
    with pytest.raises(ValueError, match="no layer has a knee for 'yaw'"):
        sparse.budget(net, curves_of(net, blind=net.convs), 0.5)
