"""Saving networks without pickle: the tensors and the list of calls in one safetensors file, or ONNX."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from facelab import devices
from facelab.export import write_onnx
from facelab.filters import bare, taps, trace
from facelab.nets.net import Net, wrap


def _plain(layer: nn.Module) -> bool:
    """Whether a layer is one of torch's own; what other layers do is written down call by call."""
    return trace.childless(layer) and getattr(nn, type(layer).__name__, None) is type(layer)


@torch.no_grad()
def save(net: Net, file: str | Path) -> Path:
    """Write a network as one safetensors file: its tensors, and as JSON its calls and the settings of its `Net`.

    `load` gives the `Net` again: layers by their names, to measure, cut or train on. Without facelab,
    `facelab/filters/bare.py` reads it, a file that needs torch and safetensors only and may be copied. Modules of your
    own are taken apart into torch's layers and calls; `Net.decode` is not kept, so `predict` gives the plain output.
    What is written is read again and must give the same numbers for the same noise.

    ValueError for a network that cannot be traced, or with a layer or call the format does not have.

    >>> import tempfile
    >>> net = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), size=8, name="mine")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(net, Path(folder, "mine.safetensors")))
    Net 'mine': 3 × 8 × 8, 1 convolutions, 4 filters
    """
    file = Path(file).expanduser()
    recorded, ends = trace.trace(net, _plain)
    restored = _restore(recorded, net)
    about = {
        "name": net.name,
        "size": net.size,
        "mean": net.mean,
        "std": net.std,
        "grey": net.grey,
        "template": None if net.template is None else net.template.tolist(),
        "embedding": net.embedding,
    }
    if net.embedding is not None:
        name, _, end = net.embedding.partition(":")
        if name not in ends:
            raise ValueError(f"{net.name!r} cannot be saved: its embedding layer {name!r} did not run")
        if name not in {node.target for node in recorded.graph.nodes if node.op == "call_module"}:
            place = ends[name][0 if end == "input" else 1]
            about["embedding"] = _mark(recorded, restored.get(place, place))
    try:
        recipe = bare.describe(recorded, about)
    except ValueError as error:
        raise ValueError(f"{net.name!r} cannot be saved: {error}") from error
    used = {*recipe["layers"], *recipe["values"]}
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in recorded.state_dict().items()
        if name in used or name.rpartition(".")[0] in used
    }
    x = trace.probe(net)
    with taps.evaluating(net):
        wanted = list(taps.tensors(net(x)))
    again = bare.build(json.loads(json.dumps(recipe)), tensors).to(x.device)
    trace.same(net.name, wanted, taps.tensors(again(x)), "the saved calls")
    writing = file.with_name(f".{file.name}.{os.getpid()}.writing")
    try:
        save_file({k: v.cpu() for k, v in tensors.items()}, writing, metadata={"network": json.dumps(recipe)})
        os.replace(writing, file)
    finally:
        writing.unlink(missing_ok=True)
    return file


def _restore(recorded, net: Net) -> dict:
    """Put layers again where a convolution of another kind than torch's own (one that pads as TensorFlow does, say) was
    taken apart, so that a loaded network has its filters under their names: the old calls and the new."""
    restored = {}
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    for node in [node for node in recorded.graph.nodes if node.target is torch.conv2d]:
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        path, _, _ = given["weight"].target.rpartition(".") if given["weight"].op == "get_attr" else ("", "", "")
        if path not in net.convs:
            continue
        old, parts = net.convs[path], (given.pop("input"), given.pop("weight"), given.pop("bias", None))
        with torch.device("meta"):
            new = nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, bias=parts[2] is not None, **given)
        new.weight, new.bias = old.weight, old.bias
        owner, _, name = path.rpartition(".")
        setattr(recorded.get_submodule(owner), name, new)
        with recorded.graph.inserting_after(node):
            call = recorded.graph.call_module(path, (parts[0],))
        node.replace_all_uses_with(call)
        restored[node] = call
        recorded.graph.erase_node(node)
        for part in parts[1:]:
            if part is not None and not part.users:
                recorded.graph.erase_node(part)
    recorded.recompile()
    return restored


def _mark(recorded, node) -> str:
    """Name a value on record, by a layer that hands it on; the name."""
    name = next(name for name in ("embedding", "the_embedding") if not hasattr(recorded, name))
    recorded.add_submodule(name, nn.Identity())
    with recorded.graph.inserting_after(node):
        recorded.graph.call_module(name, (node,))
    recorded.recompile()
    return name


def load(file: str | Path, *, device: str | torch.device = "auto") -> Net:
    """The network of a file that `save` wrote, in evaluation mode, stored channels last as `fl.nets.load` gives it.

    ValueError for a file that is damaged or of another kind; FileNotFoundError where there is none.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"there is no saved network {file}")
    module, about = bare.read(file)
    return wrap(module, **about).to(devices.device(device), memory_format=torch.channels_last).eval()


def to_onnx(net: Net, file: str | Path) -> Path:
    """Write `net.module` in evaluation mode as ONNX: input "x" (n, c, size, size), normalised; any number of images.

    ImportError where `onnx` or `onnxscript`, which torch's exporter needs, is not installed; ValueError for a network
    that torch cannot export.
    """
    return write_onnx(net.module, trace.probe(net), Path(file).expanduser(), name=net.name)
