"""Folders that a command writes into: it replaces its own files there, and nobody else's."""

import re
from pathlib import Path

MARK = ".facelab"  # says whose folder it is


def check(out: Path, command: str, own: re.Pattern, *, alone: bool) -> None:
    """ValueError where `out` is a file, holds files named as the command's own that another has written, or (alone)
    any others."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: expected a folder, new or empty or of an earlier `{command}`")
    names = sorted(file.name for file in out.iterdir() if file.name != MARK) if out.is_dir() else []
    mark = out / MARK
    mine = mark.is_file() and mark.read_text(encoding="utf-8").strip() == command
    strange = [name for name in names if (not mine if own.fullmatch(name) else alone)]
    if strange:
        raise ValueError(f"{out} holds {strange[0]!r}: expected a folder, new or empty or of an earlier `{command}`")


def claim(out: Path, command: str) -> None:
    """Make a folder that was checked this command's, before anything is written there."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(f"{command}\n", encoding="utf-8")
