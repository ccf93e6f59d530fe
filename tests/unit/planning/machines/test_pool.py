"""Execution: the same outcomes in this process, on processes and on a Dask cluster, and no item lost when a worker is killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from simulator.errors import SimulatorError
from simulator.planning.machines import pool
from simulator.planning.machines.pool import Cluster, InProcess, ItemOutcome, Machine, Processes, WorkerLost, each

distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra `dask`)")


def in_order(outcomes: Iterable[tuple[int, ItemOutcome]]) -> list:
    """The results in the order of their items. Raises the first error."""
    found = dict(outcomes)
    return [found[index].value() for index in range(len(found))]


def square(x: int) -> float:
    """A result whose bits would show a difference."""
    return (x + 0.1) ** 0.5


def refuse_odd(x: int) -> int:
    if x % 2:
        raise SimulatorError(f"{x} is odd")
    return x


def die_once(task: tuple[int, Path]) -> int:
    """Kill the worker the first time that item 3 is worked on."""
    x, mark = task
    time.sleep(0.05)
    if x == 3 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def die_always(task: tuple[int, Path]) -> int:
    """Kill the worker whenever item 3 is worked on; every death leaves a mark."""
    x, marks = task
    time.sleep(0.05)
    if x == 3:
        (marks / str(os.getpid())).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def io_loops() -> set[threading.Thread]:
    """The threads in which Dask clients and clusters of this process run."""
    return {thread for thread in threading.enumerate() if thread.name == "IO loop"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler on this machine with two worker processes; a death takes all that its worker had to do."""
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as running,
    ):
        yield running.scheduler_address


@pytest.fixture(params=["in process", "processes", "cluster"])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "cluster":
        return Cluster(request.getfixturevalue("cluster"))
    return InProcess() if request.param == "in process" else Processes(2)


def test_every_machine_gives_the_same_results_bit_for_bit(machine: Machine) -> None:
    assert in_order(each(square, range(20), machine)) == [square(x) for x in range(20)]


def test_nothing_to_do_is_done_at_once(machine: Machine) -> None:
    assert list(each(square, [], machine)) == []


def test_an_item_that_raises_is_an_outcome_and_the_others_go_on(machine: Machine) -> None:
    outcomes = dict(each(refuse_odd, range(4), machine))
    assert [outcomes[0].value(), outcomes[2].value()] == [0, 2]
    assert str(outcomes[1].error) == "1 is odd"
    with pytest.raises(SimulatorError, match="3 is odd"):
        outcomes[3].value()


@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_a_killed_worker_loses_nothing_but_its_item_which_is_tried_again(kind: str, cluster: str, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    machine = Processes(2) if kind == "processes" else Cluster(cluster)
    outcomes = list(each(die_once, [(x, mark) for x in range(8)], machine))
    assert mark.exists(), "nothing was killed"
    assert in_order(outcomes) == [x * x for x in range(8)]
    assert len(outcomes) == 8, "an item came twice"


@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_an_item_that_kills_every_worker_is_given_up_and_the_others_are_not(kind: str, cluster: str, tmp_path: Path) -> None:
    machine = Processes(2) if kind == "processes" else Cluster(cluster)
    outcomes = dict(each(die_always, [(x, tmp_path) for x in range(8)], machine))
    assert isinstance(outcomes[3].error, WorkerLost)
    assert [outcomes[x].value() for x in range(8) if x != 3] == [x * x for x in range(8) if x != 3]
    if kind == "processes":
        assert len(list(tmp_path.iterdir())) == pool.TRIES == 3


KILLED = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from killed import report
from simulator.planning.machines.pool import Processes, each
list(each(report, [pathlib.Path(sys.argv[1], name) for name in ("a", "b")], Processes(2)))
"""
REPORT = """
import os, time
def report(path):
    path.with_suffix(".draft").write_text(str(os.getpid()))
    path.with_suffix(".draft").rename(path)
    time.sleep(60)
"""


def test_the_workers_of_a_killed_process_end_soon(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(REPORT)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    parent = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=env)
    assert _within(60, lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    workers = [int((tmp_path / name).read_text()) for name in ("a", "b")]
    parent.kill()
    parent.wait()
    assert _within(15, lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def test_leaving_early_stops_the_processes() -> None:
    started = time.monotonic()
    for _ in each(time.sleep, [0.01, 30, 30, 30], Processes(2)):
        break
    assert time.monotonic() - started < 20


def test_an_address_where_nothing_answers_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECT_S", 1.0)
    with pytest.raises(SimulatorError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        list(each(square, [1], Cluster("tcp://127.0.0.1:9")))


def test_an_address_that_is_none_is_one_clear_line() -> None:
    with pytest.raises(SimulatorError, match="no Dask scheduler answers at nowhere"):
        list(each(square, [1], Cluster("nowhere:notaport")))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere:notaport"])
def test_a_failed_connection_leaves_no_thread_whose_end_could_block_the_next(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CONNECT_S", 0.2)
    before = io_loops()
    with pytest.raises(SimulatorError, match="no Dask scheduler answers"):
        pool.connect(address)
    assert io_loops() <= before


def test_an_address_that_accepts_and_stays_mute_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(SimulatorError, match="no Dask scheduler answers"):
        pool.connect(f"tcp://127.0.0.1:{mute.getsockname()[1]}")


def test_workers_of_another_version_are_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "package_digest", lambda: "another")
    with pytest.raises(SimulatorError, match="need this very version of the simulator: .* another here"):
        list(each(square, [1], Cluster(cluster)))


class Lost:
    """A client whose scheduler is gone, and futures that never are done."""

    status, loop = "connecting", None

    def as_completed(self, futures, loop):
        return self

    def count(self) -> int:
        return 1

    def next_batch(self, block: bool) -> list:
        return []

    def close(self, timeout: float) -> None:
        raise TimeoutError("nobody answers")


def test_a_scheduler_that_is_gone_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GONE_S", 0.05)
    monkeypatch.setattr(pool, "_dask", Lost)
    with pytest.raises(SimulatorError, match="the Dask scheduler at there is gone; what was finished is kept, so run it again"):
        list(pool._finished(Lost(), [1], "there"))
    pool._hang_up(Lost())


def test_processes_are_never_more_than_the_items() -> None:
    assert Processes(8, at_most=3).count() == 3
    assert Processes(2, at_most=3).count() == 2
    assert Processes(at_most=0).count() == 1


def test_an_outcome_gives_its_result_or_raises_its_error() -> None:
    assert ItemOutcome(3).value() == 3
    with pytest.raises(ZeroDivisionError):
        ItemOutcome(error=ZeroDivisionError()).value()
