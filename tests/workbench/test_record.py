import json

import numpy as np
import pandas as pd
import pytest

from facelab.workbench import record as module
from facelab.workbench.record import record, record_groups, recorded


@pytest.fixture(autouse=True)
def interactive(monkeypatch):
    monkeypatch.delenv(module.RESULTS, raising=False)
    monkeypatch.delenv(module.NOTEBOOK, raising=False)
    monkeypatch.setattr(module, "_memory", {})


def test_by_hand_entries_stay_in_memory():
    entry = record("02.yaw.score", 0.5, "R²", low=0.4, high=0.6, paper=0.7, note="one seed")
    assert entry == {"value": 0.5, "unit": "R²", "low": 0.4, "high": 0.6, "paper": 0.7, "note": "one seed"}
    record("02.yaw.knee", 12)
    table = recorded()
    assert list(table.index) == ["02.yaw.score", "02.yaw.knee"]
    assert table.loc["02.yaw.score", "paper"] == 0.7
    assert np.isnan(table.loc["02.yaw.knee", "low"])


def test_nothing_recorded_is_an_empty_table():
    assert recorded().empty


def test_a_run_collects_lines_that_survive_a_crash(tmp_path, monkeypatch):
    file = tmp_path / "results"
    monkeypatch.setenv(module.RESULTS, str(file))
    record("02.a", 1)
    record("02.b", 2.5, note="ä")
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[0]).keys() == {"02.a"}
    record("02.a", 3)
    assert {key: e["value"] for key, e in module.read(file).items()} == {"02.a": 3, "02.b": 2.5}
    assert recorded().loc["02.a", "value"] == 3
    assert not module._memory


def test_numpy_and_torch_numbers_become_plain_ones():
    import torch

    for number in (np.float32(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5)):
        assert type(record("00.x", number)["value"]) is float
    assert type(record("00.x", np.int64(3))["value"]) is int


@pytest.mark.parametrize(
    "key", ["2.yaw", "02", "02.", "02..a", "02.yaw score", "yaw.02", "02.a.", "run", 2, "002.a", "02.a\n"]
)
def test_malformed_keys(key):
    with pytest.raises(ValueError, match=r"not of the form 'NN.name'"):
        record(key, 1)


@pytest.mark.parametrize("key", ["02.TASK.score", "03.n_10", "04.matrix.yaw.age", "05.targets.hg-mean", "00.a.1"])
def test_keys_of_the_results_page_are_well_formed(key):
    record(key, 1)


def test_another_notebooks_key(monkeypatch):
    monkeypatch.setenv(module.NOTEBOOK, "01")
    with pytest.raises(ValueError, match=r"'02.a' belongs to notebook 02, but this is notebook 01"):
        record("02.a", 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_not_finite(value):
    with pytest.raises(ValueError, match=r"02\.a: value must be finite"):
        record("02.a", value)


@pytest.mark.parametrize("value", ["0.5", None, True, np.array([1.0, 2.0]), 1 + 2j])
def test_not_a_number(value):
    with pytest.raises(TypeError, match=r"02\.a: value must be a number, not"):
        record("02.a", value)


@pytest.mark.parametrize("low, high", [(0.6, 0.7), (0.1, 0.4), (0.7, 0.3)])
def test_an_interval_that_does_not_hold_the_value(low, high):
    with pytest.raises(ValueError, match="expected low ≤ value ≤ high"):
        record("02.a", 0.5, low=low, high=high)


def test_half_an_interval():
    with pytest.raises(ValueError, match="needs both ends"):
        record("02.a", 0.5, low=0.1)


def test_units_and_notes_are_texts():
    with pytest.raises(TypeError, match=r"unit must be a text, not float 0\.4"):
        record("02.a", 0.5, 0.4)


def test_groups_are_recorded_task_by_task():
    index = pd.MultiIndex.from_tuples([("gender", "female"), ("age band", "60+")], names=["by", "group"])
    table = pd.DataFrame({"age": [7.5, 9.0], "facial_hair": [0.1, np.nan], "faces": [40, 8]}, index=index)
    record_groups("05", table, {"age": "years"}, "an MLP")
    found = recorded()
    assert list(found.index) == ["05.group.age.gender.female", "05.group.facial_hair.gender.female",
                                 "05.group.age.age_band.60"]  # fmt: skip
    assert found["value"].tolist() == [7.5, 0.1, 9.0] and found["unit"].tolist() == ["years", "", "years"]
    assert found["note"].tolist() == ["40 faces; an MLP", "40 faces; an MLP", "8 faces; an MLP"]
    with pytest.raises(ValueError, match=r"indexed by \(by, group\)"):
        record_groups("05", table.reset_index(drop=True))


def test_groups_and_notes_in_any_script(tmp_path, monkeypatch):
    monkeypatch.setenv(module.RESULTS, str(tmp_path / "results"))
    index = pd.MultiIndex.from_tuples([("gender", "女"), ("gender", "男"), ("gender", "?")])
    record_groups("91", pd.DataFrame({"age": [1.0, 2.0, 3.0]}, index=index), note="a\u2028b")
    assert list(module.read(tmp_path / "results")) == [f"91.group.age.gender.{name}" for name in ("女", "男", "other")]
    index = pd.MultiIndex.from_tuples([("cheese", "a b"), ("cheese", "a_b")])
    with pytest.raises(ValueError, match=r"would both be recorded as 'age\.cheese\.a_b'"):
        record_groups("91", pd.DataFrame({"age": [1.0, 2.0]}, index=index))
