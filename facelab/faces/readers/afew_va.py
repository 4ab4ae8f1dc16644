"""AFEW-VA: clips of films, each frame rated for valence and arousal (J. Kossaifi et al., "AFEW-VA database for valence
and arousal estimation in-the-wild", Image and Vision Computing 2017)."""

import json
from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, around, five, listed


def read(root: Path, files: list[str]) -> Listing:
    """001/001.json beside 001/00000.png and so on: valence and arousal of −10 to 10, here −1 to 1, and 68 landmarks.

    Identity is the actor, or where none is named the clip, whose frames are of one person; the part of the picture
    about the face is taken.
    """
    rows, skipped = [], []
    for file in files:
        clip = Path(file)
        if clip.suffix != ".json" or clip.stem != clip.parent.name:
            continue
        try:
            about = json.loads((root / file).read_text(encoding="utf-8"))
            frames, actor = about["frames"].items(), about.get("actor")
        except (ValueError, KeyError, TypeError, AttributeError):
            skipped.append((file, "no clip with frames"))
            continue
        for number, frame in frames:
            path = (clip.parent / f"{number}.png").as_posix()
            try:
                row = {
                    "file": path,
                    "identity": f"clip {clip.stem}" if actor is None else str(actor),
                    "clip": clip.stem,
                    "valence": float(frame["valence"]) / 10,
                    "arousal": float(frame["arousal"]) / 10,
                    "landmarks": five(frame["landmarks"]),
                    "box": around(frame["landmarks"]),
                }
            except (KeyError, TypeError, ValueError):
                skipped.append((path, "no valence, arousal and 68 landmarks"))
                continue
            rows.append(row)
    return listed(rows, skipped)


_SIGN = "[0-9][0-9][0-9]/[0-9][0-9][0-9].json"
SET = DataSet(
    name="afew-va",
    title="AFEW-VA",
    pictures=30_051,
    labels=("valence", "arousal", "identity", "clip", "landmarks"),
    owner="Intelligent Behaviour Understanding Group, Imperial College London",
    terms="non-commercial research, on request",
    layout="a folder for each clip, such as 001 with 001.json and 00000.png",
    signs=(_SIGN, f"*/{_SIGN}"),
    read=read,
    labelled_by_file=True,
    version=2,  # clips without an actor
)
