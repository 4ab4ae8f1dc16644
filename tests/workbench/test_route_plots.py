import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt

from facelab.filters import routes
from facelab.workbench import plots, route_plots

WAYS = {"full fine-tuning": (0, 1), "ETL γ = 0.1": (0.9, 0.92), "ETL γ = 0.01": (0.7, 0.97),
        "random −72 %": (0.72, 0.9), "per layer −72 %": (0.72, 0.996)}  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def table():
    rows = []
    for task in ("gender", "yaw"):
        for name, (cut, kept) in WAYS.items():
            for seed in range(3):
                row = {"task": task, "route": name, "seed": seed, "macs_cut": cut, "size_cut": cut**0.5}
                row |= {"kept": kept + 0.01 * (seed - 1) * (kept < 1), "seconds_per_epoch": 10 * (1 - cut / 2) + seed}
                row |= {"gamma": float(name.split()[-1]) if "γ" in name else 0.0 if cut == 0 else np.nan}
                rows.append(row | {"accuracy" if task == "gender" else "r2": 0.9 * row["kept"]})
    return pd.DataFrame(rows)


def markers(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_the_baseline_has_the_name_that_routes_give_it():
    assert routes.BASELINE.name == route_plots.BASELINE


def test_frontier_draws_means_over_seeds(table, check):
    ax = plots.frontier(table, "gender", goals=(42.4, 43.6, 72))
    check(ax)
    assert ax.get_xlabel() == "MACs cut (% of the whole network's)"
    assert ax.get_ylabel() == "accuracy of gender kept (% of full fine-tuning)"
    drawn = markers(ax)
    assert list(drawn) == [*WAYS, "99.5 % kept"]
    for name, (cut, kept) in WAYS.items():
        np.testing.assert_allclose(np.ravel(drawn[name].get_data()), (100 * cut, 100 * kept))
    spread = [c.get_segments()[0] for c in ax.collections][2]  # across, up and down of the second route
    np.testing.assert_allclose(spread, [(90, 91), (90, 93)])
    assert [t.get_text() for t in ax.texts] == ["42.4 %", "43.6 %", "72 %"]
    boxes = [t.get_window_extent() for t in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1  # covers no point
    assert plots.frontier(table, "yaw").get_ylabel().startswith("R² of yaw kept")
    assert markers(plots.frontier(table, "gender", guessed=55.0))["commonest answer"].get_ydata()[0] == 55


def test_routes_are_coloured_by_what_they_are(table):
    drawn = markers(plots.frontier(table, "gender"))
    kinds = {"ETL γ = 0.1": "ETL", "random −72 %": "control", "per layer −72 %": "ours", "full fine-tuning": "baseline"}
    assert {name: drawn[name].get_color() for name in kinds} == {n: route_plots.KINDS[k] for n, k in kinds.items()}
    assert drawn["ETL γ = 0.1"].get_marker() != drawn["ETL γ = 0.01"].get_marker()
    told = markers(plots.frontier(table, "gender", kinds={"per layer −72 %": "control"}))
    assert told["per layer −72 %"].get_color() == route_plots.KINDS["control"]
    with pytest.raises(ValueError, match="unknown kind of route 'per layer −72 %' 'contrl': did you mean 'control'"):
        plots.frontier(table, "gender", kinds={"per layer −72 %": "contrl"})


def test_frontier_says_what_it_lacks(table):
    with pytest.raises(ValueError, match="unknown task 'gendr': did you mean 'gender'"):
        plots.frontier(table, "gendr")
    with pytest.raises(ValueError, match="lacks the column 'macs_cut'"):
        plots.frontier(table.drop(columns="macs_cut"), "gender")
    with pytest.raises(ValueError, match="'full fine-tuning' has no share kept"):
        plots.frontier(table.assign(kept=np.nan), "gender")
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.frontier(pd.DataFrame(), "gender")


def test_kept_bars_say_where_they_begin(check):
    kept = pd.DataFrame({"route": ["ETL", "l1", "ours"], "kept": [97.0, 91.0, 99.8]})
    kept = kept.assign(low=kept["kept"] - 1, high=kept["kept"] + 1)
    ax = plots.kept_bars(kept)
    check(ax)
    assert ax.get_xlim()[0] == 85 and "the axis begins at 85" in ax.get_xlabel()
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(ends, kept["kept"])
    tints = [colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert tints == [route_plots.KINDS[kind] for kind in ("ETL", "control", "ours")]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["ETL", "l1", "ours"]
    assert ax.texts[0].get_text() == "97.0 [96.0, 98.0]"
    assert {line.get_xdata()[0] for line in ax.lines} == {100, 99.5}
    ax = plots.kept_bars(kept, guessed=52.0)
    check(ax)
    assert {line.get_xdata()[0] for line in ax.lines} == {100, 99.5, 52} and ax.get_xlim()[0] == 50
    ax = plots.kept_bars(kept.assign(low=3.0))
    check(ax)
    assert ax.get_xlim()[0] == 0 and "begins" not in ax.get_xlabel()
    ax = plots.kept_bars(kept.assign(kept=[-12, 50, 99], low=-20))  # an R² may be below 0
    assert [bar.get_x() for bar in ax.patches] == [0, 0, 0] and ax.get_xlim()[0] < -20
    with pytest.raises(ValueError, match="lacks the column 'low'"):
        plots.kept_bars(kept.drop(columns=["low", "high"]))


def test_filters_kept_in_the_order_of_the_network(check):
    widths = pd.DataFrame({"gender": [0.5, 0.25, 1], "facial_hair": [0.1, np.nan, 0]}, ["conv1_1", "conv2", "conv10"])
    ax = plots.filters_kept(widths)
    check(ax)
    assert [t.get_text() for t in ax.texts] == ["50", "10", "25", "100", "0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["conv1_1", "conv2", "conv10"] and ax.yaxis_inverted()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["gender", "facial hair"]
    with pytest.raises(ValueError, match="share 50 is out of range: expected 0 to 1"):
        plots.filters_kept(100 * widths)
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.filters_kept(pd.DataFrame())


def test_costs_of_counted_and_measured(check):
    cost = pd.DataFrame({"what": ["macs", "conv_size", "channels_last"], "cut": [72.0, 80, -8]})
    cost = cost.assign(low=[np.nan, np.nan, 1.05], high=[np.nan, np.nan, 1.1])
    ax = plots.costs(cost)
    check(ax)
    named = ["MACs", "bytes, convolutions only", "time, channels last"]
    assert [t.get_text() for t in ax.get_yticklabels()] == named
    assert [t.get_text() for t in ax.texts] == ["−72.0 %", "−80.0 %", "+8.0 %"]
    assert [bar.get_width() for bar in ax.patches] == [100, 100, 100, 72, 80, -8]
    np.testing.assert_allclose(ax.collections[0].get_segments()[-1], [(-10, 2), (-5, 2)])
    assert ax.get_xlim()[0] < -10
    check(plots.costs(cost[["what", "cut"]]))
    with pytest.raises(ValueError, match="lacks the column 'cut'"):
        plots.costs(cost.drop(columns="cut"))


def test_gamma_sweep_puts_0_at_the_left(table, check):
    sweep = table[table["gamma"].notna()]
    axes = plots.gamma_sweep(sweep, "gender")
    assert axes.shape == (2,)
    for ax in axes:
        check(ax)
        assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "0.01", "0.1"]
    assert axes[0].get_ylabel() == "accuracy of gender (%)" and "%" in axes[1].get_ylabel()
    mean = axes[0].lines[1]
    np.testing.assert_allclose(mean.get_xdata(), [0.001, 0.01, 0.1])
    np.testing.assert_allclose(mean.get_ydata(), [90, 0.9 * 97, 0.9 * 92])
    np.testing.assert_allclose(markers(axes[1])["MACs"].get_ydata(), [100, 30, 10])
    assert list(markers(axes[1])) == ["MACs", "bytes"]
    mine = plt.subplots(1, 2)[1]
    assert plots.gamma_sweep(sweep, "yaw", axes=mine)[0] is mine[0] and "R²" in mine[0].get_ylabel()


def test_gamma_sweep_mixes_no_routes(table):
    with pytest.raises(ValueError, match="'random −72 %' has no γ: leave it out"):
        plots.gamma_sweep(table, "gender")
    with pytest.raises(ValueError, match=r"γ 0\.01 is that of 'ETL γ = 0\.1' and 'ETL γ = 0\.01': choose one"):
        plots.gamma_sweep(table.assign(gamma=table["gamma"].replace(0.1, 0.01)).dropna(subset="gamma"), "gender")
    with pytest.raises(ValueError, match="lacks the column 'accuracy'"):
        plots.gamma_sweep(table.drop(columns=["accuracy", "r2"]), "gender")


def test_learning_compares_with_the_baseline(table, check):
    table = table.assign(seconds_per_epoch=table["seconds_per_epoch"].where(table["route"] != "random −72 %"))
    ax = plots.learning(table)
    check(ax)
    assert ax.get_xlabel() == "training time per epoch (s)"
    assert len(ax.patches) == 2 * len(WAYS)
    assert [t.get_text() for t in ax.texts][:4] == ["11 s", "6.5 s (−41 %)", "7.5 s (−32 %)", "trains nothing"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["gender", "yaw"]
    with pytest.raises(ValueError, match="lacks the column 'seconds_per_epoch'"):
        plots.learning(table.drop(columns="seconds_per_epoch"))


def test_a_given_axes_is_drawn_into(table):
    for draw in (lambda ax: plots.frontier(table, "yaw", ax=ax), lambda ax: plots.learning(table, ax=ax)):
        ax = plt.subplots()[1]
        assert draw(ax) is ax


def test_told_apart_draws_a_line_per_network_on_a_log_scale(check):
    names = {"whole network": 0.5, "plain ETL": 0.002, "random": 0.001, "+ recalibrated": 0.45, "+ refitted": 0.44}
    shares = pd.DataFrame({name: np.geomspace(0.4, end, 6) for name, end in names.items()})
    shares.index = [f"conv{i}" for i in range(1, 7)]
    ax = plots.told_apart(shares, "expression")
    check(ax)
    drawn = markers(ax)
    assert list(drawn) == list(names) and ax.get_yscale() == "log"
    np.testing.assert_allclose(drawn["plain ETL"].get_ydata(), shares["plain ETL"])
    assert drawn["whole network"].get_color() == route_plots.KINDS["baseline"]
    assert drawn["random"].get_color() == route_plots.KINDS["control"]
    looks = [(drawn[n].get_color(), drawn[n].get_linestyle(), drawn[n].get_marker()) for n in names]
    assert len(set(looks)) == len(looks)
    with pytest.raises(ValueError, match="share 0 is out of range"):
        plots.told_apart(shares * 0, "expression")
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.told_apart(shares[[]], "expression")
