"""Learning targets in place of labels: the labels themselves as targets change nothing, a teacher is learned, and what
cannot be learned is named."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import facelab as fl
from facelab import tasks
from facelab.faces.faceset import FaceSet
from facelab.nets import wrap
from facelab.training import checkpoint
from facelab.training.objective import Objective, aims

SIZE, N = 12, 64
POSES = tasks.get("pose").classes


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """A bright bar whose place is the yaw, whose colour the gender; poses at random."""
    rng = np.random.default_rng(0)
    yaw, gender = rng.uniform(-60, 60, N), rng.integers(0, 2, N)
    images = rng.integers(0, 40, (N, 3, SIZE, SIZE)).astype(np.uint8)
    for i in range(N):
        at = round((SIZE - 1) / 2 + yaw[i] / 60 * 4)
        images[i, gender[i], :, at - 1 : at + 2] = 255
    labels = {"identity": [f"p{i % 16}" for i in range(N)], "yaw": yaw, "pose": rng.choice(POSES, N)}
    labels["gender"] = np.array(tasks.get("gender").classes)[gender]
    for column in tasks.get("accessories").columns:
        labels[column] = np.where(rng.random(N) < 0.2, np.nan, rng.integers(0, 2, N))
    return FaceSet("bars", images, pd.DataFrame(labels), np.full((N, 5, 2), np.nan, np.float32))


def toy_net(outputs=1, bias=True):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * (SIZE // 2) ** 2, outputs, bias=bias)]
    return wrap(nn.Sequential(*layers), size=SIZE, name="toy", mean=128, std=64)


def fit(net, faces, task="yaw", **settings):
    settings = {"epochs": 2, "batch": 16, "progress": False, "device": "cpu"} | settings
    return fl.fit(net, faces, task, **settings)


def alike(a, b):
    """Up to the rounding of a loss that is written in another way."""
    columns = ["epoch", "loss", "val_loss", "metric", "lr"]
    np.testing.assert_allclose(a.history[columns], b.history[columns], rtol=1e-5)
    for (name, x), y in zip(a.net.module.state_dict().items(), b.net.module.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5, msg=name)


def labels_as_targets(faces, task):
    codes = faces.encode(task)
    return np.eye(len(tasks.get(task).classes))[codes] if tasks.get(task).kind == "classes" else codes


def width(task):
    return 1 if tasks.get(task).kind == "regression" else len(tasks.get(task).classes)


# -- labels as targets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["yaw", "gender", "pose", "accessories"])
@pytest.mark.parametrize("flip", [False, True])
def test_the_labels_as_targets_train_as_the_labels_do(faces, task, flip):
    wanted = fit(toy_net(width(task)), faces, task, flip=flip)
    alike(wanted, fit(toy_net(width(task)), faces, task, flip=flip, targets=labels_as_targets(faces, task)))
    other = labels_as_targets(faces, task)[::-1]
    different = fit(toy_net(width(task)), faces, task, flip=flip, targets=other)
    assert abs(different.history["loss"].iloc[-1] / wanted.history["loss"].iloc[-1] - 1) > 1e-3


@pytest.mark.parametrize("task", ["yaw", "roll", "pitch", "age", "gender", "pose"])
def test_mirrored_targets_are_those_of_mirrored_labels(task):
    rng, about = np.random.default_rng(0), tasks.get(task)
    values = rng.choice(about.classes, 20) if about.kind == "classes" else rng.uniform(5, 60, 20)
    labels = pd.DataFrame({task: values})

    def code(table):
        codes = about.encode(table)
        return np.eye(len(about.classes))[codes] if about.kind == "classes" else codes

    objective = Objective.of(task, labels)
    found = objective.mirrored(code(labels))
    np.testing.assert_array_equal(found, code(tasks.flip_labels(labels)))
    np.testing.assert_array_equal(objective.mirrored(found), code(labels))


def test_rows_without_a_target_are_left_out(faces):
    targets = faces.encode("yaw").copy()
    out = np.arange(N) % 3 == 0
    targets[out] = np.nan
    done = fit(toy_net(), faces, targets=targets, validation=None)
    assert done.train.tolist() == np.flatnonzero(~out).tolist()
    scribbled = faces.images.copy()
    scribbled[out] = 7
    again = fit(toy_net(), replace(faces, images=scribbled), targets=targets, validation=None)
    alike(done, again)
    shared = fit(toy_net(), faces, targets=targets)
    assert set(shared.train) <= set(np.flatnonzero(~out)) and set(shared.validation) & set(np.flatnonzero(out))
    probabilities = labels_as_targets(faces, "gender").astype(float)
    probabilities[out] = np.nan
    assert len(fit(toy_net(2), faces, "gender", targets=probabilities, validation=None).train) == (~out).sum()


def test_labels_validate_while_targets_teach(faces):
    """Taught the opposite, the network is worse than the constant guess by the labels."""
    targets = labels_as_targets(faces, "gender")[:, ::-1]
    done = fit(toy_net(2), faces, "gender", targets=targets, epochs=10, lr=3e-3)
    assert done.history["metric"].iloc[-1] < 0.3 < done.constant


def test_soft_targets_give_soft_answers(faces):
    soft = 0.8 * labels_as_targets(faces, "gender") + 0.1
    done = fit(toy_net(2), faces, "gender", targets=soft, epochs=25, lr=3e-3, validation=None, weight_decay=0)
    right = done.predict(faces)[np.arange(N), faces.encode("gender")]
    assert abs(right.mean() - 0.9) < 0.06 and right.max() < 0.99


def test_counts_are_of_faces_for_classes_and_imitation_and_of_labels_else(faces):
    some = np.array([[0.2, 0.8], [np.nan, np.nan]])
    assert Objective.of("gender", faces.labels).counts(some).tolist() == [1, 0]
    assert Objective.like(np.ones((3, 2))).counts(some).tolist() == [1, 0]
    assert Objective.of("yaw", faces.labels).counts(np.array([3.0, np.nan])).tolist() == [1, 0]
    five = np.array([[1, 0, np.nan, np.nan, 1.0]])
    assert Objective.of("accessories", faces.labels).counts(five).tolist() == [3]


# -- imitation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cosine", "mse"])
def test_a_linear_teacher_is_learned(faces, loss):
    rng = np.random.default_rng(1)
    table = torch.from_numpy(rng.standard_normal((N, 6)).astype(np.float32))
    targets = table.numpy() @ rng.standard_normal((6, 4)) + (1.0 if loss == "mse" else 0.0)
    torch.manual_seed(0)
    net = SimpleNamespace(module=nn.Linear(6, 4), name="pupil", prepare=lambda faces, rows: table[rows])
    done = fit(net, faces, None, targets=targets, loss=loss, flip=False, epochs=60, lr=0.05)
    assert done.metric == loss and done.score < 0.02 * done.constant
    said = done.predict(faces)[done.validation]
    wanted = targets[done.validation]
    if loss == "mse":
        assert done.score == pytest.approx(np.square(said - wanted).mean(), rel=1e-3)
        guess = np.square(targets[done.train].mean(0) - wanted).mean()
        assert done.constant == pytest.approx(guess, rel=1e-6)
    else:
        norms = np.linalg.norm(said, axis=1) * np.linalg.norm(wanted, axis=1)
        assert done.score == pytest.approx(1 - ((said * wanted).sum(1) / norms).mean(), abs=1e-4)
    (row,) = done.table().to_dict("records")
    assert row["task"] is None and row["unit"] == "" and row["score"] == done.score


def test_cosine_is_the_default_and_knows_no_length():
    targets = np.random.default_rng(0).standard_normal((5, 3))
    objective = Objective.like(targets)
    assert objective.loss == objective.measure == "cosine" and objective.width == 3
    assert objective.metric(7 * targets, targets) == pytest.approx(0, abs=1e-6)
    assert objective.metric(-targets, targets) == pytest.approx(2, abs=1e-6)


def test_a_pair_says_what_mirrored_faces_should_give(faces):
    """Taught on faces that look to the left only, the second array is all that is known of the right."""
    yaw = faces.encode("yaw")
    left, right = faces[yaw > 0], faces[yaw < 0]
    targets = left.encode("yaw")[:, None] / 30
    said = {}
    for name, given in (("same", targets), ("pair", (targets, -targets)), ("both", (targets, targets))):
        done = fit(toy_net(), left, None, targets=given, loss="mse", epochs=15, lr=3e-3, validation=None)
        said[name] = done.predict(right)[:, 0]
    assert said["pair"].mean() < -0.4 < 0.4 < said["same"].mean()
    np.testing.assert_array_equal(said["same"], said["both"])


def test_a_set_of_its_own_cannot_validate_without_a_task(faces):
    with pytest.raises(ValueError, match="validation 'bars': without a task, what its faces should give is not known"):
        fit(toy_net(3), faces, None, targets=np.ones((N, 3)), validation=faces)


# -- resume ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["yaw", None])
def test_a_stopped_training_on_targets_goes_on(faces, tmp_path, task, monkeypatch):
    targets = np.random.default_rng(0).uniform(-50, 50, (N,) if task else (N, 1))
    settings = {"targets": targets, "epochs": 4} | ({} if task else {"loss": "mse"})
    whole, save = fit(toy_net(), faces, task, **settings), checkpoint.save

    def stop(*args):
        save(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(toy_net(), faces, task, checkpoint=tmp_path, **settings)
    monkeypatch.undo()
    again = fit(toy_net(), faces, task, checkpoint=tmp_path, **settings)
    columns = ["loss", "val_loss", "metric"]
    pd.testing.assert_frame_equal(whole.history[columns], again.history[columns], check_exact=True)


def test_other_targets_in_the_folder_are_not_taken_up(faces, tmp_path):
    targets = faces.encode("yaw") + 1
    fit(toy_net(), faces, targets=targets, epochs=1, checkpoint=tmp_path / "taught")
    fit(toy_net(), faces, epochs=1, checkpoint=tmp_path / "labels")
    for folder, other in (("taught", targets + 1), ("taught", None), ("labels", targets)):
        with pytest.raises(ValueError, match="holds another training: targets is"):
            fit(toy_net(), faces, targets=other, epochs=1, checkpoint=tmp_path / folder)
    pair, pairs = (targets[:, None], -targets[:, None]), tmp_path / "pair"
    fit(toy_net(), faces, None, targets=pair, loss="mse", epochs=1, checkpoint=pairs)
    with pytest.raises(ValueError, match="holds another training: targets is"):
        fit(toy_net(), faces, None, targets=pair[0], loss="mse", epochs=1, checkpoint=pairs)


# -- what does not fit -------------------------------------------------------------------------------------------


def hole(shape, value, row=3):
    array = np.full(shape, 0.5)
    array[(row, *[0] * (len(shape) - 1))] = value
    return array


@pytest.mark.parametrize(
    ("task", "targets", "says"),
    [
        (None, None, "without a task there is nothing to learn: give a task, or targets to imitate"),
        ("identity", np.ones(N), "task 'identity' has no targets: give task None and the descriptors"),
        ("yaw", np.ones(N - 1), rf"targets of shape \({N - 1},\) for {N} faces: expected \({N},\), a row per face"),
        ("yaw", np.ones((N, 1)), rf"targets of shape \({N}, 1\) for {N} faces: expected \({N},\)"),
        ("gender", np.ones(N), rf"expected \({N}, 2\)"),
        ("gender", np.ones((N, 3)), rf"targets of shape \({N}, 3\)"),
        (None, np.ones(N), rf"targets of shape \({N},\) for {N} faces: expected \(n, d\)"),
        (None, (np.ones((N, 2)), np.ones((N, 3))), rf"targets of shape \({N}, 3\)"),
        (None, tuple(np.ones((3, N, 2))), "targets has 3 arrays: expected one"),
        ("yaw", (np.ones(N), np.ones(N)), "targets has 2 arrays: expected one"),
        ("yaw", hole((N,), np.inf), "targets are infinite in row 3"),
        (None, hole((N, 2), -np.inf), "targets are infinite in row 3"),
        (None, hole((N, 2), np.nan), r"targets are partly missing \(NaN\) in row 3"),
        ("gender", hole((N, 2), np.nan), r"targets are partly missing \(NaN\) in row 3"),
        ("gender", hole((N, 2), 1.5), "targets of task 'gender' must be from 0 to 1, not 0.5 … 1.5"),
        ("accessories", hole((N, 5), -0.5), "targets of task 'accessories' must be from 0 to 1, not -0.5 … 0.5"),
        ("yaw", np.full(N, np.nan), "targets are all missing"),
        (None, np.full((N, 2), np.nan), "targets are all missing"),
    ],
)
@pytest.mark.parametrize("validation", [0.25, None])
def test_targets_that_do_not_fit_are_named(faces, task, targets, says, validation):
    with pytest.raises(ValueError, match=says):
        fit(toy_net(), faces, task, targets=targets, validation=validation)


def test_losses_that_do_not_fit_are_named(faces):
    with pytest.raises(ValueError, match="unknown loss without a task 'smooth_l1'"):
        fit(toy_net(), faces, None, targets=np.ones((N, 1)), loss="smooth_l1")
    with pytest.raises(ValueError, match="unknown loss for yaw"):
        fit(toy_net(), faces, targets=np.ones(N), loss="cosine")
    with pytest.raises(ValueError, match=r"what it should imitate needs \(2, 3\)"):
        fit(toy_net(), faces, None, targets=np.ones((N, 3)))


def test_shares_may_be_partly_missing():
    (found,) = aims("accessories", hole((4, 5), np.nan), 4)
    assert np.isnan(found).sum() == 1


# -- a network that says it by itself ----------------------------------------------------------------------------


def test_a_finished_regression_gives_the_unit_of_the_label(faces):
    done = fit(toy_net(), faces, epochs=6, lr=3e-3)
    before, finished = done.net.fingerprint, done.finished()
    raw = finished.predict(faces).reshape(-1)
    np.testing.assert_allclose(raw, done.predict(faces), atol=1e-3)
    assert np.std(raw) > 5 and done.net.fingerprint == before != finished.fingerprint


def test_a_finished_classifier_is_a_copy_that_gives_logits(faces):
    done = fit(toy_net(2), faces, "gender")
    finished = done.finished()
    assert finished is not done.net and finished.fingerprint == done.net.fingerprint
    logits = torch.from_numpy(np.asarray(finished.predict(faces))).double()
    np.testing.assert_allclose(logits.softmax(1), done.predict(faces), atol=1e-5)


def test_only_a_linear_end_with_a_bias_can_be_finished(faces):
    with pytest.raises(ValueError, match="'toy' does not end in a linear layer with one output and a bias"):
        fit(toy_net(bias=False), faces, epochs=1).finished()
    pooled = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="'pooled' does not end in a linear layer"):
        fit(wrap(pooled, size=SIZE, name="pooled"), faces, epochs=1).finished()
