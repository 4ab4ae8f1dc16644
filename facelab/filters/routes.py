"""Routes from a face network to a new task, run side by side: fine-tuning whole, reading out, and sparse transfer.

ETL §3.5, Table 1; low-cost §4, Tables 2–6. Every route has the same faces, the same people held out and the same
number of epochs, and ends in one row: how well the task is done on unseen people, and at what cost. Finished rows are
kept in the cache, so a run that is interrupted goes on where it stopped.
"""

from collections.abc import Mapping, Sequence

from joblib import parallel_config
from tqdm import tqdm

from facelab import errors, tasks, workers
from facelab.faces.faceset import FaceSet
from facelab.filters.route_bench import Bench
from facelab.filters.route_rows import Journey, Row
from facelab.filters.route_scores import decade, goodness, score
from facelab.filters.route_settings import BASELINE, Route, Training
from facelab.nets.net import Net

__all__ = ["BASELINE", "Journey", "Route", "Row", "Training", "decade", "goodness", "score", "travel"]


def travel(
    net: Net,
    faces: FaceSet,
    names,
    routes: Sequence[Route] | Mapping[str, Sequence[Route]],
    *,
    seeds: Sequence[int] = (0,),
    training: Training | None = None,
    n_jobs: int = 1,
    progress: bool = True,
) -> Journey:
    """Every route to every task, for every seed (which deals the people, draws the heads and orders the batches).

    routes: for all tasks, or a list for each. The full fine-tuning that all are measured against is added. A row that
    is in the cache is not run again. n_jobs: processes, each with one thread: the rows of one process with one thread,
    bit by bit. Inside `fl.cluster` its workers go the routes instead; rows and networks stay in their cache folder, so
    that has to be one that this process sees too. ValueError: no face with a label of a task, a route that cannot be
    gone (as `sparse.budget` and `fl.fit` say), fewer than one process. TypeError: no Net.

        journey = travel(net, faces, "yaw", [Route("sparse", filters="curves", gamma=0.01)])
        journey.table()
    """
    if not isinstance(net, Net):
        raise TypeError(f"expected a Net (fl.nets.load, or fl.nets.wrap your module), not {type(net).__name__}")
    names, training = errors.named("task", names), training or Training()
    for name in names:
        if tasks.get(name).kind not in ("classes", "regression"):
            raise ValueError(f"task {name!r} is of kind {tasks.get(name).kind!r}: expected classes or a number")
    if isinstance(routes, Mapping) and (without := [name for name in names if name not in routes]):
        raise errors.lacking("routes lacks the task", without, routes)
    wanted = {name: routes[name] if isinstance(routes, Mapping) else routes for name in names}
    wanted = {name: [BASELINE, *(route for route in routes if route != BASELINE)] for name, routes in wanted.items()}
    for name, every in wanted.items():
        called = [route.name for route in every]
        if twice := [one for one in called if called.count(one) > 1]:
            raise ValueError(f"two routes to {name!r} are called {twice[0]!r}: their rows could not be told apart")
    pieces = [(name, seed) for seed in seeds for name in names]
    shared = net, faces, wanted, training
    done = workers.spread(_go, pieces, shared, n_jobs=n_jobs)
    done = tqdm(done, total=len(pieces), desc="routes", unit="task and seed", disable=not progress)
    return Journey(tuple(row for rows in done for row in rows), faces)


def _go(shared: tuple, piece: tuple[str, int]) -> list[Row]:
    net, faces, wanted, training = shared
    task, seed = piece
    bench = Bench(net, faces, task, seed, training)
    with parallel_config("sequential"):  # a worker hands nothing on
        return [bench.row(route) for route in wanted[task]]
