"""Face sets: what belongs together stays together, people never sit in two parts, mirrors mirror."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from facelab.faces.faceset import FaceSet, split_people


def make(n=60, people=20, seed=0, name="made", **columns):
    rng = np.random.default_rng(seed)
    labels = pd.DataFrame(
        {
            "identity": [f"p{i:02d}" for i in rng.integers(0, people, n)],
            "yaw": rng.uniform(-90, 90, n),
            "pitch": rng.uniform(-60, 60, n),
            "roll": rng.uniform(-30, 30, n),
            "age": rng.uniform(0, 100, n),
            **columns,
        }
    )
    images = rng.integers(0, 256, (n, 3, 8, 10), dtype=np.uint8)
    return FaceSet(name, images, labels, rng.uniform(0, 8, (n, 5, 2)).astype(np.float32))


def test_parts_that_do_not_belong_together_are_refused():
    f = make()
    with pytest.raises(ValueError, match=r"images must be uint8 \(n, 3, h, w\) RGB, not float64"):
        dataclasses.replace(f, images=f.images.astype(float))
    with pytest.raises(ValueError, match=r"not uint8 \(60, 8, 10, 3\)"):
        dataclasses.replace(f, images=f.images.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="'made': 59 images, 60 rows of labels"):
        dataclasses.replace(f, images=f.images[1:])
    with pytest.raises(ValueError, match=r"shape \(60, 4, 2\) do not belong together: expected \(60, 5, 2\)"):
        dataclasses.replace(f, landmarks=f.landmarks[:, :4])


@pytest.mark.parametrize(
    "rows", [slice(5, 50, 3), slice(None), [3, 1, 1], [-1], 7, [], np.arange(60) % 2 == 0], ids=repr
)
def test_rows_keep_images_labels_and_landmarks_together(rows):
    f = make()
    part = f[rows]
    index = np.atleast_1d(np.arange(60)[rows if len(np.shape(rows)) == 0 or len(rows) else slice(0)])
    assert np.array_equal(part.images, f.images[index]) and np.array_equal(part.landmarks, f.landmarks[index])
    assert part.labels.equals(f.labels.iloc[index].reset_index(drop=True)) and len(part) == len(index)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(IndexError, match="a mask of 3 for 60 faces"):
        make()[np.ones(3, bool)]
    with pytest.raises(IndexError):
        make()[[60]]


def test_a_slice_of_images_on_disk_stays_on_disk(tmp_path):
    make().save(tmp_path)
    opened = FaceSet.open(tmp_path, "made")
    assert isinstance(opened.images, np.memmap) and np.shares_memory(opened[10:20].images, opened.images)


def test_identities_are_numbers_and_an_unknown_one_is_a_person_alone():
    f = make(6, identity=["b", "a", None, "b", np.nan, "a"])
    ids = f.identities
    assert ids[0] == ids[3] and ids[1] == ids[5] and len(set(ids)) == 4
    unnamed = dataclasses.replace(f, labels=f.labels.drop(columns="identity"))
    assert unnamed.identities.tolist() == list(range(6))


@pytest.mark.parametrize("people", [3, 4, 7, 20])
@pytest.mark.parametrize("shares", [(0.5, 0.25, 0.25), (0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.4, 0.1)])
def test_parts_share_nobody_and_none_is_empty(people, shares):
    f = make(200, people)
    parts = f.parts(shares, seed=3)
    names = [set(p.labels["identity"]) for p in parts]
    assert all(names) and not any(a & b for i, a in enumerate(names) for b in names[:i])
    if sum(shares) == 1:
        assert sum(map(len, parts)) == 200
    for mine, share in zip(names, shares, strict=True):
        assert abs(len(mine) - share * people) <= 2


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_folds_are_even_whole_people_and_depend_on_the_seed_alone(k):
    f = make(400)
    fold = f.folds(k, seed=1)
    assert pd.DataFrame({"p": f.labels["identity"], "f": fold}).groupby("p")["f"].nunique().max() == 1
    people = np.array([len(set(f.labels["identity"][fold == i])) for i in range(k)])
    assert people.sum() == 20 and np.ptp(people) <= 1
    assert np.array_equal(fold, make(400).folds(k, seed=1))
    assert k == 1 or not np.array_equal(fold, f.folds(k, seed=2))


def test_too_few_people_and_shares_that_are_none():
    f = make(30, 3)
    with pytest.raises(ValueError, match="face set 'made': 3 people, too few for 5 parts"):
        f.folds(5)
    with pytest.raises(ValueError, match="0 folds: expected at least 1"):
        f.folds(0)
    for shares in ((0.6, 0.6), (0.5, -0.1), (), (np.nan, 0.5)):
        with pytest.raises(ValueError, match="must be positive and sum to at most 1"):
            split_people([1, 2, 3], shares)


def test_a_mirror_image_has_the_labels_of_a_mirror_image():
    f = make(pose=["level left", "up frontal", None] * 20)
    flipped = f.flip()
    assert np.array_equal(flipped.images, f.images[..., ::-1])
    for column in ("yaw", "roll"):
        assert np.array_equal(flipped.labels[column], -f.labels[column])
    for column in ("pitch", "age", "identity"):
        assert flipped.labels[column].equals(f.labels[column])
    assert flipped.labels["pose"][:2].tolist() == ["level right", "up frontal"] and pd.isna(flipped.labels["pose"][2])
    np.testing.assert_array_equal(flipped.landmarks[:, 0, 0], 9 - f.landmarks[:, 1, 0])  # the other eye
    np.testing.assert_array_equal(flipped.landmarks[:, 3, 1], f.landmarks[:, 4, 1])
    back = flipped.flip()
    assert np.array_equal(back.images, f.images)
    np.testing.assert_allclose(back.landmarks, f.landmarks, atol=1e-6)
    np.testing.assert_array_equal(back.labels["yaw"], f.labels["yaw"])


def test_missing_labels_stay_missing():
    f = make(4, age=[1.0, np.nan, 3.0, np.nan], gender=["male", None, "female", np.nan])
    assert np.isnan(f.encode("age")).tolist() == [False, True, False, True]
    assert f.encode("gender").tolist() == [1, -1, 0, -1]
    assert np.isnan(f.targets("gender")[:, 0]).tolist() == [False, True, False, True]


def test_a_saved_set_comes_back_as_it_was(tmp_path):
    f = make(
        8,
        identity=["NA", "null", "007", "nan", "None", None, "a,b", 'x"y'],
        gender=["male", None] * 4,
        age=[0.1 + 0.2, 1 / 3, np.nan, 1e-17, 5e-324, 100.0, 2.0, 3.0],
    )
    f.landmarks[2] = np.nan
    f.save(tmp_path)
    opened = FaceSet.open(tmp_path, f.name)
    assert np.array_equal(opened.images, f.images)
    np.testing.assert_array_equal(opened.landmarks, f.landmarks)
    assert opened.labels["identity"].fillna("missing").tolist() == f.labels["identity"].fillna("missing").tolist()
    np.testing.assert_array_equal(opened.labels["age"], f.labels["age"])
    assert opened.fingerprint == f.fingerprint
    assert np.array_equal(opened.folds(3), f.folds(3))


def test_the_fingerprint_is_of_the_content():
    f, again = make(), make(name="another name")
    assert f.fingerprint == again.fingerprint and len(f.fingerprint) == 64
    others = [make(seed=1), f[1:], f[::-1], f.flip()]
    for change in ("images", "landmarks"):
        array = getattr(f, change).copy()
        array.flat[-1] += 1
        others.append(dataclasses.replace(f, **{change: array}))
    labels = f.labels.copy()
    labels.loc[59, "age"] = np.nan
    others += [
        dataclasses.replace(f, labels=labels),
        dataclasses.replace(f, labels=f.labels.rename(columns={"age": "AGE"})),
    ]
    assert len({f.fingerprint, *(o.fingerprint for o in others)}) == 1 + len(others)


def test_frozen_but_remembers_its_fingerprint():
    f = make()
    assert f.fingerprint is f.fingerprint
    with pytest.raises(dataclasses.FrozenInstanceError):
        f.name = "x"
    assert "fingerprint" not in dataclasses.replace(f, name="x").__dict__


def test_the_summary_names_what_is_there():
    f = make()
    people = f.labels["identity"].nunique()
    assert repr(f) == f"FaceSet 'made': 60 images of 8 × 10, {people} people; labels identity, yaw, pitch, roll, age"


def test_texts_made_of_digits_come_back_as_texts(tmp_path):
    labels = pd.DataFrame({"clip": ["001", "002", None], "camera": ["1e3", "7", "x"], "age": [3.0, np.nan, 5.5]})
    made = FaceSet("digits", np.zeros((3, 3, 8, 8), np.uint8), labels, np.zeros((3, 5, 2), np.float32))
    made.save(tmp_path)
    again = FaceSet.open(tmp_path, "digits")
    assert again.fingerprint == made.fingerprint and again.labels["clip"].tolist()[:2] == ["001", "002"]
    assert again.labels["camera"].tolist() == ["1e3", "7", "x"] and again.labels["age"].dtype == float
