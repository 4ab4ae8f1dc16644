"""The dynamic rate: when it falls, how deep, and when it starts again (2MD-MTL §5, DR)."""

import pytest

from facelab.transfer.rates import Dynamic, Exponential

HIGH, STEPS = 0.1, 200


def course(losses, **how):
    """The rate that each step is taken with."""
    rate, found = Dynamic(HIGH, STEPS, **how), []
    for step, loss in enumerate(losses):
        found.append(rate.at(step))
        rate.saw(step, loss)
    return found


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("k", [2, 5])
def test_every_kth_event_restarts_and_the_lowest_is_what_the_exponential_has_reached(window, k):
    plain, found = Exponential(HIGH, STEPS), course([1.0] * 150, window=window, k=k)  # an event in every window
    events = found[2 * window :: window]  # the first window has none before it
    for m, rate in enumerate(events, start=1):
        step = (m + 1) * window
        if m % k == 0:
            assert rate == HIGH
        elif m % k == k - 1:
            assert rate == pytest.approx(plain.at(step))
        else:
            assert plain.at(step) < rate < HIGH


def test_while_the_loss_falls_the_rate_stays():
    assert set(course([0.9**step for step in range(150)], window=5)) == {HIGH}


def test_an_event_is_a_window_that_falls_by_less_than_it_should():
    assert len(set(course([1.0] * 10 + [0.97] * 10 + [0.5] * 10, window=10, least=0.02))) == 1
    assert len(set(course([1.0] * 10 + [0.99] * 10 + [0.5] * 10, window=10, least=0.02))) == 2


def test_a_training_ends_as_the_exponential_does():
    plain, found = Exponential(HIGH, STEPS), course([1.0] * STEPS, window=3)
    assert found[180:] == [plain.at(step) for step in range(180, STEPS)]
