"""Which device the arrays live on."""

import os

import joblib
import torch

BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # instructions of CPUs, as torch names them


def device(name: str | torch.device = "auto") -> torch.device:
    """`"auto"` is `$FACELAB_DEVICE`, else CUDA where there is one, else the CPU. ValueError for a device this
    machine lacks.

    >>> device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = os.environ.get("FACELAB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:N'") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:N'")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= here:
        raise ValueError(f"device {name!r} is not here: torch {torch.__version__} finds {here} CUDA devices; use 'cpu'")
    return found


def halves(place: torch.device) -> bool:
    """Whether the device has instructions for bfloat16.

    Where a CPU has none, torch emulates it, and a training under autocast takes many times as long as in float32
    (`tests/benchmarks/bench_precision.py`). False where torch cannot say (before `torch.cpu.get_capabilities`).

    >>> halves(torch.device("cpu")) in (True, False)
    True
    """
    if place.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name, False) for name in BF16)


def jobs(name: str | torch.device = "auto") -> int:
    """How many trainings to run side by side, with one thread each: one per core of the CPU; one on a GPU.

    >>> jobs("cpu") == joblib.cpu_count()
    True
    """
    return joblib.cpu_count() if device(name).type == "cpu" else 1


def told(name: str | torch.device = "auto", gains: str = "rendering and the passes of the networks") -> str:
    """One line for the top of a notebook: which device works, and what a GPU would gain where there is none.

    gains: what of the work is done on the device. How much faster that is there, `tests/benchmarks/gpu.py` measures.
    ValueError as `device`.

    >>> told("cpu", "rendering").partition("; ")[2]
    'a GPU (device="cuda") would take over rendering; statistics stay on the CPU'
    """
    found = device(name)
    if found.type == "cuda":
        return f"device: {found} ({torch.cuda.get_device_name(found)}), for {gains}; statistics stay on the CPU"
    threads = torch.get_num_threads()
    cpu = f"device: cpu, {threads} thread{'s' if threads > 1 else ''}"
    return f'{cpu}; a GPU (device="cuda") would take over {gains}; statistics stay on the CPU'
