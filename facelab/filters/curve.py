"""What a characteristic curve says: its knee, the filters it keeps there, and the tables (ETL §3.2–3.3, Eq. 4).

`curves.characteristic_curves` computes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from facelab.errors import number, unknown


@dataclass(frozen=True)
class Knee:
    """The fewest filters within γ of the best error (ETL Eq. 4).

    num, index, lam: filters kept, the position on the path, its λ. rmse: held-out error there.
    low, high: 95 % interval of num over half-samples of the people (NaN without any).
    filters: indices kept, fitted to all data; frequency: (C,) share of half-samples that keep each filter at this λ
    (NaN without any).
    """

    num: int
    index: int
    lam: float
    rmse: float
    low: float
    high: float
    filters: np.ndarray
    frequency: np.ndarray


@dataclass(frozen=True, eq=False)
class Curve:
    """One layer, one task. k values of λ, C filters, T targets (classes), F folds, B half-samples of the people.

    lambdas (k,) descending; num (k,) filters kept, fitted to all data (union over classes); rmse (k,) on held-out
    people, pooled over folds and classes; rmse_folds (k, F); rmse_train (k,); null_rmse, null_folds (F,): the held-out
    error of predicting the training people's mean; gap: worst duality gap of every path behind the curve, in units of
    ½ Var(y); coef (k, C, T), intercept (k, T), raw units; half_num, half_rmse (B, k), half_null (B,): the same fitted
    to half of the people and tested on the other half; half_kept (k, C): half-samples that keep the filter.
    """

    task: str
    layer: str
    lambdas: np.ndarray
    num: np.ndarray
    rmse: np.ndarray
    rmse_folds: np.ndarray
    rmse_train: np.ndarray
    null_rmse: float
    null_folds: np.ndarray
    gap: float
    coef: np.ndarray
    intercept: np.ndarray
    half_num: np.ndarray
    half_rmse: np.ndarray
    half_null: np.ndarray
    half_kept: np.ndarray

    @property
    def filters(self) -> int:
        """C, the width of the layer."""
        return self.coef.shape[1]

    @cached_property
    def best(self) -> int:
        """Position of the lowest held-out error."""
        return int(np.argmin(self.rmse))

    @property
    def r2(self) -> float:
        """Share of the variance explained on held-out people at the best λ."""
        return float(1 - (self.rmse[self.best] / self.null_rmse) ** 2) if self.null_rmse > 0 else 0.0

    @cached_property
    def gain_low(self) -> float:
        """Lower 95 % bound of what the best λ gains over predicting the mean, in units of the task: from the
        half-samples, or, without them, from the spread over folds (Student's t)."""
        if len(self.half_rmse):
            return float(np.quantile(self.half_null - self.half_rmse[:, self.best], 0.025))
        gains = self.null_folds - self.rmse_folds[self.best]
        if len(gains) < 2:
            return float(gains.mean())
        return float(gains.mean() - stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains))

    def knee(self, gamma: float = 0.01) -> Knee | None:
        """k = min num(i) such that RMSE(i) − min(r) < γ (max(r) − min(r))   (ETL Eq. 4).

        None is a result: "no knee", the layer explains nothing that held-out people confirm (`gain_low` ≤ 0).
        γ = 0, which the strict "<" can never satisfy, means the unpruned layer, as in the papers. A higher γ keeps
        fewer filters: ETL §3.3 says the opposite of its own Eq. 4 and Fig. 6.

        The interval: fitted to half of the people the knee is log-normal-ish around its own mean; that spread, put
        around log num, gives low and high (half-sampling has the variance of the bootstrap, without its repeated
        rows, which let more filters in).

        Departs from the paper by taking RMSE on held-out people, and max(r) as the error of predicting the mean: a
        dense end that overfits must not widen the tolerance.
        """
        number("gamma", gamma)
        if not 0 <= gamma < 1:
            raise ValueError(f"gamma {gamma!r} is out of range: expected 0 ≤ gamma < 1")
        if self.num[self.best] == 0 or self.gain_low <= 0:
            return None
        if gamma == 0:
            c = self.filters
            return Knee(c, len(self.lambdas) - 1, 0.0, float(self.rmse[-1]), c, c, np.arange(c), np.ones(c))
        index = knee_index(self.num, self.rmse, self.null_rmse, gamma)
        low = high = np.nan
        if len(self.half_num):
            halves = zip(self.half_num, self.half_rmse, self.half_null, strict=True)
            logs = np.log([max(num[knee_index(num, rmse, null, gamma)], 1) for num, rmse, null in halves])
            low, high = self.num[index] * np.exp(np.quantile(logs - logs.mean(), (0.025, 0.975)))
            high = min(high, self.filters)
        return Knee(
            num=int(self.num[index]),
            index=index,
            lam=float(self.lambdas[index]),
            rmse=float(self.rmse[index]),
            low=float(low),
            high=float(high),
            filters=np.flatnonzero((self.coef[index] != 0).any(1)),
            frequency=self.half_kept[index] / len(self.half_num)
            if len(self.half_num)
            else self.half_kept[index] * np.nan,
        )

    def table(self) -> pd.DataFrame:
        """One row per λ."""
        spread = self.rmse_folds.std(1, ddof=1) if self.rmse_folds.shape[1] > 1 else np.nan
        return pd.DataFrame(
            {"lam": self.lambdas, "num": self.num, "rmse": self.rmse, "rmse_train": self.rmse_train, "fold_sd": spread}
        )


def knee_index(num: np.ndarray, rmse: np.ndarray, null: float, gamma: float) -> int:
    """Of the models within γ of the best, one with the fewest filters, and of those the one with the least error."""
    good = np.flatnonzero(rmse - rmse.min() < gamma * (null - rmse.min()))
    if len(good) == 0:  # the empty model is the best one
        return 0
    return int(good[np.lexsort((rmse[good], num[good]))[0]])


class TaskCurves(Mapping):
    """The curves of one task, by layer, in the order of the network."""

    def __init__(self, task: str, curves: dict[str, Curve]):
        self.task, self._curves = task, curves

    def __getitem__(self, layer: str) -> Curve:
        if layer not in self._curves:
            raise unknown("layer", layer, self._curves)
        return self._curves[layer]

    def __iter__(self):
        return iter(self._curves)

    def __len__(self):
        return len(self._curves)

    @property
    def best_layer(self) -> str:
        """The layer with the lowest curve minimum (low-cost §4)."""
        return min(self._curves, key=lambda layer: self._curves[layer].rmse.min())

    def knees(self, gamma: float = 0.01) -> dict[str, np.ndarray]:
        """The filters each layer keeps; a layer without a knee is absent."""
        return {layer: knee.filters for layer, curve in self._curves.items() if (knee := curve.knee(gamma))}

    def betas(self, gamma: float = 0.01) -> dict[str, np.ndarray]:
        """β (C,) of each layer's model at its knee, in units of the task per unit of response (ETL Eq. 5); 0 for
        filters that are not kept. Of several classes, the norm of a filter's β over them."""
        found = {}
        for layer, curve in self._curves.items():
            if knee := curve.knee(gamma):
                beta = curve.coef[knee.index]  # (C, T)
                found[layer] = beta[:, 0] if beta.shape[1] == 1 else np.linalg.norm(beta, axis=1)
        return found

    def table(self, gamma: float = 0.01) -> pd.DataFrame:
        """One row per layer: width, knee with interval, errors, R². Columns of a layer without a knee are empty."""
        rows = []
        for layer, curve in self._curves.items():
            knee = curve.knee(gamma)
            row = {
                "task": self.task,
                "layer": layer,
                "filters": curve.filters,
                "knee": knee.num if knee else None,
                "knee_low": knee.low if knee else None,
                "knee_high": knee.high if knee else None,
                "rmse": float(curve.rmse.min()),
                "rmse_mean": curve.null_rmse,
                "r2": curve.r2,
                "gap": curve.gap,
            }
            rows.append(row)
        return pd.DataFrame(rows)


class Curves(Mapping):
    """The curves of every task: `curves["yaw"]["blocks.3.conv2"]`."""

    def __init__(self, by_task: dict[str, TaskCurves]):
        self._by_task = by_task

    def __getitem__(self, task: str) -> TaskCurves:
        if task not in self._by_task:
            raise unknown("task", task, self._by_task)
        return self._by_task[task]

    def __iter__(self):
        return iter(self._by_task)

    def __len__(self):
        return len(self._by_task)

    @property
    def gap(self) -> float:
        """The worst duality gap of all paths, in units of ½ Var(y)."""
        return max(curve.gap for curves in self.values() for curve in curves.values())

    def table(self, gamma: float = 0.01) -> pd.DataFrame:
        """One row per task and layer."""
        return pd.concat([curves.table(gamma) for curves in self.values()], ignore_index=True)
