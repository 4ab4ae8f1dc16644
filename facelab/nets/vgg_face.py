"""VGG-Face: VGG-16 trained to tell 2,622 people apart, and the readers of its public weight files.

O. M. Parkhi, A. Vedaldi, A. Zisserman, "Deep face recognition", BMVC 2015, Table 3 (network A/D). The network of ETL
and of low-cost transfer.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facelab import errors
from facelab.nets import caffe_file, keras_file, matconvnet_file, torch_file

MEAN = (129.1863, 104.7624, 93.5940)  # red, green, blue
WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 4096
_TIMES = (2, 2, 3, 3, 3)
CONVS = [f"conv{i + 1}_{j + 1}" for i, times in enumerate(_TIMES) for j in range(times)]
LAYERS = [*CONVS, "fc6", "fc7", "fc8"]
# torchvision's VGG-16 numbers its layers: every convolution, ReLU, pooling, dropout and linear layer counts.
_NUMBERED = {
    **{f"features.{i}": name for i, name in zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), CONVS, strict=True)},
    **{f"classifier.{i}": name for i, name in zip((0, 3, 6), ("fc6", "fc7", "fc8"), strict=True)},
}
_KINDS = {".pth": "torch", ".pt": "torch", ".tar": "torch", ".mat": "mat", ".caffemodel": "caffe", ".h5": "keras",
          ".hdf5": "keras"}  # fmt: skip


class VGGFace(nn.Module):
    """(n, 3, 224, 224) RGB less its mean → (n, 2622) logits: 13 convolutions, 4,224 filters, three linear layers.

    The embedding is what the second linear layer gives after its ReLU, (n, 4096). side: of the last map, 1/32 of the
    image's. norm: a batch normalisation after every convolution, for training from scratch; `fold` takes them out.

    >>> VGGFace(widths=(2, 2, 2, 2, 2), hidden=4, people=3)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        hidden: int = HIDDEN,
        people: int = 2622,
        *,
        side: int = 7,
        norm: bool = False,
    ):
        super().__init__()
        channels, names = 3, iter(CONVS)
        for i, (width, times) in enumerate(zip(widths, _TIMES, strict=True)):
            for _ in range(times):
                name = next(names)
                self.add_module(name, nn.Conv2d(channels, width, 3, padding=1))
                if norm:
                    self.add_module(name.replace("conv", "norm"), nn.BatchNorm2d(width))
                self.add_module(name.replace("conv", "relu"), nn.ReLU())
                channels = width
            self.add_module(f"pool{i + 1}", nn.MaxPool2d(2))
        self.flatten = nn.Flatten()
        self.fc6, self.relu6 = nn.Linear(channels * side**2, hidden), nn.ReLU()
        self.fc7, self.relu7 = nn.Linear(hidden, hidden), nn.ReLU()
        self.fc8 = nn.Linear(hidden, people)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


def pooled(shares: Mapping[str, float], outputs: int = 2) -> nn.Sequential:
    """VGG-Face's convolutions with these shares of its filters, average pooling, one linear layer: what sparse transfer
    makes of it, with random weights, for counting its cost.

    >>> pooled({name: 0.5 for name in CONVS})[0]
    Conv2d(3, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    layers, before = [], 3
    for name, width in zip(
        CONVS, (w for w, times in zip(WIDTHS, _TIMES, strict=True) for _ in range(times)), strict=True
    ):
        after = max(1, round(shares[name] * width))
        if name.endswith("_1") and before != 3:
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs))


def fold(module: VGGFace) -> VGGFace:
    """The same function, in evaluation mode, by a plain chain: each batch normalisation becomes part of its
    convolution, w′ = w γ / σ, b′ = (b − μ) γ / σ + β.

    >>> x, trained = torch.rand(2, 3, 32, 32), VGGFace((2, 2, 2, 2, 2), 4, 3, side=1, norm=True).eval()
    >>> torch.allclose(fold(trained)(x), trained(x), atol=1e-5), hasattr(fold(trained), "norm1_1")
    (True, False)
    """
    module = copy.deepcopy(module).eval()
    for name in CONVS:
        norm = name.replace("conv", "norm")
        if hasattr(module, norm):
            setattr(module, name, fuse_conv_bn_eval(getattr(module, name), getattr(module, norm)))
            delattr(module, norm)
    return module


def read(file: str | Path) -> VGGFace:
    """The network with the weights of a file, its kind told by the ending: a torch state dict (`.pth`, `.pt`; layers
    named conv1_1 … fc8, or numbered as in torchvision's VGG-16), MatConvNet (`.mat`), Caffe (`.caffemodel`), Keras
    (`.h5`).

    The network here takes red, green, blue. Caffe's takes blue, green, red, and so do the Keras file made from it (the
    one with dense layers) and the torch files made from Torch 7's (layers named conv_1_1): their first filters are
    turned round. Any other file is taken to be red first. The number of people is the file's.

    ValueError for another kind of file, a layer missing or of another shape.
    """
    layers, blue_first = _READERS[_kind(file)](Path(file))
    layers = {_canonical(name): arrays for name, arrays in layers.items()}
    if missing := [name for name in LAYERS if name not in layers]:
        raise errors.lacking(f"{file} lacks the layer", missing, layers)
    module = VGGFace(WIDTHS, HIDDEN, people=np.size(layers["fc8"][1]))
    tensors = {}
    for name in LAYERS:
        weight, bias = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in layers[name])
        if name == CONVS[0] and blue_first:
            weight = weight.flip(1)
        wanted = module.get_submodule(name).weight
        tensors |= {f"{name}.weight": _flat(weight) if wanted.ndim == 2 else weight, f"{name}.bias": bias.flatten()}
    return torch_file.fill(module, tensors, file)


def _flat(weight: torch.Tensor) -> torch.Tensor:
    """A linear layer's weights (out, in), also where they are stored as filters or, by older Caffe, (1, 1, out, in)."""
    if weight.ndim == 4 and weight.shape[:2] == (1, 1):
        weight = weight[0, 0]
    return weight.flatten(1)


def _kind(file: str | Path) -> str:
    ending = Path(file).suffix.lower()
    if ending not in _KINDS:
        raise ValueError(f"{file} is no known kind of weight file: expected one that ends in {', '.join(_KINDS)}")
    return _KINDS[ending]


def _canonical(name: str) -> str:
    """conv1_1 for conv_1_1 and features.0, fc6 for classifier.0; other names stay.

    >>> _canonical("features.0"), _canonical("conv_5_3"), _canonical("pool1")
    ('conv1_1', 'conv5_3', 'pool1')
    """
    return _NUMBERED.get(name, re.sub(r"^conv_(\d)_(\d)$", r"conv\1_\2", name))


def _torch(file: Path):
    layers = {}
    for name, value in torch_file.read(file).items():
        layer, _, part = name.rpartition(".")
        layers.setdefault(layer, {})[part] = value.numpy()
    return {k: _both(v, k, file) for k, v in layers.items()}, "conv_1_1" in layers


def _both(arrays: dict, layer: str, file: Path) -> list[np.ndarray]:
    for part in ("weight", "bias"):
        if part not in arrays:
            raise errors.lacking(f"{file}, layer {layer!r}, lacks the", [part], arrays)
    return [arrays["weight"], arrays["bias"]]


def _mat(file: Path):
    return {k: [keras_file.filters(weight), bias] for k, (weight, bias) in matconvnet_file.read(file)}, False


def _caffe(file: Path):
    return dict(caffe_file.read(file)), True


def _keras(file: Path):
    """By order, for the layers are often called conv2d_1, conv2d_2 …"""
    found = keras_file.read(file)
    if len(found) != len(LAYERS):
        have = ", ".join(name for name, _ in found)
        raise ValueError(f"{file} has {len(found)} layers with weights ({have}), VGG-Face has {len(LAYERS)}")
    layers, dense = {}, False
    for name, (_, (weight, bias)) in zip(LAYERS, found, strict=True):
        if weight.ndim == 2:  # (in, out), and fc6 reads the maps position by position, the channels last
            dense = True
            weight = weight.reshape(7, 7, -1, weight.shape[1]) if name == "fc6" else weight[None, None]
        layers[name] = [keras_file.filters(weight), bias]
    return layers, dense


_READERS = {"torch": _torch, "mat": _mat, "caffe": _caffe, "keras": _keras}
