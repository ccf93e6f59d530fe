"""StepWork times as bound: against direct arithmetic, and what parallelism, formats and engines do to them."""

from dataclasses import replace

import numpy as np
import pytest
from support.latency_cases import CASES, Case, case

from simulator.errors import NotModelled
from simulator.latency.breakdown import scaled
from simulator.latency.gpu_share import running_kernel
from simulator.latency.step import StepTime, StepWork, Window
from simulator.units import US

DECODES = StepWork(contexts=(700,) * 16)
PROMPT = StepWork(chunks=((0, 1024, True),))


def by_hand(c: Case, step: StepWork) -> float:
    """Seconds of a step of a dense 16-bit model with grouped-query attention on one GPU, in scalar arithmetic."""
    r = c.rank()
    k, o, m, layer = r.kernels, r.overheads, c.model, c.model.layers[0]
    a, f, h = layer.mixer, layer.mlp.width, m.hidden
    bw, peak = c.gpu.memory_bytes_per_s, c.gpu.flops["bf16"]
    tokens = len(step.contexts) + sum(n for _, n, _ in step.chunks)
    sampled = len(step.contexts) + sum(ends for _, _, ends in step.chunks)

    def matmul(t: float, n: float, depth: float) -> float:
        g = k.gemm["bf16"]
        moved = (n * depth * 2 + t * (depth + n) * 2) / (g.bandwidth * bw)
        terms = (moved, 2 * t * n * depth / (g.compute * peak), g.depth_ns * 1e-9 * depth)
        return g.fixed_us * US + sum(x**g.sharpness for x in terms) ** (1 / g.sharpness)

    width, kv = a.head_dim + a.value_head_dim, a.kv_heads * (a.head_dim + a.value_head_dim)
    shapes = [(a.heads * a.head_dim + kv, h), (h, a.heads * a.value_head_dim), (2 * f, h), (h, f)]
    gemms = sum(matmul(tokens, n, depth) for n, depth in shapes)
    moved = tokens * (2 * 8 * h + 4 * (a.heads * a.head_dim + kv) + 6 * f) / (k.elementwise_bandwidth * bw)
    reached = k.attention[16]
    pairs = sum(n * (before + n / 2) for before, n, _ in step.chunks)
    attention = reached.decode_us * US + tokens * reached.query * 2 * (a.heads + a.kv_heads) * width / bw
    attention += (len(step.contexts) + len(step.chunks)) * reached.sequence * 2 * a.heads * width / bw
    attention += sum(step.contexts) * kv * 2 / (reached.decode_bandwidth * bw)
    attention += pairs * 2 * a.heads * width / (reached.prefill_compute * peak)
    head = matmul(sampled, m.vocabulary, h) + sampled * m.vocabulary * 16 / (k.sampling_bandwidth * bw)
    small = 5 * o.kernel_us * US
    engine = o.step_us * US + o.sequence_us * US * (len(step.contexts) + len(step.chunks))
    return len(m.layers) * (o.gemm * gemms + moved + o.attention * attention + small) + head + engine


@pytest.mark.parametrize(
    "step", [DECODES, PROMPT, StepWork((100, 2000, 5), ((512, 300, False),))], ids=["decode", "prompt", "mixed"]
)
def test_the_tables_say_what_direct_arithmetic_says(step: StepWork) -> None:
    c = case("llama-3.1-8b", release="vllm 0.19.0", async_scheduling=True)
    assert c.bind().seconds(step) == pytest.approx(by_hand(c, step) + c.parts()["launches"].seconds(step), rel=1e-9)


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.name)
def test_a_table_entry_is_what_binding_a_smaller_table_gives(c: Case) -> None:
    small = replace(c.args, max_num_batched_tokens=512)
    whole, part = c.bind(), replace(c, args=small).bind()
    assert whole.tokens[:513] == pytest.approx(part.tokens, rel=2e-3)
    assert whole.sampled == pytest.approx(part.sampled)


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.name)
def test_the_parts_add_up_to_the_step(c: Case) -> None:
    step = StepWork((300, 4000), ((128, 256, True),))
    assert sum(part.seconds(step) for part in c.parts().values()) == pytest.approx(c.bind().seconds(step))


def test_a_weight_only_format_reads_less_and_computes_in_16_bits() -> None:
    plain, packed = case("llama-3.1-8b", "a100-80gb"), case("llama-3.1-8b", "a100-80gb", "fp8")
    assert running_kernel(packed.quantization.format("mlp"), packed.gpu) == "fp8_wo"
    assert packed.bind().seconds(DECODES) < 0.8 * plain.bind().seconds(DECODES)
    assert packed.parts()["gemm"].seconds(PROMPT) > 0.9 * plain.parts()["gemm"].seconds(PROMPT)


def test_exllama_unpacks_its_weights_beyond_fifty_tokens() -> None:
    c = case("llama-3.1-8b", "rtx 4090", "gptq-int4-exllama", "vllm 0.7.3", max_num_seqs=256)
    gemm = c.parts()["gemm"].tokens
    assert gemm[51] - gemm[50] > 5 * (gemm[52] - gemm[51])
    plain = case("llama-3.1-8b", "rtx 4090", release="vllm 0.7.3", max_num_seqs=256).parts()["gemm"].tokens
    assert (gemm[51:] > plain[51:]).all(), "unpacking comes on top of the 16-bit matmul"


def test_tensor_parallelism_divides_the_matmuls_and_adds_all_reduces() -> None:
    one, four = case("llama-3.1-8b").parts(), case("llama-3.1-8b", tensor_parallel_size=4).parts()
    assert 0.25 < four["gemm"].seconds(PROMPT) / one["gemm"].seconds(PROMPT) < 0.45
    assert one["all-reduce"].seconds(PROMPT) == 0 < four["all-reduce"].seconds(PROMPT)


def test_ranks_wait_for_the_slowest_the_longer_the_more_of_them_and_the_more_sequences() -> None:
    engine = {tp: case("llama-3.1-8b", tensor_parallel_size=tp).parts()["engine"] for tp in (1, 2, 8)}
    doubling = engine[2].per_sequence - engine[1].per_sequence
    assert doubling == pytest.approx(case("llama-3.1-8b").rank().overheads.rank_sequence_us * US)
    assert engine[8].per_sequence - engine[1].per_sequence == pytest.approx(3 * doubling)
    assert engine[8].constant == engine[1].constant


def test_attention_with_sinks_is_slow_on_prompts_where_only_triton_has_it() -> None:
    def per_pair(gpu: str) -> float:
        c = case("gpt-oss-20b", gpu)
        return c.parts()["attention"].per_pair * c.rank().kernels.attention[16].prefill_compute * c.gpu.flops["bf16"]

    assert per_pair("a100-80gb") == pytest.approx(5 * per_pair("h100"))
    assert per_pair("l40s") == pytest.approx(5 * per_pair("h200"))


def test_a_slower_link_makes_all_reduces_slower_and_nothing_else() -> None:
    c = case("llama-3.1-8b", "rtx 4090", tensor_parallel_size=2)
    fast, slow = c.bind(link_bytes_per_s=20e9), c.bind(link_bytes_per_s=5e9)
    reached = c.rank().kernels.all_reduce[2]
    message = 1024 * c.model.hidden * 2
    added = 2 * len(c.model.layers) * message * (1 / 5e9 - 1 / 20e9) / reached.nccl_link
    assert slow.seconds(PROMPT) - fast.seconds(PROMPT) == pytest.approx(added, rel=0.01)


def test_a_layer_with_a_recurrence_has_more_small_kernels_in_sglang() -> None:
    def constant(name: str, release: str) -> float:
        c = case(name, "h200", release=release, tensor_parallel_size=4)
        kernels = c.parts()["small kernels"].constant / US
        return kernels / c.rank().overheads.kernel_us

    recurrent, plain = "qwen3-next-80b-a3b", "qwen3-30b-a3b"
    assert constant(plain, "sglang 0.5.9") == pytest.approx(constant(plain, "vllm 0.19.0"))
    more = constant(recurrent, "sglang 0.5.9") - constant(recurrent, "vllm 0.19.0")
    added = case(recurrent, "h200", release="sglang 0.5.9").rank().overheads
    assert more == pytest.approx(36 * added.recurrent_us / added.kernel_us), "three of four layers"


def test_pipeline_stages_take_a_whole_pass_for_one_sequence_and_share_many() -> None:
    one = case("llama-3.1-70b", "h200").bind()
    two = case("llama-3.1-70b", "h200", pipeline_parallel_size=2).bind()
    lone, many = StepWork(contexts=(500,)), StepWork(contexts=(1500,) * 64)
    assert two.seconds(lone) == pytest.approx(one.seconds(lone), rel=0.03)
    assert two.seconds(many) < 0.95 * one.seconds(many)


def test_data_parallel_ranks_read_more_experts_together_than_alone() -> None:
    alone = case("deepseek-v3", "h200", tensor_parallel_size=8).parts()["experts"]
    together = case("deepseek-v3", "h200", data_parallel_size=8, enable_expert_parallel=True).parts()
    assert together["experts"].seconds(DECODES) > alone.seconds(DECODES)
    assert together["all-reduce"].seconds(DECODES) > 0, "tokens are exchanged"


def test_eager_layers_with_quantized_inputs_are_launched_longer_than_with_quantized_weights_alone() -> None:
    """One sequence of 0.5B, whose kernels are over before they are launched: the launches, whatever the GPU does."""
    inputs, weights = (case("qwen2.5-0.5b", form=form, enforce_eager=True) for form in ("int8-w8a8", "int8-weight-only"))
    o, layers = inputs.rank().overheads, len(inputs.model.layers)
    launched = [c.parts()["launches"].tokens[1] + _on_gpu(c) for c in (inputs, weights)]
    assert launched[0] == pytest.approx((o.sync_step_us + layers * (o.eager_layer_us + o.eager_quantize_us)) * US)
    assert launched[1] == pytest.approx((o.sync_step_us + layers * o.eager_layer_us) * US)
    behind = case("qwen2.5-0.5b", enforce_eager=True, async_scheduling=False).parts()
    assert inputs.parts()["launches"].per_sequence == pytest.approx(o.sync_sequence_us * US)
    assert behind["launches"].per_sequence == 0, "there it is the engine's"


def _on_gpu(c: Case) -> float:
    """Seconds of a step of one token without its launches, its context and its sequence."""
    parts = {name: part for name, part in c.parts().items() if name != "launches"}
    return sum(part.tokens[1] + part.constant + part.sampled[1] for part in parts.values())


def test_eager_steps_wait_for_launches_where_the_gpu_is_quick() -> None:
    graphs, eager = case("qwen2.5-0.5b"), case("qwen2.5-0.5b", enforce_eager=True)
    assert graphs.parts()["launches"].seconds(DECODES) == 0
    assert eager.bind().seconds(DECODES) > 2 * graphs.bind().seconds(DECODES)


def test_launches_grow_with_ranks_and_experts_beyond_the_largest_graph() -> None:
    def launching(name: str, tp: int, tokens: int = 600) -> float:
        return float(case(name, tensor_parallel_size=tp).parts()["launches"].tokens[tokens])

    assert launching("qwen3-30b-a3b", 8) > launching("qwen3-30b-a3b", 4) > 0
    assert launching("qwen3-30b-a3b", 8) > launching("llama-3.1-8b", 8)
    assert launching("qwen3-30b-a3b", 8, tokens=128) == 0


def test_graphs_of_decodes_alone_leave_small_prompts_to_launches() -> None:
    def prompt_s(**given: object) -> float:
        return case("llama-3.1-8b", tensor_parallel_size=8, **given).bind().seconds(StepWork((), ((0, 64, True),)))

    decode = StepWork((500,) * 8)
    usual, alone = case("llama-3.1-8b"), case("llama-3.1-8b", cudagraph_mode="full_decode_only")
    assert prompt_s(cudagraph_mode="full_decode_only") > 1.5 * prompt_s()
    assert alone.bind().seconds(decode) == usual.bind().seconds(decode)


@pytest.mark.parametrize("apart", [{"custom_ops": ("+quant_fp8",)}, {"enforce_eager": True}])
def test_inputs_quantized_by_a_kernel_of_its_own_cost_what_fusing_saves(apart: dict[str, object]) -> None:
    fused, own = (case("llama-3.1-8b", form="fp8", **given).parts()["gemm"] for given in ({}, apart))
    assert own.tokens[2000] > 1.05 * fused.tokens[2000]
    plain = [case("llama-3.1-8b", **given).parts()["gemm"] for given in ({}, apart)]
    assert plain[0].tokens[2000] == plain[1].tokens[2000]


def test_without_async_scheduling_the_engine_works_between_steps() -> None:
    ahead, behind = (case("llama-3.1-8b", async_scheduling=way).parts()["engine"] for way in (True, False))
    assert behind.seconds(DECODES) > ahead.seconds(DECODES)


def test_sliding_windows_stop_growing_with_the_context() -> None:
    attention = case("gemma-3-27b", max_model_len=32768).parts()["attention"]
    (window,) = attention.windows
    assert window.size == 1024
    inside = attention.seconds(StepWork((1000,))) - attention.seconds(StepWork((500,)))
    beyond = attention.seconds(StepWork((20_500,))) - attention.seconds(StepWork((20_000,)))
    assert beyond < 0.3 * inside, "five of six layers have a window"


def test_a_mixture_reads_more_experts_with_more_tokens() -> None:
    experts = case("qwen3-30b-a3b", "h200").parts()["experts"]
    seconds = [experts.seconds(StepWork((100,) * n)) for n in (1, 4, 16, 64)]
    assert seconds == sorted(seconds)
    assert seconds[-1] < 16 * seconds[0], "128 experts, 8 a token: 64 tokens touch at most 16 times what one does"


def test_what_has_no_kernel_is_refused_with_what_is_known() -> None:
    with pytest.raises(NotModelled, match="12 ranks, 8 on a server of 8 h100-sxm"):
        case("llama-3.1-405b", form="fp8", tensor_parallel_size=12).bind()
    with pytest.raises(NotModelled, match="known there: "):
        case("qwen3-30b-a3b", form="bnb-nf4").bind()


def test_unresolved_arguments_are_a_mistake_of_the_caller() -> None:
    c = case("llama-3.1-8b")
    with pytest.raises(ValueError, match="max_num_seqs"):
        replace(c, args=replace(c.args, max_num_seqs=None)).bind()


def test_a_step_of_a_70b_on_four_h100_takes_what_its_weights_take() -> None:
    """141 GB over four GPUs at 3.35 TB/s is 10.5 ms; a server measured 17.1 ms for about ten sequences (BLIS, February 2026)."""
    seconds = case("llama-3.1-70b", tensor_parallel_size=4).bind().seconds(StepWork((650,) * 10))
    assert seconds == pytest.approx(0.0171, rel=0.08)
    assert np.isfinite(seconds)


def test_a_scaled_part_takes_as_many_times_as_long_whatever_is_in_the_step() -> None:
    rng = np.random.default_rng(3)
    tokens, drawn = rng.random(101), rng.random(17)
    part = StepTime(
        tokens=tokens,
        sampled=drawn,
        per_sequence=0.3,
        per_context=0.02,
        per_pair=1e-4,
        constant=0.7,
        windows=(Window(20, 0.05, 2e-4, 0.4),),
        prompt=rng.random(101),
        drafted=rng.random(17),
    )
    works = (StepWork(contexts=(5, 30, 7)), StepWork(chunks=((4, 40, True), (0, 9, False))), StepWork((60,), ((8, 20, True),)))
    for work in works:
        assert scaled(part, 3.0).seconds(work) == pytest.approx(3.0 * part.seconds(work), rel=1e-12)
    assert scaled(part, 1) is part
