"""Seven expressions as combinations of facial actions (ARKit's names), each with an intensity from 0 to 1.

The combinations follow the action units of the Emotional FACS (Ekman and Friesen), action by action:

| expression | action units | valence at full intensity |
|---|---|---|
| neutral | none | 0 |
| angry | 4 + 5 + 7 + 23 (9 slightly) | −0.6 |
| disgust | 9 + 10 + 15 (4, 6 slightly) | −0.7 |
| fear | 1 + 2 + 4 + 5 + 20 + 26 | −0.65 |
| happy | 6 + 12 (25) | +0.9 |
| sad | 1 + 4 + 15 + 17 | −0.7 |
| surprise | 1 + 2 + 5 + 26 | +0.1 |

Valence is the table's value times the intensity: its sign and order follow the circumplex of affect (Russell); the
values are this project's convention, for a rendered face has no feelings to ask about.
"""

from facelab import tasks
from facelab.errors import unknown

_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeSquint", "eyeWide", "mouthDimple",
    "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip

ACTIONS = {
    "neutral": {},
    "angry": dict(browDown=1.0, eyeSquint=0.5, eyeWide=0.3, mouthPress=0.7, noseSneer=0.35, mouthFrown=0.35),
    "disgust": dict(noseSneer=1.0, mouthUpperUp=0.7, mouthFrown=0.4, browDown=0.5, cheekSquint=0.5, eyeSquint=0.3),
    "fear": dict(
        browInnerUp=1.0,
        browOuterUp=0.5,
        browDown=0.25,
        eyeWide=1.0,
        mouthStretch=0.8,
        mouthLowerDown=0.4,
        jawOpen=0.3,
    ),
    "happy": dict(cheekSquint=0.7, mouthSmile=1.0, mouthDimple=0.2, mouthUpperUp=0.35, jawOpen=0.12),
    "sad": dict(browInnerUp=1.0, browDown=0.3, mouthFrown=1.0, mouthShrugLower=0.6, eyeSquint=0.3, eyeLookDown=0.3),
    "surprise": dict(browInnerUp=1.0, browOuterUp=1.0, eyeWide=1.0, jawOpen=0.7, mouthFunnel=0.15),
}
VALENCE = dict(neutral=0.0, angry=-0.6, disgust=-0.7, fear=-0.65, happy=0.9, sad=-0.7, surprise=0.1)


def actions(expression: str, intensity: float) -> dict[str, float]:
    """Facial actions of an expression at an intensity in 0 … 1.

    >>> actions("happy", 0.5)["mouthSmileLeft"]
    0.5
    """
    if expression not in ACTIONS:
        raise unknown("expression", expression, tasks.EXPRESSIONS)
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity {intensity:g} of {expression!r} is out of range: expected 0 to 1")
    out = {}
    for name, weight in ACTIONS[expression].items():
        for side in ("Left", "Right") if name in _SIDED else ("",):
            out[name + side] = weight * intensity
    return out


def valence(expression: str, intensity: float) -> float:
    """The valence of an expression at an intensity (see the table above).

    >>> valence("happy", 1.0), valence("neutral", 0.0)
    (0.9, 0.0)
    """
    return VALENCE[expression] * intensity
