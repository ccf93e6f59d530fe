"""Scenarios: what someone writes in YAML, validated, with the place of every mistake."""

from simulator.scenario.explaining import schema
from simulator.scenario.reading import load, scenario_of
from simulator.scenario.specs import Deployment, Owned, Pool, Prices, Scenario
from simulator.scenario.writing import dump, dumped

__all__ = ["Deployment", "Owned", "Pool", "Prices", "Scenario", "dump", "dumped", "load", "scenario_of", "schema"]
