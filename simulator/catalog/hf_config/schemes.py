"""Schemes: what each quant_method means, as rules from module names to formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.hf_config.modules import Patterns
from simulator.catalog.quantizations import TensorGroup, WeightFormat
from simulator.errors import ConfigError

KvCacheDtype = Literal["fp8", "nvfp4", "int8"]
Rule = tuple[Patterns, WeightFormat | None]

FP8 = WeightFormat(name="fp8", bits=8.0, compute="fp8", activation_bits=8.0, kernel="fp8")
INT8 = WeightFormat(name="int8", bits=8.0, compute="int8", activation_bits=8.0, kernel="int8")
NVFP4 = WeightFormat(name="nvfp4", bits=4.5, compute="fp4", activation_bits=4.5, kernel="nvfp4")
NVFP4_WEIGHTS = WeightFormat(name="nvfp4-w4a16", bits=4.5, compute="bf16", kernel="int4_wo")
MXFP8 = WeightFormat(name="mxfp8", bits=8.25, compute="fp8", activation_bits=8.25, kernel="fp8_block")
MXFP4 = WeightFormat(name="mxfp4", bits=4.25, compute="fp4", activation_bits=8.0, kernel="mxfp4")
NF4 = WeightFormat(name="nf4", bits=4.5, compute="bf16", kernel="nf4")
INT8_WEIGHTS = WeightFormat(name="int8-wo", bits=8.0, compute="bf16", kernel="int8_wo")
_UNQUANTIZED = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules")


@dataclass(frozen=True, slots=True)
class Scheme:
    """Rules in order of precedence, then formats by group, then one for every other linear layer (None: unquantized)."""

    name: str
    default: WeightFormat | None
    rules: tuple[Rule, ...] = ()
    groups: Mapping[TensorGroup, WeightFormat | None] = field(default_factory=dict)
    lm_head: WeightFormat | None = None
    kv_cache_dtype: KvCacheDtype | None = None
    note: str = ""


def scheme(q: Fields, config: Fields) -> Scheme:
    """The scheme of a quantization config. Raises ConfigError for a quant_method we do not know."""
    method = q.word("quant_method") or ("modelopt" if q.has("quant_algo") else "")
    if not method:
        raise q.missing("quant_method")
    if method not in _METHODS:
        raise ConfigError(f"{q.where}: quant_method {method!r} is not known; known: {', '.join(_METHODS)}")
    return _METHODS[method](q, config)


def integer_weights(q: Fields, bits: int, group: int, zero: bool, name: str) -> WeightFormat:
    """A weight-only integer format: a 16-bit scale, and a zero of `bits` where it is asymmetric, for each group of weights."""
    if bits not in (4, 8):
        raise ConfigError(f"{q.where}: {bits}-bit {name} has no kernel in vLLM that we model; 4 and 8 have")
    extra = (16 + bits * zero) / group if group > 0 else 0.0
    label = f"int{bits}-g{group}" if group > 0 else f"int{bits}-channel"
    return WeightFormat(name=label, bits=bits + extra, compute="bf16", kernel="int4_wo" if bits == 4 else "int8_wo")


def block_fp8(q: Fields) -> WeightFormat:
    """FP8 with a float32 scale for each block of weights, or one for the tensor where no block is given."""
    block = q.numbers("weight_block_size", most=10**6)
    if not block:
        return FP8
    if len(block) != 2 or not all(block):
        raise ConfigError(f"{q.where}: weight_block_size is {block}; it must be two whole numbers above 0")
    bits = 8 + 32 / (block[0] * block[1])
    return WeightFormat(name="fp8-block", bits=bits, compute="fp8", activation_bits=8.0, kernel="fp8_block")


def _left_out(q: Fields) -> Rule:
    return Patterns([str(name) for key in _UNQUANTIZED for name in q.items(key)]), None


def _gptq(q: Fields, config: Fields) -> Scheme:
    base = integer_weights(q, q.positive("bits"), _group(q), not q.flag("sym", default=True), "GPTQ")
    rules = [_left_out(q)]
    for pattern, settings in _mapping(q, "dynamic").items():
        if not pattern.startswith("-:"):
            raise ConfigError(
                f"{q.where}: dynamic {pattern!r} = {settings!r} changes single modules; we read only '-:' exclusions"
            )
        rules.append((Patterns([f"re:{pattern[2:]}"]), None))
    return Scheme(f"gptq-{base.name}", base, tuple(rules), lm_head=base if q.flag("lm_head") else None)


def _group(q: Fields) -> int:
    size = q.get("group_size", "q_group_size")
    if isinstance(size, bool) or not isinstance(size, int) or (size < 1 and size != -1):
        raise ConfigError(f"{q.where}: group_size is {size!r}; it must be a whole number, or -1 for one scale a channel")
    return size


def _awq(q: Fields, config: Fields) -> Scheme:
    base = integer_weights(q, q.positive("bits", "w_bit"), _group(q), q.flag("zero_point", default=True), "AWQ")
    return Scheme(f"awq-{base.name}", base, (_left_out(q),))


def _auto_round(q: Fields, config: Fields) -> Scheme:
    base = integer_weights(q, q.positive("bits"), _group(q), not q.flag("sym", default=True), "AutoRound")
    named = q.inner("extra_config") or Fields({}, q.where)
    settings = {name: named.inner(name) for name in named.values}
    whole = [name for name, own in settings.items() if own is None or (own.count("bits", default=0) or 16) >= 16]
    return Scheme(f"auto-round-{base.name}", base, ((Patterns(whole), None), _left_out(q)))


def _fp8(q: Fields, config: Fields) -> Scheme:
    base = block_fp8(q)
    layers = _quantized_layers(q)
    if layers:
        return Scheme("mixed-precision", base, layers, note="modules that quantized_layers does not name are fp8")
    experts = str(config.get("expert_dtype"))
    if experts == "fp4":
        return Scheme("fp8-block with mxfp4 experts", base, (_left_out(q),), groups={"experts": MXFP4})
    return Scheme(base.name, base, (_left_out(q),))


def _mxfp4(q: Fields, config: Fields) -> Scheme:
    """gpt-oss: vLLM runs every linear layer but the experts in 16 bits."""
    return Scheme("mxfp4", None, (_left_out(q),), groups={"experts": MXFP4})


def _bitsandbytes(q: Fields, config: Fields) -> Scheme:
    if q.flag("load_in_4bit", "_load_in_4bit"):
        return Scheme("bnb-nf4", NF4, (_left_out(q),))
    if q.flag("load_in_8bit", "_load_in_8bit"):
        return Scheme("bnb-int8", INT8_WEIGHTS, (_left_out(q),))
    raise ConfigError(f"{q.where}: bitsandbytes with neither load_in_4bit nor load_in_8bit; one of them would settle it")


def _modelopt(q: Fields, config: Fields) -> Scheme:
    algorithm = str(q.get("quant_algo", "moe_quant_algo") or "")
    kv_cache = _kv_cache(q)
    if algorithm == "MIXED_PRECISION":
        layers = _quantized_layers(q)
        if not layers:
            raise q.missing("quantized_layers")
        return Scheme("mixed-precision", None, (_left_out(q), *layers), kv_cache_dtype=kv_cache)
    form = _algorithm(q, algorithm)
    return Scheme(form.name, form, (_left_out(q),), kv_cache_dtype=kv_cache)


def _algorithm(q: Fields, name: str) -> WeightFormat:
    forms = {
        "FP8": FP8,
        "FP8_PER_CHANNEL_PER_TOKEN": FP8,
        "FP8_PB_WO": WeightFormat(name="fp8-block", bits=8 + 32 / 16384, compute="fp8", activation_bits=8.0, kernel="fp8_block"),
        "NVFP4": NVFP4,
        "W4A16_NVFP4": NVFP4_WEIGHTS,
        "MXFP8": MXFP8,
        "W8A8_SQ_PER_CHANNEL": INT8,
    }
    if name not in forms:
        raise ConfigError(f"{q.where}: quant_algo {name!r} is not known; known: {', '.join(forms)}, MIXED_PRECISION")
    return forms[name]


def _quantized_layers(q: Fields) -> tuple[Rule, ...]:
    """Rules from quantized_layers: all modules of one algorithm together."""
    named: dict[str, list[str]] = {}
    listed = q.inner("quantized_layers") or Fields({}, q.where)
    for module in listed.values:
        settings = listed.inner(module) or Fields({}, q.where)
        named.setdefault(settings.word("quant_algo", default="None"), []).append(str(module))
    return tuple((Patterns(modules), _algorithm(q, algorithm)) for algorithm, modules in named.items())


def _mapping(q: Fields, name: str) -> Mapping[str, Any]:
    found = q.inner(name)
    return {} if found is None else found.values


def _kv_cache(q: Fields) -> KvCacheDtype | None:
    stated: Any = q.get("kv_cache_quant_algo", "kv_cache_scheme")
    if isinstance(stated, Mapping):
        kinds = {(8, "float"): "FP8", (4, "float"): "NVFP4", (8, "int"): "INT8"}
        scheme = q.inner("kv_cache_quant_algo", "kv_cache_scheme") or q
        stated = kinds.get((scheme.count("num_bits", default=0), scheme.word("type")), stated)
    known: dict[Any, KvCacheDtype | None] = {None: None, "FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8"}
    if not isinstance(stated, str | None) or stated not in known:
        raise ConfigError(f"{q.where}: KV cache scheme {stated!r:.60} is not known; known: FP8, NVFP4, INT8")
    return known[stated]


def _compressed_tensors(q: Fields, config: Fields) -> Scheme:
    groups = q.inner("config_groups")
    if groups is None:
        raise q.missing("config_groups")
    rules: list[Rule] = [_left_out(q)]
    default: WeightFormat | None = None
    for name in groups.values:
        if (group := groups.inner(name)) is None:
            raise groups.missing(name)
        form = _compressed_format(group, str(group.get("format") or q.get("format") or ""))
        targets = [str(target) for target in group.items("targets")] or ["Linear"]
        default = form if "Linear" in targets else default
        rules += [(Patterns([target for target in targets if target != "Linear"]), form)]
    main = default or rules[-1][1]
    return Scheme(main.name if main else "compressed-tensors", default, tuple(rules), kv_cache_dtype=_kv_cache(q))


def _compressed_format(group: Fields, packing: str) -> WeightFormat:
    weights = group.inner("weights")
    if weights is None:
        raise group.missing("weights")
    if "24" in packing:
        raise ConfigError(f"{group.where}: format {packing!r} is 2:4 sparse, which we do not model")
    bits, kind = weights.positive("num_bits"), str(weights.get("type") or "int")
    activations = group.inner("input_activations")
    if kind == "float":
        return _float_format(group, weights, bits, packing, activations is None)
    if activations is not None and bits == 8 and activations.count("num_bits", default=0) == 8:
        return INT8
    if activations is not None:
        raise ConfigError(f"{group.where}: W{bits}A{activations.get('num_bits')} integers have no kernel that we model")
    size = weights.count("group_size", default=0) if weights.get("group_size") != -1 else 0
    return integer_weights(group, bits, size or -1, not weights.flag("symmetric", default=True), "compressed-tensors")


def _float_format(group: Fields, weights: Fields, bits: int, packing: str, weight_only: bool) -> WeightFormat:
    if bits == 8 and weights.items("block_structure"):
        return block_fp8(Fields({"weight_block_size": weights.items("block_structure")}, group.where))
    if bits == 8:
        return FP8
    if bits == 4 and "mxfp4" in packing:
        return MXFP4
    if bits == 4 and weights.count("group_size", default=16) == 16:
        return NVFP4_WEIGHTS if weight_only else NVFP4
    raise ConfigError(f"{group.where}: {bits}-bit float weights in groups of {weights.get('group_size')} are not known")


_METHODS: dict[str, Callable[[Fields, Fields], Scheme]] = {
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "compressed-tensors": _compressed_tensors,
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "bitsandbytes": _bitsandbytes,
}
