"""Measuring, embedding, rendering, training and cut networks: this machine's CPU beside its CUDA device, in turns.

    python tests/benchmarks/gpu.py                 # needs CUDA; says so and ends where there is none
    python tests/benchmarks/gpu.py --device cpu    # the CPU column alone, to check the script

Random faces, nothing cached. Every job runs once for warm-up, then once a round on each device; the device is waited
for before the clock is read. The ratio is the median over rounds of CPU time over CUDA time, with the smallest and the
largest. The CPU has all cores, or `--threads`. Writes gpu.json and gpu.md.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent))

from bench_sources import random_faces
from bench_sparse import cut_to, keep

import facelab as fl
from facelab.faces import presets, rendered
from facelab.faces.faceset import FaceSet
from facelab.nets.net import Net

OUT = Path(__file__).parents[2] / "reports" / "reference" / "benchmarks" / "gpu.json"


def devices(asked: str) -> list[str]:
    """The devices to compare. SystemExit with a reason where CUDA is asked for and absent."""
    if asked == "cpu":
        return ["cpu"]
    if not torch.cuda.is_available():
        raise SystemExit(
            f"no CUDA device: torch {torch.__version__} sees none. Run this on a machine with one (and a torch built "
            "for CUDA), or give --device cpu, which runs the same jobs on this machine's CPU alone"
        )
    return ["cpu", "cuda"]


def labelled(faces: FaceSet) -> FaceSet:
    """The same faces with made-up yaw and age, four of each person."""
    n = len(faces)
    rng = torch.Generator().manual_seed(0)
    labels = pd.DataFrame({
        "identity": [f"p{i // 4}" for i in range(n)],
        "yaw": (120 * torch.rand(n, generator=rng) - 60).numpy(), "age": (90 * torch.rand(n, generator=rng)).numpy(),
    })  # fmt: skip
    return FaceSet(faces.name, faces.images, labels, faces.landmarks)


def forward(net: Net, batch: int, device: str) -> Callable[[], None]:
    x = torch.rand(batch, 3, net.size, net.size, generator=torch.Generator().manual_seed(0)).to(device)

    def run():
        with torch.inference_mode():
            net(x)

    return run


def jobs(device: str, nets: list[str], parents: list[str], faces: FaceSet, people: int, batch: int, cuts) -> dict:
    """Every job on one device, by (what, of): how many images it handles, and the call."""
    found, quiet = {}, {"cached": False, "progress": False}
    for name in nets:
        net = fl.nets.load(name, device=device)
        found["measure", name] = len(faces), lambda net=net: fl.measure(net, faces, ["yaw", "age"], **quiet)
        found["embed", name] = len(faces), lambda net=net: fl.embed(net, faces, **quiet)
    for name in parents:
        whole = fl.nets.load(name, device="cpu")
        for cut, small in {"whole": whole, **{f"−{cut:g} % MACs": cut_to(whole, cut) for cut in cuts}}.items():
            small = small.to(device).eval()
            found[f"forward, batch {batch}", f"{name}, {cut}"] = batch, forward(small, batch, device)
    start = fl.nets.load(parents[0], device=device)
    small = fl.sparse.cut(start, {k: range(c.out_channels - 1) for k, c in start.convs.items()}, head="pool", outputs=1)

    def fit():
        fl.fit(copy.deepcopy(small), faces, "yaw", epochs=1, validation=None, device=device, progress=False)

    found["fit, one epoch", parents[0]] = len(faces), fit
    pictures = presets.images("rendered/pose", people=people)
    found["render", "rendered/pose"] = pictures, lambda: rendered.speed(people=people, device=device)
    return found


def seconds(run: Callable[[], object], device: str) -> float:
    """By the clock, until the device has done it."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(by_device: dict[str, dict], rounds: int) -> list[dict]:
    """One row a job: images a second on each device, and the ratio where there are two."""
    rows = []
    for key in next(iter(by_device.values())):
        for device, of in by_device.items():
            seconds(of[key][1], device)  # the first call compiles and chooses kernels
        took = pd.DataFrame([{d: seconds(of[key][1], d) for d, of in by_device.items()} for _ in range(rounds)])
        row = {"what": key[0], "of": key[1], "images": next(iter(by_device.values()))[key][0]}
        row |= {f"{device}_per_s": row["images"] / float(took[device].median()) for device in took}
        if "cuda" in took:
            ratio = took["cpu"] / took["cuda"]
            row |= {"ratio": ratio.median(), "ratio_low": ratio.min(), "ratio_high": ratio.max()}
        rows.append(row)
    return rows


def page(found: dict) -> str:
    run = found["run"]
    lines = [
        "# CPU and CUDA", "",
        f"Written by `tests/benchmarks/gpu.py`: images a second, medians of {run['rounds']} rounds in turns; ratio "
        f"with the smallest and the largest in brackets. CUDA device: {run['cuda'] or 'none'}; CPU threads: "
        f"{run['threads']}; torch {run['torch']}; load {run['load_before']:.1f} to {run['load_after']:.1f}.", "",
        "| what | of | images | CPU | CUDA | ratio |", "|---|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for r in found["rows"]:
        cuda, ratio = "", ""
        if "ratio" in r:
            cuda = f"{r['cuda_per_s']:,.0f}"
            ratio = f"{r['ratio']:.1f} ({r['ratio_low']:.1f}–{r['ratio_high']:.1f})"
        lines.append(f"| {r['what']} | {r['of']} | {r['images']} | {r['cpu_per_s']:,.1f} | {cuda} | {ratio} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--nets", nargs="+", default=["vgg-narrow", "identity", "student"])
    parser.add_argument("--parents", nargs="+", default=["vgg-narrow", "identity"], help="to cut; the first to train")
    parser.add_argument("--cuts", type=float, nargs="*", default=[56, 72], help="of the MACs, in per cent")
    parser.add_argument("--faces", type=int, default=1024)
    parser.add_argument("--size", type=int, default=128, help="side of a face in pixels")
    parser.add_argument("--people", type=int, default=8, help="to render")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    asked = devices(options.device)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    load, faces = os.getloadavg()[0], labelled(random_faces(options.faces, options.size))
    how = options.nets, options.parents, faces, options.people, options.batch, options.cuts
    rows = compare({device: jobs(device, *how) for device in asked}, options.rounds)
    cuda = torch.cuda.get_device_name() if "cuda" in asked else None
    keep(options.out, page, rows, load, cuda=cuda, threads=options.threads, rounds=options.rounds)


if __name__ == "__main__":
    main()
