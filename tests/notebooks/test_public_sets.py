"""The notebooks that take a public set as `faces`, each with rendered faces in such a set's layout; none shows them."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from facelab import faces
from facelab.faces.readers import utkface
from facelab.workbench import plots, runner

FOLDER = Path(__file__).parents[2] / "notebooks"
TAKE = [
    ("01", "fer2013"), ("02", "mtfl"), ("03", "mtfl"), ("04", "utkface"), ("05", "utkface"), ("06", "utkface"),
]  # fmt: skip
FRAME, FINE = (255, 0, 255), {"quality": 95, "subsampling": 0}


def framed(pixels: np.ndarray) -> Image.Image:
    """A picture in a frame of a colour that no figure has."""
    pixels = pixels.transpose(1, 2, 0).copy()
    for edge in (pixels[:6], pixels[-6:], pixels[:, :6], pixels[:, -6:]):
        edge[:] = FRAME
    return Image.fromarray(pixels)


def frames(pixels: np.ndarray) -> int:
    """How many pixels of a figure (h, w, 3) have the colour of the frames."""
    return int((np.abs(pixels.astype(int) - FRAME).max(2) < 24).sum())


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder that FACELAB_PHOTOS names, with 240 rendered faces in the layouts of three public sets."""
    monkeypatch.setenv("FACELAB_PHOTOS", str(tmp_path / "photos"))
    people = faces.load("rendered/wild", people=80)  # those of the other notebooks: they are in the cache
    utk, mtfl, fer = (tmp_path / "photos" / name for name in ("UTKFace", "MTFL", "fer2013"))
    lfw = tmp_path / "photos" / "lfw" / "lfw-deepfunneled"
    for folder in (utk, mtfl / "net_7876", fer, lfw):
        folder.mkdir(parents=True)
    lines = []
    for i, row in people.labels.iterrows():
        picture = framed(people.images[i])
        gender, group = utkface.GENDERS.index(row["gender"]), utkface.ETHNICITIES.index(row["ethnicity"])
        picture.save(utk / f"{row['age']:.0f}_{gender}_{group}_2017{i:013d}.jpg.chip.jpg", **FINE)
        picture.save(mtfl / "net_7876" / f"{i}.jpg", **FINE)
        points = " ".join(f"{v:.2f}" for v in people.landmarks[i].T.ravel())
        pose = 1 + np.digitize(row["yaw"], (-45, -15, 15, 45))
        smile, glasses = (1 if row[name] == "yes" else 2 for name in ("smile", "glasses"))
        lines.append(f"net_7876\\{i}.jpg {points} {gender + 1} {smile} {glasses} {pose}")
        part = "Training" if i < 60 else "PublicTest" if i < 180 else "PrivateTest"
        shown = fer / part / row["expression"]
        shown.mkdir(parents=True, exist_ok=True)
        picture.convert("L").resize((48, 48)).save(shown / f"{i}.png")
        whose = f"Person_{int(row['identity'])}"
        (lfw / whose).mkdir(parents=True, exist_ok=True)
        picture.save(lfw / whose / f"{whose}_{len(list((lfw / whose).iterdir())) + 1:04d}.jpg", **FINE)
    names = sorted(folder.name for folder in lfw.iterdir())
    pairs = [
        f"{a}\t1\t2\n{b}\t1\t3\n{a}\t1\t{c}\t1\n{b}\t2\t{d}\t2\n" for a, b, c, d in zip(*[iter(names)] * 4, strict=True)
    ]
    (lfw.parent / "pairs.txt").write_text("10\t2\n" + "".join(pairs[:10]), encoding="utf-8")
    (mtfl / "training.txt").write_text("\n".join(lines[:180]) + "\n", encoding="utf-8")
    (mtfl / "testing.txt").write_text("\n".join(lines[180:]) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), TAKE)
def test_a_public_set_is_asked_and_not_shown(number, name, photos):
    done = runner.run([number], "smoke", parameters={"faces": name}, out=photos / "runs")
    [outcome] = done.outcomes.values()
    assert outcome.status == "ok", outcome.error
    assert outcome.parameters["faces"] == name
    tasks = {"mtfl": "gender", "utkface": "gender", "fer2013": "expression"}[name]
    assert any(f".{tasks}." in key or key.endswith(f".{tasks}") for key in outcome.results)
    assert not [key for key in outcome.results if ".valence" in key or ".pitch" in key or ".pose" in key]
    assert (f"{number}.undetected_pct" in outcome.results) == (number in ("03", "04", "05", "06"))
    assert (f"{number}.undetected.gender" in outcome.results) == (number in ("03", "04", "05", "06"))
    assert_nobody_is_shown(done.folder / f"{outcome.notebook}.ipynb")


def assert_nobody_is_shown(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    figures = [
        o["data"]["image/png"] for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})
    ]
    drawn = [np.array(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in figures]
    assert drawn and not any(frames(one) > 20 for one in drawn)


PARTS = {  # of the folder of photographs, and what it must have been asked
    "07": ({}, ["07.photos.gender.utkface.mtfl.full", "07.photos.smile.mtfl.fer2013.mtl",
                "07.photos.expression.rendered.fer2013.full", "07.photos.gain.smile.fer2013.mtfl.distill_mtl",
                "07.photos.gender.mtfl.constant"]),
    "08": ({"every": 1}, ["08.lfw.identity", "08.filters.yaw.spearman_abs", "08.undetected.utkface_faces",
                          "08.expression.fer2013", "08.copies.lfw"]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", PARTS)
def test_a_folder_of_photographs_is_asked_and_not_shown(number, photos):
    more, wanted = PARTS[number]
    done = runner.run([number], "smoke", parameters={"photos": str(photos / "photos"), **more}, out=photos / "runs")
    [outcome] = done.outcomes.values()
    assert outcome.status == "ok", outcome.error
    assert set(wanted) <= set(outcome.results)
    assert not [key for key in outcome.results if "standin" in key]
    assert_nobody_is_shown(done.folder / f"{outcome.notebook}.ipynb")


def test_a_photograph_that_is_shown_would_be_noticed(photos):
    people = faces.load("utkface")
    ax = plots.faces(people[:4])
    ax.figure.canvas.draw()
    assert frames(np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]) > 20
    plt.close(ax.figure)
