import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest

from facelab.workbench import report, runs

NAMES = ("index", "glossary", "01_good", "02_raises", "03_silent", "04_dies")
LOADING = {"src", "srcset", "data", "poster", "action", "background"}


class Loads(HTMLParser):
    """What a page would load: sources of elements, targets of links, addresses in styles and scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.inside = [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.inside = tag if tag in ("style", "script") else None
        for name, value in attributes:
            if name in LOADING or (tag == "link" and name == "href"):
                self.found.append(value)
            if name == "style":
                self.found += re.findall(r"url\(([^)]*)\)", value)

    def handle_data(self, data):
        if self.inside == "style":
            self.found += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", data)
        if self.inside == "script":
            self.found += re.findall(r"(?:https?:)?//[\w.-]+", data)

    def handle_endtag(self, tag):
        self.inside = None


def test_the_reader_of_pages_sees_what_they_load():
    page = '<script src="//cdn/a.js"></script><style>@import "b.css";</style><link href="c"><img src="d">'
    assert len(Loads(f'{page}<a href="e">elsewhere</a>').found) == 4


@pytest.mark.parametrize("name", NAMES)
def test_pages_open_without_a_network(mixed, name):
    page = mixed.page(f"{name}.html")
    loads = Loads(page).found
    assert all(str(address).startswith(("data:image/", "figures/")) for address in loads), loads
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")


def test_links_and_figures_lead_somewhere(mixed):
    for name in NAMES:
        for target in re.findall(r'(?:href|src)="(?!data:|#)([^"]+)"', mixed.page(f"{name}.html")):
            assert (mixed.folder / target).is_file(), target


def test_the_words_of_a_notebook_lead_into_the_glossary(mixed, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("[γ](glossary.md#gamma-γ)")])
    page = report.page(notebook, mixed.run.outcomes["01_good"])
    (link,) = re.findall(r'href="glossary.html#([^"]+)"', page)
    (tmp_path / "01_good.html").write_text("")
    words = "### gamma (γ)\n\nA share, see [01](01_good.ipynb), [02](02_gone.ipynb)."
    glossary = report.glossary(words, tmp_path)
    assert f'id="{unquote(link)}"' in glossary
    assert 'A share, see <a href="01_good.html">01</a>, 02.' in glossary


def test_a_widget_shows_its_static_twin(mixed, pixel):
    page = mixed.page("01_good.html")
    assert f"data:image/png;base64,{pixel}" in page
    assert "widget-view" not in page and "Twin(children" not in page


def test_a_page_shows_tables_figures_and_settled_progress(mixed):
    page = mixed.page("01_good.html")
    assert '<table border="1" class="dataframe">' in page and "01.score" in page
    assert page.count("data:image/png") == page.count('alt="Figure: What is 01_good?"') == 2
    assert "100%|" in page and "  0%|" not in page
    assert "gamma = 0.5" in re.sub("<[^>]+>", "", page)
    assert "What is 01_good?" in page and "torch 2" in page


def test_a_failed_notebook_shows_where(mixed):
    page = mixed.page("02_raises.html")
    assert "This notebook failed." in page
    where = re.search(r'href="#(cell-id=\w+)">Show where', page)[1]
    failed = page[page.index(f'id="{where}"') :]
    assert "KeyError" in failed and "Traceback" in failed
    assert "papermill encountered" not in page
    assert "This notebook failed." not in mixed.page("01_good.html")


def test_the_index_has_a_card_per_notebook(mixed):
    page = mixed.page("index.html")
    assert page.count('<article class="card">') == 5
    assert page.count("status failed") == 4
    shown, all_of_them = re.findall(r'<th scope="row">01\.score</th>(.*?)</tr>', page, re.DOTALL)
    assert re.findall(r"<td[^>]*>(.*?)</td>", shown) == ["0.5", "0.4 … 0.6", "R²", "0.7"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", all_of_them) == ["0.5", "0.4 … 0.6", "R²", "0.7", "smoke 0.5"]
    assert 'src="figures/01-1.png"' in page
    assert pd.read_csv(mixed.folder / "tables" / "01_good.csv").loc[0, "note"] == "smoke 0.5"
    assert "01.score & 0.5 & 0.4 & 0.6" in mixed.page("tables/01_good.tex")


def test_a_card_says_what_changed(mixed):
    good = mixed.run.outcomes["01_good"]
    earlier = replace(good, results={"01.score": {**good.results["01.score"], "value": 0.25}})

    def reference(value: float, **asked) -> dict:
        about = {"parameters": {**good.parameters, "profile": "full", "seed": 5, **asked}}
        return {"run": {"notebooks": {"01_good": about}}, "01.score": {"value": value}}

    published = [{"run": {"notebooks": {}}}, reference(0.1, faces="mtfl"), reference(0.75)]
    changes = report.compare([good], {"01_good": earlier}, published)
    page = report.index([good], {}, "x", changes)
    assert ">+0.25<" in page and ">−0.25<" in page and "to the reference, full" in page
    for asked in ({"profile": "full"}, {"faces": "mtfl"}):  # not comparable
        other = replace(earlier, parameters={**earlier.parameters, **asked})
        assert not report.compare([good], {"01_good": other}, [])["01_good"]["since"]


def test_the_run_before_is_kept(mixed, tmp_path):
    first = mixed.run.outcomes["01_good"]
    for outcome in (first, replace(first, minutes=2.0), replace(first, status="failed"), replace(first, minutes=3.0)):
        outcome.save(tmp_path)
    assert runs.outcomes(tmp_path)["01_good"].minutes == 3.0
    assert runs.outcomes(tmp_path / "previous")["01_good"].minutes == 2.0  # the last that succeeded


def test_an_index_of_nothing_says_so():
    assert "No notebook has finished yet." in report.index([], {}, "empty")


def test_texts_are_escaped(mixed):
    outcome = replace(mixed.run.outcomes["02_raises"], error="<b>", title="<i>")
    assert "<b>" not in report.index([outcome], {}, "x") and "<i>" not in report.index([outcome], {}, "x")
    page = report.page(nbformat.v4.new_notebook(), outcome)
    assert "<b>" not in page and "<i>" not in page


def test_figures_of_an_earlier_run_go(tmp_path, pixel):
    def drawn(n):
        output = nbformat.v4.new_output("display_data", {"image/png": pixel})
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output] * n)])

    names = ["01-1.png", "01-2.png"]
    assert [f.name for f in report.extract_figures(drawn(2), "01", tmp_path)] == names
    (tmp_path / "02-1.png").write_bytes(b"another notebook's")
    report.extract_figures(drawn(1), "01", tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["01-1.png", "02-1.png"]
