"""Reader of Caffe's binary weight files (`.caffemodel`): the blobs of every layer, in the order of the layers.

The file is protobuf (see `onnx_file`). The field numbers used here are those of caffe.proto: NetParameter.layer = 100
and, in older files, layers = 2; LayerParameter.name = 1, blobs = 7; V1LayerParameter.name = 4, blobs = 6;
BlobProto.num, channels, height, width = 1 … 4, data = 5, shape = 7 (BlobShape.dim = 1), double_data = 8. Nothing in the
file is executed.
"""

from pathlib import Path

import numpy as np

from facelab.nets.onnx_file import fields, numbers

_LAYERS = {100: (1, 7), 2: (4, 6)}  # of the field of a layer: the fields of its name and blobs


def read(file: str | Path) -> list[tuple[str, list[np.ndarray]]]:
    """(layer, its blobs) of every layer that has some: filters (out, in, h, w) or weights (out, in), then biases.

    Shapes are as stored: older files have four axes everywhere. ValueError for a file that is cut short, of another
    kind or without blobs.
    """
    data = Path(file).read_bytes()
    layers = []
    try:
        for number, value in fields(data):
            if number in _LAYERS and not isinstance(value, int):
                layers.append(_layer(value, *_LAYERS[number]))
    except (IndexError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{file} is no complete Caffe weight file: {error}") from error
    layers = [(name, blobs) for name, blobs in layers if blobs]
    if not layers:
        raise ValueError(f"{file} is no Caffe weight file: no layer with blobs in its {len(data)} bytes")
    return layers


def _layer(message: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[np.ndarray]]:
    name, blobs = "", []
    for number, value in fields(message):
        if number == name_field:
            name = str(value, "utf-8")
        elif number == blobs_field:
            blobs.append(blob(value))
    return name, blobs


def blob(message: memoryview) -> np.ndarray:
    """The values of one BlobProto, float32. Numbers that follow each other in one field, or one by one, count alike."""
    shape, old, parts = [], {}, []
    for number, value in fields(message):
        if number in (1, 2, 3, 4):
            old[number] = value
        elif number in (5, 8):
            parts.append(np.frombuffer(value, "<f4" if number == 5 else "<f8").astype(np.float32))
        elif number == 7:
            for inner, dim in fields(value):
                if inner == 1:
                    shape += [dim] if isinstance(dim, int) else numbers(dim)
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return values.reshape(shape or [old.get(i, 1) for i in (1, 2, 3, 4)])
