"""Expressions as combinations of facial actions (ARKit's names), each with an intensity from 0 to 1.

The combinations follow the action units of the Emotional FACS (Ekman and Friesen), action by action. The first of each
row is the plain one; the others are drawn by a variant:

| expression | action units | valence at full intensity |
|---|---|---|
| neutral | none | 0 |
| angry | 4 + 5 + 7 + 23 (9 slightly); teeth bared 4 + 5 + 9 + 10 + 16; shouting … + 26; glaring | −0.6 |
| disgust | 9 + 10 + 15 (4, 6 slightly); 9 + 10 + 16 + 25; 9 + 15 + 17 | −0.7 |
| fear | 1 + 2 + 4 + 5 + 20 + 25; … + 26; lips closed | −0.65 |
| happy | 6 + 12 + 25; lips closed; laughing 6 + 7 + 12 + 26 | +0.9 |
| sad | 1 + 4 + 15 + 17; looking down 1 + 15 + 64; near tears 1 + 4 + 7 + 15 + 20 | −0.7 |
| surprise | 1 + 2 + 5 + 26; jaw half dropped; jaw wide open 27 | +0.1 |
| contempt | 12 + 14 on one side; … with lids lowered; 14 + 17 | −0.4 |

Contempt can be shown but is no class of task `expression`, which has the seven classes most sets share: a face that
shows it has no `expression` label (see `presets`). Valence is the table's value times the intensity: its sign and order
follow the circumplex of affect (Russell); the values are this project's convention, for a rendered face has no feelings
to ask about. Some actions exceed 1, the model's own full strength, as far as its skin takes it: at 1 a stranger
overlooks them. A negative one lowers what it would raise: the outer brows of the sad.
"""

import numpy as np

from facelab import tasks
from facelab.errors import unknown

SHOWN = (*tasks.EXPRESSIONS, "contempt")
_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeSquint", "eyeWide", "mouthDimple",
    "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
STRONGEST = 1.6  # beyond it lids and lips cross

COMBINATIONS = {
    "neutral": ({},),
    "angry": (
        dict(browDown=1.4, eyeSquint=0.35, eyeWide=0.4, noseSneer=0.45, mouthFrown=0.5, mouthRollLower=0.6,
             mouthRollUpper=0.4),
        dict(browDown=1.4, eyeWide=0.55, noseSneer=0.9, mouthUpperUp=0.7, mouthLowerDown=0.9, mouthStretch=0.4),
        dict(browDown=1.4, eyeWide=0.7, noseSneer=0.7, mouthUpperUp=0.5, mouthLowerDown=0.6, mouthStretch=0.4,
             jawOpen=0.4),
        dict(browDown=1.5, eyeWide=0.7, eyeSquint=0.2, noseSneer=0.3, mouthFrown=0.6, mouthShrugLower=0.6,
             mouthRollLower=0.5),
    ),
    "disgust": (
        dict(noseSneer=1.5, mouthUpperUp=0.9, mouthFrown=0.6, browDown=0.6, cheekSquint=0.6, eyeSquint=0.45),
        dict(noseSneer=1.4, mouthUpperUp=1.1, mouthLowerDown=0.6, jawOpen=0.15, mouthFrown=0.3, browDown=0.5,
             eyeSquint=0.5, cheekSquint=0.5),
        dict(noseSneer=1.5, mouthShrugUpper=0.5, mouthShrugLower=0.8, mouthFrown=0.9, browDown=0.7, eyeSquint=0.5),
    ),
    "fear": (
        dict(browInnerUp=1.5, browOuterUp=0.45, browDown=0.3, eyeWide=1.5, mouthStretch=1.5, mouthLowerDown=1.0,
             jawOpen=0.25),
        dict(browInnerUp=1.5, browOuterUp=0.5, browDown=0.25, eyeWide=1.5, mouthStretch=1.2, mouthLowerDown=0.6,
             jawOpen=0.5),
        dict(browInnerUp=1.5, browOuterUp=0.4, browDown=0.35, eyeWide=1.4, mouthStretch=1.4, mouthFrown=0.3),
    ),
    "happy": (
        dict(cheekSquint=0.9, mouthSmile=1.25, mouthDimple=0.2, mouthUpperUp=0.9, mouthLowerDown=0.5, jawOpen=0.06,
             eyeSquint=0.3),
        dict(cheekSquint=0.9, mouthSmile=1.4, mouthDimple=0.4, eyeSquint=0.25),
        dict(cheekSquint=1.1, mouthSmile=1.4, mouthUpperUp=0.8, mouthLowerDown=0.3, jawOpen=0.35, eyeSquint=0.45),
    ),
    "sad": (
        dict(browInnerUp=1.5, browOuterUp=-0.9, mouthFrown=1.6, mouthShrugLower=0.9, eyeSquint=0.25, eyeLookDown=0.3),
        dict(browInnerUp=1.5, browOuterUp=-0.6, mouthFrown=1.3, mouthShrugLower=0.4, eyeBlink=0.2, eyeLookDown=0.7),
        dict(browInnerUp=1.5, browOuterUp=-0.5, browDown=0.2, mouthFrown=1.4, mouthStretch=0.5, mouthLowerDown=0.35,
             mouthShrugLower=0.3, cheekSquint=0.5, eyeSquint=0.45),
    ),
    "surprise": (
        dict(browInnerUp=1.4, browOuterUp=1.3, eyeWide=1.3, jawOpen=0.75, mouthFunnel=0.15),
        dict(browInnerUp=1.4, browOuterUp=1.3, eyeWide=1.3, jawOpen=0.4, mouthFunnel=0.2),
        dict(browInnerUp=1.5, browOuterUp=1.4, eyeWide=1.5, jawOpen=1.05),
    ),
    "contempt": (
        dict(mouthSmileLeft=0.9, mouthDimpleLeft=1.2, mouthUpperUpLeft=0.35, cheekSquintLeft=0.5, eyeSquintLeft=0.2),
        dict(mouthSmileLeft=0.9, mouthDimpleLeft=1.2, mouthPressLeft=0.4, eyeBlink=0.25, browOuterUpRight=0.6),
        dict(mouthDimpleLeft=1.5, mouthSmileLeft=0.7, noseSneerLeft=0.5, mouthShrugLower=0.4, eyeBlink=0.15),
    ),
}  # fmt: skip
VALENCE = dict(neutral=0.0, angry=-0.6, disgust=-0.7, fear=-0.65, happy=0.9, sad=-0.7, surprise=0.1, contempt=-0.4)


def actions(expression: str, intensity: float, variant: int = 0) -> dict[str, float]:
    """Facial actions of an expression at an intensity in 0 … 1.

    variant: 0 = the plain combination; any other seed draws one of the combinations, makes each action up to a fifth
    weaker or a tenth stronger, one half of the face a little stronger than the other, and contempt on either side. The
    same variant is the same expression at every intensity: a sequence keeps it.

    >>> actions("happy", 0.5)["mouthSmileLeft"], actions("happy", 0.5, 3) == actions("happy", 0.5, 3)
    (0.625, True)
    """
    if expression not in COMBINATIONS:
        raise unknown("expression", expression, SHOWN)
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity {intensity:g} of {expression!r} is out of range: expected 0 to 1")
    chosen, rng = COMBINATIONS[expression][0], None
    if variant:
        rng = np.random.default_rng([0xAC7, variant])
        chosen = COMBINATIONS[expression][rng.integers(len(COMBINATIONS[expression]))]
    lean, mirrored = (float(rng.uniform(-0.08, 0.08)), rng.random() < 0.5) if rng else (0.0, False)
    out = {}
    for name, weight in chosen.items():
        weight *= float(rng.uniform(0.8, 1.1)) if rng else 1.0
        for side, tilt in (("Left", 1 + lean), ("Right", 1 - lean)) if name in _SIDED else (("", 1.0),):
            out[name + side] = min(weight * tilt, STRONGEST) * intensity
    return {_other_side(name): weight for name, weight in out.items()} if mirrored else out


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def valence(expression: str, intensity: float) -> float:
    """The valence of an expression at an intensity (see the table above).

    >>> valence("happy", 1.0), valence("neutral", 0.0)
    (0.9, 0.0)
    """
    return VALENCE[expression] * intensity
