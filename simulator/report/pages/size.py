"""The page of `sim size`: what to rent, why each other configuration lost, what more traffic will cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from simulator.planning.costs import price_of
from simulator.planning.growth import carried_by_each, replica_steps, replicas_at, surely_by_each, surely_needed
from simulator.planning.size import Candidate, Sizing
from simulator.planning.sure import chosen
from simulator.report import sizing as said
from simulator.report import words
from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageAnswer, PageTable, plain_page
from simulator.results.model import DeploymentResult
from simulator.text import number, plural
from simulator.units import HOURS_PER_MONTH

_TIMES = (1.0, 1.25, 1.5, 2.0, 3.0)
_SHOWN_TIMES = 2.2


def size_page(sizing: Sizing, months: float = 12.0) -> str:
    """The page."""
    return plain_page(
        f"{sizing.scenario.name}: what to rent",
        f"What carries {said.to_carry(sizing)}, of {plural(len(sizing.candidates), 'configuration')}.",
        _drawings(sizing),
        _growth(sizing),
        lines=("How this was found", _method(sizing)),
        answer=_answer(sizing, months),
        first=[_candidates(sizing)],
    )


def _answer(sizing: Sizing, months: float) -> PageAnswer:
    choice = chosen(sizing)
    if choice is None:
        first, *others = said.sentences(sizing, months)
        return PageAnswer("No configuration will do", first, others, good=False)
    one, answer = choice.candidate, choice.answer
    usd = choice.usd_per_hour
    month = f", ${said.money(usd * HOURS_PER_MONTH, 0)} a month" if math.isfinite(usd) else ""
    how = f" ({said.how_sure(choice)})" if answer else ""
    sentence = f"{one.deployment.name}: {choice.wording}{_dollars(one, choice.replicas)}{month}{how}."
    ran = answer if choice.simulated else None
    lines = [
        _price(sizing, one),
        words.sentence(words.judged_line(ran)) if ran else "",
        words.sentence(words.sureness(ran)) if ran else "",
        *said.other_candidates(sizing, choice),
        _room(sizing, one) if choice.simulated else "",
        words.sentence(one.why) if one is sizing.best and choice.simulated else "",
        *said.remarks(sizing, months),
    ]
    certain = answer is None or not choice.simulated or answer.standing == "meets"
    heading = "Rent" if certain else "The cheapest that may do, and not surely"
    return PageAnswer(heading, sentence, [line for line in lines if line])


def _known(sizing: Sizing) -> list[tuple[Candidate, DeploymentResult]]:
    return list(zip(sizing.fitting, sizing.answers, strict=False))


def _dollars(candidate: Candidate, replicas: int) -> str:
    usd = _bill(candidate, replicas, dollars=True)
    return f", ${said.money(usd)} an hour" if math.isfinite(usd) else ""


def _bill(candidate: Candidate, replicas: int, *, dollars: bool) -> float:
    """Dollars an hour, or GPUs, of so many replicas."""
    of = candidate.usd_per_hour if dollars else float(candidate.deployment.gpus)
    return of / (candidate.replicas or 1) * replicas


def _room(sizing: Sizing, candidate: Candidate) -> str:
    carried = _carried(sizing, candidate)
    demand = sizing.scenario.workload.mean_rate()
    if carried is None or not demand:
        return ""
    room = carried / demand - 1
    return f"Carries {words.rate(carried)}: {f'room for {room:.0%} more' if room > 0 else 'no room for more'}."


def _carried(sizing: Sizing, candidate: Candidate) -> float | None:
    """Requests/s that all its replicas carry."""
    each = carried_by_each(sizing, candidate, sizing.answer_of(candidate))
    return None if each is None or candidate.replicas is None else each * candidate.replicas


def _price(sizing: Sizing, candidate: Candidate) -> str:
    """Its price, by whom and as of when; or how to give one."""
    pool = candidate.deployment.pool
    found = price_of(pool, sizing.scenario.prices)
    if found is None:
        return said.price_line(candidate)
    usd, source, date = found
    return f"${usd:.2f} per GPU-hour, {source.split(': ')[0]}{f', {date}' if date else ''}."


def _candidates(sizing: Sizing) -> PageTable:
    later = [f"At x{sizing.ask.growth:g}"] if sizing.ask.growth > 1 else []
    header = ("Configuration", "How many", "$ an hour", "$ a month", "How sure", "Why", "Carries", *later, "Price")
    rows = [
        [
            c.deployment.name,
            c.wording or words.NONE,
            said.money(c.usd_per_hour),
            said.money(c.usd_per_month, 0),
            said.standing_words(sizing.answer_of(c)),
            words.sentence(_why(sizing, c)),
            words.rate(_carried(sizing, c)),
            *([said.grown(c)] if later else []),
            _price(sizing, c),
        ]
        for c in sizing.candidates
    ]
    within = "within the SLO" if sizing.scenario.promises else "without its queue growing"
    note = f"Carries: the highest rate {within}, all replicas together. A dash: not searched, or it will not do."
    return PageTable("Every configuration, and why it lost", header, rows, note)


def _why(sizing: Sizing, candidate: Candidate) -> str:
    """Why it was taken, or lost."""
    choice = chosen(sizing)
    if choice is not None and candidate is choice.candidate:
        if choice.simulated:
            surely = choice.answer is not None and choice.answer.standing == "meets"
            return f"the cheapest that {'surely does' if surely else 'should do'}"
        return f"the cheapest that is sure, with {plural(choice.replicas, 'replica')}"
    if candidate is sizing.best:
        return "the cheapest that should do, and is not sure to"
    return candidate.why


def _drawings(sizing: Sizing) -> list[Drawing]:
    demand = sizing.scenario.workload.mean_rate()
    known = [(c, each) for c in sizing.fitting if (each := carried_by_each(sizing, c, sizing.answer_of(c)))]
    if demand is None or not known:
        return []
    priced = [(c, each) for c, each in known if math.isfinite(c.usd_per_hour)]
    most, drawn = demand * max(_SHOWN_TIMES, 1.1 * sizing.ask.growth), priced or known
    points = [
        {"configuration": c.deployment.name, "rate": rate, "replicas": n, "value": _bill(c, n, dollars=bool(priced))}
        for c, each in drawn
        for rate, n in replica_steps(sizing, c, each, most)
    ]
    names = [c.deployment.name for c, _ in drawn]
    missing = [c.deployment.name for c in sizing.fitting if c.deployment.name not in names]
    caption = "Each step is one more replica. The dotted line is today's demand."
    if missing:
        caption += f" Not drawn, without {'a price or ' if priced else ''}a capacity that was searched: {', '.join(missing)}."
    return [Drawing("What more traffic costs", caption, _steps(points, names, demand, "$ an hour" if priced else "GPUs"))]


def _steps(points: Sequence[dict[str, Any]], names: Sequence[str], demand: float, what: str) -> dict[str, Any]:
    import altair as alt
    import polars as pl

    count = range(len(names))
    color = alt.Scale(domain=names, range=[theme.color(i) for i in count])
    dash = alt.Scale(domain=names, range=[theme.DASHES[i % len(theme.DASHES)] for i in count])
    legend = alt.Legend(columns=2, labelLimit=320)
    lines = (
        alt.Chart(pl.DataFrame(points))
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            x=alt.X("rate:Q", title="requests/s", axis=alt.Axis(grid=False, tickCount=6), scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=what, axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=True)),
            color=alt.Color("configuration:N", scale=color, sort=names, legend=legend),
            strokeDash=alt.StrokeDash("configuration:N", scale=dash, sort=names, legend=legend),
            tooltip=[
                "configuration:N",
                alt.Tooltip("rate:Q", title="from requests/s", format=",.3~r"),
                "replicas:Q",
                alt.Tooltip("value:Q", title=what, format=",.2f"),
            ],
        )
    )
    today = alt.Chart(pl.DataFrame({"rate": [demand], "said": [f"demand {number(demand)}/s"]}))
    rule = today.mark_rule(strokeDash=[2, 3]).encode(x="rate:Q")
    label = today.mark_text(align="left", baseline="bottom", dx=4, fontSize=11).encode(x="rate:Q", y=alt.value(0), text="said:N")
    chart = alt.layer(lines, rule, label).properties(width="container", height=280)
    drawn: dict[str, Any] = chart.to_dict()
    return drawn


def _growth(sizing: Sizing) -> list[PageTable]:
    """Replicas at multiples of the demand: by the prediction itself, and with its error."""
    demand = sizing.scenario.workload.mean_rate()
    known = [(c, each) for c in sizing.fitting if (each := carried_by_each(sizing, c, sizing.answer_of(c)))]
    if demand is None or not known:
        return []
    times = sorted({*_TIMES, sizing.ask.growth})
    rows = [
        [f"x{t:g}: {words.rate(demand * t)}", *(_counted(c, replicas_at(sizing, c, each, demand * t)) for c, each in known)]
        for t in times
    ]
    simulated = "x1 is simulated" if sizing.ask.growth == 1 else f"x1 and x{sizing.ask.growth:g} are simulated"
    note = f"{simulated}; the others are read off what a replica carries, and are at most so many."
    header = ("Traffic", *(c.deployment.name for c, _ in known))
    return [PageTable("Replicas that more traffic needs", header, rows, note), *_surely(sizing, _known(sizing), times)]


def _surely(sizing: Sizing, known: Sequence[tuple[Candidate, DeploymentResult]], times: Sequence[float]) -> list[PageTable]:
    demand = sizing.scenario.workload.mean_rate()
    if demand is None or not any(surely_by_each(answer) for _, answer in known):
        return []
    rows = [
        [f"x{t:g}: {words.rate(demand * t)}", *(_counted(c, surely_needed(sizing, c, answer, demand * t)) for c, answer in known)]
        for t in times
    ]
    note = "With the error of the prediction: so many that the demand is carried in nine cases of ten. A dash: no number is sure."
    return [PageTable("The same, 90% sure", ("Traffic", *(c.deployment.name for c, _ in known)), rows, note)]


def _counted(candidate: Candidate, replicas: int | None) -> str:
    return words.NONE if replicas is None else f"{plural(replicas, 'replica')}{_dollars(candidate, replicas)}"


def _method(sizing: Sizing) -> list[str]:
    lines = [
        "A configuration will do where its replicas, simulated with their router, keep up with the demand"
        + (" and meet every term of the SLO." if sizing.scenario.promises else ".")
        + " How many it takes is the number that was seen to do while one less was seen not to.",
        "Configurations are tried from the one that could be cheapest at best; once two will do, what would cost more even at "
        "its theoretical ceiling is not simulated.",
        "A month has 730 hours. Prices are list prices of the date beside them.",
    ]
    if sizing.scenario.promises:
        lines.insert(1, f"SLO: {'; '.join(sizing.scenario.promises)}.")
    if sizing.ask.spare:
        lines.append(
            f"{plural(sizing.ask.spare, 'replica')} may be lost: the rest carries the demand, and is what is called sure."
        )
    return lines
