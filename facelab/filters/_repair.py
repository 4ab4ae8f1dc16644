"""Points of a LASSO path whose certificate failed: solved again, one by one, on freshly factored matrices."""

import numpy as np
from scipy import linalg

# A column with less than this share of its variance left is collinear with the model. Which share is rounding depends
# on how the moments came about: where the first leaves a gap, the next is tried.
SINGULAR = (1e-13, 1e-10, 1e-8, 1e-15)


def repair(gram, c, lambdas, coef, gap, bad, tol, certify) -> None:
    """Solve the rows `bad` (λ descending) of `coef` (k, C) anew; put them and their `gap` in place where better.

    Each row starts from the walk's own point or from a neighbour, whichever has the lowest objective there.
    """
    rounds = 20 * len(c) + 1000  # for the whole path: what no search can certify must not take for ever
    for k in bad:
        starts = [
            beta for beta in (coef[k], coef[k - 1] if k else None) if beta is not None and np.isfinite(beta).all()
        ]
        starts.append(np.zeros_like(c))
        start = min(starts, key=lambda beta: _objective(gram, c, lambdas[k], beta))
        for singular in SINGULAR:
            beta, used = active_set(gram, c, lambdas[k], start, rounds, singular)
            rounds -= used
            new = certify(gram, c, lambdas[k : k + 1], beta[None])[0]
            if not gap[k] <= new:  # so written that it holds where the old gap is NaN
                coef[k], gap[k] = beta, new
            if gap[k] <= tol or rounds <= 0:
                break
    lost = ~np.isfinite(coef).all(axis=1)
    coef[lost] = 0.0
    gap[lost] = certify(gram, c, lambdas[lost], coef[lost])


def _objective(gram, c, lam, beta) -> float:
    """½βᵀGβ − cᵀβ + λ‖β‖₁, the objective less its constant."""
    return float(beta @ (0.5 * (gram @ beta) - c) + lam * np.abs(beta).sum())


def active_set(gram, c, lam, beta, rounds, singular=SINGULAR[0]):
    """The optimum at one λ from any `beta` (C,), and the rounds it took: feature-sign search (Lee et al. 2006).

    Solve for the filters in the model with their signs held; where a sign would flip, stop at the first zero on the
    way and leave that filter out; when all signs hold, let the worst offender in, until there is none.
    Beyond that algorithm: an offender that is collinear with the model takes the place of the filter it drives to 0.
    """
    beta, sign = beta.copy(), np.sign(beta)
    barred = np.zeros(len(c), dtype=bool)  # what came in and at once fell out, for rounding's sake: not again
    new = None
    for used in range(rounds):
        r = c - gram @ beta
        inside = np.flatnonzero(sign)
        if len(inside):
            move = _solve(gram[np.ix_(inside, inside)], r[inside] - lam * sign[inside], singular)
            if move is None:  # singular
                sign_new = sign[new] if new is not None else 0.0
                gone = new if new is not None else inside[np.argmin(np.abs(beta[inside]))]
                sign[gone] = 0.0
                if new is None or not _exchange(gram, beta, sign, new, sign_new, singular):
                    beta[gone] = 0.0
                    barred[gone] = True
                new = None
                continue
            flips = (beta[inside] + move) * sign[inside] < 0
            if flips.any():
                share = np.full(len(inside), np.inf)
                np.divide(-beta[inside], move, out=share, where=flips)
                first = int(np.argmin(share))
                barred[:] = False
                barred[inside[first]] = share[first] <= 0
                beta[inside] += share[first] * move
                beta[inside[first]] = sign[inside[first]] = 0.0
                continue
            beta[inside] += move
            r = c - gram @ beta
        excess = np.where((sign == 0) & ~barred, np.abs(r) - lam, -np.inf)
        new = int(np.argmax(excess))
        if excess[new] <= 1e-13 * lam:
            return beta, used + 1
        sign[new] = np.sign(r[new])
    return beta, rounds


def _exchange(gram, beta, sign, new, sign_new, singular) -> bool:
    """Let `new`, collinear with the model, grow at no change of the fit until a filter in the model reaches 0."""
    inside = np.flatnonzero(sign)
    along = _solve(gram[np.ix_(inside, inside)], -sign_new * gram[inside, new], singular) if len(inside) else None
    if along is None:
        return False
    step = np.full(len(inside), np.inf)
    np.divide(-beta[inside], along, out=step, where=along * sign[inside] < 0)
    first = int(np.argmin(step))
    if not 0 < step[first] < np.inf:
        return False
    beta[inside] += step[first] * along
    beta[inside[first]] = sign[inside[first]] = 0.0
    beta[new], sign[new] = step[first] * sign_new, sign_new
    return True


def _solve(gram, right, singular):
    """gram⁻¹ right by Cholesky with one step of refinement, or None where gram is singular."""
    try:
        factor = linalg.cho_factor(gram, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    if (np.diagonal(factor[0]) ** 2 < singular * gram.diagonal()).any():
        return None
    x = linalg.cho_solve(factor, right, check_finite=False)
    return x + linalg.cho_solve(factor, right - gram @ x, check_finite=False)
