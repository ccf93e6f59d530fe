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
    t = server.target
    found = bands(
        setting(t.model, t.quantization, t.gpu, t.engine, t.args, t.link_bytes_per_s),
        load,
        t.args,
        t.gpu,
    )
    if scenario.calibration is None:
        return found
    known = calibration.load_calibration(scenario.calibration)
    factors = known.find(t.model, t.quantization, t.gpu, t.args, t.engine)
    return found if factors is None else {**found, **_calibrated(factors, sequences)}


def _calibrated(factors: Factors, sequences: float) -> dict[str, ErrorBand]:
    basis = f"calibrated with {plural(factors.rows, 'run')} on {factors.gpu}"
    points = sorted(factors.decode, key=lambda point: point.sequences)
    at = np.log([point.sequences for point in points])
    percent = float(np.interp(np.log(max(sequences, 1.0)), at, [point.percent for point in points]))
    step = _around(hypot(percent / 100, _STAYS), basis)
    found = dict.fromkeys(("tpot", "tpot_tail", "e2e", "e2e_tail", "output_tokens_per_s"), step)
    if factors.prefill is not None:
        found |= dict.fromkeys(
            ("ttft", "ttft_tail"),
            _around(hypot(factors.prefill_percent / 100, _PREFILL_STAYS), basis),
        )
    return found


def _around(error: float, basis: str) -> ErrorBand:
    """The band of a relative standard error."""
    return ErrorBand(exp(-_UPPER * error), 1.0, exp(_UPPER * error), basis)
