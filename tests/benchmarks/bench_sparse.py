"""What a cut of the multiplications takes off the time, runtime by runtime.

    python tests/benchmarks/bench_sparse.py [--nets vgg-narrow identity vgg16] [--cuts 56 72] [--rounds 30] [--compiled]

Parent and cut network take turns in every runtime (`fl.cost.compare`), one thread, batch 1 and 32, and the ratio is the
median over rounds of that within a round. The head is one linear layer on the average over the image. Time depends on
how many filters are left and not on which, so every layer keeps its first ones, the same share in all, such that the
MACs come as near to the cut as widths allow. "vgg16": at its full width and 224 px with random weights, which time does
not depend on; batch 1. "head": no filter goes, so that the head's part is seen. "…, by 16": every layer's width is
rounded up to a multiple of 16, and at least as many MACs go.
Writes sparse.json and sparse.md. Goal: time cut in the same runtime ≥ 0.95 × MACs cut.
"""

import argparse
import json
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import facelab as fl
from facelab.filters import sparse
from facelab.filters.heads import with_head
from facelab.nets.net import Net
from facelab.nets.vgg_face import VGGFace

OUT = Path(__file__).parents[2] / "reports" / "reference" / "benchmarks" / "sparse.json"
GOAL = 0.95
WIDE = "vgg16"
BLOCK = 16  # filters: the width of most processors' vectors
RUNTIMES = ("eager", "channels_last", "channels_last_bf16", "onnxruntime")


def network(name: str) -> Net:
    if name != WIDE:
        return fl.nets.load(name, device="cpu")
    return fl.nets.wrap(VGGFace(people=1).eval(), size=224, mean=127.5, std=64, name=WIDE)


def thinned(net: Net, share: float, multiple: int = 1) -> Net:
    """The network with the first `share` of every layer's filters, rounded up to a multiple, and a new head; where
    that is all of them, the new head alone."""
    keep = {}
    for name, conv in net.convs.items():
        kept = multiple * max(1, math.ceil(share * conv.out_channels / multiple))
        if kept < conv.out_channels:
            keep[name] = np.arange(kept)
    return sparse.cut(net, keep, head="pool", outputs=1) if keep else with_head(net, None, "pool", 1, 0)[0]


def cut_to(net: Net, wanted: float, multiple: int = 1) -> Net:
    """The thinned network whose cut of the MACs, in per cent, is nearest to `wanted`; found by bisection. With a
    multiple, the nearest of those that lose `wanted` or more."""
    whole, low, high, best = fl.cost.count(net).macs, 0.0, 1.0, None
    for _ in range(8):
        share = (low + high) / 2
        small = thinned(net, share, multiple)
        cut = 100 * (1 - fl.cost.count(small).macs / whole)
        if (multiple == 1 or cut >= wanted) and (best is None or abs(cut - wanted) < abs(best[0] - wanted)):
            best = cut, small
        low, high = (share, high) if cut > wanted else (low, share)
    if best is None:
        raise ValueError(f"{net.name} cannot lose {wanted:g} % of its MACs at widths that are multiples of {multiple}")
    return best[1]


def compare(net: Net, small: Net, what: str, batch: int, **settings) -> list[dict]:
    """One row a runtime."""
    table = fl.cost.compare(net, small, batch=batch, threads=1, **settings).table().set_index("what")
    macs = float(table.loc["macs", "cut"])
    rows = []
    for runtime in settings["runtimes"]:
        row = table.loc[runtime]
        rows.append({
            "net": net.name, "cut": what, "macs_cut": macs, "batch": batch, "runtime": runtime, "whole_ms": row["a"],
            "cut_ms": row["b"], "ratio": row["ratio"], "ratio_low": row["low"], "ratio_high": row["high"],
            "time_cut": row["cut"], "time_over_macs": row["cut"] / macs if macs > 10 else None,
            "total_cut": 100 * (1 - row["against_eager"]),
        })  # fmt: skip
    return rows


def page(found: dict) -> str:
    run = found["run"]
    lines = [
        "# Cut networks, runtime by runtime", "",
        f"Written by `tests/benchmarks/bench_sparse.py`: one thread, {run['rounds']} rounds in turns, medians; "
        f"ratio with quartiles in brackets. Time cut: in the same runtime. In all: against the whole network in eager "
        f"float32. Goal: time cut ≥ {run['goal']:g} × MACs cut.", "",
        "| network | cut | MACs | batch | runtime | whole, ms | cut, ms | ratio | time cut | over MACs | in all |",
        "|---|---|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for r in found["rows"]:
        share = "" if r["time_over_macs"] is None else f"{r['time_over_macs']:.2f}"
        ratio = f"{r['ratio']:.2f} ({r['ratio_low']:.2f}–{r['ratio_high']:.2f})"
        lines.append(
            f"| {r['net']} | {r['cut']} | {r['macs_cut']:.1f} % | {r['batch']} | {r['runtime']} "
            f"| {r['whole_ms']:.2f} | {r['cut_ms']:.2f} | {ratio} | {r['time_cut']:.0f} % | {share} "
            f"| {r['total_cut']:.0f} % |"
        )
    lines += ["", f"torch {run['torch']}; load of the machine (other programs ran on it): {run['load_before']:.1f} to "
              f"{run['load_after']:.1f}.", ""]  # fmt: skip
    return "\n".join(lines)


def keep(out: Path, page: Callable[[dict], str], rows: list[dict], load_before: float, **run) -> None:
    """Write the rows and how they came about as JSON, with their page beside it, and print that."""
    run |= {"torch": torch.__version__, "processor": platform.machine()}
    found = {"run": run | {"load_before": load_before, "load_after": os.getloadavg()[0]}, "rows": rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text(page(found), encoding="utf-8")
    print(page(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["vgg-narrow", "identity", WIDE])
    parser.add_argument("--cuts", type=float, nargs="+", default=[56, 72], help="of the MACs, in per cent")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES))
    parser.add_argument("--compiled", action="store_true", help="also by torch.compile: minutes a network")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.manual_seed(0)
    load, rows = os.getloadavg()[0], []
    runtimes = [*options.runtimes, *(["compiled"] if options.compiled else [])]
    settings = {"runtimes": runtimes, "rounds": options.rounds, "warmup": options.warmup}
    for name in options.nets:
        net = network(name)
        cuts = {"head": thinned(net, 1.0)}
        for cut in options.cuts:
            cuts |= {f"−{cut:g} %": cut_to(net, cut), f"−{cut:g} %, by {BLOCK}": cut_to(net, cut, BLOCK)}
        for batch in options.batches if name != WIDE else [1]:
            for what, small in cuts.items():
                rows += compare(net, small, what, batch, **settings)
    keep(options.out, page, rows, load, threads=1, rounds=options.rounds, goal=GOAL)


if __name__ == "__main__":
    main()
