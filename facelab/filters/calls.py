"""What a convolution is given and what it makes of it, in a pass of the network it belongs to."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from facelab.filters import taps


class _Seen(Exception):
    """The pass has come to the call that was looked for."""


class _Look(TorchFunctionMode):
    """Ends a pass at the convolution with this weight, and keeps the call: whatever its module does before (padding of
    its own kind), this is what the weights are multiplied with."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = weight

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.conv2d:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
            if given["weight"] is self.weight:
                self.found = given["input"], out, given
                raise _Seen
        return out


@torch.no_grad()
def call(net, layer: nn.Conv2d, name: str, x: Tensor) -> tuple[Tensor, Tensor, dict]:
    """What a convolution reads and gives in a pass over x, and the settings of the call."""
    look = _Look(layer.weight)
    try:
        with taps.evaluating(net), look:
            net(x)
    except _Seen:
        return look.found
    raise ValueError(f"layer {name!r} of {net.name!r} does not multiply with its own weights: it cannot be fitted")


def patches(given: Tensor, row: Tensor, column: Tensor, layer: nn.Conv2d, settings: dict) -> Tensor:
    """What the filters of a convolution read at (row, column) (n, p) of its output: (n · p, c · k · k)."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, *(_pair(settings, name) for name in ("stride", "dilation"))
    match settings.get("padding", 0):
        case "valid":
            left = right = top = bottom = 0
        case "same":
            (top, left), (down, across) = ((dh * (kh - 1)) // 2, (dw * (kw - 1)) // 2), (dh * (kh - 1), dw * (kw - 1))
            bottom, right = down - top, across - left
        case _:
            top, left = _pair(settings, "padding", 0)
            bottom, right = top, left
    padded = F.pad(given, (left, right, top, bottom))
    down = row[..., None] * sh + torch.arange(kh, device=row.device) * dh  # (n, p, kh)
    across = column[..., None] * sw + torch.arange(kw, device=row.device) * dw
    image = torch.arange(len(given), device=row.device)[:, None, None, None]
    found = padded[image, :, down[..., :, None], across[..., None, :]]  # (n, p, kh, kw, c)
    return found.permute(0, 1, 4, 2, 3).flatten(2).flatten(0, 1)


def at(maps: Tensor, places: Tensor) -> Tensor:
    """(n, filters, h, w) at places (n, p) → (n · p, filters)."""
    maps = maps.flatten(2).gather(2, places[:, None].expand(-1, maps.shape[1], -1))
    return maps.movedim(1, 2).flatten(0, 1).double().cpu()


def _pair(settings: dict, name: str, default: int = 1) -> tuple[int, int]:
    value = settings.get(name, default)
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))
