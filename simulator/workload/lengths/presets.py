"""Lengths of public datasets: a few figures each, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.workload.lengths.continuous import LogNormal, Quantiles
from simulator.workload.lengths.discrete import Fixed, Lengths, Uniform
from simulator.workload.prompts.prefixes import SharedPrefix

_SHARES = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)


@dataclass(frozen=True, slots=True)
class Preset:
    """Prompt and output laws of a dataset, Spearman's correlation between the two, and the source of the figures.

    `prefix`: what its prompts share, before `prompt`.
    """

    prompt: Lengths
    output: Lengths
    correlation: float
    source: str
    prefix: SharedPrefix | None = None


def _quantiles(*tokens: float) -> Quantiles:
    return Quantiles(points=tuple(zip(_SHARES, tokens, strict=True)))


_AZURE = "quantiles of the {} trace of Azure LLM inference, 2023-11-16 (github.com/Azure/AzurePublicDataset, CC BY 4.0)"
_INFERENCEX = "serving scenario {} of InferenceX, formerly InferenceMAX, lengths uniform in [0.8, 1] times that (2026-03)"

PRESETS: dict[str, Preset] = {
    "sharegpt": Preset(
        prompt=LogNormal(mean=264, p95=930, min=4, max=1024),
        output=LogNormal(mean=215, p95=700, min=4, max=1024),
        correlation=0.0,
        source="what `vllm bench serve --dataset-name sharegpt` draws, whose prompts have at most 1,024 tokens: 1,000 prompts of "
        "229,711 tokens and answers of 203,068 (vllm-project/vllm#18566, Llama 3.1), 2,000 of 453,502 and 376,493 "
        "(sgl-project/sglang#1639, 2024-10); how both spread around their means is our guess",
    ),
    "accelmark-sharegpt": Preset(
        prompt=LogNormal(mean=282, p95=940, min=4, max=4096),
        output=LogNormal(median=372, p95=1927, min=4, max=512),
        correlation=0.0,
        source="mean prompt 282, mean output 344 with outputs cut at 512: AccelMark's runs of sharegpt_standard_v1 on vLLM 0.7 "
        "(github.com/FreedomIntelligence/AccelMark); how both spread around their means is our guess",
    ),
    "azure-conversation-2023": Preset(
        prompt=_quantiles(2, 29, 181, 207, 396, 1020, 1189, 2734, 4083, 4142, 6179, 14050),
        output=_quantiles(7, 16, 41, 54, 85, 129, 395, 424, 451, 601, 954, 1000),
        correlation=0.07,
        source=_AZURE.format("conversation"),
    ),
    "azure-code-2023": Preset(
        prompt=_quantiles(3, 17, 75, 147, 578, 1469, 2744, 5188, 7303, 7436, 7437, 7437),
        output=_quantiles(6, 6, 6, 7, 9, 13, 24, 55, 90, 251, 825, 1899),
        correlation=-0.02,
        source=_AZURE.format("code"),
    ),
    "mooncake-conversation": Preset(
        prompt=_quantiles(891, 894, 901, 964, 2306, 6909, 15367, 27366, 39550, 85400, 121301, 126195),
        output=_quantiles(1, 3, 10, 24, 156, 350, 472, 597, 698, 1119, 2000, 2000),
        correlation=0.07,
        source="quantiles of the conversation trace of Mooncake, FAST '25 (github.com/kvcache-ai/Mooncake, Apache-2.0)",
    ),
    "rag": Preset(
        prompt=Quantiles(points=((0, 1050), (0.1, 1360), (0.25, 2912), (0.5, 3189), (0.75, 3583), (0.9, 3984), (1, 7710))),
        output=Quantiles(points=((0, 7), (0.1, 89), (0.25, 142), (0.5, 206), (0.75, 292), (0.9, 423), (1, 2180))),
        correlation=0.19,
        source="RAGPulse, a university's question answering over six passages a question (arXiv:2511.12979): least and greatest "
        "of its 7,106 requests, the rest from 58 consecutive ones",
    ),
    "reasoning": Preset(
        prompt=Uniform(min=820, max=1024),
        output=Uniform(min=6554, max=8192),
        correlation=0.0,
        source=_INFERENCEX.format("1k in, 8k out"),
    ),
    "summarization": Preset(
        prompt=Uniform(min=6554, max=8192),
        output=Uniform(min=820, max=1024),
        correlation=0.0,
        source=_INFERENCEX.format("8k in, 1k out"),
    ),
    "random": Preset(
        prompt=Fixed(tokens=1024),
        output=Fixed(tokens=128),
        correlation=0.0,
        source="what `vllm bench serve --dataset-name random` sends by default (vLLM 0.25.0, vllm/benchmarks/datasets)",
    ),
    "generated-shared-prefix": Preset(
        prompt=Fixed(tokens=128),
        output=Fixed(tokens=256),
        correlation=0.0,
        source="what `sglang.bench_serving --dataset-name generated-shared-prefix` sends by default: 64 system prompts of 2,048 "
        "tokens with 16 questions each, shuffled (SGLang 0.5.6, bench_serving.py); from the 1,025th request on they come again",
        prefix=SharedPrefix(num_groups=64, system_prompt_len=Fixed(tokens=2048), num_prompts_per_group=16),
    ),
    "spec_bench": Preset(
        prompt=_quantiles(9, 9, 10, 11, 24, 55, 615, 724, 879, 1305, 1417, 1422),
        output=Fixed(tokens=256),
        correlation=0.0,
        source="first turns of the 480 questions of Spec-Bench (github.com/hemingkx/Spec-Bench, read 2026-12-01) counted with "
        "tiktoken's cl100k_base, 264 tokens on average without a chat template; the answers are those that "
        "`vllm bench serve --dataset-name spec_bench` asks for by default (vLLM 0.25.0)",
    ),
}
