import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facelab.faces.faceset import FaceSet
from facelab.filters import agnostic, sparse
from facelab.filters.matched import discriminant, matched_auc
from facelab.filters.responses import responses
from facelab.nets import wrap

SHOWN = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
PEOPLE, EACH = 40, 6


def faces(seed=0, people=PEOPLE):
    """A face says who it is by its red and what it shows by its green, both noisy."""
    rng = np.random.default_rng(seed)
    person, shown = np.repeat(np.arange(people), EACH), rng.integers(0, 2, people * EACH)
    red = rng.uniform(40, 220, people)[person] + rng.normal(0, 3, len(person))
    green = np.where(shown, 190, 60) + rng.normal(0, 3, len(person))
    images = np.zeros((len(person), 3, 8, 8), np.uint8)
    images[:, 0], images[:, 1] = red[:, None, None].clip(0, 255), green[:, None, None].clip(0, 255)
    labels = pd.DataFrame({"identity": [f"{seed}-{p}" for p in person], "expression": [SHOWN[4 * s] for s in shown]})
    return FaceSet("red and green", images, labels, np.full((len(person), 5, 2), np.nan, np.float32))


def network():
    """Filters 0 and 1 follow red (identity), 2 and 3 green (expression); the head reads green for happy."""
    net = wrap(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7)), size=8
    )
    with torch.no_grad():
        net.module[0].weight.zero_()
        net.module[0].bias.zero_()
        for k, (channel, factor) in enumerate(((0, 4.0), (0, 2.0), (1, 1.0), (1, 0.5))):
            net.module[0].weight[k, channel] = factor
        head = net.module[-1]
        head.weight.zero_()
        head.bias.fill_(-100)
        head.bias[0], head.bias[4] = 0.5, 0
        head.weight[4, 2] = 1.0
    return net


@pytest.fixture(scope="module")
def known():
    return faces(0)


@pytest.fixture(scope="module")
def unseen():
    return faces(1)


@pytest.fixture(scope="module")
def scores(known):
    return agnostic.knowledge(responses(network(), known, cached=False, progress=False))


def test_planted_identity_filters_rank_first(scores):
    order = agnostic.ranking(scores)
    assert {k for _, k in order[:2]} == {0, 1}
    who, shown = scores["identity"].to_numpy(), scores["expression"].to_numpy()
    assert (who[:2] > 0.95).all() and (shown[:2] < 0.1).all()
    assert (who[2:] < 0.1).all() and (shown[2:] > 0.95).all()


def test_their_removal_leaves_chance_and_the_expression(unseen, scores):
    found = agnostic.silence(network(), unseen, agnostic.ranking(scores), steps=2, most=0.5, route="found").table()
    assert found["removed"].tolist() == [0, 1, 2]
    assert found["auc"].iloc[0] > 0.9 and abs(found["auc"].iloc[-1] - 0.5) < 0.06
    assert (found["kept_pct"] == 100).all() and (found["accuracy"] == 1).all()
    assert (found["low"] <= found["auc"]).all() and (found["auc"] <= found["high"]).all()


def test_the_wrong_filters_do_not(unseen, scores):
    order = agnostic.ranking(scores)[::-1]
    found = agnostic.silence(network(), unseen, order, steps=2, most=0.5, route="wrong").table()
    assert found["auc"].iloc[-1] > 0.9 and found["kept_pct"].iloc[-1] < 80
    assert found["balanced"].iloc[0] == 1 and found["balanced"].iloc[-1] == 0.5  # always the same answer


def test_cut_and_measured_is_silenced(unseen, scores):
    net, order = network(), agnostic.ranking(scores)[:2]
    small = sparse.cut(net, agnostic.kept(net, order))
    assert small.convs["0"].out_channels == 2
    cut = agnostic.against(agnostic.measured(small, unseen, "cut"), 1.0).table().iloc[0]
    silent = agnostic.silence(net, unseen, order, steps=1, most=1.0, route="x").table().iloc[-1]
    assert cut["auc"] == pytest.approx(silent["auc"], abs=1e-6) and cut["accuracy"] == silent["accuracy"]


def test_erasing_keeps_every_answer(known, unseen):
    found = agnostic.erase(network(), known, unseen, ranks=[0, 1, 3]).table()
    assert found["accuracy"].nunique() == 1 and (found["kept_pct"] == 100).all()
    assert found["auc"].iloc[0] > 0.9 and abs(found["auc"].iloc[-1] - 0.5) < 0.06
    assert abs(found["auc"].iloc[1] - 0.5) < 0.06  # one direction carries all of red


def test_best_keeps_what_was_asked(unseen, scores):
    found = agnostic.silence(network(), unseen, agnostic.ranking(scores), steps=4, most=1.0, route="a")
    found += agnostic.silence(network(), unseen, agnostic.ranking(scores, seed=1), steps=4, most=1.0, route="random")
    best = found.best(95)
    assert set(best["route"]) <= {"a", "random"} and (best["kept_pct"] >= 95).all()
    assert best["auc"].iloc[0] < 0.56


def test_a_layer_is_never_silenced_whole(unseen):
    net = network()
    assert len(agnostic.removed(net, [("0", k) for k in range(4)])["0"]) == 3


@pytest.mark.parametrize("seed", range(3))
def test_auc_is_that_of_pairs_with_the_same_classes(seed):
    rng = np.random.default_rng(seed)
    who, shown, x = rng.integers(0, 6, 40), rng.integers(0, 3, 40), rng.integers(0, 5, (40, 2)).astype(float)
    won, weight = 0.0, 0
    pairs = [(i, j) for i in range(40) for j in range(i)]

    def kind(pair):
        return tuple(sorted(shown[list(pair)]))

    for s in {kind(p) for p in pairs}:
        d = {e: [np.linalg.norm(x[i] - x[j]) for i, j in pairs if kind((i, j)) == s and (who[i] == who[j]) == e]
             for e in (True, False)}  # fmt: skip
        if d[True] and d[False]:
            a, b = np.array(d[True])[:, None], np.array(d[False])
            won += len(d[True]) * ((a < b) + 0.5 * (a == b)).mean()
            weight += len(d[True])
    assert matched_auc(x, who, shown, bootstraps=5).auc == pytest.approx(won / weight, abs=1e-9)


def test_somebody_who_learns_the_code_finds_more(known, unseen):
    found = agnostic.measured(network(), unseen, "whole", known=known).table().iloc[0]
    assert found["fitted"] > 0.9
    loud = np.random.default_rng(0).normal(0, 50, (len(known), 3))
    codes = np.hstack([loud, known.images[:, 0, 0, 0][:, None].astype(float)])
    plain = matched_auc(codes, known.identities, known.labels["expression"], bootstraps=0).auc
    learned = matched_auc(codes @ discriminant(codes, known.identities), known.identities, known.labels["expression"])
    assert plain < 0.8 < learned.auc
    gone = agnostic.erase(network(), known, unseen, ranks="full").table().iloc[0]
    assert abs(gone["fitted"] - 0.5) < 0.06


def test_bad_input(known, scores):
    net, table = network(), responses(network(), known, cached=False, progress=False)
    with pytest.raises(ValueError, match="unknown layer '1'"):
        agnostic.knowledge(table, ["1"])
    with pytest.raises(ValueError, match="no choice between classes"):
        agnostic.knowledge(table, task="age")
    with pytest.raises(ValueError, match="several images each"):
        agnostic.knowledge(table.select(slice(0, PEOPLE * EACH, EACH)))
    with pytest.raises(ValueError, match="0 filters to silence"):
        agnostic.silence(net, known, [], route="x")
    with pytest.raises(ValueError, match="expected numbers from 0 to 3"):
        agnostic.erase(net, known, known, ranks=[9])
    with pytest.raises(ValueError, match="unknown ranks 'ful': did you mean 'full'"):
        agnostic.erase(net, known, known, ranks="ful")
    with pytest.raises(ValueError, match="has no linear layer"):
        agnostic.features(wrap(nn.Sequential(nn.Conv2d(3, 4, 1)), size=8), known)
    with pytest.raises(ValueError, match="none of both sorts"):
        matched_auc(np.zeros((4, 1)), [0, 0, 1, 1], [0, 0, 1, 1])
    happy = known[(known.labels["expression"] == "happy").to_numpy()]
    with pytest.raises(ValueError, match="the label is 'happy' on all"):
        agnostic.knowledge(responses(net, happy, cached=False, progress=False))
