"""Which device the arrays live on."""

import os

import torch


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
