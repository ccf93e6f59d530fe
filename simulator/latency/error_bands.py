"""Trust: what of a step time was not measured on this GPU and engine, and where real figures lie
beside predicted ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, hypot, log
from typing import Literal

from simulator.catalog import stanzas
from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import kernels, overheads
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.latency.gpu_share import running_kernel
from simulator.latency.interconnect import through_host
from simulator.latency.target import Target
from simulator.spec import Count, Positive, spec

LoadRegime = Literal["alone", "loaded", "waiting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the error of a prediction goes by, beside metric and load.

    `measured`: kernels were measured on the GPU and overheads on the engine. `form`: of the
    weights. `link`: how several GPUs of a server reach each other.
    """

    engine: str
    measured: bool
    moe: bool
    form: Literal["16-bit", "8-bit", "4-bit"]
    link: Literal["one GPU", "NVLink", "PCIe"]


def setting(
    model: Model,
    quantization: Quantization | None,
    gpu: Gpu,
    engine: Engine,
    args: EngineArgs | ResolvedArgs,
    link_bytes_per_s: float | None = None,
) -> Setting:
    """The setting of a server. Raises NotModelled for a GPU or engine without kernels."""
    several = args.tensor_parallel_size * args.pipeline_parallel_size * args.data_parallel_size > 1
    forms = quantization or model.quantization
    bits = min((form.bits for form in forms.formats.values()), default=16.0) if forms else 16.0
    return Setting(
        engine=f"{engine.family}-{engine.generation}",
        measured=kernels(gpu).measured and not overheads(engine).extrapolated,
        moe=model.is_moe,
        form="16-bit" if bits > 9 else "8-bit" if bits > 6 else "4-bit",
        link="one GPU" if not several else "PCIe" if gpu.link == "pcie" else "NVLink",
    )


@dataclass(frozen=True, slots=True)
class ErrorBand:
    """Where a real server's figure lies, as multiples of the predicted one: in four of five cases
    between `low` and `high`, and as often above `middle` as below. `basis`: what that rests on.

    Between and beyond the three the logarithm is taken to be logistic, on each side of the middle
    with a width of its own.
    """

    low: float
    middle: float
    high: float
    basis: str

    def quantile(self, share: float) -> float:
        """The multiple that the real figure stays below in this share of cases.

        >>> band = ErrorBand(0.8, 1.0, 1.5, "")
        >>> [round(band.quantile(share), 3) for share in (0.1, 0.5, 0.9)]
        [0.8, 1.0, 1.5]
        """
        end = self.low if share < 0.5 else self.high
        steps = abs(_logit(share)) / _logit(_UPPER)
        return self.middle * exp(steps * log(end / self.middle))

    def share_below(self, multiple: float) -> float:
        """The share of cases in which the real figure stays below this multiple of the predicted
        one."""
        end = self.low if multiple < self.middle else self.high
        if multiple <= 0 or end == self.middle:
            return float(multiple >= self.middle)
        odds = _logit(_UPPER) * log(multiple / self.middle) / abs(log(end / self.middle))
        return 1 / (1 + exp(-max(min(odds, 700.0), -700.0)))

    def inverse(self) -> ErrorBand:
        """The band of the reciprocal, such as of a step's seconds where this is of tokens a
        second."""
        return ErrorBand(1 / self.high, 1 / self.middle, 1 / self.low, self.basis)

    def wider(self, factor: float, why: str) -> ErrorBand:
        """The band with both sides `factor` times as wide, and why."""
        low, high = (self.middle * (end / self.middle) ** factor for end in (self.low, self.high))
        return ErrorBand(low, self.middle, high, f"{self.basis}; times {factor:g}: {why}")

    def blurred(self, error: float) -> ErrorBand:
        """The band of a figure that is itself known to a relative standard error."""
        if error <= 0:
            return self
        widths = (log(end / self.middle) for end in (self.low, self.high))
        low, high = (hypot(width, _NORMAL_UPPER * error) for width in widths)
        return ErrorBand(self.middle * exp(-low), self.middle, self.middle * exp(high), self.basis)


_UPPER, _NORMAL_UPPER = 0.9, 1.2816  # the upper end of the band, as a share and in standard deviations of a normal


def _logit(share: float) -> float:
    return log(share / (1 - share))


@spec
class BandClass:
    """A class of predictions: how many `rows` of how many `combinations` of model and GPU were
    compared, and their band.

    `widened`: by how much the quantiles of the rows were spread, for a combination that is not
    among them. `seen`: the kinds within it that it is about; others take it too, and are wider.
    """

    name: str
    low: Positive
    middle: Positive
    high: Positive
    rows: Count
    combinations: Count
    widened: Positive
    seen: tuple[str, ...]
    basis: str
    source: str
    checked: str


def bands(place: Setting, load: LoadRegime, args: ResolvedArgs | None = None, gpu: Gpu | None = None) -> dict[str, ErrorBand]:
    """The bands of a setting under a load by metric: `ttft`, `tpot`, `e2e`, each also for its tail
    (`ttft_tail`: p90 and beyond), and `output_tokens_per_s`.

    Wider with arguments that bring in what was compared with few runs: a pipeline, or cards that go through the host's memory.
    """
    found = {}
    for metric, family in FAMILIES.items():
        for tail in (False, True) if metric != "output_tokens_per_s" else (False,):
            band = band_of(class_path(family, place, load, tail=tail))
            factor, why = _widened(gpu, args)
            found[f"{metric}_tail" if tail else metric] = band.wider(factor, why) if why else band
    return found


FAMILIES = {"ttft": "ttft", "tpot": "tpot", "e2e": "tpot", "output_tokens_per_s": "output_tokens_per_s"}
"""What each metric shares its classes with: an answer's seconds are mostly those of its tokens."""


def class_path(family: str, place: Setting, load: LoadRegime, *, tail: bool) -> tuple[str, ...]:
    """The classes that a prediction belongs to, from the widest to the narrowest, as one name
    each."""
    return (
        family,
        place.engine,
        "measured" if place.measured else "guessed",
        load,
        "moe" if place.moe else "dense",
        place.form,
        place.link,
        "tail" if tail else "middle",
    )


def class_of(path: Sequence[str]) -> BandClass:
    """The narrowest class of the catalog on a path."""
    known = stanzas.stanzas("error_bands")
    name = next(name for length in range(len(path), 0, -1) if (name := " / ".join(path[:length])) in known)
    return _class(name)


UNSEEN = 1.25
"""How much wider the band of a kind is of which a class has no rows, or too few."""


def band_of(path: Sequence[str]) -> ErrorBand:
    """The band of the narrowest class on a path, wider where that was found without such rows."""
    named = class_of(path)
    band = ErrorBand(named.low, named.middle, named.high, named.basis)
    depth = len(named.name.split(" / "))
    kind = path[depth] if depth < len(path) else ""
    return band.wider(UNSEEN, f"few or none of them {kind}") if kind and kind not in named.seen else band


@cache
def _class(name: str) -> BandClass:
    fields = stanzas.load_entry("error_bands", name)
    return BandClass(name=name, **{**fields, "seen": tuple(map(str, fields["seen"])), "checked": str(fields["checked"])})


def _widened(gpu: Gpu | None, args: ResolvedArgs | None) -> tuple[float, str]:
    """How much wider the errors of arguments are than those of their class, and why; 1 and nothing where they are not."""
    if args is None or gpu is None:
        return 1.0, ""
    if args.pipeline_parallel_size > 1:
        return 2.0, "the one pipeline that was compared, over three nodes, was predicted twice too fast"
    if through_host(gpu, args.tensor_parallel_size, None) and args.tensor_parallel_size > 1:
        return 1.5, "hosts differ in what cards without peer access reach through their memory"
    return 1.0, ""


def extrapolations(target: Target) -> tuple[str, ...]:
    """What a roofline step time takes from elsewhere than this GPU and engine, each in a sentence."""
    args = target.args
    found = list(_taken(target.model, target.quantization, target.gpu, target.engine))
    found += _interconnect(target)
    found += _network(target)
    if args.pipeline_parallel_size > 1:
        found.append(
            "pipeline parallelism: not measured; steps are taken as even micro-batches, so a lone prompt comes out too fast"
        )
    if args.data_parallel_size > 1 and args.enable_expert_parallel:
        found.append("data parallelism with expert parallelism: not measured; ranks are taken to be equally loaded")
    return tuple(dict.fromkeys(found))


def _interconnect(target: Target) -> Iterator[str]:
    """What of the traffic between PCIe cards is another server's, even where the link is stated."""
    args, card, link = target.args, target.gpu, target.link_bytes_per_s
    ranks = max(args.tensor_parallel_size, args.data_parallel_size if args.enable_expert_parallel else 1)
    if ranks == 1 or card.link != "pcie":
        return
    if through_host(card, ranks, link):
        yield f"{card.name}: no peer access, traffic takes the host's memory, and hosts differ fourfold in what that reaches"
    elif link is None:
        yield "all-reduces over PCIe: taken from one server; what yours reaches depends on its slots (link_gb_per_s)"
    else:
        yield "all-reduces over PCIe: what they reach of the link that is stated is taken from one server"


def _network(target: Target) -> Iterator[str]:
    """What was taken for granted of the network where one replica spans several servers."""
    args, card = target.args, target.gpu
    gpus = args.tensor_parallel_size * args.pipeline_parallel_size * args.data_parallel_size
    if gpus <= card.link_domain:
        return
    network = target.network
    where = f"{gpus} GPUs on servers of {card.link_domain}"
    taken = "as stated" if network.gb_per_s else f"taken as {network.kind} (network)"
    yield f"{where}: traffic between them is {taken}, and what collectives reach of it is from other networks"


def _taken(model: Model, quantization: Quantization | None, gpu: Gpu, engine: Engine) -> Iterator[str]:
    """Kernels and overheads that were not measured on this GPU and engine."""
    reached = kernels(gpu)
    yield from (f"{gpu.name}: {line}" for line in reached.extrapolated)
    forms = {*quantization.formats.items()} if quantization else set()
    for group, form in sorted(forms, key=str):
        if group == "experts" and not model.is_moe:
            continue
        table = reached.experts if group == "experts" else reached.gemm
        kernel = table.get(running_kernel(form, gpu))
        if kernel is not None and kernel.taken_from:
            what = "experts" if group == "experts" else "matmuls"
            yield f"{running_kernel(form, gpu)} {what} on {gpu.name}: taken from {kernel.taken_from}"
    yield from overheads(engine).extrapolated
    if engine.like:
        yield f"{engine.taken_for}; what was measured, and the error bands, are the release's"
    if engine.extrapolated:
        yield f"{engine.name}: nothing of this version was measured"
