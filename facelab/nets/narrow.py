"""vgg-narrow: a VGG-16 a quarter as wide as VGG-Face, on chips of 64 px, for people without VGG-Face's weights.

The plain chain of 13 convolutions that the papers work on, with layers of the same names, in 1/16 of the numbers. It
learned to give the descriptors of the source `identity` (dlib's ResNet-29): no label, only another network's opinion
of each face (G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015). It was trained
with batch normalisation, which is folded into the convolutions, and is kept in half precision.

    facelab train vgg-narrow [--photos FOLDER …] [--lfw FOLDER]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from facelab import cache, faces
from facelab.faces import lfw
from facelab.faces.faceset import FaceSet
from facelab.nets.embed import embed
from facelab.nets.load import load
from facelab.nets.locate import locate
from facelab.nets.net import Net, wrap
from facelab.nets.sources import dlib_template
from facelab.nets.verify import ten_folds, verify
from facelab.nets.vgg_face import VGGFace, fold
from facelab.training.fitted import Fit
from facelab.training.loop import fit

WIDTHS, HIDDEN, DESCRIPTOR, SIZE = (16, 32, 64, 128, 128), 256, 128, 64
FILE = Path(__file__).with_name("weights") / "vgg-narrow.safetensors"
PADDING = 0.25  # of the chip around dlib's box, as the teacher's
BATCH, HELD_OUT = 128, 0.04  # faces a step; the share of the people who only judge
TEACHER = "identity"


def untrained(outputs: int = DESCRIPTOR, *, widths: Sequence[int] = WIDTHS, norm: bool = True, seed: int = 0) -> Net:
    """The network with random weights, for training from scratch: with batch normalisation unless norm=False.

    He's weights (K. He et al., "Delving deep into rectifiers", ICCV 2015), drawn from `seed`; biases 0. `trained` makes
    a plain chain of it.

    >>> untrained(7)
    Net 'vgg-narrow': 3 × 64 × 64, 13 convolutions, 1,056 filters
    """
    module = VGGFace(widths, HIDDEN, outputs, side=SIZE // 32, norm=norm)
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        module.fc8.weight.mul_(0.1)  # the first outputs are small
    return _net(module)


def plain(net: Net) -> Net:
    """The same network as a plain chain: batch normalisations folded into the convolutions."""
    return _net(fold(net.module), net.name)


def _net(module: VGGFace, name: str = "vgg-narrow") -> Net:
    template = dlib_template(SIZE, PADDING)
    return wrap(module, size=SIZE, mean=127.5, std=64, template=template, name=name)


def read(file: str | Path = FILE) -> tuple[Net, dict]:
    """The trained network of a file that `write` wrote, and where it comes from: command, data, seed, metrics."""
    arrays, about = cache.read_tensors(Path(file))
    outputs = len(arrays["fc8.bias"])
    widths = [len(arrays[f"conv{i}_1.bias"]) for i in range(1, 6)]
    module = VGGFace(widths, len(arrays["fc6.bias"]), outputs, side=SIZE // 32)
    module.load_state_dict({name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()})
    return _net(module), about


def write(net: Net, about: dict, file: str | Path = FILE) -> Path:
    """Write a plain network in half precision, with where it comes from."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.cpu().numpy().astype(np.float16) for name, value in net.module.state_dict().items()}
    cache.write_tensors(file, arrays, about)
    return file


def crowds(people: int) -> dict[str, int]:
    """How many people of which rendered sets it learns from: `wild`, and three eighths as many of `album`."""
    return {"rendered/wild": people, "rendered/album": max(1, people * 3 // 8)}


def training_faces(people: int, photos: Sequence[str | Path], seed: int, device="auto") -> list[FaceSet]:
    """Rendered people (`crowds`), and the pictures of folders of photographs in which the landmarks network sees a
    face."""
    sets = [faces.load(name, seed=seed, people=n, device=device) for name, n in crowds(people).items()]
    for folder in photos:
        found = locate(faces.from_folder(folder), device=device)
        sets.append(found[np.isfinite(found.landmarks).all((1, 2))])
    return sets


def train(sets: Sequence[FaceSet], *, epochs: int = 14, seed: int = 0, device="auto", **how) -> tuple[Net, dict]:
    """The narrow network, taught the descriptors of `identity` on the faces of these sets, and how well it did.

    min Σ ‖f(x) − (d − d̄)/s‖², d the teacher's descriptor, d̄ its mean, s its standard deviation over all numbers; both
    are put into the last layer afterwards, so that distances mean what the teacher's mean (one person below 0.6). how:
    for `imitate`.
    """
    wanted = np.concatenate([descriptors(part, device=device) for part in sets])
    crowd = FaceSet.join(sets, "faces to distil on")
    mean, scale = wanted.mean(0, dtype=np.float64), float(wanted.std(0).mean())
    net = untrained(seed=seed)
    done = imitate(net, crowd, (wanted - mean) / scale, epochs=epochs, seed=seed, device=device, **how)
    net = plain(net)
    with torch.no_grad():
        last = net.module.fc8
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(torch.from_numpy(mean).to(last.bias))
        for value in net.module.parameters():
            value.copy_(value.half().float())
    return net, {"unexplained": done.score / done.constant, "seconds": float(done.history["seconds"].sum())}


def imitate(
    net: Net, crowd: FaceSet, targets, *, batch: int = BATCH, lr: float = 2e-3, precision: str = "bf16", **how
) -> Fit:
    """The training alone: these numbers (n, d) for these faces. how: for `fl.fit`."""
    settings = {"loss": "mse", "validation": HELD_OUT, "weight_decay": 0.02, "schedule": "onecycle"}
    settings |= {"batch": batch, "lr": lr, "precision": precision}
    return fit(net, crowd, None, targets=targets, **settings | how)


def descriptors(crowd: FaceSet, *, device="auto") -> np.ndarray:
    """(n, 128) the teacher's descriptors, kept in the cache."""
    teacher = load(TEACHER, device=device)
    teacher.embedding = None  # what it says, not what its last maps hold
    return embed(teacher, crowd)


def examine(net: Net, lfw_root: str | Path | None = None, *, unit: bool = False, device="auto") -> dict:
    """What a network and `identity` make of people they have not seen: the verification AUC on rendered `wild` within
    ±30° of yaw (pairs of all people, and of people alike in gender, ethnicity and 15 years of age), and the accuracy on
    LFW's official pairs where a folder of them is given (pairs in which no face is seen count half). unit: the
    network's codes are centred and compared by their cosine.
    """
    people = faces.load("rendered/wild", device=device)
    people = people[np.abs(people.labels["yaw"].to_numpy(float)) <= 30]
    alike = people.labels["gender"] + people.labels["ethnicity"] + (people.labels["age"] // 15).astype(str)
    sets, found = {"rendered": people}, {}
    if lfw_root is not None:
        pictures, table = lfw.pairs(lfw_root)
        sets["lfw"] = locate(pictures, device=device)
    net.to(load(TEACHER, device=device).device)

    def own(crowd):
        codes = net.embed(crowd)
        codes = codes - codes.mean(0) if unit else codes
        return codes / np.linalg.norm(codes, axis=1, keepdims=True) if unit else codes

    for name, read_out in ((net.name, own), (TEACHER, descriptors)):
        codes = read_out(people)
        row = {"rendered_auc": verify(codes, people.identities).auc}
        row["rendered_auc_matched"] = verify(codes, people.identities, within=alike).auc
        if lfw_root is not None:
            seen = np.isfinite(sets["lfw"].landmarks).all((1, 2))
            found_codes = read_out(sets["lfw"][seen])
            codes = np.full((len(seen), found_codes.shape[1]), np.nan)
            codes[seen] = found_codes
            distance = np.linalg.norm(codes[table["first"]] - codes[table["second"]], axis=1)
            known = np.isfinite(distance)
            right, error = ten_folds(distance[known], table["same"][known], table["fold"][known])
            row |= {"lfw_accuracy": right * known.mean() + (1 - known.mean()) / 2, "lfw_standard_error": error}
            row["lfw_pairs_with_both_faces_seen"] = int(known.sum())
        found[name] = row
    return found
