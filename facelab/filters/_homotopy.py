"""The walk along the LASSO path: piecewise linear in λ, one principal pivot of the Gram matrix per event.

With A the filters in the model and s their signs, the optimum at λ is β_A = G_AA⁻¹ (c_A − λ s_A). The walk keeps

    S, the Gram matrix swept on A:   S_AA = −G_AA⁻¹   S_AI = G_AA⁻¹ G_AI   S_II = G_II − G_IA G_AA⁻¹ G_AI
    b, g, the same sweep of c and s: β_A(λ) = b_A − λ g_A; outside A the correlations r_I(λ) = b_I − λ g_I

so every coefficient between two events is read off exactly. Going down in λ, the next event is a *join* (some |r_i|
reaches λ) or a *drop* (some β_i reaches 0); either is one symmetric pivot, its own inverse up to a sign.

A pivot is a rank-one update of S, and many of those are bound by memory. So pivots wait: only the pivot column is
brought up to date, and a block of waiting pivots is applied together. `walk` is one source for both backends: plain,
its five steps below are numpy and BLAS; compiled, numba replaces them by loops over one triangle (`compiled`).
"""

import logging
import shutil
from functools import cache

import numpy as np
from scipy.linalg.blas import dgemm

from facelab import cache as cache_folder

log = logging.getLogger(__name__)

# How many pivots wait before S is updated. The compiled loop is unrolled for eight.
BLOCKS = {"numba": 8, "numpy": 32}
PIVOT = 1e-11  # a column with less than this share of its variance left outside A counts as collinear with A
TIE = 1e-12  # steps that differ by less than this share of λ are one event: the lowest index goes first
RATE = 1e-12  # a slack that shrinks slower than this never closes (duplicates ride along at slack 0)


def walk(gram, c, lambdas, max_events, block):
    """The path for unit-free moments gram (C, C), c (C,): coef (k, C) at `lambdas` (k,) descending, and the events.

    `block` pivots wait before S is updated (`BLOCKS`). Rows that were not reached stay zero: the walk
    breaks off at a pivot of the wrong sign, at ties that never end, or after `max_events`.
    """
    size = c.shape[0]
    s_matrix = gram.copy()
    diag = np.empty(size)
    for i in range(size):
        diag[i] = gram[i, i]
    floor = PIVOT * diag
    b, g, sign = c.copy(), np.zeros(size), np.zeros(size)
    waiting, weight, count = np.zeros((block, size)), np.zeros(block), 0
    column = np.empty(size)
    coef = np.zeros((lambdas.shape[0], size))
    events = still = done = 0

    lam = largest(c)
    while done < lambdas.shape[0]:
        step, i, side = next_event(lam, b, g, sign, diag, floor)
        until = max(lam - step, 0.0)
        while done < lambdas.shape[0] and lambdas[done] >= until:
            if lambdas[done] < lam:  # above λ_max there are no coefficients
                read(coef[done], lambdas[done], b, g, sign)
            done += 1
        if done == lambdas.shape[0]:
            break
        still = still + 1 if step <= TIE * lam else 0
        events += 1
        if events > max_events or still > 4 * size + 50:
            break
        lam = until
        take_column(s_matrix, waiting, weight, count, i, column)
        if sign[i] == 0:
            if column[i] <= 0:
                break
            sign[i] = side
            g[i] += side
            count = pivot(s_matrix, waiting, weight, count, i, 1.0, column, diag, b, g)
        else:
            if column[i] >= 0:
                break
            count = pivot(s_matrix, waiting, weight, count, i, -1.0, column, diag, b, g)
            g[i] -= sign[i]
            sign[i] = 0
    return coef, events


# The five steps, plain ------------------------------------------------------------------------------------


def largest(c):
    return np.abs(c).max()


def take_column(s_matrix, waiting, weight, count, i, column):
    """Column i of S, with the waiting pivots applied to it."""
    column[:] = s_matrix[i]
    if count:
        column -= (weight[:count] * waiting[:count, i]) @ waiting[:count]


def pivot(s_matrix, waiting, weight, count, i, direction, column, diag, b, g):
    """Sweep i into A (direction 1) or out of it (−1); returns how many pivots wait now.

    The new row i is written at once and hidden from the pivots that wait (their entry i becomes 0), so
    nothing is subtracted there only to be added again.
    """
    d = column[i]
    by_b, by_g = b[i] / d, g[i] / d
    b -= by_b * column
    g -= by_g * column
    diag -= column * column / d
    b[i], g[i], diag[i] = direction * by_b, direction * by_g, -1.0 / d
    row = column * (direction / d)
    row[i] = -1.0 / d
    s_matrix[i] = row
    s_matrix[:, i] = row
    waiting[:count, i] = 0.0
    waiting[count] = column
    waiting[count, i] = 0.0
    weight[count] = 1.0 / d
    if count + 1 < weight.shape[0]:
        return count + 1
    dgemm(-1.0, (waiting * weight[:, None]).T, waiting.T, beta=1.0, c=s_matrix.T, trans_b=True, overwrite_c=True)
    return 0


def next_event(lam, b, g, sign, diag, floor):
    """How far λ can fall until something changes, for which filter, and the sign with which it would join."""
    outside = sign == 0
    value = b - lam * g
    reach = lam * outside
    # Row 0 for what moves up to +λ (or from below to 0), row 1 for what moves down: the slack, the rate it closes at.
    slack, rate = np.empty((2, len(b))), np.empty((2, len(b)))
    np.subtract(reach, value, out=slack[0])
    np.add(reach, value, out=slack[1])
    np.add(outside, g, out=rate[0])
    np.subtract(outside, g, out=rate[1])
    np.maximum(slack, 0.0, out=slack)
    closing = rate > RATE
    closing[:, outside & (diag <= floor)] = False
    closing[0] &= sign <= 0
    closing[1] &= sign >= 0
    steps = np.full((2, len(b)), np.inf)
    np.divide(slack, rate, out=steps, where=closing)
    least = steps.min()
    if least == np.inf:
        return np.inf, 0, 0.0
    i = int((np.minimum(steps[0], steps[1]) <= least + TIE * lam).argmax())
    return (steps[0, i], i, 1.0) if steps[0, i] <= steps[1, i] else (steps[1, i], i, -1.0)


def read(row, lam, b, g, sign):
    """The coefficients at λ."""
    np.copyto(row, b - lam * g, where=sign != 0)


# The same steps, compiled ---------------------------------------------------------------------------------


@cache
def compiled():
    """`walk` compiled by numba, kept in the cache folder (damaged: deleted, compiled anew); ImportError where
    numba is not installed."""
    import numba
    from numba.extending import overload

    # Fused multiply-add, and sums in any order: rounding only.
    options = {"fastmath": {"contract", "reassoc"}, "error_model": "numpy"}

    @overload(largest, jit_options=options)
    def _(c):
        def loop(c):
            top = 0.0
            for i in range(c.shape[0]):
                top = max(top, abs(c[i]))
            return top

        return loop

    @overload(take_column, jit_options=options)
    def _(s_matrix, waiting, weight, count, i, column):
        def loop(s_matrix, waiting, weight, count, i, column):
            size = column.shape[0]
            for j in range(i + 1):
                column[j] = s_matrix[i, j]
            for j in range(i + 1, size):
                column[j] = s_matrix[j, i]
            for t in range(count):
                by = weight[t] * waiting[t, i]
                for j in range(size):
                    column[j] -= by * waiting[t, j]

        return loop

    @overload(pivot, jit_options=options)
    def _(s_matrix, waiting, weight, count, i, direction, column, diag, b, g):
        def loop(s_matrix, waiting, weight, count, i, direction, column, diag, b, g):
            size = column.shape[0]
            d = column[i]
            by_b, by_g, by_d = b[i] / d, g[i] / d, 1.0 / d
            for j in range(size):
                x = column[j]
                b[j] -= by_b * x
                g[j] -= by_g * x
                diag[j] -= x * x * by_d
                waiting[count, j] = x
            b[i], g[i], diag[i] = direction * by_b, direction * by_g, -by_d
            for j in range(i):
                s_matrix[i, j] = column[j] * (direction * by_d)
            s_matrix[i, i] = -by_d
            for j in range(i + 1, size):
                s_matrix[j, i] = column[j] * (direction * by_d)
            for t in range(count + 1):
                waiting[t, i] = 0.0
            weight[count] = by_d
            if count + 1 < weight.shape[0]:
                return count + 1
            w0, w1, w2, w3 = waiting[0], waiting[1], waiting[2], waiting[3]
            w4, w5, w6, w7 = waiting[4], waiting[5], waiting[6], waiting[7]
            for k in range(size):
                a0, a1, a2, a3 = weight[0] * w0[k], weight[1] * w1[k], weight[2] * w2[k], weight[3] * w3[k]
                a4, a5, a6, a7 = weight[4] * w4[k], weight[5] * w5[k], weight[6] * w6[k], weight[7] * w7[k]
                row = s_matrix[k]
                for j in range(k + 1):
                    row[j] -= (a0 * w0[j] + a1 * w1[j] + a2 * w2[j] + a3 * w3[j]) + (
                        a4 * w4[j] + a5 * w5[j] + a6 * w6[j] + a7 * w7[j]
                    )
            return 0

        return loop

    @overload(next_event, jit_options=options)
    def _(lam, b, g, sign, diag, floor):
        def loop(lam, b, g, sign, diag, floor):
            step, best, side, tie = np.inf, 0, 0.0, TIE * lam
            for i in range(b.shape[0]):
                value = b[i] - lam * g[i]
                s = sign[i]
                if s != 0:
                    slack, rate = s * value, -s * g[i]
                    if rate > RATE and slack < (step - tie) * rate:
                        step, best, side = max(slack, 0.0) / rate, i, s
                elif diag[i] > floor[i]:
                    slack, rate = lam - value, 1.0 + g[i]
                    if rate > RATE and slack < (step - tie) * rate:
                        step, best, side = max(slack, 0.0) / rate, i, 1.0
                    slack, rate = lam + value, 1.0 - g[i]
                    if rate > RATE and slack < (step - tie) * rate:
                        step, best, side = max(slack, 0.0) / rate, i, -1.0
            return step, best, side

        return loop

    @overload(read, jit_options=options)
    def _(row, lam, b, g, sign):
        def loop(row, lam, b, g, sign):
            for i in range(row.shape[0]):
                if sign[i] != 0:
                    row[i] = b[i] - lam * g[i]

        return loop

    folder = cache_folder.folder() / "numba"

    def ready(**keep):
        kept, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:
            fast = numba.njit(nogil=True, **keep, **options)(walk)
        finally:
            numba.config.CACHE_DIR = kept
        # Read or compiled by the first call: the types are always these.
        fast(np.ones((1, 1)), np.ones(1), np.ones(1), 1, BLOCKS["numba"])
        return fast

    for _ in range(2):
        try:
            return ready(cache=True)
        except Exception as error:  # unpickling a damaged file may raise anything
            reason = error
            if isinstance(error, OSError) or not folder.is_dir():
                break
            log.warning("the compiled code in %s cannot be used (%r): compiling it anew", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    log.warning("compiled code is not kept: %s", reason)  # nowhere to keep it: compile in every process
    return ready()
