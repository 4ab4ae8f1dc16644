"""What the detector finds, misses and makes up, how fast it is, and what the sources read in the faces it finds.

    python tests/benchmarks/bench_detect.py [--photos ~/faces] [--threads 1] [--out FILE]

Real sets that are not below --photos are left out (lfw, MTFL, UTKFace, fer2013; not part of facelab); rendered faces
are in the cache or rendered. A face counts as found where the middle of its five landmarks is no farther from those of
a detection than a quarter of its box; where a set has no landmarks (LFW, UTKFace), where the middle of the picture lies
in a box. Intervals are Wilson's, 95 %. The readings of gender and age are those of the sources on the faces found, a
missed one counted as `transfer.selection.with_missed` says; those of expression are of whole pictures (FER2013's
private test) and of all photos of MTFL's test part, aligned by MTFL's own landmarks. What `nets.SOURCES` says was
measured quotes these rows.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

import facelab as fl
from facelab import tasks
from facelab.faces.faceset import FaceSet
from facelab.nets.detect import LONGEST, SMALLEST, THRESHOLDS, pixels
from facelab.nets.sources import dlib_template
from facelab.transfer.selection import with_missed

STRICTER = (0.7, 0.9, 0.97, 0.99)  # of O-Net
ETHNICITIES = ("white", "black", "asian", "indian", "other")  # UTKFace's, in its order


def searched(photos, name: str) -> list[tuple[np.ndarray, ...]]:
    """Boxes, scores and landmarks of each photo."""
    found = []
    for i in tqdm(range(0, len(photos), 32), desc=name, leave=False):
        part = fl.nets.detect(list(photos[i : i + 32]), device="cpu")
        found += zip(part.boxes, part.scores, part.landmarks, strict=True)
    return found


def match(found, points) -> int | None:
    """Which of a photo's detections is the face with these landmarks."""
    boxes, _, landmarks = found
    if len(boxes) == 0:
        return None
    off = np.linalg.norm(landmarks.mean(1) - points.mean(0), axis=1) / (boxes[:, 2:] - boxes[:, :2]).max(1)
    return int(off.argmin()) if off.min() <= 0.25 else None


def middle(found, shape) -> int | None:
    """Which of a photo's detections, the largest if several, holds the middle of the picture."""
    h, w = shape
    centre = np.array([w / 2, h / 2])
    inside = ((found[0][:, :2] <= centre) & (centre <= found[0][:, 2:])).all(1)
    return int(inside.argmax()) if inside.any() else None


def share(of: str, by: str, group: str, hits, what: str = "recall") -> dict:
    """A row of recall, or of another share."""
    hits = np.asarray(hits, bool)
    ci = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    row = {"what": what, "of": of, "by": by, "group": group, "n": len(hits), "value": hits.mean()}
    return row | {"low": ci.low, "high": ci.high}


def groups(of: str, table: pd.DataFrame, columns, what: str = "recall") -> list[dict]:
    """Recall over all, and by each group of these columns. table: with a column hit."""
    rows = [share(of, "all", "all", table["hit"], what)]
    for by in columns:
        for group, part in table.groupby(by, observed=True, sort=True):
            rows.append(share(of, by, str(group), part["hit"], what))
    return rows


def stricter(of: str, scores) -> list[dict]:
    """Recall at stricter thresholds; scores: of each face, 0 where it was not found."""
    return [share(of, "threshold", str(t), np.asarray(scores) >= t) for t in STRICTER]


def error(of: str, errors, per: str = "eye distance") -> dict:
    """A row of the mean landmark error, with a 95 % interval of the mean."""
    errors = np.asarray(errors)
    half = 1.96 * errors.std(ddof=1) / len(errors) ** 0.5
    row = {"what": f"landmark error / {per}", "of": of, "by": "all", "group": "all", "n": len(errors)}
    return row | {"value": errors.mean(), "low": errors.mean() - half, "high": errors.mean() + half}


def off(found, points) -> float:
    """Mean distance of the five landmarks over the eyes' distance."""
    return float(np.linalg.norm(found - points, axis=1).mean() / np.linalg.norm(points[1] - points[0]))


def lfw(folder: Path, n: int = 500) -> list[dict]:
    people = sorted(p for p in (folder / "lfw-deepfunneled").iterdir() if p.is_dir())
    files = [sorted(p.iterdir())[0] for p in people[:: len(people) // n]][:n]
    photos = [pixels(f) for f in files]
    found = searched(photos, "LFW")
    at = [middle(f, p.shape[1:]) for f, p in zip(found, photos, strict=True)]
    scores = [0 if i is None else f[1][i] for f, i in zip(found, at, strict=True)]
    return [share("LFW", "all", "all", [i is not None for i in at]), *stricter("LFW", scores)]


def mtfl(folder: Path, n: int = 1000) -> list[dict]:
    """Pictures of one face each, alone, and six in a mosaic: other places, other sizes."""
    lines = [line.split() for line in (folder / "testing.txt").read_text().splitlines() if line.strip()]
    lines = lines[:: len(lines) // n][:n]
    photos = [pixels(folder / line[0].replace("\\", "/")) for line in lines]
    points = [np.array(line[1:11], float).reshape(2, 5).T - 1 for line in lines]  # MTFL counts from 1
    found = searched(photos, "MTFL")
    at = [match(f, p) for f, p in zip(found, points, strict=True)]
    rows = [share("MTFL", "all", "all", [i is not None for i in at])]
    rows.append(error("MTFL", [off(f[2][i], p) for f, p, i in zip(found, points, at, strict=True) if i is not None]))

    test = fl.faces.load("mtfl", root=folder, progress=False)
    test = test[np.flatnonzero(test.labels["split"] == "test")]
    happy = expressions(test)[:, tasks.get("expression").classes.index("happy")]
    row = {"what": "smile by the probability of happy, AUC", "of": "MTFL", "by": "all", "group": "all"}
    rows.append(row | {"n": len(test), "value": roc_auc_score(test.labels["smile"] == "yes", happy)})

    rng = np.random.default_rng(0)
    canvases, truth = [], []
    for start in range(0, 600, 6):
        canvas, here = np.full((480, 720, 3), 128, np.uint8), []
        for k in range(6):
            side = int(rng.integers(80, 220))
            x, y = (int(rng.integers(0, 241 - side)) for _ in "xy")
            left, top = 240 * (k % 3) + x, 240 * (k // 3) + y
            photo = photos[start + k]
            image = Image.fromarray(photo.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BILINEAR)
            canvas[top : top + side, left : left + side] = np.asarray(image)
            scale = side / np.array([photo.shape[2], photo.shape[1]])
            here.append(((points[start + k] + 0.5) * scale - 0.5 + (left, top), side))
        canvases.append(canvas.transpose(2, 0, 1).copy())
        truth.append(here)
    found = searched(canvases, "mosaics of MTFL")
    table, errors, extra = [], [], 0
    for f, here in zip(found, truth, strict=True):
        at = [match(f, p) for p, _ in here]
        extra += len(f[0]) - len({i for i in at if i is not None})
        for i, (p, _) in zip(at, here, strict=True):
            eyes = np.linalg.norm(p[1] - p[0])
            table.append({"hit": i is not None, "eye distance": f"{'under' if eyes < 25 else 'from'} 25 px"})
            if i is not None:
                errors.append(off(f[2][i], p))
    rows += groups("mosaics of six MTFL pictures", pd.DataFrame(table), ["eye distance"])
    rows.append(error("mosaics of six MTFL pictures", errors))
    extra_row = {"what": "further detections", "of": "mosaics of six MTFL pictures", "by": "all", "group": "all"}
    return [*rows, extra_row | {"n": len(canvases), "value": extra / len(canvases)}]


def expressions(faces: FaceSet, whole: bool = False) -> np.ndarray:
    """(n, 7) probabilities by the source; whole: of the pictures as they are, not of aligned chips."""
    net = fl.nets.load("expression", device="cpu")
    if whole:
        net.template = None
    return net.predict(faces)


def fer2013(folder: Path) -> list[dict]:
    """What the source of expressions, which learned from the training part, reads in the private test."""
    faces = fl.faces.load("fer2013", root=folder, size=64, progress=False)
    faces = faces[np.flatnonzero(faces.labels["split"] == "test")]
    said = np.array(tasks.get("expression").classes)[expressions(faces, whole=True).argmax(1)]
    table = faces.labels.assign(hit=said == faces.labels["expression"])
    return groups("FER2013's private test", table, ["expression"], "expression right")


def rendered() -> list[dict]:
    rows = []
    wild = fl.faces.load("rendered/wild", progress=False)[::3]
    pose = fl.faces.load("rendered/pose", progress=False)
    pose = pose[::4]  # every pose: a series has 93 of them
    cuts = {
        "rendered/wild": ((-61, -45, -30, -15, 15, 30, 45, 61), (-26, -15, -5, 5, 15, 26)),
        "rendered/pose": ((-91, -80, -65, -50, -35, -20, 20, 35, 50, 65, 80, 91), (-91, -45, -20, 20, 45, 91)),
    }
    for faces in (wild, pose):
        found = searched(np.array(faces.images), faces.name)
        at = [match(f, p) for f, p in zip(found, faces.landmarks, strict=True)]
        table, (yaw, pitch) = faces.labels.assign(hit=[i is not None for i in at]), cuts[faces.name]
        table["yaw"] = pd.cut(table["yaw"], yaw, right=False).map(band)
        rows += groups(faces.name, table, ["yaw"])
        upright = table[np.abs(faces.labels["yaw"]) <= 20].copy()
        upright["pitch"] = pd.cut(upright["pitch"], pitch, right=False).map(band)
        rows += [r | {"by": "pitch, within ±20° of yaw"} for r in groups(faces.name, upright, ["pitch"])[1:]]
        if faces.name == "rendered/wild":
            scores = [0 if i is None else f[1][i] for f, i in zip(found, at, strict=True)]
            rows += stricter(faces.name, scores)
            rows += groups(faces.name, table, ["gender", "ethnicity"])[1:]
    return rows


def band(interval) -> str:
    return f"{interval.left:g} to {interval.right:g}°".replace("-", "−")


def utkface(folder: Path, n: int = 2000) -> list[dict]:
    """Recall, and what the sources read in the faces found, by what the file names say."""
    files = sorted(f for f in folder.iterdir() if f.name.count("_") == 3)
    files = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:n]]
    parts = [f.name.split("_") for f in files]
    table = pd.DataFrame(
        {"age": [float(p[0]) for p in parts], "gender": [("male", "female")[int(p[1])] for p in parts],
         "ethnicity": [ETHNICITIES[int(p[2])] for p in parts]}
    )  # fmt: skip
    table["age band"] = np.array(tasks.get("age_band").classes)[tasks.age_bands(table["age"].to_numpy())]
    photos = [pixels(f) for f in files]
    found = searched(photos, "UTKFace")
    at = [middle(f, p.shape[1:]) for f, p in zip(found, photos, strict=True)]
    table["hit"] = [i is not None for i in at]
    rows = groups("UTKFace", table, ["gender", "ethnicity", "age band"])
    seen = np.flatnonzero(table["hit"])
    points = np.stack([found[i][2][at[i]] for i in seen])
    faces = FaceSet("utkface", np.stack([photos[i] for i in seen]), table.iloc[seen].reset_index(drop=True), points)
    table["gender right"] = table["age off"] = np.nan
    said = fl.nets.load("gender", device="cpu").predict(faces) > 0.5
    table.loc[seen, "gender right"] = (said == (faces.labels["gender"] == "male")).astype(float).to_numpy()
    years = fl.nets.load("age", device="cpu")
    table.loc[seen, "age off"] = np.abs(years.predict(faces) - faces.labels["age"]).to_numpy()
    row = {"of": "UTKFace", "by": "always the median", "group": "all", "n": len(table), "what": "age off, years"}
    rows.append(row | {"value": (table["age"] - table["age"].median()).abs().mean()})
    for padding in (0.175, 0.25, 0.3):  # the first is what the source's package cuts
        years.template = np.array(dlib_template(years.size, padding))
        off = np.abs(years.predict(faces) - faces.labels["age"]).mean()
        rows.append(
            row | {"by": "padding of the chips of faces found", "group": f"{padding:g}", "n": len(faces), "value": off}
        )
    for by in ("all", "gender", "ethnicity", "age band"):
        for group, part in [("all", table)] if by == "all" else table.groupby(by):
            read, missed = part[part["hit"]], part[~part["hit"]]
            row = {"of": "UTKFace", "by": by, "group": group, "n": len(part)}
            right = with_missed("gender", read["gender right"].mean(), len(read), missed)
            ci = binomtest(round(right * len(part)), len(part)).proportion_ci(method="wilson")
            rows.append(row | {"what": "gender right", "value": right, "low": ci.low, "high": ci.high})
            years = with_missed("age", read["age off"].mean(), len(read), missed)
            half = 1.96 * read["age off"].std() / len(read) ** 0.5
            rows.append(row | {"what": "age off, years", "value": years, "low": years - half, "high": years + half})
    return rows


def textures(n: int = 50) -> list[dict]:
    """Detections in pictures of 320 × 240 without a face: noise of several grains, stripes, checks, ellipses."""
    rng, rows = np.random.default_rng(0), []
    y, x = np.mgrid[:240, :320]

    def noise(grain):
        small = rng.integers(0, 256, (240 // grain, 320 // grain, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC))

    def stripes(_):
        a, b, phase = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0, 6)
        wave = 127 + 127 * np.sin(a * x + b * y + phase)
        return (wave[..., None] * rng.uniform(0.3, 1, 3)).astype(np.uint8)

    def checks(_):
        side = int(rng.integers(4, 40))
        return ((((x // side + y // side) % 2)[..., None]) * rng.integers(40, 255, 3)).astype(np.uint8)

    def blobs(_):
        picture = np.full((240, 320, 3), rng.integers(0, 256, 3), np.uint8)
        for _ in range(60):
            cx, cy, r, q = rng.integers(0, 320), rng.integers(0, 240), rng.uniform(4, 40), rng.uniform(0.5, 2)
            picture[((x - cx) / r) ** 2 + ((y - cy) * q / r) ** 2 < 1] = rng.integers(0, 256, 3)
        return picture

    kinds = {f"noise of {grain} px": lambda _, grain=grain: noise(grain) for grain in (1, 4, 12, 30)}
    kinds |= {"stripes": stripes, "checks": checks, "ellipses": blobs}
    for kind, make in kinds.items():
        photos = [np.ascontiguousarray(make(i).transpose(2, 0, 1)) for i in range(n)]
        scores = np.concatenate([f[1] for f in searched(photos, kind)])
        for t in STRICTER:
            row = {"what": "false detections per picture", "of": kind, "by": "threshold", "group": str(t), "n": n}
            rows.append(row | {"value": float((scores >= t).sum() / n)})
    return rows


def speed(repeats: int = 3) -> list[dict]:
    """Photos a second of processor time: with one rendered picture of 128 px, and with one in every 160 × 160 px."""
    heads = fl.faces.load("rendered/wild", progress=False)
    rows = []
    for w, h in ((320, 240), (640, 480), (1600, 1200), (4000, 3000)):
        middle = [((h - 128) // 2, (w - 128) // 2)]
        for places in (middle, [(t, l) for t in range(16, h - 128, 160) for l in range(16, w - 128, 160)]):
            photo = np.full((3, h, w), 128, np.uint8)
            for k, (top, left) in enumerate(places):
                photo[:, top : top + 128, left : left + 128] = heads.images[k % 200]
            took = []
            for _ in range(repeats):
                start = time.process_time()
                count = int(fl.nets.detect(photo, device="cpu").counts[0])
                took.append(time.process_time() - start)
            row = {"what": "photos a second", "of": f"{w} × {h}", "by": "faces found", "group": str(count)}
            rows.append(row | {"n": repeats, "value": 1 / np.median(took)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("~/faces"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("reports/reference/benchmarks/detect.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photos, rows = options.photos.expanduser(), []
    for name, measured in (("lfw", lfw), ("MTFL", mtfl), ("UTKFace", utkface), ("fer2013", fer2013)):
        if (photos / name).is_dir():
            rows += measured(photos / name)
    rows += [*rendered(), *textures(), *speed()]
    table = pd.DataFrame(rows)[["what", "of", "by", "group", "n", "value", "low", "high"]]
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    run = {"torch": torch.__version__, "threads": options.threads, "processor": platform.machine(),
           "smallest": SMALLEST, "thresholds": THRESHOLDS, "longest": LONGEST}  # fmt: skip
    records = [{k: v for k, v in row.items() if not pd.isna(v)} for row in table.to_dict("records")]
    options.out.write_text(json.dumps({"run": run, "rows": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
