"""Kept weights by least squares: what can be reproduced is, what was not cut stays, and nothing gets worse. Kept
filters by mean and spread: both are what they were."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facelab import nets
from facelab.faces.faceset import FaceSet
from facelab.filters import sparse
from facelab.filters.calls import at, call, patches
from facelab.nets.efficientnet import ConvSame


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def noise(n=60, size=16, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), np.uint8)
    return FaceSet("noise", images, pd.DataFrame(index=range(n)), np.zeros((n, 5, 2), np.float32))


def chain():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(10, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 4)),
    )


class Mine(nn.Module):
    """Convolutions of many kinds, a skip, a normalisation, and one without bias."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding="same"), nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)
        self.norm, self.deep = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect")
        self.last, self.fc = ConvSame(8, 6, (3, 1), stride=2), nn.Linear(6, 2)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = F.relu(x + self.norm(self.b(x)))
        return self.fc(F.relu(self.last(F.relu(self.deep(x)))).mean((2, 3)))


def make(kind):
    return nets.wrap({"chain": chain, "mine": Mine}[kind](), size=16)


KEEP = {
    "chain": {"0": [0, 2, 3, 5, 6], "2": range(7), "5": [1, 2, 4]},
    "mine": {"a": [0, 1, 4, 6], "b": [1, 3], "deep": [0], "last": [0, 2, 3, 5]},
}


@torch.no_grad()
def outputs(net, names, faces):
    seen = {}
    hooks = [net.convs[n].register_forward_hook(lambda _m, _a, out, n=n: seen.update({n: out})) for n in names]
    net(net.prepare(faces))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("again", [sparse.refit, sparse.recalibrate])
@pytest.mark.parametrize("kind", KEEP)
def test_where_nothing_was_cut_nothing_changes(kind, again):
    net = make(kind)
    whole = {name: range(layer.out_channels) for name, layer in net.convs.items()}
    found = again(copy.deepcopy(net), net, whole, noise(20))
    for name, value in found.net.state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], atol=1e-6, rtol=0)
    assert (found.table()[["before", "after"]] == 0).all(axis=None)


@torch.no_grad()
def test_what_the_kept_filters_can_say_is_restored():
    """Removed filters that are copies of kept ones, and a removed one that is a sum of kept ones where none is ≤ 0."""
    net = make("chain")
    first, second = net.module[0], net.module[2]
    first.weight[1], first.bias[1] = first.weight[0], first.bias[0]
    first.weight.abs_()
    first.bias.abs_()
    first.weight[4], first.bias[4] = first.weight[2] + first.weight[3], first.bias[2] + first.bias[3]
    second.weight[7:], second.bias[7:] = second.weight[:3], second.bias[:3]
    keep = {"0": [0, 2, 3, 5, 6, 7], "2": range(7)}
    small, faces, new = sparse.cut(net, keep), noise(80), noise(20, seed=1)
    found = sparse.refit(small, net, keep, faces, ridge=1e-8, positions=40)
    x = net.prepare(new)
    assert (small(x) - net(x)).abs().max() > 0.01
    # of the flattened linear layer nothing is removed, so the whole network is restored
    assert (found.net(x) - net(x)).abs().max() <= 1e-3 * net(x).abs().max()
    table = found.table().set_index("layer")
    assert (table["after"] < 1e-6).all() and table.loc["2", "before"] > 1e-3
    mild = sparse.refit(small, net, keep, faces).table()  # with the usual ridge nearly so
    assert (mild["after"] < 0.02 * table["before"].max()).all()


@pytest.mark.parametrize("kind", KEEP)
@pytest.mark.parametrize("ridge", [0, 1e-3, 1.0])
def test_the_error_never_grows_and_is_the_real_one(kind, ridge):
    net, faces = make(kind), noise(50)
    keep, everywhere = KEEP[kind], 16 * 16
    small, planned = sparse.cut(net, keep), sparse.plan(net, keep)
    before = copy.deepcopy(small.state_dict())
    found = sparse.refit(small, net, keep, faces, ridge=ridge, positions=everywhere, batch=13)
    table = found.table()
    assert (table["after"] <= table["before"] + 1e-9).all() and (table["after"] < table["before"]).sum() >= 2
    weights = [found.net.convs[name].weight[0].numel() for name in table["layer"]]
    assert list(table["inputs"] - weights) == [found.net.convs[name].bias is not None for name in table["layer"]]
    assert list(table["filters"]) == [len(planned.kept[name]) for name in table["layer"]]
    wanted, got = (outputs(one, table["layer"], faces) for one in (net, found.net))
    for name, after in zip(table["layer"], table["after"], strict=True):
        z, z_now = wanted[name][:, planned.kept[name]].double(), got[name].double()
        error = (z - z_now).square().sum() / (z - z.mean((0, 2, 3), keepdim=True)).square().sum()
        assert error.item() == pytest.approx(after, rel=1e-2, abs=1e-6)
    for name, value in small.state_dict().items():
        assert torch.equal(value, before[name])
    from_plan = sparse.refit(small, net, planned, faces, ridge=ridge, positions=everywhere, batch=13)
    for name, value in from_plan.net.state_dict().items():
        assert torch.equal(value, found.net.state_dict()[name])


@torch.no_grad()
def test_the_solution_is_numpys():
    net, faces, keep = make("chain"), noise(40), {"0": [0, 2, 5], "2": [1, 2, 3, 8]}
    small = sparse.cut(net, keep)
    found = sparse.refit(small, net, keep, faces, ridge=0, positions=14 * 14)
    first = found.net.module[:2](net.prepare(faces))
    x = F.unfold(first, 3, padding=1).movedim(1, 2).flatten(0, 1).double().numpy()
    z = net.module[:3](net.prepare(faces))[:, [1, 2, 3, 8]].flatten(2).movedim(1, 2).flatten(0, 1).double().numpy()
    wanted, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), z, rcond=None)
    np.testing.assert_allclose(found.net.module[2].weight.flatten(1).T, wanted[:-1], atol=1e-5)
    np.testing.assert_allclose(found.net.module[2].bias, wanted[-1], atol=1e-5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
        nn.Conv2d(3, 4, 4, padding="same"),
        nn.Conv2d(3, 6, 3, groups=3, padding_mode="circular", padding=1),
        nn.Conv2d(3, 4, 2, padding="valid"),
        ConvSame(3, 4, 3, stride=2),
    ],
)
@torch.no_grad()
def test_patches_are_what_a_convolution_multiplies(layer):
    net = nets.wrap(nn.Sequential(layer), size=9)
    given, out, settings = call(net, layer, "0", torch.randn(5, 3, 9, 9))
    places = torch.randint(out.shape[2] * out.shape[3], (5, 7))
    x = patches(given, places // out.shape[3], places % out.shape[3], layer, settings).unflatten(1, (layer.groups, -1))
    weight = layer.weight.flatten(1).unflatten(0, (layer.groups, -1))
    found = torch.einsum("ngd,gfd->ngf", x, weight).flatten(1) + layer.bias
    torch.testing.assert_close(found.double(), at(out, places), atol=1e-5, rtol=1e-5)


def test_removed_top_layers_and_new_heads_stay_removed_and_new():
    net, faces, keep = make("chain"), noise(30), KEEP["chain"]
    small = sparse.cut(net, keep, top="2", head="pool", outputs=3)
    found = sparse.refit(small, net, keep, faces)
    assert list(found.table()["layer"]) == ["0", "2"]
    assert torch.equal(found.net.module.head[2].weight, small.module.head[2].weight)
    assert not torch.equal(found.net.convs["2"].weight, small.convs["2"].weight)
    assert found.net(net.prepare(faces)).shape == (30, 3)


def test_the_same_seed_gives_the_same_weights_and_rows_are_the_only_faces():
    net, faces, keep = make("chain"), noise(40), KEEP["chain"]
    small = sparse.cut(net, keep)
    a, b, c = (sparse.refit(small, net, keep, faces, most=20, positions=5, seed=s) for s in (0, 0, 1))
    assert a.table().equals(b.table()) and not a.table().equals(c.table())
    assert (a.table()["samples"] == 20 * 5).all()
    faces.images[30:] = 0
    d, e = (sparse.refit(small, net, keep, given, rows=range(30)) for given in (faces, noise(40)))
    assert d.table().equals(e.table())


def test_what_does_not_belong_together_is_refused():
    net, faces, keep = make("chain"), noise(5), KEEP["chain"]
    small = sparse.cut(net, keep)
    with pytest.raises(TypeError, match="expected a Net"):
        sparse.refit(small.module, net, keep, faces)
    with pytest.raises(ValueError, match=r"'0' of .* has 5 filters, keep leaves 2"):
        sparse.refit(small, net, {**keep, "0": [1, 2]}, faces)
    with pytest.raises(ValueError, match="does not read what"):
        sparse.refit(small, nets.wrap(chain(), size=18), keep, faces)
    with pytest.raises(ValueError, match="no face of 'noise'"):
        sparse.refit(small, net, keep, faces, rows=[])
    for settings in ({"ridge": -1}, {"most": 0}, {"positions": 0}, {"batch": 0}):
        with pytest.raises(ValueError, match="expected at least"):
            sparse.refit(small, net, keep, faces, **settings)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.b(self.b(F.relu(self.a(x))))

    net = nets.wrap(Twice(), size=16)
    with pytest.raises(ValueError, match="'b' runs more than once"):
        sparse.refit(copy.deepcopy(net), net, {"a": range(4)}, faces)


# -- mean and spread alone ---------------------------------------------------------------------------------------


def moments(maps):
    return maps.mean((0, 2, 3)), maps.std((0, 2, 3))


@pytest.mark.parametrize("kind", KEEP)
def test_recalibrated_filters_have_the_mean_and_spread_that_they_had(kind):
    net, faces = make(kind), noise()
    small = sparse.cut(net, KEEP[kind])
    found = sparse.recalibrate(small, net, KEEP[kind], faces, positions=400)
    kept = sparse.plan(net, KEEP[kind]).kept
    was, cut, now = (outputs(one, small.convs, faces) for one in (net, small, found.net))
    for name, layer in small.convs.items():
        wanted = was[name] if name not in kept else was[name][:, kept[name]]
        (mean, sd), (mean_now, sd_now) = moments(wanted), moments(now[name])
        torch.testing.assert_close(sd_now, sd, rtol=1e-3, atol=1e-5)
        if layer.bias is not None:
            torch.testing.assert_close(mean_now, mean, rtol=1e-3, atol=1e-4)
    last = list(small.convs)[-1]
    assert not torch.allclose(moments(cut[last])[1], moments(now[last])[1], rtol=1e-2)  # there was something to mend


def test_a_deep_chain_keeps_telling_faces_apart():
    """Half of the filters of each of ten layers whose biases belong to sums of all of them."""
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for _ in range(9):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    net, faces = nets.wrap(nn.Sequential(*layers), size=12), noise(size=12)
    for layer in net.convs.values():
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    for name in net.convs:  # each filter is centred, as normalisation leaves it
        net.convs[name].bias.data.sub_(moments(outputs(net, [name], faces)[name])[0])
    keep = {name: range(8) for name in net.convs}
    small, last = sparse.cut(net, keep), list(net.convs)[-1]

    def told_apart(one):  # what differs from face to face, as a share of all that is there
        pooled = F.relu(outputs(one, [last], faces)[last]).mean((2, 3))
        return float(pooled.std(0).square().mean().sqrt() / pooled.square().mean().sqrt())

    again = sparse.recalibrate(small, net, keep, faces).net
    assert told_apart(small) < 0.5 * told_apart(net) < 2 * told_apart(again)


def test_a_filter_that_says_one_thing_everywhere_keeps_its_weights():
    net = make("chain")
    net.convs["0"].weight.data[2].zero_()
    found = sparse.recalibrate(sparse.cut(net, KEEP["chain"]), net, KEEP["chain"], noise())
    assert (found.net.convs["0"].weight[1] == 0).all() and found.net.convs["0"].bias[1] == net.convs["0"].bias[2]
    assert np.isfinite(found.table()[["before", "after"]]).all(axis=None)
