"""A training that can be taken up again: everything its next epoch depends on, in one file without pickle.

The file (safetensors with a JSON header) holds the weights and buffers, the optimizer's state, the best weights
so far, the history and the settings. It is replaced whole at the end of every epoch, so a killed training leaves
the last complete epoch. Random numbers need no state of their own: every epoch begins by seeding its generators
with (seed, epoch, process), so the epoch's number is their state.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facelab import cache

log = logging.getLogger(__name__)
FILE = "training.safetensors"
FORMAT = 1


def save(folder: Path, module: nn.Module, optimizer, best: dict[str, Tensor], about: dict) -> None:
    """Write the state after an epoch, whole or not at all. about: JSON values (settings, history …)."""
    arrays = {f"module/{name}": _array(value) for name, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{key}": _array(v) for key, v in state.items() if isinstance(v, Tensor)}
    arrays |= {f"best/{name}": _array(value) for name, value in best.items()}
    cache.write_tensors(folder / FILE, arrays, {"format": FORMAT, **about})


def read(folder: Path, settings: dict) -> tuple[dict[str, np.ndarray], dict] | None:
    """The arrays and the header of the last complete epoch; None where there is none, or (with a warning) where
    the file is damaged. ValueError names the first setting in which the training there differs from this one."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        arrays, about = cache.read_tensors(file)
    except ValueError as error:
        log.warning("%s; training starts anew", error)
        return None
    theirs = about.get("settings", {}) | {"format": about.get("format")}
    for name, ours in (settings | {"format": FORMAT}).items():
        if theirs.get(name) != ours:
            raise ValueError(
                f"{folder} holds another training: {name} is {theirs.get(name)!r} there and {ours!r} here. "
                "Give another folder, or delete that one"
            )
    return arrays, about


def load(arrays: dict[str, np.ndarray], module: nn.Module, optimizer, best: dict[str, Tensor]) -> None:
    """Put what `read` gave in place: module, optimizer and `best` are as they were after that epoch."""
    with torch.no_grad():
        for part, values in (("module", module.state_dict()), ("best", best)):
            for name, value in values.items():
                value.copy_(_tensor(arrays[f"{part}/{name}"], value.shape))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {}
    for name, array in arrays.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            like = parameters[int(index)]
            own = array.shape == tuple(like.shape) and key != "step"
            # as the parameter lies in memory, or the next steps would differ in their last bits
            value = torch.empty_like(like).copy_(_tensor(array, like.shape)) if own else _tensor(array, ())
            state.setdefault(int(index), {})[key] = value.detach()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().contiguous().numpy()


def _tensor(array: np.ndarray, shape) -> Tensor:
    return torch.from_numpy(array).reshape(shape)  # a scalar was stored as (1,)
