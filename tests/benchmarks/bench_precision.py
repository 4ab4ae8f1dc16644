"""What a step of training costs in bf16 (autocast) beside float32: why `devices.halves` asks for instructions first.

    python tests/benchmarks/bench_precision.py [--repeats 5] [--threads 1] [--out FILE]

Steps of the networks that are trained here take turns in both precisions; the table gives medians over the turns and
their ratio. Above 1, bf16 is the sooner.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from tqdm import trange

from facelab import devices
from facelab.nets import narrow, student

HIDDEN = 512


def trained() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """The networks, each with a batch of what it is fed."""
    layers = (nn.Linear(2240, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2240))
    nets = {"student": student.untrained(128, seed=0), "vgg-narrow": narrow.read()[0]}
    made = {"auto-encoder": (nn.Sequential(*layers), torch.rand(256, 2240))}
    for name, net in nets.items():
        x = torch.rand(64, 3, net.size, net.size).contiguous(memory_format=torch.channels_last)
        made[name] = net.module.to(memory_format=torch.channels_last), x
    return made


def seconds(module: nn.Module, x: torch.Tensor, half: bool) -> float:
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        said = module(x)
    said.float().square().mean().backward()
    module.zero_grad()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("reports/reference/benchmarks/precision.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for name, (module, x) in trained().items():
        module.train().requires_grad_(True)
        turns = [{p: seconds(module, x, p == "bf16") for p in ("32", "bf16")} for _ in trange(1 + options.repeats)]
        took = pd.DataFrame(turns[1:]).median()
        rows.append({"net": name, "batch": len(x), "ms_32": 1e3 * took["32"], "ms_bf16": 1e3 * took["bf16"],
                     "float32_over_bf16": took["32"] / took["bf16"]})  # fmt: skip
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    run = {"torch": torch.__version__, "threads": options.threads, "repeats": options.repeats,
           "processor": torch.backends.cpu.get_cpu_capability(),
           "instructions for bf16": devices.halves(torch.device("cpu"))}  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"run": run, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
