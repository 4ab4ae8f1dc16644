import base64
import io
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from facelab.faces.faceset import FaceSet
from facelab.transfer.fusion import AE, PCA, nrmse
from facelab.workbench import code_plots
from facelab.workbench.fusion_explorer import ANYONE, FUSED, OTHERS, TSNE_MAP, FusionExplorer

PEOPLE, EACH = 12, 3
N = PEOPLE * EACH


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def faces():
    rng, person = np.random.default_rng(0), np.repeat(np.arange(PEOPLE), EACH)
    labels = {"identity": [f"p{i}" for i in person], "gender": np.where(person % 2, "male", "female"),
              "age": rng.uniform(5, 80, N), "yaw": rng.uniform(-60, 60, N), "accessories:hat": person % 2 * 1.0,
              "domain": "here"}  # fmt: skip
    images = rng.integers(0, 255, (N, 3, 16, 16)).astype(np.uint8)
    return FaceSet("dozen", images, pd.DataFrame(labels), np.zeros((N, 5, 2), np.float32))


@pytest.fixture(scope="module")
def embeddings(faces):
    """Identity tells people apart; age holds a dimension that never moves."""
    rng = np.random.default_rng(1)
    identity = rng.normal(size=(PEOPLE, 10))[faces.identities] + 0.01 * rng.normal(size=(N, 10))
    age = np.stack([faces.labels["age"] / 30, faces.labels["yaw"] / 30, np.full(N, 3.0)], 1)
    return {"identity": identity + 5, "age": age}


@pytest.fixture(scope="module")
def operators(embeddings):
    return {("PCA", k): PCA(k).fit(embeddings) for k in (2, 6)} | {
        "AE": AE(4, hidden=8, epochs=1, device="cpu").fit(embeddings)
    }


@pytest.fixture
def explorer(faces, embeddings, operators):
    return FusionExplorer(faces, {"student": np.random.default_rng(2).normal(size=(N, 5))}, operators,
                          embeddings=embeddings)  # fmt: skip


def test_it_asks_in_the_order_of_its_family(explorer):
    """What is asked and where, then which face, then how it is shown."""
    order = ["operator", "dimension", "source", "face", "neighbours", "code", "map", "label"]
    assert list(explorer.controls) == order


def drawn(explorer):
    """The figure of the current settings."""
    return explorer._scene.canvas.figure


def test_it_has_a_static_twin(explorer):
    before = explorer.picture()
    assert Image.open(io.BytesIO(before)).width == 1100
    bundle, _ = explorer._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == before
    assert "face 0: PCA with 2 numbers reads back its identity embedding with an error of" in bundle["text/plain"]
    assert explorer.set(face=5).picture() != before
    assert "nearest in the fused code: face " in repr(explorer)


@pytest.mark.parametrize("label", ["identity", "yaw"])
@pytest.mark.parametrize("settings", [{}, {"face": N - 1, "operator": "AE", "source": "age", "map": TSNE_MAP},
                                      {"neighbours": ANYONE, "code": "student"}])  # fmt: skip
def test_nothing_is_cut_off_or_written_over(explorer, label, settings):
    explorer.set(label=label, **settings)
    figure = drawn(explorer)
    said = list(figure.texts)
    for ax in figure.axes:
        said += [*ax.texts, *([ax._left_title, ax.xaxis.label, ax.yaxis.label] if ax.axison else [])]
        said += ax.get_legend().get_texts() if ax.get_legend() else []
    boxes = [(t.get_text(), t.get_window_extent()) for t in said if t.get_text()]
    for name, box in boxes:
        assert box.x0 >= -1 and box.x1 <= 1101 and box.y0 >= 40 and box.y1 <= figure.bbox.y1 + 1, name
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        assert not a.shrunk(0.9, 0.8).overlaps(b.shrunk(0.9, 0.8)), (one, two)


def test_dimensions_follow_the_operator(explorer):
    assert explorer.controls["dimension"].options == (2, 6)
    explorer.set(operator="PCA", dimension=6).set(operator="AE")
    assert explorer.settings["dimension"] == 4
    explorer.set(operator="PCA", dimension=6)
    with pytest.raises(ValueError, match="unknown dimension 5"):
        explorer.set(dimension=5)
    with pytest.raises(ValueError, match="unknown operator 'PCB': did you mean 'PCA'"):
        explorer.set(operator="PCB")


def test_labels_that_tell_nothing_apart_are_not_offered(explorer, faces, embeddings, operators):
    assert "domain" not in explorer.controls["label"].options and explorer.settings["label"] == "gender"
    bare = FaceSet("bare", faces.images, faces.labels[["domain"]], faces.landmarks)
    alone = FusionExplorer(bare, {}, operators, embeddings=embeddings)
    assert alone.picture() and alone.controls["label"].options == ("no label",)


@pytest.mark.parametrize("key", [("PCA", 2), ("PCA", 6), ("AE", 4)])
def test_errors_of_faces_make_up_the_nrmse(explorer, embeddings, operators, key):
    """The nRMSE takes the root after the mean over faces, so it agrees with the errors for one dimension at a time."""
    operator = operators[key if key in operators else key[0]]
    back = operator.inverse_transform(operator.transform(embeddings))
    for source in embeddings:
        x, x_hat = explorer.read(*key, source)
        assert x.shape[1] == nrmse(embeddings, back).loc[source, "dimensions"]
        by_dimension = np.sqrt(np.square(x_hat - x).mean(0)).mean()
        assert by_dimension == pytest.approx(nrmse(embeddings, back).loc[source, "nrmse"], rel=1e-4)
        errors = explorer.errors(*key, source)
        np.testing.assert_allclose(np.square(errors).mean(), np.square(x_hat - x).mean(), rtol=1e-9)


def test_an_operator_fitted_to_an_array_reads_back_the_same(faces, embeddings, explorer):
    x = np.hstack(list(embeddings.values()))
    pca = PCA(6, sources={name: part.shape[1] for name, part in embeddings.items()}).fit(x)
    other = FusionExplorer(faces, None, {"PCA": pca}, embeddings=embeddings)
    np.testing.assert_allclose(other.errors("PCA", 6, "age"), explorer.errors("PCA", 6, "age"), atol=1e-4)


@pytest.mark.parametrize("face", [0, 7, N - 1])
def test_the_nearest_are_those_of_the_plain_formula(explorer, faces, face):
    own = faces.identities == faces.identities[face]
    for name in (FUSED, "identity", "age", "student"):
        x = explorer._code(name, "PCA", 6)
        centred = x - x.mean(0)
        cosine = centred @ centred[face] / np.linalg.norm(centred, axis=1) / np.linalg.norm(centred[face])
        for same in (True, False):
            rows, found = explorer.nearest(name, face, same=same, operator="PCA", dimension=6)
            left_out = np.arange(N) == face if same else own
            order = np.argsort(np.where(left_out, np.inf, -cosine))
            assert rows.tolist() == order[:6].tolist()
            np.testing.assert_allclose(found, cosine[rows], rtol=1e-5)
    rows, _ = explorer.nearest("identity", face, same=True, operator="PCA", dimension=6)
    assert set(rows[: EACH - 1]) == set(np.flatnonzero(own)) - {face}


def test_faces_of_one_person_have_no_other_people(faces, embeddings, operators):
    labels = faces.labels.assign(identity="p0")
    one = FusionExplorer(FaceSet("one", faces.images, labels, faces.landmarks), {}, operators, embeddings=embeddings)
    assert "nearest in the fused code: nobody" in repr(one)
    assert len(one.nearest(FUSED, 0, same=True, operator="PCA", dimension=2)[0]) == 6
    few = FusionExplorer(faces[:4], {}, operators, embeddings={k: v[:4] for k, v in embeddings.items()})
    assert len(few.nearest(FUSED, 3, same=False, operator="PCA", dimension=2)[0]) == 3
    assert few.set(map=TSNE_MAP).picture()


def test_maps_are_computed_once_and_when_asked(explorer, monkeypatch):
    assert not [key for key in explorer._kept if TSNE_MAP in key]
    explorer.set(map=TSNE_MAP)
    before = [key for key in explorer._kept if TSNE_MAP in key]
    assert len(before) == 1
    monkeypatch.setattr("facelab.workbench.fusion_explorer.TSNE", None)
    assert explorer.set(face=9, label="age").picture()


def test_a_face_beyond_the_map_is_placed_or_said_to_be_away(faces, embeddings, operators, monkeypatch):
    monkeypatch.setattr(FusionExplorer, "MAPPED", 10)
    explorer = FusionExplorer(faces, {}, operators, embeddings=embeddings)
    absent = int(np.setdiff1d(np.arange(N), explorer._mapped)[0])
    explorer.set(face=absent)
    texts = [t.get_text() for t in drawn(explorer).texts]
    assert "map of PCA, 2 numbers: 10 faces" in texts
    explorer.set(map=TSNE_MAP)
    assert "map of PCA, 2 numbers: 10 faces; this face is not among them" in [
        t.get_text() for t in drawn(explorer).texts
    ]
    whole = explorer._layout("identity", "first components", "PCA", 2)
    at = explorer._mapped[3]
    np.testing.assert_allclose((embeddings["identity"][at] - whole[1][0]) @ whole[1][1].T, whole[0][3])


def test_it_says_what_is_missing(faces, embeddings, operators, explorer):
    def make(faces=faces, codes=None, operators=operators, embeddings=embeddings):
        return FusionExplorer(faces, codes, operators, embeddings=embeddings)

    with pytest.raises(ValueError, match="there are no operators: expected at least one"):
        make(operators={})
    with pytest.raises(ValueError, match="operator 'PCA' is not fitted"):
        make(operators={"PCA": PCA(2)})
    with pytest.raises(TypeError, match="operator 'PCA' is str"):
        make(operators={"PCA": "PCA"})
    with pytest.raises(ValueError, match="operator 'PCA': the embeddings lack the source 'age'"):
        make(embeddings={"identity": embeddings["identity"]})
    with pytest.raises(ValueError, match="operator 'PCA': source 'age' is 2 wide: expected 3"):
        make(embeddings=embeddings | {"age": embeddings["age"][:, :2]})
    with pytest.raises(ValueError, match="35 codes for 36 faces: expected one each, of 'dozen'"):
        make(codes={"student": np.ones((35, 2))})
    with pytest.raises(ValueError, match="source 'student': the embedding of row 4 is not finite"):
        make(codes={"student": np.where(np.arange(36) == 4, np.nan, 1.0)[:, None]})
    with pytest.raises(ValueError, match="name 'age' is taken"):
        make(codes={"age": np.ones((36, 2))})
    with pytest.raises(ValueError, match="given twice with 2 numbers"):
        make(operators={("PCA", 2): operators["PCA", 2], "PCA": operators["PCA", 2]})
    with pytest.raises(ValueError, match="3 faces: expected at least 4"):
        make(faces=faces[:3])
    partial = make(operators={"PCA": PCA(2).fit({"age": embeddings["age"]})})
    assert partial.settings["source"] == "age"
    with pytest.raises(ValueError, match="was fitted without source 'identity': it reads back 'age'"):
        partial.set(source="identity")
    assert "Cannot draw this" in partial.status.value and partial.set(source="age").picture()


def test_only_standard_controls_with_names(explorer):
    for control in explorer.controls.values():
        assert type(control).__module__.startswith("ipywidgets") and control.description
    assert explorer.settings["neighbours"] == OTHERS


def test_code_map_says_what_colours_mean():
    points = np.random.default_rng(0).normal(size=(30, 2))
    ax = code_plots.code_map(points, np.arange(30) % 3, "group")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["0", "1", "2"]
    ax = code_plots.code_map(points, np.where(np.arange(30) % 2, 1.0, np.nan), "accessories:hat")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["yes", "unknown"]
    ax = code_plots.code_map(points, np.arange(30) // 2, "identity", at=2)  # person 1 is no "yes"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "others (15 in all)",
        "the same identity",
        "this face",
    ]
    assert len(ax.lines[1].get_xdata()) == 2
    ax = code_plots.code_map(points, np.linspace(-40, 20, 30), "yaw")
    assert ax.collections[0].norm.vmax == 40 and ax.collections[0].norm(0) == 0.5
    assert ax.child_axes[0].get_ylabel() == "yaw (degrees)"
    assert code_plots.code_map(points, np.full(30, 4.0), "age").collections[0].norm.vmin == 3.5
    order = code_plots.groups(pd.Series(["happy", "neutral", None]), "expression")
    assert list(order.cat.categories) == ["neutral", "happy"]
    with pytest.raises(ValueError, match=r"points of shape \(30, 2\) and 3 labels"):
        code_plots.code_map(points, [1, 2, 3], "age")


def test_read_back_and_histogram():
    ax = code_plots.read_back([0, 3.0], [0.5, 2])
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xlim()[1] > 3
    with pytest.raises(ValueError, match=r"shape \(2,\), read back as \(3,\)"):
        code_plots.read_back([0, 1], [0, 1, 2])
    ax = code_plots.error_histogram(np.linspace(0, 1, 50), 49)
    assert ax.lines[0].get_xdata()[0] == 1 and sum(bar.get_height() for bar in ax.patches) == 50
