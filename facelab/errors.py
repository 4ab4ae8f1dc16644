"""What an error says: the value, what was expected, the nearest match."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real


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


def lacking(what: str, names, known) -> ValueError:
    """The error for names that a file or a module should have, with the nearest ones that it has.

    >>> print(lacking("net.pt lacks the layer", ["conv1.weight", "fc.bias"], ["conv_1.weight"]))
    net.pt lacks the layer 'conv1.weight' and 1 more; the nearest is 'conv_1.weight'
    >>> print(lacking("net.pt lacks the layer", ["conv1.weight"], ["x", "y"]))
    net.pt lacks the layer 'conv1.weight'; there are 'x', 'y'
    """
    names, known = [str(n) for n in names], [str(k) for k in known]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    near = get_close_matches(names[0], known, n=1, cutoff=0.6)
    shown = ", ".join(map(repr, known[:6])) + (f", … ({len(known)} in all)" if len(known) > 6 else "")
    has = f"the nearest is {near[0]!r}" if near else f"there are {shown}"
    return ValueError(f"{what} {names[0]!r}{more}; {has}")


def whole(name: str, value, least: int, of: str = "") -> None:
    """TypeError where `value` is no whole number, ValueError where it is below `least`.

    >>> whole("batch", 64, 1)
    >>> whole("batch", 0.5, 1)
    Traceback (most recent call last):
    TypeError: batch 0.5: expected a whole number, at least 1, not float
    """
    expected = f"at least {least}{of and ' ' + of}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} {value!r}: expected a whole number, {expected}, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} {value!r}: expected {expected}")


def number(name: str, value) -> None:
    """TypeError where `value` is no real number.

    >>> number("gamma", "0.01")
    Traceback (most recent call last):
    TypeError: gamma '0.01': expected a number, not str
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} {value!r}: expected a number, not {type(value).__name__}")


def named(kind: str, value) -> list[str]:
    """The names in `value`, one or several. TypeError for anything else.

    >>> named("task", "yaw"), named("task", ("yaw", "age"))
    (['yaw'], ['yaw', 'age'])
    >>> named("task", 3)
    Traceback (most recent call last):
    TypeError: 3 is no task: expected a name or a list of names, not int
    """
    found = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is no {kind}: expected a name or a list of names, not {type(name).__name__}")
    return found
