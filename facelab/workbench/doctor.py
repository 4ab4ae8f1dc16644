"""What this installation has, and for everything missing the command that puts it right."""

import os
import platform
import re
import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd

from facelab import cache

PYTHON = (3, 10)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. state: "ok", "missing" (something will fail) or "optional" (absent and not
    needed)."""

    thing: str
    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings; `usable` is false where one of them will make something fail."""

    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        return all(f.state != "missing" for f in self.findings)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame([vars(f) for f in self.findings]).set_index("thing")


def examine() -> Diagnosis:
    """Look at Python, packages and their lower bounds, the device, weights, torchvision and caches."""
    findings = [_python(), *_packages()]
    if not any(f.state == "missing" for f in findings):
        findings += [_device(), *_weights(), *_own_weights(), _torchvision()]
    return Diagnosis((*findings, *_caches()))


def _command() -> str:
    """This installation's own `facelab`, to be pasted into any shell: its environment need not be activated."""
    script = Path(sys.executable).with_name("facelab")
    if script.is_file():
        return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m facelab.workbench.cli"


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    good = sys.version_info >= PYTHON
    return Finding("python", "ok" if good else "missing", found, "" if good else "install Python 3.10 or newer")


def _packages() -> list[Finding]:
    """The distribution's own requirements against what is installed; extras that are absent are optional."""
    findings = []
    for requirement in metadata.requires("facelab") or []:
        name, bound = re.match(r"([A-Za-z0-9_.-]+)\s*([^;]*)", requirement).groups()
        optional = "extra ==" in requirement
        fix = f"{shlex.quote(sys.executable)} -m pip install '{name}{bound.strip()}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, "optional" if optional else "missing", "not installed", fix))
            continue
        if satisfies(version, bound):
            findings.append(Finding(name, "ok", f"{version} ({bound.strip() or 'any'})"))
        else:
            findings.append(Finding(name, "missing", f"{version}, but {bound.strip()} is needed", fix))
    return findings


def satisfies(version: str, bounds: str) -> bool:
    """Does a version meet bounds of the kinds this package states, `>=` and `==`?

    >>> satisfies("2.13.0+cpu", ">=2.6"), satisfies("2.5", ">=2.6"), satisfies("0.6.2", "==0.6.2")
    (True, False, True)
    """
    for bound in filter(None, (b.strip() for b in bounds.split(","))):
        operator, wanted = re.match(r"(>=|==)\s*(.+)", bound).groups()
        have, want = _numbers(version), _numbers(wanted)
        if not (have >= want if operator == ">=" else have == want):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(n) for n in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:  # 2.0 and 2.0.0 are one version
        numbers.pop()
    return tuple(numbers)


def _device() -> Finding:
    import torch

    from facelab import devices

    try:
        found = f"{devices.device('auto')}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    except ValueError as error:
        return Finding("device", "missing", str(error), "unset FACELAB_DEVICE")
    return Finding("device", "ok", found)


def _weights() -> list[Finding]:
    from facelab import nets
    from facelab.nets.fetch import cached
    from facelab.nets.sources import DETECTOR

    findings = []
    for name, source in {**nets.SOURCES, **DETECTOR}.items():
        entry = cached(source)
        wrong = cache.problem(entry) if entry.exists() else "not fetched yet"
        fix = f"{_command()} fetch {name}"
        if wrong:
            findings.append(Finding(f"weights: {name}", "missing", wrong, fix))
        else:
            findings.append(Finding(f"weights: {name}", "ok", f"{source.file}, {source.bytes / 1e6:.1f} MB"))
    return findings


def _own_weights() -> list[Finding]:
    """Networks whose weight file the user brings."""
    from facelab.nets.load import ORIGINS

    return [
        Finding(f"weights: {name}", "optional", "needs your weight file", f"nets.load({name!r}, weights=…): {origin}")
        for name, origin in ORIGINS.items()
    ]


def _torchvision() -> Finding:
    from facelab.nets import torchvision_nets

    try:
        names = torchvision_nets.names()
    except ImportError as error:
        fix = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps torchvision"
        return Finding("torchvision networks", "optional", str(error), fix)
    how = "without its compiled part, which they do not need" if torchvision_nets.declared() else "imports"
    return Finding("torchvision networks", "ok", f"{len(names)}, e.g. {names[0]!r}; torchvision {how}")


def _size(folder: Path) -> int:
    """Bytes of all files; those that go meanwhile, while a run writes there, do not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def _caches() -> list[Finding]:
    folder = cache.folder()
    standing = next(p for p in (folder, *folder.parents) if p.exists())
    if not (standing.is_dir() and os.access(standing, os.W_OK)):
        fix = "set FACELAB_CACHE to a folder you can write to"
        return [Finding("cache", "missing", f"{folder} cannot be written", fix)]
    free = shutil.disk_usage(standing).free / 1e9
    findings = [Finding("cache", "ok", f"{folder}, {free:.1f} GB free")]
    for kind in sorted(p for p in folder.glob("*") if p.is_dir()):
        size, entries = _size(kind), sum(p.is_dir() and not p.name.endswith(".partial") for p in kind.iterdir())
        findings.append(Finding(f"cache: {kind.name}", "ok", f"{entries} entries, {size / 1e6:.0f} MB"))
    return findings
