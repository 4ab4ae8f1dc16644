"""The same calls in this process, in several, and on a Dask cluster of two workers: the same bits."""

import logging
import os
import signal
import sys
import threading
import time
from functools import partial

import joblib
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from torch import nn

import facelab as fl
from facelab import cache, nets, workers
from facelab.faces import FaceSet, heads, rendered
from facelab.filters import routes
from facelab.nets import narrow
from facelab.transfer import selection
from facelab.workbench.cli import main

pytest.importorskip("distributed")
QUIET = {"progress": False}
alone = partial(joblib.parallel_config, "sequential")  # nothing is handed out


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers for all tests here, with a cache of their own that borrows the prepared head model and kernels; a
    worker that is killed is started again."""
    heads.load("cpu")
    own = tmp_path_factory.mktemp("workers")
    (own / "heads").mkdir()
    for entry in (cache.path("heads", "anny", version="0.6.2", layout=heads._LAYOUT), cache.folder() / "warp"):
        (own / entry.relative_to(cache.folder())).symlink_to(entry)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACELAB_CACHE", str(own))
        patch.setenv("OMP_NUM_THREADS", "1")
        with fl.cluster(workers=2) as client:
            client.own = own
            yield client


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.ReLU()
    return nets.wrap(nn.Sequential(*layers), size=12, name="toy", embedding="2")


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    labels = pd.DataFrame({"identity": [f"p{i % 50}" for i in range(900)], "yaw": rng.uniform(-60, 60, 900)})
    labels.loc[rng.random(900) < 0.2, "yaw"] = np.nan
    images = rng.integers(0, 256, (900, 3, 12, 12), dtype=np.uint8)
    return FaceSet("noise", images, labels, np.zeros((900, 5, 2), np.float32))


def everything(net, faces) -> dict[str, np.ndarray]:
    """All numbers that measuring and embedding give, computed now."""
    how = {"batch": 8, "cached": False, **QUIET}
    moments = fl.measure(net, faces, ["yaw"], **how)._arrays()
    return {**moments, **fl.responses(net, faces, **how).layers, "embedded": fl.embed(net, faces, **how)}


def identical(a: dict, b: dict) -> None:
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_two_workers_give_the_same_bits(cluster, net, faces):
    with alone():
        here = everything(net, faces)
    assert set(workers.spread(lambda *_: os.getpid(), range(8), None)) == set(cluster.run(os.getpid).values())
    identical(everything(net, faces), here)


def test_two_processes_of_this_machine():
    with joblib.parallel_config("loky", n_jobs=2):
        done = list(workers.spread(lambda power, i: (os.getpid(), i**power), range(6), 2))
    assert [square for _, square in done] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for process, _ in done}


def test_threads_would_share_the_network_so_they_do_not(net, faces):
    with joblib.parallel_config("threading", n_jobs=2):
        assert workers.here()


def measured(shared, rows):
    net, faces, blocks = shared
    with alone():
        return fl.measure(net, faces[rows], ["yaw"], blocks=blocks[rows], batch=8, cached=False, **QUIET)


def test_shards_measured_apart_add_up(cluster, net, faces):
    """Whole moments may travel instead of responses: the sums of shards are those of the set, up to rounding."""
    faces = faces[faces.labels["yaw"].notna().to_numpy()]
    blocks = fl.partition(faces.identities)
    shards = np.array_split(np.arange(len(faces)), 3)
    a, b, c = workers.spread(measured, shards, (net, faces, blocks))
    total, whole = a + b + c, measured((net, faces, blocks), np.arange(len(faces)))
    assert total.groups.equals(whole.groups)
    for layer in whole.layers:
        one, other = (m.system(layer, "yaw") for m in (total, whole))
        for field in ("mean_x", "mean_y", "xx", "xy", "yy"):
            x, y = getattr(one, field), getattr(other, field)
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-10 * np.abs(y).max(), err_msg=field)


def test_faces_rendered_by_workers_have_the_same_pixels(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(rendered, "_PER_SHARD", 2)
    asked = {"people": 4, "per_person": 2, "size": 32, "device": "cpu", **QUIET}
    there = fl.faces.load("rendered/wild", **asked)
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "another"))
    with alone():
        here = fl.faces.load("rendered/wild", **asked)
    np.testing.assert_array_equal(here.images, there.images)
    np.testing.assert_array_equal(here.landmarks, there.landmarks)


def test_combinations_of_sources_are_asked_by_workers(cluster, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = pd.DataFrame({"gender": rng.choice(["female", "male"], 240)})
    part = np.repeat([0, 1, 2], 80)
    codes = {"good": rng.normal(0, 0.3, (240, 3)) + (labels["gender"] == "male").to_numpy()[:, None] * 2.0}
    codes |= {"noise": rng.normal(size=(240, 4)), "more": rng.normal(size=(240, 2))}
    ask = partial(selection.scores, codes, codes, labels, ["gender"], part, epochs=5, batch=32, device="cpu", **QUIET)
    there = ask()
    assert len(list(cluster.own.rglob("scores.json"))) == 7 and not list(tmp_path.rglob("scores.json"))
    with alone():
        here = ask()
    pd.testing.assert_frame_equal(here, there)
    assert len(here) == 7 and "good" in selection.best(here).loc["gender", "code"]


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """walk(folder, n_jobs): two routes to a task for two seeds, with a cache folder of its own and one thread."""
    rng = np.random.default_rng(0)
    labels = pd.DataFrame({"identity": [f"p{i % 12}" for i in range(96)], "yaw": rng.uniform(-60, 60, 96)})
    images = rng.integers(0, 256, (96, 3, 12, 12), dtype=np.uint8)
    crowd = FaceSet("noise", images, labels, np.zeros((96, 5, 2), np.float32))
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    start = nets.wrap(nn.Sequential(*layers, nn.Linear(4, 3)), size=12, name="toy")
    training = routes.Training(epochs=2, batch=16, precision="32")
    head = routes.Route("head", train="head")

    def walk(folder: str, n_jobs: int = 1):
        monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / folder))
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            how = {"seeds": [0, 1], "training": training, "n_jobs": n_jobs, "progress": False}
            return routes.travel(start, crowd, "yaw", [head], **how)
        finally:
            torch.set_num_threads(threads)

    return walk


def same_rows(one, other) -> None:
    """The same numbers bit by bit, from networks that were trained apart."""
    assert [(r.route, r.seed) for r in one.rows] == [(r.route, r.seed) for r in other.rows] and len(one.rows) == 4
    for a, b in zip(one.rows, other.rows, strict=True):
        np.testing.assert_array_equal(a.said, b.said)
        assert a.scores == b.scores and a.filters == b.filters and a.file != b.file
        for x, y in zip(a.net("cpu").module.parameters(), b.net("cpu").module.parameters(), strict=True):
            assert torch.equal(x, y)


def test_routes_of_seeds_are_gone_by_processes(walk, monkeypatch):
    with alone():
        here = walk("here")
    monkeypatch.setattr(routes, "Bench", None)  # in this process no route can be gone any more
    with joblib.parallel_config("loky"):  # a cluster may be up for the other tests
        same_rows(here, walk("there", n_jobs=2))
    with pytest.raises(ValueError, match="n_jobs 0: expected"):
        walk("nowhere", n_jobs=0)


def test_routes_of_seeds_are_gone_by_a_cluster(cluster, walk, monkeypatch):
    with alone():
        here = walk("here")
    monkeypatch.setattr(routes, "Bench", None)
    there = walk("there", n_jobs=2)
    same_rows(here, there)
    assert all(row.file.is_relative_to(cluster.own) for row in there.rows)


def test_mistakes_of_a_cluster(monkeypatch):
    with pytest.raises(ValueError, match="workers 1: expected at least 2"), fl.cluster(workers=1):
        pass
    with pytest.raises(ValueError, match="address 'nonsense://x': expected that of a Dask scheduler"):  # noqa: SIM117
        with fl.cluster("nonsense://x"):
            pass
    monkeypatch.setattr(workers, "ANSWER", 1)
    with pytest.raises(OSError, match="no Dask scheduler answers at 'tcp://127"):  # noqa: SIM117
        with fl.cluster("tcp://127.0.0.1:9"):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "facelab\[cluster\]"'), fl.cluster():
        pass


def test_a_running_scheduler_is_used(cluster, net, faces):
    with alone():
        here = everything(net, faces)
        with fl.cluster(cluster.scheduler.address) as client:
            assert client.scheduler.address == cluster.scheduler.address and not workers.here()
            identical(everything(net, faces), here)


def by_command(*arguments) -> str:
    """What `facelab` says to these arguments while nothing but they hand work out."""
    with alone():
        done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def pieces_done(cluster) -> int:
    """How many pieces the workers have done since they began."""
    return sum(cluster.run(lambda dask_worker: dask_worker.state.executed_count).values())


def test_the_command_that_renders_takes_a_scheduler(cluster, tmp_path, monkeypatch):
    asked = "faces", "render", "rendered/wild", "--people", "2", "--size", "32"
    monkeypatch.setattr(rendered, "_PER_SHARD", 2)
    before = pieces_done(cluster)
    said = by_command(*asked, "--out", tmp_path / "there", "--dask", cluster.scheduler.address)
    assert "rendered/wild" in said and pieces_done(cluster) == before + 3  # shards of two pictures
    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path / "another"))
    by_command(*asked, "--out", tmp_path / "here")
    files = sorted(file.relative_to(tmp_path / "here") for file in (tmp_path / "here").rglob("*.*"))
    assert len(files) > 2
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file


def test_the_command_that_runs_grids_takes_a_scheduler(cluster, tmp_path):
    """Each cell records whether its kernel works with the workers' cache folder; only one is told its name."""
    tagged = new_code_cell('profile: str = "quick"\nmark: str = ""', metadata={"tags": ["parameters"]})
    code = 'import os\nimport facelab as fl\nfl.record("01.there", float(mark in os.environ["FACELAB_CACHE"]))'
    cells = [new_markdown_cell("# Where am I?"), tagged, new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_where.ipynb")
    grid = f"notebook: {tmp_path / '01_where.ipynb'}\nprofile: smoke\n"
    grid += f"parameters: {{mark: [{cluster.own.name}, nowhere]}}\n"
    (tmp_path / "grid.yaml").write_text(grid)
    by_command("batch", tmp_path / "grid.yaml", "--out", tmp_path / "runs", "--dask", cluster.scheduler.address)
    table = pd.read_csv(tmp_path / "runs" / "grid" / "cells.csv").set_index("mark")
    assert table["01.there"].to_dict() == {cluster.own.name: 1.0, "nowhere": 0.0}


def test_the_command_that_trains_takes_a_scheduler(cluster, faces, tmp_path, monkeypatch):
    """What takes long is replaced: by pieces that say where they are done."""
    where = []

    def training_faces(*_):
        where.append(set(workers.spread(lambda *_: os.getpid(), range(8), None)))
        return [faces, faces]

    def train(*_, **__):
        where.append(set(workers.spread(lambda *_: os.getpid(), range(8), None)))
        return narrow.untrained(4, widths=(1, 1, 1, 1, 1), norm=False), {}

    for name, replaced in (("training_faces", training_faces), ("train", train), ("examine", lambda *_: {})):
        monkeypatch.setattr(narrow, name, replaced)
    asked = "train", "vgg-narrow", "--out", tmp_path / "net.safetensors"
    by_command(*asked, "--dask", cluster.scheduler.address)
    by_command(*asked)
    there, here = set(cluster.run(os.getpid).values()), {os.getpid()}
    assert where == [there, there, here, here]


def test_a_command_says_that_no_scheduler_answers(monkeypatch):
    monkeypatch.setattr(workers, "ANSWER", 1)
    asked = ["faces", "render", "rendered/wild", "--people", "1", "--size", "32", "--dask", "tcp://127.0.0.1:9"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1 and "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in done.output


def test_a_worker_with_another_release_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(workers, "__version__", "99.1")
    with pytest.raises(RuntimeError, match=r"has .+: expected facelab 99\.1, as here"):  # noqa: SIM117
        with fl.cluster(cluster.scheduler.address):
            pass


class Slow(nn.Conv2d):
    """A convolution that takes its time and says who computes it."""

    def __init__(self, folder):
        super().__init__(3, 4, 3)
        self.folder = folder

    def forward(self, x):
        time.sleep(0.05)
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return super().forward(x)


def test_the_pieces_of_a_killed_worker_are_done_again(cluster, faces, tmp_path, monkeypatch):
    torch.manual_seed(0)
    slow = nets.wrap(nn.Sequential(Slow(tmp_path), nn.ReLU()), size=12, name="slow")
    monkeypatch.setattr(workers, "PIECE", 32)
    before = set(cluster.run(os.getpid).values())

    def kill():
        while len({f.name.split("-")[0] for f in tmp_path.glob("*-*")}) < 2:
            time.sleep(0.05)
        os.kill(victim, signal.SIGKILL)
        killed.append(len(list(tmp_path.glob("*-*"))))

    victim, killed = min(before), []
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    seen = fl.measure(slow, faces, ["yaw"], batch=16, cached=False, **QUIET)
    killer.join(10)
    assert killed and killed[0] < int(seen.n.sum()) // 16  # it died before the work was done
    deadline = time.monotonic() + 20
    while len(after := set(cluster.run(os.getpid).values())) < 2:
        assert time.monotonic() < deadline
    assert victim not in after and len(before & after) == 1
    with alone():
        here = fl.measure(slow, faces, ["yaw"], batch=16, cached=False, **QUIET)
    identical(seen._arrays(), here._arrays())
