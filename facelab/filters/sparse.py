"""Sparse networks: one cut down to the filters that a task needs (ETL §3.4, Algorithm 1; low-cost §4, Algorithm 2).

    small = sparse.cut(net, curves["yaw"].knees(gamma=0.01))

From every layer the filters that are not kept go, with their biases, what normalises them, and the columns of every
layer that reads them. What is left computes exactly what the whole network does while the removed maps are zero, after
the affine layer and the non-linearity; `cut` checks that on noise before it gives the network away. In the papers the
network is then fine-tuned.

Where layers can only be cut together (`plan` shows them), the union of what each keeps is kept.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from facelab import errors
from facelab.filters import taps, trace
from facelab.filters.ablate import ablated
from facelab.filters.budget import Budget, budget
from facelab.filters.controls import keep_l1, keep_random
from facelab.filters.heads import with_head
from facelab.filters.planning import Plan, check_net, follow, lists, plan, work_out
from facelab.filters.refit import Refit, recalibrate, refit
from facelab.filters.saved import load, save, to_onnx
from facelab.nets.net import Net

__all__ = [
    "Budget",
    "Plan",
    "Refit",
    "budget",
    "cut",
    "keep_l1",
    "keep_random",
    "load",
    "plan",
    "recalibrate",
    "refit",
    "save",
    "to_onnx",
]


def cut(
    net: Net,
    keep: Mapping,
    *,
    scale: Mapping | None = None,
    top: str | None = None,
    head: str = "keep",
    outputs: int | None = None,
    seed: int = 0,
) -> Net:
    """A copy of `net` with only the filters `keep` (layer → indices) of each convolution, in evaluation mode, stored
    channels last where `net` is, and called "…-cut"; `net` stays as it is.

    W′_l[j] = W_l[t_j], W′_{l+1}[:, j] = W_{l+1}[:, t_j] for the kept filters t (ETL Eq. 5 without β, Algorithm 1). Give
    it `curves["yaw"].knees(gamma)`, `keep_random(…)` or `keep_l1(…)`. `plan` says which layers share their filters.

    scale: layer → (C,) the β of Eq. 5, one for every filter of the whole layer, as `curves["yaw"].betas(gamma)`. The
    map of filter t before its non-linearity becomes β_t times what it was: weight and bias take the factor, or, where a
    batch normalisation or an affine layer reads it, that one's weight and bias. The trap: a negative β in front of a
    ReLU silences a filter, and a small one starves the layers after it. Coupled layers are not scaled.

    head: "keep" keeps all that follows the convolutions (of a linear layer that reads flattened maps of h × w, a filter
    takes h · w columns with it); "pool" puts the average over the image and one new linear layer after the last
    convolution (low-cost §4), or after the layer `top` (and its non-linearity): everything behind it goes, layers named
    in `keep` included. outputs: of the new linear layer, drawn from `seed`; with head="keep" the last layer is replaced
    where it is given.

    Departs from the papers by scaling the bias and the affine layer as well (Eq. 5 has the weight only, which would
    move every threshold), and by scaling only where asked.

    ValueError: as `plan`; unknown head or layer; `top` without head="pool"; a β missing, not finite or 0 for a kept
    filter; a network that cannot be traced, has convolutions in groups or GroupNorm behind a cut, or whose cut copy
    would compute something else. TypeError: as `plan`.

    >>> from facelab import nets
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=8)
    >>> small = cut(net, {"0": [1, 2]})
    >>> small.module[0], small.module[2]
    (Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1)), Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1)))
    >>> cut(net, {"0": [0]}, top="0", head="pool", outputs=5)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 5])
    """
    check_net(net)
    asked = lists(net, keep)
    scale = _scales(net, asked, scale)
    small, whole = with_head(net, top, head, outputs, seed)
    asked = {name: index for name, index in asked.items() if name in small.convs}
    if not asked:
        raise ValueError(f"nothing to cut: every layer that keep names comes after top={top!r}")
    coupling = follow(small)
    found, removed = work_out(small, asked, coupling)
    coupling.cut(removed)
    _check(whole, small, found.removed)
    for layer in asked:
        if layer in scale and found.scalable(layer):
            _scale(layer, small.convs[layer], coupling.affine(layer), scale[layer], found.kept[layer])
    small.name = f"{net.name}-cut"
    return small.to(memory_format=torch.channels_last) if _channels_last(net) else small


def _channels_last(net: Net) -> bool:
    """Whether any filters are stored so: cutting them leaves contiguous ones."""
    weights = [layer.weight for layer in net.convs.values()]
    return any(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)


@torch.no_grad()
def _check(whole: Net, small: Net, removed: dict[str, np.ndarray]) -> None:
    """ValueError unless the cut network computes what the whole one does without the maps of `removed`."""
    x = trace.probe(whole)
    with taps.evaluating(whole.module), ablated(whole, removed):
        wanted = list(taps.tensors(whole(x)))
    try:
        found = list(taps.tensors(small(x)))
    except RuntimeError as error:  # of torch: shapes that do not fit
        raise ValueError(
            f"{small.name!r} does not run with these filters cut ({error}): its layers are coupled in a way that "
            "cannot be followed; leave those layers out of keep"
        ) from error
    trace.same(small.name, wanted, found, "the cut layers")


def _scales(net: Net, asked: dict[str, np.ndarray], scale) -> dict[str, np.ndarray]:
    """β, checked: name → (C,)."""
    if scale is None:
        return {}
    if not isinstance(scale, Mapping):
        raise TypeError(f"scale must map layers to their β, not be {type(scale).__name__}")
    betas = {}
    for layer, beta in scale.items():
        if layer not in net.convs:
            raise errors.unknown("layer", layer, net.convs)
        if layer not in asked:
            raise ValueError(f"scale has β for layer {layer!r}, which keep does not name")
        betas[layer], count = np.asarray(beta, np.float64), net.convs[layer].out_channels
        if betas[layer].shape != (count,) or not np.isfinite(betas[layer]).all():
            raise ValueError(
                f"scale[{layer!r}] has shape {betas[layer].shape}: expected ({count},) finite numbers, a β for every "
                "filter of the whole layer"
            )
    return betas


@torch.no_grad()
def _scale(layer: str, conv: nn.Module, affine: nn.Module | None, beta: np.ndarray, kept: np.ndarray) -> None:
    """The map before the non-linearity, times β: by the affine layer where one follows, else by the convolution."""
    if len(zero := kept[beta[kept] == 0]):
        raise ValueError(f"scale is 0 for filter {zero[0]} of layer {layer!r}, which is kept: it would be dead")
    part = conv if affine is None else affine
    if part.weight is None:
        raise ValueError(f"layer {layer!r} cannot be scaled: the normalisation after it has no weight")
    factor = torch.from_numpy(beta[kept]).to(part.weight)
    part.weight.mul_(factor.view(-1, *[1] * (part.weight.ndim - 1)))
    if part.bias is not None:
        part.bias.mul_(factor)
