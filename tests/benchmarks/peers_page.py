"""peers.json in Markdown."""

TEXTS = {
    "path": (
        "The path, from moments",
        "One target, 100 λ down to 1e-4 of the largest. The peers get the Gram matrix, or the C + 1 rows that have "
        "these moments, which is the least that a solver on rows can be given.",
    ),
    "rows": (
        "From all rows to the path",
        "Ours: moments of 40 blocks, then the path; theirs: the Gram matrix, then the path. Peers that sweep over rows "
        "are left out: they take longer than from C + 1 rows.",
    ),
    "tasks": (
        "Many targets of one layer",
        "Ours: one pass over the rows, then every path. Theirs by their own call, which makes the Gram matrix for "
        "every target anew, or once for all where the caller sees to it.",
    ),
}
HOW = {"given": "", "once": ", Gram once", "anew": ", Gram per target"}


def page(found: dict) -> str:
    """The tables, what was not installed, versions and the machine's load."""
    lines = [
        "# LASSO paths beside other packages", "",
        f"Written by `tests/benchmarks/bench_peers.py`. One thread each, in turns; processor time, medians with the "
        f"smallest and largest in brackets. Gap: the worst over all λ, of ½Var(y); “equal gap”: the loosest "
        f"tolerance tried whose gap is at most {found['goal_gap']:g}. The gap bounds how far a solution is above the "
        f"optimum, by much where λ is small; how far it truly is stands beside it. Ratio: their time over ours "
        "beside it.", "",
    ]  # fmt: skip
    for name, (title, text) in TEXTS.items():
        if name in found["tables"]:
            lines += [f"## {title}", "", text, ""]
            lines += ["| C | rows | targets | solver | setting | ms | ratio | gap | above the optimum | same filters |"]
            lines += ["|---:|---:|---:|---|---|---:|---:|---:|---:|---:|"]
            lines += [row(entry) for entry in found["tables"][name]] + [""]
    if "memory" in found["tables"]:
        lines += [
            "## Memory",
            "",
            "Peak of a process that makes rows, adds them up, forgets them and solves the path.",
            "",
        ]
        lines += ["| C | rows | as one float32 table, MB | sums, MB | peak, MB | of it before the first row, MB |"]
        lines += ["|---:|---:|---:|---:|---:|---:|"]
        for entry in found["tables"]["memory"]:
            parts = " | ".join(f"{entry[key]:,.0f}" for key in ("table_mb", "state_mb", "peak_mb", "before_mb"))
            lines.append(f"| {entry['C']} | {entry['n']:,} | {parts} |")
        lines.append("")
    about = ", ".join(f"{name} {v['version']} (numpy {v['numpy']})" for name, v in found["versions"].items())
    lines += [f"Peers: {about}.", ""]
    lines += [f"Not installed: {name} ({reason})." for name, reason in found["missing"].items()]
    loads = "; ".join(f"{t}: {r['load_before']:.1f} to {r['load_after']:.1f}" for t, r in found["run"].items())
    lines += [f"Load of the machine (other programs ran on it): {loads}.", ""]
    return "\n".join(lines)


def row(entry: dict) -> str:
    solver, setting = entry["solver"] + HOW[entry.get("gram", "given")], entry["setting"]
    if entry.get("tol"):
        setting += f", tol {entry['tol']:g}"
    start = f"| {entry['C']} | {entry['n']:,} | {entry['targets']} | {solver} | {setting}"
    if "stopped_s" in entry:
        return f"{start} | > {1e3 * entry['stopped_s']:,.0f}, stopped | > {entry['ratio_at_least']:,.0f} | | | |"
    same, excess = (f"{entry['same_support']:.2f}", f"{entry['excess']:.0e}") if "excess" in entry else ("1", "0")
    ratio = spread(entry, "ratio") if "ratio" in entry else "1"
    missed = "" if entry["reached"] or entry["setting"] == "default" else ", not reached"
    return f"{start}{missed} | {spread(entry, 'ms')} | {ratio} | {entry['gap']:.0e} | {excess} | {same} |"


def spread(entry: dict, name: str) -> str:
    return f"{short(entry[name])} ({short(entry[f'{name}_low'])}–{short(entry[f'{name}_high'])})"


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
