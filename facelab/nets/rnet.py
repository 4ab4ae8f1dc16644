"""MTCNN's refinement network (R-Net), in plain PyTorch: is this box of 24 px a face, and where is it exactly?

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment using multitask cascaded convolutional
networks", IEEE Signal Processing Letters 2016, Fig. 2.
"""

from pathlib import Path

import torch
from torch import nn

from facelab.nets import torch_file


class RNet(nn.Module):
    """(n, 3, 24, 24) → (n, 6): two logits (no face, face), four corrections of the box in units of the box.

    Three convolutions, each with a PReLU, two of them with a maximum that keeps a last incomplete window.

    >>> RNet()(torch.zeros(2, 3, 24, 24)).shape
    torch.Size([2, 6])
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(64 * 3 * 3, 128), nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, x):
        x = self.pool1(self.prelu1(self.conv1(x)))  # (n, 28, 11, 11)
        x = self.pool2(self.prelu2(self.conv2(x)))  # (n, 48, 4, 4)
        x = self.prelu3(self.conv3(x)).flatten(1)  # (n, 64 · 3 · 3)
        x = self.prelu4(self.dense4(x))  # (n, 128)
        return torch.cat([self.dense5_1(x), self.dense5_2(x)], 1)


def read(file: Path) -> RNet:
    """The network with the weights of a torch file, whose dense layer reads the maps column by column, position by
    position, the channels last; here they are read channel by channel."""
    tensors = torch_file.read(file)
    dense = tensors["dense4.weight"].view(-1, 3, 3, 64)  # (out, columns, rows, channels)
    return torch_file.fill(RNet(), {**tensors, "dense4.weight": dense.permute(0, 3, 2, 1).flatten(1)}, file)
