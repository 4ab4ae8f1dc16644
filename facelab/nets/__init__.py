"""Networks: `load` a pretrained source, `wrap` your own; `SOURCES` says what each source is."""

from facelab.nets.fetch import FetchError, fetch
from facelab.nets.net import Net, load, wrap
from facelab.nets.sources import SOURCES, Source, table

__all__ = ["SOURCES", "FetchError", "Net", "Source", "fetch", "load", "table", "wrap"]
