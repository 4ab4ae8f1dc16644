"""One code of many embeddings, the linear ways: concatenation and principal components (general-model §3.2).

All operators see the same thing, and so are compared fairly: each source is centred and divided by one scale, such
that every source, wide or narrow, has the same say in the reconstruction error.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from facelab.errors import lacking, unknown, whole
from facelab.nets.embed import Mapped

BLOCK = 2048  # rows held in memory at a time
DEAD = 1e-6  # a spread below this share of the largest value is float32 rounding


class Rows:
    """Embeddings of M sources side by side, read block by block; nothing is copied until then.

    x: a dictionary source → (n, d_i), or an array (n, Σ d_i) with sources = {name: width}. Arrays may be memory maps,
    those of a dictionary also `Mapped`, as `fl.embed(…, mapped=True)` gives them.
    ValueError: sources missing, unknown or of another width than in `sources`, or of unequal length.
    """

    def __init__(self, x, sources: Mapping[str, int] | None = None):
        self.given = "mapping" if isinstance(x, Mapping) else "array"
        if isinstance(x, Mapping):
            arrays = {str(name): _matrix(f"source {name!r}", part) for name, part in x.items()}
            self.sources = {name: part.shape[1] for name, part in arrays.items()} if sources is None else dict(sources)
            if missing := [name for name in self.sources if name not in arrays]:
                raise lacking("the embeddings lack the source", missing, arrays)
            for name in arrays:
                if name not in self.sources:
                    raise unknown("source", name, self.sources)
            self.parts = [arrays[name] for name in self.sources]
        elif sources is None:
            raise ValueError("sources missing: an array of embeddings needs sources={name: width}, e.g. {'age': 128}")
        else:
            if isinstance(x, Mapped):
                raise TypeError(
                    "embeddings that stay on disk (Mapped): expected a dictionary source → rows, not one array"
                )
            self.sources, array = dict(sources), _matrix("the array of embeddings", x)
            self._widths()
            if array.shape[1] != self.width:
                raise ValueError(
                    f"{array.shape[1]} columns do not fit the sources {self.sources}: expected {self.width}"
                )
            self.parts = [array[:, columns] for columns in self.columns.values()]
        self._widths()
        for name, part in zip(self.sources, self.parts, strict=True):
            if part.shape[1] != self.sources[name]:
                raise ValueError(f"source {name!r} is {part.shape[1]} wide: expected {self.sources[name]}")
            if len(part) != len(self):
                first = next(iter(self.sources))
                raise ValueError(f"source {name!r} has {len(part)} rows, but {first!r} has {len(self)}")

    def _widths(self) -> None:
        if not self.sources:
            raise ValueError("there are no sources: expected at least one, e.g. {'age': 128}")
        for name, width in self.sources.items():
            whole(f"width of source {name!r}", width, 1)
        self.sources = {str(name): int(width) for name, width in self.sources.items()}

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def width(self) -> int:
        return sum(self.sources.values())

    @property
    def columns(self) -> dict[str, slice]:
        """Where each source lies in a row."""
        ends = np.cumsum(list(self.sources.values())).tolist()
        return {name: slice(end - self.sources[name], end) for name, end in zip(self.sources, ends, strict=True)}

    def take(self, rows) -> np.ndarray:
        """float64 (b, Σ d_i). ValueError names source and row of the first number that is not finite."""
        out = np.empty((len(rows), self.width))
        for (name, columns), part in zip(self.columns.items(), self.parts, strict=True):
            out[:, columns] = part[rows]
            bad = ~np.isfinite(out[:, columns]).all(1)
            if bad.any():
                raise ValueError(
                    f"source {name!r}: the embedding of row {rows[bad.argmax()]} is not finite (NaN or infinite)"
                )
        return out

    def blocks(self, rows=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(row numbers, their embeddings), at most `BLOCK` at a time."""
        rows = np.arange(len(self)) if rows is None else rows
        for start in range(0, len(rows), BLOCK):
            yield rows[start : start + BLOCK], self.take(rows[start : start + BLOCK])


def _matrix(what: str, x):
    array = x if isinstance(x, (np.ndarray, Mapped)) else np.asarray(x)
    if array.ndim != 2:
        raise ValueError(f"{what} has shape {array.shape}: expected (faces, width)")
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{what} is of {array.dtype}: expected numbers")
    return array


class Operator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What Concat, PCA and the auto-encoders share: the weighted input, and the way back from it.

    z_i = (h_i − μ_i) / s_i · √(D / (M d_i)),  s_i² = mean variance of the d_i dimensions of source i,  D = Σ d_i

    so that every source has the same total variance, D / M, and Eq. 3 is M · mean((ẑ − z)²) = Σ_i MSE_i / s_i².

    After `fit`: sources_ {name: width}, mean_ (D,), scale_ {name: s_i}, n_features_in_ = D.
    """

    def _measure(self, rows: Rows, some=None, *, covariance: bool = True) -> np.ndarray | None:
        """One pass over the rows, or `some` of them: centre, scales; and the covariance of z (D, D), float64."""
        some = np.arange(len(rows)) if some is None else some
        n = len(some)
        if n < 2:
            raise ValueError(f"{n} rows of embeddings: expected at least 2")
        shift = rows.take(some[:BLOCK]).mean(0)  # near the mean, so that the sums do not cancel
        total, products = np.zeros(rows.width), np.zeros((rows.width, rows.width) if covariance else rows.width)
        largest = np.zeros(rows.width)
        for _, block in rows.blocks(some):
            largest = np.maximum(largest, np.abs(block).max(0))
            block -= shift
            total += block.sum(0)
            products += block.T @ block if covariance else np.square(block).sum(0)
        products = products / n - (np.outer(total, total) if covariance else np.square(total)) / n**2
        variance = np.maximum(np.diagonal(products) if covariance else products, 0)
        scale = {}
        for name, columns in rows.columns.items():
            if (np.sqrt(variance[columns]) <= DEAD * largest[columns]).all():
                raise ValueError(f"source {name!r} is constant: all {n} rows have the embedding of row {some[0]}")
            scale[name] = float(np.sqrt(variance[columns].mean()))
        self.sources_, self.mean_, self.scale_, self.n_features_in_ = rows.sources, shift + total / n, scale, rows.width
        self.given_ = rows.given
        return products * np.outer(self._weight, self._weight) if covariance else None

    @property
    def _weight(self) -> np.ndarray:
        """(D,) what turns h − μ into z."""
        width, m = self.n_features_in_, len(self.sources_)
        each = [np.full(d, np.sqrt(width / (m * d)) / self.scale_[name]) for name, d in self.sources_.items()]
        return np.concatenate(each)

    def _rows(self, x) -> Rows:
        check_is_fitted(self, "mean_")
        return Rows(x, self.sources_)

    def transform(self, X) -> np.ndarray:
        """float32 (n, k): the code of every face; X as in `fit`, a dictionary in any order."""
        rows, weight = self._rows(X), self._weight
        out = np.empty((len(rows), self._n_features_out), np.float32)
        for at, block in rows.blocks():
            out[at] = self._encode((block - self.mean_) * weight)
        return out

    def inverse_transform(self, X):
        """The embeddings (n, d_i) that codes X (n, k) stand for, in the sources' own units: a dictionary where the
        operator was fitted to one, else an array (n, D). float32."""
        check_is_fitted(self, "mean_")
        code, k = np.asarray(X), self._n_features_out
        if code.ndim != 2 or code.shape[1] != k:
            raise ValueError(f"codes of shape {code.shape}: expected (faces, {k})")
        if not np.isfinite(code).all():
            raise ValueError(f"the code of row {(~np.isfinite(code).all(1)).argmax()} is not finite")
        out, weight = np.empty((len(code), self.n_features_in_), np.float32), self._weight
        for start in range(0, len(code), BLOCK):
            part = slice(start, start + BLOCK)
            out[part] = self._decode(code[part].astype(np.float64)) / weight + self.mean_
        if self.given_ == "array":
            return out
        ends = np.cumsum(list(self.sources_.values()))[:-1]
        return dict(zip(self.sources_, np.split(out, ends, axis=1), strict=True))

    def _choose(self, n: int) -> int:
        """The size of the code: `dimension`, or the average width of the sources."""
        width, m, k = self.n_features_in_, len(self.sources_), self.dimension
        said = f"dimension {k}"
        if k is None:
            k = max(1, round(width / m))
            said = f"the average width of the {m} sources, {k},"
        whole("dimension", k, 1)
        if k > width:
            raise ValueError(f"{said} is more than the sources are wide together: expected at most {width}")
        if k > n - 1:
            raise ValueError(f"{said} is more than {n} faces allow: expected at most {n - 1}; give dimension= or faces")
        return int(k)


class Concat(Operator):
    """The embeddings side by side, each source centred and scaled: no reduction (general-model Table 6, Concat).

    X: a dictionary source → (n, d_i), as `fl.embed` gives it, or an array (n, D) with sources = {name: width}; memory
    maps are read in blocks. Errors as for `PCA`. Departs from the paper by scaling: the paper's Concat is an MLP with
    the encoder's architecture, trained from scratch on these same columns.

    >>> x = {"age": np.array([[0.0, 2.0], [2.0, 0.0]]), "yaw": np.array([[30.0], [-30.0]])}
    >>> np.square(Concat().fit_transform(x)).mean(0).round(3).tolist()  # as much of the one wide source as of two
    [0.75, 0.75, 1.5]
    """

    def __init__(self, *, sources: Mapping[str, int] | None = None):
        self.sources = sources

    def fit(self, X, y=None):
        """Measure centre and scale of each source; y is ignored."""
        self._measure(Rows(X, self.sources), covariance=False)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """`source_0`, `source_1`, …"""
        check_is_fitted(self, "mean_")
        return np.array([f"{name}_{j}" for name, width in self.sources_.items() for j in range(width)], object)

    def _encode(self, z: np.ndarray) -> np.ndarray:
        return z

    _decode = _encode


class PCA(Operator):
    """The principal components of the weighted embeddings (general-model §4.3, Tables 5–6, PCA).

    h_G = C z,  ẑ = Cᵀ h_G,  C (k, D) the leading eigenvectors of the covariance of z

    The linear code with the least error of Eq. 3. From one pass of sums, so faces are limited by the disk only.

    dimension: k; None: the average width of the sources, the paper's rule of thumb. X: a dictionary source → (n, d_i),
    as `fl.embed` gives it, or an array (n, D) with sources = {name: width}. After `fit`: components_ (k, D), each with
    its largest loading positive; explained_variance_ (k,), the variance of each code, falling.

    ValueError: a source missing, unknown, constant, or of another width; an embedding that is not finite (its source
    and row are named); a dimension above D or n − 1.

    Departs from the paper by weighting: without it the widest or loudest source owns the error. For Eq. 3 the paper
    mixes the indices i and m, and hat and tilde; it is read as the sum over sources.

    >>> rng = np.random.default_rng(0)
    >>> face = rng.normal(size=(50, 2))
    >>> x = {"age": face @ rng.normal(size=(2, 5)), "yaw": 100 * face @ rng.normal(size=(2, 3))}
    >>> pca = PCA(dimension=2).fit(x)
    >>> code = pca.transform(x)
    >>> code.shape, {name: part.shape for name, part in pca.inverse_transform(code).items()}
    ((50, 2), {'age': (50, 5), 'yaw': (50, 3)})
    >>> bool(np.allclose(pca.inverse_transform(code)["yaw"], x["yaw"], atol=1e-3))  # two numbers tell it all
    True
    """

    def __init__(self, dimension: int | None = None, *, sources: Mapping[str, int] | None = None):
        self.dimension, self.sources = dimension, sources

    def fit(self, X, y=None):
        """Find the components; y is ignored."""
        rows = Rows(X, self.sources)
        self._components(len(rows), self._measure(rows))
        return self

    def _components(self, n: int, covariance: np.ndarray) -> None:
        k, width = self._choose(n), len(covariance)
        values, vectors = eigh(covariance, subset_by_index=(width - k, width - 1))
        c = vectors[:, ::-1].T  # (k, D), falling
        sign = np.sign(c[np.arange(k), np.abs(c).argmax(1)])
        self.components_ = np.ascontiguousarray(c * sign[:, None])
        self.explained_variance_ = np.maximum(values[::-1], 0)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _encode(self, z: np.ndarray) -> np.ndarray:
        return z @ self.components_.T

    def _decode(self, code: np.ndarray) -> np.ndarray:
        return code @ self.components_
