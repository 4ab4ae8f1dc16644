"""The cache folder: every heavy or slow result, keyed by all it depends on, written atomically, checked when
read.

An entry is a folder with a manifest (`entry.json`: what it depends on, and the size and SHA-256 of every
file). It is filled under the name `….partial` and renamed when complete, so a reader never sees half an
entry. A builder that is interrupted finds its partial folder again next time and may go on from there. An
entry whose files do not match its manifest is deleted, with a warning, and built anew.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

log = logging.getLogger(__name__)
MANIFEST = "entry.json"


def folder() -> Path:
    """`$FACELAB_CACHE`, else `$XDG_CACHE_HOME/facelab`, else `~/.cache/facelab`."""
    if own := os.environ.get("FACELAB_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "facelab"


def path(kind: str, name: str, **depends) -> Path:
    """Where the entry `name` that depends on `depends` (JSON values) lives.

    >>> path("faces", "pose", seed=0, size=128).name == path("faces", "pose", size=128, seed=0).name
    True
    """
    named = name.replace("/", "-").encode(errors="backslashreplace")  # names of files may be no UTF-8
    name = named[:160].decode(errors="ignore")  # file systems take 255 bytes
    return folder() / kind / f"{name}-{digest(depends)}"


def digest(value) -> str:
    """A short key of a JSON value, the same in every process.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def _plain(value):
    """A NumPy number as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r:.80} cannot be part of a cache key")


def key(value) -> str:
    """A key of any value, the same in every process: of an array or a tensor its numbers, of a function its
    instructions and constants, its defaults and what it closes over (not what it calls in turn), of a class its name,
    of any other object its class and what it holds.

    >>> key(lambda x: x + 1) == key(lambda y: y + 1), key(lambda x: x + 1) == key(lambda x: x + 2)
    (True, False)
    >>> key({"a": np.zeros(2000)}) == key({"a": np.ones(2000)})
    False
    """
    return _key(value, ())


def _key(value, inside: tuple) -> str:
    """inside: ids of what this is a part of, for objects that hold each other."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return digest([type(value).__name__, repr(value)])
    if id(value) in inside:
        return "a whole that this is a part of"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"

    def of(*parts) -> str:
        return digest([kind, *(_key(part, (*inside, id(value))) for part in parts)])

    if isinstance(value, np.ndarray):
        return of(*value.ravel(), value.shape) if value.dtype == object else of(content([value]))
    if hasattr(value, "detach") and hasattr(value, "element_size"):  # a tensor, of any number type that torch has
        flat = value.detach().cpu().contiguous().reshape(-1)
        return of(str(value.dtype), list(value.shape), flat.view(sys.modules["torch"].uint8).numpy())
    if isinstance(value, Mapping):
        return of(*(part for pair in value.items() for part in pair))
    if isinstance(value, (set, frozenset)):  # whose order is another in every process
        return of(sorted(_key(part, (*inside, id(value))) for part in value))
    if isinstance(value, (list, tuple)):
        return of(*value)
    if isinstance(value, partial):
        return of(value.func, value.args, value.keywords)
    if hasattr(value, "__func__"):  # a method of an object
        return of(value.__func__, value.__self__)
    if own := getattr(value, "__code__", None):
        held = [_held(cell) for cell in value.__closure__ or ()]
        return of(_instructions(own), value.__defaults__, value.__kwdefaults__, held)
    if named := getattr(value, "__qualname__", None):  # a class, or a function that is not Python's
        return of(getattr(value, "__module__", ""), named)
    if hasattr(value, "to_numpy"):  # a table or a column of pandas
        named = list(value.columns) if hasattr(value, "columns") else value.name
        return of(value.to_numpy(), list(getattr(value, "index", ())), named)
    if hasattr(value, "__dict__") and not isinstance(value, ModuleType):
        return of(vars(value))
    return of(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)))


def _held(cell):
    """What a closure holds, None before it is set."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _instructions(own) -> list:
    constants = []
    for value in own.co_consts:
        if hasattr(value, "co_code"):  # a function in the function
            constants.append(_instructions(value))
        else:  # a set's order is another in every process
            constants.append(repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value))
    return [own.co_code.hex(), list(own.co_names), constants]


def content(blocks: Iterable[np.ndarray]) -> str:
    """A key of the numbers in these arrays, read one after the other.

    >>> content([np.zeros((2, 3))]) == content([np.zeros((3, 2))])
    False
    """
    total = hashlib.sha256()
    for block in blocks:
        total.update(f"{block.dtype} {block.shape}".encode())
        total.update(np.ascontiguousarray(block).data)
    return total.hexdigest()


def sha256(file: Path) -> str:
    total = hashlib.sha256()
    with open(file, "rb") as f:
        while block := f.read(1 << 22):
            total.update(block)
    return total.hexdigest()


def problem(entry: Path) -> str | None:
    """What is wrong with an entry that exists, or None: files missing, resized or altered."""
    try:
        files = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))["files"]
        files = {str(name): (int(size), str(sha)) for name, (size, sha) in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    for name, (size, sha) in files.items():
        file = entry / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
        if sha256(file) != sha:
            return f"{name} does not match its checksum"
    return None


def build(entry: Path, fill: Callable[[Path], None], about: dict | None = None) -> Path:
    """The entry's folder, filled by `fill(folder)` unless a sound one is there already.

    `fill` gets the partial folder, with whatever an interrupted earlier call left in it: it must check what
    it re-uses. One process fills, others wait. Raises OSError that names the folder and the way out where the
    cache cannot be written.
    """
    # A sound entry needs no lock, so a cache that can only be read serves too.
    if entry.is_dir() and problem(entry) is None:
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_name(entry.name + ".lock")):
            if entry.exists():
                if (wrong := problem(entry)) is None:  # another process has just built it
                    return entry
                log.warning("cache entry %s is damaged: %s; building it anew", entry, wrong)
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            partial = entry.with_name(entry.name + ".partial")
            partial.mkdir(exist_ok=True)
            (partial / MANIFEST).unlink(missing_ok=True)
            try:
                fill(partial)
            except BaseException:
                with suppress(OSError):
                    partial.rmdir()  # only if there is nothing in it to go on from
                raise
            _seal(partial, about or {})
            os.replace(partial, entry)
            return entry
    except OSError as error:
        if (clear := explain(error, entry)) is error:
            raise
        raise clear from error


def _seal(partial: Path, about: dict) -> None:
    for left in partial.rglob(".*.writing"):  # by an interrupted call
        left.unlink()
    files = sorted(f for f in partial.rglob("*") if f.is_file())
    table = {f.relative_to(partial).as_posix(): (f.stat().st_size, sha256(f)) for f in files}
    write_text(partial / MANIFEST, json.dumps({"about": about, "files": table}, indent=1, default=_plain))


def write_text(file: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    temporary = _beside(file)
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be no UTF-8
    os.replace(temporary, file)


def write_tensors(file: Path, arrays: Mapping[str, np.ndarray], about: dict) -> None:
    """Write named arrays and a JSON header as one safetensors file, whole or not at all."""
    temporary = _beside(file)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(arrays, temporary, metadata={"about": json.dumps(about, default=_plain)})
    except SafetensorError as error:  # which hides the number of the OSError it wraps
        temporary.unlink(missing_ok=True)
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(file)) from error
    os.replace(temporary, file)


def read_tensors(file: Path) -> tuple[dict[str, np.ndarray], dict]:
    """What `write_tensors` wrote. ValueError names a file that is damaged; FileNotFoundError where there is
    none."""
    try:
        with safe_open(file, framework="numpy") as f:
            return {name: f.get_tensor(name) for name in f.keys()}, json.loads(f.metadata()["about"])  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged or not one of ours ({error})") from error


def readable(file: Path) -> bool:
    """Whether `read_tensors` can read the file: False where it is damaged or not there."""
    try:
        read_tensors(file)
    except (ValueError, FileNotFoundError):
        return False
    return True


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}.writing")


def explain(error: OSError, where: Path) -> OSError:
    """The same OSError, saying which folder and what to do; an error that is not about the cache stays
    itself."""
    way_out = "set FACELAB_CACHE to a folder you can write to"
    if error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(folder()):
        return error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return OSError(error.errno, f"the cache folder cannot be written ({error.strerror}): {way_out}", str(where))
    # NumPy reports a full disk as "8192 requested and 4096 written", without a number.
    full = error.errno is None and "requested and" in str(error)
    if full or error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(errno.ENOSPC, f"the disk is full: free some space or {way_out}", str(where))
    return error
