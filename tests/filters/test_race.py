"""The side-by-side measurement: everyone solves the same problem, and is judged by the same certificate."""

from types import SimpleNamespace

import numpy as np
import pytest

from facelab.filters.race import SOLVERS, like_responses, race, race_network


def test_all_solvers_on_one_problem():
    result = race(*like_responses(24, 300), rivals=list(SOLVERS), runs=2, ratio=1e-2)
    table = result.table().set_index("solver")
    assert table.index.tolist() == ["ours", *SOLVERS]
    assert (table["ms_low"] <= table["ms"]).all()
    assert (table["ms"] <= table["ms_high"]).all()
    assert table.loc["ours", "ratio"] == 1
    # Were a rival given another problem, its gap could not be small.
    assert table.loc[["ours", "numpy", "lars"], "gap"].max() < 1e-9
    assert 1e-9 < table.loc["sklearn", "gap"] < 1e-2
    assert table.loc["sklearn_tight", "gap"] < 2e-6
    assert (table.loc[["numpy", "lars"], "same_support"] > 0.95).all()
    assert result.ratio("sklearn") == table.loc["sklearn", "ratio"] > 1


def test_dead_columns_are_no_hindrance():
    xx, xy, yy, n = like_responses(10, 100)
    xx, xy = np.pad(xx, (0, 2)), np.pad(xy, (0, 2))
    table = race(xx, xy, yy, n, rivals=["numpy", "lars"], runs=1).table()
    assert (table["gap"] < 1e-9).all()


def test_runs_for_each_solver():
    entries = race(*like_responses(8, 100), rivals=["sklearn", "lars"], runs={"sklearn": 3, "lars": 1}).entries
    assert [len(entry.seconds) for entry in entries] == [24, 3, 1]


def test_made_up_responses():
    xx, _, yy, n = like_responses(32, 500, seed=3)
    again = like_responses(32, 500, seed=3)
    np.testing.assert_array_equal(xx, again[0])
    assert not np.array_equal(xx, like_responses(32, 500, seed=4)[0])
    deviation = np.sqrt(np.diagonal(xx))
    values = np.linalg.eigvalsh(xx / deviation / deviation[:, None])
    assert values[-1] / values[0] > 100, "not correlated enough to be like responses"
    assert yy > 0
    assert n == 500


def test_a_network():
    systems = [SimpleNamespace(xx=xx, xy=np.c_[xy, -xy], yy=np.array([yy, yy]), n=n)
               for xx, xy, yy, n in (like_responses(8, 100), like_responses(16, 100))]  # fmt: skip
    ours, theirs, ratio = race_network(systems, n_lambdas=20)
    assert ours > 0
    assert ratio == pytest.approx(theirs / ours)


def test_bad_input():
    moments = like_responses(8, 100)
    with pytest.raises(ValueError, match="unknown solver 'larss': did you mean 'lars'"):
        race(*moments, rivals=["larss"])
    with pytest.raises(ValueError, match="runs is 0: expected at least 1"):
        race(*moments, runs=0)
    with pytest.raises(ValueError, match="unknown solver 'glmnet'"):
        race(*moments, rivals=["lars"], runs=1).ratio("glmnet")
