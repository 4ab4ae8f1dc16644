"""MTCNN's proposal network (P-Net), in plain PyTorch: at which places of a picture may a face of 12 px be?

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment using multitask cascaded convolutional
networks", IEEE Signal Processing Letters 2016, Fig. 2.
"""

from pathlib import Path

import torch
from torch import nn

from facelab.nets import torch_file

WINDOW, STRIDE = 12, 2  # px: what one position sees, and from one to the next


class PNet(nn.Module):
    """(n, 3, h, w) → (n, 6, rows, columns): two logits (no face, face) and four corrections of the window, in units of
    the window, at every position; the position (row, column) sees the 12 px from (2 · column, 2 · row) on.

    Three convolutions without padding, each with a PReLU, and a maximum that keeps a last incomplete window.

    >>> PNet()(torch.zeros(1, 3, 12, 12)).shape, PNet()(torch.zeros(1, 3, 16, 20)).shape
    (torch.Size([1, 6, 1, 1]), torch.Size([1, 6, 3, 5]))
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x):
        x = self.pool1(self.prelu1(self.conv1(x)))  # (n, 10, 5, 5) of one window
        x = self.prelu2(self.conv2(x))  # (n, 16, 3, 3)
        x = self.prelu3(self.conv3(x))  # (n, 32, 1, 1)
        return torch.cat([self.conv4_1(x), self.conv4_2(x)], 1)


def read(file: Path) -> PNet:
    """The network with the weights of a torch file."""
    return torch_file.fill(PNet(), torch_file.read(file), file)
