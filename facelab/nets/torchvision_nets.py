"""torchvision's classification networks, by their names there.

torchvision is imported only when one of them is asked for. Its compiled part may not load beside a torch built for
another kind of device (a CPU-only torch beside a wheel that wants CUDA); then the import stops at the first detection
operator it cannot find. Classifiers use none of these, so their schemas alone are declared and the import goes on.
"""

import importlib
import logging
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from facelab import errors
from facelab.nets import torch_file

log = logging.getLogger(__name__)
PREFIX = "torchvision/"

# The operators whose absence stops the import, and what they look like.
_SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}
_declared: list[torch.library.Library] = []  # a declaration ends with its Library


def models() -> ModuleType:
    """`torchvision.models`. ImportError, with the way out, where torchvision is absent or does not fit torch."""
    try:
        try:
            return importlib.import_module("torchvision.models")
        except RuntimeError as error:
            if _declared or not re.search(r"operator torchvision::\w+ does not exist", str(error)):
                raise
            _declare()
            return importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError, OSError) as error:
        raise ImportError(
            f"torchvision cannot be imported beside torch {torch.__version__} ({error}): install the release that "
            "belongs to this torch, from the same package index"
        ) from error


def _declare() -> None:
    """Declare what the compiled part has not brought, and forget the import that failed for it."""
    log.info("torchvision's compiled part does not load here: declaring %s, which no classifier uses", [*_SCHEMAS])
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS.values():
        library.define(schema)
    _declared.append(library)
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def declared() -> bool:
    """Whether torchvision runs here without its compiled part."""
    return bool(_declared)


def names() -> list[str]:
    """Every name that can be loaded, as "torchvision/resnet18"."""
    found = models()
    return [PREFIX + name for name in found.list_models(module=found)]


def build(name: str, weights: str | Path | None) -> tuple[nn.Module, dict]:
    """The module called `name` (without the prefix), and the settings of its `Net`.

    weights: a path to a state dict (any number of classes), "DEFAULT" (torchvision fetches its own best ones) or None
    (random). Chip, mean and standard deviation are those of torchvision's best weights; the embedding is what the last
    linear layer (where there is none, the last convolution) reads.
    """
    found = models()
    default = found.get_model_weights(name).DEFAULT
    tensors, extra = None, {}
    if weights is None:
        log.warning("%s%s has random weights: say weights='DEFAULT' or a path for trained ones", PREFIX, name)
    elif weights != "DEFAULT":
        tensors = torch_file.read(weights)
        extra = _classes(found, name, tensors)
        if name in ("googlenet", "inception_v3"):  # as with torchvision's own weights, where such files begin
            extra["transform_input"] = True
    with warnings.catch_warnings():  # the Inception networks say that drawing their weights will change
        warnings.simplefilter("ignore", FutureWarning)
        module = found.get_model(name, weights=default if weights == "DEFAULT" else None, **extra)
    if tensors is not None:
        torch_file.fill(module, tensors, weights)
    chip = default.transforms()
    settings = {
        "size": int(chip.crop_size[0]),
        "mean": tuple(255 * v for v in chip.mean),
        "std": tuple(255 * v for v in chip.std),
        "embedding": f"{last(module)}:input",
    }
    return module, settings


def _classes(found: ModuleType, name: str, tensors: dict) -> dict:
    """How many classes the file's last layer has, where that is not torchvision's number."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        plain = found.get_model(name, weights=None)
    head = plain.get_submodule(last(plain))
    weight = tensors.get(f"{last(plain)}.weight")
    return {} if weight is None or len(weight) == len(head.weight) else {"num_classes": len(weight)}


def last(module: nn.Module) -> str:
    """The name of the last linear layer, or of the last convolution where there is no linear one."""
    for kind in (nn.Linear, nn.Conv2d):
        if found := [name for name, layer in module.named_modules() if isinstance(layer, kind)]:
            return found[-1]
    raise ValueError(f"{type(module).__name__} has no linear layer and no convolution")


def check(name: str) -> None:
    """ValueError, with the nearest names, where torchvision has no classifier of this name."""
    if PREFIX + name not in (known := names()):
        raise errors.unknown("network", PREFIX + name, known)
