"""One picture: its points and its box go where its pixels go."""

import os

import joblib
import numpy as np
import pytest
from PIL import Image

from facelab.faces import folder, picture

TURNED = {  # what a camera turned this way would have stored, by EXIF tag
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def spots(h=30, w=40, at=((5, 7), (33, 20), (12, 26))):
    """A black picture with a spot of its own colour at each (x, y)."""
    pixels = np.zeros((h, w, 3), np.uint8)
    for channel, (x, y) in enumerate(at):
        pixels[y - 1 : y + 2, x - 1 : x + 2, channel] = 255
    return pixels


def found(image):
    """Where the three spots are, (3, 2): the mean place of each channel's light."""
    y, x = np.mgrid[: image.shape[1], : image.shape[2]]
    light = image.astype(float)
    return np.array([[(x * c).sum() / c.sum(), (y * c).sum() / c.sum()] for c in light])


def save(file, pixels, tag=1):
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, exif=exif)
    return file


@pytest.mark.parametrize("tag", TURNED)
@pytest.mark.parametrize("size", [40, 100, 25])
def test_points_stay_on_their_pixels(tag, size, tmp_path):
    stored = TURNED[tag](spots())
    points = found(stored.transpose(2, 0, 1))
    image, moved = picture.read(save(tmp_path / "one.png", stored, tag), size, points)
    np.testing.assert_allclose(moved, found(image), atol=0.35)
    np.testing.assert_allclose(moved, picture.read(save(tmp_path / "two.png", spots()), size,
                                                   [(5, 7), (33, 20), (12, 26)])[1], atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("tag", [0, 9])
def test_a_rotation_tag_that_means_nothing_turns_nothing(tag, tmp_path):
    image, moved = picture.read(save(tmp_path / "one.png", spots(), tag), 40, found(spots().transpose(2, 0, 1)))
    np.testing.assert_allclose(moved, found(image), atol=0.35)


@pytest.mark.parametrize("values", [np.full((8, 8), 70_000, np.int32), np.full((8, 8), 0.5, np.float32)])
def test_values_that_are_no_pixels_are_named(values, tmp_path):
    Image.fromarray(values).save(tmp_path / "one.tif")
    with pytest.raises(ValueError, match=r"one\.tif cannot be read as an image \(its values are no whole numbers"):
        picture.read(tmp_path / "one.tif", 8)


def test_a_picture_in_a_form_that_is_not_read_is_named(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert folder.listed(tmp_path) == ["IMG_1.HEIC"]
    with pytest.raises(ValueError, match=r"IMG_1\.HEIC cannot be read as an image .*save it as JPEG or PNG"):
        picture.read(tmp_path / "IMG_1.HEIC", 8)


@pytest.mark.parametrize("tag", TURNED)
def test_a_box_is_cut_out_of_the_stored_pixels(tag, tmp_path):
    stored = TURNED[tag](spots())
    points = found(stored.transpose(2, 0, 1))
    low, high = points.min(0) - 3, points.max(0) + 4
    image, moved = picture.read(save(tmp_path / "one.png", stored, tag), 60, points, (*low, *high))
    np.testing.assert_allclose(moved, found(image), atol=0.5)
    assert np.ptp(moved[:, 0]) == pytest.approx(28 * 60 / 35, abs=1)  # the box, not the picture, fills the square


def test_a_box_beyond_the_picture_is_black_there(tmp_path):
    Image.new("RGB", (20, 20), (255, 255, 255)).save(tmp_path / "one.png")
    image, _ = picture.read(tmp_path / "one.png", 40, box=(-20, -20, 20, 20))
    assert (image[:, :19] == 0).all() and (image[:, 21:, 21:] == 255).all()


def test_an_empty_box_is_named(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"one\.png: the box \(5, 5, 5, 9\) of its face is empty"):
        picture.read(tmp_path / "one.png", 40, box=(5, 5, 5, 9))


def test_unknown_points_stay_unknown(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "one.png")
    assert np.isnan(picture.read(tmp_path / "one.png", 8, np.full((5, 2), np.nan))[1]).all()


def test_a_picture_too_large_to_be_one_is_refused_by_name(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)
    with pytest.raises(ValueError, match=r"huge\.png cannot be read as an image \(Image size \(90000 pixels\) exceeds"):
        picture.read(tmp_path / "huge.png", 8)


def test_a_photo_of_twenty_megapixels(tmp_path):
    Image.new("RGB", (5500, 3700), (10, 200, 30)).save(tmp_path / "large.jpg")
    image, (point,) = picture.read(tmp_path / "large.jpg", 64, [(2749.5, 1849.5)])
    assert np.abs(image[:, 32, 32].astype(int) - (10, 200, 30)).max() < 4
    np.testing.assert_allclose(point, (31.5, 31.0), atol=0.02)  # 43 rows after 10 black ones


def test_files_are_read_here_wherever_other_work_is_sent():
    """A cluster does not see this machine's files, nor what the reader holds."""
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert {pid for _, pid in picture.read_all(range(6), lambda _: os.getpid(), progress=False)} == {os.getpid()}


def test_results_come_in_order_however_they_are_cut(tmp_path):
    for chunk in (1, 3, 100):
        done = list(picture.read_all(range(10), lambda i: i * i, chunk=chunk, progress=False))
        assert done == [(i, i * i) for i in range(10)]
    with pytest.raises(ValueError, match="invalid literal"):
        list(picture.read_all(["1", "x", "2"], int, progress=False))
