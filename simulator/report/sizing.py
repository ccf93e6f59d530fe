"""Sizing in words: what `sim size` says, the same in the terminal and on its page."""

from __future__ import annotations

import math

from simulator.planning.size import Candidate, Sizing
from simulator.planning.sure import Choice, chosen
from simulator.results.model import DeploymentResult
from simulator.text import number, plural, sure


def to_carry(sizing: Sizing) -> str:
    """What is to be carried: `20 requests/s within the SLO`."""
    rate, loop = sizing.scenario.workload.mean_rate(), sizing.scenario.workload.closed_loop
    what = f"{number(rate, 4)} requests/s" if rate is not None else plural(loop.concurrency, "user") if loop else "a batch"
    lost = f" with {plural(sizing.ask.spare, 'replica')} lost" if sizing.ask.spare else ""
    return f"{what}{' within the SLO' if sizing.scenario.promises else ''}{lost}"


def money(value: float, digits: int = 2) -> str:
    """Dollars without their sign; a dash where no price is known."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def grown(candidate: Candidate) -> str:
    """What the grown traffic takes; a dash where no number of replicas will do."""
    if candidate.grown is None:
        return "-"
    cost = f", ${candidate.grown_usd_per_hour:,.2f}/h" if math.isfinite(candidate.grown_usd_per_hour) else ""
    return f"{plural(candidate.grown, 'replica')}{cost}"


def sentences(sizing: Sizing, months: float) -> list[str]:
    """The answer, a sentence a line; `months`: when the asked growth will have happened."""
    choice = chosen(sizing)
    if choice is None:
        nearest = sizing.nearest
        near = [f"Nearest is {nearest.deployment.name}: {nearest.why}."] if nearest else []
        return ["Nothing here will do.", *near]
    return [taken(sizing, choice), *other_candidates(sizing, choice), *remarks(sizing, months)]


def taken(sizing: Sizing, choice: Choice) -> str:
    """What to take, how sure that is, and its price."""
    one = choice.candidate
    why = f"; {one.why}" if one is sizing.best and choice.simulated and one.why else ""
    how = f" ({how_sure(choice)})" if choice.answer else ""
    return f"Take {one.deployment.name}: {choice.wording}{how}{why}. {price_line(one)}"


def how_sure(choice: Choice) -> str:
    """`95% sure`; of more replicas than were run, what their number was read off for."""
    if not choice.simulated:
        return "90% sure, by what one of them carries"
    assurance = choice.answer.assurance if choice.answer else None
    return sure(assurance.chance) if assurance else ""


def standing_words(answer: DeploymentResult | None) -> str:
    """`meets, 95% sure`; a dash for what was not run."""
    if answer is None or answer.assurance is None:
        return "–"
    return f"{answer.standing}, {sure(answer.assurance.chance)}"


def other_candidates(sizing: Sizing, choice: Choice) -> list[str]:
    """What is cheaper and less than sure; or that nothing is sure, and what would make it so."""
    best, answer = sizing.best, choice.answer
    if answer is None or best is None:
        return []
    if choice.simulated and answer.standing != "meets":
        return [f"Nothing here is 90% sure, with any number of replicas. {_TELL}"]
    lines = [
        _cheaper(c, a) for c, a in zip(sizing.fitting, sizing.answers, strict=False) if a.standing != "meets" and _less(c, choice)
    ]
    return [f"Cheaper and less than sure: {'; '.join(lines)}. {_TELL}"] if lines else []


_TELL = "Two measured runs would tell (sim calibrate)."


def _less(candidate: Candidate, choice: Choice) -> bool:
    mine, gpus = candidate.usd_per_hour, candidate.deployment.gpus
    return mine < choice.usd_per_hour or (mine == choice.usd_per_hour and gpus < choice.gpus)


def _cheaper(candidate: Candidate, answer: DeploymentResult) -> str:
    usd = candidate.usd_per_hour
    dollars = f", ${usd:,.2f} an hour" if math.isfinite(usd) else ""
    how = f", {sure(answer.assurance.chance)}" if answer.assurance else ""
    return f"{candidate.deployment.name} ({candidate.wording}{dollars}{how})"


def price_line(candidate: Candidate) -> str:
    """Its price with provider and date, or how to give one."""
    if candidate.price:
        return f"{candidate.price}."
    return f"No price is known: give prices.usd_per_gpu_hour.{candidate.deployment.pool.gpu.name}."


def remarks(sizing: Sizing, months: float) -> list[str]:
    """What else is to be known of what is taken: requests without an answer, a backlog, growth."""
    choice, growth = chosen(sizing), sizing.ask.growth
    if choice is None:
        return []
    best = choice.candidate
    lines = [f"{best.unanswered}."] if best.unanswered else []
    rate = sizing.scenario.workload.mean_rate()
    if best.recovers_below is not None and rate is not None and rate > best.recovers_below:
        lines.append(f"Once requests queue it recovers only below {number(best.recovers_below)} requests/s.")
    if growth > 1 and choice.simulated and best.headroom is not None and best.headroom > 0:
        lasts = months * math.log1p(best.headroom) / math.log(growth)
        lines.append(f"Growing x{growth:g} in {months:g} months, it is outgrown in about {lasts:.1f} months.")
    later = sizing.best_grown
    if growth > 1 and later is not None:
        lines.append(
            f"At x{growth:g} the {_cheapest(sizing)} is {later.deployment.name}: {grown(later).replace('/h', ' an hour')}."
        )
    return lines


def _cheapest(sizing: Sizing) -> str:
    """What the first of the candidates is: the cheapest, or where no price is known the smallest."""
    return "cheapest" if any(math.isfinite(c.usd_per_hour) for c in sizing.fitting) else "smallest"
