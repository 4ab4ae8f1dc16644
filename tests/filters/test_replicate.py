"""Filters whose tuning holds, turns round or is lost on the other set; selections beside chance."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from facelab.filters import replicate
from facelab.filters.responses import Responses

GAINS = np.linspace(-1.5, 1.5, 40)


def faces(n=240, seed=0, gains=GAINS, spread=1.0, per_person=2):
    """Filters that follow yaw with given gains; a second layer that follows gender, a dead filter at its end."""
    rng = np.random.default_rng(seed)
    yaw, person = spread * rng.uniform(-60, 60, n), np.arange(n) // per_person
    male = rng.integers(0, 2, n // per_person)[person]
    first = yaw[:, None] / 60 * gains + rng.normal(size=(n, len(gains)))
    second = np.hstack([male[:, None] * gains[::-1] + rng.normal(size=(n, len(gains))), np.full((n, 1), 0.3)])
    labels = pd.DataFrame({"yaw": yaw, "gender": np.where(male, "female", "male")})
    return Responses("made", {"a": first, "b": second}, labels, person)


def test_tuning_is_pearson_and_leaves_out_missing_labels():
    seen = faces()
    seen.labels.loc[:9, "yaw"] = np.nan
    found = replicate.tuning(seen, "yaw")
    expected = stats.pearsonr(seen["a"][10:, 3], seen.labels["yaw"][10:])[0]
    table = found.table().set_index(["kind", "layer", "filter"])["rho"]
    assert table["left", "a", 3] == pytest.approx(expected)
    assert np.isnan(table["left", "b", 40]) and found.people == 115


def test_what_holds_on_a_set_with_little_yaw_keeps_its_order():
    found = replicate.agreement(
        replicate.tuning(faces(), "yaw"), replicate.tuning(faces(600, 1, spread=0.5), "yaw"), least=0.3
    )
    row = found.table().set_index("kind").loc["left"]
    assert 0.6 < row["low"] < row["spearman"] < row["high"] <= 1
    assert row["same_side"] == 1 and row["strong"] > 10 and row["filters"] == 80
    left = found.pairs.query("kind == 'left' and layer == 'a'")
    assert left["first"].abs().mean() > 1.3 * left["second"].abs().mean()


def test_tuning_turned_round_is_a_negative_correlation_with_the_same_strengths():
    turned = replicate.agreement(
        replicate.tuning(faces(), "yaw"), replicate.tuning(faces(seed=1, gains=-GAINS), "yaw"), least=0.3
    )
    row = turned.table().iloc[0]
    assert row["spearman"] < -0.6 and row["spearman_abs"] > 0.4 and row["same_side"] == 0


def test_controls_agree_with_nothing():
    first = replicate.tuning(faces(), "yaw")
    shuffled = [replicate.tuning(faces(seed=1), "yaw", shuffle=True, seed=s) for s in range(6)]
    chance = [replicate.agreement(first, one).table()["spearman"].iloc[0] for one in shuffled]
    assert abs(np.mean(chance)) < 0.3
    other = replicate.agreement(first, replicate.tuning(faces(seed=1), "gender"))
    assert list(other.table()["kind"]) == ["left, male", "sideways, male"]
    assert abs(other.table()["spearman"].iloc[0]) < 0.4


def test_exchanged_labels_stay_together_within_people():
    seen = faces(per_person=4)
    y, people = seen.targets("gender"), seen.identities
    dealt = replicate._exchanged(y, people, 3)
    assert all(np.ptp(dealt[people == who]) == 0 for who in np.unique(people))
    assert dealt.sum() == y.sum() and (dealt != y).any()


def test_other_filters_and_bad_labels_are_refused():
    seen = faces()
    few = Responses("few", {"b": seen["b"]}, seen.labels, seen.identities)
    with pytest.raises(ValueError, match="81 and 41 filters"):
        replicate.agreement(replicate.tuning(seen, "yaw"), replicate.tuning(few, "yaw"))
    constant = faces()
    constant.labels["yaw"] = 5.0
    with pytest.raises(ValueError, match=r"the label is \[5.\] on all 240 images"):
        replicate.tuning(constant, "yaw")
    constant.labels["yaw"] = np.nan
    with pytest.raises(ValueError, match="none of the 240 images"):
        replicate.tuning(constant, "yaw")


def test_overlap_is_beside_chance_within_layers():
    widths = {"a": 50, "b": 50}
    found = replicate.overlap({"a": range(20)}, {"a": range(10, 30)}, widths)
    assert (found.first, found.second, found.shared) == (20, 20, 10)
    assert found.chance == pytest.approx(20 * 20 / 50, abs=0.1) and found.low <= found.chance <= found.high
    assert found.p == pytest.approx(stats.hypergeom(50, 20, 20).sf(9), abs=0.03)
    same = replicate.overlap({"a": range(20), "b": [1]}, {"a": range(20), "b": [2]}, widths)
    assert same.shared == 20 and same.p == 1 / 10_000
    assert replicate.overlap({"a": [1]}, {"b": [1]}, widths).shared == 0
    with pytest.raises(ValueError, match="it has 50"):
        replicate.overlap({"a": [50]}, {}, widths)
