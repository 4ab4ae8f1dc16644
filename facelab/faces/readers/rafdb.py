"""RAF-DB, basic part: photos with the expression that about 40 people saw (S. Li, W. Deng, J. Du, "Reliable
crowdsourcing and deep locality-preserving learning for expression recognition in the wild", CVPR 2017)."""

from pathlib import Path

from facelab.faces.readers.dataset import DataSet
from facelab.faces.readers.listing import Listing, first, lines, listed

EXPRESSIONS = {"1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral"}
LISTS = ("EmoLabel/list_patition_label.txt", "list_patition_label.txt", "basic/EmoLabel/list_patition_label.txt")
_PLACES = ("Image/aligned", "aligned", "Image/original", "original")


def read(root: Path, files: list[str]) -> Listing:
    """list_patition_label.txt: train_00001.jpg 5. The aligned pictures are taken where they are there."""
    list_ = first(root, *LISTS)
    base = list_.parent.parent if list_.parent.name == "EmoLabel" else list_.parent
    folder = first(base, *_PLACES)
    if folder is None:
        raise FileNotFoundError(f"{base} has none of the folders {', '.join(_PLACES)}: RAF-DB's pictures lie there")
    below, ending = folder.relative_to(root).as_posix(), "_aligned" if folder.name == "aligned" else ""
    rows, skipped = [], []
    for i, line in enumerate(lines(list_)):
        name, _, code = line.strip().partition(" ")
        split = name.partition("_")[0]
        if split not in ("train", "test") or code.strip() not in EXPRESSIONS:
            skipped.append((f"{list_.name}, line {i + 1}", "no picture of train or test with a class of 1 to 7"))
            continue
        path = Path(name)
        file = f"{below}/{path.stem}{ending}{path.suffix}"
        rows.append({"file": file, "expression": EXPRESSIONS[code.strip()], "split": split})
    return listed(rows, skipped)


SET = DataSet(
    name="rafdb",
    title="RAF-DB",
    pictures=15_339,
    labels=("expression", "split"),
    owner="Shan Li and Weihong Deng, Beijing University of Posts and Telecommunications",
    terms="non-commercial research, on request",
    layout="EmoLabel/list_patition_label.txt and Image/aligned or Image/original, of the basic part",
    signs=LISTS,
    read=read,
    labelled_by_file=True,
)
