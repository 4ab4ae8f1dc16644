"""Which people sit before which camera: the presets, each a domain of its own.

| preset | stands for | people × pictures |
|---|---|---|
| rendered/pose | Head Pose Image Database (the data of ETL Fig. 2) | 15 × 2 series × 93 poses |
| rendered/wild | CelebA: everything varies | 800 × 3 |
| rendered/lab_a | CK+: posed expressions, a grey laboratory | 80 × 7 expressions × 4 frames |
| rendered/lab_b | Oulu-CASIA: posed expressions, dim warm light from one side | 80 × 6 expressions × 4 frames |
| rendered/mugshot | MORPH: neutral, frontal, flash, shoulders | 600 × 2 |
| rendered/album | Adience: family photos, many children, poor pictures | 700 × 3 |

`pose`: yaw −90 … 90 in steps of 15 at each pitch in {−60, −30, −15, 0, 15, 30, 60}, and pitch ±90 at yaw 0. Within a
series nothing else varies. Series 2 differs from series 1 by the light's side and by glasses, taken off or put on.
Adults of 18 to 65, neutral.

`wild`: ages 5 to 80; pose, expression, light, background, camera, framing and clothes are drawn anew for every picture,
and so are hair, beard and accessories unless restyle=0: yaw N(0, 28²) within ±60°, pitch N(0, 11²) within ±25°, roll
N(0, 8²) within ±20°, a third of the faces neutral, the rest one of six expressions (happy most often) with an intensity
of 0.4 to 1. A quarter is slightly blurred, some pictures have noise, a light from behind or something before the face.

`lab_a`, `lab_b`: sequences from neutral (intensity 0) to a peak of 0.8 to 1 in `frames` pictures (1: the peak). As in
the sets they stand for, `expression` is given only in the half of a sequence near its peak and missing before;
intensity and `shown`, what is being shown, are exact everywhere. Neither set has the class neutral. `lab_a` (ages 18 to
50, ±5° of pose, even light, plain grey, little colour) also shows contempt, which is no class of task `expression`: the
label is missing there, `shown` says contempt. `lab_b` (ages 20 to 60, ±8°) is near, dark and slightly noisy. Everyone
keeps hair, clothes and, in lab_b, glasses through all sequences.

`mugshot`: ages 16 to 77, within ±8°, neutral; the second picture is taken up to four years after the first, in other
clothes and with another beard and haircut (restyle=0: the same). Four men in five wear a beard or its shadow.

`album`: ages 1 to 85, half of the people under 20; yaw N(0, 32²) within ±75°, pitch N(0, 14²) within ±35°, roll
N(0, 18²) within ±45°; half of the pictures blurred, half noisy, a fifth half hidden, a third lit from behind; hats.

Every ten people of a preset hold each pair of gender and ethnic group once, and ages spread evenly within each pair
(`counts` tells); nobody is in two presets or two seeds.

Labels: identity, gender, ethnicity, age, expression, shown, intensity, valence, smile, yaw, pitch, roll, facial_hair:…,
accessories:…, glasses, hair (its style), domain. `smile` is yes for a happy face of an intensity of 0.25 or more, no
for the others. Accessories are what is worn, also where hair or the picture's edge hides it.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from facelab import tasks
from facelab.errors import unknown
from facelab.faces import expressions, scenes
from facelab.faces.people import people as _people
from facelab.faces.scenes import Sitting

PRESETS = {
    "rendered/pose": {"people": 15, "series": 2},
    "rendered/wild": {"people": 800, "per_person": 3, "restyle": 1},
    "rendered/lab_a": {"people": 80, "frames": 4},
    "rendered/lab_b": {"people": 80, "frames": 4},
    "rendered/mugshot": {"people": 600, "per_person": 2, "restyle": 1},
    "rendered/album": {"people": 700, "per_person": 3, "restyle": 1},
}
SITTING = {  # pictures for each of people × series, per_person or frames
    "rendered/pose": len(scenes.POSES),
    "rendered/wild": 1,
    "rendered/lab_a": len(scenes.LAB["rendered/lab_a"]),
    "rendered/lab_b": len(scenes.LAB["rendered/lab_b"]),
    "rendered/mugshot": 1,
    "rendered/album": 1,
}
AGES = {  # equally many people between each two
    "rendered/pose": (18.0, 65.0),
    "rendered/wild": (5.0, 80.0),
    "rendered/lab_a": (18.0, 50.0),
    "rendered/lab_b": (20.0, 60.0),
    "rendered/mugshot": (16.0, 73.0),
    "rendered/album": (1.0, 6.0, 12.0, 20.0, 36.0, 55.0, 85.0),
}
STANDS_FOR = {
    "rendered/pose": "the Head Pose Image Database",
    "rendered/wild": "CelebA",
    "rendered/lab_a": "CK+",
    "rendered/lab_b": "Oulu-CASIA",
    "rendered/mugshot": "MORPH",
    "rendered/album": "Adience",
}
VARIES = {
    "rendered/pose": "93 head poses, yaw and pitch to ±90°; within a series nothing else varies",
    "rendered/wild": "age 5 to 80, pose, expression, light, background, framing; hair, beard and accessories anew",
    "rendered/lab_a": "seven expressions with contempt, from neutral to peak; frontal, even light, grey, little colour",
    "rendered/lab_b": "six expressions from neutral to peak; near, dim warm light from one side, dark background",
    "rendered/mugshot": "age 16 to 77, two pictures up to four years apart; frontal, neutral, flash, shoulders",
    "rendered/album": "age 1 to 85, half under 20, strong pose and roll, blur, noise, hidden faces, hats, backlight",
}
_RANGES = {"series": (1, 2), "restyle": (0, 1)}


def settings(name: str, **options) -> dict[str, int]:
    """Every option of a preset, those not given at their defaults. ValueError for an unknown name or option and for
    values out of range.

    >>> settings("rendered/wild", people=20)
    {'people': 20, 'per_person': 3, 'restyle': 1}
    """
    if name not in PRESETS:
        raise unknown("face set", name, PRESETS)
    for option in options:
        if option not in PRESETS[name]:
            raise unknown(f"option of {name!r}", option, PRESETS[name])
    chosen = PRESETS[name] | options
    return {k: whole(k, v, *_RANGES.get(k, (1, 100_000))) for k, v in chosen.items()}


def whole(option: str, value, low: int, high: int) -> int:
    """The value as an int; ValueError where it is no whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{option} {value!r} is out of range: expected a whole number from {low} to {high}")
    return int(value)


def images(name: str, **options) -> int:
    """How many pictures a preset has.

    >>> images("rendered/pose"), images("rendered/wild", people=10)
    (2790, 30)
    """
    chosen = settings(name, **options)
    return SITTING[name] * int(np.prod([v for k, v in chosen.items() if k != "restyle"]))


def sittings(name: str, seed: int = 0, **options) -> list[Sitting]:
    """Who sits, what they show and how each picture of a preset is taken: all but the rendering."""
    rest = settings(name, **options)
    crowd = _people(rest.pop("people"), 10 * seed + list(PRESETS).index(name), ages=AGES[name])
    return scenes.MAKE[name](crowd, seed=seed, **rest)


def labels(sat: list[Sitting], domain: str) -> pd.DataFrame:
    """The label table of the pictures of these sittings, in order."""
    rows = []
    for s in sat:
        for shot in s.shots:
            rows.append(
                {
                    "identity": f"{s.person.seed:07d}",
                    "gender": s.person.gender,
                    "ethnicity": s.person.ethnicity,
                    "age": s.person.age,
                    "expression": s.expression if s.labelled and s.expression in tasks.EXPRESSIONS else None,
                    "shown": s.expression,
                    "intensity": s.intensity,
                    "valence": round(expressions.valence(s.expression, s.intensity), 4),
                    "smile": "yes" if s.expression == "happy" and s.intensity >= 0.25 else "no",
                    "yaw": shot.yaw,
                    "pitch": shot.pitch,
                    "roll": shot.roll,
                    **s.person.facial_hair,
                    **s.person.accessories,
                    "glasses": "yes" if "eyeglasses" in s.person.wears else "no",
                    "hair": s.person.hair_style,
                    "domain": domain,
                }
            )
    return pd.DataFrame(rows)


def counts(table: pd.DataFrame, bands: tuple[float, ...] = (0, 13, 20, 35, 50, 65, 120)) -> pd.DataFrame:
    """People (not pictures) per gender and ethnic group (rows) and age band (columns, the upper end not included).

    table: labels with identity, gender, ethnicity and age; whoever has several ages counts at the youngest.

    >>> counts(labels(sittings("rendered/lab_a"), "rendered/lab_a")).sum(axis=1).unique().tolist()
    [8]
    """
    people = table.groupby("identity").agg({"gender": "first", "ethnicity": "first", "age": "min"})
    names = [f"{low}–{high - 1}" if high < 100 else f"{low}+" for low, high in pairwise(bands)]
    band = pd.cut(people["age"], bands, right=False, labels=names)
    return pd.crosstab([people["gender"], people["ethnicity"]], band, dropna=False)[names]
