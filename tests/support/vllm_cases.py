"""Cases that vLLM's own scheduler served on a virtual clock, and the same cases for us.

A line a case, JSON in gzip; tests/vllm/README.md says what is in it. A column holds whole ticks.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from oracle import Arguments, Group, Rules, rules_of
from support.engine_cases import Case, step_time
from support.shared import SHARED

from simulator.engine.fleet.router import RoundRobin
from simulator.engine.load import OpenLoop
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.workload.requests import BlockHashes, Requests

POCKET = Path(__file__).parents[1] / "vllm"
CORPUS = Path(os.environ.get("VLLM_CASES", SHARED / "validation" / "vllm_scheduler"))
STATE = {"state": True}
ANSWERS = {
    "first_token": "vllm_first",
    "finish": "vllm_finish",
    "preemptions": "vllm_preemptions",
    "cached": "vllm_cached",
}


@dataclass
class Served:
    """One case and what vLLM made of it."""

    raw: dict[str, Any]

    @property
    def release(self) -> str:
        return self.raw["vllm"]

    @property
    def family(self) -> str:
        return self.raw["family"]

    @property
    def rules(self) -> Rules:
        return rules_of(self.release)

    def arguments(self) -> Arguments:
        """What SchedulerConfig has no field for."""
        limits = self.raw["limits"]
        known = {f.name for f in fields(Arguments)} - {"groups"}
        given = {name: value for name, value in limits.items() if name in known}
        return Arguments(**given, groups=tuple(_group(g) for g in limits["groups"] if g != STATE))

    def limits(self) -> SchedulerConfig:
        named = {f.name for f in fields(SchedulerConfig)} - {f.name for f in fields(Arguments)}
        given = {name: value for name, value in self.raw["limits"].items() if name in named}
        groups = tuple(KvGroup(window=g.window, block_size=g.block_size) for g in self.arguments().groups or ())
        states = self.raw["limits"]["groups"].count(STATE)
        return SchedulerConfig(**given, kv_groups=groups, state_blocks=states)

    def case(self, *, answers_named: bool = False) -> Case:
        """The case. `answers_named`: the answers' blocks stand in the lists of hashes too."""
        raw, limits = self.raw, self.limits()
        requests = Requests(
            np.array(raw["arrival"], dtype=float),
            np.array(raw["prompt"]),
            np.array(raw["output"]),
            priority=np.array(raw["priority"]),
            hashes=self._hashes(answers_named) if limits.enable_prefix_caching else None,
        )
        replicas = [(step_time(limits, **raw["step"]), limits)]
        how = {"rules": self.rules, "arguments": self.arguments()}
        return Case(requests, replicas, RoundRobin(), OpenLoop(), **how)

    def _hashes(self, answers_named: bool) -> BlockHashes:
        groups = self.arguments().groups or ()
        size = gcd(*(g.block_size or self.raw["limits"]["block_size"] for g in groups))
        names: dict[tuple[int, ...], int] = {}
        ids: list[int] = []
        offsets = [0]
        for i, (prompt, output) in enumerate(zip(self.raw["tokens"], self.raw["output"], strict=True)):
            tokens = [*prompt, *[-1 - i] * output] if answers_named else prompt
            ends = range(size, len(tokens) + 1, size)
            ids += [names.setdefault(tuple(tokens[:end]), len(names)) for end in ends]
            offsets.append(len(ids))
        return BlockHashes(size, np.array(offsets), np.array(ids, dtype=np.int64))

    def differences(self, found: dict[str, list]) -> dict[str, tuple[list, list]]:
        """What we say differently: ours and vLLM's, by column."""
        said = {name: [_int(x) for x in found[name]] for name in ANSWERS}
        right = {name: self.raw[column] for name, column in ANSWERS.items()}
        return {n: (said[n], right[n]) for n in ANSWERS if said[n] != right[n]}


def _int(x: float) -> int | None:
    return None if x != x else int(x)


def _group(group: int | dict[str, Any] | None) -> Group:
    return Group(**group) if isinstance(group, dict) else Group(window=group)


@cache
def served(folder: Path) -> dict[tuple[str, str], list[Served]]:
    """The cases of a folder, by release and family."""
    found: dict[tuple[str, str], list[Served]] = {}
    for case in _read(folder):
        found.setdefault((case.release, case.family), []).append(case)
    return found


def _read(folder: Path) -> Iterator[Served]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            yield from (Served(json.loads(line)) for line in lines)
