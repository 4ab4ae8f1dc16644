"""Folders that a command writes into: it replaces its own files there, and nobody else's."""

import re
from pathlib import Path

MARK = ".facelab"  # says whose folder it is


def check(out: Path, command: str, own: re.Pattern, *, alone: bool) -> None:
    """ValueError where `out` is a file, holds files named as the command's own that another has written, or (alone)
    any others, or bears another command's mark."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: expected a folder, new or empty or of an earlier `{command}`")
    names = sorted(file.name for file in out.iterdir() if file.name != MARK) if out.is_dir() else []
    mark = out / MARK
    whose = mark.read_text(encoding="utf-8").strip() if mark.is_file() else None
    if whose not in (None, command):
        raise ValueError(f"{out} is a folder of `{whose}`: expected one, new or empty or of an earlier `{command}`")
    strange = [name for name in names if (whose is None if own.fullmatch(name) else alone)]
    if strange:
        raise ValueError(
            f"{out} holds {strange[0]!r}: expected a folder, new or empty or of an earlier `{command}`, which leaves "
            f"its mark {MARK} there; give another folder, or take those files away"
        )


def claim(out: Path, command: str) -> None:
    """Make a folder that was checked this command's, before anything is written there."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(f"{command}\n", encoding="utf-8")
