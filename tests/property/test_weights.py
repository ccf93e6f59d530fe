"""Weights under any parallelism: nothing is lost, replication only adds, and the account adds up."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import DenseMlp, GroupedQueryAttention, Layer, Model, MoeMlp
from simulator.catalog.quantizations import Quantization, quantizations
from simulator.memory.tensors import tensors
from simulator.memory.weights import allocated, on_one_gpu, stage_of_layer, weight_bytes

powers = st.sampled_from([1, 2, 4, 8])


@st.composite
def models(draw: st.DrawFn) -> Model:
    heads = 8 * draw(st.integers(1, 4))
    kv_heads = draw(st.sampled_from([1, 2, 4, 8]))
    mixer = GroupedQueryAttention(heads=heads, kv_heads=kv_heads, head_dim=32, value_head_dim=32, qkv_bias=draw(st.booleans()))
    dense = DenseMlp(width=64 * draw(st.integers(1, 8)), gated=draw(st.booleans()))
    moe = MoeMlp(experts=8 * draw(st.integers(1, 4)), experts_per_token=2, width=64 * draw(st.integers(1, 4)))
    layers = draw(st.lists(st.sampled_from([Layer(mixer=mixer, mlp=dense), Layer(mixer=mixer, mlp=moe)]), min_size=4, max_size=9))
    return Model(
        name="any",
        architecture="any",
        hidden=64 * draw(st.integers(1, 8)),
        vocabulary=draw(st.integers(100, 5000)),
        layers=tuple(layers),
        tied_embeddings=draw(st.booleans()),
        max_position=1024,
        rope_cache_elements=1024 * 32,
        source="drawn",
    )


formats = st.sampled_from([None, *(q for q in quantizations())])


@given(models(), formats, powers, st.integers(1, 4), st.booleans())
@settings(max_examples=60)
def test_the_account_adds_up_by_format_and_by_group(
    model: Model, stored: Quantization | None, tp: int, pp: int, expert_parallel: bool
) -> None:
    args = EngineArgs(tensor_parallel_size=tp, pipeline_parallel_size=pp, enable_expert_parallel=expert_parallel)
    weights = weight_bytes(model, stored, args)
    assert abs(sum(weights.by_format.values()) - weights.bytes) < 1e-6 * weights.bytes
    assert abs(sum(weights.by_group.values()) - weights.bytes) < 1e-6 * weights.bytes


@given(models(), powers, st.booleans())
@settings(max_examples=60)
def test_the_gpus_together_hold_at_least_the_whole_model(model: Model, tp: int, expert_parallel: bool) -> None:
    args = EngineArgs(tensor_parallel_size=tp, enable_expert_parallel=expert_parallel)
    for tensor in tensors(model):
        assert tensor.parameters <= tp * on_one_gpu(tensor, args) * (1 + 1e-12)
        assert on_one_gpu(tensor, args) <= tensor.parameters * 64


@given(models(), formats)
@settings(max_examples=40)
def test_more_gpus_never_hold_more_each(model: Model, stored: Quantization | None) -> None:
    held = [weight_bytes(model, stored, EngineArgs(tensor_parallel_size=tp)).by_format for tp in (1, 2, 4, 8)]
    totals = [sum(amount for name, amount in formats.items() if name != "allocator") for formats in held]
    assert all(later <= earlier for earlier, later in pairwise(totals))


@given(st.integers(1, 200), st.integers(1, 16))
def test_every_layer_has_a_stage_and_stages_differ_by_at_most_one_layer(layers: int, stages: int) -> None:
    owner = stage_of_layer(layers, min(stages, layers))
    sizes = [owner.count(stage) for stage in range(min(stages, layers))]
    assert owner == sorted(owner)
    assert sum(sizes) == layers
    assert max(sizes) - min(sizes) <= 1


@given(st.floats(1, 2**36))
def test_the_allocator_counts_at_most_a_mib_more_than_was_asked(amount: float) -> None:
    assert amount <= allocated(amount) <= amount + 2**20
