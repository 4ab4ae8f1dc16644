"""Networks: `load` one by its name, `wrap` your own, `embed` faces; `SOURCES` says what each of the six sources is.
`detect` finds faces in photos, `faces_in` makes a face set of a folder of them, `photographs` reads a public set to be
asked, `ready` aligns it, `missed` are its faces that could not be aligned.
"""

from facelab.nets.detect import Detections, detect
from facelab.nets.embed import embed
from facelab.nets.fetch import FetchError, fetch
from facelab.nets.load import load
from facelab.nets.locate import locate
from facelab.nets.net import Net, wrap
from facelab.nets.photos import Found, faces_in
from facelab.nets.ready import missed, photographs, ready
from facelab.nets.sources import SOURCES, Source, table

__all__ = [
    "SOURCES",
    "Detections",
    "FetchError",
    "Found",
    "Net",
    "Source",
    "detect",
    "embed",
    "faces_in",
    "fetch",
    "load",
    "locate",
    "missed",
    "photographs",
    "ready",
    "table",
    "wrap",
]
