"""A network as ONNX, which runtimes other than torch read."""

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


def require(*packages: str, what: str = "ONNX export") -> None:
    """ImportError with what to install, where one of the packages is absent.

    >>> require("torch")
    """
    if absent := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ImportError(f"{what} needs {' and '.join(absent)}: pip install {' '.join(absent)}")


@torch.no_grad()
def write_onnx(module: nn.Module, x: Tensor, file: str | Path, *, name: str, any_batch: bool = True) -> Path:
    """Write a module in evaluation mode as ONNX, by torch's own exporter: input "x" of the shape of `x`, its first axis
    of any length, or (any_batch=False) of that of `x` alone.

    ImportError where `onnx` or `onnxscript`, which that exporter needs, is not installed; ValueError for a module that
    torch cannot export, called by `name`.
    """
    require("onnx", "onnxscript")
    modes = {m: m.training for m in module.modules()}
    with warnings.catch_warnings():  # torch's exporter warns of its own parts
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        module.eval()
        try:
            torch.onnx.export(
                module,
                (x,),
                str(file),
                input_names=["x"],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) if any_batch else None,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(f"torch cannot export {name!r} ({str(error).partition(chr(10))[0]})") from error
        finally:
            for m, training in modes.items():
                m.training = training
    return Path(file)
