"""Embeddings: what a network, or several, makes of every face, kept in the cache."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from facelab import cache, workers
from facelab.errors import whole
from facelab.faces.faceset import FaceSet
from facelab.nets.load import load
from facelab.nets.net import Net

CHUNK = 4096


def embed(
    nets,
    faces: FaceSet | Sequence[FaceSet],
    *,
    mapped: bool = False,
    batch: int | None = None,
    device: str | torch.device = "auto",
    cached: bool = True,
    progress: bool = True,
) -> "np.ndarray | Mapped | dict[str, np.ndarray | Mapped]":
    """float32 (n, d), the embedding of every face, by one network; by several, a dictionary name → embeddings.

    nets: a `Net`, a name that `load` knows, or a list of these; `nets.SOURCES` is all six. What the embedding is,
    `Net.embedding` says. faces: one set, or several, rendered and real mixed, whose embeddings are put one below the
    other. mapped: leave the embeddings on disk and give `Mapped` arrays, for sets larger than memory. device: where
    networks given by name are put; a `Net` stays where it is. batch: images in one pass; None: on a CPU as many as have
    300,000 pixels, at most 32 (the maps of more do not fit its caches), else 128.

    Pieces are embedded wherever joblib works (`facelab.workers`). The embeddings are kept in the cache under all they
    depend on, in chunks of 4,096 images, from where an interrupted call goes on; a second call reads them without
    running the network. While anything is hooked onto a network nothing is kept or found.

    ValueError: no faces, no network, two of one name, mapped without the cache, an embedding that is not finite; what
    `load` raises for a name. TypeError: an argument of the wrong kind.

    >>> import pandas as pd
    >>> from facelab.nets import wrap
    >>> net = wrap(torch.nn.Conv2d(3, 4, 3), size=8, embedding="", name="mine")
    >>> labels = pd.DataFrame({"age": [20.0, 30.0]})
    >>> two = FaceSet("two", np.zeros((2, 3, 8, 8), np.uint8), labels, np.zeros((2, 5, 2), np.float32))
    >>> embed(net, two, cached=False, progress=False).shape
    (2, 4)
    """
    sets = [faces] if isinstance(faces, FaceSet) else list(faces) if isinstance(faces, (list, tuple)) else [None]
    for part in sets:
        if not isinstance(part, FaceSet):
            wrong = type(faces if part is None else part).__name__
            raise TypeError(f"expected a FaceSet, e.g. fl.faces.load('rendered/wild'), or a list of them, not {wrong}")
        if len(part) == 0:
            raise ValueError(f"face set {part.name!r} is empty: there is nothing to embed")
    if not sets:
        raise ValueError("no face set to embed")
    if batch is not None:
        whole("batch", batch, 1, "image")
    if mapped and not cached:
        raise ValueError("mapped=True leaves the embeddings in the cache, but cached is False")
    how = {"batch": batch, "cached": cached, "progress": progress}
    if isinstance(nets, (Net, str)):
        return _all(nets if isinstance(nets, Net) else load(nets, device=device), sets, mapped, how)
    found = {}
    for net in _several(nets):
        name = net if isinstance(net, str) else net.name
        if name in found:
            raise ValueError(f"two networks are called {name!r}: wrap one of them under another name")
        found[name] = _all(load(net, device=device) if isinstance(net, str) else net, sets, mapped, how)
    return found


class Mapped:
    """Rows of several float32 files, one below the other, read from disk only where they are asked for.

    Indexed by a slice or by row numbers it gives a float32 array; `numpy.asarray` reads everything.
    """

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.shape = int(self.ends[-1]), self.parts[0].shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        rows = np.arange(len(self))[rows]
        of = np.searchsorted(self.ends, rows, side="right")
        out = np.empty((len(rows), self.shape[1]), np.float32)
        for i in np.unique(of):
            mine = of == i
            out[mine] = self.parts[i][rows[mine] - (self.ends[i] - len(self.parts[i]))]
        return out

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def _map(file: Path) -> np.ndarray:
    """The one array of a safetensors file, left on disk: 8 bytes give the header's length, the numbers follow it."""
    with open(file, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        about = json.loads(f.read(length))["embedding"]
    return np.memmap(file, np.float32, "r", 8 + length + about["data_offsets"][0], tuple(about["shape"]))


def _several(nets) -> list:
    expected = "expected a Net, the name of one, or a list of these"
    try:
        several = list(nets)
    except TypeError as error:
        raise TypeError(f"{type(nets).__name__} is no network: {expected}") from error
    for net in several:
        if not isinstance(net, (Net, str)):
            raise TypeError(f"{type(net).__name__} is no network: {expected}")
    if not several:
        raise ValueError(f"no network to embed with: {expected}")
    return several


def _fitting(net: Net) -> int:
    return max(1, min(32, 300_000 // net.size**2)) if net.device.type == "cpu" else 128


def _all(net: Net, sets: list[FaceSet], mapped: bool, how: dict) -> "np.ndarray | Mapped":
    parts = [part for faces in sets for part in _one(net, faces, mapped, **how)]
    return Mapped(parts) if mapped else np.concatenate(parts)


def _one(net: Net, faces: FaceSet, mapped: bool, batch: int | None, cached: bool, progress: bool) -> list[np.ndarray]:
    about = {"net": net.fingerprint, "faces": faces.fingerprint}
    with tqdm(total=len(faces), desc=net.name, unit="face", disable=not progress) as bar:
        chunks = _Chunks(net, faces, batch or _fitting(net), bar)
        if not (cached and net.fingerprint == about["net"]):  # a hooked net has a new one at every call
            return list(chunks.run(0))
        entry = cache.build(cache.path("embeddings", f"{net.name}-{faces.name}", **about), chunks.fill, about)
        bar.update(len(faces) - bar.n)
    return [_map(file) if mapped else cache.read_tensors(file)[0]["embedding"] for file in chunks.files(entry)]


class _Chunks:
    """The embeddings of up to `CHUNK` faces at a time."""

    def __init__(self, net: Net, faces: FaceSet, batch: int, bar: tqdm):
        self.net, self.faces, self.batch, self.bar = net, faces, batch, bar

    def run(self, done: int) -> Iterator[np.ndarray]:
        """From the chunk number `done` on. ValueError names the first face whose embedding is not finite."""
        step = workers.together(self.batch, self.faces.images[0].nbytes)
        chunks = [slice(i, min(i + CHUNK, len(self.faces))) for i in range(done * CHUNK, len(self.faces), CHUNK)]
        pieces = (self.faces[i : min(i + step, c.stop)] for c in chunks for i in range(c.start, c.stop, step))
        embedded = workers.spread(partial(_embed, batch=self.batch), pieces, self.net)
        for c in chunks:
            found = np.concatenate([self._next(embedded) for _ in range(c.start, c.stop, step)])
            bad = ~np.isfinite(found).all(1)
            if bad.any():
                first = c.start + bad.argmax()
                raise ValueError(
                    f"the embedding of face {first} of {self.faces.name!r} by {self.net.name!r} is not "
                    f"finite; {bad.sum()} of {len(bad)} here are not"
                )
            yield found

    def _next(self, embedded: Iterator[np.ndarray]) -> np.ndarray:
        part = next(embedded)
        self.bar.update(len(part))
        return part

    def files(self, folder: Path) -> list[Path]:
        return [folder / f"embedding-{start:09d}.safetensors" for start in range(0, len(self.faces), CHUNK)]

    def fill(self, folder: Path) -> None:
        """Write the chunks that an earlier, interrupted call has not."""
        files, done = self.files(folder), 0
        while done < len(files) and cache.readable(files[done]):
            done += 1
        self.bar.update(min(done * CHUNK, len(self.faces)))
        for file, chunk in zip(files[done:], self.run(done), strict=True):
            cache.write_tensors(file, {"embedding": chunk}, {})


def _embed(net: Net, faces: FaceSet, batch: int) -> np.ndarray:
    """float32 (n, d): the embeddings of one piece, a batch after the other."""
    return np.concatenate([net.embed(faces[i : i + batch], batch=batch) for i in range(0, len(faces), batch)])
