"""Features that do not tell which face set a face is from (2MD-MTL §3.1, Eqs 1–2), and a probe that checks it."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

MARGIN = 0.2  # of the triplets, as in the paper


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def reverse(x: Tensor, strength: float = 1.0) -> Tensor:
    """x; but its gradient is −strength times what comes back (Y. Ganin, V. Lempitsky, ICML 2015).

    >>> x = torch.tensor([2.0], requires_grad=True)
    >>> reverse(3 * x, 0.5).backward()
    >>> x.grad
    tensor([-1.5000])
    """
    return _Reverse.apply(x, strength)


class Discriminator(nn.Module):
    """Features (n, d) → points (n, 32) on the unit sphere, where faces of one set should lie together.

    Features are standardised first: they come from a ReLU, and without that all points start as one.
    """

    def __init__(self, width: int, hidden: int = 64, outputs: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(width, affine=False), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.layers(features), dim=1)


def triplet(points: Tensor, domain: Tensor, *, margin: float = MARGIN, generator=None) -> Tensor:
    """mean over anchors of max(0, ‖a − p‖² − ‖a − n‖² + margin), p drawn from the anchor's set, n from another one.

    points (n, k) of length 1; domain (n,) integers; generator: of the CPU. Anchors without a p or an n are left out; 0
    where none is left. Departs from Eq. 1 as printed by its signs (the text describes this, the ordinary triplet) and
    by the hinge, without which the adversary has no bound.

    >>> points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> apart, mixed = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    >>> triplet(points, apart).item(), round(triplet(points, mixed).item(), 1) > 0.2
    (0.0, True)
    """
    domain = domain.cpu()  # where the generator is
    same = domain[:, None] == domain
    others = same & ~torch.eye(len(domain), dtype=torch.bool)
    anchors = torch.nonzero(others.any(1) & ~same.all(1)).flatten()
    if len(anchors) == 0:
        return points.sum() * 0
    p, n = (torch.multinomial(mask[anchors].float(), 1, generator=generator).flatten() for mask in (others, ~same))
    a = points[anchors]
    return F.relu((a - points[p]).square().sum(1) - (a - points[n]).square().sum(1) + margin).mean()


def probe(features: np.ndarray, domain: np.ndarray, people: np.ndarray, *, folds: int = 3) -> float:
    """How well a logistic regression that had no part in the training tells the sets apart by their features: balanced
    accuracy on people it has not seen. Chance is 1 / sets.

    features (n, d), standardised per dimension; domain (n,) the set of each face; people (n,): folds share nobody.
    ValueError: one set only.

    >>> rng = np.random.default_rng(0)
    >>> where = np.repeat([0, 1], 60)
    >>> apart = rng.normal(size=(120, 3)) + 4 * where[:, None]
    >>> probe(apart, where, np.arange(120)) > 0.9 > 0.7 > probe(rng.normal(size=(120, 3)), where, np.arange(120))
    True
    """
    if len(np.unique(domain)) < 2:
        raise ValueError("the faces are all of one set: expected at least 2 sets to tell apart")
    said = np.empty(len(domain), domain.dtype)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300, class_weight="balanced"))
    for train, test in GroupKFold(folds).split(features, groups=people):
        said[test] = model.fit(features[train], domain[train]).predict(features[test])
    return float(balanced_accuracy_score(domain, said))
