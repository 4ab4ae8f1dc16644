import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from facelab import nets
from facelab.filters import taps
from facelab.nets import sources
from facelab.nets.sources import dlib_template, get, male, years
from facelab.tasks import EXPRESSIONS

REFERENCE = Path(__file__).parents[2] / "reports" / "reference"
PREFIXES = {
    "identity": "55533b28a95800a5",
    "age": "4f9f0075200bd8ea",
    "gender": "d4c4116cf720cde1",
    "expression": "59534287fdfb125e",
    "landmarks": "165bfbe42940416c",
    "object": "579344248a93e230",
}


@pytest.mark.parametrize("name", nets.SOURCES)
def test_states_all_there_is_to_know(name):
    source = nets.SOURCES[name]
    assert source.name == name and len(source.sha256) == len(source.archive_sha256) == 64
    assert source.sha256.startswith(PREFIXES[name])
    for text in (source.licence, source.architecture, source.trained_on, source.predicts, source.measured):
        assert len(text) >= len("MIT")
    assert len(source.mean) == len(source.std) == (1 if source.grey else 3)
    if source.template is None:  # the whole image
        return
    template = np.array(source.template)
    assert template.shape == (5, 2) and template.min() > 0 and template.max() < source.size - 1


@pytest.mark.parametrize("name", nets.SOURCES)
def test_load_gives_what_the_source_states(name, pictures):
    source, net = nets.SOURCES[name], nets.load(name, device="cpu")
    assert not net.training and net.name == name and net.size == source.size
    assert net.embed(pictures).shape == (5, source.dimensions)
    assert re.match(r".*: (\d+) convolutions", source.architecture)[0].endswith(f"{len(net.convs)} convolutions")
    assert f"{sum(c.out_channels for c in net.convs.values()):,} filters" in source.architecture
    parameters = sum(p.numel() for p in net.module.parameters())
    shown = f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"
    assert f"{shown} parameters" in source.architecture


def test_predictions_have_their_units(pictures):
    age = nets.load("age", device="cpu").predict(pictures)
    assert age.shape == (5,) and (age > 0).all() and (age <= 80).all()
    probability = nets.load("gender", device="cpu").predict(pictures)
    assert probability.shape == (5,) and (probability >= 0).all() and (probability <= 1).all()
    assert nets.load("identity", device="cpu").predict(pictures).shape == (5, 128)
    for name, classes in (("expression", len(EXPRESSIONS)), ("object", 1000)):
        said = nets.load(name, device="cpu").predict(pictures)
        assert said.shape == (5, classes)
        np.testing.assert_allclose(said.sum(1), 1, rtol=1e-5)
    landmarks = nets.load("landmarks", device="cpu").predict(pictures)
    assert landmarks.shape == (5, 5, 2)


def test_expressions_come_in_the_order_of_the_task():
    """The network itself says angry, disgust, fear, happy, sad, surprise, neutral."""
    said = sources.expressions(torch.eye(7) * 50).argmax(1)
    theirs = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert tuple(EXPRESSIONS[i] for i in said) == theirs


def test_every_conv_of_every_source_can_be_measured(pictures):
    for name in nets.SOURCES:
        net = nets.load(name, device="cpu")
        seen = taps.capture(net, net.prepare(pictures), net.convs)
        assert {k: v.shape for k, v in seen.items()} == {k: (5, c.out_channels) for k, c in net.convs.items()}
        assert all(v.isfinite().all() for v in seen.values())


def test_years_and_male():
    logits = torch.full((3, 81), -40.0)
    logits[0, 0] = logits[1, 33] = logits[2, 20] = logits[2, 40] = 0.0
    assert years(logits).tolist() == pytest.approx([0.25, 33, 30])
    assert male(torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])).tolist() == pytest.approx([0.5, 0, 1])


def test_template_is_dlibs():
    """dlib places its mean eyes, enlarged by the padding: chip side = eye distance · (1 + 2 · padding) / 0.5291."""
    for size, padding in ((150, 0.25), (64, 0.2), (300, 0.0)):
        template = np.array(dlib_template(size, padding))
        assert template[1, 0] - template[0, 0] == pytest.approx(0.5291 * size / (1 + 2 * padding))
        assert template[:2, 0].mean() + 0.5 == pytest.approx(size * (0.49005 + padding) / (1 + 2 * padding))


def test_unknown():
    with pytest.raises(ValueError, match=re.escape("unknown source 'gendr': did you mean 'gender'?")):
        get("gendr")
    with pytest.raises(ValueError, match="unknown network 'zebra': expected one of 'identity', 'age', 'gender'"):
        nets.load("zebra")


def test_table():
    table = nets.table()
    assert list(table.index) == list(nets.SOURCES) and (table["licence"].str.len() > 0).all()


def test_what_was_measured_is_what_the_reference_holds():
    rows = json.loads((REFERENCE / "benchmarks" / "detect.json").read_text(encoding="utf-8"))["rows"]
    found = {(row["what"], row["of"], row["by"], row["group"]): row["value"] for row in rows}
    age, gender, error = "age off, years", "gender right", "landmark error / eye distance"
    private, padding = "FER2013's private test", "padding of the chips of faces found"
    quoted = {
        "age": [found[age, "UTKFace", padding, width] for width in ("0.175", "0.25", "0.3")]
        + [found[age, "UTKFace", "always the median", "all"], found[age, "UTKFace", "age band", "65+"]]
        + [found[age, "UTKFace", "all", "all"]],
        "gender": [100 * found[gender, "UTKFace", "all", "all"]]
        + [100 * found[gender, "UTKFace", "gender", group] for group in ("female", "male")]
        + [100 * found[gender, "UTKFace", "age band", band] for band in ("0–12", "20–34")],
        "expression": [100 * found["expression right", private, "all", "all"]],
        "landmarks": [100 * found[error, "MTFL", "all", "all"], 100 * found["recall", "MTFL", "all", "all"]],
    }
    for name, values in quoted.items():
        for value in values:
            assert re.search(rf"(?<![\d.]){value:.1f}(?![\d])", nets.SOURCES[name].measured), (name, value)
    said = nets.SOURCES["expression"].measured
    for group in ("happy", "fear"):
        assert f"{group} {100 * found['expression right', private, 'expression', group]:.0f} %" in said
    assert f"AUC {found['smile by the probability of happy, AUC', 'MTFL', 'all', 'all']:.3f}" in said
    photographs = json.loads((REFERENCE / "photographs" / "results.json").read_text(encoding="utf-8"))
    assert f"{100 * photographs['08.lfw.identity']['value']:.1f} %" in nets.SOURCES["identity"].measured
