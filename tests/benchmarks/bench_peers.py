"""The exact path and its moments beside other packages' LASSO solvers, all at an equal duality gap, in one run.

    python tests/benchmarks/bench_peers.py                     # all four tables: about an hour
    python tests/benchmarks/bench_peers.py --tables path --sizes 64 128
    python tests/benchmarks/bench_peers.py --envs FOLDER       # keep the peers' environments there and use them again

Every peer runs by a Python of its own, in an environment made for it by pip; one that cannot be installed is listed
with the reason. One thread each, one after another: ours, a peer, ours again, and so on for `--runs` rounds. Times are
processor seconds; a ratio is the peer's over the median of ours beside it. For the equal gap each solver's tolerance is
the first of a ladder at which its worst gap over the 100 λ is at most 1e-6 of ½Var(y); what takes more than `--limit`
processor seconds is stopped. Tables: path (from moments; a solver that wants rows gets the C + 1 rows that have these
moments), rows (from all rows), tasks (many targets of one layer), memory (peak of a process that streams its rows).
Writes peers.json and peers.md.
"""

import argparse
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from made_up import Layer, rows_of
from peer_worker import peak_mb
from peers_page import page

from facelab import tasks
from facelab.filters.lasso import duality_gap, lasso_paths, one_blas_thread
from facelab.filters.moments import CHUNK, Moments

OUT = Path(__file__).parents[2] / "reports" / "reference" / "benchmarks" / "peers.json"
THREADS = {f"{who}_NUM_THREADS": "1" for who in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
GAP = 1e-6  # of ½Var(y): what everyone has to reach
PACKAGES = {  # by the name pip knows: the module, its solvers, each with its tolerances, the default first
    "scikit-learn": ("sklearn", {
        "sklearn Lasso, one fit a λ": (1e-4, 1e-5, 1e-6, 1e-7),
        "sklearn lasso_path": (1e-4, 1e-5, 1e-6, 5e-7, 1e-7),
        "sklearn lars_path_gram": (0.0,),
    }),
    "celer": ("celer", {"celer_path": (1e-6, 1e-8, 1e-10, 1e-12)}),
    "skglm": ("skglm", {"skglm Lasso.path": (1e-4, 1e-6, 1e-7, 1e-8, 1e-9)}),
    "python-glmnet": ("glmnet", {"glmnet": (1e-7, 1e-10, 1e-12, 1e-14, 1e-16, 1e-18)}),
    "adelie": ("adelie", {"adelie gaussian_cov": (1e-7, 1e-10, 1e-12, 1e-14, 1e-16, 1e-18)}),
}  # fmt: skip
FROM_GRAM = ("sklearn lasso_path", "sklearn lars_path_gram", "adelie gaussian_cov")
FIVE = ("age", "valence", "yaw", "pitch", "roll")
TARGETS = {1: ("yaw",), 5: FIVE, 46: tuple(name for name in tasks.TASKS if name != "identity")}


class Stopped(Exception):
    """The peer's process ended: over its limit of processor seconds, or broken."""


class Peer:
    """One package in a Python of its own, started when first asked, and again after it was stopped."""

    def __init__(self, package: str, python: Path):
        self.package, self.python, self.module = package, python, PACKAGES[package][0]
        self.process = self.folder = None
        self.said, self.warm = None, set()
        self.about = self._start()

    def _start(self) -> dict:
        command = [self.python, Path(__file__).with_name("peer_worker.py"), self.package, self.module]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (`close` closes it)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.said}
        self.process = subprocess.Popen(command, text=True, env=os.environ | THREADS, **pipes)
        self.warm = set()
        return self._answer()

    def _answer(self, limit: float = np.inf) -> dict:
        # Watched from here: a timer in the process itself would make its clock a coarse one.
        before = processor_seconds(self.process.pid)
        while not select.select([self.process.stdout], [], [], 0.5)[0]:
            if processor_seconds(self.process.pid) - before > limit:
                self.process.kill()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.said.seek(0)
            said = self.said.read().strip().splitlines()
            self.close()
            raise Stopped(said[-1] if said else "")
        return json.loads(line)

    def load(self, folder: Path) -> None:
        self.folder = folder
        self.close()

    def solve(self, name, tol, gram, targets, limit) -> tuple[dict, np.ndarray]:
        if self.process is None:
            self._start()
            self._ask(np.inf, folder=str(self.folder))
        if name not in self.warm:  # the first run compiles
            default = PACKAGES[self.package][1][name][0]
            self._ask(limit, solve=name, tol=default, gram=gram, targets=1)
            self.warm.add(name)
        answer = self._ask(limit, solve=name, tol=tol, gram=gram, targets=targets)
        return answer, np.load(self.folder / "coef.npy")

    def _ask(self, limit: float, **what) -> dict:
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return self._answer(limit)

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.said.close()
            self.process = None


def processor_seconds(pid: int) -> float:
    """Of a process so far, in user and system mode, all threads. Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment(package: str, folder: Path) -> Path:
    """The Python of an environment with this package in it, made where there is none. Stopped: pip's last line."""
    python = folder / package / "bin" / "python"
    if not python.exists():
        venv.create(folder / package, with_pip=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", package]
        done = subprocess.run([python, *install], capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            raise Stopped(said[-1].removeprefix("ERROR: "))
    return python


class Problem:
    """Rows of a made-up layer, our solution of them, and the same in the peers' units on disk."""

    def __init__(self, folder: Path, size: int, n: int, targets: int, compact: bool):
        self.names, self.size, self.n, self.targets, self.compact = TARGETS[targets], size, n, targets, compact
        self.layer, self.folder = Layer(size, targets), folder
        self.x, self.y = self.layer.table(n)
        self.systems = self.moments()
        system = self.ours_system()
        deviation, spread = np.sqrt(np.diagonal(system.xx) / n), np.sqrt(system.yy / n)
        self.gram = system.xx / deviation / deviation[:, None] / n
        self.c = system.xy / deviation[:, None] / spread / n
        with one_blas_thread():
            self.paths = [path for one in lasso_paths(self.systems) for path in one]
        self.lambdas = np.array([path.lambdas for path in self.paths]) / spread[:, None]
        exact = np.array([path.coef for path in self.paths]) * deviation / spread[:, None, None]
        self.least = self.objective(exact)
        if compact:  # C + 1 rows with the same moments, for one target
            whole = np.block([[self.gram, self.c], [self.c.T, np.ones((1, 1))]])
            values, vectors = np.linalg.eigh(whole)
            root = np.sqrt(len(whole) * np.maximum(values, 0.0))[:, None] * vectors.T
            x, y = root[:, :size], root[:, size:]
        else:
            x, y = self.x - system.mean_x, self.y - system.mean_y
            x /= deviation
            y /= spread
        arrays = {"x": x, "y": y, "lambdas": self.lambdas, "gram": self.gram, "c": self.c}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.asfortranarray(array))

    def moments(self) -> list:
        """One pass over the rows, in chunks; the centred sums of every task."""
        rows = rows_of(self.names, self.y)
        moments = Moments.zeros(rows, {"layer": self.size})
        for start in range(0, self.n, CHUNK):
            chunk = np.arange(start, min(start + CHUNK, self.n))
            moments.add(rows, chunk, {"layer": self.x[chunk]})
        return [moments.system("layer", name) for name in self.names]

    def ours_system(self):
        """All targets of all tasks side by side."""
        first = self.systems[0]
        join = {key: np.concatenate([getattr(s, key) for s in self.systems], -1) for key in ("mean_y", "xy", "yy")}
        return type(first)(first.n, first.mean_x, join["mean_y"], first.xx, join["xy"], join["yy"])

    def ours(self) -> float:
        """Processor seconds: paths with certificates; not compact: after a pass over the rows."""
        with one_blas_thread():
            start = time.process_time()
            lasso_paths(self.systems if self.compact else self.moments())
            return time.process_time() - start

    def gap(self, coef: np.ndarray) -> float:
        """The worst gap of (targets, k, C) coefficients, of ½Var(y)."""
        return max(
            float(duality_gap(self.gram, self.c[:, t], self.lambdas[t], coef[t]).max()) for t in range(len(coef))
        )

    def objective(self, coef: np.ndarray) -> np.ndarray:
        """|y − xβ|² / n + 2λ|β|₁ of (targets, k, C) coefficients, in units of ½Var(y): (targets, k)."""
        fit = np.einsum("tkc,ct->tk", coef, self.c)
        return 1 - 2 * fit + ((coef @ self.gram) * coef).sum(-1) + 2 * self.lambdas * np.abs(coef).sum(-1)

    def excess(self, coef: np.ndarray) -> float:
        """How far the worst of the solutions truly is above the certified optimum, of ½Var(y); their gap bounds it."""
        return float((self.objective(coef) - self.least[: len(coef)]).max().clip(0))

    def same_support(self, coef: np.ndarray) -> float:
        """Share of the models, λ by target, with exactly the filters of the certified path."""
        ours = np.array([path.support for path in self.paths])
        return float(((coef != 0) == ours).all(axis=2).mean())


def contest(problem: Problem, asked: list, peers: dict, runs: int, limit: float) -> list[dict]:
    """The rows of one table for one problem. asked: (package, solver, how its Gram matrix comes about)."""
    about = {"C": problem.size, "n": problem.n, "targets": problem.targets}
    entries = []
    for package, solver, gram in asked:
        for tol, setting in rungs(problem, peers[package], solver, gram, limit):
            entries.append({**about, "solver": solver, "gram": gram, "tol": tol, "package": package, **setting})
    mine, rounds = [], {i: [] for i, e in enumerate(entries) if "stopped_s" not in e}
    for _ in range(runs):
        for i in list(rounds):
            entry = entries[i]
            beside = [problem.ours() for _ in range(3)]
            how = entry["solver"], entry["tol"], entry["gram"], problem.targets, limit
            try:
                answer, coef = peers[entry["package"]].solve(*how)
            except Stopped:  # all targets take longer than the one it was tried with
                rounds.pop(i)
                entry |= {"stopped_s": limit, "reached": None, "gap": None}
                continue
            beside += [problem.ours() for _ in range(3)]
            mine += beside
            rounds[i].append((answer["seconds"], answer["seconds"] / np.median(beside)))
            entry |= {"gap": problem.gap(coef), "excess": problem.excess(coef), **answer}
            entry["same_support"] = problem.same_support(coef)
    mine = np.array(mine or [problem.ours() for _ in range(6)])
    for i, entry in enumerate(entries):
        if "stopped_s" in entry:
            entry["ratio_at_least"] = limit / np.median(mine)
            continue
        seconds, ratios = np.array(rounds[i]).T
        entry |= {"reached": entry["gap"] <= GAP, "runs": len(seconds), **spread("ms", 1e3 * seconds)}
        entry |= spread("ratio", ratios)
        entry.pop("seconds")
    gap = max(float(path.gap.max()) for path in problem.paths)
    first = {**about, "solver": "ours", "setting": "exact", "gap": gap, "reached": gap <= GAP, "runs": len(mine)}
    return [first | spread("ms", 1e3 * mine), *entries]


def spread(name: str, values: np.ndarray) -> dict:
    return {name: float(np.median(values)), f"{name}_low": float(values.min()), f"{name}_high": float(values.max())}


def rungs(problem: Problem, peer: Peer, solver: str, gram: str, limit: float) -> list[tuple[float, dict]]:
    """The tolerances to time: the package's own, and the first with a small gap (for the first target), or how far it
    came."""
    ladder, found = PACKAGES[peer.package][1][solver], []
    for tol in ladder:
        try:
            _, coef = peer.solve(solver, tol, gram, 1, limit)
        except Stopped:
            setting = "equal gap" if found else "default"
            return [*found[:1], (tol, {"setting": setting, "stopped_s": limit, "reached": None, "gap": None})]
        found.append((tol, {"setting": "default"}))
        if problem.gap(coef) <= GAP:
            break
    if len(found) == 1:
        return [(ladder[0], {"setting": "exact" if len(ladder) == 1 else "default"})]
    return [found[0], (found[-1][0], {"setting": "equal gap"})]


def streamed(size: int, n: int) -> dict:
    """In a process of its own: peak memory while n rows are made, added up and forgotten, and after the path."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench_peers; bench_peers.stream"
    run = [sys.executable, "-c", f"{code}({size}, {n})"]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=os.environ | THREADS)
    return {"C": size, "n": n, **json.loads(done.stdout)}


def stream(size: int, n: int) -> None:
    layer, moments = Layer(size), None
    before = peak_mb()
    for x, y in layer.chunks(n):
        rows = rows_of(("yaw",), y)
        moments = moments or Moments.zeros(rows, {"layer": size})
        moments.add(rows, rows.used, {"layer": x})
    path = lasso_paths([moments.system("layer", "yaw")])[0][0]
    peak = peak_mb()
    found = {"before_mb": before, "peak_mb": peak, "table_mb": 4e-6 * n * size, "gap": float(path.gap.max())}
    print(json.dumps({**found, "state_mb": moments.memory() / 1e6}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=["path", "rows", "tasks", "memory"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512], help="filters, of the table 'path'")
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--targets", type=int, nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--packages", nargs="+", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--limit", type=float, default=100, help="processor seconds of one solution")
    parser.add_argument("--envs", type=Path, help="a folder for the peers' environments, kept")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {"tables": {}, "run": {}}
    with tempfile.TemporaryDirectory() as scratch:
        peers, missing = {}, {}
        for package in options.packages:
            try:
                peers[package] = Peer(package, environment(package, options.envs or Path(scratch)))
            except Stopped as reason:
                missing[package] = str(reason)
        every = [(package, solver, "given") for package in peers for solver in PACKAGES[package][1]]
        asked = [(package, solver, "once") for package, solver, _ in every if solver in FROM_GRAM]
        anew = [(package, solver, "anew") for package, solver, _ in every if solver == "sklearn lasso_path"]
        plans = {
            "path": [((c, 2_000, 1, True), every) for c in options.sizes],
            "rows": [((max(options.sizes), n, 1, False), asked) for n in options.rows],
            "tasks": [((256, 20_000, t, False), anew + asked) for t in options.targets],
        }
        for table in options.tables:
            load, rows = os.getloadavg()[0], []
            if table == "memory":
                rows = [streamed(max(options.sizes), n) for n in (*options.rows, 1_000_000)]
            for at, who in plans.get(table, ()):
                problem = Problem(Path(scratch), *at)
                for peer in peers.values():
                    peer.load(Path(scratch))
                rows += contest(problem, who, peers, options.runs, options.limit)
                print(json.dumps(rows[-len(who) * 2 :], indent=None), flush=True)
            found["tables"][table] = rows
            found["run"][table] = {"load_before": load, "load_after": os.getloadavg()[0], "limit_s": options.limit}
            versions = {package: peer.about for package, peer in peers.items()}
            found |= {"versions": versions, "missing": missing, "goal_gap": GAP, "processor": platform.machine()}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(page(found), encoding="utf-8")
        for peer in peers.values():
            peer.close()
    print(page(found))


if __name__ == "__main__":
    main()
