"""What is minimised and reported, against torch and scikit-learn; heads."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics
from torch import nn
from torch.nn import functional as F

import facelab as fl
from facelab.training.objective import Objective, present

RNG = np.random.default_rng(0)
N = 40
NAMES = ("female", "male")
LABELS = pd.DataFrame(
    {
        "yaw": np.where(RNG.random(N) < 0.2, np.nan, RNG.uniform(-60, 60, N)),
        "valence": RNG.uniform(-1, 1, N),
        "gender": np.where(RNG.random(N) < 0.2, None, np.array(NAMES, object)[RNG.integers(0, 2, N)]),
        "pitch": RNG.uniform(-30, 30, N),
        **{
            f"accessories:{name}": np.where(RNG.random(N) < 0.3, np.nan, RNG.integers(0, 2, N))
            for name in ("earrings", "hat", "necklace", "necktie", "eyeglasses")
        },
    }
)


def output(objective):
    return torch.randn(N, objective.width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("loss", ["smooth_l1", "mse"])
def test_regression(loss):
    objective = Objective.of("yaw", LABELS, loss)
    out, target, y = output(objective), objective.targets(LABELS), LABELS["yaw"].to_numpy()
    known = ~np.isnan(y)
    z = torch.from_numpy((y[known] - y[known].mean()) / y[known].std()).float()
    wanted = {"smooth_l1": F.smooth_l1_loss, "mse": F.mse_loss}[loss](out[known, 0], z)
    losses = objective.losses(out, target)
    assert torch.allclose(losses.sum() / present(target).sum(), wanted, rtol=1e-5)
    assert (losses[~known] == 0).all() and losses.shape == (N,)
    said = objective.read(out)
    assert objective.metric(said, target) == pytest.approx(metrics.mean_absolute_error(y[known], said[known]))
    # the constant guess cannot be beaten by another constant
    guess = objective.guess(target)
    assert guess <= min(objective.metric(np.full(N, c), target) for c in np.linspace(-60, 60, 50)) + 1e-9


def test_rmse_and_its_constant():
    objective = Objective.of("valence", LABELS)
    said, target = objective.read(output(objective)), objective.targets(LABELS)
    assert objective.metric(said, target) == pytest.approx(metrics.root_mean_squared_error(LABELS["valence"], said))
    assert objective.guess(target) == pytest.approx(LABELS["valence"].std(ddof=0))


def test_classes():
    objective = Objective.of("gender", LABELS)
    out, target = output(objective), objective.targets(LABELS)
    known = np.array(LABELS["gender"].notna())  # pandas gives a read-only view
    truth = (LABELS["gender"].to_numpy(object)[known] == "male").astype(int)
    wanted = F.cross_entropy(out[known], torch.from_numpy(truth))
    assert torch.allclose(objective.losses(out, target).sum() / present(target).sum(), wanted)
    said = objective.read(out)
    assert np.allclose(said.sum(1), 1)
    assert objective.metric(said, target) == metrics.accuracy_score(truth, said[known].argmax(1))
    assert objective.guess(target) == max(truth.mean(), 1 - truth.mean())
    nine = Objective.of("pose", LABELS)  # from yaw and pitch
    assert nine.width == 9 and (nine.targets(LABELS) < 0).sum() == LABELS["yaw"].isna().sum()


def test_labels():
    objective = Objective.of("accessories", LABELS)
    out, target = output(objective), objective.targets(LABELS)
    known = ~target.isnan()
    wanted = F.binary_cross_entropy_with_logits(out[known], target[known].float())
    assert torch.allclose(objective.losses(out, target).sum() / present(target).sum(), wanted)
    said = objective.read(out)
    assert objective.metric(said, target) == metrics.accuracy_score(target[known], said[known.numpy()] > 0.5)
    assert objective.guess(target) >= 0.5


@pytest.mark.parametrize("task", ["yaw", "gender", "accessories"])
def test_a_missing_label_has_exactly_no_gradient(task):
    objective = Objective.of(task, LABELS)
    out, target = output(objective).requires_grad_(), objective.targets(LABELS)
    objective.losses(out, target).sum().backward()
    missing = target < 0 if task == "gender" else target.isnan()
    assert missing.any() and (out.grad[missing.reshape(N, -1).expand_as(out)] == 0).all()
    scaled = out.detach().clone()
    scaled[missing] = torch.inf  # whatever the network says there
    assert objective.losses(scaled, target).isfinite().all()


def test_better_goes_by_metric_then_loss():
    age, gender = Objective("age", "mse"), Objective("gender", "cross_entropy")
    assert age.better((3, 1), (4, 0)) and not gender.better((0.3, 1), (0.4, 0))
    assert gender.better((0.4, 0.1), (0.4, 0.2)) and not gender.better((0.4, 0.2), (0.4, 0.2))


def test_outputs_that_do_not_fit():
    objective = Objective.of("gender", LABELS)
    for wrong, shape in (
        (torch.zeros(3, 1), r"\(3, 1\)"),
        (torch.zeros(6), r"\(6,\)"),
        ((torch.zeros(3, 2),), "tuple"),
    ):
        with pytest.raises(ValueError, match=rf"shape {shape} for 3 faces; .* needs \(3, 2\): .*with_head\(net, 2\)"):
            objective.check(wrong, 3, "net")
    objective.check(torch.zeros(3, 2, 1, 1), 3, "net")


def test_a_head_replaces_the_last_linear_layer_of_a_copy():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 7), nn.ReLU(), nn.Linear(7, 100))
    net = fl.nets.wrap(module, size=8)
    net.decode = lambda y: y.argmax(1)
    before = net.fingerprint
    new = fl.with_head(net, 9)
    x = torch.rand(2, 3, 8, 8)
    assert new(x).shape == (2, 9) and net(x).shape == (2, 100) and net.fingerprint == before
    assert new.decode is None and new.size == 8
    assert torch.equal(new.module[2].weight, module[2].weight)
    assert fl.with_head(net, 9).fingerprint == new.fingerprint != fl.with_head(net, 9, seed=1).fingerprint
    bound = 1 / 7**0.5
    assert new.module[4].weight.abs().max() <= bound and (new.module[4].bias == 0).all()
    assert fl.with_head(nn.Linear(3, 4), 2)(torch.rand(5, 3)).shape == (5, 2)
    with pytest.raises(ValueError, match=r"Conv2d has no linear layer to replace: .*nn.Linear\(c, 5\)"):
        fl.with_head(nn.Conv2d(3, 4, 1), 5)
    with pytest.raises(ValueError, match="outputs 0"):
        fl.with_head(net, 0)
