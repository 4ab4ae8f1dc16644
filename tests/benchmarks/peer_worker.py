"""The solvers of other packages, each run by the Python it is installed in; `bench_peers.py` starts and asks it.

Needs numpy and the one package that is asked for, not facelab. Reads one JSON object a line: {"folder"} loads a
problem, {"solve", "tol", "gram", "targets"} solves it for so many targets and writes coef.npy. gram: "given", "once"
(computed from the rows for all targets) or "anew" (for every target, as the package does by itself). Answers in JSON:
processor seconds, whether the solver claims to have converged, peak memory. The problem, for every target:
min 1/(2n) Σ (y − xβ)² + λ‖β‖₁, columns and target centred and of deviation 1.

    x.npy (n, C)   y.npy (n, T)   lambdas.npy (T, k)   gram.npy (C, C) = xᵀx / n   c.npy (C, T) = xᵀy / n
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

MANY = 10_000_000  # sweeps: the tolerance stops a solver, not their number


def sklearn_each(p, t, tol, anew):
    """What people write first: one cold fit for each λ."""
    from sklearn.linear_model import Lasso

    fits = (Lasso(alpha=a, fit_intercept=False, tol=tol, max_iter=MANY) for a in p.lambdas[t])
    return np.array([fit.fit(p.x, p.y[:, t]).coef_ for fit in fits])


def sklearn_path(p, t, tol, anew):
    from sklearn.linear_model import lasso_path

    given = {"precompute": True} if anew else {"precompute": p.gram * len(p.x), "Xy": p.c[:, t] * len(p.x)}
    return lasso_path(p.x, p.y[:, t], alphas=p.lambdas[t], tol=tol, max_iter=MANY, **given)[1].T


def sklearn_lars(p, t, tol, anew):
    """Exact at the knots; between them coefficients are linear in λ."""
    from sklearn.linear_model import lars_path_gram

    gram, c = p.system(anew, t)
    lambdas = p.lambdas[t]
    knots, _, coefs = lars_path_gram(c, gram, n_samples=1, method="lasso", alpha_min=lambdas[-1], max_iter=100_000)
    return np.array([np.interp(lambdas, knots[::-1], row[::-1]) for row in coefs]).T


def celer(p, t, tol, anew):
    from celer import celer_path

    return celer_path(p.x, p.y[:, t], "lasso", alphas=p.lambdas[t], tol=tol, max_iter=10_000)[1].T


def skglm(p, t, tol, anew):
    from skglm import Lasso

    return Lasso(fit_intercept=False, tol=tol, max_iter=10_000).path(p.x, p.y[:, t], p.lambdas[t])[1].T


def glmnet(p, t, tol, anew):
    from glmnet import ElasticNet

    net = ElasticNet(alpha=1, lambda_path=p.lambdas[t], standardize=False, fit_intercept=False, n_splits=0, tol=tol,
                     max_iter=MANY)  # fmt: skip
    return net.fit(p.x, p.y[:, t]).coef_path_.T


def adelie(p, t, tol, anew):
    from adelie.solver import gaussian_cov

    gram, c = p.system(anew, t)
    state = gaussian_cov(np.asfortranarray(gram), c, lmda_path=p.lambdas[t], tol=tol, max_iters=MANY, early_exit=False,
                         rdev_tol=0, progress_bar=False)  # fmt: skip
    return state.betas.toarray()


def peak_mb() -> float:
    """The most memory this process has had. Linux; what getrusage says is, after exec, at least the parent's."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


SOLVERS = {
    "sklearn Lasso, one fit a λ": sklearn_each, "sklearn lasso_path": sklearn_path,
    "sklearn lars_path_gram": sklearn_lars, "celer_path": celer, "skglm Lasso.path": skglm, "glmnet": glmnet,
    "adelie gaussian_cov": adelie,
}  # fmt: skip


class Problem:
    def __init__(self, folder: Path):
        arrays = ("x", "y", "lambdas", "gram", "c")
        self.x, self.y, self.lambdas, self.gram, self.c = (np.load(folder / f"{name}.npy") for name in arrays)

    def system(self, anew: bool, t: int):
        """The Gram matrix and xᵀy / n: as given, or computed from the rows."""
        if not anew:
            return self.gram, np.ascontiguousarray(self.c[:, t])
        return self.x.T @ self.x / len(self.x), self.x.T @ self.y[:, t] / len(self.x)


def solve(problem, name, tol, gram, targets):
    """Processor seconds, the coefficients (targets, k, C), and whether the package said no word of doubt."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        start = time.process_time()
        if gram == "once":
            problem.gram, problem.c = problem.x.T @ problem.x / len(problem.x), problem.x.T @ problem.y / len(problem.x)
        coef = [SOLVERS[name](problem, t, tol, gram == "anew") for t in range(targets)]
        seconds = time.process_time() - start
    doubts = [w for w in said if "onverge" in str(w.message) or "onverge" in type(w.message).__name__]
    return seconds, np.array(coef), not doubts


def main() -> None:
    package, module = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print goes elsewhere
    importlib.import_module(module)
    about = {"version": importlib.metadata.version(package), "numpy": np.__version__}
    print(json.dumps(about), file=answers, flush=True)
    problem = folder = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "folder" in asked:
            folder = Path(asked["folder"])
            problem = Problem(folder)
            answer = {}
        else:
            how = (asked[key] for key in ("solve", "tol", "gram", "targets"))
            seconds, coef, finished = solve(problem, *how)
            np.save(folder / "coef.npy", coef)
            answer = {"seconds": seconds, "finished": finished}
        answer["peak_mb"] = peak_mb()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
