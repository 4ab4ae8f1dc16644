import re

import pytest
from PIL import Image

from facelab import tasks
from facelab.faces import presets
from facelab.workbench import atlas


def test_a_page_with_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(atlas, "_SHEET", 4)
    page = atlas.write(tmp_path, names=("rendered/wild", "rendered/lab_b"), labels=("yaw", "smile"), size=32)
    text = page.read_text(encoding="utf-8")
    pictures = dict((file, alt) for alt, file in re.findall(r"!\[([^]]+)\]\(([^)]+)\)", text))
    assert set(pictures) == {f.name for f in tmp_path.glob("*.jpg")}
    assert set(pictures) == {"rendered-wild.jpg", "rendered-lab_b.jpg", "label-yaw.jpg", "label-smile.jpg"}
    assert all(len(alt) > 30 for alt in pictures.values())
    assert "nobody here exists" in text and "2,400 | 800" in text
    table = presets.counts(presets.labels(presets.sittings("rendered/wild"), "rendered/wild"))
    assert f"| female, asian | {' | '.join(map(str, table.loc[('female', 'asian')]))} |" in text
    for file in pictures:
        with Image.open(tmp_path / file) as picture:
            assert picture.size[0] > 100
        assert (tmp_path / file).stat().st_size <= atlas.LARGEST


def test_every_preset_and_label_has_a_plate():
    plates = atlas.label_plates()
    assert set(tasks.TASKS) - {"pose", "age_band", "over_40"} <= set(plates)
    for name in presets.PRESETS:
        assert len(atlas.sheet(name).sittings) == 32
    assert {s.expression for s in atlas.sheet("rendered/lab_a").sittings} == set(presets.scenes.LAB["rendered/lab_a"])
    assert {s.shots[0].yaw for s in atlas.sheet("rendered/pose").sittings} >= {-90.0, 0.0, 90.0}
    rows = atlas._labels()
    assert all(about for *_, about in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("rendered/wyld",)}, "unknown face set 'rendered/wyld'"),
        ({"labels": ("yow",)}, "unknown label 'yow': did you mean 'yaw'"),
    ],
)
def test_unknown_plates_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        atlas.write(tmp_path, **options)


def test_a_large_picture_is_made_to_fit(tmp_path, monkeypatch):
    noise = Image.effect_noise((400, 400), 80).convert("RGB")
    atlas._save(tmp_path / "a.jpg", noise)
    monkeypatch.setattr(atlas, "LARGEST", (tmp_path / "a.jpg").stat().st_size * 2 // 3)
    atlas._save(tmp_path / "b.jpg", noise)
    assert (tmp_path / "b.jpg").stat().st_size <= atlas.LARGEST
