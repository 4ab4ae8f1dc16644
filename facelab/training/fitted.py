"""What a training gives back."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from facelab import tasks
from facelab.training.inputs import Inputs, outputs
from facelab.training.objective import Objective


class Epoch(NamedTuple):
    """A row of the history (see `Fit`)."""

    epoch: int
    loss: float
    val_loss: float
    metric: float
    lr: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained network and how it got there.

    history: a row per epoch: epoch (from 1), loss (mean over the training labels, as they passed), val_loss and metric
    (on the validation faces after the epoch; NaN without any), lr at its start, seconds of training (validation not
    counted). best: the epoch whose weights the network has now. score: the metric then, in the task's unit. constant:
    the same for the best guess that looks at no face. train, validation: rows of the faces used; validation is None
    where it was a set of its own or none.
    """

    net: object
    objective: Objective
    history: pd.DataFrame
    best: int
    score: float
    constant: float
    train: np.ndarray
    validation: np.ndarray | None

    @property
    def metric(self) -> str:
        """mae, rmse or accuracy; of an imitation its loss."""
        return self.objective.measure

    def predict(self, faces, *, batch: int = 64) -> np.ndarray:
        """(n,) numbers in the task's unit, or (n, classes) probabilities, or (n, d) imitated numbers; in float32."""
        inputs = Inputs(self.net, faces, np.arange(len(faces)), keep=False)
        return self.objective.read(outputs(self.net.module, inputs, batch, self.objective.width))

    def finished(self):
        """A copy of the network that says the same by itself, to be saved: numbers in the task's unit (a regression is
        trained on standardised labels), or logits. ValueError where a regression does not end in a linear layer.
        """
        net, objective = copy.deepcopy(self.net), self.objective
        if objective.kind == "regression":
            last = [layer for layer in net.module.modules() if isinstance(layer, nn.Linear)][-1:]
            if not last or last[0].out_features != 1 or last[0].bias is None:
                raise ValueError(f"{net.name!r} does not end in a linear layer with one output and a bias")
            with torch.no_grad():
                last[0].weight.mul_(objective.scale)
                last[0].bias.mul_(objective.scale).add_(objective.center)
        return net

    def table(self) -> pd.DataFrame:
        """One row: what was trained, how well, what a constant guess would score, at what cost."""
        unit = tasks.get(self.objective.task).unit if self.objective.task else ""
        row = {"net": self.net.name, "task": self.objective.task, "metric": self.metric, "unit": unit}
        row |= {"score": self.score, "constant": self.constant, "best": self.best, "epochs": len(self.history)}
        return pd.DataFrame([row | {"seconds": self.history["seconds"].sum(), "faces": len(self.train)}])
