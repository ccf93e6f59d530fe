"""Writing: drawn requests as a Mooncake trace, which other tools replay and `trace:` reads again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from simulator.errors import SimulatorError
from simulator.units import MS
from simulator.workload.requests import BlockHashes, Requests


def mooncake_trace(requests: Requests) -> str:
    """The requests as JSON lines of `timestamp` (ms), `input_length`, `output_length`, and `hash_ids` where prompts share any.

    One hash id stands for `requests.hashes.block_tokens` tokens; a partly filled last block has one too, as
    in Mooncake's own files. Raises SimulatorError for requests whose times an engine decides: later turns.

    Source: Qin et al., Mooncake, arXiv:2407.00079, and its FAST25 traces.
    """
    if requests.previous is not None and (requests.previous >= 0).any():
        raise SimulatorError("later turns of sessions come when the turn before has been answered: no trace has their times")
    ids = None if requests.hashes is None else _whole_prompts(requests, requests.hashes)
    lines = []
    for row, arrival in enumerate(requests.arrival_s.tolist()):
        fields: dict[str, object] = {
            "timestamp": round(arrival / MS, 3),
            "input_length": int(requests.prompt_tokens[row]),
            "output_length": int(requests.output_tokens[row]),
        }
        if ids is not None:
            fields["hash_ids"] = next(ids)
        lines.append(json.dumps(fields))
    return "\n".join([*lines, ""])


def _whole_prompts(requests: Requests, hashes: BlockHashes) -> Iterator[list[int]]:
    """The ids of each prompt's blocks: those that are listed, and new ones for what has content of its own."""
    fresh = int(hashes.ids.max(initial=-1)) + 1
    full = requests.prompt_tokens // hashes.block_tokens
    blocks = -(-requests.prompt_tokens // hashes.block_tokens)
    shared = np.minimum(np.diff(hashes.offsets), full)
    for start, listed, wanted in zip(hashes.offsets[:-1].tolist(), shared.tolist(), blocks.tolist(), strict=True):
        own = wanted - listed
        yield [*hashes.ids[start : start + listed].tolist(), *range(fresh, fresh + own)]
        fresh += own
