"""A face set of a folder of photos: every face cut as it lies, nothing searched twice, no bad file stops the others."""

import io

import numpy as np
import pytest
from PIL import Image

import facelab as fl
from facelab import cache
from facelab.nets import photos as room
from facelab.nets.photos import crop


@pytest.fixture(scope="module")
def heads():
    faces = fl.faces.load("rendered/wild", people=30, progress=False)
    return faces[((np.abs(faces.labels["yaw"]) <= 15) & (np.abs(faces.labels["pitch"]) <= 12)).to_numpy()]


@pytest.fixture(autouse=True)
def own_photos(tmp_path, monkeypatch):
    """A cache of its own for the faces found; weights are where they were."""
    path = cache.path

    def elsewhere(kind, name, **depends):
        return tmp_path / "kept" / path(kind, name, **depends).name if kind == "photos" else path(kind, name, **depends)

    monkeypatch.setattr(cache, "path", elsewhere)
    return tmp_path / "kept"


def photograph(heads, *rows, width=300, height=200):
    """An image with the heads at `rows` side by side, 128 px each."""
    image = Image.new("RGB", (width, height), (120, 130, 140))
    for i, row in enumerate(rows):
        image.paste(Image.fromarray(heads.images[row].transpose(1, 2, 0)), (10 + 145 * i, 30 + 20 * i))
    return image


def read(photos, **options):
    return fl.nets.faces_in(photos, device="cpu", progress=False, **{"size": 96} | options)


@pytest.fixture
def folder(heads, tmp_path):
    album = tmp_path / "album zoë"
    (album / "李").mkdir(parents=True)
    photograph(heads, 0, 4).save(album / "two.png")
    photograph(heads, 8).save(album / "李" / "eine.png")
    Image.new("RGB", (200, 150), (90, 120, 90)).save(album / "meadow.png")
    return album


def test_every_face_of_every_photo(folder, heads):
    found = read(folder)
    faces, labels = found.faces, found.faces.labels
    assert faces.name == "album zoë" and faces.images.shape == (3, 3, 96, 96) and faces.landmarks.dtype == np.float32
    assert labels["file"].tolist() == ["two.png", "two.png", "李/eine.png"] and labels["face"].tolist() == [0, 1, 0]
    assert list(labels) == ["file", "face", "score", "left", "top", "right", "bottom"]
    table = found.table().set_index("file")
    assert table["faces"].to_dict() == {"meadow.png": 0, "two.png": 2, "李/eine.png": 1}
    assert table.loc["two.png", ["width", "height"]].tolist() == [300, 200]
    assert found.undetected["file"].tolist() == ["meadow.png"] and len(found.unreadable) == 0
    here = fl.nets.detect(folder / "two.png", device="cpu")
    np.testing.assert_array_equal(labels.loc[:1, ["left", "top", "right", "bottom"]], here.boxes[0])
    assert fl.nets.load("identity", device="cpu").predict(faces).shape == (3, 128)  # a face set like any other


@pytest.mark.parametrize("margin", [0, 0.4])
def test_crops_show_what_the_boxes_say_and_landmarks_go_along(folder, margin):
    found = read(folder / "two.png", margin=margin)
    here = fl.nets.detect(folder / "two.png", device="cpu")
    pixels = np.asarray(Image.open(folder / "two.png")).transpose(2, 0, 1)
    for i in range(2):
        box = here.boxes[0][i]
        side = (1 + 2 * margin) * max(box[2] - box[0], box[3] - box[1])
        corner = (box[:2] + box[2:] - side) / 2
        back = (found.faces.landmarks[i] + 0.5) * side / 96 + corner - 0.5
        np.testing.assert_allclose(back, here.landmarks[0][i], atol=1e-2)
        centre = np.floor((box[:2] + box[2:]) / 2).astype(int)
        mine = found.faces.images[i, :, 38:58, 38:58].mean((1, 2))  # the middle fifth, here and there
        reach = max(1, round(side / 96 * 10))
        there = pixels[:, centre[1] - reach : centre[1] + reach, centre[0] - reach : centre[0] + reach].mean((1, 2))
        np.testing.assert_allclose(mine, there, atol=6)


def test_a_crop_of_whole_pixels_is_exact():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    np.testing.assert_array_equal(crop(image, (5.0, 7.0), 16.0, 16), pixels[7:23, 5:21].transpose(2, 0, 1))
    over = crop(image, (-8.0, 20.0), 16.0, 16)
    assert (over[:, :, :8] == 0).all() and (over[:, 10:] == 0).all()
    np.testing.assert_array_equal(over[:, :10, 8:], pixels[20:, :8].transpose(2, 0, 1))
    assert crop(image, (3.3, 4.7), 11.9, 24).shape == (3, 24, 24)


def test_most_and_smallest_reach_the_detector(folder):
    assert len(read(folder / "two.png", most=1).faces) == len(read(folder / "two.png", most=np.int64(1)).faces) == 1
    assert len(read(folder / "two.png", smallest=140).faces) == 0


def test_a_face_cut_from_a_huge_photo_is_sharp(heads, tmp_path):
    """The photo is searched at 2,048 px, but cut from all it has."""
    small = photograph(heads, 0)
    big = small.resize((3000, 2000), Image.BICUBIC)
    big.save(tmp_path / "big.png")
    found = read(tmp_path / "big.png", size=512, smallest=100)
    assert len(found.faces) == 1 and found.photos["width"].tolist() == [3000]
    box = found.faces.labels.loc[0, ["left", "top", "right", "bottom"]].to_numpy(float)
    assert (box[2:] - box[:2]).min() > 300
    side = 1.4 * (box[2:] - box[:2]).max()
    np.testing.assert_array_equal(found.faces.images[0], crop(big, (box[:2] + box[2:] - side) / 2, side, 512))


# ---- files as they come


@pytest.mark.parametrize("kind", ["grey", "grey16", "alpha", "la", "palette", "cmyk"])
def test_other_kinds_of_pixels(heads, tmp_path, kind):
    image = photograph(heads, 8)
    grey = image.convert("L")
    file = tmp_path / ("one.jpg" if kind == "cmyk" else "one.png")
    made = {
        "grey": lambda: grey,
        "grey16": lambda: Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
        "alpha": lambda: image.convert("RGBA"),
        "la": lambda: grey.convert("LA"),
        "palette": lambda: image.quantize(256),
        "cmyk": lambda: image.convert("CMYK"),
    }[kind]()
    made.save(file)
    found, plain = read(file), fl.nets.detect(image, device="cpu")
    assert found.photos["faces"].tolist() == [1]
    assert len(fl.nets.detect(Image.open(file), device="cpu").boxes[0]) == 1
    np.testing.assert_allclose(found.faces.labels.loc[0, ["left", "top"]].astype(float), plain.boxes[0][0, :2], atol=8)


@pytest.mark.parametrize("tag, turn", [(3, Image.ROTATE_180), (6, Image.ROTATE_90)])
def test_a_turned_photo_gives_the_upright_one(heads, tmp_path, tag, turn):
    image, exif = photograph(heads, 8), Image.Exif()
    exif[0x0112] = tag
    image.save(tmp_path / "upright.png")
    image.transpose(turn).save(tmp_path / "turned.png", exif=exif)
    a, b = read(tmp_path / "upright.png"), read(tmp_path / "turned.png")
    np.testing.assert_array_equal(a.faces.images, b.faces.images)
    np.testing.assert_array_equal(a.faces.landmarks, b.faces.landmarks)
    assert b.photos.loc[0, ["width", "height"]].tolist() == [300, 200]


def test_bad_files_are_named_and_do_not_stop_the_others(folder, heads):
    out = io.BytesIO()
    photograph(heads, 0).save(out, "jpeg")
    (folder / "half.jpg").write_bytes(out.getvalue()[: len(out.getvalue()) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.webp").write_text("no picture at all")
    found = read(folder)
    assert len(found.faces) == 3 and found.undetected["file"].tolist() == ["meadow.png"]
    bad = found.unreadable.set_index("file")["problem"]
    assert bad.index.tolist() == ["empty.png", "half.jpg", "words.webp"]
    assert all("cannot be read as an image" in why and name in why for name, why in bad.items())
    assert len(found.photos) == 6 and found.photos["faces"].sum() == 3


def test_no_face_at_all_is_an_empty_set_with_its_columns(tmp_path):
    Image.new("RGB", (100, 80), (90, 120, 90)).save(tmp_path / "meadow.png")
    found = read(tmp_path)
    assert len(found.faces) == 0 and found.faces.images.shape == (0, 3, 96, 96)
    assert list(found.faces.labels) == ["file", "face", "score", "left", "top", "right", "bottom"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 8}, ValueError, "size 8: expected at least 32 pixels"),
        ({"margin": -0.1}, ValueError, "margin -0.1: expected 0 to 2"),
        ({"margin": "wide"}, TypeError, "margin 'wide': expected a number"),
        ({"smallest": 3}, ValueError, "smallest 3: expected at least 12"),
        ({"most": 1.5}, TypeError, "most 1.5: expected a whole number"),
    ],
)
def test_settings_out_of_range(folder, options, error, message):
    with pytest.raises(error, match=message):
        read(folder, **options)


def test_no_folder_no_photo(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="has no image"):
        read(tmp_path)
    for nowhere in (tmp_path / "nowhere", [tmp_path / "nowhere.png"]):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere"):
            read(nowhere)
    with pytest.raises(ValueError, match="no photo to look for faces in"):
        read([])
    with pytest.raises(TypeError, match="int: expected a folder, a file or a list of files"):
        read(7)


# ---- the cache


def test_nothing_is_searched_twice_and_a_changed_photo_is(folder, heads, monkeypatch, own_photos):
    looked = []
    search = room.search
    monkeypatch.setattr(room, "search", lambda *a: looked.append(1) or search(*a))
    first = read(folder)
    assert len(looked) == 3
    (folder / "two.png").rename(folder / "another name.png")
    again = read(folder)
    assert len(looked) == 3 and again.faces.labels["file"].tolist()[:2] == ["another name.png"] * 2
    np.testing.assert_array_equal(again.faces.images, first.faces.images)
    np.testing.assert_array_equal(again.faces.landmarks, first.faces.landmarks)
    photograph(heads, 0, 8).save(folder / "another name.png")
    read(folder)
    assert len(looked) == 4
    kept = sorted(own_photos.rglob("*"))
    fresh = read(folder, cached=False)
    assert len(looked) == 7 and sorted(own_photos.rglob("*")) == kept and len(fresh.faces) == 3


def test_settings_are_part_of_the_key(folder, own_photos):
    options = ({}, {"size": 64}, {"margin": 0.5}, {"smallest": 50}, {"most": 1}, {"thresholds": (0.5, 0.7, 0.7)})
    for option in options:
        read(folder / "two.png", **option)
    assert len([entry for entry in own_photos.iterdir() if entry.is_dir()]) == len(options)


def test_an_interrupted_call_goes_on_where_it_stopped(folder, monkeypatch):
    looked, search = [], room.search

    def stops(*arguments):
        if len(looked) == 2:
            raise KeyboardInterrupt
        looked.append(1)
        return search(*arguments)

    monkeypatch.setattr(room, "search", stops)
    with pytest.raises(KeyboardInterrupt):
        read(folder)
    monkeypatch.setattr(room, "search", lambda *a: looked.append(1) or search(*a))
    resumed = read(folder)
    assert len(looked) == 3
    monkeypatch.setattr(room, "search", search)
    np.testing.assert_array_equal(resumed.faces.images, read(folder, cached=False).faces.images)


def test_a_damaged_entry_is_searched_anew(folder, own_photos):
    first = read(folder / "two.png")
    (file,) = own_photos.rglob("faces.safetensors")
    file.write_bytes(file.read_bytes()[:-20])
    np.testing.assert_array_equal(read(folder / "two.png").faces.images, first.faces.images)
