import json
import shutil

import pytest

from facelab.workbench import reference

ENTRY = {"value": 0.958, "unit": "R²", "low": 0.95, "high": 0.97, "paper": None, "note": ""}
RESULTS = {"02.yaw.score": ENTRY, "02.yaw.knee": ENTRY | {"value": 12}, "run": {}}


def test_interpolation_sets_what_stands_between_the_marks_and_nothing_else():
    text = "a <!--result 02.yaw.score .0%-->old\nold<!--/result--> b <!--result 02.yaw.knee d--><!--/result--> <!--c-->"
    fresh = reference.interpolate(text, RESULTS)
    assert fresh == (
        "a <!--result 02.yaw.score .0%-->96%<!--/result--> b <!--result 02.yaw.knee d-->12<!--/result--> <!--c-->"
    )
    assert reference.interpolate(fresh, RESULTS) == fresh


@pytest.mark.parametrize("field, shown", [("low", "0.95"), ("high", "0.97")])
def test_interval_ends(field, shown):
    text = "<!--result 02.yaw.score:{0} .2f-->{1}<!--/result-->"
    assert reference.interpolate(text.format(field, "?"), RESULTS) == text.format(field, shown)


@pytest.mark.parametrize(
    "mark, says",
    [
        ("02.yaw.scor .2f", "unknown result '02.yaw.scor': did you mean '02.yaw.score'"),
        ("run .2f", "unknown result 'run'"),
        ("02.yaw.score:lo .2f", "unknown field of a result 'lo': did you mean 'low'"),
        ("02.yaw.score:paper .2f", "result '02.yaw.score' has no paper"),
        ("02.yaw.score d", "result '02.yaw.score': 0.958 cannot be shown as 'd'"),
    ],
)
def test_marks_that_name_nothing(mark, says):
    with pytest.raises(ValueError, match=says):
        reference.interpolate(f"<!--result {mark}-->0<!--/result-->", RESULTS)


def test_publishing_a_run(mixed, tmp_path):
    run = tmp_path / "default"
    shutil.copytree(mixed.folder, run)
    with pytest.raises(ValueError, match="run 'default' is not whole: 02_raises, 03_silent, 04_dies, 05_foreign"):
        reference.publish(run, tmp_path / "rendered")
    for file in [f for n in (2, 3, 4, 5) for f in run.glob(f"0{n}_*.json")]:
        file.unlink()
    stale = tmp_path / "rendered" / "figures" / "09-1.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    published = reference.publish(run, tmp_path / "rendered")
    assert json.loads((published / "results.json").read_text(encoding="utf-8"))["01.score"]["value"] == 0.5
    assert sorted(f.name for f in (published / "figures").iterdir()) == ["01-1.png", "01-2.png"]
    page = (published / "README.md").read_text(encoding="utf-8")
    assert "| 01.score | 0.5 | 0.4 … 0.6 | R² | 0.7 | smoke 0.5 |" in page
    assert "- profile: smoke" in page and "- first seed: 0; how many" in page


def test_publishing_leaves_what_was_not_run(mixed, tmp_path):
    run = tmp_path / "default"
    shutil.copytree(mixed.folder, run)
    for file in [f for n in (2, 3, 4, 5) for f in run.glob(f"0{n}_*.json")]:
        file.unlink()
    old = tmp_path / "rendered"
    (old / "figures").mkdir(parents=True)
    for name in ("01-9", "02-1"):
        (old / "figures" / f"{name}.png").write_bytes(b"")
    about = {"minutes": {"02_curves": 1.0}, "notebooks": {"02_curves": {"title": "c", "commit": None}}}
    about["notebooks"]["02_curves"]["parameters"] = {"profile": "full", "seed": 3}
    text = json.dumps(RESULTS | {"01.gone": ENTRY, "run": about})
    (old / "results.json").write_text(text)
    results = reference.read(reference.publish(run, old))
    assert [key for key in results if key[:2] == "02"] == ["02.yaw.score", "02.yaw.knee"]
    assert "01.gone" not in results and results["01.score"]["value"] == 0.5 and list(results)[-1] == "run"
    assert sorted(f.name for f in (old / "figures").iterdir()) == ["01-1.png", "01-2.png", "02-1.png"]
    assert results["run"]["profile"] == "smoke, full" and results["run"]["seeds"] == [0, 3]
    assert list(results["run"]["minutes"])[-1] == "02_curves"


def test_some_results_of_a_run_leave_its_other_notebooks_alone(mixed, tmp_path):
    run = tmp_path / "default"
    shutil.copytree(mixed.folder, run)
    for file in [f for n in (3, 4, 5) for f in run.glob(f"0{n}_*.json")]:
        file.unlink()
    for n, key in ((1, "01.photos.mtfl"), (2, "02.yaw.knee")):
        (outcome,) = run.glob(f"0{n}_*.json")
        about = json.loads(outcome.read_text(encoding="utf-8")) | {"status": "ok"}
        about["results"] |= {key: ENTRY}
        outcome.write_text(json.dumps(about), encoding="utf-8")
    there = reference.publish(run, tmp_path / "there")
    before, drawn = reference.read(there), sorted((there / "figures").iterdir())
    after = reference.read(reference.publish(run, there, keys="01.photos"))
    assert after["02.yaw.knee"] == before["02.yaw.knee"] and sorted((there / "figures").iterdir()) == drawn
    fresh = reference.read(reference.publish(run, tmp_path / "fresh", keys="01.photos"))
    assert [name[:2] for name in fresh["run"]["notebooks"]] == ["01"]


def test_publishing_some_results_only(mixed, tmp_path):
    run = tmp_path / "default"
    shutil.copytree(mixed.folder, run)
    for file in [f for n in (2, 3, 4, 5) for f in run.glob(f"0{n}_*.json")]:
        file.unlink()
    (outcome,) = run.glob("01_*.json")
    about = json.loads(outcome.read_text(encoding="utf-8"))
    about["results"] |= {"01.photos.mtfl": ENTRY, "01.photos.fer": ENTRY}
    outcome.write_text(json.dumps(about), encoding="utf-8")
    everything = reference.read(reference.publish(run, tmp_path / "all"))
    some = reference.publish(run, tmp_path / "some", keys="01.photos")
    assert list(everything) == ["01.score", "01.photos.mtfl", "01.photos.fer", "run"]
    assert list(reference.read(some)) == ["01.photos.mtfl", "01.photos.fer", "run"]
    assert not list((some / "figures").iterdir()) and list((tmp_path / "all" / "figures").iterdir())
    with pytest.raises(ValueError, match=r"unknown beginning of a result in run 'default' '01.scr': did you mean"):
        reference.publish(run, tmp_path / "none", keys="01.scr")


@pytest.mark.parametrize(
    ("minutes", "parameters", "kept"),
    [
        (1.65, {"profile": "full", "seed": 0}, 123.29),  # its rows were in the cache
        (150.0, {"profile": "full", "seed": 0}, 150.0),
        (1.65, {"profile": "quick", "seed": 0}, 1.65),
        (1.65, {"profile": "full", "seed": 1}, 1.65),
    ],
)
def test_the_longer_time_of_the_same_run_stays(minutes, parameters, kept):
    def published(minutes, parameters):
        about = {"minutes": {"03_cut": minutes}, "notebooks": {"03_cut": {"parameters": parameters}}}
        return {"03.kept": ENTRY | {"value": minutes}, "run": about}

    old, new = published(123.29, {"profile": "full", "seed": 0}), published(minutes, parameters)
    both = reference.update(old, new)
    assert both["run"]["minutes"] == {"03_cut": kept}
    assert both["run"]["notebooks"] == new["run"]["notebooks"] and both["03.kept"]["value"] == minutes


def test_publishing_what_was_never_run(tmp_path):
    with pytest.raises(ValueError, match=r"no run in .*: make one with `facelab report --name nope`"):
        reference.publish(tmp_path / "nope", tmp_path / "rendered")


def test_refreshing_the_page(tmp_path):
    folder = tmp_path / "reports" / "reference" / "rendered"
    folder.mkdir(parents=True)
    about = {
        "minutes": {"02_curves": 1.0},
        "versions": {},
        "profile": "full",
        "seeds": [3],
        "data": [],
        "device": "cpu",
    }
    made = {"title": "Curves", "parameters": {"seed": 3}, "commit": {"id": "0123456789abcdef", "dirty": True}}
    results = RESULTS | {"run": about | {"notebooks": {"02_curves": made}}}
    (folder / "results.json").write_text(json.dumps(results))
    (tmp_path / "README.md").write_text("<!--result 02.yaw.score .2f-->?<!--/result-->")
    assert reference.refresh(tmp_path)
    assert "-->0.96<" in (tmp_path / "README.md").read_text()
    page = (folder / "README.md").read_text()
    assert "seed = 3; 1.0 minutes; commit 0123456789 with changes." in page and "| 02.yaw.score |" in page
    assert not reference.refresh(tmp_path)
