"""What a run's folder holds: for every notebook NN_name its executed `.ipynb`, its page `.html` and its
outcome `.json` (the one before in `previous/`), its numbers in `tables/`; `results.json` merged from the outcomes;
`figures/NN-k.png`; `index.html`.
"""

import json
import logging
import platform
import re
import subprocess
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from filelock import FileLock, Timeout

from facelab import cache

log = logging.getLogger(__name__)
PACKAGES = (
    *("facelab", "torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn"),
    *("safetensors", "anny", "warp-lang", "numba"),
)
EVERY = "[0-9][0-9]_*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Outcome:
    """How one notebook fared.

    digest: all that its results depend on (source, package, parameters, versions, device).
    status: "ok" or "failed"; error: one line, empty if ok.  commit: {"id", "dirty"} or None outside git.
    """

    notebook: str
    title: str
    status: str
    error: str
    minutes: float
    digest: str
    parameters: dict
    results: dict
    versions: dict
    device: str
    commit: dict | None

    @property
    def number(self) -> str:
        return self.notebook[:2]

    @property
    def profile(self) -> str:
        return self.parameters["profile"]

    def save(self, folder: Path) -> None:
        """Write it into a run's folder; what succeeded there before is kept as `previous/NN_name.json`."""
        text, before = json.dumps(asdict(self), indent=1, ensure_ascii=False), outcomes(folder, self.notebook)
        if before and before[self.notebook].status == "ok":
            (folder / "previous").mkdir(exist_ok=True)
            file = f"{self.notebook}.json"
            cache.write_text(folder / "previous" / file, (folder / file).read_text(encoding="utf-8"))
        cache.write_text(folder / f"{self.notebook}.json", text)


def root() -> Path:
    """The folder with `notebooks/`: the clone this package is installed from, else the current folder."""
    for folder in (Path(__file__).parents[2], Path.cwd()):
        if (folder / "notebooks").is_dir():
            return folder
    raise ValueError(f"no folder 'notebooks' in {Path.cwd()}: run this inside a clone of facelab")


def folder(name: str, out: Path | None = None) -> Path:
    """Where the run `name` lives: `reports/runs/<name>`, or under `out`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"run name {name!r}: expected letters, digits, '.', '-' and '_', e.g. 'default'")
    return (Path(out) if out is not None else root() / "reports" / "runs").resolve() / name


def outcomes(folder: Path, stem: str = EVERY) -> dict[str, Outcome]:
    """The outcomes kept in a run's folder, by notebook; stem: of that one only. One that cannot be read counts as never
    run."""
    found = {}
    for file in sorted(folder.glob(f"{stem}.json")) if stem == EVERY else [folder / f"{stem}.json"]:
        if not file.is_file():
            continue
        try:
            found[file.stem] = Outcome(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            log.warning("%s cannot be read (%s): the notebook counts as not run", file, error)
    return found


def merge(folder: Path) -> dict:
    """All results of the notebooks that succeeded, with how they came about; also written as
    `results.json`."""
    good = [o for o in outcomes(folder).values() if o.status == "ok"]
    results: dict = {}
    for outcome in good:
        results |= outcome.results
    results["run"] = {
        "profile": ", ".join(_distinct(o.profile for o in good)),
        "seeds": _distinct(o.parameters["seed"] for o in good if "seed" in o.parameters),
        "versions": good[-1].versions if good else {},
        "device": ", ".join(_distinct(o.device for o in good)),
        "data": _distinct(o.parameters["faces"] for o in good if "faces" in o.parameters),
        "commit": good[-1].commit if good else None,
        "minutes": {o.notebook: round(o.minutes, 2) for o in good},
        "notebooks": {
            o.notebook: {"title": o.title, "parameters": o.parameters, "commit": o.commit}
            | {"versions": o.versions, "device": o.device}
            for o in good
        },
    }
    cache.write_text(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return results


def _distinct(values) -> list:
    return list(dict.fromkeys(values))


def versions() -> dict[str, str | None]:
    """Python and the packages results depend on; None = not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def commit(folder: Path) -> dict | None:
    """The commit checked out at `folder`, and whether tracked files differ from it, Python files that git does not know
    lie anywhere there or notebooks in `folder` itself (not those that a run wrote); None outside git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no")
        new = git("ls-files", "--others", "--exclude-standard", "--", ":(top)*.py", ":(glob)*.ipynb")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"id": head, "dirty": bool(changes or new)}


@contextmanager
def alone(folder: Path):
    """Nobody else writes into a run's folder meanwhile. ValueError where somebody does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.parent / f".{folder.name}.lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(
            f"run {folder.name!r} is going on in another process: wait, or give this one another name"
        ) from None
