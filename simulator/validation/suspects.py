"""Suspect rows: what a measurement says that cannot be, by the row itself or beside other rows of the same server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from simulator.catalog.gpus import ComputeType
from simulator.catalog.quantizations import runs_as
from simulator.memory.weights import active_parameters
from simulator.validation.measurements import Row, number_in
from simulator.validation.protocols import MeasuredServer

# A step that takes this much longer than one of more users, or than one of as many users in another row, was disturbed.
_SLOWER_THAN_MORE, _SLOWER_THAN_AS_MANY = 1.1, 1.2
# Below this share of a decode step a first token came sooner than the step that computes it.
_OF_A_STEP = 0.9
# Runs in which requests waited for a sequence or KV limit that the row does not state.
_CAPPED_TTFT_MS, _CAPPED_CONCURRENCY = 15_000.0, (256, 5_000.0)


def contradicted(rows: Sequence[Row], ran: Callable[[Row], Hashable | None]) -> dict[int, str]:
    """By position, why a row's TPOT cannot be beside another row of the same server and lengths, which `ran` tells.

    More users make a step no shorter. Of two rows that contradict each other the slower one is suspect: what else a machine
    does makes steps longer, never shorter.
    """
    alike: dict[Hashable, list[tuple[float, float, int]]] = defaultdict(list)
    for index, row in enumerate(rows):
        users, tpot = number_in(row, "concurrency"), number_in(row, "tpot_ms_mean")
        if users and tpot and (what := ran(row)) is not None:
            alike[what].append((users, tpot, index))
    found = {}
    for group in alike.values():
        for users, tpot, index in group:
            faster = [(t, u, i) for u, t, i in group if u >= users and t * _slower(u > users) < tpot]
            if faster:
                least, more, other = min(faster)
                found[index] = (
                    f"TPOT of {tpot:g} ms with {users:g} users, but {least:g} ms with {more:g} in row {other + 1}, "
                    "and more users make no step shorter: something else ran on the machine, or the label is another run's"
                )
    return found


def cannot_be(row: Row, server: MeasuredServer, prompts: int) -> str | None:
    """Why a closed loop's mean TTFT cannot be what its row says, None where it can.

    `prompts`: how many the run had. All users send at once when it begins, so the mean is at least that of a queue at the
    datasheet's peak.
    """
    ttft, tpot = number_in(row, "ttft_ms_mean"), number_in(row, "tpot_ms_mean")
    users, length = number_in(row, "concurrency"), number_in(row, "input_len")
    if not ttft or not users or not length:
        return None
    if tpot and ttft < _OF_A_STEP * tpot:
        return f"TTFT of {ttft:g} ms is below TPOT of {tpot:g} ms: no first token comes before its own step has ended"
    if waited_elsewhere(ttft, users):
        return f"TTFT of {ttft:g} ms: requests waited for a limit that the row does not state"
    alone = 1e3 * 2 * active_parameters(server.model) * length / _peak_flops(server)
    least = alone * (1 + (users - 1) / 2 * min(users / prompts, 1.0))
    if ttft < least and not server.args.enable_prefix_caching:
        return (
            f"TTFT of {ttft:g} ms with {users:g} users: the burst that opens the run takes {least:.0f} ms in the mean at the "
            "datasheet's peak; the figure is of a lone prompt, or of cached ones"
        )
    return None


def waited_elsewhere(ttft_ms: float, users: float) -> bool:
    """Whether requests waited for a sequence or KV limit that their row does not state."""
    return ttft_ms > _CAPPED_TTFT_MS or (users >= _CAPPED_CONCURRENCY[0] and ttft_ms > _CAPPED_CONCURRENCY[1])


def _slower(more_users: bool) -> float:
    return _SLOWER_THAN_MORE if more_users else _SLOWER_THAN_AS_MANY


def _peak_flops(server: MeasuredServer) -> float:
    forms = server.quantization.formats.values() if server.quantization else ()
    kinds: set[ComputeType] = {runs_as(form, server.gpu).compute for form in (None, *forms)}
    gpus = server.args.tensor_parallel_size * server.args.pipeline_parallel_size * server.args.data_parallel_size
    return gpus * max(server.gpu.flops[kind] for kind in kinds)
