"""What training a network that comes with facelab will take, before it starts: `facelab train --dry-run`.

Pictures, steps and bytes are counted. Minutes are those of a few steps of the same kind, done now on this machine, with
whatever else it does, on made-up faces, times how many there will be; rendering goes by the pace that is recorded in
the reference. Nothing is kept, and nothing is fetched: where weights are missing, the minutes are not known.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facelab import cache, cost, errors
from facelab.faces import folder, lfw, presets, rendered
from facelab.faces.faceset import FaceSet
from facelab.nets import narrow, pose, student
from facelab.nets.embed import embed
from facelab.nets.fetch import cached
from facelab.nets.load import load
from facelab.nets.locate import locate
from facelab.nets.sources import DETECTOR, SOURCES, dlib_template
from facelab.training.inputs import Inputs
from facelab.transfer import distill
from facelab.transfer.autoencoder import AE

SIZE = 128  # px a side of a face
STEPS = 3  # that are timed, after as many that warm up
ASKED = 32  # faces that are embedded for a pace
EPOCHS = {"vgg-narrow": 14, "student": 45}
MTFL = 400  # of its faces are asked by `train-pose`
PHOTOS = 1000  # of each public set are asked by `train-heads`


@dataclass(frozen=True)
class Stage:
    """A part of the work: minutes (None: not known) and bytes that stay on disk."""

    what: str
    minutes: float | None
    bytes: int = 0


def check(people: int, photos: Sequence[Path], lfw_root: Path | None, epochs: int | None, seed: int) -> None:
    """What would only show after hours, shown at once. ValueError: seed 0, less than one person or epoch, a folder
    without pictures, another pairs.txt; FileNotFoundError: a folder that is not there."""
    if seed == 0:
        raise ValueError("seed 0: those rendered people are the ones it is measured on; expected 1 or more")
    errors.whole("people", people, 1)
    if epochs is not None:
        errors.whole("epochs", epochs, 1)
    for one in photos:
        folder.listed(one)
    if lfw_root is not None:
        lfw.protocol(lfw_root)


def of(network: str, people: int, photos: Sequence[Path], lfw_root: Path | None, epochs: int) -> list[Stage]:
    """The stages of `facelab train`; errors as `check`."""
    small = network == "student"
    names = list(SOURCES) if small else [narrow.TEACHER]
    own = {name: presets.images(name, people=n) for name, n in narrow.crowds(people).items()}
    stages = [_drawn(name, n) for name, n in own.items()]
    pictures = {one: folder.listed(one) for one in photos}
    stages += [_found(one, files) for one, files in pictures.items()]
    n, crowd = sum(own.values()) + sum(map(len, pictures.values())), made_up(ASKED)
    pace = _add([_asking(name, crowd) for name in names])
    width = sum(SOURCES[name].dimensions for name in names) if small else narrow.DESCRIPTOR
    who = f"{len(names)} networks" if small else f"`{names[0]}`"
    stages.append(Stage(f"embed {n:,} faces by {who}", _minutes(pace, n), 4 * width * n))
    if small:
        stages.append(_fused(sum(own.values()), {name: SOURCES[name].dimensions for name in names}))
    stages.append(_trained(network, n, epochs))
    judges = presets.images("rendered/wild")
    asked = judges + (len(lfw.protocol(lfw_root)[1]) if lfw_root else 0)
    stages.append(_drawn("rendered/wild", judges, "to measure on: "))
    both = _add([_asking(narrow.TEACHER, crowd), _asking(_blank(network), crowd)])
    stages.append(Stage(f"measure on up to {asked:,} faces", _minutes(both, asked), 4 * narrow.DESCRIPTOR * asked))
    return stages


def of_pose(mtfl: Path | None) -> list[Stage]:
    """The stages of `facelab train-pose`: nothing is trained in steps, the faces are looked for and a ridge regression
    is solved."""
    n = presets.images("rendered/wild")
    looked = -(-n // 2) + (MTFL if mtfl else 0)
    return [_drawn("rendered/wild", n), Stage(f"look for {looked:,} faces and fit", _minutes(_looking(), looked))]


def of_heads(sets: int) -> list[Stage]:
    """The stages of `facelab train-heads` with so many public sets to measure on; fitting takes seconds."""
    n, asked = presets.images("rendered/wild"), PHOTOS * sets
    stages = [_drawn("rendered/wild", n), Stage(f"look for {n:,} faces and fit", _minutes(_looking(), n))]
    return stages + [Stage(f"measure on up to {asked:,} photographs", _minutes(_looking(), asked))] * bool(asked)


def _looking() -> float | None:
    """Seconds a face to find it; None where the detector's weights are not there."""
    if _there(["landmarks", *DETECTOR]):
        heads = rendered.draw(presets.sittings("rendered/wild", 0, people=2), size=SIZE)
        return _timed(lambda: pose.seen(heads)) / len(heads)
    return None


def lines(stages: Sequence[Stage]) -> list[str]:
    """A line for each stage, and one for all.

    >>> lines([Stage("embed 60 faces", 0.5, 2_000_000), Stage("look on", None)])[-1]
    'in all about 0.5 minutes, and what is not known; 2.0 MB of disk; what is in the cache takes neither again'
    """
    told = []
    for stage in stages:
        long = "minutes not known: weights are not fetched" if stage.minutes is None else f"{stage.minutes:.1f} minutes"
        told.append(f"{stage.what}: {long}" + (f", {stage.bytes / 1e6:,.1f} MB" if stage.bytes else ""))
    known = sum(stage.minutes or 0 for stage in stages)
    more = ", and what is not known" if any(stage.minutes is None for stage in stages) else ""
    disk = sum(stage.bytes for stage in stages) / 1e6
    end = f"in all about {known:.1f} minutes{more}; {disk:,.1f} MB of disk; what is in the cache takes neither again"
    return [*told, end]


def made_up(n: int) -> FaceSet:
    """n pictures of noise, with landmarks where a face would have them: they cost what faces cost."""
    images = np.random.default_rng(0).integers(0, 256, (n, 3, SIZE, SIZE), dtype=np.uint8)
    points = np.tile(np.array(dlib_template(SIZE, 0.25), np.float32), (n, 1, 1))
    return FaceSet("noise", images, pd.DataFrame({"identity": [f"n{i}" for i in range(n)]}), points)


def _drawn(name: str, n: int, why: str = "") -> Stage:
    from facelab.workbench import export

    return Stage(f"{why}render {n:,} pictures of {name}", export.minutes(name, n), 3 * SIZE**2 * n)


def _found(one: Path, files: list[str]) -> Stage:
    """Photographs, read and searched for landmarks; they are not kept."""
    pace, some = None, files[:: -(-len(files) // ASKED)]
    if _there(["landmarks"]):
        pace = _timed(lambda: locate(folder.from_folder(one, files=some, progress=False))) / len(some)
    return Stage(f"read {len(files):,} pictures of {one.name}", _minutes(pace, len(files)))


def _asking(net, crowd: FaceSet) -> float | None:
    """Seconds that a network, or the source of that name, takes for a face; None where its weights are missing."""
    if isinstance(net, str):
        if not _there([net]):
            return None
        net = load(net)
    return _timed(lambda: embed(net, crowd, cached=False, progress=False)) / len(crowd)


def _fused(n: int, widths: dict[str, int]) -> Stage:
    """The auto-encoder of n faces: its components once, then its steps."""
    crowd, rng = 1024, np.random.default_rng(0)
    some = {name: rng.normal(size=(crowd, width)).astype(np.float32) for name, width in widths.items()}
    code = round(sum(widths.values()) / len(widths))

    def took(epochs: int) -> float:
        start = time.perf_counter()
        AE(code, epochs=epochs).fit(some)
        return time.perf_counter() - start

    begun, more = took(1), took(1 + STEPS)
    an_epoch = max(0.0, more - begun) / STEPS * n / crowd
    seconds = begun * max(1.0, n / crowd) + distill.FUSING * an_epoch
    return Stage(f"fuse the embeddings of {n:,} faces, {distill.FUSING} epochs", seconds / 60)


def _blank(network: str):
    return student.untrained() if network == "student" else narrow.untrained()


def _trained(network: str, n: int, epochs: int) -> Stage:
    of = distill if network == "student" else narrow
    net, crowd = _blank(network), made_up(STEPS * of.BATCH)
    outputs = student.CODE if network == "student" else narrow.DESCRIPTOR
    wanted = np.random.default_rng(0).normal(size=(len(crowd), outputs))
    start = time.perf_counter()
    Inputs(net, crowd, np.arange(len(crowd)))
    cut = (time.perf_counter() - start) / len(crowd)
    done = of.imitate(net, crowd, wanted, validation=None, epochs=2, progress=False)
    a_step = done.history["seconds"].iloc[-1] / STEPS
    steps = math.ceil(n * (1 - of.HELD_OUT) / of.BATCH)
    size = cost.count(net).size
    what = f"train {network} on {n:,} faces, {epochs} epochs of {steps:,} steps"
    return Stage(what, (n * cut + epochs * steps * a_step) / 60, 4 * size + size // 2)  # a checkpoint, and the file


def _timed(work) -> float:
    """Seconds of the second time."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _there(names: Sequence[str]) -> bool:
    """Whether these weights are in the cache."""
    entries = [cached({**SOURCES, **DETECTOR}[name]) for name in names]
    return all(entry.is_dir() and not cache.problem(entry) for entry in entries)


def _add(paces: Sequence[float | None]) -> float | None:
    return None if None in paces else sum(paces)


def _minutes(pace: float | None, n: int) -> float | None:
    return None if pace is None else pace * n / 60
