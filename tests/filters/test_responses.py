"""Response tables and measured moments: what they hold, what the cache does, what is refused."""

import errno
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import facelab as fl
from facelab import cache, nets
from facelab.faces.faceset import FaceSet
from facelab.filters import responses as module
from facelab.filters.moments import Moments
from facelab.filters.responses import Responses

QUIET = {"progress": False}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CHUNK", 32)
    return tmp_path / "cache"


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.ReLU()
    return nets.wrap(nn.Sequential(*layers), size=12, name="toy")


def faces(n=100, people=25, seed=0):
    rng = np.random.default_rng(seed)
    labels = pd.DataFrame(
        {
            "identity": [f"p{i}" for i in np.arange(n) % people],
            "yaw": rng.uniform(-60, 60, n),
            "age": rng.uniform(1, 90, n),
        }
    )
    labels.loc[rng.random(n) < 0.4, "age"] = np.nan
    images = rng.integers(0, 256, (n, 3, 12, 12), dtype=np.uint8)
    return FaceSet("noise", images, labels, np.zeros((n, 5, 2), np.float32))


NOISE = faces()


class Passes:
    """Counts the images that go through a net, and can stop it, as Ctrl-C would."""

    def __init__(self, net, monkeypatch):
        self.images, self.stop_at = 0, np.inf
        inner = module.taps.capture

        def capture(net, x, *args, **more):
            self.images += len(x)
            if self.images > self.stop_at:
                raise KeyboardInterrupt
            return inner(net, x, *args, **more)

        monkeypatch.setattr(module.taps, "capture", capture)


@pytest.fixture
def passes(net, monkeypatch):
    return Passes(net, monkeypatch)


def test_the_table_is_the_mean_of_every_map(net):
    some = faces()
    table = fl.responses(net, some, batch=7, cached=False, **QUIET)
    assert list(table.layers) == ["0", "3"] and table["0"].dtype == np.float32
    with torch.no_grad():
        x = net.prepare(some)
        np.testing.assert_allclose(table["0"], net.module[:3](x).mean((2, 3)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(table["3"], net.module(x).mean((2, 3)), rtol=1e-4, atol=1e-6)
        before = fl.responses(net, some, layers="0", where="before", reduce="norm", **QUIET)
        np.testing.assert_allclose(before["0"], net.module[0](x).norm(dim=(2, 3)), rtol=1e-4)
    assert list(before.layers) == ["0"]


def test_the_batch_size_does_not_matter(net):
    some = faces()
    a, b = (fl.responses(net, some, batch=k, cached=False, **QUIET) for k in (1, 100))
    np.testing.assert_allclose(a["3"], b["3"], rtol=1e-5, atol=1e-6)


def test_measured_moments_are_those_of_the_table(net):
    some = faces()
    table = fl.responses(net, some, cached=False, **QUIET)
    seen = fl.measure(net, some, ["yaw", "age"], cached=False, **QUIET)
    keep = some.labels["age"].notna().to_numpy()
    x = table["3"][keep].astype(float)
    system = seen.system("3", "age")
    assert system.n == keep.sum()
    np.testing.assert_allclose(system.mean_x, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(system.xx, (x - x.mean(0)).T @ (x - x.mean(0)), rtol=1e-4, atol=1e-9)
    same(table.moments(["yaw", "age"]), seen)


def same(a: Moments, b: Moments):
    assert a.groups.equals(b.groups) and a.layers == b.layers
    for layer in a.layers:
        for task in a.tasks:
            s, t = a.system(layer, task), b.system(layer, task)
            for k in ("mean_x", "mean_y", "xx", "xy", "yy"):
                x, y = getattr(s, k), getattr(t, k)
                np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12 * np.abs(y).max(), err_msg=k)


def identical(a: Moments, b: Moments):
    mine, theirs = a._arrays(), b._arrays()
    assert a.layers == b.layers
    assert mine.keys() == theirs.keys() and all(np.array_equal(mine[k], theirs[k]) for k in mine)


def test_layers_keep_the_order_of_the_network(folder):
    torch.manual_seed(0)
    parts = {"z": nn.Conv2d(3, 2, 3), "r": nn.ReLU(), "b": nn.Conv2d(2, 3, 3), "a": nn.Conv2d(3, 4, 3)}
    net = nets.wrap(nn.Sequential(OrderedDict(parts)), size=12)
    order = ["z", "b", "a"]
    for _ in range(2):  # measured, then read
        assert list(fl.responses(net, NOISE, **QUIET).layers) == order
        assert list(fl.measure(net, NOISE, "yaw", **QUIET).layers) == order
        assert list(fl.measure(net, NOISE, "age", layers=["a", "z"], **QUIET).layers) == ["a", "z"]


def test_a_second_call_reads_the_cache(net, passes):
    some = faces()
    first = fl.responses(net, some, **QUIET)
    moments = fl.measure(net, some[some.labels["age"].notna().to_numpy()], ["age"], **QUIET)
    n = passes.images
    again = fl.responses(net, faces(), **QUIET)
    assert all(np.array_equal(first[k], again[k]) for k in first.layers)
    identical(moments, fl.measure(net, some[some.labels["age"].notna().to_numpy()], "age", **QUIET))
    assert passes.images == n > 100


def test_measure_uses_a_cached_table_and_gives_the_same_bits(net, passes, folder):
    some = faces()
    streamed = fl.measure(net, some, ["yaw"], cached=False, **QUIET)
    fl.responses(net, some, **QUIET)
    n = passes.images
    identical(fl.measure(net, some, ["yaw"], **QUIET), streamed)
    assert passes.images == n


@pytest.mark.parametrize(
    "change",
    [
        {"layers": ["3"]}, {"where": "before"}, {"reduce": "norm"}, {"tasks": ["age"]}, {"folds": 4}, {"blocks": 10},
        {"seed": 1}, {"faces": faces(seed=1)}, {"blocks": np.arange(100) % 25},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_the_key_holds_everything_the_moments_depend_on(net, folder, change):
    def run(faces=NOISE, tasks=("yaw", "age"), **more):
        return fl.measure(net, faces, list(tasks), **more, **QUIET)

    run()
    run(**change)
    assert len(list((folder / "moments").glob("*/entry.json"))) == 2


def test_another_net_or_a_hooked_one_has_its_own_responses(net, passes, folder):
    some = faces()
    plain = fl.responses(net, some, **QUIET)
    handle = net.module[0].register_forward_hook(lambda m, i, out: out * 0)
    ablated = fl.responses(net, some, **QUIET)
    handle.remove()
    assert not np.array_equal(plain["3"], ablated["3"])
    assert len(list((folder / "responses").glob("*/entry.json"))) == 1  # what cannot be found again is not kept
    with torch.no_grad():
        net.module[0].weight += 1
    assert not np.array_equal(fl.responses(net, some, **QUIET)["3"], plain["3"])


@pytest.mark.parametrize("what", ["responses", "measure"])
@pytest.mark.parametrize("stop_at", [1, 40, 99])
def test_an_interrupted_run_goes_on_where_it_stopped(net, passes, what, stop_at):
    some = faces()

    def run(**more):
        run = fl.responses(net, some, **more) if what == "responses" else fl.measure(net, some, ["yaw"], **more)
        return run

    whole = run(batch=8, cached=False, **QUIET)
    passes.images, passes.stop_at = 0, stop_at
    with pytest.raises(KeyboardInterrupt):
        run(batch=8, **QUIET)
    passes.images, passes.stop_at = 0, np.inf
    again = run(batch=8, **QUIET)
    assert passes.images == 100 - stop_at // 32 * 32  # whole chunks are not measured twice
    if what == "responses":
        assert all(np.array_equal(whole[k], again[k]) for k in whole.layers)
    else:
        identical(whole, again)


@pytest.mark.parametrize("what", ["responses", "measure"])
def test_half_a_file_of_an_interrupted_run_is_not_read(net, passes, folder, what, caplog):
    some = faces()

    def run():
        return fl.responses(net, some, **QUIET) if what == "responses" else fl.measure(net, some, ["yaw"], **QUIET)

    passes.stop_at = 40
    with pytest.raises(KeyboardInterrupt):
        run()
    (file,) = folder.rglob("*.partial/*.safetensors")
    file.write_bytes(file.read_bytes()[:-10])
    (file.parent / ".moments.safetensors.1.writing").write_bytes(b"half")
    passes.stop_at = np.inf
    result = run()
    assert cache.problem(next(folder.rglob("entry.json")).parent) is None and not list(folder.rglob("*.writing"))
    if what == "responses":
        assert np.array_equal(result["3"], fl.responses(net, some, cached=False, **QUIET)["3"])
    else:
        identical(result, fl.measure(net, some, ["yaw"], cached=False, **QUIET))


@pytest.mark.parametrize("harm", ["truncate", "alter", "remove", "manifest"])
def test_a_corrupt_entry_is_noticed_and_measured_anew(net, passes, folder, caplog, harm):
    some = faces()
    first = fl.measure(net, some, ["yaw"], **QUIET)
    file = next(folder.rglob("moments.safetensors"))
    if harm == "truncate":
        file.write_bytes(file.read_bytes()[:200])
    elif harm == "alter":
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(data)
    elif harm == "remove":
        file.unlink()
    else:
        (file.parent / "entry.json").write_text("[]")
    n = passes.images
    identical(fl.measure(net, some, ["yaw"], **QUIET), first)
    assert passes.images == 2 * n and "damaged" in caplog.text


def test_a_full_disk_says_so(net, monkeypatch):
    def full(*args, **more):
        raise module.cache.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(cache, "save_file", full)
    with pytest.raises(OSError, match="the disk is full: free some space or set FACELAB_CACHE") as caught:
        fl.measure(net, faces(), ["yaw"], **QUIET)
    assert caught.value.errno == errno.ENOSPC


def test_a_cache_that_cannot_be_written(net, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"the cache folder cannot be written .* set FACELAB_CACHE"):
        fl.responses(net, faces(), **QUIET)


def test_shards_measured_with_the_blocks_of_the_whole_set_add_up(net):
    some = faces()
    block = fl.partition(some.identities, blocks=10)
    whole = fl.measure(net, some, ["yaw", "age"], blocks=block, **QUIET)
    cut = [slice(0, 37), slice(37, 80), slice(80, 100)]
    a, b, c = (fl.measure(net, some[s], ["yaw", "age"], blocks=block[s], **QUIET) for s in cut)
    same(a + b + c, whole)
    same(c + (b + a), whole)
    with pytest.raises(ValueError, match="would count twice"):
        _ = a + b + a


def bad(net, some, message, **options):
    with pytest.raises(ValueError, match=message):
        fl.measure(net, some, **{"tasks": ["yaw"], **options}, **QUIET)


def test_bad_input(net):
    some = faces()
    bad(net, some[[]], "face set 'noise' is empty")
    bad(net, some[some.identities == 0], "face set 'noise': 1 person, too few for 5 folds")
    bad(net, some, "unknown task 'yawn': did you mean 'yaw'", tasks=["yawn"])
    bad(net, some, "unknown layer '33': did you mean '3'", layers=["33"])
    bad(net, some, "no layer to measure", layers=[])
    bad(net, some, "unknown where 'behind'", where="behind")
    bad(net, some, "unknown reduce 'means': did you mean 'mean'", reduce="means")
    bad(net, some, "batch 0: expected at least 1", batch=0)
    some.labels["age"] = np.nan
    bad(net, some, "not one image has a label of task 'age'", tasks=["yaw", "age"])
    with torch.no_grad():
        net.module[0].bias[2] = np.nan
    bad(net, some, "filter 2 of layer '0' gives nan for image 0")
    with pytest.raises(ValueError, match="face set 'noise' is empty"):
        fl.responses(net, some[[]], **QUIET)
    with pytest.raises(ValueError, match="filter 2 of layer '0' gives nan for image 0"):
        fl.responses(net, some, **QUIET)


def test_constant_labels_are_allowed(net):
    some = faces()
    some.labels["yaw"] = 10.0
    assert fl.measure(net, some, ["yaw"], **QUIET).system("3", "yaw").yy == 0


def test_images_without_any_of_the_labels_are_not_measured(net, passes):
    some = faces()
    seen = fl.measure(net, some, ["age"], **QUIET)
    assert passes.images == seen.n.sum() == some.labels["age"].notna().sum() < 100


def test_a_table_can_be_cut_and_asked(net):
    some = faces()
    table = fl.responses(net, some, **QUIET)
    half = table.select(slice(0, 50))
    assert len(half) == 50 and np.array_equal(half["3"], table["3"][:50])
    assert len(table.select(table.identities == 3)) == 4
    np.testing.assert_array_equal(table.targets("yaw")[:, 0], some.labels["yaw"])
    np.testing.assert_array_equal(table.folds(5, seed=2), some.folds(5, seed=2))
    with pytest.raises(ValueError, match="unknown layer '33': did you mean '3'"):
        table["33"]
    assert table.table()["filters"].tolist() == [6, 4] and "100 images, 2 layers, 10 filters" in repr(table)
    with pytest.raises(ValueError, match=r"shape \(3, 2\): expected \(100, C\)"):
        Responses("x", {"a": np.zeros((3, 2))}, some.labels, some.identities)
    with pytest.raises(ValueError, match="identities for 100 images"):
        Responses("x", {}, some.labels, some.identities[:4])


def test_progress_is_counted_in_faces(net, capsys):
    fl.responses(net, faces(), cached=False)
    assert "100/100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"net": nn.Sequential(nn.Conv2d(3, 4, 3))},
            r"expected a Net: wrap a module with fl.nets.wrap\(module, size=…\)",
        ),
        ({"net": nn.Sequential(nn.Conv2d(3, 4, 3))}, r"or load one with fl.nets.load\(name\), not Sequential"),
        ({"faces": "wild"}, r"expected a FaceSet, e.g. fl.faces.load\('rendered/wild'\), not str"),
        ({"batch": 2.5}, "batch 2.5: expected a whole number, at least 1 image, not float"),
        ({"batch": "64"}, "batch '64': expected a whole number"),
        ({"folds": 2.5}, "folds 2.5: expected a whole number, at least 1, not float"),
        ({"tasks": 3}, "3 is no task: expected a name or a list of names, not int"),
        ({"tasks": ["yaw", None]}, "None is no task"),
        ({"layers": [0]}, "0 is no layer: expected a name or a list of names, not int"),
    ],
)
def test_arguments_of_the_wrong_kind(net, wrong, message):
    arguments = {"net": net, "faces": NOISE, "tasks": ["yaw"]} | wrong
    with pytest.raises(TypeError, match=message):
        fl.measure(**arguments, **QUIET)
    if not {"tasks", "folds"} & set(wrong):
        del arguments["tasks"]
        with pytest.raises(TypeError, match=message):
            fl.responses(**arguments, **QUIET)
