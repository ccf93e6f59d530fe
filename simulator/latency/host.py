"""Host: how fast a server's own processor does an engine's work, where its user has measured it."""

from __future__ import annotations

from dataclasses import replace

from simulator.catalog.kernels import Overheads
from simulator.spec import NonNegative, Positive, spec


@spec
class Host:
    """The processor's part of a step, in place of what stands for the hosts that were measured.

    `slowness`: how much longer it takes for everything below than a usual host; 1 is usual. Six hosts of vLLM 0.7 were 0.6 to
    3. `step_us`: the engine's own work between two steps; `sequence_us`: for each sequence of a step; `layer_us`: launching one
    layer of a step that no CUDA graph covers. What is given replaces the engine's figure and is not scaled.
    """

    slowness: Positive = 1.0
    step_us: NonNegative | None = None
    sequence_us: NonNegative | None = None
    layer_us: NonNegative | None = None

    def on(self, usual: Overheads) -> Overheads:
        """The overheads of an engine on this host.

        >>> from simulator.catalog.engines import engine
        >>> from simulator.catalog.kernels import overheads
        >>> Host(slowness=2, layer_us=100).on(overheads(engine("vllm-0.7.3"))).eager_layer_us
        100.0
        """
        scaled = {name: self.slowness * getattr(usual, name) for name in _OF_THE_PROCESSOR}
        if self.step_us is not None:
            scaled |= {"step_us": self.step_us, "sync_step_us": 0.0}
        if self.sequence_us is not None:
            scaled |= {"sequence_us": self.sequence_us, "sync_sequence_us": 0.0}
        if self.layer_us is not None:
            scaled |= {"launch_layer_us": self.layer_us, "eager_layer_us": self.layer_us}
            scaled |= {"eager_quantize_us": 0.0, "launch_rank_us": 0.0, "launch_experts_us": 0.0, "launch_op_us": 0.0}
        return replace(usual, **scaled)


_OF_THE_PROCESSOR = (
    "step_us",
    "sequence_us",
    "rank_sequence_us",
    "sync_step_us",
    "sync_sequence_us",
    "launch_layer_us",
    "launch_rank_us",
    "launch_experts_us",
    "launch_op_us",
    "eager_layer_us",
    "eager_quantize_us",
)
