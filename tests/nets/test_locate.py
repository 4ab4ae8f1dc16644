"""Landmarks for faces that come without: near the true ones, the same in any batch, and none where there is no face."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import facelab as fl
from facelab.faces.align import similarity
from facelab.faces.faceset import FaceSet


@pytest.fixture(scope="module")
def frontal() -> FaceSet:
    faces = fl.faces.load("rendered/wild", people=30, progress=False)
    near = (np.abs(faces.labels["yaw"]) <= 20) & (np.abs(faces.labels["pitch"]) <= 15)
    return faces[np.flatnonzero(near)]


def blind(faces):
    return replace(faces, landmarks=np.full_like(faces.landmarks, np.nan))


def errors(found, faces):
    """(n, 5) distances of the landmarks, as shares of the distance of the eyes."""
    eyes = np.linalg.norm(faces.landmarks[:, 1] - faces.landmarks[:, 0], axis=1)
    return np.linalg.norm(found.landmarks - faces.landmarks, axis=2) / eyes[:, None]


def told(faces):
    """What the network reads where it is told the true landmarks beforehand."""
    net = fl.nets.load("landmarks", device="cpu")
    chip = np.asarray(net.predict(faces), float)  # (n, 5, 2)
    turn = similarity(torch.from_numpy(faces.landmarks).double(), torch.from_numpy(net.template)).numpy()
    back = (chip - turn[:, None, :, 2]) @ np.linalg.inv(turn[:, :, :2]).transpose(0, 2, 1)
    return replace(faces, landmarks=back.astype(np.float32))


def test_near_the_true_landmarks(frontal):
    found = fl.nets.locate(blind(frontal), device="cpu")
    seen = np.isfinite(found.landmarks).all((1, 2))
    assert len(frontal) >= 20 and seen.mean() > 0.9
    error = errors(found, frontal)[seen]
    assert error[:, :2].mean() < 0.06 and error.mean() < 0.09
    assert error.mean() < 1.3 * errors(told(frontal), frontal)[seen].mean()  # little better with the truth at hand
    assert found.images is frontal.images and found.labels.equals(frontal.labels)
    assert found.landmarks.dtype == np.float32
    one_by_one = fl.nets.locate(frontal[:6], batch=1, device="cpu")  # known landmarks are not looked at
    np.testing.assert_allclose(one_by_one.landmarks, found.landmarks[:6], atol=1e-2)


def test_landmarks_of_mirror_images_are_mirror_images(frontal):
    """On average: the pixels that the network's shares of a chip are turned into lie neither left nor right."""
    found = fl.nets.locate(blind(frontal), device="cpu")
    other = fl.nets.locate(blind(frontal.flip()), device="cpu").flip()
    off = (found.landmarks - other.landmarks)[..., 0]
    assert abs(np.nanmean(off)) / 2 < 0.25  # of 128 pixels; a half of a chip's pixels would be 0.6
    assert abs(np.nanmean((found.landmarks - frontal.landmarks)[..., 0])) < 0.3


def test_a_smaller_face_is_found_as_well(frontal):
    """With a wide grey border around, which is where the central squares come in."""
    few = frontal[:12]
    n, _, h, w = few.images.shape
    wide = np.full((n, 3, h + h // 2, w + w // 2), 110, np.uint8)
    wide[:, :, h // 4 : h // 4 + h, w // 4 : w // 4 + w] = few.images
    shifted = replace(few, images=wide, landmarks=few.landmarks + np.float32([w // 4, h // 4]))
    found = fl.nets.locate(blind(shifted), device="cpu")
    seen = np.isfinite(found.landmarks).all((1, 2))
    assert seen.mean() > 0.5 and errors(found, shifted)[seen, :3].mean() < 0.13


def test_a_mirror_image_has_the_mirrored_landmarks(frontal):
    few = frontal[:12]
    found, mirrored = fl.nets.locate(few, device="cpu"), fl.nets.locate(few.flip(), device="cpu").flip()
    both = np.isfinite(found.landmarks + mirrored.landmarks).all((1, 2))
    assert both.sum() > 8 and errors(mirrored, found)[both].mean() < 0.09


def test_noise_has_no_face_and_certainty_can_be_asked_for(frontal):
    rng = np.random.default_rng(0)
    few = frontal[:12]
    noise = replace(few, images=rng.integers(0, 256, few.images.shape, dtype=np.uint8))
    flat = replace(few, images=np.full_like(few.images, 90))
    for empty in (noise, flat):
        assert np.isnan(fl.nets.locate(empty, device="cpu").landmarks).all()
    everything = fl.nets.locate(noise, least=0, device="cpu")
    assert np.isfinite(everything.landmarks).all()
    assert np.isnan(fl.nets.locate(few, least=1.01, device="cpu").landmarks).all()


def test_no_faces(frontal):
    with pytest.raises(ValueError, match="'rendered/wild' is empty: there is nothing to locate"):
        fl.nets.locate(frontal[:0])
