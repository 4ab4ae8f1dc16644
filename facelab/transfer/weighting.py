"""How much each task counts: equally, by gradient normalisation, or by its uncertainty (2MD-MTL §3.1, α of the mask).

GradNorm: Z. Chen et al., ICML 2018. Uncertainty: A. Kendall, Y. Gal, R. Cipolla, CVPR 2018.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facelab.errors import number

LEAST = 1e-3  # below this no weight is moved: GradNorm's stay positive


class Equal(nn.Module):
    """Σ over the tasks present of L_j: every weight is 1."""

    wants_norms = False

    def __init__(self, tasks: Sequence[str]):
        super().__init__()
        self.tasks = list(tasks)
        self.register_buffer("weights", torch.ones(len(self.tasks)))

    def total(self, losses: Tensor, here: Tensor) -> Tensor:
        """Σ_j w_j L_j over the tasks `here` (t,) in the batch; losses (t,) are 0 elsewhere."""
        return (torch.where(here, losses, losses.new_zeros(())) * self.weights).sum()


class GradNorm(Equal):
    """Weights that let all tasks learn at one pace.

    G_j = w_j ‖∇_W L_j‖,  Ḡ = mean G_j,  r_j = (L_j / L_j(0)) / mean(L / L(0)),  min_w Σ_j |G_j − Ḡ r_j^pull| / Ḡ

    One step of size `lr` on w (Ḡ r_j^pull held fixed), then Σ w = t. W: weights that all tasks share, named by the
    caller. Tasks that are not in the batch keep their weights and count in no mean; L_j(0) is the first loss seen.

    Departs from the paper, which takes Ḡ's own units for the step, by dividing by Ḡ: then lr means the same for every
    network; and by using the new weights in the same step. Weights stay positive.

    Two tasks, of which the first pulls three times as hard: its weight falls, to the amount the other's rises.

    >>> weigh = GradNorm(["yaw", "age"], lr=0.1)
    >>> weigh.update(torch.tensor([1.0, 1.0]), torch.tensor([3.0, 1.0]), torch.tensor([True, True]))
    >>> weigh.weights  # Ḡ = 2; w − 0.1 · (3, −1) / 2 = (0.85, 1.05), then · 2 / 1.9
    tensor([0.8947, 1.1053])
    """

    wants_norms = True

    def __init__(self, tasks: Sequence[str], *, pull: float = 1.0, lr: float = 0.025):
        super().__init__(tasks)
        for name, value in (("pull", pull), ("lr", lr)):
            number(name, value)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} {value!r}: expected a finite number of at least 0")
        self.pull, self.lr = pull, lr
        self.register_buffer("first", torch.full((len(self.tasks),), torch.nan))

    @torch.no_grad()
    def update(self, losses: Tensor, norms: Tensor, here: Tensor) -> None:
        """One step: losses and norms ‖∇_W L_j‖ (t,) of this batch; here (t,): which tasks it has labels of."""
        new = here & self.first.isnan()
        self.first[new] = losses.detach().float()[new]
        if here.sum() < 2:
            return
        w, norms = self.weights[here], norms.detach().float()[here]
        share = losses.detach().float()[here] / self.first[here].clamp_min(1e-12)
        pace = share / share.mean().clamp_min(1e-12)  # r
        drawn = w * norms
        mean = drawn.mean().clamp_min(1e-12)
        moved = w - self.lr * norms / mean * torch.sign(drawn - mean * pace**self.pull)
        moved = moved.clamp_min(LEAST)
        self.weights[here] = moved * (w.sum() / moved.sum())


class Uncertainty(Equal):
    """Σ_j exp(−s_j) L_j + s_j / 2 over the tasks present, s_j = log σ_j² learned with the network from 0."""

    def __init__(self, tasks: Sequence[str]):
        nn.Module.__init__(self)
        self.tasks = list(tasks)
        self.s = nn.Parameter(torch.zeros(len(self.tasks)))

    @property
    def weights(self) -> Tensor:
        return (-self.s).exp().detach()

    def total(self, losses: Tensor, here: Tensor) -> Tensor:
        each = (-self.s).exp() * losses + self.s / 2
        return torch.where(here, each, each.new_zeros(())).sum()


WEIGHTINGS = {"equal": Equal, "gradnorm": GradNorm, "uncertainty": Uncertainty}
