"""Sets joined: every face keeps what is known of it, and nobody of one set becomes somebody of another."""

import numpy as np
import pandas as pd
import pytest

from facelab.faces.faceset import FaceSet


def make(name, n=4, seed=0, size=6, **labels):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    return FaceSet(name, images, pd.DataFrame(labels, index=range(n)), rng.random((n, 5, 2)).astype(np.float32))


def test_one_after_another_with_what_each_knows():
    a = make("a", 3, 0, yaw=[1.0, np.nan, 3.0], gender=["male", None, "female"])
    b = make("b", 2, 1, yaw=[4.0, 5.0], age=[20.0, np.nan])
    both = FaceSet.join(iter([a, b]), "both")
    assert both.name == "both" and len(both) == 5
    for part, rows in ((a, slice(0, 3)), (b, slice(3, 5))):
        np.testing.assert_array_equal(both[rows].images, part.images)
        np.testing.assert_array_equal(both[rows].landmarks, part.landmarks)
        np.testing.assert_array_equal(both.encode("yaw")[rows], part.encode("yaw"))
    assert both.encode("gender").tolist() == [1, -1, 0, -1, -1]
    np.testing.assert_array_equal(both.encode("age"), [np.nan, np.nan, np.nan, 20, np.nan])


@pytest.mark.parametrize("names", [["x", "x", "y", None], [7, 7, 8, None], [1.0, 1.0, 2.0, np.nan]], ids=repr)
def test_people_of_different_sets_are_different(names):
    parts = [make(str(i), seed=i, identity=names) for i in range(3)]
    ids = FaceSet.join(parts, "all").identities.reshape(3, 4)
    assert (ids[:, 0] == ids[:, 1]).all()  # the same person within a set
    assert len(set(ids[:, 1:].flat)) == 9  # and nobody else, the unnamed least of all


def test_albums_stay_together_beside_people():
    albums, people = make("a", album=["u1", "u1", "u2", None]), make("b", identity=list("xxyz"))
    assert len(set(albums.identities)) == 3
    for sets in ([albums, people], [people, albums]):
        both = FaceSet.join(sets, "all")
        ids = dict(zip(("a", "b") if sets[0] is albums else ("b", "a"), both.identities.reshape(2, 4), strict=True))
        assert ids["a"][0] == ids["a"][1] and len(set(both.identities)) == 3 + 3
    assert len(set(FaceSet.join([albums, albums], "all").identities)) == 6  # u1 of two sets are two


def test_a_set_without_names_has_as_many_people_as_faces():
    ids = FaceSet.join([make("a", identity=list("xxyy")), make("b", seed=1)], "all").identities
    assert len(set(ids)) == 2 + 4 and ids[0] == ids[1]


def test_a_joined_set_can_be_saved_and_joined_again(tmp_path):
    both = FaceSet.join([make("a", identity=list("xxyy")), make("b", seed=1, age=20.0)], "both")
    both.save(tmp_path)
    opened = FaceSet.open(tmp_path, "both")
    assert opened.fingerprint == both.fingerprint
    np.testing.assert_array_equal(FaceSet.join([opened], "again").identities, both.identities)


def test_sizes_that_differ_are_named():
    with pytest.raises(ValueError, match="images of one size, not 'a' 6 × 6, 'b' 8 × 8"):
        FaceSet.join([make("a"), make("b", size=8)], "both")
    with pytest.raises(ValueError, match="not none at all"):
        FaceSet.join([], "none")
