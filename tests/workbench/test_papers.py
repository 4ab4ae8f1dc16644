"""The page beside the papers: it is complete, it names results that exist, and it is the one of the committed list."""

import math
from pathlib import Path

import pytest

from facelab.workbench import papers, reference

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "reference"
TEXT = (FOLDER / papers.LIST).read_text(encoding="utf-8")
LISTED, KNOWN = papers.read(TEXT), reference.committed(ROOT)
NUMBERED = {"ETL": (1, 6), "Low-cost transfer": (6, 11), "General model": (6, 3), "2MD-MTL": (3, 5)}  # tables, figures
ENTRY = {"value": 0.5, "unit": "share right", "low": 0.4, "high": 0.6, "paper": None, "note": "3 seeds"}


def values(listed=LISTED):
    return [(paper, item, value) for paper in listed for item in paper.items for value in item.values]


def one(values: str, more: str = "") -> str:
    return f"[{{paper: A, title: On A, tables: 1, figures: 0, items: [{{item: Table 1, shows: it{more}, {values}}}]}}]"


def test_every_table_and_figure_of_the_four_papers_has_a_row():
    assert {paper.paper: (paper.tables, paper.figures) for paper in LISTED} == NUMBERED
    page = papers.write(LISTED, KNOWN, reference.commands(ROOT))
    for paper in LISTED:
        rows = page.split(f"\n## {paper.paper}\n")[1].split("\n#")[0]
        for kind, count in zip(("Table", "Figure"), NUMBERED[paper.paper], strict=True):
            for i in range(1, count + 1):
                assert sum(row.startswith((f"| {kind} {i} |", f"| [{kind} {i}](")) for row in rows.splitlines()) == 1


def test_the_committed_page_is_that_of_the_list_and_the_results():
    page = (FOLDER / papers.PAGE).read_text(encoding="utf-8")
    assert page == papers.write(LISTED, KNOWN, reference.commands(ROOT)), "run `facelab report --publish rendered`"


def test_every_result_it_names_is_committed():
    assert len(values()) > 200
    assert not [value.ours for *_, value in values() if value.ours and value.ours not in KNOWN]


def test_what_results_say_of_the_papers_is_what_the_list_says():
    """A result recorded beside a published value stands in the list beside the same one; of a public set, it or the
    rendered one."""
    said = {}
    for _, _, value in values():
        if value.ours and value.published is not None:
            said.setdefault(value.ours, []).append(value.published / value.times)
    recorded = {key: entry["paper"] for key, entry in KNOWN.items() if entry["paper"] is not None}
    assert len(recorded) > 50
    for key, published in recorded.items():
        listed = said.get(key) or said.get(key.split("/")[-1], ())
        assert any(math.isclose(published, one, rel_tol=2e-3) for one in listed), key


def test_links_lead_to_sections():
    page = papers.write(LISTED, KNOWN, reference.commands(ROOT))
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    anchors = {"".join(c for c in h.lower() if c.isalnum() or c in " -").replace(" ", "-") for h in headings}
    assert len(headings) == len(set(headings))
    linked = [part.split(")")[0] for part in page.split("](#")[1:]]
    assert len(linked) > 30 and set(linked) <= anchors


def test_a_difference_is_ours_less_published_in_the_papers_unit():
    listed = papers.read(one("values: [{of: gender, published: 40, unit: '%', ours: 03.gender.score, times: 100}]"))
    page = papers.write(listed, {"03.gender.score": ENTRY}, {"03": "facelab report 03"})
    assert "| gender | 40 % | 50 % | 40 … 60 | +10 | `03.gender.score`; 3 seeds |" in page
    assert "by unit. %: 1 above, 0 below." in page
    assert "| `facelab report 03` |" in page


def test_what_is_no_same_quantity_has_no_difference():
    listed = papers.read(one("values: [{of: a, published: 40, ours: 03.b, apart: another scale}]"))
    page = papers.write(listed, {"03.b": ENTRY}, {"03": "x"})
    assert "| a | 40 | 0.5 share right | 0.4 … 0.6 | not formed | another scale; `03.b`; 3 seeds |" in page


def test_what_stands_alone_says_why():
    listed = papers.read(one("none: no photographs, values: [{of: a, published: 40}]"))
    assert "| a | 40 | – |  |  | no photographs |" in papers.write(listed, {}, {})


@pytest.mark.parametrize(
    "text, says",
    [
        (one("values: [{of: a, published: 4}]"), "A, Table 1, 'a': expected the name of a result under `ours`"),
        (one("values: []"), "A, Table 1: expected values, or under `none` why there are none"),
        (one("values: [{of: a, ours: 03.b, publisht: 4}]"), "unknown field of .*'publisht': did you mean 'published'"),
        (one("none: x").replace("tables: 1", "tables: 2"), "A: Table 2 is listed 0 times, expected once"),
        (one("none: x").replace("Table 1", "Tabel 1"), "A: Table 1 is listed 0 times"),
        (one("none: x").replace("figures: 0, items: [", "figures: 0, items: [{item: Figure 1, shows: x, none: x}, "),
         "unknown table or figure of A 'Figure 1': expected one of 'Table 1'"),
    ],
)  # fmt: skip
def test_a_faulty_list_says_what_is_wrong(text, says):
    with pytest.raises(ValueError, match=says):
        papers.read(text)


def test_a_result_that_nobody_recorded():
    listed = papers.read(one("values: [{of: a, published: 4, ours: 03.gender.scor}]"))
    with pytest.raises(ValueError, match=r"papers.yaml, A, Table 1.*'03.gender.scor': did you mean '03.gender.score'"):
        papers.write(listed, {"03.gender.score": ENTRY}, {})
