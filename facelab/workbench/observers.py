"""Who looks at a face: networks that read it in words, filters that respond, probes, a student that encodes it."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from facelab import nets as nets_room
from facelab import tasks
from facelab.errors import unknown
from facelab.faces.faceset import FaceSet
from facelab.filters import taps
from facelab.filters.causal import CausalCurve
from facelab.filters.tuning import SIDES
from facelab.nets.fetch import FetchError
from facelab.workbench import style

READINGS = {  # what a network says of one face, in words
    "age": lambda said: f"{said:.0f} years",
    "gender": lambda said: f"male {100 * said:.0f} %",
    "expression": lambda said: f"{tasks.EXPRESSIONS[said.argmax()]} {100 * said.max():.0f} %",
}
MOST = len(style.RIVALS)  # filters: each has a colour of its own


class Seen(NamedTuple):
    """What is made of faces: responses (n, f) of the chosen filters; read, a dictionary task → words per face; probed,
    a list per face in the order of the probes; codes (n, d) of the student."""

    responses: np.ndarray
    read: list[dict[str, str]]
    probed: list[list[str]]
    codes: np.ndarray


class Observers:
    """Networks, filters, probes and a student, asked together. The arguments are those of `FaceStudio`.

    filters: name → (layer, filter), chosen by `choose`. missing: name of a source → why its weights cannot be had.
    """

    def __init__(self, nets: Mapping | None = None, net=None, probes: Iterable = (), student=None, device="auto"):
        for name in nets or {}:
            if name not in READINGS:
                raise unknown("network to read a head with", name, READINGS)
        self.device, self.missing, self.probes, self.filters = device, {}, list(probes), {}
        self._pool = ThreadPoolExecutor(2)  # the networks look side by side, each with one thread
        self.nets = self._sources(READINGS) if nets is None else dict(nets)
        self.net = self._sources(["identity"]).get("identity") if net is None else net
        self.student = nets_room.load("student", device=device) if student is None else student
        for probe in self.probes if self.net else []:
            width = self._layer(probe.layer).out_channels
            if tasks.get(probe.task).kind == "labels":
                raise ValueError(
                    f"a probe of {probe.task!r} gives several answers: expected a number or one of classes"
                )
            if len(probe.model.coef) != width:
                reads = f"the probe of {probe.task!r} reads {len(probe.model.coef)} responses"
                raise ValueError(f"{reads}, {probe.layer!r} of {self.net.name!r} has {width}")

    def _sources(self, names) -> dict:
        found = {}
        for name in names:
            try:
                found[name] = nets_room.load(name, device=self.device)
            except FetchError as error:
                self.missing[name] = str(error)
        return found

    def _layer(self, name: str):
        if name not in self.net.convs:
            raise unknown("layer", name, self.net.convs)
        return self.net.convs[name]

    def choose(self, filters, turn: FaceSet) -> np.ndarray:
        """Take up these filters; returns each one's largest response (f,) to `turn`, one person at several yaws.

        None: of all filters the one of each kind with the largest product of its causal ρ with this yaw and its swing,
        as a share of its largest response; those that respond less than half of their layer are passed over.
        """
        if self.net is None:
            return np.empty(0)
        if filters is None:
            filters = self._turning(turn)
        elif hasattr(filters, "best"):
            best = {kind: filters.best(kind) for kind in filters.kinds[:MOST]}
            filters = {kind: (row["layer"], int(row["filter"])) for kind, row in best.items()}
        if len(filters) > MOST:
            raise ValueError(f"{len(filters)} filters: expected at most {MOST}, for each has a colour of its own")
        for name, (layer, at) in filters.items():
            if not 0 <= at < self._layer(layer).out_channels:
                width = self._layer(layer).out_channels
                raise ValueError(f"filter {name!r}: {layer!r} has no number {at}: expected 0 to {width - 1}")
        self.filters = dict(filters)
        captured = self._captured(turn)
        return np.array([captured[layer][:, at].max() for layer, at in self.filters.values()])

    def _turning(self, turn: FaceSet) -> dict[str, tuple[str, int]]:
        yaw, found = turn.labels["yaw"].to_numpy(float), []
        for layer, x in self._captured(turn, self.net.convs).items():
            tuned = CausalCurve("yaw", layer, np.arange(x.shape[1]), yaw, x[None].astype(float)).tuning()
            largest = x.max(0)
            swing = np.where(largest < np.median(largest), 0.0, np.ptp(x, 0) / np.maximum(largest, 1e-12))
            at = tuned["filter"].to_numpy()
            found.append(tuned.assign(layer=layer, strength=tuned["rho"].to_numpy() * swing[at]))
        strongest = pd.concat(found).sort_values("strength", ascending=False).drop_duplicates("kind").set_index("kind")
        chosen = strongest[["layer", "filter"]].to_dict("index")
        return {kind: (chosen[kind]["layer"], int(chosen[kind]["filter"])) for kind in SIDES["yaw"] if kind in chosen}

    def _captured(self, faces: FaceSet, layers=None) -> dict[str, np.ndarray]:
        if layers is None:
            layers = dict.fromkeys([layer for layer, _ in self.filters.values()] + [p.layer for p in self.probes])
        if self.net is None or not layers:
            return {}
        with one_thread():
            x = self.net.prepare(faces)
            seen = taps.capture(self.net.module, x, {name: self._layer(name) for name in layers})
        return {name: pooled.float().cpu().numpy() for name, pooled in seen.items()}

    def see(self, faces: FaceSet) -> Seen:
        """What all of them make of these faces."""
        with one_thread():
            asked = {name: self._pool.submit(net.predict, faces) for name, net in self.nets.items()}
            codes = self._pool.submit(self.student.predict, faces)
            if any(net is self.net for net in (*self.nets.values(), self.student)):
                wait([*asked.values(), codes])  # what listens to a module's layers must not hear another pass
            captured = self._pool.submit(self._captured, faces).result()
            said, codes = {name: answer.result() for name, answer in asked.items()}, codes.result()
        read = [{name: READINGS[name](said[name][i]) for name in said} for i in range(len(faces))]
        answers = [probe.decide(captured[probe.layer]) for probe in self.probes] if captured else []
        probed = [[worded(p.task, a[i]) for p, a in zip(self.probes, answers, strict=False)] for i in range(len(faces))]
        columns = [captured[layer][:, at] for layer, at in self.filters.values()]
        return Seen(np.stack(columns, 1) if columns else np.empty((len(faces), 0)), read, probed, codes)


def worded(task: str, value) -> str:
    """A label or an answer in words, with its unit.

    >>> worded("yaw", -30.0), worded("gender", 1), worded("expression", "happy"), worded("valence", 0.5)
    ('−30°', 'male', 'happy', '0.50')
    """
    about = tasks.get(task)
    if about.kind == "classes":
        return "–" if pd.isna(value) else value if isinstance(value, str) else about.classes[int(value)]
    if about.unit == "degrees":
        return f"{style.number(round(value) + 0.0, 0)}°"
    return f"{style.number(value, 0)} {about.unit}" if about.unit else style.number(value)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for a while: the pass of a network over one face is too short to share out, and threads that wait for
    each other on a busy machine take many times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
