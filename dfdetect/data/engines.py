"""Who does the work: processes of this machine, or the machines of a Ray cluster.

An engine is handed a function and tasks, and hands results back in any order. It pulls a task
only when there is room for it, so that the tasks of a million videos never exist together.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_any
from types import ModuleType
from typing import Any, Final, Protocol, TypeVar

from dfdetect.errors import DfdetectError, UsageError
from dfdetect.registry import Registry

Task = TypeVar("Task")
Result = TypeVar("Result")
Handle = TypeVar("Handle")

_ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
# the smallest that Ray accepts is 75 MiB; results here are a few numbers each
_OBJECT_STORE_BYTES = 100 << 20
# how often a task is started again after its worker or machine was lost
_RAY_RETRIES = 5
_END: Final = object()


class Engine(Protocol):
    """Runs one function over many tasks."""

    def run(self, work: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Yield the result of every task, in any order.

        Tasks are pulled between results, a bounded number ahead. None among them means that
        nothing can be started until another result was handed out. `work`, tasks and results
        must survive pickling, and a task may be done more than once.

        Raises:
            DfdetectError: Workers were lost for good, or a task raised it.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Processes of this machine, of one thread each; a single worker is this process itself.

    Raises:
        UsageError: `workers` is below 1.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"engine.workers={self.workers} cannot work; give at least 1")

    def run(self, work: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Yield the result of every task, in any order.

        Raises:
            DfdetectError: A worker ended early.
        """
        if self.workers == 1:
            return _pumped(tasks, 1, lambda task: task, lambda held: (held, []), work)
        return self._in_processes(work, tasks)

    def _in_processes(
        self, work: Callable[[Task], Result], tasks: Iterable[Task | None]
    ) -> Iterator[Result]:
        def settled(
            running: list[Future[Result]],
        ) -> tuple[list[Future[Result]], list[Future[Result]]]:
            done, others = wait(running, return_when=FIRST_COMPLETED)
            return list(done), list(others)

        context = multiprocessing.get_context("spawn")
        with (
            _environment(_ONE_THREAD),
            ProcessPoolExecutor(self.workers, context, _start_worker) as pool,
        ):
            try:
                yield from _pumped(
                    tasks,
                    2 * self.workers,
                    lambda task: pool.submit(work, task),
                    settled,
                    lambda future: future.result(),
                )
            except BrokenProcessPool as error:
                raise DfdetectError(
                    "a worker of the extraction ended early (out of memory? a script without "
                    "`if __name__ == '__main__':`?); run it again, with fewer workers: finished "
                    "videos are kept"
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class RayEngine:
    """The machines of a Ray cluster; all must see the videos and the store under the same paths.

    A task whose worker or machine is lost is done again elsewhere. Ray's usage statistics and
    dashboard stay off in what is started here.

    Args:
        address: `host:port` of a cluster, `auto` for the one of this machine, None to start one
            on this machine that ends with the run.
        workers: CPUs of a cluster that is started here, None for all.
        cpus_per_task: CPUs that Ray sets aside for each video.
        max_in_flight: Tasks handed to Ray at a time, None for twice as many as it has room for.

    Raises:
        UsageError: A number is not positive, or `workers` is given for an existing cluster.
    """

    address: str | None = None
    workers: int | None = None
    cpus_per_task: float = 1.0
    max_in_flight: int | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "cpus_per_task", "max_in_flight"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"engine.{name}={value} cannot work; give more than 0")
        if self.address is not None and self.workers is not None:
            raise UsageError(
                "engine.workers is for a cluster that is started here; leave it out, the one at "
                f"{self.address} has its own"
            )

    def run(self, work: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Yield the result of every task, in any order.

        Raises:
            UsageError: Ray is not installed, or no cluster answers or has room for a task.
            DfdetectError: A task's workers were lost again and again.
        """
        ray = _import_ray()
        with _connected(ray, self.address, self.workers):
            room = int(ray.cluster_resources().get("CPU", 0) // self.cpus_per_task)
            if not room:
                raise UsageError(
                    f"the Ray cluster has no room for engine.cpus_per_task={self.cpus_per_task}; "
                    "give fewer"
                )
            remote = ray.remote(_apply).options(
                num_cpus=self.cpus_per_task,
                max_retries=_RAY_RETRIES,
                scheduling_strategy="SPREAD",
            )
            yield from _pumped(
                tasks,
                self.max_in_flight or 2 * room,
                lambda task: remote.remote(work, task),
                lambda running: ray.wait(running, num_returns=1),
                lambda reference: _ray_result(ray, reference),
            )


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """An engine by `name`; what else is given must be something that it has.

    See `LocalEngine` and `RayEngine` for the fields.
    """

    name: str
    workers: int | None = None
    address: str | None = None
    cpus_per_task: float = 1.0
    max_in_flight: int | None = None


ENGINES: Registry[Callable[[EngineSettings], Engine]] = Registry("engine")


@ENGINES.register("local")
def _local(settings: EngineSettings) -> Engine:
    if settings.address is not None:
        raise UsageError("engine.address belongs to a cluster; give engine=ray before it")
    return LocalEngine(1 if settings.workers is None else settings.workers)


@ENGINES.register("ray")
def _ray(settings: EngineSettings) -> Engine:
    return RayEngine(
        settings.address, settings.workers, settings.cpus_per_task, settings.max_in_flight
    )


def create_engine(settings: EngineSettings) -> Engine:
    """Return the engine that some settings describe.

    Raises:
        UsageError: The name is unknown, or a value does not fit the engine.

    Example:
        >>> create_engine(EngineSettings("local", workers=2))
        LocalEngine(workers=2)
    """
    return ENGINES.get(settings.name)(settings)


def _pumped(
    tasks: Iterable[Task | None],
    most: int,
    submit: Callable[[Task], Handle],
    settle: Callable[[list[Handle]], tuple[list[Handle], list[Handle]]],
    result_of: Callable[[Handle], Result],
) -> Iterator[Result]:
    """Keep up to `most` tasks going; `settle` waits and splits them into done and running."""
    remaining, running = iter(tasks), list[Handle]()
    while True:
        task: object = None
        while len(running) < most:
            task = next(remaining, _END)
            if task is None or task is _END:
                break
            running.append(submit(task))  # type: ignore[arg-type]
        if not running:
            if task is _END:
                return
            raise RuntimeError("a task waits for a result, and none is under way")
        done, running = settle(running)
        for handle in done:
            yield result_of(handle)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    # libraries read these when they are loaded, so they must be there before a worker is
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    # an interrupt ends a worker without a word; the parent says what there is to say
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    # a worker whose parent was killed would wait for work for ever
    wait_for_any([sentinel])
    os._exit(1)


def _import_ray() -> ModuleType:
    # read at import: nothing is ever reported to Ray's makers
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        # an extra, and a second of start-up
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(
            "engine=ray needs Ray, which is not installed; install it with "
            "`pip install 'dfdetect[ray]'`"
        ) from error
    module: ModuleType = ray
    return module


@contextmanager
def _connected(ray: ModuleType, address: str | None, workers: int | None) -> Iterator[None]:
    if ray.is_initialized():
        # whoever connected this program to a cluster means that one
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        options |= {"num_cpus": workers, "include_dashboard": False}
        options["object_store_memory"] = _OBJECT_STORE_BYTES
    try:
        ray.init(address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address or 'this machine'} ({_first_line(error)}); start "
            "one with `ray start --head`, or leave engine.address out to have one started"
        ) from error
    # Ray prints on stdout, from a thread of its own, what happens to machines of the cluster
    ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _apply(work: Callable[[Task], Result], task: Task) -> Result:
    # a function of this module: Ray sends its name, where a method would be sent as code
    return work(task)


def _ray_result(ray: ModuleType, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # what the task raised, as it would be without Ray
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except ray.exceptions.RayError as error:
        raise DfdetectError(
            f"the Ray cluster lost a video's worker for good ({type(error).__name__}: "
            f"{_first_line(error)}); see that its machines have dfdetect and memory enough, then "
            "run it again: finished videos are kept"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
