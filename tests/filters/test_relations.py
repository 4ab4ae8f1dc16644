import json
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
from torch import nn

from facelab import tasks
from facelab.faces.faceset import FaceSet
from facelab.filters import decisions, primaries
from facelab.filters.relations import TASKS, relate
from facelab.filters.responses import Responses
from facelab.filters.satellites import Reader, interval
from facelab.nets import wrap


def labels(n=600, seed=0):
    """n / 3 people with three pictures each."""
    rng = np.random.default_rng(seed)
    person = np.arange(n) // 3
    table = pd.DataFrame({"identity": [f"p{i}" for i in person]})
    table["gender"] = np.where(rng.integers(0, 2, n // 3)[person], "male", "female")
    table["ethnicity"] = np.array(["white", "black", "asian"])[rng.integers(0, 3, n // 3)[person]]
    table["age"] = rng.uniform(0, 100, n // 3)[person]
    table["expression"] = rng.choice(tasks.EXPRESSIONS, n)
    table["yaw"], table["pitch"] = rng.uniform(-60, 60, n), rng.uniform(-50, 50, n)
    for name in ("facial_hair", "accessories"):
        for label in tasks.get(name).classes:
            table[f"{name}:{label}"] = (rng.random(n) < 0.3).astype(float)
    return table


def planted(table, seed=0, noise=0.02, width=24):
    """Two layers: the first is noise, the second carries every task linearly in a random mixture."""
    rng, person = np.random.default_rng(seed), pd.factorize(table["identity"])[0]
    parts = [decisions.targets(task, table) for task in TASKS[1:]]
    who = rng.normal(size=(person.max() + 1, 4))[person]
    signal = np.hstack([*parts, who])
    signal = (signal - signal.mean(0)) / signal.std(0)
    mixed = signal @ np.linalg.qr(rng.normal(size=(signal.shape[1] + 6, signal.shape[1])))[0].T
    layers = {"noise": rng.normal(size=(len(table), width)), "known": mixed + noise * rng.normal(size=mixed.shape)}
    return Responses("planted", {k: v.astype(np.float32) for k, v in layers.items()}, table, person)


@pytest.fixture(scope="module")
def table():
    return planted(labels())


@pytest.fixture(scope="module")
def related(table):
    noisy = planted(table.labels, seed=1, noise=2.0)
    perfect = np.where(table.labels["gender"] == "male", 3.0, -3.0)
    own = {"gender": np.stack([-perfect, perfect], 1)}
    return relate({"identity": table, "gender": noisy}, own=own, trials=2)


@pytest.mark.parametrize("task", TASKS)
def test_a_planted_readout_is_found(table, task):
    reading = Reader(table).read(task)
    assert reading.layer == "known"
    assert reading.score > (0.65 if task in ("identity", "expression", "age") else 0.9), reading.table()
    by_layer = reading.layers.set_index("layer")["accuracy"]
    assert by_layer["known"] == reading.score > by_layer["noise"] + 0.1
    assert reading.majority < reading.score
    if task != "identity":
        assert 0 <= reading.balanced <= 1


@pytest.mark.parametrize("task", TASKS)
def test_shuffled_labels_give_chance(table, task):
    own = table.labels.copy()
    rows = np.random.default_rng(1).permutation(len(own))
    if task == "identity":
        reading = Reader(replace(table, identities=table.identities[rows])).read(task)
        assert abs(reading.score - 0.5) < 0.06
        return
    columns = ["yaw", "pitch"] if task == "pose" else tasks.get(task).columns
    own[columns] = own[columns].to_numpy()[rows]
    reading = Reader(replace(table, labels=own)).read(task)
    assert reading.score < reading.majority + 0.1
    if task not in ("facial_hair", "accessories"):  # several questions, each with its own majority
        assert abs(reading.balanced - 1 / len(decisions.classes(task))) < 0.12


def test_nobody_is_in_two_parts_and_the_test_part_decides_nothing(table):
    reader = Reader(table, seed=3)
    whose = {p: set(table.identities[reader.part == p]) for p in range(3)}
    assert not (whose[0] & whose[1] or whose[0] & whose[2] or whose[1] & whose[2])
    before = reader.read("gender")
    layers = {name: x.copy() for name, x in table.layers.items()}
    for x in layers.values():
        x[reader.part == 2] = 0
    after = Reader(replace(table, layers=layers), seed=3).read("gender")
    assert (before.layers["validation"] == after.layers["validation"]).all() and before.layer == after.layer


def test_scores_do_not_depend_on_scale_order_or_useless_filters(table):
    plain = Reader(table).read("age")
    rng = np.random.default_rng(0)
    x = table.layers["known"]
    other = np.hstack([x[:, rng.permutation(x.shape[1])] * 100 + 5, np.zeros((len(x), 3), np.float32)])
    assert Reader(replace(table, layers={"known": other})).read("age").score == pytest.approx(plain.score, abs=0.02)


def test_ridge_is_scikit_learns(table):
    from sklearn.linear_model import Ridge

    reader = Reader(replace(table, layers={"known": table.layers["known"]}))
    y, part = decisions.targets("age", table.labels), reader.part
    train, held, test = (np.flatnonzero(part == p) for p in range(3))
    said = reader._predict("known", y, train, held, test)
    x = table.layers["known"].astype(float)
    z = (x - x[train].mean(0)) / x[train].std(0)
    fits = [Ridge(alpha=a * len(train)).fit(z[train], y[train]).predict(z) for a in 10.0 ** np.arange(-7, 2.1)]
    errors = [np.square(f[held].reshape(-1) - y[held, 0]).sum() for f in fits]
    best = fits[int(np.argmin(errors))].reshape(-1)
    np.testing.assert_allclose(said[0][:, 0], best[held], rtol=1e-6)
    np.testing.assert_allclose(said[1][:, 0], best[test], rtol=1e-6)


def test_cuts_are_the_best_there_are():
    rng = np.random.default_rng(0)
    for k in (2, 3, 4):
        for _ in range(20):
            said, codes = rng.integers(0, 7, 12).astype(float), rng.integers(0, k, 12)
            found = decisions.cuts(said, codes, k)
            assert (found[1:] >= found[:-1]).all()  # infinite ones as well
            edges = np.r_[-np.inf, np.unique(said) - 0.5, np.inf]
            right = [
                (np.searchsorted(np.array(c), said, side="right") == codes).sum()
                for c in combinations_with_replacement(edges, k - 1)
            ]
            assert (np.searchsorted(found, said, side="right") == codes).sum() == max(right)


def test_groups_add_up(table):
    reading = Reader(table).read("gender")
    groups = reading.groups(table)
    for _, own in groups.groupby("by"):
        assert own["faces"].sum() == len(reading.rows)
        assert np.average(own["accuracy"], weights=own["faces"]) == pytest.approx(reading.score)
    assert set(groups["by"]) == {"gender", "ethnicity", "age"}
    who = Reader(table).read("identity").groups(table)
    assert who["accuracy"].dropna().between(0.4, 1).all()


def test_at_most_so_many_images_of_whole_people(table):
    reader = Reader(table, most=100)
    used = np.flatnonzero(reader.part >= 0)
    assert 90 < len(used) <= 100
    assert np.isin(table.identities, table.identities[used]).sum() == len(used)


def test_matrices(related):
    accuracy, reduction = related.accuracy(), related.reduction()
    assert accuracy.shape == (2, 7) and accuracy.notna().all().all()
    assert accuracy.loc["gender", "gender"] == 1 and reduction.loc["gender", "gender"] == 0
    assert reduction.loc["identity", "gender"] == pytest.approx(100 * (1 - accuracy.loc["identity", "gender"]))
    assert reduction["age"].isna().all()  # no network was trained for it
    assert (accuracy.loc["identity"].drop("gender") > accuracy.loc["gender"].drop("gender")).all()
    assert list(related.layers("identity").index) == ["noise", "known"]
    found = related.table()
    assert (found["low"] <= found["accuracy"]).all() and (found["accuracy"] <= found["high"]).all()
    with pytest.raises(ValueError, match="unknown primary 'gendre': did you mean 'gender'"):
        related.layers("gendre")


def test_an_interval_holds_the_score(table):
    for task in ("gender", "identity"):
        reading = Reader(table).read(task)
        low, high = interval(reading, table.identities)
        assert low <= reading.score <= high and high - low < 0.3


def test_missing_labels_are_left_out(table):
    own = table.labels.copy()
    own.loc[::4, "age"] = np.nan
    reading = Reader(replace(table, labels=own)).read("age")
    assert own["age"].iloc[reading.rows].notna().all() and reading.score > 0.6


def test_bad_input(table):
    same = table.labels.assign(gender="male")
    with pytest.raises(ValueError, match=r"task 'gender': the label is 'male' on all 300 images of the training part"):
        Reader(replace(table, labels=same)).read("gender")
    with pytest.raises(ValueError, match="2 people, too few for 3 parts"):
        Reader(table.select(slice(0, 6)))
    with pytest.raises(ValueError, match="unknown task 'gendr': did you mean 'gender'"):
        Reader(table).read("gendr")
    with pytest.raises(ValueError, match="unknown layer 'knwn': did you mean 'known'"):
        Reader(table).read("gender", "knwn")
    with pytest.raises(ValueError, match="'yaw' has no classes"):
        Reader(table).read("yaw")
    with pytest.raises(ValueError, match="no primary"):
        relate({})
    with pytest.raises(ValueError, match="other images"):
        relate({"identity": table, "age": table.select(slice(0, 300))})
    with pytest.raises(ValueError, match="unknown primary 'ages': did you mean 'age'"):
        relate({"age": table}, own={"ages": np.zeros(600)})
    with pytest.raises(ValueError, match="3 outputs of task 'gender' for 600 images"):
        Reader(table).own("gender", np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no image of the test part has this label"):
        own = table.labels.copy()
        own.loc[Reader(table).part == 2, "age"] = np.nan
        Reader(replace(table, labels=own)).read("age")


def test_a_trained_network_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    table = labels(48)
    images = rng.integers(0, 256, (48, 3, 16, 16), dtype=np.uint8)
    faces = FaceSet("noise", images, table, np.full((48, 5, 2), np.nan, np.float32))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *head), size=16)
    before = net.fingerprint
    one, history = primaries.trained(net, faces, "gender", epochs=2, progress=False)
    two, again = primaries.trained(net, faces, "gender", epochs=2, progress=False)
    assert net.fingerprint == before and len(history) == 2
    assert (one.predict(faces) == two.predict(faces)).all()
    pd.testing.assert_frame_equal(history, again)
    assert not list(tmp_path.rglob("checkpoint"))
    manifests = list(tmp_path.rglob("trained/*/entry.json"))
    about = json.loads(manifests[0].read_text(encoding="utf-8"))["about"]
    assert len(manifests) == 1 and set(about) == {"net", "faces", "task", "finish", "settings"}
    monkeypatch.setattr(primaries, "VERSION", primaries.VERSION + 1)
    primaries.trained(net, faces, "gender", epochs=2, progress=False)
    assert len(list(tmp_path.rglob("trained/*/entry.json"))) == 2
