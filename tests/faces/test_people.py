from dataclasses import replace

import numpy as np
import pytest

from facelab import tasks
from facelab.faces import expressions, heads
from facelab.faces.people import BEARDS, ETHNICITIES, GENDERS, HAIR_STYLES, linear, people, person


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
    assert len({p.seed for p in crowd} | {p.seed for p in people(200, seed=4)}) == 400


def test_classes_are_known():
    for p in people(60):
        assert p.gender in GENDERS and p.ethnicity in ETHNICITIES
        assert p.hair_style in HAIR_STYLES and p.beard in BEARDS
        assert p.beard == "none" or (p.gender == "male" and p.age >= 18)
        assert all(0 <= c <= 1 for colour in (p.skin, p.hair_now, p.eyes) for c in colour)
        heads.load().coefficients(p.phenotype, p.shape)  # every slider exists
        assert max(map(abs, p.shape.values())) <= 1


def test_facial_hair_labels_agree():
    who = person(1, gender="male", age=40)
    for beard in BEARDS:
        labels = replace(who, beard=beard).facial_hair
        assert list(labels) == tasks.get("facial_hair").columns
        assert labels["facial_hair:no beard"] == (beard == "none")
        assert sum(labels.values()) == (3 if beard == "full" else 1)


def test_age_greys_the_hair_and_gender_moves_the_sliders():
    who = person(2, gender="female", age=30)
    old = replace(who, age=80.0)
    assert old.greyness > 0.7 > 0.2 > who.greyness
    assert old.shape["head-age-incr"] > who.shape["head-age-incr"]
    assert old.sliders == who.sliders  # the identity stays
    man = replace(who, masculinity=1.0)
    assert man.shape["chin-width-incr"] > who.shape["chin-width-incr"]
    assert man.phenotype["gender"] == 0.0


def test_linear_light():
    assert linear((0, 188, 255)) == pytest.approx([0, 0.5029, 1], abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: person(1, gender="femal"), "unknown gender 'femal': did you mean 'female'"),
        (lambda: person(1, ethnicity="asain"), "unknown ethnicity 'asain': did you mean 'asian'"),
        (lambda: person(1, age=0.5), "age 0.5 is out of range: expected 1 to 90"),
        (lambda: person(-1), "seed -1 must be an integer of at least 0"),
        (lambda: person("1"), "seed '1' must be an integer"),
        (lambda: people(0), "people 0 must be an integer of at least 1"),
        (lambda: expressions.actions("hapy", 1.0), "unknown expression 'hapy': did you mean 'happy'"),
        (lambda: expressions.actions("happy", 1.5), "intensity 1.5 of 'happy' is out of range: expected 0 to 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_expressions_are_made_of_known_actions():
    assert set(expressions.ACTIONS) == set(expressions.VALENCE) == set(tasks.EXPRESSIONS)
    known = set(heads.load().actions)
    for name in tasks.EXPRESSIONS:
        assert set(expressions.actions(name, 1.0)) <= known
        assert max(expressions.actions(name, 1.0).values(), default=0) <= 1
    assert expressions.actions("neutral", 1.0) == {}
    assert expressions.valence("sad", 0.5) == pytest.approx(-0.35)
