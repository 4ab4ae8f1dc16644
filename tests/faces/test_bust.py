from dataclasses import replace

import numpy as np
import pytest
import torch

from facelab.faces import bust, hats, heads, mesh
from facelab.faces.people import person
from facelab.faces.styles import HAIR_STYLES

WORN = ("earrings", "hat", "necklace", "necktie", "eyeglasses")


def _sound(made: bust.Bust) -> None:
    n = len(made.points)
    for name in ("points", "where", "masks", "shade", "turn", "landmarks", "pivot"):
        values = getattr(made, name)
        assert torch.isfinite(values).all() and values.dtype == torch.float32, name
    assert len(made.where) == len(made.masks) == len(made.shade) == len(made.turn) == n
    assert made.faces.min() >= 0 and made.faces.max() < n and len(made.part) == len(made.faces)
    assert made.turn.min() >= 0 and made.turn.max() <= 1
    assert made.points.abs().max() < 8


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_every_style_on_the_youngest_and_the_oldest(style):
    for age, gender in ((1, "female"), (90, "male")):
        _sound(bust.make(replace(person(3, age=age, gender=gender), hair_style=style, wears=WORN, look=age * 31 + 7)))


def test_every_kind_of_what_is_worn():
    who = person(4, gender="female", age=30)
    for look in range(0, 2000, 83):
        for gender in (0.0, 1.0):
            _sound(bust.make(replace(who, masculinity=gender, wears=WORN[look % 2 :: 2], look=look, hair_style="bob")))


def test_the_same_person_has_the_same_mesh():
    who = replace(person(5), wears=WORN)
    one, two = bust.make(who), bust.make(replace(who))
    assert torch.equal(one.points, two.points) and torch.equal(one.faces, two.faces)
    other = bust.make(replace(who, look=who.look + 12345))
    assert len(other.points) != len(one.points) or not torch.equal(other.points, one.points)


def test_nothing_worn_moves_the_landmarks():
    who = replace(person(6), wears=())
    bare = bust.make(who).landmarks
    for name in WORN:
        assert torch.equal(bust.make(replace(who, wears=(name,))).landmarks, bare)
    for style, beard in (("long", "full"), ("afro", "moustache")):
        assert torch.equal(bust.make(replace(who, hair_style=style, beard=beard)).landmarks, bare)


def _above(points: torch.Tensor, surface: torch.Tensor, faces: torch.Tensor) -> np.ndarray:
    """(n,) how far points lie outside the nearest vertex of a shell around the skull, along the direction outwards."""
    centre = surface.mean(0)
    way = torch.nn.functional.normalize(surface - centre, dim=1)
    own = torch.nn.functional.normalize(points - centre, dim=1)
    near = (own @ way.T).argmax(1)
    return ((points - centre).norm(dim=1) - (surface - centre).norm(dim=1)[near]).numpy()


@pytest.mark.parametrize("style", ["short", "quiff", "long", "curly", "afro", "bun"])
def test_hair_does_not_poke_through_a_hat(style):
    for gender, look in ((0.0, 0), (0.0, 14), (1.0, 7), (1.0, 0)):
        who = replace(person(8, age=30), masculinity=gender, hair_style=style, wears=("hat",), look=look)
        made = bust.make(who)
        hat = torch.unique(made.faces[made.part == mesh.HAT])
        crown = hat[made.masks[hat, 0] != 1]  # not the brim
        hair = torch.unique(torch.cat([made.faces[made.part == mesh.HAIR], made.faces[made.part == 0]]))
        under = hair[hats.covered(who, made.where[hair]) > 0.99]
        out = _above(made.points[under], made.points[crown], made.faces)
        assert (out > 0.045).mean() < 0.005, (style, hats.kind(who), out.max())


def test_a_veil_hides_all_the_hair_and_nothing_that_is_worn():
    who = replace(person(9, gender="female", age=30), hair_style="long", wears=("hat",), masculinity=0.0)
    looks = [look for look in range(0, 70, 7) if hats.kind(replace(who, look=look)) == "veil"]
    assert looks
    assert mesh.HAIR not in bust.make(replace(who, look=looks[0])).part
    assert hats.kind(replace(who, look=looks[0], wears=("hat", "earrings"))) == "kerchief"


def test_parts_beyond_the_head_model_are_numbered_after_it():
    assert len(heads.PARTS) == mesh.HAIR
    made = bust.make(replace(person(2, gender="male", age=40), hair_style="side", beard="full", wears=WORN))
    assert {mesh.HAIR, mesh.BEARD, mesh.GLASSES, mesh.HAT, mesh.TIE, mesh.CLOTH} <= set(made.part.tolist())


@pytest.mark.parametrize("code", [mesh.HAIR, mesh.HAT, mesh.CLOTH, mesh.TIE, mesh.LENS])
def test_what_is_worn_faces_outwards(code):
    """Light is computed for the front of a sheet."""
    who = replace(person(2, gender="female", age=30), hair_style="long", wears=WORN, masculinity=0.0)
    for look in range(0, 3000, 217):
        made = bust.make(replace(who, look=look))
        faces = made.faces[made.part == code]
        a, b, c = made.where[faces].unbind(1)
        middle = (a + b + c) / 3
        axis = torch.stack([0 * middle[:, 0], middle[:, 1].clamp(6, 7.3), 0 * middle[:, 0] + 0.3], 1)
        normal = torch.linalg.cross(b - a, c - a)
        out = (normal * torch.nn.functional.normalize(middle - axis, dim=1)).sum(1).sum() / normal.norm(dim=1).sum()
        assert not len(faces) or out > 0.15, (look, hats.kind(made.person), float(out))
