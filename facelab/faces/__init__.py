"""Images and labels: face sets, rendered heads."""

from facelab.faces.faceset import FaceSet
from facelab.faces.people import Person, person
from facelab.faces.rendered import PRESETS, load, sweep

__all__ = ["PRESETS", "FaceSet", "Person", "load", "person", "sweep"]
