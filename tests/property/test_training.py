"""What holds for any training run: more work needs no less memory, and dividing it needs no more."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.catalog.models import DenseMlp, GroupedQueryAttention, Layer, Model, MoeMlp
from simulator.memory.training.bytes import training_bytes
from simulator.memory.training.frameworks import FRAMEWORKS
from simulator.memory.training.optimizers import OPTIMIZERS
from simulator.memory.training.plan import Training

ATTENTION = GroupedQueryAttention(heads=8, kv_heads=4, head_dim=64, value_head_dim=64)
MLPS = (DenseMlp(width=1376), DenseMlp(width=2048, gated=False), MoeMlp(experts=8, experts_per_token=2, width=704))
MODELS = [
    Model(
        name=f"{mlp.kind}-{layers}",
        architecture="Test",
        hidden=512,
        vocabulary=32000,
        layers=(Layer(mixer=ATTENTION, mlp=mlp),) * layers,
        tied_embeddings=tied,
        max_position=4096,
        source="test",
    )
    for mlp in MLPS
    for layers, tied in ((1, True), (12, False))
]
models = st.sampled_from(MODELS)
runs = st.builds(
    Training,
    method=st.sampled_from(["full", "lora", "qlora"]),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    framework=st.sampled_from(list(FRAMEWORKS)),
    precision=st.sampled_from(["mixed", "bf16", "fp32"]),
    fp32_gradients=st.booleans(),
    micro_batch_size=st.integers(1, 64),
    gradient_accumulation_steps=st.integers(1, 16),
    sequence_length=st.integers(1, 8192),
    activation_checkpointing=st.sampled_from(["none", "selective", "full"]),
    flash_attention=st.booleans(),
    dropout=st.booleans(),
    loss=st.sampled_from(["plain", "chunked"]),
    sharding=st.sampled_from(["fsdp", "distributed-optimizer"]),
    zero_stage=st.integers(0, 3),
    data_parallel_size=st.sampled_from([1, 2, 3, 8, 64]),
    tensor_parallel_size=st.sampled_from([1, 2, 4]),
    pipeline_parallel_size=st.just(1),
    sequence_parallel=st.booleans(),
    lora_rank=st.integers(1, 128),
    lora_targets=st.sampled_from(["query-value", "attention", "all-linear"]),
)
few = settings(max_examples=40)


def total(model: Model, training: Training) -> float:
    return training_bytes(model, training).total


def never_rises(needed: list[float]) -> bool:
    return all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(needed))


@few
@given(models, runs)
def test_a_second_sequence_or_token_needs_more(model: Model, training: Training) -> None:
    """More while gradients are there; else it may go into the room that they take at the end of a step."""
    for run in (training, replace(training, gradient_accumulation_steps=2)):
        before = total(model, run)
        sequence = total(model, replace(run, micro_batch_size=run.micro_batch_size + 1))
        token = total(model, replace(run, sequence_length=run.sequence_length + 1))
        assert min(sequence, token) >= before
    assert min(sequence, token) > before


@few
@given(models, runs)
def test_recomputing_more_and_storing_less_never_needs_more(model: Model, training: Training) -> None:
    kinds = [total(model, replace(training, activation_checkpointing=kind)) for kind in ("none", "selective", "full")]
    assert never_rises(kinds)
    assert never_rises([total(model, replace(training, flash_attention=wanted)) for wanted in (False, True)])
    assert never_rises([total(model, replace(training, loss=loss)) for loss in ("plain", "chunked")])


@few
@given(models, runs)
def test_each_zero_stage_and_each_rank_helps_or_does_nothing(model: Model, training: Training) -> None:
    stages = [total(model, replace(training, zero_stage=stage)) for stage in range(4)]
    assert never_rises(stages)
    if training.data_parallel_size > 1:
        twice = replace(training, data_parallel_size=2 * training.data_parallel_size)
        assert never_rises([total(model, training), total(model, twice)])


@few
@given(models, runs)
def test_tensor_and_sequence_parallelism_never_need_more(model: Model, training: Training) -> None:
    split = [total(model, replace(training, tensor_parallel_size=size)) for size in (1, 2, 4)]
    assert never_rises(split)
    assert never_rises([total(model, replace(training, sequence_parallel=wanted)) for wanted in (False, True)])


@few
@given(models, runs)
def test_accumulation_keeps_gradients_and_beyond_that_costs_nothing(model: Model, training: Training) -> None:
    one, two, many = (total(model, replace(training, gradient_accumulation_steps=steps)) for steps in (1, 2, 32))
    assert one <= two == many
    if training.data_parallel_size > 1:
        assert one == two


@few
@given(models, runs)
def test_the_parts_are_none_negative_and_make_the_total(model: Model, training: Training) -> None:
    needed = training_bytes(model, training)
    parts = [getattr(needed, name) for name in needed.__dataclass_fields__]
    assert min(parts) >= 0
    assert sum(parts) == needed.total
    assert needed.allocated <= needed.reserved <= needed.total


@few
@given(models, runs)
def test_a_higher_rank_needs_more(model: Model, training: Training) -> None:
    lora = replace(training, method="lora")
    assert total(model, replace(lora, lora_rank=lora.lora_rank + 1)) > total(model, lora)
