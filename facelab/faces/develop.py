"""From linear light to the bytes of a picture: exposure, colour, lens blur, sensor noise, sRGB."""

import torch
from torch.nn.functional import conv2d, pad

_LUMA = (0.2126, 0.7152, 0.0722)


def develop(picture: torch.Tensor, shot) -> torch.Tensor:
    """uint8 (h, w, 3) of linear light (h, w, 3), taken as a `photo.Shot` says.

    Blur and exposure act on light, contrast and noise on what the eye sees (sRGB). The noise grows with the square root
    of the signal, as that of counted photons does.
    """
    c = picture * shot.exposure
    if shot.saturation != 1:
        c = torch.lerp((c @ c.new_tensor(_LUMA))[..., None].expand_as(c), c, shot.saturation).clamp(min=0)
    if shot.blur:
        c = blurred(c, shot.blur * len(c))
    c = torch.where(c > 0.7, 0.7 + 0.3 * torch.tanh((c - 0.7) / 0.3), c.clamp(min=0))  # highlights roll off
    c = torch.where(c <= 0.0031308, 12.92 * c, 1.055 * c.clamp(min=1e-6) ** (1 / 2.4) - 0.055)
    if shot.contrast != 1:
        c = 0.45 + (c - 0.45) * shot.contrast
    if shot.noise:
        grain = torch.randn(c.shape, generator=torch.Generator().manual_seed(shot.grain)).to(c)
        c = c + shot.noise * (c.clamp(0, 1) * 1.8 + 0.1).sqrt() * grain
    return (c.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def blurred(picture: torch.Tensor, sigma: float) -> torch.Tensor:
    """(h, w, c) under a Gaussian of `sigma` pixels, the edge repeated.

    >>> round(blurred(torch.ones(5, 5, 1), 1.0).sum().item(), 4)
    25.0
    """
    reach = max(1, min(round(3 * sigma), min(picture.shape[:2]) - 1))
    at = torch.arange(-reach, reach + 1, device=picture.device, dtype=picture.dtype)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    weights = weights / weights.sum()
    x = pad(picture.permute(2, 0, 1)[:, None], (reach,) * 4, mode="replicate")  # (c, 1, h, w)
    x = conv2d(conv2d(x, weights[None, None, :, None]), weights[None, None, None])
    return x[:, 0].permute(1, 2, 0)
