"""How fast heads are seen, and how fast pictures of every preset are drawn.

    python tests/benchmarks/bench_render.py [--repeats 5] [--poses 12] [--out FILE]

The z-buffer and the ray caster answer the same question, which triangle is seen at each of the 256 × 256 points of a
128 px picture, for the same poses of the same busts, taking turns on one thread; the caster's tree is built anew for
every pose. Then every preset draws new people at 128 px on all cores, hair, clothes and faces made anew, nothing
cached. Medians over the turns. Goal: every preset at ≥ 20 images a second on two cores.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import pandas as pd
import torch
from tqdm import trange

from facelab.faces import bust, photo, presets, rendered
from facelab.faces.people import people
from facelab.faces.raster import rasterise
from facelab.faces.raycast import Scene

GOAL, SIDE = 20, 256


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def by_rays(mesh: bust.Bust, points: torch.Tensor, shot: photo.Shot) -> None:
    """A ray from the camera through every point of the picture, against a tree over the posed triangles."""
    at = ((torch.arange(SIDE) + 0.5) / SIDE - 0.5) * 2 / shot.head
    y, x = torch.meshgrid(-at, at, indexing="ij")
    direction = torch.stack([x, y, torch.full_like(x, -shot.distance)], -1).reshape(-1, 3)
    Scene(points, mesh.faces).cast(torch.tensor([0.0, 0.0, shot.distance]).expand_as(direction), direction)


def visibility(poses: int, repeats: int) -> dict:
    """Milliseconds a pose, z-buffer and rays in turn."""
    meshes = [bust.make(who) for who in people(poses, 7)]
    shots = [photo.Shot(yaw=float(y)) for y in torch.linspace(-60, 60, poses)]
    posed = [photo.posed(mesh, shot) for mesh, shot in zip(meshes, shots, strict=True)]

    def buffer(i):
        rasterise(photo.on_screen(posed[i], shots[i], SIDE), meshes[i].faces, SIDE)

    buffer(0), by_rays(meshes[0], posed[0], shots[0])  # compiles
    turns = [
        {"buffer": seconds(lambda i=i: buffer(i)), "rays": seconds(lambda i=i: by_rays(meshes[i], posed[i], shots[i]))}
        for _ in trange(repeats, leave=False)
        for i in range(poses)
    ]
    median = pd.DataFrame(turns).median() * 1e3
    triangles = sum(len(mesh.faces) for mesh in meshes) / len(meshes)
    return {"triangles": triangles, "z_buffer_ms": median["buffer"], "rays_ms": median["rays"],
            "ratio": median["rays"] / median["buffer"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--poses", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("reports/reference/benchmarks/render.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    seen = visibility(options.poses, options.repeats)
    print(pd.Series(seen).to_string(float_format=lambda v: f"{v:.1f}"))
    turns = [
        {"preset": name, "images_per_s": rendered.speed(preset=name, seed=10_000 + turn, device="cpu")}
        for turn in trange(options.repeats, leave=False)
        for name in presets.PRESETS
    ]
    table = pd.DataFrame(turns).groupby("preset", sort=False)["images_per_s"].agg(["median", "min", "max"])
    print(table.to_string(float_format=lambda v: f"{v:.1f}"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    run = {"torch": torch.__version__, "cores": os.cpu_count(), "repeats": options.repeats, "size": 128,
           "processor": platform.machine(), "goal": GOAL}  # fmt: skip
    rows = table.reset_index().to_dict("records")
    options.out.write_text(json.dumps({"run": run, "visibility": seen, "presets": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
