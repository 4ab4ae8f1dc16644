"""What a probe loses when its input changes: held-out scores before and after, compared person by person."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.filters import probes


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a probe loses when filters are taken away.

    filters: what was taken, layer → indices. read: the layer the probe reads, or "embedding". metric: r2
    (pooled over targets) for numbers, balanced_accuracy for classes, over all faces by probes that had not
    seen the person. sets: one row per set ("found", or "random 0" …) and probe ("fixed", "refitted"): score,
        and drop = the score with nothing taken − that score. A number said beyond the range of the labels
        counts as its end: where nearly all is silenced, the few faces that still stir something would else
        cost any R².
    summary: one row per probe: base, drop, random_drop (mean over the random sets) and difference = drop −
        random_drop, each with its 95 % interval: people re-drawn with replacement, and for the last two the
        random sets as well.
    """

    task: str
    read: str
    how: str
    metric: str
    filters: dict[str, np.ndarray]
    sets: pd.DataFrame
    summary: pd.DataFrame

    def __repr__(self) -> str:
        row, count = self.summary.set_index("probe").loc["refitted"], sum(map(len, self.filters.values()))
        return (
            f"Ablation of {count} filters, {self.task!r} read from {self.read!r}: refitted {self.metric} drops by "
            f"{row['drop']:.3f}, random sets by {row['random_drop']:.3f}"
        )

    def table(self) -> pd.DataFrame:
        """The summary: one row per probe, fixed and refitted."""
        return self.summary


def compare(targets, people, task, base, changed, taken, read, how, folds, bootstraps, seed) -> Ablation:
    """Scores of the fixed and the refitted probe on every changed table, and their differences with
    intervals."""
    people = np.unique(people, return_inverse=True)[1]
    fold = probes.assign_folds(people, folds, seed)
    probe = probes.fit_table(base, targets, people, task, folds=folds, seed=seed)
    tally = {"fixed": [], "refitted": []}
    for x in changed:
        again = probes.fit_table(x, targets, people, task, folds=folds, seed=seed)
        for name, fitted in (("fixed", probe), ("refitted", again)):
            tally[name].append(_tally(task, targets, fitted.models, x, fold, people))
    whole = _tally(task, targets, probe.models, base, fold, people)
    return _summary(task, whole, tally, taken, read, how, bootstraps, seed)


def _tally(task, targets, models, x, fold, people) -> np.ndarray:
    cut, said = np.stack([model.cut for model in models])[fold], probes.held_out(models, x, fold)
    if tasks.get(task).kind == "regression":
        said = said.clip(targets.min(0), targets.max(0))
    return probes.tally(task, targets, said, cut, people)


def _summary(task, whole, tally, taken, read, how, bootstraps, seed) -> Ablation:
    k, rng = len(whole), np.random.default_rng(seed)
    weights = np.vstack(
        [np.ones(k), rng.multinomial(k, np.full(k, 1 / k), bootstraps)]
    )  # row 0: the people as they are
    base, sets, rows = probes.score(task, weights @ whole), [], []
    for name, tallies in tally.items():
        drops = np.stack(
            [base - probes.score(task, weights @ one) for one in tallies]
        )  # (1 + random sets, 1 + bootstraps)
        for i, drop in enumerate(drops[:, 0]):
            label = f"random {i - 1}" if i else "found"
            sets.append({"set": label, "probe": name, "score": base[0] - drop, "drop": drop})
        others = drops[1:] if len(drops) > 1 else np.full((1, len(base)), np.nan)
        drawn = rng.integers(0, len(others), (len(others), bootstraps))
        random_drop = np.append(others[:, 0].mean(), np.take_along_axis(others[:, 1:], drawn, 0).mean(0))
        row = {"probe": name}
        columns = {
            "base": base,
            "drop": drops[0],
            "random_drop": random_drop,
            "difference": drops[0] - random_drop,
        }
        for column, values in columns.items():
            low, high = np.nanpercentile(values[1:], (2.5, 97.5)) if np.isfinite(values[0]) else (np.nan, np.nan)
            row |= {column: values[0], f"{column}_low": low, f"{column}_high": high}
        rows.append(row)
    metric = "r2" if tasks.get(task).kind == "regression" else "balanced_accuracy"
    return Ablation(task, read, how, metric, taken, pd.DataFrame(sets), pd.DataFrame(rows))
