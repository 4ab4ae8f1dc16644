"""MTCNN's cascade: from a photo to boxes, probabilities and five landmarks of the faces in it.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment using multitask cascaded convolutional
networks", IEEE Signal Processing Letters 2016, §II-A. P-Net looks at every place of the photo in many sizes, R-Net at
the places that are left in 24 px, O-Net at those that are then left in 48 px; every stage corrects the boxes, and of
boxes that cover the same face the surest stays.

Departs from the paper in how boxes are cut: not at whole pixels but where they lie, each pixel of the small picture the
mean of what it covers.

Boxes are left, top, right and bottom edge in pixels, (0, 0) the top-left corner of the photo, as slices and Pillow's
`crop` count; landmarks count from the centre of the first pixel, as in face sets.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelab.nets import onet, pnet, rnet
from facelab.nets.fetch import fetch
from facelab.nets.sources import PROPOSALS, REFINEMENT

FACTOR = 0.709  # from one size of the photo to the next, √½: every other one halves it
SAME = (0.5, 0.7, 0.7)  # boxes with more in common are one face: among one size, among all sizes, after R-Net
INSIDE = 0.7  # the same at the end, as a share of the smaller box: a box in another is one face with it
BATCH = 256  # boxes in one pass
SAMPLES = 1 << 21  # of the photo at a time, when boxes are cut


@dataclass(frozen=True, eq=False)
class Cascade:
    """The three networks, in evaluation mode on one device."""

    proposals: nn.Module
    refinement: nn.Module
    output: nn.Module

    @property
    def device(self) -> torch.device:
        return next(self.proposals.parameters()).device


def load(device: torch.device) -> Cascade:
    """The networks with their weights, which are fetched on first use; `FetchError` where they cannot be had."""
    parts = (pnet.read(fetch(PROPOSALS)), rnet.read(fetch(REFINEMENT)), onet.read(fetch("landmarks")))
    return Cascade(*(part.to(device).eval() for part in parts))


@torch.no_grad()
def find(nets: Cascade, photo: Tensor, smallest: float, thresholds) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (k, 4), probabilities (k,) and landmarks (k, 5, 2) of the faces in one photo (3, h, w), 0 … 255.

    smallest: side in pixels of the smallest face that is looked for; thresholds: the probability of a face that a box
    needs in each of the three networks.
    """
    photo = photo.float()
    boxes = propose(nets.proposals, photo, smallest, thresholds[0])
    out = _run(nets.refinement, cut(photo, boxes, 24), 6)
    sure = out[:, :2].softmax(1)[:, 1]
    left = torch.nonzero(sure >= thresholds[1])[:, 0]
    left = left[apart(boxes[left], sure[left], SAME[2])]
    boxes = squared(corrected(boxes[left], out[left, 2:]))
    out = _run(nets.output, cut(photo, boxes, 48), 16)
    sure = out[:, :2].softmax(1)[:, 1]
    side = boxes[:, 2] - boxes[:, 0]
    points = (onet.landmarks(out) + 0.5) * (side / 48)[:, None, None] - 0.5 + boxes[:, None, :2]
    boxes = corrected(boxes, out[:, 2:6])
    left = torch.nonzero(sure >= thresholds[2])[:, 0]
    left = left[apart(boxes[left], sure[left], INSIDE, of="smaller")]
    return boxes[left], sure[left], points[left]


def propose(net: nn.Module, photo: Tensor, smallest: float, threshold: float) -> Tensor:
    """(k, 4) square boxes of a photo in which P-Net suspects a face of at least `smallest` pixels."""
    h, w = photo.shape[1:]
    boxes, sure, shifts = [photo.new_zeros(0, 4)], [photo.new_zeros(0)], [photo.new_zeros(0, 4)]
    for rows, columns in sizes(h, w, smallest):
        level = F.interpolate(photo[None], (rows, columns), mode="bilinear", antialias=True)
        out = net(normalised(level))[0]  # (6, rows, columns) of positions
        face = out[:2].softmax(0)[1]
        y, x = torch.nonzero(face >= threshold, as_tuple=True)
        corner = pnet.STRIDE * torch.stack([x, y], 1)
        window = torch.cat([corner, corner + pnet.WINDOW], 1) * photo.new_tensor([w / columns, h / rows] * 2)
        left = apart(window, face[y, x], SAME[0])
        boxes.append(window[left])
        sure.append(face[y, x][left])
        shifts.append(out[2:, y, x].T[left])
    boxes, sure, shifts = torch.cat(boxes), torch.cat(sure), torch.cat(shifts)
    left = apart(boxes, sure, SAME[1])
    return squared(corrected(boxes[left], shifts[left]))


def sizes(h: int, w: int, smallest: float) -> list[tuple[int, int]]:
    """Heights and widths at which a photo is looked at: the first makes a face of `smallest` pixels as large as P-Net's
    window, every other one is `FACTOR` times the one before, as long as the window fits in.

    >>> sizes(48, 96, 24), sizes(20, 20, 24)
    ([(24, 48), (18, 35), (13, 25)], [])
    """
    scale, found = pnet.WINDOW / smallest, []
    while min(h, w) * scale >= pnet.WINDOW:
        found.append((math.ceil(h * scale), math.ceil(w * scale)))
        scale *= FACTOR
    return found


def normalised(pixels: Tensor) -> Tensor:
    """0 … 255 → −1 … 1, what the three networks were trained on."""
    return (pixels - 127.5) / 128


def corrected(boxes: Tensor, shifts: Tensor) -> Tensor:
    """Boxes (k, 4) whose edges are moved by shares (k, 4) of their width and height.

    >>> corrected(torch.tensor([[10.0, 10.0, 20.0, 30.0]]), torch.tensor([[0.1, 0.1, -0.1, 0.0]])).tolist()
    [[11.0, 12.0, 19.0, 30.0]]
    """
    return boxes + shifts * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def squared(boxes: Tensor) -> Tensor:
    """The squares with the boxes' centres and longer sides.

    >>> squared(torch.tensor([[10.0, 10.0, 20.0, 30.0]])).tolist()
    [[5.0, 10.0, 25.0, 30.0]]
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)


def cut(photo: Tensor, boxes: Tensor, size: int) -> Tensor:
    """(k, 3, size, size): what lies in each square box of a photo (3, h, w), black outside the photo.

    Bilinear; where a pixel covers several of the photo's it is the mean of n × n samples, n = the scale rounded up
    (at most 16).

    >>> photo = torch.arange(16.0).view(1, 4, 4)
    >>> cut(photo, torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 4.0, 4.0]]), 2).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]], [[[10.0, 11.0], [14.0, 15.0]]]]
    """
    h, w = photo.shape[1:]
    side = boxes[:, 2] - boxes[:, 0]
    samples = (side / size - 1e-6).ceil().clamp(1, 16).long()
    found = photo.new_empty(len(boxes), len(photo), size, size)
    for n in samples.unique().tolist():
        at = (torch.arange(size * n, device=photo.device) + 0.5) / (size * n)  # 0 … 1 of the box
        for rows in torch.nonzero(samples == n)[:, 0].split(max(1, SAMPLES // (size * n) ** 2)):
            x = 2 * (boxes[rows, 0:1] + at * side[rows, None]) / w - 1  # (rows, size · n) in grid_sample's units
            y = 2 * (boxes[rows, 1:2] + at * side[rows, None]) / h - 1
            grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
            fine = F.grid_sample(photo[None], grid.flatten(0, 1)[None], "bilinear", "zeros", align_corners=False)
            fine = fine[0].unflatten(1, (len(rows), -1)).transpose(0, 1)  # (rows, 3, size · n, size · n)
            found[rows] = F.avg_pool2d(fine, n)
    return found


def apart(boxes: Tensor, sure: Tensor, most: float, *, of: str = "union") -> Tensor:
    """Which boxes stay, the surest first: those that have at most `most` in common with every surer one that stays, as
    a share of the union of the two (of="union") or of the smaller one (of="smaller").

    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [2.0, 2.0, 6.0, 6.0], [8.0, 0.0, 18.0, 10.0]])
    >>> sure = torch.tensor([0.8, 0.9, 0.7])
    >>> apart(boxes, sure, 0.7).tolist(), apart(boxes, sure, 0.7, of="smaller").tolist()
    ([1, 0, 2], [1, 2])
    """
    b = boxes.double().cpu().numpy()
    area = (b[:, 2:] - b[:, :2]).prod(1)
    order, left = sure.argsort(descending=True, stable=True).cpu().numpy(), []
    while len(order):
        i, order = order[0], order[1:]
        left.append(int(i))
        shared = (np.minimum(b[i, 2:], b[order, 2:]) - np.maximum(b[i, :2], b[order, :2])).clip(0).prod(1)
        whole = area[i] + area[order] - shared if of == "union" else np.minimum(area[i], area[order])
        order = order[shared <= most * whole]
    return torch.tensor(left, dtype=torch.long, device=boxes.device)


def _run(net: nn.Module, crops: Tensor, width: int) -> Tensor:
    """(k, width): the network's outputs for crops in 0 … 255."""
    parts = [net(normalised(part)) for part in crops.split(BATCH) if len(part)]
    return torch.cat([crops.new_zeros(0, width), *parts])
