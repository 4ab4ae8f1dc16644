"""Schedules against torch's own; which layers are trained."""

import pytest
import torch
from torch import nn

from facelab.training.optimizer import OPTIMIZERS, SCHEDULES, factor, make, mode, only


@pytest.mark.parametrize("steps", [3, 10, 97])
def test_schedules_are_those_of_torch(steps):
    def rates(build):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule, seen = build(optimizer), []
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return seen

    oracle = {
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps),
        "onecycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps + 1, cycle_momentum=False),
        "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0),
    }
    for schedule in set(SCHEDULES) - {"onecycle"}:
        assert [factor(schedule, i, steps) for i in range(steps)] == pytest.approx(rates(oracle[schedule]), abs=1e-12)
    if steps > 3:  # torch's needs one step more than it may take
        ours = [factor("onecycle", i, steps + 1) for i in range(steps)]
        assert ours == pytest.approx(rates(oracle["onecycle"]), abs=1e-9)


@pytest.mark.parametrize("steps", range(1, 12))
def test_rates_are_shares_however_few_steps(steps):
    for schedule in SCHEDULES:
        assert all(0 < factor(schedule, i, steps) <= 1 for i in range(steps))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_spares_biases_and_norms(name):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {k: v.detach().clone() for k, v in net.named_parameters()}
    optimizer = make(name, net.parameters(), 0.1, 0.5)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {k for k, v in net.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"0.weight"}


def test_only_some_layers_for_a_while():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Dropout(), nn.Linear(4, 1))
    net[2].bias.requires_grad_(False)
    net.eval()
    with only(net, ["2", "0.1.bias"]):
        trained = [name for name, p in net.named_parameters() if p.requires_grad]
        assert trained == ["0.1.bias", "2.weight", "2.bias"]
        mode(net)
        assert net[1].training and net[2].training and net[0][1].training and not net[0][0].training
    assert not net[2].bias.requires_grad and net[2].weight.requires_grad and not net[1].training
    with only(net, "0"):
        mode(net)
        assert net[0][1].training and not net[2].training
    with pytest.raises(ValueError, match=r"unknown layer to train '0.2'"), only(net, "0.2"):
        pass
    with pytest.raises(ValueError, match="unknown layer to train ''"), only(net, ""):
        pass


def test_a_norm_without_weights_is_frozen_with_the_layer_before_it():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False)]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 2))
    with only(module, ["2", "5"]):
        mode(module)
        assert [layer.training for layer in module[:4]] == [False, False, True, True]
    with only(module, None):
        mode(module)
        assert all(layer.training for layer in module)
