"""Heads: MLPs trained side by side are as if each had been alone; scores, shares of labels, what is refused."""

import numpy as np
import pandas as pd
import pytest

from facelab.transfer import heads

N, K = 360, 5
RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(N, K)).astype(np.float32)
LABELS = pd.DataFrame(
    {
        "identity": np.arange(N) // 3,
        "age": 40 + 10 * CODES[:, 0],
        "gender": np.where(CODES[:, 1] > 0, "male", "female"),
        "yaw": 30 * np.tanh(CODES[:, 2]),
        **{f"accessories:{c}": (CODES[:, 3] > t).astype(float) for c, t in zip(
            ("earrings", "hat", "necklace", "necktie", "eyeglasses"), (-1, -0.5, 0, 0.5, 1), strict=True)},
    }
)  # fmt: skip
PART = (np.arange(N) // 3) % 3
FAST = {"epochs": 6, "batch": 32, "device": "cpu", "hidden": (16,)}
TARGETS = ["age", "age_band", "gender", "accessories"]


def fit(targets=TARGETS, codes=CODES, labels=LABELS, part=PART, **how):
    return heads.fit(codes, labels, targets, part, **FAST | how)


def test_company_changes_nothing():
    """Heads are as wide as the widest needs, so the weights drawn beyond a target's own outputs may differ."""
    together, alone = fit(), fit(["gender"])
    assert np.allclose(together.said["gender"], alone.said["gender"], atol=1e-4)


def test_they_learn_what_the_code_knows():
    table = fit(epochs=60).scores.set_index("target")
    assert table.loc["gender", "score"] > 0.8 > table.loc["gender", "constant"]
    assert table.loc["age", "score"] < 0.7 * table.loc["age", "constant"]
    assert table.loc["accessories", "score"] < 0.15 < table.loc["accessories", "constant"]


def test_a_code_that_knows_nothing_scores_like_a_constant():
    noise = np.random.default_rng(1).normal(size=(N, K))
    table = fit(codes=noise).scores.set_index("target")
    assert abs(table.loc["age", "score"] / table.loc["age", "constant"] - 1) < 0.25


def test_a_shift_and_one_scale_of_the_code_change_nothing():
    assert np.allclose(fit().said["age"], fit(codes=100 + 7 * CODES).said["age"], atol=0.05)


def test_faces_without_the_label_have_no_say():
    """Their codes change places among them, which leaves mean and scale of the code: nothing else may change."""
    gone = np.flatnonzero((PART == 0) & (np.arange(N) % 2 == 1))
    labels = LABELS.copy()
    labels.loc[gone, "age"] = np.nan
    codes = CODES.copy()
    codes[gone] = codes[np.random.default_rng(3).permutation(gone)]
    assert np.allclose(fit(["age"], labels=labels).said["age"], fit(["age"], codes, labels).said["age"], atol=1e-3)
    assert not np.allclose(fit(["age"]).said["age"], fit(["age"], codes).said["age"], atol=1e-3)


def test_a_batch_without_any_label_is_passed_over():
    labels = LABELS.copy()
    labels["age"] = labels["age"].where((PART != 0) | (np.arange(N) < 12))
    assert np.isfinite(fit(["age"], labels=labels, batch=8).scores["score"]).all()


@pytest.mark.parametrize(("p", "name"), [(1, "validation"), (2, "test")])
def test_a_part_without_labels_is_refused(p, name):
    with pytest.raises(ValueError, match=f"no face of the {name} part"):
        fit(["age"], labels=LABELS.assign(age=LABELS["age"].where(p != PART)))


def test_test_labels_are_not_looked_at():
    labels = LABELS.copy()
    labels.loc[PART == 2, "age"] = 1.0
    assert np.array_equal(fit(["age"]).said["age"], fit(["age"], labels=labels).said["age"])


def test_predicts_what_it_said_of_the_test_part():
    found = fit()
    assert np.allclose(found.predict(CODES[found.test])["age"], found.said["age"], atol=1e-4)


def test_identity_is_verified_not_trained():
    people = np.random.default_rng(2).normal(size=(N // 3, K)).repeat(3, 0)
    near = people + 0.01 * CODES
    table = fit(["identity", "gender"], codes=near).scores.set_index("target")
    assert table.loc["identity", "score"] > 0.99 and table.loc["identity", "metric"] == "auc"
    assert fit(["identity"], codes=-3 * near + 5).scores["score"][0] == pytest.approx(table.loc["identity", "score"])


def test_shares_of_the_labels_are_nested_and_by_person():
    some, more = (heads.few(LABELS["identity"], PART, share, seed=3) == 0 for share in (0.1, 0.5))
    assert not (some & ~more).any() and some.sum() == 12 and more.sum() == 60
    assert set(LABELS["identity"][some]).isdisjoint(LABELS["identity"][(PART == 0) & ~some])
    assert np.array_equal(heads.few(LABELS["identity"], PART, 1.0), PART)


def test_scores_are_kept_under_all_they_depend_on(monkeypatch, tmp_path):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    how = FAST | {"seeds": (0, 1)}
    first = heads.scores(CODES, LABELS, ["gender"], PART, **how)
    monkeypatch.setattr(heads, "fit", lambda *a, **k: pytest.fail("it was there already"))
    assert first.equals(heads.scores(CODES, LABELS, ["gender"], PART, **how))
    assert first["seed"].tolist() == [0, 1]
    with pytest.raises(pytest.fail.Exception):
        heads.scores(2 * CODES, LABELS, ["gender"], PART, **how)


def test_refuses():
    bad = CODES.copy()
    bad[7] = np.nan
    with pytest.raises(ValueError, match="row 7"):
        fit(codes=bad)
    with pytest.raises(ValueError, match="constant"):
        fit(codes=np.full((N, K), 3.0))
    with pytest.raises(ValueError, match="expected a row for each of 360"):
        fit(codes=CODES[:-1])
    with pytest.raises(ValueError, match="validation part"):
        fit(part=np.where(PART == 1, -1, PART))
    with pytest.raises(ValueError, match="did you mean 'gender'"):
        fit(["gendr"])
    with pytest.raises(ValueError, match=r"expected \(n, 5\)"):
        fit(["age"]).predict(CODES[:, :1])
    with pytest.raises(ValueError, match="share 0"):
        heads.few(LABELS["identity"], PART, 0)
