"""The cache: whole entries or none, damage noticed, interrupted work kept, clear words when it cannot be written."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facelab import cache


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def entry():
    return cache.path("things", "some/thing", size=3, seed=0)


class Fill:
    """Writes one file; counts its calls."""

    def __init__(self, text="content", fail=None):
        self.calls, self.text, self.fail = 0, text, fail

    def __call__(self, partial: Path):
        self.calls += 1
        (partial / "deep").mkdir(exist_ok=True)
        (partial / "deep" / "file.txt").write_text(self.text)
        if self.fail:
            raise self.fail


def test_the_folder(monkeypatch, tmp_path):
    assert cache.folder() == tmp_path
    monkeypatch.delenv("FACELAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.folder() == Path("/x/facelab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path("~/.cache/facelab").expanduser()


def test_the_key_is_all_it_depends_on(entry):
    assert entry.parent.name == "things" and entry.name.startswith("some-thing-")
    assert entry == cache.path("things", "some/thing", seed=0, size=3)
    keys = ("other", {"size": 3, "seed": 0}), ("some/thing", {"size": 3, "seed": 1}), ("some/thing", {"size": 3})
    others = [cache.path("things", name, **depends) for name, depends in keys]
    assert len({entry, *others}) == 4


def test_built_once(entry):
    fill = Fill()
    for _ in range(3):
        assert cache.build(entry, fill, {"why": "test"}) == entry
    assert fill.calls == 1 and (entry / "deep" / "file.txt").read_text() == "content"
    assert json.loads((entry / "entry.json").read_text())["about"] == {"why": "test"}
    assert not entry.with_name(entry.name + ".partial").exists()


HARM = {
    "truncated": lambda e: (e / "deep/file.txt").write_text("cont"),
    "altered": lambda e: (e / "deep/file.txt").write_text("c0ntent"),
    "removed": lambda e: (e / "deep/file.txt").unlink(),
    "no manifest": lambda e: (e / "entry.json").unlink(),
    "half a manifest": lambda e: (e / "entry.json").write_text((e / "entry.json").read_text()[:30]),
    "a manifest of another shape": lambda e: (e / "entry.json").write_text('{"files": {"deep/file.txt": 3}}'),
    "a list": lambda e: (e / "entry.json").write_text("[1]"),
    "no text": lambda e: (e / "entry.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_entry_is_built_anew_with_a_warning(entry, harm, caplog):
    cache.build(entry, Fill())
    HARM[harm](entry)
    assert cache.problem(entry)
    fill = Fill()
    with caplog.at_level(logging.WARNING):
        cache.build(entry, fill)
    assert fill.calls == 1 and cache.problem(entry) is None and "is damaged" in caplog.text
    assert (entry / "deep" / "file.txt").read_text() == "content"


def test_a_file_in_the_place_of_an_entry_is_replaced(entry, caplog):
    entry.parent.mkdir()
    entry.write_text("?")
    assert cache.build(entry, Fill()).is_dir() and "damaged" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("bug")], ids=repr)
def test_an_interrupted_fill_leaves_its_work_but_no_entry(entry, stop):
    with pytest.raises(type(stop)):
        cache.build(entry, Fill("first half", fail=stop))
    assert not entry.exists()
    found = []

    def resume(partial):
        found.append((partial / "deep" / "file.txt").read_text())
        (partial / "deep" / "file.txt").write_text("whole")

    cache.build(entry, resume)
    assert found == ["first half"] and (entry / "deep" / "file.txt").read_text() == "whole"


def test_a_fill_that_fails_at_once_leaves_no_folder(entry):
    with pytest.raises(ZeroDivisionError):
        cache.build(entry, lambda folder: 1 / 0)
    assert not [left for left in entry.parent.iterdir() if left.is_dir()]


def test_an_interrupt_while_sealing_never_shows_an_entry(entry, monkeypatch):
    replace = os.replace
    monkeypatch.setattr(cache.os, "replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cache.build(entry, Fill())
    assert not entry.exists()
    monkeypatch.setattr(cache.os, "replace", replace)
    cache.build(entry, Fill())
    assert cache.problem(entry) is None and sorted(p.name for p in entry.iterdir()) == ["deep", "entry.json"]


def test_one_fills_and_others_wait(entry):
    fill, started, results = Fill(), threading.Event(), []

    def slow(partial):
        started.set()
        fill(partial)

    threads = [threading.Thread(target=lambda: results.append(cache.build(entry, slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fill.calls == 1 and results == [entry] * 4 and started.is_set()


def test_a_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"the cache folder cannot be written .* set FACELAB_CACHE to a folder") as caught:
        cache.build(cache.path("things", "x"), Fill())
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_may_not_be_written(entry, monkeypatch, number):
    def refuse(self, *args, **more):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="the cache folder cannot be written") as caught:
        cache.build(entry, Fill())
    assert caught.value.errno == number and caught.value.filename == str(entry)


def test_a_sound_entry_needs_no_right_to_write(entry, monkeypatch):
    cache.build(entry, Fill())

    def refuse(*args, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(entry))

    monkeypatch.setattr(cache, "FileLock", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert cache.build(entry, Fill()) == entry


FULL = {
    "no space": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "as NumPy puts it": OSError("8192 requested and 4096 written"),
}


@pytest.mark.parametrize("how", FULL)
def test_a_full_disk(entry, how):
    with pytest.raises(OSError, match="the disk is full: free some space or set FACELAB_CACHE") as caught:
        cache.build(entry, Fill(fail=FULL[how]))
    assert caught.value.errno == errno.ENOSPC and not entry.exists() and caught.value.__cause__ is FULL[how]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/else"),
        FileNotFoundError(errno.ENOENT, "No such file", "/somewhere/else"),
        OSError("download failed"),
        ValueError("a bug"),
    ],
    ids=repr,
)
def test_errors_that_are_not_about_the_cache_stay_what_they_are(entry, error):
    with pytest.raises(type(error)) as caught:
        cache.build(entry, Fill(fail=error))
    assert caught.value is error and caught.value.__cause__ is None


def test_tensors_come_back_bit_by_bit(tmp_path):
    arrays = {"a": np.random.default_rng(0).normal(size=(3, 4)), "b": np.arange(6, dtype=np.int32).reshape(2, 3).T,
              "c": np.array([True, False]), "empty": np.zeros((0, 5), np.float32)}  # fmt: skip
    cache.write_tensors(tmp_path / "x.safetensors", arrays, {"layers": ["a/b"], "n": 1.5})
    again, about = cache.read_tensors(tmp_path / "x.safetensors")
    assert about == {"layers": ["a/b"], "n": 1.5} and again.keys() == arrays.keys()
    assert all(np.array_equal(again[k], v) and again[k].dtype == v.dtype for k, v in arrays.items())
    assert [f.name for f in tmp_path.iterdir()] == ["x.safetensors"]


def test_damaged_tensors(tmp_path):
    file = tmp_path / "x.safetensors"
    cache.write_tensors(file, {"a": np.ones(9)}, {})
    data = file.read_bytes()
    for broken in (data[:-1], data[:20], b"", b"\xff" * 100):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"x\.safetensors is damaged or not one of ours"):
            cache.read_tensors(file)
        assert not cache.readable(file)
    with pytest.raises(FileNotFoundError):
        cache.read_tensors(tmp_path / "none")
    assert not cache.readable(tmp_path / "none")
    file.write_bytes(data)
    assert cache.readable(file)


def test_a_full_disk_while_writing_tensors_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "x.safetensors"
    cache.write_tensors(file, {"a": np.ones(9)}, {})

    def full(arrays, name, metadata):
        Path(name).write_bytes(b"half")
        raise cache.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(cache, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        cache.write_tensors(file, {"a": np.zeros(9)}, {})
    assert caught.value.errno == errno.ENOSPC
    assert cache.read_tensors(file)[0]["a"].sum() == 9 and len(list(tmp_path.iterdir())) == 1


def test_numpy_numbers_are_numbers_in_keys_and_files(folder):
    plain, other = (
        {"seed": 3, "share": 0.5, "yes": True},
        {"seed": np.int64(3), "share": np.float64(0.5), "yes": np.bool_(1)},
    )
    assert cache.digest(plain) == cache.digest(other)
    made = cache.build(cache.path("things", "numbers", **other), lambda at: (at / "x").write_text("x"), other)
    assert json.loads((made / cache.MANIFEST).read_text())["about"] == plain
    with pytest.raises(TypeError, match=r"object .* cannot be part of a cache key"):
        cache.digest({"what": object()})


def test_functions_are_told_apart_by_what_they_do():
    def times(factor, more=0):
        return lambda x, y=more: x * factor + y

    assert cache.key(times(2)) == cache.key(times(2)) != cache.key(times(3)) != cache.key(times(2, more=1))
    assert cache.key(partial(times, 2)) == cache.key(partial(times, 2)) != cache.key(partial(times, 3))
    assert cache.key(lambda x: x in {"a", "b", "c"}) == cache.key(lambda x: x in {"a", "b", "c"})
    assert cache.key(lambda x: [y + 1 for y in x]) != cache.key(lambda x: [y + 2 for y in x])
    assert cache.key(len) != cache.key(max)
    assert cache.key(Fill("a").__call__) == cache.key(Fill("a").__call__) != cache.key(Fill("b").__call__)
    one, other = np.zeros(2000), np.zeros(2000)
    other[1000] = 1e-9  # which no repr shows
    assert cache.key(times(one)) == cache.key(times(one.copy())) != cache.key(times(other))


def test_any_value_has_a_key():
    class Node:
        def __init__(self, **held):
            self.__dict__.update(held)

    def again(n):
        return again(n - 1) if n else 0

    ring = Node(name="a")
    ring.next = ring
    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    values = [
        None, 0, 0.0, False, "0", b"0", (0,), [0], {0}, {"a": 0}, {"a": [0]}, np.zeros(1), np.zeros(1, int),
        np.int64(0), torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16), torch.float16, pd.Series([0.0]),
        pd.DataFrame({"a": [0.0]}), pd.DataFrame({"b": [0.0]}), np.array(["a", None], object), Path("a"), json,
        again, Node(), Node(a=1), ring, *layers,
    ]  # fmt: skip
    keys = [cache.key(value) for value in values]
    assert keys == [cache.key(value) for value in values] and len(set(keys)) == len(keys)
    assert cache.key({"a", "b", "c"}) == cache.key({"c", "b", "a"}) and cache.key(layers[0]) == cache.key(layers[:1][0])


def test_keys_are_the_same_in_every_process():
    program = """
import torch
from torch.nn import functional as F
from facelab import cache
class Layer(torch.nn.Module):
    def __init__(self, act=F.relu, other=len):
        super().__init__()
        self.acts = [act, other, object(), {"b", "a", "c"}]
print(cache.key([Layer.__init__, Layer(), lambda x, y={"p", "q", "r"}: x]))
"""
    said = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert len(said) == 1 and len(said.pop().strip()) == 16
