from dataclasses import replace

import torch

from facelab.faces import beards, heads
from facelab.faces.people import person
from facelab.faces.styles import BEARDS

LIP, CHIN, CHEEK, STRIP = torch.tensor([[0.15, 6.82, 1.55], [0.0, 6.35, 1.5], [0.6, 6.6, 0.9], [0.75, 7.1, 0.7]])


def test_beards_grow_where_their_names_say():
    who = person(1, gender="male", age=40)
    grown = {}
    for beard in BEARDS:
        density = beards.beard_density(replace(who, beard=beard), torch.stack([LIP, CHIN, CHEEK, STRIP]))
        grown[beard] = (density > 0.3).tolist()
    assert grown == {
        "none": [False] * 4, "shadow": [True] * 4, "goatee": [True, True, False, False],
        "moustache": [True, False, False, False], "sideburns": [False, False, False, True], "full": [True] * 4,
    }  # fmt: skip


def test_only_grown_beards_have_depth_and_locks():
    model, who = heads.load(), person(1, gender="male", age=40)
    for beard in BEARDS:
        now = replace(who, beard=beard)
        grown = beard not in ("none", "shadow")
        assert bool(beards.of(now)) == grown
        assert (beards.beard_depth(now, model.template, model.masks).max() > 0.01) == grown
    moustache = beards.of(replace(who, beard="moustache"))[0].points
    assert moustache[:, 1].min() > 6.45 and moustache[:, 1].max() < 7.0
