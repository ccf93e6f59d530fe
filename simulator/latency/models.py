"""Latency models: from a deployment to the StepTime that the engine calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.models import Model
from simulator.errors import NotModelled
from simulator.latency.aiconfigurator import read_kernel_tables
from simulator.latency.breakdown import add, parts
from simulator.latency.gpu_share import gpu_share
from simulator.latency.layer_profiles import Profile, read_profile
from simulator.latency.lora import adapter_time
from simulator.latency.speculative import drafter
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.spec import NonNegative, Positive, spec
from simulator.units import MS, US


@spec
class ConstantStep:
    """Every step takes the same time, whatever is in it."""

    kind: Literal["constant"] = "constant"
    step_ms: Positive

    def bind(self, target: Target) -> StepTime:
        """The step time; only the limits of the engine arguments matter."""
        return _affine(target.args, constant=self.step_ms * MS)


@spec
class Linear:
    """A step takes a constant, and so much for each token, sequence and context token."""

    kind: Literal["linear"] = "linear"
    step_ms: Positive
    token_us: NonNegative = 0.0
    sequence_us: NonNegative = 0.0
    context_token_us: NonNegative = 0.0

    def bind(self, target: Target) -> StepTime:
        """The step time; only the limits of the engine arguments matter."""
        return _affine(target.args, self.step_ms * MS, self.token_us * US, self.sequence_us * US, self.context_token_us * US)


@spec
class Roofline:
    """Bytes and operations over what the GPU's kernels reach, and the engine's overheads."""

    kind: Literal["roofline"] = "roofline"

    def bind(self, target: Target) -> StepTime:
        """The step time of one replica. Raises NotModelled where a kernel or layer has no model."""
        return add(self.parts(target).values())

    def parts(self, target: Target) -> dict[str, StepTime]:
        """The step time by part, as `parts.parts` names them: their sum is what `bind` gives."""
        return _with_more(parts(gpu_share(target)), target)


@spec
class Silicon:
    """As Roofline, with matmuls and experts as NVIDIA measured them where `latency.aiconfigurator` has them."""

    kind: Literal["silicon"] = "silicon"

    def bind(self, target: Target) -> StepTime:
        """The step time of one replica. Raises NotModelled where a kernel was not measured."""
        measured = replace(gpu_share(target), silicon=read_kernel_tables(target.gpu, target.engine))
        return add(_with_more(parts(measured), target).values())


@spec
class MeasuredLayers:
    """Layer times of one's own, in a folder as `latency.layer_profiles` describes it; the rest as in Roofline.

    `path`: the folder. The times are of one GPU's share of this model at this deployment's parallelism.
    """

    kind: Literal["measured"] = "measured"
    path: Path

    def bind(self, target: Target) -> StepTime:
        """The step time of one replica. Raises NotModelled beyond what was measured, MeasurementError for a bad file."""
        if target.args.decode_length > 1:
            raise NotModelled("speculative decoding beside layer times of one's own; take the roofline")
        if target.args.enable_lora:
            raise NotModelled("LoRA adapters beside layer times of one's own; take the roofline")
        beside = parts(gpu_share(target))
        return add((_from_profile(read_profile(self.path), target.model, target.args), beside["all-reduce"], beside["engine"]))


def _with_more(found: dict[str, StepTime], target: Target) -> dict[str, StepTime]:
    """The parts of a step, with drafting where tokens are drafted, and adapters where some are served."""
    if target.args.decode_length > 1:
        found = {**found, "drafter": drafter(target)}
    return {**found, "adapters": adapter_time(target)} if target.args.enable_lora else found


LatencySpec = Annotated[ConstantStep | Linear | Roofline | Silicon | MeasuredLayers, Field(discriminator="kind")]


def _from_profile(profile: Profile, model: Model, args: ResolvedArgs) -> StepTime:
    tokens, sequences = args.max_num_batched_tokens, args.max_num_seqs
    if tokens > profile.layer.largest or sequences > profile.sampled.largest:
        raise NotModelled(
            f"the profile was measured to {profile.layer.largest} tokens and {profile.sampled.largest} sequences a step; "
            f"max_num_batched_tokens is {tokens} and max_num_seqs {sequences}. Lower them, or measure further",
            field=("max_num_batched_tokens", "max_num_seqs"),
        )
    if args.max_model_len > (longest := profile.attention.longest_context):
        raise NotModelled(
            f"the profile has contexts of up to {longest} tokens; max_model_len is {args.max_model_len}. "
            "Lower it, or measure further",
            field="max_model_len",
        )
    layers, a = len(model.layers), profile.attention
    counts = np.arange(tokens + 1, dtype=np.float64)
    return StepTime(
        tokens=layers * (profile.layer.at(counts) + a.per_token * counts) + profile.once.at(counts),
        sampled=profile.sampled.at(np.arange(sequences + 1, dtype=np.float64)),
        per_sequence=layers * a.per_sequence,
        per_context=layers * a.per_context,
        per_pair=layers * a.per_pair,
        constant=layers * a.call,
    )


def _affine(args: ResolvedArgs, constant: float, token: float = 0.0, sequence: float = 0.0, context: float = 0.0) -> StepTime:
    tokens = token * np.arange(args.max_num_batched_tokens + 1, dtype=np.float64)
    verified = args.decode_length
    sampled = np.zeros(args.max_num_seqs * verified + 1)
    return StepTime(tokens, sampled, sequence, context, 0.0, constant, verified=verified)
