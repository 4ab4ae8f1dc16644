"""The explorer of fused codes: what is read back of a face, who is near it in every code, and a map of all faces."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.manifold import TSNE

from facelab.errors import lacking
from facelab.transfer.codes import BLOCK, DEAD, Rows
from facelab.workbench import code_plots, plots, style
from facelab.workbench.fusion_plots import looks
from facelab.workbench.live import Explorer, choice, slider

FUSED = "fused code"
OTHERS, ANYONE = "other people only", "same person allowed"
COMPONENTS, TSNE_MAP = "first components", "t-SNE"
NO_LABEL = "no label"


class FusionExplorer(Explorer):
    """One face after another through fusing operators: read back, its nearest faces, and where it lies on a map.

    faces: n held-out faces. codes: name → (n, d), further codes, such as a student's; may be empty. operators: name, or
    (name, dimension) where there are several → a fitted operator of `transfer.fusion`. embeddings: source → (n, d_i),
    what the operators fuse.

    The error of a face is √(mean over j of ((ĥ_j − h_j) / std_j)²), the spread that of these faces: 0 is perfect, and
    the mean face has 1 on average. Near is by the cosine of centred codes. The map shows at most 1,000 faces; t-SNE is
    computed when it is first asked for, once a code, with a fixed seed.

    ValueError: other numbers of rows, a number that is not finite, a source that an operator lacks or that has another
    width, two codes of one name, an operator that is not fitted, fewer than 4 faces.
    """

    SHOWN = 6
    MAPPED = 1000

    def __init__(self, faces, codes: Mapping, operators: Mapping, *, embeddings: Mapping):
        self.faces, self.embeddings = faces, {str(k): np.asarray(v) for k, v in embeddings.items()}
        self.codes = {str(k): np.asarray(v) for k, v in (codes or {}).items()}
        self._check()
        self.operators = {}
        for key, operator in operators.items():
            name, k = self._named(key, operator)
            if k in self.operators.setdefault(name, {}):
                raise ValueError(f"operator {name!r} is given twice with {k} numbers: name them apart")
            self.operators[name][k] = operator
        if not self.operators:
            raise ValueError('there are no operators: expected at least one, e.g. {"PCA": PCA(64).fit(embeddings)}')
        self._looks, self._kept = looks(self.operators), {}
        order = np.random.default_rng(0).permutation(len(faces))[: self.MAPPED]
        self._mapped = np.sort(order)
        first, shown = next(iter(self.operators)), self._labels()
        known = next(iter(next(iter(self.operators[first].values())).sources_))
        controls = {
            "operator": choice("operator", self.operators),
            "dimension": choice("numbers in the code", sorted(self.operators[first])),
            "source": choice("source read back", self.embeddings, known),
            "face": slider("face", 0, len(faces) - 1, 0),
            "neighbours": choice("nearest faces", [OTHERS, ANYONE]),
            "code": choice("map of", [FUSED, *self.embeddings, *self.codes]),
            "map": choice("map by", [COMPONENTS, TSNE_MAP]),
            "label": choice("colour by", shown, next((c for c in ("gender", "age", "yaw") if c in shown), shown[0])),
        }
        self._rows = [FUSED, *self.embeddings, *self.codes]
        super().__init__(controls, (11.0, max(6.2, 0.85 + 0.86 * len(self._rows))))

    def _check(self) -> None:
        n, both = len(self.faces), set(self.embeddings) & set(self.codes)
        if n < 4:
            raise ValueError(f"{n} faces: expected at least 4, to have some to compare with")
        for name in [*both, *(c for c in (*self.embeddings, *self.codes) if c == FUSED)]:
            raise ValueError(f"the name {name!r} is taken: a code and an embedding need names of their own")
        for array in (self.embeddings, self.codes) if self.codes else (self.embeddings,):
            rows = Rows(array)
            if len(rows) != n:
                raise ValueError(f"{len(rows)} codes for {n} faces: expected one each, of {self.faces.name!r}")
            for _ in rows.blocks():  # a number that is not finite is named here
                pass

    def _named(self, key, operator) -> tuple[str, int]:
        """Name and size of the code; ValueError where the operator does not fit the embeddings."""
        name = str(key[0] if isinstance(key, tuple) else key)
        if not hasattr(operator, "inverse_transform"):
            raise TypeError(f"operator {name!r} is {type(operator).__name__}: expected one of transfer.fusion")
        if not hasattr(operator, "sources_"):
            raise ValueError(f"operator {name!r} is not fitted: call fit(embeddings) on other faces first")
        if missing := [source for source in operator.sources_ if source not in self.embeddings]:
            raise lacking(f"operator {name!r}: the embeddings lack the source", missing, self.embeddings)
        try:
            Rows(self._of(operator), operator.sources_)
        except ValueError as error:
            raise ValueError(f"operator {name!r}: {error}") from error
        return name, int(key[1]) if isinstance(key, tuple) else len(operator.get_feature_names_out())

    def _of(self, operator, rows=slice(None)) -> dict[str, np.ndarray]:
        return {source: self.embeddings[source][rows] for source in operator.sources_}

    def _labels(self) -> list[str]:
        """The labels that tell faces apart."""
        found = [str(c) for c in self.faces.labels if self.faces.labels[c].nunique() > 1]
        return found or [NO_LABEL]

    def adapt(self, name):
        if name == "operator":
            size, before = self.controls["dimension"], self.controls["dimension"].value
            size.options = sorted(self.operators[self.controls["operator"].value])
            size.value = before if before in size.options else size.options[0]

    def fused(self, operator: str, dimension: int) -> np.ndarray:
        """(n, k) the code of every face by this operator."""
        chosen = self.operators[operator][dimension]
        return self._once(("code", operator, dimension), lambda: chosen.transform(self._of(chosen)))

    def read(self, operator: str, dimension: int, source: str, rows=slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """(b, d) embeddings of these rows and what is read back of them, in standard deviations from the mean."""
        chosen = self.operators[operator][dimension]
        if source not in chosen.sources_:
            fitted = ", ".join(map(repr, chosen.sources_))
            raise ValueError(f"operator {operator!r} was fitted without source {source!r}: it reads back {fitted}")
        back = chosen.inverse_transform(self.fused(operator, dimension)[rows])
        if not isinstance(back, Mapping):
            ends = np.cumsum(list(chosen.sources_.values()))[:-1]
            back = dict(zip(chosen.sources_, np.split(back, ends, axis=1), strict=True))
        mean, spread = self._once(("spread", source), lambda: self._spread(source))
        live = spread > 0
        pair = self.embeddings[source][rows], back[source]
        return tuple((part[:, live] - mean[live]) / spread[live] for part in pair)

    def errors(self, operator: str, dimension: int, source: str) -> np.ndarray:
        """(n,) the error of every face."""

        def measured():
            parts = (slice(start, start + BLOCK) for start in range(0, len(self.faces), BLOCK))
            pairs = (self.read(operator, dimension, source, part) for part in parts)
            return np.concatenate([np.sqrt(np.square(x_hat - x).mean(1)) for x, x_hat in pairs])

        return self._once(("errors", operator, dimension, source), measured)

    def nearest(self, name: str, face: int, *, same: bool, operator: str, dimension: int):
        """Row numbers of the nearest faces in a code, nearest first, and their cosines; same: of the same person too.

        Faces without an identity count as people of their own.
        """
        x = self._code(name, operator, dimension)
        at = (name, operator, dimension) if name == FUSED else (name,)
        mean = self._once(("mean", *at), lambda: x.mean(0, dtype=float))
        norm = self._once(("norm", *at), lambda: np.sqrt(np.square(x - mean).sum(1)))
        centred = x[face] - mean
        with np.errstate(invalid="ignore", divide="ignore"):  # a face at the mean has no direction
            cosine = np.nan_to_num((x @ centred - mean @ centred) / (norm * norm[face]), nan=-1.0)
        out = self._people == self._people[face] if not same else np.arange(len(x)) == face
        order = np.argsort(np.where(out, np.inf, -cosine), kind="stable")[: self.SHOWN]
        order = order[~out[order]]
        return order, cosine[order]

    @property
    def _people(self) -> np.ndarray:
        return self._once("people", lambda: self.faces.identities)

    def _code(self, name: str, operator: str, dimension: int) -> np.ndarray:
        if name == FUSED:
            return self.fused(operator, dimension)
        return self.embeddings[name] if name in self.embeddings else self.codes[name]

    def _spread(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        x = self.embeddings[source].astype(float)
        spread = x.std(0)
        spread[spread <= DEAD * np.abs(x).max(0)] = 0
        if not spread.any():
            raise ValueError(f"source {source!r} is constant over these {len(x)} faces: nothing to read back")
        return x.mean(0), spread

    def _layout(self, name: str, how: str, operator: str, dimension: int):
        """(m, 2) the mapped faces, and a function that places any face, or None."""
        x = self._code(name, operator, dimension)

        def placed():
            sample = x[self._mapped].astype(float)
            mean = sample.mean(0)
            u, s, axes = np.linalg.svd(sample - mean, full_matrices=False)
            if how == COMPONENTS:
                axes = np.vstack([axes[:2], np.zeros((2, axes.shape[1]))])[:2]
                return (sample - mean) @ axes.T, (mean, axes)
            near = (u * s)[:, :50]  # t-SNE of the first 50 components, as its authors do
            method = "barnes_hut" if near.shape[1] > 1 else "exact"
            start = "pca" if near.shape[1] > 1 else "random"
            tsne = TSNE(2, init=start, method=method, perplexity=min(30.0, (len(near) - 1) / 3), random_state=0)
            return tsne.fit_transform(near), None

        at = (name, operator, dimension) if name == FUSED else (name,)
        return self._once(("map", how, *at), placed)

    def _once(self, key, make):
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def draw(self, figure, face, operator, dimension, source, neighbours, code, map, label):
        high, tint = figure.get_figheight(), self._looks[operator]["color"]
        errors = self.errors(operator, dimension, source)
        better = 100 * float((errors > errors[face]).sum()) / (len(errors) - 1)
        self._top(figure, high, tint, face, operator, dimension, source, errors)
        ax = figure.add_axes((0.035, 0.75 / high, 0.365, (high - 4.5) / high))
        self._map(ax, face, operator, dimension, code, map, label)
        near = self._strips(figure, high, face, operator, dimension, neighbours == ANYONE)
        return (
            f"face {face}: {operator} with {dimension} numbers reads back its {style.words(source)} embedding with an "
            f"error of {style.number(errors[face])} (0: perfect, 1: the mean face), better than {better:.0f} % of the "
            f"other faces; nearest in the {FUSED}: {', '.join(f'face {i}' for i in near) or 'nobody'}"
        )

    def _top(self, figure, high, tint, face, operator, dimension, source, errors) -> None:
        bottom, tall = (high - 2.72) / high, 2.2 / high
        picture = figure.add_axes((0.008, (high - 1.65) / high, 0.115, 1.3 / high))
        plots.faces(self.faces, [face], ax=picture)
        picture.set_title(f"face {face}", fontsize=9, loc="left", color=style.INK)
        row = self.faces.labels.iloc[face]
        told = [c for c in ("gender", "age", "ethnicity", "expression") if pd.notna(row.get(c))]
        said = [f"{row[c]:.0f} years" if c == "age" else style.words(str(row[c])) for c in told]
        figure.text(0.01, (high - 1.72) / high, "\n".join(said), fontsize=8.5, va="top", color=style.INK)
        x, x_hat = self.read(operator, dimension, source, slice(face, face + 1))
        scatter = figure.add_axes((0.185, bottom, 0.17, tall))
        code_plots.read_back(x[0], x_hat[0], tint=tint, ax=scatter)
        scatter.set_title(f"{style.words(source)} read back", fontsize=9, loc="left", color=style.INK)
        histogram = figure.add_axes((0.41, bottom, 0.14, tall))
        code_plots.error_histogram(errors, face, tint=tint, ax=histogram)

    def _map(self, ax, face, operator, dimension, code, how, label) -> None:
        points, axes = self._layout(code, how, operator, dimension)
        found = np.flatnonzero(self._mapped == face)
        here = None
        if not len(found) and axes is not None:
            here = (self._code(code, operator, dimension)[face] - axes[0]) @ axes[1].T
        shown = self._mapped
        values = self.faces.labels[label].iloc[shown] if label != NO_LABEL else ["a face"] * len(shown)
        code_plots.code_map(points, values, label, at=int(found[0]) if len(found) else None, here=here, ax=ax)
        one, two = ("first", "second") if how == COMPONENTS else ("t-SNE 1", "t-SNE 2")
        unit = " component" if how == COMPONENTS else " (no unit)"
        ax.set(xlabel=one + unit, ylabel=two + unit)
        name = f"{operator}, {dimension} numbers" if code == FUSED else style.words(code)
        away = "" if len(found) or here is not None else "; this face is not among them"
        figure, box = ax.figure, ax.get_position()
        raised = 0.36 if ax.child_axes else 0.08  # above the legend, where there is one
        figure.text(box.x0, box.y1 + raised / figure.get_figheight(), f"map of {name}: {len(points)} faces{away}",
                    fontsize=9, color=style.INK)  # fmt: skip

    def _strips(self, figure, high, face, operator, dimension, same) -> list[int]:
        left, wide, step = 0.705, 0.29, (high - 0.75) / len(self._rows)
        step = min(step, 0.95)
        said = "anyone (below: cosine; =: the same person)" if same else "other people (below: cosine)"
        figure.text(0.585, (high - 0.2) / high, f"nearest faces, {said}", fontsize=9, color=style.INK)
        for i, name in enumerate(self._rows):
            bottom = high - 0.3 - (i + 1) * step
            rows, cosines = self.nearest(name, face, same=same, operator=operator, dimension=dimension)
            if i == 0:
                first = [int(row) for row in rows]
            shown = f"{FUSED}\n({operator}, {dimension})" if name == FUSED else style.words(name)
            figure.text(left - 0.01, (bottom + 0.6 * step) / high, shown, fontsize=9, ha="right", va="center",
                        color=style.INK)  # fmt: skip
            if not len(rows):
                figure.text(left, (bottom + 0.6 * step) / high, "nobody else here", fontsize=9, va="center")
                continue
            strip = figure.add_axes((left, bottom / high, wide, 0.96 * step / high))
            mine = self._people[rows] == self._people[face]
            texts = [f"{style.number(v)}{' =' if own else ''}" for v, own in zip(cosines, mine, strict=True)]
            plots.faces(self.faces, rows, texts, columns=self.SHOWN, ax=strip)
            strip.set_anchor("W")
        return first
