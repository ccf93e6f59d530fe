"""Durations: a StepTime in the engine's own numbers, seconds as floats or whole ticks as integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np

from simulator.engine.request import Request
from simulator.engine.scheduler.adapters import RunningAdapters
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.scheduler import Step
from simulator.engine.scheduler.speculative import SpeculativeBatch
from simulator.engine.scheduler.windows import InWindow
from simulator.errors import SimulatorError
from simulator.latency.step import AdapterTime, StepTime

Ticks = Callable[[Any], Any]


def in_seconds(value: Any) -> Any:
    """Times as they are."""
    return np.asarray(value, dtype=np.float64).tolist()


def in_ticks(tick_s: float) -> Ticks:
    """Times as the nearest whole number of ticks of `tick_s` seconds."""
    return lambda value: np.rint(np.asarray(value, dtype=np.float64) / tick_s).astype(np.int64).tolist()


class Durations:
    """A StepTime as tables and factors.

    `decode[n]` is what n decoding sequences take beyond their context. A prompt chunk of c tokens after p counts c * (2 p + c)
    half pairs. `prompt` is empty where a step's prompt chunks add nothing, `drafted` where nothing is drafted,
    `adapter_tokens` where no adapters are served.
    """

    __slots__ = (
        "adapter_tokens",
        "constant",
        "decode",
        "drafted",
        "load",
        "per_adapter",
        "per_context",
        "per_half_pair",
        "per_sequence",
        "prompt",
        "sampled",
        "swap",
        "tokens",
        "verified",
        "windows",
    )

    def __init__(self, step_time: StepTime, config: SchedulerConfig, ticks: Ticks) -> None:
        _check(step_time, config)
        self.tokens: list[float] = ticks(step_time.tokens[: config.max_num_batched_tokens + 1])
        self.verified = each = step_time.verified
        self.sampled: list[float] = ticks(step_time.sampled[: config.max_num_seqs * each + 1])
        self.drafted: list[float] = ticks(step_time.drafted[: config.max_num_seqs + 1])
        self.per_sequence: float = ticks(step_time.per_sequence)
        self.per_context: float = ticks(step_time.per_context)
        self.per_half_pair: float = ticks(step_time.per_pair / 2)
        self.constant: float = ticks(step_time.constant)
        self.prompt: list[float] = ticks(step_time.prompt[: config.max_num_batched_tokens + 1])
        self.windows: list[tuple[int, float, float, float]] = [
            (w.size, ticks(w.per_context), ticks(w.per_pair / 2), ticks(w.beyond)) for w in step_time.windows
        ]
        adapters = step_time.adapters or AdapterTime(np.zeros(0))
        self.adapter_tokens: list[float] = ticks(adapters.tokens[: config.max_num_batched_tokens + 1])
        self.per_adapter: float = ticks(adapters.each)
        self.swap: float = ticks(adapters.swap)
        self.load: float = ticks(adapters.load)
        self.decode = [
            self.tokens[n * each] + self.sampled[n * each] + n * self.per_sequence + self.constant
            for n in range(min(config.max_num_seqs, config.max_num_batched_tokens // each) + 1)
        ]
        if self.drafted:
            self.decode = [seconds + drafting for seconds, drafting in zip(self.decode, self.drafted, strict=False)]


class StepTimer:
    """How long the steps of one instance take: from its durations, its decode batch, and the sums over that of each window.

    `amends`: even steps take more or less than their decode batch alone says, `amends_uneven`: steps with prompts do.
    """

    __slots__ = ("amends", "amends_uneven", "batch", "decode", "durations", "per_context", "windows")

    def __init__(self, durations: Durations, batch: DecodeBatch, sums: Mapping[int, InWindow]) -> None:
        self.durations = durations
        self.decode = durations.decode
        self.per_context = durations.per_context
        self.batch = batch
        self.windows = [
            (sums[size], per_context, per_half_pair, beyond) for size, per_context, per_half_pair, beyond in durations.windows
        ]
        self.amends = bool(self.windows)
        self.amends_uneven = bool(self.windows or durations.drafted or durations.prompt)

    def add_to_even(self, step: Step, base: float, slope: float) -> tuple[float, float]:
        """With padding and windows: what the composed even step takes, and by how much more each one after it."""
        if step.padding:
            count = self.batch.count * self.durations.verified
            base += self._padded(step, count, count)
        for sums, per_context, _, beyond in self.windows:
            base += per_context * sums.inside
            slope += per_context * sums.below
            if beyond and sums.below < self.batch.count:
                base += beyond
        return base, slope

    def uneven(self, step: Step) -> tuple[float, int, int]:
        """What the composed step takes, whatever is in it; its prompt tokens, and how many sequences sample in it."""
        durations, batch, chunks = self.durations, self.batch, step.chunks
        decoding, context = (0, 0) if step.pausing else (batch.count, batch.context)
        if step.stalled:
            decoding -= len(step.stalled)
            context -= sum(map(self._context_of, step.stalled))
        prompt_tokens = half_pairs = ends = 0
        for request, tokens, last in chunks:
            prompt_tokens += tokens
            half_pairs += tokens * (2 * request.computed + tokens)
            ends += last
        verified, sequences = decoding * durations.verified, decoding + len(chunks)
        tokens, sampled = verified + prompt_tokens, verified + ends
        seconds = durations.tokens[tokens] + durations.sampled[sampled] + durations.per_sequence * sequences + durations.constant
        seconds += durations.per_context * context + durations.per_half_pair * half_pairs
        if self.amends_uneven or step.padding:
            seconds = self._amended(step, seconds, tokens, sampled, decoding + ends)
        return seconds, prompt_tokens, decoding + ends

    def _amended(self, step: Step, seconds: float, tokens: int, sampled: int, sequences: int) -> float:
        """What a step takes that is not even and takes so long without drafts, prompts' own share, padding and windows."""
        durations = self.durations
        if durations.drafted:
            seconds += durations.drafted[sequences]
        if durations.prompt and step.chunks:
            seconds += durations.prompt[tokens]
        if step.padding:
            seconds += self._padded(step, tokens, sampled)
        if self.windows:
            seconds += self._in_windows(step)
        return seconds

    def _padded(self, step: Step, tokens: int, sampled: int) -> float:
        """What its padding adds to a step of so many tokens."""
        durations, padding = self.durations, step.padding
        seconds = durations.tokens[tokens + padding] - durations.tokens[tokens]
        seconds += durations.sampled[sampled + padding] - durations.sampled[sampled] + durations.per_sequence * padding
        if durations.prompt and step.chunks:
            seconds += durations.prompt[tokens + padding] - durations.prompt[tokens]
        return seconds + durations.per_context * step.padded_context

    def _in_windows(self, step: Step) -> float:
        """What layers with a window add to a step that is not even."""
        seconds = 0.0
        for sums, per_context, per_half_pair, beyond in self.windows:
            stalled = [self._inside(request, sums.size) for request in step.stalled]
            inside = 0 if step.pausing else sums.inside - sum(stalled)
            if beyond and not step.pausing and sums.below + stalled.count(sums.size) < self.batch.count:
                seconds += beyond
            half_pairs = sum(min(n * (2 * r.computed + n), 2 * n * sums.size) for r, n, _ in step.chunks)
            seconds += per_context * inside + per_half_pair * half_pairs
        return seconds

    def _inside(self, request: Request, size: int) -> float:
        return min(self._context_of(request), size)

    def _context_of(self, request: Request) -> float:
        """Tokens that a decoding sequence attends to."""
        return self.batch.step + request.offset


class ReceiverTimer(StepTimer):
    """The same where KV comes from elsewhere: the last prompt token is then computed as a decode is, with its graph."""

    __slots__ = ("launches",)

    def __init__(self, durations: Durations, batch: DecodeBatch, sums: Mapping[int, InWindow]) -> None:
        self.launches = durations.prompt
        if self.launches:
            durations = copy(durations)
            durations.prompt = []
        super().__init__(durations, batch, sums)

    def uneven(self, step: Step) -> tuple[float, int, int]:
        """What the composed step takes, whatever is in it; its prompt tokens, and how many sequences sample in it."""
        seconds, prompt_tokens, sampled = super().uneven(step)
        if self.launches and any(tokens > 1 for _, tokens, _ in step.chunks):
            ends = sum(last for *_, last in step.chunks)
            seconds += self.launches[sampled - ends + prompt_tokens]
        return seconds, prompt_tokens, sampled


class SpeculativeTimer(StepTimer):
    """The same where each decoding sequence has several tokens in a step, and its context grows by more than one."""

    __slots__ = ()
    batch: SpeculativeBatch

    def __init__(self, durations: Durations, batch: SpeculativeBatch) -> None:
        super().__init__(durations, batch, batch.windows)
        self.amends = True

    def add_to_even(self, step: Step, base: float, slope: float) -> tuple[float, float]:
        """With padding and windows: what the composed even step takes, and by how much more each one after it."""
        base, _ = super().add_to_even(step, base, slope)
        slope = self.per_context * self.batch.pace
        for size, per_context, _, _ in self.durations.windows:
            slope += per_context * self.batch.windows[size].pace
        return base, slope

    def _context_of(self, request: Request) -> float:
        return self.batch.mean_context(request)


class AdapterTimer(StepTimer):
    """The same where LoRA adapters run, and some of them must be brought to the GPU before a step."""

    __slots__ = ("adapters", "loaded", "swapped")

    def __init__(self, durations: Durations, batch: DecodeBatch, sums: Mapping[int, InWindow], adapters: RunningAdapters) -> None:
        super().__init__(durations, batch, sums)
        self.adapters = adapters
        self.loaded = self.swapped = 0
        self.amends = True

    def add_to_even(self, step: Step, base: float, slope: float) -> tuple[float, float]:
        """With padding, windows and adapters: what the composed even step takes, and by how much more each one after it."""
        base, slope = super().add_to_even(step, base, slope)
        return base + self._running(self.batch.count), slope

    def uneven(self, step: Step) -> tuple[float, int, int]:
        """What the composed step takes, whatever is in it; its prompt tokens, and how many sequences sample in it."""
        seconds, prompt_tokens, sampling = super().uneven(step)
        adapters, durations = self.adapters, self.durations
        decoding = 0 if step.pausing else self.batch.count - len(step.stalled)
        seconds += self._running(decoding + prompt_tokens)
        seconds += durations.swap * (adapters.swaps - self.swapped) + durations.load * (adapters.loads - self.loaded)
        self.swapped, self.loaded = adapters.swaps, adapters.loads
        return seconds, prompt_tokens, sampling

    def _running(self, tokens: int) -> float:
        computing = len(self.adapters.computing)
        return self.durations.adapter_tokens[tokens] + self.durations.per_adapter * computing if computing else 0


def _check(step_time: StepTime, config: SchedulerConfig) -> None:
    """Raise SimulatorError unless every step that the configuration allows has a finite time, 0 or more."""
    if step_time.verified != config.verified:
        raise SimulatorError(f"step time: {step_time.verified} tokens a decode; the scheduler gives it {config.verified}")
    tables = [
        ("tokens", step_time.tokens, config.max_num_batched_tokens),
        ("sampled", step_time.sampled, config.max_num_seqs * config.verified),
    ]
    if config.adapter_slots and step_time.adapters is not None:
        tables.append(("adapters.tokens", step_time.adapters.tokens, config.max_num_batched_tokens))
    if len(step_time.drafted):
        tables.append(("drafted", step_time.drafted, config.max_num_seqs))
    for name, table, most in tables:
        if len(table) <= most:
            raise SimulatorError(f"step time: {name} has {len(table)} entries; {most + 1} are needed for 0 to {most}")
    if 0 < len(step_time.prompt) <= config.max_num_batched_tokens:
        raise SimulatorError(f"step time: prompt has {len(step_time.prompt)} entries, tokens {len(step_time.tokens)}")
    scalars = (step_time.per_sequence, step_time.per_context, step_time.per_pair, step_time.constant)
    windows = [(w.per_context, w.per_pair, w.beyond) for w in step_time.windows]
    for values in (step_time.tokens, step_time.sampled, step_time.prompt, step_time.drafted, scalars, windows):
        if not (np.isfinite(values).all() and (np.asarray(values) >= 0).all()):
            raise SimulatorError("step time: every term must be finite and 0 or more")
