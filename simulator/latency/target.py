"""Target: what a step time is bound to."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.links import LinkSpec
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.latency.host import Host
from simulator.latency.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Target:
    """One replica of a model on a GPU, with resolved engine arguments.

    `link_bytes_per_s`: what the user's server gives from one GPU to another in one direction, in place of the datasheet's.
    `host`: its processor. `sampling`: how answers are sampled. `network` joins the servers of one replica.
    `apart`: it is of a prefill or a decode pool.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    args: ResolvedArgs
    engine: Engine
    link_bytes_per_s: float | None = None
    host: Host = field(default_factory=Host)
    sampling: Sampling = field(default_factory=Sampling)
    network: LinkSpec = field(default_factory=LinkSpec)
    apart: bool = False
