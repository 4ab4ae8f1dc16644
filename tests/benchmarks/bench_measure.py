"""What measuring every filter costs beside the bare forward pass at the same precision.

    python tests/benchmarks/bench_measure.py [--repeats 9] [--threads 1] [--out FILE]

Bare pass, pass with all conv layers tapped, and tapped pass plus moments (40 blocks, two tasks) take turns on the
same images; the table gives medians over the turns and the ratio of the medians. Times are processor seconds of this
process, which other programs on the machine disturb least. Goal: bare / measured ≥ 0.95.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import trange

from facelab import nets
from facelab.filters import taps
from facelab.filters.groups import Rows
from facelab.filters.moments import CHUNK, Moments

GOAL = 0.95


def vgg16() -> nn.Module:
    """The conv part of VGG-16, where VGG-Face has its filters."""
    layers, c = [], 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.MaxPool2d(2)] if width == 0 else [nn.Conv2d(c, width, 3, padding=1), nn.ReLU(inplace=True)]
        c = width or c
    return nn.Sequential(*layers)


class Block(nn.Module):
    def __init__(self, c, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and c == out
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(c, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.down(x)
        return self.relu(out)


def resnet18() -> nn.Module:
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2),
              (512, 512, 1)]  # fmt: skip
    return nn.Sequential(*stem, *(Block(*w) for w in widths))


def moments_of(x: dict[str, torch.Tensor], n: int = CHUNK) -> tuple[Moments, Rows, dict[str, np.ndarray]]:
    """Empty moments for these layers and a full buffer of responses to add to them."""
    rng = np.random.default_rng(0)
    labels = pd.DataFrame({"yaw": rng.uniform(-60, 60, n), "age": rng.uniform(1, 90, n)})
    rows = Rows.of(labels, rng.integers(0, 400, n), ["yaw", "age"])
    buffer = {name: rng.random((n, v.shape[1]), dtype=np.float32) for name, v in x.items()}
    return Moments.zeros(rows, {name: v.shape[1] for name, v in x.items()}), rows, buffer


def seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(name: str, net, batch: int, repeats: int) -> dict:
    x = torch.rand(batch, 3, net.size, net.size, generator=torch.Generator().manual_seed(0))
    layers = net.convs

    def bare():
        with torch.no_grad():
            net(x)

    def tapped():
        return {k: v.cpu().numpy() for k, v in taps.capture(net, x, layers).items()}

    moments, rows, buffer = moments_of(tapped())
    moments.add(rows, rows.used, buffer)
    bare()
    turns = []
    for i in trange(repeats, desc=name, leave=False):
        runs = [("bare", bare), ("tapped", tapped), ("sums", lambda: moments.add(rows, rows.used, buffer))]
        turns.append({k: seconds(run) for k, run in (runs if i % 2 else reversed(runs))})
    took = pd.DataFrame(turns).median()
    took["sums"] *= batch / CHUNK  # of one batch: the sums wait for a full buffer
    measured = took["tapped"] + took["sums"]
    return {
        "net": name, "size": net.size, "layers": len(layers), "filters": sum(c.out_channels for c in layers.values()),
        "batch": batch, "bare_ms": 1e3 * took["bare"] / batch, "tapped_ms": 1e3 * took["tapped"] / batch,
        "sums_ms": 1e3 * took["sums"] / batch, "bare_over_measured": took["bare"] / measured,
        "state_mb_per_block": moments.memory() / len(moments.n) / 1e6,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("reports/reference/benchmarks/measure.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    measured = [
        ("VGG-16 conv", nets.wrap(vgg16(), size=112), 16),
        ("ResNet-18", nets.wrap(resnet18(), size=224), 8),
        ("identity", nets.load("identity", device="cpu"), 64),
        ("gender", nets.load("gender", device="cpu"), 64),
    ]
    rows = [compare(name, net, batch, options.repeats) for name, net, batch in measured]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    run = {"torch": torch.__version__, "threads": options.threads, "repeats": options.repeats,
           "processor": platform.machine(), "goal": GOAL}  # fmt: skip
    options.out.write_text(json.dumps({"run": run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
