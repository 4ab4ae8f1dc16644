"""What an error says: the value, what was expected, the nearest match."""

from difflib import get_close_matches


def unknown(kind: str, value, known) -> ValueError:
    """The error for a name that does not exist, with the nearest ones that do.

    >>> print(unknown("layer", "block.4", ["blocks.4", "blocks.5"]))
    unknown layer 'block.4': did you mean 'blocks.4' or 'blocks.5'?
    >>> print(unknown("task", "zebra", ["yaw", "age"]))
    unknown task 'zebra': expected one of 'yaw', 'age'
    """
    known = [str(k) for k in known]
    by_lower = {k.lower(): k for k in known}
    near = [by_lower[k] for k in get_close_matches(str(value).lower(), by_lower, n=3, cutoff=0.6)]
    if near:
        return ValueError(f"unknown {kind} {value!r}: did you mean {' or '.join(map(repr, near))}?")
    shown = ", ".join(map(repr, known[:12])) + (f", … ({len(known)} in all)" if len(known) > 12 else "")
    return ValueError(f"unknown {kind} {value!r}: expected one of {shown or 'none: there are none here'}")
