"""What reading a set of pictures left out or found no label for, and why."""

import logging
from collections import Counter
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Report:
    """What a reader kept and what it left out.

    kept: pictures in the set. skipped: (file or row, why) of each that is not. lacking: (file, why) of each that is,
    but whose label is missing because a label file has none for it; once for each such file.

    >>> print(Report("mine", 8, (("a.jpg", "cannot be read as an image"), ("b.jpg", "cannot be read as an image"))))
    mine: 8 faces; left out: 2 (cannot be read as an image)
    >>> print(Report("mine", 8, lacking=(("c.jpg", "no row in people.txt"),)))
    mine: 8 faces; without a label: 1 (no row in people.txt)
    """

    name: str
    kept: int
    skipped: tuple[tuple[str, str], ...] = ()
    lacking: tuple[tuple[str, str], ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many were left out for each reason, most frequent first."""
        return _counted(self.skipped)

    def table(self) -> pd.DataFrame:
        """One row for each picture or row of a label file that was left out: file, why."""
        return pd.DataFrame(list(self.skipped), columns=["file", "why"])

    def tell(self, log: logging.Logger) -> None:
        """One warning where something was left out or has no label."""
        if self.skipped or self.lacking:
            log.warning("%s", self)

    def __str__(self) -> str:
        said = f"{self.name}: {self.kept:,} faces"
        for what, rows in (("left out", self.skipped), ("without a label", self.lacking)):
            if rows:
                said += f"; {what}: " + ", ".join(f"{n:,} ({why})" for why, n in _counted(rows).items())
        return said


def _counted(rows: tuple[tuple[str, str], ...]) -> dict[str, int]:
    return dict(Counter(why for _, why in rows).most_common())
