"""Sizing: of many configurations, the cheapest that carries the demand within the SLO, and why each
other one lost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from simulator.errors import NotModelled, SimulatorError
from simulator.planning.agreement import carries
from simulator.planning.capacity.curve import capacity
from simulator.planning.capacity.replicas import Fitting, fewest_conceivable, fit_replicas
from simulator.planning.capacity.search import NoQueueingPoint
from simulator.planning.costs import price_of
from simulator.planning.deployment import examine
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import Machine, Processes, each
from simulator.planning.run import named
from simulator.planning.serve_command import wording
from simulator.planning.sure import settled
from simulator.results.model import DeploymentResult, Estimate
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart
from simulator.units import HOURS_PER_MONTH
from simulator.workload.sample import sample

_WAVE, _PAIR = 8, 2
MOST_ANSWERED = 6


@dataclass(frozen=True, slots=True)
class Ask:
    """What a sizing allows for: `spare` replicas that may be lost, traffic `growth` times today's,
    at most `max_replicas`."""

    spare: int = 0
    growth: float = 1.0
    max_replicas: int = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration with the replicas it needs, spare ones included; `replicas` None where no
    number of them will do.

    `grown` is the same for the grown traffic. Dollars are infinite without a price. `why`: why it
    lost, or what one replica less would do; `excess`: times over the limit that its worst term of
    the SLO is at best. `capacity`: the rate it carries within the SLO, requests/s, and `headroom`
    over the demand, as a share; `recovers_below`: the rate below which it works a backlog off,
    where it keeps up with more. Known of the first two. `unanswered`: which requests still get no
    answer, in words.
    """

    deployment: Deployment
    wording: str
    replicas: int | None
    grown: int | None
    usd_per_hour: float
    grown_usd_per_hour: float
    price: str
    why: str
    excess: float = 0.0
    capacity: Estimate | None = None
    headroom: float | None = None
    unanswered: str = ""
    recovers_below: float | None = None

    @property
    def usd_per_month(self) -> float:
        """Dollars a month of 730 hours."""
        return self.usd_per_hour * HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class Sizing:
    """The candidates: those that should do from the cheapest up, then the others.

    `answers`: runs of the first of them, which say how sure it is that they do; `sure.chosen`
    picks by them.
    """

    scenario: Scenario
    ask: Ask
    candidates: tuple[Candidate, ...]
    answers: tuple[DeploymentResult, ...] = ()

    def answer_of(self, candidate: Candidate) -> DeploymentResult | None:
        """What a run of a candidate says, None where it was not run."""
        ran = zip(self.fitting, self.answers, strict=False)
        return next((answer for other, answer in ran if other is candidate), None)

    @property
    def fitting(self) -> tuple[Candidate, ...]:
        """Those that will do, cheapest first."""
        return tuple(c for c in self.candidates if c.replicas is not None)

    @property
    def best(self) -> Candidate | None:
        """The cheapest that should do by the prediction itself; `sure.chosen` is what to take."""
        return self.fitting[0] if self.fitting else None

    @property
    def nearest(self) -> Candidate | None:
        """Where none will do: the one that starts and misses the SLO by least."""
        starts = [c for c in self.candidates if math.isfinite(c.excess)]
        return min(starts, key=lambda c: c.excess) if starts and not self.fitting else None

    @property
    def best_grown(self) -> Candidate | None:
        """The cheapest for the grown traffic, which need not be today's."""
        able = [c for c in self.candidates if c.grown is not None]
        return min(able, key=lambda c: c.grown_usd_per_hour) if able else None


def size(
    scenario: Scenario,
    *,
    deployments: Sequence[Deployment] | None = None,
    ask: Ask | None = None,
    seed: int | None = None,
    machine: Machine | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sizing:
    """Find the replicas that each deployment needs (the scenario's, or others such as `space`
    gives), and rank them by cost.

    They are tried from the one that could at best be cheapest upwards. Once two are known to do,
    those that would cost more even at their theoretical ceiling are not simulated. `progress` is
    told how many are settled, of how many.
    """
    ask = ask or Ask()
    scenario = dataclasses.replace(scenario, seed=scenario.seed if seed is None else seed)
    for d in deployments or scenario.deployments:
        if d.apart:
            raise NotModelled(
                f"{d.name or 'a deployment'}: how many prefill and decode instances it takes is "
                "not searched; `sim run` answers for numbers that are written"
            )
        if d.pool.changes:
            raise NotModelled(
                f"{d.name or 'a deployment'}: a size is of replicas that serve from start to end; "
                "size_over_time is for those that come and go"
            )
    every = named([d.with_pool(replicas=1) for d in deployments or scenario.deployments])
    bounds, done = _bounds(scenario, every, ask)
    for candidate in _tried(scenario, every, ask, bounds, done, machine):
        done.append(candidate)
        if progress:
            progress(len(done), len(every))
    machine = machine or Processes(at_most=_PAIR)
    return _with_room(_until_sure(Sizing(scenario, ask, _ranked(done)), machine), machine)


def _tried(
    scenario: Scenario,
    every: Sequence[Deployment],
    ask: Ask,
    bounds: Mapping[int, float],
    done: Sequence[Candidate],
    machine: Machine | None,
) -> Iterator[Candidate]:
    """The candidates in waves, from what could be cheapest on; what could not beat the second of
    those that are `done` is too dear untried."""
    settled, order = list(done), sorted(bounds, key=lambda i: bounds[i])
    while order:
        to_beat = _second_price(settled)
        wave = [i for i in order[:_WAVE] if bounds[i] <= to_beat]
        if not wave:
            yield from (_too_dear(scenario, every[i], bounds[i]) for i in order)
            return
        for candidate in _fitted(scenario, [every[i] for i in wave], ask, machine):
            settled.append(candidate)
            yield candidate
        order = order[len(wave) :]


def _fitted(
    scenario: Scenario, wave: Sequence[Deployment], ask: Ask, machine: Machine | None
) -> Iterator[Candidate]:
    """Each deployment with the replicas that it needs, in the order in which they are done."""
    tasks = [(scenario, deployment, ask) for deployment in wave]
    for index, outcome in each(_fit, tasks, machine or Processes(at_most=len(wave))):
        refused = isinstance(outcome.error, SimulatorError)
        fitting = _will_not_do(str(outcome.error)) if refused else outcome.value()
        yield _candidate(scenario, wave[index], ask, fitting)


def _will_not_do(why: str) -> Fitting:
    return Fitting(None, None, why, math.inf)


def answered(sizing: Sizing, machine: Machine | None = None, most: int = MOST_ANSWERED) -> Sizing:
    """The sizing with runs of its cheapest candidates, at most so many, that say how sure each is.

    Without their spare replicas, for those may be lost.
    """
    left = sizing.fitting[len(sizing.answers) : most]
    tasks = [
        (sizing.scenario, c.deployment.with_pool(replicas=(c.replicas or 1) - sizing.ask.spare))
        for c in left
    ]
    machine = machine or Processes(at_most=len(left) or 1)
    found = {index: outcome.value() for index, outcome in each(_answer, tasks, machine)}
    answers = tuple(found[index] for index in range(len(left)))
    return dataclasses.replace(sizing, answers=(*sizing.answers, *answers))


def _until_sure(sizing: Sizing, machine: Machine) -> Sizing:
    """The sizing with runs of two of its candidates, and of more as long as one of them could be
    the cheapest that is sure."""
    while len(sizing.answers) < min(len(sizing.fitting), MOST_ANSWERED):
        done = len(sizing.answers)
        if done and settled(sizing, sizing.fitting[done]):
            break
        sizing = answered(sizing, machine, done + _PAIR)
    return sizing


def _answer(task: tuple[Scenario, Deployment]) -> DeploymentResult:
    scenario, deployment = task
    return dataclasses.replace(
        examine(scenario, deployment, sample(scenario.workload, scenario.seed)), trace=None
    )


def _bounds(
    scenario: Scenario, every: Sequence[Deployment], ask: Ask
) -> tuple[dict[int, float], list[Candidate]]:
    """What each costs at the least, dollars an hour, by index; what is not modelled or refused is
    settled at once."""
    bounds, settled = {}, []
    for index, deployment in enumerate(every):
        try:
            bounds[index] = _least_usd(scenario, deployment, ask)
        except SimulatorError as problem:
            refused = _will_not_do(str(problem))
            settled.append(_candidate(scenario, deployment, ask, refused))
    return bounds, settled


def _least_usd(scenario: Scenario, deployment: Deployment, ask: Ask) -> float:
    replicas = fewest_conceivable(scenario, deployment)
    return 0.0 if replicas is None else _usd(scenario, deployment, replicas + ask.spare)


def _fit(task: tuple[Scenario, Deployment, Ask]) -> Fitting:
    scenario, deployment, ask = task
    return fit_replicas(scenario, deployment, growth=ask.growth, most=ask.max_replicas)


def _usd(scenario: Scenario, deployment: Deployment, replicas: int | None) -> float:
    found = price_of(deployment.pool, scenario.prices)
    return (
        math.inf
        if found is None or replicas is None
        else found[0] * deployment.pool.gpus_per_replica * replicas
    )


def _candidate(scenario: Scenario, deployment: Deployment, ask: Ask, fitting: Fitting) -> Candidate:
    replicas = None if fitting.replicas is None else fitting.replicas + ask.spare
    grown = None if fitting.grown is None else fitting.grown + ask.spare
    bought = deployment.with_pool(replicas=replicas or 1)
    return Candidate(
        deployment=bought,
        wording=wording(bought) if replicas else "",
        replicas=replicas,
        grown=grown,
        usd_per_hour=_usd(scenario, deployment, replicas),
        grown_usd_per_hour=_usd(scenario, deployment, grown),
        price=_price(scenario, deployment),
        why=fitting.why,
        excess=fitting.excess,
        unanswered=fitting.unanswered,
    )


def _price(scenario: Scenario, deployment: Deployment) -> str:
    """Dollars of a GPU-hour and where they are from, in words; empty where no price is known."""
    found = price_of(deployment.pool, scenario.prices)
    if found is None:
        return ""
    usd, source, date = found
    return f"${usd:.2f} per GPU-hour, {source}{f' ({date})' if date else ''}"


def _too_dear(scenario: Scenario, deployment: Deployment, least: float) -> Candidate:
    why = (
        "no price is known; give usd_per_gpu_hour"
        if math.isinf(least)
        else f"costs at least ${least:.2f} an hour, at its ceiling"
    )
    return _candidate(scenario, deployment, Ask(), Fitting(None, None, why, math.inf))


def _second_price(done: Sequence[Candidate]) -> float:
    prices = sorted(c.usd_per_hour for c in done if c.replicas is not None)
    return prices[1] if len(prices) > 1 else math.inf


def _ranked(done: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """By dollars, then GPUs, then name, for they are done in any order; each but the first told
    what it costs more. Then those that will not do, by name."""
    able = sorted(
        (c for c in done if c.replicas is not None),
        key=lambda c: (c.usd_per_hour, c.deployment.gpus, c.deployment.name),
    )
    others = sorted((c for c in done if c.replicas is None), key=lambda c: c.deployment.name)
    lost = [dataclasses.replace(c, why=_dearer(c, able[0])) for c in able[1:]]
    return (*able[:1], *lost, *others)


def _with_room(sizing: Sizing, machine: Machine) -> Sizing:
    """The same, its first two candidates with their capacity and headroom."""
    rate, first = sizing.scenario.workload.mean_rate(), sizing.fitting[:_PAIR]
    found = list(sizing.candidates)
    for place, carried in enumerate(_carried(sizing, first, machine)):
        found[place] = _with_headroom(found[place], rate, *carried)
    return dataclasses.replace(sizing, candidates=tuple(found))


def _carried(
    sizing: Sizing, candidates: Sequence[Candidate], machine: Machine
) -> list[tuple[Estimate | None, float | None]]:
    """What each carries, as `_capacity` gives it: by the run that answers it, or by a search of its
    own where that run was without the spare replicas."""
    if sizing.ask.spare:
        tasks = [(sizing.scenario, c.deployment) for c in candidates]
        found = {place: outcome.value() for place, outcome in each(_capacity, tasks, machine)}
        return [found[place] for place in range(len(tasks))]
    within = bool(sizing.scenario.promises)
    return [
        (a.slo_capacity if within else a.queueing_point, a.recovers_below_per_s)
        for a in sizing.answers[: len(candidates)]
    ]


def _with_headroom(
    candidate: Candidate,
    rate_per_s: float | None,
    carried: Estimate | None,
    recovers: float | None,
) -> Candidate:
    room = None
    if carried and rate_per_s:
        carried = carries(carried, rate_per_s)
        room = carried.value / rate_per_s - 1
    return dataclasses.replace(candidate, capacity=carried, headroom=room, recovers_below=recovers)


def _capacity(task: tuple[Scenario, Deployment]) -> tuple[Estimate | None, float | None]:
    """The rate that a deployment carries within the SLO; without an SLO, the one it sustains. None
    where no rate overloads it. And the rate below which it works a backlog off, where that is lower
    than what it sustains."""
    scenario, deployment = task
    fleet = plan_fleet(scenario, deployment)
    if isinstance(fleet, DoesNotStart):
        return None, None
    try:
        found = capacity(scenario, fleet, sample(scenario.workload, scenario.seed))
    except NoQueueingPoint:
        return None, None
    return (found.slo if scenario.promises else found.queueing), found.recovers_below


def _dearer(candidate: Candidate, best: Candidate) -> str:
    if math.isinf(candidate.usd_per_hour):
        return "will do, but no price is known; give usd_per_gpu_hour"
    more, of = candidate.usd_per_hour - best.usd_per_hour, best.usd_per_hour
    if more == 0:
        as_many = candidate.deployment.gpus == best.deployment.gpus
        return "costs the same" if as_many else "costs the same and takes more GPUs"
    return f"costs ${more:.2f} an hour more ({more / of:.0%})" if of else f"costs ${more:.2f} more"
