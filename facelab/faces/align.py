"""Alignment: the chip a network expects, cut out of a photo by five landmarks.

One similarity transform (rotation, one scale, shift) maps the landmarks as nearly as possible, in the
least-squares sense, onto the template the network was trained with (Umeyama, "Least-squares estimation of
transformation parameters between two point patterns", PAMI 1991).
"""

import torch
from torch.nn import functional as F


def similarity(points: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
    """The similarity transforms that bring each face's points nearest to the template.

    argmin Σₖ ‖ s·R·pₖ + t − qₖ ‖², in the plane in closed form: with centred p and q, and points as complex
    numbers, s·R is the number Σ conj(p)·q / Σ |p|².

    points: (n, k, 2) pixels (x, y); template: (k, 2). Returns (n, 2, 3): q ≈ M[:, :2] · p + M[:, 2]. A
    reflection is never used. ValueError where the points of a face coincide.

    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> similarity(square[None], 2 * square + 3)[0].tolist()
    [[2.0, -0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    points, template = points.double(), template.to(points.device, torch.float64)
    p_mean, q_mean = points.mean(1), template.mean(0)
    p, q = points - p_mean[:, None], template - q_mean
    norm = (p**2).sum((1, 2))
    if (norm <= 1e-12).any():
        raise ValueError(f"the landmarks of face {int(norm.argmin())} all lie in one point")
    a = (p * q).sum((1, 2)) / norm
    b = (p[..., 0] * q[:, 1] - p[..., 1] * q[:, 0]).sum(1) / norm
    turn = torch.stack([a, -b, b, a], 1).view(-1, 2, 2)
    shift = q_mean - (turn @ p_mean[..., None])[..., 0]
    return torch.cat([turn, shift[..., None]], 2)


def warp(images: torch.Tensor, transforms: torch.Tensor, size: int) -> torch.Tensor:
    """Chips (n, c, size, size), float32, of images (n, c, h, w) under transforms (n, 2, 3) from image to
    chip.

    Bilinear; what lies outside the photo is black, as in dlib's chips. Where a chip pixel covers several
    image pixels it is the mean of k × k samples, k = the scale rounded up (at most 16), so that a small chip does not
    alias. k depends on the face alone: the same face gives the same chip in any batch.
    """
    scale = transforms[:, :, 0].norm(dim=1)  # chip pixels per image pixel
    samples = (1 / scale - 1e-6).ceil().clamp(1, 16).long()
    chips = images.new_empty((len(images), images.shape[1], size, size), dtype=torch.float32)
    for k in samples.unique().tolist():
        rows = (samples == k).nonzero()[:, 0]
        grid = _grid(transforms[rows], size, k, images.shape[2:])
        fine = F.grid_sample(images[rows].float(), grid, "bilinear", "zeros", align_corners=False)
        chips[rows] = F.avg_pool2d(fine, k) if k > 1 else fine
    return chips


def _grid(transforms: torch.Tensor, size: int, k: int, shape) -> torch.Tensor:
    """Where each of the size·k × size·k samples lies in the image, in grid_sample's units (−1 … 1 across the
    edges).
    """
    at = (torch.arange(size * k, dtype=torch.float64, device=transforms.device) + 0.5) / k - 0.5
    chip = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).view(-1, 2)  # (samples, 2) chip pixels
    inverse = torch.linalg.inv(transforms[:, :, :2])
    image = (chip - transforms[:, None, :, 2]) @ inverse.mT  # (n, samples, 2) image pixels
    h, w = shape
    unit = (2 * image + 1) / torch.tensor([w, h], dtype=torch.float64, device=image.device) - 1
    return unit.view(len(transforms), size * k, size * k, 2).float()
