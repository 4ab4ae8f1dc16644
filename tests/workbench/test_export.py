import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facelab.faces import FaceSet
from facelab.workbench import export, folders


def tiny(n):
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return FaceSet("tiny", images, pd.DataFrame({"yaw": np.arange(float(n))}), np.zeros((n, 5, 2), np.float32))


def test_an_export_is_taken_up(tmp_path):
    faces = tiny(4)
    assert export.write(faces, tmp_path / "set") == 4
    assert export.write(faces, tmp_path / "set") == 0
    half = tmp_path / "set" / "00002.png"
    half.write_bytes(half.read_bytes()[:40])
    (tmp_path / "set" / "00003.png").unlink()
    (tmp_path / "set" / "00003.partial").write_bytes(b"half")
    assert export.write(faces, tmp_path / "set") == 2
    table = pd.read_csv(tmp_path / "set" / "labels.csv")
    for file, image in zip(table["file"], faces.images, strict=True):
        assert (np.asarray(Image.open(tmp_path / "set" / file)).transpose(2, 0, 1) == image).all()
    assert export.write(faces[:2], tmp_path / "set") == 0
    assert sorted(f.name for f in (tmp_path / "set").iterdir()) == [".facelab", "00000.png", "00001.png", "labels.csv"]


def test_the_table_comes_last(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export.write(tiny(2), tmp_path)
    assert not (tmp_path / "labels.csv").exists()


def test_nothing_foreign_is_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds 'thesis\.tex': expected a folder, new or empty or of an earlier"):
        export.write(tiny(1), tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.tex"]


def test_pictures_that_only_look_like_an_exports_stay(tmp_path):
    for name in ("00000.png", "labels.csv"):
        (tmp_path / name).write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=r"holds '00000\.png'"):
        export.write(tiny(1), tmp_path)
    export.write(tiny(1), tmp_path / "mine")
    (tmp_path / "mine" / "20240131-120102.png").write_bytes(b"a screenshot")
    with pytest.raises(ValueError, match=r"holds '20240131-120102\.png'"):
        export.write(tiny(2), tmp_path / "mine")
    assert len(list((tmp_path / "mine").iterdir())) == 4
    folders.claim(tmp_path / "looked", "facelab look")
    with pytest.raises(ValueError, match="looked is a folder of `facelab look`: expected one, new or empty"):
        export.write(tiny(1), tmp_path / "looked")


def test_the_files_a_set_was_read_from_keep_a_column_of_their_own(tmp_path):
    images = np.zeros((2, 3, 8, 8), np.uint8)
    faces = FaceSet("read", images, pd.DataFrame({"file": ["a.jpg", "b.jpg"]}), np.zeros((2, 5, 2), np.float32))
    export.write(faces, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert table["file"].tolist() == ["00000.png", "00001.png"]
    assert table["source_file"].tolist() == ["a.jpg", "b.jpg"]
