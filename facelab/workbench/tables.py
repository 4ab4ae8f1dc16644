"""Recorded numbers as tables for other programs: CSV, and LaTeX for a paper; and which numbers stand for a notebook."""

import re
from functools import lru_cache
from pathlib import Path

import pandas as pd

from facelab import cache
from facelab.workbench import runs

COLUMNS = ("value", "low", "high", "unit", "paper", "note")
_QUOTED = re.compile(r"<!--result (\d\d\.[^\s:]+)")
_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"\textdegree{}",
        "–": "--", "…": r"\ldots{}"}  # fmt: skip
_MATH = {"ρ": r"\rho", "×": r"\times", "λ": r"\lambda", "±": r"\pm", "β": r"\beta", "γ": r"\gamma", "½": r"\frac{1}{2}",
         "²": "^2", "−": "-", "≤": r"\leq", "≥": r"\geq", "→": r"\to", "μ": r"\mu", "σ": r"\sigma"}  # fmt: skip
_TEX |= {sign: f"${command}$" for sign, command in _MATH.items()}


def frame(results: dict[str, dict]) -> pd.DataFrame:
    """Recorded entries as a table: result, value, low, high, unit, paper, note.

    >>> entry = {"value": 0.83, "low": 0.8, "high": 0.85, "unit": "R²", "paper": None, "note": ""}
    >>> frame({"02.yaw.score": entry}).loc[0, "result"]
    '02.yaw.score'
    """
    rows = [(key, *(entry[column] for column in COLUMNS)) for key, entry in results.items()]
    return pd.DataFrame(rows, columns=["result", *COLUMNS])


def write(results: dict[str, dict], file: Path) -> None:
    """The entries beside each other as `<file>.csv`, every digit, and as `<file>.tex`, four digits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(file.with_suffix(".csv"), frame(results).to_csv(index=False))
    cache.write_text(file.with_suffix(".tex"), latex(frame(results)))


def latex(table: pd.DataFrame) -> str:
    """A table in LaTeX with the rules of the package booktabs; numbers with four significant digits, an empty cell
    where there is none.

    >>> print(latex(pd.DataFrame({"unit": ["50 %"], "R²": [0.83126]})), end="")
    \\begin{tabular}{lr}
    \\toprule
    unit & R$^2$ \\\\
    \\midrule
    50 \\% & 0.8313 \\\\
    \\bottomrule
    \\end{tabular}
    """
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    lines = [rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in numbers)}}}", r"\toprule"]
    lines += [" & ".join(map(_escaped, table.columns)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_cell, row)) + r" \\" for row in table.itertuples(index=False)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cell(value) -> str:
    if isinstance(value, str):
        return _escaped(value)
    if value is None or value != value:
        return ""
    return _escaped(str(value)) if isinstance(value, (bool, list)) else f"{value:.4g}" if value % 1 else f"{value:.0f}"


def _escaped(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)


def headline(results: dict[str, dict], most: int = 8) -> list[str]:
    """The keys that stand for a notebook: those the README quotes; in a notebook that it does not know, those beside
    which a paper prints a value, then the others, as recorded.

    >>> none, some = {"paper": None}, {"paper": 0.9}
    >>> headline({"91.a": none, "91.b": some, "91.c": none}, most=2)
    ['91.b', '91.a']
    """
    known = [key for key in _quoted() if key in results]
    return (known or sorted(results, key=lambda key: results[key]["paper"] is None))[:most]


@lru_cache(maxsize=1)
def _quoted() -> tuple[str, ...]:
    """The keys of the README's numbers, in its order; none outside a clone."""
    try:
        text = (runs.root() / "README.md").read_text(encoding="utf-8")
    except (ValueError, OSError):
        return ()
    return tuple(dict.fromkeys(_QUOTED.findall(text)))
