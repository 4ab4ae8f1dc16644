"""A network whose filters' tuning is known, to ask whether discovery finds it.

Each image holds three things: a bright bar whose place says yaw (red), a brightness of the person's own that goes
along with the person's favourite side (green), and noise (blue). The planted filters look at the bar; the bystanders
look at who it is, or at noise, or at both. Those that know who it is do correlate with yaw over all images, through
identity alone: the trap that a correlation falls into.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from facelab.faces.faceset import FaceSet
from facelab.filters.craft import Crafts, find_crafts
from facelab.filters.responses import responses
from facelab.nets import Net, wrap

SIDE = 16  # pixels
KINDS = ("left", "right", "sideways", "frontal")


@dataclass(frozen=True, eq=False)
class Planted:
    """net, faces, and truth: one row per filter: layer, filter, kind (None for a bystander)."""

    net: Net
    faces: FaceSet
    truth: pd.DataFrame

    def recovery(self, crafts: Crafts) -> tuple[float, float]:
        """Precision and recall over (layer, filter, kind): a planted filter found under another kind is a false one.

        Precision is 1 where nothing was found.
        """
        key = ["layer", "filter", "kind"]
        real = set(self.truth.dropna()[key].itertuples(index=False, name=None))
        found = set(crafts.table(crafts_only=True)[key].itertuples(index=False, name=None))
        both = len(real & found)
        return both / len(found) if found else 1.0, both / len(real)


def plant(seed: int = 0, *, people: int = 24, poses: int = 30, each: int = 6, bystanders: int = 80) -> Planted:
    """A toy net of two layers, with `each` filters of every kind and `bystanders` others in a layer, and its faces.

    A planted filter's response is r · signal + √(1 − r²) · noise + i · identity, all of unit variance, with r from 0.65
    to 0.95 and i up to 0.5.

    >>> toy = plant(people=10, poses=8, each=1, bystanders=3)
    >>> toy.faces
    FaceSet 'planted': 80 images of 16 × 16, 10 people; labels identity, yaw
    >>> toy.truth["kind"].value_counts().to_dict()
    {'left': 2, 'right': 2, 'sideways': 2, 'frontal': 2}
    """
    rng = np.random.default_rng(seed)
    faces = _faces(people, poses, rng)
    kinds = [k for k in KINDS for _ in range(each)] + [None] * bystanders
    weights = np.stack([_template(kind, faces, rng) for kind in kinds])  # (C, 3, 16, 16)
    bias = 0.1 - _look(weights, faces).min(0)  # above 0 everywhere, so that the ReLU bends nothing
    first = _conv(weights, bias)

    # The second layer looks at one filter of the first each, turned over or not; a bystander at two bystanders.
    order = rng.permutation(len(kinds))
    mix, later = np.zeros((len(kinds), len(kinds), 1, 1)), []
    for row, source in enumerate(order):
        sign = rng.choice((-1, 1))
        mix[row, source] = sign
        if kinds[source] is None:
            mix[row, rng.integers(4 * each, len(kinds))] += 0.5
        later.append(_opposite(kinds[source]) if sign < 0 else kinds[source])
    second = _conv(mix, 0.1 - ((_look(weights, faces) + bias) @ mix[:, :, 0, 0].T).min(0))
    net = wrap(nn.Sequential(first, nn.ReLU(), second, nn.ReLU()), size=SIDE, name="planted")
    rows = [(layer, i, kind) for layer, known in (("0", kinds), ("2", later)) for i, kind in enumerate(known)]
    return Planted(net, faces, pd.DataFrame(rows, columns=["layer", "filter", "kind"]))


def planted_recovery(seeds: Iterable[int] = range(5), *, alpha: float = 0.05, **options) -> pd.DataFrame:
    """Precision and recall of `find_crafts` on planted filters: one row per seed: seed, planted, found, precision,
    recall. options: those of `plant`."""
    rows = []
    for seed in seeds:
        toy = plant(seed, **options)
        seen = responses(toy.net, toy.faces, cached=False, progress=False)
        crafts = find_crafts(seen, "yaw", alpha=alpha, seed=seed)
        found = int(crafts.tests["craft"].sum())
        rows.append((seed, len(toy.truth.dropna()), found, *toy.recovery(crafts)))
    return pd.DataFrame(rows, columns=["seed", "planted", "found", "precision", "recall"])


def _faces(people: int, poses: int, rng) -> FaceSet:
    who = np.repeat(np.arange(people), poses)
    favourite = np.linspace(-25, 25, people)[rng.permutation(people)]  # the side a person tends to
    yaw = favourite[who] + rng.uniform(-45, 45, people * poses)
    bright = 128 + 2 * favourite + 20 * rng.standard_normal(people)
    columns = np.arange(SIDE) - (SIDE - 1) / 2 - yaw[:, None] / 12  # (n, 16)
    images = np.empty((len(who), 3, SIDE, SIDE))
    images[:, 0] = 230 * np.exp(-(columns**2) / 4)[:, None, :]
    images[:, 1] = bright[who][:, None, None]
    images[:, 2] = rng.uniform(0, 255, (len(who), SIDE, SIDE))
    labels = pd.DataFrame({"identity": [f"person {i}" for i in who], "yaw": yaw})
    images = images.round().clip(0, 255).astype(np.uint8)
    return FaceSet("planted", images, labels, np.full((len(who), 5, 2), np.nan, np.float32))


def _template(kind: str | None, faces: FaceSet, rng) -> np.ndarray:
    """(3, 16, 16) weights: what the filter looks for in the bar, the brightness and the noise."""
    place = np.linspace(-1, 1, SIDE)
    bar = {"left": place, "right": -place, "sideways": np.abs(place), "frontal": -np.abs(place), None: 0 * place}[kind]
    parts = np.zeros((3, 3, SIDE, SIDE))
    parts[0, 0] = bar
    parts[1, 1] = rng.choice((-1, 1))
    parts[2, 2] = rng.standard_normal((SIDE, SIDE))
    spread = _look(parts, faces).std(0)
    parts /= np.where(spread > 0, spread, 1)[:, None, None, None]
    r = rng.uniform(0.65, 0.95) if kind else 0.0
    identity = rng.uniform(0, 0.5) if kind else rng.choice((0.0, 1.0, 3.0))
    return r * parts[0] + identity * parts[1] + np.sqrt(1 - r**2) * parts[2]


def _look(weights: np.ndarray, faces: FaceSet) -> np.ndarray:
    """(n, C) what filters of the size of the image say before their bias."""
    return faces.images.reshape(len(faces), -1) / 255 @ weights.reshape(len(weights), -1).T


def _conv(weights: np.ndarray, bias: np.ndarray) -> nn.Conv2d:
    conv = nn.Conv2d(weights.shape[1], weights.shape[0], weights.shape[2])
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(weights))
        conv.bias.copy_(torch.from_numpy(bias))
    return conv


def _opposite(kind: str | None) -> str | None:
    return {"left": "right", "right": "left", "sideways": "frontal", "frontal": "sideways", None: None}[kind]
