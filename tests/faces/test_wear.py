from dataclasses import replace

import numpy as np
import pytest

from facelab.faces import bust
from facelab.faces.people import person
from facelab.faces.photo import Shot, photograph

SIZE = 96
SHOT = Shot(head=0.52, offset=(0.0, -0.06))


def _pictures(who, worn: str, yaw: float = 0.0):
    """The picture without and with it, and the row of brows, chin and ear lobes."""
    shot = replace(SHOT, yaw=yaw)
    (bare,), (marks,) = photograph(bust.make(replace(who, wears=())), [shot], SIZE)
    (dressed,), moved = photograph(bust.make(replace(who, wears=(worn,))), [shot], SIZE)
    assert np.array_equal(marks, moved[0])
    changed = np.abs(bare.astype(int) - dressed).sum(0) > 40
    eyes, mouth = marks[:2, 1].mean(), marks[3:, 1].mean()
    return changed, eyes, mouth


@pytest.mark.parametrize("look", [1000, 1007, 1021])
@pytest.mark.parametrize("gender", ["female", "male"])
def test_each_accessory_changes_the_picture_where_it_is_worn_and_only_there(look, gender):
    who = replace(person(12, gender=gender, age=35), hair_style="short", beard="none", look=look)
    rows = np.arange(SIZE)
    for yaw in (0, 60):
        changed, eyes, mouth = _pictures(who, "hat", yaw)
        assert changed[rows < eyes - 4].sum() > 60
        changed, eyes, mouth = _pictures(who, "eyeglasses", yaw)
        assert changed.sum() > 15
        far = (rows < eyes - 14) | (rows > mouth)
        assert changed[far].sum() < 0.1 * changed.sum()
        for name in ("necklace", "necktie"):
            changed, eyes, mouth = _pictures(who, name, yaw)
            assert changed[rows > mouth + 4].sum() > 20
            assert changed[rows < mouth].sum() < 0.05 * changed.sum()
        changed, eyes, mouth = _pictures(replace(who, look=look + 5), "earrings", yaw)
        assert changed.sum() > 0
        assert changed[rows < eyes - 2].sum() == 0


def test_colours_follow_the_look_and_clothes_the_shot():
    who = replace(person(12, gender="male", age=35), hair_style="short", beard="none", wears=("hat",))
    pictures = [photograph(bust.make(replace(who, look=look)), [SHOT], 48)[0] for look in range(1000, 6000, 1000)]
    assert len({p.tobytes() for p in pictures}) == 5
    red, blue = (replace(SHOT, cloth=c) for c in ((0.5, 0.05, 0.05), (0.05, 0.05, 0.5)))
    a, b = photograph(bust.make(replace(who, wears=())), [red, blue], 48)[0].astype(int)
    assert (a[0] - b[0])[-6:].mean() > 20 and (b[2] - a[2])[-6:].mean() > 20
