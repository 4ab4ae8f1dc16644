"""The speed scripts on tiny problems, and the committed pages against their JSON files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import facelab as fl
from facelab.filters.lasso import lasso_path
from facelab.filters.race import like_responses

sys.path.insert(0, str(Path(__file__).parent))

import bench_peers
import bench_sparse
import gpu
import made_up
import peers_page
import summary


def correlations(xx):
    deviation = np.sqrt(np.diagonal(xx))
    return np.linalg.eigvalsh(xx / deviation / deviation[:, None])[::-1]


def test_rows_are_like_those_of_the_race():
    x, y = made_up.Layer(64, 2).table(5000)
    assert x.dtype == np.float32 and x.min() == 0 and y.shape == (5000, 2)
    x = x - x.mean(0, dtype=float)
    ours, race = correlations(x.T @ x), correlations(like_responses(64, 5000)[0])
    assert np.abs(np.log(ours / race)).max() < np.log(3)  # eigenvalues over three decades
    np.testing.assert_allclose(y.var(0), 2, rtol=0.15)  # half of it noise
    again = np.concatenate([part for part, _ in made_up.Layer(64, 2).chunks(5000)])
    np.testing.assert_array_equal(again, made_up.Layer(64, 2).table(5000)[0])
    with pytest.raises(ValueError, match="y has 2 columns: expected 1, the targets of yaw"):
        made_up.rows_of(("yaw",), y)


@pytest.mark.parametrize("compact, targets", [(True, 1), (False, 5)])
def test_peers_are_asked_the_same_question(tmp_path, compact, targets):
    """Our coefficients in the peers' units have no gap; so have those of a path over the rows that they are given."""
    problem = bench_peers.Problem(tmp_path, 12, 300, targets, compact)
    x, y, c, gram = (np.load(tmp_path / f"{name}.npy") for name in ("x", "y", "c", "gram"))
    np.testing.assert_allclose(x.T @ x / len(x), gram, atol=1e-6)
    np.testing.assert_allclose(x.T @ y / len(x), c, atol=1e-6)
    n, coef = len(x), []
    for t in range(targets):
        path = lasso_path(gram * n, c[:, t] * n, float(n), n, lambdas=problem.lambdas[t], standardize=False)
        coef.append(path.coef)
    assert problem.gap(np.array(coef)) < 1e-9
    assert problem.same_support(np.array(coef)) > 0.95
    assert problem.gap(np.zeros((targets, 100, 12))) > 0.1
    assert problem.ours() > 0


def test_a_contest_with_scikit_learn_in_a_process_of_its_own(tmp_path):
    peer = bench_peers.Peer("scikit-learn", Path(sys.executable))
    try:
        problem = bench_peers.Problem(tmp_path, 12, 300, 1, True)
        peer.load(tmp_path)
        asked = [("scikit-learn", name, "given") for name in ("sklearn lasso_path", "sklearn lars_path_gram")]
        rows = bench_peers.contest(problem, asked, {"scikit-learn": peer}, 2, 60.0)
        assert [(r["solver"], r["setting"]) for r in rows] == [
            ("ours", "exact"),
            ("sklearn lasso_path", "default"),
            ("sklearn lasso_path", "equal gap"),
            ("sklearn lars_path_gram", "exact"),
        ]
        ours, loose, tight, lars = rows
        assert ours["gap"] < 1e-9 and lars["gap"] < 1e-9
        assert tight["gap"] <= bench_peers.GAP < loose["gap"] and tight["tol"] < loose["tol"]
        assert [r["reached"] for r in rows] == [True, False, True, True]
        for row in rows[1:]:
            assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        with pytest.raises(bench_peers.Stopped):
            peer.solve("sklearn Lasso, one fit a λ", 0.0, "given", 1, 0.2)  # would sweep ten million times
        _, coef = peer.solve("sklearn lars_path_gram", 0.0, "given", 1, 60.0)  # and works again
        assert problem.gap(coef) < 1e-9
    finally:
        peer.close()
    stopped = {**tight, "stopped_s": 5.0, "ratio_at_least": 1234.5, "reached": None, "gap": None}
    assert "> 5,000, stopped | > 1,23" in peers_page.row(stopped)
    assert "not reached" in peers_page.row({**tight, "reached": False})
    assert "not reached" not in peers_page.row(tight)


def test_a_package_that_cannot_be_installed_is_named(tmp_path, monkeypatch):
    (tmp_path / "nothing" / "bin").mkdir(parents=True)
    with pytest.raises(bench_peers.Stopped, match="No module named 'no_such_module'"):
        monkeypatch.setitem(bench_peers.PACKAGES, "nothing", ("no_such_module", {}))
        bench_peers.Peer("nothing", Path(sys.executable))


def test_memory_does_not_grow_with_rows():
    few, many = (bench_peers.streamed(32, n) for n in (4096, 40 * 4096))
    assert many["table_mb"] == 40 * few["table_mb"] > 20
    assert many["peak_mb"] - few["peak_mb"] < 8


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 24, 3), torch.nn.ReLU(), torch.nn.Conv2d(24, 24, 3), torch.nn.ReLU()
    head = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(24, 2)
    return fl.nets.wrap(torch.nn.Sequential(*layers, *head), size=16, name="toy")


def test_a_cut_hits_the_macs_and_is_compared(net):
    small = bench_sparse.cut_to(net, 72)
    cut = 100 * (1 - fl.cost.count(small).macs / fl.cost.count(net).macs)
    assert abs(cut - 72) < 4  # a filter of 24 is 4 to 8 % of the MACs
    settings = {"runtimes": ["eager", "channels_last"], "rounds": 3, "warmup": 1}
    rows = bench_sparse.compare(net, small, "−72 %", 1, **settings)
    assert [row["runtime"] for row in rows] == ["eager", "channels_last"]
    assert all(abs(row["macs_cut"] - cut) < 1e-9 and row["ratio"] > 0 for row in rows)
    run = {"rounds": 3, "goal": 0.95, "torch": "2", "load_before": 0.0, "load_after": 0.0}
    text = bench_sparse.page({"run": run, "rows": rows})
    assert text.count("| toy | −72 % |") == 2


def test_widths_are_rounded_up_and_no_fewer_macs_go(net):
    whole, small = fl.cost.count(net).macs, bench_sparse.cut_to(net, 40, 8)
    assert {conv.out_channels % 8 for conv in small.convs.values()} == {0}
    assert [conv.out_channels for conv in bench_sparse.thinned(net, 0.4, 8).convs.values()] == [16, 16]
    assert small.convs["2"].weight.shape[:2] == (16, 16) and 1 - fl.cost.count(small).macs / whole > 0.4
    with pytest.raises(ValueError, match="toy cannot lose 95 % of its MACs at widths that are multiples of 16"):
        bench_sparse.cut_to(net, 95, 16)


def test_the_head_row_keeps_every_filter(net, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_sparse, "network", lambda name: net)
    seen, compare = {}, bench_sparse.compare
    monkeypatch.setattr(
        bench_sparse, "compare", lambda *given, **how: seen.update({given[2]: given[1]}) or compare(*given, **how)
    )
    out = tmp_path / "sparse.json"
    arguments = "bench_sparse.py --nets toy --cuts 40 --batches 1 --rounds 1 --warmup 0 --runtimes eager --out"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(out)])
    bench_sparse.main()
    assert list(seen) == ["head", "−40 %", "−40 %, by 16"]
    assert [conv.out_channels for conv in seen["head"].convs.values()] == [24, 24]
    assert [row["cut"] for row in json.loads(out.read_text())["rows"]] == list(seen)


def test_gpu_jobs_on_the_cpu(tmp_path, monkeypatch):
    out = tmp_path / "gpu.json"
    arguments = "gpu.py --device cpu --nets student --parents vgg-narrow --cuts 56 --faces 40 --size 64 --people 1"
    more = ["--batch", "2", "--rounds", "1", "--threads", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*arguments.split(), *more])
    gpu.main()
    rows = json.loads(out.read_text())["rows"]
    assert {row["what"] for row in rows} == {"measure", "embed", "forward, batch 2", "fit, one epoch", "render"}
    assert all(row["cpu_per_s"] > 0 and "ratio" not in row for row in rows)
    assert "CUDA device: none" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_without_cuda_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"no CUDA device: torch .* --device cpu"):
        gpu.devices("cuda")
    assert gpu.devices("cpu") == ["cpu"]


def test_the_committed_pages_are_those_of_the_committed_numbers():
    assert (summary.FOLDER / "README.md").read_text(encoding="utf-8") == summary.page(summary.FOLDER)
    for name, page in (("peers", peers_page.page), ("sparse", bench_sparse.page), ("gpu", gpu.page)):
        if (file := summary.FOLDER / f"{name}.json").exists():
            text = file.with_suffix(".md").read_text(encoding="utf-8")
            assert text == page(json.loads(file.read_text(encoding="utf-8"))), name


def test_a_table_nobody_writes_is_an_error(tmp_path):
    (tmp_path / "lsso.json").write_text("{}")
    with pytest.raises(ValueError, match="'lsso'"):
        summary.page(tmp_path)
