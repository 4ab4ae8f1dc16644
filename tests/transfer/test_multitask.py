"""Half-labelled sets: what is not labelled must not matter, and every switch does what it says."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facelab import workers
from facelab.faces.faceset import FaceSet
from facelab.nets.net import wrap
from facelab.training.optimizer import make
from facelab.transfer import ablation, multitask, relabel
from facelab.transfer.domains import triplet
from facelab.transfer.mixture import Mixture, Part
from facelab.transfer.multitask import Schedule
from facelab.transfer.weighting import GradNorm, Uncertainty

SIZE = 12
SHORT = {"schedule": Schedule(steps=6, lr=0.05, precision="32"), "device": "cpu", "hidden": 8}
LONG = SHORT | {"schedule": Schedule(steps=150, lr=0.05, precision="32"), "hidden": 32}
ACCESSORIES = ("earrings", "hat", "necklace", "necktie", "eyeglasses")


def made(name="a", n=24, seed=0, tint=0) -> FaceSet:
    """Bright halves: the upper half tells gender and accessories, the left half yaw; age is noise."""
    rng = np.random.default_rng(seed)
    up, left = rng.integers(0, 2, (2, n))
    images = rng.integers(0, 30, (n, 3, SIZE, SIZE)) + tint
    images[:, :, : SIZE // 2] += 120 * up[:, None, None, None]
    images[:, :, :, : SIZE // 2] += 70 * left[:, None, None, None]
    labels = pd.DataFrame({"identity": [f"{name}{i // 2}" for i in range(n)]})
    labels["gender"] = np.where(up, "male", "female")
    labels["yaw"] = 30.0 - 60 * left
    labels["age"] = rng.uniform(1, 80, n)
    for i, task in enumerate(ACCESSORIES):
        labels[f"accessories:{task}"] = (up if i % 2 else 1 - up).astype(float)
    return FaceSet(name, images.astype(np.uint8), labels, np.full((n, 5, 2), np.nan, np.float32))


def net(norm=False, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=nn.BatchNorm2d(6) if norm else nn.Identity(), relu=nn.ReLU())
        module = nn.Sequential(layers | {"pool": nn.AdaptiveAvgPool2d(2), "flatten": nn.Flatten()})
    return wrap(module, size=SIZE, mean=127.5, std=64, name="tiny")


PARTS = [Part(made("a"), "gender", 4), Part(made("b", 30, 1, 10), ("yaw", "accessories"), 6)]


def gradients(rows, wanted=("gender", "yaw", "accessories")):
    """Of the total loss on these faces of the mixture, with fixed weights."""
    mixture, start = Mixture(PARTS), net()
    module = multitask.headed(start, mixture.objectives, 8, 0).module.eval()  # no dropout
    outputs = module(mixture.inputs(start)[rows])
    losses, here = multitask.means(
        *multitask.loss_matrix(mixture.objectives, outputs, {t: mixture.target[t][rows] for t in mixture.tasks})
    )
    sum(losses[mixture.tasks.index(t)] for t in wanted).backward()
    return module, losses, here


def test_an_absent_task_has_exactly_no_gradient():
    module, losses, here = gradients(np.arange(8))  # faces of the first part: gender alone
    assert here.tolist() == [True, False, False]
    assert losses[1:].tolist() == [0, 0]
    for task in ("yaw", "accessories"):
        assert all(p.grad is None or not p.grad.any() for p in module.heads[task].parameters())
    assert module.heads["gender"][0].weight.grad.any()


def test_unlabelled_faces_and_the_order_of_a_batch_change_nothing():
    rows = np.arange(10)
    alone, _, _ = gradients(rows, ("gender",))
    for other in (rows[::-1].copy(), np.concatenate([rows, np.arange(30, 50)])):  # the latter know nothing of gender
        more, _, _ = gradients(other, ("gender",))
        for a, b in zip(alone.parameters(), more.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            assert a.grad is None or torch.allclose(a.grad, b.grad, atol=1e-6)


def test_the_total_is_the_papers_masked_matrix():
    mixture, start = Mixture(PARTS), net()
    rows = mixture.batch(0)
    module = multitask.headed(start, mixture.objectives, 8, 0).module.eval()
    matrix, counts = multitask.loss_matrix(
        mixture.objectives, module(mixture.inputs(start)[rows]), {t: mixture.target[t][rows] for t in mixture.tasks}
    )
    alpha = torch.tensor([0.5, 2.0, 0.5])
    mask = torch.where(counts > 0, alpha / counts.sum(0), 0.0)
    losses, here = multitask.means(matrix, counts)
    weigh = GradNorm(mixture.tasks)
    weigh.weights.copy_(alpha)
    assert torch.allclose((mask * matrix).sum(), weigh.total(losses, here))
    assert counts.tolist()[0] == [1, 0, 0] and counts.tolist()[-1] == [0, 1, 5]


def test_mixed_batches_keep_the_shares_and_pass_every_face():
    mixture = Mixture(PARTS, seed=3)
    seen = np.concatenate([mixture.batch(step) for step in range(5)])
    assert np.bincount(mixture.domain[seen]).tolist() == [20, 30]
    assert np.bincount(seen, minlength=54)[24:].tolist() == [1] * 30  # 5 × 6 = all of the second part, once
    assert np.array_equal(mixture.batch(7), Mixture(PARTS, seed=3).batch(7))
    turns = Mixture(PARTS, alternating=True)
    domains = [np.unique(turns.domain[turns.batch(step)]).tolist() for step in range(10)]
    assert all(len(one) == 1 for one in domains) and sum(one == [0] for one in domains) == 4


@pytest.mark.parametrize("seed", range(5))
def test_gradnorm_weights_stay_positive_and_keep_their_sum(seed):
    rng = np.random.default_rng(seed)
    weigh = GradNorm(["a", "b", "c", "d"], lr=0.5)
    for _ in range(50):
        here = torch.from_numpy(rng.random(4) < 0.6)
        losses, norms = torch.from_numpy(rng.lognormal(0, 2, (2, 4))).float()
        before = weigh.weights.clone()
        weigh.update(losses, norms, here)
        assert (weigh.weights > 0).all() and weigh.weights.sum().item() == pytest.approx(4, abs=1e-4)
        assert torch.equal(weigh.weights[~here], before[~here])


def test_gradnorm_lets_the_slow_task_pull():
    weigh = GradNorm(["a", "b"], lr=0.05)
    both = torch.tensor([True, True])
    weigh.update(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0]), both)
    for _ in range(20):  # a has learned, b has not; both pull alike
        weigh.update(torch.tensor([0.1, 1.0]), torch.tensor([1.0, 1.0]), both)
    assert weigh.weights[1] > 1.5 > weigh.weights[0]


def test_gradnorm_agrees_with_an_example_by_hand():
    """Three tasks, c absent. a has learned half as much as b has: L / L(0) = (0.5, 1), r = (2/3, 4/3).

    First w = (1, 1, 1), norms (1, 3): G = (1, 3), Ḡ = 2, Ḡ r² = (8/9, 32/9), so a's weight falls and b's rises:
    w − 0.1 · (1, −3) / 2 = (0.95, 1.15), then · 2 / 2.1.
    """
    weigh, here = GradNorm(["a", "b", "c"], pull=2.0, lr=0.1), torch.tensor([True, True, False])
    weigh.first[:2] = torch.tensor([2.0, 1.0])
    weigh.update(torch.tensor([1.0, 1.0, 9.0]), torch.tensor([1.0, 3.0, 9.0]), here)
    assert weigh.weights.tolist() == pytest.approx([0.95 * 2 / 2.1, 1.15 * 2 / 2.1, 1.0])
    assert weigh.first[2].isnan()


@pytest.mark.parametrize("names", [None, ["conv.weight"], ["conv.weight", "norm.weight"]])
def test_the_norms_are_those_of_the_named_shared_parameters(names):
    mixture, start = Mixture(PARTS), net(norm=True)
    rows = mixture.batch(0)
    module = multitask.headed(start, mixture.objectives, 8, 0).module.eval()
    targets = {t: mixture.target[t][rows] for t in mixture.tasks}
    losses, here = multitask.means(
        *multitask.loss_matrix(mixture.objectives, module(mixture.inputs(start)[rows]), targets)
    )
    found = multitask._norms(losses, here, multitask._shared(module, names))
    for j, loss in enumerate(losses):
        module.zero_grad()
        loss.backward(retain_graph=True)
        own = [module.trunk.get_parameter(name).grad.flatten() for name in names or ["conv.weight"]]
        assert found[j].item() == pytest.approx(torch.cat(own).norm().item(), rel=1e-4)


def test_naming_another_shared_layer_changes_the_weights():
    layers = OrderedDict(one=nn.Conv2d(3, 4, 3), relu=nn.ReLU(), two=nn.Conv2d(4, 4, 3), flatten=nn.Flatten())
    start = wrap(nn.Sequential(layers), size=SIZE, mean=127.5, std=64, name="two layers")
    last, first = (multitask.train(start, PARTS, shared=[f"{name}.weight"], **SHORT) for name in ("two", "one"))
    default = multitask.train(start, PARTS, **SHORT)
    weights = [f"weight:{task}" for task in last.tasks]
    assert default.history[weights].equals(last.history[weights])
    assert not first.history[weights].equals(last.history[weights])
    assert first.history[weights].sum(axis=1).to_numpy() == pytest.approx(len(weights))


def test_uncertainty_weighs_by_what_is_learned():
    weigh = Uncertainty(["a", "b"])
    here = torch.tensor([True, False])
    weigh.total(torch.tensor([3.0, 0.0]), here).backward()
    assert weigh.s.grad.tolist() == [-2.5, 0.0]  # −exp(−s) L + 1 / 2


def test_the_trunk_hides_what_the_discriminator_looks_for():
    """The gradient that reaches the trunk is the one that reaches the discriminator's input, turned round."""
    points = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    domain, found = torch.tensor([0, 1] * 4), []
    for change in (lambda x: x, lambda x: multitask.reverse(x, 0.3)):
        points.grad = None
        loss = triplet(
            nn.functional.normalize(change(points), dim=1), domain, generator=torch.Generator().manual_seed(1)
        )
        loss.backward()
        found.append(points.grad.clone())
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[1], -0.3 * found[0])


def test_triplets_need_two_of_a_set_and_another_set():
    points = torch.eye(3, requires_grad=True)
    assert triplet(points, torch.tensor([0, 0, 0])).item() == 0  # no other set
    assert triplet(points, torch.tensor([0, 1, 2])).item() == 0  # no second of a set
    assert triplet(points, torch.tensor([0, 0, 1])).item() == pytest.approx(0.2)  # all as far from each other


def test_training_teaches_every_task_by_its_own_sets():
    done = multitask.train(net(norm=True), PARTS, **LONG)
    other = made("c", 60, 9)
    assert done.tasks == ["gender", "yaw", "accessories"]
    assert done.score("gender", other) > 0.9 and done.score("yaw", other) < 20  # 30: always saying 0
    assert done.history.shape[0] == 150 and np.allclose(done.history.filter(like="weight:").sum(axis=1), 3, atol=1e-3)
    assert done.features(other).shape == (60, 24)
    assert done.history["lr"].iloc[[0, -1]].tolist() == pytest.approx([0.05, 0.05 * 10 ** (-149 / 150)])


def test_same_seed_same_network():
    runs = [multitask.train(net(), PARTS, domain=0.1, seed=seed, **SHORT) for seed in (0, 0, 1)]
    one, two, three = (run.predict(PARTS[0].faces)["yaw"] for run in runs)
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, three)
    assert runs[0].history["domain"].notna().all()


@pytest.mark.parametrize(
    "how", [{"domain": 0.5}, {"weighting": "equal"}, {"weighting": "uncertainty"}, {"alternating": True}]
)
def test_every_switch_changes_the_network(how):
    plain, other = (multitask.train(net(), PARTS, **SHORT | more) for more in ({}, how))
    assert not np.allclose(plain.predict(PARTS[0].faces)["yaw"], other.predict(PARTS[0].faces)["yaw"])
    missing = other.history[["loss:gender", "loss:yaw"]].isna().any(axis=None)
    assert missing == ("alternating" in how)


def test_all_switches_off_is_training_for_one_task():
    """Six steps of SGD on the plain cross entropy of the same batches end in the same weights."""
    part = Part(made("a"), "gender", 16)
    alone = multitask.train(net(), [part], **SHORT).net.module.state_dict()
    mixture, schedule = Mixture([part]), SHORT["schedule"]
    start = multitask.headed(net(), mixture.objectives, 8, 0)
    inputs, labels = mixture.inputs(start), (part.faces.labels["gender"] == "male").to_numpy()
    model = nn.Sequential(start.module.trunk, nn.Flatten(), start.module.heads["gender"]).train()
    optimizer = make("sgd", model.parameters(), schedule.lr, schedule.weight_decay)
    torch.manual_seed(int(np.random.SeedSequence([0, 1]).generate_state(1)[0]))  # of dropout
    for step in range(schedule.steps):
        at, rng = mixture.batch(step), np.random.default_rng([0, 2, step])
        x = multitask.moved(inputs[at], torch.from_numpy(rng.random(len(at)) < 0.5), rng)
        loss = nn.functional.cross_entropy(model(x), torch.from_numpy(labels[at]).long())
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[-1]["lr"] = schedule.lr * 10 ** (-step / 6)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    for name, value in start.module.state_dict().items():
        if not name.startswith("discriminator"):
            torch.testing.assert_close(alone[name], value, msg=name)
    untouched = multitask.headed(net(), mixture.objectives, 8, 0).module.state_dict()
    assert not torch.allclose(alone["trunk.conv.weight"], untouched["trunk.conv.weight"], atol=1e-3)


def test_chips_move_by_whole_pixels_and_edges_are_repeated():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    seen = {
        tuple(multitask.moved(x, torch.tensor([False]), np.random.default_rng(i), 1).flatten().tolist())
        for i in range(60)
    }
    assert len(seen) == 9 and tuple(x.flatten().tolist()) in seen
    assert (0.0, 0.0, 1.0, 2.0, 4.0, 4.0, 5.0, 6.0, 8.0, 8.0, 9.0, 10.0, 12.0, 12.0, 13.0, 14.0) in seen
    still = multitask.moved(x, torch.tensor([True]), np.random.default_rng(0), 0)
    torch.testing.assert_close(still, x.flip(-1))


@pytest.fixture(scope="module")
def teacher():
    return multitask.train(net(norm=True), PARTS, **LONG)


def test_hard_labels_do_not_depend_on_the_order_of_the_transforms(teacher):
    names = list(relabel.TRANSFORMS)
    one, two = (relabel.aggregated(teacher, PARTS[0].faces, order) for order in (names, names[::-1]))
    for task in teacher.tasks:
        np.testing.assert_array_equal(one[task], two[task])
    single = relabel.aggregated(teacher, PARTS[0].faces, ["same"])
    np.testing.assert_allclose(single["yaw"], teacher.predict(PARTS[0].faces)["yaw"], rtol=1e-5)


def test_what_is_said_of_a_mirror_image_is_mirrored_back(teacher):
    faces = PARTS[0].faces
    flipped = replace(faces, images=np.ascontiguousarray(faces.images[..., ::-1]))
    a, b = (relabel.aggregated(teacher, one, ["same", "flip"]) for one in (faces, flipped))
    np.testing.assert_allclose(a["yaw"], -b["yaw"], atol=1e-4)
    np.testing.assert_allclose(a["gender"], b["gender"], atol=1e-6)


def test_every_set_gets_every_label_and_its_own_stay(teacher):
    gender = PARTS[0].faces.labels["gender"].copy()
    gender[3] = None
    half = replace(PARTS[0].faces, labels=PARTS[0].faces.labels.assign(gender=gender))
    whole = relabel.completed(teacher, Part(half, "gender", 4))
    labels = whole.faces.labels
    assert whole.tasks == ("gender", "yaw", "accessories") and whole.share == 4
    assert len(labels) == 23  # the face that has no label of its set's task is left out
    assert labels["gender"].tolist() == gender.drop(3).tolist()
    assert set(labels["origin:gender"]) == {"given"} and set(labels["origin:yaw"]) == {"distilled"}
    assert (np.sign(labels["yaw"]) == np.sign(half.labels["yaw"].drop(3).to_numpy())).mean() > 0.8
    assert set(np.unique(labels[[f"accessories:{a}" for a in ACCESSORIES]])) <= {0.0, 1.0}
    sure = relabel.completed(teacher, Part(PARTS[1].faces, "yaw"), ["gender"], least=0.9)
    said = relabel.aggregated(teacher, PARTS[1].faces)["gender"].max(1)
    assert sure.faces.labels["gender"].isna().tolist() == (said < 0.9).tolist()
    assert (sure.faces.labels["origin:gender"].isna() == sure.faces.labels["gender"].isna()).all()


def test_rows_of_the_ablation_share_their_teachers(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    parts = [replace(part, tasks=("gender", "yaw")[i]) for i, part in enumerate(PARTS)]
    how = {"schedule": Schedule(steps=3, precision="32"), "device": "cpu"}
    trained = {row: ablation.learn(method, net(), parts, "yaw", **how) for row, method in ablation.ROWS.items()}
    assert trained["baseline"][0].tasks == ["yaw"] and trained["baseline"][1] is None
    assert trained["distill_baseline"][0].tasks == ["yaw"]
    assert trained["full"][0].tasks == trained["full"][1].tasks == ["gender", "yaw"]
    for teacher, row in (("mtl", "distill_mtl"), ("da_mtl", "distill_da"), ("baseline", "distill_baseline")):
        np.testing.assert_array_equal(
            trained[teacher][0].predict(parts[0].faces)["yaw"], trained[row][1].predict(parts[0].faces)["yaw"]
        )
    single, _ = ablation.learn(ablation.RIVALS["distill_mtl_single"], net(), parts, "yaw", **how)
    assert single.tasks == ["yaw"]
    assert len([p for p in (tmp_path / "multitask").iterdir() if p.is_dir()]) == 10  # 8 rows, full's teacher, single
    none = ablation.Method(distil=True, least=1.0)  # no teacher is that sure: only given labels are left
    net_of_none, _ = ablation.learn(none, net(), [parts[1], parts[0]], "gender", **how)
    every, _ = ablation.learn(replace(none, least=0.0), net(), [parts[1], parts[0]], "gender", **how)
    said = [one.predict(parts[0].faces)["gender"] for one in (net_of_none, every)]
    assert not np.allclose(*said)

    for name in ("train", "completed"):  # everything is in the cache, labels are not written again either
        monkeypatch.setattr(ablation, name, None)
    again, _ = ablation.learn(ablation.ROWS["full"], net(), parts, "yaw", **how)
    np.testing.assert_array_equal(
        again.predict(parts[0].faces)["yaw"], trained["full"][0].predict(parts[0].faces)["yaw"]
    )
    pd.testing.assert_frame_equal(again.history, trained["full"][0].history)


def test_a_part_of_which_no_label_is_sure_is_left_out():
    parts = [replace(PARTS[0], tasks="yaw"), replace(PARTS[1], tasks="gender")]
    how = {"schedule": Schedule(steps=1, precision="32"), "device": "cpu", "shared": "conv.weight"}
    never = replace(ablation.ROWS["distill_mtl"], student="single", least=1.01)
    alone, teacher = ablation.learn(never, net(), parts, "gender", **how)
    assert teacher.tasks == ["yaw", "gender"] and alone.tasks == ["gender"]
    both, _ = ablation.learn(replace(never, least=0.0), net(), parts, "gender", **how)
    assert not both.history["loss:gender"].equals(alone.history["loss:gender"])


def test_networks_learned_side_by_side_are_those_of_one_process(tmp_path, monkeypatch):
    parts = [replace(part, tasks=("gender", "yaw")[i]) for i, part in enumerate(PARTS)]
    how = {"schedule": Schedule(steps=3, precision="32"), "device": "cpu", "start": net(), "parts": parts}
    asked = {main: {"method": ablation.ROWS["distill_mtl"], "main": main} for main in ("yaw", "gender")}
    said = []
    for n in (1, 2):
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / str(n)))
        found = workers.several(ablation.learn, asked, n_jobs=n, progress=False, **how).values()
        assert all(teacher is not None for _, teacher in found)
        said.append([one.predict(PARTS[0].faces)["yaw"] for one, _ in found])
    np.testing.assert_array_equal(*said)


def test_a_network_that_ends_in_a_linear_layer_gives_what_it_reads():
    last = wrap(nn.Sequential(*net().module, nn.Linear(24, 7)), size=SIZE)
    done = multitask.train(last, PARTS, **SHORT)
    assert done.features(PARTS[0].faces).shape == (24, 24)
    assert isinstance(last.module[-1], nn.Linear)  # the one given is as it was


def test_every_step_sends_its_features_reversed_to_the_discriminator(monkeypatch):
    seen, reverse = [], multitask.reverse
    monkeypatch.setattr(multitask, "reverse", lambda x, strength: seen.append(strength) or reverse(x, strength))
    multitask.train(net(), PARTS, domain=0.25, **SHORT)
    assert seen == [0.25] * 6
    seen.clear()
    multitask.train(net(), PARTS, **SHORT)
    assert not seen


def test_the_rate_hears_of_the_loss_and_bf16_trains():
    how = SHORT | {"schedule": Schedule(steps=60, lr=1e-7, rate="dynamic", precision="bf16")}  # too low to learn
    rates = multitask.train(net(), PARTS, **how).history["lr"]
    assert rates.nunique() > 2 and rates.max() == 1e-7


def test_gradnorm_looks_at_the_last_convolution():
    two = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1)), size=SIZE)
    module = multitask.headed(two, Mixture(PARTS).objectives, 8, 0).module
    assert [p.shape[:2] for p in multitask._shared(module, None)] == [(5, 4)]


def test_labels_that_are_derived_join_those_that_are_given():
    """over_40 of one set comes from its ages, of another from a column."""
    aged, told = made("a"), made("b", seed=1)
    told = replace(told, labels=told.labels.drop(columns="age").assign(over_40="under 38"))
    mixture = Mixture([Part(aged, "over_40"), Part(told, "over_40")])
    assert set(mixture.target["over_40"].tolist()) == {0, 1}


def test_what_was_distilled_once_is_not_given_later(teacher):
    once = relabel.completed(teacher, PARTS[0])
    again = relabel.completed(teacher, once).faces.labels
    assert set(again["origin:yaw"]) == {"distilled"} and set(again["origin:gender"]) == {"given"}
    labels = PARTS[1].faces.labels.copy()
    labels.loc[3, "accessories:hat"] = np.nan
    partly = Part(replace(PARTS[1].faces, labels=labels), ("yaw", "accessories"))
    origin = relabel.completed(teacher, partly).faces.labels["origin:accessories"]
    assert origin[3] == "distilled" and set(origin.drop(3)) == {"given"}


BAD = {
    "precision": (lambda: multitask.train(net(), PARTS, schedule=Schedule(precision="fp16")), "precision .fp16."),
    "no shared": (lambda: multitask.train(net(), PARTS, shared=()), "shared names no parameter"),
    "hidden": (lambda: multitask.train(net(), PARTS, hidden=0), "hidden 0: expected at least 1"),
    "alternating domains": (lambda: multitask.train(net(), PARTS, domain=1, alternating=True), "one part: the domain"),
    "no parts": (lambda: Mixture([]), "there are no parts"),
    "unknown task": (lambda: Mixture([Part(made(), "gendre")]), "unknown task 'gendre': did you mean 'gender'"),
    "no labels": (lambda: Mixture([Part(made(), "smile")]), "'a': task 'smile' has no labels here"),
    "no share": (lambda: Mixture([Part(made(), "yaw", 0)]), "share of 'a' in a batch 0: expected at least 1"),
    "one face": (lambda: Mixture([Part(made(n=1), "yaw")]), "'a' has 1 labelled face: expected at least 2"),
    "no task": (lambda: Mixture([Part(made(), ())]), "'a' is labelled for no task"),
    "main": (lambda: ablation.learn(ablation.Method(), net(), PARTS, "gendr"), "did you mean 'gender'"),
    "weighting": (lambda: multitask.train(net(), PARTS, weighting="gradnrm"), "did you mean 'gradnorm'"),
    "rate": (lambda: multitask.train(net(), PARTS, schedule=Schedule(rate="dynamc")), "did you mean 'dynamic'"),
    "shared": (lambda: multitask.train(net(), PARTS, shared="cnv.weight"), "did you mean 'conv.weight'"),
    "domain": (lambda: multitask.train(net(), PARTS, domain=-1), "domain -1: expected a finite number"),
    "one domain": (lambda: multitask.train(net(), PARTS[:1], domain=1), "at least two parts"),
    "out of range": (
        lambda: Mixture([Part(replace(made(), labels=made().labels.assign(yaw=999.0)), "yaw")]), "999 is out of range",
    ),
    "class": (
        lambda: Mixture([Part(replace(made(), labels=made().labels.assign(gender="mle")), "gender")]),
        "unknown gender class 'mle': did you mean 'male'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", BAD)
def test_errors(wrong):
    act, message = BAD[wrong]
    with pytest.raises(ValueError, match=message):
        act()


def test_a_loss_that_is_not_finite_names_step_and_task():
    wild = Schedule(steps=20, lr=1e30, precision="32")
    with pytest.raises(FloatingPointError, match=r"the loss of task '\w+' is not finite in step \d+: try a lower lr"):
        multitask.train(net(), PARTS, **SHORT | {"schedule": wild})


def test_errors_of_distilling(teacher):
    with pytest.raises(ValueError, match="unknown transform 'flp': did you mean 'flip'"):
        relabel.aggregated(teacher, PARTS[0].faces, ["flp"])
    with pytest.raises(ValueError, match="there are no transforms"):
        relabel.aggregated(teacher, PARTS[0].faces, [])
    with pytest.raises(ValueError, match="unknown task of the teacher 'age'"):
        relabel.completed(teacher, PARTS[0], ["age"])
    with pytest.raises(ValueError, match="'smile'"):
        teacher.score("smile", PARTS[0].faces)
