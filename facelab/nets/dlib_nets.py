"""dlib's face networks in plain PyTorch: the residual networks (identity, age) and the small chain (gender).

All are built of convolution → affine → ReLU. The affine layer is what dlib leaves of a batch normalisation
after training; it stays a module of its own, so that what a filter says can be read after it.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Affine(nn.Module):
    """y = weight · x + bias per channel, (n, c, h, w) → (n, c, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return torch.addcmul(self.bias[:, None, None], x, self.weight[:, None, None])

    def extra_repr(self) -> str:
        return str(len(self.weight))


class Scale(nn.Module):
    """y = factor · x with one fixed number."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones(1))

    def forward(self, x):
        return x * self.factor


class Block(nn.Module):
    """ReLU(shortcut(x) + affine2(conv2(ReLU(affine1(conv1(x)))))), dlib's `ares` (stride 1) and `ares_down`
    (2).

    Going down, conv1 has stride 2 and no border while the shortcut is a 2 × 2 mean, so the two may differ in
    channels (the shortcut has fewer) and by a row and a column (the convolutions have fewer): dlib adds them
    with the top left corners together and takes what is missing as zero.
    """

    def __init__(self, before: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1 if stride == 1 else 0)
        self.affine1 = Affine(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.affine2 = Affine(channels)
        self.shortcut = nn.Identity() if stride == 1 else nn.AvgPool2d(2)
        self.extra = channels - before
        self.stride = stride
        self.relu2 = nn.ReLU()

    def forward(self, x):
        y = self.affine2(self.conv2(self.relu1(self.affine1(self.conv1(x)))))
        x = self.shortcut(x)
        if self.stride > 1:
            if self.extra:
                x = F.pad(x, (0, 0, 0, 0, 0, self.extra))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return self.relu2(x + y)


class ResNet(nn.Module):
    """dlib's residual face networks: 7 × 7 convolution, max pooling, blocks, mean over the image, linear
    layer.

    blocks: (channels, stride) of each block, input first; outputs: size of the result; bias: of the linear
    layer.

    >>> net = ResNet(32, [(32, 1), (64, 2)], outputs=5)
    >>> net(torch.zeros(2, 3, 40, 40)).shape
    torch.Size([2, 5])
    """

    def __init__(self, stem: int, blocks: Iterable[tuple[int, int]], outputs: int, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(3, stem, 7, stride=2)
        self.affine = Affine(stem)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2)
        self.blocks = nn.Sequential()
        channels = stem
        for after, stride in blocks:
            self.blocks.append(Block(channels, after, stride))
            channels = after
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, outputs, bias=bias)

    def forward(self, x):
        x = self.maxpool(self.relu(self.affine(self.conv(x))))
        x = self.blocks(x)
        return self.fc(self.pool(x).flatten(1))


def resnet29() -> ResNet:
    """The identity network: (n, 3, 150, 150) → (n, 128) descriptors, 29 convolutions, 3,552 filters, 5.6 M
    parameters.
    """
    wide = [(256, 2), (256, 1), (256, 1), (256, 2)]
    middle = [(64, 2), *[(64, 1)] * 3, (128, 2), *[(128, 1)] * 2]
    return ResNet(32, [*[(32, 1)] * 3, *middle, *wide], outputs=128, bias=False)


def resnet10() -> ResNet:
    """The age network: (n, 3, 64, 64) → (n, 81) logits, 11 convolutions, 1,728 filters, 2.7 M parameters."""
    return ResNet(64, [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)], outputs=81)


class Chain(nn.Module):
    """The gender network: (n, 3, 32, 32) → (n, 2) logits; twice two convolutions and a mean pooling, two
    linear layers.

    The two fixed factors (0.5) are what dlib leaves of dropout.
    """

    def __init__(self):
        super().__init__()
        layers = []
        for before, after in ((3, 32), (32, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), Affine(after), nn.ReLU()]
        self.low = nn.Sequential(*layers[:6])
        self.pool1 = nn.AvgPool2d(2)
        self.high = nn.Sequential(*layers[6:])
        self.pool2 = nn.AvgPool2d(2)
        self.scale1 = Scale()
        self.fc1 = nn.Linear(64 * 8 * 8, 16)
        self.relu = nn.ReLU()
        self.scale2 = Scale()
        self.fc2 = nn.Linear(16, 2)

    def forward(self, x):
        x = self.pool2(self.high(self.pool1(self.low(x))))
        x = self.relu(self.fc1(self.scale1(x).flatten(1)))
        return self.fc2(self.scale2(x))


@torch.no_grad()
def pour(module: nn.Module, arrays: Iterable[np.ndarray]) -> nn.Module:
    """Fill the layers of `module`, in order of definition, from arrays that follow each other in the same
    order.

    Linear weights are stored (in, out) by dlib. ValueError unless the numbers fill the module exactly.

    >>> pour(nn.Linear(2, 1), [np.array([1, 2, 3], np.float32)]).bias.item()
    3.0
    """
    values = torch.from_numpy(np.concatenate([a.ravel() for a in arrays]).astype(np.float32))
    places = []
    for layer in module.modules():
        for place in filter(torch.is_floating_point, [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]):
            places.append(place.T if isinstance(layer, nn.Linear) and place.ndim == 2 else place)
    wanted = sum(place.numel() for place in places)
    if wanted != len(values):
        raise ValueError(f"the file holds {len(values):,} numbers, {type(module).__name__} takes {wanted:,}")
    for place, part in zip(places, values.split([p.numel() for p in places]), strict=True):
        place.copy_(part.view(place.shape))
    return module
