"""One code of many embeddings, learned: the auto-encoders of general-model §3.2, each starting from PCA.

A three-layer auto-encoder trained from nothing has to learn first what PCA finds in one step. So the linear path of
PCA stays, and the layers learn what it misses: training starts at PCA's error.
"""

import logging
import math
import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from facelab import devices
from facelab.errors import number, unknown, whole
from facelab.training.optimizer import warmed
from facelab.training.processes import PRECISIONS, cast, reproducible
from facelab.transfer.codes import PCA, Rows
from facelab.transfer.residual import Residual

log = logging.getLogger(__name__)
WARM = 0.05  # the share of the steps in which the learning rate rises


class AE(PCA):
    """An auto-encoder of M embeddings with one code h_G (general-model §3.2, Eqs 1–3; Tables 5–6).

    h_G = C z + E(z),  ẑ = C̃ h_G + G̃(h_G / σ),  loss = Σ_i mean_j((ĥ_ij − h_ij)²) / s_i²

    E and G̃ have three fully connected layers of `hidden` units, with `dropout` against overfitting; C and C̃ are a
    linear path that starts as the components of PCA, while E and G̃ start at 0 (`Residual`). So at epochs=0 it is PCA
    of the faces not held out.

    dimension: k; None: the average width of the sources. epochs, batch, lr: Adam, whose rate rises over the first 5 %
    of the steps and falls to 0 as a cosine. The linear path learns at a tenth of lr: its entries are that small.
    validation: the share of the faces held out: neither PCA nor the layers see them. The weights of the epoch with the
    least error on them are kept, epoch 0, PCA of the other faces, among them. precision: of training, "32" or "bf16"
    (autocast, where the device has instructions for it; else float32). `groups` in `fit`: whose face each row is; then
    whole people are held out. Same seed, machine and number of threads → same numbers. device: where it
    trains and codes; arrays stay where they are and are read batch by batch, so memory maps may be larger than memory.

    After `fit`: net_ (the `Residual`), history_ (epoch, loss, val_loss: Eq. 3 on held-out faces, seconds), best_epoch_,
    held_out_ (rows), and what `PCA` has.

    ValueError: as for `PCA`; too few faces to hold some out. FloatingPointError: the loss is not finite (names the
    epoch).

    Departs from the paper by the linear path, by one scale per source in Eq. 3, and by sizes of layers, which the paper
    does not give.

    >>> face = np.random.default_rng(0).uniform(-1, 1, (400, 1))
    >>> x = {"age": np.hstack([face, face**2]), "yaw": np.hstack([np.sin(3 * face), np.cos(3 * face)])}
    >>> ae = AE(dimension=1, hidden=16, epochs=60, batch=32, lr=1e-2, device="cpu").fit(x)
    >>> ae.transform(x).shape, bool(ae.history_.val_loss.min() < 0.2 * ae.history_.val_loss[0])
    ((400, 1), True)
    """

    def __init__(
        self,
        dimension: int | None = None,
        *,
        hidden: int = 512,
        dropout: float = 0.2,
        epochs: int = 50,
        batch: int = 256,
        lr: float = 1e-3,
        validation: float = 0.1,
        precision: str = "32",
        seed: int = 0,
        device="auto",
        progress: bool = False,
        sources: Mapping[str, int] | None = None,
    ):
        self.dimension, self.hidden, self.dropout, self.epochs, self.batch = dimension, hidden, dropout, epochs, batch
        self.lr, self.validation, self.precision, self.seed = lr, validation, precision, seed
        self.device, self.progress, self.sources = device, progress, sources

    def fit(self, X, y=None, *, groups=None):
        """Train on the embeddings X; y is ignored. groups (n,): faces of one group are held out together."""
        self._check()
        place = devices.device(self.device)
        rows = Rows(X, self.sources)
        train, self.held_out_ = self._split(len(rows), groups)
        self._components(len(train), self._measure(rows, train))
        self.net_ = self._blank()
        self.net_.begin(self.components_, self.explained_variance_, self.sources_, self.seed)
        self.net_.to(place)
        try:
            with reproducible(place), torch.random.fork_rng([place] if place.type == "cuda" else []):
                self._train(rows, train)
        except BaseException:  # half trained is not fitted
            del self.net_, self.mean_
            raise
        return self

    def _check(self) -> None:
        for name, least in (("hidden", 1), ("epochs", 0), ("batch", 1), ("seed", 0)):
            whole(name, getattr(self, name), least)
        for name in ("lr", "validation", "dropout"):
            number(name, getattr(self, name))
        if not self.lr > 0:
            raise ValueError(f"lr {self.lr!r}: expected more than 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout!r}: expected a share of at least 0 and below 1, e.g. 0.2")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation {self.validation!r}: expected a share between 0 and 1, e.g. 0.1")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def _blank(self) -> Residual:
        k, width = self.components_.shape
        return Residual(width, k, self.hidden, dropout=self.dropout)

    def _split(self, n: int, groups) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from, and rows held out."""
        if groups is not None and np.shape(groups) != (n,):
            raise ValueError(f"groups of shape {np.shape(groups)}: expected ({n},), one for each face")
        people = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if n < 2:
            raise ValueError(f"{n} rows of embeddings: expected at least 2, one to hold out")
        k = people.max() + 1
        if k < 2:
            raise ValueError("groups has one group only: expected at least 2, one to hold out")
        out = np.random.default_rng([self.seed, 0]).permutation(k)[: min(k - 1, max(1, round(self.validation * k)))]
        held = np.isin(people, out)
        return np.flatnonzero(~held), np.flatnonzero(held)

    def _train(self, rows: Rows, train: np.ndarray) -> None:
        net, weight, place = self.net_, self._weight, self.net_.sigma.device
        linear = [*net.reduce.parameters(), *net.restore.parameters()]
        rest = [*net.encoder.parameters(), *net.decoder.parameters()]
        groups = [{"params": rest, "share": 1.0}, {"params": linear, "share": 0.1}]
        optimizer = torch.optim.Adam(groups, lr=self.lr, fused=True)
        half = cast(place, self.precision)
        noise = torch.Generator(place).manual_seed(self.seed)
        steps = math.ceil(len(train) / self.batch)
        history = [(0, math.nan, self._held_out(rows), 0.0)]
        best = {name: value.clone() for name, value in net.state_dict().items()}
        self.best_epoch_ = 0
        bar = tqdm(range(1, self.epochs + 1), desc=type(self).__name__, disable=not self.progress)
        for epoch in bar:
            started, total = time.perf_counter(), 0.0
            order = np.random.default_rng([self.seed, epoch]).permutation(train)
            torch.manual_seed(int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]))  # for the dropout
            net.train()
            for step, batch in enumerate(np.array_split(order, steps)):
                z = self._tensor((rows.take(np.sort(batch)) - self.mean_) * weight)
                with half:
                    loss = self._loss(z, noise)
                if not loss.isfinite():
                    self._stop(f"the loss is {loss.item()} in epoch {epoch}, batch {step + 1} of {steps}")
                for group in optimizer.param_groups:
                    group["lr"] = group["share"] * self._rate((epoch - 1) * steps + step, steps * self.epochs)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(batch)
            net.eval()
            held = self._held_out(rows)
            if not math.isfinite(held):
                self._stop(f"the loss on held-out faces is {held} after epoch {epoch}")
            if held < min(row[2] for row in history):
                self.best_epoch_ = epoch
                best = {name: value.clone() for name, value in net.state_dict().items()}
            history.append((epoch, total / len(train), held, time.perf_counter() - started))
            bar.set_postfix(held_out=f"{held:.4g}")
        net.load_state_dict(best)
        net.eval()
        self.history_ = pd.DataFrame(history, columns=["epoch", "loss", "val_loss", "seconds"])
        log.info("%s: best epoch %d of %d", type(self).__name__, self.best_epoch_, self.epochs)

    def _stop(self, what: str):
        raise FloatingPointError(f"{what}: try a lower lr, it is {self.lr:g}")

    def _rate(self, step: int, steps: int) -> float:
        return self.lr * warmed(step, steps, WARM)

    def _loss(self, z: Tensor, noise: torch.Generator) -> Tensor:
        return self._error(self.net_.decode(self.net_.encode(z)[0]), z)

    def _error(self, said: Tensor, z: Tensor) -> Tensor:
        """Eq. 3: the sum over sources of the mean squared error, in units of s_i², averaged over faces."""
        return len(self.sources_) * functional.mse_loss(said.float(), z)

    @torch.no_grad()
    def _held_out(self, rows: Rows) -> float:
        total = 0.0
        for _, block in rows.blocks(self.held_out_):
            z = self._tensor((block - self.mean_) * self._weight)
            total += self._error(self.net_.decode(self.net_.encode(z)[0]), z).item() * len(z)
        return total / len(self.held_out_)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self.net_.sigma.device)

    @torch.no_grad()
    def _encode(self, z: np.ndarray) -> np.ndarray:
        return self.net_.encode(self._tensor(z))[0].cpu().numpy()

    @torch.no_grad()
    def _decode(self, code: np.ndarray) -> np.ndarray:
        return self.net_.decode(self._tensor(code)).cpu().numpy()


class DAE(AE):
    """The denoising auto-encoder: the `AE` that must give back z from a spoilt z (general-model §3.2, Table 5, DAE).

    noise "masking": each number becomes its mean with probability `level`; "gaussian": z + level · N(0, 1). Held-out
    faces, and faces to code, are not spoilt. All else as for `AE`.

    >>> face = np.random.default_rng(0).normal(size=(60, 2))
    >>> x = {"age": face @ np.ones((2, 3)), "yaw": face}
    >>> DAE(dimension=2, hidden=8, epochs=1, noise="gaussian", level=0.1, device="cpu").fit_transform(x).shape
    (60, 2)
    """

    def __init__(
        self,
        dimension: int | None = None,
        *,
        noise: str = "masking",
        level: float = 0.1,
        hidden: int = 512,
        dropout: float = 0.2,
        epochs: int = 50,
        batch: int = 256,
        lr: float = 1e-3,
        validation: float = 0.1,
        precision: str = "32",
        seed: int = 0,
        device="auto",
        progress: bool = False,
        sources: Mapping[str, int] | None = None,
    ):
        super().__init__(dimension, hidden=hidden, dropout=dropout, epochs=epochs, batch=batch, lr=lr, seed=seed)
        self.validation, self.precision = validation, precision
        self.noise, self.level, self.device, self.progress, self.sources = noise, level, device, progress, sources

    def _check(self) -> None:
        super()._check()
        if self.noise not in ("masking", "gaussian"):
            raise unknown("noise", self.noise, ("masking", "gaussian"))
        number("level", self.level)
        if not 0 <= self.level < (1 if self.noise == "masking" else math.inf):
            raise ValueError(f"level {self.level!r}: expected at least 0, and below 1 where it is the share masked")

    def _loss(self, z: Tensor, noise: torch.Generator) -> Tensor:
        if self.noise == "masking":
            spoilt = z * (torch.rand(z.shape, generator=noise, device=z.device) >= self.level)
        else:
            spoilt = z + self.level * torch.randn(z.shape, generator=noise, device=z.device)
        return self._error(self.net_.decode(self.net_.encode(spoilt)[0]), z)


class VAE(AE):
    """The variational auto-encoder: a code with a spread of its own for every face (general-model §3.2, Table 5, VAE).

    loss = Eq. 3 at a drawn code + beta / k · KL(N(m, v) ‖ N(0, 1)),  KL = ½ Σ (m² + v − 1 − ln v)

    m = h_G / σ and v are mean and variance in units of the standard deviations of PCA's code, where the prior N(0, 1)
    is PCA's own. v starts at e⁻⁴. `transform` gives the mean. The epoch is chosen by Eq. 3 at the mean, as for `AE`.

    >>> face = np.random.default_rng(0).normal(size=(60, 2))
    >>> x = {"age": face @ np.ones((2, 3)), "yaw": face}
    >>> VAE(dimension=2, hidden=8, epochs=1, beta=1e-3, device="cpu").fit_transform(x).shape
    (60, 2)
    """

    def __init__(
        self,
        dimension: int | None = None,
        *,
        beta: float = 1e-3,
        hidden: int = 512,
        dropout: float = 0.2,
        epochs: int = 50,
        batch: int = 256,
        lr: float = 1e-3,
        validation: float = 0.1,
        precision: str = "32",
        seed: int = 0,
        device="auto",
        progress: bool = False,
        sources: Mapping[str, int] | None = None,
    ):
        super().__init__(dimension, hidden=hidden, dropout=dropout, epochs=epochs, batch=batch, lr=lr, seed=seed)
        self.validation, self.precision = validation, precision
        self.beta, self.device, self.progress, self.sources = beta, device, progress, sources

    def _check(self) -> None:
        super()._check()
        number("beta", self.beta)
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta {self.beta!r}: expected at least 0")

    def _blank(self) -> Residual:
        k, width = self.components_.shape
        return Residual(width, k, self.hidden, spread=True, dropout=self.dropout)

    def _loss(self, z: Tensor, noise: torch.Generator) -> Tensor:
        code, log_variance = (part.float() for part in self.net_.encode(z))
        m, log_variance = code / self.net_.sigma, log_variance - 4  # (b, k)
        drawn = m + (log_variance / 2).exp() * torch.randn(m.shape, generator=noise, device=m.device)
        kl = 0.5 * (m**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return self._error(self.net_.decode(drawn * self.net_.sigma), z) + self.beta * kl / m.shape[1]
