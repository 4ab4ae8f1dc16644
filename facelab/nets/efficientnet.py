"""EfficientNet-Lite0, the object network, in plain PyTorch.

M. Tan, Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019, Table 1, in the
Lite form: no squeeze-and-excitation, ReLU6 everywhere. TensorFlow pads "same" (see `xception.same`).
"""

from pathlib import Path

from torch import nn
from torch.nn import functional as F

from facelab.nets import torch_file
from facelab.nets.xception import same

# Of each stage: blocks, kernel, stride of the first block, expansion, channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))  # fmt: skip


class ConvSame(nn.Conv2d):
    """A convolution padded "same"; torch pads both sides alike itself where the two halves are equal."""

    def forward(self, x):
        (top, bottom), (left, right) = (same(x.shape[i], self.kernel_size[0], self.stride[0]) for i in (2, 3))
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        return super().forward(F.pad(x, (left, right, top, bottom)))


def layer(before: int, after: int, kernel: int = 1, stride: int = 1, *, depthwise: bool = False) -> list[nn.Module]:
    """A convolution and its normalisation, whose ε is TensorFlow's."""
    groups = before if depthwise else 1
    conv = ConvSame(before, after, kernel, stride, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after, eps=1e-3)]


class Block(nn.Module):
    """Widen (1 × 1), convolve depthwise, narrow (1 × 1), and add x where size and channels stay."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = before * expansion
        widen = [*layer(before, wide), nn.ReLU6(inplace=True)] if expansion > 1 else []
        depthwise = [*layer(wide, wide, kernel, stride, depthwise=True), nn.ReLU6(inplace=True)]
        self.path = nn.Sequential(*widen, *depthwise, *layer(wide, after))
        self.adds = stride == 1 and before == after

    def forward(self, x):
        return x + self.path(x) if self.adds else self.path(x)


class EfficientNetLite0(nn.Module):
    """(n, 3, 224, 224) → (n, 1000) logits over the classes of ImageNet.

    The embedding is the mean of the last maps, (n, 1280, 7, 7).

    >>> import torch
    >>> EfficientNetLite0().eval()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 1000])
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*layer(3, 32, 3, 2), nn.ReLU6(inplace=True))
        self.blocks = nn.Sequential()
        channels = 32
        for times, kernel, stride, expansion, after in _STAGES:
            for i in range(times):
                self.blocks.append(Block(channels, after, kernel, stride if i == 0 else 1, expansion))
                channels = after
        self.head = nn.Sequential(*layer(channels, 1280), nn.ReLU6(inplace=True))
        self.fc = nn.Linear(1280, 1000)

    def forward(self, x):
        return self.fc(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def read(file: Path) -> EfficientNetLite0:
    """The network with the weights of a torch file: its tensors follow each other in the same order, under other
    names."""
    module, tensors = EfficientNetLite0(), torch_file.read(file)
    return torch_file.fill(module, dict(zip(module.state_dict(), tensors.values(), strict=True)), file)
