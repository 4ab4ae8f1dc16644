"""Responses: one number per filter and image, kept as a table (`responses`) or as moments only (`measure`).

Both run a network once over a face set, in chunks of 4,096 images: the table keeps every chunk, the moments
add it up and forget it. Both are cached under all they depend on, and go on where an interrupted run stopped.
The pieces of a chunk are measured wherever joblib works (`facelab.workers`) and added up here, in their order: the sums
are the same, bit by bit.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from facelab import cache, tasks, workers
from facelab.errors import named, unknown, whole
from facelab.faces.faceset import FaceSet, split_people
from facelab.filters import taps
from facelab.filters.groups import Rows
from facelab.filters.moments import CHUNK, FILE, Moments, check_finite

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Responses:
    """The responses of every filter to every image, with the labels of the images.

    layers: float32 (n, C) by name, in the order of the network. labels: n rows. identities (n,): integers,
    one per person. about: where they come from (net, where, reduce, faces).
    """

    name: str
    layers: dict[str, np.ndarray]
    labels: pd.DataFrame
    identities: np.ndarray
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        for layer, x in self.layers.items():
            if x.ndim != 2 or len(x) != len(self.labels):
                raise ValueError(f"responses of layer {layer!r} have shape {x.shape}: expected ({len(self.labels)}, C)")
        if np.shape(self.identities) != (len(self.labels),):
            raise ValueError(f"{np.shape(self.identities)} identities for {len(self.labels)} images")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        filters = sum(x.shape[1] for x in self.layers.values())
        return f"Responses {self.name!r}: {len(self)} images, {len(self.layers)} layers, {filters} filters"

    def __getitem__(self, layer: str) -> np.ndarray:
        """(n, C) of one layer; ValueError with the nearest names for an unknown one."""
        if layer not in self.layers:
            raise unknown("layer", layer, self.layers)
        return self.layers[layer]

    def select(self, rows) -> "Responses":
        """The responses to the images at `rows`: a slice, a boolean mask or indices."""
        rows = np.arange(len(self))[rows]
        return Responses(
            self.name,
            {layer: x[rows] for layer, x in self.layers.items()},
            self.labels.iloc[rows].reset_index(drop=True),
            self.identities[rows],
            {k: v for k, v in self.about.items() if k != "faces"},
        )

    def targets(self, task: str) -> np.ndarray:
        """(n, T) what a linear read-out of one task is fitted to (see `tasks.Task.targets`)."""
        return tasks.get(task).targets(self.labels)

    def folds(self, k: int = 5, *, seed: int = 0) -> np.ndarray:
        """(n,) integers 0 … k−1: the fold of each image, the same as `FaceSet.folds` gives."""
        if k < 1:
            raise ValueError(f"{k!r} folds: expected at least 1")
        return split_people(self.identities, np.full(k, 1 / k), seed=seed, name=self.name)

    def moments(self, names, *, folds: int = 5, blocks: int | np.ndarray = 40, seed: int = 0) -> Moments:
        """The moments of this table: bit by bit what `measure` would have added up, without a pass of the
        network."""
        rows = Rows.of(self.labels, self.identities, names, folds=folds, blocks=blocks, seed=seed, name=self.name)
        return Moments.of_table(self.layers, rows, _about(self.about))

    def table(self) -> pd.DataFrame:
        """One row per layer: filters, those that never respond, mean and standard deviation of the
        responses."""
        return pd.DataFrame(
            [
                (k, x.shape[1], int((x == 0).all(0).sum()), float(x.mean()), float(x.std()))
                for k, x in self.layers.items()
            ],
            columns=["layer", "filters", "dead", "mean", "sd"],
        )


def responses(
    net,
    faces: FaceSet,
    *,
    layers: Sequence[str] | str | None = None,
    where: str = "after",
    reduce: str = "mean",
    batch: int = 64,
    cached: bool = True,
    progress: bool = True,
) -> Responses:
    """X[n, c], the pooled activation map of every filter c on every face n (ETL Eq. 1), for all conv layers
    at once.

    layers: names as in `net.convs`, default all. where="after" the non-linearity that follows the conv, or
    "before" it; reduce="mean" (ETL) or "norm" (low-cost Fig. 2): see `taps.capture`. batch: images in one
    pass of the network. A second call reads the cache. Memory: 4 bytes per image and filter; `measure` needs
    none of it.

    ValueError: empty face set, unknown layer, `where` or `reduce`, a layer that cannot be measured, a
    response that is not finite. TypeError: an argument of the wrong kind.

    >>> import torch
    >>> from facelab import nets
    >>> net = nets.wrap(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()), size=8)
    >>> labels = pd.DataFrame({"identity": list("aabbcc")})
    >>> faces = FaceSet("six", np.zeros((6, 3, 8, 8), np.uint8), labels, np.zeros((6, 5, 2), np.float32))
    >>> responses(net, faces, cached=False, progress=False)
    Responses 'six': 6 images, 1 layers, 4 filters
    """
    chosen = _check(net, faces, layers, where, reduce, batch)
    about = _settings(net, faces, chosen, where, reduce)
    stream = _Stream(net, faces, chosen, where, reduce, batch, progress)
    every = np.arange(len(faces))
    if not (cached and _stable(net, about)):
        chunks = [x for _, x in stream.chunks(every)]
    else:
        entry = cache.build(_entry("responses", net, faces, about), lambda folder: _fill(folder, stream, every), about)
        chunks = [cache.read_tensors(file)[0] for file in _parts(entry, len(faces))]
    table = {layer: np.concatenate([x[layer] for x in chunks]) for layer in chosen}
    return Responses(faces.name, table, faces.labels, faces.identities, about)


def measure(
    net,
    faces: FaceSet,
    tasks: Sequence[str] | str,
    *,
    layers: Sequence[str] | str | None = None,
    where: str = "after",
    reduce: str = "mean",
    folds: int = 5,
    blocks: int | np.ndarray = 40,
    batch: int = 64,
    seed: int = 0,
    cached: bool = True,
    progress: bool = True,
) -> Moments:
    """The moments of all conv layers (or those named) and all `tasks`, in one pass that stores no activation.

    People are dealt into `blocks` blocks (one per person where there are fewer people), blocks into `folds`
    folds: see `partition`, also for sets measured in shards. Images without a label of any of the tasks are
    left out; a task uses those labelled for it. The other arguments are those of `responses`; where its table
    of the same faces is in the cache, the network does not run. float64 sums, memory independent of n.

    ValueError as `responses`, and: unknown task, a task without any label, fewer people or blocks than folds.
    TypeError: an argument of the wrong kind.
    """
    chosen = _check(net, faces, layers, where, reduce, batch)
    rows = Rows.of(
        faces.labels,
        faces.identities,
        tasks,
        folds=folds,
        blocks=blocks,
        seed=seed,
        name=f"face set {faces.name!r}",
    )
    about = _settings(net, faces, chosen, where, reduce)
    stream = _Stream(net, faces, chosen, where, reduce, batch, progress)
    if not (cached and _stable(net, about)):
        return _add_up(stream, rows, about, None)
    table = _entry("responses", net, faces, about)
    if len(rows.used) == len(faces) and table.is_dir() and cache.problem(table) is None:
        stream = _Table(table, len(faces))
    split = blocks if np.ndim(blocks) == 0 else cache.digest(np.asarray(blocks).tolist())
    depends = {**about, "tasks": rows.tasks, "folds": folds, "blocks": split, "seed": seed}
    entry = cache.build(
        _entry("moments", net, faces, depends),
        lambda folder: _add_up(stream, rows, about, folder).save(folder),
        depends,
    )
    return Moments.open(entry)


def _check(net, faces, layers, where, reduce, batch) -> dict:
    if not (hasattr(net, "convs") and hasattr(net, "prepare")):
        raise TypeError(
            "expected a Net: wrap a module with fl.nets.wrap(module, size=…) or load one with fl.nets.load(name), "
            f"not {type(net).__name__}"
        )
    if not (hasattr(faces, "images") and hasattr(faces, "labels")):
        raise TypeError(f"expected a FaceSet, e.g. fl.faces.load('rendered/wild'), not {type(faces).__name__}")
    taps.check(where, reduce)
    whole("batch", batch, 1, "image")
    if len(faces) == 0:
        raise ValueError(f"face set {faces.name!r} is empty: there is nothing to measure")
    convs = net.convs
    names = named("layer", convs if layers is None else layers)
    for name in names:
        if name not in convs:
            raise unknown("layer", name, convs)
    if not names:
        raise ValueError(f"no layer to measure: network {net.name!r} has {len(convs)} conv layers")
    return {name: convs[name] for name in names}


def _settings(net, faces, layers, where, reduce) -> dict:
    return {
        "net": net.fingerprint,
        "faces": faces.fingerprint,
        "layers": list(layers),
        "where": where,
        "reduce": reduce,
    }


def _about(about: dict) -> dict:
    """What moments remember of where they come from."""
    return {
        **{k: about.get(k) for k in ("net", "where", "reduce")},
        "faces": [about["faces"]] if "faces" in about else [],
    }


def _stable(net, about) -> bool:
    """Whether the net has a key at all: while something is hooked onto it, it has a new one at every call."""
    return net.fingerprint == about["net"]


def _entry(kind, net, faces, depends) -> Path:
    return cache.path(kind, f"{net.name}-{faces.name}", **depends)


class _Stream:
    """Chunks of responses from the network."""

    def __init__(self, net, faces, layers, where, reduce, batch, progress):
        self.net, self.faces, self.layers = net, faces, layers
        self.how, self.batch, self.progress = {"where": where, "reduce": reduce}, batch, progress

    def chunks(self, rows: np.ndarray, done: int = 0) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """The images and their responses, float32 (≤ CHUNK, C) by layer, from the chunk that starts at
        `done`."""
        step = workers.together(self.batch, self.faces.images[0].nbytes)
        chunks = [rows[start : start + CHUNK] for start in range(done, len(rows), CHUNK)]
        pieces = (self._piece(chunk[i : i + step]) for chunk in chunks for i in range(0, len(chunk), step))
        pool = partial(_pool, layers=list(self.layers), batch=self.batch, **self.how)
        pooled = workers.spread(pool, pieces, self.net)
        with tqdm(total=len(rows), initial=done, desc=self.net.name, unit="face", disable=not self.progress) as bar:
            for chunk in chunks:
                x = {name: np.empty((len(chunk), conv.out_channels), np.float32) for name, conv in self.layers.items()}
                for i in range(0, len(chunk), step):
                    for name, part in next(pooled).items():
                        x[name][i : i + len(part)] = part
                    bar.update(min(step, len(chunk) - i))
                check_finite(x, chunk)
                yield chunk, x

    def _piece(self, rows: np.ndarray) -> tuple[FaceSet, np.ndarray]:
        """A face set and the rows of it to measure; only those faces where they have to travel."""
        if workers.here():
            return self.faces, rows
        some = replace(self.faces[rows], name=f"{self.faces.name}, faces {rows[0]} to {rows[-1]}")
        return some, np.arange(len(rows))


def _pool(net, piece: tuple[FaceSet, np.ndarray], layers: list[str], batch: int, **how) -> dict[str, np.ndarray]:
    """float32 (rows, C) by layer: the responses to one piece."""
    faces, rows = piece
    found: dict = {name: [] for name in layers}
    convs = net.convs
    for i in range(0, len(rows), batch):
        x = net.prepare(faces, rows[i : i + batch])
        for name, pooled in taps.capture(net, x, {name: convs[name] for name in layers}, **how).items():
            found[name].append(pooled.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


class _Table:
    """The same chunks from a cached table of responses."""

    def __init__(self, entry: Path, n: int):
        self.files = _parts(entry, n)

    def chunks(self, rows, done=0):
        for start in range(done, len(rows), CHUNK):
            yield rows[start : start + CHUNK], cache.read_tensors(self.files[start // CHUNK])[0]


def _parts(folder: Path, n: int) -> list[Path]:
    return [folder / f"responses-{start:09d}.safetensors" for start in range(0, n, CHUNK)]


def _fill(folder: Path, stream: _Stream, rows: np.ndarray) -> None:
    """Write the chunks that an earlier, interrupted call has not."""
    files = _parts(folder, len(rows))
    done = 0
    while done < len(files) and cache.readable(files[done]):
        done += 1
    for file, (_, x) in zip(files[done:], stream.chunks(rows, done * CHUNK), strict=True):
        cache.write_tensors(file, x, {})


def _add_up(stream, rows: Rows, about: dict, folder: Path | None) -> Moments:
    """All chunks added up; after each the sums so far are left in `folder`, from where a later call goes
    on."""
    moments, done = None, 0
    if folder is not None and (folder / FILE).exists():
        try:
            moments = Moments.open(folder)
            done = int(moments.n.sum())
        except ValueError as error:
            log.warning("%s; measuring from the start", error)
    for chunk, x in stream.chunks(rows.used, done):
        if moments is None:
            # Named one by one: a file gives its tensors in an order of its own.
            moments = Moments.zeros(rows, {layer: x[layer].shape[1] for layer in about["layers"]}, _about(about))
        moments.add(rows, chunk, x)
        if folder is not None and moments.n.sum() < len(rows.used):
            moments.save(folder)
    return moments
