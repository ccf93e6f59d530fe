"""MemoryAccount: where every byte of one GPU goes, in plain numbers that a plan and a file share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["weights", "activation", "non_torch", "cuda_graph", "kv_cache", "free"]
PARTS: tuple[Part, ...] = ("weights", "activation", "non_torch", "cuda_graph", "kv_cache", "free")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAccount:
    """The account of the fullest GPU of one replica. Bytes; tokens and blocks are the replica's.

    total = what the driver reports; reserved = total * gpu_memory_utilization; kv_cache = reserved - weights - activation
    - non_torch - (cuda_graph where the version deducts it). `max_concurrency` (at max_model_len), `num_gpu_blocks` and
    `kv_tokens` are what vLLM prints, 0 where nothing is left. `weights_by_format` maps a format name ("bf16", "int4-g128") to
    its bytes on the GPU. `low`/`high` bound kv_cache where an overhead is a guess.
    `kv_bytes_per_token`: what one more token of a long sequence takes, which in windows and recurrent states is nothing.
    """

    total_bytes: float
    reserved_bytes: float
    weights_bytes: float
    weights_by_format: dict[str, float]
    activation_bytes: float
    non_torch_bytes: float
    cuda_graph_bytes: float
    cuda_graph_deducted: bool
    kv_cache_bytes: float
    kv_cache_low_bytes: float
    kv_cache_high_bytes: float
    kv_bytes_per_token: float
    num_gpu_blocks: int
    kv_tokens: int
    max_concurrency: float
    outcome: str
    notes: tuple[str, ...] = ()

    @property
    def used_bytes(self) -> float:
        """Everything the engine needs before the KV cache, inside what it reserves."""
        graphs = self.cuda_graph_bytes if self.cuda_graph_deducted else 0.0
        return self.weights_bytes + self.activation_bytes + self.non_torch_bytes + graphs

    def parts(self) -> dict[Part, float]:
        """Bytes of the card by part, in the order in which they are taken; CUDA graphs that are not deducted come last."""
        graphs: dict[Part, float] = {"cuda_graph": self.cuda_graph_bytes}
        first, last = (graphs, {}) if self.cuda_graph_deducted else ({}, graphs)
        taken: dict[Part, float] = {
            "weights": self.weights_bytes,
            "activation": self.activation_bytes,
            "non_torch": self.non_torch_bytes,
            **first,
            "kv_cache": max(self.kv_cache_bytes, 0.0),
            **last,
        }
        return {**taken, "free": max(self.total_bytes - sum(taken.values()), 0.0)}
