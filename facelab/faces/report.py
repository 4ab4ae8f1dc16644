"""What reading a set of pictures left out, and why."""

import logging
from collections import Counter
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Report:
    """What a reader kept and what it left out.

    kept: pictures in the set. skipped: (file or row, why) of each that is not.

    >>> print(Report("mine", 8, (("a.jpg", "cannot be read as an image"), ("b.jpg", "cannot be read as an image"))))
    mine: 8 faces; left out: 2 (cannot be read as an image)
    """

    name: str
    kept: int
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many were left out for each reason, most frequent first."""
        return dict(Counter(why for _, why in self.skipped).most_common())

    def table(self) -> pd.DataFrame:
        """One row for each picture or row of a label file that was left out: file, why."""
        return pd.DataFrame(list(self.skipped), columns=["file", "why"])

    def tell(self, log: logging.Logger) -> None:
        """One warning where something was left out."""
        if self.skipped:
            log.warning("%s", self)

    def __str__(self) -> str:
        left = ", ".join(f"{n:,} ({why})" for why, n in self.counts.items())
        return f"{self.name}: {self.kept:,} faces" + (f"; left out: {left}" if left else "")
