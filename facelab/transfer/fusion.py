"""Fusing what M source networks say of a face into one code h_G, and how well it is read back (general-model §3.2).

The operators `Concat`, `PCA`, `AE`, `VAE` and `DAE` keep scikit-learn's contract: fit, transform, inverse_transform.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from facelab import cache, devices, workers
from facelab.errors import unknown
from facelab.transfer.autoencoder import AE, DAE, VAE
from facelab.transfer.codes import DEAD, PCA, Concat, Operator, Rows

OPERATORS = {operator.__name__: operator for operator in (Concat, PCA, AE, VAE, DAE)}
VERSION = 4  # of what fitting gives
GENTLE = {"lr": 5e-4, "dropout": 0.3}  # of the second auto-encoder in `auto_encoders`
__all__ = [
    "AE",
    "DAE",
    "OPERATORS",
    "PCA",
    "VAE",
    "Concat",
    "anchors",
    "auto_encoders",
    "fitted",
    "load",
    "nrmse",
    "save",
]


def nrmse(x, x_hat, sources=None) -> pd.DataFrame:
    """Normalised reconstruction error of each source (general-model Table 5).

    nRMSE_i = mean over j of √(mean over faces of (ĥ_ij − h_ij)²) / std(h_ij)

    0 is perfect, 1 as good as the mean. x, x_hat: dictionaries source → (n, d_i), or arrays (n, D) with sources =
    {name: width}. One row per source: nrmse, dimensions (that count), constant (dimensions without spread in x, left
    out). ValueError: other sources, widths or numbers of rows; numbers that are not finite; a source of constant
    dimensions only. Departs from the paper by its scale: the paper's is not stated, and gives 1.4 to chance.

    >>> x = {"age": np.array([[0.0, 1.0], [2.0, 1.0]])}
    >>> nrmse(x, {"age": np.array([[0.5, 1.0], [1.5, 1.0]])}).loc["age"].tolist()
    [0.5, 1.0, 1.0]
    """
    rows = Rows(x, sources)
    found = Rows(x_hat, rows.sources)
    if len(found) != len(rows):
        raise ValueError(f"{len(found)} reconstructions do not fit {len(rows)} embeddings")
    spread = _spread(rows)[1]
    return _table(rows, spread, _error(rows, lambda at, block: found.take(at)))


def anchors(x, sources=None, *, seed: int = 0) -> pd.DataFrame:
    """What says nothing scores in `nrmse`, one row per source: mean (1), another face's embedding (about √2), and
    uniform random numbers between the least and the largest of each dimension (as measured).

    x, sources as for `nrmse`, at least 2 faces. Departs from the paper by the last row: its range is not stated.

    >>> x = {"age": np.random.default_rng(0).normal(size=(2000, 8))}
    >>> anchors(x).round(1).loc["age", ["mean", "shuffled"]].tolist()
    [1.0, 1.4]
    """
    rows, rng = Rows(x, sources), np.random.default_rng(seed)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} faces: expected at least 2, to take one for another")
    mean, spread, low, high = _spread(rows)
    order = rng.permutation(len(rows))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)  # one cycle: nobody gets their own
    guesses = {
        "mean": lambda at, block: mean,
        "shuffled": lambda at, block: rows.take(other[at]),
        "uniform": lambda at, block: rng.uniform(low, high, block.shape),
    }
    return pd.DataFrame({name: _table(rows, spread, _error(rows, guess)).nrmse for name, guess in guesses.items()})


def _spread(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation (0 where it is rounding), least and largest of each dimension (D,)."""
    if len(rows) == 0:
        raise ValueError("there are no faces: expected at least one")
    total, low, high = np.zeros(rows.width), np.full(rows.width, np.inf), np.full(rows.width, -np.inf)
    for _, block in rows.blocks():
        total += block.sum(0)
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
    mean, squares = total / len(rows), np.zeros(rows.width)
    for _, block in rows.blocks():
        squares += np.square(block - mean).sum(0)
    spread = np.sqrt(squares / len(rows))
    spread[spread <= DEAD * np.maximum(np.abs(low), np.abs(high))] = 0
    return mean, spread, low, high


def _error(rows: Rows, guess) -> np.ndarray:
    """(D,) root mean squared error of guess(row numbers, their embeddings)."""
    squares = np.zeros(rows.width)
    for at, block in rows.blocks():
        squares += np.square(guess(at, block) - block).sum(0)
    return np.sqrt(squares / len(rows))


def _table(rows: Rows, spread: np.ndarray, error: np.ndarray) -> pd.DataFrame:
    table = {}
    for name, columns in rows.columns.items():
        live = spread[columns] > 0
        if not live.any():
            raise ValueError(
                f"source {name!r} is constant over these {len(rows)} faces: there is no spread to compare to"
            )
        share = float((error[columns][live] / spread[columns][live]).mean())
        table[name] = {"nrmse": share, "dimensions": int(live.sum()), "constant": int((~live).sum())}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("source")


def save(operator: Operator, file) -> Path:
    """Write a fitted operator as one safetensors file, without pickle; the file's path is returned.

    TypeError for anything but one of the five operators; NotFittedError before `fit`.
    """
    if type(operator) not in OPERATORS.values():
        raise TypeError(f"expected one of {', '.join(OPERATORS)}, not {type(operator).__name__}")
    check_is_fitted(operator, "net_" if isinstance(operator, AE) else "mean_")
    state, file = vars(operator), Path(file)
    arrays = {
        name: state[name] for name in ("mean_", "components_", "explained_variance_", "held_out_") if name in state
    }
    settings = {k: v.item() if isinstance(v, np.generic) else v for k, v in operator.get_params(deep=False).items()}
    if settings["sources"] is not None:
        settings["sources"] = state["sources_"]
    if "device" in settings:
        settings["device"] = str(settings["device"])
    about = {"operator": type(operator).__name__, "settings": settings}
    about |= {name: state[name] for name in ("sources_", "scale_", "given_", "best_epoch_") if name in state}
    if isinstance(operator, AE):
        arrays |= {f"net_.{name}": value.cpu().numpy() for name, value in operator.net_.state_dict().items()}
        about["history_"] = operator.history_.to_dict("list")
    cache.write_tensors(file, arrays, about)
    return file


def fitted(operator: Operator, x, *, groups=None) -> Operator:
    """The operator fitted on the embeddings x, from the cache if it was fitted on these very numbers before.

    >>> x = {"age": np.random.default_rng(0).normal(size=(20, 4))}
    >>> fitted(PCA(dimension=2), x).components_.shape
    (2, 4)
    """
    rows, name = Rows(x, operator.sources), type(operator).__name__
    settings = {k: v for k, v in operator.get_params(deep=False).items() if k not in ("device", "progress", "sources")}
    depends = {"x": cache.content(block for _, block in rows.blocks()), "settings": settings}
    depends |= {"sources": list(rows.sources.items()), "given": rows.given}
    if groups is not None:
        depends["groups"] = cache.content([np.unique(np.asarray(groups), return_inverse=True)[1]])

    def fill(folder: Path) -> None:
        operator.fit(x, **({} if groups is None or not isinstance(operator, AE) else {"groups": groups}))
        save(operator, folder / "operator.safetensors")

    entry = cache.build(cache.path("operators", name, version=VERSION, **depends), fill)
    return load(entry / "operator.safetensors", device=getattr(operator, "device", "auto"))


def auto_encoders(x, dimension: int | None = None, *, groups=None, n_jobs: int = 1, **how) -> list[AE]:
    """Two auto-encoders fitted on the embeddings x as `fitted` does, one by a gentler training (`GENTLE`); the one with
    the smaller error on the people held out of x comes first. n_jobs: processes. how: for `AE`.

    >>> x = {"age": np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)}
    >>> best, other = auto_encoders(x, 2, epochs=1, hidden=8, device="cpu")
    >>> bool(best.history_["val_loss"].min() <= other.history_["val_loss"].min())
    True
    """
    asked = {i: {"operator": AE(dimension, **how | more)} for i, more in enumerate(({}, GENTLE))}
    both = workers.several(fitted, asked, x=x, groups=groups, n_jobs=n_jobs, progress=False)
    return sorted(both.values(), key=lambda one: one.history_["val_loss"].min())


def load(file, *, device="auto") -> Operator:
    """The fitted operator that `save` wrote; `device`: where an auto-encoder codes.

    FileNotFoundError where there is no file; ValueError where it is damaged or holds something else.

    >>> import tempfile
    >>> x = {"age": np.random.default_rng(0).normal(size=(20, 4))}
    >>> pca = PCA(dimension=2).fit(x)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load(save(pca, Path(folder) / "pca.safetensors"))
    >>> bool((again.transform(x) == pca.transform(x)).all())
    True
    """
    arrays, about = cache.read_tensors(Path(file))
    if not isinstance(about, dict) or about.get("operator") not in OPERATORS:
        found = about.get("operator") if isinstance(about, dict) else None
        raise ValueError(f"{file}: {unknown('operator', found, OPERATORS)}")
    try:
        operator = OPERATORS[about["operator"]](**about["settings"])
        for name in ("sources_", "scale_", "given_"):
            setattr(operator, name, about[name])
        for name, value in arrays.items():
            if not name.startswith("net_."):
                setattr(operator, name, value)
        operator.n_features_in_ = len(operator.mean_)
        if isinstance(operator, AE):
            operator.best_epoch_ = about["best_epoch_"]
            operator.history_ = pd.DataFrame(about["history_"]).astype({"epoch": int})
            net = {name.removeprefix("net_."): torch.from_numpy(v) for name, v in arrays.items() if name[:5] == "net_."}
            operator.net_ = operator._blank()
            operator.net_.load_state_dict(net)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{file} is no whole {about['operator']} ({error})") from error
    if isinstance(operator, AE):
        operator.net_.to(devices.device(device)).eval()
    return operator
