"""Images and labels: face sets, rendered heads."""

from facelab.faces.faceset import FaceSet
from facelab.faces.folder import from_folder
from facelab.faces.people import Person, person, restyled
from facelab.faces.presets import PRESETS, counts
from facelab.faces.rendered import load, sweep

__all__ = ["PRESETS", "FaceSet", "Person", "counts", "from_folder", "load", "person", "restyled", "sweep"]
