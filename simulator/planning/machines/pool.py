"""Execution: one function over many items, in this process, on the cores of this machine, or on a
Dask cluster.

`each` gives the outcomes as they come, with the index of their item; what is computed is the same
on each machine. An item that raises, or whose worker dies again and again, is an outcome that says
so, and the others go on.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from simulator.errors import SimulatorError
from simulator.planning.machines.fingerprint import package_digest

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")
TRIES = 3
# Seconds between looks of a worker at whether its parent lives.
_LOOK_S = 1.0
CONNECT_S, GONE_S, _POLL_S = 10.0, 5.0, 0.02
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
)


class WorkerLost(SimulatorError):
    """The process that computed an item died, more than once."""


@dataclass(frozen=True, slots=True)
class ItemOutcome(Generic[R]):
    """What became of one item: its result, or the exception in its place."""

    result: R | None = None
    error: Exception | None = None

    def value(self) -> R:
        """The result. Raises the error where there is none."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class InProcess:
    """One item after another, here."""


@dataclass(frozen=True, slots=True)
class Processes:
    """joblib's loky processes, one a core of this machine unless `workers` says otherwise; never
    more than `at_most`."""

    workers: int | None = None
    at_most: int | None = None

    def count(self) -> int:
        """How many processes to use."""
        if self.at_most is not None and self.at_most <= 1:
            return 1
        import joblib

        wanted = self.workers or joblib.cpu_count()
        return max(1, min(wanted, self.at_most or wanted))


@dataclass(frozen=True, slots=True)
class Cluster:
    """The workers of a Dask scheduler at an address such as `tcp://host:8786`, which must have this
    version installed."""

    address: str


Machine = InProcess | Processes | Cluster
IN_PROCESS = InProcess()


def each(
    function: Callable[[T], R], items: Sequence[T], machine: Machine
) -> Iterator[tuple[int, ItemOutcome[R]]]:
    """Apply a function of a module to every item; yields (index, outcome) in the order in which
    they are done.

    Raises SimulatorError when a cluster does not answer within CONNECT_S seconds.
    """
    if isinstance(machine, Cluster):
        return _on_cluster(function, items, machine.address)
    if isinstance(machine, InProcess) or machine.count() == 1:
        return ((index, _try(function, item)) for index, item in enumerate(items))
    return _Pool(function, items, machine.count()).outcomes()


def _try(function: Callable[[T], R], item: T) -> ItemOutcome[R]:
    try:
        return ItemOutcome(function(item))
    except Exception as error:
        return ItemOutcome(error=error)


class _Pool(Generic[T, R]):
    """Items on worker processes. When a worker dies the items it could have been working on are
    tried again, one at a time, so that the one that kills its worker is told from its neighbors; it
    is given up after TRIES.
    """

    def __init__(self, function: Callable[[T], R], items: Sequence[T], workers: int) -> None:
        self.function, self.items, self.workers = function, items, workers
        self.queue, self.suspects = deque(range(len(items))), deque[int]()
        self.deaths: Counter[int] = Counter()
        self.running: dict[Future[ItemOutcome[R]], int] = {}

    def outcomes(self) -> Iterator[tuple[int, ItemOutcome[R]]]:
        from concurrent.futures import FIRST_COMPLETED, wait
        from concurrent.futures.process import BrokenProcessPool

        done = False
        try:
            while self.queue or self.suspects or self.running:
                self._submit()
                finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
                broken = []
                for future in finished:
                    index = self.running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        broken.append(index)
                    else:
                        yield index, _settled(future)
                if broken:
                    yield from self._bury(broken)
            done = True
        finally:
            if not done:
                self._executor().shutdown(wait=False, kill_workers=True)

    def _executor(self) -> Any:
        from joblib.externals.loky import get_reusable_executor

        return get_reusable_executor(
            max_workers=self.workers,
            timeout=60,
            env=_ONE_THREAD,
            initializer=_end_with,
            initargs=(os.getpid(),),
        )

    def _submit(self) -> None:
        """Keep two items a worker under way; a suspect goes alone."""
        if self.suspects:
            waiting, room = self.suspects, 1 - len(self.running)
        else:
            waiting, room = self.queue, 2 * self.workers - len(self.running)
        with _deaf_to_interrupts():
            for _ in range(min(room, len(waiting))):
                index = waiting.popleft()
                self.running[self._executor().submit(_try, self.function, self.items[index])] = (
                    index
                )

    def _bury(self, broken: list[int]) -> Iterator[tuple[int, ItemOutcome[R]]]:
        """After a death: every item under way is a suspect, and one that was suspect TRIES times is
        given up."""
        from concurrent.futures import wait

        wait(self.running)
        for future, index in self.running.items():
            if future.exception() is None:
                yield index, _settled(future)
            else:
                broken.append(index)
        self.running.clear()
        for index in sorted(broken):
            self.deaths[index] += 1
            if self.deaths[index] >= TRIES:
                yield (
                    index,
                    ItemOutcome(
                        error=WorkerLost(
                            f"its worker process died {TRIES} times, out of memory or killed"
                        )
                    ),
                )
            else:
                self.suspects.append(index)


def _end_with(parent: int) -> None:
    """In a worker: end once the process that started it is gone, which may have been killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started inside do not hear Ctrl-C, which reaches the whole group: this
    process ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _settled(future: Future[ItemOutcome[R]]) -> ItemOutcome[R]:
    error = future.exception()
    if error is None:
        return future.result()
    return ItemOutcome(error=error if isinstance(error, Exception) else SimulatorError(str(error)))


def _on_cluster(
    function: Callable[[T], R], items: Sequence[T], address: str
) -> Iterator[tuple[int, ItemOutcome[R]]]:
    """Items on the workers of a Dask scheduler, which itself tries an item again when its worker
    dies.

    It also gives up what only waited on a worker that died too often; so whatever it gives up is
    asked once more, alone. Raises SimulatorError when a worker has another version of this package,
    or none.
    """
    client, digest, suspects = connect(address), package_digest(), []

    def submit(item: T) -> Any:
        return client.submit(_try_with, digest, function, item, pure=False)

    try:
        futures = {submit(item): index for index, item in enumerate(items)}
        for future in _finished(client, list(futures), address):
            index = futures.pop(future)
            if future.status == "error" and isinstance(
                future.exception(timeout=CONNECT_S), _dask().KilledWorker
            ):
                suspects.append(index)
            else:
                yield index, _arrived(future, address)
            future.release()
        for index in suspects:
            for future in _finished(client, [submit(items[index])], address):
                yield index, _arrived(future, address)
    finally:
        _hang_up(client)


def _finished(client: Any, futures: list[Any], address: str) -> Iterator[Any]:
    """Futures as they are done. Raises SimulatorError where the scheduler is gone for GONE_S
    seconds."""
    completed, seen = _dask().as_completed(futures, loop=client.loop), time.monotonic()
    while completed.count():
        if client.status == "running":
            seen = time.monotonic()
        elif time.monotonic() - seen > GONE_S:
            raise SimulatorError(
                f"the Dask scheduler at {address} is gone; what was finished is kept, so run it "
                "again"
            )
        done = completed.next_batch(block=False)
        if not done:
            time.sleep(_POLL_S)
        for future in done:
            if (
                client.status != "running" and future.status == "cancelled"
            ):  # by the client, which has lost the scheduler
                raise SimulatorError(
                    f"the Dask scheduler at {address} is gone; what was finished is kept, so run "
                    "it again"
                )
            yield future


def _hang_up(client: Any) -> None:
    """Close a client; of a scheduler that is gone it would wait for an answer."""
    with suppress(Exception):
        client.close(timeout=CONNECT_S if client.status == "running" else _POLL_S)


def _arrived(future: Any, address: str) -> ItemOutcome[Any]:
    try:
        error = future.exception(timeout=CONNECT_S)
    except TimeoutError:
        raise SimulatorError(
            f"{address} does not hand over what its workers have finished; run it again"
        ) from None
    if isinstance(error, _OtherVersion | ImportError):
        raise SimulatorError(
            f"the workers of {address} need this very version of the simulator: {error}"
        )
    outcome: ItemOutcome[Any] = (
        future.result() if error is None else ItemOutcome(error=_lost(error))
    )
    return outcome


class _OtherVersion(Exception):
    """A worker's package differs from the one that asks."""


def _try_with(digest: str, function: Callable[[T], R], item: T) -> ItemOutcome[R]:
    if package_digest() != digest:
        raise _OtherVersion(
            f"the files of the package differ, {package_digest()} there and {digest} here"
        )
    return _try(function, item)


def _lost(error: BaseException) -> Exception:
    if isinstance(error, _dask().KilledWorker):
        return WorkerLost("its worker died again and again, out of memory or killed")
    return error if isinstance(error, Exception) else SimulatorError(str(error))


def connect(address: str) -> Any:
    """A client of the Dask scheduler at an address. Raises SimulatorError when Dask is not
    installed or nothing answers."""
    dask = _dask()
    # What goes wrong is said here, in one line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        # A Client that fails to connect keeps its thread, and its finalizer can block the next one.
        dask.utils.LoopRunner().run_sync(_greet, address)
        return dask.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise SimulatorError(
            f"no Dask scheduler answers at {address} within {CONNECT_S:g} s: {reason}"
        ) from None


async def _greet(address: str) -> None:
    """Exchange greetings with a scheduler and hang up. Raises what `connect` reports when nothing
    or something else answers."""
    import asyncio

    dask = _dask()
    security = dask.Security().get_connection_args("client")
    greeting = dask.comm.connect(address, timeout=CONNECT_S, **security)
    comm = await asyncio.wait_for(greeting, CONNECT_S + 1)
    await comm.close()


def _dask() -> Any:
    try:
        return import_module("distributed")
    except ImportError:
        raise SimulatorError(
            "a cluster needs Dask: pip install 'inference-sizing-simulator[dask]'"
        ) from None
