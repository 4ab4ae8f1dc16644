"""student: its size, random weights by seed, a file that gives it back."""

import numpy as np
import pytest
import torch

import facelab as fl
from facelab import cache
from facelab.nets import student
from facelab.nets.verify import verify

LIMIT = 180_000  # parameters: 75 times fewer than the six sources have


def test_it_is_small_enough():
    assert sum(p.numel() for p in student.untrained().module.parameters()) <= LIMIT


def test_the_seed_decides_the_weights():
    first, same, other = (student.untrained(8, seed=seed).fingerprint for seed in (0, 0, 1))
    assert first == same != other


def test_the_parts_of_the_chip_are_told_apart():
    """No average over positions: a picture and the same with its halves exchanged get different codes."""
    module = student.untrained(8).module.eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert not torch.allclose(module(x), module(x.roll(32, 2)), atol=1e-3)


def test_a_file_gives_it_back(tmp_path):
    net = student.untrained(8, seed=3)
    net.module.train()
    with torch.no_grad():
        net.module(3 + torch.randn(16, 3, 64, 64))  # statistics of batch normalisation that are not the defaults
    net.module.eval()
    again, about = student.read(student.write(net, {"seed": 3}, tmp_path / "new" / "student.safetensors"))
    assert about == {"seed": 3}
    x = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net.module(x), again.module.eval()(x), atol=2e-2, rtol=2e-2)  # half precision


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "other.safetensors"
    cache.write_tensors(file, {"code.bias": np.zeros(3, np.float32)}, {})
    with pytest.raises(RuntimeError, match="Missing key"):
        student.read(file)


@pytest.mark.parametrize("outputs", [0, 2.5, "8"])
def test_outputs_must_be_a_whole_number(outputs):
    with pytest.raises((ValueError, TypeError), match="outputs"):
        student.untrained(outputs)


# -- the one that comes with facelab ------------------------------------------------------------------------------


def test_it_comes_with_its_provenance_and_is_small():
    assert student.FILE.stat().st_size < 1_000_000
    net, about = student.read()
    assert about["command"].startswith("facelab train student") and f"--seed {about['seed']}" in about["command"]
    loaded = fl.nets.load("student", device="cpu")
    assert loaded.fingerprint == net.eval().fingerprint and net.module.code.out_features == student.CODE
    with pytest.raises(ValueError, match="'student' comes with its weights"):
        fl.nets.load("student", weights="mine.pth")


def test_it_tells_people_apart_and_heads_that_look_elsewhere_as_random_weights_do_not():
    faces = fl.faces.load("rendered/wild", seed=0, people=16, per_person=3, size=96, device="cpu", progress=False)
    net, about = student.read()
    assert about["seed"] != 0  # else it was taught on these
    people, yaw, found = faces.labels["identity"].to_numpy(), faces.labels["yaw"].to_numpy(), {}
    for name, one in (("taught", net), ("random", student.untrained())):
        code = one.embed(faces)
        code -= code.mean(0)
        code /= np.linalg.norm(code, axis=1, keepdims=True)
        alike = code @ code.T - 2 * np.eye(len(code))
        found[name] = verify(code, people, bootstraps=0).auc, np.abs(yaw - yaw[alike.argmax(1)]).mean()
    (auc, turn), (auc_random, turn_random) = found["taught"], found["random"]
    assert auc > 0.7 and auc > auc_random + 0.1
    assert turn < 0.7 * turn_random  # degrees between a face and the one with the nearest code
