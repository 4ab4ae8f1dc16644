"""Take filters away and see what is lost.

A correlation says that a filter follows a task; an ablation says whether the network needs it. The maps of
chosen filters are replaced while the network runs, after the non-linearity that follows their layer (the same
maps that `responses` measures), and a linear probe for the task is scored on unseen people: kept as it was,
and refitted to what is left. The same is done to random sets of as many filters, and differences are
reported, not ratios.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from tqdm import tqdm

from facelab import tasks
from facelab.errors import unknown
from facelab.filters import taps
from facelab.filters.drops import Ablation, compare
from facelab.filters.planning import indices
from facelab.filters.responses import responses

HOW = ("zero", "mean")


@contextmanager
def ablated(net, filters: Mapping[str, Iterable[int]], *, how: str = "zero", means=None):
    """While the block runs, the maps of `filters` (layer → indices) in `net` are constant.

    how: "zero", or "mean": each at its mean response over a data set, `means` (layer → (C,)). The map is
    replaced where `responses` measures it (after the non-linearity that follows the layer, see
    `facelab.filters.taps`) and nowhere else; whatever reads that map later, a skip connection included, sees
    the constant. Where that is, one pass over a single blank image tells at the start. For inference: no
    gradient passes.

    ValueError: unknown layer, filter out of range, unknown `how`, no means, a layer that `responses` could not
    measure.

    >>> from facelab import nets
    >>> net = nets.wrap(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.ReLU()), size=4)
    >>> with torch.no_grad(), ablated(net, {"0": [1]}):
    ...     maps = net(torch.rand(1, 3, 4, 4))
    >>> maps[:, 1].abs().max().item()
    0.0
    """
    values = _values(net, filters, how, means)
    edit = _Edit(values, {layer: net.convs[layer].out_channels for layer in values})
    with ExitStack() as stack:
        for layer in values:
            hook = net.convs[layer].register_forward_hook(taps.hook(edit, edit.mark, layer))
            stack.callback(hook.remove)
        stack.callback(net.module.register_forward_pre_hook(lambda _m, _a: edit.begin()).remove)
        stack.callback(net.module.register_forward_hook(lambda _m, _a, out: edit.finish(out)).remove)
        stack.enter_context(edit)
        if values:
            with torch.no_grad(), taps.evaluating(net.module):
                net.module(torch.zeros(1, 1 if net.grey else 3, net.size, net.size, device=net.device))
            edit.learn()
        yield net


def _values(net, filters, how, means) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """layer → (indices, the constants they get), checked."""
    _check_how(how)
    if how == "mean" and means is None:
        raise ValueError("how='mean' needs means: {layer: (C,) mean responses}, e.g. a response table's layer.mean(0)")
    values = {}
    for layer, chosen in filters.items():
        if layer not in net.convs:
            raise unknown("layer", layer, net.convs)
        index, count = indices(layer, chosen), net.convs[layer].out_channels
        wrong = index[(index < 0) | (index >= count)]
        if len(wrong):
            raise ValueError(f"layer {layer!r} has no filter {wrong[0]}: expected 0 to {count - 1}")
        if how == "mean" and layer not in means:
            raise unknown("layer with a mean", layer, means)
        constant = np.zeros(len(index)) if how == "zero" else np.asarray(means[layer])[index]
        values[layer] = torch.from_numpy(index), torch.from_numpy(constant.astype(np.float32))
    return values


class _Edit(taps.Follow):
    """Follows the marked maps as a tap does, and overwrites channels of the very maps a tap would keep.

    A tap may keep a map for the time being (before pooling, before the other half of a gate) and a later one
    instead. An edit cannot be taken back, so a first pass only counts how many non-linearities a layer's map
    is found after; the passes after it write at the last of them, or, where there is none, at the first
    place that takes the map as it stands.
    """

    def __init__(self, values, channels):
        super().__init__(1, channels, taps.mean)
        self.values, self.last = values, None  # None: still counting
        self.bends = Counter()

    def begin(self) -> None:
        """A pass starts: nothing is found yet, whatever became of the pass before."""
        self.ran.clear()
        self.found.clear()
        self.final.clear()
        self.bends.clear()

    def finish(self, out) -> None:
        for tensor in taps.tensors(out):
            self.take_marks(tensor)

    def learn(self) -> None:
        self.complain()
        self.last = self.bends.copy()

    def _final(self, maps, names) -> None:
        self.bends.update(names)
        super()._final(maps, names)

    @torch.no_grad()
    def _pooled(self, maps, *names):
        if self.last is None:
            return super()._pooled(maps, *names)
        for name in names:
            if self.bends[name] == self.last[name]:
                index, constant = (value.to(maps.device) for value in self.values[name])
                maps[:, index] = constant.to(maps.dtype)[:, None, None]
        return None  # only that it was found counts here


def ablation(
    net,
    faces,
    filters,
    task: str,
    *,
    read: str | None = None,
    how: str = "zero",
    random_sets: int = 20,
    images: int | None = 600,
    folds: int = 5,
    bootstraps: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> Ablation:
    """How far the probe for `task` falls when `filters` are ablated, against random sets of the same size.

    filters: `Crafts`, or layer → indices. read: where the probe reads: a conv layer, or None = the net's
    embedding. A random set has, in every layer, as many filters as were found there, drawn from all of that
    layer's. Each set costs one pass over `images` faces (drawn at random; None = all): at 15 ms a face and
    the defaults, some three minutes.

    ValueError: nothing to ablate, unknown task, layer, filter or `how`, no labels, fewer people than folds, a
    labelled face without landmarks where the net aligns.
    """
    _check_how(how)
    taken = _chosen(filters)
    _values(net, taken, "zero", None)
    if read is not None and read not in net.convs:
        raise unknown("layer", read, net.convs)
    known = np.flatnonzero(~np.isnan(faces.targets(tasks.get(task).name)).any(1))
    _check_landmarks(net, faces, known)
    rng = np.random.default_rng(seed)
    if images is not None and images < len(known):
        known = np.sort(rng.choice(known, images, replace=False))
    faces = faces[known]
    means = None
    if how == "mean":
        clean = responses(net, faces, layers=list(taken), cached=False, progress=False)
        means = {layer: x.mean(0) for layer, x in clean.layers.items()}

    sizes = {layer: net.convs[layer].out_channels for layer in taken}
    sets = [taken, *(_random(taken, sizes, rng) for _ in range(random_sets))]
    base, *changed = [_read(net, faces, read)] + [
        _read(net, faces, read, chosen, how, means) for chosen in tqdm(sets, desc="ablation", disable=not progress)
    ]
    where = read or "embedding"
    return compare(
        faces.targets(task), faces.identities, task, base, changed, taken, where, how, folds, bootstraps, seed
    )


def ablate_columns(
    table,
    layer: str,
    filters,
    task: str,
    *,
    how: str = "zero",
    random_sets: int = 100,
    folds: int = 5,
    bootstraps: int = 1000,
    seed: int = 0,
) -> Ablation:
    """The same where the probe reads the very layer that loses filters: columns of a response table, no
    network run.

    What is lost is what the layer's other filters cannot make up for; whether later layers could is
    `ablation`'s question. table: `Responses`; filters: indices, `Crafts`, or layer → indices (only `layer`
    counts).

    >>> from types import SimpleNamespace
    >>> rng = np.random.default_rng(0)
    >>> yaw = rng.uniform(-60, 60, (300, 1))
    >>> x = np.hstack([0.1 * yaw + rng.normal(size=(300, 1)), rng.normal(size=(300, 9))])  # filter 0 knows yaw
    >>> table = SimpleNamespace(layers={"conv": x}, identities=np.arange(300) // 10, targets=lambda task: yaw)
    >>> lost = ablate_columns(table, "conv", [0], "yaw", random_sets=20, bootstraps=100)
    >>> bool((lost.summary["difference_low"] > 0.5).all())
    True
    """
    _check_how(how)
    if layer not in table.layers:
        raise unknown("layer", layer, table.layers)
    taken = _chosen({layer: filters} if not hasattr(filters, "items") and not hasattr(filters, "layers") else filters)
    taken = _chosen({layer: taken.get(layer, ())})
    x, targets = np.asarray(table.layers[layer], np.float64), table.targets(tasks.get(task).name)
    if wrong := [c for c in taken[layer] if not 0 <= c < x.shape[1]]:
        raise ValueError(f"layer {layer!r} has no filter {wrong[0]}: expected 0 to {x.shape[1] - 1}")
    known = ~np.isnan(targets).any(1)
    x, rng = x[known], np.random.default_rng(seed)
    constant = x.mean(0) if how == "mean" else np.zeros(x.shape[1])

    def without(chosen):
        keep = np.ones(x.shape[1], bool)
        keep[chosen[layer]] = False
        return np.where(keep, x, constant)

    sets = [taken, *(_random(taken, {layer: x.shape[1]}, rng) for _ in range(random_sets))]
    people, changed = np.asarray(table.identities)[known], (without(chosen) for chosen in sets)
    return compare(targets[known], people, task, x, changed, taken, layer, how, folds, bootstraps, seed)


def _check_how(how) -> None:
    if how not in HOW:
        raise unknown("how", how, HOW)


def _check_landmarks(net, faces, known) -> None:
    """Said here, before faces are drawn: the net would number them as it gets them, not as the caller does."""
    if net.template is None:
        return
    lacking = known[~np.isfinite(faces.landmarks[known]).all((1, 2))]
    if len(lacking):
        raise ValueError(
            f"face {lacking[0]} of {faces.name!r} has no landmarks (NaN); {len(lacking)} of its {len(known)} labelled "
            f"faces lack them. {net.name!r} aligns faces by five landmarks: leave those out, "
            "faces[~np.isnan(faces.landmarks).any((1, 2))]"
        )


def _chosen(filters) -> dict[str, np.ndarray]:
    filters = getattr(filters, "layers", filters)
    taken = {layer: np.unique(indices(layer, chosen)) for layer, chosen in filters.items()}
    taken = {layer: chosen for layer, chosen in taken.items() if len(chosen)}
    if not taken:
        raise ValueError("there are no filters to ablate: expected Crafts with at least one, or {layer: indices}")
    return taken


def _random(taken, sizes, rng) -> dict[str, np.ndarray]:
    return {layer: np.sort(rng.choice(sizes[layer], len(f), replace=False)) for layer, f in taken.items()}


def _read(net, faces, read, chosen=None, how="zero", means=None) -> np.ndarray:
    """(n, d) what the probe reads, with some filters ablated or none."""
    with ablated(net, chosen or {}, how=how, means=means if how == "mean" else None):
        if read is None:
            return net.embed(faces)
        return responses(net, faces, layers=[read], cached=False, progress=False)[read]
