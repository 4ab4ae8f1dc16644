"""`load`: every set of faces that has a name, rendered or on disk."""

from pathlib import Path

from facelab.errors import unknown
from facelab.faces import presets, readers, rendered
from facelab.faces.faceset import FaceSet
from facelab.faces.readers import fetch


def load(name: str = "rendered/wild", *, root: str | Path | None = None, size: int = 128, progress: bool = True,
         **options) -> FaceSet:  # fmt: skip
    """The faces of that name: a rendered set (`rendered.load`), or a public data set (`readers.read`) from its folder.

    root: the folder of a public set (`readers.table` lists them, and what is expected below it); default: where
    `facelab faces fetch` puts it, or a folder in $FACELAB_PHOTOS. size: pixels a side.
    options: of a rendered set, seed, device and those of its preset; of a public set, rows and broken. Both kinds are
    kept in the cache. ValueError for an unknown name or option; FileNotFoundError for another folder.

        faces = load("rendered/wild", people=20)
        faces = load("utkface", root="UTKFace", rows=1000)
    """
    if name in readers.SETS:
        data = readers.SETS[name]
        root = fetch.found(data) if root is None else root
        if root is None:
            where = "say root=…, its folder, or set FACELAB_PHOTOS to a folder that holds it; expected is"
            raise ValueError(f"face set {name!r} is read from your disk: {where} {data.layout}")
        for option in options:
            if option not in ("rows", "broken"):
                raise unknown(f"option of {name!r}", option, ("rows", "broken"))
        return readers.read(name, root, size=size, progress=progress, **options)
    if name not in presets.PRESETS:
        raise unknown("face set", name, [*presets.PRESETS, *readers.SETS])
    if root is not None:
        raise ValueError(f"face set {name!r} is rendered and has no folder: root={str(root)!r} does not belong here")
    return rendered.load(name, size=size, progress=progress, **options)
