"""What can be learned from a code: a small MLP for every target, all trained side by side (general-model §4.4).

Transfer to a target by a code is an MLP on the frozen code. Comparing 63 combinations of sources over a dozen targets
takes hundreds of them; those of one code share its rows, so they are trained in one go, each as if it had been alone.
(Where labels are missing, a batch may have none of a target: its head then takes a step of momentum and decay, which
alone it would not.)
"""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from facelab import cache, devices, tasks
from facelab.errors import lacking, whole
from facelab.nets.verify import verify
from facelab.training.objective import Objective
from facelab.training.optimizer import warmed
from facelab.training.processes import reproducible

TRAIN, VALIDATION, TEST = 0, 1, 2
WARM = 0.1  # the share of the steps in which the learning rate rises
VERSION = 1


class Bank(nn.Module):
    """MLPs on one input, one for each target: (n, k) → (T, n, widest).

    widths: target → its outputs; narrower ones are followed by outputs that nothing looks at. First weights depend on
    the target's name and `seed` alone, not on which others there are.
    """

    def __init__(self, widths: Mapping[str, int], sizes: Sequence[int], seed: int):
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, a in enumerate(sizes):
            ends = dict.fromkeys(widths, sizes[i + 1]) if i + 1 < len(sizes) else widths
            both = torch.zeros(len(ends), a + 1, max(ends.values()))
            for t, (name, b) in enumerate(ends.items()):
                drawn = np.random.default_rng([seed, i, zlib.crc32(name.encode())]).uniform(-1, 1, (a + 1, b))
                both[t, :, :b] = torch.from_numpy(drawn / math.sqrt(a))
            self.weights.append(nn.Parameter(both[:, :a].contiguous()))
            self.biases.append(nn.Parameter(both[:, a:].contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.matmul(torch.relu(x) if i else x, weight) + bias  # (T, n, b)
        return x


@dataclass(frozen=True, eq=False)
class Heads:
    """Trained MLPs on one code.

    scores: a row per target: target, metric, score on the test part, validation, constant (of the best guess that looks
    at no face), balanced (balanced accuracy where there are classes, else NaN), epoch. said: target → what is said of
    the test rows: numbers in the task's unit or probabilities. test: those rows. predict: new codes → the same.
    """

    scores: pd.DataFrame
    said: dict[str, np.ndarray] = field(repr=False)
    test: np.ndarray = field(repr=False)
    predict: object = field(repr=False)


def metric(target: str) -> str:
    """What a target is scored by: mae or rmse in its unit, accuracy, AUC, or the error rate of several labels (their
    mean, general-model Table 6).

    >>> metric("age"), metric("gender"), metric("accessories"), metric("identity")
    ('mae', 'accuracy', 'error', 'auc')
    """
    about = tasks.get(target)
    return "error" if about.kind == "labels" else about.metric


def better(target: str) -> int:
    """+1 where a larger score is better, −1 where a smaller one is."""
    return 1 if metric(target) in ("accuracy", "auc") else -1


def fit(
    codes: np.ndarray,
    labels: pd.DataFrame,
    targets: Sequence[str],
    part: np.ndarray,
    *,
    hidden: Sequence[int] = (64,),
    epochs: int = 40,
    batch: int = 128,
    lr: float = 3e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
    device="auto",
) -> Heads:
    """Train one MLP per target on codes (n, k) and score them on people not trained on.

    part (n,): 0 training, 1 validation, 2 test, −1 neither; whole people. The code is centred and divided by one scale,
    not per dimension: small components stay small. Losses are those of `fl.fit`, missing labels have none; AdamW, whose
    rate rises over the first tenth of the steps and falls to 0 as a cosine; each head keeps its best epoch on the
    validation part. "identity" among the targets is not trained: the AUC of verification by the cosine between centred
    codes of the test part.

    ValueError: codes that are not finite, constant or of another number of rows; what `Objective.of` raises for labels.

    >>> rng = np.random.default_rng(0)
    >>> codes = rng.normal(size=(600, 4))
    >>> labels = pd.DataFrame({"yaw": 20 * codes[:, 0], "gender": np.where(codes[:, 1] > 0, "male", "female")})
    >>> heads = fit(codes, labels, ["yaw", "gender"], np.arange(600) % 3, device="cpu")
    >>> bool(heads.scores.set_index("target").loc["gender", "score"] > 0.9)
    True
    """
    codes, part = np.asarray(codes), np.asarray(part)
    for name, value in (("epochs", epochs), ("batch", batch)):
        whole(name, value, 1)
    if codes.ndim != 2 or len(codes) != len(labels) or part.shape != (len(codes),):
        raise ValueError(f"codes {codes.shape}, parts {part.shape}: expected a row for each of {len(labels)} faces")
    bad = ~np.isfinite(codes).all(1)
    if bad.any():
        raise ValueError(f"the code of row {bad.argmax()} is not finite; {bad.sum()} of {len(bad)} are not")
    train, held, test = (np.flatnonzero(part == p) for p in (TRAIN, VALIDATION, TEST))
    for what, rows in (("training", train), ("validation", held), ("test", test)):
        if len(rows) == 0:
            raise ValueError(f"no face in the {what} part")
    mean = codes[train].mean(0, dtype=np.float64)
    scale = float(np.sqrt(np.square(codes[train] - mean).mean()))
    if not scale > 1e-12 * max(1.0, float(np.abs(mean).max())):
        raise ValueError(f"the codes are constant over the {len(train)} faces to train on")
    x = torch.from_numpy(((codes - mean) / scale).astype(np.float32))
    if "identity" in targets and "identity" not in labels:
        raise lacking("target 'identity': there is no column", ["identity"], labels)
    trained = [t for t in targets if t != "identity"]
    rows, said, predict = [], {}, None
    if trained:
        place = devices.device(device)
        with reproducible(place):
            rows, said, predict = _train(
                x.to(place), labels, trained, (train, held, test), tuple(hidden), epochs, batch, lr, weight_decay, seed
            )
    if "identity" in targets:
        people = labels["identity"].to_numpy()
        score, validation = (_verify(x.numpy()[at], people[at]) for at in (test, held))
        row = {"target": "identity", "metric": "auc", "score": score, "validation": validation, "constant": 0.5}
        rows.append(row | {"balanced": math.nan, "epoch": 0})

    def checked(new) -> dict[str, np.ndarray]:
        if np.ndim(new) != 2 or np.shape(new)[1] != len(mean):
            raise ValueError(f"codes of shape {np.shape(new)}: expected (n, {len(mean)})")
        return predict((np.asarray(new) - mean) / scale)

    table = pd.DataFrame(rows).set_index("target").loc[list(targets)].reset_index()
    return Heads(table, said, test, predict and checked)


def _train(x, labels, names, parts, hidden, epochs, batch, lr, weight_decay, seed):
    train, held, test = parts
    objectives = [Objective.of(name, labels.iloc[train]) for name in names]
    truth = [objective.targets(labels).to(x.device) for objective in objectives]
    known = [
        torch.from_numpy(objective.counts(t.cpu())).to(x.device) for objective, t in zip(objectives, truth, strict=True)
    ]
    widths = {name: objective.width for name, objective in zip(names, objectives, strict=True)}
    bank = Bank(widths, (x.shape[1], *hidden), seed).to(x.device)
    groups = [{"params": list(bank.weights)}, {"params": list(bank.biases), "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    for name, count in zip(names, known, strict=True):
        for what, rows in (("validation", held), ("test", test)):
            if not count[rows].any():
                raise ValueError(f"task {name!r}: no face of the {what} part has this label")
    steps = math.ceil(len(train) / batch)
    best, kept = [None] * len(names), [p.detach().clone() for p in bank.parameters()]
    for epoch in range(1, epochs + 1):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(train))
        for step, at in enumerate(torch.tensor_split(order, steps)):
            out, total = bank(x[at]), 0.0
            for o, head, target, count in zip(out, objectives, truth, known, strict=True):
                if count[at].sum():
                    total = total + head.losses(o[:, : head.width], target[at]).sum() / count[at].sum()
            if not isinstance(total, Tensor):  # no label in this batch
                continue
            for group in optimizer.param_groups:
                group["lr"] = lr * warmed((epoch - 1) * steps + step, steps * epochs, WARM)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        with torch.no_grad():
            out = bank(x[held])
        for i, (o, head, target) in enumerate(zip(out, objectives, truth, strict=True)):
            o = o[:, : head.width]
            loss = float((head.losses(o, target[held]).sum() / max(1, head.counts(target[held].cpu()).sum())).cpu())
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"{names[i]}: the loss is {loss} after epoch {epoch}: try a lower lr, it is {lr:g}"
                )
            found = head.metric(head.read(o), target[held].cpu()), loss
            if best[i] is None or head.better(found, best[i][0]):
                best[i] = found, epoch
                for p, keep in zip(bank.parameters(), kept, strict=True):
                    keep[i] = p[i].detach()
    with torch.no_grad():
        for p, keep in zip(bank.parameters(), kept, strict=True):
            p.copy_(keep)

    @torch.no_grad()
    def predict(new) -> dict[str, np.ndarray]:
        out = bank(torch.as_tensor(np.asarray(new, np.float32)).to(x.device))
        return {n: h.read(o[:, : h.width]) for n, h, o in zip(names, objectives, out, strict=True)}

    said, rows = predict(x[test].cpu()), []
    for name, head, target, (found, epoch) in zip(names, objectives, truth, best, strict=True):
        true = target[test].cpu()
        row = {"target": name, "metric": metric(name), "score": head.metric(said[name], true), "validation": found[0]}
        row |= {"constant": head.guess(true), "balanced": balanced(head, said[name], true.numpy()), "epoch": epoch}
        if row["metric"] == "error":
            row |= {key: 1 - row[key] for key in ("score", "validation", "constant")}
        rows.append(row)
    return rows, said, predict


def balanced(head: Objective, said: np.ndarray, true: np.ndarray) -> float:
    """The balanced accuracy of what is said (n, classes) where the truth (n,) are classes, else NaN."""
    if head.kind != "classes":
        return math.nan
    right = said.argmax(1) == true
    return float(np.mean([right[true == c].mean() for c in np.unique(true[true >= 0])]))


def _verify(x: np.ndarray, people: np.ndarray) -> float:
    codes = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return verify(codes, people, bootstraps=0, most=50_000).auc


def few(identities, part: np.ndarray, share: float, *, seed: int = 0) -> np.ndarray:
    """The parts with only a share of the training people, the others −1; a smaller share is part of a larger one.

    >>> few(np.repeat(np.arange(10), 2), np.zeros(20, int), 0.3, seed=1).tolist().count(0)
    6
    """
    if not 0 < share <= 1:
        raise ValueError(f"share {share!r} of the labels: expected more than 0 and at most 1")
    person = np.unique(np.asarray(identities), return_inverse=True)[1]
    own = np.unique(person[part == TRAIN])
    chosen = np.random.default_rng([seed, 7]).permutation(own)[: max(1, round(share * len(own)))]
    return np.where((part == TRAIN) & ~np.isin(person, chosen), -1, part)


def scores(codes: np.ndarray, labels: pd.DataFrame, targets, part, *, seeds: Sequence[int] = (0,), **how):
    """`fit` with several seeds: the rows of `Heads.scores` with a column seed. They are kept in the cache, under the
    numbers of codes, parts and labels and all settings."""
    columns = sorted({c for t in targets for c in (*tasks.get(t).columns, "age", "yaw", "pitch") if c in labels})
    depends = {"codes": cache.content([codes, np.asarray(part)]), "targets": list(targets), "version": VERSION}
    depends |= {"labels": cache.digest(labels[columns].astype(str).values.tolist())}
    depends["how"] = {name: value for name, value in how.items() if name != "device"}
    rows = []
    for seed in seeds:

        def fill(folder, seed=seed):
            table = fit(codes, labels, targets, part, seed=seed, **how).scores
            cache.write_text(folder / "scores.json", json.dumps(table.to_dict("list")))

        entry = cache.build(cache.path("heads", "scores", seed=seed, **depends), fill)
        rows.append(pd.DataFrame(json.loads((entry / "scores.json").read_text())).assign(seed=seed))
    return pd.concat(rows, ignore_index=True)
