import dataclasses
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

import facelab as fl
from facelab import cache
from facelab.nets import embed as function
from facelab.nets import wrap
from facelab.nets.net import Net

embeds = import_module("facelab.nets.embed")  # `nets.embed` is the function


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))


@pytest.fixture
def net():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2))
    return wrap(module, size=32, embedding="1", name="mine")


@pytest.fixture
def passes(monkeypatch):
    """How many faces a network embedded."""
    counted, embed = [0], Net.embed

    def count(net, faces, **how):
        counted[0] += len(faces)
        return embed(net, faces, **how)

    monkeypatch.setattr(Net, "embed", count)
    return counted


def quiet(nets, faces, **how):
    return fl.embed(nets, faces, progress=False, **how)


def test_it_is_what_the_net_embeds_and_is_kept(net, pictures, passes):
    expected = net.embed(pictures)
    passes[0] = 0
    first = quiet(net, pictures)
    assert first.dtype == np.float32 and first.shape == (5, 4)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    np.testing.assert_array_equal(quiet(net, pictures, batch=2), first)
    assert passes == [5]
    assert fl.embed is function is fl.nets.embed


def test_other_weights_or_faces_are_another_entry(net, pictures, passes):
    quiet(net, pictures)
    with torch.no_grad():
        net.module[0].weight += 1
    changed = quiet(net, pictures)
    np.testing.assert_allclose(changed, net.embed(pictures), rtol=1e-5)
    quiet(net, pictures[:3])
    assert len([p for p in (cache.folder() / "embeddings").iterdir() if p.is_dir()]) == 3


def test_several(net, pictures, monkeypatch):
    monkeypatch.setattr(embeds, "load", lambda name, device: wrap(net.module, size=16, name=name))
    found = quiet(["age", net], pictures)
    assert list(found) == ["age", "mine"]
    assert found["age"].shape == (5, 6 * 3 * 3) and found["mine"].shape == (5, 4)
    assert list(quiet(fl.nets.SOURCES, pictures)) == list(fl.nets.SOURCES)


def test_nothing_is_kept_while_something_is_hooked(net, pictures):
    plain = quiet(net, pictures)
    hook = net.module[0].register_forward_hook(lambda _layer, _input, y: torch.zeros_like(y))
    assert not quiet(net, pictures).any()
    hook.remove()
    np.testing.assert_array_equal(quiet(net, pictures), plain)
    assert len([p for p in (cache.folder() / "embeddings").iterdir() if p.is_dir()]) == 1


def test_uncached(net, pictures):
    np.testing.assert_array_equal(quiet(net, pictures, cached=False), quiet(net, pictures))


def test_an_interrupted_call_goes_on(net, pictures, passes, monkeypatch):
    monkeypatch.setattr(embeds, "CHUNK", 2)
    embed = Net.embed

    def interrupt(net, faces, **how):
        if passes[0] >= 4:
            raise KeyboardInterrupt
        return embed(net, faces, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Net, "embed", interrupt)
        with pytest.raises(KeyboardInterrupt):
            quiet(net, pictures)
    assert passes == [4]
    np.testing.assert_allclose(quiet(net, pictures), net.embed(pictures), atol=1e-6)
    assert passes == [5 + 5]  # only the last face was left; then all for the comparison


def test_a_damaged_entry_is_noticed(net, pictures, caplog):
    expected = quiet(net, pictures)
    (file,) = (cache.folder() / "embeddings").glob("*/*.safetensors")
    file.write_bytes(file.read_bytes()[:-4] + b"oops")
    np.testing.assert_array_equal(quiet(net, pictures), expected)
    assert "does not match its checksum" in caplog.text


def test_not_finite(net, pictures):
    with torch.no_grad():
        net.module[0].bias[0] = torch.inf
    with pytest.raises(ValueError, match="the embedding of face 0 of 'pictures' by 'mine' is not finite; 5 of 5"):
        quiet(net, pictures)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"nets": 3}, TypeError, "int is no network: expected a Net, the name of one, or a list of these"),
        ({"nets": [nn.ReLU()]}, TypeError, "ReLU is no network"),
        ({"nets": []}, ValueError, "no network to embed with"),
        ({"nets": "idnetity"}, ValueError, "did you mean 'identity'"),
        ({"faces": None}, TypeError, "expected a FaceSet, e.g. fl.faces.load"),
        ({"batch": 0}, ValueError, "batch 0: expected at least 1 image"),
        ({"batch": "8"}, TypeError, "batch '8': expected a whole number"),
    ],
)
def test_refuses(net, pictures, change, error, message):
    with pytest.raises(error, match=message):
        quiet(**{"nets": net, "faces": pictures, **change})


def test_refuses_empty_sets_and_two_of_one_name(net, pictures):
    with pytest.raises(ValueError, match="'pictures' is empty"):
        quiet(net, pictures[:0])
    with pytest.raises(ValueError, match="two networks are called 'mine'"):
        quiet([net, net], pictures)


def test_the_name_of_the_set_does_not_matter_to_the_values(net, pictures):
    named = dataclasses.replace(pictures, name="others")
    np.testing.assert_array_equal(quiet(net, named), quiet(net, pictures))


def test_mapped_reads_the_same_from_disk_as_several_sets_do_in_memory(net, pictures, monkeypatch):
    monkeypatch.setattr(embeds, "CHUNK", 3)
    other = dataclasses.replace(pictures, name="other", images=pictures.images[::-1].copy())
    whole = quiet(net, [pictures, other])
    found = quiet(net, [pictures, other], mapped=True)
    assert isinstance(found, embeds.Mapped) and found.shape == whole.shape == (2 * len(pictures), whole.shape[1])
    assert all(isinstance(part, np.memmap) for part in found.parts)
    rows = np.random.default_rng(0).permutation(len(whole))
    assert np.array_equal(found[rows], whole[rows]) and np.array_equal(np.asarray(found), whole)
    assert np.array_equal(found[4:9], whole[4:9]) and found[:0].shape == (0, whole.shape[1])
    with pytest.raises(IndexError):
        found[[len(whole)]]


def test_mapped_needs_the_cache(net, pictures):
    with pytest.raises(ValueError, match="cached is False"):
        quiet(net, pictures, mapped=True, cached=False)
    with pytest.raises(ValueError, match="no face set"):
        quiet(net, [])
