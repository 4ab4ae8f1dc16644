"""What the commands of `facelab` have in common: how mistakes are told, where the work is done, KEY=VALUE."""

import logging
import os
from contextlib import contextmanager
from pathlib import Path

import click

log = logging.getLogger(__name__)


@contextmanager
def plainly():
    """A user's mistake (exit code 2) or a full disk (1) is one clear line; `-v` adds where it arose."""
    try:
        yield
    except click.Abort:  # Ctrl-C at a question: a RuntimeError, but no mistake
        raise
    except (ValueError, TypeError, OSError, RuntimeError, ModuleNotFoundError) as error:
        log.info("it arose here", exc_info=True)
        plain = click.ClickException(str(error))
        plain.exit_code = 2 if isinstance(error, (ValueError, TypeError)) else 1
        raise plain from error


dask_option = click.option(
    "--dask", metavar="ADDRESS", help="Work on the Dask cluster of this scheduler, tcp://host:8786."
)


@contextmanager
def elsewhere(address: str | None):
    """Work on that cluster, or here."""
    if address is None:
        yield
        return
    from facelab import workers

    with workers.cluster(address):
        yield


def absolute(value: str) -> str:
    """A text that names a file (or FILE:part) or a folder seen from here, as seen from anywhere; else the text, as are
    names of face sets and words without a dot or a slash."""
    from facelab.faces import presets

    path, colon, part = value.partition(":")
    if value in presets.PRESETS or not any(sign in path for sign in (os.sep, ".")):
        return value
    try:
        there = Path(path).expanduser()
        is_path = there.is_file() or (os.sep in path and there.is_dir())
    except (OSError, RuntimeError):  # too long for a name, ~ of nobody
        return value
    return f"{there.absolute()}{colon}{part}" if is_path else value


def pairs(settings: tuple[str, ...], example: str) -> dict[str, str]:
    """KEY=VALUE, several times."""
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting!r}: expected KEY=VALUE, e.g. {example}")
        found[key.strip()] = value.strip()
    return found
