"""How the learning rate moves: falling exponentially, or by what the loss does, with restarts (2MD-MTL §5, DR)."""

import numpy as np

from facelab.errors import number, unknown, whole

DECADES = 1  # the exponential schedule ends at a tenth of the highest rate


class Exponential:
    """high · 10^(−step / steps), whatever the loss does.

    >>> rate = Exponential(0.1, 100)
    >>> [round(rate.at(step), 4) for step in (0, 50, 100)]
    [0.1, 0.0316, 0.01]
    """

    def __init__(self, high: float, steps: int):
        number("lr", high)
        if not 0 < high < float("inf"):
            raise ValueError(f"lr {high!r}: expected a finite number above 0")
        whole("steps", steps, 1)
        self.high, self.steps = high, steps

    def at(self, step: int) -> float:
        return self.high * 10 ** (-DECADES * step / self.steps)

    def saw(self, step: int, loss: float) -> None:
        """The loss of a step has no part in it."""


class Dynamic(Exponential):
    """The rate falls when the loss falls too little, and every k-th time it starts again at the highest.

    An event: the mean loss of `window` steps is not below (1 − least) times that of the window before. The m-th event
    of a cycle, m = 1 … k − 1, sets the rate to high · (e / high)^(m / (k − 1)), e being what the exponential schedule
    has reached by then: the lowest rate of a cycle is that. The k-th event restarts at `high`. The paper's formula
    ("0.1^(step / 10^k)") cannot be read in one way only; this is what its text fixes. Over the last tenth of the steps
    the rate is the exponential schedule's: a training must not end just after a restart.

    >>> rate = Dynamic(0.1, 100, window=1, k=3)
    >>> rates = []
    >>> for step in range(7):  # a loss that never falls: an event at every step but the first
    ...     rate.saw(step, 1.0)
    ...     rates.append(round(rate.at(step + 1), 3))
    >>> rates
    [0.1, 0.098, 0.093, 0.1, 0.094, 0.087, 0.1]
    """

    def __init__(self, high: float, steps: int, *, window: int = 10, least: float = 0.02, k: int = 5):
        super().__init__(high, steps)
        whole("window", window, 1)
        whole("k", k, 2)
        number("least", least)
        self.window, self.least, self.k = window, least, k
        self.events, self.rate, self._before, self._losses = 0, high, None, []

    def at(self, step: int) -> float:
        return self.rate if step < 0.9 * self.steps else super().at(step)

    def saw(self, step: int, loss: float) -> None:
        """Take note of the loss of a step."""
        self._losses.append(loss)
        if len(self._losses) < self.window:
            return
        mean, self._losses = float(np.mean(self._losses)), []
        if self._before is not None and mean >= (1 - self.least) * self._before:
            self.events += 1
            self.rate = self._after(step + 1)
        self._before = mean

    def _after(self, step: int) -> float:
        m = self.events % self.k
        return self.high * (super().at(step) / self.high) ** (m / (self.k - 1)) if m else self.high


class Plain(Dynamic):
    """`Dynamic` by a simpler reading of the paper's formula: high · 0.1^(events mod k).

    >>> rate = Plain(0.1, 100, window=1, k=3)
    >>> for step in range(5):
    ...     rate.saw(step, 1.0)
    >>> rate.events, round(rate.at(5), 4)
    (4, 0.01)
    """

    def _after(self, step: int) -> float:
        return self.high * 0.1 ** (self.events % self.k)


RATES = {"exponential": Exponential, "dynamic": Dynamic, "plain": Plain}


def rate(name: str, high: float, steps: int) -> Exponential:
    """The rate of that name. ValueError with the nearest names otherwise."""
    if name not in RATES:
        raise unknown("learning rate", name, RATES)
    return RATES[name](high, steps)
