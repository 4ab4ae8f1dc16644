import pytest

from facelab import tasks
from facelab.faces import expressions, heads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hapy", 1.0), "unknown expression 'hapy': did you mean 'happy'"),
        (("happy", 1.5), "intensity 1.5 of 'happy' is out of range: expected 0 to 1"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        expressions.actions(*arguments)


def test_expressions_are_made_of_known_actions():
    assert set(expressions.SHOWN) == set(expressions.COMBINATIONS) == set(expressions.VALENCE)
    assert set(expressions.SHOWN) - set(tasks.EXPRESSIONS) == {"contempt"}
    known = set(heads.load().actions)
    for name in expressions.SHOWN:
        for variant in range(40):
            full = expressions.actions(name, 1.0, variant)
            assert set(full) <= known and max(full.values(), default=0) <= expressions.STRONGEST
            half = expressions.actions(name, 0.5, variant)  # the same face, half as strong
            assert half == pytest.approx({action: weight / 2 for action, weight in full.items()})
    assert expressions.actions("neutral", 1.0, 5) == {}
    assert expressions.valence("sad", 0.5) == pytest.approx(-0.35)


def test_variants_differ_and_lean_a_little():
    for name in expressions.SHOWN[1:]:
        drawn = [expressions.actions(name, 1.0, variant) for variant in range(1, 40)]
        assert len({tuple(a) for a in drawn}) >= len(expressions.COMBINATIONS[name])
    smile = expressions.actions("happy", 1.0, 3)
    assert 0 < abs(smile["mouthSmileLeft"] - smile["mouthSmileRight"]) < 0.2
    plain = expressions.actions("happy", 1.0)
    assert plain["mouthSmileLeft"] == plain["mouthSmileRight"]


def test_contempt_is_on_one_side():
    sides = set()
    for variant in range(20):
        shown = expressions.actions("contempt", 1.0, variant)
        (side,) = {name.removeprefix("mouthDimple") for name in shown if name.startswith("mouthDimple")}
        sides.add(side)
    assert sides == {"Left", "Right"}
