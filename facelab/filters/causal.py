"""Causal response curves: re-render one person with a single thing changed, and watch a filter.

A correlation over a data set mixes the label with all that comes along with it. In a sweep (`faces.sweep`) nothing
else changes, so a response that moves was moved by the label: an intervention do(yaw = v), person by person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from facelab import tasks
from facelab.errors import unknown
from facelab.faces.faceset import FaceSet
from facelab.filters.planning import indices
from facelab.filters.responses import responses
from facelab.filters.tuning import signals

COLUMNS = {"gender": "masculinity", **dict.fromkeys(tasks.EXPRESSIONS, "intensity")}  # where a sweep keeps its values


@dataclass(frozen=True, eq=False)
class CausalCurve:
    """What filters of a layer answer to one changed thing. p people, v values, f filters.

    values (v,); responses (p, v, f).
    """

    task: str
    layer: str
    filters: np.ndarray
    values: np.ndarray
    responses: np.ndarray

    def table(self) -> pd.DataFrame:
        """One row per value and filter: value, filter, response (mean over people), low, high (its 95 % interval,
        Student's t over people; NaN for one person), people."""
        p, v, f = self.responses.shape
        mean = self.responses.mean(0)
        half = np.full((v, f), np.nan)
        if p > 1:
            half = stats.t.ppf(0.975, p - 1) * self.responses.std(0, ddof=1) / np.sqrt(p)
        rows = {"value": np.repeat(self.values, f), "filter": np.tile(self.filters, v), "response": mean.ravel()}
        return pd.DataFrame(rows | {"low": (mean - half).ravel(), "high": (mean + half).ravel(), "people": p})

    def tuning(self) -> pd.DataFrame:
        """The causal correlation: how closely each person's response follows the changed thing.

        One row per filter and signal (for an angle + against − and |·| against −|·|, see `tuning.signals`): filter,
        kind, rho (mean over people of Pearson's ρ between signal and response, ≥ 0 in the direction of `kind`; a
        person to whom the filter does not respond counts as 0), low, high (95 % interval of that mean, Student's t
        over people, within [−1, 1]; NaN for one person), slope (response per unit of the signal).

        ValueError: fewer than 3 different values; through two points every line fits, ρ is ±1.
        """
        if (distinct := len(np.unique(self.values))) < 3:
            raise ValueError(
                f"a sweep of {distinct} different values has ρ = ±1 whatever the filter: expected at least 3"
            )
        rows = []
        for kind, opposite, y in _signals(self.task, self.values):
            if np.ptp(y) == 0:  # −30° and 30° alone: |yaw| did not change
                continue
            y = y - y.mean()
            x = self.responses - self.responses.mean(1, keepdims=True)
            product = np.einsum("v,pvf->pf", y, x)
            length = np.linalg.norm(x, axis=1)
            alive = length > 1e-6 * np.abs(self.responses).max(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                rho = np.where(alive, product / (length * np.linalg.norm(y)), 0.0).clip(-1, 1)  # (p, f)
            people, middle = len(rho), rho.mean(0)
            half = np.full(len(middle), np.nan)
            if people > 1:
                half = stats.t.ppf(0.975, people - 1) * rho.std(0, ddof=1) / np.sqrt(people)
            sign = np.where(middle < 0, -1.0, 1.0)
            low, high = (np.clip(sign * middle + end * half, -1, 1) for end in (-1, 1))
            slope = sign * product.mean(0) / (y**2).sum()
            side = np.where(sign > 0, kind, opposite)
            rows += zip(self.filters, side, sign * middle, low, high, slope, strict=True)
        return pd.DataFrame(rows, columns=["filter", "kind", "rho", "low", "high", "slope"])

    def agreement(self, crafts) -> pd.DataFrame:
        """Correlation beside causation, for the filters of this curve that `crafts` (of the same task) tested.

        One row per filter and signal: filter, kind (as correlated), rho (over the data set's images), causal_rho (in
        the direction of that kind: negative where the intervention contradicts the correlation), craft, same_side.
        A sweep of "happy" goes with the CRAFTs of "expression". ValueError where `crafts` is about another task, or did
        not test this layer.
        """
        if crafts.task != ("expression" if self.task in tasks.EXPRESSIONS else self.task):
            raise ValueError(f"these CRAFTs are about {crafts.task!r}, the curve about {self.task!r}")
        tested = crafts.tests[crafts.tests["layer"] == self.layer]
        if tested.empty:
            raise unknown("layer", self.layer, crafts.tests["layer"].unique())
        pairs = {}
        for kind, opposite, _ in _signals(self.task, self.values):
            pairs |= {kind: (kind, 1.0), opposite: (kind, -1.0)}
        causal = {(row.filter, pairs[row.kind][0]): pairs[row.kind][1] * row.rho for row in self.tuning().itertuples()}
        rows = []
        for row in tested.itertuples():
            signal, sign = pairs.get(row.kind, (None, 1.0))
            if (row.filter, signal) in causal:
                rho = sign * causal[row.filter, signal]
                rows.append((row.filter, row.kind, row.rho, rho, row.craft, bool(rho > 0)))
        return pd.DataFrame(rows, columns=["filter", "kind", "rho", "causal_rho", "craft", "same_side"])


def _signals(task: str, values: np.ndarray):
    if task in tasks.EXPRESSIONS:
        return [(task, f"not {task}", values)]
    return signals(task, values[:, None])


def causal_curve(
    net, sweeps: FaceSet | Iterable[FaceSet], task: str, layer: str, filters: Sequence[int] | None = None
) -> CausalCurve:
    """The responses of `filters` (None = all) of `layer` along sweeps of `task`, one sweep per person.

    sweeps: what `faces.sweep(person, task, values)` returns, for one person or several; all over the same values.
    ValueError: unknown task, layer or filter, no sweep, values that differ between people or do not change.
    """
    sweeps = [sweeps] if isinstance(sweeps, FaceSet) else list(sweeps)
    if not sweeps:
        raise ValueError("no sweep given: expected at least one person's")
    column = COLUMNS.get(task) or tasks.get(task).name
    for faces in sweeps:
        if column not in faces.labels:
            raise ValueError(f"{faces.name!r} is no sweep of {task!r}: its labels lack the column {column!r}")
    values = sweeps[0].labels[column].to_numpy(float)
    for faces in sweeps[1:]:
        other = faces.labels[column].to_numpy(float)
        if not np.array_equal(other, values):
            raise ValueError(f"sweeps over different values cannot be averaged: {values.tolist()} and {other.tolist()}")
    if not np.ptp(values) > 0:
        raise ValueError(f"the sweep of {task!r} changes nothing: all values are {values[0]:g}")
    seen = np.stack([responses(net, faces, layers=[layer], cached=False, progress=False)[layer] for faces in sweeps])
    chosen = np.arange(seen.shape[2]) if filters is None else indices(layer, filters)
    wrong = chosen[(chosen < 0) | (chosen >= seen.shape[2])]
    if len(wrong):
        raise ValueError(f"layer {layer!r} has no filter {wrong[0]}: expected 0 to {seen.shape[2] - 1}")
    return CausalCurve(task, layer, chosen, values, seen[:, :, chosen].astype(np.float64))
