"""Bands: where a real deployment's figures lie beside the predicted ones, by its class or by its
own calibration."""

from __future__ import annotations

from math import exp, hypot

import numpy as np

from simulator.latency import calibration
from simulator.latency.calibration import Factors
from simulator.latency.error_bands import ErrorBand, LoadRegime, bands, setting
from simulator.latency.models import Roofline
from simulator.scenario import Scenario
from simulator.server import Server
from simulator.text import plural

# Relative error that stays in a calibrated point: what `sim calibrate` weighs its points with.
_STAYS, _PREFILL_STAYS = 0.05, 0.10
_OF_DECODE = ("tpot", "tpot_tail", "e2e", "e2e_tail", "output_tokens_per_s")
_UPPER = 1.2816  # standard deviations of a normal to the upper end of a band


def bands_of(
    scenario: Scenario, server: Server, load: LoadRegime, sequences: float = 1.0
) -> dict[str, ErrorBand]:
    """The bands of a server under a load, by metric as `error_bands.bands` names them.

    A calibrated server has those of its factors at this number of running `sequences`, and its
    class's for what was not calibrated. Step times that were measured, or taken from another model,
    have none.
    """
    if not isinstance(scenario.latency, Roofline):
        return {}
    factors = _factors(scenario, server)
    calibrated = {} if factors is None else _calibrated(factors, sequences)
    return _of_class(server, load) | calibrated


def _of_class(server: Server, load: LoadRegime) -> dict[str, ErrorBand]:
    """The bands of the class of setups that the server is one of."""
    t = server.target
    known = setting(t.model, t.quantization, t.gpu, t.engine, t.args, t.link_bytes_per_s)
    return bands(known, load, t.args, t.gpu)


def _factors(scenario: Scenario, server: Server) -> Factors | None:
    """The factors that the server was calibrated with, if it was."""
    if scenario.calibration is None:
        return None
    t = server.target
    known = calibration.load_calibration(scenario.calibration)
    return known.find(t.model, t.quantization, t.gpu, t.args, t.engine)


def _calibrated(factors: Factors, sequences: float) -> dict[str, ErrorBand]:
    """The bands of calibrated step times, and of calibrated prefills where there are such."""
    basis = f"calibrated with {plural(factors.rows, 'run')} on {factors.gpu}"
    decode = _around(hypot(_decode_percent(factors, sequences) / 100, _STAYS), basis)
    found = dict.fromkeys(_OF_DECODE, decode)
    if factors.prefill is not None:
        prefill = _around(hypot(factors.prefill_percent / 100, _PREFILL_STAYS), basis)
        found |= dict.fromkeys(("ttft", "ttft_tail"), prefill)
    return found


def _decode_percent(factors: Factors, sequences: float) -> float:
    """The error of a calibrated decode step, percent, between the batches that were measured."""
    points = sorted(factors.decode, key=lambda point: point.sequences)
    at = np.log([point.sequences for point in points])
    percents = [point.percent for point in points]
    return float(np.interp(np.log(max(sequences, 1.0)), at, percents))


def _around(error: float, basis: str) -> ErrorBand:
    """The band of a relative standard error."""
    return ErrorBand(exp(-_UPPER * error), 1.0, exp(_UPPER * error), basis)
