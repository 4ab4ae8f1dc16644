"""The one training loop: a network, faces with labels, a task.

`fit` checks and prepares, `_train` is the loop, run alike by one process or several (lightning-fabric brings
device, precision and processes). What a task minimises and reports is in `objective`, what a step does to the weights
in `optimizer`, what is fed in `inputs`, what lies on disk in `checkpoint`.
"""

import hashlib
import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from facelab import cache, devices, errors, tasks
from facelab.training import checkpoint as disk
from facelab.training import processes as running
from facelab.training.fitted import Epoch, Fit
from facelab.training.inputs import Inputs, outputs, split
from facelab.training.objective import Objective, aims
from facelab.training.optimizer import OPTIMIZERS, SCHEDULES, factor, make, mode, only


@dataclass(frozen=True)
class _Plan:
    """The settings that decide a training's numbers, beside the network and the faces."""

    epochs: int
    batch: int
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    flip: bool
    seed: int
    precision: str
    processes: int


def fit(
    net,
    faces,
    task: str | None,
    *,
    targets=None,
    validation=0.25,
    epochs: int = 10,
    batch: int = 64,
    optimizer: str = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    schedule: str = "cosine",
    patience: int | None = None,
    loss: str | None = None,
    flip: bool = True,
    train=None,
    precision: str = "32",
    seed: int = 0,
    device="auto",
    processes: int = 1,
    checkpoint=None,
    progress: bool = True,
) -> Fit:
    """Train `net.module` in place for one task (the fine-tuning of ETL §3.5) and give it its best epoch's weights.

    The loss goes by the kind of task (`Objective`), with missing labels masked; a regression is trained on
    standardised labels and read in label units. Same seed, machine and number of threads → same numbers.

    net: a `Net`, or anything with prepare(faces, rows), module and name. targets: what to learn in place of the labels,
    a row per face, NaN: not this one. With a task: (n,) numbers in its unit, (n, classes) probabilities or (n, labels)
    shares, as another network's `predict` gives them (distillation); the labels still validate. With task None: (n, d)
    numbers that the output should be like, by loss "cosine" or "mse"; of mirrored faces the same, or those of a second
    array in a pair (targets, mirrored). validation: the share of the people held out,
    a face set of its own, or None: then the last epoch's weights stay. batch: faces per step, over all processes; an
    epoch is dealt into equal batches of at most so many. lr: the highest rate; "cosine" falls from it to 0, "onecycle"
    rises to it over the first 30 % of the steps, "constant" stays. weight_decay: on matrices and filters, not on
    biases and norms. patience: stop after so many epochs without a better metric. loss: "smooth_l1" or "mse" for a
    regression. flip: about half of an epoch's faces are mirrored, and their labels (yaw changes sign). train: name
    prefixes of the layers to train; the rest is frozen. precision: "32" or "bf16" (autocast, where the
    device has instructions for it; else float32). checkpoint: a folder; a training that was killed goes on from its
    last complete epoch there, and ends in the same numbers. processes: each takes its share of every batch (batch norm
    sees that share only); a script needs `if __name__ == "__main__":`.

    ValueError for names, settings, labels, shapes or splits that do not fit. FloatingPointError for a loss that is not
    finite: it names epoch, batch and faces; the network is then as it was before, the checkpoint as after the last
    complete epoch.

    >>> from facelab.faces import FaceSet
    >>> from facelab.nets import wrap
    >>> from torch import nn
    >>> rng = np.random.default_rng(0)
    >>> people = pd.DataFrame({"identity": np.repeat(list("abcdefgh"), 8), "yaw": rng.uniform(-60, 60, 64)})
    >>> images = rng.integers(0, 256, (64, 3, 16, 16), dtype=np.uint8)
    >>> faces = FaceSet("noise", images, people, np.full((64, 5, 2), np.nan, np.float32))
    >>> net = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)), size=16)
    >>> done = fit(net, faces, "yaw", epochs=2, progress=False)
    >>> done.history["epoch"].tolist(), done.metric, done.predict(faces).shape
    ([1, 2], 'mae', (64,))
    """
    if not all(hasattr(net, name) for name in ("prepare", "module", "name")):
        raise TypeError(f"{type(net).__name__} is no Net: give fl.nets.wrap(module, size=…), which says what it is fed")
    for kind, name, known in (
        *([("task", task, tasks.TASKS)] if task is not None else []),
        ("optimizer", optimizer, OPTIMIZERS),
        ("schedule", schedule, SCHEDULES),
        ("precision", precision, running.PRECISIONS),
    ):
        if name not in known:
            raise errors.unknown(kind, name, known)
    for name, value in (("epochs", epochs), ("batch", batch), ("processes", processes)):
        errors.whole(name, value, 1)
    errors.whole("seed", seed, 0)
    if patience is not None:
        errors.whole("patience", patience, 1)
    for name, value in (("lr", lr), ("weight_decay", weight_decay)):
        errors.number(name, value)
        if not 0 <= value < math.inf or (name == "lr" and value == 0):
            raise ValueError(
                f"{name} {value!r}: expected a finite number {'above' if name == 'lr' else 'of at least'} 0"
            )
    wanted = None if task is not None and targets is None else aims(task, targets, len(faces))
    taught = None if wanted is None else ~np.isnan(wanted[0]).reshape(len(faces), -1).all(1)
    rows, held, unseen = split(faces, task, validation, seed, taught)
    if patience and held is None:
        raise ValueError(f"patience {patience} needs validation faces to tell when to stop, but validation is None")
    if len(rows) // math.ceil(len(rows) / batch) < processes:
        raise ValueError(f"batches of at most {batch} of {len(rows)} faces leave some of {processes} processes idle")
    objective = Objective.of(task, faces.labels.iloc[rows], loss) if task else Objective.like(wanted[0][rows], loss)
    plan = _Plan(
        int(epochs), int(batch), optimizer, float(lr), float(weight_decay), schedule, bool(flip), int(seed),
        precision, int(processes),
    )  # fmt: skip
    fabric = running.fabric(devices.device(device), precision, processes, net)
    module, home = net.module, next(net.module.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(only(module, train))
        stack.callback(module.to, home, memory_format=torch.contiguous_format)
        inputs = Inputs(net, faces, rows)
        after = None if held is None else Inputs(net, held, unseen)
        _check_fit(net, objective, inputs, flip)
        goal = _goal(objective, inputs, wanted)
        truth = None
        if held is not None:
            truth = objective.targets(after.labels) if task else torch.from_numpy(wanted[0][unseen])
        found, about = None, {}
        if checkpoint is not None:
            if not hasattr(net, "fingerprint"):
                raise TypeError(
                    f"{net.name!r} has no fingerprint to tell its checkpoint by: give checkpoint=None, or a Net"
                )
            about = asdict(plan) | asdict(objective) | {"train": train and errors.named("layer", train)}
            about |= {"net": net.fingerprint, "faces": faces.fingerprint, "constant": list(objective.constant)}
            about["validation"] = held.fingerprint if held is not None and held is not faces else validation
            parts = wanted and [hashlib.sha256(part.tobytes()).hexdigest() for part in wanted]
            about |= {"targets": parts and cache.digest(parts)}
            about |= {"epochs": epochs if schedule != "constant" else "any"}  # no step there knows how many will follow
            checkpoint = stack.enter_context(running.alone(Path(checkpoint)))
            found = disk.read(checkpoint, about)
            if found and len(found[1]["history"]) > epochs:
                raise ValueError(f"{checkpoint} holds {len(found[1]['history'])} epochs, more than epochs={epochs}")
        # What process 0 fills and this one reads.
        best = {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}
        history = torch.full((epochs, len(Epoch._fields)), math.nan, dtype=torch.float64)
        before = {name: value.clone() for name, value in best.items()}
        if processes > 1:
            for tensor in (history, *best.values()):
                tensor.share_memory_()
        try:
            loop = partial(_train, plan=plan, net=net, objective=objective, inputs=inputs, after=after, best=best)
            loop = partial(loop, goal=goal, truth=truth)
            loop = partial(loop, table=history, patience=patience, folder=checkpoint, about=about, found=found)
            wrong = running.launch(fabric, partial(loop, progress=progress))
            if wrong:
                raise FloatingPointError(wrong)
        except BaseException:
            module.load_state_dict(before)
            raise
        module.load_state_dict(best)
    table = pd.DataFrame(history[~history[:, 0].isnan()].numpy(), columns=Epoch._fields).astype({"epoch": int})
    at, constant = len(table) - 1, math.nan
    if held is not None:
        at, constant = objective.best(list(table.itertuples())), objective.guess(truth)
    at_best = table.iloc[at]
    unseen = unseen if held is faces else None
    return Fit(net, objective, table, int(at_best.epoch), float(at_best.metric), constant, rows, unseen)


def _goal(objective: Objective, inputs: Inputs, wanted) -> tuple[Tensor, Tensor]:
    """What the faces and their mirror images should give, as `Objective.losses` takes it."""
    if wanted is None:
        return objective.targets(inputs.labels), objective.targets(tasks.flip_labels(inputs.labels))
    given = [part[inputs.rows] for part in wanted]
    if len(given) == 1:
        given.append(objective.mirrored(given[0]) if objective.task else given[0])
    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in given)


def _train(
    fabric, plan, net, objective, inputs, after, best, goal, truth, table, patience, folder, about, found, progress
):
    """The loop, in every process. Process 0 fills `best` (weights) and `table` (history). Returns what went wrong."""
    module, rank, world, n = net.module, fabric.global_rank, fabric.world_size, len(inputs)
    if world > 1:  # a module sent to other processes shares its memory with them
        for value in (*module.parameters(), *module.buffers()):
            value.data = value.data.clone()
    if fabric.device.type == "cpu":
        module.to(memory_format=torch.channels_last)
    optimizer = make(plan.optimizer, (p for p in module.parameters() if p.requires_grad), plan.lr, plan.weight_decay)
    model, _ = fabric.setup(module, optimizer)
    history = []
    if found is not None:
        disk.load(found[0], module, optimizer, best)
        history = [Epoch(*row) for row in found[1]["history"]]
    target, mirrored = goal
    labels = torch.from_numpy(objective.counts(target))  # (n,) how many labels each face has
    steps = math.ceil(n / plan.batch)
    bar = tqdm(total=plan.epochs * steps, initial=len(history) * steps, desc=net.name, disable=not progress or rank > 0)
    with bar, running.reproducible(fabric.device):
        for epoch in range(len(history) + 1, plan.epochs + 1):
            if patience and history and len(history) - 1 - objective.best(history) >= patience:
                break
            torch.manual_seed(int(np.random.SeedSequence([plan.seed, epoch, rank]).generate_state(1)[0]))
            rng = np.random.default_rng([plan.seed, epoch])  # the same in every process
            order, flips = rng.permutation(n), torch.from_numpy((rng.random(n) < 0.5) & plan.flip)
            mode(module)
            begin, total, first = time.perf_counter(), 0.0, (epoch - 1) * steps
            for step, batch in enumerate(np.array_split(order, steps)):
                mine, rate = batch[rank::world], plan.lr * factor(plan.schedule, first + step, plan.epochs * steps)
                x, flip = inputs[mine].to(fabric.device), flips[mine]
                if plan.flip:
                    x = torch.where(flip.to(x.device)[:, None, None, None], x.flip(-1), x)  # (b, c, h, w)
                y = torch.where(flip[:, None] if target.ndim > 1 else flip, mirrored[mine], target[mine])
                losses = objective.losses(model(x), y.to(x.device))  # (b,), b = this process's share
                # The mean over all labels of the whole batch; × world, since gradients are averaged over processes.
                fabric.backward(losses.sum() * (world / labels[batch].sum().item()))
                each = losses.new_zeros(len(batch))
                each[rank::world] = losses.detach()
                each = fabric.all_reduce(each, reduce_op="sum").cpu()
                if not each.isfinite().all():
                    return _not_finite(each, epoch, step, steps, inputs.rows[batch], rate)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                optimizer.zero_grad()
                total += each.double().sum().item()
                bar.update()
            seconds, val_loss, metric = time.perf_counter() - begin, math.nan, math.nan
            if not all(value.isfinite().all() for value in module.state_dict().values()):
                return f"weights are no longer finite after epoch {epoch}: try a lower lr, it is {plan.lr:g}"
            if after is not None:
                if world > 1:  # batch norm: the statistics of process 0
                    for value in module.buffers():
                        value.copy_(fabric.broadcast(value))
                said = outputs(module, after, plan.batch, objective.width, fabric)
                val_loss = (objective.losses(said, truth).double().sum() / objective.counts(truth).sum()).item()
                metric = objective.metric(objective.read(said), truth)
                if not math.isfinite(val_loss):
                    return f"the validation loss is {val_loss} after epoch {epoch}: try a lower lr, it is {plan.lr:g}"
                bar.set_postfix({objective.measure: f"{metric:.3g}"})
            rate = plan.lr * factor(plan.schedule, first, plan.epochs * steps)
            history.append(Epoch(epoch, total / labels.sum().item(), val_loss, metric, rate, seconds))
            if rank == 0:
                if after is None or objective.best(history) == epoch - 1:
                    for name, value in module.state_dict().items():
                        best[name].copy_(value)
                if folder:
                    disk.save(folder, module, optimizer, best, {"settings": about, "history": history})
    if rank == 0:
        table[: len(history)] = torch.tensor(history, dtype=torch.float64)
    return None


@torch.no_grad()
def _check_fit(net, objective: Objective, inputs: Inputs, flip: bool) -> None:
    """Before anything is trained: does the network take these inputs, and give what the task needs?"""
    kinds = {p.dtype for p in net.module.parameters()}
    if kinds != {torch.float32}:
        raise ValueError(
            f"{net.name!r} has parameters of {', '.join(map(str, kinds))}: expected float32 (bf16 is autocast)"
        )
    x = inputs[np.arange(min(2, len(inputs)))]
    if flip and x.ndim != 4:
        raise ValueError(
            f"flip mirrors images, but {net.name!r} takes inputs of shape {tuple(x.shape)}: give flip=False"
        )
    net.module.eval()
    objective.check(net.module(x.to(next(net.module.parameters()).device)), len(x), net.name)


def _not_finite(losses: Tensor, epoch: int, step: int, steps: int, rows: np.ndarray, rate: float) -> str:
    bad = np.sort(rows[~losses.isfinite().numpy()])
    shown = ", ".join(map(str, bad[:8])) + (" …" if len(bad) > 8 else "")
    return (
        f"the loss is not finite in epoch {epoch}, batch {step + 1} of {steps}, on {len(bad)} of its {len(rows)} faces "
        f"(rows {shown}); learning rate {rate:g}. Where it is most of them, try a lower lr; where few, look at them"
    )
