import numpy as np
import pandas as pd

from facelab.faces.faceset import FaceSet
from facelab.transfer import crowds


def test_rendered_crowds_share_nobody():
    size = {"crowd": 2, "album": 1, "people": 2, "per_person": 1}
    crowd, people = crowds.two("rendered/wild", size, device="cpu")
    assert [one.name for one in crowd] == ["rendered/wild", "rendered/album"] and len(people) == 2
    names = crowds.whose(crowd)
    assert len(names) == sum(map(len, crowd)) and len(set(names)) == 3
    assert not set(crowds.whose(crowd, " more")) & set(names)
    first = {tuple(face.ravel()) for one in crowd for face in one.images}
    assert not first & {tuple(face.ravel()) for face in people.images}


def test_photographs_are_split_by_person(monkeypatch):
    asked, labels = [], pd.DataFrame({"identity": [f"p{i // 2}" for i in range(20)]})
    whole = FaceSet("mtfl", np.zeros((20, 3, 8, 8), np.uint8), labels, np.zeros((20, 5, 2), np.float32))

    def ready(faces, most, *, seed, device):
        asked.append((faces, most))
        return faces

    monkeypatch.setattr(crowds, "photographs", lambda name: whole)
    monkeypatch.setattr(crowds, "ready", ready)
    [first], people = crowds.two("mtfl", {"photos": 7}, device="cpu")
    assert asked == [(whole, 7)] and len(first) == 12 and len(people) == 8
    assert not set(first.labels["identity"]) & set(people.labels["identity"])
