"""mini-XCEPTION, the expression network, in plain PyTorch.

O. Arriaga, M. Valdenegro-Toro, P. Plöger, "Real-time convolutional neural networks for emotion and gender
classification", 2017. Keras pads "same": where a stride of 2 leaves an odd border, the larger half is at the right and
at the bottom, unlike torch's own padding.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from facelab.nets import keras_file
from facelab.nets.dlib_nets import pour

_EPS = 1e-3  # Keras' own; torch's is 1e-5


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The border TensorFlow's "same" adds before and after an axis, the smaller half before.

    total = max((⌈size / stride⌉ − 1) · stride + kernel − size, 0).

    >>> same(60, 3, 2), same(15, 3, 2), same(60, 1, 2)
    ((0, 1), (1, 1), (0, 0))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class MaxPoolSame(nn.Module):
    """3 × 3 maximum at a stride of 2, padded "same": (n, c, h, w) → (n, c, ⌈h/2⌉, ⌈w/2⌉)."""

    def forward(self, x):
        border = (*same(x.shape[3], 3, 2), *same(x.shape[2], 3, 2))
        return F.max_pool2d(F.pad(x, border, value=-torch.inf), 3, 2)


def separable(before: int, after: int) -> nn.Sequential:
    """3 × 3 depthwise convolution, 1 × 1 convolution, normalisation."""
    return nn.Sequential(
        nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after, eps=_EPS),
    )


class Block(nn.Module):
    """pool(separable2(ReLU(separable1(x)))) + shortcut(x): half the size, `after` channels."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.separable1 = separable(before, after)
        self.relu = nn.ReLU()
        self.separable2 = separable(after, after)
        self.pool = MaxPoolSame()
        self.shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after, eps=_EPS)
        )

    def forward(self, x):
        return self.pool(self.separable2(self.relu(self.separable1(x)))) + self.shortcut(x)


class MiniXception(nn.Module):
    """(n, 1, 64, 64) → (n, 7) logits: two convolutions, four blocks, one convolution per class, its mean.

    The embedding is the mean of the last block's maps, (n, 128, 4, 4).

    >>> MiniXception().eval()(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 7])
    """

    def __init__(self, widths: Iterable[int] = (16, 32, 64, 128), classes: int = 7):
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8, eps=_EPS), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8, eps=_EPS), nn.ReLU()),
        )
        self.blocks = nn.Sequential()
        channels = 8
        for after in widths:
            self.blocks.append(Block(channels, after))
            channels = after
        self.head = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def read(file: Path) -> MiniXception:
    """The network with the weights of a Keras file: its layers follow each other in the same order."""
    arrays = [a for _, layer in keras_file.read(file) for a in layer]
    return pour(MiniXception(), [keras_file.filters(a) if np.ndim(a) == 4 else a for a in arrays])
