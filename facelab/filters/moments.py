"""Moments: all that linear models of a label on filter responses need, in sums that add up over images and
machines.

For the responses x (C filters of one layer) and targets y (T) of a group of images, with fixed shifts s and
t: n, Σ(x−s), Σ(x−s)(x−s)ᵀ, Σ(x−s)(y−t)ᵀ, Σ(y−t), Σ(y−t)². A group is one block of people with one pattern of
missing labels; every block belongs to one fold of the cross-validation. So the sums of any fold, of all but a
fold, or of a bootstrap over people are weighted sums over groups and need no second pass over the images (ETL
§3.2–3.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import cache, tasks
from facelab.errors import unknown
from facelab.filters.groups import Rows
from facelab.filters.merge import merged
from facelab.filters.triangle import pack, unpack

FILE = "moments.safetensors"
DEAD = 2e-7  # of the mean: float32 cannot tell a smaller standard deviation from rounding
CHUNK = 4096  # rows of responses gathered before each XᵀX


@dataclass(frozen=True, eq=False)
class System:
    """The centred sums of n rows, float64: C filters of one layer, T targets of one task.

    mean_x (C,), mean_y (T,); xx (C, C) = Σ(x−x̄)(x−x̄)ᵀ, xy (C, T) = Σ(x−x̄)(y−ȳ)ᵀ, yy (T,) = Σ(y−ȳ)². A
    column that is constant over the rows has zeros, not rounding errors.
    """

    n: float
    mean_x: np.ndarray
    mean_y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def rmse(self, intercept, coef) -> float | np.ndarray:
        """√(Σ (y − β0 − xβ)² / (n T)) over these rows: exact, a quadratic form in the sums.

        With ē = ȳ − β0 − x̄β the sum is Σ_t [yy − 2 βᵀxy + βᵀ xx β + n ē²]. intercept (T,) and coef (C, T)
        give a number; (k, T) and (k, C, T), k models at once, give (k,). ValueError for other shapes.

        >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.0], [1.0], [2.0], [5.0]])
        >>> dx, dy = x - x.mean(0), y - y.mean(0)
        >>> system = System(4, x.mean(0), y.mean(0), dx.T @ dx, dx.T @ dy, (dy**2).sum(0))
        >>> system.rmse(np.zeros(1), np.ones((1, 1)))  # the last row is 2 off
        1.0
        """
        coef, intercept = np.asarray(coef, np.float64), np.asarray(intercept, np.float64)
        c, t = self.xy.shape
        if coef.ndim not in (2, 3) or coef.shape[-2:] != (c, t) or intercept.shape != (*coef.shape[:-2], t):
            raise ValueError(
                f"coefficients {coef.shape} with intercepts {intercept.shape} do not fit: expected "
                f"({c}, {t}) with ({t},), or (k, {c}, {t}) with (k, {t})"
            )
        b = np.moveaxis(coef.reshape(-1, c, t), 1, 0)  # (C, k, T)
        k = b.shape[1]
        xxb = (self.xx @ b.reshape(c, k * t)).reshape(c, k, t)
        squares = self.yy + np.einsum("ckt,ckt->kt", b, xxb - 2 * self.xy[:, None])
        off = self.mean_y - intercept.reshape(k, t) - np.einsum("c,ckt->kt", self.mean_x, b)
        total = np.maximum(squares + self.n * off**2, 0).sum(1)  # rounding may leave −1e-17 of a perfect fit
        rmse = np.sqrt(total / (self.n * t))
        return float(rmse[0]) if coef.ndim == 2 else rmse


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of one layer over g groups: shift (C,), x (g, C), xx (g, C(C+1)/2) upper triangles, xy (g, C,
    T)."""

    shift: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    @classmethod
    def zeros(cls, groups: int, c: int, t: int) -> "Sums":
        return cls(np.zeros(c), np.zeros((groups, c)), np.zeros((groups, c * (c + 1) // 2)), np.zeros((groups, c, t)))


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of every layer and task over groups of images (see the module's text); made by `measure`.

    block, fold (g,): the group's block of people and its fold. present (g, tasks): the tasks its images are
    labelled for. n (g,) images. shift_y, y, yy: shift (T,), Σ(y−t) (g, T), Σ(y−t)² (g, T) over the targets of
    all tasks, 0 where absent. sums: by layer. about: where the sums come from (net, where, reduce, folds,
    faces, people).
    """

    tasks: tuple[str, ...]
    block: np.ndarray
    fold: np.ndarray
    present: np.ndarray
    n: np.ndarray
    shift_y: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    sums: dict[str, Sums]
    about: dict = field(default_factory=dict)

    @classmethod
    def zeros(cls, rows: Rows, widths: Mapping[str, int], about: dict | None = None) -> "Moments":
        """No image yet, ready to `add` those of `rows` for layers of these widths."""
        g, t = len(rows.block), rows.targets.shape[1]
        sums = {layer: Sums.zeros(g, c, t) for layer, c in widths.items()}
        about = {"folds": rows.folds, "people": rows.people, "faces": [], **(about or {})}
        y, yy = np.zeros((g, t)), np.zeros((g, t))
        return cls(rows.tasks, rows.block, rows.fold, rows.present, np.zeros(g), rows.centre, y, yy, sums, about)

    @classmethod
    def of_table(cls, table: Mapping[str, np.ndarray], rows: Rows, about: dict | None = None) -> "Moments":
        """The moments of a whole table of responses, layer → (n, C), in the same order as a streaming
        pass."""
        moments = cls.zeros(rows, {layer: x.shape[1] for layer, x in table.items()}, about)
        for start in range(0, len(rows.used), CHUNK):
            chunk = rows.used[start : start + CHUNK]
            moments.add(rows, chunk, {layer: x[chunk] for layer, x in table.items()})
        return moments

    def add(self, rows: Rows, chunk: np.ndarray, x: Mapping[str, np.ndarray]) -> None:
        """Add the images `chunk` (indices into `rows`), whose responses are x: layer → (len(chunk), C), in
        place.

        The first images ever added give the shifts of x. ValueError where a response is not finite.
        """
        check_finite(x, chunk)
        if not self.n.any():
            for layer, values in x.items():
                self.sums[layer].shift[:] = values.mean(0, dtype=np.float64)
        dy = np.nan_to_num(rows.targets[chunk] - self.shift_y, nan=0.0)  # an absent label adds nothing
        order = np.argsort(rows.group[chunk], kind="stable")
        groups, starts = np.unique(rows.group[chunk][order], return_index=True)
        for g, part in zip(groups, np.split(order, starts[1:]), strict=True):
            self.n[g] += len(part)
            self.y[g] += dy[part].sum(0)
            self.yy[g] += (dy[part] ** 2).sum(0)
            for layer, values in x.items():
                sums = self.sums[layer]
                dx = values[part].astype(np.float64) - sums.shift  # (rows, C)
                sums.x[g] += dx.sum(0)
                sums.xx[g] += pack(dx.T @ dx)
                sums.xy[g] += dx.T @ dy[part]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.sums)

    @property
    def groups(self) -> pd.DataFrame:
        """One row per group: block, fold, present (names of the tasks its images are labelled for), n
        images."""
        names = [tuple(np.array(self.tasks)[p].tolist()) for p in self.present]
        return pd.DataFrame({"block": self.block, "fold": self.fold, "present": names, "n": self.n.astype(int)})

    def table(self) -> pd.DataFrame:
        """One row per layer and task: filters, and the images, people's blocks and folds that are
        labelled."""
        rows = []
        for layer in self.layers:
            for i, task in enumerate(self.tasks):
                has = self.present[:, i]
                rows.append((layer, task, len(self.sums[layer].shift), int(self.n[has].sum()),
                             len(np.unique(self.block[has])), len(np.unique(self.fold[has]))))  # fmt: skip
        return pd.DataFrame(rows, columns=["layer", "task", "filters", "images", "blocks", "folds"])

    def memory(self) -> int:
        """Bytes of all sums; it does not depend on the number of images."""
        return sum(a.nbytes for a in self._arrays().values())

    def system(self, layer: str, task: str, weights=None) -> System:
        """The centred sums of one layer and task over the images labelled for it.

        weights: (g,) how often each group counts (default once): 0 / 1 choose folds, counts a bootstrap of
        blocks. ValueError for an unknown layer or task, weights that do not fit, or where no labelled image
        is left.
        """
        if layer not in self.sums:
            raise unknown("layer", layer, self.layers)
        if task not in self.tasks:
            raise unknown("task", task, self.tasks)
        w = np.ones(len(self.n)) if weights is None else np.asarray(weights, np.float64)
        if w.shape != self.n.shape or not (w >= 0).all():
            raise ValueError(f"weights of shape {w.shape} do not fit: expected ({len(self.n)},), none negative")
        w = w * self.present[:, self.tasks.index(task)]
        n = float(w @ self.n)
        if n == 0:
            raise ValueError(f"no image with a label of task {task!r} in the groups with a weight above 0")
        sums, of = self.sums[layer], _target_slice(self.tasks, task)
        some = np.flatnonzero(w)
        packed = w[some] @ sums.xx[some] if 2 * len(some) < len(w) else w @ sums.xx
        mx, my = w @ sums.x / n, w @ self.y[:, of] / n
        xx, xy = unpack(packed, len(mx)), np.tensordot(w, sums.xy[:, :, of], 1)
        yy = w @ self.yy[:, of]
        flat_x = _flat(np.diagonal(xx), n * mx**2, n * (sums.shift + mx) ** 2)
        flat_y = _flat(yy, n * my**2, n * (self.shift_y[of] + my) ** 2)
        xx -= n * np.outer(mx, mx)
        xy -= n * np.outer(mx, my)
        yy = np.where(flat_y, 0, yy - n * my**2)
        xx[flat_x], xx[:, flat_x], xy[flat_x], xy[:, flat_y] = 0, 0, 0, 0
        return System(n, sums.shift + mx, self.shift_y[of] + my, xx, xy, yy)

    def beside(self, other: "Moments") -> "Moments":
        """The same sums with blocks numbered after those of `other`, the folds kept: then `other +
        a.beside(other)` treats every block of both as a unit of its own. Only right where no person is in
        both."""
        folds = self.about["folds"]
        step = -(-(int(other.block.max()) + 1) // folds) * folds
        people = {name: block + step for name, block in self.about["people"].items()}
        return replace(self, block=self.block + step, about={**self.about, "people": people})

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets of images: groups with the same block and pattern of labels are added up.

        Shards of one face set must be measured with the blocks of the whole set (`measure(…,
        blocks=partition(…))`), so that no person sits in two folds; sets of different people may share block
        numbers as they are, or be kept apart with `beside`. The shifts become those of the first; equal
        shifts add bit by bit, others exactly up to rounding. ValueError where layers, tasks, net, settings or
        folds differ, where a person would be in two blocks, and where both already contain the same face set.
        """
        return merged(self, other)

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {k: getattr(self, k) for k in ("block", "fold", "present", "n", "shift_y", "y", "yy")}
        for layer, sums in self.sums.items():
            arrays |= {f"{layer}/{k}": getattr(sums, k) for k in ("shift", "x", "xx", "xy")}
        return arrays

    def save(self, folder: str | Path) -> None:
        """Write `moments.safetensors` (sums, and a JSON header) into the folder, whole or not at all."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        header = {"tasks": self.tasks, "layers": self.layers, "about": self.about}
        cache.write_tensors(Path(folder) / FILE, self._arrays(), header)

    @classmethod
    def open(cls, folder: str | Path) -> "Moments":
        """Saved moments. ValueError where the file is damaged, FileNotFoundError where there is none."""
        arrays, header = cache.read_tensors(Path(folder) / FILE)
        sums = {
            layer: Sums(*(arrays.pop(f"{layer}/{k}") for k in ("shift", "x", "xx", "xy"))) for layer in header["layers"]
        }
        return cls(tuple(header["tasks"]), **arrays, sums=sums, about=header["about"])


def check_finite(x: Mapping[str, np.ndarray], chunk: np.ndarray) -> None:
    """ValueError naming the first response, x: layer → (len(chunk), C), that is not a number."""
    for layer, values in x.items():
        if not np.isfinite(values).all():
            row, c = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(f"filter {c} of layer {layer!r} gives {values[row, c]} for image {chunk[row]}")


def _target_slice(names: tuple[str, ...], task: str) -> slice:
    widths = [len(tasks.get(name).target_names) for name in names]
    i = names.index(task)
    return slice(sum(widths[:i]), sum(widths[: i + 1]))


def _flat(squares: np.ndarray, of_mean: np.ndarray, of_whole_mean: np.ndarray) -> np.ndarray:
    """Columns that do not vary: what is left after centring is rounding error of these sums, or of float32 responses
    (a standard deviation below `DEAD` of the mean)."""
    left = squares - of_mean
    return (left <= 1e-13 * squares) | (left <= DEAD**2 * of_whole_mean)
