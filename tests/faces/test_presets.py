import itertools

import numpy as np
import pytest

from facelab import tasks
from facelab.faces import beards, bust, counts, expressions, mesh, presets
from facelab.faces.photo import Shot
from facelab.faces.presets import PRESETS, labels, sittings

ENCODED = ("identity", "gender", "ethnicity", "age", "expression", "valence", "yaw", "pitch", "roll", "facial_hair",
           "accessories", "smile", "glasses", "pose")  # fmt: skip


@pytest.fixture(scope="module")
def tables():
    """The labels of every preset at its default size (nothing is rendered)."""
    return {name: labels(sittings(name), name) for name in PRESETS}


def test_every_preset_is_described():
    assert set(presets.SITTING) == set(presets.VARIES) == set(presets.AGES) == set(presets.STANDS_FOR) == set(PRESETS)
    assert all(f"`{name.removeprefix('rendered/')}`" in presets.__doc__ and name in presets.__doc__ for name in PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_labels_are_complete_and_encode(tables, name):
    table = tables[name]
    assert len(table) == presets.images(name) <= 3000
    for task in ENCODED:
        codes = tasks.get(task).encode(table)
        assert len(codes) == len(table)
        if task != "expression" and tasks.get(task).kind in ("classes", "identity"):
            assert (codes >= 0).all()
    assert set(table["shown"]) <= set(expressions.SHOWN) and table["intensity"].between(0, 1).all()
    assert (table["domain"] == name).all()
    low, high = min(presets.AGES[name]), max(presets.AGES[name])
    assert table["age"].between(low, high + 4 * (name == "rendered/mugshot")).all()


@pytest.mark.parametrize("name", PRESETS)
def test_groups_are_balanced(tables, name):
    """As many people of each gender and ethnic group (within one), their ages spread alike."""
    table = counts(tables[name])
    each = table.sum(axis=1)
    assert len(each) == 10 and each.max() - each.min() <= 1
    assert table.to_numpy().sum() == tables[name]["identity"].nunique() == PRESETS[name]["people"]
    if PRESETS[name]["people"] >= 80:  # one more or less at either end of a band
        assert (table.max() - table.min()).max() <= 2


def test_nobody_is_in_two_presets(tables):
    for one, other in itertools.combinations(PRESETS, 2):
        assert not set(tables[one]["identity"]) & set(tables[other]["identity"])
    elsewhere = set(labels(sittings("rendered/wild", 1, people=10), "x")["identity"])
    assert not any(elsewhere & set(table["identity"]) for table in tables.values())


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_seed_gives_the_same_sittings(name):
    assert sittings(name, 3, people=2) == sittings(name, 3, people=2) != sittings(name, 4, people=2)


@pytest.mark.parametrize("name", ["rendered/wild", "rendered/mugshot", "rendered/album"])
def test_restyling_can_be_left_out(name):
    fields = ("hair", "hair_style", "beard", "look")

    def styles(**options):
        seen = {}
        for s in sittings(name, people=30, per_person=3, **options):
            seen.setdefault(s.person.seed, set()).add(tuple(getattr(s.person, f) for f in fields))
        return [len(v) for v in seen.values()]

    assert set(styles(restyle=0)) == {1} and set(styles()) == {3}


def test_lab_a_has_contempt_and_no_neutral(tables):
    table = tables["rendered/lab_a"]
    assert set(table["shown"]) == {"angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"}
    assert set(table["expression"].dropna()) == set(table["shown"]) - {"contempt"}
    assert table.loc[table["shown"] == "contempt", "expression"].isna().all()
    assert table["age"].between(18, 50).all() and table[["yaw", "pitch", "roll"]].abs().to_numpy().max() <= 5


def test_lab_b_has_six_classes(tables):
    table = tables["rendered/lab_b"]
    assert set(table["shown"]) == set(table["expression"].dropna()) == set(tasks.EXPRESSIONS) - {"neutral"}


@pytest.mark.parametrize("name", ["rendered/lab_a", "rendered/lab_b"])
def test_sequences_rise_and_only_their_second_half_is_labelled(tables, name):
    for (_, shown), rows in tables[name].groupby(["identity", "shown"]):
        assert rows["intensity"].iloc[0] == 0 and rows["intensity"].is_monotonic_increasing
        assert 0.8 <= rows["intensity"].iloc[-1] <= 1
        given = rows["expression"].notna().tolist()
        assert given == ([False] * 4 if shown == "contempt" else [False, False, True, True])
        assert rows["hair"].nunique() == 1 and rows["glasses"].nunique() == 1
    peaks = labels(sittings(name, people=1, frames=1), name)
    assert (peaks["intensity"] >= 0.8).all()


def test_mugshots_age_and_wear_beards(tables):
    table = tables["rendered/mugshot"]
    later = table.groupby("identity")["age"].agg(lambda a: a.iloc[1] - a.iloc[0]).round(1)
    assert later.between(0, 4).all() and later.mean() == pytest.approx(2, abs=0.3)
    men = table[(table["gender"] == "male") & (table["age"] >= 18)]
    assert (men["facial_hair:no beard"] == 0).mean() > 0.7
    assert (table["accessories:hat"] == 0).all() and (table["expression"] == "neutral").all()


def test_album_has_many_children_and_poor_pictures(tables):
    table = tables["rendered/album"]
    assert (table["age"] < 20).mean() == pytest.approx(0.5, abs=0.02)
    assert table["roll"].abs().max() > 35 and table["yaw"].abs().max() > 70
    assert 0.25 < table["accessories:hat"].mean() < 0.45
    shots = [shot for s in sittings("rendered/album") for shot in s.shots]
    for field, share in (("blur", 0.5), ("noise", 0.5), ("rim", 0.3), ("occluder", 0.2)):
        assert np.mean([getattr(s, field) > 0 for s in shots]) == pytest.approx(share, abs=0.05)


def test_every_label_of_a_style_occurs(tables):
    table = tables["rendered/wild"]
    for column in tasks.get("accessories").columns:
        assert 0.12 < table[column].mean() < 0.26, column
    men = table[(table["gender"] == "male") & (table["age"] >= 18)]
    for column in tasks.get("facial_hair").columns:
        assert 0.1 < men[column].mean() < 0.55, column
    assert ((table["accessories:eyeglasses"] == 1) == (table["glasses"] == "yes")).all()


def test_labels_are_those_of_the_mesh():
    """What the table says is worn and grows is there: glasses add a part, a beard covers skin."""
    seen = set()
    for s in sittings("rendered/wild", people=20, per_person=1):
        row = labels([s], "x").iloc[0]
        made = bust.make(s.person, expressions.actions(s.expression, s.intensity, s.variant))
        assert (mesh.GLASSES in made.part.unique().tolist()) == (row["glasses"] == "yes")
        bare = row["facial_hair:no beard"] == 1
        assert (float(beards.beard_density(s.person, made.where).max()) < 0.01) == bare
        seen |= {row["glasses"], bare}
    assert len(seen) == 4


def test_shots_are_shots():
    fields = Shot.__dataclass_fields__
    for name in PRESETS:
        shot = sittings(name, people=1)[0].shots[0]
        assert all(isinstance(getattr(shot, f), type(getattr(Shot(), f))) for f in fields), name
