"""Which filters can only go together, and the surgery that takes them out.

A filter's map is read by the layers after it. Where two layers' maps meet (a skip connection, a max-feature-map, a
depthwise convolution) the same channels must go from both. torch-pruning's dependency graph follows that through a
network (G. Fang et al., "DepGraph: towards any structural pruning", CVPR 2023); it also cuts the tensors.

Two kinds of layer of dlib's networks are not torch's own and are explained to it here: `Affine`, and the shortcut that
adds channels of zeros (`Block`). The latter's channels keep their index, so the kept ones of a narrow stage are the
first of the kept ones of the wider stage after it, and the cut shortcut again only adds zeros, as many as are missing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F
from torch_pruning import DependencyGraph, ops
from torch_pruning.pruner.function import BasePruningFunc

from facelab.nets.dlib_nets import Affine, Block

# Normalisations over several channels: without some of them the others change.
_MIXING = (nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


class Widen(nn.Module):
    """Zeros as further channels, (n, before, h, w) → (n, before + extra, h, w): dlib's, as a layer of its own."""

    def __init__(self, before: int, extra: int):
        super().__init__()
        self.before, self.extra = before, extra

    def forward(self, x):
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))


def unfold(module: nn.Module) -> list[tuple[Block, nn.Module, Widen]]:
    """Make a layer of the zeros that dlib's shortcuts add: the blocks, their old shortcuts, the layers."""
    found = []
    for block in [b for b in module.modules() if isinstance(b, Block) and b.stride > 1 and b.extra]:
        found.append((block, block.shortcut, Widen(block.conv1.in_channels, block.extra)))
        block.shortcut, block.extra = nn.Sequential(*found[-1][1:]), 0
    return found


class _Channels(BasePruningFunc):
    """A layer whose output channels are its input channels."""

    def prune_out_channels(self, layer, idxs):
        self.cut(layer, idxs)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer):
        return self.width(layer)

    get_in_channels = get_out_channels


class _AffineCut(_Channels):
    def cut(self, layer, idxs):
        keep = sorted(set(range(len(layer.weight))) - set(idxs))
        layer.weight = self._prune_parameter_and_grad(layer.weight, keep, 0)
        layer.bias = self._prune_parameter_and_grad(layer.bias, keep, 0)

    def width(self, layer):
        return len(layer.weight)


class _WidenCut(_Channels):
    def cut(self, layer, idxs):
        narrow = sum(i < layer.before for i in idxs)
        layer.before, layer.extra = layer.before - narrow, layer.extra - (len(idxs) - narrow)

    def width(self, layer):
        return layer.before + layer.extra


class Coupling:
    """The dependency graph of `module` at the input x (n, c, h, w). The module is the one that `cut` works on.

    convs: name → convolution; groups: the names of the layers that can only be cut together, each layer in one
    group. ValueError for a network that cannot be followed.
    """

    def __init__(self, module: nn.Module, convs: Mapping[str, nn.Module], x: torch.Tensor):
        self.module, self.x = module, x
        with self._open():
            self.name = {layer: name for name, layer in module.named_modules()}
            self.convs = {name: layer for name, layer in convs.items() if layer in self.graph.module2node}
            self.all = {name: self.reach(name, range(layer.out_channels)) for name, layer in self.convs.items()}
        self.groups, left = [], dict(self.all)
        while left:
            first = next(iter(left))
            group = self._layers(left[first])
            while wider := {b for a in group for b in self._layers(self.all[a])} - set(group):
                group = [name for name in self.convs if name in wider or name in group]
            self.groups.append(tuple(group))
            left = {name: found for name, found in left.items() if name not in group}

    @contextmanager
    def _open(self) -> Iterator[None]:
        """dlib's zero channels as layers, and gradients everywhere: the graph is read off the gradients' own."""
        learns = [(p, p.requires_grad) for p in self.module.parameters()]
        self.shortcuts = unfold(self.module)
        try:
            for p, _ in learns:
                p.requires_grad_(p.is_floating_point())
            with torch.enable_grad():
                self.graph = DependencyGraph().build_dependency(
                    self.module,
                    self.x,
                    forward_fn=lambda module, x: module(x),
                    customized_pruners={Affine: _AffineCut(), Widen: _WidenCut()},
                    verbose=False,
                )
            self._keep_zeros_apart()
            self._correct()
            yield
        finally:
            for p, flag in learns:
                p.requires_grad_(flag)
            self._fold()

    def _fold(self) -> None:
        for block, shortcut, widen in self.shortcuts:
            block.shortcut, block.extra = shortcut, widen.extra

    def _keep_zeros_apart(self) -> None:
        """What a shortcut adds of zeros comes from no layer before it."""
        for layer, node in self.graph.module2node.items():
            if isinstance(layer, Widen):
                for dependency in node.dependencies:
                    if dependency.target in node.inputs:
                        dependency.index_mapping[1] = lambda idxs, n=layer.before: [i for i in idxs if i.idx < n]

    def _correct(self) -> None:
        """Which channels are which after splits and concatenations: torch-pruning guesses how many each part of a split
        has, wrongly before a flattening.
        """
        for node in self.graph.module2node.values():
            node.enable_index_mapping = True  # taken away where a parameter (c, 1, 1) is near, as if that were a token
            done = node.grad_fn
            if node.type != ops.OPTYPE.SPLIT or getattr(done, "_saved_dim", None) != 1:
                continue
            if hasattr(done, "_saved_split_size") and hasattr(done, "_saved_self_sym_sizes"):
                width, size = int(done._saved_self_sym_sizes[1]), int(done._saved_split_size)
                node.module.split_sizes = [min(size, width - start) for start in range(0, width, size)]
                node.module.offsets = [*range(0, width, size), width]

    def reach(self, layer: str, filters: Iterable[int]) -> dict:
        """(part of the network, how it is cut) → channels there that go together with `filters` of `layer`."""
        module, found = self.convs[layer], defaultdict(set)
        filters = list(filters)
        if filters:
            cut = self.graph.get_pruner_of_module(module).prune_out_channels
            for dependency, channels in self.graph.get_pruning_group(module, cut, filters).items:
                found[dependency.target, dependency.handler].update(channels)
        return found

    def _layers(self, reached: dict) -> list[str]:
        """The convolutions that lose filters, in order of the network."""
        return list(self.filters(reached))

    def filters(self, reached: dict) -> dict[str, set[int]]:
        """name → filters, of the convolutions whose own filters are among what is reached."""
        found = {}
        for name, layer in self.convs.items():
            node, cut = self.graph.module2node[layer], self.graph.get_pruner_of_module(layer).prune_out_channels
            if (node, cut) in reached:
                found[name] = reached[node, cut]
        return found

    def is_output(self, reached: dict) -> bool:
        """Whether the network's output has channels of these."""
        return any(
            not node.outputs and cut == self.graph.get_pruner_of_module(node.module).prune_out_channels
            for node, cut in reached
        )

    def in_pairs(self, layer: str) -> int:
        """n, where filters k and k + n of a layer can only go together; 0 where filters go by themselves."""
        together = self.filters(self.reach(layer, [0]))[layer]
        return max(together)

    def affine(self, layer: str) -> nn.Module | None:
        """The normalisation or affine layer that alone reads `layer`, which may be scaled in its place."""
        readers = {node.module for node in self.graph.module2node[self.convs[layer]].outputs}
        [only] = readers if len(readers) == 1 else [None]
        return only if isinstance(only, (Affine, nn.modules.batchnorm._BatchNorm)) else None

    def cut(self, removed: dict) -> None:
        """Take the channels out of every part: `removed` is as `reach` gives it, for all layers together."""
        for (node, _), channels in removed.items():
            part = node.module
            if channels and isinstance(part, _MIXING):
                kind = type(part).__name__
                raise ValueError(
                    f"{self.name.get(part, kind)!r} ({kind}) normalises over several channels: without some of them "
                    "the others change, so filters cannot be cut exactly in front of it"
                )
            if channels and isinstance(part, nn.Conv2d) and part.groups > 1 and node.type != ops.OPTYPE.DEPTHWISE_CONV:
                raise ValueError(
                    f"layer {self.name[part]!r} is a convolution in {part.groups} groups: only plain and depthwise "
                    "convolutions can be cut; leave the layers before and after it out of keep"
                )
        learns = {name: p.requires_grad for name, p in self.module.named_parameters()}
        for (node, cut), channels in removed.items():
            if not channels:
                continue
            cut.__self__.pruning_dim = node.pruning_dim
            result = cut(node.module, sorted(channels))
            if node.type == ops.OPTYPE.PARAMETER:  # of the user's own module, which must get the shorter one
                path, _, name = self.graph._param_to_name[node.module].rpartition(".")
                setattr(self.module.get_submodule(path), name, result)
        self._fold()
        for name, p in self.module.named_parameters():
            p.requires_grad_(learns[name])
            p.grad = None
