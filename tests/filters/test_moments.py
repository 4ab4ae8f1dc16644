"""Moments against plain NumPy on the full table: any folds, weights, shards and patterns of missing
labels."""

import numpy as np
import pandas as pd
import pytest

from facelab.filters.groups import Rows, partition
from facelab.filters.moments import Moments, System
from facelab.filters.responses import Responses

N, PEOPLE = 900, 60


def table(seed=0, n=N, people=PEOPLE):
    """Responses that are hard on sums: a far offset with a small spread, dead, duplicated, huge and tiny
    columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    x[:, 1] = 1e4 + 1e-2 * x[:, 1]
    x[:, 2] = 0.0
    x[:, 3] = x[:, 0]
    x[:, 4] *= 1e6
    x[:, 5] *= 1e-6
    x[:, 6] = 1234.5678
    deep = np.maximum(rng.normal(size=(n, 3)), 0)
    labels = pd.DataFrame(
        {
            "identity": [f"p{i}" for i in rng.integers(0, people, n)],
            "yaw": 20 * x[:, 0] + rng.normal(size=n),
            "age": rng.uniform(0, 100, n),
            "expression": rng.choice(["neutral", "happy", "sad"], n),
        }
    )
    labels.loc[rng.random(n) < 0.3, "age"] = np.nan
    labels.loc[rng.random(n) < 0.2, "expression"] = None
    labels.loc[(rng.random(n) < 0.1) & labels["age"].isna(), "yaw"] = np.nan
    return {"a": x, "b": deep}, labels


TASKS = ["yaw", "age", "expression"]


def moments(x, labels, names=TASKS, about=None, **options):
    rows = Rows.of(labels, pd.factorize(labels["identity"])[0], names, **options)
    return Moments.of_table(x, rows, about), rows


def plain(x, y, w):
    """The same sums by their definition; w: how often each row counts."""
    keep = ~np.isnan(y).any(1) & (w > 0)
    x, y, w = x[keep], y[keep], w[keep]
    mean_x, mean_y = (w[:, None] * x).sum(0) / w.sum(), (w[:, None] * y).sum(0) / w.sum()
    dx, dy = x - mean_x, y - mean_y
    wx = w[:, None] * dx
    return w.sum(), mean_x, mean_y, wx.T @ dx, wx.T @ dy, (w[:, None] * dy**2).sum(0)


def close(system: System, expected, tolerance=1e-10):
    n, mean_x, mean_y, xx, xy, yy = expected
    sx, sy = np.sqrt(np.diagonal(xx)) + 1e-300, np.sqrt(yy) + 1e-300
    flat = sx < 1e-9
    sx = np.where(flat, np.inf, sx)  # a constant column must give zeros, see below
    assert system.n == n
    np.testing.assert_allclose(system.mean_x, mean_x, rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(system.mean_y, mean_y, rtol=tolerance, atol=1e-12)
    assert np.abs((system.xx - xx) / np.outer(sx, sx)).max() < tolerance
    assert np.abs((system.xy - xy) / np.outer(sx, sy)).max() < tolerance
    np.testing.assert_allclose(system.yy, yy, rtol=tolerance)
    assert not system.xx[flat].any() and not system.xy[flat].any()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("which", ["all", "fold", "rest", "bootstrap"])
def test_systems_are_those_of_the_full_table(task, which):
    from facelab import tasks

    x, labels = table()
    m, rows = moments(x, labels)
    folds = m.groups["fold"].to_numpy()
    blocks, index = np.unique(m.groups["block"], return_inverse=True)
    counts = np.random.default_rng(1).multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)))[index]
    w = {"all": np.ones(len(folds)), "fold": folds == 2, "rest": folds != 2, "bootstrap": counts}[which].astype(float)
    per_row = np.where(rows.group < 0, 0, w[rows.group])
    y = tasks.get(task).targets(labels)
    for layer in x:
        close(m.system(layer, task, None if which == "all" else w), plain(x[layer], y, per_row))


def test_offset_columns_keep_their_precision():
    """Mean 1e4, sd 1e-2: unshifted sums of squares would keep four digits of the variance."""
    x, labels = table()
    m, _ = moments(x, labels, ["yaw"])
    keep = labels["yaw"].notna().to_numpy()
    column = x["a"][keep, 1].astype(np.longdouble)
    exact = float(((column - column.mean()) ** 2).sum())
    assert m.system("a", "yaw").xx[1, 1] == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("models", [None, 7])
def test_rmse_is_that_of_the_residuals(models):
    from facelab import tasks

    x, labels = table()
    m, rows = moments(x, labels)
    held_out = m.groups["fold"].to_numpy() == 1
    rng = np.random.default_rng(2)
    for task, layer in (("yaw", "b"), ("expression", "b"), ("age", "a")):
        y = tasks.get(task).targets(labels)
        at = (rows.group >= 0) & held_out[rows.group] & ~np.isnan(y).any(1)
        c, t = x[layer].shape[1], y.shape[1]
        coef = rng.normal(size=(models or 1, c, t))
        intercept = rng.normal(size=(models or 1, t))
        residual = y[at] - intercept[:, None] - np.einsum("nc,kct->knt", x[layer][at], coef)
        expected = np.sqrt((residual**2).mean((1, 2)))
        system = m.system(layer, task, held_out.astype(float))
        if models is None:
            got = system.rmse(intercept[0], coef[0])
            assert isinstance(got, float)
            assert got == pytest.approx(expected[0], rel=1e-9)
        else:
            np.testing.assert_allclose(system.rmse(intercept, coef), expected, rtol=1e-9)
            assert system.rmse(intercept[:1], coef[:1]).shape == (1,)


def test_rmse_refuses_shapes_that_do_not_fit():
    x, labels = table()
    system = moments(x, labels)[0].system("b", "yaw")
    for intercept, coef in ((np.zeros(1), np.zeros(3)), (np.zeros(2), np.zeros((3, 1))), (0.0, np.zeros((1, 3)))):
        with pytest.raises(ValueError, match=r"expected \(3, 1\) with \(1,\)"):
            system.rmse(intercept, coef)


def test_constant_labels_and_columns_give_exact_zeros():
    x, labels = table()
    labels["yaw"] = 0.1
    system = moments(x, labels, ["yaw"])[0].system("a", "yaw")
    assert system.yy == 0 and not system.xy.any() and system.mean_y == pytest.approx(0.1)
    assert not system.xx[2].any() and not system.xx[:, 6].any()
    np.testing.assert_allclose(system.mean_x[[2, 6]], [0, 1234.5678], rtol=1e-15)


def test_a_filter_dead_in_some_folds_only():
    """Constant where it is chosen, not overall: centring leaves rounding errors, which must become zeros."""
    x, labels = table()
    fold = partition(pd.factorize(labels["identity"])[0]) % 5
    x["b"][fold != 0, 1] = 3.3
    m, _ = moments(x, labels, ["yaw"])
    rest = m.system("b", "yaw", (m.groups["fold"] != 0).to_numpy(float))
    assert not rest.xx[1].any() and not rest.xy[1].any() and rest.mean_x[1] == pytest.approx(3.3)
    assert m.system("b", "yaw").xx[1, 1] > 0


def test_groups_keep_people_together_and_folds_are_unions_of_blocks():
    x, labels = table()
    m, rows = moments(x, labels)
    groups = m.groups
    assert list(groups.columns) == ["block", "fold", "present", "n"]
    assert groups.groupby("block")["fold"].nunique().max() == 1 and set(groups["fold"]) == set(range(5))
    assert groups["block"].nunique() == 40 and not groups[["block", "present"]].duplicated().any()
    block = np.where(rows.group < 0, -1, rows.block[rows.group])
    of_person = pd.DataFrame({"who": labels["identity"], "block": block})[block >= 0]
    assert of_person.groupby("who")["block"].nunique().max() == 1
    assert groups["n"].sum() == labels[["yaw", "age", "expression"]].notna().any(axis=1).sum()
    assert {p for present in groups["present"] for p in present} == set(TASKS)


def test_fewer_people_than_blocks_are_a_block_each():
    block = partition(np.repeat(np.arange(15), 3))
    assert len(np.unique(block)) == 15 and all(len(set(block[3 * i : 3 * i + 3])) == 1 for i in range(15))
    assert np.bincount(np.arange(15) % 5).tolist() == [3] * 5


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        (np.zeros(9, int), {}, "1 person, too few for 5 folds"),
        ([0, 0, 1, 1], {}, "2 people, too few for 5 folds"),
        (range(99), {"folds": 1}, "1 folds: expected at least 2"),
        (range(99), {"blocks": 3}, "3 blocks, too few for 5 folds"),
    ],
)
def test_too_few_people_or_blocks(ids, options, message):
    with pytest.raises(ValueError, match=message):
        partition(np.asarray(ids), **options)


def test_bad_tasks_labels_and_blocks():
    x, labels = table()
    ids = pd.factorize(labels["identity"])[0]
    with pytest.raises(ValueError, match="unknown task 'yawn': did you mean 'yaw'"):
        Rows.of(labels, ids, ["yawn"])
    with pytest.raises(ValueError, match="no task named"):
        Rows.of(labels, ids, [])
    with pytest.raises(ValueError, match="'identity' is an open set"):
        Rows.of(labels, ids, ["identity"])
    with pytest.raises(ValueError, match="'roll' has no labels here"):
        Rows.of(labels, ids, ["roll"])
    with pytest.raises(ValueError, match="not one image has a label of task 'age'"):
        Rows.of(labels.assign(age=np.nan), ids, ["yaw", "age"])
    with pytest.raises(ValueError, match="empty"):
        Rows.of(labels[:0], ids[:0], ["yaw"])
    with pytest.raises(ValueError, match="integers from 0, not float64"):
        Rows.of(labels, ids, ["yaw"], blocks=np.zeros(N))
    with pytest.raises(ValueError, match=r"person .* is in .* blocks"):
        Rows.of(labels, ids, ["yaw"], blocks=np.arange(N))
    m, _ = moments(x, labels)
    with pytest.raises(ValueError, match="unknown layer 'c'"):
        m.system("c", "yaw")
    with pytest.raises(ValueError, match="unknown task 'ages': did you mean 'age'"):
        m.system("a", "ages")
    with pytest.raises(ValueError, match=r"weights of shape \(3,\) do not fit"):
        m.system("a", "yaw", np.ones(3))
    with pytest.raises(ValueError, match="no image with a label of task 'yaw'"):
        m.system("a", "yaw", np.zeros(len(m.groups)))
    x["b"][17, 2] = np.inf
    with pytest.raises(ValueError, match="filter 2 of layer 'b' gives inf for image 17"):
        moments(x, labels, ["expression", "yaw", "age"])


def test_a_task_once_named_as_text_is_that_task():
    x, labels = table()
    assert moments(x, labels, "yaw")[0].tasks == moments(x, labels, ["yaw", "yaw"])[0].tasks == ("yaw",)


def shard(x, labels, rows, block, **more):
    part = {layer: v[rows] for layer, v in x.items()}
    return moments(part, labels.iloc[rows].reset_index(drop=True), blocks=block[rows], **more)[0]


@pytest.mark.parametrize("cut", ["by rows", "by person", "one row apart"])
def test_moments_of_the_union_are_the_sum_of_those_of_the_parts(cut):
    x, labels = table()
    block = partition(pd.factorize(labels["identity"])[0])
    first = {"by rows": np.arange(N) < 400, "by person": block < 11, "one row apart": np.arange(N) < N - 1}[cut]
    a, b = (shard(x, labels, np.flatnonzero(r), block) for r in (first, ~first))
    whole = shard(x, labels, np.arange(N), block)
    for both in (a + b, b + a):
        pd.testing.assert_frame_equal(both.groups, whole.groups)
        assert not np.array_equal(a.sums["a"].shift, b.sums["a"].shift)
        for layer in x:
            for task in TASKS:
                for w in (None, (whole.groups["fold"] == 3).to_numpy(float)):
                    s = whole.system(layer, task, w)
                    close(both.system(layer, task, w), (s.n, s.mean_x, s.mean_y, s.xx, s.xy, s.yy))


def test_equal_shifts_add_bit_by_bit():
    from dataclasses import replace

    x, labels = table()
    ids = pd.factorize(labels["identity"])[0]
    block = partition(ids)
    whole = shard(x, labels, np.arange(N), block)
    parts = []
    for half in (block % 2 == 0, block % 2 == 1):  # whole blocks, so that every group is summed in one piece
        rows = Rows.of(labels, ids, TASKS, blocks=block)
        m = Moments.zeros(rows, {layer: v.shape[1] for layer, v in x.items()})
        for layer in x:
            m.sums[layer].shift[:] = whole.sums[layer].shift
        m.n[:] = 1e-300  # not empty: keeps the shift it was given
        chunk = rows.used[half[rows.used]]
        m.add(rows, chunk, {layer: v[chunk] for layer, v in x.items()})
        m.n[:] = np.round(m.n)
        parts.append(m)
    both = parts[0] + parts[1]
    for layer in x:
        for k in ("shift", "x", "xx", "xy"):
            assert np.array_equal(getattr(both.sums[layer], k), getattr(whole.sums[layer], k))
    assert np.array_equal(both.n, whole.n) and np.array_equal(both.yy, whole.yy)
    assert replace(both, about={}).groups.equals(whole.groups)


def test_what_does_not_add_up():
    x, labels = table()
    block = partition(pd.factorize(labels["identity"])[0])
    rows = np.arange(N)
    a = shard(x, labels, rows[:500], block, about={"net": "n", "faces": ["f"]})
    with pytest.raises(ValueError, match="would count twice"):
        _ = a + a
    with pytest.raises(ValueError, match="different net do not add up: 'n' and 'm'"):
        _ = a + shard(x, labels, rows[500:], block, about={"net": "m"})
    with pytest.raises(ValueError, match="different tasks"):
        _ = a + shard(x, labels, rows[500:], block, names=["yaw"], about={"net": "n"})
    with pytest.raises(ValueError, match="different layers"):
        _ = a + shard({"a": x["a"]}, labels, rows[500:], block, about={"net": "n"})
    with pytest.raises(ValueError, match="different folds"):
        _ = a + shard(x, labels, rows[500:], block, folds=4, about={"net": "n"})
    with pytest.raises(ValueError, match=r"person 'p\d+' is in block \d+ of one and in block \d+ of the other"):
        _ = a + shard(x, labels, rows[500:], (block + 5) % 40, about={"net": "n"})
    with pytest.raises(TypeError, match="not to int"):
        _ = a + 1


def test_sets_of_different_people_share_blocks_or_stand_beside():
    x, labels = table(0)
    more, others = table(1)
    others["identity"] = "q" + others["identity"]
    a, _ = moments(x, labels)
    b, _ = moments(more, others)
    together, beside = a + b, a + b.beside(a)
    assert together.groups["block"].nunique() == 40 and beside.groups["block"].nunique() == 80
    assert beside.groups.groupby("block")["fold"].nunique().max() == 1
    one, two = together.system("a", "yaw"), beside.system("a", "yaw")
    assert one.n == two.n == a.system("a", "yaw").n + b.system("a", "yaw").n
    for fold in range(5):
        s, t = (m.system("b", "age", (m.groups["fold"] == fold).to_numpy(float)) for m in (together, beside))
        np.testing.assert_allclose(s.xx, t.xx, rtol=1e-12)


def test_saved_moments_come_back_bit_by_bit(tmp_path):
    x, labels = table()
    m, _ = moments(x, labels, about={"net": "n", "where": "after", "reduce": "mean", "faces": ["f"]})
    m.save(tmp_path / "new" / "folder")
    again = Moments.open(tmp_path / "new" / "folder")
    assert again.about == m.about and again.tasks == m.tasks and again.layers == m.layers
    assert again.groups.equals(m.groups) and again.memory() == m.memory()
    for layer in x:
        s, t = m.system(layer, "age"), again.system(layer, "age")
        assert all(np.array_equal(getattr(s, k), getattr(t, k)) for k in ("xx", "xy", "yy", "mean_x", "mean_y"))
    assert (again + shard_of_others(x)).n.sum() > m.n.sum()


def shard_of_others(x):
    labels = table()[1].assign(identity=lambda t: "q" + t["identity"])
    return moments(x, labels, about={"net": "n", "where": "after", "reduce": "mean"})[0]


def test_a_damaged_file_is_refused(tmp_path):
    m, _ = moments(*table())
    m.save(tmp_path)
    file = tmp_path / "moments.safetensors"
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a tensor file at all", whole[:100]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="is damaged"):
            Moments.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        Moments.open(tmp_path / "nowhere")


def test_memory_does_not_grow_with_the_images():
    small, large = moments(*table())[0], moments(*table(n=6000))[0]
    per_group = [m.memory() / len(m.groups) for m in (small, large)]
    assert per_group[1] == pytest.approx(per_group[0], rel=0.02)
    vgg = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert sum(c * (c + 1) // 2 * 8 for c in vgg) < 20e6  # bytes a block


def test_the_table_counts_what_each_task_has():
    m, _ = moments(*table())
    t = m.table().set_index(["layer", "task"])
    assert t.loc[("a", "age"), "images"] == table()[1]["age"].notna().sum()
    assert t.loc[("b", "yaw"), "filters"] == 3 and (t["folds"] == 5).all()


def test_a_filter_that_varies_by_float32_rounding_alone_is_dead():
    rng = np.random.default_rng(0)
    x = np.full((200, 2), 0.1, np.float32)
    x[:, 0] = np.nextafter(x[:, 0], np.where(rng.random(200) < 0.5, 1, 0).astype(np.float32))
    x[:, 1] += rng.normal(size=200).astype(np.float32)
    labels = pd.DataFrame({"yaw": rng.normal(size=200)})
    system = Responses("r", {"conv": x}, labels, np.arange(200)).moments(["yaw"]).system("conv", "yaw")
    assert system.xx[0].tolist() == [0, 0] and system.xy[0].tolist() == [0]
    assert system.xx[1, 1] > 0
