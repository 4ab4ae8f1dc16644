"""What a network costs when only some of its filters stay, by arithmetic: no cut has to be made to know it."""

import copy
from dataclasses import dataclass

import numpy as np
from torch import nn

from facelab.cost import count
from facelab.filters.planning import follow
from facelab.nets.net import Net


@dataclass(frozen=True, eq=False)
class Group:
    """Layers that can only be cut together, and the sets of their filters that go together.

    member: layer → (C,) the set of each filter. out, into (S, P): the channels that part p of the network writes and
    reads of set s.
    """

    member: dict[str, np.ndarray]
    out: np.ndarray
    into: np.ndarray

    def stay(self, keep) -> np.ndarray:
        """(S,) The sets that stay where the layers keep these filters: those any of them is in."""
        stays = np.zeros(len(self.out), bool)
        for layer, index in keep.items():
            stays[self.member[layer][index]] = True
        return stays

    def kept(self, layer: str, stays: np.ndarray) -> np.ndarray:
        """The filters of a layer in the sets that stay, in ascending order."""
        return np.flatnonzero(stays[self.member[layer]])


class Widths:
    """The MACs of a network, as a function of the widths of its layers.

    Σ_p m_p · out_p/O_p · in_p/I_p over the convolutions and linear layers p, m_p what `facelab.cost.count` gives for
    the whole layer; of a depthwise convolution, which reads as many channels as it writes, m_p · out_p/O_p.

    groups: those whose filters can go, of which the network's output is none; names, macs (P,): the parts, their whole
    MACs. ValueError for a network that cannot be followed.

    >>> from facelab import nets
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=8)
    >>> widths = Widths(net)
    >>> [list(group.member) for group in widths.groups], widths.macs
    ([['0']], array([3888., 1152.]))
    >>> half = np.array([True, True, False, False])
    >>> widths.left(*widths.sums([half]))
    array([1944.,  576.])
    """

    def __init__(self, net: Net):
        rows = count(net).layers
        self.names, self.macs = rows["layer"].tolist(), rows["macs"].to_numpy(np.float64)
        working = copy.deepcopy(net)
        coupling = follow(working)
        layers = dict(working.module.named_modules())
        parts = [layers[name] for name in self.names]
        self.all_out = np.array([_width(part, "out") for part in parts], np.float64)
        self.all_into = np.array([_width(part, "in") for part in parts], np.float64)
        nodes = [coupling.graph.module2node.get(part) for part in parts]
        cuts = [coupling.graph.get_pruner_of_module(part) for part in parts]
        plain = [getattr(part, "groups", 1) == 1 for part in parts]
        self.groups = []
        for group in coupling.groups:
            member = {name: np.full(coupling.convs[name].out_channels, -1) for name in group}
            out, into = [], []
            for name in group:
                for k in range(len(member[name])):
                    if member[name][k] >= 0:
                        continue
                    reached = coupling.reach(name, [k])
                    if coupling.is_output(reached):
                        break
                    for other, index in coupling.filters(reached).items():
                        member[other][list(index)] = len(out)
                    each = list(zip(nodes, cuts, plain, strict=True))
                    out.append([len(reached.get((node, cut.prune_out_channels), ())) for node, cut, _ in each])
                    into.append([len(reached.get((node, cut.prune_in_channels), ())) * p for node, cut, p in each])
            if all((index >= 0).all() for index in member.values()):
                self.groups.append(Group(member, np.array(out, np.float64), np.array(into, np.float64)))
        self.fixed_out = self.all_out - sum(group.out.sum(0) for group in self.groups)
        self.fixed_into = self.all_into - sum(group.into.sum(0) for group in self.groups)

    def sums(self, stays) -> tuple[np.ndarray, np.ndarray]:
        """Channels that every part writes and reads, (P,) each, for the sets of every group that stay."""
        pairs = list(zip(self.groups, stays, strict=True))
        out = self.fixed_out + sum(group.out[s].sum(0) for group, s in pairs)
        return out, self.fixed_into + sum(group.into[s].sum(0) for group, s in pairs)

    def left(self, out: np.ndarray, into: np.ndarray) -> np.ndarray:
        """MACs (…, P) of every part for the channels it writes and reads, (…, P) each."""
        return self.macs * (out / self.all_out) * (into / self.all_into)


def _width(part: nn.Module, end: str) -> int:
    return getattr(part, f"{end}_features") if isinstance(part, nn.Linear) else getattr(part, f"{end}_channels")
