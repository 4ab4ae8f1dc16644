"""Work in pieces: here, in several processes, or on a Dask cluster, wherever joblib has been told to work.

`measure`, `responses`, `embed`, rendering, trainings, combinations of sources and a batch of notebooks hand out their
pieces by `spread`. They run in this process unless the caller said otherwise, with `n_jobs`, with
`joblib.parallel_config("loky", n_jobs=4)` or with `cluster`; the batches of images, and with them the results, are the
same everywhere.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from uuid import uuid4

import cloudpickle
import joblib
from joblib.parallel import get_active_backend
from tqdm import tqdm

from facelab import __version__, cache
from facelab.errors import whole

PIECE = 256  # images handed out at once: seconds of work, so that little is lost with a worker
ANSWER = 10  # seconds a scheduler has to answer
HEAVY = 8_000_000  # bytes of images handed out at once: Dask complains of tasks above 10 MB


@contextmanager
def cluster(address: str | None = None, workers: int = 2):
    """Inside this context the pieces of `measure`, `embed`, `faces.load` and a batch run on a Dask cluster.

    address: of a running scheduler, e.g. "tcp://head:8786"; None: a cluster of this machine, with so many workers of
    one thread each, stopped at the end. Yields Dask's Client. A piece whose worker dies is done again by another.
    Workers need the same release of facelab and the same kind of device; images travel with their pieces, so only a
    batch of notebooks needs a disk that all of them see. It needs `pip install "facelab[cluster]"`. In a script, not
    in a notebook, it belongs under `if __name__ == "__main__":`, for workers import the script.

    ModuleNotFoundError without Dask. OSError where no scheduler answers; ValueError: fewer than two workers, an address
    that is none; RuntimeError where a worker has another release of facelab or none.

        with fl.cluster(workers=4):
            seen = fl.measure(net, faces, tasks=["yaw", "age"])
    """
    whole("workers", workers, 2)
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('a cluster needs Dask: pip install "facelab[cluster]"') from error
    if address is None:
        threads = str(max(1, joblib.cpu_count() // workers))
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port: the usual one may be taken
            env={**limits, "FACELAB_CACHE": str(cache.folder())},
        )
        with local, Client(local) as client, joblib.parallel_config("dask", client=client):
            yield client
        return
    try:
        client = Client(address, timeout=ANSWER)
    except OSError as error:
        raise OSError(f"no Dask scheduler answers at {address!r}: start one with `dask scheduler`") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"address {address!r}: expected that of a Dask scheduler, e.g. 'tcp://head:8786'") from error
    with client, joblib.parallel_config("dask", client=client):
        _check(client)
        yield client


def _check(client) -> None:
    """RuntimeError where results of a worker could be others than those of this process."""

    def release() -> str:  # sent as it is: a worker without facelab could not look it up
        from importlib import metadata

        try:
            return metadata.version("facelab")
        except metadata.PackageNotFoundError:
            return "no facelab"

    for worker, found in client.run(release).items():
        if found != __version__:
            raise RuntimeError(f"worker {worker} has {found}: expected facelab {__version__}, as here")


def here() -> bool:
    """Whether pieces run in this process: joblib was told nothing, or to use one process or threads.

    Threads would share one network, whose layers can be followed for one batch at a time only.

    >>> here()
    True
    """
    backend, _ = get_active_backend()
    return getattr(backend, "supports_sharedmem", False) or joblib.effective_n_jobs(None) == 1


def spread(function: Callable, items: Iterable, shared, *, n_jobs: int = 1) -> Iterator:
    """function(shared, item) for every item, in their order; pieces are handed out while results are read.

    function: of a module, or a `functools.partial` of one. shared: what all pieces need, a network say; it is sent to
    each worker of a cluster once. An item is sent with its piece, so that the piece can be done again elsewhere.
    n_jobs: processes with one thread each, where joblib was told nothing; 1: this process. ValueError: fewer than one.

    >>> list(spread(pow, [1, 2, 3], 2))
    [2, 4, 8]
    """
    whole("n_jobs", n_jobs, 1)
    if not here():
        return _sent(function, items, shared)
    if n_jobs == 1:
        return (function(shared, item) for item in items)
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator", batch_size=1)
    return parallel(joblib.delayed(_alone)(function, shared, item) for item in items)


def several(
    function: Callable, asked: Mapping[Hashable, Mapping], *, n_jobs: int = 1, what: str | None = None,
    progress: bool = True, **shared,
) -> dict:  # fmt: skip
    """key → function(**ask, **shared) for every key → ask, side by side as `spread` says: trainings, say.

    what: the name of the progress bar. Where the function keeps its results in the cache, an interrupted call goes on.

    >>> several(round, {"a": {"number": 2.25}, "b": {"number": 3.75}}, ndigits=1, progress=False)
    {'a': 2.2, 'b': 3.8}
    """
    done = spread(partial(_named, function), asked.values(), shared, n_jobs=n_jobs)
    return dict(zip(asked, tqdm(done, total=len(asked), desc=what, disable=not progress), strict=True))


def _named(function: Callable, shared: Mapping, ask: Mapping):
    return function(**ask, **shared)


def _alone(function: Callable, shared, item):
    import torch  # not above: a Dask worker imports this module in the thread that must answer the scheduler

    torch.set_num_threads(1)
    return function(shared, item)


def _sent(function: Callable, items: Iterable, shared) -> Iterator:
    backend, _ = get_active_backend()
    packed = _Packed(shared)
    if (client := getattr(backend, "client", None)) is None:
        parallel = joblib.Parallel(return_as="generator", batch_size=1)
    else:
        with joblib.parallel_config("dask", client=client, scatter=[packed]):
            parallel = joblib.Parallel(return_as="generator", batch_size=1)
    yield from parallel(joblib.delayed(_piece)(packed, _Packed((function, item))) for item in items)


class _Packed:
    """Anything as bytes, unpacked where and when it is used.

    Dask would leave a large argument with one worker and lose it with that worker, take a torch module apart and put it
    together without its hooks, and import torch in the thread that must answer the scheduler.
    """

    def __init__(self, content):
        self.data = cloudpickle.dumps(content)
        self.key = uuid4().hex  # else what is sent twice has one name, and is waited for while Dask forgets the first

    @cached_property
    def content(self):
        return cloudpickle.loads(self.data)

    def __getstate__(self) -> dict:  # as packed: what one worker passes on to another may be in use there
        return {"data": self.data, "key": self.key}


def _piece(shared: _Packed, work: _Packed):
    function, item = work.content
    return function(shared.content, item)


def together(batch: int, image_bytes: int) -> int:
    """How many images make a piece: one batch here; elsewhere whole batches, up to `PIECE` images or `HEAVY` bytes.

    >>> together(64, 3 * 128 * 128)
    64
    """
    return batch if here() else batch * max(1, min(PIECE, HEAVY // image_bytes) // batch)
