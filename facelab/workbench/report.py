"""A run's folder as pages that open from disk with no network: one per notebook and an index.

The templates and the style sheet in `pages/` are inlined: no script, style sheet, font or image is loaded
from anywhere. Interactive outputs show the static twin they carry (`image/png`). Formulas are plain text;
there is no MathJax to set them.
"""

import base64
import json
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from urllib.parse import unquote

import jinja2
import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from traitlets.config import Config

from facelab import cache
from facelab.workbench import runs, tables

PAGES = Path(__file__).with_name("pages")
# Set on the class all converters share: the filter that picks a representation does not ask HTMLExporter.
_PRIORITY = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
_CONFIG = Config(NbConvertBase={"display_data_priority": _PRIORITY})


def write(folder: Path) -> Path:
    """Write every notebook's page, figures, tables (CSV, LaTeX) and `index.html` (returned) into a run's folder."""
    folder = Path(folder)
    outcomes = list(runs.outcomes(folder).values())
    thumbnails = {}
    for outcome in outcomes:
        file = folder / f"{outcome.notebook}.ipynb"
        if file.is_file():
            notebook = nbformat.read(file, as_version=4)
            cache.write_text(file.with_suffix(".html"), page(notebook, outcome))
            figures = extract_figures(notebook, outcome.number, folder / "figures")
            thumbnails[outcome.notebook] = figures[0].relative_to(folder).as_posix() if figures else None
        if outcome.results:
            tables.write(outcome.results, folder / "tables" / outcome.notebook)
    cache.write_text(folder / "glossary.html", glossary(_words(), folder))
    changes = compare(outcomes, runs.outcomes(folder / "previous"), _published())
    cache.write_text(folder / "index.html", index(outcomes, thumbnails, title=folder.name, changes=changes))
    return folder / "index.html"


def page(notebook, outcome: runs.Outcome) -> str:
    """An executed notebook (an nbformat node) as one self-contained HTML page."""
    notebook = deepcopy(notebook)
    # papermill's marks of where it stopped; the banner says it, and leads there
    notebook.cells = [c for c in notebook.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
    stopped, heading = None, outcome.title
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        if "outputs" in cell:
            cell.outputs = _settled(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):  # what a reader who cannot see it is told
                    output.metadata.setdefault("image/png", {}).setdefault("alt", f"Figure: {heading}")
            if any(output.output_type == "error" for output in cell.outputs):
                stopped = f"cell-id={cell.get('id', '')}"
    exporter = HTMLExporter(config=_CONFIG, raw_template=(PAGES / "notebook.html.j2").read_text(encoding="utf-8"))
    resources = {"outcome": outcome, "stopped": stopped, "style": _style(), "provenance": _provenance([outcome])}
    html, _ = exporter.from_notebook_node(notebook, resources)
    return html.replace('href="glossary.md', 'href="glossary.html')


def glossary(text: str, folder: Path) -> str:
    """The notebooks' glossary, Markdown, as the page that a run's pages link to; it links to those that there are.

    >>> page = glossary("### gamma (γ)\\n\\nA tolerance, met in [02](02_curves.ipynb).", Path("no such run"))
    >>> '<h3 id="gamma-γ">' in page, "A tolerance, met in 02." in page
    (True, True)
    """

    def linked(match: re.Match) -> str:
        file = folder / match[2].replace(".ipynb", ".html")
        return f"[{match[1]}]({file.name})" if file.is_file() else match[1]

    html = markdown2html(re.sub(r"\[([^]]+)\]\(([^)]+)\)", linked, text))
    html = re.sub(r'<a class="anchor-link".*?</a>', "", html)
    html = re.sub(r'(?<= id=")[^"]+', lambda name: re.sub(r"[^\w-]", "", unquote(name[0]).lower()), html)
    head = f'<head>\n<meta charset="utf-8">\n<title>Glossary</title>\n<style>{_style()}</style>\n</head>'
    body = f'<nav><a href="index.html">← all notebooks</a></nav>\n<main>\n{html}</main>'
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n<body class="notebook">\n{body}\n</body>\n</html>\n'


def _settled(outputs: list) -> list:
    """What a terminal would show: pieces of one stream joined, and of a progress bar only the last state."""
    settled: list = []
    for output in outputs:
        before = settled[-1] if settled else None
        if output.output_type == "stream" and before and before.get("name") == output.name:
            before.text += output.text
        else:
            settled.append(output)
    for output in settled:
        if output.output_type == "stream":
            output.text = re.sub(r"[^\n]*\r(?=[^\n])", "", output.text)
    return settled


def compare(
    outcomes: list[runs.Outcome], previous: dict[str, runs.Outcome], published: Sequence[dict]
) -> dict[str, dict]:
    """By notebook: its headline keys; whether a paper prints one of them; by key the change since the previous run of
    this name, where that had the same profile, and against the published results; which profile those are of. Only
    runs that asked the same of the same kind of faces are compared. published: the results of every reference run."""
    found = {}
    for outcome in outcomes:
        asked, before, there, profile = _asked(outcome.parameters), previous.get(outcome.notebook), {}, None
        same = before and before.profile == outcome.profile and _asked(before.parameters) == asked
        before = before.results if same else {}
        for results in published:
            about = results["run"]["notebooks"].get(outcome.notebook)
            if about and _asked(about["parameters"]) == asked:
                there, profile = results, about["parameters"]["profile"]
                break
        keys = tables.headline(outcome.results)
        found[outcome.notebook] = {
            "keys": keys,
            "paper": any(outcome.results[key]["paper"] is not None for key in keys),
            "since": {key: outcome.results[key]["value"] - before[key]["value"] for key in keys if key in before},
            "against": {key: outcome.results[key]["value"] - there[key]["value"] for key in keys if key in there},
            "profile": profile,
        }
    return found


def _asked(parameters: dict) -> dict:
    """What a run asked, apart from how thoroughly and where; of photographs whether there were any.

    >>> _asked({"profile": "full", "faces": "mtfl", "seed": 0, "device": "auto", "photos": "~/faces"})
    {'faces': 'mtfl', 'photos': True}
    """
    asked = {key: value for key, value in parameters.items() if key not in ("profile", "seed", "device")}
    return asked | ({"photos": bool(asked["photos"])} if "photos" in asked else {})


def _words() -> str:
    """The notebooks' glossary, nothing outside a clone."""
    try:
        return (runs.root() / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    except (ValueError, OSError):
        return ""


def _published() -> list[dict]:
    """The results of the reference runs, nothing outside a clone."""
    try:
        files = sorted((runs.root() / "reports" / "reference").glob("*/results.json"))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]
    except (ValueError, OSError):
        return []


def index(
    outcomes: list[runs.Outcome], thumbnails: dict[str, str | None], title: str, changes: dict[str, dict] | None = None
) -> str:
    """The run's front page: a card per notebook, and how the run came about. changes: what `compare` says."""
    template = _templates().get_template("index.html.j2")
    return template.render(
        outcomes=outcomes,
        thumbnails=thumbnails,
        title=title,
        changes=changes or compare(outcomes, {}, []),
        style=_style(),
        provenance=_provenance(outcomes),
    )


def batch(found, parts: list[dict], seeds: list[dict]) -> str:
    """The page that compares the cells of a `batch.Batch`: parts, a table per notebook; seeds, numbers over seeds."""
    template = _templates().get_template("batch.html.j2")
    outcomes = [found.outcomes[cell.name] for cell in found.cells if cell.name in found.outcomes]
    return template.render(batch=found, parts=parts, seeds=seeds, style=_style(), provenance=_provenance(outcomes))


def _templates() -> jinja2.Environment:
    found = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True, trim_blocks=True)
    found.filters |= {"number": number, "interval": interval, "change": change}
    return found


def _style() -> str:
    return (PAGES / "style.css").read_text(encoding="utf-8")


def _provenance(outcomes: list[runs.Outcome]) -> dict[str, str]:
    """How these results came about, as words; several values where notebooks differ."""

    def joined(values) -> str:
        return ", ".join(dict.fromkeys(str(v) for v in values if v is not None)) or "–"

    commits = (o.commit and o.commit["id"][:10] + (" + changes" if o.commit["dirty"] else "") for o in outcomes)
    return {
        "profile": joined(o.profile for o in outcomes),
        "seed": joined(o.parameters.get("seed") for o in outcomes),
        "data": joined(o.parameters.get("faces") for o in outcomes),
        "device": joined(o.device for o in outcomes),
        "commit": joined(commits),
        "minutes": f"{sum(o.minutes for o in outcomes):.1f}",
        "versions": versions([o.versions for o in outcomes]),
    }


def versions(several: list[dict]) -> str:
    """The versions of packages in words, several where notebooks differ.

    >>> versions([{"torch": "2.6", "numba": None}, {"torch": "2.9", "numba": None}])
    'torch 2.6 / 2.9'
    """
    found: dict[str, dict] = {}
    for one in several:
        for package, version in one.items():
            if version:
                found.setdefault(package, {})[version] = None
    return ", ".join(f"{package} {' / '.join(own)}" for package, own in found.items())


def extract_figures(notebook, prefix: str, folder: Path) -> list[Path]:
    """Write the PNG outputs of a notebook as `<prefix>-k.png`, k = 1, 2, … in order of appearance."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    figures = []
    for k, output in enumerate(outputs, start=1):
        figures.append(folder / f"{prefix}-{k}.png")
        figures[-1].write_bytes(base64.b64decode(output.data["image/png"]))
    for file in folder.glob(f"{prefix}-*.png"):
        if file not in figures:  # of an earlier run that drew more
            file.unlink()
    return figures


def number(value: float | int | None) -> str:
    """A number as a reader wants it: four significant digits, whole numbers whole, – for none.

    >>> [number(v) for v in (0.958123, 1234567, 3.2e-11, 25.0, None)]
    ['0.9581', '1,234,567', '3.2e-11', '25', '–']
    """
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    if abs(value) < 1e-14:  # what rounding leaves of a difference of equals
        value = 0.0
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def interval(entry: dict) -> str:
    """The 95 % interval of an entry, or nothing.

    >>> interval({"low": 0.91, "high": 0.97})
    '0.91 … 0.97'
    """
    return "" if entry["low"] is None else f"{number(entry['low'])} … {number(entry['high'])}"


def change(value: float) -> str:
    """A difference with its sign, of three significant digits, whole numbers whole.

    >>> change(0.02514), change(-3), change(0), change(-35524), change(1234.4)
    ('+0.0251', '−3', '±0', '−35,524', '+1,234')
    """
    size = float(round(abs(value))) if abs(value) >= 1000 else float(f"{abs(value):.3g}")
    return "±0" if value == 0 else f"{'+' if value > 0 else '−'}{number(size)}"
