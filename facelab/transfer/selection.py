"""Choosing among codes: all combinations of sources, the best of them for each target, mean ranks, groups of people."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.errors import whole
from facelab.transfer import heads


def subsets(sources: Sequence[str], most: int | None = None) -> list[tuple[str, ...]]:
    """All combinations of up to `most` sources (general-model §4.4, BCT: all 2^M − 1), and that of all.

    >>> subsets(["age", "yaw", "object"], 1)
    [('age',), ('yaw',), ('object',), ('age', 'yaw', 'object')]
    """
    most = len(sources) if most is None else most
    whole("most", most, 1, "sources")
    found = [some for k in range(1, min(most, len(sources)) + 1) for some in combinations(sources, k)]
    return found if len(found[-1]) == len(sources) else [*found, tuple(sources)]


def best(scores: pd.DataFrame) -> pd.DataFrame:
    """Per target the code that is best on the validation part, and its score on the test part; means over seeds.

    scores: rows of `heads.scores` with a column code.
    """
    mean = scores.groupby(["target", "code"], sort=False)[["score", "validation"]].mean().reset_index()
    sign = mean["target"].map(heads.better)
    at = (sign * mean["validation"]).groupby(mean["target"], sort=False).idxmax()
    return mean.loc[at].set_index("target")


def mean_ranks(table: pd.DataFrame) -> pd.Series:
    """The mean over targets (rows) of each code's rank (columns), 1 the best; equal scores share theirs.

    >>> mean_ranks(pd.DataFrame({"a": [0.9, 5.0], "b": [0.8, 4.0]}, index=["gender", "age"])).tolist()
    [1.5, 1.5]
    """
    sign = [heads.better(target) for target in table.index]
    return table.mul(sign, axis=0).rank(axis=1, ascending=False).mean()


def groups(found: heads.Heads, labels: pd.DataFrame) -> pd.DataFrame:
    """The score of each target (columns) in each gender, ethnic group and age band of the test people: accuracy, mean
    absolute error in the task's unit, or error rate; and how many faces."""
    own = labels.iloc[found.test].reset_index(drop=True)
    by = {name: own[name] for name in ("gender", "ethnicity") if name in own}
    if "age" in own:
        edges = (0, *tasks.AGE_BANDS, np.inf)
        by["age"] = pd.cut(own["age"], edges, right=False, labels=tasks.get("age_band").classes)
    rows = {}
    for name, column in by.items():
        for group in pd.unique(column.dropna().sort_values()):
            mask = (column == group).to_numpy()
            rows[name, str(group)] = {t: _mean(t, said[mask], own[mask]) for t, said in found.said.items()}
            rows[name, str(group)]["faces"] = int(mask.sum())
    return pd.DataFrame(rows).T.rename_axis(["by", "group"])


def _mean(task: str, said: np.ndarray, labels: pd.DataFrame) -> float:
    about, true = tasks.get(task), tasks.get(task).encode(labels)
    if about.kind == "classes":
        return float((said.argmax(1) == true)[true >= 0].mean())
    if about.kind == "labels":
        return float(np.nanmean(np.where(np.isnan(true), np.nan, (said > 0.5) != (true > 0.5))))
    return float(np.nanmean(np.abs(said - true)))
