"""Options that say where many runs are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.planning.machines.pool import Machine

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes to use; all cores when not given, 1 for none.")]
ClusterAddress = Annotated[
    str | None, typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler to use instead, such as tcp://host:8786.")
]


def machine_of(workers: int | None, cluster: str | None) -> Machine:
    """Where to compute: a cluster, this process, or processes of this machine."""
    from simulator.planning.machines.pool import Cluster, InProcess, Processes

    if cluster:
        return Cluster(cluster)
    return InProcess() if workers == 1 else Processes(workers)
