"""Latency models: from a deployment to the StepTime that the engine calls."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.latency.parts import add, parts
from simulator.latency.rank import rank
from simulator.latency.step import StepTime
from simulator.spec import NonNegative, Positive, spec
from simulator.units import MS, US


@spec
class Constant:
    """Every step takes the same time, whatever is in it."""

    kind: Literal["constant"] = "constant"
    step_ms: Positive

    def bind(
        self,
        model: Model,
        quantization: Quantization | None,
        gpu: Gpu,
        args: EngineArgs,
        engine: Engine,
        link_bytes_per_s: float | None = None,
    ) -> StepTime:
        """The step time; only the limits of the engine arguments matter."""
        return _affine(args, constant=self.step_ms * MS)


@spec
class Linear:
    """A step takes a constant, and so much for each token, sequence and context token."""

    kind: Literal["linear"] = "linear"
    step_ms: Positive
    token_us: NonNegative = 0.0
    sequence_us: NonNegative = 0.0
    context_token_us: NonNegative = 0.0

    def bind(
        self,
        model: Model,
        quantization: Quantization | None,
        gpu: Gpu,
        args: EngineArgs,
        engine: Engine,
        link_bytes_per_s: float | None = None,
    ) -> StepTime:
        """The step time; only the limits of the engine arguments matter."""
        return _affine(args, self.step_ms * MS, self.token_us * US, self.sequence_us * US, self.context_token_us * US)


@spec
class Roofline:
    """Bytes and operations over what the GPU's kernels reach, and the engine's overheads."""

    kind: Literal["roofline"] = "roofline"

    def bind(
        self,
        model: Model,
        quantization: Quantization | None,
        gpu: Gpu,
        args: EngineArgs,
        engine: Engine,
        link_bytes_per_s: float | None = None,
    ) -> StepTime:
        """The step time of one replica. Raises NotModelled where a kernel or layer has no model."""
        return add(self.parts(model, quantization, gpu, args, engine, link_bytes_per_s).values())

    def parts(
        self,
        model: Model,
        quantization: Quantization | None,
        gpu: Gpu,
        args: EngineArgs,
        engine: Engine,
        link_bytes_per_s: float | None = None,
    ) -> dict[str, StepTime]:
        """The step time by part, as `parts.parts` names them: their sum is what `bind` gives."""
        return parts(rank(model, quantization, gpu, args, engine, link_bytes_per_s))


LatencySpec = Annotated[Constant | Linear | Roofline, Field(discriminator="kind")]


def _affine(args: EngineArgs, constant: float, token: float = 0.0, sequence: float = 0.0, context: float = 0.0) -> StepTime:
    if args.max_num_batched_tokens is None or args.max_num_seqs is None:
        raise ValueError("engine arguments must be resolved before a deployment is bound")
    tokens = token * np.arange(args.max_num_batched_tokens + 1, dtype=np.float64)
    return StepTime(tokens, np.zeros(args.max_num_seqs + 1), sequence, context, 0.0, constant)
