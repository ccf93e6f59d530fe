"""What a reader should know of a deployment that drafts tokens: how many are accepted, and from
which batch on that costs more than it gains."""

from __future__ import annotations

from dataclasses import replace

from simulator.catalog.acceptance import family_of, measured_acceptance
from simulator.latency import calibration as calibrated
from simulator.latency.calibration import load_calibration
from simulator.latency.step import StepTime
from simulator.planning.capacity.full_batch import decode_step, running_context
from simulator.scenario.specs import Scenario
from simulator.server import Server
from simulator.text import number
from simulator.workload.requests import Requests


def speculation_notes(server: Server) -> tuple[str, ...]:
    """Lines on what is drafted and how much of it is accepted; none where nothing is drafted."""
    acceptance, args = server.acceptance, server.plan.args
    if acceptance is None:
        return ()
    method = family_of(args.spec_method, args.spec_model is not None)
    stated = args.spec_acceptance_length or args.spec_acceptance_rates
    known = None if stated else measured_acceptance(server.plan.model.name, method)
    source = f"measured on coding prompts: {known.source}" if known else "as stated"
    return (
        f"{method} drafts {acceptance.tokens} tokens and a step gives a sequence "
        f"{number(acceptance.mean_length)} in the mean, {source}; inter-token latencies are those "
        "of steps, time per output token that of tokens; what drafting takes is a roofline that "
        "was fitted to no run",
    )


def what_drafting_gains(scenario: Scenario, server: Server, requests: Requests) -> str:
    """What speculation gains of decoding, and from which batch on it loses; empty without it."""
    if server.acceptance is None:
        return ""
    context = running_context(requests)
    plain = _undrafted(scenario, server)
    worth = _worth(server, plain, server.acceptance.mean_length, context)
    return f"{worth}, with contexts of {context:,.0f} tokens"


def _worth(server: Server, plain: StepTime, length: float, context: float) -> str:
    seats, drafting = server.limits.seats, server.step_time
    alone = number(gain(drafting, plain, length, 1, context))
    losing = loses_from(drafting, plain, length, context, seats)
    if losing == 1:
        return f"speculation loses at every batch: one sequence decodes {alone} times as fast"
    if losing is None:
        full = number(gain(drafting, plain, length, seats, context))
        return (
            f"one sequence decodes {alone} times as fast as without speculation, and {seats:,} at "
            f"once still {full} times"
        )
    return (
        f"one sequence decodes {alone} times as fast as without speculation, which loses from "
        f"{losing:,} at once on"
    )


def gain(drafting: StepTime, plain: StepTime, length: float, batch: int, context: float) -> float:
    """How many times as many tokens a batch decodes in a second as without speculation."""
    faster = decode_step(plain, batch, context) / decode_step(drafting, batch, context)
    return length * faster


def loses_from(
    drafting: StepTime, plain: StepTime, length: float, context: float, most: int
) -> int | None:
    """The fewest sequences, up to `most`, with which speculation decodes fewer tokens in a second.

    None where it never does.
    """
    batches = range(1, most + 1)
    return next((n for n in batches if gain(drafting, plain, length, n, context) < 1.0), None)


def _undrafted(scenario: Scenario, server: Server) -> StepTime:
    """The step time of the same server without speculation."""
    target = server.target
    args = replace(target.args, spec_method=None, spec_model=None, spec_tokens=0)
    plain = scenario.latency.bind(replace(target, args=args))
    if scenario.calibration is None:
        return plain
    found = load_calibration(scenario.calibration)
    return calibrated.apply(
        plain, found.find(target.model, target.quantization, target.gpu, args, target.engine)
    )
