"""Images and labels: face sets, rendered heads."""

from facelab.faces.faceset import FaceSet
from facelab.faces.people import Person, person
from facelab.faces.rendered import PRESETS, contact_sheet, load, sweep

__all__ = ["PRESETS", "FaceSet", "Person", "contact_sheet", "load", "person", "sweep"]
