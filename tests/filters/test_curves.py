"""Characteristic curves against scikit-learn, and their results on data whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import lasso_path as sklearn_path

from facelab.filters.curves import characteristic_curves
from facelab.filters.responses import Responses

PEOPLE, EACH, WIDTH = 40, 10, 12


def table(seed=0, people=PEOPLE, width=WIDTH):
    """Filters 0 and 1 carry yaw, 2 and 3 gender, 4 the expression "happy"; the rest is noise."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), EACH)
    n = len(person)
    x = rng.normal(size=(n, width))
    yaw = rng.uniform(-60, 60, n)
    gender = rng.permutation(np.arange(people) % 2)[person]
    expression = rng.choice(["neutral", "happy", "sad"], n)
    x[:, :2] += yaw[:, None] / 30
    x[:, 2:4] += 2 * gender[:, None]
    x[:, 4] += 3 * (expression == "happy")
    labels = pd.DataFrame(
        {"identity": person.astype(str), "yaw": yaw, "gender": np.array(["female", "male"])[gender]}
        | {"expression": expression, "valence": rng.permutation(np.linspace(-1, 1, n))}
    )
    return Responses("toy", {"first": rng.normal(size=(n, 5)), "last": x}, labels, person)


@pytest.fixture(scope="module")
def seen():
    return table().moments(["yaw", "gender", "expression", "valence"])


@pytest.fixture(scope="module")
def curves(seen):
    return characteristic_curves(seen, half_samples=40, progress=False)


def test_the_curve_is_that_of_scikit_learn_fold_by_fold(seen, curves):
    data, curve = table(), curves["yaw"]["last"]
    null = 0.0
    x, y = data["last"].astype(float), data.labels["yaw"].to_numpy()
    fold = seen.about["people"]
    fold = np.array([fold[i] for i in data.labels["identity"]]) % 5
    squares = np.zeros(len(curve.lambdas))
    for f in range(5):
        train, test = fold != f, fold == f
        mean, sd = x[train].mean(0), x[train].std(0)
        z = (x[train] - mean) / sd
        _, coef, _ = sklearn_path(z, y[train] - y[train].mean(), alphas=curve.lambdas, tol=1e-12, max_iter=100_000)
        predicted = y[train].mean() + ((x[test] - mean) / sd) @ coef  # (n, k)
        squares += ((y[test, None] - predicted) ** 2).sum(0)
        null += ((y[test] - y[train].mean()) ** 2).sum()
    np.testing.assert_allclose(curve.rmse, np.sqrt(squares / len(y)), rtol=1e-6)
    assert curve.null_rmse == pytest.approx(np.sqrt(null / len(y)))


def test_a_half_sample_is_scikit_learn_on_half_of_the_people():
    data = table()
    moments = data.moments(["yaw"])
    curve = characteristic_curves(moments, layers="last", half_samples=1, seed=3, progress=False)["yaw"]["last"]
    x, y = data["last"].astype(float), data.labels["yaw"].to_numpy()
    block = np.array([moments.about["people"][i] for i in data.labels["identity"]])
    order = np.random.default_rng(3).permuted(np.tile(np.arange(PEOPLE), (1, 1)), axis=1)[0]
    half = order[block] < PEOPLE / 2
    assert half.sum() == len(y) / 2
    mean, sd = x[half].mean(0), x[half].std(0)
    _, coef, _ = sklearn_path((x[half] - mean) / sd, y[half] - y[half].mean(), alphas=curve.lambdas, tol=1e-12,
                              max_iter=100_000)  # fmt: skip
    predicted = y[half].mean() + ((x[~half] - mean) / sd) @ coef
    np.testing.assert_allclose(curve.half_rmse[0], np.sqrt(((y[~half, None] - predicted) ** 2).mean(0)), rtol=1e-6)
    np.testing.assert_array_equal(curve.half_kept, (coef != 0).T)
    assert curve.half_null[0] == pytest.approx(np.sqrt(((y[~half] - y[half].mean()) ** 2).mean()))


def test_without_half_samples_there_is_no_interval_and_no_frequency(seen):
    knee = characteristic_curves(seen, "yaw", layers="last", half_samples=0, progress=False)["yaw"]["last"].knee(0.05)
    assert np.isnan([knee.low, knee.high]).all() and np.isnan(knee.frequency).all()


def test_the_largest_lambda_just_keeps_no_filter(curves):
    for layers in curves.values():
        for curve in layers.values():
            assert curve.num[0] == 0 and curve.num[1] >= 1
            assert curve.lambdas[0] / curve.lambdas[-1] == pytest.approx(1e4)
            assert len(curve.lambdas) == 100
            assert np.all(np.diff(curve.rmse_train) <= 1e-9)


def test_the_knee_keeps_the_filters_that_carry_the_task(curves):
    knee = curves["yaw"]["last"].knee(0.05)
    assert knee.filters.tolist() == [0, 1]
    assert knee.low <= knee.num <= knee.high
    assert knee.frequency[:2].min() > 0.95
    assert set(curves["gender"]["last"].knee(0.1).filters) >= {2, 3}
    assert 4 in curves["expression"]["last"].knee(0.1).filters


def test_a_class_task_counts_the_union_over_its_classes(curves):
    curve = curves["expression"]["last"]
    assert curve.coef.shape == (100, WIDTH, 7)
    np.testing.assert_array_equal(curve.num, (curve.coef != 0).any(2).sum(1))


def test_nothing_to_learn_has_no_knee(curves):
    for curve in (curves["valence"]["last"], curves["yaw"]["first"], curves["gender"]["first"]):
        assert curve.knee(0.01) is None
    assert "first" not in curves["yaw"].knees(0.01)
    assert pd.isna(curves["yaw"].table().set_index("layer").loc["first", "knee"])


def test_shuffled_labels_have_no_knee_with_or_without_half_samples():
    found = 0
    for seed in range(10):
        data = table(seed)
        order = np.random.default_rng(seed).permutation(len(data.labels))
        data.labels["yaw"] = data.labels["yaw"].to_numpy()[order]
        moments = data.moments(["yaw"])
        for half_samples in (0, 20):
            curve = characteristic_curves(moments, layers="last", half_samples=half_samples, progress=False)["yaw"][
                "last"
            ]
            found += curve.knee() is not None
    assert found <= 1  # of 20


def test_constant_labels_and_dead_filters_are_a_flat_curve():
    data = table()
    data.labels["yaw"] = 10.0
    data.layers["last"][:, 3] = 0.0
    curves = characteristic_curves(data.moments(["yaw", "gender"]), layers="last", half_samples=10, progress=False)
    assert curves["yaw"]["last"].knee() is None
    assert curves["yaw"]["last"].rmse.max() == 0
    assert 3 not in curves["gender"]["last"].knee().filters


def test_a_higher_gamma_keeps_fewer_filters_and_zero_keeps_them_all(curves):
    curve = curves["gender"]["last"]
    nums = [curve.knee(gamma).num for gamma in (0, 0.001, 0.01, 0.1, 0.5)]
    assert nums[0] == WIDTH
    assert nums == sorted(nums, reverse=True)
    with pytest.raises(ValueError, match=r"gamma -0.1 is out of range"):
        curve.knee(-0.1)


def test_a_dense_end_that_overfits_does_not_widen_the_tolerance():
    data = table(people=8, width=60)  # 64 rows to fit 60 filters
    curve = characteristic_curves(data.moments(["yaw"]), layers="last", half_samples=0, progress=False)["yaw"]["last"]
    assert curve.rmse[-1] > curve.rmse[curve.best] * 1.2
    knee = curve.knee(0.01)
    assert knee.rmse - curve.rmse.min() < 0.01 * (curve.null_rmse - curve.rmse.min())


def test_missing_labels_are_left_out():
    data = table()
    half = np.arange(len(data)) % 2 == 0
    data.labels.loc[half, "yaw"] = np.nan
    both = characteristic_curves(data.moments(["yaw", "gender"]), layers="last", half_samples=0, progress=False)
    kept = data.select(~half)
    assert both["yaw"]["last"].rmse_train[-1] == pytest.approx(
        characteristic_curves(kept.moments(["yaw"]), layers="last", half_samples=0, progress=False)["yaw"][
            "last"
        ].rmse_train[-1]
    )


def test_every_path_is_certified(curves):
    assert curves.gap <= 1e-9


def test_the_best_layer_is_the_one_with_the_lowest_minimum(curves):
    assert curves["yaw"].best_layer == "last"
    row = curves["yaw"].table().set_index("layer").loc["last"]
    data = table()
    spread = data.labels["yaw"].std()
    assert row["rmse"] == pytest.approx(spread * np.sqrt(1 - row["r2"]), rel=0.02)


def test_the_same_seed_gives_the_same_intervals_whatever_the_jobs(seen):
    one, two = (characteristic_curves(seen, ["yaw"], half_samples=8, n_jobs=jobs, progress=False) for jobs in (1, 2))
    np.testing.assert_array_equal(one["yaw"]["last"].half_rmse, two["yaw"]["last"].half_rmse)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["yawn"]}, "unknown task 'yawn'"),
        ({"layers": ["lost"]}, "unknown layer 'lost': did you mean 'last'"),
    ],
)
def test_unknown_names_are_refused(seen, arguments, message):
    with pytest.raises(ValueError, match=message):
        characteristic_curves(seen, **arguments)


def test_looking_up_what_is_not_there_names_what_is(curves):
    with pytest.raises(ValueError, match="unknown task 'age'"):
        curves["age"]
    with pytest.raises(ValueError, match="did you mean 'last'"):
        curves["yaw"]["lastt"]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"moments": table()}, TypeError, r"expected Moments \(.* Responses.moments\(tasks\)\), not Responses"),
        ({"moments": "moments"}, TypeError, "expected Moments .fl.measure, .* not str"),
        ({"half_samples": -1}, ValueError, "half_samples -1: expected at least 0"),
        ({"half_samples": 2.5}, TypeError, "half_samples 2.5: expected a whole number, at least 0, not float"),
        ({"n_lambdas": 1}, ValueError, "n_lambdas 1: expected at least 2"),
        ({"n_lambdas": "9"}, TypeError, "n_lambdas '9': expected a whole number, at least 2, not str"),
        ({"tasks": 3}, TypeError, "3 is no task: expected a name or a list of names, not int"),
        ({"layers": 3}, TypeError, "3 is no layer: expected a name or a list of names, not int"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(seen, wrong, error, message):
    with pytest.raises(error, match=message):
        characteristic_curves(**{"moments": seen, "progress": False} | wrong)


@pytest.mark.parametrize("gamma", ["0.01", None, True])
def test_a_gamma_that_is_no_number_is_refused(curves, gamma):
    with pytest.raises(TypeError, match=f"gamma {gamma!r}: expected a number, not"):
        curves["yaw"]["last"].knee(gamma)
