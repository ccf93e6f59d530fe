"""What training frameworks keep where the arithmetic alone does not say: norms, logits, shards, gradient buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FrameworkName = Literal[
    "transformers",
    "transformers-4.44",
    "torchtune",
    "litgpt",
    "torchtitan",
    "megatron",
    "transformer-engine",
]
Sharding = Literal["deepspeed", "fsdp", "distributed-optimizer"]


@dataclass(frozen=True, slots=True)
class Framework:
    """How a framework's code differs from another's on the same model.

    `norm_bytes`: bytes that a norm keeps of each hidden element with frozen and with trained weights, None where it is a fused
    kernel that keeps its input in the type of the run. `gated_widths`: how many times the width of a gated MLP stays: gate,
    its activation, up and their product. `logit_bytes`: bytes a logit at the peak of the loss. `sharding`: what divides states
    over data-parallel ranks. `standing_gradients`: a buffer of all gradients is there from the start.
    """

    norm_bytes: tuple[int, int] | None
    gated_widths: int
    logit_bytes: int
    sharding: Sharding
    standing_gradients: bool = False


# transformers, modeling_llama.py: the norm computes in FP32 (its input: 4 bytes) and multiplies by its weight
# in 16 bits (2 more where that is trained). Up to 4.44 forward() makes FP32 logits (4) of 16-bit ones (2), a
# contiguous shifted copy (4), the log-softmax (4) and its gradient (4): 18; fsdp_qlora's benchmarks grow by 18.
# Since then the loss upcasts: 2, 4 and 4, and the gradient in 16 bits; Qwen's own code comes to 12 as well.
# LitGPT, litgpt/rmsnorm.py: input and normalized input in FP32, fitted on four published LoRA runs, of which
# each token takes 182 kB a layer of Llama-2-7B; logits stay in 16 bits, in chunks, with their gradient.
# Megatron-LM: fused norms; vocab_parallel_cross_entropy upcasts and turns the softmax into the gradient.
# Transformer Engine: SwiGLU is one kernel over both halves of one matmul's output; its cross entropy works in
# place. All read November 2026.
FRAMEWORKS: dict[FrameworkName, Framework] = {
    "transformers": Framework((4, 6), 4, 12, "deepspeed"),
    "transformers-4.44": Framework((4, 6), 4, 18, "deepspeed"),
    "torchtune": Framework((4, 6), 4, 12, "fsdp"),
    "litgpt": Framework((8, 8), 4, 6, "fsdp"),
    "torchtitan": Framework(None, 4, 12, "fsdp"),
    "megatron": Framework(None, 4, 10, "distributed-optimizer", standing_gradients=True),
    "transformer-engine": Framework(None, 3, 2, "distributed-optimizer", standing_gradients=True),
}
