"""What a task asks of a network: how wide its output is, what is minimised, what is reported."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelab import errors, tasks

LOSSES = {
    "regression": ("smooth_l1", "mse"),
    "classes": ("cross_entropy",),
    "labels": ("bce",),
    "imitation": ("cosine", "mse"),
}  # by kind of task, the default first; imitation: no task, the numbers that the output should be like


@dataclass(frozen=True)
class Objective:
    """The loss and the metric of one task, or (task None) of imitating numbers t, such as another network's embedding.

    With ŷ = output · scale + center, the training labels' mean and standard deviation (regression only):

        smooth_l1       r² / 2 where |r| < 1, else |r| − 1/2,  r = output − (y − center) / scale
        mse             r²
        cross_entropy   −log softmax(output)[class]
        bce             −y log σ(output) − (1 − y) log(1 − σ(output)), one question per class
        cosine          1 − output · t / (‖output‖ ‖t‖)   (general-model Eq. 4, which prints the cosine itself)

    mse of an imitation is the mean over its numbers. Where class targets are probabilities p, cross_entropy is
    −Σ p log softmax(output). Missing labels have no loss. width: outputs per face. constant: the metric's best guess
    that looks at no face, from the training labels: a number, a class index, one yes / no per label, or the mean
    numbers.
    """

    task: str | None
    loss: str
    center: float = 0.0
    scale: float = 1.0
    constant: tuple[float, ...] = ()

    @classmethod
    def of(cls, task: str, labels: pd.DataFrame, loss: str | None = None) -> "Objective":
        """For training on these labels. ValueError for an unknown task or loss, labels that are missing
        altogether or all the same, and identity, which is an open set.

        >>> Objective.of("yaw", pd.DataFrame({"yaw": [-10.0, 10.0, None]}))
        Objective(task='yaw', loss='smooth_l1', center=0.0, scale=10.0, constant=(0.0,))
        """
        about = tasks.get(task)
        if about.kind == "identity":
            raise ValueError(
                f"task {task!r} is an open set of people: fit has no loss for it; verify embeddings instead"
            )
        loss = loss or LOSSES[about.kind][0]
        if loss not in LOSSES[about.kind]:
            raise errors.unknown(f"loss for {task} ({about.kind})", loss, LOSSES[about.kind])
        codes = about.encode(labels)
        known = codes[present(codes) > 0]
        if len(known) == 0:
            raise ValueError(f"task {task!r}: none of the {len(codes)} images to train on has this label")
        if about.kind == "regression":
            if np.ptp(known) == 0:
                unit = f" {about.unit}".rstrip()
                raise ValueError(
                    f"task {task!r}: the label is {known[0]:g}{unit} on all {len(known)} images to train on"
                )
            guess = np.median(known) if about.metric == "mae" else known.mean()
            return cls(task, loss, float(known.mean()), float(known.std()), (float(guess),))
        if about.kind == "classes":
            count = np.bincount(known, minlength=len(about.classes))
            if (count > 0).sum() < 2:
                only = about.classes[int(count.argmax())]
                raise ValueError(f"task {task!r}: all {len(known)} images to train on are {only!r}: there is no choice")
            return cls(task, loss, constant=(float(count.argmax()),))
        yes, of = np.nansum(known, axis=0), (~np.isnan(known)).sum(0)
        if ((yes == 0) | (yes == of)).all():
            raise ValueError(f"task {task!r}: each of its labels is the same on all {len(known)} images to train on")
        return cls(task, loss, constant=tuple((2 * yes > of).astype(float).tolist()))

    @classmethod
    def like(cls, wanted: np.ndarray, loss: str | None = None) -> "Objective":
        """For imitating numbers (n, d), the rows to train on."""
        loss = loss or LOSSES["imitation"][0]
        if loss not in LOSSES["imitation"]:
            raise errors.unknown("loss without a task", loss, LOSSES["imitation"])
        return cls(None, loss, constant=tuple(wanted.mean(0, dtype=np.float64).tolist()))

    @property
    def measure(self) -> str:
        """What `metric` gives: accuracy, mae, rmse, or the loss of an imitation."""
        return tasks.get(self.task).metric if self.task else self.loss

    @property
    def aim(self) -> str:
        return f"task {self.task!r}" if self.task else "what it should imitate"

    @property
    def kind(self) -> str:
        return tasks.get(self.task).kind if self.task else "imitation"

    @property
    def width(self) -> int:
        if self.task is None:
            return len(self.constant)
        about = tasks.get(self.task)
        return 1 if about.kind == "regression" else len(about.classes)

    def targets(self, labels: pd.DataFrame) -> Tensor:
        """(n,) float64 in label units, (n,) int64 classes, −1 missing, or (n, width) float64; NaN missing."""
        return torch.from_numpy(np.array(tasks.get(self.task).encode(labels)))

    def counts(self, target) -> np.ndarray:
        """(n,) how many labels each face has in targets as `losses` takes them; one where it is all or nothing."""
        counts = present(target)
        return np.minimum(counts, 1) if self.kind in ("classes", "imitation") else counts

    def mirrored(self, target: np.ndarray) -> np.ndarray:
        """The targets of the mirror images: yaw and roll change sign, poses change sides, the rest stays."""
        about = tasks.get(self.task)
        if about.flip == "mirror":
            names = tasks.flip_labels(pd.DataFrame({about.name: about.classes}))[about.name]
            return target[:, [about.classes.index(name) for name in names]]
        return -target if about.flip == "negate" else target

    def check(self, output, n: int, name: str) -> None:
        """ValueError where the network's output for n faces does not fit the task; it says how to mend it."""
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if not isinstance(output, Tensor) or len(output) != n or output.numel() != n * self.width:
            raise ValueError(
                f"{name!r} gives an output of shape {shape} for {n} faces; {self.aim} needs "
                f"({n}, {self.width}): give it a head, net = fl.with_head(net, {self.width})"
            )

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,) float32, the sum of each face's losses over the labels it has (`present` counts them)."""
        output = output.float().reshape(len(target), self.width)  # (n, width)
        if self.loss == "cross_entropy":
            if target.ndim == 2:  # probabilities
                return -(target.to(output.dtype) * output.log_softmax(1)).sum(1)
            return F.cross_entropy(output, target, reduction="none", ignore_index=-1)
        target = target.reshape(output.shape)
        if self.loss == "cosine":
            return 1 - F.cosine_similarity(output, target.to(output.dtype))
        if self.task is None:
            return F.mse_loss(output, target.to(output.dtype), reduction="none").mean(1)
        known = ~target.isnan()
        target = ((target.nan_to_num() - self.center) / self.scale).to(output.dtype)
        if self.loss == "smooth_l1":
            each = F.smooth_l1_loss(output, target, reduction="none")
        elif self.loss == "mse":
            each = F.mse_loss(output, target, reduction="none")
        else:
            each = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        # where() and not a product: the loss of a missing label is 0 even if the output is infinite
        return torch.where(known, each, each.new_zeros(())).sum(1)

    def read(self, output: Tensor) -> np.ndarray:
        """What the output says: (n,) numbers in the task's unit, or (n, width) probabilities; an imitation as it is."""
        output = output.detach().double().cpu().reshape(-1, self.width)
        if self.kind == "imitation":
            return output.numpy()
        if self.kind == "regression":
            return output[:, 0].numpy() * self.scale + self.center
        return (output.softmax(1) if self.kind == "classes" else output.sigmoid()).numpy()

    def metric(self, said: np.ndarray, target) -> float:
        """The task's metric over the labels that are there: mae, rmse (in the task's unit) or accuracy; of an imitation
        the mean loss.

        said: what `read` gives. target: what `targets` gives.
        """
        if self.task is None:
            return float(self.losses(torch.from_numpy(said), torch.as_tensor(target)).double().mean())
        about, target = tasks.get(self.task), np.asarray(target)
        if about.kind == "classes":
            return float((said.argmax(1) == target)[target >= 0].mean())
        known = ~np.isnan(target)
        if about.kind == "labels":
            return float(((said > 0.5) == (target > 0.5))[known].mean())
        error = (said - target)[known]
        return float(np.abs(error).mean() if about.metric == "mae" else math.sqrt(np.square(error).mean()))

    def guess(self, target) -> float:
        """The metric of the constant guess."""
        said = np.tile(self.constant, (len(target), 1))  # (n, 1 or width)
        if self.kind == "classes":
            said = np.eye(self.width)[said[:, 0].astype(int)]
        return self.metric(said[:, 0] if self.kind == "regression" else said, target)

    def better(self, a: tuple[float, float], b: tuple[float, float]) -> bool:
        """Is (metric, loss) a better than b? The loss decides between equal metrics."""
        sign = -1 if self.measure == "accuracy" else 1
        return (sign * a[0], a[1]) < (sign * b[0], b[1])

    def best(self, history) -> int:
        """The position of the best row (with metric and val_loss); the last one where nothing was validated."""
        at = len(history) - 1
        for i, row in enumerate(history):
            if i == 0 and not math.isnan(row.metric):
                at = 0
            elif self.better((row.metric, row.val_loss), (history[at].metric, history[at].val_loss)):
                at = i
        return at


def present(codes) -> np.ndarray:
    """(n,) the number of labels each face has, from what `tasks.Task.encode` gives.

    >>> present(np.array([1, -1])), present(np.array([[1.0, np.nan], [0.0, 1.0]]))
    (array([1, 0]), array([1, 2]))
    """
    codes = np.asarray(codes)
    known = codes >= 0 if codes.dtype.kind == "i" else ~np.isnan(codes)
    return known.reshape(len(codes), -1).sum(1)


def aims(task: str | None, targets, n: int) -> tuple[np.ndarray, ...]:
    """What to learn in place of labels, checked: (targets,) or (targets, mirrored), float64 with a row per face.

    ValueError where there are none, of another shape, infinite, or no probabilities where they must be; identity.
    """
    if targets is None:
        raise ValueError("without a task there is nothing to learn: give a task, or targets to imitate")
    parts = targets if isinstance(targets, tuple) else (targets,)
    parts = tuple(np.ascontiguousarray(part, np.float64) for part in parts)
    kind = tasks.get(task).kind if task else "imitation"
    if kind == "identity":
        raise ValueError("task 'identity' has no targets: give task None and the descriptors to imitate")
    if len(parts) > 2 or (task and len(parts) == 2):
        raise ValueError(f"targets has {len(parts)} arrays: expected one, or with task None (targets, mirrored)")
    wide = {"regression": (n,), "imitation": (n, *parts[0].shape[1:2])}.get(kind)
    wide = wide or (n, len(tasks.get(task).classes))
    for part in parts:
        if part.shape != wide or (kind == "imitation" and part.ndim != 2):
            want = "(n, d)" if kind == "imitation" else wide
            raise ValueError(f"targets of shape {part.shape} for {n} faces: expected {want}, a row per face")
        gaps = np.isnan(part).reshape(n, -1)
        if gaps.all():
            raise ValueError("targets are all missing (NaN): there is nothing to learn")
        if kind != "labels" and (gaps.any(1) & ~gaps.all(1)).any():
            raise ValueError(f"targets are partly missing (NaN) in row {(gaps.any(1) & ~gaps.all(1)).argmax()}")
        if np.isinf(part).any():
            raise ValueError(f"targets are infinite in row {np.isinf(part).reshape(n, -1).any(1).argmax()}")
        if kind in ("classes", "labels") and ((part < 0) | (part > 1)).any():
            raise ValueError(
                f"targets of task {task!r} must be from 0 to 1, not {np.nanmin(part):g} … {np.nanmax(part):g}"
            )
    return parts


def with_head(module: nn.Module, outputs: int, *, seed: int = 0) -> nn.Module:
    """A copy of a network (a module or a `Net`) whose last linear layer is a new, untrained one.

    outputs: how many numbers it gives per face: 1 for a regression, else one per class. `seed` draws its weights,
    uniform within ±1/√inputs, as torch does; the bias is 0. ValueError where there is no linear layer.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1000))
    >>> with_head(net, 1)(torch.rand(5, 3, 9, 9)).shape
    torch.Size([5, 1])
    """
    errors.whole("outputs", outputs, 1)
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        kind = type(module).__name__
        raise ValueError(
            f"{kind} has no linear layer to replace: put nn.Sequential(module, nn.AdaptiveAvgPool2d(1), "
            f"nn.Flatten(), nn.Linear(c, {outputs})) there instead, c the channels of its last map"
        )
    module = copy.deepcopy(module)
    old = module.get_submodule(linear[-1])
    new = nn.Linear(old.in_features, outputs, device=old.weight.device, dtype=old.weight.dtype).train(old.training)
    bound = 1 / math.sqrt(old.in_features)
    with torch.no_grad():
        drawn = torch.empty(new.weight.shape).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
        new.weight.copy_(drawn)
        new.bias.zero_()
    if not linear[-1]:  # the module itself is the layer
        return new
    module.set_submodule(linear[-1], new)
    if getattr(module, "decode", None) is not None:  # it read the old head's outputs
        module.decode = None
    return module
