"""Reader of Keras' HDF5 weight files (`.h5`, `.hdf5`): the arrays of every layer, in the order of the layers.

The file, or its group `model_weights` where the whole model was saved, lists its layers in the attribute
`layer_names`; the group of a layer lists its arrays in `weight_names`. Kernels are stored (h, w, in, out), those of
depthwise convolutions (h, w, in, 1), those of dense layers (in, out). Only arrays are read: the description of the
model beside them, which Keras would build it from, is not looked at.
"""

from pathlib import Path

import h5py
import numpy as np


def read(file: str | Path) -> list[tuple[str, list[np.ndarray]]]:
    """(layer, its arrays) of every layer that has some. ValueError for another kind of file, one that is cut short or
    one without arrays.
    """
    try:
        with h5py.File(file, "r") as root:
            group = root.get("model_weights", root)
            layers = [(name, _arrays(group[name])) for name in map(_text, group.attrs["layer_names"])]
    except (OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{file} is no complete Keras weight file in HDF5: {error}") from error
    layers = [(name, arrays) for name, arrays in layers if arrays]
    if not layers:
        raise ValueError(f"{file} is a Keras file without weights: none of its layers has an array")
    return layers


def _arrays(layer: h5py.Group) -> list[np.ndarray]:
    return [np.asarray(layer[_text(name)]) for name in layer.attrs["weight_names"]]


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def filters(kernel: np.ndarray) -> np.ndarray:
    """A kernel (h, w, in, out) as torch stores it, (out, in, h, w).

    >>> filters(np.zeros((3, 5, 8, 16))).shape
    (16, 8, 3, 5)
    """
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
