"""Distilling: what students are taught and taught by, decoders, tops, and the rows of their routes."""

import time
from functools import partial
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facelab import workers
from facelab.faces.faceset import FaceSet
from facelab.nets import student, wrap
from facelab.transfer import distill, fusion, tuning

N, ROUTES = 48, ("two_stage", "one_stage")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def faces():
    """Grey squares, as bright as their age; two pictures a person."""
    age = np.repeat(RNG.uniform(20, 60, N // 2), 2)
    images = np.clip(age[:, None, None, None] * 3 + RNG.normal(0, 4, (N, 3, 64, 64)), 0, 255).astype(np.uint8)
    labels = pd.DataFrame({"identity": np.arange(N) // 2, "age": age, "gender": np.where(age > 40, "male", "female")})
    template = np.array(student.untrained(2).template, np.float32)
    return FaceSet("squares", images, labels, np.repeat(template[None], N, 0))


@pytest.fixture(scope="module")
def embeddings(faces):
    z = (faces.labels["age"].to_numpy()[:, None] - 40) / 10
    return {"one": np.hstack([z, z**2, RNG.normal(0, 0.1, (N, 1))]), "two": np.hstack([-z, np.sin(z)])}


FAST = {"epochs": 3, "batch": 16, "progress": False, "device": "cpu"}


def test_two_stage_comes_nearer_to_the_codes(faces, embeddings):
    codes = fusion.PCA(2).fit(embeddings).transform(embeddings)
    done = distill.two_stage(student.untrained(2), faces, codes, **FAST | {"epochs": 8, "lr": 3e-3})
    assert done.metric == "cosine" and done.history["loss"].iloc[-1] < 0.5 * done.history["loss"].iloc[0]


def test_nothing_is_mirrored_without_mirrored_codes(faces, monkeypatch):
    seen = {}
    monkeypatch.setattr(import_module("facelab.transfer.distill"), "fit", lambda *a, **how: seen.update(how))
    codes = np.ones((N, 2))
    distill.two_stage(student.untrained(2), faces, codes)
    assert seen["flip"] is False
    distill.two_stage(student.untrained(2), faces, codes, mirrored=2 * codes)
    assert seen["flip"] is True and np.array_equal(seen["targets"][1], 2 * codes)


def test_one_stage_teaches_all_embeddings_through_the_student_it_was_given(faces, embeddings):
    net, weighted = student.untrained(4), fusion.Concat().fit(embeddings)
    done = distill.one_stage(net, faces, embeddings, weighted, hidden=16, **FAST | {"epochs": 20, "lr": 3e-3})
    found = done.predict(faces)
    assert fusion.nrmse(embeddings, weighted.inverse_transform(found))["nrmse"].mean() < 0.6  # 1: the mean
    with torch.no_grad():
        read = done.net.module[1](torch.from_numpy(net.embed(faces)))  # by the decoder, from what the student says
    np.testing.assert_allclose(read, found, atol=1e-3)


def test_the_settings_of_teaching_are_the_same_wherever(faces, embeddings, monkeypatch):
    seen = []
    monkeypatch.setattr(distill, "fit", lambda *a, **how: seen.append(how) or 1 / 0)
    operator = fusion.PCA(2).fit(embeddings)
    distill_alone = partial(distill.imitate, student.untrained(2), faces, operator.transform(embeddings))
    for teach in (distill_alone, *(partial(tuning.taught, r, faces, embeddings, operator) for r in ROUTES)):
        with pytest.raises(ZeroDivisionError):
            teach(epochs=1, lr=1e-2)
        expected = distill.TEACHING | {"lr": 1e-2, "epochs": 1}
        assert {name: seen[-1][name] for name in expected} == expected
    assert len(seen) == 3


def test_a_student_of_the_wrong_width_is_refused(faces):
    with pytest.raises(ValueError, match="gives 3 numbers for a face: expected 2"):
        distill.two_stage(student.untrained(3), faces, np.ones((N, 2)))


def test_a_decoder_of_a_code_that_knows_all_reads_nearly_all_back(faces, embeddings):
    weighted = fusion.Concat().fit(embeddings)
    codes = weighted.transform(embeddings) @ np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    made = distill.decoder(codes, faces, embeddings, weighted, hidden=8, epochs=2, device="cpu")
    assert fusion.nrmse(embeddings, made.decode(codes))["nrmse"].max() < 0.05
    nothing = distill.decoder(RNG.normal(size=(N, 1)), faces, embeddings, weighted, hidden=8, epochs=2, device="cpu")
    assert fusion.nrmse(embeddings, nothing.decode(RNG.normal(size=(N, 1))))["nrmse"].mean() > 0.8


def test_a_decoder_refuses(faces, embeddings):
    weighted = fusion.Concat().fit(embeddings)
    with pytest.raises(ValueError, match="constant"):
        distill.decoder(np.ones((N, 2)), faces, embeddings, weighted)
    with pytest.raises(ValueError, match="3 codes for 48 faces"):
        distill.decoder(np.ones((3, 2)), faces, embeddings, weighted)


@pytest.mark.parametrize("end", ["", ":input"])
def test_a_topped_source_reads_its_embedding(end, faces):
    net = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3)), size=64, embedding="2" + end)
    width = net.embed(faces[:2]).shape[1]
    top = distill.topped(net, width, 3)
    x = net.prepare(faces, np.arange(2))
    expected = torch.from_numpy(net.embed(faces[:2])) @ top.module.layer.weight.T
    with torch.no_grad():
        assert torch.allclose(top.module(x), expected, atol=1e-4)
    assert net.embedding == "2" + end and top.name == net.name


def test_a_new_layer_is_fitted_before_all_is_tuned(faces):
    """It reads what a layer on the frozen embeddings reads, in the network's own units; the source stays as it was."""
    torch.manual_seed(0)
    net = wrap(nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.ReLU(), nn.Conv2d(6, 4, 1)), size=64, embedding="1")
    before, top = net.fingerprint, tuning.LinearTop(6)
    own, bare = top(net, 1), top(net, 1)
    seconds = top.begin(own, net, faces, "age", device="cpu")
    age = faces.labels["age"].to_numpy(float)
    with torch.no_grad():
        said, unfitted = (one.module(net.prepare(faces)).numpy()[:, 0] for one in (own, bare))
    far, off = (np.square(x - (age - age.mean()) / age.std()).mean() for x in (unfitted, said))
    assert off < 0.95 and off < far and seconds > 0
    assert net.fingerprint == before
    same = zip(own.module.body.parameters(), net.module.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_the_read_out_stays_where_tuning_makes_it_worse(faces):
    """Epoch 0, the layer on the frozen embeddings, is among the epochs that the validation part chooses from."""
    torch.manual_seed(0)
    net = wrap(nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.ReLU(), nn.Conv2d(6, 4, 1)), size=64, embedding="1")
    part, top = faces.assign((0.5, 0.25, 0.25), seed=0), tuning.LinearTop(6)
    how = {"route": "p_cnn", "top": top, "device": "cpu"}
    spoilt, mended = (
        tuning.tuned(net, faces, "age", part, training=tuning.Training(epochs=2, lr=lr, precision="32"), **how)
        for lr in (3.0, 1e-12)
    )
    train, test = (faces[np.flatnonzero(part == p)] for p in (0, 2))
    read_out = top(net, 1)
    top.begin(read_out, net, train, "age", device="cpu")
    age = train.labels["age"].to_numpy(float)
    with torch.no_grad():
        said = read_out.module(net.prepare(test)).numpy()[:, 0] * age.std() + age.mean()
    score = np.abs(said - test.labels["age"].to_numpy(float)).mean()
    assert spoilt["score"] == pytest.approx(score, rel=1e-3) and mended["score"] == pytest.approx(score, rel=1e-3)


def test_taught_students_and_tuned_rows_are_kept(faces, embeddings, monkeypatch):
    operator = fusion.PCA(2).fit(embeddings)
    how = {"epochs": 1, "batch": 16, "precision": "32", "device": "cpu"}
    for route in ROUTES:
        first, seconds = tuning.taught(route, faces, embeddings, operator, **how)
        with monkeypatch.context() as patched:
            patched.setattr(distill, "fit", lambda *a, **k: pytest.fail("it was there already"))
            again, same = tuning.taught(route, faces, embeddings, operator, **how)
        assert first.fingerprint == again.fingerprint and seconds == same > 0
    part = faces.assign((0.5, 0.25, 0.25), seed=0)
    setting = tuning.Training(epochs=2, longest=4, batch=8, precision="32")
    for target in ("age", "gender"):
        row = tuning.tuned(
            first, faces, target, part, route="tuned", top=distill.with_mlp, training=setting, device="cpu"
        )
        assert np.isfinite(row["score"]) and row["faces"] == (part == 0).sum() and row["epochs"] == 2
    monkeypatch.setattr(tuning, "fit", lambda *a, **k: pytest.fail("it was there already"))
    same = tuning.tuned(
        first, faces, "gender", part, route="tuned", top=distill.with_mlp, training=setting, device="cpu"
    )
    assert same == row
    with pytest.raises(ValueError, match="two_stage"):
        tuning.taught("three_stage", faces, embeddings, operator, **how)


def test_rows_side_by_side_are_those_of_one_process(faces, tmp_path, monkeypatch):
    part, start = faces.assign((0.5, 0.25, 0.25), seed=0), student.untrained(2)
    setting = tuning.Training(epochs=1, batch=8, precision="32")
    asked = {(target, s): {"target": target, "seed": s} for target in ("age", "gender") for s in (0, 1)}
    how = {"start": start, "route": "tuned", "top": distill.with_mlp, "training": setting, "faces": faces, "part": part}
    how |= {"device": "cpu", "progress": False}
    found = []
    for n in (1, 2):
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / str(n)))
        rows = pd.DataFrame(workers.several(tuning.tuned, asked, n_jobs=n, **how).values())
        assert rows[["target", "seed"]].values.tolist() == [["age", 0], ["age", 1], ["gender", 0], ["gender", 1]]
        found.append(rows.drop(columns="seconds"))
    pd.testing.assert_frame_equal(*found)


def test_fewer_labels_have_more_epochs():
    setting = tuning.Training(epochs=10, longest=40)
    assert [setting.of(s)["epochs"] for s in (1, 0.25, 0.01)] == [10, 20, 40]


def test_passes_times_every_network_and_leaves_the_threads():
    nets = {"small": student.untrained(2), "large": wrap(nn.Conv2d(3, 64, 9), size=128)}
    found = tuning.passes(nets, batch=2, rounds=2)
    assert set(found) == set(nets) and min(found.values()) > 0 and torch.get_num_threads() == 1


def test_passes_counts_the_cutting_of_chips_where_there_are_faces(faces, monkeypatch):
    net, cut = student.untrained(2), []

    def slow(faces, rows):
        cut.append(rows.tolist())
        time.sleep(0.1)
        return torch.zeros(len(rows), 3, 64, 64)

    monkeypatch.setattr(net, "prepare", slow)
    tuning.passes({"net": net}, batch=5, rounds=1)
    assert not cut
    assert tuning.passes({"net": net}, faces=faces[:3], batch=5, rounds=2)["net"] >= 20  # milliseconds a face
    assert cut == 3 * [[0, 1, 2, 0, 1]]  # one to warm up


def test_classified_is_what_the_last_layer_says():
    net = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)), size=8)
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    with torch.no_grad():
        expected = net.module[3](torch.from_numpy(x)).argmax(1).numpy()
    assert np.array_equal(distill.classified(net, x), expected)
    with pytest.raises(ValueError, match="takes 4"):
        distill.classified(net, x[:, :3])
