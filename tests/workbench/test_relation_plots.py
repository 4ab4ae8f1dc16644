import io
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from PIL import Image

from facelab.filters.relations import relate
from facelab.workbench import relation_plots as draw
from facelab.workbench.relation_explorer import RelationExplorer


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def related(seen):
    own = {"gender": np.where(seen.labels["gender"] == "male", 1.0, 0.0)[:, None]}
    return relate({"identity": seen, "gender": seen}, ["identity", "gender", "expression"], own=own, trials=1)


def check(ax):
    ax.figure.canvas.draw()  # warnings are errors
    box, view = ax.get_tightbbox(), ax.figure.bbox
    assert box.x0 >= view.x0 - 2 and box.x1 <= view.x1 + 2 and box.y0 >= view.y0 - 2 and box.y1 <= view.y1 + 2


def test_accuracy_matrix(related):
    matrix = related.accuracy()
    ax = draw.accuracy_matrix(matrix, given=["gender"])
    check(ax)
    assert [t.get_text() for t in ax.texts] == [f"{100 * v:.0f}" for v in matrix.to_numpy().ravel()]
    assert len(ax.patches) == 2  # framed: identity and gender
    styles = {t.get_text(): t.get_style() for t in ax.get_yticklabels()}
    assert styles == {"identity": "normal", "gender": "italic"}


def test_reduction_is_centred_at_0():
    matrix = pd.DataFrame([[0.0, -5.0], [20.0, np.nan]], ["age", "pose"], ["age", "pose"])
    ax = draw.reduction_matrix(matrix)
    check(ax)
    assert [t.get_text() for t in ax.texts] == ["0", "−5", "+20"]
    image = ax.images[0]
    red, green, blue, _ = image.cmap(image.norm(0.0))
    assert min(red, green, blue) > 0.93
    assert image.norm(-20.0) + image.norm(20.0) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_numbers_can_be_read_on_their_colour(value):
    ax = draw.accuracy_matrix(pd.DataFrame([[value]], ["age"], ["pose"]))
    image, text = ax.images[0], ax.texts[0]
    back, ink = (
        np.array(colors.to_rgb(c)) @ [0.3, 0.59, 0.11] for c in (image.cmap(image.norm(100 * value)), text.get_color())
    )
    assert abs(back - ink) > 0.35


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="nothing to draw"):
        draw.accuracy_matrix(pd.DataFrame())
    with pytest.raises(ValueError, match="nothing to draw"):
        draw.frontier(pd.DataFrame())


def test_layer_lines(related):
    ax = draw.layer_lines(related.layers("identity"), last=2)
    check(ax)
    assert "%" in ax.get_ylabel() and ax.get_xlabel()


def test_frontier():
    rows = [
        ("identity filters first", 0, 0.7, 100),
        ("identity filters first", 4, 0.56, 90),
        ("random filters", 0, 0.7, 100),
    ]
    table = pd.DataFrame(rows, columns=["route", "removed", "auc", "kept_pct"])
    ax = draw.frontier(table.assign(low=table["auc"] - 0.02, high=table["auc"] + 0.02))
    check(ax)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["identity filters first", "random filters"]
    assert "%" in ax.get_xlabel() and "AUC" in ax.get_ylabel()


def test_strip_says_what_is_wrong(related, faces):
    reading = related.readings["identity", "gender"]
    ax = draw.strip(faces, reading, show=6)
    check(ax)
    assert len(ax.texts) == 6
    wrong = sum("✗" in t.get_text() for t in ax.texts)
    assert wrong <= (reading.right == 0).sum()
    with pytest.raises(ValueError, match="no label to write"):
        draw.strip(faces, related.readings["identity", "identity"])
    with pytest.raises(ValueError, match="has 3 faces"):
        draw.strip(faces[:3], reading)


def test_rows_of_a_reference_run(tmp_path):
    entries = {
        f"04.matrix.{p}.{s}": {"value": v}
        for p, s, v in (("age", "pose", 0.5), ("age", "age", 0.4), ("pose", "pose", 0.9))
    }
    (tmp_path / "results.json").write_text(json.dumps({"run": {}, "04.speedup.per_task": {"value": 9}, **entries}))
    found = draw.reference_rows(tmp_path / "results.json")
    assert found.loc["age", "pose"] == 0.5 and found.loc["pose", "pose"] == 0.9 and np.isnan(found.loc["pose", "age"])


def test_bars(related):
    ax = draw.reading_bars(related.table(), "identity")
    check(ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["identity", "gender", "expression"]
    with pytest.raises(ValueError, match="unknown primary 'gende'"):
        draw.reading_bars(related.table(), "gende")


def test_explorer_has_a_static_twin(related, faces):
    explorer = RelationExplorer(related, faces)
    assert list(explorer.controls) == ["primary", "satellite", "draw"]
    before = explorer.picture()
    assert Image.open(io.BytesIO(before)).width > 500
    explorer.set(primary="gender", satellite="expression")
    assert explorer.picture() != before
    assert "expression read from the network trained for gender" in repr(explorer)
    explorer.set(satellite="gender")
    assert "100.0 [100.0, 100.0] % right" in repr(explorer)  # its own head
    alone = RelationExplorer(related)
    assert alone.picture() and "pass faces=" in repr(alone) and alone.controls["draw"].disabled
