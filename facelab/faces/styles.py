"""The style of the day: hair and its colour, beard, makeup and what is worn, as plausible for gender, age and group.

None of it is identity: `people.restyled` draws it anew for the same face.
"""

import numpy as np

from facelab import tasks
from facelab.faces.patterns import linear

HAIR_STYLES = (
    "bald", "horseshoe", "buzz", "cornrows", "short", "side", "quiff", "pixie", "fringe", "bob", "long", "curly",
    "braids", "bun", "ponytail", "afro",
)  # fmt: skip
ACCESSORIES = tasks.get("accessories").classes
BEARDS = ("none", "shadow", "goatee", "moustache", "sideburns", "full")

# sRGB 0–255.
_COLOURS = {"black": (22, 18, 16), "brown": (68, 44, 28), "light brown": (110, 76, 48), "blond": (190, 150, 95),
            "red": (140, 66, 32)}  # fmt: skip
_DYES = ((190, 150, 95), (140, 66, 32), (22, 18, 16), (120, 28, 38), (206, 196, 184), (52, 70, 128))


def drawn(rng, male: bool, age: float, ethnicity: str) -> dict:
    """The fields of a `people.Person` that change from day to day, by name. rng: a numpy Generator, of which every call
    takes as many draws, so that no part shifts another.

    >>> drawn(np.random.default_rng(1), male=False, age=8.0, ethnicity="asian")["beard"]
    'none'
    """
    hides = 0.04 if male else 0.15 + 0.35 * np.clip((age - 35) / 20, 0, 1)  # the grey
    dyed = bool(rng.random() < hides) and age >= 16
    dye = linear(_DYES[rng.choice(len(_DYES), p=(0.32, 0.2, 0.24, 0.14, 0.06, 0.04))]) * rng.uniform(0.8, 1.25)
    natural = natural_colour(rng, ethnicity)
    beards = (0.42, 0.17, 0.12, 0.1, 0.07, 0.12)
    beard, makeup = str(rng.choice(BEARDS, p=beards)), float(rng.uniform(0.4, 1.0))
    return {
        "hair": tuple(dye.tolist()) if dyed else natural,
        "dyed": dyed,
        "hair_style": _hair_style(rng, male, age, ethnicity),
        "hair_volume": float(rng.uniform(0.7, 1.35)),
        "beard": beard if male and age >= 18 else "none",
        "makeup": 0.0 if male or age < 16 else makeup,
        "wears": _wears(rng, male, age),
        "look": int(rng.integers(1, 2**31)),
    }


def natural_colour(rng, ethnicity: str) -> tuple[float, float, float]:
    """A colour that hair grows in, linear RGB."""
    p = (0.12, 0.33, 0.27, 0.2, 0.08) if ethnicity == "white" else (0.72, 0.24, 0.04, 0, 0)
    return tuple((linear(_COLOURS[rng.choice(list(_COLOURS), p=p)]) * rng.uniform(0.75, 1.3)).tolist())


def _hair_style(rng, male: bool, age: float, ethnicity: str) -> str:
    black = ethnicity == "black"
    if male:
        p = {"bald": 0.06, "buzz": 0.17, "short": 0.3, "side": 0.16, "quiff": 0.12, "fringe": 0.09, "curly": 0.03,
             "bob": 0.01, "long": 0.02, "ponytail": 0.01}  # fmt: skip
        p |= {"bald": 0.06 + max(0.0, age - 40) * 0.006, "horseshoe": max(0.0, age - 42) * 0.009}
    else:
        p = {"buzz": 0.01, "pixie": 0.05, "fringe": 0.06, "bob": 0.22, "long": 0.44, "curly": 0.1, "bun": 0.05,
             "ponytail": 0.07}  # fmt: skip
        p["pixie"] += max(0.0, age - 50) * 0.003
    if age < 18:
        p["bald"] = 0.0
    if black:
        p |= {"afro": 0.2 if male else 0.14, "braids": 0.03 if male else 0.2, "cornrows": 0.08 if male else 0.03}
        p["buzz"] += 0.15 if male else 0.0
    if age < 4:  # the hair of the smallest is short
        p = {"buzz": 0.35, "short": 0.4, "fringe": 0.25}
    weights = np.array([p.get(s, 0.0) for s in HAIR_STYLES])
    return str(rng.choice(HAIR_STYLES, p=weights / weights.sum()))


def _wears(rng, male: bool, age: float) -> tuple[str, ...]:
    """Earrings and necklaces mostly on women, neckties mostly on men, hats and glasses on anybody: 15 to 25 % each."""
    grown = age >= 16
    shares = {
        "earrings": (0.07 if male else 0.4) if grown else (0.0 if male else 0.2),
        "hat": 0.18,
        "necklace": (0.08 if male else 0.34) if grown else (0.02 if male else 0.15),
        "necktie": (0.4 if male else 0.04) if age >= 18 else 0.0,
        "eyeglasses": 0.1 + 0.0025 * age if age >= 5 else 0.02,
    }
    worn = [name for name, share, u in zip(ACCESSORIES, shares.values(), rng.random(5), strict=True) if u < share]
    if "necktie" in worn and "necklace" in worn:
        worn.remove("necklace")  # under the collar
    return tuple(worn)
