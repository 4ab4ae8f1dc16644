"""The numbers README.md quotes are those of the committed reference run."""

from pathlib import Path

from facelab.workbench import reference

ROOT = Path(__file__).parents[1]


def test_readme_quotes_the_reference_run():
    text = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    folder = ROOT / "reports" / "reference" / reference.RUN
    if not (folder / "results.json").exists():
        assert "<!--result" not in text, "README.md quotes a reference run that is not committed"
        return
    assert text == reference.interpolate(text, reference.read(folder)), "run `facelab report --publish rendered`"


def test_reference_pages_are_those_of_their_results():
    for results in (ROOT / "reports" / "reference").glob("*/results.json"):
        page = (results.parent / "README.md").read_text(encoding="utf-8")
        assert page == reference.describe(reference.read(results.parent), results.parent.name), results
