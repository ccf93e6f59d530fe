"""Facts, each with its source and date, found by the names people write. Nothing is computed here."""

from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.catalog.prices import price
from simulator.catalog.quantizations import quantization

__all__ = ["engine", "gpu", "model", "price", "quantization"]
