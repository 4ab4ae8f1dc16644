"""Reader of torch checkpoints (`.pt`, `.pth`, `.pth.tar`): the named tensors of a state dict.

torch's restricted reader builds tensors and plain containers and nothing else: a file that names any other object is
refused, so nothing in it is executed.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from facelab import errors

# What checkpoints call the state dict inside them.
_INSIDE = ("state_dict", "model_state_dict", "model", "net")


def read(file: str | Path) -> dict[str, Tensor]:
    """name → tensor, on the CPU; `module.`, which torch puts before all names in parallel training, is left out.

    A checkpoint that holds its state dict under a name (`state_dict`, `model`, …) gives that. ValueError for another
    kind of file, one that needs more than tensors, or one without any.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(
            f"{file} is no torch file of tensors alone ({reason}). Facelab reads state dicts only, never whole models: "
            "save one with torch.save(model.state_dict(), path)"
        ) from error
    for name in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    tensors = {k: v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not tensors:
        raise ValueError(f"{file} holds no named tensors: expected a state dict, found a {type(found).__name__}")
    while all(str(name).startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


@torch.no_grad()
def fill(module: nn.Module, tensors: Mapping[str, Tensor], file: str | Path) -> nn.Module:
    """Copy named tensors into the module's own, every one of them.

    ValueError names what the module lacks, what the file lacks (and the nearest name it has) or a shape that differs.
    """
    wanted = module.state_dict()
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}  # which older files do not have
    if missing := sorted(needed - set(tensors)):
        raise errors.lacking(f"{file} lacks the layer", missing, tensors)
    if strange := sorted(set(tensors) - set(wanted)):
        raise errors.lacking(f"{type(module).__name__} has no place for the layer", strange, wanted)
    for name, value in tensors.items():
        if wanted[name].shape != value.shape:
            raise ValueError(
                f"{file}: {name} has shape {tuple(value.shape)}, {type(module).__name__} takes "
                f"{tuple(wanted[name].shape)}"
            )
        wanted[name].copy_(value)
    return module
