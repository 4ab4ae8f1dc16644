"""The ONNX reader on messages written here, byte by byte as protobuf writes them."""

import numpy as np
import pytest

from facelab.nets import onnx_file


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def array(name: str, shape, code: int, *, packed=False, **body) -> bytes:
    numbers = {"floats": 4, "integers": 7, "raw": 9, "outside": 13}
    dims = field(1, b"".join(map(varint, shape))) if packed else b"".join(field(1, d) for d in shape)
    data = b"".join(field(numbers[kind], value) for kind, value in body.items())
    return dims + field(2, code) + data + field(8, name.encode())


def model(*arrays: bytes) -> bytes:
    node = field(1, field(4, b"Conv") + field(1, b"images"))
    return field(1, 10) + field(7, node + b"".join(field(5, a) for a in arrays))


def read(tmp_path, data: bytes):
    (tmp_path / "net.onnx").write_bytes(data)
    return onnx_file.read(tmp_path / "net.onnx")


def test_every_way_of_storing(tmp_path):
    values = np.linspace(-3, 300, 1000, dtype="<f4").reshape(10, 5, 20)
    pads = np.array([0, -1, 300], "<i8")
    found = read(
        tmp_path,
        model(
            array("b raw", values.shape, 1, raw=values.tobytes()),
            array("a packed", values.shape, 1, packed=True, floats=values.tobytes()),
            array("pads", [3], 7, integers=b"".join(varint(int(v) % 2**64) for v in pads)),
            array("half", [2], 10, raw=np.array([0.5, -2], "<f2").tobytes()),
        ),
    )
    assert list(found) == ["b raw", "a packed", "pads", "half"]  # as stored, not sorted
    np.testing.assert_array_equal(found["b raw"], values)
    np.testing.assert_array_equal(found["a packed"], values)
    np.testing.assert_array_equal(found["pads"], pads)
    np.testing.assert_array_equal(found["half"], [0.5, -2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (model(array("w", [4], 1, raw=bytes(16)))[:-9], "field 7 ends 9 bytes after its message"),
        (model(array("w", [5], 1, raw=bytes(16))), "cannot reshape"),
        (model(array("w", [4], 16, raw=bytes(8))), "array 'w' has data type 16"),
        (model(array("w", [4], 1, outside=b"elsewhere")), "lies in another file"),
        (b"\x89PNG\r\n\x1a\n", "no complete ONNX file"),
        (b"", "no initialiser in its 0 bytes"),
        (model(), "no initialiser"),
        (b"\xff" * 12, "longer than 64 bits"),
    ],
)
def test_bad_files(tmp_path, data, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(tmp_path, data)
    assert "net.onnx" in str(raised.value)
