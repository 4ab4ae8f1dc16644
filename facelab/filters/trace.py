"""A network as a list of calls, so that it can be ended earlier and written down.

torch.fx records the calls of one forward pass; it stops where Python looks at a value, for then another image may go
another way. Sizes are another matter: they are the same for every image. So the pass recorded here also runs, on two
images, and sizes other than the batch's are plain numbers.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from facelab.filters import taps
from facelab.nets import torchvision_nets

log = logging.getLogger(__name__)


class Branches(ValueError):
    """The way through a network depends on values."""


class _Traced(fx.Proxy):
    """A value on record. Its shape is known."""

    def __int__(self):
        return self.tracer.number(self)

    def __float__(self):
        return float(self.tracer.number(self))

    @property
    def shape(self):
        value, symbolic = self.tracer.values.get(self.node), fx.proxy.Attribute(self, "shape")
        if not isinstance(value, Tensor):
            return symbolic
        if self.node.op == "get_attr" or not value.ndim or len(value) != self.tracer.batch:
            return value.shape
        return (symbolic[0], *value.shape[1:])


class _Tracer(fx.Tracer):
    """Records `module` and runs it. is_layer: which submodules count as one call."""

    def __init__(self, x: Tensor, is_layer: Callable[[nn.Module], bool]):
        super().__init__()
        self.x, self.batch, self.is_layer = x, len(x), is_layer
        self.values: dict[fx.Node, object] = {}
        self.ends: dict[str, tuple[fx.Node, fx.Node]] = {}  # of every submodule that ran: what it read, what it gave
        self.running = False

    def is_leaf_module(self, m, name):
        return self.is_layer(m)

    def proxy(self, node):
        return _Traced(node, self)

    def to_bool(self, obj):
        return bool(self.number(obj))

    def number(self, proxy):
        """What a number made of sizes is. TraceError for one that is made of the network's values."""
        value = self.values.get(proxy.node)
        if not isinstance(value, (bool, int)) or self._read_out(proxy.node):
            raise fx.proxy.TraceError(f"it looks at what {proxy.node.name} is")
        return value

    def _read_out(self, node) -> bool:
        return node.target in ("item", "tolist") or any(self._read_out(before) for before in node.all_input_nodes)

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        return attr_val if self.running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m, forward, args, kwargs):
        if self.running:
            return forward(*args, **kwargs)
        result = super().call_module(m, forward, args, kwargs)
        if args and isinstance(args[0], fx.Proxy) and isinstance(result, fx.Proxy):
            self.ends[self.path_of_module(m)] = args[0].node, result.node
        return result

    def create_proxy(self, kind, target, args, kwargs, name=None, type_expr=None, proxy_factory_fn=None):
        result = super().create_proxy(kind, target, args, kwargs, name, type_expr, proxy_factory_fn)
        if kind == "placeholder":
            self.values[result.node] = self.x.clone()
        elif kind != "output":
            self.running = True
            try:
                args, kwargs = (fx.node.map_arg(v, self._value) for v in (result.node.args, result.node.kwargs))
                self.values[result.node] = self._run(kind, target, args, kwargs)
            finally:
                self.running = False
        return result

    def _value(self, node):
        if node not in self.values:  # fx itself puts buffers on record
            self.values[node] = self._run(node.op, node.target, (), {})
        return self.values[node]

    def _run(self, kind, target, args, kwargs):
        if kind == "call_function":
            return target(*args, **kwargs)
        if kind == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if kind == "call_module":
            return self.root.get_submodule(target).forward(*args, **kwargs)
        owner, _, name = target.rpartition(".")
        return getattr(self.root.get_submodule(owner), name)


def childless(module: nn.Module) -> bool:
    """Whether a module is a layer rather than an arrangement of layers."""
    return not any(True for _ in module.children())


@torch.no_grad()
def _record(net, is_layer) -> tuple[fx.Graph, _Tracer]:
    tracer = _Tracer(probe(net), lambda layer: layer is not net.module and is_layer(layer))
    try:
        with taps.evaluating(net):
            return tracer.trace(net), tracer
    except fx.proxy.TraceError as error:
        raise Branches(
            f"{net.name!r} cannot be traced ({str(error).partition(chr(10))[0]}): the way through a network must not "
            "depend on values, as with `if x.sum() > 0`, for another image may go another way"
        ) from error


def refuse_branches(net) -> None:
    """ValueError where the way through the network depends on values."""
    try:
        _record(net, childless)
    except Branches:
        raise
    except Exception as error:  # a network's own code may raise anything when its values are only on record
        log.info("whether %r branches cannot be told: %r", net.name, error)


def order(net) -> list[str]:
    """The names of the convolutions, in the order in which they run."""
    return list(dict.fromkeys(name for name in trace(net)[1] if name in net.convs))


@torch.no_grad()
def trace(net, is_layer=childless) -> tuple[fx.GraphModule, dict[str, tuple[fx.Node, fx.Node]]]:
    """`net.module` as recorded calls, with its own (not copied) layers under their own names, and every submodule's
    (input, output) in the record.

    ValueError where the way through the network depends on values, cannot be recorded for another reason, or where the
    record computes something else; where a part of the network has a name that the record needs itself ("code").
    """
    if taken := [name for name, _ in net.module.named_children() if hasattr(fx.GraphModule, name)]:
        raise ValueError(
            f"a part of {net.name!r} is called {taken[0]!r}, and so is something of torch.fx.GraphModule, which "
            "records its calls: give that part another name"
        )
    try:
        graph, tracer = _record(net, is_layer)
    except Branches:
        raise
    except Exception as error:
        raise ValueError(f"the calls of {net.name!r} cannot be recorded ({error!r:.300})") from error
    for node in graph.nodes:  # names inside net.module
        if node.op in ("call_module", "get_attr"):
            node.target = node.target.removeprefix("module.")
    recorded = fx.GraphModule(net.module, graph, class_name=type(net.module).__name__).eval()
    with taps.evaluating(net):
        wanted = list(taps.tensors(net(tracer.x)))
    same(net.name, wanted, taps.tensors(recorded(tracer.x)), "its recorded calls")
    return recorded, {name.removeprefix("module").removeprefix("."): ends for name, ends in tracer.ends.items()}


def probe(net, n: int = 2) -> Tensor:
    """Two images of noise as the network reads them, the same every time."""
    shape = (n, 1 if net.grey else 3, net.size, net.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(net.device)


def same(name: str, wanted, found, what: str, limit: float = 1e-4) -> None:
    """ValueError unless the tensors agree, relative to the largest number in each."""
    for a, b in zip(wanted, found, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"{name!r}: {what} give {tuple(b.shape)} numbers where the network gives {tuple(a.shape)}")
        if not (off := (a - b).abs().max()) <= limit * a.abs().max().clamp(min=1e-6):
            raise ValueError(f"{name!r}: {what} do not give what the network gives: off by {off:.1e}")


@torch.no_grad()
def end_after(net, layer: str, outputs: int, seed: int) -> tuple[nn.Module, str]:
    """`net.module` (its own layers, not copied) up to the map of `layer`, then its average over the image and one new
    linear layer; and the name of these new layers.

    The map is the one that `responses` measures, or, in front of a max-feature-map, its maximum.
    """
    recorded, _ = trace(net)
    place = _place(recorded, layer, net.convs[layer].out_channels, probe(net))
    width = place.meta["width"]
    name = next(name for name in ("head", "new_head", "newest_head") if not hasattr(recorded, name))
    recorded.add_submodule(name, pooled(width, outputs, seed).to(net.device))
    graph = recorded.graph
    with graph.inserting_after(place):
        new = graph.call_module(name, (place,))
    [end] = [node for node in graph.nodes if node.op == "output"]
    end.args = (new,)
    graph.eliminate_dead_code()
    recorded.delete_all_unused_submodules()
    recorded.recompile()
    return recorded, name


def linear(before: int, outputs: int, seed: int) -> nn.Linear:
    """A new linear layer, its weights drawn by torch's own rule from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(before, outputs)


def pooled(before: int, outputs: int, seed: int) -> nn.Sequential:
    """(n, before, h, w) → (n, outputs): the average over the image, then a linear layer (low-cost §4)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(before, outputs, seed))


def replace_last(net, outputs: int, seed: int) -> None:
    """Put a new linear layer in the place of the last one. ValueError where that is not what gives the output."""
    name = torchvision_nets.last(net.module)
    old = net.module.get_submodule(name)
    _, ends = trace(net)
    if not isinstance(old, nn.Linear) or name not in ends or [user.op for user in ends[name][1].users] != ["output"]:
        raise ValueError(f"{net.name!r} does not end in a linear layer that could be replaced: use head='pool'")
    owner, _, last = name.rpartition(".")
    setattr(net.module.get_submodule(owner), last, linear(old.in_features, outputs, seed).to(old.weight))


class _Values(fx.Interpreter):
    def __init__(self, module):
        super().__init__(module)
        self.given: dict[fx.Node, object] = {}

    def run_node(self, n):
        self.given[n] = super().run_node(n)
        return self.given[n]


def _place(recorded: fx.GraphModule, layer: str, channels: int, x: Tensor) -> fx.Node:
    """The call whose result is the layer's map."""
    follow, run = taps.Follow(len(x), {layer: channels}, lambda maps: maps), _Values(recorded)
    hook = recorded.get_submodule(layer).register_forward_hook(taps.hook(follow, follow.mark, layer))
    try:
        with follow:
            out = run.run(x)
    finally:
        hook.remove()
    for tensor in taps.tensors(out):
        follow.take_marks(tensor)
    follow.complain()
    found = [node for node, value in run.given.items() if value is follow.found[layer] and node.op != "output"]
    if not found:
        raise ValueError(f"the map of layer {layer!r} is made inside another layer: end the network elsewhere")
    place = found[-1]
    halves = {user for split in place.users for user in split.users}
    larger = {user for half in halves for user in half.users}
    if len(place.users) == 1 and len(halves) == 2 and len(larger) == 1 and next(iter(larger)).target is torch.maximum:
        place = larger.pop()
    place.meta["width"] = run.given[place].shape[1]
    return place
