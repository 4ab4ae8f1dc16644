"""Committed results: a run published under `reports/reference/`, and pages whose numbers are read from it.

A number in a page stands between two comments that name its key and format,

    <!--result 02.yaw.score .2f-->0.96<!--/result-->

so the page reads well as it is and can be refreshed, or checked, against the results. A key of the run `rendered`
stands as it is; photographs/… are those of that run, models/… the group results of `models.json`, detect/… the shares
of faces that the detector misses.
"""

import json
import re
import shutil
from pathlib import Path

from facelab import cache
from facelab.errors import unknown
from facelab.workbench import models, papers, report, runs

PAGE = "README.md"  # at the root; its numbers come from this reference run:
RUN = "rendered"
PAGES = (PAGE, "notebooks/limits.md")  # whose numbers are refreshed
DETECT = "benchmarks/detect.json"
_MARK = re.compile(r"<!--result (?P<key>\S+?)(?::(?P<field>\w+))? (?P<format>\S+?)-->.*?<!--/result-->", re.DOTALL)
_FIELDS = ("value", "low", "high", "paper")


def publish(run: Path, reference: Path, keys: str = "") -> Path:
    """Copy the results and figures of a run's folder to `reference` and write its README.md from them.

    What the reference holds of notebooks that are not in the run stays. With `keys`, e.g. "07.photos", only the results
    whose names begin so are copied, and no figures: a section of a notebook whose other results are published
    elsewhere. Nothing is run. ValueError where the run is missing, one of its notebooks failed, or no name begins so.
    """
    outcomes = runs.outcomes(run)
    if not outcomes:
        raise ValueError(f"no run in {run}: make one with `facelab report --name {run.name}`")
    if failed := [o.notebook for o in outcomes.values() if o.status != "ok"]:
        raise ValueError(f"run {run.name!r} is not whole: {', '.join(failed)} failed")
    results, figures = runs.merge(run), reference / "figures"
    for about in results["run"]["notebooks"].values():  # a folder of the reader's is no one else's business
        about["parameters"] = {name: _at_home(value) for name, value in about["parameters"].items()}
    names = [key for key in results if key != "run"]
    if keys and not any(key.startswith(keys) for key in names):
        raise unknown(f"beginning of a result in run {run.name!r}", keys, names)
    results = {key: entry for key, entry in results.items() if key == "run" or key.startswith(keys)}
    for part in ("notebooks", "minutes"):  # of notebooks of which nothing is copied, nothing is told or replaced
        mine = {n: one for n, one in results["run"][part].items() if not keys or any(k[:2] == n[:2] for k in results)}
        results["run"] = results["run"] | {part: mine}
    if (reference / "results.json").exists():
        results = update(read(reference), results, keys)
    figures.mkdir(parents=True, exist_ok=True)
    if not keys:
        stay = {notebook[:2] for notebook in results["run"]["notebooks"]} - {notebook[:2] for notebook in outcomes}
        for old in figures.glob("*.png"):
            if old.name[:2] not in stay:
                old.unlink()
        shutil.copytree(run / "figures", figures, dirs_exist_ok=True)
    cache.write_text(reference / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    cache.write_text(reference / "README.md", describe(results, reference.name))
    return reference


def _at_home(value):
    """A path in the home folder as ~/…; any other value as it is.

    >>> _at_home(str(Path.home() / "faces")), _at_home("rendered/wild"), _at_home(0)
    ('~/faces', 'rendered/wild', 0)
    """
    home = f"{Path.home()}/"
    return f"~/{value.removeprefix(home)}" if isinstance(value, str) and value.startswith(home) else value


def update(old: dict, new: dict, keys: str = "") -> dict:
    """Published results in which those of the notebooks in `new` (whose names begin with `keys`) take the place of what
    was there.

    Of a notebook that was published with the same parameters before the longer time is kept: a run that found its rows
    in the cache does not say what they cost.
    """
    about = new["run"]
    again = tuple(f"{notebook[:2]}." for notebook in about["notebooks"])
    results = {key: entry for key, entry in (old | new).items() if key != "run"}
    stays = {key for key in results if key in new or not key.startswith(again) or not key.startswith(keys)}
    results = {key: entry for key, entry in results.items() if key in stays}
    both = {name: dict(sorted((old["run"][name] | about[name]).items())) for name in ("minutes", "notebooks")}
    for notebook, run in about["notebooks"].items():
        if old["run"]["notebooks"].get(notebook, {}).get("parameters") == run["parameters"]:
            both["minutes"][notebook] = max(old["run"]["minutes"][notebook], about["minutes"][notebook])
    asked = [run["parameters"] for run in both["notebooks"].values()]

    def distinct(name: str) -> list:
        return list(dict.fromkeys(parameters[name] for parameters in asked if name in parameters))

    results["run"] = about | both | {"seeds": distinct("seed"), "data": distinct("faces")}
    results["run"]["profile"] = ", ".join(distinct("profile"))
    return dict(sorted(results.items(), key=lambda item: item[0][:2]))  # as recorded within a notebook


def describe(results: dict, name: str) -> str:
    """The results of a run as a Markdown page: a table per notebook and how they came about."""
    about = results["run"]
    lines = [f"# Reference run `{name}`", "", "Written by `facelab report --publish`; do not edit.", ""]
    for notebook, run in about["notebooks"].items():
        number = notebook[:2]
        parameters = ", ".join(f"{k} = {v}" for k, v in run["parameters"].items())
        lines += [f"## {run['title']}", ""]
        commit = run.get("commit")
        made = f"; commit {commit['id'][:10]}{' with changes' if commit['dirty'] else ''}" if commit else ""
        lines += [f"{parameters}; {about['minutes'][notebook]:.1f} minutes{made}.", ""]
        lines += [
            "| result | value | 95 % interval, or as noted | unit | paper | note |",
            "|---|---:|---:|---|---:|---|",
        ]
        lines += [_row(key, entry) for key, entry in results.items() if key.startswith(f"{number}.")]
        lines.append("")
    devices = dict.fromkeys(run.get("device", about["device"]) for run in about["notebooks"].values())
    versions = report.versions([run.get("versions", about["versions"]) for run in about["notebooks"].values()])
    lines += [
        "## How it came about",
        "",
        f"- profile: {about['profile']}",
        f"- first seed: {', '.join(map(str, about['seeds'])) or '–'}; how many followed is in the notes",
        f"- data: {', '.join(about['data']) or '–'}",
        f"- device: {', '.join(devices)}",
        f"- versions: {versions}",
    ]
    return "\n".join(lines) + "\n"


def _row(key: str, entry: dict) -> str:
    paper = "" if entry["paper"] is None else report.number(entry["paper"])
    value, interval = report.number(entry["value"]), report.interval(entry)
    cells = [key, value, interval, entry["unit"], paper, entry["note"]]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def interpolate(text: str, results: dict) -> str:
    """`text` with the number between each pair of result comments set from `results`.

    A comment names a key, optionally one of its fields (value, low, high, paper), and a Python format.
    ValueError for a key or field that does not exist, a field without value and a format that does not fit.

    >>> entry = {"value": 0.958, "low": 0.95, "high": 0.97, "paper": None}
    >>> interpolate("R² <!--result 02.yaw.score .2f-->?<!--/result-->", {"02.yaw.score": entry})
    'R² <!--result 02.yaw.score .2f-->0.96<!--/result-->'
    """

    def fill(mark: re.Match) -> str:
        key, field = mark["key"], mark["field"] or "value"
        if key == "run" or key not in results:
            raise unknown("result", key, [k for k in results if k != "run"])
        if field not in _FIELDS:
            raise unknown("field of a result", field, _FIELDS)
        if (value := results[key][field]) is None:
            raise ValueError(f"result {key!r} has no {field}")
        try:
            shown = format(value, mark["format"])
        except ValueError as error:
            problem = f"{value!r} cannot be shown as {mark['format']!r}: {error}"
            raise ValueError(f"result {key!r}: {problem}") from error
        opening = mark[0][: mark[0].index("-->") + 3]
        return f"{opening}{shown}<!--/result-->"

    return _MARK.sub(fill, text)


def read(reference: Path) -> dict:
    """The results of a committed run."""
    return json.loads((reference / "results.json").read_text(encoding="utf-8"))


def committed(root: Path) -> dict[str, dict]:
    """Every committed result below `root`, by the names that pages use."""
    folder, known = root / "reports" / "reference", {}
    for run in sorted(folder.glob("*/results.json")):
        prefix = "" if run.parent.name == RUN else f"{run.parent.name}/"
        known |= {f"{prefix}{key}": entry for key, entry in read(run.parent).items() if key != "run"}
    if (folder / models.RESULTS).exists():
        known |= {f"models/{key}": entry for key, entry in models.read(folder).items()}
        known |= models.said()
    if (folder / DETECT).exists():
        for row in json.loads((folder / DETECT).read_text(encoding="utf-8"))["rows"]:
            if row["what"] == "recall" and row["by"] == "all":
                entry = {"value": 1 - row["value"], "low": 1 - row["high"], "high": 1 - row["low"], "unit": "share"}
                entry |= {"paper": None, "note": f"a sample of {row['n']:,} faces, MTCNN"}
                known[f"detect/{row['of'].replace(' ', '_')}.missed"] = entry
    return known


def commands(root: Path) -> dict[str, str]:
    """What makes the results of each notebook again: "03" or "photographs/08" → a command."""
    folder = root / "reports" / "reference"
    made = {"detect/LFW": "python tests/benchmarks/bench_detect.py --photos FOLDER"}
    made["detect/UTKFace"] = made["detect/LFW"]
    for run in sorted(folder.glob("*/results.json")):
        prefix = "" if run.parent.name == RUN else f"{run.parent.name}/"
        for notebook, about in read(run.parent)["run"]["notebooks"].items():
            asked = about["parameters"]
            photos = " --set photos=FOLDER" if asked.get("photos") else ""
            if not asked.get("faces", "rendered/").startswith("rendered/"):  # a public set, where FACELAB_PHOTOS is
                photos += f" --set faces={asked['faces']}"
            made[prefix + notebook[:2]] = f"facelab report {notebook[:2]} --profile {asked['profile']}{photos}"
    return made


def refresh(root: Path) -> list[Path]:
    """Set the numbers of the pages below `root` from the committed results, and write the runs' own pages, the page
    beside the papers and the model cards again where their lists are there. The pages that changed."""
    folder, known, fresh = root / "reports" / "reference", committed(root), {}
    for page in PAGES:
        if (root / page).exists():
            fresh[root / page] = interpolate((root / page).read_text(encoding="utf-8"), known)
    for run in folder.glob("*/results.json"):
        fresh[run.parent / "README.md"] = describe(read(run.parent), run.parent.name)
    if (folder / papers.LIST).exists():
        listed = papers.read((folder / papers.LIST).read_text(encoding="utf-8"))
        fresh[folder / papers.PAGE] = papers.write(listed, known, commands(root))
    if (folder / models.RESULTS).exists():
        fresh[folder / models.PAGE] = models.write(known)
    changed = [page for page, text in fresh.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in changed:
        cache.write_text(page, fresh[page])
    return changed
