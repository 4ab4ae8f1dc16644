"""Reader of dlib's `.dat` network files: the learned numbers, in input → output order.

dlib writes a network as nested layer records, the one nearest the input first. A record starts with the
layer's tag (`con_4`, `affine_`, `fc_2`), and a tensor is five integers (version 2, then samples × channels ×
rows × columns) followed by its values as little-endian float32. An integer is a byte holding its length (0x80
set for a negative one) and that many little-endian bytes; a string is its length and its bytes. Layers
without learned numbers hold nothing this reader needs. Nothing in the file is executed.
"""

import re
from math import prod
from pathlib import Path

import numpy as np

# A tag as the file writes it: length of the length, length, name. `fc` states its outputs and inputs before
# its tensor.
_LAYER = re.compile(rb"\x01(?:\x05(con)_4|\x07(affine)_|\x04(fc)_2)")


def read(file: str | Path) -> list[tuple[str, np.ndarray]]:
    """(kind, values) of every layer that learned something, input first.

    kind is "con" (filters (out, in, rows, columns), then biases), "affine" (gains, then offsets) or "fc"
    (weights (in, out), biases where it has some); values are float32 in one dimension. ValueError for a file
    that is cut short or holds no such layer.
    """
    data = Path(file).read_bytes()
    layers, at = [], 0
    try:
        while found := _LAYER.search(data, at):
            kind = found[found.lastindex].decode()
            at = found.end()
            if kind == "fc":
                _, at = integer(data, at)
                _, at = integer(data, at)
            values, at = tensor(data, at)
            layers.append((kind, values))
    except (IndexError, ValueError) as error:
        raise ValueError(f"{file} is no complete dlib network: {error} (at byte {at} of {len(data)})") from error
    if not layers:
        raise ValueError(f"{file} is no dlib network: no con_4, affine_ or fc_2 layer in its {len(data)} bytes")
    return layers


def integer(data: bytes, at: int) -> tuple[int, int]:
    """The integer that starts at byte `at`, and where the next item starts.

    >>> integer(bytes([2, 0x80, 0x12, 0x81, 5]), 0), integer(bytes([2, 0x80, 0x12, 0x81, 5]), 3)
    ((4736, 3), (-5, 5))
    """
    head = data[at]
    size, end = head & 0x0F, at + 1 + (head & 0x0F)
    if not 1 <= size <= 8 or end > len(data):
        raise ValueError(f"expected an integer, found the byte {head:#04x}")
    value = int.from_bytes(data[at + 1 : end], "little")
    return (-value if head & 0x80 else value), end


def tensor(data: bytes, at: int) -> tuple[np.ndarray, int]:
    """The tensor that starts at byte `at`, flattened, and where the next item starts."""
    header = []
    for _ in range(5):
        value, at = integer(data, at)
        header.append(value)
    version, *shape = header
    count = prod(shape)
    if version != 2 or min(shape) < 0 or at + 4 * count > len(data):
        raise ValueError(f"expected a tensor, found version {version} and shape {shape}")
    return np.frombuffer(data, "<f4", count, at).astype(np.float32), at + 4 * count
