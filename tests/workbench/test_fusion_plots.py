import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt

from facelab.transfer.similarity import cka_matrix
from facelab.workbench import code_plots, student_plots, style
from facelab.workbench import fusion_plots as draw

SOURCES = ["expression", "identity", "object"]
ROUTES = ["from scratch", "best source fine-tuned", "fused code + MLP", "student + MLP", "student fine-tuned"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def errors():
    rows = {"mean": [1, 1, 1], "PCA": [0.28, 0.25, 0.48], "AE": [0.23, 0.22, 0.26]}
    rows |= {"two-stage student": [0.39, 0.35, 1.2], "uniform": [2.5, 1.4, np.nan]}
    return pd.DataFrame.from_dict(rows, orient="index", columns=SOURCES)


@pytest.fixture
def budget():
    rows = [
        {"target": target, "route": route, "share": share, "score": 0.5 + 0.05 * i + 0.1 * share}
        for target in ("age", "gender", "facial_hair", "smile")
        for i, route in enumerate(ROUTES)
        for share in (1.0, 0.01, 0.1)  # in no order
    ]
    return pd.DataFrame(rows)


def texts(ax):
    return [t.get_text() for t in ax.texts]


def named(axis):
    return [t.get_text() for t in axis.get_ticklabels()]


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def luminance(ax, i, j):
    image = ax.images[0]
    return np.dot(image.cmap(image.norm(image.get_array()[i, j]))[:3], (0.3, 0.59, 0.11))


def test_reconstruction_sets_apart_what_says_nothing(errors, check):
    ax = draw.reconstruction(errors)
    check(ax)
    assert named(ax.yaxis) == ["PCA", "AE", "two-stage student", "mean", "uniform"]
    assert named(ax.xaxis) == [*SOURCES, "average"]
    shown = np.reshape(texts(ax), (5, 4))
    assert shown[1].tolist() == ["0.23", "0.22", "0.26", "0.24"] and shown[4].tolist() == ["2.50", "1.40", "–", "1.95"]
    bold = {t.get_text() for t in ax.texts if t.get_weight() == "bold"}
    assert bold == {"0.23", "0.22", "0.26", "0.24"}
    image = ax.images[0]
    assert image.norm(1.0) == 0.5 and image.norm(image.get_array().max()) == 1.0  # beyond 2 no redder
    gaps = [line.get_xydata() for line in ax.lines]
    assert gaps[0][0][1] == 2.5 and gaps[1][0][0] == 2.5
    given = draw.reconstruction(errors.assign(average=0.5)[["average", *SOURCES]])
    assert named(given.xaxis)[-1] == "average" and texts(given)[3] == "0.50"
    check(draw.reconstruction(errors.loc[["PCA"]]))
    assert not any(t.get_weight() == "bold" for t in draw.reconstruction(errors.loc[["PCA", "mean"]]).texts)


def test_reconstruction_says_what_is_wrong(errors):
    with pytest.raises(ValueError, match="nRMSE -1: expected 0 or more"):
        draw.reconstruction(-errors.iloc[:1])
    with pytest.raises(ValueError, match="0 rows and 0 columns: nothing to draw"):
        draw.reconstruction(pd.DataFrame())


def test_sweep_has_powers_of_two_and_the_rule(check):
    table = pd.DataFrame(
        [{"operator": o, "dimension": d, "nrmse": 1 / d} for o in ("VAE", "PCA") for d in (373, 32, 64, 128)]
    )
    ax = draw.sweep(table, rule=373)
    check(ax)
    assert ax.get_xscale() == "log" and named(ax.xaxis) == ["32", "64", "128", "256"]
    drawn = lines(ax)
    assert list(drawn) == ["VAE", "PCA"] and drawn["PCA"].get_color() == "#0072B2"
    np.testing.assert_array_equal(drawn["PCA"].get_xdata(), [32, 64, 128, 373])  # in order of size
    assert texts(ax) == ["average width 373"] and ax.lines[-1].get_xdata()[0] == 373
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    ax = draw.sweep(table.assign(low=table["nrmse"] - 0.01, high=table["nrmse"] + 0.02))
    np.testing.assert_allclose(ax.collections[0].get_segments()[0], [(32, 1 / 32 - 0.01), (32, 1 / 32 + 0.02)])
    assert not ax.texts
    check(draw.sweep(table[table["dimension"] == 373]))
    with pytest.raises(ValueError, match="lacks the column 'nrmse'"):
        draw.sweep(table.drop(columns="nrmse"))
    with pytest.raises(ValueError, match="dimension 0: expected 1 or more"):
        draw.sweep(table.assign(dimension=0))
    with pytest.raises(ValueError, match="no row in the table"):
        draw.sweep(table.iloc[:0])


@pytest.mark.parametrize("faces", [[7000], [7000, 23000], [1000, 7000, 23000, 200_000], [100, 1_000_000]])
def test_ratio_shows_no_gain_and_the_papers_ratio(faces, check):
    table = pd.DataFrame(
        [{"dimension": d, "faces": n, "ratio": 1 - 3 / d + 0.01 * s} for d in (373, 32) for n in faces for s in (0, 1)]
    )
    ax = draw.ratio(table, paper=0.77)
    check(ax)
    drawn = lines(ax)
    assert list(drawn) == ["no gain over PCA", "the paper's, 0.77", "32 numbers", "373 numbers"]
    assert drawn["no gain over PCA"].get_ydata()[0] == 1 and drawn["the paper's, 0.77"].get_ydata()[0] == 0.77
    np.testing.assert_allclose(drawn["32 numbers"].get_ydata(), 1 - 3 / 32 + 0.005)  # the mean of two seeds
    np.testing.assert_allclose(ax.collections[0].get_segments()[0][:, 1], [1 - 3 / 32, 1 - 3 / 32 + 0.01])
    assert named(ax.xaxis)
    assert "paper" not in " ".join(lines(draw.ratio(table)))
    with pytest.raises(ValueError, match="faces 0: expected 1 or more"):
        draw.ratio(table.assign(faces=0))


@pytest.fixture
def scores():
    return pd.DataFrame(
        {"PCA": [0.9, 6.0, 0.5], "AE": [0.95, 5.5, 0.5], "facial_hair": [0.97, np.nan, 0.4]}, ["gender", "age", "pose"]
    )


def test_ranks_go_by_what_is_better(scores, check):
    better = pd.Series({"gender": 1, "age": -1, "pose": 1})
    ax = draw.ranks(scores, better)
    check(ax)
    assert named(ax.xaxis) == ["AE", "facial hair", "PCA"]
    assert named(ax.yaxis) == ["gender ↑", "age ↓", "pose ↑", "mean rank"]
    shown = np.reshape(texts(ax), (4, 3)).tolist()
    assert shown == [["0.950", "0.970", "0.900"], ["5.50", "–", "6.00"], ["0.500", "0.400", "0.500"],
                     ["1.5", "2.0", "2.2"]]  # fmt: skip
    np.testing.assert_allclose(ax.images[0].get_array()[2], [1.5, 3, 1.5])  # equal scores share their rank
    assert luminance(ax, 1, 0) < luminance(ax, 1, 2)  # dark is best
    other = draw.ranks(scores, {**better, "age": 1})
    assert luminance(other, 1, named(other.xaxis).index("PCA")) < luminance(other, 1, named(other.xaxis).index("AE"))


def test_ranks_may_keep_their_order(scores, check):
    better, units = {"gender": 1, "age": -1, "pose": 1}, {"age": "error (years)"}
    ax = draw.ranks(scores, better, scores=units, what="route", ordered=False)
    assert named(ax.xaxis) == ["PCA", "AE", "facial hair"] and ax.get_xlabel() == "route"
    assert named(ax.yaxis) == ["gender ↑", "age, error (years) ↓", "pose ↑", "mean rank"]
    check(draw.ranks(scores.assign(other=np.nan), {"gender": 1, "age": -1, "pose": 1}))
    check(draw.ranks(scores.iloc[:1, :1], {"gender": 1}))
    with pytest.raises(ValueError, match="`better` lacks the target 'gender'; the nearest is 'gendr'"):
        draw.ranks(scores, {"gendr": 1, "age": -1, "pose": 1})
    with pytest.raises(ValueError, match="direction 0 of 'age': expected 1"):
        draw.ranks(scores, {"gender": 1, "age": 0, "pose": 1})


@pytest.mark.parametrize("seed", range(4))
def test_ranks_do_not_depend_on_the_order_or_scale_of_scores(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(5, 6)), list("abcde"), list("uvwxyz"))
    better = dict(zip(table.index, rng.choice([-1, 1], 5), strict=True))
    ax = draw.ranks(table, better)
    moved = draw.ranks(10 * table[rng.permutation(table.columns)] + 3, better)
    order, again = named(ax.xaxis), named(moved.xaxis)
    places = pd.DataFrame(np.asarray(ax.images[0].get_array()), columns=order)
    pd.testing.assert_frame_equal(places, pd.DataFrame(np.asarray(moved.images[0].get_array()), columns=again)[order])
    assert (np.diff(places.iloc[-1]) >= 0).all()


def test_similarity(check):
    x = np.random.default_rng(0).normal(size=(100, 4))
    ax = draw.similarity(cka_matrix({"age": x, "facial_hair": x[:, :1]}))
    check(ax)
    assert texts(ax)[0] == "1.00" and named(ax.xaxis) == ["age", "facial hair"]
    assert ax.images[0].norm.vmin == 0 and ax.images[0].norm.vmax == 1
    with pytest.raises(ValueError, match=r"similarity 1\.5 is out of range"):
        draw.similarity(pd.DataFrame([[1.5]], ["a"], ["a"]))
    with pytest.raises(ValueError, match="expected the same"):
        draw.similarity(pd.DataFrame([[1, 0.5]], ["a"], ["a", "b"]))


def test_budgets_share_one_legend(budget, check):
    axes = student_plots.budgets(budget, better={t: 1 for t in set(budget["target"])}, scores={"age": "MAE (years)"})
    assert axes.size == 6 and [ax.get_visible() for ax in axes.flat] == [True] * 4 + [False] * 2
    for ax in axes.flat[:4]:
        check(ax)
        assert named(ax.xaxis) == ["1", "10", "100"] and ax.get_xlabel() == "labels used (%)"
        assert ax.get_legend() is None
    assert axes.flat[0].get_ylabel() == "MAE (years)" and axes.flat[1].get_ylabel() == "score"
    assert axes.flat[2].get_title(loc="left") == "facial hair ↑"
    (legend,) = axes.flat[0].figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ROUTES
    box, view = legend.get_window_extent(), axes.flat[0].figure.bbox
    assert box.x0 >= view.x0 and box.x1 <= view.x1 and not any(ax.get_tightbbox().overlaps(box) for ax in axes.flat[:4])
    np.testing.assert_allclose(lines(axes.flat[0])["student fine-tuned"].get_xdata(), [1, 10, 100])


def test_budgets_want_one_score_each(budget):
    with pytest.raises(ValueError, match=r"and share .* have several scores: expected one, their mean"):
        student_plots.budgets(pd.concat([budget, budget]))


def test_budgets_in_given_axes(budget, check):
    mine = plt.subplots(1, 2, layout="constrained")[1]
    two = budget[budget["target"].isin(["age", "gender"])]
    assert student_plots.budgets(two, axes=mine)[0] is mine[0]
    assert mine[1].get_legend() is not None and mine[0].get_legend() is None
    with pytest.raises(ValueError, match="2 axes for 4 targets"):
        student_plots.budgets(budget, axes=mine)
    single = student_plots.budgets(budget[budget["target"] == "age"])
    check(single[0])
    with pytest.raises(ValueError, match="share 30 is out of range"):
        student_plots.budgets(budget.assign(share=30))
    with pytest.raises(ValueError, match="`better` lacks the target"):
        student_plots.budgets(budget, better={"age": -1})


@pytest.mark.parametrize("seconds", [[0.002, 0.5, 4], [12, 45, 50], [400, 9000, 2e5], [3, 3, 3]])
def test_times_end_where_they_should(seconds, check):
    table = pd.DataFrame({"route": ROUTES[:3], "seconds": seconds, "note": ["", None, "on one core"]})
    ax = student_plots.times(table)
    check(ax)
    assert ax.get_xscale() == "log" and "logarithmic" in ax.get_xlabel() and len(named(ax.xaxis)) >= 1
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(ends, seconds)
    assert all(bar.get_x() == ax.get_xlim()[0] and bar.get_width() > 0 for bar in ax.patches)
    assert named(ax.yaxis) == ROUTES[:3] and texts(ax)[2].endswith("(on one core)")


def test_times_of_what_trains_nothing(check):
    ax = student_plots.times(pd.DataFrame({"route": ["cosine", "MLP"], "seconds": [np.nan, 30]}))
    check(ax)
    assert texts(ax) == ["trains nothing", "30 s"]
    check(student_plots.times(pd.DataFrame({"route": ["cosine"], "seconds": [np.nan]})))
    with pytest.raises(ValueError, match="0 seconds: expected more than 0"):
        student_plots.times(pd.DataFrame({"route": ["cosine"], "seconds": [0.0]}))


def test_times_that_are_spent_once_are_hatched(check):
    table = pd.DataFrame({"route": ["once: student", "student tuned"], "seconds": [900, 30], "once": [True, False]})
    ax = student_plots.times(table)
    check(ax)
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [True, False] and "hatched: once" in ax.get_xlabel()
    budget = pd.DataFrame([{"target": "age", "route": "student tuned", "share": s, "score": 1.0} for s in (0.1, 1)])
    (drawn,) = lines(student_plots.budgets(budget)[0]).values()
    assert colors.to_hex(ax.patches[1].get_facecolor()) == drawn.get_color().lower()  # one colour in both figures


def test_genders_wear_one_pair_of_colours():
    ax = code_plots.code_map([[0, 0], [1, 1]], ["male", "female"], "gender")
    assert {name: line.get_color() for name, line in lines(ax).items()} == style.GENDER_COLOURS


def test_looks_stay_apart_and_stay_the_same():
    many = draw.looks([*ROUTES, *(f"route {i}" for i in range(8)), "random", "mean"])
    assert len({(v["color"], v["marker"], str(v["linestyle"])) for v in many.values()}) == len(many)
    assert many["random"]["color"] == many["from scratch"]["color"]
    assert draw.looks(["AE", "Concat"])["Concat"]["color"] == draw.looks(["Concat"])["Concat"]["color"] == "#000000"
    assert {v["color"] for v in draw.looks(ROUTES[1:]).values()} < {tint for tint, _ in style.RIVALS}


def test_a_given_axes_is_drawn_into(errors, scores):
    row = {"operator": "AE", "dimension": 8, "nrmse": 0.5, "faces": 10, "ratio": 1, "route": "a", "seconds": 5}
    table = pd.DataFrame([row])
    better = {"gender": 1, "age": -1, "pose": 1}
    for drawn in (
        lambda ax: draw.reconstruction(errors, ax=ax), lambda ax: draw.sweep(table, ax=ax),
        lambda ax: draw.ratio(table, ax=ax), lambda ax: draw.ranks(scores, better, ax=ax),
        lambda ax: draw.similarity(pd.DataFrame([[1.0]], ["a"], ["a"]), ax=ax),
        lambda ax: student_plots.times(table, ax=ax),
    ):  # fmt: skip
        ax = plt.subplots()[1]
        assert drawn(ax) is ax
