"""torchvision's classifiers, without any download."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from facelab import nets
from facelab.nets import torchvision_nets


@pytest.fixture
def weights(tmp_path):
    """A state dict of a ResNet-18 with five classes, and the module it is of."""
    torch.manual_seed(0)
    module = torchvision_nets.models().resnet18(num_classes=5).eval()
    torch.save({f"module.{k}": v for k, v in module.state_dict().items()}, tmp_path / "five.pth")
    return module, tmp_path / "five.pth"


def test_a_state_dict_of_any_number_of_classes(weights, pictures):
    module, file = weights
    net = nets.load("torchvision/resnet18", weights=file, device="cpu")
    x = net.prepare(pictures[:2])
    with torch.no_grad():
        torch.testing.assert_close(net(x), module(x))
    assert (net.name, net.size) == ("torchvision/resnet18", 224)
    np.testing.assert_allclose(net.mean, (123.675, 116.28, 103.53))
    np.testing.assert_allclose(net.std, (58.395, 57.12, 57.375))
    np.testing.assert_allclose(net.predict(pictures[:2]), module(x).detach(), rtol=1e-4, atol=1e-4)


def test_the_embedding_is_what_the_last_linear_layer_reads(weights, pictures):
    module, file = weights
    net = nets.load("torchvision/resnet18", weights=file, device="cpu")
    code = torch.from_numpy(net.embed(pictures[:2]))
    assert code.shape == (2, 512)
    torch.testing.assert_close(module.fc(code), net(net.prepare(pictures[:2])))


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [("squeezenet1_1", "classifier.1", 224), ("mobilenet_v3_small", "classifier.3", 224), ("inception_v3", "fc", 299)],
)
def test_random_weights_come_with_a_warning(name, layer, size, pictures, caplog):
    with caplog.at_level(logging.WARNING):
        net = nets.load(f"torchvision/{name}", device="cpu")
    assert f"torchvision/{name} has random weights" in caplog.text
    assert net.embedding == f"{layer}:input" and net.size == size
    assert net.embed(pictures[:1]).shape == (1, getattr(net.module.get_submodule(layer), "in_features", 512))


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown network 'torchvision/resnet19': did you mean 'torchvision/resnet1"):
        nets.load("torchvision/resnet19")
    with pytest.raises(ValueError, match="unknown network 'resnet50': did you mean 'torchvision/resnet50'"):
        nets.load("resnet50")


def test_another_networks_weights_are_refused(weights):
    with pytest.raises(ValueError, match="lacks the layer 'classifier"):
        nets.load("torchvision/vgg11", weights=weights[1])


def test_no_torchvision(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'torchvision'")

    monkeypatch.setattr(torchvision_nets.importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"torchvision cannot be imported beside torch .* install the release that"):
        nets.load("torchvision/resnet18")
    with pytest.raises(ValueError, match="unknown network 'resnet50': expected one of 'identity'"):
        nets.load("resnet50")


def test_another_trouble_is_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision_nets.importlib, "import_module", broken)
    monkeypatch.setattr(torchvision_nets, "_declared", [None])  # it has been tried before
    with pytest.raises(ImportError, match="nms does not exist"):
        torchvision_nets.models()


def test_it_is_imported_only_when_asked_for():
    code = "import sys, facelab as fl; fl.nets.load; fl.embed; fl.nets.table(); print('torchvision' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
