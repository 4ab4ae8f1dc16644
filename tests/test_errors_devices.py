"""Errors that help, and devices that are there."""

import pytest
import torch

from facelab.devices import device
from facelab.errors import unknown


def test_near_matches_come_first():
    assert str(unknown("layer", "block.4", ["blocks.4", "x"])) == "unknown layer 'block.4': did you mean 'blocks.4'?"
    assert str(unknown("task", "AGE", ["yaw", "age"])) == "unknown task 'AGE': did you mean 'age'?"


def test_else_what_there_is():
    assert "expected one of 'yaw', 'age'" in str(unknown("task", "zebra", ["yaw", "age"]))
    assert str(unknown("layer", 3, [])) == "unknown layer 3: expected one of none: there are none here"
    many = str(unknown("layer", "zebra", [f"layer{i}" for i in range(40)]))
    assert "(40 in all)" in many and many.count("layer") == 13


def test_devices(monkeypatch):
    monkeypatch.delenv("FACELAB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device() == device("cpu") == device(torch.device("cpu")) == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=f"device '{name}' is not here: .* use 'cpu'"):
            device(name)
    for name in ("gpu", "meta", "cpu:x"):
        with pytest.raises(ValueError, match=f"unknown device '{name}': expected 'auto', 'cpu', 'cuda'"):
            device(name)
    monkeypatch.setenv("FACELAB_DEVICE", "gpu")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        device()


def test_cuda_where_it_is(monkeypatch):
    monkeypatch.delenv("FACELAB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device() == torch.device("cuda") and device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"'cuda:2' is not here: .* finds 2 CUDA devices"):
        device("cuda:2")
    monkeypatch.setenv("FACELAB_DEVICE", "cpu")
    assert device() == torch.device("cpu")
