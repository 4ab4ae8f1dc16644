"""Colours and small smooth patterns that painted surfaces are made of."""

import numpy as np
import torch


def linear(rgb) -> np.ndarray:
    """Linear light of sRGB 0–255.

    >>> linear((255, 255, 255)).tolist()
    [1.0, 1.0, 1.0]
    """
    c = np.asarray(rgb, float) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def colour(rgb, like: torch.Tensor) -> torch.Tensor:
    """(n, 3): one linear RGB colour at each of the n places `like`."""
    return torch.as_tensor(rgb, dtype=like.dtype, device=like.device).expand(len(like), 3)


def bump(d2: torch.Tensor, width: float) -> torch.Tensor:
    """exp(−d² / 2 width²) of squared distances."""
    return torch.exp(d2 * (-0.5 / width**2) if isinstance(width, float) else -d2 / (2 * width**2))


def band(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """1 between low and high, 0 outside, soft edges of 0.025."""
    return torch.sigmoid((value - low) / 0.025) * torch.sigmoid((high - value) / 0.025)


def noise(seed: int, w: torch.Tensor, frequency: float, salt: int, waves: int = 6) -> torch.Tensor:
    """(n,) smooth noise of zero mean and unit variance at places w (n, 3): a sum of waves of random direction and
    phase, the same for a seed and salt."""
    g = torch.Generator().manual_seed(seed * 31 + salt)
    direction = torch.randn(waves, 3, generator=g)
    k = direction / direction.norm(dim=1, keepdim=True) * frequency * (0.6 + 0.8 * torch.rand(waves, 1, generator=g))
    phase = 6.2832 * torch.rand(waves, generator=g)
    return torch.addmm(phase.to(w), w, k.T.to(w)).sin_().sum(1) * (2 / waves) ** 0.5
