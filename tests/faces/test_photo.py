from dataclasses import replace

import numpy as np
import pytest
import torch

from facelab.faces import bust, heads
from facelab.faces.expressions import actions
from facelab.faces.mesh import CLOTH, GLASSES, HAIR
from facelab.faces.people import person
from facelab.faces.photo import Shot, on_screen, photograph, posed, project, rotation
from facelab.faces.raster import rasterise


@pytest.fixture(scope="module")
def symmetric():
    """A person whose two halves are mirror images: no asymmetric slider, parting, mole or noise in the shape."""
    who = person(11, gender="male", ethnicity="white", age=30)
    own = dict(who.sliders)
    for name in own:
        if name.startswith("r-"):
            own[name] = own["l-" + name[2:]]
        if name.endswith("trans-out"):
            own[name] = own[name] if name.startswith(("l-", "r-")) else 0.0
    return replace(who, sliders=tuple(own.items()), hair_style="short", moles=(), beard="none")


def test_turning_signs():
    nose = torch.tensor([0.0, 0.0, 1.0])
    crown = torch.tensor([0.0, 1.0, 0.0])

    def turn(*angles):
        return rotation(*torch.tensor(angles, dtype=torch.float32))

    assert (turn(30, 0, 0) @ nose)[0] > 0.4  # yaw +: the nose to the image's right
    assert (turn(0, 30, 0) @ nose)[1] > 0.4  # pitch +: up
    assert (turn(0, 0, 30) @ crown)[0] > 0.4  # roll +: the crown to the right, clockwise as seen
    matrix = turn(20, -35, 50)
    assert torch.allclose(matrix @ matrix.T, torch.eye(3), atol=1e-6)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.allclose(mirror @ matrix @ mirror, turn(-20, -35, -50), atol=1e-6)


def test_a_mirrored_picture_is_the_opposite_pose(symmetric):
    mesh = bust.make(symmetric)
    here = Shot(yaw=30, pitch=10, roll=15, light=(0.0, 0.5, 0.8))
    there = replace(here, yaw=-30, roll=-15)
    images, landmarks = photograph(mesh, [here, there], 96)
    mirrored = landmarks[0][[1, 0, 2, 4, 3]].copy()
    mirrored[:, 0] = 95 - mirrored[:, 0]
    assert np.abs(mirrored - landmarks[1]).max() < 1.5
    flipped, other = images[0][..., ::-1].astype(float), images[1].astype(float)
    assert np.abs(flipped - other).mean() < 4  # noise in the skin is not symmetric
    assert np.abs(images[0].astype(float) - other).mean() > 12


def test_landmarks_lie_on_the_face(symmetric):
    mesh = bust.make(replace(symmetric, hair_style="bald", wears=()))
    (image,), (marks,) = photograph(mesh, [Shot()], 256)
    left, right, nose, mouth_left, mouth_right = marks
    assert left[0] < nose[0] < right[0] and mouth_left[0] < nose[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]
    grey = image.mean(0)
    for x, y in (left, right):  # a pupil is the darkest spot of an eye
        around = grey[int(y) - 7 : int(y) + 8, int(x) - 9 : int(x) + 10]
        assert around.min() < 40
    lips = image[:, int(mouth_left[1]) - 2 : int(mouth_left[1]) + 6, int(nose[0])].astype(float)
    skin = image[:, int(nose[1]) - 25, int(nose[0])].astype(float)
    assert (lips[0] / lips[1]).max() > 1.15 * skin[0] / skin[1]  # redder than the skin


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (30, 0), (-45, 0), (60, 0), (0, 30), (20, -30)])
def test_eyes_are_marked_where_their_irises_are_drawn(symmetric, yaw, pitch):
    """However the head is turned: the middle of the ball lies behind, and so beside what is seen."""
    mesh, shot, side = bust.make(replace(symmetric, hair_style="bald", wears=())), Shot(yaw=yaw, pitch=pitch), 512
    points = posed(mesh, shot)
    seen = rasterise(on_screen(points, shot, side), mesh.faces.int(), side)
    where = torch.einsum("nk,nkc->nc", seen.weights, mesh.where[mesh.faces[seen.face]])
    part = mesh.part[seen.face]
    _, (marks,) = photograph(mesh, [shot], side)
    apart = np.linalg.norm(marks[1] - marks[0])
    for eye, sign, mark in ((heads.RIGHT_EYE, -1, marks[0]), (heads.LEFT_EYE, 1, marks[1])):
        iris = (part == eye) & (torch.hypot(where[:, 0] - sign * 0.31, where[:, 1] - 7.285) < 0.06)
        if iris.sum() < 20:  # the far eye may be hidden by the nose
            continue
        at = seen.at[iris].float()
        drawn = np.array([(at % side).mean(), (at // side).mean()])
        assert np.linalg.norm(drawn - mark) < 0.08 * apart


def test_corners_of_the_mouth_are_on_the_lips():
    fixed = bust._fixed("cpu")
    model = heads.load("cpu")
    for side in ("left", "right"):
        assert model.masks[fixed.place[side], heads.MASKS.index("lips")] > 0.3


def test_the_nose_follows_yaw_pitch_and_roll(symmetric):
    mesh = bust.make(symmetric)
    shots = [Shot(), Shot(yaw=40), Shot(pitch=30), Shot(roll=25)]
    _, marks = photograph(mesh, shots, 64)
    front, side, up, tilted = marks
    assert side[2, 0] > front[2, 0] + 5
    assert up[2, 1] < front[2, 1] - 5
    assert tilted[1, 1] > tilted[0, 1] + 3  # clockwise: the eye on the right goes down


@pytest.mark.parametrize("yaw", [-90, 0, 90])
@pytest.mark.parametrize("pitch", [-60, 0, 60])
def test_the_head_stays_in_the_picture(symmetric, yaw, pitch):
    """Skull and face with a margin; the most voluminous hair may touch the edge when the head is thrown back."""
    for style, margin in (("short", 4), ("afro", -3)):
        mesh = bust.make(replace(symmetric, hair_style=style))
        shot = Shot(yaw=yaw, pitch=pitch)
        pixels = project(posed(mesh, shot)[mesh.where[:, 1] > 6.4], shot, 100)
        assert pixels.min() > margin and pixels.max() < 99 - margin


def test_only_the_neck_bends(symmetric):
    mesh = bust.make(symmetric)
    shot = Shot(yaw=60, pitch=20)
    points = posed(mesh, shot)
    turned = mesh.points @ rotation(*torch.tensor([60.0, 20.0, 0.0])).T
    assert (points - turned)[mesh.turn == 1].abs().max() < 1e-4  # the head is rigid about its own middle
    assert (points - turned)[mesh.turn == 0].norm(dim=1).mean() > 0.2  # the shoulders lag behind


def test_expressions_move_the_face_and_only_that(symmetric):
    calm, laughing = bust.make(symmetric), bust.make(symmetric, actions("happy", 1.0))
    moved = (calm.points - laughing.points).norm(dim=1)
    assert moved.max() > 0.05
    assert moved[calm.where[:, 1] > 8].max() < 1e-3
    width = [float(m.landmarks[4, 0] - m.landmarks[3, 0]) for m in (calm, laughing)]
    assert width[1] > 1.05 * width[0]


def test_glasses_and_hair_add_geometry(symmetric):
    bare = bust.make(replace(symmetric, hair_style="bald", wears=()))
    dressed = bust.make(replace(symmetric, hair_style="long", wears=("eyeglasses",)))
    assert set(bare.part.unique().tolist()) <= {*range(7), CLOTH}
    assert {GLASSES, HAIR} <= set(dressed.part.unique().tolist())
    assert torch.isfinite(dressed.points).all() and dressed.faces.max() == len(dressed.points) - 1


def test_light_is_fixed_to_the_camera(symmetric):
    """Turned away or not, it is the side of the picture the light comes from that is bright."""
    mesh = bust.make(replace(symmetric, hair_style="bald", wears=()))
    for yaw in (0, 180):
        shot = Shot(yaw=yaw, light=(1.0, 0.2, 0.2), fill=(0.1, 0.1, 0.1), top=(0, 0, 0), bottom=(0, 0, 0))
        (image,), _ = photograph(mesh, [shot], 48)
        assert image[:, :, 24:].mean() > 1.5 * image[:, :, :24].mean()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"yaw": 300}, "yaw of a shot 300 is out of range: expected -180 to 180"), ({"head": 0.0}, "head of a shot 0"),
     ({"distance": 0.5}, "distance of a shot"), ({"blur": -1}, "blur of a shot"), ({"exposure": np.nan}, "exposure")],
)  # fmt: skip
def test_shots_that_cannot_be_taken(wrong, says):
    with pytest.raises(ValueError, match=says):
        Shot(**wrong)
    with pytest.raises(TypeError, match="head of a shot 'big': expected a number"):
        Shot(head="big")
