"""How fast the six sources embed faces: cutting the chips and running the network.

    python tests/benchmarks/bench_sources.py [--faces 192] [--size 128] [--repeats 3] [--threads 1] [--out FILE]

Random images with landmarks where a face would have them; nothing is cached. The sources take turns; the table gives
medians over the turns, in seconds of the clock, and the row "all six" their sum. Goal: all six at ≥ 20 faces
a second on two cores; one thread reaches it.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import trange

from facelab import nets
from facelab.faces.faceset import FaceSet

GOAL = 20
# In units of the image: where the five landmarks of a face lie in MTFL's pictures, about.
PLACES = np.array([[0.39, 0.39], [0.61, 0.39], [0.5, 0.52], [0.41, 0.62], [0.6, 0.62]])


def random_faces(n: int, size: int) -> FaceSet:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    landmarks = size * (PLACES + rng.normal(0, 0.01, (n, 5, 2)))
    return FaceSet("random", images, pd.DataFrame({"identity": np.arange(n).astype(str)}), landmarks.astype(np.float32))


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def turn(net, faces: FaceSet) -> dict:
    """Seconds for cutting all chips, and for all embeddings, the chips included."""
    starts = range(0, len(faces), 32)
    return {
        "source": net.name,
        "chips": seconds(lambda: [net.chips(faces, slice(i, i + 32)) for i in starts]),
        "embed": seconds(lambda: nets.embed(net, faces, cached=False, progress=False)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=192)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("reports/reference/benchmarks/sources.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faces = random_faces(options.faces, options.size)
    loaded = [nets.load(name, device="cpu") for name in nets.SOURCES]
    turns = []
    for net in loaded:
        nets.embed(net, faces[:32], cached=False, progress=False)  # the first pass chooses the kernels
    for _ in trange(options.repeats, leave=False):
        turns += [turn(net, faces) for net in loaded]
    took = pd.DataFrame(turns).groupby("source", sort=False).median()
    took.loc["all six"] = took.sum()
    table = pd.DataFrame(
        {"chips_ms": 1e3 * took["chips"] / len(faces), "embed_ms": 1e3 * took["embed"] / len(faces),
         "faces_per_second": len(faces) / took["embed"]}
    )  # fmt: skip
    print(table.to_string(float_format=lambda v: f"{v:.2f}"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    run = {"torch": torch.__version__, "threads": options.threads, "repeats": options.repeats, "faces": len(faces),
           "size": options.size, "processor": platform.machine(), "goal": GOAL}  # fmt: skip
    rows = table.reset_index().to_dict("records")
    options.out.write_text(json.dumps({"run": run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
