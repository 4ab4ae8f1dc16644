"""An identity-agnostic expression network: which filters know who it is, and what is left without them (the "future
direction" of low-cost §5: "find which filters represent identity and remove those filters").

    table  = fl.responses(net, known, layers=last)
    order  = agnostic.ranking(agnostic.knowledge(table))
    curve  = agnostic.silence(net, unseen, order, steps=8)            # a `Frontier`, beside one of random filters

`knowledge` scores filters on people of one set; the curves are measured on other people. Three routes: filters removed,
filters removed and the rest fine-tuned (`sparse.cut`, then `fl.fit`), and, as what a linear method can reach at best,
directions of the features that the expression head does not read projected out (`erase`). What is left of identity is
`matched_auc`: the chance that two pictures of one person are nearer than two of different people who show the same two
expressions. 0.5 is chance. Distances in a code full of expression may hide a person who is there all the same, so
`fitted` is the same for somebody who has learned, on other people, in which directions of this very code people differ
(`discriminant`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from facelab import tasks
from facelab.errors import unknown, whole
from facelab.filters.ablate import ablated
from facelab.filters.decisions import balanced
from facelab.filters.matched import discriminant, matched_auc
from facelab.filters.probes import DEAD

TASK = "expression"


@dataclass(frozen=True, eq=False)
class Frontier:
    """Identity against expression, step by step.

    rows: route, removed (filters or directions), of (all there are), auc, low, high (of `matched_auc`), fitted (the AUC
    after `discriminant`, learned on other faces; NaN where none were given), accuracy (of expression, on the same
    faces), balanced (every class counts the same: a network that has come down to the commonest answer is seen here),
    kept_pct (100 · accuracy / that of the whole network).
    """

    rows: pd.DataFrame

    def table(self) -> pd.DataFrame:
        return self.rows.copy()

    def __add__(self, other: "Frontier") -> "Frontier":
        return Frontier(pd.concat([self.rows, other.rows], ignore_index=True))

    def best(self, kept: float = 95.0) -> pd.DataFrame:
        """Of each route the step with the lowest AUC that keeps at least so many per cent of the accuracy."""
        rows = self.rows[self.rows["kept_pct"] >= kept].sort_values("auc", kind="stable")
        return rows.drop_duplicates("route").reset_index(drop=True)


def knowledge(table, layers: Sequence[str] | None = None, *, task: str = TASK) -> pd.DataFrame:
    """What each filter's response varies with: a row per filter with identity, task and score = identity − task.

    task: the share of the response's variance that lies between the classes, η² = SS_between / SS. identity: the
    intraclass correlation of what is left after each class's own mean is taken out,

        (MS_between − MS_within) / (MS_between + (k₀ − 1) MS_within)

    between and within people, k₀ the mean group size corrected for unequal groups. Both are 0 for a filter that never
    varies. table: `Responses` with several pictures of a person; images without a label are left out.

    ValueError: unknown layer or task, one person, no person with two labelled pictures, a label that is always the
    same.
    """
    codes, known = _codes(task, table.labels)
    person = np.unique(np.asarray(table.identities)[known], return_inverse=True)[1]
    counts = np.bincount(person)
    if len(counts) < 2 or counts.max() < 2:
        raise ValueError(f"{len(counts)} people in {len(person)} images: expected several, with several images each")
    groups = np.bincount(codes[known])
    if (groups > 0).sum() < 2:
        only = tasks.get(task).classes[int(groups.argmax())]
        raise ValueError(f"task {task!r}: the label is {only!r} on all {len(person)} images")
    names = list(table.layers) if layers is None else list(layers)
    found = []
    for layer in names:
        if layer not in table.layers:
            raise unknown("layer", layer, table.layers)
        x = np.asarray(table.layers[layer], np.float64)[known]
        live = x.std(0) > DEAD * np.abs(x.mean(0))
        total = np.where(live, np.square(x - x.mean(0)).sum(0), 1)
        rest = x - _means(x, codes[known])
        shown = np.where(live, 1 - np.square(rest).sum(0) / total, 0)
        own = _means(rest, person)
        between = np.square(own - rest.mean(0)).sum(0) / (len(counts) - 1)
        within = np.square(rest - own).sum(0) / max(len(rest) - len(counts), 1)
        k0 = (len(rest) - np.square(counts).sum() / len(rest)) / (len(counts) - 1)
        icc = np.where(live, (between - within) / np.maximum(between + (k0 - 1) * within, 1e-300), 0)
        found.append(pd.DataFrame({"layer": layer, "filter": range(x.shape[1]), "identity": icc, task: shown}))
    found = pd.concat(found, ignore_index=True)
    return found.assign(score=found["identity"] - found[task])


def ranking(scores: pd.DataFrame, *, seed: int | None = None) -> list[tuple[str, int]]:
    """(layer, filter), the first to be removed first: by falling score, or with `seed` in random order.

    >>> ranking(pd.DataFrame({"layer": ["a", "a"], "filter": [0, 1], "score": [0.1, 0.4]}))
    [('a', 1), ('a', 0)]
    """
    if seed is None:
        rows = scores.sort_values("score", ascending=False, kind="stable")
    else:
        rows = scores.iloc[np.random.default_rng(seed).permutation(len(scores))]
    return list(zip(rows["layer"], rows["filter"].astype(int).tolist(), strict=True))


def silence(
    net, faces, order, *, known=None, steps: int = 8, most: float = 0.95, task: str = TASK, route: str
) -> Frontier:
    """Silence the filters of `order` step by step (their maps are 0), the head kept as it is.

    net: a `Net` whose last linear layer gives the classes of `task`. faces: people who had no part in the ranking.
    known: other people, to learn `fitted` on. most: the share of all of `order` that is silenced at the last of `steps`
    steps; no layer is silenced whole.
    ValueError: nothing to silence, `most` out of range, and as `ablated` and `matched_auc`.
    """
    order = list(order)
    whole("steps", steps, 1)
    if not order or not 0 < most <= 1:
        raise ValueError(
            f"{len(order)} filters to silence, most={most!r}: expected some, and a share above 0, at most 1"
        )
    codes, there = _codes(task, faces.labels)
    people = np.asarray(faces.identities)
    rows = []
    for count in np.unique(np.linspace(0, most * len(order), steps + 1).round().astype(int)):
        gone = removed(net, order[:count])
        x, said = features(net, faces, gone)
        learned = None if known is None else discriminant(features(net, known, gone)[0], known.identities)
        rows.append(_row(route, count, len(order), x[there], people[there], codes[there], said[there], learned))
    return _frontier(rows)


def removed(net, chosen) -> dict[str, np.ndarray]:
    """layer → filters, of (layer, filter) pairs; the last filter of a layer stays."""
    found: dict[str, list[int]] = {}
    for layer, k in chosen:
        if layer not in net.convs:
            raise unknown("layer", layer, net.convs)
        if len(found.setdefault(layer, [])) < net.convs[layer].out_channels - 1:
            found[layer].append(k)
    return {layer: np.sort(index) for layer, index in found.items()}


def kept(net, chosen) -> dict[str, np.ndarray]:
    """The keep-list for `sparse.cut`: what is left in the layers of (layer, filter) pairs when those are removed."""
    gone = removed(net, chosen)
    return {layer: np.setdiff1d(np.arange(net.convs[layer].out_channels), index) for layer, index in gone.items()}


@torch.no_grad()
def features(net, faces, silenced: Mapping | None = None, *, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) what the last linear layer reads, and (n, k) what it says; with some filters silenced, or none.

    ValueError: a network without a linear layer, and as `ablated`.
    """
    linear = [layer for layer in net.module.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"{net.name!r} has no linear layer: give it a head, fl.with_head(net, outputs)")
    seen, said = [], []
    handle = linear[-1].register_forward_hook(lambda _l, given, out: (seen.append(given[0]), said.append(out))[0])
    try:
        with ablated(net, silenced or {}):
            seen.clear(), said.clear()  # of the pass over a blank image
            for start in range(0, len(faces), batch):
                net(net.prepare(faces, slice(start, start + batch)))
    finally:
        handle.remove()
    return tuple(torch.cat(parts).flatten(1).double().cpu().numpy() for parts in (seen, said))


def measured(net, faces, route: str, *, known=None, task: str = TASK, gone: int = 0, of: int = 0) -> Frontier:
    """One step: the network as it is, for instance cut and fine-tuned. kept_pct is against itself: see `against`."""
    codes, there = _codes(task, faces.labels)
    x, said = features(net, faces)
    learned = None if known is None else discriminant(features(net, known)[0], known.identities)
    people = np.asarray(faces.identities)[there]
    return _frontier([_row(route, gone, of, x[there], people, codes[there], said[there], learned)])


def against(frontier: Frontier, accuracy: float) -> Frontier:
    """The same with kept_pct against another accuracy, that of the whole network."""
    return Frontier(frontier.rows.assign(kept_pct=100 * frontier.rows["accuracy"] / accuracy))


def erase(
    net, known, unseen, *, ranks: Sequence[int] | str | None = None, task: str = TASK, route: str = "erased"
) -> Frontier:
    """Project identity out of what the head reads, keeping the head's own directions: its answers stay as they are.

        f ← f − V_r V_rᵀ f,   V_r ⊥ rows of the head

    V_r: the r leading eigenvectors of the scatter between people within the null space of the head's weights (of their
    differences between classes, which are all that decide), worked out on the faces `known` after each class's mean is
    taken out. At the full rank only what the head reads is left. ranks: default 0, 1, 2, 4, … and all; "full": all.

    This is an upper bound for what erasing directions can do without touching the answers: what of identity is left
    then is in the answers themselves. ValueError: ranks out of range.
    """
    codes, there = _codes(task, known.labels)
    seen, _ = features(net, known)
    weight = [layer for layer in net.module.modules() if isinstance(layer, nn.Linear)][-1].weight
    weight = weight.detach().double().cpu().numpy()
    _, values, rows = np.linalg.svd(weight - weight.mean(0), full_matrices=True)
    null = rows[int((values > 1e-9 * values.max()).sum()) :].T  # (d, d − rank)
    rest = (seen[there] - _means(seen[there], codes[there])) @ null
    person = np.unique(np.asarray(known.identities)[there], return_inverse=True)[1]
    own = _means(rest, person)
    values, vectors = np.linalg.eigh(own.T @ own / len(own))
    basis = null @ vectors[:, np.argsort(-values)]  # (d, m), most identity first
    if ranks is None:
        ranks = sorted({0, *(2**i for i in range(12) if 2**i < basis.shape[1]), basis.shape[1]})
    if isinstance(ranks, str):
        if ranks != "full":
            raise unknown("ranks", ranks, ["full"])
        ranks = [basis.shape[1]]
    if not all(0 <= r <= basis.shape[1] for r in ranks):
        raise ValueError(f"ranks {list(ranks)}: expected numbers from 0 to {basis.shape[1]}")
    codes, there = _codes(task, unseen.labels)
    x, said = features(net, unseen)
    people, steps = np.asarray(unseen.identities)[there], []
    for r in ranks:
        v = basis[:, :r]
        cleaned = x - (x @ v) @ v.T
        learned = discriminant(seen - (seen @ v) @ v.T, known.identities)
        steps.append(_row(route, r, basis.shape[1], cleaned[there], people, codes[there], said[there], learned))
    return _frontier(steps)


def _codes(task: str, labels) -> tuple[np.ndarray, np.ndarray]:
    if tasks.get(task).kind != "classes":
        raise ValueError(f"task {task!r} is no choice between classes: expected one such as {TASK!r}")
    codes = tasks.get(task).encode(labels)
    if not (codes >= 0).any():
        raise ValueError(f"task {task!r}: none of the {len(codes)} images has this label")
    return codes, codes >= 0


def _means(x: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(n, c) the mean of each row's group."""
    sums = np.zeros((group.max() + 1, x.shape[1]))
    np.add.at(sums, group, x)
    return (sums / np.maximum(np.bincount(group), 1)[:, None])[group]


def _row(route, count, of, x, people, codes, said, learned=None) -> dict:
    found = matched_auc(x, people, codes)
    fitted = np.nan if learned is None else matched_auc(x @ learned, people, codes, bootstraps=0).auc
    answers = said.argmax(1)
    return {
        "route": route,
        "removed": int(count),
        "of": int(of),
        "auc": found.auc,
        "low": found.low,
        "high": found.high,
        "fitted": fitted,
        "accuracy": float((answers == codes).mean()),
        "balanced": balanced(answers, codes),
    }


def _frontier(rows: list[dict]) -> Frontier:
    table = pd.DataFrame(rows)
    return Frontier(table.assign(kept_pct=100 * table["accuracy"] / table["accuracy"].iloc[0]))
