"""What holds for any step of any deployment."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.latency_cases import CASES, Case

from simulator.latency.calibration import DecodeFactor, Factors, apply
from simulator.latency.step import StepTime, StepWork

contexts = st.lists(st.integers(1, 2000), max_size=40).map(tuple)
chunk = st.tuples(st.integers(0, 1500), st.integers(1, 300), st.booleans())
steps = st.builds(StepWork, contexts=contexts, chunks=st.lists(chunk, max_size=3).map(tuple)).filter(
    lambda s: s.contexts or s.chunks
)
cases = st.sampled_from(CASES)


@cache
def bound(c: Case) -> StepTime:
    return c.bind()


@given(cases, steps)
@settings(max_examples=150)
def test_every_step_takes_a_finite_time(c: Case, step: StepWork) -> None:
    assert 1e-5 < bound(c).seconds(step) < 60


@given(cases, steps, st.integers(1, 500))
@settings(max_examples=150)
def test_a_longer_context_is_never_faster(c: Case, step: StepWork, more: int) -> None:
    longer = StepWork(tuple(context + more for context in step.contexts), step.chunks)
    assert bound(c).seconds(longer) >= bound(c).seconds(step)


@given(cases, steps)
@settings(max_examples=150)
def test_another_decoding_sequence_is_never_faster_under_one_regime(c: Case, step: StepWork) -> None:
    """Within steps that one CUDA graph regime covers: beyond the largest graph the CPU's launches are waited for."""
    tokens = len(step.contexts) + sum(n for _, n, _ in step.chunks)
    if tokens == c.engine.largest_cudagraph(c.args):
        return
    more = StepWork((*step.contexts, 100), step.chunks)
    assert bound(c).seconds(more) >= bound(c).seconds(step) * (1 - 1e-9)


@given(cases, steps, st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.floats(0.5, 2.0))
@settings(max_examples=100)
def test_a_calibrated_step_lies_between_its_smallest_and_largest_factor(
    c: Case, step: StepWork, low: float, high: float, prefill: float
) -> None:
    decode = tuple(DecodeFactor(sequences=n, factor=f, percent=1.0) for n, f in ((2, low), (40, high)))
    factors = Factors(model=c.model.name, gpu=c.gpu.name, quantization="any", decode=decode, prefill=prefill)
    ratio = apply(bound(c), factors).seconds(step) / bound(c).seconds(step)
    if not step.chunks:
        assert min(low, high) * (1 - 1e-9) <= ratio <= max(low, high) * (1 + 1e-9)
    assert ratio >= 0


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.name)
def test_tables_never_fall_except_where_graphs_end(c: Case) -> None:
    falls = np.flatnonzero(np.diff(bound(c).tokens) < -1e-9 * bound(c).tokens[1:])
    assert set(falls.tolist()) <= {c.engine.largest_cudagraph(c.args)}
