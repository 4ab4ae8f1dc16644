from dataclasses import replace

import torch

from facelab.faces import clothes, heads
from facelab.faces.people import person

WHO = person(1, gender="female", age=30)


def test_a_necktie_needs_a_shirt_and_a_necklace_a_free_neck():
    for look in range(0, 300, 5):
        who = replace(WHO, look=look)
        assert clothes.garment(replace(who, wears=())) in clothes.GARMENTS
        assert clothes.garment(replace(who, wears=("necktie",))) in ("suit", "shirt")
        assert clothes.garment(replace(who, wears=("necklace",))) in ("crew", "v", "scoop")
    assert {clothes.garment(replace(WHO, look=look, wears=())) for look in range(0, 30, 5)} == set(clothes.GARMENTS)


def test_clothes_cover_the_shoulders_and_never_the_face():
    template = heads.load().template
    shoulders = (template[:, 1] < 5.4) & (template[:, 0].abs() > 1.0)
    for look in range(0, 30, 5):
        for wears in ((), ("necktie",)):
            who = replace(WHO, look=look, wears=wears)
            worn, albedo, relief = clothes.covering(who, template, (0.2, 0.1, 0.05))
            assert worn[shoulders].all() and not worn[template[:, 1] > 6.3].any()
            assert albedo.shape == (int(worn.sum()), 3) and relief.shape == albedo.shape[:1]
            assert torch.isfinite(albedo).all() and albedo.min() >= 0
            lift = clothes.thickness(who, template)
            assert lift.max() < 0.05 and lift[template[:, 1] > 6.3].max() == 0


def test_a_v_neck_is_lower_in_front_than_a_crew_neck():
    place = torch.tensor([[0.0, 5.5, 0.85]])
    worn = {}
    for look in range(0, 30, 5):
        who = replace(WHO, look=look, wears=())
        worn[clothes.garment(who)] = bool(clothes.covering(who, place, (0.1, 0.1, 0.1))[0])
    assert worn["crew"] and worn["turtleneck"] and not worn["v"]
