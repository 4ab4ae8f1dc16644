"""The notebooks as lessons: the syllabus says what they say, links lead somewhere, exercises have solutions."""

import ast
import builtins
import re
import unicodedata
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
GLOSSARY, SYLLABUS = ((FOLDER / name).read_text(encoding="utf-8") for name in ("glossary.md", "README.md"))
TERMS = re.findall(r"^### (.+)$", GLOSSARY, re.MULTILINE)
TIMED = ("smoke", "quick", "full")
each = pytest.mark.parametrize("file", ALL, ids=lambda file: file.stem)


def cells(file: Path) -> list:
    return nbformat.read(file, as_version=4).cells


def prose(file: Path) -> str:
    return "\n\n".join(cell.source for cell in cells(file) if cell.cell_type == "markdown")


def minutes(opening: str) -> list[str]:
    """What an opening says of each profile: `smoke` 1, `full` 50 (30 measured, with some cached)."""
    said = [re.search(rf"`{profile}` ((?:\([^)]*\)|[^,;.(]|\.\d)+)", opening) for profile in TIMED]
    return [found[1].strip() if found else "not said" for found in said]


def exercises(file: Path) -> list[str]:
    """The text of each exercise, numbered **1.**, **2.** …, up to the next heading."""
    asked = re.split(r"^## ", prose(file).split("## Exercises", 1)[-1], maxsplit=1, flags=re.MULTILINE)[0]
    return re.split(r"^\*\*\d+\.\*\* ", asked, flags=re.MULTILINE)[1:]


def solutions(file: Path) -> list[str]:
    return re.findall(r"<details><summary>Solution</summary>\n\n(.*?)\n\n</details>", prose(file), re.DOTALL)


def anchor(heading: str) -> str:
    """What a heading is called in a link: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def lost(text: str, home: Path) -> list[str]:
    """The links of a text at `home` that lead to no file or, in a page of Markdown, to no heading."""
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
        name, _, part = link.partition("#")
        target = home.parent / name if name else home
        if not target.exists():
            missing.append(link)
        elif part:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            missing += [] if part in map(anchor, headings) else [link]
    return missing


def test_what_the_readers_here_read():
    assert minutes("`smoke` 0.5, `quick` 3 (an estimate), `full` 50 (30, with some); `paper` more") == [
        "0.5",
        "3 (an estimate)",
        "50 (30, with some)",
    ]
    assert minutes("`smoke` 1, `full` 90. Every") == ["1", "not said", "90"]
    assert anchor("gamma (γ)") == "gamma-γ" and anchor("LASSO path") == "lasso-path"
    assert lost("[a](glossary.md#knee) [b](glossary.md#knees) [c](gone.md) `[d](x.md)`", FOLDER / "README.md") == [
        "glossary.md#knees",
        "gone.md",
    ]


@each
def test_the_syllabus_says_what_the_notebook_says(file):
    rows = [line for line in SYLLABUS.splitlines() if line.startswith(f"| [{file.stem[:2]}]({file.name})")]
    assert len(rows) == 1, f"notebooks/README.md has {len(rows)} rows for {file.name}"
    stated = [column.strip() for column in rows[0].split("|")][4:7]
    assert stated == minutes(cells(file)[0].source), f"the minutes of {file.name}, beside those in notebooks/README.md"


@each
def test_the_opening_states_question_papers_minutes_and_words(file):
    opening = cells(file)[0].source
    for part in ("**The question.**", "**You will be able to**", "**Minutes**"):
        assert part in opening, f"{file.name} does not open with {part}"
    assert re.search(r"\*\*Papers?\.\*\*", opening)
    assert "(glossary.md)" in opening, f"{file.name}: link glossary.md, and its new words, in the opening"


@each
def test_every_exercise_has_a_solution_that_compiles(file):
    asked, answers = exercises(file), solutions(file)
    assert len(asked) >= 2
    assert len(answers) == len(asked) and all("<details><summary>Solution</summary>" in one for one in asked)
    for answer in answers:
        assert answer.strip()
        for code in re.findall(r"```python\n(.*?)```", answer, re.DOTALL):
            ast.parse(code)


@each
def test_solutions_use_names_that_the_notebook_has(file):
    """A solution runs after the last cell: what it reads is bound by the notebook, by itself or by Python."""
    notebook = "\n".join(cell.source for cell in cells(file) if cell.cell_type == "code")
    bound = _bound(ast.parse(notebook)) | set(dir(builtins)) | {"display"}
    for answer in solutions(file):
        for code in re.findall(r"```python\n(.*?)```", answer, re.DOTALL):
            tree = ast.parse(code)
            read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            assert not read - bound - _bound(tree), f"{file.name}: a solution uses names that are nowhere"


def _bound(tree: ast.AST) -> set[str]:
    """The names that code binds: by assignment, loop, import, def, as an argument or by `with … as`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


@each
def test_it_ends_with_what_was_recorded(file):
    assert "\n## What we measured" in [c.source for c in cells(file) if c.cell_type == "markdown"][-1]
    *_, last = ast.parse(cells(file)[-1].source).body
    assert ast.unparse(last).startswith("fl.recorded()")


@each
def test_its_links_resolve(file):
    assert not lost(prose(file), file)


@pytest.mark.parametrize("page", ["README.md", "glossary.md"])
def test_the_links_of_a_page_resolve(page):
    assert not lost((FOLDER / page).read_text(encoding="utf-8"), FOLDER / page)


def test_terms_are_in_order_and_each_leads_to_a_notebook():
    keys = [unicodedata.normalize("NFKC", term).casefold() for term in TERMS]
    assert keys == sorted(set(keys))
    for term, text in zip(TERMS, re.split(r"^### .+$", GLOSSARY, flags=re.MULTILINE)[1:], strict=True):
        *explained, source = text.strip().splitlines()
        assert len(" ".join(explained).split()) >= 15, f"{term!r} is not explained"
        assert re.search(r"\]\(\d\d_\w+\.ipynb\)", source), f"{term!r} names no notebook where it is met"
