"""Distilling a fused code into one small student, and putting the student to work (general-model §3.3–3.4).

Every training is `fl.fit`; here stands what it is fed and how students are put together.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from facelab import errors
from facelab.faces.faceset import FaceSet
from facelab.nets import student
from facelab.nets.embed import embed
from facelab.nets.net import Net
from facelab.nets.sources import SOURCES
from facelab.training.fitted import Fit
from facelab.training.loop import fit
from facelab.training.objective import present
from facelab.transfer import fusion
from facelab.transfer.autoencoder import AE
from facelab.transfer.codes import Concat
from facelab.transfer.residual import linear, three

BATCH, HELD_OUT = 128, 0.05  # of a student's training: faces a step; the share of the people who only judge
# all the rest of it, as `fl.fit` takes it
TEACHING = {"batch": BATCH, "lr": 3e-3, "weight_decay": 0.02, "schedule": "onecycle", "precision": "bf16"}
FUSING = 30  # epochs of the auto-encoder


def two_stage(net: Net, faces: FaceSet, codes, *, mirrored=None, loss: str = "cosine", **how) -> Fit:
    """Teach `net` to give the fused codes (n, k) of the faces: the two-stage student ĥ_G (general-model Eq. 4).

        loss = 1 − cos(f(x), h_G)

    No label is asked for. mirrored: the codes of the mirrored faces; without them nothing is mirrored, since a
    mirror image has another code. how: for `fl.fit`. ValueError: a network of another output width than the codes.

    The paper prints the cosine itself as what is minimised: a slip of the sign.
    """
    codes = np.asarray(codes)
    if codes.ndim == 2 and width(net) != codes.shape[1]:
        raise ValueError(f"{net.name!r} gives {width(net)} numbers for a face: expected {codes.shape[1]}, as in a code")
    targets = codes if mirrored is None else (codes, np.asarray(mirrored))
    how = {"validation": HELD_OUT} | how
    return fit(net, faces, None, targets=targets, loss=loss, flip=mirrored is not None, **how)


def one_stage(net: Net, faces: FaceSet, embeddings, weighted: Concat, *, hidden: int = 512, **how) -> Fit:
    """Teach `net` all embeddings of the faces directly, through a decoder that is thrown away: the student ĥ_MT.

        loss = mean((D(f(x)) − z)²) = Σ_i MSE_i / s_i² / M,   z the weighted embeddings, D three layers

    weighted: a fitted `Concat`, which has the weights (they are PCA's and the auto-encoders'). Nothing is mirrored.
    how: for `fl.fit`. The fit returned is of student and decoder; `net` is the student alone, trained.
    """
    z = weighted.transform(embeddings)
    inner = three(width(net), hidden, z.shape[1])
    _draw(inner, how.get("seed", 0))
    inner.to(net.device)
    both = student.net(nn.Sequential(net.module, inner), f"{net.name} and its decoder")
    how = {"validation": HELD_OUT} | how
    return fit(both, faces, None, targets=z, loss="mse", flip=False, **how)


@dataclass(frozen=True, eq=False)
class Decoder:
    """From a frozen code back to the embeddings of all sources (Table 5, E_G and E_MT): `decode(codes)`.

    history: of its training (`Fit.history`).
    """

    module: nn.Module
    mean: np.ndarray
    scale: np.ndarray
    weighted: Concat
    history: pd.DataFrame

    @torch.no_grad()
    def decode(self, codes) -> dict[str, np.ndarray]:
        """Codes (n, k) → dictionary source → (n, d_i)."""
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != len(self.mean):
            raise ValueError(f"codes of shape {codes.shape}: expected (n, {len(self.mean)})")
        x = torch.from_numpy(((codes - self.mean) / self.scale).astype(np.float32))
        return self.weighted.inverse_transform(self.module.cpu()(x).numpy())


class Linear3(nn.Module):
    """ẑ = A c + F(c): the best linear map A, which three layers F, 0 at first, learn to mend."""

    def __init__(self, codes: np.ndarray, z: np.ndarray, hidden: int, seed: int):
        super().__init__()
        k, width = codes.shape[1], z.shape[1]
        self.linear, self.layers = nn.Linear(k, width, bias=False), three(k, hidden, width, dropout=0.2)
        slopes = np.linalg.lstsq(codes.T @ codes + 1e-6 * len(codes) * np.eye(k), codes.T @ z, rcond=None)[0]
        _draw(self.layers, seed)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(slopes.T))
            self.layers[-1].weight.zero_()

    def forward(self, code: Tensor) -> Tensor:
        return self.linear(code) + self.layers(code)


def _draw(layers: nn.Sequential, seed: int) -> None:
    """Weights uniform within ±1/√inputs, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    for layer in linear(layers):
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)


class _Codes:
    """What `fl.fit` takes for a network, fed with codes in place of images."""

    name = "decoder"

    def __init__(self, module: nn.Module, codes: np.ndarray):
        self.module, self.codes = module, torch.from_numpy(codes.astype(np.float32))

    def prepare(self, faces, rows=None) -> Tensor:
        return self.codes if rows is None else self.codes[torch.as_tensor(rows)]


def decoder(codes, faces: FaceSet, embeddings, weighted: Concat, *, hidden: int = 512, seed: int = 0, **how) -> Decoder:
    """Train a decoder on the frozen codes (n, k) of faces, to give back their embeddings.

    It starts as the best linear map and is trained on Eq. 3, as the auto-encoders' decoders are; people are held out to
    choose the epoch. how: for `fl.fit`. ValueError: other numbers of rows, a constant code.
    """
    codes = np.asarray(codes, np.float64)
    if not np.isfinite(codes).all():
        raise ValueError(f"the code of row {(~np.isfinite(codes).all(1)).argmax()} is not finite")
    if len(codes) != len(faces):
        raise ValueError(f"{len(codes)} codes for {len(faces)} faces: expected one for each")
    mean, scale = codes.mean(0), codes.std(0)
    if not scale.max() > 0:
        raise ValueError("the codes are constant: there is nothing to decode")
    scale = np.maximum(scale, 1e-3 * scale.max())
    x, z = (codes - mean) / scale, weighted.transform(embeddings)
    net = _Codes(Linear3(x, z, hidden, seed), x)
    how = {"epochs": 20, "batch": 256, "lr": 1e-3, "validation": 0.1, "progress": False} | how
    done = fit(net, faces, None, targets=z, loss="mse", flip=False, seed=seed, **how)
    return Decoder(net.module.eval(), mean, scale, weighted, done.history)


def with_mlp(net: Net, outputs: int, *, hidden: int = 64, seed: int = 0) -> Net:
    """A copy of a student with an MLP on its code, for a target: all of it can then be fine-tuned.

    >>> tuned = with_mlp(student.untrained(16), 7)
    >>> tuned.module(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 7])
    """
    errors.whole("outputs", outputs, 1)
    top = nn.Sequential(nn.ReLU(), nn.Linear(width(net), hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    _draw(top, seed)
    top.to(net.device)
    return student.net(nn.Sequential(copy.deepcopy(net.module), *top), net.name)


class Topped(nn.Module):
    """A pretrained network with a new linear layer on its embedding (n, width), for a target (Table 3, P-CNN)."""

    def __init__(self, net: Net, width: int, outputs: int, seed: int = 0):
        super().__init__()
        self.body, self.layer = copy.deepcopy(net.module), nn.Linear(width, outputs)
        self.at, _, self.end = (net.embedding or "").partition(":")
        bound = width**-0.5
        nn.init.uniform_(self.layer.weight, -bound, bound, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        seen, inner = [], self.body.get_submodule(self.at)
        if self.end == "input":
            hook = inner.register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
        else:
            hook = inner.register_forward_hook(lambda _layer, _input, output: seen.append(output))
        try:
            self.body(x)
        finally:
            hook.remove()
        found = seen[0]
        if found.ndim > 2:  # as `Net.embed` has it: a layer's maps are averaged, the network's own output is not
            found = found.flatten(2).mean(2) if self.at else found.flatten(1)
        return self.layer(found)  # (n, outputs)


def topped(net: Net, width: int, outputs: int, *, seed: int = 0) -> Net:
    """A copy of a source with a new linear layer on its embedding of that width, to be fine-tuned whole.

    >>> from facelab.nets import wrap
    >>> source = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 9, 1)), size=8, embedding="1")
    >>> topped(source, 4, 7).module(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 7])
    """
    new = copy.copy(net)
    new._modules = {"module": Topped(net, width, outputs, seed).to(net.device)}
    new.embedding, new.decode = None, None
    return new


def begin(
    net: Net, source: Net, faces: FaceSet, target: str, *, steps: int = 500, seed: int = 0, device="auto"
) -> float:
    """Fit the new layer of `topped` alone, on the frozen embeddings of the faces to train on; the seconds it took.

    Fine-tuning then begins at a linear read-out of the source. From random weights, the first of its few epochs would
    spoil what the source knows. The layer starts at 0, which says the mean, and takes at least so many steps.
    """
    codes = np.asarray(embed(source, faces, progress=False), np.float64)
    mean, scale = codes.mean(0), float(codes.std(0).mean()) or 1.0
    layer = copy.deepcopy(net.module.layer).cpu()
    nn.init.zeros_(layer.weight)
    epochs = math.ceil(steps / max(1, math.ceil((present(faces.encode(target)) > 0).sum() / 256)))
    how = {"epochs": epochs, "batch": 256, "lr": 1e-2, "weight_decay": 0.01, "validation": None, "flip": False}
    done = fit(_Codes(layer, (codes - mean) / scale), faces, target, seed=seed, device=device, progress=False, **how)
    with torch.no_grad():
        weight, bias = layer.weight.double().cpu() / scale, layer.bias.double().cpu()
        net.module.layer.weight.copy_(weight)
        net.module.layer.bias.copy_(bias - weight @ torch.from_numpy(mean))
    return float(done.history["seconds"].sum())


@torch.no_grad()
def classified(net: Net, embeddings: np.ndarray) -> np.ndarray:
    """(n,) what a source's own last linear layer says of embeddings (n, d): the largest output's number.

    ValueError where it does not take them: embeddings of another width.
    """
    last = [layer for layer in net.module.modules() if isinstance(layer, nn.Linear)][-1]
    if embeddings.shape[1] != last.in_features:
        raise ValueError(f"embeddings of {embeddings.shape[1]} numbers: {net.name!r} takes {last.in_features}")
    x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(last.weight)
    return last(x).argmax(1).cpu().numpy()


@torch.no_grad()
def width(net: Net) -> int:
    """How many numbers a network gives for a face."""
    side, channels = net.size, 1 if net.grey else 3
    net.module.eval()
    return net.module(torch.zeros(1, channels, side, side, device=net.device)).flatten(1).shape[1]


def fuse(
    sets: Sequence[FaceSet], dimension: int | None = None, *, epochs: int = FUSING, seed: int = 0, device="auto"
) -> AE:
    """An auto-encoder of the six sources' embeddings of these faces, from the cache if it was fitted before; people are
    told apart within a set. dimension: None: the paper's rule."""
    embeddings = embed(SOURCES, list(sets), mapped=True, device=device)
    width = round(sum(part.shape[1] for part in embeddings.values()) / len(embeddings))
    names = np.concatenate([[f"{one.name} {who}" for who in one.identities] for one in sets])
    operator = AE(dimension or width, epochs=epochs, seed=seed, device=device)
    return fusion.fitted(operator, embeddings, groups=names)


def weights(operator: AE) -> list[np.ndarray]:
    """All numbers of a fitted operator, by which it is known from another."""
    return [operator.mean_, operator.components_, *(v.cpu().numpy() for v in operator.net_.state_dict().values())]


def imitate(net: Net, crowd: FaceSet, codes, **how) -> Fit:
    """The training of `teach` alone: `two_stage` with the settings `TEACHING`. how: for `fl.fit`, in their place."""
    return two_stage(net, crowd, codes, **TEACHING | how)


def teach(
    sets: Sequence[FaceSet], operator: AE, *, epochs: int = 45, seed: int = 0, device="auto", progress: bool = True,
    **how,
) -> tuple[Net, dict]:  # fmt: skip
    """A new student of a fitted operator's code, taught on all these unlabelled faces, and how well it
    learned: the mean cosine to the code on people held out. how: for `imitate`."""
    embeddings = embed(SOURCES, list(sets), mapped=True, device=device, progress=progress)
    crowd = FaceSet.join(list(sets), "faces to distil on")
    codes = operator.transform(embeddings)
    net = student.untrained(codes.shape[1], seed=seed)
    done = imitate(net, crowd, codes, epochs=epochs, seed=seed, device=device, progress=progress, **how)
    with torch.no_grad():  # as the file will hold them
        for value in net.module.parameters():
            value.copy_(value.half().float())
    return net, {"cosine": 1 - done.score, "seconds": float(done.history["seconds"].sum()), "epochs": len(done.history)}
