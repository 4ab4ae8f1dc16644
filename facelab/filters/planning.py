"""What a cut would leave: the lists of filters to keep, and what follows from them where layers are coupled."""

import copy
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from facelab import errors
from facelab.filters import trace
from facelab.filters.coupling import Coupling
from facelab.nets.net import Net

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a cut leaves. Each field by convolution, in the order of the network.

    filters: how many there are; kept: the indices that stay; coupled: the layers it can only be cut together
    with; why. paired: the layers whose own filters go in pairs.
    """

    filters: dict[str, int]
    kept: dict[str, np.ndarray]
    coupled: dict[str, tuple[str, ...]]
    why: dict[str, str]
    paired: frozenset[str]

    def scalable(self, layer: str) -> bool:
        """Whether β may scale the layer's filters: nothing else has to keep in step with them."""
        return not self.coupled[layer] and layer not in self.paired

    @property
    def removed(self) -> dict[str, np.ndarray]:
        """The filters that go, of the layers that lose any."""
        gone = {name: np.setdiff1d(np.arange(c), self.kept[name]) for name, c in self.filters.items()}
        return {name: index for name, index in gone.items() if len(index)}

    def table(self) -> pd.DataFrame:
        """One row per convolution."""
        rows = [
            {
                "layer": name,
                "filters": c,
                "kept": len(self.kept[name]),
                "coupled with": ", ".join(self.coupled[name]),
                "why": self.why[name],
            }
            for name, c in self.filters.items()
        ]
        return pd.DataFrame(rows)


def plan(net: Net, keep: Mapping) -> Plan:
    """What `cut(net, keep)` would leave, and why; nothing is cut.

    Layers whose maps meet, in a skip connection or a depthwise convolution, keep the union of their lists; so do dlib's
    stages, whose shortcuts add zeros as further channels. Of a max-feature-map's filters k and k + n stay together
    (low-cost §4). A layer that `keep` does not name has no say: it follows those it is coupled with, or stays whole.
    Layers whose maps are the network's output stay whole.

    ValueError: nothing to cut, a list that is empty or has a filter twice or out of range, an unknown layer, a network
    that cannot be followed. TypeError: what is no Net, no mapping, no filter.

    >>> from facelab import nets
    >>> from torch import nn
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=8)
    >>> plan(net, {"0": [1, 2]}).table()[["layer", "filters", "kept"]]
      layer  filters  kept
    0     0        4     2
    1     2        2     2
    """
    check_net(net)
    return work_out(net, lists(net, keep), follow(copy.deepcopy(net)))[0]


def check_net(net) -> None:
    if not isinstance(net, Net):
        raise TypeError(f"expected a Net (fl.nets.load, or fl.nets.wrap your module), not {type(net).__name__}")


def indices(layer: str, filters) -> np.ndarray:
    """(n,) the filters of a layer as integers. TypeError for anything else, a mask among it."""
    index = np.atleast_1d(np.asarray(filters))
    if index.ndim != 1 or (len(index) and not np.issubdtype(index.dtype, np.integer)):
        raise TypeError(
            f"layer {layer!r}: {filters!r:.80}: expected the indices of its filters, as in curves['yaw'].knees(gamma)"
        )
    return index.astype(np.int64)


def lists(net: Net, keep) -> dict[str, np.ndarray]:
    """keep, checked: name → indices in ascending order, in the order of the network."""
    if not isinstance(keep, Mapping):
        raise TypeError(f"keep must map layers to the filters they keep, not be {type(keep).__name__}")
    if not keep:
        raise ValueError(
            "keep is empty: there is nothing to cut (where no layer has a knee, the task cannot be read from any)"
        )
    found = {}
    for layer, chosen in keep.items():
        if layer not in net.convs:
            raise errors.unknown("layer", layer, net.convs)
        if np.ndim(chosen) != 1:
            raise TypeError(f"layer {layer!r} keeps {chosen!r:.80}: expected a list of the indices of its filters")
        index, count = indices(layer, chosen), net.convs[layer].out_channels
        if not len(index):
            raise ValueError(
                f"layer {layer!r} keeps no filter: nothing would go on from there; leave it out to keep it whole"
            )
        wrong = index[(index < 0) | (index >= count)]
        if len(wrong):
            raise ValueError(f"layer {layer!r} has no filter {wrong[0]}: expected 0 to {count - 1}")
        unique, times = np.unique(index, return_counts=True)
        if len(unique) < len(index):
            raise ValueError(f"layer {layer!r} keeps filter {unique[times > 1][0]} twice")
        found[layer] = unique
    return {name: found[name] for name in net.convs if name in found}


def follow(net: Net) -> Coupling:
    """The couplings of a network that may be worked on."""
    trace.refuse_branches(net)
    try:
        return Coupling(net.module.eval(), net.convs, trace.probe(net))
    except Exception as error:  # torch-pruning meets what it does not know with errors of any kind
        raise ValueError(f"which filters of {net.name!r} are coupled cannot be followed ({error!r:.200})") from error


def work_out(net: Net, asked: dict[str, np.ndarray], coupling: Coupling) -> tuple[Plan, dict]:
    """The plan, and what it takes from every part of the network."""
    filters = {name: layer.out_channels for name, layer in net.convs.items()}
    kept = {name: np.arange(c) for name, c in filters.items()}
    coupled, why = dict.fromkeys(filters, ()), dict.fromkeys(filters, "not in keep: whole")
    removed = defaultdict(set)
    if idle := [name for name in asked if name not in coupling.convs]:
        raise ValueError(f"layer {idle[0]!r} never ran in the forward pass: leave it out of keep")
    for group in coupling.groups:
        coupled |= {name: tuple(other for other in group if other != name) for name in group}
        named = [name for name in group if name in asked]
        if not named:
            continue
        everything = _union(coupling.all[name] for name in group)
        if coupling.is_output(everything):
            why |= dict.fromkeys(group, "its maps are the network's output: whole")
            log.warning("%s of %r stays whole: its maps are the network's output", named[0], net.name)
            continue
        stay = _union(coupling.reach(name, asked[name]) for name in named)
        for part, channels in everything.items():
            removed[part] |= channels - stay.get(part, set())
        filters_left = coupling.filters(stay)
        for name in group:
            if name not in filters_left:
                raise ValueError(
                    f"layer {name!r} would keep no filter: name it in keep; it is coupled with {named[0]!r}"
                )
            kept[name] = np.array(sorted(filters_left[name]))
            why[name] = _why(name, named, len(group), coupling.in_pairs(name))
    paired = frozenset(name for name in coupling.convs if coupling.in_pairs(name))
    found = Plan(filters, kept, coupled, why, paired)
    if not found.removed:
        raise ValueError(
            "nothing to cut: each layer in keep would keep all of its filters, or gives the network's output"
        )
    return found, removed


def _why(layer: str, named: list[str], group: int, pair: int) -> str:
    if group == 1:
        return f"its own list, k and k + {pair} together" if pair else "its own list"
    lists = "the list of the one in keep" if len(named) == 1 else f"the union of {len(named)} lists"
    return lists if layer in named else f"not in keep: {lists}"


def _union(reached) -> dict:
    total = defaultdict(set)
    for one in reached:
        for part, channels in one.items():
            total[part] |= channels
    return total
