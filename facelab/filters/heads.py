"""What stands behind the convolutions of a sparse network: the head it had, a new last layer, or a pooled one."""

import copy

from facelab import errors
from facelab.filters import trace
from facelab.filters.coupling import unfold
from facelab.filters.planning import follow
from facelab.nets.net import Net

HEADS = ("keep", "pool")


def with_head(net: Net, top: str | None, head: str, outputs: int | None, seed: int) -> tuple[Net, Net]:
    """A copy of the network with the head that is asked for (as in `sparse.cut`), and another one that stays whole."""
    if head not in HEADS:
        raise errors.unknown("head", head, HEADS)
    if outputs is not None:
        errors.whole("outputs", outputs, 1)
    if top is not None and top not in net.convs:
        raise errors.unknown("top layer", top, net.convs)
    small = copy.deepcopy(net).eval()
    if head == "pool":
        if outputs is None:
            raise ValueError("head='pool' puts a new linear layer: say how many outputs it has, e.g. outputs=1")
        if top is None:
            top = _last(small)
        unfold(small.module)  # the calls on record have the number of zeros in them, a layer can change
        module, name = trace.end_after(small, top, outputs, seed)
        small.module, small.embedding, small.decode = module, f"{name}:input", None
    elif top is not None:
        raise ValueError(f"top={top!r} removes the layers behind it: give head='pool' and outputs as well")
    elif outputs is not None:
        trace.replace_last(small, outputs, seed)
        small.decode = None
    else:
        return small, net
    return small, copy.deepcopy(small)


def _last(net: Net) -> str:
    """The last convolution to run whose maps are not the network's output."""
    coupling = follow(copy.deepcopy(net))
    order = [name for name in trace.order(net) if name in coupling.convs]
    inner = [name for name in order if not coupling.is_output(coupling.all[name])]
    return (inner or order)[-1]
