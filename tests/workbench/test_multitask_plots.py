"""Figures and explorer of multi-task learning: labelled, within the figure, nothing over another."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from facelab.transfer import ablation
from facelab.workbench import multitask_plots as draw
from facelab.workbench.multitask_explorer import MultitaskExplorer


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def history():
    step = np.arange(1, 41)
    weights = {"weight:gender": 1 + step / 100, "weight:over_40": 1 - step / 100}
    losses = {"loss:gender": 1 / step, "loss:over_40": np.where(step % 2, np.nan, 2 / step)}
    return pd.DataFrame({"step": step, "lr": 0.1 / step} | losses | weights | {"domain": np.nan})


def test_the_ablation_shows_every_row_and_the_papers(check):
    table = pd.DataFrame(
        [
            {"row": row, "trained": name, "accuracy": 0.3 + 0.02 * i, "low": 0.28, "high": 0.6}
            for i, row in enumerate(ablation.ROWS)
            for name in ("both", "lab_a", "lab_b")  # another order than the paper's
        ]
    )
    paper = {row: dict(zip(("lab_a", "lab_b", "both"), values, strict=True)) for row, values in ablation.PAPER.items()}
    ax = draw.ablation(table, paper=paper)
    check(ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == [row.replace("_", " ") for row in ablation.ROWS]
    hollow = np.concatenate([line.get_xdata() for line in ax.lines if line.get_markerfacecolor() == "none"])
    assert set(np.concatenate(list(ablation.PAPER.values()))) == set(hollow)
    for filled in (line for line in ax.lines if line.get_label() in ("both", "lab a", "lab b")):
        (own,) = (one for one in ax.lines if one.get_markeredgecolor() == filled.get_color()
                  and one.get_markerfacecolor() == "none")  # fmt: skip
        name = filled.get_label().replace(" ", "_")
        assert own.get_xdata().tolist() == [paper[row][name] for row in ablation.ROWS if row in paper]
    with pytest.raises(ValueError, match=r"accuracy 1.3 is out of range"):
        draw.ablation(table.assign(accuracy=1.3))
    with pytest.raises(ValueError, match="lacks the column 'trained'"):
        draw.ablation(table.drop(columns="trained"))


def test_the_course_shows_losses_weights_and_rate(history, check):
    axes = draw.course(history)
    for ax in axes:
        check(ax)
    assert [len(ax.lines) for ax in axes] == [2, 3, 1]
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), history["weight:gender"])
    check(draw.rates({"dynamic": history, "plain": history.assign(lr=0.01)}))


def test_confusion_leaves_out_what_is_not_known(check):
    truth, said = np.array([0, 0, 0, 0, 2, -1]), np.array([0, 0, 2, 0, 2, 1])
    ax = draw.confusion(truth, said, ["happy", "sad", "fear"])
    check(ax)
    assert [t.get_text() for t in ax.texts] == ["75", "25", "0", "100"]
    with pytest.raises(ValueError, match="no face has a label"):
        draw.confusion(np.array([-1]), np.array([0]), ["happy"])


def test_the_gap_is_drawn_against_chance(check):
    table = pd.DataFrame({"network": ["mtl", "da_mtl"], "accuracy": [0.9, 0.6], "low": [0.8, 0.5], "high": [0.95, 0.7]})
    ax = draw.gap(table, chance=0.25)
    check(ax)
    assert [bar.get_width() for bar in ax.patches] == [90, 60]


class Said:
    """A network that has said these things."""

    def __init__(self, **said):
        self.said = said

    def predict(self, faces):
        return self.said


def test_the_explorer_shows_every_head_of_every_network(faces):
    n = len(faces)
    one = Said(gender=np.tile([0.2, 0.8], (n, 1)), age=np.full(n, 31.4))
    explorer = MultitaskExplorer(faces, {"baseline": Said(gender=np.tile([0.9, 0.1], (n, 1))), "full": one})
    assert list(explorer.controls) == ["task", "face"] and explorer.controls["face"].max == n - 1
    assert explorer.controls["task"].options == ("all heads", "gender", "age")
    said = explorer._repr_mimebundle_()[0]["text/plain"]
    assert "baseline: female" in said and "full: male" in said and "full: 31.4 years" in said
    assert said.count("baseline:") == 1  # it has no head for age
    first = explorer.picture()
    assert explorer.set(task="age").picture() != first
    said = explorer._repr_mimebundle_()[0]["text/plain"]
    assert "31.4 years" in said and "female" not in said
    with pytest.raises(ValueError, match="0 networks"):
        MultitaskExplorer(faces, {})


def test_every_row_of_the_paper_is_a_row_here():
    assert set(ablation.PAPER) == set(ablation.PAPER_MAIN) == set(ablation.ROWS) - {"alternating"}
