"""One page over all speed tables: what was measured, by which command, on what, and what bounds it.

python tests/benchmarks/summary.py       # writes reports/reference/benchmarks/README.md from the JSON files there
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "reports" / "reference" / "benchmarks"


def lasso(found: dict) -> str:
    rows = found["rows"]
    size = max(row["C"] for row in rows)
    parts = [f"{row['solver']} {row['ratio']:,.0f} ×" for row in rows if row["C"] == size and row["solver"] != "ours"]
    return f"one path of {size} filters, time of others over ours: {', '.join(parts)}"


def peers(found: dict) -> str:
    rows = found["tables"].get("path", [])
    size = max((row["C"] for row in rows), default=0)
    parts = [
        f"{row['solver']} {row['ratio']:,.0f} ×"
        if "ratio" in row
        else f"{row['solver']} > {row['ratio_at_least']:,.0f} ×"
        for row in rows
        if row["C"] == size and (row["reached"] or row["setting"] == "equal gap") and row["solver"] != "ours"
    ]
    return f"one path of {size} filters at a gap of {found['goal_gap']:g}: {', '.join(parts)}"


def measure(found: dict) -> str:
    parts = [f"{row['net']} {row['bare_over_measured']:.2f}" for row in found["rows"]]
    return f"bare forward pass over measuring: {', '.join(parts)}"


def render(found: dict) -> str:
    speeds = [row["median"] for row in found["presets"]]
    return (
        f"{min(speeds):.0f}–{max(speeds):.0f} pictures a second, by preset; rays over z-buffer "
        f"{found['visibility']['ratio']:.1f} ×"
    )


def sources(found: dict) -> str:
    rows = {row["source"]: row["faces_per_second"] for row in found["rows"]}
    return f"all six networks: {rows['all six']:.0f} faces a second, one thread"


def detect(found: dict) -> str:
    rows = [r for r in found["rows"] if r["what"] == "recall" and r["by"] == "all"]
    return "faces found: " + ", ".join(f"{row['of']} {100 * row['value']:.1f} %" for row in rows)


def studio(found: dict) -> str:
    def ends(picture: str) -> str:
        times = [row["ms"] for row in found["rows"] if (row["picture"], row["where"]) == (picture, "JupyterLab")]
        return f"{min(times):.0f}–{max(times):.0f} ms"

    return f"from key to the turned head {ends('head')}, to what is read of it {ends('draft')}"


def sparse(found: dict) -> str:
    rows = [row for row in found["rows"] if row["time_over_macs"] is not None]
    return ", ".join(
        f"{name}: time cut / MACs cut {min(shares):.2f}–{max(shares):.2f}"
        for name in dict.fromkeys(row["net"] for row in rows)
        for shares in [[row["time_over_macs"] for row in rows if row["net"] == name]]
    )


def precision(found: dict) -> str:
    parts = [f"{row['net']} {row['float32_over_bf16']:.2f}" for row in found["rows"]]
    return f"a step of training, time in float32 over that in bf16: {', '.join(parts)}"


def instructions(found: dict) -> str:
    has = found["run"]["instructions for bf16"]
    return f"the processor, which has {'' if has else 'no '}instructions for bf16"


def gpu(found: dict) -> str:
    parts = [f"{row['what']} ({row['of']}) {row['ratio']:.1f} ×" for row in found["rows"] if "ratio" in row]
    return f"CPU time over CUDA time: {', '.join(parts)}" if parts else "the CPU alone"


def share_of_sums(found: dict) -> str:
    shares = [100 * row["sums_ms"] / (row["tapped_ms"] + row["sums_ms"]) for row in found["rows"]]
    return f"the network itself: adding up takes {min(shares):.1f}–{max(shares):.1f} % of the time"


def largest_source(found: dict) -> str:
    rows = {row["source"]: row for row in found["rows"]}
    whole = rows.pop("all six")
    largest = max(rows.values(), key=lambda row: row["embed_ms"])
    return (
        f"`{largest['source']}`: {100 * largest['embed_ms'] / whole['embed_ms']:.0f} % of the time; cutting chips: "
        f"{100 * whole['chips_ms'] / whole['embed_ms']:.0f} %"
    )


def runtimes_apart(found: dict) -> str:
    """The runtime that profits most from a cut, and the one that profits least."""
    rows = [row for row in found["rows"] if row["time_over_macs"] is not None]
    mean = {}
    for row in rows:
        mean.setdefault((row["runtime"], row["batch"]), []).append(row["time_over_macs"])
    (best, b), (worst, w) = (pick(mean, key=lambda k: sum(mean[k]) / len(mean[k])) for pick in (max, min))
    return f"what a cut does not remove: least of it in {best} at batch {b}, most in {worst} at batch {w}"


def said(text: str) -> Callable[[dict], str]:
    return lambda found: text


PATH = "one symmetric sweep over the Gram matrix for each filter that joins or leaves"
TABLES: dict[str, tuple[str, Callable[[dict], str], Callable[[dict], str]]] = {  # file: command, headline, bound by
    "lasso": ("bench_lasso.py", lasso, said(PATH)),
    "peers": ("bench_peers.py", peers, said(f"{PATH}; from all rows: XᵀX, for everyone alike")),
    "measure": ("bench_measure.py", measure, share_of_sums),
    "render": ("bench_render.py", render, said("not measured by parts")),
    "sources": ("bench_sources.py", sources, largest_source),
    "sparse": ("bench_sparse.py", sparse, runtimes_apart),
    "precision": ("bench_precision.py", precision, instructions),
    "gpu": ("gpu.py", gpu, said("not measured by parts")),
    "detect": ("bench_detect.py", detect, said("not measured by parts")),
    "studio": ("bench_studio.py", studio, said("not measured by parts")),
}


def machine(found: dict) -> str:
    """Whatever the file says of it: processor, threads, versions, load."""
    run = found.get("run", {})
    said = [found.get("processor") or run.get("processor") or "x86_64"]
    said += [f"{run[key]} {key}" for key in ("threads", "cores") if key in run]
    said += [f"torch {run['torch']}"] if "torch" in run else []
    versions = found.get("versions", {})
    said += [f"{name} {v['version'] if isinstance(v, dict) else v}" for name, v in versions.items()]
    loads = [part["load_before"] for part in (run, *run.values()) if isinstance(part, dict) and "load_before" in part]
    said += [f"load up to {max(loads):.1f}"] if loads else []
    return ", ".join(said)


def page(folder: Path) -> str:
    """A row for every JSON file there is. ValueError for one that no command here writes."""
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    unknown = set(files) - set(TABLES)
    if unknown:
        raise ValueError(f"{sorted(unknown)} in {folder}: expected tables of {', '.join(TABLES)}")
    lines = [
        "# Speed, measured", "",
        "Written by `tests/benchmarks/summary.py` from the files beside it. Ratios of runs in turns carry over to "
        "other machines, seconds do not. Commands start with `python tests/benchmarks/`; `make bench` runs every "
        "`bench_*.py`.", "",
        "| table | command | headline | what bounds it | machine |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, (command, headline, bound) in TABLES.items():
        if name not in files:
            continue
        found = json.loads(files[name].read_text(encoding="utf-8"))
        links = f"[{name}.json]({name}.json)"
        if (folder / f"{name}.md").exists():
            links = f"[{name}.md]({name}.md), {links}"
        lines.append(f"| {links} | `{command}` | {headline(found)} | {bound(found)} | {machine(found)} |")
    missing = [f"`{TABLES[name][0]}`" for name in TABLES if name not in files]
    lines += ["", f"Not measured here yet: {', '.join(missing)}.", ""] if missing else [""]
    if (folder / "scale.md").exists():
        lines += ["[scale.md](scale.md) plans a very large face set from these rates (`plan_scale.py`).", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    (folder / "README.md").write_text(page(folder), encoding="utf-8")
    print(folder / "README.md")


if __name__ == "__main__":
    main()
