import numpy as np
import pandas as pd
import pytest

from facelab.faces import FaceSet, translate


def labelled(*expressions):
    n = len(expressions)
    table = pd.DataFrame({"expression": pd.Series(expressions, dtype=object), "yaw": np.zeros(n)})
    return FaceSet("theirs", np.zeros((n, 3, 8, 8), np.uint8), table, np.zeros((n, 5, 2), np.float32))


def test_classes_are_renamed_and_dropped():
    there = labelled("anger", "happiness", "contempt", None)
    here = translate(there, "expression", {"anger": "angry", "happiness": "happy", "contempt": None})
    assert here.labels["expression"].tolist() == ["angry", "happy", None, None]
    assert here.encode("expression").tolist() == [1, 4, -1, -1]
    assert there.labels["expression"].tolist()[0] == "anger"  # as it was


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda f: translate(f, "expression", {"anger": "angry"}), "label 'joy' in column 'expression' of 'theirs'"),
        (lambda f: translate(f, "expression", {"anger": "angri", "joy": None}), "did you mean 'angry'"),
        (lambda f: translate(f, "smile", {"joy": "yes"}, of="expresion", rest="no"), "did you mean 'expression'"),
        (lambda f: translate(f, "yaw", {}), "task 'yaw' is a regression"),
        (lambda f: translate(f, "smil", {}), "did you mean 'smile'"),
    ],
)
def test_what_does_not_map_is_named(act, message):
    with pytest.raises(ValueError, match=message):
        act(labelled("anger", "joy"))
