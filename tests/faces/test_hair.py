from dataclasses import replace

import torch

from facelab.faces import hair, hats, heads
from facelab.faces.people import person

TOP, FRONT, SIDE, NAPE = torch.tensor([[0.0, 8.45, 0.6], [0.0, 7.8, 1.5], [0.74, 7.7, 0.4], [0.0, 7.0, -0.3]])


def _inside(who, *places) -> list[bool]:
    return (hair.hairiness(who, torch.stack(places)) > 0).tolist()


def test_hair_grows_on_the_scalp_and_not_on_the_forehead():
    who = replace(person(1, gender="female", age=30), hair_style="long", hairline=0.0)
    assert _inside(who, TOP, FRONT, SIDE, NAPE) == [True, False, True, True]
    assert _inside(replace(who, hair_style="horseshoe"), TOP, SIDE, NAPE) == [False, True, True]
    high = torch.tensor([0.0, 8.06, 1.4])
    assert _inside(who, high) == [True] and _inside(replace(who, hairline=0.2), high) == [False]


def test_the_body_of_hair_is_thickest_on_an_afro_and_flat_under_a_hat():
    model = heads.load()
    who = replace(person(1, gender="male", age=30), hair_style="afro", hair_volume=1.0, wears=("hat",))
    deep = {s: hair.hair_depth(replace(who, hair_style=s), model.template, model.masks).max() for s in ("afro", "buzz")}
    assert deep["afro"] > 0.3 > 0.03 > deep["buzz"] > 0
    assert hair.hair_depth(replace(who, hair_style="bald"), model.template, model.masks).max() == 0
    covered = hats.covered(who, model.template)
    pressed = hair.hair_depth(who, model.template, model.masks, covered)
    assert pressed[covered > 0.99].max() < 0.03 and pressed[covered < 0.01].max() > 0.1


def test_locks_have_the_hairs_colour_and_beards_the_natural_one():
    who = replace(person(1, gender="male", age=20), hair=(0.02, 0.04, 0.3), dyed=True, natural=(0.3, 0.02, 0.02))
    detail = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    albedo, gloss, sharp = hair.surface(who, detail)
    assert albedo.shape == (200, 3) and gloss.shape == sharp.shape == (200,)
    assert albedo.mean(0).argmax() == 2 and albedo.std() > 0
    assert hair.surface(who, detail, beard=True)[0].mean(0).argmax() == 0
