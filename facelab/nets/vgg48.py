"""vgg48: the trunk of 2MD-MTL (§5): VGG-16's convolutions on chips of 48 px, without the last pooling."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from facelab.nets.net import Net, wrap
from facelab.nets.sources import dlib_template
from facelab.nets.vgg_face import VGGFace

SIZE, PADDING = 48, 0.25  # px; of the chip around dlib's box
WIDTHS = (8, 16, 32, 64, 64)  # an eighth of VGG-16's


def untrained(*, widths: Sequence[int] = WIDTHS, seed: int = 0) -> Net:
    """The trunk with random weights: (n, 3, 48, 48) → (n, 9 · widths[-1]), the last maps of 3 × 3, flattened.

    Batch normalisation after every convolution, which the paper does not have: with its learning rate of 0.1 a VGG-16
    without diverges. He's weights, drawn from `seed`. widths: (64, 128, 256, 512, 512) for the paper's.

    >>> net = untrained(widths=(2, 2, 4, 4, 4))
    >>> net, net(torch.zeros(5, 3, 48, 48)).shape
    (Net 'vgg48': 3 × 48 × 48, 13 convolutions, 44 filters, torch.Size([5, 36]))
    """
    whole = VGGFace(widths, 1, 1, side=1, norm=True)
    layers = OrderedDict((name, layer) for name, layer in whole.named_children() if name[:2] != "fc")
    for name in ("pool5", "flatten", "relu6", "relu7"):
        del layers[name]
    module = nn.Sequential(layers | {"flatten": nn.Flatten()})
    generator = torch.Generator().manual_seed(seed)
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    return wrap(module, size=SIZE, mean=127.5, std=64, template=dlib_template(SIZE, PADDING), name="vgg48")
