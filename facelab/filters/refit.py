"""The kept weights once more, by least squares (Y. He, X. Zhang, J. Sun, "Channel pruning for accelerating very deep
neural networks", ICCV 2017, §3.1).

A cut leaves a filter's weights as they were, though the maps that it no longer reads were correlated with those it
still does. No gradient is needed to make up for that: the weights that do it best are a linear regression.
"""

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelab import errors
from facelab.faces.faceset import FaceSet
from facelab.filters import taps, trace
from facelab.filters.calls import at, call, patches
from facelab.filters.planning import Plan, check_net, lists, plan
from facelab.nets.net import Net


@dataclass(frozen=True, eq=False)
class Refit:
    """net: the cut network with the new weights. layers: a row per convolution, in the order they run: layer, filters,
    inputs (that each of them weighs, with the bias), samples, and the error before and after, Σ (z − ẑ)² / Σ (z − z̄)²
    of the kept filters' outputs z in the whole network: 0 where they are reproduced, 1 where their mean would do as
    well. before: with the layer's old weights, the layers before it already fitted."""

    net: Net
    layers: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per convolution."""
        return self.layers.copy()


def refit(
    small: Net,
    whole: Net,
    keep: Mapping | Plan,
    faces: FaceSet,
    *,
    rows=None,
    most: int = 1000,
    positions: int = 16,
    batch: int = 32,
    ridge: float = 1e-2,
    seed: int = 0,
) -> Refit:
    """A copy of `small` whose convolutions reproduce, as well as they can, what the same filters gave in `whole`.

        min over W, b of  Σ ‖z − W x − b‖² + ridge · Σ_j (Σ x_j²) ‖W_j − W⁰_j‖²       (He et al. Eq. 3, step ii)

    z (filters kept,): a filter's output before the non-linearity in the whole network; x (c · k · k,): what the
    convolution reads at that place in the small one, the layers before it already fitted. One layer after the other, in
    the order they run, over up to `positions` random places of each image; sums in float64, so memory depends on the
    widths alone. Convolutions in groups are fitted group by group; those without bias get none. All other layers stay
    as they are, a new head too.

    small: `cut(whole, keep, …)`, not scaled by β, not yet fine-tuned; keep: what it was cut by, or its `Plan`. rows:
    the faces to fit to (training faces only), None: all; `most` of them are drawn. most × positions should be several
    times c · k · k: compare samples with inputs in the table. ridge: towards the old weights, as a share of each
    input's own power; with few samples a larger one (0.1) serves unseen faces better.

    Departs from the paper by the ridge, which leaves weights alone that the faces say nothing about (with nothing cut
    nothing changes, and the error on these faces never grows), and by keeping the task's filters, not Lasso's for the
    reconstruction (step i).

    ValueError: networks or lists that do not belong together, a convolution that runs twice or whose call cannot be
    seen, no faces, numbers out of range. TypeError: no Net, the wrong kind.

    >>> from facelab import nets
    >>> from facelab.filters.sparse import cut
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=8)
    >>> _ = net.module[0].weight.data[3].copy_(net.module[0].weight[2]), net.module[0].bias.data[2:].fill_(0)
    >>> images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8)
    >>> keep = {"0": [0, 1, 2]}  # filter 3 is a copy of 2: nothing need be lost
    >>> faces = FaceSet("noise", images, pd.DataFrame(index=range(40)), np.zeros((40, 5, 2), np.float32))
    >>> found = refit(cut(net, keep), net, keep, faces, ridge=1e-6)
    >>> found.table()[["layer", "filters"]], bool(found.table()["after"].max() < 1e-6 < found.table()["before"].max())
    (  layer  filters
    0     0        3
    1     2        2, True)
    """
    kept = _kept(small, whole, keep)
    for name, value in (("most", most), ("positions", positions), ("batch", batch)):
        errors.whole(name, value, 1)
    errors.number("ridge", ridge)
    if not ridge >= 0:
        raise ValueError(f"ridge {ridge!r}: expected at least 0")
    rng = np.random.default_rng(seed)
    rows = np.arange(len(faces)) if rows is None else np.arange(len(faces))[rows]
    if not len(rows):
        raise ValueError(f"no face of {faces.name!r} to fit to")
    rows = np.sort(rng.choice(rows, min(most, len(rows)), replace=False))
    small, found = copy.deepcopy(small).eval(), []
    for name in _order(small):
        layer, fit = small.convs[name], None
        for start in range(0, len(rows), batch):
            x = whole.prepare(faces, rows[start : start + batch])
            _, target, _ = call(whole, whole.convs[name], name, x)
            given, output, settings = call(small, layer, name, x.to(small.device))
            target = target[:, torch.from_numpy(kept[name]).to(target.device)].to(output.device)
            fit = fit or _Fit(layer)
            fit.add(given, output, target, settings, positions, rng)
        found.append({"layer": name, "filters": layer.out_channels, **fit.solve(ridge)})
    return Refit(small, pd.DataFrame(found))


def _kept(small: Net, whole: Net, keep) -> dict[str, np.ndarray]:
    """The filters of `whole` that those of `small` are, checked."""
    check_net(small)
    check_net(whole)
    if (small.size, small.mean, small.std, small.grey) != (whole.size, whole.mean, whole.std, whole.grey):
        raise ValueError(f"{small.name!r} does not read what {whole.name!r} reads: expected a cut of it")
    asked, kept = keep.kept if isinstance(keep, Plan) else lists(whole, keep), {}
    coupled = cache(lambda: asked if isinstance(keep, Plan) else plan(whole, keep).kept)
    for name, layer in small.convs.items():
        if name not in whole.convs:
            raise errors.unknown("layer", name, whole.convs)
        index = asked.get(name, np.arange(whole.convs[name].out_channels))
        if len(index) != layer.out_channels:
            index = coupled()[name]
        if len(index) != layer.out_channels:
            raise ValueError(
                f"layer {name!r} of {small.name!r} has {layer.out_channels} filters, keep leaves {len(index)}: "
                "expected what it was cut by"
            )
        kept[name] = index
    return kept


@torch.no_grad()
def _order(net: Net) -> list[str]:
    """The names of the convolutions in the order they run. ValueError where one runs twice."""
    ran = []
    with ExitStack() as stack:
        stack.enter_context(taps.evaluating(net))
        for name, layer in net.convs.items():
            stack.callback(layer.register_forward_hook(lambda _m, _a, _o, name=name: ran.append(name)).remove)
        net(trace.probe(net))
    if twice := [name for name in ran if ran.count(name) > 1]:
        raise ValueError(f"layer {twice[0]!r} runs more than once in a pass: its weights cannot be fitted to one place")
    return ran


class _Fit:
    """The normal equations of one convolution, d = c/groups · k · k (+ 1 for the bias) inputs of each of its groups."""

    def __init__(self, layer: nn.Conv2d):
        self.layer, self.groups = layer, layer.groups
        d, filters = layer.weight[0].numel() + (layer.bias is not None), layer.out_channels
        self.xx = torch.zeros(layer.groups, d, d, dtype=torch.float64)
        self.xr = torch.zeros(layer.groups, d, filters // layer.groups, dtype=torch.float64)  # r: what is still missing
        self.rr, self.n = 0.0, 0
        self.z, self.zz = (torch.zeros(filters, dtype=torch.float64) for _ in range(2))

    def add(self, given: Tensor, output: Tensor, target: Tensor, settings: dict, positions: int, rng) -> None:
        """given (n, c, h, w) → output, target (n, filters, h′, w′), at some of the h′ · w′ places."""
        n, _, height, width = target.shape
        count = min(positions, height * width)
        places = np.argsort(rng.random((n, height * width)), axis=1)[:, :count]
        places = torch.from_numpy(places).to(target.device)  # (n, p)
        x = patches(given, places // width, places % width, self.layer, settings)  # (n · p, c · k · k)
        x = x.double().cpu().unflatten(1, (self.groups, -1)).movedim(1, 0)  # (groups, n · p, d)
        if self.layer.bias is not None:
            x = F.pad(x, (0, 1), value=1.0)
        z, z_now = (at(maps, places) for maps in (target, output))  # (n · p, filters)
        r = (z - z_now).unflatten(1, (self.groups, -1)).movedim(1, 0)
        self.xx += x.mT @ x
        self.xr += x.mT @ r
        self.rr, self.n = self.rr + r.square().sum().item(), self.n + len(z)
        self.z, self.zz = self.z + z.sum(0), self.zz + z.square().sum(0)

    @torch.no_grad()
    def solve(self, ridge: float) -> dict:
        """Give the layer its new weights: the old ones and the regression of what they miss."""
        power = self.xx.diagonal(dim1=1, dim2=2)
        floor = 1e-10 * power.amax(1, keepdim=True).clamp(min=1e-30)  # for inputs that never vary
        step = torch.linalg.solve(self.xx + torch.diag_embed(ridge * power + floor), self.xr)  # (groups, d, filters)
        weight = step[:, : self.layer.weight[0].numel()].mT.reshape(self.layer.weight.shape)
        self.layer.weight += weight.to(self.layer.weight)
        if self.layer.bias is not None:
            self.layer.bias += step[:, -1].flatten().to(self.layer.bias)
        left = self.rr - 2 * (step * self.xr).sum().item() + (step * (self.xx @ step)).sum().item()
        spread = max((self.zz - self.z.square() / self.n).sum().item(), 1e-30)
        left, inputs = max(left, 0.0), self.xx.shape[1]
        return {"inputs": inputs, "samples": self.n, "before": self.rr / spread, "after": left / spread}
