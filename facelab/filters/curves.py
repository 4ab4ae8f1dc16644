"""Characteristic curves: how many filters of a layer a task needs (ETL §3.2–3.3, low-cost §4).

For every layer and task: 100 exact LASSO models, the number of filters each keeps against its error on people it
was not fitted to, and the knee: the fewest filters whose error is within a share γ of the best.

Everything is computed from moments. The training moments of a cross-validation fold are the total minus the fold's,
the held-out error is a quadratic form in the fold's own moments, and half-samples of the people re-weight the moments
of identity blocks: no second pass over the images.
"""

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from facelab.errors import named, unknown, whole
from facelab.filters.curve import Curve, Curves, TaskCurves
from facelab.filters.lasso import lambda_max, lasso_paths
from facelab.filters.moments import Moments, System


def characteristic_curves(
    moments: Moments,
    tasks=None,
    *,
    layers=None,
    n_lambdas: int = 100,
    ratio: float = 1e-4,
    half_samples: int = 50,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = True,
) -> Curves:
    """The characteristic curve of every task on every layer.

    min over β0, β of 1/(2N) Σ (y − β0 − xβ)² + λ‖β‖₁ (ETL Eq. 3), x the responses of one layer's filters, standardised;
    `n_lambdas` values of λ in geometric sequence, from the least that keeps no filter down to `ratio` times it.

    A class task has one path per class, one-hot, on a common λ grid; num counts the union of the supports.
    num and the filters come from the path on all data, the error from cross-validation over the folds that `moments`
    was measured with, the intervals from `half_samples` random halves of the identity blocks, each tested on the rest.

    Departs from the papers by held-out errors and intervals (they give neither), and by standardised columns (else λ
    means something else in every layer; β comes back in raw units).

    ValueError: unknown task or layer, fewer than two folds, numbers out of range. TypeError: the wrong kind.

    >>> import pandas as pd
    >>> from facelab.filters.responses import Responses
    >>> rng = np.random.default_rng(0)
    >>> yaw, x = rng.uniform(-60, 60, 400), rng.normal(size=(400, 8)).astype(np.float32)
    >>> x[:, :2] += yaw[:, None] / 30  # the first two of eight filters carry yaw
    >>> seen = Responses("toy", {"conv": x}, pd.DataFrame({"yaw": yaw}), np.arange(400) // 10)
    >>> curves = characteristic_curves(seen.moments(["yaw"]), half_samples=20, progress=False)
    >>> curves["yaw"]["conv"].knee(gamma=0.05).filters
    array([0, 1])
    """
    if not hasattr(moments, "system"):
        raise TypeError(f"expected Moments (fl.measure, or Responses.moments(tasks)), not {type(moments).__name__}")
    whole("n_lambdas", n_lambdas, 2)
    whole("half_samples", half_samples, 0)
    tasks = named("task", moments.tasks if tasks is None else tasks) or list(moments.tasks)
    layers = named("layer", moments.layers if layers is None else layers) or list(moments.layers)
    for kind, asked, known in (("task", tasks, moments.tasks), ("layer", layers, moments.layers)):
        if wrong := [name for name in asked if name not in known]:
            raise unknown(kind, wrong[0], known)
    halves = _halves(moments, half_samples, seed)
    pairs = [(task, layer) for layer in layers for task in tasks]
    work = (delayed(_curve)(moments, task, layer, n_lambdas, ratio, halves) for task, layer in pairs)
    done = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(work)
    done = tqdm(done, total=len(pairs), desc="characteristic curves", disable=not progress)
    found = {(curve.task, curve.layer): curve for curve in done}
    return Curves({t: TaskCurves(t, {layer: found[t, layer] for layer in layers}) for t in tasks})


def _halves(moments: Moments, half_samples: int, seed: int) -> np.ndarray:
    """(B, groups) 1 where the group's block of people is in the half, else 0."""
    blocks, group_block = np.unique(moments.block, return_inverse=True)
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(len(blocks)), (half_samples, 1)), axis=1)
    return (orders < len(blocks) / 2)[:, group_block]


def _curve(moments: Moments, task: str, layer: str, n_lambdas: int, ratio: float, halves: np.ndarray) -> Curve:
    whole = moments.system(layer, task)
    top = lambda_max(whole.xx, whole.xy, whole.n) or 1.0  # nothing varies: any grid gives the empty model
    lambdas = top * np.geomspace(1, ratio, n_lambdas)
    coef, intercept, gap = _fit(whole, lambdas)

    def apart(training, testing):
        """Fitted to some groups, tested on others: coef, errors (k,), the error of the training mean, rows, the gap."""
        system, unseen = (moments.system(layer, task, weights=groups) for groups in (training, testing))
        fitted, offset, worst = _fit(system, lambdas)
        null = unseen.rmse(system.mean_y, np.zeros_like(system.xy))
        return fitted, unseen.rmse(offset, fitted), null, unseen.n, worst

    labelled = moments.present[:, moments.tasks.index(task)]
    folds = np.unique(moments.fold[labelled])
    if len(folds) < 2:
        raise ValueError(f"task {task!r}: labels in {len(folds)} fold, held-out errors need at least 2")
    _, by_fold, null_folds, rows, gaps = zip(*(apart(moments.fold != f, moments.fold == f) for f in folds), strict=True)

    half_num, half_rmse, half_null, half_kept = [], [], [], np.zeros(coef.shape[:2], np.int32)
    for half in halves:
        if not (labelled & half).any() or not (labelled & ~half).any():
            continue  # nobody with a label on one side
        fitted, error, null, _, worst = apart(half, ~half)
        kept = (fitted != 0).any(2)
        half_num.append(kept.sum(1))
        half_rmse.append(error)
        half_null.append(null)
        half_kept += kept
        gaps = (*gaps, worst)

    by_fold, null_folds, rows = np.stack(by_fold, 1), np.array(null_folds), np.array(rows)
    return Curve(
        task=task,
        layer=layer,
        lambdas=lambdas,
        num=(coef != 0).any(2).sum(1),
        rmse=np.sqrt(by_fold**2 @ rows / rows.sum()),
        rmse_folds=by_fold,
        rmse_train=whole.rmse(intercept, coef),
        null_rmse=float(np.sqrt(null_folds**2 @ rows / rows.sum())),
        null_folds=null_folds,
        gap=max(gap, *gaps),
        coef=coef,
        intercept=intercept,
        half_num=np.array(half_num).reshape(-1, n_lambdas),
        half_rmse=np.array(half_rmse).reshape(-1, n_lambdas),
        half_null=np.array(half_null),
        half_kept=half_kept,
    )


def _fit(system: System, lambdas: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """One exact path per target: coef (k, C, T), intercept (k, T), the worst gap."""
    [paths] = lasso_paths([system], lambdas=lambdas)
    coef = np.stack([path.coef for path in paths], axis=2)  # (k, C, T)
    intercept = system.mean_y - np.einsum("c,kct->kt", system.mean_x, coef)
    return coef, intercept, max(float(path.gap.max()) for path in paths)
