"""Layers: the mixers and feed-forward blocks of a model put together, by kind of body."""

from __future__ import annotations

from simulator.catalog.hf_config import attention, feedforward
from simulator.catalog.hf_config.architectures import Traits
from simulator.catalog.hf_config.attention import MOST_LAYERS
from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import DenseMlp, Layer, Mlp
from simulator.errors import ConfigError

_DRAFTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
_BLOCKS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def layers(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    """Every layer of the model, in order. Raises ConfigError for more than any model has."""
    found = _of_body(fields, traits)
    if len(found) > MOST_LAYERS:
        raise ConfigError(f"{fields.where}: {len(found):,} layers; at most {MOST_LAYERS:,} are read")
    return found


def _of_body(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    match traits.body:
        case "uniform":
            return _uniform(fields, traits)
        case "nemotron_h":
            return _blocks(fields, traits, _nemotron_blocks(fields, "hybrid_override_pattern", "layers_block_type"))
        case "deepseek_v4":
            return _deepseek_v4(fields, traits)
        case "jamba":
            return _jamba(fields, traits)
        case "granite_hybrid":
            return _granite_hybrid(fields, traits)
        case "mllama":
            return _mllama(fields, traits)
        case "decilm":
            return _decilm(fields, traits)


def draft_layers(fields: Fields, traits: Traits, main: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Layers of the multi-token-prediction heads: as the last layer of the model, or as their own pattern says."""
    count = fields.count(*_DRAFTS, default=0) if traits.drafts else 0
    if count > MOST_LAYERS:
        raise ConfigError(f"{fields.where}: {_DRAFTS[0]} is {count:,}; at most {MOST_LAYERS:,} are read")
    if traits.body == "nemotron_h":
        own = _nemotron_blocks(fields, "mtp_hybrid_override_pattern", "mtp_layers_block_type", optional=True)
        return _blocks(fields, traits, own) * count
    if traits.body == "deepseek_v4":
        return (Layer(mixer=attention.compressed(fields, 0), mlp=main[-1].mlp, norms=main[-1].norms),) * count
    return (main[-1],) * count


def _uniform(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    pairs = zip(attention.mixers(fields, traits), feedforward.mlps(fields, traits), strict=True)
    if fields.count("hidden_size_per_layer_input", default=0):
        raise fields.refused("hidden_size_per_layer_input", "adds an embedding to every layer; we have no model of that")
    if fields.flag("use_double_wide_mlp") and fields.count("num_kv_shared_layers", default=0):
        raise fields.refused("use_double_wide_mlp", "widens the layers that share KV; we have no model of that")
    if fields.flag("use_cla"):
        raise fields.refused("use_cla", "shares keys and values between layers; we have no model of that")
    extra = 3 if fields.flag("enable_moe_block") else 0
    norms = 4 if fields.flag("new_decoder_architecture") else traits.norms
    return tuple(Layer(mixer=mixer, mlp=mlp, norms=norms + extra) for mixer, mlp in pairs)


def _nemotron_blocks(fields: Fields, pattern: str, listed: str, optional: bool = False) -> list[str]:
    """Block names from a string of letters or a list of words."""
    if words := fields.items(listed):
        names = [str(word) for word in words]
    elif letters := fields.word(pattern):
        names = [_BLOCKS.get(letter, letter) for letter in letters]
    elif optional:
        return []
    else:
        raise fields.missing(pattern, listed)
    unknown = next((name for name in names if name not in _BLOCKS.values()), None)
    if unknown is not None:
        raise ConfigError(f"{fields.where}: {pattern} has a block {unknown!r}; we know {', '.join(_BLOCKS.values())}")
    return names


def _blocks(fields: Fields, traits: Traits, names: list[str]) -> tuple[Layer, ...]:
    """Nemotron-H: mixer and feed-forward stand in layers of their own."""
    made = {
        "mamba": lambda: Layer(mixer=attention.mamba2(fields), norms=1),
        "attention": lambda: Layer(mixer=attention.grouped_query(fields, traits), norms=1),
        "mlp": lambda: Layer(mlp=feedforward.dense(fields, traits), norms=1),
        "moe": lambda: Layer(mlp=feedforward.experts(fields, traits), norms=1),
    }
    built = {name: made[name]() for name in set(names)}
    return tuple(built[name] for name in names)


def _deepseek_v4(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    count = attention.layer_count(fields)
    ratios = fields.numbers("compress_ratios", most=10**6)
    if len(ratios) < count:
        raise ConfigError(f"{fields.where}: compress_ratios lists {len(ratios)} layers; num_hidden_layers is {count}")
    moe = feedforward.experts(fields, traits)
    return tuple(Layer(mixer=attention.compressed(fields, ratio), mlp=moe) for ratio in ratios[:count])


def _jamba(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    def every(kind: str, layer: int) -> bool:
        return layer % fields.positive(f"{kind}_layer_period") == fields.count(f"{kind}_layer_offset")

    moe = feedforward.experts(fields, traits)
    plain = feedforward.dense(fields, traits)
    routed = moe.experts > 1
    return tuple(
        Layer(
            mixer=attention.grouped_query(fields, traits) if every("attn", layer) else attention.mamba1(fields),
            mlp=moe if routed and every("expert", layer) else plain,
        )
        for layer in range(attention.layer_count(fields))
    )


def _granite_hybrid(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    """Granite 4: Mamba-2 and attention layers, each with experts beside a shared block, or the shared block alone."""
    kinds = fields.items("layer_types") or ["attention"] * attention.layer_count(fields)
    unknown = next((kind for kind in kinds if kind not in ("mamba", "attention")), None)
    if unknown is not None:
        raise ConfigError(f"{fields.where}: layer_types has {unknown!r}; GraniteMoeHybrid has mamba and attention")
    if fields.count(*feedforward.EXPERTS, default=0):
        mlp: Mlp = feedforward.experts(fields, traits)
    else:
        mlp = DenseMlp(width=fields.positive("shared_intermediate_size"))
    return tuple(
        Layer(mixer=attention.mamba2(fields) if kind == "mamba" else attention.grouped_query(fields, traits), mlp=mlp)
        for kind in kinds
    )


def _mllama(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    """Llama 3.2 Vision: some layers attend to the image alone; their attention is counted with the vision tower."""
    crossing = set(fields.items("cross_attention_layers"))
    mixer, mlp = attention.grouped_query(fields, traits), feedforward.dense(fields, traits)
    return tuple(Layer(mixer=None if layer in crossing else mixer, mlp=mlp) for layer in range(attention.layer_count(fields)))


def _decilm(fields: Fields, traits: Traits) -> tuple[Layer, ...]:
    """Llama-Nemotron: every block has its own KV heads and width, or leaves a half out."""
    return tuple(_decilm_block(fields, traits, block) for block in fields.objects("block_configs"))


def _decilm_block(fields: Fields, traits: Traits, block: Fields) -> Layer:
    mixer, mlp = block.inner("attention"), block.inner("ffn")
    if mixer is None or mlp is None:
        raise block.missing("attention" if mixer is None else "ffn")
    for half in (mixer, mlp):
        if half.flag("replace_with_linear"):
            raise half.refused("replace_with_linear", "puts a linear layer in place of a block; we have no model of that")
    heads = fields.positive("num_attention_heads")
    own = Fields({**fields.values, "num_key_value_heads": heads // mixer.positive("n_heads_in_group", default=1)}, fields.where)
    multiplier = mlp.number("ffn_mult", default=0.0)
    width = -(-int(2 * multiplier * fields.positive("hidden_size") / 3) // 256) * 256
    absent = int(mixer.flag("no_op")) + int(mlp.flag("no_op"))
    return Layer(
        mixer=None if mixer.flag("no_op") else attention.grouped_query(own, traits),
        mlp=None if mlp.flag("no_op") else DenseMlp(width=width or mlp.positive("intermediate_size")),
        norms=2 - absent,
    )
