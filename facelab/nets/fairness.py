"""Whom does a network serve? Shares of faces read rightly, group by group, with intervals that small groups widen.

E. B. Wilson's interval ("Probable inference, the law of succession, and statistical inference", 1927) for k right of n,
z the normal quantile:

    (k + z²/2 ± z √(k (n − k) / n + z²/4)) / (n + z²)

It stays within 0 … 1 and has a width also where all faces are read rightly. It takes faces for independent.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from facelab import tasks

FEW = 30  # faces below which a group is shown but not ranked


def wilson(right: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Low and high of a share of `right` in `n`. ValueError where these are no counts of such.

    >>> [round(end, 3) for end in wilson(10, 10)]
    [0.722, 1.0]
    """
    if not (n > 0 and 0 <= right <= n):
        raise ValueError(f"{right!r} of {n!r} faces: expected a count from 0 to the number of faces, at least one")
    z = stats.norm.ppf((1 + level) / 2)
    half = z * np.sqrt(right * (n - right) / n + z**2 / 4)
    low, high = (right + z**2 / 2 - half) / (n + z**2), (right + z**2 / 2 + half) / (n + z**2)
    return float(np.clip(min(low, right / n), 0, 1)), float(np.clip(max(high, right / n), 0, 1))


def by_group(right: Mapping[str, np.ndarray], labels: pd.DataFrame) -> pd.DataFrame:
    """The share right of each reading in each gender, ethnic group and age band: by, group, reading, faces, share, low,
    high. The first row of a reading (by "all") is everybody.

    right: reading → (n,) yes / no, or NaN where it says nothing of a face, for the n faces of `labels`. ValueError
    where rows do not match, or labels know none of the three.

    >>> labels = pd.DataFrame({"gender": ["male"] * 4 + ["female"] * 4})
    >>> by_group({"smile": np.arange(8) < 6}, labels).set_index("group")["share"].to_dict()
    {'everybody': 0.75, 'female': 0.5, 'male': 1.0}
    """
    own = labels.reset_index(drop=True)
    groups = {name: own[name] for name in ("gender", "ethnicity") if name in own}
    if "age" in own:
        edges = (0, *tasks.AGE_BANDS, np.inf)
        groups["age"] = pd.cut(own["age"].astype(float), edges, right=False, labels=tasks.get("age_band").classes)
    if not groups:
        raise ValueError(f"labels {', '.join(own)} name no groups: expected gender, ethnicity or age")
    masks = {("all", "everybody"): np.ones(len(own), bool)}
    for by, column in groups.items():
        for group in pd.unique(column.dropna().sort_values()):
            masks[by, str(group)] = (column == group).to_numpy()
    rows = []
    for reading, values in right.items():
        values = np.asarray(values, float)
        if values.shape != (len(own),):
            raise ValueError(f"{reading}: {values.shape} readings for {len(own)} faces")
        for (by, group), mask in masks.items():
            some = values[mask & np.isfinite(values)]
            if len(some):
                low, high = wilson(some.sum(), len(some))
                row = {"by": by, "group": group, "reading": reading, "faces": len(some), "share": some.mean()}
                rows.append(row | {"low": low, "high": high})
    return pd.DataFrame(rows)


def ends(table: pd.DataFrame, reading: str, by: str, *, least: int = FEW) -> tuple[pd.Series, pd.Series]:
    """The groups read worst and best, among those of at least `least` faces: rows of `by_group`'s table. ValueError
    where fewer than two groups are large enough.

    >>> labels = pd.DataFrame({"gender": ["male"] * 40 + ["female"] * 40})
    >>> table = by_group({"smile": np.arange(80) < 60}, labels)
    >>> [row["group"] for row in ends(table, "smile", "gender")]
    ['female', 'male']
    """
    rows = table[(table["reading"] == reading) & (table["by"] == by) & (table["faces"] >= least)]
    if len(rows) < 2:
        raise ValueError(f"{reading} by {by}: {len(rows)} groups of at least {least} faces, expected two")
    return rows.loc[rows["share"].idxmin()], rows.loc[rows["share"].idxmax()]
