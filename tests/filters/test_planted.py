"""Discovery gives back what was planted, and the trap in the toy is a real one."""

import numpy as np
import pytest

from facelab.filters.craft import find_crafts, shuffled
from facelab.filters.planted import plant, planted_recovery
from facelab.filters.responses import responses


def test_recovery_at_the_stated_rate():
    table = planted_recovery(range(4))
    assert table["precision"].mean() >= 0.99 and table["recall"].mean() >= 0.95
    assert (table["planted"] == 48).all()


def test_recovery_with_as_few_people_as_the_pose_set():
    table = planted_recovery(range(4), people=15, each=4)
    assert table["precision"].mean() >= 0.99 and table["recall"].mean() >= 0.95


@pytest.fixture(scope="module")
def toy():
    toy = plant(1)
    return toy, responses(toy.net, toy.faces, cached=False, progress=False)


def test_a_plain_correlation_falls_into_the_trap(toy):
    toy, seen = toy
    yaw = toy.faces.labels["yaw"]
    bystander = toy.truth["kind"].isna().to_numpy()
    rho = np.concatenate([[abs(np.corrcoef(c, yaw)[0, 1]) for c in seen[layer].T] for layer in seen.layers])
    assert (rho[bystander] > 0.3).mean() > 0.2
    crafts = find_crafts(seen, "yaw")
    assert toy.recovery(crafts) == (1.0, 1.0)
    tests = crafts.tests.merge(toy.truth[bystander][["layer", "filter"]])
    assert (tests["rho"] > 0.3).sum() > 20 and (tests["within"].abs() < 0.2).all()


def test_shuffled_labels_find_nothing(toy):
    _, seen = toy
    assert shuffled(seen, "yaw", shuffles=10).mean() <= 0.01 * sum(x.shape[1] for x in seen.layers.values())


def test_recovery_counts_kinds(toy):
    toy, seen = toy
    swapped = toy.truth.assign(kind=toy.truth["kind"].replace({"left": "right", "right": "left"}))
    wrong = type(toy)(toy.net, toy.faces, swapped)
    assert wrong.recovery(find_crafts(seen, "yaw")) == (0.5, 0.5)


def test_the_same_seed_plants_the_same_net():
    a, b, c = plant(3, people=8, poses=4), plant(3, people=8, poses=4), plant(4, people=8, poses=4)
    assert np.array_equal(a.faces.images, b.faces.images) and a.net.fingerprint == b.net.fingerprint
    assert a.net.fingerprint != c.net.fingerprint
