"""Fusion operators against scikit-learn's PCA, each other, and what must not matter."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA as Oracle
from sklearn.exceptions import NotFittedError

from facelab import devices
from facelab.nets.embed import Mapped
from facelab.transfer import fusion
from facelab.transfer.fusion import AE, DAE, PCA, VAE, Concat, anchors, load, nrmse, save

WIDTHS = {"identity": 12, "age": 5, "landmarks": 7}
QUICK = {"hidden": 16, "epochs": 2, "batch": 32, "device": "cpu"}
EVERY = [Concat(), PCA(4), AE(4, **QUICK), VAE(4, **QUICK), DAE(4, **QUICK), DAE(4, noise="gaussian", **QUICK)]
LEARNED = EVERY[2:]
REDUCING = EVERY[1:]


def made(n=150, seed=0, loud=1.0):
    """Embeddings of three sources that share four numbers per face, in units far apart."""
    rng = np.random.default_rng(seed)
    maps = np.random.default_rng(99)
    face, scales = rng.normal(size=(n, 4)), {"identity": 1.0, "age": 50 * loud, "landmarks": 0.01}
    out = {}
    for name, d in WIDTHS.items():
        seen = np.tanh(face @ maps.normal(size=(4, d))) + 0.2 * rng.normal(size=(n, d))
        out[name] = scales[name] * (seen + maps.normal(size=d))
    return out


def curved(n, seed):
    """Two numbers per face, seen through three bent surfaces."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, (2, n, 1))
    bent = {"one": [a, a**2, b], "two": [np.sin(3 * a), np.cos(3 * a), b**2], "three": [a * b, np.sin(3 * b)]}
    return {name: np.hstack(parts) + 0.02 * rng.normal(size=(n, len(parts))) for name, parts in bent.items()}


def side_by_side(x):
    return np.hstack(list(x.values()))


def ids(operator):
    return f"{type(operator).__name__}-{getattr(operator, 'noise', '')}"


every = pytest.mark.parametrize("operator", EVERY, ids=ids)
learned = pytest.mark.parametrize("operator", LEARNED, ids=ids)
reducing = pytest.mark.parametrize("operator", REDUCING, ids=ids)


def test_every_source_weighs_the_same():
    z = Concat().fit_transform(made())
    parts = np.split(z, np.cumsum(list(WIDTHS.values()))[:-1], axis=1)
    totals = [part.var(0).sum() for part in parts]
    np.testing.assert_allclose(totals, sum(WIDTHS.values()) / 3, rtol=1e-4)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)


def test_concat_keeps_the_proportions_within_a_source():
    x = made()
    z = Concat().fit_transform(x)[:, :12]
    ratio = z.std(0) / x["identity"].std(0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_pca_is_sklearns_on_the_weighted_input():
    x = made()
    z = Concat().fit_transform(x).astype(float)
    ours, oracle = PCA(6).fit(x), Oracle(6).fit(z)
    sign = np.sign((ours.components_ * oracle.components_).sum(1))
    np.testing.assert_allclose(ours.components_, sign[:, None] * oracle.components_, atol=1e-4)
    np.testing.assert_allclose(ours.transform(x), sign * oracle.transform(z), atol=1e-3)
    np.testing.assert_allclose(ours.explained_variance_ * 150 / 149, oracle.explained_variance_, rtol=1e-4)
    back = Concat().fit(x).inverse_transform(oracle.inverse_transform(oracle.transform(z)))
    for name, part in ours.inverse_transform(ours.transform(x)).items():
        np.testing.assert_allclose(part, back[name], rtol=1e-3, atol=1e-3 * x[name].std())


def test_pca_of_all_dimensions_loses_nothing():
    x = made()
    pca = PCA(24).fit(x)
    assert nrmse(x, pca.inverse_transform(pca.transform(x))).nrmse.max() < 1e-4


@learned
def test_untrained_is_pca(operator):
    x, fresh = made(), made(seed=1)
    net = clone(operator).set_params(epochs=0).fit(x)
    pca = PCA(4).fit({name: np.delete(part, net.held_out_, axis=0) for name, part in x.items()})
    assert net.best_epoch_ == 0
    np.testing.assert_allclose(net.transform(fresh), pca.transform(fresh), atol=1e-4)
    there, here = (o.inverse_transform(o.transform(fresh)) for o in (net, pca))
    for name in WIDTHS:
        np.testing.assert_allclose(there[name], here[name], atol=1e-4 * x[name].std())


@learned
def test_training_never_ends_worse_than_pca_on_held_out_faces(operator):
    x = made()
    net = clone(operator).set_params(lr=0.05, epochs=4).fit(x)
    pca = PCA(4).fit({name: np.delete(part, net.held_out_, axis=0) for name, part in x.items()})
    held = {name: part[net.held_out_] for name, part in x.items()}
    assert len(net.held_out_) == 15

    def loss(o):
        said = o.inverse_transform(o.transform(held))
        return sum(np.square(said[name] - held[name]).mean() / o.scale_[name] ** 2 for name in held)

    assert loss(net) <= loss(pca) * (1 + 1e-5)
    assert loss(net) == pytest.approx(net.history_.val_loss.min(), rel=1e-4)
    assert net.history_.val_loss[0] == pytest.approx(loss(pca), rel=1e-4)
    assert net.history_.val_loss.idxmin() == net.best_epoch_


@pytest.mark.parametrize("kind", [AE, DAE, VAE])
def test_a_bent_manifold_is_read_better_than_by_pca(kind):
    x, fresh = curved(1500, 0), curved(500, 1)
    own = {DAE: {"level": 0.02}}.get(kind, {})
    net = kind(2, hidden=48, epochs=40, batch=64, lr=5e-3, device="cpu", **own).fit(x)
    pca = PCA(2).fit(x)
    ours, theirs = (nrmse(fresh, o.inverse_transform(o.transform(fresh))).nrmse.mean() for o in (net, pca))
    assert ours < 0.75 * theirs


@every
def test_order_of_sources_does_not_matter(operator):
    x = made()
    turned = {name: x[name] for name in ("landmarks", "identity", "age")}
    one, other = clone(operator).fit(x), clone(operator).fit(turned)
    assert list(other.sources_) == list(turned)
    code, back = other.transform(turned), other.inverse_transform(other.transform(x))
    np.testing.assert_array_equal(code, other.transform(x))  # by name, in any order
    if not isinstance(operator, (Concat, DAE)):  # masks and noise fall on columns
        np.testing.assert_allclose(code, one.transform(x), atol=2e-3)
    if not isinstance(operator, DAE):
        for name, part in one.inverse_transform(one.transform(x)).items():
            np.testing.assert_allclose(part, back[name], atol=2e-3 * x[name].std())


@every
def test_the_unit_of_a_source_does_not_matter(operator):
    x, loud = made(), made(loud=1000)
    one, other = clone(operator).fit(x), clone(operator).fit(loud)
    np.testing.assert_allclose(other.transform(loud), one.transform(x), atol=2e-3)
    here, there = one.inverse_transform(one.transform(x)), other.inverse_transform(other.transform(loud))
    np.testing.assert_allclose(there["age"] / 1000, here["age"], atol=2e-3 * x["age"].std())
    np.testing.assert_allclose(there["identity"], here["identity"], atol=2e-3)


@every
def test_an_array_or_a_memory_map_does_as_well_as_a_dictionary(operator, tmp_path):
    x = made()
    np.save(tmp_path / "x.npy", side_by_side(x))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, other = clone(operator).fit(x), clone(operator).set_params(sources=WIDTHS).fit(array)
    code = other.transform(array)
    np.testing.assert_array_equal(code, one.transform(x))
    assert code.dtype == np.float32 and code.shape == (150, len(one.get_feature_names_out()))
    back = other.inverse_transform(code)
    np.testing.assert_array_equal(back, side_by_side(one.inverse_transform(code)))
    assert other.n_features_in_ == back.shape[1] == 24


def test_blocks_do_not_matter(monkeypatch):
    x = made()
    whole = PCA(4).fit(x)
    monkeypatch.setattr("facelab.transfer.codes.BLOCK", 7)
    parts = PCA(4).fit(x)
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e-9)
    np.testing.assert_allclose(parts.transform(x), whole.transform(x), atol=1e-5)


@learned
def test_same_seed_same_numbers(operator):
    x = made()
    state = torch.get_rng_state()
    one, two = (clone(operator).fit_transform(x) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(state, torch.get_rng_state())
    kept = [clone(operator).set_params(seed=seed).fit(x).held_out_ for seed in (0, 1)]
    assert not np.array_equal(*kept)


@every
def test_round_trip_on_disk(operator, tmp_path):
    x, fitted = made(), clone(operator).set_params(sources={k: np.int64(v) for k, v in WIDTHS.items()})
    fitted.fit(x)
    again = load(save(fitted, tmp_path / "it.safetensors"), device="cpu")
    assert type(again) is type(fitted) and again.get_params() == fitted.get_params()
    code = fitted.transform(x)
    np.testing.assert_array_equal(again.transform(x), code)
    for name, part in fitted.inverse_transform(code).items():
        np.testing.assert_array_equal(part, again.inverse_transform(code)[name])
    if hasattr(fitted, "history_"):
        assert again.history_.val_loss.tolist() == pytest.approx(fitted.history_.val_loss.tolist())
    clone(again).fit(x)


def test_the_code_is_as_long_as_the_sources_are_wide_on_average():
    x = made()
    assert PCA().fit_transform(x).shape == AE(**QUICK).fit_transform(x).shape == (150, 8)
    assert PCA().fit(x).get_feature_names_out()[0] == "pca0"
    assert Concat().fit(x).get_feature_names_out()[11:13].tolist() == ["identity_11", "age_0"]


def test_whole_people_are_held_out():
    people = np.repeat([f"p{i}" for i in range(30)], 5)
    ae = AE(4, validation=0.2, **QUICK).fit(made(), groups=people)
    held = np.isin(np.arange(150), ae.held_out_)
    assert held.sum() == 30 and not set(people[held]) & set(people[~held])


@pytest.mark.parametrize("kind", [AE, VAE, DAE])
def test_training_in_bf16_comes_to_nearly_the_same(kind, monkeypatch):
    monkeypatch.setattr(devices, "halves", lambda place: True)
    exact, half = (kind(4, **QUICK, lr=1e-2, precision=p).fit(made()).history_["val_loss"] for p in ("32", "bf16"))
    assert abs(half - exact).max() < 0.1 * abs(exact - exact[0]).max()  # of what training changed
    assert not (half == exact)[1:].any()
    monkeypatch.setattr(devices, "halves", lambda place: False)  # no instructions for it: float32 is sooner
    assert (kind(4, **QUICK, lr=1e-2, precision="bf16").fit(made()).history_["val_loss"] == exact).all()


def test_anchors():
    found = anchors(made(3000))
    np.testing.assert_allclose(found["mean"], 1, rtol=1e-9)
    np.testing.assert_allclose(found["shuffled"], np.sqrt(2), rtol=0.03)
    assert (found["uniform"] > 1.4).all() and list(found.index) == list(WIDTHS)


def test_constant_dimensions_are_left_out_and_counted():
    x = made()
    said = {name: part + 0.5 * part.std(0) for name, part in x.items()}
    x["age"][:, 2] = 0.1
    found = nrmse(x, said)
    np.testing.assert_allclose(found.nrmse, 0.5, rtol=1e-6)
    assert found.loc["age", ["dimensions", "constant"]].tolist() == [4, 1] and found.constant.sum() == 1
    array = nrmse(side_by_side(x), side_by_side(said), WIDTHS)
    np.testing.assert_allclose(array.nrmse, found.nrmse)


@reducing
def test_a_constant_dimension_is_given_back(operator):
    x = made()
    x["age"][:, 2] = 7
    fitted = clone(operator).fit(x)
    age = fitted.inverse_transform(fitted.transform(x))["age"]
    assert np.abs(age[:, 2] - 7).max() < 0.1 * x["age"].std()


def spoilt(name, row, value=np.nan):
    x = made()
    x[name][row, 1] = value
    return x


WRONG = {
    "not finite": (lambda o: o.fit(spoilt("age", 17)), "source 'age': the embedding of row 17 is not finite"),
    "infinite": (lambda o: o.fit(made()).transform(spoilt("age", 3, np.inf)), "source 'age': .*row 3 is not finite"),
    "constant": (
        lambda o: o.fit(made() | {"age": np.full((150, 5), 0.1)}),
        "age. is constant: all 1[35]. rows",
    ),
    "too few": (lambda o: o.fit(made(1)), "1 rows of embeddings"),
    "missing": (lambda o: o.fit(made()).transform({k: made()[k] for k in ("age", "identity")}), "lack.*'landmarks'"),
    "misspelt": (lambda o: o.set_params(sources={"aeg": 5}).fit({"age": made()["age"]}), "the nearest is 'age'"),
    "extra": (lambda o: o.fit(made()).transform(made() | {"landmark": made()["age"]}), "did you mean 'landmarks'"),
    "width": (lambda o: o.fit(made()).transform(made() | {"age": np.ones((150, 6))}), "'age' is 6 wide: expected 5"),
    "array width": (lambda o: o.fit(made()).transform(np.ones((3, 23))), "23 columns do not fit.*expected 24"),
    "no sources": (lambda o: o.fit(np.ones((9, 3))), "sources missing"),
    "empty": (lambda o: o.fit({}), "there are no sources"),
    "lengths": (lambda o: o.fit(made() | {"age": np.ones((149, 5))}), "'age' has 149 rows, but 'identity' has 150"),
    "shape": (lambda o: o.fit({"age": np.ones(5)}), "source 'age' has shape"),
    "code": (lambda o: o.fit(made()).inverse_transform(np.ones((3, 99))), r"codes of shape \(3, 99\)"),
    "code nan": (lambda o: o.fit(made()).inverse_transform(nan_code(o)), "code of row 1 is not finite"),
}


def nan_code(operator):
    code = operator.transform(made())
    code[1, 0] = np.nan
    return code


@every
@pytest.mark.parametrize("wrong", WRONG)
def test_errors(operator, wrong):
    act, message = WRONG[wrong]
    operator = clone(operator)
    if hasattr(operator, "dimension") and wrong == "misspelt":
        operator.set_params(dimension=2)
    with pytest.raises(ValueError, match=message):
        act(operator)


@reducing
def test_errors_of_dimension(operator):
    for dimension, n, message in (
        (25, 150, "dimension 25 is more than the sources are wide together: expected at most 24"),
        (10, 10, r"dimension 10 is more than \d+ faces allow: expected at most \d"),
        (None, 5, r"average width of the 3 sources, 8, is more than \d faces allow"),
        (0, 150, "dimension 0: expected at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(operator).set_params(dimension=dimension).fit(made(n))
    with pytest.raises(TypeError, match="expected a whole number"):
        clone(operator).set_params(dimension=2.5).fit(made())


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (AE(lr=0), "lr 0: expected more than 0"),
        (AE(validation=1), "validation 1: expected a share"),
        (AE(epochs=-1), "epochs -1: expected at least 0"),
        (AE(batch=0), "batch 0: expected at least 1"),
        (AE(precision="bf61"), "unknown precision 'bf61': did you mean 'bf16'"),
        (AE(device="tpu9"), "unknown device 'tpu9'"),
        (DAE(noise="maskng"), "unknown noise 'maskng': did you mean 'masking'"),
        (DAE(level=1), "level 1: expected at least 0"),
        (VAE(beta=-1), "beta -1: expected at least 0"),
    ],
)
def test_errors_of_settings(operator, message):
    with pytest.raises(ValueError, match=message):
        operator.fit(made())
    with pytest.raises(NotFittedError):
        operator.transform(made())


@learned
def test_a_loss_that_is_not_finite_names_the_epoch(operator):
    wild = clone(operator).set_params(lr=1e30, epochs=5)
    with pytest.raises(FloatingPointError, match=r"(in|after) epoch \d.*try a lower lr, it is 1e\+30"):
        wild.fit(made())
    with pytest.raises(NotFittedError):
        wild.transform(made())


def test_errors_of_groups():
    for groups, message in ((np.ones(150), "one group only"), (np.ones(3), r"expected \(150,\)")):
        with pytest.raises(ValueError, match=message):
            AE(4, **QUICK).fit(made(), groups=groups)


def test_errors_of_nrmse():
    x = made()
    for said, message in (
        (made(149), "149 reconstructions do not fit 150"),
        ({"age": x["age"]}, "lack the source 'identity' and 1 more"),
        (spoilt("age", 5), "source 'age': the embedding of row 5"),
    ):
        with pytest.raises(ValueError, match=message):
            nrmse(x, said)
    with pytest.raises(ValueError, match="'age' is constant over these 150 faces"):
        nrmse(x | {"age": np.ones((150, 5))}, x)
    with pytest.raises(ValueError, match="1 faces"):
        anchors(made(1))
    with pytest.raises(ValueError, match="no faces"):
        nrmse(made(0), made(0))


def test_errors_of_files(tmp_path):
    with pytest.raises(NotFittedError):
        save(PCA(), tmp_path / "x")
    with pytest.raises(TypeError, match="expected one of Concat, PCA"):
        save(Oracle(), tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "x")
    fusion.cache.write_tensors(tmp_path / "x", {"a": np.ones(2)}, {"operator": "PAC"})
    with pytest.raises(ValueError, match="unknown operator 'PAC': did you mean 'PCA'"):
        load(tmp_path / "x")
    fusion.cache.write_tensors(tmp_path / "x", {"a": np.ones(2)}, {"operator": "PCA", "settings": {}})
    with pytest.raises(ValueError, match="is no whole PCA"):
        load(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "x")


def test_of_two_auto_encoders_the_one_better_on_people_held_out_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    x, groups = made(), np.arange(150) // 2
    both = fusion.auto_encoders(x, 4, groups=groups, **QUICK | {"lr": 1e-2})
    assert sorted((one.lr, one.dropout) for one in both) == [(5e-4, 0.3), (1e-2, AE().dropout)]
    error = [one.history_["val_loss"].min() for one in both]
    assert error[0] < error[1]
    alone = AE(4, **QUICK | {"lr": 1e-2}).fit(x, groups=groups)
    mine = next(one for one in both if one.lr == 1e-2)
    np.testing.assert_allclose(mine.transform(x), alone.transform(x), atol=1e-5)
    monkeypatch.setattr(AE, "fit", lambda *a, **how: pytest.fail("it was fitted already"))
    again = fusion.auto_encoders(x, 4, groups=groups, **QUICK | {"lr": 1e-2})
    assert [one.lr for one in again] == [one.lr for one in both]


def test_a_fitted_operator_is_found_again_for_the_same_sources_alone(tmp_path, monkeypatch):
    """In another order, or as one array, the numbers are the same and the operator is another."""
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    a, b = np.random.default_rng(0).normal(size=(50, 4)), 5 + np.random.default_rng(1).normal(size=(50, 4))
    first = fusion.fitted(PCA(2), {"a": a, "b": b})
    swapped = fusion.fitted(PCA(2), {"b": a, "a": b})
    assert list(first.sources_) == ["a", "b"] and list(swapped.sources_) == ["b", "a"]
    both = np.hstack([a, b])
    whole = fusion.fitted(PCA(np.int64(2), sources={"a": 4, "b": 4}), both)
    assert isinstance(whole.inverse_transform(whole.transform(both)), np.ndarray)
    assert isinstance(first.inverse_transform(first.transform({"a": a, "b": b})), dict)
    with pytest.raises(TypeError, match="stay on disk"):
        PCA(2, sources={"a": 4}).fit(Mapped([a.astype(np.float32)]))
