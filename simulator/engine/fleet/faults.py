"""What befalls the replicas of a pool: outages by a script or at random, roll-outs. One class a kind; each becomes Faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.engine.fleet.lives import Fault
from simulator.errors import SimulatorError
from simulator.spec import Count, Natural, spec
from simulator.workload.text_units import Duration, Pause

_MOST_OUTAGES = 100_000


@spec
class Outage:
    """At `at_s` these replicas are gone: a process that dies, the replicas of a node or of a zone.

    With `notice_s` they finish what they have for so long, as on a spot instance that is reclaimed
    (AWS 2 min, Google Cloud and Azure 30 s). Until `detected_after_s` the router sends requests to
    the dead. A replacement starts `restart_after_s` after, never with `restart: false`.

    Source: AWS EC2 user guide, spot instance interruption notices; Google Cloud, Spot VMs:
    preemption process; Azure, Spot Virtual Machines: eviction (read 2026-11-30).
    """

    kind: Literal["outage"] = "outage"
    at_s: Pause
    replicas: Annotated[tuple[Natural, ...], Field(min_length=1)]
    notice_s: Pause = 0.0
    detected_after_s: Pause = 0.0
    restart_after_s: Pause = 0.0
    restart: bool = True

    def script(self, replicas: int, horizon_s: float, start_s: float, rng: np.random.Generator) -> list[Fault]:
        """The faults of `replicas` within so many seconds, where a start takes `start_s`."""
        return [
            Fault(
                at_s=self.at_s,
                replicas=self.replicas,
                notice_s=self.notice_s,
                detected_after_s=self.detected_after_s,
                restart_after_s=self.restart_after_s if self.restart else None,
                why="reclaimed" if self.notice_s else "outage",
            )
        ]


@spec
class RandomOutages:
    """Each node with `together` replicas fails now and then, on average once in `mtbf_s`, whatever happened before.

    Between outages lie exponential times, drawn from the seed of the scenario.
    """

    kind: Literal["random"] = "random"
    mtbf_s: Duration
    together: Count = 1
    notice_s: Pause = 0.0
    detected_after_s: Pause = 0.0
    restart_after_s: Pause = 0.0

    def script(self, replicas: int, horizon_s: float, start_s: float, rng: np.random.Generator) -> list[Fault]:
        """The faults of `replicas` within so many seconds, where a start takes `start_s`."""
        faults = []
        about = replicas / self.together * horizon_s / self.mtbf_s
        if about > _MOST_OUTAGES:
            raise SimulatorError(
                f"faults: mtbf_s {self.mtbf_s:g} gives about {about:.2g} outages; at most {_MOST_OUTAGES:,} are simulated"
            )
        for first in range(0, replicas, self.together):
            node = tuple(range(first, min(first + self.together, replicas)))
            count = rng.poisson(horizon_s / self.mtbf_s)
            times = np.sort(rng.uniform(0.0, horizon_s, count)).tolist()
            faults += [self._fault(when, node) for when in times]
        return faults

    def _fault(self, when: float, node: tuple[int, ...]) -> Fault:
        return Fault(
            at_s=when,
            replicas=node,
            notice_s=self.notice_s,
            detected_after_s=self.detected_after_s,
            restart_after_s=self.restart_after_s,
            why="outage",
        )


@spec
class RollOut:
    """A deploy: from `at_s` on the replicas are replaced, so many `at_once`, the next once these have had time to start.

    Each finishes what it has for up to `drain_s` while its replacement starts.
    """

    kind: Literal["roll_out"] = "roll_out"
    at_s: Pause
    at_once: Count = 1
    drain_s: Duration = 30.0

    def script(self, replicas: int, horizon_s: float, start_s: float, rng: np.random.Generator) -> list[Fault]:
        """The faults of `replicas` within so many seconds, where a start takes `start_s`."""
        pace = max(start_s, self.drain_s)
        return [
            Fault(
                at_s=self.at_s + number * pace,
                replicas=tuple(range(first, min(first + self.at_once, replicas))),
                notice_s=self.drain_s,
                why="roll-out",
            )
            for number, first in enumerate(range(0, replicas, self.at_once))
        ]


Happening = Annotated[Outage | RandomOutages | RollOut, Field(discriminator="kind")]


@spec
class ColdStart:
    """What it takes from the wish for a replica to its first request, seconds: the sum of its causes.

    `node_s` until there is a machine (0: it stands ready), `image_s` to fetch the container, the
    weights at `weights_gb_per_s` from disk or network, `engine_s` for everything else the engine
    does. None for the last is what public logs of vLLM show: with a cold cache of torch.compile
    91 s for profiling, compilation and graphs, with a warm one 34 s, and 25 s for the process.

    Source: run-ai/runai-model-streamer#67 (2025-06, 90.8 s), vllm-project/vllm#20264 (2025-06,
    34.1 s, and 25 s that no line of the log explains); a single log each, so take it as a guess.
    """

    node_s: Pause = 0.0
    image_s: Pause = 0.0
    weights_gb_per_s: Annotated[float, Field(gt=0)] = 1.0
    engine_s: Pause | None = None
    compiled: bool = False

    def causes(self, weight_bytes: float) -> dict[str, float]:
        """Seconds by cause, for so many bytes of weights that one replica reads."""
        return {
            "node": self.node_s,
            "image": self.image_s,
            "weights": weight_bytes / 1e9 / self.weights_gb_per_s,
            "engine": self.engine,
        }

    @property
    def engine(self) -> float:
        """Seconds of the engine itself."""
        if self.engine_s is not None:
            return self.engine_s
        return PROCESS_S + (COMPILED_S if self.compiled else COLD_S)


PROCESS_S, COLD_S, COMPILED_S = 25.0, 91.0, 34.0


def fault_script(
    happenings: Sequence[Happening], replicas: int, horizon_s: float, start_s: float, rng: np.random.Generator
) -> tuple[Fault, ...]:
    """All faults of the happenings, in order of time."""
    faults = [fault for each in happenings for fault in each.script(replicas, horizon_s, start_s, rng)]
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
