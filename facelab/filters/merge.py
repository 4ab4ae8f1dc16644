"""Adding up moments that were measured apart."""

from dataclasses import replace

import numpy as np

from facelab import tasks
from facelab.filters.triangle import triangle


def merged(a, b):
    """See `Moments.__add__`."""
    _check(a, b)
    b = _shifted_to(b, a)
    keys = [np.column_stack([m.block, m.fold, m.present]) for m in (a, b)]
    every, where = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    in_a, in_b = np.split(where.ravel(), [len(a.n)])

    def add(x, y):
        total = np.zeros((len(every), *x.shape[1:]))
        total[in_a] += x
        total[in_b] += y
        return total

    sums = {
        layer: replace(s, **{k: add(getattr(s, k), getattr(b.sums[layer], k)) for k in ("x", "xx", "xy")})
        for layer, s in a.sums.items()
    }
    about = {
        **a.about,
        "people": {**a.about["people"], **b.about["people"]},
        "faces": a.about["faces"] + b.about["faces"],
    }
    return replace(a, block=every[:, 0], fold=every[:, 1], present=every[:, 2:].astype(bool), n=add(a.n, b.n),
                   y=add(a.y, b.y), yy=add(a.yy, b.yy), sums=sums, about=about)  # fmt: skip


def _check(a, b) -> None:
    if type(a) is not type(b):
        raise TypeError(f"moments add to moments, not to {type(b).__name__}")
    same = ("net", "where", "reduce", "folds")
    settings = [{"tasks": m.tasks, "layers": {k: len(s.shift) for k, s in m.sums.items()},
                 **{k: m.about.get(k) for k in same}} for m in (a, b)]  # fmt: skip
    for key, value in settings[0].items():
        if value != settings[1][key]:
            raise ValueError(f"moments with different {key} do not add up: {value!r} and {settings[1][key]!r}")
    if twice := set(a.about["faces"]) & set(b.about["faces"]):
        raise ValueError(f"both moments contain the face set with key {sorted(twice)[0][:12]}…: it would count twice")
    people = b.about["people"]
    for person, block in a.about["people"].items():
        if people.get(person, block) != block:
            raise ValueError(
                f"person {person!r} is in block {block} of one and in block {people[person]} of the other: "
                "measure both with the blocks of the whole set, blocks=partition(…)[rows]"
            )


def _shifted_to(m, to):
    """The same moments about the shifts of `to`: with d = s′ − s, x − s = (x − s′) + d, multiplied out."""
    width = m.present.astype(float) @ _owner(m)  # (g, T) 1 where the target is labelled
    e = (m.shift_y - to.shift_y) * width
    n = m.n[:, None]
    sums = {}
    for layer, s in m.sums.items():
        d = s.shift - to.sums[layer].shift
        if not d.any() and not e.any():
            sums[layer] = s
            continue
        flat, _ = triangle(len(d))
        i, j = np.divmod(flat, len(d))
        xx = np.empty_like(s.xx)
        for g in range(len(m.n)):  # group by group: the outer products of all at once would double the memory
            x = s.x[g]
            xx[g] = s.xx[g] + x[i] * d[j] + d[i] * x[j] + m.n[g] * d[i] * d[j]
        xy = s.xy + d[:, None] * m.y[:, None] + (s.x + n * d)[:, :, None] * e[:, None]
        sums[layer] = replace(s, shift=to.sums[layer].shift, x=s.x + n * d, xx=xx, xy=xy)
    return replace(m, shift_y=to.shift_y, y=m.y + n * e, yy=m.yy + 2 * e * m.y + n * e**2, sums=sums)


def _owner(m) -> np.ndarray:
    """(tasks, T) 1 where the target belongs to the task."""
    counts = [len(tasks.get(t).target_names) for t in m.tasks]
    return np.repeat(np.eye(len(counts)), counts, axis=1)
