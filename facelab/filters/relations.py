"""Task relationships without transfer learning: what networks trained for one task know of the others (low-cost §3,
Figs 5 and 11).

A *primary* network was trained for one task; `relate` reads the others, its *satellites*, from each of several
primaries over several random partitions of the people, and gives the paper's two matrices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from facelab.errors import named, unknown, whole
from facelab.filters.satellites import SHARES, Reader, interval

TASKS = ("identity", "gender", "facial_hair", "accessories", "age", "expression", "pose")  # low-cost Table 1


@dataclass(frozen=True, eq=False)
class Relations:
    """Every satellite read from every primary, over several random partitions.

    scores: a row per primary, satellite, trial and kind ("read": by regression; "own": the head that was trained for
    the task): layer, accuracy (identity: AUC), balanced_accuracy, majority, images, low and high (95 %, people drawn
    again). by_layer: a row per primary, satellite, trial, layer. readings: (primary, satellite) → the first partition's
    `Reading`.
    """

    primaries: tuple[str, ...]
    satellites: tuple[str, ...]
    trials: int
    scores: pd.DataFrame
    by_layer: pd.DataFrame
    readings: dict = field(repr=False)

    def table(self) -> pd.DataFrame:
        """One row per primary, satellite and kind: means over the partitions, their spread, the layer chosen most."""
        by = self.scores.groupby(["primary", "satellite", "kind"], sort=False)
        found = by[["accuracy", "low", "high", "balanced_accuracy", "majority", "images"]].mean()
        found["spread"] = by["accuracy"].std(ddof=0)
        found["layer"] = by["layer"].agg(lambda layers: layers.mode().iloc[0])
        return found.reset_index()

    def accuracy(self) -> pd.DataFrame:
        """Low-cost Fig. 5, left: primaries × satellites. On the diagonal the network that was trained for the task."""
        found = self.table()
        mine = (found["kind"] == "own") == (found["primary"] == found["satellite"])
        alone = ~found["primary"].isin(found.loc[found["kind"] == "own", "primary"])  # no trained head was given
        found = found[mine | (alone & (found["kind"] == "read"))]
        matrix = found.pivot(index="primary", columns="satellite", values="accuracy")
        return matrix.reindex(index=self.primaries, columns=self.satellites)

    def reduction(self) -> pd.DataFrame:
        """Low-cost Fig. 5, right: 100 (a_own − a) / a_own in per cent, a_own of the network trained for the satellite;
        NaN in the column of a task without one. Less is better; negative: better than that network."""
        matrix, scores = self.accuracy(), self.scores[self.scores["kind"] == "own"]
        own = scores.groupby("satellite")["accuracy"].mean().reindex(self.satellites)
        return 100 * (own - matrix) / own

    def layers(self, primary: str) -> pd.DataFrame:
        """Low-cost Fig. 11: layers × satellites, the accuracy on the test part of every task from every layer."""
        if primary not in self.primaries:
            raise unknown("primary", primary, self.primaries)
        rows = self.by_layer[self.by_layer["primary"] == primary]
        matrix = rows.pivot_table(index="layer", columns="satellite", values="accuracy", sort=False)
        return matrix[list(self.satellites)]


def relate(
    tables: Mapping,
    satellites: Sequence[str] | str = TASKS,
    *,
    own: Mapping | None = None,
    trials: int = 3,
    shares: Sequence[float] = SHARES,
    most: int | None = 20_000,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> Relations:
    """Read every satellite task from every primary network, over `trials` random partitions (low-cost Algorithm 1).

    tables: primary task → `Responses` of the network trained for it, all to the same images of people whom no primary
    has seen in its training. own: primary task → the outputs (n, …) of its trained head on these images, for identity
    its codes (n, d). most, shares, seed: see `Reader`; trial i has seed + i.

    Departs from the paper by asking people whom no primary was trained on; by learning the bins of age and pose on the
    validation part instead of taking the labels' own; by `identity` as the AUC of verification, since a closed set of
    people cannot be split by person; by a ridge penalty, chosen on the validation part.

    ValueError: no primary, tables of different images, and as `Reader` and `Reader.read`.
    """
    satellites = tuple(named("task", satellites))
    whole("trials", trials, 1)
    if not tables:
        raise ValueError("no primary: expected at least one network, {'identity': responses, …}")
    for name in own or {}:
        if name not in tables:
            raise unknown("primary", name, tables)
    first = next(iter(tables.values()))
    for primary, table in tables.items():
        if len(table.identities) != len(first.identities) or (table.identities != first.identities).any():
            raise ValueError(f"primary {primary!r}: its table has other images than {next(iter(tables))!r}'s")
    scores, by_layer, readings = [], [], {}
    for trial in range(trials):
        for primary, table in tables.items():
            reader = Reader(table, shares=shares, most=most, seed=seed + trial)
            found = [("read", reader.read(task, layers)) for task in satellites]
            if own and primary in own:
                found.append(("own", reader.own(primary, own[primary])))
            for kind, reading in found:
                at = {"primary": primary, "satellite": reading.task, "trial": trial}
                low, high = interval(reading, table.identities, seed=seed)
                scores.append({**at, "kind": kind, **reading.table().iloc[0].drop("task"), "low": low, "high": high})
                if kind == "read":
                    by_layer.append(reading.layers.assign(**at))
                if trial == 0 and (kind == "own" or (primary, reading.task) not in readings):
                    readings[primary, reading.task] = reading
    return Relations(
        tuple(tables), satellites, trials, pd.DataFrame(scores), pd.concat(by_layer, ignore_index=True), readings
    )
