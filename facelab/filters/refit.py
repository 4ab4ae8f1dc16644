"""The kept filters fitted again to what they gave before the cut: by least squares (Y. He, X. Zhang, J. Sun, "Channel
pruning for accelerating very deep neural networks", ICCV 2017, §3.1), or by their mean and spread alone.

A cut leaves a filter's weights and bias as they were, though the maps that it no longer reads were part of its sum: in
a chain without batch normalisation the biases soon drown what differs from face to face. No gradient is needed to make
up for that.
"""

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial

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
    errors.number("ridge", ridge)
    if not ridge >= 0:
        raise ValueError(f"ridge {ridge!r}: expected at least 0")
    return _each(small, whole, keep, faces, partial(_Fit, ridge=ridge), rows, most, positions, batch, seed)


def recalibrate(
    small: Net,
    whole: Net,
    keep: Mapping | Plan,
    faces: FaceSet,
    *,
    rows=None,
    most: int = 1000,
    positions: int = 16,
    batch: int = 32,
    seed: int = 0,
) -> Refit:
    """A copy of `small` whose filters have the mean and the spread that they had in `whole`.

        W ← g W,  b ← mean z − g (mean ẑ − b),   g = sd z / sd ẑ > 0 for each filter

    z: a filter's output before the non-linearity in the whole network; ẑ: in the small one, the layers before it done.
    What estimating its statistics anew is to a cut network with batch normalisation, this is to one without: two
    numbers a filter, whatever the filters were chosen by. A filter that says one thing everywhere keeps its weights;
    convolutions without bias get g alone. Arguments, errors and what is returned are those of `refit`, which fits all
    weights; inputs is 2 here, and the error may grow, for spread is not agreement.

    >>> from facelab import nets
    >>> from facelab.filters.sparse import cut
    >>> net = nets.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), size=8)
    >>> images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8)
    >>> faces = FaceSet("noise", images, pd.DataFrame(index=range(40)), np.zeros((40, 5, 2), np.float32))
    >>> keep = {"0": [0, 1, 2]}
    >>> found = recalibrate(cut(net, keep), net, keep, faces, positions=16)
    >>> x = net.prepare(faces)
    >>> torch.allclose(found.net(x).std((0, 2, 3)), net(x).std((0, 2, 3)), rtol=1e-3)
    True
    """
    return _each(small, whole, keep, faces, _Match, rows, most, positions, batch, seed)


def _each(small, whole, keep, faces, make, rows, most, positions, batch, seed) -> Refit:
    """One convolution after the other, in the order they run, fitted by `make(layer)`."""
    kept = _kept(small, whole, keep)
    for name, value in (("most", most), ("positions", positions), ("batch", batch)):
        errors.whole(name, value, 1)
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
            fit = fit or make(layer)
            fit.add(given, output, target, settings, positions, rng)
        found.append({"layer": name, "filters": layer.out_channels, **fit.solve()})
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

    def __init__(self, layer: nn.Conv2d, ridge: float):
        self.layer, self.groups, self.ridge = layer, layer.groups, ridge
        d, filters = layer.weight[0].numel() + (layer.bias is not None), layer.out_channels
        self.xx = torch.zeros(layer.groups, d, d, dtype=torch.float64)
        self.xr = torch.zeros(layer.groups, d, filters // layer.groups, dtype=torch.float64)  # r: what is still missing
        self.rr, self.n = 0.0, 0
        self.z, self.zz = (torch.zeros(filters, dtype=torch.float64) for _ in range(2))

    def add(self, given: Tensor, output: Tensor, target: Tensor, settings: dict, positions: int, rng) -> None:
        """given (n, c, h, w) → output, target (n, filters, h′, w′), at some of the h′ · w′ places."""
        places, width = _places(target, positions, rng), target.shape[3]
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
    def solve(self) -> dict:
        """Give the layer its new weights: the old ones and the regression of what they miss."""
        power = self.xx.diagonal(dim1=1, dim2=2)
        floor = 1e-10 * power.amax(1, keepdim=True).clamp(min=1e-30)  # for inputs that never vary
        step = torch.linalg.solve(
            self.xx + torch.diag_embed(self.ridge * power + floor), self.xr
        )  # (groups, d, filters)
        weight = step[:, : self.layer.weight[0].numel()].mT.reshape(self.layer.weight.shape)
        self.layer.weight += weight.to(self.layer.weight)
        if self.layer.bias is not None:
            self.layer.bias += step[:, -1].flatten().to(self.layer.bias)
        left = self.rr - 2 * (step * self.xr).sum().item() + (step * (self.xx @ step)).sum().item()
        spread = max((self.zz - self.z.square() / self.n).sum().item(), 1e-30)
        left, inputs = max(left, 0.0), self.xx.shape[1]
        return {"inputs": inputs, "samples": self.n, "before": self.rr / spread, "after": left / spread}


class _Match:
    """Mean and spread of a convolution's filters, (filters,) each, in the whole network and in the cut one."""

    def __init__(self, layer: nn.Conv2d):
        self.layer, self.n = layer, 0
        self.z, self.zz, self.now, self.now2, self.both = torch.zeros(5, layer.out_channels, dtype=torch.float64)

    def add(self, given: Tensor, output: Tensor, target: Tensor, settings: dict, positions: int, rng) -> None:
        places = _places(target, positions, rng)
        z, now = (at(maps, places) for maps in (target, output))  # (n · p, filters)
        self.n += len(z)
        for total, value in (
            (self.z, z), (self.zz, z * z), (self.now, now), (self.now2, now * now), (self.both, z * now),
        ):  # fmt: skip
            total += value.sum(0)

    @torch.no_grad()
    def solve(self) -> dict:
        """Give each filter its gain and its bias."""
        z, now = self.z / self.n, self.now / self.n
        var, var_now = (self.zz / self.n - z**2).clamp(min=0), (self.now2 / self.n - now**2).clamp(min=0)
        both = self.both / self.n - z * now
        known = (var_now > 1e-12 * self.now2 / self.n) & (var > 0)
        gain = torch.where(known, (var / var_now.clamp(min=1e-30)).sqrt(), 1.0)
        self.layer.weight *= gain[:, None, None, None].to(self.layer.weight)
        shift = gain * now  # of the filter's mean, its bias scaled as well
        if self.layer.bias is not None:
            old = self.layer.bias.double().cpu()
            self.layer.bias.copy_(z - gain * (now - old))
            shift = z
        off, spread = (z - now) ** 2 + var + var_now - 2 * both, max(var.sum().item(), 1e-30)
        left = (z - shift) ** 2 + var + gain**2 * var_now - 2 * gain * both
        return {
            "inputs": 2,
            "samples": self.n,
            "before": off.sum().item() / spread,
            "after": left.sum().item() / spread,
        }


def _places(maps: Tensor, positions: int, rng) -> Tensor:
    """(n, p) Up to `positions` random places of each of n maps (n, c, h, w)."""
    n, _, height, width = maps.shape
    places = np.argsort(rng.random((n, height * width)), axis=1)[:, : min(positions, height * width)]
    return torch.from_numpy(places).to(maps.device)
