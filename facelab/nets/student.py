"""student: one network of 177,000 parameters that gives the fused code of six networks (general-model §3.3).

A small residual network on aligned chips of 64 px. Convolutions with batch normalisation, bottlenecks where maps are
small, and at the end one weighting of the 4 × 4 positions per channel instead of an average: in an aligned chip it
matters where a feature is (S. Chen et al., "MobileFaceNets", 2018). How it is taught: `transfer.distill`.

    facelab train student [--photos FOLDER …]
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facelab import cache
from facelab.errors import whole
from facelab.nets.net import Net, wrap
from facelab.nets.sources import dlib_template

SIZE, PADDING = 64, 0.25  # px; of the chip around dlib's box
CODE = 373  # the average width of the six sources' embeddings, the paper's rule
FILE = Path(__file__).with_name("weights") / "student.safetensors"


class Student(nn.Module):
    """(n, 3, 64, 64) → (n, outputs), from `features` (n, 96) by one linear layer `code`."""

    def __init__(self, outputs: int = CODE):
        super().__init__()
        self.features = nn.Sequential(
            *_conv(3, 16, 3, stride=2),  # 32 × 32
            *_conv(16, 32, 3, stride=2),  # 16 × 16
            Block(32, _conv(32, 16, 1), _conv(16, 16, 3), _conv(16, 32, 1)),
            Block(32, _conv(32, 16, 1), _conv(16, 16, 3), _conv(16, 32, 1)),
            *_conv(32, 64, 3, stride=2),  # 8 × 8
            Block(64, _conv(64, 32, 1), _conv(32, 32, 3), _conv(32, 64, 1)),
            Block(64, _conv(64, 32, 1), _conv(32, 32, 3), _conv(32, 64, 1)),
            *_conv(64, 96, 3, stride=2),  # 4 × 4
            Block(96, _conv(96, 32, 1), _conv(32, 32, 3), _conv(32, 96, 1)),
            Block(96, _conv(96, 24, 1), _conv(24, 24, 3), _conv(24, 96, 1)),
            *_conv(96, 96, 4, groups=96)[:2],  # 1 × 1
            nn.Flatten(),
        )
        self.code = nn.Linear(96, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.features(x))


class Block(nn.Module):
    """relu(x + F(x)), F some convolutions without the last ReLU (K. He et al., "Deep residual learning", 2015)."""

    def __init__(self, width: int, *parts: list[nn.Module]):
        super().__init__()
        self.body = nn.Sequential(*[layer for part in parts for layer in part][:-1])
        assert self.body[-1].num_features == width

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def _conv(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = 0 if groups > 1 else size // 2  # the grouped one takes in the whole map
    conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def untrained(outputs: int = CODE, *, seed: int = 0) -> Net:
    """The network with random weights (He's, drawn from `seed`), for distilling or for training from scratch.

    >>> untrained(7)
    Net 'student': 3 × 64 × 64, 23 convolutions, 992 filters
    """
    whole("outputs", outputs, 1)
    module, generator = Student(outputs), torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(module.code.bias)
    with torch.no_grad():
        module.code.weight.mul_(0.1)  # the first outputs are small
    return net(module)


def net(module: nn.Module, name: str = "student") -> Net:
    """A student, or anything built on one, with the chip it is fed."""
    return wrap(module, size=SIZE, mean=127.5, std=64, template=dlib_template(SIZE, PADDING), name=name)


def read(file: str | Path = FILE) -> tuple[Net, dict]:
    """The trained network of a file that `write` wrote, and where it comes from: command, data, seed, metrics."""
    arrays, about = cache.read_tensors(Path(file))
    module = Student(len(arrays["code.bias"]))
    module.load_state_dict(
        {k: torch.from_numpy(a.astype(np.float32) if a.dtype == np.float16 else a) for k, a in arrays.items()}
    )
    return net(module), about


def write(net: Net, about: dict, file: str | Path = FILE) -> Path:
    """Write a student in half precision (the statistics of batch normalisation in single), with where it comes from."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, value in net.module.state_dict().items():
        half = value.is_floating_point() and "running" not in name
        arrays[name] = value.cpu().numpy().astype(np.float16 if half else value.cpu().numpy().dtype)
    cache.write_tensors(file, arrays, about)
    return file
