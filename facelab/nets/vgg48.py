"""vgg48: the trunk of 2MD-MTL (§5): VGG-16's convolutions on chips of 48 px, without the last pooling."""

import shutil
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from facelab import cache, devices
from facelab.faces.faceset import FaceSet
from facelab.nets.narrow import DESCRIPTOR, descriptors, imitate
from facelab.nets.net import Net, wrap
from facelab.nets.sources import dlib_template
from facelab.nets.vgg_face import VGGFace

SIZE, PADDING = 48, 0.25  # px; of the chip around dlib's box
WIDTHS = (8, 16, 32, 64, 64)  # an eighth of VGG-16's
VERSION = 1  # of `pretrained`


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
    return _net(module)


def pretrained(
    sets: Sequence[FaceSet], *, widths: Sequence[int] = WIDTHS, epochs: int = 12, seed: int = 0, device="auto",
    progress: bool = False,
) -> Net:  # fmt: skip
    """The trunk, taught to give the descriptors of the source `identity` of these faces, with the linear layer that
    gives them: (n, 3, 48, 48) → (n, 128). No label is looked at. Kept in the cache.

    min Σ ‖f(x) − (d − d̄)/s‖², d the descriptor, s its mean deviation. The paper pre-trains too, on a labelled set of
    expressions (LSEMSW). ValueError: what `fl.fit` raises, e.g. for no epoch.
    """
    about = {"faces": [one.fingerprint for one in sets], "widths": list(widths), "epochs": epochs, "seed": seed}

    def fill(folder):
        wanted = np.concatenate([descriptors(one, device=device) for one in sets])
        wanted = (wanted - wanted.mean(0)) / wanted.std(0).mean()
        net = _described(widths, seed)
        crowd, kept = FaceSet.join(sets, "faces to pre-train on"), folder.with_suffix(".training")
        done = imitate(
            net, crowd, wanted, validation=0.05, lr=4e-3, epochs=epochs, seed=seed, device=device, checkpoint=kept,
            progress=progress,
        )  # fmt: skip
        state = {name: value.cpu().numpy() for name, value in net.module.state_dict().items()}
        cache.write_tensors(folder / "net.safetensors", state, {"unexplained": done.score / done.constant})
        shutil.rmtree(kept)

    entry = cache.build(cache.path("trained", "vgg48", version=VERSION, **about), fill)
    state, _ = cache.read_tensors(entry / "net.safetensors")
    net = _described(widths, seed)
    net.module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return net.eval().to(devices.device(device))


def _described(widths: Sequence[int], seed: int) -> Net:
    """`untrained`, and a linear layer for the descriptor on top."""
    trunk, top = untrained(widths=widths, seed=seed).module, nn.Linear(9 * widths[-1], DESCRIPTOR)
    nn.init.normal_(top.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(top.bias)
    return _net(nn.Sequential(OrderedDict(trunk.named_children()) | {"descriptor": top}))


def _net(module: nn.Module) -> Net:
    return wrap(module, size=SIZE, mean=127.5, std=64, template=dlib_template(SIZE, PADDING), name="vgg48")
