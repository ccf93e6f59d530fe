"""Calibrate: the few factors on step times that measured points identify, how sure they are, and the error on points left out."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.engine.load import Load
from simulator.errors import MeasurementError
from simulator.latency.calibration import Calibration, DecodeFactor, Factors, Key, key_of
from simulator.latency.step import StepWork
from simulator.spec import first_mistake
from simulator.validation.measurements import Skipped
from simulator.validation.protocols import Bench, MeasuredServer, finished
from simulator.workload.requests import Requests

# What the factors of a decode step are weighed with, as standard deviations of logarithms. POINT_ERROR: what one point says of
# others of its server. DISTURBED: of a point at which something else ran, and the chance of that for each. Before anything is
# measured: of the mean of two ends and of half their difference, for servers that are like what was fitted and for those that
# are not, with the share of each. All from 22 servers of closed loops, calibrated by two of their points each.
POINT_ERROR = 0.04
DISTURBED, DISTURBED_CHANCE = 0.20, 0.10
SERVERS = ((0.8, 0.05, 0.035), (0.2, 0.20, 0.05))
PREFILL_POINT_ERROR, PREFILL_CLASS_ERROR = 0.10, 0.15
# By so many milliseconds what clients add to a TTFT differs from what we take it to be.
CLIENT_MS = 25.0
# Two concurrencies identify a slope when the larger is at least this many times the smaller.
_SPREAD = 2.0
# The share of a measured TTFT that computing the prompt must account for, so that it can tell how fast prefill is.
_PREFILL_SHARE = 0.5
_PASSES = 3


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """One measured run: its server and load, and its mean TPOT and TTFT in milliseconds, where measured."""

    source: str
    row: int
    server: MeasuredServer
    requests: Requests
    load: Load
    concurrency: float
    tpot_ms: float | None
    ttft_ms: float | None

    @property
    def key(self) -> Key:
        """What shares its factors."""
        s = self.server
        return key_of(s.model, s.quantization, s.gpu, s.args, s.engine)


@dataclass(slots=True)
class Report:
    """A calibration, the errors of TPOT in percent before, after and left out by configuration, and what could not be fitted."""

    calibration: Calibration
    before: dict[Key, float] = field(default_factory=dict)
    after: dict[Key, float] = field(default_factory=dict)
    left_out: dict[Key, float] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def calibrate(points: Sequence[MeasuredPoint], skipped: Iterable[Skipped] = (), today: datetime.date | None = None) -> Report:
    """The calibration of measured points.

    Raises MeasurementError when no point identifies anything.
    """
    groups: dict[Key, list[MeasuredPoint]] = defaultdict(list)
    for point in points:
        groups[point.key].append(point)
    sources = ", ".join(dict.fromkeys(point.source for point in points))
    date = (today or datetime.date.today()).isoformat()
    report = Report(Calibration(source=sources, fitted=date, factors=()), skipped=list(skipped))
    fitted = [found for key, group in groups.items() if (found := _group(key, group, report)) is not None]
    if not fitted:
        reasons = "; ".join((*report.refused, *(skip.reason for skip in report.skipped))[:3]) or "there are no rows"
        raise MeasurementError(f"nothing to calibrate with: {reasons}")
    report.calibration = Calibration(source=sources, fitted=date, factors=tuple(fitted))
    return report


def _group(key: Key, points: list[MeasuredPoint], report: Report) -> Factors | None:
    timed = [point for point in points if point.tpot_ms]
    if not timed:
        report.refused.append(f"{_name(key)}: no row has a TPOT, and a TTFT alone does not tell decode from prefill")
        return None
    usable = [point for point in timed if not _waited_elsewhere(point, report)]
    if not usable:
        return None
    report.before[key] = _mean_error(_ratios(usable, None))
    try:
        factors = _fit(key, usable, report)
    except ValidationError as problem:
        report.refused.append(f"{_name(key)}: {first_mistake(problem)}; are the times in ms?")
        return None
    report.after[key] = _mean_error(_ratios(usable, factors))
    if len(usable) > 1:
        outside = [_ratios([point], _fit(key, [p for p in usable if p is not point], None)) for point in usable]
        report.left_out[key] = _mean_error(np.concatenate(outside))
    return factors


def _waited_elsewhere(point: MeasuredPoint, report: Report) -> bool:
    """Whether requests are predicted to wait longer than the measured TTFT: then another limit held than we know."""
    if not point.ttft_ms:
        return False
    r = Bench().run(point.server, point.requests, point.load).requests
    waited_ms = 1e3 * float(np.nanmean(r["scheduled_s"] - r["arrival_s"]))
    if waited_ms <= point.ttft_ms:
        return False
    reason = (
        f"requests are predicted to wait {waited_ms:.0f} ms for a place, but their first token came after "
        f"{point.ttft_ms:.0f} ms: the server had other limits; state them (--max-num-seqs, --max-model-len, --arg)"
    )
    report.skipped.append(Skipped(point.source, point.row, reason))
    return True


def _fit(key: Key, points: list[MeasuredPoint], report: Report | None) -> Factors:
    """Factors of one configuration: decode from TPOT, then prefill from TTFT, a few times over, as each moves the other."""
    factors = _start(key, points)
    for _ in range(_PASSES):
        factors = _decode(factors, points, _ratios(points, factors))
        factors = _prefill(factors, points)
    if report is not None and factors.prefill is None:
        report.refused.append(f"{_name(key)}: prefill is not told by these rows and stays as predicted")
    return factors


def _start(key: Key, points: list[MeasuredPoint]) -> Factors:
    decode = tuple(DecodeFactor(sequences=n, factor=1.0, percent=0.0) for n in _anchors(points))
    model, gpu, form, tensor, experts, engine = key
    return Factors(
        model=model,
        gpu=gpu,
        quantization=form,
        tensor_parallel_size=tensor,
        enable_expert_parallel=experts,
        engine=engine,
        decode=decode,
        rows=len(points),
    )


def _anchors(points: list[MeasuredPoint]) -> list[int]:
    """The concurrencies between which a factor is fitted: the ends of the measured range, or its middle where it is narrow."""
    users = sorted(max(1, round(point.concurrency)) for point in points)
    if users[-1] >= _SPREAD * users[0]:
        return [users[0], users[-1]]
    return [max(1, round(float(np.exp(np.mean(np.log(users))))))]


def _decode(factors: Factors, points: list[MeasuredPoint], ratios: NDArray[np.float64]) -> Factors:
    """One step: the log ratios of measured to predicted TPOT, spread over the anchors with what is known beforehand."""
    anchors = [point.sequences for point in factors.decode]
    users = np.log([max(1.0, point.concurrency) for point in points])
    upper = np.interp(users, np.log(anchors), [0.0, 1.0]) if len(anchors) == 2 else np.zeros(len(points))
    design = np.stack([1 - upper, upper], axis=1)[:, : len(anchors)]
    now = np.log([point.factor for point in factors.decode])
    found, error = shrunk(design, np.log(ratios) + design @ now)
    decode = tuple(
        DecodeFactor(sequences=n, factor=round(float(np.exp(f)), 4), percent=round(100 * float(e), 1))
        for n, f, e in zip(anchors, found, error, strict=True)
    )
    return replace(factors, decode=decode)


def shrunk(design: NDArray[np.float64], late: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of the factors at the anchors, and their standard errors, by empirical Bayes.

    `late`: logarithm of measured over predicted TPOT of each point, shape (points,); `design`, shape (points, anchors), is how
    much each anchor counts there. What is measured is drawn towards the prediction by what points like these say of others: a
    little where both ends agree that the server is unlike what was fitted, much where they lie within the usual error. At most
    one point is taken for disturbed, so that a single odd run moves the others little.
    """
    points, anchors = design.shape
    noises = [np.full(points, POINT_ERROR)]
    noises += [np.where(np.arange(points) == odd, DISTURBED, POINT_ERROR) for odd in range(points)]
    chances = [max(1 - points * DISTURBED_CHANCE, DISTURBED_CHANCE), *[DISTURBED_CHANCE] * points]
    weights, means, covariances = [], [], []
    for share, level, tilt in SERVERS:
        prior = np.full((anchors, anchors), level**2 - tilt**2) + 2 * tilt**2 * np.eye(anchors)
        for chance, noise in zip(chances, noises, strict=True):
            seen = design @ prior @ design.T + np.diag(noise**2)
            gain = np.linalg.solve(seen, design @ prior).T
            odds = -0.5 * (late @ np.linalg.solve(seen, late) + np.linalg.slogdet(seen)[1])
            weights.append(np.log(share * chance) + odds)
            means.append(gain @ late)
            covariances.append(np.diag(prior - gain @ design @ prior))
    weight = np.exp(np.array(weights) - max(weights))
    weight /= weight.sum()
    mean = weight @ np.array(means)
    spread = weight @ (np.array(covariances) + (np.array(means) - mean) ** 2)
    return mean, np.sqrt(spread)


def _prefill(factors: Factors, points: list[MeasuredPoint]) -> Factors:
    """The prefill factor, from the TTFT of points that are mostly the computation of their own prompt; None without such.

    A TTFT that is mostly the client's, or waiting for others, tells of them instead.
    """
    bench = Bench(calibration=_alone(factors))
    own = [(point, point.ttft_ms) for point in points if point.ttft_ms]
    telling = [_late(point, bench) for point, ttft_ms in own if _own_prompt_ms(point, bench) > _PREFILL_SHARE * ttft_ms]
    if not telling:
        return replace(factors, prefill=None)
    late, errors = np.array(telling).T
    precision = float(np.sum(errors**-2.0)) + 1 / PREFILL_CLASS_ERROR**2
    now = np.log(factors.prefill or 1.0)
    found = float(np.sum((now + late) * errors**-2.0)) / precision
    return replace(factors, prefill=round(float(np.exp(found)), 4), prefill_percent=round(100 / float(np.sqrt(precision)), 1))


def _late(point: MeasuredPoint, bench: Bench) -> tuple[float, float]:
    """Logarithm of measured over predicted time to the first token in the engine, and its error: clients differ by CLIENT_MS."""
    at_engine, at_client = (
        finished(bench.run(server, point.requests, point.load)) for server in (replace(point.server, client=None), point.server)
    )
    engine_ms, client_ms = (1e3 * float(np.nanmean(seen["ttft_s"])) for seen in (at_engine, at_client))
    late = float(np.log(max((point.ttft_ms or 0.0) - (client_ms - engine_ms), 0.1 * engine_ms) / engine_ms))
    return late, float(np.hypot(PREFILL_POINT_ERROR, CLIENT_MS / engine_ms))


def _own_prompt_ms(point: MeasuredPoint, bench: Bench) -> float:
    """Milliseconds that the engine needs for a mean prompt by itself."""
    engine = bench.bind(point.server)
    prompt = round(float(point.requests.prompt_tokens.mean()))
    most = engine.limits.max_num_batched_tokens
    chunks = [(start, min(most, prompt - start), start + most >= prompt) for start in range(0, prompt, most)]
    return 1e3 * sum(engine.step_time.seconds(StepWork(chunks=(chunk,))) for chunk in chunks)


def _ratios(points: Sequence[MeasuredPoint], factors: Factors | None) -> NDArray[np.float64]:
    """Measured over predicted TPOT of each point."""
    bench = Bench(calibration=_alone(factors) if factors else None)
    ratios = []
    for point in points:
        trace = bench.run(point.server, point.requests, point.load)
        ratios.append((point.tpot_ms or 0.0) / (1e3 * float(np.nanmean(finished(trace)["tpot_s"]))))
    return np.array(ratios)


def _alone(factors: Factors) -> Calibration:
    return Calibration(source="", fitted="", factors=(factors,))


def _mean_error(ratios: NDArray[np.float64]) -> float:
    """Mean absolute error of predictions in percent, from measured over predicted."""
    return 100 * float(np.abs(1 / ratios - 1).mean())


def _name(key: Key) -> str:
    model, gpu, form, tensor, experts, engine = key
    beside = ", expert parallel" if experts else ""
    return f"{model} {form} on {gpu}, tensor_parallel_size {tensor}{beside}, {engine}"
