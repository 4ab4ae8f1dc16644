"""Routes to a task: each ends as it was asked to, is gone once, and is measured against the same fine-tuning."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facelab.faces.faceset import FaceSet
from facelab.filters import route_bench
from facelab.filters.routes import BASELINE, Journey, Route, Training, decade, goodness, score, travel
from facelab.nets import wrap

SIZE, N = 16, 128
TRAINING = Training(epochs=2, batch=32, lr=3e-3, precision="32")
ROUTES = [
    Route("curves", filters="curves", macs_cut=0.5),
    Route("random", filters="random", macs_cut=0.5),
    Route("l1", filters="l1", macs_cut=0.5),
    Route("per layer", filters="per layer", macs_cut=0.5),
    Route("scaled", filters="curves", macs_cut=0.5, scale=True),
    Route("top", filters="curves", macs_cut=0.75, top=True),
    Route("of the tuned", filters="curves", macs_cut=0.5, start="baseline", distil=True),
    Route("from scratch", filters="curves", macs_cut=0.5, start="scratch"),
    Route("head", filters="curves", macs_cut=0.5, refit=True, train="head"),
    Route("recalibrated", filters="random", macs_cut=0.5, recalibrate=True),
    Route("by four", filters="curves", macs_cut=0.3, multiple=4),
    Route("longer", times=2),
    Route("read out", train="nothing"),
    Route("cut and read out", filters="curves", macs_cut=0.5, train="nothing"),
]


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACELAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def faces():
    """A bright bar: its place is the yaw, its colour the gender, the picture's brightness the age."""
    rng = np.random.default_rng(0)
    yaw, gender, age = rng.uniform(-60, 60, N), rng.integers(0, 2, N), rng.uniform(5, 80, N)
    images = rng.integers(0, 40, (N, 3, SIZE, SIZE)) + age[:, None, None, None]
    for i in range(N):
        at = round((SIZE - 1) / 2 + yaw[i] / 60 * 6)
        images[i, gender[i], :, at - 1 : at + 2] = 255
    labels = pd.DataFrame({"identity": [f"p{i % 16}" for i in range(N)], "yaw": yaw, "age": age})
    labels["gender"] = np.array(["female", "male"])[gender]
    labels["ethnicity"] = None
    labels.loc[::9, "yaw"] = np.nan
    return FaceSet("bars", images.astype(np.uint8), labels, np.full((N, 5, 2), np.nan, np.float32))


def toy_net(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(10, 12, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)]
    return wrap(nn.Sequential(*layers), size=SIZE, name="toy", mean=128, std=64)


def go(faces, names, some=ROUTES, **settings):
    return travel(toy_net(), faces, names, some, **{"training": TRAINING, "progress": False} | settings)


@pytest.fixture(scope="module")
def journey(faces):
    return go(faces, ["yaw", "gender"])


@pytest.fixture
def fits(monkeypatch):
    """The targets of every training from here on."""
    calls, fit = [], route_bench.fit
    monkeypatch.setattr(route_bench, "fit", lambda *args, **more: calls.append(more["targets"]) or fit(*args, **more))
    return calls


# -- rows --------------------------------------------------------------------------------------------------------


def test_a_row_for_every_route_measured_on_the_same_unseen_people(journey, faces):
    table = journey.table()
    assert table.groupby("task")["route"].agg(list).map(len).tolist() == [len(ROUTES) + 1] * 2
    for task in ("yaw", "gender"):
        rows = [row for row in journey.rows if row.task == task]
        assert rows[0].route == BASELINE and [row.route for row in rows[1:]] == ROUTES
        for row in rows:
            np.testing.assert_array_equal(row.test, rows[0].test)
            assert row.scores == score(task, row.said, faces, row.test) and len(row.said) == len(row.test)
            assert np.isfinite(row.said).all() and all(np.isfinite(v) for v in row.scores.values())
        people = faces.labels["identity"].to_numpy()
        known = faces.labels[task].notna().to_numpy()
        assert known[rows[0].test].all()
        assert set(np.flatnonzero(np.isin(people, people[rows[0].test]) & known)) == set(rows[0].test)


@pytest.mark.parametrize("task", ["yaw", "gender"])
def test_as_much_goes_as_was_asked_for(journey, task):
    whole = journey.of(task, BASELINE.name)[0]
    assert whole.what["macs_cut"] == 0 and whole.filters == {"0": 10, "3": 12, "5": 8}
    for route in ROUTES:
        (row,) = journey.of(task, route.name)
        assert row.what["macs_cut"] == pytest.approx(1 - row.what["macs"] / whole.what["macs"])
        if route.macs_cut is None:
            assert row.filters == whole.filters and row.what["macs_cut"] == 0
        else:
            assert row.what["macs_cut"] >= route.macs_cut
            assert sum(row.filters.values()) < sum(whole.filters.values())


@pytest.mark.parametrize("task", ["yaw", "gender"])
def test_controls_keep_as_many_filters_per_layer_as_the_curves(journey, task):
    rows = {name: journey.of(task, name)[0] for name in ("curves", "random", "l1", "scaled", "from scratch")}
    for row in rows.values():
        assert row.filters == rows["curves"].filters
    weights = [row.net().module.state_dict()["0.weight"] for row in rows.values()]
    assert not any(torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


@pytest.mark.parametrize("task", ["yaw", "gender"])
def test_the_saved_network_says_again_what_was_scored(journey, faces, task):
    for row in journey.rows:
        if row.task != task:
            continue
        if row.route.train == "nothing":
            assert row.file is None
            with pytest.raises(ValueError, match=r"reads out of responses and trains no network"):
                row.net()
            continue
        found = torch.from_numpy(np.asarray(row.net().predict(faces[row.test]))).double()
        if task == "yaw":  # degrees
            np.testing.assert_allclose(found.reshape(-1), row.said, atol=1e-2, err_msg=row.route.name)
        else:
            np.testing.assert_allclose(found.softmax(1), row.said, atol=1e-4, err_msg=row.route.name)


def test_only_the_head_is_trained_where_asked(faces):
    """The filters of a cut network whose head alone was trained are those that were cut out."""
    route = Route("head of the cut", filters="l1", gamma=0.1, train="head")
    row = go(faces, "yaw", [route]).of("yaw", route.name)[0]
    whole, small = toy_net().convs["0"].weight, row.net().convs["0"].weight
    assert 0 < len(small) <= len(whole)
    assert all(any(torch.equal(kept, one) for one in whole) for kept in small)


def test_half_of_what_is_distilled_is_the_label(faces, fits):
    for task, lr in (("gender", 0.01), ("yaw", 0.02)):
        training = replace(TRAINING, lr=lr)
        journey = go(faces, task, [Route("pupil", filters="curves", gamma=0.05, distil=True)], training=training)
        (whole, pupil) = journey.rows
        assert fits[0] is None and len(fits) == 2
        targets = fits[1]
        train = np.setdiff1d(np.flatnonzero(faces.labels[task].notna()), whole.test)
        out = np.asarray(whole.net().predict(faces[train]))
        if task == "gender":
            truth = np.eye(2)[faces.encode(task)[train]]
            said = torch.from_numpy(out).softmax(1).numpy()
            np.testing.assert_allclose(targets.sum(1), 1, atol=1e-5)
        else:
            truth, said = faces.encode(task)[train], out.reshape(-1)
        np.testing.assert_allclose(targets, (truth + said) / 2, atol=1e-2)
        assert pupil.test.tolist() == whole.test.tolist()
        fits.clear()


# -- the cache ---------------------------------------------------------------------------------------------------


def test_what_was_gone_is_not_gone_again(journey, faces, fits):
    again = go(faces, ["yaw", "gender"])
    assert fits == []
    pd.testing.assert_frame_equal(again.table(), journey.table())
    for a, b in zip(journey.rows, again.rows, strict=True):
        np.testing.assert_array_equal(a.said, b.said)


@pytest.mark.parametrize(
    "change", [{"seeds": [5]}, {"training": replace(TRAINING, epochs=1)}, {"net": 1}, {"faces": 1}], ids=str
)
def test_anything_else_is_another_row(journey, faces, fits, change):
    change = dict(change)
    net = toy_net(change.pop("net", 0))
    if change.pop("faces", 0):
        faces = faces[:-8]
    settings = {"training": TRAINING, "progress": False} | change
    travel(net, faces, "yaw", [ROUTES[1]], **settings)
    assert len(fits) == 2


@pytest.mark.parametrize(
    ("route", "key"),
    [
        (BASELINE, "5e464d8164171711"),
        (Route("plain ETL", filters="curves", macs_cut=0.558), "9665452146a58e7b"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_finished_rows_are_found_again(route, key):
    """The keys as they are in caches out there: a change that needs other rows raises VERSION."""
    net, faces = SimpleNamespace(name="toy", fingerprint="net"), SimpleNamespace(name="bars", fingerprint="faces")
    bench = route_bench.Bench(net, faces, "yaw", 3, Training(epochs=6, refit_faces=1000))
    assert route_bench.VERSION == 1 and bench.entry(route).name == f"toy-yaw-{route.name}-{key}"


def test_an_interrupted_journey_goes_on(faces, monkeypatch):
    training, some = replace(TRAINING, epochs=1), ROUTES[:3]
    fit, done = route_bench.fit, []

    def stop(*args, **more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return fit(*args, **more)

    monkeypatch.setattr(route_bench, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        go(faces, "gender", some, training=training, seeds=[3])
    calls = []
    monkeypatch.setattr(route_bench, "fit", lambda *args, **more: calls.append(1) or fit(*args, **more))
    whole = go(faces, "gender", some, training=training, seeds=[3])
    assert len(calls) == 4 - 2 and len(whole.rows) == 4


def test_the_same_seed_goes_the_same_way(journey, faces, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    for row in go(faces, "yaw", [ROUTES[1]]).rows:
        np.testing.assert_array_equal(row.said, journey.of("yaw", row.route.name)[0].said)


# -- scores ------------------------------------------------------------------------------------------------------


def test_the_baseline_keeps_all_of_itself(journey):
    assert journey.kept("gender", BASELINE.name) == (100.0, 100.0, 100.0)
    base = journey.table().set_index(["task", "route"])["kept"]
    assert base["yaw", BASELINE.name] == base["gender", BASELINE.name] == 1


def made(journey, said):
    """A journey to gender of two rows that say this of the same faces: the baseline and "other"."""
    (whole,) = journey.of("gender", BASELINE.name)
    rows = [
        replace(whole, route=route, said=s, scores=score("gender", s, journey.faces, whole.test))
        for route, s in ((BASELINE, said[0]), (Route("other"), said[1]))
    ]
    return Journey(tuple(rows), journey.faces)


def test_kept_is_the_share_of_right_answers_with_an_interval_around_it(journey):
    (whole,) = journey.of("gender", BASELINE.name)
    truth = journey.faces.encode("gender")[whole.test]
    right = np.eye(2)[truth]
    wrong = np.where((np.arange(len(truth)) % 4 == 0)[:, None], right[:, ::-1], right)
    share = 100 * (wrong.argmax(1) == truth).mean()
    point, low, high = made(journey, (right, wrong)).kept("gender", "other")
    assert point == pytest.approx(share) and high <= 100
    each = pd.Series(wrong.argmax(1) == truth).groupby(journey.faces.identities[whole.test]).mean()
    error = 100 * each.std(ddof=0) / len(each) ** 0.5  # of the mean over people, who have as many faces each
    assert low < share - error and share + error < high
    assert 0.6 < (high - low) / (2 * 1.96 * error) < 1.4
    point, *_ = made(journey, (wrong, right)).kept("gender", "other")
    assert point == pytest.approx(1e4 / share)
    same = made(journey, (wrong, wrong))
    assert same.kept("gender", "other") == (100.0, 100.0, 100.0)
    with pytest.raises(ValueError, match="unknown route to 'gender' 'othr': did you mean 'other'"):
        same.kept("gender", "othr")


def test_a_verdict_needs_several_trainings_that_agree(journey):
    """One training in three that fails is no worse route, however sure its people make us."""
    (whole,) = journey.of("gender", BASELINE.name)
    right = np.eye(2)[journey.faces.encode("gender")[whole.test]]
    never, person = right[:, ::-1], pd.Series(journey.faces.identities[whole.test])
    wrong = person.groupby(person).cumcount().to_numpy() % 4 == 0  # as many of everybody's faces
    some = np.where(wrong[:, None], never, right)

    def of(name, said):
        base = [(BASELINE, seed, right) for seed in range(len(said))]
        rows = base + [(Route(name), seed, one) for seed, one in enumerate(said)]
        return [
            replace(whole, route=route, seed=seed, said=one, scores=score("gender", one, journey.faces, whole.test))
            for route, seed, one in rows
        ]

    def verdict(one, other):
        rows = {(row.route, row.seed): row for row in (*of("one", one), *of("other", other))}
        return Journey(tuple(rows.values()), journey.faces).verdict("gender", "one", "other")

    assert verdict([right] * 3, [some] * 3) == "better" and verdict([some] * 3, [right] * 3) == "worse"
    assert verdict([some] * 3, [some] * 3) == "not told apart"
    assert verdict([some] * 3, [right, right, never]) == "not told apart"
    assert verdict([right] * 3, [never]) == "one training"


def test_what_a_network_that_learned_nothing_keeps(journey):
    (whole,) = journey.of("gender", BASELINE.name)
    truth = journey.faces.encode("gender")[whole.test]
    always = np.tile([0.0, 1.0] if truth.mean() > 0.5 else [1.0, 0.0], (len(truth), 1))
    told = made(journey, (np.eye(2)[truth], always))
    assert told.guessed("gender") == pytest.approx(told.kept("gender", "other")[0])
    assert journey.guessed("yaw") == 0


def test_groups_are_scored_alone(journey):
    (whole,) = journey.of("gender", BASELINE.name)
    truth = journey.faces.encode("gender")[whole.test]
    always = np.tile([0.0, 1.0], (len(truth), 1))  # male
    table = made(journey, (np.eye(2)[truth], always)).groups("gender", [BASELINE.name, "other"])
    assert (table[BASELINE.name] == 1).all()
    assert table.loc["gender: male", "other"] == 1 and table.loc["gender: female", "other"] == 0
    assert table.loc["gender: male", "faces"] == (truth == 1).sum()
    ages = table[table.index.str.startswith("age band")]
    assert ages["faces"].sum() == len(truth) and 2 <= len(ages) <= 4
    assert not table.index.str.startswith("ethnicity").any()  # nobody's is known


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_numbers(faces, seed):
    rng, rows = np.random.default_rng(seed), np.arange(0, N, 2)
    truth = faces.encode("yaw")[rows]
    known = np.isfinite(truth)
    said = np.nan_to_num(truth) + rng.normal(0, 9, len(rows))
    found = score("yaw", said, faces, rows)
    error = said[known] - truth[known]
    assert found["mae"] == pytest.approx(np.abs(error).mean())
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert found["r2"] == pytest.approx(1 - (error**2).mean() / truth[known].var()) and goodness("yaw", found) < 1
    assert score("yaw", np.full(len(rows), truth[known].mean()), faces, rows)["r2"] == pytest.approx(0)
    assert goodness("yaw", score("yaw", np.nan_to_num(truth), faces, rows)) == 1
    assert "accuracy" not in found


def test_scores_of_classes_and_of_decades(faces):
    rows = np.arange(N)
    truth = faces.encode("gender")
    some = np.eye(2)[np.where(rows % 5 == 0, 1, truth)]
    found = score("gender", some, faces, rows)
    each = [(some.argmax(1) == truth)[truth == c].mean() for c in (0, 1)]
    assert found == {"accuracy": (some.argmax(1) == truth).mean(), "balanced accuracy": np.mean(each)}
    assert goodness("gender", found) == found["accuracy"]
    age = faces.encode("age")
    off = np.where(rows % 4 == 0, age + 10, age)
    ages = score("age", off, faces, rows)
    assert ages["accuracy"] == goodness("age", ages) == 0.75 and ages["mae"] == pytest.approx(2.5)


def test_decades():
    assert decade(np.array([-3, 0, 9.99, 10, 19.9, 35, 89, 90, 130])).tolist() == [0, 0, 0, 1, 1, 3, 8, 9, 9]


# -- what cannot be gone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"filters": "curve", "gamma": 0.1}, "unknown filters 'curve': did you mean 'curves'"),
        ({"start": "pretraind"}, "unknown start 'pretraind': did you mean 'pretrained'"),
        ({"train": "haed"}, "unknown train 'haed': did you mean 'head'"),
        ({"filters": "curves"}, "route 'mine' cuts filters: say how much, by macs_cut or by gamma"),
        ({"filters": "random"}, "say how much, by macs_cut or by gamma"),
        ({"filters": "l1", "macs_cut": 0.5, "gamma": 0.1}, "say how much, by macs_cut or by gamma"),
        ({"filters": "per layer", "gamma": 0.1}, "has a γ per layer: say macs_cut, not gamma 0.1"),
        ({"filters": "curves", "gamma": 0.1, "scale": True, "refit": True}, "β scales what the curves keep"),
        ({"filters": "random", "gamma": 0.1, "scale": True}, "β scales what the curves keep"),
        ({"filters": "curves", "macs_cut": 0.5, "scale": True, "multiple": 4}, "β scales what the curves keep"),
        ({"scale": True}, "scale says nothing then"),
        ({"recalibrate": True}, "keeps all filters: recalibrate says nothing then"),
        ({"multiple": 16}, "keeps all filters: multiple says nothing then"),
        ({"filters": "curves", "gamma": 0.1, "multiple": 16}, "has γ 0.1: widths are rounded to 16 by macs_cut"),
        ({"filters": "l1", "macs_cut": 0.5, "refit": True, "recalibrate": True}, "recalibrate says nothing about"),
        (
            {"filters": "l1", "macs_cut": 0.5, "start": "scratch", "refit": True},
            "refit says nothing about weights that are drawn anew",
        ),
        ({"train": "nothing", "times": 2}, "trains nothing: times=2 says nothing then"),
        ({"times": 0}, "times"),
    ],
)
def test_bad_routes_are_refused_when_they_are_drawn(settings, says):
    with pytest.raises(ValueError, match=says):
        Route("mine", **settings)


def test_tasks_that_have_no_way_are_named(faces, fits):
    with pytest.raises(ValueError, match="task 'identity' is of kind 'identity': expected classes or a number"):
        go(faces, "identity")
    with pytest.raises(ValueError, match="task 'accessories' is of kind 'labels'"):
        go(faces, ["yaw", "accessories"])
    with pytest.raises(ValueError, match="unknown task 'yawn': did you mean 'yaw'"):
        go(faces, "yawn")
    with pytest.raises(ValueError, match="task 'pitch' has no labels here"):
        go(faces, "pitch")
    with pytest.raises(ValueError, match="task 'ethnicity': none of the 128 images of 'bars' has this label"):
        go(faces, "ethnicity")
    with pytest.raises(TypeError, match=r"expected a Net .* not Sequential"):
        travel(toy_net().module, faces, "yaw", ROUTES)
    assert fits == []


def test_a_cut_of_the_baseline_goes_on_from_what_that_says(faces):
    hardly = Training(epochs=1, lr=1e-9, precision="32")
    route = Route("as it was", filters="per layer", macs_cut=0.05, least=0.8, start="baseline", head="keep")
    baseline, cut = go(faces, "yaw", [route], training=hardly).rows
    assert np.abs(cut.said - baseline.said).mean() < 0.5 * np.std(faces.labels["yaw"])
