"""What a label means: kind, classes, unit, range, metric, and how a missing label looks.

In a label table a regression task is one float column (NaN = missing), a `classes` task one text column
(missing = None / NaN), a `labels` task (several may be true at once) one float column per class named
`task:class` with 1, 0 or NaN. `pose` is derived from `yaw` and `pitch` where the table has no column of its
own, `age_band` and `over_40` from `age`.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from facelab.errors import unknown


def word(value):
    """The class that a cell of a table names: pandas makes numbers and truth values of "1", "1.0" and "True".

    >>> word(1.0), word(1234567), word(True), word("female")
    ('1', '1234567', 'True', 'female')
    """
    if isinstance(value, (bool, np.bool_)):
        return str(value)
    return f"{value:.15g}" if isinstance(value, Real) and value == value else value


@dataclass(frozen=True)
class Task:
    """One thing a face can be asked.

    kind: "regression" (a number), "classes" (one of several), "labels" (any of several), "identity" (open
        set).
    flip: what a mirror image does to the label: "same", "negate" (regression) or "mirror" (classes named
        left and right change places).
    """

    name: str
    kind: str
    metric: str
    classes: tuple[str, ...] = ()
    unit: str = ""
    low: float | None = None
    high: float | None = None
    flip: str = "same"
    about: str = ""

    @property
    def columns(self) -> list[str]:
        """The columns of a label table that carry this task."""
        return [f"{self.name}:{c}" for c in self.classes] if self.kind == "labels" else [self.name]

    @property
    def target_names(self) -> list[str]:
        """The columns of `targets`: one for a number or a yes / no question, else one per class."""
        if self.kind == "regression":
            return [self.name]
        if self.kind == "classes" and len(self.classes) == 2:
            return [f"{self.name}:{self.classes[1]}"]
        return [f"{self.name}:{c}" for c in self.classes]

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Labels as numbers: regression (n,) float64, NaN missing; classes and identity (n,) int64, −1
        missing; labels (n, k) float64, NaN missing. ValueError names the first value that is no class or out
        of range."""
        missing = [c for c in self.columns if c not in table]
        if missing and self.name == "pose" and {"yaw", "pitch"} <= set(table):
            return pose_bins(table["yaw"].to_numpy(float), table["pitch"].to_numpy(float))
        if missing and self.name == "age_band" and "age" in table:
            return age_bands(TASKS["age"].encode(table))
        if missing and self.name == "over_40" and "age" in table:
            return over_40(TASKS["age"].encode(table))
        if missing:
            lacks = ", ".join(map(repr, missing))
            raise ValueError(f"task {self.name!r} has no labels here: the table lacks {lacks}")
        if self.kind == "identity":
            return pd.factorize(table[self.name])[0].astype(np.int64)
        if self.kind == "classes":
            column = table[self.name]
            codes = pd.Index(self.classes).get_indexer(column.map(word)).astype(np.int64)
            strange = (codes < 0) & column.notna().to_numpy()
            if strange.any():
                raise unknown(f"{self.name} class", column[strange].iloc[0], self.classes)
            return codes
        try:
            values = table[self.columns].to_numpy(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"labels of task {self.name!r} must be numbers or missing: {error}") from error
        low, high = (0.0, 1.0) if self.kind == "labels" else (self.low, self.high)
        outside = np.isinf(values)
        if low is not None:
            outside |= values < low
        if high is not None:
            outside |= values > high
        if outside.any():
            value = values[outside][0]
            allowed = f"{low} to {high} {self.unit}".rstrip()
            raise ValueError(f"{self.name} {value:g} is out of range: expected {allowed}")
        return values if self.kind == "labels" else values[:, 0]

    def targets(self, table: pd.DataFrame) -> np.ndarray:
        """What a linear read-out is fitted to: (n, len(target_names)) float64, a row of NaN where the label
        is missing. Numbers as they are, two classes as 0 / 1, more classes one-hot."""
        codes = self.encode(table)
        if self.kind == "identity":
            raise ValueError("task 'identity' is an open set without linear targets: use verification instead")
        if self.kind == "regression":
            return codes[:, None]
        if self.kind == "labels":
            return np.where(np.isnan(codes).any(1, keepdims=True), np.nan, codes)
        one_hot = np.eye(len(self.classes))[codes]  # (n, k); a missing −1 is overwritten below
        one_hot[codes < 0] = np.nan
        return one_hot[:, 1:] if len(self.classes) == 2 else one_hot


def pose_bins(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Nine head poses (low-cost §3, Table 1): three thirds of yaw, cut at ±22.5°, by three of pitch, cut at
    ±20°.

    >>> pose_bins(np.array([-60.0, 0.0, 60.0, np.nan]), np.array([-30.0, 0.0, 30.0, 0.0]))
    array([ 0,  4,  8, -1])
    """
    # The edges belong to the middle, so that the mirror image of a face is in the mirrored bin.
    up, left = 1 + (pitch > 20) - (pitch < -20.0), 1 + (yaw > 22.5) - (yaw < -22.5)
    bins = 3 * up + left
    return np.where(np.isnan(yaw) | np.isnan(pitch), -1, bins).astype(np.int64)


def age_bands(age: np.ndarray) -> np.ndarray:
    """The stretch of `AGE_BANDS` that an age in years falls into, −1 where it is missing.

    >>> age_bands(np.array([4.0, 13.0, 80.0, np.nan]))
    array([ 0,  1,  5, -1])
    """
    bands = np.digitize(age, AGE_BANDS)
    return np.where(np.isnan(age), -1, bands).astype(np.int64)


def over_40(age: np.ndarray) -> np.ndarray:
    """1 above 43 years, 0 below 38, −1 between or where it is missing (2MD-MTL §5.1).

    >>> over_40(np.array([20.0, 40.0, 60.0, np.nan]))
    array([ 0, -1,  1, -1])
    """
    return np.select([age < 38, age > 43], [0, 1], -1).astype(np.int64)


AGE_BANDS = (13, 20, 35, 50, 65)  # years, where bands begin
EXPRESSIONS = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")
_SIDES = ("right", "frontal", "left")
_POSES = tuple(f"{up} {side}" for up in ("down", "level", "up") for side in _SIDES)

TASKS = {
    t.name: t
    for t in (
        Task("identity", "identity", "auc", about="who it is; on unseen people a verification question"),
        Task("gender", "classes", "accuracy", ("female", "male")),
        Task("ethnicity", "classes", "accuracy", ("white", "black", "asian", "indian", "other")),
        Task("age", "regression", "mae", unit="years", low=0, high=120),
        Task("age_band", "classes", "accuracy", ("0–12", "13–19", "20–34", "35–49", "50–64", "65+"), unit="years"),
        Task("over_40", "classes", "accuracy", ("under 38", "over 43"), about="age as 2MD-MTL asks it"),
        Task("expression", "classes", "accuracy", EXPRESSIONS),
        Task("valence", "regression", "rmse", low=-1, high=1, about="unpleasant −1 to pleasant +1"),
        Task("yaw", "regression", "mae", unit="degrees", low=-180, high=180, flip="negate",
             about="+ = the subject turns to their own left: the nose moves to the image's right"),
        Task("pitch", "regression", "mae", unit="degrees", low=-90, high=90, about="+ = the face looks up"),
        Task("roll", "regression", "mae", unit="degrees", low=-180, high=180, flip="negate",
             about="+ = the head tilts to the image's clockwise side"),
        Task("pose", "classes", "accuracy", _POSES, flip="mirror", about="three of yaw by three of pitch"),
        Task("facial_hair", "labels", "accuracy",
             ("5 o'clock shadow", "goatee", "sideburns", "moustache", "no beard")),
        Task("accessories", "labels", "accuracy", ("earrings", "hat", "necklace", "necktie", "eyeglasses")),
        Task("smile", "classes", "accuracy", ("no", "yes")),
        Task("glasses", "classes", "accuracy", ("no", "yes")),
    )
}  # fmt: skip


def get(name: str) -> Task:
    """The task of that name; ValueError with the nearest names otherwise.

    >>> get("yaw").unit
    'degrees'
    >>> get("yawn")
    Traceback (most recent call last):
    ValueError: unknown task 'yawn': did you mean 'yaw'?
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def flip_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The labels of the mirrored images: yaw and roll change sign, a pose class changes sides, the rest
    stays.

    >>> flip_labels(pd.DataFrame({"yaw": [30.0], "pitch": [5.0], "pose": ["level left"]})).to_dict("list")
    {'yaw': [-30.0], 'pitch': [5.0], 'pose': ['level right']}
    """
    table = table.copy()
    for task in TASKS.values():
        if task.name in table and task.flip == "negate":
            table[task.name] = -table[task.name].astype(float)
        if task.name in table and task.flip == "mirror":
            mirrored = {"left": "right", "right": "left"}
            sides = {c: " ".join(mirrored.get(word, word) for word in c.split()) for c in task.classes}
            table[task.name] = table[task.name].map(sides)
    return table
