"""A set is read once, never half, and never stale; a wrong folder is told from a right one."""

import errno
import logging
import os

import numpy as np
import pytest
from PIL import Image

from facelab import cache
from facelab.faces import load, readers
from facelab.faces.readers import store


def read(root, name="utkface", **options):
    return load(name, root=root, progress=False, **{"size": 32} | options)


def many(root, n=7):
    root.mkdir(exist_ok=True)
    for i in range(n):
        Image.new("RGB", (32, 32), (30 * i, 0, 0)).save(root / f"{i + 10}_0_0_2017010920325{i}.jpg.chip.jpg")
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The files that were opened."""
    opened, whole = [], store.picture.read
    monkeypatch.setattr(store.picture, "read", lambda file, *rest: opened.append(file.name) or whole(file, *rest))
    return opened


def test_the_second_time_nothing_is_decoded(tmp_path, decoded):
    first = read(many(tmp_path / "set"))
    assert len(decoded) == 7
    again = read(tmp_path / "set")
    assert len(decoded) == 7 and isinstance(again.images, np.memmap)
    assert again.fingerprint == first.fingerprint and again.report == first.report
    (tmp_path / "set").rename(tmp_path / "moved")
    assert read(tmp_path / "moved").fingerprint == first.fingerprint and len(decoded) == 7


@pytest.mark.parametrize("change", ["bytes", "time", "name", "more", "size", "broken", "version"])
def test_what_changes_is_read_anew(change, tmp_path, decoded, monkeypatch):
    root = many(tmp_path / "set")
    file = root / "10_0_0_20170109203250.jpg.chip.jpg"
    read(root)
    options = {}
    if change == "bytes":
        Image.new("RGB", (32, 32), (0, 200, 0)).save(file)
        os.utime(file, ns=(1, 1))
    elif change == "time":
        os.utime(file, ns=(1, 1))
    elif change == "name":
        file.rename(file.with_name(file.name.replace("10_", "11_", 1)))
    elif change == "more":
        (root / "notes.txt").write_text("label files count as well")
    elif change == "version":
        old = readers.SETS["utkface"]
        monkeypatch.setitem(readers.SETS, "utkface", type(old)(**vars(old) | {"version": 2}))
    else:
        options = {"size": {"size": 16}, "broken": {"broken": "skip"}}[change]
    read(root, **options)
    assert len(decoded) == 14


def test_a_damaged_entry_is_read_anew(tmp_path, own_cache, decoded):
    first = read(many(tmp_path / "set")).fingerprint
    (images,) = own_cache.rglob("images.npy")
    images.write_bytes(images.read_bytes()[:-50])
    assert read(tmp_path / "set").fingerprint == first and len(decoded) == 14


@pytest.mark.parametrize(
    ("rows", "ages"),
    [
        (None, [10, 11, 12, 13, 14, 15, 16]),
        (3, [10, 11, 12]),
        (np.int64(99), [10, 11, 12, 13, 14, 15, 16]),
        (slice(1, None, 3), [11, 14]),
        ([6, 0, -2], [16, 10, 15]),
        (np.array([2]), [12]),
    ],
    ids=repr,
)
def test_rows_in_the_sets_own_order(rows, ages, tmp_path, decoded):
    faces = read(many(tmp_path / "set"), rows=rows)
    assert faces.labels["age"].tolist() == ages and len(decoded) == len(ages)
    np.testing.assert_allclose(faces.images[:, 0].mean((1, 2)), [30 * (age - 10) for age in ages], atol=3)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"rows": 0}, ValueError, "rows 0: expected at least 1"),
        ({"rows": 2.5}, TypeError, "rows 2.5: expected a whole number"),
        ({"rows": [0.5]}, TypeError, r"rows \[0.5\]: expected a number, a slice or a list of row numbers"),
        ({"rows": [7]}, IndexError, "row 7 is out of range: there are 7 pictures"),
        ({"rows": slice(9, 10)}, ValueError, "choose none of the 7 pictures of UTKFace"),
        ({"size": 4}, ValueError, "size 4: expected at least 8"),
        ({"broken": "skp"}, ValueError, "unknown way with broken pictures 'skp': did you mean 'skip'"),
        ({"row": 3}, ValueError, "unknown option of 'utkface' 'row': did you mean 'rows'"),
        ({"seed": 3}, ValueError, "unknown option of 'utkface' 'seed': expected one of 'rows', 'broken'"),
    ],
)
def test_bad_requests_are_named(options, error, says, tmp_path):
    with pytest.raises(error, match=says):
        read(many(tmp_path / "set"), **options)


def test_a_rendered_set_has_no_folder_and_a_set_on_disk_needs_one(tmp_path):
    with pytest.raises(ValueError, match="'rendered/wild' is rendered and has no folder"):
        load("rendered/wild", root=tmp_path)
    with pytest.raises(
        ValueError, match="face set 'utkface' is read from your disk: say root=…, its folder, or set FACELAB_PHOTOS"
    ):
        load("utkface")
    with pytest.raises(ValueError, match="unknown face set 'utk-face': did you mean 'utkface'"):
        load("utk-face", root=tmp_path)


FAULTS = {"cut short": lambda whole: whole[: len(whole) // 2], "empty": lambda whole: b"", "text": lambda whole: b"no"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_picture_is_named_or_left_out_and_counted(fault, tmp_path, own_cache, caplog):
    root = many(tmp_path / "zoë 李")
    files = sorted(root.iterdir())
    for file in (files[2], files[5]):
        file.write_bytes(FAULTS[fault](file.read_bytes()))
    with pytest.raises(ValueError, match=rf"zoë 李/{files[2].name} cannot be read as an image"):
        read(root)
    assert not list(own_cache.rglob("images.npy"))
    with caplog.at_level(logging.WARNING):
        faces = read(root, broken="skip")
    assert faces.labels["age"].tolist() == [10, 11, 13, 14, 16]
    np.testing.assert_allclose(faces.images[:, 0].mean((1, 2)), [0, 30, 90, 120, 180], atol=3)
    assert caplog.text.count("utkface: 5 faces; left out: 2 (cannot be read as an image)") == 1
    assert faces.report.table()["file"].tolist() == [files[2].name, files[5].name]
    assert read(root, broken="skip").report == faces.report  # from the cache
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 7 pictures of utkface can be read"):
        read(root, broken="skip")


def test_pictures_of_every_kind_in_one_set(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    kinds = {
        "10": Image.fromarray(grey),
        "11": Image.fromarray(np.repeat(grey[..., None], 3, 2)),
        "12": Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])),
        "13": Image.fromarray(grey.astype(np.uint16) * 257),
    }
    for age, image in kinds.items():  # Pillow reads what is inside, whatever the ending says
        image.save(tmp_path / f"{age}_0_0_20170109203250.jpg", format="png")
    cmyk = Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).convert("CMYK")
    cmyk.save(tmp_path / "14_0_0_20170109203250.jpg", quality=95)
    faces = read(tmp_path)
    for i in range(4):
        np.testing.assert_array_equal(faces.images[i], np.repeat(grey[None], 3, 0), err_msg=str(i))
    assert np.abs(faces.images[4].astype(int) - 128).max() < 8


def test_links_are_followed_once(tmp_path):
    many(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "part2.jpg").symlink_to(tmp_path / "nowhere")
    assert len(read(tmp_path / "set")) == 7
    assert [file for file, *_ in store.scan(tmp_path / "set")] == sorted(
        file for file, *_ in store.scan(tmp_path / "set")
    )


def test_an_interrupted_reading_leaves_nothing_half_done(tmp_path, own_cache, monkeypatch):
    whole, calls = store.picture.read, []

    def interrupted(file, *rest):
        calls.append(file)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(file, *rest)

    monkeypatch.setattr(store.picture, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(many(tmp_path / "set"))
    assert not list(own_cache.rglob("images.npy"))
    assert len(read(tmp_path / "set")) == 7


def test_the_right_folder_and_no_other_is_taken_for_a_set(layout, layouts, tmp_path):
    layouts[layout](tmp_path)
    assert [data.name for data in readers.SETS.values() if data.here(tmp_path)] == [layout.split()[0]]


def test_one_level_too_high_or_too_low(layout, layouts, tmp_path):
    name = layout.split()[0]
    (tmp_path / "here").mkdir()
    layouts[layout](tmp_path / "here")
    if layout in ("afew-va", "morph"):  # which come in parts
        assert len(read(tmp_path, name)) == len(read(tmp_path / "here", name))
        return
    with pytest.raises(FileNotFoundError, match=r"but .*here is: did you mean root='.*here'\?"):
        read(tmp_path, name)
    (tmp_path / "here" / "below").mkdir()
    with pytest.raises(FileNotFoundError, match=r"below is not .*here is: did you mean root='.*here'\?"):
        read(tmp_path / "here" / "below", name)


def test_another_set_is_recognised(layouts, tmp_path):
    layouts["celeba"](tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"is not MTFL: expected there training.txt.*looks like CelebA: load\('cel"
    ):
        read(tmp_path, "mtfl")


def test_no_folder_a_file_an_empty_one(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder .*nowhere: expected UTKFace, that is pictures named"
    ):
        read(tmp_path / "nowhere")
    (tmp_path / "a").write_text("")
    with pytest.raises(NotADirectoryError, match="a is a file: expected the folder of UTKFace"):
        read(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(FileNotFoundError, match="b is not UTKFace: expected there pictures named"):
        read(tmp_path / "b")


def test_the_table_tells_what_there_is():
    table = readers.table()
    assert table["name"].tolist() == list(readers.SETS)
    assert list(table) == ["name", "title", "pictures", "labels", "terms", "owner", "layout"]
    assert (table.drop(columns="pictures").map(len) > 2).all(axis=None) and (table["pictures"] > 100).all()
    assert not table.drop(columns="pictures").map(lambda text: "://" in text or "www." in text).any(axis=None)


def test_entries_are_named_after_their_set(tmp_path, own_cache):
    read(many(tmp_path / "set"))
    (entry,) = [p for p in (own_cache / "faces").iterdir() if p.is_dir()]
    assert entry.name.startswith("utkface-") and cache.problem(entry) is None


def test_a_disk_that_fails_is_no_broken_picture(tmp_path, monkeypatch):
    """What cannot be read now, for want of the disk, is not left out of the cached set for ever."""
    whole = store.picture.read

    def failing(file, *rest):
        try:
            raise OSError(errno.EIO, "Input/output error", str(file))
        except OSError as error:
            raise ValueError(f"{file} cannot be read as an image ({error})") from error

    monkeypatch.setattr(store.picture, "read", failing)
    with pytest.raises(OSError, match=r"Input/output error: .*chip\.jpg"):
        read(many(tmp_path / "set"), broken="skip")
    monkeypatch.setattr(store.picture, "read", whole)
    assert len(read(tmp_path / "set", broken="skip")) == 7


def test_rows_may_be_numpy_integers(tmp_path):
    one, four = np.int64(1), np.int64(4)
    same = read(many(tmp_path / "set"), rows=slice(one, four)), read(tmp_path / "set", rows=slice(1, 4))
    assert len(same[0]) == 3 and same[0].fingerprint == same[1].fingerprint
    assert len(read(tmp_path / "set", rows=four)) == 4
