"""One task and one seed: where every route is gone on the same faces, and its row kept in the cache."""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facelab import cache, cost, tasks
from facelab.faces.faceset import FaceSet
from facelab.filters import probes, sparse
from facelab.filters.curve import TaskCurves
from facelab.filters.curves import characteristic_curves
from facelab.filters.responses import responses
from facelab.filters.route_rows import Row
from facelab.filters.route_scores import score
from facelab.filters.route_settings import BASELINE, LEAST, Route, Training
from facelab.nets.net import Net
from facelab.training.loop import fit
from facelab.training.objective import Objective, present, with_head

VERSION = 1  # raised when a row would come out otherwise


@dataclass(eq=False)
class Bench:
    """Who is trained on and who is asked, and what several routes share: curves and the network fine-tuned whole."""

    net: Net
    faces: FaceSet
    task: str
    seed: int
    training: Training
    memory: dict = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[np.ndarray]:
        known = present(self.faces.encode(self.task)) > 0
        if not known.any():
            raise ValueError(
                f"task {self.task!r}: none of the {len(known)} images of {self.faces.name!r} has this label"
            )
        side = self.faces.assign((1 - self.training.held_out, self.training.held_out), seed=self.seed)
        return [np.flatnonzero(known & (side == part)) for part in (0, 1)]

    @cached_property
    def train(self) -> FaceSet:
        return self.faces[self.rows[0]]

    @cached_property
    def test(self) -> FaceSet:
        return self.faces[self.rows[1]]

    @property
    def outputs(self) -> int:
        about = tasks.get(self.task)
        return 1 if about.kind == "regression" else len(about.classes)

    @cached_property
    def whole(self) -> cost.Cost:
        """Of the whole network with the task's head, which all cuts are measured against."""
        return cost.count(self.start(BASELINE)[0])

    @cached_property
    def key(self) -> dict:
        return {"net": self.net.fingerprint, "faces": self.faces.fingerprint, "training": asdict(self.training)}

    def entry(self, route: Route) -> Path:
        depends = self.key | {"task": self.task, "seed": self.seed, "route": asdict(route), "version": VERSION}
        return cache.path("routes", f"{self.net.name}-{self.task}-{route.name}", **depends)

    def row(self, route: Route) -> Row:
        entry = cache.build(self.entry(route), lambda folder: self.run(route, folder), {"route": asdict(route)})
        about = json.loads((entry / "row.json").read_text(encoding="utf-8"))
        said = cache.read_tensors(entry / "said.safetensors")[0]["said"]
        file = entry / "net.safetensors"
        return Row(
            route, self.task, self.seed, about["scores"], about["what"], about["filters"], said, self.rows[1],
            file if file.exists() else None,
        )  # fmt: skip

    def run(self, route: Route, folder: Path) -> None:
        small, gamma = self.start(route)
        what, seconds = cost.count(small), np.nan
        if route.train == "nothing":
            said = self.read_out(small, route)
        else:
            done = fit(
                small, self.train, self.task, targets=self.taught() if route.distil else None, validation=None,
                epochs=route.times * self.training.epochs, batch=self.training.batch, lr=self.training.lr,
                weight_decay=self.training.weight_decay, schedule="onecycle", precision=self.training.precision,
                train=_linear(small) if route.train == "head" else None, seed=self.seed, device=self.net.device,
                progress=False,
            )  # fmt: skip
            said, seconds = done.predict(self.test), float(done.history["seconds"].median())
            sparse.save(done.finished(), folder / "net.safetensors")
            if route == BASELINE:  # which others learn from
                cache.write_tensors(folder / "trained.safetensors", {"said": done.predict(self.train)}, {})
        about = {key: int(getattr(what, key)) for key in ("macs", "parameters", "size")}
        about |= {f"conv_{key}": int(getattr(what, f"conv_{key}")) for key in ("macs", "parameters", "size")}
        about |= {"macs_cut": 1 - what.macs / self.whole.macs, "size_cut": 1 - what.size / self.whole.size}
        about |= {"conv_size_cut": 1 - what.conv_size / self.whole.conv_size}
        about |= {"gamma": gamma, "seconds_per_epoch": seconds}
        filters = {name: layer.out_channels for name, layer in small.convs.items()}
        scores = score(self.task, said, self.faces, self.rows[1])
        cache.write_tensors(folder / "said.safetensors", {"said": said}, {})
        cache.write_text(folder / "row.json", json.dumps({"scores": scores, "what": about, "filters": filters}))

    def start(self, route: Route) -> tuple[Net, float]:
        """The network before training, and its γ (NaN without one)."""
        parent = self.baseline.net(self.net.device) if route.start == "baseline" else self.net
        if route.filters == "all":
            whole = with_head(parent, self.outputs, seed=self.seed)
            whole.name = f"{self.net.name}-{self.task}"
            if route.start == "scratch":
                _draw(whole, self.seed)
            return whole, np.nan
        keep, gamma = self.keep(route, parent)
        scale = self.scale(route, gamma, keep) if route.scale else None
        top = self.top(route)
        outputs = None if route.head == "keep" and route.start == "baseline" else self.outputs
        small = sparse.cut(parent, keep, scale=scale, top=top, head=route.head, outputs=outputs, seed=self.seed)
        if outputs is None and tasks.get(self.task).kind == "regression":
            self.standardise(small)
        if route.refit or route.recalibrate:
            again = sparse.refit if route.refit else sparse.recalibrate
            small = again(small, parent, keep, self.train, most=self.training.refit_faces, seed=self.seed).net
        if route.start == "scratch":
            _draw(small, self.seed)
        small.name = f"{self.net.name}-{self.task}"
        return small, gamma

    def scale(self, route: Route, gamma: float, keep) -> dict[str, np.ndarray]:
        """β by layer, divided by its root mean square over the filters kept: its unit is the label's per response."""
        betas = {layer: beta for layer, beta in self.curves(route.start).betas(gamma).items() if layer in keep}
        return {layer: beta / np.sqrt(np.mean(beta[keep[layer]] ** 2)) for layer, beta in betas.items()}

    @torch.no_grad()
    def standardise(self, net: Net) -> None:
        """Let a network that says numbers in the task's unit (`Fit.finished`) say them as they are trained."""
        objective = Objective.of(self.task, self.train.labels)
        last = net.module.get_submodule(_linear(net)[-1])
        last.weight.div_(objective.scale)
        last.bias.sub_(objective.center).div_(objective.scale)

    def top(self, route: Route) -> str | None:
        return self.curves(route.start).best_layer if route.top else None

    def keep(self, route: Route, parent: Net) -> tuple[dict, float]:
        curves = self.curves(route.start)
        if route.gamma is not None:
            keep, gamma = curves.knees(route.gamma), route.gamma
        else:
            per_layer = route.filters == "per layer" or (route.filters != "curves" and route.least > LEAST)
            found = sparse.budget(
                parent, curves, route.macs_cut, per_layer=per_layer, least=route.least, multiple=route.multiple,
                head=route.head, top=self.top(route), outputs=self.outputs,
            )  # fmt: skip
            keep, gamma = found.keep, np.nan if found.gamma is None else found.gamma
        if route.filters in ("random", "l1"):
            plan = sparse.plan(parent, keep)
            keep = (
                sparse.keep_l1(parent, plan)
                if route.filters == "l1"
                else sparse.keep_random(parent, plan, seed=self.seed)
            )
        return keep, gamma

    def curves(self, start: str) -> TaskCurves:
        start = "baseline" if start == "baseline" else "pretrained"
        if start not in self.memory:
            net = self.baseline.net(self.net.device) if start == "baseline" else self.net
            table = responses(net, self.train, progress=False)
            self.memory[start] = characteristic_curves(
                table.moments([self.task], seed=self.seed), half_samples=0, progress=False
            )[self.task]
        return self.memory[start]

    @property
    def baseline(self) -> Row:
        if BASELINE not in self.memory:
            self.memory[BASELINE] = self.row(BASELINE)
        return self.memory[BASELINE]

    def taught(self) -> np.ndarray:
        """Half the label, half what the baseline says of the faces to train on."""
        entry = self.baseline.file.parent
        said = cache.read_tensors(entry / "trained.safetensors")[0]["said"]
        truth = tasks.get(self.task).encode(self.train.labels)
        if tasks.get(self.task).kind == "classes":
            truth = np.eye(self.outputs)[truth]
        return (truth + said) / 2

    def read_out(self, small: Net, route: Route) -> np.ndarray:
        """What ridge regression on pooled responses says of the held-out faces."""
        layers = None if route.filters == "all" else [list(small.convs)[-1]]
        table, unseen = (responses(small, part, layers=layers, progress=False) for part in (self.train, self.test))
        found = [probes.fit(table, layer, self.task, seed=self.seed) for layer in table.layers]
        best = max(found, key=lambda probe: probe.score)
        said = best.predict(unseen[best.layer])
        if tasks.get(self.task).kind == "regression":
            return said[:, 0]
        return np.hstack([2 * best.model.cut - said, said]) if said.shape[1] == 1 else said


def _linear(net: Net) -> list[str]:
    return [name for name, layer in net.module.named_modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _draw(net: Net, seed: int) -> None:
    """New weights in every layer but the last linear one, which is new already: He's in convolutions and linear layers,
    torch's own in others. ValueError for a layer with weights that torch cannot draw."""
    generator, last = torch.Generator().manual_seed(seed), _linear(net)[-1:]
    for name, layer in net.module.named_modules():
        if name in last or not list(layer.parameters(recurse=False)):
            continue
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        else:
            raise ValueError(f"layer {name!r} ({type(layer).__name__}) of {net.name!r} cannot be drawn anew")
