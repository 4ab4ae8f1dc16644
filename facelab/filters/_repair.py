"""Points of a LASSO path whose certificate failed: solved again, one by one, from a fresh factor."""

import numpy as np
from scipy import linalg


def repair(gram, c, lambdas, coef, gap, bad, tol, certify) -> None:
    """Solve the rows `bad` (λ descending) of `coef` (k, C) anew and put them and their `gap` in place where better.

    Each row starts from the walk's own point or from its repaired neighbour, whichever has the lower
    objective; an active-set search on freshly factored matrices, and coordinate descent where that ends
    above `tol`.
    """
    last = None
    for k in bad:
        lam = lambdas[k]
        starts = [coef[k]] if np.isfinite(coef[k]).all() else []
        if k > 0 and np.isfinite(coef[k - 1]).all():
            starts.append(coef[k - 1])
        if last is not None:
            starts.append(last)
        starts.append(np.zeros_like(c))
        beta = min(starts, key=lambda b: objective(gram, c, lam, b)).copy()
        for solve in (active_set, descend):
            beta = solve(gram, c, lam, beta)
            new = certify(gram, c, lambdas[k : k + 1], beta[None])[0]
            if not gap[k] <= new:  # also where the old gap is NaN
                coef[k], gap[k] = beta, new
            if gap[k] <= tol:
                break
        last = coef[k]


def objective(gram, c, lam, beta) -> float:
    """½βᵀGβ − cᵀβ + λ‖β‖₁, the objective less its constant."""
    return float(beta @ (0.5 * (gram @ beta) - c) + lam * np.abs(beta).sum())


def active_set(gram, c, lam, beta, rounds=None):
    """The optimum at one λ by feature-sign search (Lee et al. 2006, Algorithm 1), from any `beta` (C,).

    Solve for the filters in the model with their signs held; where a sign would flip, stop at the first
    zero on the way and leave that filter out; when all signs hold, let the worst offender in, until there
    is none.
    """
    beta, sign = beta.copy(), np.sign(beta)
    barred = np.zeros(len(c), dtype=bool)  # collinear with the model as it stands
    for _ in range(rounds or 10 * len(c) + 100):
        r = c - gram @ beta
        inside = np.flatnonzero(sign)
        if len(inside):
            move = _newton(gram[np.ix_(inside, inside)], r[inside] - lam * sign[inside])
            if move is None:  # singular: the newcomer is a copy of others
                newest = inside[beta[inside] == 0]
                if not len(newest):
                    newest = inside[np.argmin(np.abs(beta[inside]))][None]
                sign[newest], beta[newest] = 0, 0
                barred[newest] = True
                continue
            target = beta[inside] + move
            flips = target * sign[inside] < 0
            if flips.any():
                shares = np.where(flips, beta[inside] / np.where(move == 0, 1.0, -move), np.inf)
                first = int(np.argmin(shares))
                barred[:] = False
                barred[inside[first]] = beta[inside[first]] == 0  # it came in for rounding's sake: not again
                beta[inside] += max(min(shares[first], 1.0), 0.0) * move
                beta[inside[first]] = sign[inside[first]] = 0
                continue
            beta[inside] = target
            r = c - gram @ beta
        excess = np.where((sign == 0) & ~barred, np.abs(r) - lam, -np.inf)
        worst = int(np.argmax(excess))
        if excess[worst] <= 1e-13 * lam:
            return beta
        sign[worst] = np.sign(r[worst])
    return beta


def _newton(gram, right):
    """gram⁻¹ right by Cholesky with one step of refinement, or None where gram is singular."""
    try:
        factor = linalg.cho_factor(gram, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    if (np.diagonal(factor[0]) ** 2 < 1e-13 * gram.diagonal()).any():
        return None
    x = linalg.cho_solve(factor, right, check_finite=False)
    return x + linalg.cho_solve(factor, right - gram @ x, check_finite=False)


def descend(gram, c, lam, beta, sweeps=2000):
    """Coordinate descent at one λ: slow, and indifferent to how singular `gram` is."""
    beta = beta.copy()
    r = c - gram @ beta
    diag = gram.diagonal()
    for _ in range(sweeps):
        largest = 0.0
        for i in np.flatnonzero((beta != 0) | (np.abs(r) > lam)):
            z = r[i] + diag[i] * beta[i]
            new = np.sign(z) * max(abs(z) - lam, 0.0) / diag[i]
            change = new - beta[i]
            if change:
                r -= change * gram[i]
                beta[i] = new
                largest = max(largest, abs(change) * np.sqrt(diag[i]))
        if largest <= 1e-15:
            break
    return beta
