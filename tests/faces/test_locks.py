from dataclasses import replace

import numpy as np
import pytest
import torch

from facelab.faces import locks, mesh
from facelab.faces.people import person
from facelab.faces.styles import HAIR_STYLES


def _points(style: str, look: int = 8) -> np.ndarray:
    who = replace(person(1, gender="female", age=30), hair_style=style, look=look, hairline=0.0)
    return np.concatenate([piece.points.numpy() for piece in locks.of(who)])


def test_every_style_but_the_shaved_ones_has_locks():
    for style in HAIR_STYLES:
        who = replace(person(1), hair_style=style)
        assert bool(locks.of(who)) == (style not in ("bald", "buzz")), style


def test_styles_reach_as_far_as_they_should():
    lowest = {style: _points(style)[:, 1].min() for style in ("short", "bob", "long", "bun")}
    assert lowest["long"] < 6.1 < lowest["bob"] < 6.9
    assert lowest["short"] > 6.4 and lowest["bun"] > 6.3
    fringe = _points("fringe")
    assert ((np.abs(fringe[:, 0]) < 0.3) & (fringe[:, 1] < 7.75) & (fringe[:, 2] > 1.2)).any()  # over the forehead


@pytest.mark.parametrize("style", ["short", "side", "bob", "long", "ponytail"])
def test_hair_leaves_the_eyes_nose_and_mouth_free(style):
    for look in range(locks.VARIANTS):
        x, y, z = _points(style, look).T
        before = (np.abs(x) < 0.42) & (y > 6.3) & (y < 7.35) & (z > 1.0)
        assert before.mean() < 0.002, look


def test_locks_stay_out_of_the_head():
    own = mesh.template_skin()
    points = _points("long")
    _, index = own.tree.query(points)
    clear = ~own.ears[index] & (points[:, 1] > 7.5)
    above = ((points - own.points[index]) * own.normals[index]).sum(1)
    assert (above[clear] < -0.06).mean() < 0.01


def test_a_groom_is_made_once_and_looks_differ():
    who = replace(person(1), hair_style="long", look=3)
    assert locks.of(who)[0] is locks.of(replace(who, seed=99))[0]
    one, other = (locks.of(replace(who, look=look))[0].points for look in (3, 4))
    assert one.shape != other.shape or not torch.equal(one, other)
