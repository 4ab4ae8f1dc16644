"""The exact path beside scikit-learn: a table on the screen, and reports/reference/benchmarks/lasso.json.

    python tests/benchmarks/bench_lasso.py                   # C = 64 … 512 without the tight runs: two minutes
    python tests/benchmarks/bench_lasso.py --tight           # with scikit-learn at tol = 1e-6: many minutes at C = 512
    python tests/benchmarks/bench_lasso.py --moments FOLDER  # also on saved moments of a real network

Goals at C = 512, ratios of medians: sklearn ≥ 100, sklearn_tight ≥ 1,000, lars ≥ 20; our gap ≤ 1e-9.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn

from facelab.filters.lasso import lasso_path
from facelab.filters.moments import Moments
from facelab.filters.race import like_responses, race, race_network

OUT = Path(__file__).parents[2] / "reports" / "reference" / "benchmarks" / "lasso.json"
GOALS = {"sklearn": 100, "sklearn_tight": 1000, "lars": 20}
COLD = """
import time
start = time.perf_counter()
from facelab.filters.lasso import lasso_path
from facelab.filters.race import like_responses
moments = like_responses(64)
loaded = time.perf_counter()
lasso_path(*moments)
print(time.perf_counter() - loaded)
"""


def cold_seconds(folder: Path | None) -> float:
    """The first path in a new process: compiled anew (an empty cache folder) or read from the cache."""
    environment = {**os.environ, **({"FACELAB_CACHE": str(folder)} if folder else {})}
    done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def many_rows(size=256) -> float:
    """Path time (of the processor, as in `race`) at n = 10⁶ over that at n = 2,000: the path sees moments only."""
    seconds = []
    for n in (2_000, 1_000_000):
        xx, xy, yy, _ = like_responses(size)
        moments = xx * (n / 2000), xy * (n / 2000), yy * (n / 2000), n
        runs = []
        for _ in range(31):
            start = time.process_time()
            lasso_path(*moments)
            runs.append(time.process_time() - start)
        seconds.append(np.median(runs))
    return float(seconds[1] / seconds[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--moments", type=Path, help="a folder written by Moments.save")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()

    rivals = ["numpy", "sklearn", "lars", *(["sklearn_tight"] if options.tight else [])]
    tables = []
    for size in options.sizes:
        runs = dict.fromkeys(rivals, options.runs) | {"sklearn_tight": 1 if size > 128 else 3}
        tables.append(race(*like_responses(size), rivals=rivals, runs=runs).table())
        print(tables[-1].to_string(index=False, float_format="{:.3g}".format), "\n", flush=True)
    table = pd.concat(tables, ignore_index=True)

    found = {"rows": json.loads(table.to_json(orient="records")), "n_over_2000": many_rows()}
    with tempfile.TemporaryDirectory() as empty:
        found["first_path_compiling_s"] = cold_seconds(Path(empty))
    found["first_path_from_cache_s"] = cold_seconds(None)
    if options.moments:
        moments = Moments.open(options.moments)
        systems = [moments.system(layer, task) for layer in moments.layers for task in moments.tasks]
        ours, theirs, ratio = race_network(systems)
        found["network"] = {"paths": sum(s.xy.shape[1] for s in systems), "ours_s": ours, "sklearn_s": theirs}
        found["network"]["ratio"] = ratio
        print("network:", found["network"])
    largest = table[table["C"] == table["C"].max()].set_index("solver")
    for name, goal in GOALS.items():
        if name in largest.index:
            print(f"{name}: {largest.loc[name, 'ratio']:.0f} × our time at C = {table['C'].max()} (goal ≥ {goal})")
    print({key: value for key, value in found.items() if key not in ("rows", "network")})
    found["versions"] = {"numpy": np.__version__, "scikit-learn": sklearn.__version__}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
