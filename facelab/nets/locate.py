"""Five landmarks for pictures of one face each that come without."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from facelab.errors import whole
from facelab.faces.align import similarity, warp
from facelab.faces.faceset import FaceSet
from facelab.nets import onet
from facelab.nets.load import load

CROPS = (1.0, 0.8, 0.62, 0.48)  # shares of the picture's side, about its middle, in which the face is looked for


@torch.no_grad()
def locate(faces: FaceSet, *, least: float = 0.5, batch: int = 256, device="auto") -> FaceSet:
    """The same faces with the landmarks that the source `landmarks` (MTCNN's O-Net) reads, NaN where it sees no face.

    It looks at central squares of several sizes, believes the one in which it is surest of a face, and looks once more
    at the face aligned by what it read there. least: below this probability of a face in the second look, there is
    none. For pictures with the face near the middle; nothing is searched for elsewhere. ValueError: no
    faces, or pictures that are not square.
    """
    if len(faces) == 0:
        raise ValueError(f"face set {faces.name!r} is empty: there is nothing to locate")
    if faces.images.shape[2] != faces.images.shape[3]:
        raise ValueError(f"images of {faces.images.shape[2]} × {faces.images.shape[3]}: expected square ones")
    whole("batch", batch, 1)
    batch = min(batch, max(1, 2**25 // (3 * faces.images.shape[3] ** 2)))  # of large pictures fewer
    net = load("landmarks", device=device)
    found = [
        _locate(net, torch.from_numpy(np.array(faces.images[i : i + batch])).to(net.device), least)
        for i in range(0, len(faces), batch)
    ]
    return replace(faces, landmarks=np.concatenate(found))


def _locate(net, images: torch.Tensor, least: float) -> np.ndarray:
    """(n, 5, 2) float32 in image pixels."""
    n, side = len(images), images.shape[3]
    points = torch.zeros(n, 5, 2, dtype=torch.float64, device=images.device)
    best = torch.full((n,), -1.0, device=images.device)
    for share in CROPS:
        edge = round(share * side)
        at = (side - edge) // 2
        crop = images[:, :, at : at + edge, at : at + edge].float()
        output = net(net.normalise(F.interpolate(crop, (net.size, net.size), mode="bilinear", antialias=True)))
        sure = output[:, :2].softmax(1)[:, 1]
        here = (onet.landmarks(output).double() + 0.5) * edge / net.size - 0.5 + at
        points[sure > best] = here[sure > best]
        best = torch.maximum(best, sure)
    transforms = similarity(points, torch.from_numpy(net.template))
    output = net(net.normalise(warp(images, transforms, net.size)))
    chip = onet.landmarks(output).double()  # (n, 5, 2)
    again = (chip - transforms[:, None, :, 2]) @ torch.linalg.inv(transforms[:, :, :2]).mT
    again[output[:, :2].softmax(1)[:, 1] < least] = torch.nan
    return again.float().cpu().numpy()
