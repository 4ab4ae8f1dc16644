"""What is known of a public data set, and whether a folder is one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from facelab.faces.readers.listing import Listing


@dataclass(frozen=True)
class DataSet:
    """A public set of faces: what it is, where to ask for it, how it lies on disk, and its reader.

    labels: the columns it gives. pictures: how many the whole set has. owner: whose project page has it. layout: what
    is expected below its folder. signs: patterns of paths, or questions about the folder, one of which is there or
    answered yes if and only if it is this set.
    read(root, files): its `Listing`, where files are all paths below root. version: raised when the reader changes what
    it gives, so that nothing stale is read from the cache. labelled_by_file: the labels are in a file with a row per
    picture, so that pictures without a row are worth counting.
    """

    name: str
    title: str
    pictures: int
    labels: tuple[str, ...]
    owner: str
    terms: str
    layout: str
    signs: tuple[str | Callable[[Path], bool], ...]
    read: Callable[[Path, list[str]], Listing]
    version: int = 1
    labelled_by_file: bool = False

    def here(self, root: Path) -> bool:
        """Whether this folder is that set."""
        return root.is_dir() and any(
            sign(root) if callable(sign) else next(root.glob(sign), None) is not None for sign in self.signs
        )

    def place(self, root: str | Path, others: Iterable["DataSet"] = ()) -> Path:
        """The set's folder. FileNotFoundError says what is expected below it, whether it is one level off, and which
        of `others` lies there instead.
        """
        root = Path(root).expanduser()
        if not root.exists():
            raise FileNotFoundError(f"there is no folder {root}: expected {self.title}, that is {self.layout}")
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is a file: expected the folder of {self.title}, that is {self.layout}")
        if self.here(root):
            return root
        below = sorted(folder for folder in root.iterdir() if folder.is_dir())[:200]
        near = next((folder for folder in (*below, root.resolve().parent) if self.here(folder)), None)
        if near is not None:
            raise FileNotFoundError(f"{root} is not {self.title}, but {near} is: did you mean root={str(near)!r}?")
        other = next((data for data in others if data.here(root)), None)
        hint = f"; it looks like {other.title}: load({other.name!r}, root=…)" if other else ""
        raise FileNotFoundError(f"{root} is not {self.title}: expected there {self.layout}{hint}")
