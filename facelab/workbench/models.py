"""Model cards of the networks that come with facelab: a page written from the headers of their weight files, the
recorded results and what `transfer.served` measured group by group. Nothing is run to write it but a count of MACs.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from facelab import cache, cost, nets
from facelab.errors import unknown
from facelab.nets import fairness, narrow, pose, student, student_heads
from facelab.transfer import served
from facelab.workbench import report

RESULTS, PAGE = "models.json", "models.md"  # in reports/reference
COMMAND = "facelab cards --photos FOLDER"
_OPENING = f"""# Networks that come with facelab

Written by `{COMMAND}` (FOLDER holds UTKFace, MTFL and london_set) and `facelab report --publish`; do not edit.

**Before you use one, read [what facelab must not be used for](../../notebooks/limits.md).**

All were measured on people they did not learn from, save where a table says so; rendered people are nobody.
Intervals are of 95 % and draw people again. A group of few is shown with its number, for it can be served badly without
anybody noticing; one of fewer than {served.LEAST} is not, and nothing is known of it.
"""


@dataclass(frozen=True)
class Card:
    """What no header says of a network: what it is, what it is for and not for, and its limits. file: its weights;
    results: recorded results to quote, by the names of `reference.committed`."""

    file: Path
    is_a: str
    data: str
    meant_for: str
    not_for: str
    limits: str
    results: tuple[str, ...] = ()


_RESEARCH = (
    "The photographs are the web part of MTFL (`net_7876`) and part 1 of UTKFace, without their labels. Both are for "
    "research only, and as far as we know nobody in them was asked. The weights are under the licence of this project; "
    "whether the terms of the photographs bind what was learned from them is not settled, so for more than research "
    "train your own on rendered faces alone, without `--photos`."
)
CARDS = {
    "vgg-narrow": Card(
        file=narrow.FILE,
        is_a="VGG-Face's chain of 13 convolutions in a quarter of its widths, on aligned chips of 64 px. It gives a "
        "descriptor of 128 numbers, which it learned from the source `identity` (dlib's ResNet-29, CC0): no label.",
        data=_RESEARCH,
        meant_for="asking what single filters know, cutting a network down to a task, transfer: the papers' plain "
        "chain for people without VGG-Face's weights.",
        not_for="telling who somebody is. At a distance that takes few strangers for one person it misses most pairs "
        "of a person's rendered pictures, and it takes strangers for one person at rates that differ between groups.",
        limits="It copies its teacher, errors and preferences included, and explains about half of what the teacher "
        "says (`unexplained` below is the share it does not). Small or unaligned faces, profiles and children were not "
        "its aim. It was taught before the landmarks of rendered eyes and of photographs were mended: chips are cut a "
        "little otherwise today, by which it verifies LFW's pairs no worse (`08.lfw` below).",
        results=("03.vgg-narrow.lfw_accuracy", "photographs/08.lfw.vgg-narrow"),
    ),
    "student": Card(
        file=student.FILE,
        is_a="A residual network with bottlenecks on aligned chips of 64 px. It gives the code of 373 numbers into "
        "which notebook 05 fuses six networks (general-model §3.3), which it learned from that code alone: no label.",
        data=_RESEARCH,
        meant_for="a start for a task with few labels: fine-tune it (notebook 06), or put a small head on its code.",
        not_for="telling who somebody is: its code keeps far less of that than `identity` does. Nor for reading "
        "gender, age, ethnicity or expression of people as facts about them: such heads repeat a data set's labels.",
        limits="It does not reach the code of its six teachers (`cosine` below), and has whatever they have of error "
        "and preference. Rendered and photographed expressions look different to it.",
        results=(
            "06.targets.beats_scratch",
            "06.targets.beats_bt",
            "photographs/08.lfw.student",
            "photographs/08.serves.student_gender",
            "photographs/08.serves.student_age",
        ),
    ),
    "pose": Card(
        file=pose.FILE,
        is_a="A linear layer: yaw and pitch in degrees from five landmarks, once the face is turned upright and "
        "scaled. A ridge regression on rendered heads, with the landmarks that the detector finds in them.",
        data="Rendered heads alone; MTFL's photographs were only measured on.",
        meant_for="saying roughly which way a head is turned, to sort pictures or to leave profiles out.",
        not_for="saying where somebody looks, attends to or what they intend; watching drivers, pupils or workers.",
        limits="Only for faces that the detector finds, which are fewer among heads in profile and in some groups. "
        "Large turns are read as smaller ones, and pitch far less well than yaw: a short face may be one that looks "
        "down.",
    ),
    "student-heads": Card(
        file=student_heads.FILE,
        is_a="Three linear heads on the student's code: age in years (ridge regression), probabilities of gender and "
        "of seven expressions (logistic regressions), by which `facelab look` says what the student reads.",
        data="Rendered faces alone, of people the student was not taught on; photographs were only measured on.",
        meant_for="seeing what the student's code holds of a face, beside what its teachers say.",
        not_for="reading age, gender or expression of people as facts about them: on photographs the heads are far "
        "worse than on rendered faces (`measured` below), and worse than the student's teachers.",
        limits="Linear, and learned on rendered faces: an age is off by many years, and photographed expressions look "
        "different to it. Which groups are served worse is among what its file says.",
    ),
}
LINEAR = {"pose": "linear, 10 → 2", "student-heads": "linear, 373 → 1, 2 and 7"}
SETS = {
    "rendered": "Rendered people",
    "london": "Photographs",
    "utkface": "Photographs",
    "mtfl": "Photographs",
}


def measure(folder: Path, photos: str | Path | None = None, *, device="auto") -> Path:
    """Measure the three group by group and write the results into `folder`, reports/reference. Without photographs
    those of an earlier run stay."""
    file, fresh = folder / RESULTS, served.measure(photos, device=device)
    if file.exists():
        here = {key.split(".")[1] for key in fresh}
        fresh = {k: v for k, v in read(folder).items() if k.split(".")[1] not in here} | fresh
    cache.write_text(file, json.dumps(dict(sorted(fresh.items())), indent=1, ensure_ascii=False) + "\n")
    return file


def read(folder: Path) -> dict[str, dict]:
    """What was measured: name → recorded result."""
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def said() -> dict[str, dict]:
    """What the weight files say was measured when they were made, as pages quote it: weights/NAME.PATH → result, with
    Wilson's interval for a share of so many faces."""
    entries = {}
    for name, card in CARDS.items():
        rows = dict(_flat(cache.read_tensors(card.file)[1]["measured"]))
        for path, value in rows.items():
            if isinstance(value, (int, float)):
                group, what = path.rpartition(": ")[::2]
                n, low, high = rows.get(f"{group}: faces"), None, None
                if n and what.endswith("share right"):
                    low, high = map(float, fairness.wilson(value * n, n))
                key = f"weights/{name}.{re.sub('[^A-Za-z0-9-]+', '_', path)}"
                entries[key] = {"value": value, "low": low, "high": high, "unit": "", "paper": None, "note": path}
    return entries


def write(known: dict[str, dict]) -> str:
    """The page of all cards. known: recorded results, those measured here under models/…. ValueError for a result that
    a card quotes and nobody recorded."""
    return "\n".join([_OPENING, *(line for name, card in CARDS.items() for line in _card(name, card, known))])


def _card(name: str, card: Card, known: dict[str, dict]) -> list[str]:
    arrays, about = cache.read_tensors(card.file)
    rendered, photos = _data(about["data"])
    rows = {
        "architecture": _architecture(name),
        "parameters": f"{_parameters(name, arrays):,}",
        "multiplications a face": f"{_macs(name, arrays):,}",
        "bytes of the file": f"{card.file.stat().st_size:,}",
        "command": f"`{about['command']}`",
        "learned from": f"{rendered} rendered faces" + (f" and {photos}" if photos else ""),
        "teacher": about.get("teacher", "none: the labels are exact"),
        "seed": str(about["seed"]),
    }
    lines = [f"## {name}", "", card.is_a, "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items()), ""]
    lines += [f"**Data.** {card.data}", "", f"**Meant for** {card.meant_for}", ""]
    lines += [f"**Not for** {card.not_for}", "", f"**Limits.** {card.limits}", ""]
    lines += ["### What its file says", "", "| | |", "|---|---:|"]
    header = {"learned": about["learned"], "measured": about["measured"]}
    lines += [f"| {path} | {_shown(value)} |" for path, value in _flat(header)] + [""]
    if card.results:
        lines += ["### What notebooks measured", ""]
        lines += ["| result | value | 95 % interval, or as noted | |", "|---|---:|---|---|"]
        for key in card.results:
            if key not in known:
                raise unknown(f"result (card of {name})", key, known)
            entry = known[key]
            shown = f"{report.number(entry['value'])} {entry['unit']}".strip()
            lines.append(f"| `{key}` | {shown} | {report.interval(entry)} | {entry['note']} |")
        lines.append("")
    return lines + _served(name, known)


def _served(name: str, known: dict[str, dict]) -> list[str]:
    """A table per set: groups down, measures across."""
    own = [key.split(".", 2) for key in known if key.startswith(f"models/{name}.")]
    if not own:
        return []
    lines = ["### Group by group", ""]
    for where in [where for where in SETS if any(where == there for _, there, _ in own)]:
        cells = {}
        for _, there, rest in own:
            if there == where:
                what, by, group = rest.split(".")
                cells.setdefault((by, group), {})[what] = known[f"models/{name}.{where}.{rest}"]
        measures = list(dict.fromkeys(what for row in cells.values() for what in row))
        some = next(iter(cells.values()))[measures[0]]
        counted, about = some["counted"], some["about"]
        lines += [f"**{SETS[where]}**: {about}.", ""]
        lines += [f"- {what.replace('_', ' ')}: {served.ABOUT[what]};" for what in measures[:-1]]
        lines += [f"- {measures[-1].replace('_', ' ')}: {served.ABOUT[measures[-1]]}.", ""]
        lines.append(f"| group | {counted} | {' | '.join(what.replace('_', ' ') for what in measures)} |")
        lines.append("|---|---:|" + "---:|" * len(measures))
        order = {"all": 0, "gender": 1, "ethnicity": 2, "age": 3}
        for (by, group), row in sorted(cells.items(), key=lambda cell: (order[cell[0][0]], cell[0][1])):
            count = f"{max(entry['count'] for entry in row.values()):,}"
            label = "everybody" if by == "all" else f"{by}: {group.replace('-', '–')}"
            lines.append(f"| {label} | {count} | {' | '.join(_cell(row.get(what)) for what in measures)} |")
        lines.append("")
    return lines


def _cell(entry: dict | None) -> str:
    if entry is None:
        return "–"
    if entry["unit"] == "share":
        return f"{100 * entry['value']:.1f} % ({100 * entry['low']:.1f} … {100 * entry['high']:.1f})"
    return f"{entry['value']:.1f}{entry['unit']} ({entry['low']:.1f} … {entry['high']:.1f})"


def _architecture(name: str) -> str:
    return LINEAR.get(name) or str(nets.load(name, device="cpu"))


def _parameters(name: str, arrays: dict) -> int:
    return sum(a.size for a in arrays.values()) if name in LINEAR else _cost(name).parameters


def _macs(name: str, arrays: dict) -> int:
    return sum(a.size for a in arrays.values() if a.ndim == 2) if name in LINEAR else _cost(name).macs


def _cost(name: str) -> cost.Cost:
    return cost.count(nets.load(name, device="cpu"))


def _data(data: dict) -> tuple[str, str]:
    """Rendered faces, photographs: as a header counts them."""
    photos = data.get("photographs", {})
    rendered = sum(count for what, count in data.items() if what != "photographs")
    return f"{rendered:,}", " and ".join(f"{count:,} photographs of {folder}" for folder, count in photos.items())


def _flat(tree: dict, path: str = "") -> list[tuple[str, object]]:
    rows = []
    for key, value in tree.items():
        here = f"{path}: {key}" if path else str(key)
        rows += _flat(value, here) if isinstance(value, dict) else [(here, value)]
    return rows


def _shown(value) -> str:
    return value if isinstance(value, str) else report.number(value)
