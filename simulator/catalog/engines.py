"""Serving engines by version: their defaults, and what they do with memory and requests."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Any, Literal

from simulator.catalog import releases, stanzas
from simulator.catalog.acceptance import family_of
from simulator.catalog.argument_releases import check_arguments, check_values
from simulator.catalog.engine_args import EngineArgs as EngineArgs
from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.errors import NotModelled, SimulatorError, UnknownName
from simulator.spec import Count, Fraction, NonNegative, spec
from simulator.units import GIB

Family = Literal["vllm", "sglang", "tensorrt-llm"]


@spec
class BatchDefaults:
    """Batch limits for the GPUs it is meant for: by memory, and by parts of the name.

    `reserved_gib`: what the engine keeps free of weights and KV cache; it then sets the memory fraction (SGLang).
    """

    min_memory_gib: NonNegative = 0.0
    named: tuple[str, ...] = ()
    except_named: tuple[str, ...] = ()
    max_num_batched_tokens: Count
    max_num_seqs: Count
    reserved_gib: NonNegative | None = None

    def fits(self, gpu: Gpu) -> bool:
        """Whether these are the limits for a GPU."""
        named = not self.named or any(part in gpu.name.lower() for part in self.named)
        excepted = any(part in gpu.name.lower() for part in self.except_named)
        return named and not excepted and gpu.memory_bytes >= self.min_memory_gib * GIB


@spec
class Engine:
    """One engine version. Fields state facts; `resolve` fills the arguments a user left open.

    `memory_fraction_of`: gpu_memory_utilization is a share of the card's total, or of what is free once the weights are loaded.
    `chunked_prefill_above`: V0 turns chunked prefill on by itself above this max_model_len, with `chunked_prefill_tokens` a step.
    `chunked_prefill_forced`: the engine ignores a wish to switch it off. `hybrid_prefix_caching`: the default for models with
    recurrent layers. `async_with_pipeline`: async_scheduling holds with pipeline parallelism too. `block_size` is before what
    recurrent layers make of it. `max_seq_len_to_capture`: V0 launches a decode step kernel by kernel
    where a context is longer (vllm/config.py of 0.7.3). `scheduler_rules`: those rules of its
    scheduler that hold in this release and not in all, by their names in engine/scheduler/rules.py.
    `extrapolated`: nothing of this engine was measured; its figures are taken from a sibling.
    `taken_for`: which release it is taken for, in words, where that is not the one it is called.
    `like`: the release that an engine of one's own is changed from, and `own_overheads` what it adds
    around its kernels other than that, by the names of catalog/kernels.py.
    """

    name: str
    family: Family
    version: str
    generation: Literal["v0", "v1"]
    source: str
    checked: str = ""
    note: str = ""
    taken_for: str = ""
    extrapolated: bool = False
    gpu_memory_utilization: Fraction = 0.9
    memory_fraction_of: Literal["total", "free"] = "total"
    cuda_graphs_deducted: bool = False
    batch_defaults: tuple[BatchDefaults, ...] = (BatchDefaults(max_num_batched_tokens=2048, max_num_seqs=256),)
    block_size: Count = 16
    enable_prefix_caching: bool = True
    hybrid_prefix_caching: bool = False
    enable_chunked_prefill: bool = True
    chunked_prefill_above: Count | None = None
    chunked_prefill_tokens: Count = 2048
    chunked_prefill_forced: bool = False
    scheduler_reserve_full_isl: bool = False
    async_scheduling: bool = False
    async_with_pipeline: bool = False
    max_cudagraph_capture_size: Count = 512
    max_seq_len_to_capture: Count = 8192
    cudagraphs_follow_max_num_seqs: bool = False
    scheduler_rules: tuple[str, ...] = ("cap_at_admission", "cap_counts_steps")
    like: str = ""
    own_overheads: tuple[tuple[str, NonNegative], ...] = ()

    def __repr__(self) -> str:
        return f"<Engine {self.name}>"

    def resolve(self, args: EngineArgs, gpu: Gpu, model: Model) -> ResolvedArgs:
        """The arguments as the engine would run with them: every None replaced by its default.

        Raises SimulatorError for an argument that the release does not have, and where the engine refuses to start: a token
        budget below max_num_seqs, or below max_model_len without chunked prefill, limits that contradict each other. Source:
        vllm/engine/arg_utils.py and vllm/config/scheduler.py (verify_max_model_len).
        """
        check_arguments(args, self.name, self.family, self.version)
        starts_short = self.family == "vllm" and self.at_least("0.12")
        length = args.max_model_len or (starts_short and model.original_position) or model.max_position
        chunked = self._chunks(args, length)
        tokens, sequences = self._batch(args, gpu, length, chunked)
        caching = self.enable_prefix_caching and (self.hybrid_prefix_caching or not model.is_hybrid)
        resolved = ResolvedArgs.of(
            args,
            gpu_memory_utilization=args.gpu_memory_utilization or self._memory_fraction(args, gpu),
            max_model_len=length,
            max_num_seqs=sequences,
            max_num_batched_tokens=tokens,
            block_size=args.block_size or self.block_size,
            enable_prefix_caching=_given(args.enable_prefix_caching, caching),
            enable_chunked_prefill=chunked,
            async_scheduling=self._async(args),
            scheduler_reserve_full_isl=_given(args.scheduler_reserve_full_isl, self.scheduler_reserve_full_isl),
        )
        check_values(resolved, self.name, self.family, self.version)
        return resolved

    def at_least(self, version: str) -> bool:
        """Whether this is that release of vLLM or a later one; other engines count as the newest."""
        return self.family != "vllm" or releases.at_least(self.version, version)

    def largest_cudagraph(self, args: ResolvedArgs) -> int:
        """The largest batch that a CUDA graph is captured for, from resolved arguments; 0 where none is."""
        return max(self.captured_batches(args), default=0)

    def captured_batches(self, args: ResolvedArgs) -> tuple[int, ...]:
        """The batches, in tokens, that CUDA graphs are captured for: those asked for, or 1, 2, 4, by 8, and from 256 on by 16.

        Source: _set_cudagraph_sizes in vllm/config/vllm.py (0.27.1, 0.31.0).
        """
        if not args.captures_graphs:
            return ()
        most = args.max_num_batched_tokens
        if args.cudagraph_capture_sizes is not None:
            return tuple(sorted({size for size in args.cudagraph_capture_sizes if size <= most}))
        largest = args.max_cudagraph_capture_size or self._usual_largest(args)
        sizes = {1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)}
        return tuple(sorted(size for size in sizes if size <= min(largest, most)))

    def _usual_largest(self, args: ResolvedArgs) -> int:
        most = self.max_cudagraph_capture_size
        return min(2 * args.max_num_seqs * args.decode_length, most) if self.cudagraphs_follow_max_num_seqs else most

    def _defaults(self, gpu: Gpu) -> BatchDefaults:
        return next(defaults for defaults in self.batch_defaults if defaults.fits(gpu))

    def _async(self, args: EngineArgs) -> bool:
        """Whether a step is scheduled while the one before runs: not beside what drafts on the processor.

        Raises SimulatorError where both are asked for. Source: VllmConfig in vllm/config/vllm.py (0.12 to 0.33).
        """
        method = family_of(args.spec_method, args.spec_model is not None)
        drafts = method in ("", "mtp", "eagle", "eagle3", "dflash", "dspark")
        drafts = drafts or (method in ("draft_model", "ngram_gpu") and self.at_least("0.16"))
        if args.async_scheduling and not drafts:
            raise SimulatorError(
                f"async_scheduling with speculative decoding by {method}: {self.name} does not start so; leave it out",
                field=("async_scheduling", "spec_method"),
            )
        pipelined = args.pipeline_parallel_size > 1
        usual = self.async_scheduling and drafts and (self.async_with_pipeline or not pipelined)
        return _given(args.async_scheduling, usual)

    def _memory_fraction(self, args: EngineArgs, gpu: Gpu) -> float:
        reserved = self._defaults(gpu).reserved_gib
        if reserved is None:
            return self.gpu_memory_utilization
        parallel = args.tensor_parallel_size * args.pipeline_parallel_size
        return round(max(0.1, 1 - (reserved + parallel / 8) * GIB / gpu.memory_bytes), 3)

    def _chunks(self, args: EngineArgs, length: int) -> bool:
        if self.chunked_prefill_forced:
            return True
        by_length = self.chunked_prefill_above is not None and length > self.chunked_prefill_above
        return _given(args.enable_chunked_prefill, self.enable_chunked_prefill or by_length)

    def _batch(self, args: EngineArgs, gpu: Gpu, length: int, chunked: bool) -> tuple[int, int]:
        """(max_num_batched_tokens, max_num_seqs): what was given, else the defaults, fitted to each other and to the length."""
        defaults = self._defaults(gpu)
        sequences = args.max_num_seqs or defaults.max_num_seqs
        if (tokens := args.max_num_batched_tokens) is None:
            usual = self.chunked_prefill_tokens if chunked and self.generation == "v0" else defaults.max_num_batched_tokens
            tokens = min(usual if chunked else max(usual, length), sequences * length)
        if args.max_num_seqs is None:
            sequences = min(sequences, tokens)
        if tokens < sequences and self.family == "vllm":
            raise SimulatorError(
                f"max_num_batched_tokens {tokens} is below max_num_seqs {sequences}, and {self.name} does not start so; "
                f"raise the first to {sequences} or lower the second to {tokens}",
                field=("max_num_batched_tokens", "max_num_seqs"),
            )
        if not chunked and tokens < length:
            raise SimulatorError(
                f"max_num_batched_tokens {tokens} is below max_model_len {length}, and {self.name} does not start so; "
                f"raise the first to {length}, lower the second, or set enable_chunked_prefill",
                field=("max_num_batched_tokens", "max_model_len", "enable_chunked_prefill"),
            )
        return tokens, sequences


def _given(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def engine(name: str | Engine = "vllm") -> Engine:
    """An engine by name and version (`vllm-0.19.0`, `vllm 0.19`, `0.19.0`); a family alone is its newest release we know.

    A release we do not know takes the defaults of the nearest one, `main` and `nightly` those of the newest, and `taken_for` says
    so. A build of the main branch is taken for the release that followed it (`0.23.1rc1.dev550` for 0.24), or in the first half
    of the way for the one before (`0.19.1rc1.dev316` for 0.19).
    ` V0` or ` V1` behind the version picks the other generation.
    Raises UnknownName for another family, or a version far from all we know.

    >>> engine("0.6.3.post1").generation, engine("vllm").version, engine("vllm 0.19").gpu_memory_utilization
    ('v0', '0.33.0', 0.9)
    """
    return name if isinstance(name, Engine) else _resolve(name)


def on_card(release: Engine, card: Gpu) -> Engine:
    """The engine that a release starts on a card: vLLM 0.8 to 0.10 fell back to V0 where compute capability is below 8.

    An engine of one's own starts on every card as it is described.

    Source: vLLM 0.10.0, vllm/engine/arg_utils.py `_is_v1_supported_oracle`; 0.11 has no V0.

    >>> from simulator.catalog.gpus import gpu
    >>> on_card(engine("vllm-0.8.4"), gpu("t4")).name, on_card(engine("vllm-0.8.4"), gpu("a100")).name
    ('vllm-0.8.4 V0', 'vllm-0.8.4')
    """
    old_card = card.compute_capability is not None and card.compute_capability < _V1_CAPABILITY
    had_v0 = release.family == "vllm" and release.generation == "v1" and not release.at_least(_V0_GONE)
    if not old_card or not had_v0 or release.like:
        return release
    said = f"{release.name} serves {card.name}, whose compute capability is below 8, with its V0 engine"
    return dataclasses.replace(engine(f"{release.name} V0"), taken_for=said)


_V1_CAPABILITY, _V0_GONE = 8.0, "0.11.0"


def engines() -> tuple[Engine, ...]:
    """One engine for every change of defaults, in file order; each holds until the next of its family."""
    return tuple(_build(name) for name in stanzas.stanzas("engines"))


_FAMILIES: dict[str, Family] = {"vllm": "vllm", "sglang": "sglang", "sgl": "sglang"}
_FAMILIES |= dict.fromkeys(("tensorrtllm", "trtllm", "trt"), "tensorrt-llm")
_WRITTEN = re.compile(
    r"^(?P<family>vllm|sglang|sgl|(?:tensorrt|trt)[ -]?llm|trt)?[\s=@:-]*"
    r"(?:v?(?P<release>\d+(?:\.\d+){1,3})(?P<suffix>(?:\.?(?:post|rc|dev|a|b)\d*)*)"
    r"|(?P<newest>main|nightly|latest)(?:-[0-9a-f]{7,40})?)?"
    r"(?:\+[^()]*?)?(?:\s*\(.*\))?(?:\s+(?P<generation>v[01]))?$"
)
_FUTURE_MINORS = 20
# Commits of the main branch after a release of vLLM from which a build is nearer to the next one; builds up to 608 are seen.
_HALF_A_CYCLE = 350


@cache
def _resolve(name: str) -> Engine:
    if re.match(r"(?i)\s*llama[-_. ]?(cpp|server)", name):
        raise NotModelled(
            f"engine {name.strip()}: the time of llama.cpp is not modelled; "
            "`sim memory -- llama-server -m FILE.gguf ...` answers for its memory"
        )
    written = _WRITTEN.match(name.strip().lower().replace("_", "-"))
    if not written or not (written["family"] or written["release"] or written["newest"]):
        raise UnknownName("engine", name, [*_FAMILIES.values(), *stanzas.stanzas("engines")])
    family = _FAMILIES[re.sub(r"[\s-]", "", written["family"] or "vllm")]
    known = [entry for entry in stanzas.stanzas("engines") if _merged(entry)["family"] == family]
    oldest, newest = releases.numbers(_merged(known[0])["version"]), releases.numbers(_merged(known[-1])["last"])
    asked = releases.numbers(written["release"]) if written["release"] else newest
    build = re.search(r"rc\d*\.dev(\d+)", written["suffix"] or "")
    if build and int(build[1]) >= _HALF_A_CYCLE:
        asked = (asked[0], asked[1] + 1, 0)
    if not (0, 1) <= asked[:2] <= (newest[0], newest[1] + _FUTURE_MINORS):
        raise UnknownName("engine", name, stanzas.stanzas("engines"))
    reached = [entry for entry in known if releases.numbers(_merged(entry)["version"]) <= asked] or known[:1]
    if written["generation"]:
        reached = [entry for entry in reached if _merged(entry)["generation"] == written["generation"]] or reached
    entry = _build(reached[-1])
    called = f"{family}-{_as_written(written) or _dotted(asked)}"
    exact = not (written["suffix"] or written["newest"] or len(asked) > 3)
    taken = f"{called} is taken for release {_dotted(asked[:3])}" if not exact else ""
    if written["newest"]:
        taken = f"{called} is taken for {_dotted(newest)}, the newest release known here"
    elif not oldest <= asked <= newest:
        known_by = f"newer than {_dotted(newest)}, the newest" if asked > newest else f"older than {_dotted(oldest)}, the oldest"
        taken = f"{called} is {known_by} release known here, and taken for that"
    notes = " ".join(text for text in (entry.note, taken and f"{taken}.") if text)
    return dataclasses.replace(entry, name=called, version=_dotted(asked), taken_for=taken, note=notes)


def _as_written(written: re.Match[str]) -> str:
    generation = f" {written['generation'].upper()}" if written["generation"] else ""
    release = f"{written['release']}{written['suffix']}" if written["release"] else written["newest"]
    return f"{release}{generation}" if release else ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@cache
def _build(name: str) -> Engine:
    fields = {key: value for key, value in _merged(name).items() if key not in ("last", "adds", "removes")}
    return Engine(name=name, **fields)


@cache
def _merged(name: str) -> dict[str, Any]:
    """The fields of a stanza over those of the stanzas before it of the same family; a note is its own."""
    own = dict(stanzas.load_entry("engines", name))
    fields: dict[str, Any] = {}
    for earlier in stanzas.stanzas("engines"):
        if earlier == name:
            break
        if (before := stanzas.load_entry("engines", earlier))["family"] == own["family"]:
            fields |= before
    fields.pop("note", None)
    return {**fields, **own, "checked": str(own["checked"])}
