"""Where a training runs: the device, the precision, one process or several, and nobody else beside it."""

import logging
import pickle
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

from facelab import devices

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its own handler announces every start on stderr
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}


def fabric(place: torch.device, precision: str, processes: int, net) -> Fabric:
    """Fabric for one device, or for `processes` of them: gloo on the CPU, nccl on CUDA.

    ValueError for more processes than CUDA devices; TypeError where the network cannot be sent to other processes.
    """
    precision = PRECISIONS[precision if devices.halves(place) else "32"]
    settings = {"accelerator": place.type, "precision": precision, "plugins": [LightningEnvironment()]}
    if processes == 1:
        return Fabric(devices=[place.index or 0] if place.type == "cuda" else 1, **settings)
    if place.type == "cuda" and (place.index is not None or processes > torch.cuda.device_count()):
        raise ValueError(
            f"{processes} processes need as many CUDA devices and device='cuda', not {str(place)!r}; "
            f"there are {torch.cuda.device_count()}"
        )
    if _start(place) == "spawn":
        try:
            pickle.dumps(net)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"{net.name!r} cannot be sent to other processes ({error}): define its classes and functions at the "
                "top of a module that can be imported, or give processes=1"
            ) from error
    return Fabric(devices=processes, strategy=DDPStrategy(start_method=_start(place)), **settings)


def cast(place: torch.device, precision: str) -> torch.autocast:
    """The context in which a network's pass is computed in "bf16" where the device has instructions for it; else, and
    for "32", in float32."""
    return torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16" and devices.halves(place))


def launch(fabric: Fabric, loop: Callable):
    """What `loop(fabric)` returns, run here, or in each of the processes (then: the first one's).

    Fabric walks through arguments, but not through frozen dataclasses: let a partial object carry them.
    """
    if fabric.world_size == 1:
        return fabric.launch(loop)
    return fabric.launch(partial(_run, loop=loop, forked=_start(fabric.device) == "fork"))


def _run(fabric: Fabric, loop: Callable, forked: bool):
    if forked:
        torch.set_num_threads(1)  # the parent's OpenMP threads are not here: they would be waited for in vain
    found = loop(fabric)
    fabric.barrier()  # nobody hangs up while another still talks
    torch.distributed.destroy_process_group()  # Fabric leaves it to atexit, which does not run in these processes
    return found


def _start(place: torch.device) -> str:
    """A notebook's process can be copied, but not started a second time."""
    return "fork" if hasattr(sys, "ps1") and place.type == "cpu" else "spawn"


@contextmanager
def reproducible(place: torch.device):
    """Torch's own generators (dropout draws from them) are given back as they were; cudnn picks fixed algorithms."""
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[place] if place.type == "cuda" else []))
        stack.enter_context(torch.backends.cudnn.flags(deterministic=True, benchmark=False))
        yield


@contextmanager
def alone(folder: Path):
    """The folder, made if need be, and locked. RuntimeError while another training uses it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "training.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RuntimeError(f"{folder}: another training is writing there; give another folder or wait") from error
    try:
        yield folder
    finally:
        lock.release()
