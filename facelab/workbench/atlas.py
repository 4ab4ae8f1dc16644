"""The page that shows what is rendered: every preset and every label, in pictures (`facelab faces atlas`)."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from facelab import cache, tasks
from facelab.errors import unknown
from facelab.faces import expressions, people, presets, rendered
from facelab.faces.photo import Shot
from facelab.faces.scenes import Sitting
from facelab.workbench import plots

LARGEST = 400_000  # bytes of one picture
_MENS = ("bald", "horseshoe", "buzz", "short", "side", "quiff")  # haircuts shown on a man
_SHEET = 32  # pictures on a preset's sheet
_ABOUT = {  # what tasks.TASKS leaves unsaid, and the columns that are no task
    "gender": "female, male",
    "ethnicity": "five groups; indian and other are mixtures of the head model's three poles, told apart by colour",
    "age": "years; grey hair, wrinkles and bald heads follow from it",
    "expression": "seven classes; missing where `presets` says so",
    "shown": "what is being shown: one of the seven expressions or contempt",
    "intensity": "strength of the expression, 0 to 1",
    "smile": "yes for a happy face of an intensity of 0.25 or more",
    "facial_hair": "five yes / no columns; a full beard has goatee, sideburns and moustache",
    "accessories": "five yes / no columns: what is worn, also where hair or the picture's edge hides it",
    "glasses": "the same as the accessory eyeglasses",
    "hair": "the haircut's name",
    "domain": "the preset",
}


@dataclass(frozen=True)
class Plate:
    """One picture of the page: faces side by side, what is written under each, and what somebody who cannot see it
    is told."""

    name: str
    alt: str
    sittings: tuple[Sitting, ...]
    captions: tuple[str, ...] | None
    columns: int


def write(out: Path, *, names=tuple(presets.PRESETS), labels=None, size: int = 128, device="auto") -> Path:
    """Draw the plates of these presets and labels (all by default) into `out` and write its README.md; returns it.

    The whole page takes about a minute. ValueError for a preset or label that does not exist.
    """
    for name in names:
        presets.settings(name)
    plates = label_plates()
    for label in labels or ():
        if label not in plates:
            raise unknown("label", label, plates)
    plates = {**{name: sheet(name) for name in names}, **plates}
    shown = [p for p in plates if p in names or labels is None or p in labels]
    out.mkdir(parents=True, exist_ok=True)
    for plate in (plates[key] for key in shown):
        faces = rendered.draw(list(plate.sittings), size=size, device=device, name=plate.name)
        _save(out / f"{plate.name}.jpg", _picture(faces, plate))
    cache.write_text(out / "README.md", _page(list(names), [p for p in shown if p not in names], plates))
    return out / "README.md"


# ---- which faces are shown


def sheet(name: str) -> Plate:
    """Pictures of one preset as it comes: poses of several people, sequences in rows, else person by person."""
    options = {"rendered/pose": {"people": 4}, "rendered/lab_a": {"people": 8}, "rendered/lab_b": {"people": 8}}
    per_person = presets.PRESETS[name].get("per_person", 1)
    sat = presets.sittings(name, **options.get(name, {"people": _SHEET // per_person + 1}))
    if name == "rendered/pose":
        every = [replace(s, shots=(shot,)) for s in sat for shot in s.shots]
        sat = every[11 :: len(every) // _SHEET]
    elif "frames" in presets.PRESETS[name]:  # one sequence each, another expression for every person
        frames = presets.PRESETS[name]["frames"]
        each = presets.SITTING[name]
        first = [(each * i + i % each) * frames for i in range(8)]
        sat = [s for start in first for s in sat[start : start + frames]]
    sat, about = tuple(sat[:_SHEET]), presets.VARIES[name]
    captions = tuple(f"{s.expression} {s.intensity:.2f}" for s in sat) if "frames" in presets.PRESETS[name] else None
    return Plate(name.replace("/", "-"), f"{len(sat)} rendered faces of the preset {name}: {about}", sat, captions, 8)


def label_plates() -> dict[str, Plate]:
    """A plate for every label, by the label's name."""
    woman = _plain(people.person(12, gender="female", ethnicity="black", age=31))
    man = _plain(people.person(27, gender="male", ethnicity="white", age=38))
    other = _plain(people.person(41, gender="male", ethnicity="indian", age=27))
    fourth = _plain(people.person(8, gender="female", ethnicity="asian", age=42))
    plates, near = {}, {"head": 0.8, "offset": (0.0, 0.03)}

    def add(label: str, alt: str, rows: list[tuple[Sitting, str]], columns: int) -> None:
        plates[label] = Plate(f"label-{label}", alt, tuple(s for s, _ in rows), tuple(c for _, c in rows), columns)

    for angle, values in (("yaw", (-90, -60, -30, 0, 30, 60, 90)), ("pitch", (-60, -40, -20, 0, 20, 40, 60)),
                          ("roll", (-45, -30, -15, 0, 15, 30, 45))):  # fmt: skip
        poses = [(_sit(woman, **{angle: float(v)}), f"{v}°".replace("-", "−")) for v in values]
        about = tasks.get(angle).about.removeprefix("+ = ")
        add(angle, f"one rendered woman with {angle} from {values[0]}° to {values[-1]}°; positive: {about}", poses, 7)
    ages = (2, 7, 13, 20, 35, 50, 65, 80)
    aged = [(_sit(replace(p, age=float(a))), f"{a} years") for p in (fourth, man) for a in ages]
    add("age", "two rendered people at eight ages from 2 to 80 years", aged, 8)
    shown = []
    for name in expressions.SHOWN:
        strengths = [
            (_sit(man, expression=name, intensity=t, **near), f"{name} {t:.2f}") for t in (0.25, 0.5, 0.75, 1.0)
        ]
        ways = [(_sit(woman, expression=name, intensity=0.9, variant=v, **near), f"{name}, way {v}") for v in (1, 2, 4)]
        shown += strengths + ways
    said = "a row each of neutral, angry, disgust, fear, happy, sad, surprise and contempt at rising intensity"
    add("expression", f"{said}, then shown in other ways by another person", shown, 7)
    felt = (("sad", 1.0), ("fear", 0.6), ("contempt", 0.5), ("neutral", 0.0), ("surprise", 1.0), ("happy", 0.5),
            ("happy", 1.0))  # fmt: skip
    valued = [(_sit(fourth, expression=e, intensity=t, **near), _signed(expressions.valence(e, t))) for e, t in felt]
    add("valence", "seven faces of one rendered woman from unpleasant (sad) to pleasant (happy)", valued, 7)
    smiles = [(_sit(p, expression=e, intensity=t, **near), said) for p in (woman, man) for e, t, said in (
        ("neutral", 0.0, "no"), ("contempt", 0.9, "no"), ("happy", 0.35, "yes"), ("happy", 1.0, "yes"))]  # fmt: skip
    add("smile", "two rendered people without a smile (neutral, contempt) and with one", smiles, 8)
    groups = [
        (_sit(_plain(people.person(60 + 7 * k + i, gender=g, ethnicity=e, age=25.0 + 9 * k + i))), f"{e}, {g}")
        for g in people.GENDERS for k in range(2) for i, e in enumerate(people.ETHNICITIES)
    ]  # fmt: skip
    add("ethnicity", "two rendered women and two men of each of the five groups", groups, 5)
    plates["gender"] = plates["ethnicity"]
    beards = [(_sit(replace(p, beard=b, look=p.look + k), **near), _beard(b)) for k, p in enumerate((man, other))
              for b in people.BEARDS]  # fmt: skip
    add("facial_hair", "two rendered men with each kind of facial hair and with none", beards, 6)
    worn = [(_sit(replace(p, wears=(w,) if w else (), look=p.look + 3), head=0.55, offset=(0.0, -0.05)), w or "none")
            for p in (man, woman) for w in ("", *people.ACCESSORIES)]  # fmt: skip
    add("accessories", "two rendered people with nothing, earrings, hat, necklace, necktie and eyeglasses", worn, 6)
    pairs = [(_sit(replace(p, wears=("eyeglasses",) * k, look=p.look + i), **near), "yes" if k else "no")
             for i, p in enumerate((man, woman, other, fourth)) for k in range(2)]  # fmt: skip
    add("glasses", "four rendered people without and with eyeglasses", pairs, 8)
    days = [(_sit(people.restyled(p, 10 * k + d)), f"day {d + 1}") for k, p in enumerate((fourth, man))
            for d in range(7)]  # fmt: skip
    add(
        "identity", "two rendered people on seven days each: other hair, beards and accessories, the same face", days, 7
    )
    cuts = [(_sit(replace(other if h in _MENS else woman, hair_style=h)), h) for h in people.HAIR_STYLES]
    add("hair", "every haircut, on a rendered woman or man", cuts, 8)
    return plates


def _sit(who: people.Person, expression="neutral", intensity=0.0, variant=0, **shot) -> Sitting:
    return Sitting(who, expression, intensity, (Shot(**shot),), variant)


def _plain(who: people.Person) -> people.Person:
    return replace(who, wears=(), beard="none", hair_style="short" if who.gender == "male" else "bob")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−").replace("+0.00", "0.00")


def _beard(beard: str) -> str:
    return {"none": "no beard", "shadow": "5 o'clock shadow", "full": "all three"}.get(beard, beard)


# ---- pictures and page


def _picture(faces, plate: Plate) -> Image.Image:
    lines, wide = -(-len(faces) // plate.columns), faces.images.shape[3]
    foot = wide // 6 if plate.captions else max(2, wide // 24)
    gap = max(2, wide // 24)
    inches = plate.columns * 1.25, lines * 1.25 * (wide + foot) / (wide + gap)
    figure = Figure(figsize=inches, dpi=max(60, round((wide + gap) / 1.25)))
    canvas = FigureCanvasAgg(figure)
    plots.faces(faces, None, plate.captions, columns=plate.columns, ax=figure.add_axes((0, 0, 1, 1)))
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _save(file: Path, picture: Image.Image) -> None:
    """A JPEG of at most `LARGEST` bytes, as good as that allows."""
    for quality in (88, 80, 70, 55, 40):
        out = BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True)
        if out.tell() <= LARGEST:
            break
    file.write_bytes(out.getvalue())


def _page(names: list[str], labels: list[str], plates: dict[str, Plate]) -> str:
    lines = [
        "# The rendered faces",
        "",
        "Every face on this page is computed from numbers: **nobody here exists**, and no photo of anybody went into "
        "it. Each picture's labels are the numbers it was made from, so they are exact.",
        "",
        "This page is generated: `facelab faces atlas`. `facelab faces list` says the same in short, "
        "`facelab faces render rendered/wild --people 20 --out folder` writes pictures and a table of labels.",
        "",
        "## The presets",
        "",
        "| preset | stands for | images | people | what varies |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        many = presets.PRESETS[name]["people"]
        row = (f"`{name}`", presets.STANDS_FOR[name], f"{presets.images(name):,}", many, presets.VARIES[name])
        lines.append("| " + " | ".join(map(str, row)) + " |")
    lines += ["", "Nobody is in two presets. The names in the second column say whose protocol a preset follows; "
              "none of their pictures is in it."]  # fmt: skip
    for name in names:
        plate, options = plates[name], presets.PRESETS[name]
        chosen = ", ".join(f"{k}={v}" for k, v in options.items())
        table = presets.labels(presets.sittings(name), name)
        given = table["expression"].dropna().value_counts()
        lines += ["", f"### {name}", "", f"![{plate.alt}]({plate.name}.jpg)", ""]
        lines += [f'`facelab.faces.load("{name}", {chosen})`: {presets.VARIES[name]}.', ""]
        lines += [
            "Pictures with the label `expression`: " + ", ".join(f"{k} {v:,}" for k, v in given.items()) + ".",
            "",
        ]
        lines += ["People per group and age:", "", *_table(presets.counts(table))]
    lines += ["", "## The labels", "", "| label | kind | meaning |", "|---|---|---|"]
    lines += [f"| {n} | {kind} | {about} |" for n, kind, about in _labels()]
    for label in labels:
        title = label.replace("_", " ")
        shared = "gender" if label == "ethnicity" and "gender" in labels else None
        if label == "gender" and "ethnicity" in labels:
            continue
        lines += ["", f"### {f'{shared} and ' if shared else ''}{title}", ""]
        lines += [f"![{plates[label].alt}]({plates[label].name}.jpg)"]
    return "\n".join(lines) + "\n"


def _labels() -> list[tuple[str, str, str]]:
    rows, seen = [], set()
    table = presets.labels(presets.sittings("rendered/wild", people=1), "rendered/wild")
    for column in (c.split(":")[0] for c in table):
        if column in seen:
            continue
        seen.add(column)
        task = tasks.TASKS.get(column)
        kind = task.kind if task else "information"
        unit = f" ({task.unit})" if task and task.unit else ""
        rows.append((f"`{column}`", f"{kind}{unit}", _ABOUT.get(column) or task.about))
    return rows


def _table(counts: pd.DataFrame) -> list[str]:
    shown = counts.loc[:, counts.sum() > 0]
    lines = ["| | " + " | ".join(shown.columns.astype(str)) + " | all |", "|---|" + "---|" * (shown.shape[1] + 1)]
    for (gender, ethnicity), row in shown.iterrows():
        lines.append(f"| {gender}, {ethnicity} | " + " | ".join(map(str, row)) + f" | {row.sum()} |")
    totals = shown.sum()
    lines.append("| all | " + " | ".join(map(str, totals)) + f" | {totals.sum()} |")
    return lines
