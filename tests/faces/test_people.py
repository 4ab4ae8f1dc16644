from dataclasses import asdict, replace

import numpy as np
import pytest

from facelab import tasks
from facelab.faces import heads
from facelab.faces.people import ETHNICITIES, GENDERS, people, person, restyled
from facelab.faces.styles import BEARDS, HAIR_STYLES


def test_a_seed_is_a_person():
    assert person(7) == person(7)
    assert person(7) != person(8)
    assert person(7).shape != person(8).shape


def test_fixing_one_thing_leaves_the_rest():
    """The face of a seed does not depend on which attributes were asked for."""
    free = person(5)
    fixed = person(5, gender=free.gender, ethnicity=free.ethnicity, age=free.age)
    assert fixed == free


def test_groups_are_balanced():
    crowd = people(200, seed=3)
    for i in range(0, 200, 10):
        block = {(p.gender, p.ethnicity) for p in crowd[i : i + 10]}
        assert len(block) == 10  # every pair of gender and ethnicity once in ten people
    ages = np.array([p.age for p in crowd])
    assert ages.min() >= 5 and ages.max() <= 80
    assert np.histogram(ages, bins=5, range=(5, 80))[0] == pytest.approx([40] * 5, abs=1)
    for group in {(p.gender, p.ethnicity) for p in crowd}:  # and within every group
        own = [p.age for p in crowd if (p.gender, p.ethnicity) == group]
        assert np.histogram(own, bins=5, range=(5, 80))[0].tolist() == [4] * 5
    young = people(200, ages=(1, 5, 80))
    assert sum(p.age <= 5 for p in young) == pytest.approx(100, abs=1)
    assert len({p.seed for p in crowd} | {p.seed for p in people(200, seed=4)}) == 400


def test_classes_are_known():
    for p in people(60):
        assert p.gender in GENDERS and p.ethnicity in ETHNICITIES
        assert p.hair_style in HAIR_STYLES and p.beard in BEARDS
        assert p.beard == "none" or (p.gender == "male" and p.age >= 18)
        assert all(0 <= c <= 1 for colour in (p.skin, p.hair_now, p.eyes) for c in colour)
        heads.load().coefficients(p.phenotype, p.shape)  # every slider exists
        assert max(map(abs, p.shape.values())) <= 1


STYLE = {"hair", "dyed", "hair_style", "hair_volume", "beard", "makeup", "wears", "look"}


def test_restyled_keeps_the_face_and_changes_the_rest():
    who = person(11, gender="male", ethnicity="white", age=40)
    days = [restyled(who, seed) for seed in range(60)]
    assert days == [restyled(who, seed) for seed in range(60)]
    assert restyled(who, np.random.default_rng(4)) == days[4]
    for field, value in asdict(who).items():
        seen = {getattr(day, field) for day in days}
        assert len(seen) > 1 if field in STYLE - {"makeup"} else seen == {value}, field
    for keep, fields in (
        ({"hair": False}, {"hair", "dyed", "hair_style", "hair_volume"}),
        ({"beard": False}, {"beard"}),
        ({"accessories": False}, {"wears", "makeup"}),
    ):
        for seed in range(20):  # what is kept is kept, and shifts nothing else
            day = asdict(restyled(who, seed, **keep))
            assert {f for f in day if day[f] != asdict(days[seed])[f]} <= fields
            assert all(day[f] == asdict(who)[f] for f in fields)


def test_dyed_hair_does_not_grey():
    old = replace(person(2), age=85.0)
    assert old.hair_now == old.natural_now != old.natural
    assert replace(old, dyed=True).hair_now == old.hair


def test_facial_hair_labels_agree():
    who = person(1, gender="male", age=40)
    for beard in BEARDS:
        labels = replace(who, beard=beard).facial_hair
        assert list(labels) == tasks.get("facial_hair").columns
        assert labels["facial_hair:no beard"] == (beard == "none")
        assert sum(labels.values()) == (3 if beard == "full" else 1)


def test_age_greys_the_hair_and_gender_moves_the_sliders():
    who = replace(person(2, gender="female", age=30), grey_at=65.0)
    old = replace(who, age=80.0)
    assert old.greyness > 0.7 > 0.2 > who.greyness
    assert old.shape["head-age-incr"] > who.shape["head-age-incr"]
    assert old.sliders == who.sliders  # the identity stays
    man = replace(who, masculinity=1.0)
    assert man.shape["chin-width-incr"] > who.shape["chin-width-incr"]
    assert man.phenotype["gender"] == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: person(1, gender="femal"), "unknown gender 'femal': did you mean 'female'"),
        (lambda: person(1, ethnicity="asain"), "unknown ethnicity 'asain': did you mean 'asian'"),
        (lambda: person(1, age=0.5), "age 0.5 is out of range: expected 1 to 90"),
        (lambda: person(-1), "seed -1 must be an integer of at least 0"),
        (lambda: person("1"), "seed '1' must be an integer"),
        (lambda: people(0), "people 0 must be an integer of at least 1"),
        (lambda: replace(person(1), hair_style="lnog"), "unknown hair style 'lnog': did you mean 'long'"),
        (lambda: replace(person(1), beard="goatie"), "unknown beard 'goatie': did you mean 'goatee'"),
        (
            lambda: replace(person(1), wears=("hat", "glasses")),
            "unknown accessory 'glasses': did you mean 'eyeglasses'",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
