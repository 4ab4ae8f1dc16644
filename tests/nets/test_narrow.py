"""vgg-narrow: random weights by seed, a file that gives them back, a short training, and the trained one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import facelab as fl
from facelab.nets import narrow
from facelab.nets.verify import verify

TINY = (2, 3, 4, 3, 5)


def states(net):
    return net.module.state_dict()


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(states(a).values(), states(b).values(), strict=True))


@pytest.fixture(scope="module")
def sets():
    return [fl.faces.load(f"rendered/{name}", people=6, seed=1, size=64, progress=False) for name in ("wild", "album")]


# -- untrained, plain, written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [True, False])
def test_the_seed_decides_the_weights(norm):
    nets = [narrow.untrained(widths=TINY, norm=norm, seed=seed) for seed in (0, 0, 1)]
    torch.manual_seed(3)  # which must not matter
    assert equal(nets[0], nets[1]) and equal(nets[0], narrow.untrained(widths=TINY, norm=norm))
    for name, weight in states(nets[0]).items():
        if name.endswith(".weight") and weight.ndim > 1:
            assert not torch.equal(weight, states(nets[2])[name]), name
        if name.endswith(".bias"):
            assert not weight.any(), name


def test_the_first_outputs_are_small_and_the_maps_neither_vanish_nor_grow():
    net = narrow.untrained(norm=False)
    x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    spreads = {}
    hooks = [
        layer.register_forward_hook(lambda _m, _x, y, name=name: spreads.update({name: y.std().item()}))
        for name, layer in net.module.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        net.module.eval()(x)
    for hook in hooks:
        hook.remove()
    assert all(0.2 < spread < 20 for name, spread in spreads.items() if name != "fc8"), spreads
    assert spreads["fc8"] < 0.5 * spreads["fc7"]


@torch.no_grad()
def stir(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for layer in net.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.uniform_(0.5, 1.5, generator=generator)
            layer.bias.normal_(0, 0.3, generator=generator)
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return net


def test_a_plain_chain_says_the_same():
    net = stir(narrow.untrained(5, widths=TINY))
    plain = narrow.plain(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.module.modules())
    assert (
        plain.name == net.name
        and np.array_equal(plain.template, net.template)
        and plain.size == net.size == narrow.SIZE
    )
    assert list(plain.convs) == list(net.convs)
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        wanted = net.module.eval()(x)
        torch.testing.assert_close(plain.module(x), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_written_network_comes_back_in_half_precision_with_where_it_comes_from(tmp_path, outputs):
    net = narrow.plain(stir(narrow.untrained(outputs, widths=TINY)))
    about = {"command": "facelab train vgg-narrow", "seed": 3, "data": {"Zoë": 2}, "measured": {"auc": 0.1 + 0.2}}
    file = narrow.write(net, about, tmp_path / "deep" / "folder" / "net.safetensors")
    again, read = narrow.read(file)
    assert read == about
    assert states(again).keys() == states(net).keys()
    for name, value in states(net).items():
        assert torch.equal(states(again)[name], value.half().float()), name
    assert again.size == net.size and np.array_equal(again.template, net.template)
    assert list(again.convs) == list(net.convs)
    twice = narrow.write(again, about, tmp_path / "twice.safetensors")
    assert equal(narrow.read(twice)[0], again)
    assert file.stat().st_size < 2 * sum(v.numel() for v in states(net).values()) + 6000


# -- training ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(sets):
    return narrow.train(sets, epochs=1, batch=16, precision="32", device="cpu", progress=False)


def test_a_short_training_gives_a_plain_chain_in_the_teachers_units(sets, trained):
    net, learned = trained
    assert learned.keys() >= {"unexplained", "seconds"}
    assert np.isfinite(learned["unexplained"]) and learned["unexplained"] > 0 and learned["seconds"] > 0
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.module.modules())
    assert all(torch.equal(p, p.half().float()) for p in net.module.parameters())
    wanted = np.concatenate([narrow.descriptors(part, device="cpu") for part in sets])
    assert wanted.shape == (sum(map(len, sets)), narrow.DESCRIPTOR)
    # One epoch learns next to nothing, so what it says is about the teacher's mean: its bias at once says that.
    bias = net.module.fc8.bias.detach().numpy()
    assert np.abs(bias - wanted.mean(0)).max() < 0.5 * wanted.std(0).mean()
    assert np.corrcoef(bias, wanted.mean(0))[0, 1] > 0.95


def test_the_last_layer_undoes_the_standardisation(sets, monkeypatch):
    """What the loop was left with, times the teacher's spread, plus its mean."""
    kept, fit = {}, narrow.fit

    def watched(net, *args, **settings):
        done = fit(net, *args, **settings)
        kept.update(net=narrow.plain(net), targets=settings["targets"])
        return done

    monkeypatch.setattr(narrow, "fit", watched)
    net, _ = narrow.train(sets[:1], epochs=1, batch=16, precision="32", device="cpu", progress=False)
    wanted = narrow.descriptors(sets[0], device="cpu")
    np.testing.assert_allclose(kept["targets"].mean(0), 0, atol=1e-5)
    assert kept["targets"].std(0).mean() == pytest.approx(1, abs=1e-4)
    raw = kept["net"].predict(sets[0])
    expected = raw * wanted.std(0).mean() + wanted.mean(0)
    np.testing.assert_allclose(net.predict(sets[0]), expected, atol=5e-3 * np.abs(expected).max())


def test_the_same_seed_trains_the_same_network(sets, trained):
    again, _ = narrow.train(sets, epochs=1, batch=16, precision="32", device="cpu", progress=False)
    assert equal(trained[0], again)


def test_photographs_without_a_face_are_left_out(tmp_path, monkeypatch, sets):
    landmarks = sets[0].landmarks.copy()
    landmarks[:3] = np.nan
    photos = replace(sets[0], name="photos", landmarks=landmarks)
    asked = []
    monkeypatch.setattr(narrow.faces, "load", lambda name, **more: asked.append((name, more["people"])) or sets[0])
    monkeypatch.setattr(narrow.faces, "from_folder", lambda folder: photos)
    monkeypatch.setattr(narrow, "locate", lambda faces, device: faces)
    found = narrow.training_faces(16, [tmp_path], 1, device="cpu")
    assert asked == [("rendered/wild", 16), ("rendered/album", 6)]
    assert len(found) == 3 and len(found[2]) == len(photos) - 3 and found[2].name == "photos"


# -- the trained network -----------------------------------------------------------------------------------------


def test_it_comes_with_its_weights():
    with pytest.raises(ValueError, match=r"'vgg-narrow' comes with its weights: leave weights='mine\.pth' out"):
        fl.nets.load("vgg-narrow", weights="mine.pth")


def test_the_file_is_small_and_says_where_it_comes_from():
    assert narrow.FILE.stat().st_size <= 4 << 20
    net, about = narrow.read()
    assert {"command", "data", "seed", "measured"} <= set(about)
    assert about["command"].startswith("facelab train vgg-narrow") and f"--seed {about['seed']}" in about["command"]
    assert about["seed"] >= 1  # other people than those it is measured on
    assert about["data"]["rendered faces"] > 0
    assert {"vgg-narrow", narrow.TEACHER} <= set(about["measured"])
    assert sum(conv.out_channels for conv in net.convs.values()) == 1056
    loaded = fl.nets.load("vgg-narrow", device="cpu")
    assert equal(loaded, net) and loaded.name == "vgg-narrow" and not loaded.module.training


def test_pictures_of_one_person_are_nearer_than_those_of_two():
    faces = fl.faces.load("rendered/wild", people=30, progress=False)
    net = fl.nets.load("vgg-narrow", device="cpu")
    codes = net.embed(faces)
    assert codes.shape == (len(faces), narrow.DESCRIPTOR) and np.isfinite(codes).all()
    assert verify(codes, faces.identities).auc > 0.75
