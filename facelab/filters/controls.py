"""What the filters kept for a task must beat: as many kept at random, and as many with the largest weights.

Where layers are coupled, "as many" is counted after the union: a random list per layer would leave a wider network than
lists that overlap. So given a `Plan`, as many sets of coupled filters are drawn as it keeps, of each kind: the sets
that reach into the same layers.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from facelab import errors
from facelab.filters.planning import Plan, check_net, follow
from facelab.nets.net import Net

Filters = frozenset[tuple[str, int]]


def keep_random(net: Net, counts, *, seed: int = 0) -> dict[str, np.ndarray]:
    """As many filters of each layer, at random.

    counts: a `Plan` (where layers are coupled, the cut is then as wide as the plan's), or layer → number of filters,
    drawn for each layer by itself. ValueError: unknown layer, a number out of range. TypeError: another kind.

    >>> from facelab import nets
    >>> from torch import nn
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), size=8)
    >>> keep_random(net, {"0": 3}, seed=1)
    {'0': array([2, 3, 6])}
    """
    rng = np.random.default_rng(seed)
    return _choose(net, counts, lambda sets, n: [sets[i] for i in rng.choice(len(sets), n, replace=False)])


def keep_l1(net: Net, counts) -> dict[str, np.ndarray]:
    """As many filters of each layer, those with the largest Σ|w| (H. Li et al., "Pruning filters for efficient
    ConvNets", ICLR 2017, §3.1); of coupled filters, the largest sum over the set.

    counts, errors: as `keep_random`.

    >>> from facelab import nets
    >>> from torch import nn
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), size=8)
    >>> _ = nn.init.constant_(net.module[0].weight[5], 10)
    >>> keep_l1(net, {"0": 1})
    {'0': array([5])}
    """
    check_net(net)
    norms = {name: layer.weight.detach().abs().flatten(1).sum(1).cpu().numpy() for name, layer in net.convs.items()}

    def largest(sets: list[Filters], n: int) -> list[Filters]:
        return sorted(sets, key=lambda one: (-sum(norms[layer][k] for layer, k in one), min(one)))[:n]

    return _choose(net, counts, largest)


def _choose(net: Net, counts, pick: Callable[[list[Filters], int], list[Filters]]) -> dict[str, np.ndarray]:
    check_net(net)
    chosen = []
    for sets, n in _planned(net, counts) if isinstance(counts, Plan) else _counted(net, counts):
        chosen += pick(sets, n)
    kept = defaultdict(list)
    for layer, k in sorted(pair for one in chosen for pair in one):
        kept[layer].append(k)
    return {name: np.array(kept[name]) for name in net.convs if name in kept}


def _counted(net: Net, counts) -> list[tuple[list[Filters], int]]:
    if not isinstance(counts, Mapping):
        raise TypeError(f"counts must be a Plan, or map layers to numbers of filters, not be {type(counts).__name__}")
    found = []
    for layer, n in counts.items():
        if layer not in net.convs:
            raise errors.unknown("layer", layer, net.convs)
        errors.whole(f"counts[{layer!r}]", n, 1)
        width = net.convs[layer].out_channels
        if n > width:
            raise ValueError(f"counts[{layer!r}] {n!r}: the layer has {width} filters")
        found.append(([frozenset([(layer, k)]) for k in range(width)], int(n)))
    return found


def _planned(net: Net, plan: Plan) -> list[tuple[list[Filters], int]]:
    """The sets of filters that go together, those of each kind with the number that the plan keeps."""
    if {name: layer.out_channels for name, layer in net.convs.items()} != plan.filters:
        raise ValueError(f"the plan is of another network than {net.name!r}: their layers differ")
    coupling = None
    kinds, seen = defaultdict(list), set()  # the layers reached → sets
    for layer, k in ((name, k) for name in plan.removed for k in range(plan.filters[name])):
        if (layer, k) in seen:
            continue
        if plan.scalable(layer):
            one = frozenset([(layer, k)])
        else:
            coupling = coupling or follow(copy.deepcopy(net))
            reached = coupling.filters(coupling.reach(layer, [k]))
            one = frozenset((name, i) for name, index in reached.items() for i in index)
        seen |= one
        kinds[tuple(sorted(name for name, _ in one))].append(one)
    kept = {name: set(index.tolist()) for name, index in plan.kept.items()}
    return [(sets, sum(all(k in kept[name] for name, k in one) for one in sets)) for sets in kinds.values()]
