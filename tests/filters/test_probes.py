"""Probes against scikit-learn, moments against tables, and honest scores on unseen people."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

from facelab import tasks
from facelab.filters import probes
from facelab.filters.clustered import draws
from facelab.filters.drops import compare
from facelab.filters.responses import Responses


def table(x, **labels):
    labels = pd.DataFrame(labels)
    people = pd.factorize(labels["identity"])[0]
    return Responses("made up", {"conv": np.asarray(x, np.float32)}, labels, people)


def made(k=20, m=15, c=12, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    who, yaw = np.repeat(np.arange(k), m), rng.uniform(-60, 60, k * m)
    x = rng.normal(size=(k * m, c)) @ rng.normal(size=(c, c)) + 7
    x[:, :3] += noise * np.outer(yaw, [0.2, -0.05, 0.05])
    male = np.where(rng.random(k * m) < 0.15, "male", "female")
    x[:, 4] += 8 * (male == "male")
    shown = rng.integers(0, 7, k * m)
    x[:, 5:] += 12 * np.eye(7)[shown]
    labels = {"identity": who, "yaw": yaw, "gender": male, "expression": np.array(tasks.EXPRESSIONS)[shown]}
    return table(x, **labels)


def test_ridge_is_sklearns():
    data = made()
    x, y = data["conv"].astype(float), data.targets("expression")
    parts = probes._Parts(x, y, data.folds(5))
    model = probes.ridge(parts.system(range(5)), 0.3)
    oracle = make_pipeline(StandardScaler(), Ridge(alpha=0.3 * len(x))).fit(x, y)
    assert np.allclose(model.predict(x), oracle.predict(x), atol=1e-9)


def test_fold_scores_are_those_of_models_fitted_to_the_other_folds():
    data = made()
    probe, fold, y = probes.fit(data, "conv", "yaw"), data.folds(5), data.targets("yaw")
    for f, row in enumerate(probe.scores.itertuples()):
        inside = fold == f
        assert row.n == inside.sum()
        predicted = probe.models[f].predict(data["conv"][inside])
        assert np.allclose(probe.held_out[inside], predicted)
        assert row.r2 == pytest.approx(r2_score(y[inside], predicted))
    assert probe.score == pytest.approx(r2_score(y, probe.held_out)) and probe.score > 0.5
    people = [set(data.identities[fold == f]) for f in range(5)]
    assert sum(map(len, people)) == len(set.union(*people)) == 20


def test_a_fold_model_has_seen_nothing_of_its_fold():
    """Neither faces nor labels, not even to choose α."""
    data = made()
    probe, unseen = probes.fit(data, "conv", "yaw"), data.folds(5) == 3
    x, yaw = data["conv"].copy(), data.labels["yaw"].to_numpy().copy()
    x[unseen], yaw[unseen] = 50 * x[unseen][::-1], -yaw[unseen]
    spoilt = probes.fit(table(x, identity=data.identities, yaw=yaw), "conv", "yaw")
    assert np.allclose(spoilt.models[3].coef, probe.models[3].coef, rtol=1e-4)
    assert not np.allclose(spoilt.models[2].coef, probe.models[2].coef, rtol=1e-1)


@pytest.mark.parametrize("task", ["yaw", "gender", "expression"])
def test_moments_give_the_same_probe_as_the_table(task):
    data = made()
    sums = probes.fit(data.moments([task], blocks=data.folds(5)), "conv", task)  # the table's folds
    rows, y = probes.fit(data, "conv", task), data.targets(task)
    assert np.allclose(sums.predict(data["conv"]), rows.predict(data["conv"]), atol=1e-6)
    assert sums.alpha == rows.alpha and sums.held_out is None and sums.metric == "r2"
    assert sums.scores["n"].tolist() == rows.scores["n"].tolist()
    assert np.allclose(sums.scores["r2"], rows.scores["r2"], atol=1e-6)
    pooled = 1 - np.square(y - rows.held_out).sum() / np.square(y - y.mean(0)).sum()
    assert sums.score == pytest.approx(pooled, abs=1e-6)


def test_a_rare_class_is_not_drowned():
    data = made()
    probe = probes.fit(data, "conv", "gender")
    said = probe.decide(data["conv"])
    truth = data.targets("gender")[:, 0]
    assert probe.metric == "balanced_accuracy" and probe.score > 0.8
    assert balanced_accuracy_score(truth, said) > 0.85 and set(said) == {0, 1}
    fold = data.folds(5) == 2
    unseen = probes.decide("gender", probe.held_out[fold], probe.models[2].cut)
    assert probe.scores["balanced_accuracy"][2] == pytest.approx(balanced_accuracy_score(truth[fold], unseen))


def test_several_classes_and_several_labels():
    data = made()
    probe = probes.fit(data, "conv", "expression")
    assert probe.predict(data["conv"]).shape == (300, 7) and probe.score > 0.8
    assert (probe.decide(data["conv"]) == data.targets("expression").argmax(1)).mean() > 0.8
    rng = np.random.default_rng(0)
    names = tasks.get("accessories").columns
    worn = rng.integers(0, 2, (200, 5))
    x = worn + 0.2 * rng.normal(size=(200, 5))
    several = table(x, identity=np.repeat(np.arange(20), 10), **dict(zip(names, worn.T.astype(float), strict=True)))
    probe = probes.fit(several, "conv", "accessories")
    assert probe.score > 0.95 and probe.decide(x).shape == (200, 5)


def test_what_only_identity_explains_does_not_carry_over_to_new_people():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(20), 15)
    x = rng.normal(size=(20, 15))[who] + 0.01 * rng.normal(size=(300, 15))
    age = 20.0 + 50 * rng.random(20)[who]
    probe = probes.fit(table(x, identity=who, age=age), "conv", "age")
    assert probe.score == pytest.approx(r2_score(age, probe.held_out)) and probe.score < 0.1
    known = probes.ridge(probes._Parts(x, age[:, None], np.zeros(300, int)).system([0]), 1e-7)
    assert r2_score(age, known.predict(x)) > 0.5  # people it has seen, it knows


def test_dead_duplicated_and_missing():
    data = made()
    x, yaw = data["conv"].copy(), data.labels["yaw"].to_numpy().copy()
    x = np.hstack([x, x[:, :1], np.full((300, 1), 0.1, np.float32)])
    yaw[::7] = np.nan
    probe = probes.fit(table(x, identity=data.identities, yaw=yaw), "conv", "yaw")
    assert np.isfinite(probe.model.coef).all() and probe.model.coef[-1] == 0 and probe.score > 0.5
    assert np.isnan(probe.held_out[::7]).all() and np.isfinite(probe.held_out[1::7]).all()
    assert probe.scores["n"].sum() == np.isfinite(yaw).sum()


def test_scale_of_responses_does_not_matter():
    data = made()
    scaled = table(1e-3 * data["conv"] + 5, identity=data.identities, yaw=data.labels["yaw"])
    assert probes.fit(scaled, "conv", "yaw").score == pytest.approx(probes.fit(data, "conv", "yaw").score, abs=1e-3)


@pytest.mark.parametrize("moments", [False, True])
def test_blas_is_held_to_one_thread_while_a_probe_is_fitted(moments, monkeypatch):
    """Two threads on small matrices gain nothing, and on a busy machine wait for each other fifty times as long."""
    eigh, threads = np.linalg.eigh, []

    def spied(matrix):
        threads.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
        return eigh(matrix)

    monkeypatch.setattr(probes.np.linalg, "eigh", spied)
    data = made()
    probes.fit(data.moments(["yaw"]) if moments else data, "conv", "yaw")
    assert threads and all(found == {1} for found in threads)


def test_bad_input():
    data = made(k=4)
    with pytest.raises(ValueError, match="unknown layer 'convv': did you mean 'conv'"):
        probes.fit(data, "convv", "yaw")
    with pytest.raises(ValueError, match="unknown task 'yawn'"):
        probes.fit(data, "conv", "yawn")
    with pytest.raises(ValueError, match="4 people, too few for 5 parts"):
        probes.fit(data, "conv", "yaw")
    with pytest.raises(ValueError, match="2 folds: expected at least 3"):
        probes.fit(data, "conv", "yaw", folds=2)
    with pytest.raises(ValueError, match=r"do not fit a probe of 12 filters"):
        probes.fit(made(), "conv", "yaw").predict(np.zeros((2, 5)))
    for value, message in ((np.nan, "none of the 300 images"), (5.0, "the label is .* on all 300 images")):
        constant = table(made()["conv"], identity=made().identities, yaw=np.full(300, value))
        with pytest.raises(ValueError, match=message):
            probes.fit(constant, "conv", "yaw")


def aged(k=15, m=40, seed=0):
    """Few people of one age each, well read by the filters: folds of three ages, some of them nearly the same."""
    rng = np.random.default_rng(seed)
    who, age = np.repeat(np.arange(k), m), np.sort(20 + 50 * rng.random(k))
    age[:6] = 20 + 0.5 * np.arange(6)
    x = (age[:, None] + rng.normal(0, 6, (k, 4)))[who] + rng.normal(0, 3, (k * m, 4))
    return table(x, identity=who, age=age[who])


def test_the_score_is_pooled_over_all_rows_and_that_of_an_ablation():
    """With three people in a fold the mean of the folds' R² would be far below 0."""
    for seed in range(6):
        data = aged(seed=seed)
        probe = probes.fit(data, "conv", "age")
        assert probe.score == pytest.approx(r2_score(data.labels["age"], probe.held_out)) and probe.score > 0.8
        args = (data.targets("age"), data.identities, "age", data["conv"], [data["conv"]], {}, "conv", "zero")
        ages = data.labels["age"]
        within = r2_score(ages, probe.held_out.clip(ages.min(), ages.max()))  # an ablation takes no age beyond them
        assert compare(*args, 5, 20, 0).summary["base"].to_numpy() == pytest.approx(within)
    data = made()
    probe, truth = probes.fit(data, "conv", "expression"), data.targets("expression").argmax(1)
    assert probe.score == pytest.approx(balanced_accuracy_score(truth, probe.held_out.argmax(1)), abs=1e-12)


def test_the_interval_is_that_of_people_drawn_again():
    data = aged()
    age, who = data.targets("age"), data.identities
    probe = probes.fit(data, "conv", "age")
    expected = []
    for drawn in draws(15, 200, 3):
        rows = np.repeat(np.arange(600), drawn[who])
        expected.append(r2_score(age[rows], probe.held_out[rows]))
    low, high = probes.interval(probe, data, bootstraps=200, seed=3)
    assert (low, high) == pytest.approx(np.percentile(expected, (2.5, 97.5))) and low < probe.score < high
    assert probes.interval(probe, data, seed=4) == probes.interval(probe, data, seed=4) != (low, high)


@pytest.mark.parametrize("task", ["gender", "expression"])
def test_the_interval_of_classes(task):
    clear = made()
    noise = 4 * np.random.default_rng(0).normal(size=clear["conv"].shape)
    data = Responses("noisy", {"conv": clear["conv"] + noise}, clear.labels, clear.identities)
    labels = data.labels.assign(**{task: data.labels[task].where(np.arange(300) % 5 > 0)})
    holes = Responses("holes", data.layers, labels, data.identities)
    probe = probes.fit(holes, "conv", task)
    low, high = probes.interval(probe, holes)
    assert low < probe.score < high and 0.01 < high - low < 0.4
    with pytest.raises(ValueError, match="fitted to 240 labelled rows of 300, not to this table"):
        probes.interval(probe, data)
    with pytest.raises(ValueError, match="moments knows no single face"):
        probes.interval(probes.fit(data.moments([task]), "conv", task), data)


def test_moments_whose_labels_are_not_in_every_fold():
    data = made()
    fold = data.folds(5)
    for gone in range(1, 5):
        labels = data.labels.assign(age=60 + data.labels["yaw"].where(fold >= gone))
        holes = Responses("holes", data.layers, labels, data.identities)
        moments = holes.moments(["yaw", "age"], blocks=fold)
        if gone < 3:
            probe = probes.fit(moments, "conv", "age")
            assert probe.scores["fold"].tolist() == list(range(gone, 5)) and probe.score > 0.5
            assert len(probe.models) == 5 - gone
        else:
            with pytest.raises(ValueError, match=f"'age': {5 - gone} folds of these moments .* at least 3"):
                probes.fit(moments, "conv", "age")
    with pytest.raises(ValueError, match="2 folds of these moments have its labels; expected at least 3"):
        probes.fit(data.moments(["yaw"], folds=2), "conv", "yaw")
    constant = table(data["conv"], identity=data.identities, yaw=np.full(300, 5.0))
    with pytest.raises(ValueError, match=r"the label is \[5\.\] on all 300 images"):
        probes.fit(constant.moments(["yaw"]), "conv", "yaw")
    with pytest.raises(ValueError, match="unknown task 'age'"):
        probes.fit(constant.moments(["yaw"]), "conv", "age")
