"""Images and labels: face sets, rendered heads, public data sets and your own files."""

from facelab.faces.csvfile import from_csv
from facelab.faces.duplicates import duplicates
from facelab.faces.faceset import FaceSet
from facelab.faces.folder import from_folder
from facelab.faces.load import load
from facelab.faces.people import Person, person, restyled
from facelab.faces.presets import PRESETS, counts
from facelab.faces.rendered import sweep
from facelab.faces.translate import translate
from facelab.faces.turn import turn, turn_sign

__all__ = [
    "PRESETS",
    "FaceSet",
    "Person",
    "counts",
    "duplicates",
    "from_csv",
    "from_folder",
    "load",
    "person",
    "restyled",
    "sweep",
    "translate",
    "turn",
    "turn_sign",
]
