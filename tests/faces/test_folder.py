"""Pictures from a folder: in order, square, upright, eight bits of red, green and blue, and never a broken one."""

import io

import numpy as np
import pytest
from PIL import Image

from facelab.faces.folder import ENDINGS, from_folder


def read(folder, **options):
    return from_folder(folder, progress=False, **{"size": 16} | options)


def noise(h=16, w=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def test_every_image_in_order_of_its_path(tmp_path):
    names = ["b/10.png", "b/2.png", "a.JPG", "zoë 李.png", "b/c/x.bmp", "d.webp", "e.jpeg"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "b" / "album.png").mkdir()
    faces = read(tmp_path)
    assert faces.labels["file"].tolist() == sorted(names) and faces.name == tmp_path.name
    assert list(faces.labels) == ["file"] and np.isnan(faces.landmarks).all()
    for name, image in zip(faces.labels["file"], faces.images, strict=True):
        assert abs(image[0].mean() - 20 * names.index(name)) < 6
    again = read(str(tmp_path), files=["d.webp", "b/2.png"])
    assert again.labels["file"].tolist() == ["d.webp", "b/2.png"]
    np.testing.assert_array_equal(again.images[1], faces.images[faces.labels["file"].tolist().index("b/2.png")])


@pytest.mark.parametrize(("h", "w"), [(8, 16), (16, 8), (5, 16), (16, 16)])
def test_black_bars_make_it_square_and_cut_nothing(tmp_path, h, w):
    pixels = np.maximum(noise(h, w), 1)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    (image,) = read(tmp_path).images
    top, left = round((16 - h) / 2), round((16 - w) / 2)
    inside = image[:, top : top + h, left : left + w]
    np.testing.assert_array_equal(inside, pixels.transpose(2, 0, 1))
    assert (image > 0).sum() == 3 * h * w


@pytest.mark.parametrize("size", [8, 64])
def test_resized_with_its_sides_in_proportion(tmp_path, size):
    pixels = np.zeros((32, 16, 3), np.uint8)
    pixels[:16], pixels[16:] = (200, 0, 0), (0, 0, 200)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    faces = read(tmp_path, size=size)
    (image,) = faces.images
    assert faces.images.shape == (1, 3, size, size) and faces.images.dtype == np.uint8
    assert image[0, size // 4, size // 2] == 200 and image[2, -size // 4, size // 2] == 200
    assert (image[:, :, : size // 4 - 1] == 0).all() and (image[:, :, -size // 4 + 1 :] == 0).all()


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("tag", TURNED)
def test_rotation_tags_are_obeyed(tmp_path, tag):
    """What a camera turned this way would have stored, under the tag that says so."""
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(TURNED[tag](upright))).save(tmp_path / "one.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path).images[0], upright.transpose(2, 0, 1))


def test_other_kinds_of_pixels_become_rgb(tmp_path):
    rgb = noise()
    grey = rgb[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(np.where(grey > 127, 255, 0).astype(np.uint8)).convert("1").save(tmp_path / "bits.png")
    Image.fromarray(np.dstack([rgb, np.full((16, 16), 255, np.uint8)])).save(tmp_path / "alpha.png")
    Image.fromarray(np.dstack([rgb, grey])).save(tmp_path / "half.png")
    Image.fromarray(np.dstack([grey, grey])).save(tmp_path / "la.png")
    few = Image.fromarray(rgb // 64 * 64).quantize(64)
    few.save(tmp_path / "palette.png")
    few.save(tmp_path / "palette see-through.png", transparency=bytes(range(64)))
    faces = read(tmp_path)
    found = dict(zip(faces.labels["file"], faces.images.transpose(0, 2, 3, 1), strict=True))
    three = np.repeat(grey[..., None], 3, 2)
    for name, wanted in (
        ("grey.png", three), ("grey16.png", three), ("bits.png", np.where(three > 127, 255, 0)), ("alpha.png", rgb),
        ("palette.png", np.asarray(few.convert("RGB"))), ("palette see-through.png", np.asarray(few.convert("RGB"))),
        ("half.png", rgb), ("la.png", three),
    ):  # fmt: skip
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


@pytest.mark.parametrize("colour", [(250, 10, 10), (10, 250, 10), (10, 10, 250), (128, 128, 128)])
def test_the_colours_of_print_become_those_of_light(tmp_path, colour):
    Image.new("RGB", (16, 16), colour).convert("CMYK").save(tmp_path / "one.jpg", quality=95)
    assert np.abs(read(tmp_path).images[0].mean((1, 2)) - colour).max() < 8


def _bytes(kind):
    out = io.BytesIO()
    Image.fromarray(noise(40, 40)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp"])
def test_a_broken_file_is_named_and_never_half_read(tmp_path, kind):
    whole, file = _bytes(kind), tmp_path / f"bad one.{kind}"
    for length in (0, 1, 10, 30, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"bad one\.{kind} cannot be read as an image"):
            read(tmp_path)
    file.write_bytes(whole)
    assert len(read(tmp_path)) == 1


def test_bytes_that_are_wrong_raise_nothing_but_the_named_error(tmp_path):
    rng, refused = np.random.default_rng(0), 0
    whole, file = _bytes("png"), tmp_path / "one.png"
    for _ in range(150):
        data = bytearray(whole)
        data[rng.integers(0, 120 if rng.random() < 0.7 else len(data))] ^= 1 << rng.integers(0, 8)
        file.write_bytes(bytes(data))
        try:
            read(tmp_path)
        except ValueError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > 50


def test_no_folder_no_image_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=f"has no image \\({', '.join(ENDINGS)}\\)"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"gone\.png cannot be read"):
        read(tmp_path, files=["gone.png"])


def test_broken_files_can_be_left_out_and_are_counted(tmp_path, caplog):
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    faces = read(tmp_path, broken="skip")
    assert faces.labels["file"].tolist() == ["0.png", "2.png", "3.png"]
    np.testing.assert_allclose(faces.images[:, 0].mean((1, 2)), [0, 120, 180])
    assert faces.report.counts == {"cannot be read as an image": 1} and faces.landmarks.shape == (3, 5, 2)
    assert f"{tmp_path.name}: 3 faces; left out: 1 (cannot be read as an image)" in caplog.text
    assert faces[:2].report is faces.report and not read(tmp_path, files=["0.png"]).report.skipped
    with pytest.raises(ValueError, match=r"none of the 1 images of .* can be read"):
        read(tmp_path, files=["1.png"], broken="skip")
    with pytest.raises(ValueError, match="unknown way with broken pictures 'ignore': expected one of 'error', 'skip'"):
        read(tmp_path, broken="ignore")
