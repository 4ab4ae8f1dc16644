"""AFLW2000-3D and 300W-LP: a fitted 3D face for each picture (X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li, "Face alignment
across large poses: a 3D solution", CVPR 2016)."""

import re
from pathlib import Path

import numpy as np

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, five, listed, mat

PICTURES = (".jpg", ".png")


def read(root: Path, files: list[str]) -> Listing:
    """A .mat file of its name beside each picture holds Pose_Para (pitch, yaw, roll in radians) and 68 landmarks,
    pt3d_68, or in 300W-LP pt2d; whatever the names are, so that sets fitted in the same way can be read too.

    300W-LP turns every photo to many poses and mirrors it (AFW/AFW_1_0.jpg to AFW_Flip/AFW_1_17.jpg): all of these are
    one `identity`, named by the photo.

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
            turned = "pt3d_68" not in found
            landmarks = five(np.asarray(found["pt2d" if turned else "pt3d_68"])[:2].T)
        except (ValueError, KeyError):
            skipped.append((file, "its .mat file has no Pose_Para and no pt3d_68 or pt2d of 68 points"))
            continue
        if len(angles) < 3 or not np.isfinite(angles).all():
            skipped.append((file, "Pose_Para is not three angles"))
            continue
        pitch, yaw, roll = (float(angle) for angle in angles)
        row = {"file": file, "yaw": -yaw, "pitch": pitch, "roll": roll, "landmarks": landmarks}
        rows.append(row | ({"identity": re.sub(r"_\d+$", "", Path(file).stem)} if turned else {}))
    return listed(rows, skipped)


def fitted(root: Path) -> bool:
    """Whether a .mat file lies beside a picture of its name, in this folder or in several below it."""

    def pairs(folder: Path) -> bool:
        names = {file.stem for file in folder.glob("*.mat")}
        return bool(names) and any(file.stem in names for file in folder.iterdir() if file.suffix.lower() in PICTURES)

    return pairs(root) or sum(pairs(below) for below in root.iterdir() if below.is_dir()) > 1


SET = DataSet(
    name="aflw2000",
    title="AFLW2000-3D",
    pictures=2_000,
    labels=("yaw", "pitch", "roll", "landmarks"),
    owner="Xiangyu Zhu, Institute of Automation, Chinese Academy of Sciences",
    terms="research; its photos are those of AFLW",
    layout="pictures such as image00002.jpg, or folders of such, each with a .mat file of its name beside it",
    signs=(fitted,),
    read=read,
    version=2,  # pt2d
)
