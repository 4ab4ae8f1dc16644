"""Model cards: they are those of the weight files and of what was measured, and the page of limits quotes the same."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from facelab.nets import fairness, narrow, student_heads
from facelab.transfer import served
from facelab.workbench import models, reference, runs
from facelab.workbench.cli import main

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "reference"
KNOWN = reference.committed(ROOT)


def test_the_committed_cards_are_those_of_headers_and_results():
    page = (FOLDER / models.PAGE).read_text(encoding="utf-8")
    assert page == models.write(KNOWN), "run `facelab report --publish rendered`"


def test_every_weight_file_has_a_card():
    files = set(narrow.FILE.parent.glob("*.safetensors"))
    assert files == {card.file for card in models.CARDS.values()}


def test_the_heads_of_the_student_say_how_they_serve_each_group():
    for where, row in student_heads.read()[1]["measured"].items():
        groups = {name for name in row if ": " in name}
        if "mtfl" not in where and "fer2013" not in where:
            assert {"gender: female", "gender: male", "ethnicity: black", "ethnicity: white"} <= groups
        assert "gender: female" in groups or "fer2013" in where


def test_pages_may_quote_what_the_weight_files_say():
    header = student_heads.read()[1]["measured"]["utkface, photographs"]
    women, said = header["gender: female"], models.said()
    entry = said["weights/student-heads.utkface_photographs_gender_female_gender_share_right"]
    assert entry["value"] == women["gender, share right"]
    assert 0 < entry["low"] < entry["value"] < entry["high"] < 1
    assert (entry["low"], entry["high"]) == fairness.wilson(entry["value"] * women["faces"], women["faces"])
    assert said["weights/student-heads.utkface_photographs_faces"]["value"] == header["faces"]
    assert set(said) <= set(KNOWN)


@pytest.mark.parametrize("name", [name for name in models.CARDS if name != "student-heads"])
def test_every_network_was_measured_on_each_group_of_rendered_people(name):
    groups = {key.split(".", 3)[3] for key in KNOWN if key.startswith(f"models/{name}.rendered.")}
    by = {group.split(".")[0] for group in groups}
    assert by == {"all", "gender", "ethnicity", "age"}
    assert {"gender.female", "gender.male", "ethnicity.black", "ethnicity.white", "age.0-12", "age.65+"} <= groups
    for key, entry in KNOWN.items():
        if key.startswith("models/"):
            assert entry["low"] <= entry["value"] <= entry["high"], key


def test_a_card_says_what_the_header_says():
    page = models.write(KNOWN)
    _, about = narrow.read()
    card = page.split("\n## vgg-narrow\n")[1].split("\n## ")[0]
    assert f"`{about['command']}`" in card and "16,500 rendered faces" in card
    assert f"| bytes of the file | {narrow.FILE.stat().st_size:,} |" in card
    assert page.index("notebooks/limits.md") < page.index("\n## ")


def test_a_card_that_quotes_what_nobody_recorded():
    key = models.CARDS["student"].results[0]
    known = {other: entry for other, entry in KNOWN.items() if other != key}
    with pytest.raises(ValueError, match=f"unknown result .card of student. '{key}': did you mean"):
        models.write(known)


def test_measuring_without_photographs_keeps_those_of_before(tmp_path, monkeypatch):
    old = {"student.utkface.a.all.everybody": {"value": 1}, "student.rendered.gone.all.everybody": {"value": 2}}
    (tmp_path / models.RESULTS).write_text(json.dumps(old))
    fresh = {"student.rendered.b.all.everybody": {"value": 3}}
    monkeypatch.setattr(served, "measure", lambda photos, device: fresh)
    models.measure(tmp_path)
    assert models.read(tmp_path) == {key: row for key, row in (old | fresh).items() if "gone" not in key}


def test_the_command_measures_and_writes_the_cards(tmp_path, monkeypatch):
    (tmp_path / "reports" / "reference").mkdir(parents=True)
    asked = []
    monkeypatch.setattr(runs, "root", lambda: tmp_path)
    monkeypatch.setattr(served, "measure", lambda photos, device: asked.append(photos) or {"pose.rendered.a": {}})
    monkeypatch.setattr(models, "write", lambda known: f"cards of {len(known)}, first {min(known)}\n")
    said = CliRunner().invoke(main, ["cards", "--photos", "album"])
    assert said.exit_code == 0, said.output
    assert asked == [Path("album")] and said.output.splitlines()[-1].endswith("models.md")
    page = (tmp_path / "reports" / "reference" / "models.md").read_text(encoding="utf-8")
    assert page == f"cards of {1 + len(models.said())}, first models/pose.rendered.a\n"


def test_the_page_of_limits_quotes_the_committed_results():
    text = (ROOT / "notebooks" / "limits.md").read_text(encoding="utf-8")
    assert len(re.findall("<!--result ", text)) > 20
    assert text == reference.interpolate(text, KNOWN), "run `facelab report --publish rendered`"
    for page in ("README.md", "notebooks/README.md", "reports/reference/models.md"):
        assert "limits.md" in (ROOT / page).read_text(encoding="utf-8"), page


def test_links_of_the_new_pages_resolve():
    for page in (ROOT / "notebooks" / "limits.md", FOLDER / models.PAGE):
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
