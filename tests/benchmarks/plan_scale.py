"""Plan a pass of `fl.measure` over very many faces from measured rates: hours, bytes moved, memory, what breaks first.

Nothing is run. The rates are those of `reports/reference/benchmarks`; how the work is handed out is `facelab.workers`.
Writes `reports/reference/benchmarks/scale.md`.

    python tests/benchmarks/plan_scale.py --faces 100000000
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from facelab import workers

FOLDER = Path(__file__).parents[2] / "reports" / "reference" / "benchmarks"
BLOCKS = 40  # what `measure` deals people into by default
LINK = 1.25e9  # bytes a second: 10 Gbit/s
CORES = (2, 16, 64, 256, 1024)


@dataclass(frozen=True)
class Plan:
    """One network over n faces of a side in pixels on w workers of one core."""

    net: dict
    faces: int
    side: int
    workers: int

    @property
    def image_bytes(self) -> int:
        return 3 * self.side**2

    @property
    def bytes_out(self) -> float:
        """Images, sent to the workers through the scheduler: twice over the caller's link."""
        return 2.0 * self.faces * self.image_bytes

    @property
    def bytes_in(self) -> float:
        """Responses, 4 bytes per filter and face, back the same way."""
        return 2.0 * self.faces * 4 * self.net["filters"]

    @property
    def hours(self) -> dict[str, float]:
        """What each part would take alone; they overlap, so the largest is the time of the pass."""
        return {
            "network": self.faces * self.net["tapped_ms"] / 3.6e6 / self.workers,
            "link": (self.bytes_out + self.bytes_in) / LINK / 3600,
            "adding up": self.faces * self.net["sums_ms"] / 3.6e6,
        }

    @property
    def slowest(self) -> str:
        return max(self.hours, key=self.hours.get)

    @property
    def memory(self) -> float:
        """Bytes at the caller: the sums of all blocks, one chunk, and two pieces per worker on their way."""
        piece = max(1, min(workers.PIECE, workers.HEAVY // self.image_bytes))
        on_the_way = 2 * self.workers * piece * (self.image_bytes + 4 * self.net["filters"])
        return BLOCKS * self.net["state_mb_per_block"] * 1e6 + 4096 * 4 * self.net["filters"] + on_the_way


def breaks(net: dict, side: int) -> tuple[int, str]:
    """From how many workers on more of them do not help, and what holds them up."""
    one = Plan(net, 1_000_000, side, 1).hours
    part = max(("link", "adding up"), key=one.get)
    return int(one["network"] / one[part]), part


def page(nets: list[dict], faces: int, side: int) -> str:
    """The plan in Markdown."""
    lines = [
        "# A very large face set",
        "",
        "Written by `tests/benchmarks/plan_scale.py` from the measured rates beside it; a plan, not a run.",
        "",
        f"{faces:,} faces of {side} × {side} pixels ({faces * 3 * side**2 / 1e12:.1f} TB as bytes), `fl.measure` with "
        f"{BLOCKS} blocks of people, workers of one x86 core each, a link of {LINK * 8 / 1e9:.0f} Gbit/s "
        "at the caller.",
        "",
        "| network | workers | hours | held up by | network alone, h | link, h | adding up, h | caller's memory, GB |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for net in nets:
        for count in CORES:
            plan = Plan(net, faces, side, count)
            parts = " | ".join(f"{hours:,.1f}" for hours in plan.hours.values())
            total = max(plan.hours.values())
            lines.append(
                f"| {net['net']} | {count:,} | {total:,.1f} | {plan.slowest} | {parts} | {plan.memory / 1e9:.2f} |"
            )
    lines += ["", "| network | images sent, TB | responses returned, TB | more workers do not help from | because of |"]
    lines += ["|---|---:|---:|---:|---|"]
    for net in nets:
        plan, (count, part) = Plan(net, faces, side, 1), breaks(net, side)
        lines.append(
            f"| {net['net']} | {plan.bytes_out / 1e12:.1f} | {plan.bytes_in / 1e12:.1f} | {count:,} | {part} |"
        )
    lines += [
        "",
        "Images and responses go through the scheduler and so count twice. Beyond the number in the last table the set "
        "is measured in shards, each by a caller of its own with the blocks of the whole set "
        "(`fl.measure(net, faces[rows], tasks, blocks=fl.partition(faces.identities)[rows])`), and the moments are "
        f"added up with `+`: {BLOCKS} blocks of sums a shard then travel instead of all responses.",
        "",
        "Not in the plan: reading images from disk, packing them in Python, a scheduler's own time per piece (Dask's "
        "documentation speaks of about a millisecond), labels as one table in memory.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=100_000_000)
    parser.add_argument("--side", type=int, default=128, help="pixels of an image")
    parser.add_argument("--out", type=Path, default=FOLDER / "scale.md")
    asked = parser.parse_args()
    nets = json.loads((FOLDER / "measure.json").read_text(encoding="utf-8"))["rows"]
    text = page(nets, asked.faces, asked.side)
    asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
