"""The dlib reader on files written here, byte by byte as dlib writes them."""

import numpy as np
import pytest

from facelab.nets import dlib_file


def integer(value: int) -> bytes:
    body = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(body) | (0x80 if value < 0 else 0)]) + body


def tag(name: str) -> bytes:
    return integer(len(name)) + name.encode()


def tensor(values) -> bytes:
    return b"".join(map(integer, (2, len(values), 1, 1, 1))) + np.asarray(values, "<f4").tobytes()


def network(con, affine, fc) -> bytes:
    layers = tag("con_4") + tensor(con) + integer(8) + tag("affine_") + tensor(affine) + tag("relu_") + integer(1)
    return integer(1) + tag("loss_metric_2") + layers + tag("fc_2") + integer(2) + integer(300) + tensor(fc)


def test_reads_layers_in_order(tmp_path):
    con, affine, fc = np.arange(300.0), [1.5, -2.5], np.linspace(-1, 1, 600)
    (tmp_path / "net.dat").write_bytes(network(con, affine, fc))
    layers = dlib_file.read(tmp_path / "net.dat")
    assert [kind for kind, _ in layers] == ["con", "affine", "fc"]
    for (_, values), expected in zip(layers, (con, affine, fc), strict=True):
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, np.asarray(expected, np.float32))


@pytest.mark.parametrize("value", [0, 1, 255, 256, 4736, 2**31, -1, -70000])
def test_integers(value):
    assert dlib_file.integer(integer(value), 0) == (value, len(integer(value)))


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_cut_short(tmp_path, keep):
    data = network(np.arange(300.0), [1, 2], np.zeros(600))
    (tmp_path / "cut.dat").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=r"cut\.dat is no complete dlib network: expected a tensor"):
        dlib_file.read(tmp_path / "cut.dat")


def test_another_kind_of_file(tmp_path):
    (tmp_path / "photo.dat").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(ValueError, match=r"photo\.dat is no dlib network"):
        dlib_file.read(tmp_path / "photo.dat")
