"""AFLW2000-3D: a fitted 3D face for each picture (X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li, "Face alignment across
large poses: a 3D solution", CVPR 2016)."""

from pathlib import Path

import numpy as np

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, five, listed, mat

PICTURES = (".jpg", ".png")


def read(root: Path, files: list[str]) -> Listing:
    """A .mat file of its name beside each picture holds Pose_Para (pitch, yaw, roll in radians) and 68 landmarks,
    pt3d_68; whatever the names are, so that sets fitted in the same way can be read too.

    Its yaw is positive where the nose is to the image's left, so its sign changes here; pitch and roll agree.
    """
    rows, skipped, there = [], [], set(files)
    for file in files:
        if Path(file).suffix.lower() not in PICTURES:
            continue
        beside = Path(file).with_suffix(".mat").as_posix()
        if beside not in there:
            skipped.append((file, "no .mat file beside it"))
            continue
        try:
            found = mat(root / beside)
            angles = np.degrees(np.ravel(found["Pose_Para"]).astype(float))[:3]
            landmarks = five(np.asarray(found["pt3d_68"])[:2].T)
        except (ValueError, KeyError):
            skipped.append((file, "its .mat file has no Pose_Para and pt3d_68"))
            continue
        if len(angles) < 3 or not np.isfinite(angles).all():
            skipped.append((file, "Pose_Para is not three angles"))
            continue
        pitch, yaw, roll = (float(angle) for angle in angles)
        rows.append({"file": file, "yaw": -yaw, "pitch": pitch, "roll": roll, "landmarks": landmarks})
    return listed(rows, skipped)


def fitted(root: Path) -> bool:
    """Whether a .mat file lies beside a picture of its name."""
    names = {file.stem for file in root.glob("*.mat")}
    return bool(names) and any(file.stem in names for file in root.iterdir() if file.suffix.lower() in PICTURES)


SET = DataSet(
    name="aflw2000",
    title="AFLW2000-3D",
    pictures=2_000,
    labels=("yaw", "pitch", "roll", "landmarks"),
    owner="Xiangyu Zhu, Institute of Automation, Chinese Academy of Sciences",
    terms="research; its photos are those of AFLW",
    layout="pictures such as image00002.jpg, each with a .mat file of its name beside it",
    signs=(fitted,),
    read=read,
)
