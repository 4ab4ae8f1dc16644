"""Every numbered table and figure of the four papers, and what stands beside it here: one page, written from a list of
published values (`reports/reference/papers.yaml`) and the committed results.

Only numbers of the list and of the results are on the page; a difference is ours less published, in the paper's unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import yaml

from facelab.errors import unknown
from facelab.workbench import report

LIST, PAGE = "papers.yaml", "papers.md"
_OPENING = """# Beside the papers

Written by `facelab report --publish` from `papers.yaml` and the committed results; do not edit.

{papers} papers, {items} numbered tables and figures, each with a row. Of the {published} rows with a published value
(one value has several rows where ours are of several sets), {compared} stand beside a number of ours from which a
difference is formed, {apart} beside one that is not the same quantity, {alone} alone, with the reason. Values that a
paper only draws are not guessed from its pictures.

**How to read a difference.** It is ours less published. Where theirs are photographs and ours are rendered faces, or a
smaller network, it mixes all of that: it does not say that a method is better or worse. What can be compared is the
order of rows within a table, shares that are kept or cut, and ratios. `--set faces=…` and `--set photos=FOLDER` in a
command mark numbers of ours that are of photographs. Notebooks 01 to 06 split photographs at random, by person, or
where a set does not name its people by photograph (a note that counts people then counts photographs), and leave out of
FER2013 the part that a source was trained on; 07 and 08 keep the official parts (MTFL's and FER2013's test, LFW's ten
folds).
"""


@dataclass(frozen=True)
class Value:
    """One published value: `of` what, as printed (None where the paper prints none), and the name of our result."""

    of: str
    published: float | None = None
    unit: str = ""
    ours: str | None = None
    times: float = 1.0
    none: str = ""
    apart: str = ""

    @property
    def both(self) -> bool:
        return bool(self.ours) and self.published is not None

    @property
    def compared(self) -> bool:
        """Whether a difference is formed."""
        return self.both and not self.apart


@dataclass(frozen=True)
class Item:
    """A table or figure: what it shows, data and protocol of theirs and of ours, its values, and why they differ."""

    item: str
    shows: str
    values: tuple[Value, ...]
    theirs: str = ""
    ours: str = ""
    why: str = ""
    none: str = ""
    notebook: str = ""


@dataclass(frozen=True)
class Paper:
    """A paper and, in the order of the list, all its numbered tables and figures."""

    paper: str
    title: str
    tables: int
    figures: int
    items: tuple[Item, ...]


def read(text: str) -> list[Paper]:
    """The papers of a list in YAML. ValueError for unknown fields, a table or figure that is missing, twice or not
    numbered by the paper, and a value with neither a result of ours nor a reason.

    >>> item = "{item: Table 1, shows: curves, values: [{of: knee, published: 9, ours: 02.yaw.knee}]}"
    >>> read(f"[{{paper: A, title: On A, tables: 1, figures: 0, items: [{item}]}}]")[0].items[0].values[0].published
    9
    """
    papers = [_made(Paper, row, f"paper {row.get('paper')!r}") for row in yaml.safe_load(text)]
    for paper in papers:
        there = [item.item for item in paper.items]
        wanted = [f"Table {i}" for i in range(1, paper.tables + 1)]
        wanted += [f"Figure {i}" for i in range(1, paper.figures + 1)]
        for name in wanted:
            if there.count(name) != 1:
                raise ValueError(f"{paper.paper}: {name} is listed {there.count(name)} times, expected once")
        for name in there:
            if name not in wanted:
                raise unknown(f"table or figure of {paper.paper}", name, wanted)
    return papers


def _made(kind, row: Mapping, where: str):
    """A dataclass from a mapping, with those below it."""
    names = [field.name for field in fields(kind)]
    allowed = [*names, "apart"] if kind is Item else names
    for name in row:
        if name not in allowed:
            raise unknown(f"field of {where}", name, allowed)
    row = dict(row)
    if kind is Paper:
        row["items"] = tuple(_made(Item, one, f"{row['paper']}, {one.get('item')}") for one in row["items"])
    elif kind is Item:
        shared = {"none": row.get("none", ""), "apart": row.pop("apart", "")}
        values = [shared | one for one in row.get("values", ())]
        row["values"] = tuple(_made(Value, one, f"{where}, {one.get('of')!r}") for one in values)
        if not row["values"] and not row.get("none"):
            raise ValueError(f"{where}: expected values, or under `none` why there are none")
    elif row.get("ours") is None and not row.get("none"):
        raise ValueError(f"{where}: expected the name of a result under `ours`, or a reason under `none`")
    return kind(**row)


def write(papers: list[Paper], known: Mapping[str, dict], commands: Mapping[str, str]) -> str:
    """The page in Markdown. known: results by the names the list uses; commands: what makes them, by the part of the
    name before its first dot, e.g. "photographs/08" → "facelab report 08 …". ValueError for an unknown result."""
    values = [value for paper in papers for item in paper.items for value in item.values]
    for paper in papers:
        for item in paper.items:
            for value in item.values:
                if value.ours is not None and value.ours not in known:
                    raise unknown(f"result ({LIST}, {paper.paper}, {item.item})", value.ours, known)
    printed = [value for value in values if value.published is not None]
    lines = [
        _OPENING.format(
            papers=len(papers),
            items=sum(len(paper.items) for paper in papers),
            published=len(printed),
            compared=sum(value.compared for value in printed),
            apart=sum(value.both and not value.compared for value in printed),
            alone=sum(not value.both for value in printed),
        )
    ]
    heads = ["table or figure", "shows", "published", "ours", "difference", "their data", "our data", "command"]
    for paper in papers:
        lines += [f"## {paper.paper}", "", f"*{paper.title}*", "", *_table(heads, "llllrlll")]
        lines += [_cells(_overview(paper, item, known, commands)) for item in paper.items]
        lines.append("")
    lines += ["# All values", ""]
    for paper in papers:
        for item in paper.items:
            if item.values:
                lines += _details(paper, item, known)
    return "\n".join(lines).rstrip() + "\n"


def _overview(paper: Paper, item: Item, known, commands) -> list[str]:
    """A row of the paper's table: its first value with a difference, else the first with both sides, else with one."""
    name = item.item
    command = ", ".join(f"`{one}`" for one in dict.fromkeys(_command(v.ours, commands) for v in item.values if v.ours))
    if not command and item.notebook:
        command = f"`{_command(item.notebook, commands)}`"
    if not item.values:
        return [name, item.shows, "–", item.none, "", item.theirs, item.ours, command]
    value = max(item.values, key=lambda v: (v.compared, v.both, bool(v.ours)))  # the first of the largest
    more = len(item.values) - 1
    link = f"[{name}](#{_anchor(paper, item)})"
    published = f"{value.of}: {_published(value)}" + (f" (and {more} more)" if more else "")
    ours = _ours(value, known) if value.ours else value.none
    return [link, item.shows, published, ours, _difference(value, known), item.theirs, item.ours, command]


def _details(paper: Paper, item: Item, known) -> list[str]:
    lines = [f"## {paper.paper}, {item.item}", "", f"{item.shows[0].upper()}{item.shows[1:]}.", ""]
    lines += [f"- Theirs: {item.theirs}."] if item.theirs else []
    lines += [f"- Ours: {item.ours}."] if item.ours else []
    off: dict[str, list[float]] = {}  # by unit: a larger accuracy is better, a larger error worse
    for v in item.values:
        if v.compared:
            off.setdefault(v.unit or "no unit", []).append(_gap(v, known))
    if off:
        counts = (f"{unit}: {sum(d > 0 for d in some)} above, {sum(d < 0 for d in some)} below"
                  for unit, some in off.items())  # fmt: skip
        lines.append(f"- Differences from the published value, by unit. {'; '.join(counts)}.")
    lines += [f"- Why: {item.why}."] if item.why else []
    heads = ["value", "published", "ours", "95 % interval, or as noted", "difference", "how ours was measured"]
    lines += ["", *_table(heads, "lrrlrl")]
    for v in item.values:
        entry = known[v.ours] if v.ours else None
        interval = "" if entry is None else report.interval(_scaled(entry, v.times))
        about = [v.apart, f"`{v.ours}`", entry["note"]] if entry else [v.none]
        cells = [v.of, _published(v), _ours(v, known) if entry else "–", interval, _difference(v, known)]
        lines.append(_cells([*cells, "; ".join(filter(None, about))]))
    return [*lines, ""]


def _published(value: Value) -> str:
    return "–" if value.published is None else f"{report.number(value.published)} {value.unit}".strip()


def _ours(value: Value, known) -> str:
    entry = known[value.ours]
    unit = value.unit if value.unit and not value.apart else "%" if value.times == 100 else entry["unit"]
    return f"{report.number(entry['value'] * value.times)} {unit}".strip()


def _scaled(entry: dict, times: float) -> dict:
    return {end: None if entry[end] is None else entry[end] * times for end in ("low", "high")}


def _gap(value: Value, known) -> float:
    return known[value.ours]["value"] * value.times - value.published


def _difference(value: Value, known) -> str:
    if not value.both:
        return ""
    return report.change(_gap(value, known)) if value.compared else "not formed"


def _command(name: str, commands: Mapping[str, str]) -> str:
    made = name.split(".")[0]
    if made not in commands:
        raise unknown("origin of a result", made, commands)
    return commands[made]


def _anchor(paper: Paper, item: Item) -> str:
    text = f"{paper.paper}, {item.item}".lower()
    return "".join(c for c in text if c.isalnum() or c in " -").replace(" ", "-")


def _table(heads: list[str], aligned: str) -> list[str]:
    return [_cells(heads), "|" + "|".join({"l": "---", "r": "---:"}[a] for a in aligned) + "|"]


def _cells(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
