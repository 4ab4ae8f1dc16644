"""What a network costs: multiplications, parameters and bytes by arithmetic, milliseconds by measurement."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor, nn

from facelab.latency import RUNTIMES, Latency, example, latency, name_of, run

__all__ = ["RUNTIMES", "Comparison", "Cost", "Latency", "compare", "count", "latency"]

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, eq=False)
class Cost:
    """The cost of one image. layers: a row per conv and linear layer that ran: layer, kind, calls, macs, parameters,
    output (shape without the batch). parameters count once however often they are used; size is the bytes of the
    state dict (parameters and buffers) as it would be saved; conv_macs, conv_parameters, conv_size are those of the
    convolutions alone."""

    name: str
    input: tuple[int, ...]
    layers: pd.DataFrame
    macs: int
    parameters: int
    size: int
    conv_macs: int
    conv_parameters: int
    conv_size: int

    def table(self) -> pd.DataFrame:
        """One row per layer and a last one for the whole (which also counts the parameters of other layers)."""
        total = {"layer": "total", "kind": "", "calls": self.layers["calls"].sum(), "macs": self.macs}
        total |= {"parameters": self.parameters, "output": ""}
        return pd.concat([self.layers, pd.DataFrame([total])], ignore_index=True)


def count(net, x=None) -> Cost:
    """Multiplications (MACs), parameters and bytes of a `Net` or any module, counted on one real pass.

        conv     c_in / groups · k_h · k_w · c_out · h_out · w_out
        linear   inputs · outputs, at every position it is applied to

    which is the FLOPs of ETL Eqs 6–8 (multiplications of conv and linear layers; no bias, norm, activation or pooling)
    and half of what torch.utils.flop_counter reports, for it counts the additions too. A layer that runs twice counts
    twice. Only layers that are modules are seen: a functional convolution or a matrix product is not.

    x: an input (n, …), or the shape of one image (c, h, w); None: the net's own size. ValueError where the network
    cannot take the input, or has neither convolution nor linear layer.

    >>> cost = count(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 2)), (3, 4, 4))
    >>> cost.macs == 3 * 9 * 8 * (2 * 2) + 32 * 2, cost.parameters, cost.size
    (True, 290, 1160)
    """
    x, name = example(net, x, 1), name_of(net)
    kinds = (*CONVS, *TRANSPOSED, nn.Linear)
    root = net.module if hasattr(net, "prepare") else net  # a Net's layers have their names inside its module
    layers = {key: layer for key, layer in root.named_modules() if isinstance(layer, kinds)}
    if not layers:
        raise ValueError(f"{name} has no convolution and no linear layer: there is nothing to count")
    rows = {}

    def seen(key):
        def hook(layer, given, output):
            row = rows.setdefault(key, {"calls": 0, "macs": 0})
            row["calls"] += 1
            row["macs"] += _macs(layer, given[0], output)
            row["output"] = tuple(output.shape[1:])

        return hook

    hooks = [layer.register_forward_hook(seen(key)) for key, layer in layers.items()]
    try:
        run(net, x, name)
    finally:
        for hook in hooks:
            hook.remove()
    table = pd.DataFrame(
        [
            {
                "layer": key,
                "kind": type(layers[key]).__name__,
                "calls": row["calls"],
                "macs": row["macs"],
                "parameters": sum(p.numel() for p in layers[key].parameters()),
                "output": row["output"],
            }
            for key, row in rows.items()
        ],
        columns=["layer", "kind", "calls", "macs", "parameters", "output"],
    )
    conv = [layer for layer in layers.values() if not isinstance(layer, nn.Linear)]
    conv_macs = int(table["macs"][table["kind"] != "Linear"].sum())
    parts = [(sum(p.numel() for p in _distinct(m.parameters() for m in ms)), _bytes(ms)) for ms in ([net], conv)]
    (parameters, size), (conv_parameters, conv_size) = parts
    shape, total = tuple(x.shape[1:]), int(table["macs"].sum())
    return Cost(name, shape, table, total, parameters, size, conv_macs, conv_parameters, conv_size)


def _macs(layer: nn.Module, given: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    window = int(np.prod(layer.kernel_size))
    if isinstance(layer, TRANSPOSED):  # every input value is multiplied into a window of every output channel
        return given.numel() * window * layer.out_channels // layer.groups
    return output.numel() * window * layer.in_channels // layer.groups


def _distinct(groups) -> list[Tensor]:
    return list({id(t): t for group in groups for t in group}.values())


def _bytes(modules) -> int:
    # keep_vars: the tensors themselves, so that one used under two names is told from two
    return sum(t.nbytes for t in _distinct(m.state_dict(keep_vars=True).values() for m in modules))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks, counted and timed in one run."""

    a: Cost
    b: Cost
    latency: Latency

    def table(self) -> pd.DataFrame:
        """What b takes of a: a row for macs, parameters, size and their conv-only parts, then one per runtime.

        a, b: the two values (ms for runtimes: medians). ratio: b / a, for runtimes the median over rounds of the ratio
        within the round, with quartiles low and high. cut: 1 − ratio in per cent. against_eager: b in this runtime
        over a in eager float32: what the cut and the runtime give together.
        """
        rows = []
        for what in ("macs", "parameters", "size", "conv_macs", "conv_parameters", "conv_size"):
            a, b = getattr(self.a, what), getattr(self.b, what)
            rows.append({"what": what, "a": a, "b": b, "ratio": b / a if a else np.nan})
        ms = self.latency.runs.pivot(index="round", columns=["net", "runtime"], values="ms")
        for runtime in self.latency.runs["runtime"].unique():
            a, b = ms[self.a.name, runtime], ms[self.b.name, runtime]
            low, ratio, high = (b / a).quantile([0.25, 0.5, 0.75])
            row = {"what": runtime, "a": a.median(), "b": b.median(), "ratio": ratio, "low": low, "high": high}
            if (self.a.name, "eager") in ms:
                row["against_eager"] = (b / ms[self.a.name, "eager"]).median()
            rows.append(row)
        table = pd.DataFrame(rows)
        table.insert(4, "cut", 100 * (1 - table["ratio"]))
        return table


def compare(a, b, x=None, **settings) -> Comparison:
    """Two networks counted, and timed side by side in one run: how much of a's cost is left in b?

    x and settings as in `latency`.

    >>> big, small = nn.Conv2d(3, 32, 3), nn.Conv2d(3, 8, 3)
    >>> found = compare(big, small, (3, 16, 16), rounds=3, runtimes=["eager"]).table()
    >>> found["what"].tolist()[::6], float(found["cut"][0])
    (['macs', 'eager'], 75.0)
    """
    costs = [count(net, x) for net in (a, b)]
    if costs[0].name == costs[1].name:
        costs = [replace(cost, name=f"{cost.name} ({end})") for cost, end in zip(costs, "ab", strict=True)]
    return Comparison(*costs, latency({costs[0].name: a, costs[1].name: b}, x, **settings))
