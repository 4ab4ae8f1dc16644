"""Choosing among codes: all combinations of sources, the best of them for each target, mean ranks, the sources' own
answers, groups of people."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from tqdm import tqdm

from facelab import tasks, workers
from facelab.errors import unknown, whole
from facelab.faces.faceset import FaceSet
from facelab.nets.net import Net
from facelab.nets.verify import verify
from facelab.training.objective import Objective, present
from facelab.transfer import fusion, heads

log = logging.getLogger(__name__)


def subsets(sources: Sequence[str], most: int | None = None) -> list[tuple[str, ...]]:
    """All combinations of up to `most` sources (general-model §4.4, BCT: all 2^M − 1), and that of all.

    >>> subsets(["age", "yaw", "object"], 1)
    [('age',), ('yaw',), ('object',), ('age', 'yaw', 'object')]
    """
    most = len(sources) if most is None else most
    whole("most", most, 1, "sources")
    found = [some for k in range(1, min(most, len(sources)) + 1) for some in combinations(sources, k)]
    return found if len(found[-1]) == len(sources) else [*found, tuple(sources)]


def askable(labels: pd.DataFrame, targets: Sequence[str], part: np.ndarray) -> list[str]:
    """Those of the targets that these faces can be asked: with labels that differ in the training part and some in the
    other two; for identity, everybody named, with several people, and several pictures of one, in each of these."""
    found = []
    for target in targets:
        try:
            if target == "identity":
                if target not in labels or labels[target].isna().any():
                    raise ValueError("not everybody is named")
                for p in (heads.VALIDATION, heads.TEST):
                    counts = labels[target][part == p].value_counts()
                    if len(counts) < 2 or counts.iloc[0] < 2:
                        raise ValueError("no pair of faces to verify")
            else:
                Objective.of(target, labels[part == heads.TRAIN])
                for p in (heads.VALIDATION, heads.TEST):
                    if not present(tasks.get(target).encode(labels[part == p])).any():
                        raise ValueError("no label in the validation or test part")
        except ValueError as error:
            log.info("target %s is left out: %s", target, error)
        else:
            found.append(target)
    return found


def scores(
    known: Mapping[str, np.ndarray],
    seen: Mapping[str, np.ndarray],
    labels: pd.DataFrame,
    targets: Sequence[str],
    part: np.ndarray,
    *,
    most: int | None = None,
    n_jobs: int = 1,
    progress: bool = True,
    **how,
) -> pd.DataFrame:
    """The rows of `heads.scores` for all `subsets` of the sources, each put into one code by `fusion.Concat`, with a
    column code, e.g. "age + object": what `best` chooses from.

    known: source → (m, d) embeddings that set the scale of each and are read in blocks, so they may be `Mapped`; seen:
    source → (n, d) of the faces that are labelled. n_jobs: processes, each with one thread; 1, here, or wherever joblib
    works (`facelab.workers`). how: as `heads.scores`. Each combination is kept in the cache.
    """
    sources = list(seen)
    if missing := [s for s in sources if s not in known]:
        raise unknown("source", missing[0], known)
    every = subsets(sources, most)
    fitted = (fusion.Concat().fit({s: known[s] for s in some}) for some in every)
    shared = ({s: np.asarray(seen[s]) for s in sources}, labels, part)
    asked = workers.spread(partial(_ask, targets=list(targets), how=how), fitted, shared, n_jobs=n_jobs)
    return pd.concat(tqdm(asked, total=len(every), desc="combinations", disable=not progress), ignore_index=True)


def _ask(shared: tuple, concat: fusion.Concat, targets: list[str], how: dict) -> pd.DataFrame:
    seen, labels, part = shared
    code = concat.transform({s: seen[s] for s in concat.sources_})
    return heads.scores(code, labels, targets, part, **how).assign(code=" + ".join(concat.sources_))


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


def averaged(scores, note: str = "") -> dict:
    """The mean of several seeds' scores, and of more than one the least and the largest, as `fl.record` takes them.

    >>> averaged([0.5], "all labels")
    {'value': 0.5, 'note': 'all labels'}
    >>> averaged([0.25, 0.75])
    {'value': 0.5, 'note': 'low and high: least and largest of 2 seeds', 'low': 0.25, 'high': 0.75}

    Where all seeds say the same, nothing was drawn, and there is no interval.
    """
    values = np.asarray(scores, float)
    if len(values) == 1 or np.ptp(values) == 0:
        return {"value": float(values[0]), "note": note}
    low, high = float(values.min()), float(values.max())
    notes = [note] * bool(note) + [f"low and high: least and largest of {len(values)} seeds"]
    mean = min(max(float(values.mean()), low), high)  # rounding
    return {"value": mean, "note": "; ".join(notes), "low": low, "high": high}


def with_missed(target: str, score: float, found: int, missed: pd.DataFrame) -> float:
    """The score over all faces where a detector missed some (general-model §4.1): a missed face counts as wrong, or for
    a number as the middle of the task's range.

    score: over the `found` faces that have this label. missed: labels of the others; one without this label does not
    count. NaN where nobody has it. ValueError for identity, which is asked of pairs.

    >>> with_missed("gender", 1.0, 3, pd.DataFrame({"gender": ["male"]}))
    0.75
    >>> with_missed("age", 5.0, 1, pd.DataFrame({"age": [50.0]}))  # the middle of 0 to 120 is 10 years off
    7.5
    """
    about, true = tasks.get(target), tasks.get(target).encode(missed)
    if about.kind == "identity":
        raise ValueError("task 'identity' is asked of pairs of faces: count the pairs with a missed face half right")
    if about.kind != "regression":
        labelled = true >= 0 if about.kind == "classes" else ~np.isnan(true).any(1)
        wrong, power = np.full(labelled.sum(), 1.0 if heads.metric(target) == "error" else 0.0), 1
    else:
        wrong, power = np.abs(true[~np.isnan(true)] - (about.low + about.high) / 2), 2 if about.metric == "rmse" else 1
    if found + len(wrong) == 0:
        return math.nan
    of_found = score**power * found if found else 0.0
    return float(((of_found + (wrong**power).sum()) / (found + len(wrong))) ** (1 / power))


def originals(nets: Mapping[str, Net], faces: FaceSet) -> pd.Series:
    """target → what the sources score by themselves on their own tasks, nothing learned here (general-model Table 4,
    "Original"), in the metrics of `heads.fit`.

    nets: source → network; "age", "gender" and "expression" are asked where the faces have that label, "identity" (the
    AUC of verification by the distance of its descriptors) where people are there twice; other names are left alone.
    """
    found = {}
    for name in ("identity", "age", "gender", "expression"):
        if name not in nets or name not in faces.labels or faces.labels[name].isna().all():
            continue
        about, said = tasks.get(name), nets[name].predict(faces)
        if about.kind == "identity":
            known = faces.labels[name].notna().to_numpy()
            counts = faces.labels[name].value_counts()
            if len(counts) < 2 or counts.iloc[0] < 2:
                continue
            found[name] = verify(said[known], faces.labels[name][known].to_numpy(), bootstraps=0, most=50_000).auc
        else:  # the gender network gives the probability of the second class alone
            found[name] = _mean(name, np.stack([1 - said, said], 1) if name == "gender" else said, faces.labels)
    return pd.Series(found, dtype=float)


def groups(said: Mapping[str, np.ndarray], labels: pd.DataFrame) -> pd.DataFrame:
    """The score of each target (columns) in each gender, ethnic group and age band: accuracy, mean absolute error in
    the task's unit, or error rate; and how many faces. No row where none of these is known. said: target → what is said
    of the faces that `labels` are of.
    """
    own = labels.reset_index(drop=True)
    by = {name: own[name] for name in ("gender", "ethnicity") if name in own}
    if "age" in own:
        edges = (0, *tasks.AGE_BANDS, np.inf)
        by["age"] = pd.cut(own["age"].astype(float), edges, right=False, labels=tasks.get("age_band").classes)
    rows = {}
    for name, column in by.items():
        for group in pd.unique(column.dropna().sort_values()):
            mask = (column == group).to_numpy()
            rows[name, str(group)] = {t: _mean(t, one[mask], own[mask]) for t, one in said.items()}
            rows[name, str(group)]["faces"] = int(mask.sum())
    index = pd.MultiIndex.from_tuples(rows, names=["by", "group"]) if rows else pd.MultiIndex.from_arrays([[], []])
    return pd.DataFrame(list(rows.values()), index=index, columns=[*said, "faces"])


def _mean(task: str, said: np.ndarray, labels: pd.DataFrame) -> float:
    about, true = tasks.get(task), tasks.get(task).encode(labels)
    if not present(true).any():
        return math.nan
    if about.kind == "classes":
        return float((said.argmax(1) == true)[true >= 0].mean())
    if about.kind == "labels":
        return float(np.nanmean(np.where(np.isnan(true), np.nan, (said > 0.5) != (true > 0.5))))
    return float(np.nanmean(np.abs(said - true)))
