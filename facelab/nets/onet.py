"""MTCNN's output network (O-Net), in plain PyTorch: is this box a face, where is it, where are its landmarks?

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment using multitask cascaded convolutional
networks", IEEE Signal Processing Letters 2016, Fig. 2.
"""

from pathlib import Path

import torch
from torch import nn

from facelab.nets import torch_file


class ONet(nn.Module):
    """(n, 3, 48, 48) → (n, 16): two logits (no face, face), four corrections of the box, x₁ … x₅, y₁ … y₅ of the
    landmarks in units of the box, 0 … 1.

    Four convolutions, each with a PReLU, three of them with a maximum that keeps a last incomplete window.

    >>> ONet()(torch.zeros(2, 3, 48, 48)).shape
    torch.Size([2, 16])
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(128 * 3 * 3, 256), nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, x):
        x = self.pool1(self.prelu1(self.conv1(x)))  # (n, 32, 23, 23)
        x = self.pool2(self.prelu2(self.conv2(x)))  # (n, 64, 10, 10)
        x = self.pool3(self.prelu3(self.conv3(x)))  # (n, 64, 4, 4)
        x = self.prelu4(self.conv4(x)).flatten(1)  # (n, 128 · 3 · 3)
        x = self.prelu5(self.dense5(x))  # (n, 256)
        return torch.cat([self.dense6_1(x), self.dense6_2(x), self.dense6_3(x)], 1)


def read(file: Path) -> ONet:
    """The network with the weights of a torch file, whose dense layer reads the maps column by column, position by
    position, the channels last; here they are read channel by channel."""
    tensors = torch_file.read(file)
    dense = tensors["dense5.weight"].view(-1, 3, 3, 128)  # (out, columns, rows, channels)
    return torch_file.fill(ONet(), {**tensors, "dense5.weight": dense.permute(0, 3, 2, 1).flatten(1)}, file)


def landmarks(output: torch.Tensor) -> torch.Tensor:
    """(n, 16) → (n, 5, 2) pixels (x, y) of the chip of 48, in the order and convention of `FaceSet.landmarks`.

    The network gives shares of the chip's side, from its left and upper edge; the first pixel's centre is half a pixel
    in. (So read, landmarks of mirror images are mirror images on average, and rendered faces have theirs.)
    """
    return 48 * output[:, 6:].view(-1, 2, 5).transpose(1, 2) - 0.5
