"""One loop: it learns, repeats itself, goes on after a kill, counts what it should, and refuses what does not fit."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import facelab as fl
from facelab import devices, tasks
from facelab.faces.faceset import FaceSet
from facelab.nets import wrap
from facelab.training import checkpoint
from facelab.training.inputs import Inputs
from facelab.training.processes import alone

SIZE = 16


def toy_faces(n=96, people=16, seed=0) -> FaceSet:
    """A bright bar whose place is the yaw: half of the picture to either side; its colour the gender."""
    rng = np.random.default_rng(seed)
    yaw = rng.uniform(-60, 60, n)
    gender = rng.integers(0, 2, n)
    images = rng.integers(0, 40, (n, 3, SIZE, SIZE)).astype(np.uint8)
    for i in range(n):
        at = round((SIZE - 1) / 2 + yaw[i] / 60 * 6)
        images[i, gender[i], :, max(at - 1, 0) : at + 2] = 255
    labels = pd.DataFrame(
        {
            "identity": [f"p{i % people}" for i in range(n)],
            "yaw": yaw,
            "gender": np.array(["female", "male"], object)[gender],
            "accessories:hat": np.where(np.arange(n) % 5 == 0, np.nan, gender),
        }
    )
    for name in ("earrings", "necklace", "necktie", "eyeglasses"):
        labels[f"accessories:{name}"] = np.nan if name == "necktie" else (gender == 1).astype(float)
    return FaceSet("toy", images, labels, np.full((n, 5, 2), np.nan, np.float32))


def toy_net(outputs=1, seed=0, norm=False, dropout=0.0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU(), nn.Flatten()]
    layers += [nn.Dropout(dropout), nn.Linear(8 * (SIZE // 2) ** 2, outputs)]
    return wrap(nn.Sequential(*layers), size=SIZE, name="toy", mean=128, std=64)


def fit(net, faces, task="yaw", **settings):
    settings = {"epochs": 3, "batch": 16, "progress": False, "device": "cpu"} | settings
    return fl.fit(net, faces, task, **settings)


def same(a, b):
    """Bit by bit: history (but for the clock) and weights."""
    pd.testing.assert_frame_equal(
        a.history.drop(columns="seconds"), b.history.drop(columns="seconds"), check_exact=True
    )
    for (name, x), y in zip(a.net.module.state_dict().items(), b.net.module.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.fixture(scope="module")
def faces():
    return toy_faces()


@pytest.mark.parametrize(("task", "outputs", "good"), [("yaw", 1, 12.0), ("gender", 2, 0.9), ("accessories", 5, 0.85)])
def test_it_learns_what_can_be_seen_on_people_it_has_not(faces, task, outputs, good):
    done = fit(toy_net(outputs, norm=True), faces, task, epochs=12, lr=3e-3)
    sign = 1 if done.metric == "mae" else -1
    assert sign * done.score < sign * good and sign * done.score < sign * done.constant
    # what it says again by itself is what the history says
    held = faces[done.validation]
    again = done.objective.metric(done.predict(held), done.objective.targets(held.labels))
    assert again == pytest.approx(done.score, rel=1e-4)
    assert (sign * done.history["metric"]).min() == sign * done.score
    people = faces.labels["identity"].to_numpy()
    assert not set(people[done.train]) & set(people[done.validation])
    (row,) = done.table().to_dict("records")
    assert row["task"] == task and row["score"] == done.score and row["faces"] == len(done.train)
    assert not any(layer.training for layer in done.net.module.modules())


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "lr": 1e-2}, {"precision": "bf16"}], ids=str)
def test_the_same_seed_gives_the_same_numbers_and_another_others(faces, settings):
    state = torch.get_rng_state()
    runs = []
    for seed in (0, 0, 1):
        net = toy_net(norm=True, dropout=0.3)
        torch.manual_seed(len(runs))  # what torch's own generators hold must not matter, and is given back
        state = torch.get_rng_state()
        runs.append(fit(net, faces, seed=seed, **settings))
        assert torch.equal(torch.get_rng_state(), state)
    same(runs[0], runs[1])
    assert runs[2].history["loss"].iloc[0] != runs[0].history["loss"].iloc[0]


def test_bf16_is_for_devices_with_instructions_for_it(faces, monkeypatch):
    losses = {}
    for has in (True, False):
        monkeypatch.setattr(devices, "halves", lambda place, has=has: has)
        losses[has] = {p: fit(toy_net(), faces, precision=p).history["loss"].iloc[-1] for p in ("32", "bf16")}
    assert losses[True]["bf16"] != losses[True]["32"] == losses[False]["32"] == losses[False]["bf16"]
    assert losses[True]["bf16"] == pytest.approx(losses[True]["32"], rel=0.1)


def test_one_epoch_of_plain_torch_gives_the_same_weights(faces):
    """The loop against one written out by hand."""
    done = fit(toy_net(), faces, epochs=1, optimizer="sgd", lr=0.01, schedule="constant", flip=False, weight_decay=0)
    net, inputs = toy_net(), Inputs(toy_net(), faces, done.train)
    y = torch.from_numpy(faces.labels["yaw"].to_numpy(float)[done.train])
    y = ((y - y.mean()) / y.std(correction=0)).float()[:, None]
    optimizer = torch.optim.SGD(net.module.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    order = np.random.default_rng([0, 1]).permutation(len(y))
    for batch in np.array_split(order, -(-len(y) // 16)):
        optimizer.zero_grad()
        nn.functional.smooth_l1_loss(net.module(inputs[batch]), y[batch]).backward()
        optimizer.step()
    for a, b in zip(net.module.parameters(), done.net.module.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_flip_changes_sides_and_signs(faces):
    """Trained on faces that look to the left only, a mirrored half teaches what the right looks like."""
    left = faces[faces.labels["yaw"].to_numpy() > 0]
    right = faces[faces.labels["yaw"].to_numpy() < 0]
    mean = {}
    for flip in (False, True):
        done = fit(toy_net(), left, flip=flip, epochs=20, lr=3e-3)
        mean[flip] = done.predict(right).mean()
    assert mean[True] < -10 < mean[False]


def test_unlabelled_rows_change_nothing(faces):
    labels = faces.labels.copy()
    labels.loc[faces.identities == 3, "yaw"] = np.nan
    few = replace(faces, labels=labels)
    done = fit(toy_net(), few, validation=None)
    assert not set(done.train) & set(np.flatnonzero(faces.identities == 3))
    scribbled = few.images.copy()
    scribbled[faces.identities == 3] = 7
    same(done, fit(toy_net(), replace(few, images=scribbled), validation=None))


def test_early_stop_keeps_the_best_epoch(faces):
    done = fit(toy_net(), faces, epochs=40, patience=2, lr=0.05, schedule="constant")
    history = done.history
    assert len(history) == done.best + 2 < 40
    assert history["metric"].idxmin() + 1 == done.best and done.score == history["metric"].min()
    held = faces[done.validation]
    assert np.abs(done.predict(held) - held.labels["yaw"]).mean() == pytest.approx(done.score, rel=1e-4)


def test_only_the_named_layers_move(faces):
    net = toy_net(norm=True)
    before = {k: v.clone() for k, v in net.module.state_dict().items()}
    done = fit(net, faces, train="5")
    moved = {k for k, v in done.net.module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"5.weight", "5.bias"}  # and the frozen batch norm's statistics stay
    assert all(p.requires_grad for p in net.module.parameters())


def test_inputs_that_do_not_fit_into_memory_train_alike(faces, monkeypatch):
    kept = fit(toy_net(), faces)
    monkeypatch.setattr("facelab.training.inputs.MEMORY", 100)
    assert Inputs(toy_net(), faces, np.arange(5)).kept is None
    same(kept, fit(toy_net(), faces))


def test_anything_that_prepares_inputs_can_be_trained(faces):
    """No chips, no pictures: a net over embeddings."""
    table = torch.from_numpy(faces.images[:, 0].mean(1).astype(np.float32) / 255)  # (n, 16)
    net = SimpleNamespace(module=nn.Linear(SIZE, 1), name="read-out", prepare=lambda faces, rows: table[rows])
    done = fit(net, faces, flip=False, epochs=20, lr=0.05)
    assert done.score < done.constant
    with pytest.raises(ValueError, match="flip mirrors images, but 'read-out' takes inputs of shape"):
        fit(net, faces)


def test_a_validation_set_of_its_own(faces):
    done = fit(toy_net(), faces, validation=toy_faces(40, seed=1))
    assert done.validation is None and len(done.train) == len(faces) and done.score > 0
    none = fit(toy_net(), faces, validation=None)
    assert none.best == 3 and np.isnan(none.score) and none.history["val_loss"].isna().all()


# -- resume ------------------------------------------------------------------------------------------------------

SCRIPT = """
    import sys, time, torch
    torch.set_num_threads(1)
    sys.path.insert(0, {tests!r})
    import test_loop as t
    from facelab.training import checkpoint
    save = checkpoint.save
    def slowly(*args):
        save(*args)
        print("epoch", flush=True)
        time.sleep(0.2)
    checkpoint.save = slowly
    t.fit(t.toy_net(norm=True, dropout=0.3), t.toy_faces(), epochs=6, checkpoint={folder!r})
"""


def test_a_killed_training_goes_on_to_the_same_numbers(faces, tmp_path):
    whole = fit(toy_net(norm=True, dropout=0.3), faces, epochs=6)
    script = textwrap.dedent(SCRIPT).format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert [process.stdout.readline() for _ in range(3)] == ["epoch\n"] * 3
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    epochs = len(_history(tmp_path))
    assert 3 <= epochs < 6
    trained = []
    watch = pytest.MonkeyPatch()
    save = checkpoint.save
    watch.setattr(checkpoint, "save", lambda *args: (trained.append(1), save(*args)))
    resumed = fit(toy_net(norm=True, dropout=0.3), faces, epochs=6, checkpoint=tmp_path)
    watch.undo()
    assert len(trained) == 6 - epochs
    same(whole, resumed)
    assert resumed.best == whole.best and resumed.score == whole.score
    same(whole, fit(toy_net(norm=True, dropout=0.3), faces, epochs=6, checkpoint=tmp_path))  # nothing left to do


def _history(folder):
    _, about = fl.cache.read_tensors(folder / checkpoint.FILE)
    return about["history"]


@pytest.mark.parametrize("settings", [{"optimizer": "sgd"}, {"optimizer": "adam", "schedule": "onecycle"}], ids=str)
def test_resuming_from_any_epoch_gives_the_same_numbers(faces, tmp_path, settings, monkeypatch):
    whole = fit(toy_net(), faces, epochs=4, **settings)
    save = checkpoint.save

    def stop(folder, module, optimizer, best, about):
        save(folder, module, optimizer, best, about)
        raise KeyboardInterrupt

    net = toy_net()
    start = net.fingerprint
    monkeypatch.setattr(checkpoint, "save", stop)
    for epoch in range(1, 4):
        with pytest.raises(KeyboardInterrupt):
            fit(net, faces, epochs=4, checkpoint=tmp_path, **settings)
        assert net.fingerprint == start and len(_history(tmp_path)) == epoch
    monkeypatch.undo()
    same(whole, fit(net, faces, epochs=4, checkpoint=tmp_path, **settings))


def test_a_constant_rate_can_be_trained_further(faces, tmp_path):
    fit(toy_net(), faces, epochs=2, schedule="constant", checkpoint=tmp_path)
    longer = fit(toy_net(), faces, epochs=4, schedule="constant", checkpoint=tmp_path)
    same(longer, fit(toy_net(), faces, epochs=4, schedule="constant"))
    with pytest.raises(ValueError, match="holds 4 epochs"):
        fit(toy_net(), faces, epochs=3, schedule="constant", checkpoint=tmp_path)


def test_another_training_in_the_folder_is_not_taken_up(faces, tmp_path):
    fit(toy_net(), faces, epochs=1, checkpoint=tmp_path)
    for settings, name in (
        ({"lr": 0.5}, "lr is 0.001 there and 0.5 here"),
        ({"epochs": 2}, "epochs is 1 there and 2"),
        ({"train": "5"}, "train is None there"),
        ({"task": "gender"}, "task is 'yaw' there and 'gender' here"),
        ({"net": toy_net(seed=1)}, "net is "),
        ({"faces": toy_faces(90)}, "(faces|center|scale) is "),
    ):
        settings = {"net": toy_net(2 if "task" in settings else 1), "faces": faces, "epochs": 1} | settings
        with pytest.raises(ValueError, match=f"holds another training: {name}"):
            fit(settings.pop("net"), settings.pop("faces"), checkpoint=tmp_path, **settings)
    with alone(tmp_path), pytest.raises(RuntimeError, match="another training is writing there"):
        fit(toy_net(), faces, epochs=1, checkpoint=tmp_path)


def test_a_damaged_checkpoint_is_noticed_and_replaced(faces, tmp_path, caplog):
    first = fit(toy_net(), faces, checkpoint=tmp_path)
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:-100])
    same(first, fit(toy_net(), faces, checkpoint=tmp_path))
    assert "damaged" in caplog.text and "anew" in caplog.text
    assert len(_history(tmp_path)) == 3
    header = json.loads(file.read_bytes()[8 : 8 + int.from_bytes(file.read_bytes()[:8], "little")])
    assert set(header) > {"module/0.weight", "optimizer/0/exp_avg", "best/0.weight"}


# -- what does not fit -------------------------------------------------------------------------------------------


class Explodes(nn.Module):
    """Gives NaN for one face, which it knows by its first pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)

    def forward(self, x):
        bad = torch.where(self.training & (x[:, 0, 0, 0] > 0.99), torch.nan, 0.0)
        return self.fc(self.conv(x).mean((2, 3))) + bad[:, None]


def test_a_loss_that_is_not_finite_stops_and_is_placed(tmp_path):
    faces = toy_faces()
    images = np.minimum(faces.images, 200)
    faces = replace(faces, images=images)
    net = wrap(Explodes(), size=SIZE, name="explodes")
    start = net.fingerprint
    fit(net, faces, epochs=1, schedule="constant", validation=None, flip=False, checkpoint=tmp_path)
    kept = (tmp_path / checkpoint.FILE).read_bytes()
    images[41, 0, 0, 0] = 255
    net = wrap(Explodes(), size=SIZE, name="explodes")
    start = net.fingerprint
    with pytest.raises(
        FloatingPointError, match=r"not finite in epoch 1, batch \d of 6, on 1 of its 16 faces \(rows 41\)"
    ):
        fit(net, faces, validation=None, flip=False)
    assert net.fingerprint == start
    assert (tmp_path / checkpoint.FILE).read_bytes() == kept
    with pytest.raises(FloatingPointError, match="try a lower lr"):
        fit(toy_net(), faces, lr=1e30, optimizer="sgd", loss="mse")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "yawn"}, "unknown task 'yawn': did you mean 'yaw'"),
        ({"task": "identity"}, "open set"),
        ({"task": "age"}, "no labels here: the table lacks 'age'"),
        ({"optimizer": "adamW2"}, "unknown optimizer 'adamW2': did you mean 'adamw'"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
        ({"precision": "16"}, "unknown precision '16'"),
        ({"loss": "mae"}, r"unknown loss for yaw \(regression\) 'mae'"),
        ({"train": ["conv1"]}, "unknown layer to train 'conv1'"),
        ({"task": "gender"}, r"'toy' gives an output of shape \(2, 1\) for 2 faces; .*fl.with_head\(net, 2\)"),
        ({"epochs": 0}, "epochs 0: expected at least 1"),
        ({"patience": 0}, "patience 0: expected at least 1"),
        ({"lr": 0.0}, "lr 0.0: expected a finite number above 0"),
        ({"lr": float("nan")}, "lr nan"),
        ({"validation": 1.5}, "validation 1.5: expected a share"),
        ({"validation": None, "patience": 2}, "patience 2 needs validation faces"),
        ({"batch": 1, "processes": 2}, "leave some of 2 processes idle"),
    ],
)
def test_settings_that_do_not_fit_are_named(faces, change, says):
    with pytest.raises(ValueError, match=says):
        fit(toy_net(), faces, **change)


def test_labels_that_do_not_fit_are_named(faces):
    def relabelled(**columns):
        return replace(faces, labels=faces.labels.assign(**columns))

    with pytest.raises(ValueError, match="the label is 5 degrees on all"):
        fit(toy_net(), relabelled(yaw=5.0))
    with pytest.raises(ValueError, match="none of the 96 images of 'toy' has this label"):
        fit(toy_net(), relabelled(yaw=np.nan))
    with pytest.raises(ValueError, match="images to train on are 'male': there is no choice"):
        fit(toy_net(2), relabelled(gender="male"), "gender")
    with pytest.raises(ValueError, match="unknown gender class 'Male': did you mean 'male'"):
        fit(toy_net(2), relabelled(gender="Male"), "gender")
    with pytest.raises(ValueError, match="each of its labels is the same"):
        fit(toy_net(5), relabelled(**{c: 1.0 for c in tasks.get("accessories").columns}), "accessories")
    with pytest.raises(ValueError, match="1 people, too few for 2 parts"):
        fit(toy_net(), relabelled(identity="one"))
    lonely = faces.labels["yaw"].where(faces.identities == 0)
    with pytest.raises(ValueError, match=r"split by person, none is left to (train|validate) on"):
        fit(toy_net(), relabelled(yaw=lonely))
    with pytest.raises(ValueError, match="none of the 96 validation images"):
        fit(toy_net(), faces, validation=relabelled(yaw=np.nan))


def test_networks_that_do_not_fit_are_named(faces):
    with pytest.raises(TypeError, match=r"Sequential is no Net: give fl.nets.wrap\(module"):
        fit(nn.Sequential(nn.Conv2d(3, 1, 1)), faces)
    double = toy_net()
    double.module.double()
    with pytest.raises(ValueError, match=r"has parameters of torch\.float64: expected float32"):
        fit(double, faces)
    local = toy_net()
    local.module[2].forward = lambda x: x.relu()
    with pytest.raises(TypeError, match="'toy' cannot be sent to other processes"):
        fit(local, faces, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["yaw", "accessories"])
def test_two_processes_train_as_one(faces, task):
    outputs = 1 if task == "yaw" else 5
    one = fit(toy_net(outputs), faces, task, batch=15)
    two = fit(toy_net(outputs), faces, task, batch=15, processes=2)
    columns = ["loss", "val_loss", "metric", "lr"]
    assert np.allclose(one.history[columns], two.history[columns], rtol=1e-4)
    for a, b in zip(one.net.module.parameters(), two.net.module.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_a_notebook_copies_its_process(faces, tmp_path):
    """With a class that no other process could import, and after torch has used several threads."""
    script = """
        import sys, torch
        sys.ps1 = ""
        sys.path.insert(0, {tests!r})
        import test_loop as t
        torch.set_num_threads(2)
        class Local(t.nn.Sequential):
            pass
        def once(processes):
            net = t.toy_net()
            net.module = Local(*net.module)
            return t.fit(net, t.toy_faces(), processes=processes, epochs=2).history
        one, two = once(1), once(2)
        assert t.np.allclose(one["loss"], two["loss"], rtol=1e-4), (one, two)
    """
    script = textwrap.dedent(script).format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
