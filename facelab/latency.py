"""How long a network takes on this machine's CPU.

Every network in every runtime takes its turn in every round, so that whatever else the machine does falls on all of
them alike. Ratios from one run carry over to other machines, milliseconds do not.
"""

import copy
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from facelab import errors
from facelab.export import require, write_onnx

RUNTIMES = ("eager", "channels_last", "channels_last_bf16", "compiled", "onnxruntime")


@dataclass(frozen=True, eq=False)
class Latency:
    """Measured times. runs: a row per round, network and runtime: net, runtime, round, ms (of a whole batch)."""

    runs: pd.DataFrame
    batch: int
    threads: int

    def table(self) -> pd.DataFrame:
        """Per network and runtime: the median in ms, the quartiles, images per second; batch and threads beside."""
        by = self.runs.groupby(["net", "runtime"], sort=False)["ms"]
        found = by.quantile([0.5, 0.25, 0.75]).unstack()
        found.columns = ["ms", "low", "high"]
        found["images_per_s"] = 1000 * self.batch / found["ms"]
        return found.assign(batch=self.batch, threads=self.threads).reset_index()


def latency(
    nets,
    x=None,
    *,
    batch: int = 1,
    threads: int = 1,
    runtimes: Sequence[str] = ("eager", "channels_last", "channels_last_bf16"),
    rounds: int = 30,
    warmup: int = 5,
) -> Latency:
    """Milliseconds per forward pass of a batch on the CPU.

    nets: one network, or several by name. x: an input, the shape of one image, or None, as in `count`; an input is
    repeated or cut to `batch`. runtimes: "eager" (float32, contiguous), "channels_last" (float32), "channels_last_bf16"
    (the same under bf16 autocast), "compiled" (torch.compile, float32, contiguous; it needs a C++ compiler),
    "onnxruntime" (exported to ONNX for this very batch, float32; it needs `pip install "facelab[export]"`). Every
    runtime lays out weights and input in its own way, however the network comes. Each network runs `warmup` times in
    each runtime, then once per round, in an order drawn anew for every round. The networks are copied, not changed.

    ValueError: an unknown runtime, an input the network cannot take, a network torch cannot export. ImportError: a
    package that "onnxruntime" needs is absent; it names the line that installs it.

    >>> latency(nn.Conv2d(3, 8, 3), (3, 8, 8), rounds=3, runtimes=["eager"]).table().columns.tolist()
    ['net', 'runtime', 'ms', 'low', 'high', 'images_per_s', 'batch', 'threads']
    """
    for name, value in (("batch", batch), ("threads", threads), ("rounds", rounds)):
        errors.whole(name, value, 1)
    errors.whole("warmup", warmup, 0)
    runtimes = errors.named("runtime", runtimes)
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise errors.unknown("runtime", runtime, RUNTIMES)
    if "onnxruntime" in runtimes:
        require("onnx", "onnxscript", "onnxruntime", what="the runtime 'onnxruntime'")
    nets = dict(nets) if isinstance(nets, Mapping) else {name_of(nets): nets}
    jobs, runs = {}, []
    rng = np.random.default_rng(0)
    with _threads(threads), torch.inference_mode():
        for name, net in nets.items():
            given = example(net, x, batch).cpu()
            run(copy.deepcopy(net).cpu(), given, name)
            for runtime in runtimes:
                jobs[name, runtime] = _job(net, given, runtime, threads)
        for job in jobs.values():
            for _ in range(warmup):
                job()
        for i in range(rounds):
            for at in rng.permutation(len(jobs)):
                (name, runtime), job = list(jobs.items())[at]
                begin = time.perf_counter()
                job()
                runs.append({"net": name, "runtime": runtime, "round": i, "ms": 1000 * (time.perf_counter() - begin)})
    if not runs:
        raise ValueError(f"{len(jobs)} networks and runtimes over {rounds} rounds: there is nothing to time")
    table = pd.DataFrame(runs)
    first = {key: at for at, key in enumerate(jobs)}
    order = table.assign(at=[first[key] for key in zip(table["net"], table["runtime"], strict=True)])
    order = order.sort_values(["at", "round"], ignore_index=True).drop(columns="at")
    return Latency(order, batch, threads)


def _job(net: nn.Module, x: Tensor, runtime: str, threads: int):
    with torch.inference_mode(False):  # a copy made in inference mode could not be compiled
        layout = torch.channels_last if runtime.startswith("channels_last") else torch.contiguous_format
        net = copy.deepcopy(net).cpu().eval().to(memory_format=layout)
        x = x.contiguous(memory_format=layout) if x.ndim == 4 else x
        if runtime == "onnxruntime":
            return _exported(net, x.clone(), threads)
    if runtime == "compiled":
        with warnings.catch_warnings():  # torch's compiler still imports what torch has deprecated
            warnings.filterwarnings("ignore", r"`torch\.jit", DeprecationWarning)
            net = torch.compile(net)
            net(x)  # the first call compiles
    if runtime.endswith("bf16"):

        def job():
            with torch.autocast("cpu", torch.bfloat16):
                return net(x)

        return job
    return lambda: net(x)


def _exported(net: nn.Module, x: Tensor, threads: int):
    import onnxruntime  # optional, as the file's other imports are not

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    with tempfile.TemporaryDirectory() as folder:
        file = write_onnx(net, x, Path(folder, "net.onnx"), name=name_of(net), any_batch=False)
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, given)


@contextmanager
def _threads(n: int):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def name_of(net) -> str:
    if not isinstance(net, nn.Module):
        raise TypeError(f"a network must be a torch.nn.Module, not {type(net).__name__} ({net!r:.80})")
    return getattr(net, "name", type(net).__name__)


def example(net, x, batch: int) -> Tensor:
    """(batch, …) from an input, the shape of one image, or the size of a `Net`."""
    name = name_of(net)
    if isinstance(x, Tensor):
        if x.ndim < 2 or len(x) < 1:
            raise ValueError(f"an input of shape {tuple(x.shape)}: expected a batch of at least one, (n, …)")
        return x[torch.arange(batch) % len(x)]
    if x is None:
        if not hasattr(net, "size"):
            raise ValueError(f"{name} does not say what it takes: give an input (n, c, h, w), or the shape (c, h, w)")
        x = (1 if net.grey else 3, net.size, net.size)
    shape = tuple(x)
    for side in shape:
        errors.whole(f"input shape {shape}: a side of", side, 1)
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def run(net: nn.Module, x: Tensor, name: str) -> None:
    """One pass in evaluation mode; the modes are left as they were."""
    modes = {m: m.training for m in net.modules()}
    place = next((p.device for p in net.parameters()), x.device)
    net.eval()
    try:
        net(x.to(place))
    except (RuntimeError, ValueError, IndexError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{name} cannot take an input of shape {tuple(x.shape)}: {first}") from error
    finally:
        for m, training in modes.items():
            m.training = training
