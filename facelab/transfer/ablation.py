"""2MD-MTL as a table of switches: each row of the paper's Tables 1–3 is one `Method`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy import stats

from facelab import cache, devices
from facelab.errors import named, unknown
from facelab.nets.net import Net
from facelab.training.objective import Objective
from facelab.transfer.mixture import Part
from facelab.transfer.multitask import SCHEDULE, Schedule, Trained, headed, train
from facelab.transfer.relabel import completed

VERSION = 4
DOMAIN = 0.1  # how strongly the trunk is made to hide whose face it is
SURE = 0.9  # how probable a teacher's label has to be where only sure ones are kept


@dataclass(frozen=True)
class Method:
    """Which ingredients are on; with all of them off it is training for one task on its own sets.

    auxiliary: learn the other tasks of the other sets, too. alternating: from one set at a time. weighting: of the
    tasks (`weighting`). domain: strength of the domain discriminator (0: none). distil: the network labels what the
    sets lack, and a fresh one is trained on all of it. student: that one learns "multi", all tasks, or "single", the
    main task alone (the paper says the one in §3.2 and the other under Fig. 1). least: distilled classes of a lower
    probability are left out (0: none, as in the paper). rate: of learning (`rates`).
    """

    auxiliary: bool = True
    alternating: bool = False
    weighting: str = "gradnorm"
    domain: float = 0.0
    distil: bool = False
    student: str = "multi"
    least: float = 0.0
    rate: str = "exponential"


ROWS = {
    "baseline": Method(auxiliary=False),
    "alternating": Method(alternating=True, weighting="equal"),  # one task a batch: nothing to weigh
    "mtl": Method(),
    "da_mtl": Method(domain=DOMAIN),
    "distill_baseline": Method(auxiliary=False, distil=True),
    "distill_mtl": Method(distil=True),
    "distill_da": Method(domain=DOMAIN, distil=True),
    "full": Method(domain=DOMAIN, distil=True, rate="dynamic"),
}
RIVALS = {
    "equal": Method(weighting="equal"),
    "uncertainty": Method(weighting="uncertainty"),
    "da_mtl_strong": Method(domain=10 * DOMAIN),
    "distill_mtl_single": Method(distil=True, student="single"),
    "distill_mtl_sure": Method(distil=True, least=SURE),
}
PAPER = {  # Table 3: accuracy on FER2013, trained on CK+, on Oulu-CASIA, on both
    "baseline": (33.1, 35.2, 39.8), "mtl": (35.6, 38.3, 47.0), "da_mtl": (36.7, 38.5, 47.3),
    "distill_baseline": (34.7, 35.9, 41.3), "distill_mtl": (38.4, 38.7, 54.0), "distill_da": (38.1, 38.5, 54.2),
    "full": (38.9, 39.7, 55.4),
}  # fmt: skip
PAPER_MAIN = {  # Tables 1 and 2: expression on CK+ and Oulu-CASIA, age on MORPH II, gender on Adience
    "baseline": (89.4, 83.6, 84.2, 87.6), "mtl": (93.51, 86.83, 89.3, 90.8), "da_mtl": (93.4, 87.1, 88.9, 91.4),
    "distill_baseline": (89.2, 84.1, 84.9, 87.9), "distill_mtl": (94.5, 89.13, 89.8, 91.2),
    "distill_da": (96.73, 89.3, 89.5, 91.7), "full": (97.68, 90.1, 90.3, 92.9),
}  # fmt: skip


def learn(
    method: Method, start: Net, parts: Sequence[Part], main: str, *, schedule: Schedule = SCHEDULE,
    shared: Sequence[str] | str | None = None, seed: int = 0, device="auto", progress: bool = False,
) -> tuple[Trained, Trained | None]:  # fmt: skip
    """The network of a row, and its teacher where one distils. Every training is kept in the cache.

    start, schedule, shared: as for `multitask.train`, the schedule's rate being the method's. ValueError: a main task
    that no part is labelled for; what `train` raises.
    """
    own = [part for part in parts if main in named("task", part.tasks)]
    if not own:
        raise unknown("main task, for no part is labelled for it", main, {t for p in parts for t in named("", p.tasks)})
    if method.student not in ("multi", "single"):
        raise unknown("student", method.student, ("multi", "single"))
    how = {"schedule": replace(schedule, rate=method.rate), "weighting": method.weighting, "device": device}
    how |= {
        "alternating": method.alternating,
        "shared": None if shared is None else named("shared parameter", shared),
        "progress": progress,
    }
    first = list(parts) if method.auxiliary else [replace(part, tasks=(main,)) for part in own]
    teacher = trained(start, first, domain=method.domain if len(first) > 1 else 0.0, seed=seed, **how)
    if not method.distil:
        return teacher, None
    tasks = [main] if method.student == "single" else teacher.tasks
    domain = method.domain if len(parts) > 1 else 0.0
    how |= {"teacher": teacher, "tasks": tasks, "least": method.least, "domain": domain, "seed": seed + 1000}
    return trained(start, parts, **how), teacher


def trained(
    start: Net, parts: Sequence[Part], *, teacher: Trained | None = None, tasks: Sequence[str] = (),
    least: float = 0.0, device="auto", progress: bool = False, **how,
) -> Trained:  # fmt: skip
    """`multitask.train`, or what it gave before with the same network, faces, labels and settings, on any device.

    teacher, tasks, least: it gives the parts their labels first (`completed`); not asked again where the result is
    kept.
    """
    about = {name: asdict(value) if name == "schedule" else value for name, value in how.items()}
    about |= {"start": start.fingerprint, "version": VERSION}
    about |= {"parts": [[part.faces.fingerprint, named("task", part.tasks), part.share] for part in parts]}
    if teacher is not None:
        about |= {"teacher": teacher.net.fingerprint, "tasks": list(tasks)}
        about |= {"least": least} if least else {}

    def fill(folder):
        whole = parts if teacher is None else [completed(teacher, part, tasks, least=least) for part in parts]
        whole = [part for part in whole if part.tasks]  # of a part may be left nothing that is sure enough
        done = train(start, whole, device=device, progress=progress, **how)
        state = {name: value.cpu().numpy() for name, value in done.net.module.state_dict().items()}
        objectives = {task: asdict(objective) for task, objective in done.objectives.items()}
        cache.write_tensors(folder / "net.safetensors", state, {"objectives": objectives})
        cache.write_text(folder / "history.csv", done.history.to_csv(index=False))

    entry = cache.build(cache.path("multitask", start.name, **about), fill)
    state, about = cache.read_tensors(entry / "net.safetensors")
    objectives = {t: Objective(**one | {"constant": tuple(one["constant"])}) for t, one in about["objectives"].items()}
    hidden = len(state[f"heads.{next(iter(objectives))}.0.bias"])
    net = headed(start, objectives, hidden, 0).to(devices.device(device))
    net.module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return Trained(net.eval(), objectives, pd.read_csv(entry / "history.csv"))


def over_seeds(table: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean of a column in every group, and its 95 % interval by Student's t: `by`, mean, low, high, seeds.

    A single seed has no interval: low and high are NaN.

    >>> table = pd.DataFrame({"row": ["mtl"] * 3, "seed": [0, 1, 2], "accuracy": [0.5, 0.6, 0.7]})
    >>> over_seeds(table, "accuracy", ["row"]).round(2).to_dict("records")
    [{'row': 'mtl', 'mean': 0.6, 'low': 0.35, 'high': 0.85, 'seeds': 3}]
    """
    found = table.groupby(list(by), sort=False)[value].agg(["mean", "sem", "count"]).reset_index()
    half = found["sem"] * stats.t.ppf(0.975, np.maximum(found["count"] - 1, 1))
    found["low"], found["high"] = found["mean"] - half, found["mean"] + half
    return found[[*by, "mean", "low", "high", "count"]].rename(columns={"count": "seeds"})
