"""Fetching the few public sets that a library may download; for the others, what to do instead."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from facelab import cache
from facelab.faces.readers.dataset import DataSet


def folder(name: str) -> Path:
    """Where a fetched set lies, and where `load` looks for it without a root.

    >>> folder("lfw").relative_to(cache.folder()).as_posix()
    'sets/lfw'
    """
    return cache.folder() / "sets" / name


def found(data: DataSet) -> Path | None:
    """Where a set lies that nobody named a folder for: where it was fetched to, or one of the folders in
    $FACELAB_PHOTOS; None if it is in neither."""
    if data.here(folder(data.name)):
        return folder(data.name)
    places, photos = [], os.environ.get("FACELAB_PHOTOS", "")
    if photos:
        if not Path(photos).expanduser().is_dir():
            raise FileNotFoundError(f"FACELAB_PHOTOS names {photos}: expected a folder that holds public sets")
        places += sorted(place for place in Path(photos).expanduser().iterdir() if place.is_dir())
    return next((place for place in places if data.here(place)), None)


def how(data: DataSet) -> str:
    """One plain sentence: how to come by this set.

    >>> from facelab.faces.readers import SETS
    >>> how(SETS["agedb"])[:77]
    'AgeDB cannot be fetched by a program: ask its owner, Intelligent Behaviour Un'
    """
    if data.name in DOWNLOADS:
        return f"facelab faces fetch {data.name}"
    return (
        f"{data.title} cannot be fetched by a program: ask its owner, {data.owner} (terms: {data.terms}), unpack it "
        f"and load it with fl.faces.load({data.name!r}, root=…), root being the folder with {data.layout}"
    )


def fetch(data: DataSet, root: Path | None = None) -> Path:
    """Download a set with scikit-learn or torchvision, to `root` (default `folder`); a set that is there stays.

    Whoever calls this has agreed to `data.terms`. An interrupted download leaves nothing at root and goes on next time.
    ValueError, with what to do instead, for a set that no library downloads, or where root holds something else;
    RuntimeError where the download fails.
    """
    if data.name not in DOWNLOADS:
        raise ValueError(how(data))
    root = folder(data.name) if root is None else Path(root).expanduser()
    if data.here(root):
        return root
    if root.exists() and (root.is_file() or any(root.iterdir())):
        raise ValueError(f"{root} is there and is not {data.title}: expected a new or empty folder")
    partial = root.with_name(root.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        done = DOWNLOADS[data.name](partial)
    except Exception as error:  # of whatever kind the library raises: no network, no space, another answer
        raise RuntimeError(f"{data.title} could not be fetched: {type(error).__name__}: {error}") from error
    if not data.here(done):
        raise RuntimeError(f"what was fetched to {done} is not {data.title}: expected {data.layout}")
    if root.exists():
        root.rmdir()
    done.rename(root)
    shutil.rmtree(partial)
    return root


def _lfw(partial: Path) -> Path:
    """scikit-learn checks what it downloads, but takes a folder that is there for a whole one."""
    from sklearn.datasets import fetch_lfw_people

    shutil.rmtree(partial / "lfw_home" / "lfw_funneled", ignore_errors=True)
    fetch_lfw_people(data_home=str(partial), min_faces_per_person=500)  # it has to load someone
    return partial / "lfw_home"


def _celeba(partial: Path) -> Path:
    """torchvision does likewise, and needs the package gdown for its downloads."""
    from torchvision.datasets import CelebA

    shutil.rmtree(partial / "celeba" / "img_align_celeba", ignore_errors=True)
    CelebA(str(partial), download=True)
    return partial / "celeba"


DOWNLOADS: dict[str, Callable[[Path], Path]] = {"lfw": _lfw, "celeba": _celeba}
