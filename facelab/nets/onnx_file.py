"""Reader of ONNX files: the named arrays (initialisers) of the graph, in the order they are stored.

ONNX is protobuf: a message is a run of fields, each a varint key (field number × 8 + wire type) and a value:
a varint (wire type 0), 8 or 4 bytes (1, 5), or a length and that many bytes (2: strings, packed numbers,
messages). The field numbers used here are those of onnx.proto: ModelProto.graph = 7, GraphProto.initializer =
5, TensorProto.dims = 1, data_type = 2, float_data = 4, int64_data = 7, name = 8, raw_data = 9, external_data
= 13. Nothing in the file is executed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

_DTYPES = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}


def read(file: str | Path) -> dict[str, np.ndarray]:
    """name → array of every initialiser. ValueError for a file that is cut short, of another kind or without
    arrays.
    """
    data = Path(file).read_bytes()
    arrays = {}
    try:
        for number, graph in fields(data):
            if number == 7:
                for inner, value in fields(graph):
                    if inner == 5:
                        name, array = tensor(value)
                        arrays[name] = array
    except (IndexError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{file} is no complete ONNX file: {error}") from error
    if not arrays:
        raise ValueError(f"{file} is no ONNX file with weights: no initialiser in its {len(data)} bytes")
    return arrays


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message; a value is an integer (wire type 0) or bytes.

    >>> [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(b"\\x08\\x96\\x01\\x12\\x02hi")]
    [(1, 150), (2, b'hi')]
    """
    data, at = memoryview(data), 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        else:
            if wire == 2:
                size, at = varint(data, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise ValueError(f"wire type {wire} of field {number} does not exist")
            if at + size > len(data):
                raise ValueError(f"field {number} ends {at + size - len(data)} bytes after its message")
            value, at = data[at : at + size], at + size
        yield number, value


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number written in groups of seven bits, lowest first, and where the next item starts."""
    value = 0
    for shift in range(0, 64, 7):
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is longer than 64 bits")


def tensor(message: memoryview) -> tuple[str, np.ndarray]:
    """Name and values of one TensorProto."""
    shape, code, name, parts = [], 0, "", []
    for number, value in fields(message):
        if number == 1:
            shape += [value] if isinstance(value, int) else numbers(value)
        elif number == 2:
            code = value
        elif number == 8:
            name = str(value, "utf-8")
        elif number in (4, 9):
            parts.append(bytes(value))
        elif number == 7:
            parts.append(np.array([value] if isinstance(value, int) else numbers(value), "<u8").tobytes())
        elif number == 13:
            raise ValueError(f"array {name!r} lies in another file")
    if code not in _DTYPES:
        raise ValueError(f"array {name!r} has data type {code}, expected one of {', '.join(map(str, _DTYPES))}")
    return name, np.frombuffer(b"".join(parts), _DTYPES[code]).reshape(shape).copy()


def numbers(packed: memoryview) -> list[int]:
    """The varints that follow each other in a packed field."""
    at, found = 0, []
    while at < len(packed):
        value, at = varint(packed, at)
        found.append(value)
    return found
