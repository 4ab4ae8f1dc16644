"""Networks: `load` one by its name, `wrap` your own, `embed` faces; `SOURCES` says what each of the six sources is.
`detect` finds faces in photos.
"""

from facelab.nets.detect import Detections, detect
from facelab.nets.embed import embed
from facelab.nets.fetch import FetchError, fetch
from facelab.nets.load import load
from facelab.nets.locate import locate
from facelab.nets.net import Net, wrap
from facelab.nets.sources import SOURCES, Source, table

__all__ = [
    "SOURCES",
    "Detections",
    "FetchError",
    "Net",
    "Source",
    "detect",
    "embed",
    "fetch",
    "load",
    "locate",
    "table",
    "wrap",
]
