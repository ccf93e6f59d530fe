"""Small models built by hand, with the layer patterns that decide how a KV cache is laid out."""

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.models import DenseMlp, GatedDeltaNet, GroupedQueryAttention, LatentAttention, Layer, Model


def gqa(kv_heads: int = 8, head_dim: int = 128, window: int | None = None, chunk: int | None = None) -> GroupedQueryAttention:
    return GroupedQueryAttention(
        heads=32, kv_heads=kv_heads, head_dim=head_dim, value_head_dim=head_dim, window=window, chunk=chunk
    )


def mla(indexer: bool = False) -> LatentAttention:
    """DeepSeek-V3's latent, or V3.2's with its indexer."""
    sparse = {"index_heads": 64, "index_dim": 128, "index_top_k": 2048} if indexer else {}
    return LatentAttention(heads=64, q_lora_rank=1536, kv_lora_rank=512, nope_dim=128, rope_dim=64, value_head_dim=128, **sparse)


# The recurrent layer of Qwen3.6-27B.
GDN = GatedDeltaNet(key_heads=16, value_heads=48, key_head_dim=128, value_head_dim=128, conv_kernel=4, state_dtype="fp32")


def model_of(*mixers: object, **fields: object) -> Model:
    """A model with one layer for each mixer."""
    layers = tuple(Layer(mixer=mixer, mlp=DenseMlp(width=14336)) for mixer in mixers)
    values = {
        "name": "built-by-hand",
        "architecture": "LlamaForCausalLM",
        "hidden": 4096,
        "vocabulary": 128256,
        "layers": layers,
        "tied_embeddings": False,
        "max_position": 131072,
        "source": "tests",
    }
    return Model(**{**values, **fields})


def resolved(**fields: object) -> ResolvedArgs:
    """Engine arguments as an engine runs with them."""
    settled = {
        "gpu_memory_utilization": 0.9,
        "max_model_len": 8192,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "block_size": 16,
        "enable_prefix_caching": False,
        "enable_chunked_prefill": True,
        "async_scheduling": False,
        "scheduler_reserve_full_isl": False,
    }
    return ResolvedArgs(**{**settled, **fields})
