"""Net: a network with the chip and the normalisation it expects."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from facelab import cache, errors
from facelab.faces.align import similarity, warp
from facelab.faces.faceset import FaceSet

CHIPS = 1  # raised when chips are cut or normalised otherwise, so that no stale result is read
KNOWN = ("builtins", "torch", "torchvision", "facelab")  # whose classes do the same in every run

# ITU-R BT.601, what "grey" means in the photo formats the grey nets were trained on.
_LUMA = (0.299, 0.587, 0.114)


class Net(nn.Module):
    """A network and how a face becomes its input.

    module: from (n, c, size, size) to anything whose first axis is n, in evaluation mode. size: side of the
    chip. template: where the five landmarks go, (5, 2) chip pixels, or None: the whole image, resized. mean,
    std: the input is (x − mean) / std per channel, x in 0 … 255. grey: one channel instead of RGB. embedding:
    the submodule whose output (written "name:input": whose input), averaged over the image, is the embedding; None: the
    module's own output, flattened. decode: from the module's output to what `predict` returns.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        grey: bool = False,
        template=None,
        embedding: str | None = None,
        decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        super().__init__()
        self.name, self.size, self.grey = name, size, grey
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.template = None if template is None else np.asarray(template, np.float64)
        self.embedding, self.decode = embedding, decode
        self.module = module

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        return next(self.module.parameters()).device

    @property
    def convs(self) -> dict[str, nn.Module]:
        """Every convolution by its name inside `module`, in order of definition."""
        return {name: layer for name, layer in self.module.named_modules() if isinstance(layer, nn.Conv2d)}

    def chips(self, faces: FaceSet, rows=None) -> torch.Tensor:
        """uint8 (n, 3, size, size) on the net's device: the faces (or those at `rows`) as the network wants
        them cut.

        ValueError names the first face without landmarks where the net aligns.
        """
        rows = np.arange(len(faces)) if rows is None else np.arange(len(faces))[rows]
        images = torch.from_numpy(np.array(faces.images[rows])).to(self.device)
        if self.template is None:
            chips = images.float()
            if chips.shape[2:] != (self.size, self.size):
                chips = F.interpolate(chips, (self.size, self.size), mode="bilinear", antialias=True)
        else:
            points = faces.landmarks[rows]
            bad = ~np.isfinite(points).all((1, 2))
            if bad.any():
                raise ValueError(
                    f"face {rows[bad.argmax()]} of {faces.name!r} has no landmarks (NaN); {bad.sum()} of "
                    f"{len(bad)} faces here lack them. {self.name!r} aligns faces by five landmarks: leave "
                    "those out, or set net.template = None to use whole images"
                )
            flat = np.ptp(points, axis=1).max(1) <= 1e-6
            if flat.any():
                raise ValueError(f"the landmarks of face {rows[flat.argmax()]} of {faces.name!r} all lie in one point")
            transforms = similarity(torch.from_numpy(points).to(self.device), torch.from_numpy(self.template))
            chips = warp(images, transforms, self.size)
        return chips.round().clamp(0, 255).to(torch.uint8)

    def normalise(self, chips: torch.Tensor) -> torch.Tensor:
        """Chips (n, 3, size, size) in 0 … 255 → the module's input, float32 (n, 3 or 1, size, size)."""
        x = chips.float()
        if self.grey:
            x = (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
        return (x - x.new_tensor(self.mean)[:, None, None]) / x.new_tensor(self.std)[:, None, None]

    def prepare(self, faces: FaceSet, rows=None) -> torch.Tensor:
        """The module's input for the faces (or those at `rows`): cut, then normalised."""
        return self.normalise(self.chips(faces, rows))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The module's output for a prepared input."""
        return self.module(x)

    @torch.no_grad()
    def embed(self, faces: FaceSet, *, batch: int = 64, progress: bool = False) -> np.ndarray:
        """float32 (n, d): the embedding of every face (see `embedding`)."""
        if self.embedding is None:
            return np.concatenate(list(self._each(faces, batch, progress, lambda y: y.flatten(1))))
        seen = []
        name, _, end = self.embedding.partition(":")
        layer = self.module.get_submodule(name)
        if end == "input":
            hook = layer.register_forward_pre_hook(lambda _layer, given: seen.append(_average(given[0])))
        else:
            hook = layer.register_forward_hook(lambda _layer, _input, output: seen.append(_average(output)))
        try:
            return np.concatenate(list(self._each(faces, batch, progress, lambda _output: seen.pop())))
        finally:
            hook.remove()

    @torch.no_grad()
    def predict(self, faces: FaceSet, *, batch: int = 64, progress: bool = False) -> np.ndarray:
        """What the network says of every face.

        "identity": (n, 128) descriptors, Euclidean distance below 0.6 = probably the same person. "age": (n,) years,
        the expectation over its 81 classes. "gender": (n,) probability of "male" (1 − it: "female"). "expression":
        (n, 7) probabilities in the order of `tasks.EXPRESSIONS`. "landmarks": (n, 5, 2) pixels of the chip. "object":
        (n, 1000) probabilities. Any other network: its output as it is.
        """
        return np.concatenate(list(self._each(faces, batch, progress, self.decode or (lambda y: y))))

    def _each(self, faces: FaceSet, batch: int, progress: bool, read) -> Iterator[np.ndarray]:
        errors.whole("batch", batch, 1)
        if len(faces) == 0:
            raise ValueError(f"face set {faces.name!r} is empty")
        starts = range(0, len(faces), batch)
        for start in tqdm(starts, desc=self.name, disable=not progress):
            output = self(self.prepare(faces, slice(start, start + batch)))
            yield read(output).float().cpu().numpy()

    @property
    def fingerprint(self) -> str:
        """A key of all that decides the net's outputs: weights, structure and settings; of layers that are neither
        torch's nor facelab's their code and their own numbers too (but not functions that this code calls).

        While anything is hooked onto a layer (an ablation, say) the outputs may be others: the key is then a
        new one at every call, so nothing is found in or confused within a cache.
        """
        total = hashlib.sha256()
        buffers = dict(self.module.named_buffers())  # those too that no file would hold
        for name, value in (buffers | self.module.state_dict()).items():
            value = value.detach().cpu().contiguous()
            total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        template = None if self.template is None else self.template.tolist()
        settings = [CHIPS, self.size, self.mean, self.std, self.grey, template, self.embedding, repr(self.module)]
        total.update(json.dumps(settings).encode())
        for name, layer in self.module.named_modules():
            if own := _own(layer):
                total.update(f"{name} {own}".encode())
        if any(layer._forward_hooks or layer._forward_pre_hooks for layer in self.module.modules()):
            total.update(uuid.uuid4().bytes)
        return total.hexdigest()

    def __repr__(self) -> str:
        shape = f"{1 if self.grey else 3} × {self.size} × {self.size}"
        filters = sum(layer.out_channels for layer in self.convs.values())
        return f"Net {self.name!r}: {shape}, {len(self.convs)} convolutions, {filters:,} filters"


def _own(layer: nn.Module) -> list[str]:
    """Of a layer whose class is somebody's own: its code, and what it holds beside weights and layers."""
    classes = [one for one in type(layer).__mro__ if one.__module__.split(".")[0] not in KNOWN]
    if not classes:
        return []
    written = [getattr(value, "fget", value) for one in classes for _, value in sorted(vars(one).items())]
    code = [value for value in written if hasattr(value, "__code__")]
    held = {name: value for name, value in sorted(vars(layer).items()) if name not in vars(nn.Module())}
    return [cache.key(code), cache.key(held)]


def _average(output: torch.Tensor) -> torch.Tensor:
    return output.flatten(2).mean(2) if output.ndim > 2 else output


def wrap(
    module: nn.Module,
    *,
    size: int,
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
    grey: bool = False,
    template=None,
    embedding: str | None = None,
    name: str | None = None,
) -> Net:
    """Any torch network as a `Net` (see there for the settings); the module is put into evaluation mode, not
    copied.

    mean and std in units of 0 … 255, one per channel or one number; the default scales to 0 … 1. template:
    (5, 2) landmarks in chip pixels, or None = whole images. TypeError where `module` is no module or has a
    wrong setting type; ValueError without a convolution, for an unknown embedding layer or settings out of
    range.

    >>> net = wrap(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), size=32, name="mine")
    >>> net, list(net.convs)
    (Net 'mine': 3 × 32 × 32, 1 convolutions, 8 filters, ['0'])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"a network must be a torch.nn.Module, not {type(module).__name__} ({module!r:.80})")
    if not any(isinstance(layer, nn.Conv2d) for layer in module.modules()):
        raise ValueError(f"{type(module).__name__} has no convolution (nn.Conv2d): there are no filters to measure")
    if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
        raise TypeError(f"size must be a whole number of pixels, not {size!r}")
    if size < 1:
        raise ValueError(f"size must be at least one pixel, not {size}")
    if embedding is not None and embedding.removesuffix(":input") not in dict(module.named_modules()):
        raise errors.unknown("embedding layer", embedding, [n for n, _ in module.named_modules() if n])
    if template is not None:
        template = np.asarray(template, np.float64)
        if template.shape != (5, 2) or not np.isfinite(template).all():
            raise ValueError(f"template must be (5, 2) finite chip pixels (x, y), not {template.tolist()}")
    channels = 1 if grey else 3
    mean, std = _channels("mean", mean, channels), _channels("std", std, channels)
    if min(std) <= 0:
        raise ValueError(f"std must be positive, not {std}")
    net = Net(
        module,
        name=name or type(module).__name__,
        size=int(size),
        mean=mean,
        std=std,
        grey=grey,
        template=template,
        embedding=embedding,
    )
    return net.eval()


def _channels(what: str, value, channels: int) -> tuple[float, ...]:
    values = tuple(np.atleast_1d(np.asarray(value, float)).tolist())
    if len(set(values)) == 1:
        values = values[:1] * channels
    if len(values) != channels or not np.isfinite(values).all():
        raise ValueError(f"{what} must be one finite number or {channels}, not {value}")
    return values
