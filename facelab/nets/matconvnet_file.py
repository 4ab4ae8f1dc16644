"""Reader of MatConvNet's networks (`.mat`, MATLAB 5 to 7): the arrays of every layer, in the order of the layers.

A network is a structure with a cell array `layers`, by itself or inside a variable `net`; a layer with weights has them
in the cell `weights` or, in older files, in the fields `filters` and `biases`. Filters are stored (h, w, in, out).
Nothing in the file is executed.
"""

from pathlib import Path

import numpy as np
from scipy.io import loadmat


def read(file: str | Path) -> list[tuple[str, list[np.ndarray]]]:
    """(layer, [filters (h, w, in, out), biases (out,)]) of every layer that has some. ValueError for another kind of
    file or one without layers.
    """
    try:
        found = loadmat(file, struct_as_record=False)
        net = found["net"].flat[0] if "net" in found else None
        layers = found["layers"] if net is None else net.layers
        read = [_layer(cell.flat[0] if isinstance(cell, np.ndarray) else cell) for cell in layers.flat]
    except NotImplementedError as error:
        raise ValueError(f"{file} is a MATLAB 7.3 file: in MATLAB, save it again with '-v7'") from error
    except Exception as error:  # loadmat's own errors are of many kinds
        raise ValueError(f"{file} is no MatConvNet network ({type(error).__name__}: {error})") from error
    read = [(name, arrays) for name, arrays in read if arrays]
    if not read:
        raise ValueError(f"{file} is a MatConvNet network without weights")
    return read


def _layer(layer) -> tuple[str, list[np.ndarray]]:
    name = "".join(np.asarray(layer.name).ravel().tolist())
    if hasattr(layer, "filters"):
        arrays = [layer.filters, layer.biases]
    else:
        arrays = list(layer.weights.flat) if hasattr(layer, "weights") else []
    arrays = [np.asarray(a, np.float32) for a in arrays if np.size(a)]
    return name, [_filters(arrays[0]), *(a.ravel() for a in arrays[1:])] if arrays else []


def _filters(array: np.ndarray) -> np.ndarray:
    """MATLAB drops trailing axes of length 1."""
    return array.reshape(array.shape + (1,) * (4 - array.ndim))
