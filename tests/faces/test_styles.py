import numpy as np
import pytest

from facelab.faces import styles
from facelab.faces.people import people, restyled
from facelab.faces.styles import ACCESSORIES


@pytest.fixture(scope="module")
def crowd():
    return [restyled(p, i) for i, p in enumerate(people(1000))]


def test_what_is_worn_is_plausible(crowd):

    def share(name, chosen):
        return np.mean([name in p.wears for p in crowd if chosen(p)])

    for name in ACCESSORIES:
        assert 0.12 < share(name, lambda p: True) < 0.26, name
    assert share("necktie", lambda p: p.age < 18) == 0 and share("earrings", lambda p: p.gender == "male") < 0.15
    for name, more in (("necktie", "male"), ("necklace", "female"), ("earrings", "female")):
        assert share(name, lambda p, g=more: p.gender == g) > 2 * share(name, lambda p, g=more: p.gender != g)
    assert not any({"necktie", "necklace"} <= set(p.wears) for p in crowd)
    assert all(p.beard == "none" for p in crowd if p.gender == "female" or p.age < 18)
    assert all(p.makeup == 0 for p in crowd if p.gender == "male" or p.age < 16)
    assert all(set(p.accessories.values()) <= {0.0, 1.0} and set(p.wears) <= set(ACCESSORIES) for p in crowd)


def test_hair_is_dyed_by_few_men_and_by_women_who_hide_the_grey(crowd):
    def dyed(gender, low, high):
        return np.mean([p.dyed for p in crowd if p.gender == gender and low <= p.age < high])

    assert dyed("female", 0, 16) == dyed("male", 0, 16) == 0
    assert 0.01 < dyed("male", 16, 90) < 0.08
    assert 0.08 < dyed("female", 16, 35) < 0.22
    assert 0.4 < dyed("female", 55, 90) < 0.6


def test_grown_hair_is_dark_except_in_the_white_group():
    def light(ethnicity):
        rng = np.random.default_rng(0)
        return np.mean([styles.natural_colour(rng, ethnicity)[0] > 0.25 for _ in range(500)])

    assert light("white") > 0.2
    assert light("asian") == light("black") == light("indian") == 0
