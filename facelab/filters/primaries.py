"""A network trained once for a task and kept: the primaries of the task matrix."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import cache
from facelab.filters import saved
from facelab.training.loop import fit

HISTORY, WEIGHTS, CHECKPOINT = "history.csv", "net.safetensors", "checkpoint"
VERSION = 1  # raised when a network would be trained otherwise


def trained(
    net,
    faces,
    task: str,
    *,
    finish: Callable | None = None,
    cached: bool = True,
    device="auto",
    progress=True,
    **settings,
):
    """The network that `fl.fit(net, faces, task, **settings)` gives, and its history; `net` stays as it is.

    Kept in the cache under all it depends on (the network's weights, the faces, task and settings): a second call reads
    it, and one that was interrupted goes on from its last complete epoch. finish: what is done with the trained network
    before it is kept, e.g. `narrow.plain`. Its layers have their names again after it is read (`sparse.load`).

    ValueError, FloatingPointError: as `fl.fit`; ValueError for a network that cannot be saved.

    >>> import numpy as np
    >>> from torch import nn
    >>> from facelab.faces import FaceSet
    >>> from facelab.nets import wrap
    >>> rng = np.random.default_rng(0)
    >>> people = pd.DataFrame({"identity": np.repeat(list("abcdefgh"), 4), "yaw": rng.uniform(-60, 60, 32)})
    >>> images = rng.integers(0, 256, (32, 3, 16, 16), dtype=np.uint8)
    >>> faces = FaceSet("noise", images, people, np.full((32, 5, 2), np.nan, np.float32))
    >>> net = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)), size=16)
    >>> found, history = trained(net, faces, "yaw", epochs=2, cached=False, progress=False)
    >>> found, len(history)
    (Net 'Sequential-yaw': 3 × 16 × 16, 1 convolutions, 4 filters, 2)
    """
    name = f"{net.name}-{task}"

    def train(checkpoint: Path | None):
        own = copy.deepcopy(net)
        done = fit(own, faces, task, device=device, checkpoint=checkpoint, progress=progress, **settings)
        own = own.eval() if finish is None else finish(own)
        own.name = name
        return own, done.history

    if not cached:
        return train(None)

    def fill(folder: Path) -> None:
        found, history = train(folder / CHECKPOINT)
        saved.save(found, folder / WEIGHTS)
        history.to_csv(folder / HISTORY, index=False)
        for left in sorted((folder / CHECKPOINT).rglob("*"), reverse=True):  # it is three times as large as the network
            left.unlink()
        (folder / CHECKPOINT).rmdir()

    about = {"net": net.fingerprint, "faces": faces.fingerprint, "task": task}
    about |= {"finish": finish and cache.key(finish), "settings": {k: _key(settings[k]) for k in sorted(settings)}}
    about |= {"version": VERSION} if VERSION > 1 else {}  # the first had none in its key
    entry = cache.build(cache.path("trained", name, **about), fill, about)
    return saved.load(entry / WEIGHTS, device=device), pd.read_csv(entry / HISTORY)


def _key(value):
    """A setting of a training, as a key has it."""
    if hasattr(value, "fingerprint"):  # faces to validate on
        return value.fingerprint
    parts = value if isinstance(value, tuple) else (value,)
    return cache.content(parts) if all(isinstance(part, np.ndarray) for part in parts) else value
