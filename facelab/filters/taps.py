"""Taps: the pooled activation map of every filter of every conv layer, in one forward pass of any torch
module.

The maps wanted are those *after* the non-linearity that follows a conv layer (the VGG maps of ETL and
low-cost are post-ReLU). Which one follows is not written in a module's structure: `F.relu` is a plain call, a
ReLU module may be used in three places, and a residual sum may come first. So the tensor is followed while
the network runs. A forward hook marks the output of every conv layer as pending; then, for every torch call
that takes a marked tensor:

- it keeps the channels and is linear in them (normalisation, sum, product, dropout …): the result bears the
  mark too. A residual sum bears the marks of both branches, so after it both get the same map.
- it is a non-linearity: its result is the layer's map. A gate counts whole: `x * sigmoid(x)` is one
  non-linearity.
- it is anything else (the next conv, a linear layer, padding, pooling, flattening, splitting, concatenation,
  the end of the network): the map is taken as it stands there, unless a non-linearity is found for it later
  on in the pass.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from facelab.errors import unknown

WHERE = ("after", "before")


def mean(maps: Tensor) -> Tensor:
    """ETL Eq. 1: the average of each map, (n, C, h, w) → (n, C), at least in float32."""
    return maps.mean((2, 3), dtype=_wide(maps))


def norm(maps: Tensor) -> Tensor:
    """Low-cost Fig. 2: the L2 norm of each map, (n, C, h, w) → (n, C), at least in float32."""
    return torch.linalg.vector_norm(maps, dim=(2, 3), dtype=_wide(maps))


def _wide(maps: Tensor) -> torch.dtype:
    return torch.promote_types(maps.dtype, torch.float32)


REDUCE: dict[str, Callable[[Tensor], Tensor]] = {"mean": mean, "norm": norm}


def check(where: str, reduce: str) -> None:
    """ValueError for a place or a reduction that does not exist."""
    if where not in WHERE:
        raise unknown("where", where, WHERE)
    if reduce not in REDUCE:
        raise unknown("reduce", reduce, REDUCE)


def capture(
    module: nn.Module,
    x: Tensor,
    layers: Mapping[str, nn.Module],
    *,
    where: str = "after",
    reduce: str = "mean",
) -> dict[str, Tensor]:
    """Pooled activation maps of the conv `layers` (name → submodule) in one pass of `module` over `x`.

    X[n, c] = 1/(hw) Σ_ij map_c(x_n)[i, j] for reduce="mean" (ETL Eq. 1), √Σ_ij map² for "norm" (low-cost Fig.
    2); the map is taken after the non-linearity that follows the conv (where="after"; the text above says how
    it is found) or straight after the conv (where="before"). Depthwise convs count like any other. The pass
    runs without gradients and in evaluation mode; the module is left as it was found.

    x: (n, c, h, w), whatever the module takes. Returns name → (n, C) on the device of x, in the order of
    `layers`. ValueError where a layer did not run, ran twice (one value per filter and image would be
    ambiguous), or could not be followed; the message names it.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    >>> x = torch.rand(5, 3, 8, 8)
    >>> seen = capture(net, x, {"0": net[0], "3": net[3]})
    >>> {name: tuple(pooled.shape) for name, pooled in seen.items()}
    {'0': (5, 4), '3': (5, 2)}
    >>> torch.allclose(seen["0"], net.eval()[:3](x).mean((2, 3)))
    True
    """
    check(where, reduce)
    follow = Follow(len(x), {name: layer.out_channels for name, layer in layers.items()}, REDUCE[reduce])
    start = follow.mark if where == "after" else follow.take
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(module))
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(hook(follow, start, name)).remove)
        if where == "after":
            stack.enter_context(follow)
        out = module(x)
    for tensor in tensors(out):
        follow.take_marks(tensor)
    follow.complain()
    return {name: follow.found[name] for name in layers}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: batch norm must neither use nor update the statistics of these images."""
    training = [m for m in module.modules() if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def hook(follow, start, name):
    """A forward hook for layer `name`: `start` gets its output and name; a second run in a pass is an error."""

    def run(module, args, out):
        if name in follow.ran:
            raise ValueError(
                f"layer {name!r} runs more than once in a pass, so a filter has no single response to an "
                "image: name the layers to measure and leave it out"
            )
        follow.ran.add(name)
        start(out, name)

    return run


def _calls(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Calls that keep the channels but resize the map: it is taken before, and taken again where a non-linearity
# follows.
_RESIZE = _calls(
    """max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d lp_pool2d pad constant_pad_nd
    interpolate upsample upsample_nearest upsample_bilinear getitem narrow"""
)
# Calls that keep the channels and are linear in them; out-of-place, in-place and operator names alike.
_KEEP = _RESIZE | _calls(
    """batch_norm instance_norm group_norm local_response_norm add iadd radd sub isub rsub subtract mul imul
    rmul multiply div idiv itruediv truediv true_divide divide neg addcmul addcdiv lerp dropout dropout2d
    alpha_dropout feature_dropout feature_alpha_dropout contiguous clone to type type_as float half bfloat16
    double detach alias view reshape view_as requires_grad get"""
)
_TIMES = _calls("mul imul rmul multiply")
_BEND = _calls(
    """relu relu6 prelu leaky_relu rrelu elu selu celu silu gelu mish hardswish hardtanh hardsigmoid
    hardshrink softshrink tanhshrink softplus softsign sigmoid logsigmoid log_sigmoid tanh threshold clamp
    clamp_min clamp_max clip maximum minimum max min where abs square pow exp erf"""
)
_LOOK = _calls("size dim ndimension numel len shape stride is_contiguous is_floating_point gt ge lt le eq ne")


_PASSES = count()


class Follow(TorchFunctionMode):
    """The marks of one pass. They sit on the tensors themselves, so they end with them and no id is ever
    re-used.

    A tensor's `pending` are the layers whose map it may become, its `gates` those it is a non-linear function
    of.
    """

    def __init__(self, n: int, channels: dict[str, int], reduce: Callable[[Tensor], Tensor]):
        super().__init__()
        self.key = f"_facelab_{next(_PASSES)}"  # a pass may run inside another: measuring under an ablation
        self.n, self.channels, self.reduce = n, channels, reduce
        self.ran: set[str] = set()
        self.found: dict[str, Tensor] = {}
        self.final: set[str] = set()  # those found after a non-linearity

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = getattr(func, "__name__", "").strip("_")
        marked = () if kind in _LOOK else self._marked(args, kwargs)
        if not marked:
            return func(*args, **kwargs)
        if kind in _RESIZE or (kind not in _KEEP and kind not in _BEND):
            for tensor in marked:  # before the call, which may write into its argument
                self.take_marks(tensor)
        marks = [(tensor, tensor.shape[:2], getattr(tensor, self.key)) for tensor in marked]
        out = func(*args, **kwargs)
        if kind in _KEEP or kind in _BEND:
            result = out if isinstance(out, Tensor) else next(tensors(out), None)
            if result is not None:
                self._pass_on(kind, marks, result)
        return out

    def _marked(self, args, kwargs) -> list[Tensor]:
        """The marked tensors of a call. It runs for every call of the network, so it looks at plain ones first."""
        found = []
        for value in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(value, Tensor):
                if self.key in value.__dict__:
                    found.append(value)
            elif isinstance(value, (list, tuple, dict)):
                found += [t for t in tensors(value) if self.key in t.__dict__]
        return found

    def _pass_on(self, kind, marks, result):
        shape, pending, gates = result.shape, frozenset(), frozenset()
        for tensor, channels, (may_become, bends) in marks:
            if channels == shape[:2] and len(shape) == 4:
                pending, gates = may_become | pending, bends | gates
            elif tensor is not result:  # a crop of the channels, a flattening, a broadcast
                self.take_marks(tensor)
        if kind in _BEND:
            self._final(result, pending - self.final)
            setattr(result, self.key, (frozenset(), gates | pending))
            return
        if kind in _TIMES:  # the other half of a gate: x * f(x)
            self._final(result, pending & gates & self.final)
        setattr(result, self.key, (pending, gates))

    def mark(self, out: Tensor, name: str) -> None:
        setattr(out, self.key, (frozenset([name]), frozenset()))

    def take(self, maps: Tensor, name: str) -> None:
        with torch._C.DisableTorchFunction():  # a look is no use of the map: an ablation around it must not act here
            self.found[name] = self._pooled(maps, name)

    def take_marks(self, tensor: Tensor) -> None:
        """The map as it stands here, for layers that have none yet."""
        pending, _ = getattr(tensor, self.key, ((), ()))
        if new := [name for name in pending if name not in self.found]:
            self.found |= dict.fromkeys(new, self._pooled(tensor, *new))

    def _final(self, maps: Tensor, names) -> None:
        if names:
            self.found |= dict.fromkeys(names, self._pooled(maps, *names))
            self.final |= names

    def _pooled(self, maps: Tensor, *names: str) -> Tensor:
        for name in names:
            if maps.ndim != 4 or maps.shape[:2] != (self.n, self.channels[name]):
                raise ValueError(
                    f"layer {name!r} gives maps of shape {tuple(maps.shape)} for {self.n} images: expected "
                    f"({self.n}, {self.channels[name]}, h, w)"
                )
        return self.reduce(maps)

    def complain(self) -> None:
        if idle := [repr(name) for name in self.channels if name not in self.ran]:
            raise ValueError(
                f"layer {', '.join(idle)} never ran in the forward pass: name the layers to measure and leave it out"
            )
        if lost := [repr(name) for name in self.channels if name not in self.found]:
            raise ValueError(
                f"the output of layer {', '.join(lost)} could not be followed to a non-linearity (an "
                "operation outside torch, or an unused output): use where='before' or leave it out"
            )


def tensors(value) -> Iterator[Tensor]:
    """Every tensor in a value: itself, or inside tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from tensors(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from tensors(v)
