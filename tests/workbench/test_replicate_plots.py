import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from facelab.filters.replicate import Tuning, agreement
from facelab.nets.fairness import by_group
from facelab.workbench import replicate_plots as draw
from facelab.workbench import style


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_scatter_shows_every_filter_and_says_the_correlation():
    rng, names = np.random.default_rng(0), pd.DataFrame({"layer": "conv", "filter": range(50)})
    rho = rng.uniform(-0.8, 0.8, (1, 50))
    drawn = rho + 0.05 * rng.normal(size=(20, 1, 50))
    kinds = (("left", "right"),)
    found = agreement(Tuning("yaw", kinds, names, rho, drawn, 9), Tuning("yaw", kinds, names, rho / 2, drawn / 2, 9))
    ax = draw.scatter(found, sets=("heads", "pictures"))
    assert len(ax.collections[0].get_offsets()) == 50
    assert "Spearman 1.00" in ax.get_title(loc="left") and ax.get_xlabel() == "ρ on heads"
    with pytest.raises(ValueError, match="expected one of left"):
        draw.scatter(found, "up")


def test_transfer_draws_each_task_with_its_constant():
    row = {"low": 0.5, "high": 0.9, "score": 0.7, "constant": 0.25, "metric": "balanced accuracy"}
    cells = [(t, a, b) for t in ("gender", "smile") for a in ("rendered", "photos") for b in ("rendered", "photos")]
    table = pd.DataFrame([dict(zip(("task", "train", "test"), cell, strict=True)) | row for cell in cells])
    axes = draw.transfer(table, titles={"smile": "smile, MTFL"})
    assert [ax.get_title(loc="left") for ax in axes.flat] == ["gender", "smile, MTFL"]
    assert axes.flat[0].get_ylabel() == "balanced accuracy" and len(axes.flat[0].containers) == 2
    with pytest.raises(ValueError, match="1 axes for 2 tasks"):
        draw.transfer(table, axes=plt.subplots()[1])


def test_groups_draws_a_row_for_each():
    labels = pd.DataFrame({"gender": ["male", "female"] * 20, "ethnicity": ["asian"] * 15 + ["white"] * 25})
    ax = draw.groups(by_group({"age": np.arange(40) % 3 > 0}, labels), "age")
    drawn = {to_hex(line.get_color()) for line in ax.lines if line.get_marker() == style.TASK_MARKERS["gender"]}
    assert drawn == {style.inked("gender").lower()}  # a label of people has its own colour and marker here too
    assert [t.get_text() for t in ax.get_yticklabels()] == ["female (20)", "male (20)", "asian (15)", "white (25)"]
    with pytest.raises(ValueError, match="expected one of gender"):
        draw.groups(by_group({"gender": np.ones(40)}, labels), "age")
