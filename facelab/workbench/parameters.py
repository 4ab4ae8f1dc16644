"""What a notebook can be told: the annotated literals of its one cell tagged `parameters`.

The cell is read, never run: papermill sets parameters in a cell of its own after it, so anything derived in
it would keep its old value.
"""

import ast
from dataclasses import dataclass

from facelab.errors import unknown

_KINDS = {"str": str, "int": int, "float": (int, float), "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line `name: kind = default` of the cell; kind as written, e.g. "float", "str | None",
    "list[int]"."""

    name: str
    kind: str
    default: object

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} = {self.default!r}"

    def check(self, value):
        """`value` itself, or TypeError that names what was expected."""
        if not _fits(value, self.kind):
            raise TypeError(
                f"parameter {self.name!r}: expected {self.kind} (as in `{self}`), not {type(value).__name__} {value!r}"
            )
        return value

    def parse(self, text: str):
        """The value a command line means by `text`.

        >>> Parameter("gamma", "float", 0.01).parse("1e-3")
        0.001
        >>> Parameter("gamma", "float", 0.01).parse("small")
        Traceback (most recent call last):
            ...
        TypeError: parameter 'gamma': expected float (as in `gamma: float = 0.01`), not str 'small'
        """
        if self.kind == "str":
            return text
        try:
            value = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
        except (ValueError, SyntaxError):
            value = text
        return self.check(value)


def _fits(value, kind: str) -> bool:
    if kind.endswith(" | None"):
        return value is None or _fits(value, kind.removesuffix(" | None"))
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(v, kind[5:-1]) for v in value)
    return isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))


def _known(kind: str) -> bool:
    if kind.endswith(" | None"):
        return _known(kind.removesuffix(" | None"))
    return _known(kind[5:-1]) if kind.startswith("list[") and kind.endswith("]") else kind in _KINDS


def read(notebook, name: str = "notebook") -> dict[str, Parameter]:
    """The parameters a notebook (an nbformat node) declares. ValueError names the line that is something
    else."""
    cells = [c for c in notebook.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{name}: expected one code cell tagged 'parameters', found {len(cells)}")
    declared = {}
    try:
        lines = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise ValueError(f"{name}: parameters cell, line {error.lineno}: {error.msg}") from error
    for line in lines:
        parameter = _literal(line)
        if parameter is None:
            raise ValueError(
                f"{name}: parameters cell, line {line.lineno}: expected an annotated literal such as "
                f"`gamma: float = 0.01`, not `{ast.unparse(line)}`"
            )
        if parameter.name in declared:
            raise ValueError(f"{name}: parameters cell, line {line.lineno}: {parameter.name!r} is set twice")
        declared[parameter.name] = parameter
    return declared


def _literal(line: ast.stmt) -> Parameter | None:
    if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
        return None
    kind = ast.unparse(line.annotation)
    try:
        default = ast.literal_eval(line.value)
    except ValueError:
        return None
    return Parameter(line.target.id, kind, default) if _known(kind) and _fits(default, kind) else None


def check(values: dict, declared: dict[str, Parameter]) -> dict:
    """All parameters with `values` in place of their defaults. ValueError for an unknown name, TypeError for
    a value of the wrong kind."""
    for name in values:
        if name not in declared:
            raise unknown("parameter", name, declared)
    return {name: p.check(values[name]) if name in values else p.default for name, p in declared.items()}
