from dataclasses import replace

import pytest
import torch

from facelab.faces import hats
from facelab.faces.people import person

LOOKS = {0.0: range(0, 35, 7), 1.0: range(0, 35, 7)}


def _all():
    """One person per kind of hat."""
    out = {}
    for masculinity, looks in LOOKS.items():
        for look in looks:
            who = replace(person(1, age=30), masculinity=masculinity, wears=("hat",), look=look)
            out.setdefault(hats.kind(who), who)
    return out


def test_there_are_six_kinds():
    assert set(_all()) == {"beanie", "cap", "brimmed", "sun hat", "kerchief", "veil"}
    assert hats.kind(replace(person(1), wears=())) is None and hats.of(replace(person(1), wears=())) == ()


@pytest.mark.parametrize("kind", ["beanie", "cap", "brimmed", "sun hat", "kerchief", "veil"])
def test_a_hat_covers_the_crown_and_leaves_the_face_free(kind):
    who = _all()[kind]
    (piece,) = hats.of(who)
    x, y, z = piece.points.T
    assert y.max() > 8.5 and piece.faces.max() < len(piece.points)
    face = (x.abs() < 0.4) & (y > 6.4) & (y < 7.5) & (z > 1.0) & (z < 1.75)
    corners = face[piece.faces].any(1)
    assert not corners.any()
    crown, chin = torch.tensor([[0.0, 8.49, 0.62]]), torch.tensor([[0.0, 6.17, 1.43]])
    assert hats.covered(who, crown) > 0.99
    if kind != "veil":
        assert hats.covered(who, chin) < 0.01
