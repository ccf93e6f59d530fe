"""Training memory and cost, worked by hand and against published figures."""

from dataclasses import replace

import pytest

from simulator.catalog import gpu, model
from simulator.catalog.models import DenseMlp, GatedDeltaNet, GroupedQueryAttention, Layer, Model, MoeMlp
from simulator.errors import NotModelled
from simulator.memory.training.activations import Keeping, adapter_parameters, layer_activations
from simulator.memory.training.bytes import trainable_parameters, training_bytes
from simulator.memory.training.plan import Training, plan_training, training_cost
from simulator.units import GIB, HOUR


def gpt(layers: int, hidden: int, heads: int, vocabulary: int = 50257) -> Model:
    """A GPT of the plain kind: as many KV heads as heads, an MLP of four times the width without a gate."""
    head = hidden // heads
    attention = GroupedQueryAttention(
        heads=heads, kv_heads=heads, head_dim=head, value_head_dim=head, qkv_bias=True, output_bias=True
    )
    layer = Layer(mixer=attention, mlp=DenseMlp(width=4 * hidden, gated=False, bias=True))
    return Model(
        name=f"gpt-{layers}x{hidden}",
        architecture="GPT2LMHeadModel",
        hidden=hidden,
        vocabulary=vocabulary,
        layers=(layer,) * layers,
        tied_embeddings=True,
        max_position=2048,
        source="Brown et al., arXiv:2005.14165, table 2.1",
    )


GPT3 = gpt(96, 12288, 96)
LLAMA_7B = model("llama-2-7b")
LLAMA_8B = model("llama-3.1-8b")
MANY_STEPS = Training(gradient_accumulation_steps=2)


@pytest.mark.parametrize(
    ("optimizer", "precision", "bytes_each"),
    [
        ("adamw", "mixed", 2 + 2 + 4 + 8),
        ("adamw", "fp32", 4 + 4 + 8),
        ("adamw", "bf16", 2 + 2 + 4),
        ("sgd-momentum", "mixed", 2 + 2 + 4 + 4),
        ("sgd", "mixed", 2 + 2 + 4),
        ("adamw-8bit", "mixed", 2 + 2 + 4 + 2.03125),
        ("lion", "mixed", 2 + 2 + 4 + 4),
        ("lion-8bit", "bf16", 2 + 2 + 1.015625),
        ("paged-adamw", "mixed", 2 + 2 + 4),
        ("muon", "bf16", 2 + 2 + 2 + 2 * (2 * 32000 * 4096 + 65 * 4096) / 6_738_415_616),
    ],
)
def test_bytes_of_a_parameter_follow_optimizer_and_precision(optimizer: str, precision: str, bytes_each: float) -> None:
    needed = training_bytes(LLAMA_7B, Training(optimizer=optimizer, precision=precision, gradient_accumulation_steps=2))  # type: ignore[arg-type]
    states = needed.weights + needed.master_weights + needed.gradients + needed.optimizer_states
    assert states / 6_738_415_616 == pytest.approx(bytes_each, rel=1e-6)


def test_fp32_gradients_take_two_bytes_more() -> None:
    plain, wide = (training_bytes(LLAMA_7B, replace(MANY_STEPS, fp32_gradients=wanted)) for wanted in (False, True))
    assert wide.gradients == 2 * plain.gradients


def test_adafactor_keeps_next_to_nothing() -> None:
    needed = training_bytes(LLAMA_7B, Training(optimizer="adafactor"))
    assert 0 < needed.optimizer_states < 0.01 * needed.weights


def test_seven_billion_parameters_in_full_do_not_fit_a_card_and_with_qlora_they_do() -> None:
    assert not plan_training(LLAMA_7B, gpu("h100"), Training(activation_checkpointing="full")).fits
    assert plan_training(LLAMA_7B, gpu("rtx-4090"), Training(method="qlora")).fits
    assert plan_training(LLAMA_7B, gpu("rtx-4090"), Training(method="qlora", activation_checkpointing="full")).fits


def test_activations_of_a_plain_block_are_those_of_korthikanti() -> None:
    """Equation 1: s * b * h * (34 + 5 * a * s / h) bytes a layer, here for one token."""
    small = gpt(1, 1024, 16)
    kept = layer_activations(small.layers[0], small, sequence=2048, keeping=Keeping(scores=True, dropout=True))
    assert kept.whole + kept.divided == pytest.approx(1024 * 34 + 5 * 16 * 2048)
    assert kept.whole == pytest.approx(1024 * 10), "what tensor parallelism leaves whole, equation 2"


def test_without_dropout_and_with_flash_attention_masks_and_scores_go() -> None:
    small = gpt(1, 1024, 16)
    kept = layer_activations(small.layers[0], small, sequence=2048, keeping=Keeping())
    assert kept.whole + kept.divided == 1024 * (34 - 2) + 16 * 4, "two masks of a byte less; four bytes a head for the softmax"


def test_sequence_parallelism_divides_what_tensor_parallelism_leaves_whole() -> None:
    plain = Training(framework="megatron", tensor_parallel_size=8, dropout=True, flash_attention=False)
    spread = replace(plain, sequence_parallel=True)
    s, h, a = 2048, 12288, 96
    outside = 2 * s * 2 * h
    assert training_bytes(GPT3, plain).activations - outside == pytest.approx(96 * s * h * (10 + 24 / 8 + 5 * a * s / h / 8))
    assert training_bytes(GPT3, spread).activations - outside / 8 == pytest.approx(96 * s * h / 8 * (34 + 5 * a * s / h))


def test_full_checkpointing_keeps_the_input_of_each_layer_and_one_layer_whole_or_the_logits() -> None:
    s, h, layers = 2048, 4096, 32
    run = Training(framework="megatron", activation_checkpointing="full")
    one = layer_activations(LLAMA_7B.layers[0], LLAMA_7B, s, Keeping())
    whole = s * (one.whole + one.divided)
    chunked = training_bytes(LLAMA_7B, replace(run, loss="chunked"))
    assert chunked.activations == pytest.approx((layers + 2) * s * 2 * h)
    assert (chunked.recomputed, chunked.logits) == (pytest.approx(whole - s * 2 * h), 0)
    plain = training_bytes(LLAMA_7B, run)
    assert plain.logits == s * 32000 * 10
    assert plain.logits + plain.recomputed == pytest.approx(max(s * 32000 * 10, whole - s * 2 * h))


def test_selective_checkpointing_keeps_the_scores_of_one_layer() -> None:
    s, a = 2048, 32
    without, selective, none = (
        training_bytes(
            LLAMA_7B,
            replace(MANY_STEPS, activation_checkpointing=kind, flash_attention=flash, loss="chunked"),  # type: ignore[arg-type]
        )
        for kind, flash in (("none", True), ("selective", False), ("none", False))
    )
    scores = s * a * (2 * s - 4)
    assert selective.activations + selective.recomputed == pytest.approx(without.activations + scores)
    assert none.activations == pytest.approx(without.activations + 32 * scores)


def test_selective_checkpointing_under_flash_attention_says_that_it_does_nothing() -> None:
    plans = {
        kind: plan_training(LLAMA_7B, gpu("h100"), Training(activation_checkpointing=kind)) for kind in ("none", "selective")
    }  # type: ignore[arg-type]
    assert plans["none"].bytes == plans["selective"].bytes
    assert any("spares nothing" in note for note in plans["selective"].notes)


def test_per_operation_checkpointing_keeps_attention_and_every_second_matmul() -> None:
    """Query 4096, value 1024, gate 14336, the layer's output 4096, attention's output and the layer's input 4096 each."""
    s = 8192
    needed = training_bytes(
        LLAMA_8B, Training(activation_checkpointing="per-operation", sequence_length=s, gradient_accumulation_steps=2)
    )
    each = 2 * (4 * 4096 + 1024 + 14336) + 4 * 32
    assert needed.activations == s * (32 * each + 2 * 2 * 4096)


def test_an_expert_layer_keeps_a_token_once_for_each_expert_it_visits() -> None:
    def layer(visited: int) -> float:
        mlp = MoeMlp(experts=8, experts_per_token=visited, width=1000)
        kept = layer_activations(Layer(mlp=mlp, norms=1), gpt(1, 512, 8), 128, Keeping())
        return kept.whole + kept.divided

    assert layer(2) - layer(1) == 2 * 2 * 512 + 4 * 2 * 1000


def test_a_pipeline_holds_as_many_micro_batches_as_stages_follow() -> None:
    one = training_bytes(GPT3, Training(pipeline_parallel_size=8, gradient_accumulation_steps=1))
    many = training_bytes(GPT3, Training(pipeline_parallel_size=8, gradient_accumulation_steps=8))
    more = training_bytes(GPT3, Training(pipeline_parallel_size=8, gradient_accumulation_steps=64))
    assert many.activations == pytest.approx(8 * one.activations, rel=0.05)
    assert more == many


def test_zero_divides_states_then_gradients_then_weights() -> None:
    stage = [training_bytes(LLAMA_7B, Training(zero_stage=n, data_parallel_size=8)) for n in range(4)]
    assert stage[1].optimizer_states == stage[0].optimizer_states / 8
    assert (stage[1].gradients, stage[2].gradients) == (stage[0].gradients, stage[0].gradients / 8)
    assert (stage[2].weights, stage[3].weights) == (stage[0].weights, stage[0].weights / 8)
    assert stage[2].gathered == 0 < stage[3].gathered < stage[3].weights


@pytest.mark.parametrize(
    ("name", "rank", "targets", "adapters"),
    [
        ("llama-2-7b", 64, "all-linear", 159_907_840),
        ("llama-2-7b", 8, "query-value", 4_194_304),
        ("llama-3.1-8b", 16, "all-linear", 41_943_040),
    ],
)
def test_adapters_are_as_large_as_peft_prints_them(name: str, rank: int, targets: str, adapters: int) -> None:
    training = Training(method="lora", lora_rank=rank, lora_targets=targets)  # type: ignore[arg-type]
    assert trainable_parameters(model(name), training) == adapters


def test_every_expert_gets_an_adapter() -> None:
    mixtral = model("mixtral-8x7b")
    with_experts = adapter_parameters(mixtral.layers[0], mixtral, 16, "all-linear")
    attention = adapter_parameters(mixtral.layers[0], mixtral, 16, "attention")
    assert with_experts - attention == 8 * 3 * 16 * (4096 + 14336)


def test_nf4_weights_are_what_bitsandbytes_loads() -> None:
    """Qwen2.5-7B in NF4 reports a footprint of 5.44 GB, which leaves out the scales: 0.127 bits for each of 6.53e9 weights."""
    weights = training_bytes(model("qwen2.5-7b"), Training(method="qlora")).weights
    assert weights - 6.5257e9 * 0.127 / 8 == pytest.approx(5.44e9, rel=0.002)


@pytest.mark.parametrize(("method", "gib", "tolerance"), [("lora", 16.2, 0.08), ("qlora", 7.4, 0.08)])
def test_published_peaks_of_torchtune_are_met(method: str, gib: float, tolerance: float) -> None:
    """Llama-3.1-8B, two packed sequences of 2048, checkpointing, loss in chunks; peaks as PyTorch counts them.

    Source: README of pytorch/torchtune, table of memory and training speed (2024).
    """
    training = Training(
        method=method,  # type: ignore[arg-type]
        precision="bf16",
        micro_batch_size=2,
        activation_checkpointing="full",
        loss="chunked",
        framework="torchtune",
        lora_rank=8,
    )
    assert training_bytes(LLAMA_8B, training).allocated / GIB == pytest.approx(gib, rel=tolerance)


def test_memory_grows_by_token_as_measured_with_long_contexts() -> None:
    """Plain LoRA of Llama-2-7B with checkpointing: 25.7 GB at 8192 tokens on A100s under ZeRO-2.

    Source: Chen et al., LongLoRA, arXiv:2309.12307, table 12, before transformers 4.45.
    """
    training = Training(
        method="lora",
        precision="bf16",
        framework="transformers-4.44",
        sequence_length=8192,
        activation_checkpointing="full",
        zero_stage=2,
        data_parallel_size=8,
    )
    assert training_bytes(LLAMA_7B, training).total == pytest.approx(25.7e9, rel=0.1)


def test_gpt3_took_355_years_of_a_v100_and_4_6_million_dollars() -> None:
    """28 TFLOP/s and $1.5 an hour, as in the widely quoted estimate of 2020."""
    v100 = gpu("v100")
    training = Training(
        tokens=300_000_000_000, utilization=28e12 / v100.flops["fp16"], usd_per_gpu_hour=1.5, data_parallel_size=1000
    )
    cost = training_cost(GPT3, v100, training)
    assert cost.flops == pytest.approx(3.14e23, rel=0.01)
    assert cost.gpu_hours * HOUR / (365.25 * 24 * HOUR) == pytest.approx(355, rel=0.01)
    assert cost.usd == pytest.approx(4.6e6, rel=0.02)
    assert cost.hours == cost.gpu_hours / 1000
    assert cost.price is None


def test_frozen_weights_spare_a_third_of_the_work() -> None:
    full, lora = (training_cost(LLAMA_7B, gpu("h100"), Training(method=m, tokens=10**9)) for m in ("full", "lora"))
    assert lora.flops == pytest.approx(full.flops * 2 / 3)


def test_of_experts_the_visited_ones_are_computed() -> None:
    cost = training_cost(model("mixtral-8x7b"), gpu("h100"), Training(tokens=1))
    assert cost.flops == pytest.approx(6 * 12.9e9, rel=0.01)


def test_a_price_comes_with_its_date_or_not_at_all() -> None:
    listed = training_cost(LLAMA_7B, gpu("h100"), Training(tokens=10**9))
    assert listed.price is not None
    assert listed.price.checked
    assert listed.usd == pytest.approx(listed.gpu_hours * listed.price.usd_per_gpu_hour)
    unknown = training_cost(LLAMA_7B, gpu("rtx-3090"), Training(tokens=10**9))
    assert (unknown.usd, unknown.price) == (None, None)


def test_each_remedy_makes_it_fit_and_says_what_is_needed_then() -> None:
    run = Training(method="lora", micro_batch_size=2, loss="chunked")
    plan = plan_training(LLAMA_8B, gpu("rtx-4090"), run)
    assert not plan.fits
    assert "does not fit: needs" in plan.reason
    changes = {remedy.change: remedy.gives for remedy in plan.remedies}
    assert "activation_checkpointing full" in changes
    assert "tensor_parallel_size 2" not in changes, "not enough with two sequences"
    assert "tensor_parallel_size 4" in changes
    longest = next(int(change.split()[1].replace(",", "")) for change in changes if change.startswith("sequence_length"))
    for length, fits in ((longest, True), (longest + 128, False)):
        changed = plan_training(LLAMA_8B, gpu("rtx-4090"), replace(run, sequence_length=length))
        assert (changed.outcome == "fits") == fits


def test_when_checkpointing_alone_is_not_enough_it_is_tried_with_the_rest() -> None:
    plan = plan_training(model("llama-3.1-70b"), gpu("h100"), Training(zero_stage=3, data_parallel_size=8))
    changes = [remedy.change for remedy in plan.remedies]
    assert "activation_checkpointing full" not in changes
    assert any(change.endswith("with activation_checkpointing full") for change in changes)


def test_a_plan_that_fits_needs_no_remedy_and_costs_nothing_without_tokens() -> None:
    plan = plan_training(LLAMA_7B, gpu("h100"), Training(method="qlora"))
    assert (plan.fits, plan.remedies, plan.cost) == (True, (), None)


def test_what_is_not_modelled_is_refused() -> None:
    recurrent = Layer(mixer=GatedDeltaNet(key_heads=2, value_heads=4, key_head_dim=8, value_head_dim=8, conv_kernel=4))
    with pytest.raises(NotModelled, match="gdn"):
        layer_activations(recurrent, LLAMA_7B, 128, Keeping())
    with pytest.raises(NotModelled, match="has no bf16"):
        training_cost(LLAMA_7B, gpu("v100"), Training(precision="bf16", tokens=1))
    with pytest.raises(NotModelled, match="tensor_parallel_size 7"):
        training_bytes(LLAMA_7B, Training(tensor_parallel_size=7))
    with pytest.raises(NotModelled, match="offload_weights needs zero_stage 3"):
        training_bytes(LLAMA_7B, Training(offload_weights=True))
    with pytest.raises(NotModelled, match="optimizer_in_backward"):
        training_bytes(LLAMA_7B, Training(optimizer_in_backward=True, gradient_accumulation_steps=4))
    with pytest.raises(NotModelled, match="needs pipeline_schedule interleaved"):
        training_bytes(LLAMA_7B, Training(pipeline_chunks=2))


def test_a_four_bit_matmul_keeps_its_input_and_a_frozen_one_does_not() -> None:
    """Llama-2-7B with adapters on query and value: inputs of the MLP (4096) and of its second matmul (11008) stay in QLoRA."""
    lora, qlora = (
        training_bytes(LLAMA_7B, Training(method=method, lora_targets="query-value", sequence_length=1000))  # type: ignore[arg-type]
        for method in ("lora", "qlora")
    )
    assert qlora.activations - lora.activations == 1000 * 32 * 2 * (4096 + 11008)


def test_an_adapter_that_drops_out_keeps_a_copy_and_a_mask_of_its_input() -> None:
    plain = Training(method="lora", precision="bf16", lora_targets="attention", sequence_length=1000)
    kept, dropped, wide = (
        training_bytes(LLAMA_7B, training).activations
        for training in (plain, replace(plain, lora_dropout=True), replace(plain, fp32_adapters=True))
    )
    inputs = 1000 * 32 * 4096
    assert dropped - kept == inputs * (4 * 3 - 2), "four matrices; the shared input of three is not needed beside the copies"
    assert wide - kept == inputs * (4 * 4 - 2)


def test_logits_follow_the_framework_unless_they_are_given() -> None:
    def logits(**given: object) -> float:
        run = Training(sequence_length=1000, gradient_accumulation_steps=2, **given)  # type: ignore[arg-type]
        return training_bytes(LLAMA_8B, run).logits / (1000 * 128256)

    assert [logits(framework=name) for name in ("transformers", "transformers-4.44", "megatron")] == [12, 18, 10]
    assert logits(logit_bytes=6.0) == 6


def test_fsdp_has_embedding_and_head_whole_beside_two_layers_and_deepspeed_the_head_beside_one() -> None:
    run = Training(precision="bf16", zero_stage=3, data_parallel_size=8)
    layer, table = 2 * 218_112_000, 2 * 128256 * 4096
    assert training_bytes(LLAMA_8B, replace(run, sharding="fsdp")).gathered == 2 * layer + 2 * table + 2 * 4096
    assert training_bytes(LLAMA_8B, replace(run, sharding="deepspeed")).gathered == layer + table


def test_only_deepspeed_has_buckets_whatever_is_trained() -> None:
    run = Training(method="lora", precision="bf16", zero_stage=2, data_parallel_size=8)
    assert training_bytes(LLAMA_8B, replace(run, sharding="deepspeed")).communication == 2 * 2 * 500_000_000
    assert training_bytes(LLAMA_8B, replace(run, sharding="deepspeed", reduce_bucket_size=10**8)).communication == 4e8
    assert training_bytes(LLAMA_8B, replace(run, sharding="fsdp")).communication < 0.01 * 2e9
    assert training_bytes(LLAMA_8B, replace(run, framework="megatron")).communication == 0


def test_gradients_are_there_with_the_activations_only_where_they_outlive_a_backward_pass() -> None:
    one = Training(precision="bf16", micro_batch_size=8)
    assert training_bytes(LLAMA_7B, one).gradients == 0
    assert training_bytes(LLAMA_7B, replace(one, gradient_accumulation_steps=2)).gradients == 2 * 6_738_415_616
    short = training_bytes(LLAMA_7B, Training(precision="bf16", sequence_length=16))
    assert (short.gradients, short.activations, short.logits) == (2 * 6_738_415_616, 0, 0)


def test_an_update_in_the_backward_pass_has_the_gradient_of_one_layer_or_table() -> None:
    run = Training(precision="bf16", sequence_length=16, optimizer_in_backward=True)
    needed = training_bytes(LLAMA_7B, run)
    assert needed.gradients + needed.activations + needed.logits < 0.05 * needed.weights


def test_what_is_offloaded_is_not_on_the_gpu() -> None:
    run = Training(
        zero_stage=3, data_parallel_size=8, offload_optimizer=True, offload_weights=True, activation_checkpointing="full"
    )
    needed = training_bytes(LLAMA_7B, run)
    assert (needed.optimizer_states, needed.master_weights, needed.weights, needed.gradients) == (0, 0, 0, 0)
    assert needed.gathered > 0
    inputs = 2048 * 2 * 4096
    assert training_bytes(LLAMA_7B, replace(run, offload_activations=True)).activations == 2 * inputs + 2 * inputs


def test_scales_of_nf4_take_half_a_bit_unless_quantized_again() -> None:
    once, twice = (
        training_bytes(LLAMA_7B, Training(method="qlora", double_quantization=wanted)).weights for wanted in (False, True)
    )
    assert once - twice == pytest.approx(32 * 202_375_168 / 8 * (0.5 - 0.127), rel=0.001)


def test_context_parallelism_divides_tokens_and_states() -> None:
    run = Training(sequence_length=8192, zero_stage=1, framework="megatron", gradient_accumulation_steps=2)
    whole, split = (training_bytes(LLAMA_7B, replace(run, context_parallel_size=size)) for size in (1, 4))
    assert split.activations == pytest.approx(whole.activations / 4)
    assert split.optimizer_states == whole.optimizer_states / 4
    assert replace(run, context_parallel_size=4).gpus == 4


def test_schedules_hold_more_micro_batches_the_fewer_idle_stages_they_leave() -> None:
    run = Training(pipeline_parallel_size=8, gradient_accumulation_steps=32, activation_checkpointing="full")
    plain, interleaved, gpipe = (
        training_bytes(GPT3, replace(run, pipeline_schedule=schedule, pipeline_chunks=chunks)).activations  # type: ignore[arg-type]
        for schedule, chunks in (("1f1b", 1), ("interleaved", 2), ("gpipe", 1))
    )
    assert interleaved / plain == pytest.approx(1 + 7 / 16)
    assert gpipe == pytest.approx(4 * plain, rel=0.01)


@pytest.mark.parametrize(
    ("share", "outcome"), [(1.2, "fits"), (1.05, "may not fit"), (0.95, "may not fit"), (0.8, "does not fit")]
)
def test_a_need_within_the_band_of_what_is_there_is_never_a_plain_yes(share: float, outcome: str) -> None:
    card = gpu("h100")
    needed = training_bytes(LLAMA_7B, Training(method="lora")).total
    plan = plan_training(LLAMA_7B, replace(card, memory_bytes=round(needed * share)), Training(method="lora"))
    assert plan.outcome == outcome
    assert plan.reason.startswith(f"{outcome}: needs")
    assert plan.low_bytes < needed < plan.high_bytes
