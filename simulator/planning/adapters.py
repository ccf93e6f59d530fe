"""What a reader should know of a deployment that serves LoRA adapters."""

from __future__ import annotations

from simulator.server import Server
from simulator.text import number


def adapter_notes(server: Server) -> tuple[str, ...]:
    """A line on what adapters add to a step and to the start of a request; none without them."""
    time, slots = server.step_time.adapters, server.limits.adapter_slots
    if time is None or slots is None:
        return ()
    kernels, each, swap, load = (
        number(1e3 * seconds, 2) for seconds in (time.tokens[1], time.each, time.swap, time.load)
    )
    return (
        f"{slots.max_loras} LoRA adapters run at once and {slots.max_cpu_loras} are kept in host "
        f"memory; a step with any takes {kernels} ms more and {each} ms for each, and waits "
        f"{swap} ms for one that is moved into a slot, {load} ms for one that is read from disk: "
        "a guess from three reports, wider than the bands say",
    )
