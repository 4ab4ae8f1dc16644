"""What counts as a CRAFT and what does not, on response tables whose truth is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from facelab import tasks
from facelab.filters import deal
from facelab.filters.craft import find_crafts, shuffled

FAST = {"bootstraps": 200, "permutations": 300}


def table(layers, labels):
    labels = pd.DataFrame(labels)
    return SimpleNamespace(
        layers={name: np.asarray(x, np.float32) for name, x in layers.items()},
        labels=labels,
        identities=pd.factorize(labels["identity"])[0],
        targets=lambda task: tasks.get(task).targets(labels),
    )


def posed(k=15, m=40, seed=0, noise=60):
    """Everybody takes the same poses; layer "a" holds one filter of each kind, "b" filters that know only who
    it is (one of them with the person's mean pose) or nothing."""
    rng = np.random.default_rng(seed)
    who, shift = np.repeat(np.arange(k), m), np.linspace(-25, 25, k)
    yaw = np.tile(np.linspace(-55, 55, m), k) + rng.permutation(shift)[who]
    person = rng.normal(size=(k, 2))[who]
    error = lambda scale: scale * rng.normal(size=k * m)  # noqa: E731
    mean = np.array([yaw[who == i].mean() for i in range(k)])[who]
    a = np.stack(
        [
            0.5 + 0.01 * yaw + 0.1 * person[:, 0] + error(0.2),
            0.5 - 0.01 * yaw + error(0.2),
            0.02 * np.abs(yaw) + error(0.2),
            9 - 0.02 * np.abs(yaw) + error(0.2),
        ],
        1,
    )
    b = np.hstack(
        [
            (0.1 * mean + error(0.2))[:, None],
            person,
            np.stack([error(1.0) for _ in range(noise)], 1),
            a[:, :0],
        ]
    )
    labels = {"identity": who, "yaw": yaw, "gender": np.where(who % 2, "male", "female"), "age": 20.0 + who}
    return table({"a": a, "b": np.hstack([b, np.full((k * m, 1), 3.3)])}, labels)


def test_each_kind_is_found_and_nothing_else():
    crafts = find_crafts(posed(), "yaw", **FAST)
    found = crafts.table(crafts_only=True)
    kinds = found.sort_values("filter")["kind"]
    assert list(crafts.layers) == ["a"] and crafts.layers["a"].tolist() == [0, 1, 2, 3] and crafts.n == 4
    assert kinds.tolist() == ["left", "right", "sideways", "frontal"]
    assert (found["rho"] >= 0.3).all() and (found["held_out_rho"] >= 0.3).all()
    assert ((found["low"] < found["rho"]) & (found["rho"] < found["high"])).all()
    assert crafts.people == 10 and crafts.held_out_people == 5
    columns = [
        "layer",
        "filter",
        "kind",
        "rho",
        "low",
        "high",
        "within",
        "within_low",
        "p",
        "q",
        "held_out_rho",
        "replicated",
        "craft",
    ]
    assert list(crafts.table()) == columns


def test_a_filter_that_follows_yaw_only_through_identity_is_no_craft():
    responses = posed()
    rho = np.corrcoef(responses.layers["b"][:, 0], responses.labels["yaw"])[0, 1]
    assert rho > 0.3  # over all images it looks tuned
    row = find_crafts(responses, "yaw", **FAST).tests.query("layer == 'b' and filter == 0").iloc[0]
    assert row["rho"] > 0.3 and abs(row["within"]) < 0.15 and not row["craft"]


def test_the_mirror_image_exchanges_left_and_right():
    responses = posed(seed=3)
    mirrored = responses.labels.assign(yaw=-responses.labels["yaw"])
    there = find_crafts(responses, "yaw", **FAST).tests
    back = find_crafts(table(responses.layers, mirrored), "yaw", **FAST).tests
    swap = {"left": "right", "right": "left"}
    angle = there["kind"].isin(swap) & there["rho"].notna()
    assert back["kind"][angle].tolist() == there["kind"][angle].map(swap).tolist()
    numbers = ["rho", "low", "high", "within", "within_low", "p", "held_out_rho"]
    assert np.allclose(back[numbers], there[numbers], equal_nan=True)


def test_dead_filters_stay_in_the_table_and_never_pass():
    row = find_crafts(posed(), "yaw", **FAST).tests.query("layer == 'b'").iloc[[-1]]
    assert row["rho"].isna().all() and (row["p"] == 1).all() and not row["craft"].any()


def test_a_label_constant_within_people_is_tested_between_them():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(60), 3)
    male = rng.integers(0, 2, 60)
    x = rng.normal(size=(180, 30)) + rng.normal(size=(60, 30))[who]
    x[:, 0] += 3 * male[who]
    x[:, 1] -= 3 * male[who]
    responses = table({"a": x}, {"identity": who, "gender": np.where(male[who], "male", "female")})
    crafts = find_crafts(responses, "gender", **FAST)
    assert not crafts.varies and crafts.layers["a"].tolist() == [0, 1]
    assert crafts.table(crafts_only=True).set_index("filter")["kind"].to_dict() == {0: "male", 1: "female"}
    assert crafts.tests["within"].isna().all() and crafts.tests["within_low"].isna().all()


def test_classes_are_tested_one_by_one():
    rng = np.random.default_rng(0)
    names = np.array(tasks.EXPRESSIONS)
    shown = np.tile(np.arange(7), 40)
    x = rng.normal(size=(280, 20))
    x[:, 4] += 3 * (shown == 4)
    x[:, 5] -= 3 * (shown == 6)
    labels = {"identity": np.repeat(np.arange(20), 14), "expression": names[shown]}
    crafts = find_crafts(table({"a": x}, labels), "expression", **FAST)
    found = crafts.table(crafts_only=True).set_index("filter")["kind"]
    assert found.to_dict() == {4: "happy", 5: "not surprise"}
    assert crafts.best("happy")["filter"] == 4 and len(crafts.tests) == 7 * 20


def test_false_discoveries_stay_below_alpha():
    """Half the filters are noise, with no help from floor or replication: mean share of false ones ≤
    alpha."""
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        who, yaw = np.repeat(np.arange(20), 10), rng.uniform(-60, 60, 200)
        x = rng.normal(size=(200, 100)) + rng.normal(size=(20, 100))[who]
        x[:, :50] += 0.02 * yaw[:, None]
        tests = find_crafts(
            table({"a": x}, {"identity": who, "yaw": yaw}),
            "yaw",
            alpha=0.1,
            held_out=0.1,
            bootstraps=20,
            permutations=300,
        ).tests
        passed = tests[(tests["q"] <= 0.1) & tests["kind"].isin(["left", "right"])]
        shares.append((passed["filter"] >= 50).mean())
    assert 0.01 < np.mean(shares) <= 0.1 and len(passed) > 30


@pytest.mark.parametrize("task", ["yaw", "gender", "age"])
def test_shuffled_labels_leave_next_to_nothing(task):
    responses = posed(k=30)
    if task != "yaw":
        responses.layers["a"][:, 0] += 5 * (responses.labels["gender"] == "male")
    assert find_crafts(responses, task, **FAST).n >= (task != "age")
    counts = shuffled(responses, task, shuffles=10, **FAST)
    filters = sum(x.shape[1] for x in responses.layers.values())
    assert counts.shape == (10,) and counts.mean() <= 0.01 * filters


def test_missing_labels_are_left_out_and_layers_chosen():
    responses = posed()
    hole = responses.labels.assign(yaw=responses.labels["yaw"].where(np.arange(600) % 3 > 0))
    crafts = find_crafts(table(responses.layers, hole), "yaw", layers=["a"], **FAST)
    keep = hole["yaw"].notna().to_numpy()
    same = find_crafts(table({"a": responses.layers["a"][keep]}, hole[keep].reset_index(drop=True)), "yaw", **FAST)
    pd.testing.assert_frame_equal(crafts.tests, same.tests)


def test_same_seed_same_answer_and_blocks_do_not_matter(monkeypatch):
    first = find_crafts(posed(), "yaw", **FAST, seed=4).tests
    monkeypatch.setattr("facelab.filters.craft.BLOCK", 1)  # 64 filters at a time, the least there is
    wide = posed(noise=150)
    assert len(find_crafts(wide, "yaw", **FAST).tests) == 2 * (4 + 3 + 150 + 1)
    pd.testing.assert_frame_equal(find_crafts(posed(), "yaw", **FAST, seed=4).tests, first)


def test_strongest_and_best():
    crafts = find_crafts(posed(), "yaw", **FAST)
    assert len(crafts.strongest(per_layer=2)["a"]) == 2
    assert crafts.strongest(None, "frontal")["a"].tolist() == [3]
    assert crafts.strongest(None, "left", "right")["a"].tolist() == [0, 1]
    assert crafts.best()["rho"] == crafts.tests["rho"].max()
    with pytest.raises(ValueError, match="unknown yaw kind 'lefft': did you mean 'left'"):
        crafts.best("lefft")


@pytest.mark.parametrize(
    "change, options, message",
    [
        ({}, {"task": "yawn"}, "unknown task 'yawn': did you mean 'yaw'"),
        ({}, {"task": "pitch"}, "task 'pitch' has no labels here"),
        ({}, {"task": "identity"}, "open set"),
        ({}, {"layers": ["aa"]}, "unknown layer 'aa': did you mean 'a'"),
        ({}, {"held_out": 1.5}, "held_out 1.5"),
        ({"yaw": np.nan}, {}, "none of the 600 images has this label"),
        ({"yaw": 10.0}, {}, "the label is .* on all 600 images"),
        ({"identity": 1}, {}, "1 people, .* too few"),
    ],
)
def test_bad_input(change, options, message):
    responses = posed()
    responses = table(responses.layers, responses.labels.assign(**change))
    with pytest.raises(ValueError, match=message):
        find_crafts(responses, options.pop("task", "yaw"), **options, **FAST)


def test_too_few_people_whose_label_varies():
    responses = posed()
    labels = responses.labels.copy()
    labels.loc[labels["identity"] > 5, "yaw"] = 0.0
    with pytest.raises(ValueError, match="it takes 7"):
        find_crafts(table(responses.layers, labels), "yaw", **FAST)


def test_a_rare_class_and_filters_that_seldom_fire_give_no_false_alarm():
    """15 people, 93 images each, no relation at all: flips alone let some of 200 such filters pass."""
    passed = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = (rng.random((1395, 200)) < 0.02) * rng.exponential(size=(1395, 200))
        shown = np.array(tasks.EXPRESSIONS)[rng.integers(0, 7, 1395)]
        data = table({"a": x}, {"identity": np.repeat(np.arange(15), 93), "expression": shown})
        passed.append((find_crafts(data, "expression", **FAST).tests["q"] <= 0.05).sum())
    assert sum(passed) == 0


def between(k, male, m=4, seed=0):
    """k people, the first `male` of them male, and a filter that knows."""
    who = np.repeat(np.arange(k), m)
    x = np.random.default_rng(seed).normal(size=(k * m, 5))
    x[:, 0] += 4 * (who < male)
    labels = {"identity": who, "gender": np.where(who < male, "male", "female"), "age": 20.0 + 3 * who}
    return table({"a": x}, labels)


@pytest.mark.parametrize("male", [7, 2])
def test_people_are_held_out_over_the_classes_and_ranks(male):
    """At random, seed 16 would hold out women only."""
    data = between(15, male)
    for seed in (0, 5, 16, 17):
        crafts = find_crafts(data, "gender", seed=seed, **FAST) if male == 7 else None
        if crafts:
            assert crafts.held_out_people == 5 and crafts.tests["held_out_rho"].notna().all()
            assert crafts.layers["a"].tolist() == [0]
        gender, people = data.targets("gender"), data.identities
        held = deal.deal(gender, people, 5, False, seed)
        assert held.sum() == 5 and 0 < held[:male].sum() < male
        ages = deal.deal(data.targets("age"), people, 5, False, seed)
        assert ages.reshape(5, 3).sum(1).tolist() == [1] * 5  # one of every three neighbours


def test_a_label_that_does_not_vary_among_the_held_out_is_not_tested(caplog):
    with pytest.raises(ValueError, match="does not vary among the held-out"):
        find_crafts(between(30, 1), "gender", **FAST)
    rng = np.random.default_rng(0)
    who, shown = np.repeat(np.arange(20), 14), np.tile(np.arange(7), 40)
    shown[(shown == 6) & deal.deal(np.zeros((280, 1)), who, 7, True, 0)[who]] = 0
    labels = {"identity": who, "expression": np.array(tasks.EXPRESSIONS)[shown]}
    tests = find_crafts(table({"a": rng.normal(size=(280, 3))}, labels), "expression", **FAST).tests
    assert len(tests) == 6 * 3 and tests["held_out_rho"].notna().all()
    assert f"{tasks.EXPRESSIONS[6]!r} is not tested" in caplog.text


def test_how_many_people_a_test_takes():
    """Filters that all go together pass once in 2^(people − 1) flips, whatever their number."""
    with pytest.raises(ValueError, match="come 6 people with labels to learn from, and it takes 7"):
        find_crafts(posed(k=8), "yaw", held_out=0.25, **FAST)
    assert find_crafts(posed(k=9), "yaw", held_out=0.25, **FAST).people == 7
    with pytest.raises(ValueError, match="come 10 ways to deal the labels to people, and it takes 20"):
        find_crafts(between(8, 4), "gender", held_out=0.25, **FAST)  # 3 and 3 of six people, either way round
    assert find_crafts(between(10, 4), "gender", held_out=0.2, **FAST).people == 8
    label = np.arange(5.0)
    assert deal.able(label, np.arange(5), False) == 60 and deal.able(label**2, np.arange(5), False) == 120
