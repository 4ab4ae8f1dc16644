"""`load`: every network that has a name."""

import logging
import os
from difflib import get_close_matches
from pathlib import Path

import torch

from facelab import devices, errors
from facelab.nets import lightcnn, torchvision_nets, vgg_face
from facelab.nets.fetch import fetch
from facelab.nets.net import Net, wrap
from facelab.nets.sources import MEAN_FACE, SOURCES, Template, dlib_template

log = logging.getLogger(__name__)
NARROW, STUDENT = "vgg-narrow", "student"

# Networks whose weights are on no package index: where such files usually come from.
ORIGINS = {
    "vgg-face": "its authors publish it for MatConvNet and Caffe, and conversions to PyTorch and Keras are common",
    **dict.fromkeys(
        ("lightcnn-9", "lightcnn-29", "lightcnn-29v2"),
        "its authors publish checkpoints (.pth.tar) beside their PyTorch code",
    ),
}


def lightcnn_template() -> Template:
    """Its authors' chip of 128: the middle of the eyes at y = 40, the middle of the mouth 48 below; from side to side
    the proportions of `MEAN_FACE`.

    >>> [tuple(round(v, 1) for v in point) for point in lightcnn_template()[:2]]
    [(41.0, 40.0), (86.0, 40.0)]
    """
    (_, eyes), (_, mouth) = MEAN_FACE[0], MEAN_FACE[3]
    scale, middle = 48 / (mouth - eyes), (MEAN_FACE[0][0] + MEAN_FACE[1][0]) / 2
    return tuple((63.5 + scale * (x - middle), 40 + scale * (y - eyes)) for x, y in MEAN_FACE)


def load(name: str, *, weights: str | Path | None = None, device: str | torch.device = "auto") -> Net:
    """A network by its name, in evaluation mode.

    One of `SOURCES`: its weights are fetched on first use. "vgg-narrow", "student": small networks that come with
    facelab (see `narrow`, `student`). "vgg-face", "lightcnn-9", "lightcnn-29", "lightcnn-29v2":
    `weights` is the path of your weight file (kinds: see `vgg_face.read`, `lightcnn.read`). "torchvision/resnet18", or
    any classification network of torchvision: `weights` is the path of a state dict, "DEFAULT" (torchvision fetches its
    own) or None (random, with a warning in the log).

    ValueError for an unknown name, weights that are needed and missing or given and not needed, a weight file of
    another kind or with other layers; FileNotFoundError where the path does not exist; TypeError for what is no name;
    `FetchError` where a source's weights cannot be had; ImportError where torchvision cannot be imported.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a source, e.g. 'identity', not {type(name).__name__}: see SOURCES")
    if not (weights is None or isinstance(weights, (str, os.PathLike))):
        raise TypeError(f"weights must be the path of a weight file, not {type(weights).__name__}")
    where = devices.device(device)
    if name in SOURCES:
        if weights is not None:
            raise ValueError(f"the source {name!r} fetches its own weights: leave weights={str(weights)!r} out")
        net = _source(name)
    elif name in (NARROW, STUDENT):
        if weights is not None:
            raise ValueError(f"{name!r} comes with its weights: leave weights={str(weights)!r} out")
        from facelab.nets import narrow, student  # the first itself loads its teacher

        net, _ = (narrow if name == NARROW else student).read()
    elif name in ORIGINS:
        net = _own(name, weights)
    elif name.startswith(torchvision_nets.PREFIX):
        net = _torchvision(name, weights)
    else:
        raise _unknown(name)
    # Convolutions run faster on a CPU with channels last.
    return net.to(where, memory_format=torch.channels_last).eval()


def _source(name: str) -> Net:
    source = SOURCES[name]
    return Net(
        source.build(fetch(source)),
        name=source.name,
        size=source.size,
        mean=source.mean,
        std=source.std,
        grey=source.grey,
        template=source.template,
        embedding=source.embedding,
        decode=source.decode,
    )


def _own(name: str, weights: str | Path | None) -> Net:
    if weights is None:
        raise ValueError(f"{name!r} needs your weight file: nets.load({name!r}, weights=PATH); {ORIGINS[name]}")
    file = _existing(weights)
    if name == "vgg-face":
        # A usual crop of its evaluations; nothing was measured here, for its weights are on no package index.
        template = dlib_template(224, 0.3)
        return wrap(
            vgg_face.read(file), size=224, mean=vgg_face.MEAN, std=1, template=template, embedding="relu7", name=name
        )
    kind = lightcnn.LightCNN9 if name == "lightcnn-9" else lightcnn.LightCNN29
    module = lightcnn.read(kind, file, **({"v2": True} if name.endswith("v2") else {}))
    return wrap(module, size=128, grey=True, template=lightcnn_template(), embedding=kind.embedding, name=name, mean=0)


def _torchvision(name: str, weights: str | Path | None) -> Net:
    torchvision_nets.check(name.removeprefix(torchvision_nets.PREFIX))
    if weights is not None and weights != "DEFAULT":
        weights = _existing(weights)
    module, settings = torchvision_nets.build(name.removeprefix(torchvision_nets.PREFIX), weights)
    return wrap(module, name=name, **settings)


def _existing(weights: str | Path) -> Path:
    file = Path(weights).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"there is no weight file {file}")
    return file


def _unknown(name: str) -> ValueError:
    """The nearest of all names; a bare "resnet18" is torchvision's."""
    own = [*SOURCES, NARROW, STUDENT, *ORIGINS, f"{torchvision_nets.PREFIX}resnet18"]
    if not get_close_matches(name.lower(), own, cutoff=0.6):
        try:
            if (prefixed := torchvision_nets.PREFIX + name.lower()) in torchvision_nets.names():
                return ValueError(f"unknown network {name!r}: did you mean {prefixed!r}?")
        except ImportError as error:
            log.info("torchvision's networks are no suggestion for %r: %s", name, error)
    return errors.unknown("network", name, own)
