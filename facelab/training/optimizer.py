"""How weights move: the optimizer, the learning rate's schedule, and which layers are trained at all."""

import math
from contextlib import contextmanager

import torch
from torch import nn

from facelab import errors

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant", "onecycle")
WARM = 0.3  # the share of one cycle's steps in which the rate rises, from 1 / 25 of the highest
START, END = 1 / 25, 1 / 25 / 1e4


def make(name: str, parameters, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer; weight decay acts on matrices and filters, not on biases and norms. sgd has momentum 0.9
    (Nesterov)."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
    return {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[name](groups, lr=lr, fused=True)


def factor(schedule: str, step: int, steps: int) -> float:
    """The learning rate at a step (from 0, of `steps`) as a share of the highest: no state, so a resumed
    training has it too.

    cosine: (1 + cos(π step / steps)) / 2. onecycle (Smith & Topin 2018): cosine-shaped from 1/25 up to 1 over the
    first 30 %, then down to 4e-6 at the last step.

    >>> [round(factor("cosine", i, 4), 2) for i in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return (1 + math.cos(math.pi * step / steps)) / 2
    top = WARM * steps - 1
    if step <= top:
        low, high, done = START, 1.0, step / top
    else:
        low, high, done = 1.0, END, (step - top) / max(steps - 1 - top, 1)
    return high + (low - high) * (1 + math.cos(math.pi * done)) / 2


@contextmanager
def only(module: nn.Module, prefixes):
    """For a while, train nothing but the layers whose names start with one of these (None: all that there are).

    ValueError for a prefix that names no layer with parameters, with the nearest that do.
    """
    before = {p: p.requires_grad for p in module.parameters()}
    modes = {m: m.training for m in module.modules()}
    names = [name for name, _ in module.named_parameters()]
    if prefixes is not None:
        prefixes = errors.named("layer to train", prefixes)
        for prefix in prefixes:
            if not any(_under(name, prefix) for name in names):
                raise errors.unknown("layer to train", prefix, _layers(names))
    try:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(prefixes is None or any(_under(name, prefix) for prefix in prefixes))
        yield
    finally:
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)
        for m, training in modes.items():
            m.training = training


def warmed(step: int, steps: int, share: float) -> float:
    """The factor of the learning rate that rises in a line over this share of the steps and falls to 0 as a cosine.

    >>> [round(warmed(step, 5, 0.4), 2) for step in range(5)]
    [0.5, 1.0, 1.0, 0.75, 0.25]
    """
    warm = max(1, round(share * steps))
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def mode(module: nn.Module) -> None:
    """Training mode, but evaluation mode in layers that are frozen: their batch norms must not drift. A norm without
    weights is frozen where the layer before it is."""
    module.train()
    before = False
    for layer in module.modules():
        own = list(layer.parameters())
        frozen = bool(own) and not any(p.requires_grad for p in own)
        if frozen or (before and not own and any(True for _ in layer.buffers(recurse=False))):
            layer.eval()
        if own and not any(True for _ in layer.children()):
            before = frozen


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _layers(names) -> list[str]:
    """Every name a parameter lies under: 'a.b.weight' → 'a', 'a.b', 'a.b.weight'."""
    parts = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(p[:i]) for p in parts for i in range(1, len(p) + 1)))
