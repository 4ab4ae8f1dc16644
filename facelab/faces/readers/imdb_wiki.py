"""IMDB-WIKI: pictures of celebrities with the age computed from dates (R. Rothe, R. Timofte, L. Van Gool, "DEX: deep
expectation of apparent age from a single image", ICCV workshops 2015)."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, listed, mat

_DATENUM = 366  # days by which Matlab's day numbers run ahead of Python's


def _reader(part: str) -> Callable[[Path, list[str]], Listing]:
    def read(root: Path, files: list[str]) -> Listing:
        """The crops with `imdb.mat` or `wiki.mat`: born (a day), photo_taken (a year, taken as its middle), gender.

        Pictures in which no face was found (face_score −inf) are skipped, and ages outside 0 to 120; the dates are
        wrong for a few more. `second_face_score` is there where a second face was seen.
        """
        file = root / f"{part}.mat"
        try:
            (row,) = mat(file)[part].ravel()
            columns = {name: np.ravel(row[name]) for name in row.dtype.names}
            paths = [str(path.item()) if np.size(path) == 1 else "" for path in columns["full_path"]]
            born, taken = columns["dob"].astype(float), columns["photo_taken"].astype(int)
            gender, score = columns["gender"].astype(float), columns["face_score"].astype(float)
            second = columns["second_face_score"].astype(float)
            people = columns["celeb_id"] if part == "imdb" else columns["name"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is not that of IMDB-WIKI ({type(error).__name__}: {error})") from error
        rows, skipped = [], []
        for i, path in enumerate(paths):
            if not np.isfinite(score[i]):
                skipped.append((path, "no face was found in it"))
                continue
            rows.append({
                "file": path,
                "identity": str(people[i].item()) if np.size(people[i]) == 1 else None,
                "age": _age(born[i], taken[i]),
                "gender": {0.0: "female", 1.0: "male"}.get(gender[i]),
                "face_score": score[i],
                "second_face_score": second[i],
            })  # fmt: skip
        return listed(rows, skipped)

    return read


def _age(born: float, taken: int) -> float:
    """Whole years on 1 July of the year the picture was taken.

    >>> _age(date(1980, 7, 2).toordinal() + _DATENUM, 2000), _age(date(1980, 7, 1).toordinal() + _DATENUM, 2000)
    (19.0, 20.0)
    """
    if not 1 <= taken <= 9999 or not 1 <= born - _DATENUM < date.max.toordinal():
        return float("nan")
    day = date.fromordinal(int(born) - _DATENUM)
    return float(taken - day.year - ((day.month, day.day) > (7, 1)))


def _set(part: str, pictures: int) -> DataSet:
    return DataSet(
        name=part,
        title=f"{part.upper()} of IMDB-WIKI",
        pictures=pictures,
        labels=("identity", "age", "gender", "face_score", "second_face_score"),
        owner="Rasmus Rothe, Computer Vision Laboratory, ETH Zurich",
        terms="academic research",
        layout=f"{part}.mat and the folders 00 to 99, as in {part}_crop",
        signs=(f"{part}.mat",),
        read=_reader(part),
        labelled_by_file=True,
    )


IMDB, WIKI = _set("imdb", 460_723), _set("wiki", 62_328)
