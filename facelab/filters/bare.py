"""A saved network, read by torch and safetensors alone: this file imports nothing else and can be copied anywhere.

    module, about = read("small.safetensors")

The file holds the tensors, and in its header, as JSON, the list of calls that make up the network. No code is in it: a
call must be one of those named here.
"""

import inspect
import json
import math
import operator
import re
from types import SimpleNamespace

import torch
from safetensors import safe_open
from torch import fx, nn

VERSION = 1
_SPACES = {
    "torch": torch,
    "functional": torch.nn.functional,
    "nn": torch._C._nn,
    "operator": operator,
    "builtins": SimpleNamespace(getattr=getattr),
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CALLS = _words(
    """add iadd sub isub mul imul truediv itruediv floordiv mod neg pow getitem getattr eq ne lt le gt ge
    subtract multiply div divide true_divide maximum minimum max min amax amin clamp clip abs exp log sqrt rsqrt square
    add_ sub_ mul_ div_ relu_ clamp_ addcmul addcdiv lerp where
    mean sum std var norm cat concat stack chunk split unbind narrow flatten unflatten reshape view permute transpose
    squeeze unsqueeze expand repeat contiguous clone detach size dim numel to type float half double flip roll
    matmul bmm mm einsum relu relu6 leaky_relu prelu elu selu celu gelu silu mish sigmoid tanh softmax log_softmax
    softplus softsign hardswish hardsigmoid hardtanh logsigmoid threshold normalize cosine_similarity
    conv1d conv2d conv_transpose2d linear batch_norm layer_norm group_norm instance_norm local_response_norm
    dropout dropout2d alpha_dropout feature_dropout pad interpolate pixel_shuffle
    max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d lp_pool2d"""
)
LAYERS = _words(
    """Conv1d Conv2d ConvTranspose2d Linear Bilinear Identity Flatten Unflatten BatchNorm1d BatchNorm2d LayerNorm
    GroupNorm InstanceNorm2d LocalResponseNorm ReLU ReLU6 LeakyReLU PReLU RReLU ELU SELU CELU GELU SiLU Mish Sigmoid
    Tanh Softmax LogSoftmax Softplus Softsign Hardswish Hardsigmoid Hardtanh LogSigmoid Threshold Hardshrink Softshrink
    Tanhshrink Dropout Dropout2d AlphaDropout MaxPool2d AvgPool2d AdaptiveAvgPool2d AdaptiveMaxPool2d LPPool2d ZeroPad2d
    ReflectionPad2d ReplicationPad2d ConstantPad2d Upsample PixelShuffle"""
)
_ATTRIBUTES = ("shape", "dtype", "device", "ndim")


def read(file) -> tuple[nn.Module, dict]:
    """The network in evaluation mode, and what else was said of it. ValueError for another kind of file, or a call that
    is not allowed.
    """
    try:
        with safe_open(file, framework="pt") as f:
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
            recipe = json.loads(f.metadata()["network"])
        if recipe["version"] != VERSION:
            raise ValueError(f"written by version {recipe['version']} of this format, read by {VERSION}")
        return build(recipe, tensors), recipe["about"]
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{file} is damaged or not a saved network ({error})") from error


def build(recipe: dict, tensors: dict) -> nn.Module:
    """The network of a recipe, with these tensors."""
    _check_names(recipe)
    root = nn.Module()
    for path, (kind, settings) in recipe["layers"].items():
        if kind not in LAYERS:
            raise ValueError(f"layer {path!r} is of the kind {kind!r}, which is not allowed")
        owner, _, name = path.rpartition(".")
        _owner(root, owner).add_module(name, getattr(nn, kind)(**{k: _unpack(v, {}) for k, v in settings.items()}))
    for path, learns in recipe["values"].items():  # tensors outside of layers
        owner, _, name = path.rpartition(".")
        if learns:
            _owner(root, owner).register_parameter(name, nn.Parameter(tensors[path]))
        else:
            _owner(root, owner).register_buffer(name, tensors[path])
    root.load_state_dict(tensors, assign=True)
    graph, nodes = fx.Graph(), {}
    for name, op, target, args, kwargs in recipe["calls"]:
        args, kwargs = tuple(_unpack(args, nodes)), {k: _unpack(v, nodes) for k, v in kwargs.items()}
        if op == "call_function":
            target = _function(target)
            if target is getattr and args[1] not in _ATTRIBUTES:
                raise ValueError(f"the attribute {args[1]!r} is not allowed")
        elif op == "call_method" and target not in CALLS:
            raise ValueError(f"the call {target!r} is not allowed")
        nodes[name] = graph.create_node(op, target, args, kwargs, name=name)
    graph.lint()
    return fx.GraphModule(root, graph, class_name="Saved").eval()


def _check_names(recipe: dict) -> None:
    """Names become Python when torch.fx puts the calls together, so they must be nothing but names."""
    names = [*recipe["layers"], *recipe["values"]]
    for name, op, target, _, kwargs in recipe["calls"]:
        if op not in ("placeholder", "call_module", "call_function", "call_method", "get_attr", "output"):
            raise ValueError(f"a call of the kind {op!r} is not allowed")
        names += [name, *kwargs, *([] if op == "call_function" else [target])]
    for name in names:
        if not (isinstance(name, str) and re.fullmatch(r"\w+(\.\w+)*", name, re.ASCII)):
            raise ValueError(f"{name!r:.60} is no name")


def _owner(root: nn.Module, path: str) -> nn.Module:
    for name in path.split(".") if path else ():
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root._modules[name]
    return root


def _function(target: str):
    space, _, name = target.partition(":")
    if space not in _SPACES or name not in CALLS:
        raise ValueError(f"the call {target!r} is not allowed")
    return getattr(_SPACES[space], name)


# What a recipe is made of: numbers, texts and None as they are; anything else as a dictionary with one key.


def _unpack(value, nodes: dict):
    if isinstance(value, list):
        return [_unpack(v, nodes) for v in value]
    if not isinstance(value, dict):
        return value
    [(kind, inside)] = value.items()
    if kind == "node":
        return nodes[inside]
    if kind == "tuple":
        return tuple(_unpack(v, nodes) for v in inside)
    if kind == "slice":
        return slice(*(_unpack(v, nodes) for v in inside))
    if kind == "float":
        return float(inside)
    if kind == "ellipsis":
        return ...
    if kind in ("dtype", "memory_format"):
        found = getattr(torch, inside)
        if isinstance(found, (torch.dtype, torch.memory_format)):
            return found
    raise ValueError(f"{value!r} is nothing that a recipe may hold")


def describe(module: fx.GraphModule, about: dict) -> dict:
    """The recipe of recorded calls. ValueError for a layer or a call that could not be read again."""
    recipe = {"version": VERSION, "about": about, "layers": {}, "values": {}, "calls": []}
    for node in module.graph.nodes:
        target = node.target
        if node.op == "call_module":
            recipe["layers"][target] = _layer(target, module.get_submodule(target))
        elif node.op == "get_attr":
            owner, _, name = target.rpartition(".")
            recipe["values"][target] = isinstance(getattr(module.get_submodule(owner), name), nn.Parameter)
        elif node.op == "call_function":
            target = _name(target)
        elif node.op == "call_method" and target not in CALLS:
            raise ValueError(f"it calls Tensor.{target}, which the format does not have")
        args = [_pack(v) for v in node.args]
        recipe["calls"].append([node.name, node.op, target, args, {k: _pack(v) for k, v in node.kwargs.items()}])
    return recipe


def _layer(path: str, layer: nn.Module) -> list:
    kind = type(layer).__name__
    if kind not in LAYERS or getattr(nn, kind, None) is not type(layer):
        raise ValueError(f"its layer {path!r} is a {kind}, which the format does not have")
    settings = {}
    for name in inspect.signature(type(layer)).parameters:
        if name not in ("device", "dtype") and hasattr(layer, name):
            value = getattr(layer, name)
            settings[name] = value is not None if name == "bias" else _pack(value)
    return [kind, settings]


def _name(function) -> str:
    name = getattr(function, "__name__", "")
    for space, module in _SPACES.items():
        if name in CALLS and getattr(module, name, None) is function:
            return f"{space}:{name}"
    raise ValueError(f"it calls {getattr(function, '__qualname__', function)}, which the format does not have")


def _pack(value):
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, list):
        return [_pack(v) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [_pack(v) for v in value]}
    if isinstance(value, slice):
        return {"slice": [_pack(v) for v in (value.start, value.stop, value.step)]}
    if value is ...:
        return {"ellipsis": True}
    for kind in (torch.dtype, torch.memory_format):
        if isinstance(value, kind):
            return {kind.__name__: str(value).removeprefix("torch.")}
    raise ValueError(f"it holds {value!r:.60}, which the format does not have")
