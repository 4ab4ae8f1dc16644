"""What the networks read in the faces of ordinary photos: a table, contact sheets, a summary (`facelab look`)."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from facelab import cache, nets
from facelab.faces.faceset import FaceSet
from facelab.faces.picture import upright
from facelab.nets import pose, student_heads
from facelab.nets.detect import SMALLEST
from facelab.nets.photos import EDGES, Found
from facelab.tasks import EXPRESSIONS
from facelab.workbench import folders, runs, style

COMMAND = "facelab look"
_OWN = re.compile(r"faces\.csv|summary\.txt|sheet-\d\d\.(png|partial)")
MARGIN = 0.2  # of a box, on every side of the square that is cut out
PHOTOS_A_SHEET, SHEETS = 8, 25  # more photos are in the table alone
_PAGE, _PHOTO, _TILE, _LINE, _GAP = 1316, (380, 280), 140, 17, 12  # px
_TEXT = ("score", "age", "gender", "expression", "pose", "student", "student_expression")  # lines under a face


@dataclass(frozen=True, eq=False)
class Look:
    """The faces of some photos and what is read in them.

    photos: what was looked at, a file or a folder. found: the faces. readings: a row per face: file, face, score, left,
    top, right, bottom, landmark_k_x and landmark_k_y in pixels of the upright photo; age (years), male (probability),
    gender (the likelier), expression (the likeliest) and expression:… (7 probabilities); yaw, pitch and roll
    (degrees); the same of the student, in columns that begin with student_.
    """

    photos: Path
    found: Found
    readings: pd.DataFrame

    def file(self, name: str) -> Path:
        """The photo that the tables call by this name."""
        return self.photos / name if self.photos.is_dir() else Path(name)

    def table(self) -> pd.DataFrame:
        """A row per face."""
        return self.readings.copy()


def look(photos: str | Path, *, smallest: float = SMALLEST, most: int | None = None, cached: bool = True,
         device="auto", progress: bool = True) -> Look:  # fmt: skip
    """Find the faces of a photo or a folder of photos and read age, gender, expression and pose in each.

    The sources `age`, `gender` and `expression` read, and so does the student, by heads that rendered faces taught
    (`nets.student_heads`); the pose is that of the landmarks (`nets.pose`). Identity is not asked. For the arguments
    and errors see `fl.nets.faces_in`.
    """
    where = Path(photos).expanduser()
    how = {"margin": MARGIN, "smallest": smallest, "most": most, "cached": cached, "progress": progress}
    found = nets.faces_in(where, device=device, **how)
    faces, labels = found.faces, found.faces.labels
    table = pd.concat([labels, _points(faces)], axis=1)
    if len(faces) == 0:
        return Look(where, found, table)
    says = {name: nets.load(name, device=device).predict(faces) for name in ("age", "gender", "expression")}
    table = table.assign(**_columns(says["age"], says["gender"], says["expression"]))
    table["yaw"], table["pitch"], table["roll"] = pose.angles(faces.landmarks).T
    heads = student_heads.said(nets.load("student", device=device).embed(faces))
    table = table.assign(**_columns(heads["age"], heads["gender"][:, 1], heads["expression"], "student_"))
    return Look(where, found, table)


def _columns(age: np.ndarray, male: np.ndarray, expression: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """What is read of each face, as columns of the table."""
    columns = {"age": age.astype(float), "male": male.astype(float)}
    columns |= {"gender": np.where(male > 0.5, "male", "female")}
    columns |= {"expression": np.array(EXPRESSIONS)[expression.argmax(1)]}
    columns |= {f"expression:{name}": p.astype(float) for name, p in zip(EXPRESSIONS, expression.T, strict=True)}
    return {prefix + name: column for name, column in columns.items()}


def _points(faces: FaceSet) -> pd.DataFrame:
    """Landmarks in pixels of the photo, whose crop `faces_in` has cut."""
    left, top, right, bottom = (faces.labels[edge].to_numpy(float) for edge in EDGES)
    side = (1 + 2 * MARGIN) * np.maximum(right - left, bottom - top)
    corner = np.stack([left + right - side, top + bottom - side], 1) / 2
    points = (faces.landmarks + 0.5) * (side / faces.images.shape[3])[:, None, None] + corner[:, None] - 0.5
    return pd.DataFrame({f"landmark_{k}_{axis}": points[:, k, j] for k in range(5) for j, axis in enumerate("xy")})


# ---- what is written


def write(seen: Look, out: Path) -> list[Path]:
    """faces.csv, summary.txt and sheet-01.png … in the folder `out`; sheets of an earlier look go. Every file is whole
    or not there. Returns the files. ValueError: see `check`."""
    check(seen.photos, out)
    folders.claim(out, COMMAND)
    for stale in out.glob("sheet-[0-9][0-9].png"):
        stale.unlink()
    files = [out / "summary.txt", out / "faces.csv"]
    cache.write_text(files[0], summary(seen))
    cache.write_text(files[1], seen.readings.to_csv(index=False))
    for i, sheet in enumerate(sheets(seen), 1):
        files.append(out / f"sheet-{i:02d}.png")
        partial = files[-1].with_suffix(".partial")
        partial.write_bytes(style.encode(np.asarray(sheet)))
        os.replace(partial, files[-1])
    return files


def check(photos: Path, out: Path) -> None:
    """ValueError where `out` is a file, a folder with such files of another's, or in the folder of photos: the sheets
    would be photos the next time."""
    if photos.is_dir() and out.resolve().is_relative_to(photos.resolve()):
        raise ValueError(f"{out} is in the folder of photos {photos}: expected a folder elsewhere, with --out FOLDER")
    folders.check(out, COMMAND, _OWN, alone=False)


def summary(seen: Look) -> str:
    """What was found and read, and what that is worth."""
    photos, faces, n = seen.found.photos, seen.readings, len(seen.found.faces)
    lines = [f"{n} face{'' if n == 1 else 's'} in {(photos['faces'] > 0).sum()} of {len(photos)} photos."]
    lines += [f"no face found: {file}" for file in seen.found.undetected["file"]]
    lines += [f"left out: {problem}" for problem in seen.found.unreadable["problem"]]
    drawn = PHOTOS_A_SHEET * SHEETS
    if (photos["faces"] > 0).sum() > drawn:
        lines.append(f"The sheets show the first {drawn} photos with faces; all faces are in faces.csv.")
    if n:
        lines += [
            "",
            "The networks say (pose: yaw, + to their own left; pitch, + up; roll, + clockwise):",
        ]
        for row in faces.to_dict("records"):
            said = ", ".join(says(row)[k] for k in _TEXT[1:])
            lines.append(f"  {row['file']}, face {row['face']}: {said}")
    text = "\n".join([*lines, "", *limits(), ""])
    return text.encode(errors="backslashreplace").decode()  # names of files may be no UTF-8


def says(row: dict) -> dict[str, str]:
    """What is read in a face, in words.

    >>> row = {"face": 0, "score": 0.99, "age": 33.4, "male": 0.1, "gender": "female", "expression": "happy",
    ...        "expression:happy": 0.8, "yaw": 12.3, "pitch": 0.4, "roll": -3.2}
    >>> row |= {f"student_{k}": v for k, v in row.items() if k in ("age", "gender", "expression", "expression:happy")}
    >>> list(says(row).values())[:5]
    ['0: face 0.99', '33 years', 'female 0.90', 'happy 0.80', 'pose 12° 0° −3°']
    >>> list(says(row).values())[5:]
    ['student: 33, female', 'student: happy 0.80']
    """
    return {
        "score": f"{row['face']}: face {row['score']:.2f}",
        "age": f"{row['age']:.0f} years",
        "gender": f"{row['gender']} {max(row['male'], 1 - row['male']):.2f}",
        "expression": f"{row['expression']} {row['expression:' + row['expression']]:.2f}",
        "pose": "pose " + " ".join(f"{style.number(row[angle], 0)}°" for angle in ("yaw", "pitch", "roll")),
        "student": f"student: {row['student_age']:.0f}, {row['student_gender']}",
        "student_expression": "student: {} {:.2f}".format(
            row["student_expression"], row["student_expression:" + row["student_expression"]]
        ),
    }


def limits() -> list[str]:
    """What the readings are worth, with the measured numbers where this clone has them."""
    lines = [
        "What this is worth",
        "  These are guesses of networks about pictures and no basis for a decision about anybody. The number beside a",
        "  word is the network's own probability. An age is often off by many years, an expression no sign of what",
        "  someone feels. The networks err more for some groups of people than for others:",
    ]
    try:
        reference = runs.root() / "reports" / "reference"
        measured = [*_rendered(reference), *_photos(reference)]
    except ValueError:  # installed without a clone
        measured = ["how much, is in reports/reference of facelab's repository"]
    lines += [f"  · {line}" for line in [*measured, _turned(), *_student()]]
    lines.append("  The networks for identity and for objects are not asked: who it is, is not said here.")
    return [*lines, "  Everything ran on this machine; nothing was sent anywhere."]


def _turned() -> str:
    """From the header of the layer that reads the pose."""
    row = pose.read()[1]["measured"]["rendered/wild, other people"]
    off = (f"{angle} off by {row[angle]:.0f}° (always the median: {row[angle + ', always the median']:.0f}°)"
           for angle in pose.ANGLES)  # fmt: skip
    return f"pose, rendered heads: {', '.join(off)}"


def _student() -> Iterator[str]:
    """From the header of the student's heads."""
    for where, row in student_heads.read()[1]["measured"].items():
        told = [
            f"{score} {row[score]:g} ({guess}: {row[guess]:g})"
            for score, guess in (
                ("age, years off", "age, always the median"),
                ("gender, share right", "gender, always the commonest"),
                ("expression, share right", "expression, always the commonest"),
            )
            if score in row
        ]
        yield f"the student, whose heads rendered faces taught, on {where}: {'; '.join(told)}"


def _rendered(reference: Path) -> Iterator[str]:
    """From the reference run of the notebooks."""
    file = reference / "rendered" / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for key in ("00.render.gender_acc_worst_ethnicity", "00.render.gender_acc_worst_age_band"):
        if key in results:
            r = results[key]
            span = style.interval(r["value"], r["low"], r["high"])
            yield f"gender, rendered heads: {span} right in {r['note']}"
    for key in ("00.render.age_mae", "00.render.expression_acc7"):
        if key in results:
            r = results[key]
            span = style.interval(r["value"], r["low"], r["high"])
            yield f"{'age' if 'age' in key else 'expression'}, rendered heads: {span} {r['unit']}, {r['note']}"


def _photos(reference: Path) -> Iterator[str]:
    """The groups served worst in real photos, from the detector's benchmark."""
    file = reference / "benchmarks" / "detect.json"
    rows = pd.DataFrame(json.loads(file.read_text(encoding="utf-8"))["rows"]) if file.is_file() else None
    if rows is None:
        return
    for what, worst in (("recall", "idxmin"), ("gender right", "idxmin"), ("age off, years", "idxmax")):
        own = rows[(rows["what"] == what) & (rows["of"] == "UTKFace") & (rows["by"] != "threshold")]
        for by in [b for b in ("ethnicity", "age band") if b in set(own["by"])]:
            part = own[own["by"] == by]
            row = part.loc[getattr(part["value"], worst)()]
            span = style.interval(row["value"], row["low"], row["high"])
            name = {"recall": "faces found"}.get(what, what)
            yield f"{name}, {row['n']:,.0f} photos of UTKFace by {by}: {span} in the worst group, {row['group']}"


# ---- the contact sheets


def sheets(seen: Look) -> Iterator[Image.Image]:
    """Pages of photos with their boxes, each beside its faces and what is read in them."""
    files = seen.found.photos.query("faces > 0")["file"].tolist()[: PHOTOS_A_SHEET * SHEETS]
    rows = dict(list(seen.readings.groupby("file", sort=False)))
    for start in range(0, len(files), PHOTOS_A_SHEET):
        blocks = [_block(seen, file, rows[file]) for file in files[start : start + PHOTOS_A_SHEET]]
        page = Image.new("RGB", (_PAGE, sum(b.height for b in blocks)), "white")
        top = 0
        for block in blocks:
            page.paste(block, (0, top))
            top += block.height
        yield page


def _block(seen: Look, file: str, rows: pd.DataFrame) -> Image.Image:
    """One photo and its faces."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 12)
    photo = upright(seen.file(file))
    scale = min(_PHOTO[0] / photo.width, _PHOTO[1] / photo.height)
    small = photo.resize([max(1, round(scale * side)) for side in photo.size], Image.Resampling.BILINEAR)
    across = (_PAGE - _PHOTO[0] - 2 * _GAP) // (_TILE + _GAP)
    tall = _TILE + _LINE * len(_TEXT) + _GAP
    height = max(_PHOTO[1] + 2 * _LINE, -(-len(rows) // across) * tall) + _GAP
    block = Image.new("RGB", (_PAGE, height), "white")
    pen = ImageDraw.Draw(block)
    block.paste(small, (_GAP, _GAP))
    pen.text((_GAP, _GAP + small.height + 2), file[-52:], style.INK, font)
    for k, (at, row) in enumerate(rows.iterrows()):
        box = [scale * row[edge] + _GAP for edge in EDGES]
        pen.rectangle(box, outline=style.RIVALS[0][0], width=2)
        pen.text((box[0] + 3, box[1] + 1), str(row["face"]), "white", font, stroke_width=2, stroke_fill=style.INK)
        left = _PHOTO[0] + 2 * _GAP + (k % across) * (_TILE + _GAP)
        top = _GAP + (k // across) * tall
        tile = Image.fromarray(seen.found.faces.images[at].transpose(1, 2, 0))
        block.paste(tile.resize((_TILE, _TILE), Image.Resampling.BILINEAR), (left, top))
        points = (seen.found.faces.landmarks[at] + 0.5) * _TILE / tile.width + (left, top)
        for x, y in points:
            pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=style.RIVALS[4][0])
        for i, line in enumerate(_TEXT):
            pen.text((left, top + _TILE + 2 + i * _LINE), says(row)[line], style.INK, font)
    return block
