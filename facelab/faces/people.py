"""A person: everything that makes an identity, drawn from one seed, and the style of the day, drawn anew by `restyled`.

Shape comes from the head model's phenotype (gender, age, weight, ethnic mixture) and its sliders; colours, hair, beard,
moles and the like from here. What age does to a face (grey hair, wrinkles, a receding hairline) is computed from
`age` when the face is painted, so that `dataclasses.replace(person, age=70)` is the same person grown old. Hair, beard,
makeup and what is worn are no identity: `restyled(person, 5)` is the same face on another day.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from facelab import tasks
from facelab.errors import unknown
from facelab.faces import heads, styles
from facelab.faces.patterns import linear
from facelab.faces.styles import ACCESSORIES, BEARDS, HAIR_STYLES

GENDERS = tasks.get("gender").classes
ETHNICITIES = tasks.get("ethnicity").classes

# Shares of (african, asian, caucasian) and skin albedo (sRGB 0–255: lightest, darkest) per group. The head model knows
# three poles; "indian" and "other" are mixtures of them, told apart mostly by colour.
_GROUPS = {
    "white": ((0.03, 0.03, 0.94), (236, 196, 174), (205, 155, 128)),
    "black": ((0.74, 0.04, 0.22), (142, 98, 74), (76, 51, 39)),
    "asian": ((0.03, 0.94, 0.03), (236, 200, 170), (198, 152, 118)),
    "indian": ((0.28, 0.17, 0.55), (186, 136, 102), (118, 80, 58)),
    "other": ((0.25, 0.37, 0.38), (214, 164, 130), (160, 112, 84)),
}
_EYES = {"brown": (82, 50, 28), "dark": (46, 28, 18), "blue": (100, 138, 170), "green": (98, 120, 78),
         "grey": (122, 132, 136)}  # fmt: skip
_GREY = (190, 188, 184)
# What tells women's faces from men's beyond the model's own gender: slimmer, larger eyes, higher brows, fuller and
# wider lips, a smaller nose, jaw and forehead. Full at masculinity 0, reversed and half as strong at 1.
_FEMININE = {
    "l-eye-scale-incr": 0.6, "r-eye-scale-incr": 0.6, "l-eye-height2-incr": 0.38, "r-eye-height2-incr": 0.38,
    "eyebrows-trans-up": 0.52, "head-fat-incr": -0.45, "forehead-scale-vert-incr": -0.3, "forehead-nubian-incr": -0.3,
    "mouth-upperlip-volume-incr": 0.45, "mouth-lowerlip-volume-incr": 0.38, "mouth-scale-horiz-incr": 0.3,
    "mouth-angles-up": 0.38, "nose-scale-horiz-incr": -0.45, "nose-scale-vert-incr": -0.3,
    "nose-hump-incr": -0.38, "nose-point-up": 0.22, "chin-width-incr": -0.6, "chin-bones-incr": -0.45,
    "chin-jaw-drop-incr": -0.45, "chin-prominent-incr": -0.3, "l-cheek-volume-incr": -0.3, "r-cheek-volume-incr": -0.3,
    "neck-scale-horiz-incr": -0.52, "neck-scale-depth-incr": -0.38,
}  # fmt: skip
# What age adds to the head model's own ageing, in full at 80: bags, hanging cheeks and lids, thin lips, a larger nose.
_AGED = {
    "head-age-incr": 0.8, "l-eye-bag-incr": 0.6, "r-eye-bag-incr": 0.6, "l-eye-bag-out": 0.3, "r-eye-bag-out": 0.3,
    "l-cheek-trans-up": -0.5, "r-cheek-trans-up": -0.5, "l-eye-height2-incr": -0.35, "r-eye-height2-incr": -0.35,
    "mouth-upperlip-volume-incr": -0.4, "mouth-lowerlip-volume-incr": -0.4, "nose-volume-incr": 0.15,
    "l-ear-scale-incr": 0.3, "r-ear-scale-incr": 0.3, "neck-double-incr": 0.3,
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One identity.

    masculinity 0 … 1 (0 = female, 1 = male); age in years; mixture = shares of (african, asian, caucasian); sliders =
    the head model's shape sliders by name; colours linear-light RGB in 0 … 1. ValueError for a hair style, beard or
    accessory that does not exist.
    """

    seed: int
    gender: str
    masculinity: float
    age: float
    ethnicity: str
    mixture: tuple[float, float, float]
    weight: float
    sliders: tuple[tuple[str, float], ...]
    skin: tuple[float, float, float]
    natural: tuple[float, float, float]  # the colour hair grows in: brows and beard
    eyes: tuple[float, float, float]
    lips: float  # how much redder than the skin
    brows: tuple[float, float, float]  # thickness, arch, darkness, each about 1
    hairline: float  # + = higher forehead
    freckles: float
    moles: tuple[tuple[float, float], ...]  # (x, y) on the template's face
    grey_at: float  # age at which half the hair has lost its colour
    # from here on the style of the day, no identity
    hair: tuple[float, float, float]  # on the head, before it greys
    dyed: bool  # dyed hair does not grey
    hair_style: str  # of `HAIR_STYLES`
    hair_volume: float
    beard: str  # of `BEARDS`
    makeup: float  # strength of the lash line and the shade on the lids
    wears: tuple[str, ...]  # of `ACCESSORIES`
    look: int  # seed of what is worn (its kind and colours) and of how the hair falls

    def __post_init__(self):
        style = (("hair style", self.hair_style, HAIR_STYLES), ("beard", self.beard, BEARDS))
        for kind, value, known in (*style, *(("accessory", worn, ACCESSORIES) for worn in self.wears)):
            if value not in known:
                raise unknown(kind, value, known)

    @property
    def phenotype(self) -> dict[str, float]:
        """The head model's phenotype (its gender runs from 0 = male to 1 = female)."""
        shares = dict(zip(heads.ETHNICS, self.mixture, strict=True))
        return {
            "gender": 1 - self.masculinity,
            "age": heads.age_parameter(min(self.age, 25) + (0.45 + 0.55 * self.masculinity) * max(self.age - 25, 0)),
            "weight": self.weight,
            **shares,
        }

    @property
    def shape(self) -> dict[str, float]:
        """The head model's sliders: the person's own, and what gender (after puberty) and age add to the phenotype."""
        late = np.clip((self.age - 35) / 45, 0, 1)
        grown = np.clip((self.age - 10) / 8, 0, 1) * (1 - 2 * self.masculinity)
        grown *= 1 + 0.8 * late if self.masculinity < 0.5 else 0.5  # the model's old women have men's faces
        added = {name: amount * grown for name, amount in _FEMININE.items()}
        added["eyebrows-angle-up"] = 0.1  # the template's brows look stern
        for name, amount in _AGED.items():
            added[name] = added.get(name, 0.0) + late * amount
        own = np.clip((self.age + 4) / 16, 0, 1)  # small children's faces differ less: the sliders are made for adults
        return {name: float(np.clip(own * v + added.get(name, 0.0), -1, 1)) for name, v in self.sliders}

    @property
    def facial_hair(self) -> dict[str, float]:
        """The five yes / no labels of task `facial_hair`; a full beard has goatee, sideburns and moustache."""
        has = {
            "shadow": ["5 o'clock shadow"],
            "full": ["goatee", "sideburns", "moustache"],
            "none": ["no beard"],
        }
        own = has.get(self.beard, [self.beard])
        return {f"facial_hair:{c}": float(c in own) for c in tasks.get("facial_hair").classes}

    @property
    def accessories(self) -> dict[str, float]:
        """The five yes / no labels of task `accessories`: what is worn."""
        return {f"accessories:{c}": float(c in self.wears) for c in ACCESSORIES}

    @property
    def greyness(self) -> float:
        """Share of grey hair, from the age: 0.5 at `grey_at`, from 0.1 to 0.9 within 24 years."""
        return float(1 / (1 + np.exp(-(self.age - self.grey_at) / 5.5)))

    @property
    def hair_now(self) -> tuple[float, float, float]:
        """Colour of the hair on the head at this age."""
        return self.hair if self.dyed else self._greyed(self.hair)

    @property
    def natural_now(self) -> tuple[float, float, float]:
        """Colour of the beard, and of brows without a pencil, at this age."""
        return self._greyed(self.natural)

    def _greyed(self, colour) -> tuple[float, float, float]:
        g = self.greyness
        return tuple(((1 - g) * np.array(colour) + g * linear(_GREY)).tolist())


def person(seed: int, *, gender: str | None = None, ethnicity: str | None = None, age: float | None = None) -> Person:
    """The person of a seed: the same seed is the same person. Gender, ethnicity and age (18 to 75) are drawn too unless
    given; ValueError for a class that does not exist or an age outside 1 to 90. Small seeds have the heads of the first
    people of `rendered/pose`: who is to be new to a network that saw these needs a large one.

    >>> person(3) == person(3), person(3).gender in ("female", "male")
    (True, True)
    """
    for name, value, known in (("gender", gender, GENDERS), ("ethnicity", ethnicity, ETHNICITIES)):
        if value is not None and value not in known:
            raise unknown(name, value, known)
    if age is not None and not 1 <= age <= 90:
        raise ValueError(f"age {age:g} is out of range: expected 1 to 90 years")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed {seed!r} must be an integer of at least 0")
    rng = np.random.default_rng([0xFACE, int(seed)])
    drawn = rng.integers(2), rng.integers(5), rng.uniform(18, 75)  # always drawn: the rest does not shift
    gender = gender or GENDERS[drawn[0]]
    ethnicity = ethnicity or ETHNICITIES[drawn[1]]
    age = float(drawn[2] if age is None else age)
    male = gender == "male"
    pole, light, dark = _GROUPS[ethnicity]
    mixture = rng.dirichlet(12 * np.array(pole) + 0.05)
    tone = rng.beta(2, 2)
    skin = linear((1 - tone) * np.array(light) + tone * np.array(dark)) * rng.normal(1, 0.03, 3)
    skin = skin * (0.97 if male else 1.06)  # women's skin is the lighter in every population
    european = ethnicity == "white"
    eyes = rng.choice(list(_EYES), p=(0.3, 0.08, 0.32, 0.15, 0.15) if european else (0.4, 0.55, 0, 0.05, 0))
    natural = styles.natural_colour(rng, ethnicity)
    style = styles.drawn(np.random.default_rng([0x57E1, int(seed)]), male, age, ethnicity)
    usual = tuple(w for w in style["wears"] if w in ("earrings", "eyeglasses"))
    return Person(
        seed=int(seed),
        gender=gender,
        masculinity=float(rng.uniform(0.85, 1.0) if male else rng.uniform(0.0, 0.15)),
        age=age,
        ethnicity=ethnicity,
        mixture=tuple(map(float, mixture)),
        weight=float(rng.beta(3, 3)),
        sliders=_sliders(rng),
        skin=tuple(skin.clip(0.01, 0.95).tolist()),
        natural=natural,
        eyes=tuple((linear(_EYES[eyes]) * rng.uniform(0.8, 1.2)).tolist()),
        lips=float(rng.uniform(0.5, 1.0) + (0 if male else rng.choice((0.15, 0.7)))),
        brows=tuple(
            rng.normal((1.25, 0.7, 1.0) if male else (0.52, 1.5, 1.35), (0.17, 0.35, 0.15)).clip(0.3, 2.0).tolist()
        ),
        hairline=float(rng.normal(0.0, 0.06) + (max(0.0, age - 35) * 0.004 * rng.uniform(0, 1.5) if male else 0.0)),
        freckles=float(rng.uniform(0.3, 1) if european and rng.random() < 0.3 else 0),
        moles=tuple((float(x), float(y)) for x, y in rng.uniform((-0.45, 6.4), (0.45, 7.8), (rng.poisson(1.0), 2))),
        grey_at=float(rng.normal(54, 8)),
        **(style | {"hair": natural, "dyed": False, "wears": usual}),
    )


def restyled(person: Person, rng, *, hair: bool = True, beard: bool = True, accessories: bool = True) -> Person:
    """The same face on another day: hair style, volume and colour, beard (men from 18), makeup and what is worn are
    drawn anew, as plausible for gender, age and group; a False keeps that part. rng: a numpy Generator or a seed.

    Head, skin, eyes, brows, moles, hairline and ageing stay; the look (kinds and colours of what is worn, the fall of
    the hair) always changes.

    >>> someone = person(3)
    >>> restyled(someone, 1).sliders == someone.sliders, restyled(someone, 1) == restyled(someone, 1)
    (True, True)
    """
    drawn = styles.drawn(np.random.default_rng(rng), person.gender == "male", person.age, person.ethnicity)
    kept = () if hair else ("hair", "dyed", "hair_style", "hair_volume")
    kept += (() if beard else ("beard",)) + (() if accessories else ("wears", "makeup"))
    return replace(person, **{name: value for name, value in drawn.items() if name not in kept})


def people(n: int, seed: int = 0, *, ages: tuple[float, ...] = (5.0, 80.0)) -> list[Person]:
    """n people, balanced: every ten in order hold each pair of gender and ethnic group once, and the ages of these ten,
    like those of each pair, spread evenly over `ages` (of more than two numbers, equally many people are between each
    and the next).
    Nobody is in two seeds' lists.

    >>> [p.gender for p in people(10)].count("male")
    5
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"people {n!r} must be an integer of at least 1")
    rng, blocks = np.random.default_rng([0xC0DE, seed]), -(-n // 10)
    order = np.stack([rng.permutation(10) for _ in range(blocks)])  # (blocks, 10) the pair of each person
    start = rng.permutation(10) * blocks // 10
    stratum = (rng.permutation(blocks)[:, None] + start) % blocks  # (blocks, 10) of ages: each pair has each once
    within = np.stack([rng.permutation(10) for _ in range(blocks)])  # (blocks, 10) a tenth of the stratum for each pair
    quantile = (stratum + (within[stratum, np.arange(10)] + rng.random((blocks, 10))) / 10) / blocks
    years = np.interp(quantile, np.linspace(0, 1, len(ages)), ages)
    return [
        person(
            100_000 * seed + i,
            gender=GENDERS[k % 2],
            ethnicity=ETHNICITIES[(k // 2) % 5],
            age=round(float(years[i // 10, k]), 1),
        )
        for i, k in enumerate(order.ravel()[:n].tolist())
    ]


@lru_cache(maxsize=1)
def _slider_names() -> tuple[str, ...]:
    moves = ("head-trans", "neck-trans")  # shifting the whole head is no shape
    return tuple(s for s in heads.load().sliders if not s.startswith(moves))


def _sliders(rng) -> tuple[tuple[str, float], ...]:
    """Shape sliders: N(0, 0.3²) cut at ±1, of skull and neck N(0, 0.13²), for a few of those at once already make a
    head pointed or squashed; left and right share most of their value; one head outline, at most 0.4."""
    values = {}
    for name in _slider_names():
        twin = "l" + name[1:] if name.startswith("r-") else None
        own = rng.normal(0, 0.13 if name.startswith(("head-", "neck-", "forehead-")) else 0.3)
        values[name] = float(np.clip(values[twin] + 0.2 * own if twin in values else own, -1, 1))
    values["head-age-incr"] = 0.0
    values["mouth-trans-out"] = values.get("mouth-trans-out", 0.0) * 0.15  # a mouth or nose far off the middle
    values["nose-trans-out"] = values.get("nose-trans-out", 0.0) * 0.15
    values[f"head-{rng.choice(heads.OUTLINES)}"] = float(rng.uniform(0, 0.4))
    return tuple(values.items())
