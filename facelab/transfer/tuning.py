"""Students taught and routes to a target measured, each kept in the cache (general-model Table 3, Fig. 3).

The routes that train a whole network: the student's architecture from random weights, a taught student, or the best
single source (P-CNN), fine-tuned on the target. Those that train an MLP on a frozen code are in `heads`.
"""

import copy
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch

from facelab import cache, devices
from facelab.errors import whole
from facelab.faces.faceset import FaceSet
from facelab.nets import student
from facelab.nets.net import Net
from facelab.training.fitted import Fit
from facelab.training.loop import fit
from facelab.training.objective import Objective, present
from facelab.transfer import distill, heads, selection
from facelab.transfer.codes import Concat

VERSION = 2


@dataclass(frozen=True)
class Training:
    """How whole networks are fine-tuned. epochs: with all labels; with a share s of them min(longest, epochs / √s)."""

    epochs: int = 12
    longest: int = 100
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.02
    precision: str = "bf16"

    def of(self, share: float) -> dict:
        """The settings for `fl.fit` with that share of the labels."""
        how = asdict(self)
        longest = how.pop("longest")
        return how | {"epochs": min(max(longest, self.epochs), round(self.epochs / share**0.5)), "schedule": "onecycle"}


def taught(
    route: str, faces: FaceSet, embeddings, operator, *, epochs: int, seed: int = 0, device="auto",
    progress: bool = False, **how,
) -> tuple[Net, float]:  # fmt: skip
    """A student taught on the faces by "two_stage" (the operator's codes) or "one_stage" (all embeddings, through a
    decoder), and the seconds of training. From the cache if it was taught the same before; an interrupted training
    goes on. how: for `fl.fit`, in place of `distill.TEACHING`. ValueError: another route."""
    if route not in ("two_stage", "one_stage"):
        raise ValueError(f"route {route!r}: expected 'two_stage' or 'one_stage'")
    codes = operator.transform(embeddings)
    net = student.untrained(codes.shape[1], seed=seed).to(devices.device(device))
    how = distill.TEACHING | how | {"epochs": epochs, "seed": seed}
    about = {"net": net.fingerprint, "faces": faces.fingerprint, "codes": cache.content([codes]), "how": how}

    def fill(folder):
        more = {"device": device, "progress": progress, "checkpoint": folder.with_suffix(".training")}
        if route == "two_stage":
            done = distill.two_stage(net, faces, codes, **how, **more)
        else:
            done = distill.one_stage(net, faces, embeddings, Concat().fit(embeddings), **how, **more)
        seconds = float(done.history["seconds"].sum())
        state = {name: value.cpu().numpy() for name, value in net.module.state_dict().items()}
        cache.write_tensors(folder / "student.safetensors", state, {"seconds": seconds})
        shutil.rmtree(more["checkpoint"])

    entry = cache.build(cache.path("students", route, version=VERSION, **about), fill)
    state, about = cache.read_tensors(entry / "student.safetensors")
    net.module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return net.eval(), about["seconds"]


def tuned(
    start: Net, faces: FaceSet, target: str, part: np.ndarray, *, route: str, top, share: float = 1.0,
    training: Training = Training(), seed: int = 0, device="auto", progress: bool = False,
) -> dict:  # fmt: skip
    """One row: a network fine-tuned for a target on a share of the labelled people, and its score on the test part.

    start: the network before; top(start, outputs, seed=seed) gives a copy of it with a new head. Where there is a
    top.begin, it fits that head first, and what it then says is epoch 0, which stays where no later one is better on
    the validation part. part (n,): 0 training, 1 validation (all of it at every share), 2 test. The row: target, route,
    share, seed, faces, metric, score, validation, constant, balanced, groups (a dict for each of `selection.groups`),
    epochs, seconds (of training). Kept in the cache under all it depends on.
    """
    some = heads.few(faces.identities, part, share, seed=seed)
    about = {
        "start": start.fingerprint,
        "top": cache.key(top),
        "faces": faces.fingerprint,
        "target": target,
    }
    about |= {"part": cache.content([np.asarray(some)]), "how": training.of(share), "seed": seed, "version": VERSION}
    if hasattr(top, "begin"):
        about["first"] = "epoch 0"

    def fill(folder):
        row = _tune(start, faces, target, some, top, training.of(share), seed, device, progress)
        cache.write_text(folder / "row.json", json.dumps(row))

    entry = cache.build(cache.path("tuned", f"{target}-{route}", **about), fill)
    row = json.loads((entry / "row.json").read_text())
    return {"target": target, "route": route, "share": share, "seed": seed} | row


def _tune(start, faces, target, part, top, how, seed, device, progress) -> dict:
    train, held, test = (faces[np.flatnonzero(part == p)] for p in range(3))
    if not present(test.encode(target)).any():
        raise ValueError(f"task {target!r}: no image of the test part has this label")
    net = top(start, Objective.of(target, train.labels).width, seed=seed).to(devices.device(device))
    before, first = 0.0, None
    if hasattr(top, "begin"):
        before = top.begin(net, start, train, target, seed=seed, device=device)
        first = copy.deepcopy(net.module.state_dict())
    done = fit(net, train, target, validation=held, seed=seed, device=device, progress=progress, **how)
    done = done if first is None else _or_first(done, first, held)
    said, truth = done.predict(test), done.objective.targets(test.labels)
    row = {"metric": heads.metric(target), "score": done.objective.metric(said, truth), "validation": done.score}
    row |= {"constant": done.objective.guess(truth), "balanced": heads.balanced(done.objective, said, truth.numpy())}
    if row["metric"] == "error":
        row |= {key: 1 - row[key] for key in ("score", "validation", "constant")}
    groups = selection.groups({target: said}, test.labels).rename(columns={target: "score"})
    row["groups"] = groups.reset_index().to_dict("records")
    seconds = before + float(done.history["seconds"].sum())
    return row | {"faces": len(train), "epochs": len(done.history), "seconds": seconds}


def _or_first(done: Fit, first: dict, held: FaceSet) -> Fit:
    """The training, with the weights of epoch 0 where its best epoch is no better on the held-out faces."""
    module, objective = done.net.module, done.objective
    last = copy.deepcopy(module.state_dict())
    module.load_state_dict(first)
    score = objective.metric(done.predict(held), objective.targets(held.labels))
    if not objective.better((done.score, 0.0), (score, 0.0)):
        return replace(done, best=0, score=score)
    module.load_state_dict(last)
    return done


@dataclass(frozen=True)
class LinearTop:
    """`distill.topped` for embeddings of that width, as `tuned` takes it; its layer is fitted before all is tuned."""

    width: int

    def __call__(self, net: Net, outputs: int, *, seed: int = 0) -> Net:
        return distill.topped(net, self.width, outputs, seed=seed)

    def begin(self, net: Net, source: Net, faces: FaceSet, target: str, **how) -> float:
        return distill.begin(net, source, faces, target, **how)


def passes(
    nets: Mapping[str, Net], *, faces: FaceSet | None = None, batch: int = 32, rounds: int = 7
) -> dict[str, float]:
    """Milliseconds a face of one forward pass of each network on the CPU, one thread, in turns; the median of rounds.

    Each is fed random chips of its own size, and cutting chips is not counted. faces: each cuts its chips from these
    (their first, again and again where they are fewer than `batch`), and that is counted.
    """
    whole("batch", batch, 1)
    whole("rounds", rounds, 1)
    if faces is None:
        generator = torch.Generator().manual_seed(0)
        inputs = {
            name: torch.rand(batch, 1 if net.grey else 3, net.size, net.size, generator=generator).contiguous(
                memory_format=torch.channels_last
            )
            for name, net in nets.items()
        }
    else:
        rows = np.arange(batch) % len(faces)
    taken, threads = {name: [] for name in nets}, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for turn in range(rounds + 1):  # the first one warms up
                for name, net in nets.items():
                    begin = time.perf_counter()
                    net.module(inputs[name] if faces is None else net.prepare(faces, rows))
                    if turn:
                        taken[name].append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return {name: 1000 * float(np.median(values)) / batch for name, values in taken.items()}


def wins(table: pd.DataFrame, ours: str, rival: str) -> tuple[int, int]:
    """On how many targets (rows) the route `ours` (column) is better than the rival, and of how many.

    >>> wins(pd.DataFrame({"a": [0.9, 5.0], "b": [0.8, 4.0]}, index=["gender", "age"]), "a", "b")
    (1, 2)
    """
    both = table[[ours, rival]].dropna()
    sign = np.array([heads.better(target) for target in both.index])
    return int((sign * (both[ours] - both[rival]) > 0).sum()), len(both)
