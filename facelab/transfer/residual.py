"""The network of the auto-encoders: a linear path that starts as PCA, and layers that learn what it misses."""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """h_G = C z + E(z),  ẑ = C̃ h_G + G̃(h_G / σ);  C and C̃ᵀ start as PCA's (k, D), E and G̃ as 0.

    E is three fully connected layers D → hidden → hidden → k with GELU between, G̃ the same backwards. σ (k,) are the
    standard deviations of PCA's code: without them the first few components would be all that G̃ sees. Where `spread`,
    E gives k more numbers, the log variance of h_G / σ.
    """

    def __init__(self, width: int, dimension: int, hidden: int, spread: bool = False, dropout: float = 0.0):
        super().__init__()
        self.reduce = nn.utils.skip_init(nn.Linear, width, dimension, bias=False)
        self.restore = nn.utils.skip_init(nn.Linear, dimension, width, bias=False)
        self.encoder = three(width, hidden, dimension * (1 + spread), dropout)
        self.decoder = three(dimension, hidden, width, dropout)
        self.register_buffer("sigma", torch.ones(dimension))

    @torch.no_grad()
    def begin(self, components: np.ndarray, variance: np.ndarray, sources: Mapping[str, int], seed: int) -> None:
        """The weights before training. Those that read a source depend on its name, not on its place."""
        self.reduce.weight.copy_(torch.from_numpy(components))
        self.restore.weight.copy_(torch.from_numpy(components.T))
        deviation = np.sqrt(variance)
        self.sigma.copy_(torch.from_numpy(np.maximum(deviation, 1e-3 * deviation.max())))
        for i, layer in enumerate((*linear(self.encoder), *linear(self.decoder))):
            bound = layer.in_features**-0.5
            layer.weight.copy_(_uniform(layer.weight.shape, bound, [seed, i]))
            layer.bias.copy_(_uniform(layer.bias.shape, bound, [seed, i, 1]))
        first, at = self.encoder[0], 0
        for name, d in sources.items():
            drawn = _uniform((first.out_features, d), first.in_features**-0.5, [seed, zlib.crc32(name.encode())])
            first.weight[:, at : at + d] = drawn
            at += d
        for last in (self.encoder[-1], self.decoder[-1]):
            last.weight.zero_()
            last.bias.zero_()

    def encode(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """The code (b, k), and its log variance in units of σ, or None."""
        k, found = len(self.sigma), self.encoder(z)
        return self.reduce(z) + found[:, :k], found[:, k:] if found.shape[1] > k else None

    def decode(self, code: Tensor) -> Tensor:
        return self.restore(code) + self.decoder(code / self.sigma)  # (b, D)


def three(a: int, hidden: int, b: int, dropout: float = 0.0) -> nn.Sequential:
    """Three fully connected layers a → hidden → hidden → b with GELU and dropout between, their weights not yet set."""
    sizes = [(a, hidden), (hidden, hidden), (hidden, b)]
    first, second, third = (nn.utils.skip_init(nn.Linear, i, o) for i, o in sizes)
    return nn.Sequential(first, nn.GELU(), nn.Dropout(dropout), second, nn.GELU(), nn.Dropout(dropout), third)


def linear(layers: nn.Sequential) -> list[nn.Linear]:
    """The fully connected ones of these layers."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _uniform(shape, bound: float, seed: list[int]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-bound, bound, tuple(shape)).astype(np.float32))
