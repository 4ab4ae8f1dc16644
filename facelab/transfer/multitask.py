"""One network taught by many half-labelled face sets at once (2MD-MTL §3.1: 2MD-MTL and DA-2MD-MTL)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facelab import devices, errors
from facelab.faces.faceset import FaceSet
from facelab.nets.net import Net
from facelab.training.inputs import CHUNK
from facelab.training.objective import Objective
from facelab.training.optimizer import make
from facelab.training.processes import PRECISIONS, cast, reproducible
from facelab.transfer.domains import Discriminator, reverse, triplet
from facelab.transfer.mixture import Mixture, Part
from facelab.transfer.rates import rate as rate_of
from facelab.transfer.weighting import WEIGHTINGS

SHIFT = 3  # pixels: how far a chip is moved at random in training
PROJECTED = 64


class MultiTask(nn.Module):
    """A trunk that all tasks share and fully connected layers of each task's own: (n, c, h, w) → {task: (n, outputs)}.

    trunk: gives (n, …), flattened to (n, width). Each head: width → hidden → outputs, ReLU and dropout between.
    """

    def __init__(self, trunk: nn.Module, width: int, outputs: Mapping[str, int], *, hidden: int = 64, seed: int = 0):
        super().__init__()
        self.trunk = trunk
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heads = nn.ModuleDict(
                {
                    task: nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, k))
                    for task, k in outputs.items()
                }
            )
            self.discriminator = Discriminator(width, PROJECTED)

    def features(self, x: Tensor) -> Tensor:
        return self.trunk(x).flatten(1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.read(self.features(x))

    def read(self, features: Tensor) -> dict[str, Tensor]:
        return {task: head(features) for task, head in self.heads.items()}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained. steps: batches. lr: the highest rate (SGD, momentum 0.9); rate:
    "exponential", "dynamic" (the paper's DR) or "plain" (`rates`). precision: "32" or "bf16" (autocast, where the
    device has instructions for it; else float32)."""

    steps: int = 400
    lr: float = 0.05
    rate: str = "exponential"
    weight_decay: float = 5e-4
    precision: str = "bf16"


SCHEDULE = Schedule()
_CHIPS = WeakKeyDictionary()  # face set → chips; they go with the face set


@dataclass(frozen=True, eq=False)
class Trained:
    """A multi-task network and how it got there.

    history: a row per step: step, lr, loss:TASK (mean over the labels in the batch, NaN where there are none),
    weight:TASK (α), domain (the discriminator's triplet loss, NaN without one).
    """

    net: Net
    objectives: dict[str, Objective]
    history: pd.DataFrame = field(repr=False)

    @property
    def tasks(self) -> list[str]:
        return list(self.objectives)

    def predict(self, faces: FaceSet, *, batch: int = 256) -> dict[str, np.ndarray]:
        """task → what its head says of every face: (n,) numbers in the task's unit, or (n, classes) probabilities."""
        if len(faces) == 0:
            raise ValueError(f"face set {faces.name!r} is empty: there is nothing to predict")
        said = self._each(faces, batch, lambda module, x: module(x))
        return {t: objective.read(torch.cat([one[t] for one in said])) for t, objective in self.objectives.items()}

    def features(self, faces: FaceSet, *, batch: int = 256) -> np.ndarray:
        """(n, width) float32: what the trunk says of every face, which all heads read."""
        return torch.cat(self._each(faces, batch, lambda module, x: module.features(x))).cpu().numpy()

    @torch.no_grad()
    def _each(self, faces: FaceSet, batch: int, what) -> list:
        module, device, chips = self.net.module.eval(), self.net.device, _cut(self.net, faces)
        return [what(module, self.net.normalise(some.to(device))) for some in chips.split(batch)]

    def score(self, task: str, faces: FaceSet) -> float:
        """The task's metric on the faces that have its label (`Objective.metric`). ValueError where none has."""
        if task not in self.objectives:
            raise errors.unknown("task of this network", task, self.objectives)
        objective = self.objectives[task]
        target = objective.targets(faces.labels)
        if not (objective.counts(target) > 0).any():
            raise ValueError(f"task {task!r}: none of the {len(faces)} faces of {faces.name!r} has this label")
        return objective.metric(self.predict(faces)[task], target)


def _cut(net: Net, faces: FaceSet) -> Tensor:
    """The chips of all faces, uint8 on the CPU: cut once for all networks that want them alike."""
    kept = _CHIPS.setdefault(faces, {})
    key = net.size, None if net.template is None else net.template.tobytes()
    if key not in kept:
        starts = range(0, len(faces), CHUNK)
        kept[key] = torch.cat([net.chips(faces, slice(start, start + CHUNK)).cpu() for start in starts])
    return kept[key]


def loss_matrix(
    objectives: Mapping[str, Objective], outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """L (b, t), the loss of each face in each task, 0 where it has no label; and (b, t), how many labels it has.

    targets: as `Objective.targets` gives them, for the b faces.
    """
    matrix = torch.stack([o.losses(outputs[t], targets[t].to(outputs[t].device)) for t, o in objectives.items()], 1)
    counts = np.stack([o.counts(targets[t].cpu()) for t, o in objectives.items()], 1)
    return matrix, torch.from_numpy(counts).to(matrix)


def means(matrix: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """L_j (t,) = Σ_i L_ij / Σ_i counts_ij, a task's mean over its labels in the batch, 0 where there are none; and
    (t,), which tasks have some.

    With weights α, Σ_j α_j L_j is the paper's Σ_ij (M ∘ L)_ij with M_ij = α_j / Σ_i counts_ij where face i has label j:
    a mean per task, so that a rare task does not drown.

    >>> means(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    (tensor([2., 0.]), tensor([ True, False]))
    """
    total = counts.sum(0)
    return matrix.sum(0) / total.clamp_min(1), total > 0


def train(
    start: Net, parts: Sequence[Part], *, schedule: Schedule = SCHEDULE, weighting: str = "gradnorm",
    domain: float = 0.0, alternating: bool = False, hidden: int = 64, shared: Sequence[str] | None = None,
    seed: int = 0, device="auto", progress: bool = False,
) -> Trained:  # fmt: skip
    """Train one network on all tasks of all parts (2MD-MTL §3.1).

    total = Σ_j α_j L_j + L_DA,  L_j the mean loss of task j over the faces in the batch that are labelled for it

    start: the trunk (a copy is trained): any `Net`; its last linear layer, if it ends in one, is left out. weighting:
    of the tasks: "gradnorm", "equal" or "uncertainty" (`weighting`). shared: names of the parameters by whose gradients
    GradNorm weighs; None: the trunk's last convolution. domain: above 0, a discriminator learns to tell the parts'
    faces apart by a triplet loss L_DA, and the trunk, through a gradient reversed and multiplied by `domain`, to make
    it fail (DA-2MD-MTL). alternating: batches from one part at a time, the rival that the paper argues against. Chips
    are mirrored (yaw changes sign) and moved by up to 3 pixels at random. The last step's weights are kept. Same seed,
    machine and number of threads → same numbers.

    ValueError for names, settings or labels that do not fit. FloatingPointError for a loss that is not finite (names
    step and task).
    """
    errors.whole("seed", seed, 0)
    errors.whole("hidden", hidden, 1)
    errors.number("domain", domain)
    if schedule.precision not in PRECISIONS:
        raise errors.unknown("precision", schedule.precision, PRECISIONS)
    if not 0 <= domain < float("inf"):
        raise ValueError(f"domain {domain!r}: expected a finite number of at least 0")
    if weighting not in WEIGHTINGS:
        raise errors.unknown("weighting", weighting, WEIGHTINGS)
    mixture = Mixture(parts, alternating=alternating, seed=seed)
    if domain and alternating:
        raise ValueError(
            "alternating batches hold faces of one part: the domain discriminator has nothing to tell apart"
        )
    if domain and len(mixture.parts) < 2:
        raise ValueError("a domain discriminator needs at least two parts to tell apart, there is one")
    rate = rate_of(schedule.rate, schedule.lr, schedule.steps)
    place = devices.device(device)
    net = headed(start, mixture.objectives, hidden, seed).to(place)
    weigh = WEIGHTINGS[weighting](mixture.tasks).to(place)
    by = _shared(net.module, shared)
    with reproducible(place):
        torch.manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
        history = _train(net, mixture, weigh, by, rate, schedule, domain, seed, progress)
    return Trained(net.eval(), mixture.objectives, history)


def headed(start: Net, objectives: Mapping[str, Objective], hidden: int, seed: int) -> Net:
    """A copy of a network with a head for each task in place of its last linear layer, untrained."""
    net = copy.deepcopy(start)
    trunk = net.module
    linear = [name for name, layer in trunk.named_modules() if isinstance(layer, nn.Linear)]
    last = [name for name, layer in trunk.named_modules() if not list(layer.children())][-1]
    if linear and linear[-1] == last:
        trunk.set_submodule(last, nn.Identity())
    trunk.eval()
    with torch.no_grad():
        blank = torch.zeros(2, 1 if net.grey else 3, net.size, net.size, device=net.device)
        width = trunk(blank).flatten(1).shape[1]
    for parameter in trunk.parameters():
        parameter.requires_grad_(True)
    net.module = MultiTask(trunk, width, {t: o.width for t, o in objectives.items()}, hidden=hidden, seed=seed)
    net.embedding, net.decode = None, None
    return net


def _shared(module: MultiTask, names: Sequence[str] | None) -> list[nn.Parameter]:
    known = {name: value for name, value in module.trunk.named_parameters()}
    if names is None:
        names = [f"{name}.weight" for name, layer in module.trunk.named_modules() if isinstance(layer, nn.Conv2d)][-1:]
    names = errors.named("shared parameter", names)
    if not names:
        raise ValueError("shared names no parameter: expected at least one, by whose gradient the tasks are weighed")
    for name in names:
        if name not in known:
            raise errors.unknown("shared parameter", name, known)
    return [known[name] for name in names]


def _train(net, mixture, weigh, by, rate, schedule, domain, seed, progress) -> pd.DataFrame:
    module, place, tasks = net.module, net.device, mixture.tasks
    if place.type == "cpu":
        module.to(memory_format=torch.channels_last)
    module.train()
    inputs, whose = mixture.inputs(net), torch.from_numpy(mixture.domain)
    optimizer = make("sgd", [*module.parameters(), *weigh.parameters()], schedule.lr, schedule.weight_decay)
    rows, drawn = [], torch.Generator().manual_seed(seed)
    half = cast(place, schedule.precision)
    for step in tqdm(range(schedule.steps), desc=net.name, disable=not progress):
        at, rng = mixture.batch(step), np.random.default_rng([seed, 2, step])
        flip = torch.from_numpy(rng.random(len(at)) < 0.5)
        x = moved(inputs[at].to(place), flip.to(place), rng)
        targets = {t: _where(flip, mixture.mirrored[t][at], mixture.target[t][at]) for t in tasks}
        with half:
            features = module.features(x)
            outputs = module.read(features)
        losses, here = means(*loss_matrix(mixture.objectives, outputs, targets))
        if not losses.isfinite().all():
            bad = tasks[int((~losses.isfinite()).float().argmax())]
            raise FloatingPointError(f"the loss of task {bad!r} is not finite in step {step + 1}: try a lower lr")
        if weigh.wants_norms:
            weigh.update(losses, _norms(losses, here, by), here)
        total, apart = weigh.total(losses, here), float("nan")
        if domain:
            with half:
                points = module.discriminator(reverse(features, domain))
            distance = triplet(points.float(), whose[at], generator=drawn)
            total, apart = total + distance, distance.item()
        lr = rate.at(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        total.backward()
        for task, there in zip(tasks, here.tolist(), strict=True):
            if not there:  # a gradient of 0 would still let momentum and decay move its head
                for parameter in module.heads[task].parameters():
                    parameter.grad = None
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        known = losses[here].sum().item()
        rate.saw(step, known)
        values = torch.where(here, losses.detach(), torch.nan).tolist()
        rows.append([step + 1, lr, *values, *weigh.weights.tolist(), apart])
    names = ["step", "lr", *(f"loss:{t}" for t in tasks), *(f"weight:{t}" for t in tasks), "domain"]
    return pd.DataFrame(rows, columns=names)


def _norms(losses: Tensor, here: Tensor, by: list[nn.Parameter]) -> Tensor:
    """(t,) ‖∇_W L_j‖, 0 for tasks that are not here."""
    norms = torch.zeros_like(losses)
    for j in torch.nonzero(here).flatten().tolist():
        grads = torch.autograd.grad(losses[j], by, retain_graph=True)
        norms[j] = torch.sqrt(sum(g.float().square().sum() for g in grads))
    return norms


def moved(x: Tensor, flip: Tensor, rng: np.random.Generator, shift: int = SHIFT) -> Tensor:
    """Chips (b, c, h, w), mirrored where `flip`, each moved by up to `shift` pixels; edges are repeated."""
    x = torch.where(flip[:, None, None, None], x.flip(-1), x)
    b, _, h, w = x.shape
    up, left = (torch.from_numpy(rng.integers(-shift, shift + 1, b)).to(x.device) for _ in range(2))
    rows = (torch.arange(h, device=x.device) + up[:, None]).clamp(0, h - 1)  # (b, h)
    columns = (torch.arange(w, device=x.device) + left[:, None]).clamp(0, w - 1)  # (b, w)
    return x[torch.arange(b, device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def _where(flip: Tensor, mirrored: Tensor, target: Tensor) -> Tensor:
    return torch.where(flip[:, None] if target.ndim > 1 else flip, mirrored, target)
