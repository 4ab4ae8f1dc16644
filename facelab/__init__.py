"""facelab: what do the filters of a pretrained face network know about tasks it was never trained for?

    import facelab as fl

    faces = fl.faces.load("rendered/wild")
    net = fl.nets.load("identity")
    seen = fl.measure(net, faces, tasks=["yaw", "age"])
    curves = fl.characteristic_curves(seen)

Names load on first use: importing the package is fast and downloads nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULES = {
    "cache": "facelab.cache",
    "tasks": "facelab.tasks",
    "faces": "facelab.faces",
    "nets": "facelab.nets",
    "sparse": "facelab.filters.sparse",
    "cost": "facelab.cost",
    "plots": "facelab.workbench.plots",
    "explore": "facelab.workbench.explore",
}
_FUNCTIONS = {
    "cluster": "facelab.workers",
    "embed": "facelab.nets.embed",
    "measure": "facelab.filters.responses",
    "responses": "facelab.filters.responses",
    "partition": "facelab.filters.groups",
    "lasso_path": "facelab.filters.lasso",
    "find_crafts": "facelab.filters.craft",
    "ablation": "facelab.filters.ablate",
    "causal_curve": "facelab.filters.causal",
    "characteristic_curves": "facelab.filters.curves",
    "fit": "facelab.training.loop",
    "with_head": "facelab.training.objective",
    "record": "facelab.workbench.record",
    "record_groups": "facelab.workbench.record",
    "record_missed": "facelab.workbench.record",
    "recorded": "facelab.workbench.record",
}
__all__ = [*_MODULES, *_FUNCTIONS]


def __getattr__(name):
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'facelab' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
