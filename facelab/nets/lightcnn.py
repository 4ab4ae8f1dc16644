"""LightCNN-9, -29 and -29 v2, and the reader of their public checkpoints.

X. Wu, R. He, Z. Sun, T. Tan, "A light CNN for deep face representation with noisy labels", IEEE TIFS 2018, Tables 1 and
2. Instead of a ReLU, the larger of two halves of the channels goes on (max-feature-map), so a layer has twice as many
filters as it passes on.
"""

from pathlib import Path

import torch
from torch import nn

from facelab import errors
from facelab.nets import torch_file

WIDTHS = (48, 96, 192, 128)


class MFM(nn.Module):
    """max(first half, second half) of what a layer with twice `after` outputs gives."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.filter = layer

    def forward(self, x):
        first, second = self.filter(x).chunk(2, 1)
        return torch.maximum(first, second)


def conv(before: int, after: int, kernel: int) -> MFM:
    """kernel × kernel convolution with max-feature-map, (n, before, h, w) → (n, after, h, w)."""
    return MFM(nn.Conv2d(before, 2 * after, kernel, padding=kernel // 2))


class Group(nn.Module):
    """A 1 × 1 convolution, then a 3 × 3 one, both with max-feature-map."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv_a, self.conv = conv(before, before, 1), conv(before, after, 3)

    def forward(self, x):
        return self.conv(self.conv_a(x))


class Residual(nn.Module):
    """x + conv2(conv1(x)), both 3 × 3 with max-feature-map."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels, 3), conv(channels, channels, 3)

    def forward(self, x):
        return x + self.conv2(self.conv1(x))


class MaxPlusMean(nn.Module):
    """The pooling of v2: maximum plus mean of 2 × 2."""

    def __init__(self):
        super().__init__()
        self.max, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)

    def forward(self, x):
        return self.max(x) + self.mean(x)


class LightCNN9(nn.Module):
    """(n, 1, 128, 128) grey in 0 … 1 → (n, people) logits: 9 convolutions; the embedding is `fc1`, (n, 256).

    >>> LightCNN9(widths=(2, 2, 2, 2), people=3)(torch.zeros(1, 1, 128, 128)).shape
    torch.Size([1, 3])
    """

    embedding = "fc1"

    def __init__(self, people: int = 79077, widths=None):
        super().__init__()
        a, b, c, d = widths or WIDTHS
        pool = [nn.MaxPool2d(2, ceil_mode=True) for _ in range(4)]
        low = [conv(1, a, 5), pool[0], Group(a, b), pool[1], Group(b, c), pool[2]]
        self.features = nn.Sequential(*low, Group(c, d), Group(d, d), pool[3])
        self.fc1 = MFM(nn.Linear(d * 8 * 8, 2 * 256))
        self.fc2 = nn.Linear(256, people)

    def forward(self, x):
        return self.fc2(self.fc1(self.features(x).flatten(1)))


class LightCNN29(nn.Module):
    """(n, 1, 128, 128) grey in 0 … 1 → (n, people) logits: 29 convolutions; the embedding is `fc`, (n, 256).

    v2 pools by maximum plus mean, and its two linear layers are plain.

    >>> LightCNN29(widths=(2, 2, 2, 2), people=3, v2=True)(torch.zeros(1, 1, 128, 128)).shape
    torch.Size([1, 3])
    """

    embedding = "fc"

    def __init__(self, people: int = 79077, widths=None, *, v2: bool = False):
        super().__init__()
        a, b, c, d = widths or WIDTHS

        def pool():
            return MaxPlusMean() if v2 else nn.MaxPool2d(2, ceil_mode=True)

        self.conv1, self.pool1 = conv(1, a, 5), pool()
        self.block1, self.group1, self.pool2 = nn.Sequential(Residual(a)), Group(a, b), pool()
        self.block2, self.group2, self.pool3 = nn.Sequential(*(Residual(b) for _ in range(2))), Group(b, c), pool()
        self.block3, self.group3 = nn.Sequential(*(Residual(c) for _ in range(3))), Group(c, d)
        self.block4, self.group4, self.pool4 = nn.Sequential(*(Residual(d) for _ in range(4))), Group(d, d), pool()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(d * 8 * 8, 256) if v2 else MFM(nn.Linear(d * 8 * 8, 2 * 256))
        self.fc2 = nn.Linear(256, people, bias=not v2)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


def read(module: type[nn.Module], file: str | Path, **settings) -> nn.Module:
    """A network of this kind with the weights of a checkpoint (`.pth.tar`, or a state dict by itself).

    The number of people is the file's. ValueError for another kind of file, a layer missing, left over or of another
    shape.
    """
    tensors = torch_file.read(file)
    if "fc2.weight" not in tensors:
        raise errors.lacking(f"{file} lacks the layer", ["fc2.weight"], tensors)
    return torch_file.fill(module(people=len(tensors["fc2.weight"]), **settings), tensors, file)
