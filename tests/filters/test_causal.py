"""Causal curves on sweeps whose truth is known, beside correlations that agree or mislead."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from facelab import nets
from facelab.faces.faceset import FaceSet
from facelab.filters.causal import CausalCurve, causal_curve
from facelab.filters.craft import find_crafts
from facelab.filters.responses import responses

YAWS = np.linspace(-60, 60, 13)


def faces(yaw, who, brown=None, column="yaw"):
    """Red = how far left, green = how far sideways, blue = the person (or `brown`)."""
    person = np.random.default_rng(0).uniform(60, 200, 100)[who] if brown is None else brown
    rgb = np.stack([128 + yaw, 2 * np.abs(yaw) + 20, person], 1)
    images = np.broadcast_to(rgb[:, :, None, None], (len(yaw), 3, 8, 8)).round().astype(np.uint8)
    labels = pd.DataFrame({"identity": [f"p{i}" for i in who], column: yaw})
    return FaceSet("sweep of yaw", images, labels, np.zeros((len(yaw), 5, 2), np.float32))


@pytest.fixture(scope="module")
def net():
    """Filters: left, right, sideways, who it is, nothing."""
    conv = nn.Conv2d(3, 5, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1, 0, 0.1], [-1, 0, 0.1], [0, 1, 0], [0, 0, 1], [0, 0, 0]])[:, :, None, None])
        conv.bias.copy_(torch.tensor([0, 1, 0, 0, 0.5]))
    return nets.wrap(nn.Sequential(conv, nn.ReLU()), size=8)


def sweeps(people=4):
    return [faces(YAWS, np.full(13, i)) for i in range(people)]


def test_the_curve_is_the_response_person_by_person(net):
    curve = causal_curve(net, sweeps(), "yaw", "0", [0, 3])
    assert curve.responses.shape == (4, 13, 2) and curve.values.tolist() == YAWS.tolist()
    expected = responses(net, sweeps()[2], cached=False, progress=False)["0"][:, [0, 3]]
    assert np.allclose(curve.responses[2], expected)
    table = curve.table()
    row = table[(table["filter"] == 3) & (table["value"] == YAWS[5])].iloc[0]
    sample = curve.responses[:, 5, 1]
    low, high = stats.t.interval(0.95, 3, sample.mean(), stats.sem(sample))
    assert (row["response"], row["low"], row["high"]) == pytest.approx((sample.mean(), low, high))
    assert row["people"] == 4


def test_tuning_names_the_cause(net):
    tuning = causal_curve(net, sweeps(), "yaw", "0").tuning()
    strong = tuning[tuning["rho"] > 0.9].set_index("filter")["kind"].to_dict()
    assert strong == {0: "left", 1: "right", 2: "sideways"}
    assert (tuning[tuning["filter"].isin([3, 4])][["rho", "low", "high", "slope"]] == 0).all(axis=None)
    slope = tuning.query("filter == 0 and kind == 'left'")["slope"].iloc[0]
    assert slope == pytest.approx(1 / 255, rel=0.02)


def of_people(rhos):
    """One filter's curve whose correlations with yaw are `rhos`, person by person; None = it does not respond."""
    y = np.linspace(-1, 1, 5)
    other = y**2 - (y**2).mean()
    y, other = y / np.linalg.norm(y), other / np.linalg.norm(other)
    x = [0 * y if r is None else r * y + np.sqrt(1 - r**2) * other for r in rhos]
    return CausalCurve("yaw", "0", np.array([7]), y * 60, np.array(x)[:, :, None] + 3)


@pytest.mark.parametrize("rhos", [[1, 1, 1, -1], [1] + [None] * 9, [0.5, 0.9, None], [-0.4, -0.8, 0.1], [1, 1, 1]])
def test_rho_is_the_plain_mean_over_people(rhos):
    row = of_people(rhos).tuning().iloc[0]
    plain = np.array([r or 0 for r in rhos], float)
    sign = 1 if plain.mean() > 0 else -1
    half = stats.t.ppf(0.975, len(plain) - 1) * stats.sem(plain)
    expected = np.clip(abs(plain.mean()) + half * np.array([0, -1, 1]), -1, 1)
    assert row[["rho", "low", "high"]].tolist() == pytest.approx(expected.tolist(), abs=1e-9)
    assert row["kind"] == ("left" if sign > 0 else "right") and row["filter"] == 7


def test_two_values_make_no_correlation(net):
    curve = causal_curve(net, [faces(np.array([-30.0, 30, 30]), np.full(3, i)) for i in range(3)], "yaw", "0")
    assert len(curve.table()) == 15  # before and after are worth a look all the same
    with pytest.raises(ValueError, match=r"a sweep of 2 different values .* expected at least 3"):
        curve.tuning()


def test_one_person_has_no_interval(net):
    curve = causal_curve(net, sweeps(1)[0], "yaw", "0", [0])
    assert curve.table()[["low", "high"]].isna().all(axis=None) and curve.tuning()["low"].isna().all()


def test_agreement_shows_a_correlation_that_is_no_cause(net):
    """In the data set blue goes along with yaw within every person; in the sweep it does not."""
    rng = np.random.default_rng(1)
    who, yaw = np.repeat(np.arange(15), 20), rng.uniform(-60, 60, 300)
    data = faces(yaw, who, brown=128 + yaw + rng.normal(0, 15, 300))
    crafts = find_crafts(responses(net, data, cached=False, progress=False), "yaw", bootstraps=200)
    assert set(crafts.layers["0"]) == {0, 1, 2, 3}
    table = causal_curve(net, [faces(YAWS + i, np.full(13, i), brown=np.full(13, 90.0)) for i in (0, 0)], "yaw", "0")
    table = table.agreement(crafts).query("craft").set_index("filter")
    assert table.loc[[0, 1, 2], "same_side"].all() and (table.loc[[0, 1, 2], "causal_rho"] > 0.9).all()
    assert table.loc[3, "causal_rho"] == 0 and not table.loc[3, "same_side"]


def test_expressions_sweep_their_intensity(net):
    smile = faces(np.linspace(0, 1, 5) * 60, np.zeros(5, int), column="intensity")
    tuning = causal_curve(net, smile, "happy", "0", [0, 1]).tuning()
    assert tuning["kind"].tolist() == ["happy", "not happy"] and (tuning["rho"] > 0.9).all()


@pytest.mark.parametrize(
    "given, task, layer, filters, message",
    [
        ([], "yaw", "0", None, "no sweep given"),
        (sweeps(), "yawn", "0", None, "unknown task 'yawn': did you mean 'yaw'"),
        (sweeps(), "pitch", "0", None, "no sweep of 'pitch': its labels lack the column 'pitch'"),
        (sweeps(), "happy", "0", None, "lack the column 'intensity'"),
        (sweeps(), "yaw", "00", None, "unknown layer '00': did you mean '0'"),
        (sweeps(), "yaw", "0", [5], "layer '0' has no filter 5: expected 0 to 4"),
        ([faces(YAWS, np.zeros(13, int)), faces(YAWS + 1, np.zeros(13, int))], "yaw", "0", None, "different values"),
        (faces(YAWS * 0, np.zeros(13, int)), "yaw", "0", None, "changes nothing"),
    ],
)
def test_bad_input(net, given, task, layer, filters, message):
    with pytest.raises(ValueError, match=message):
        causal_curve(net, given, task, layer, filters)


def test_agreement_wants_the_same_task_and_a_tested_layer(net):
    curve = causal_curve(net, sweeps(), "yaw", "0")
    crafts = type("Crafts", (), {"task": "age", "tests": pd.DataFrame({"layer": ["1"]})})
    with pytest.raises(ValueError, match="about 'age', the curve about 'yaw'"):
        curve.agreement(crafts)
    crafts.task = "yaw"
    with pytest.raises(ValueError, match="unknown layer '0'"):
        curve.agreement(crafts)
