"""What an engine's sampler takes for a step's logits, by release."""

from __future__ import annotations

from simulator.catalog import stanzas
from simulator.catalog.engines import Engine
from simulator.catalog.releases import at_least
from simulator.errors import NotModelled
from simulator.spec import Count, NonNegative, spec


@spec
class Sampler:
    """Top-k and top-p of one release: microseconds a step, bytes of memory traffic a logit, and from how many sequences on."""

    kernel: str
    fixed_us: NonNegative
    logit_bytes: NonNegative
    least_sequences: Count = 1


def samplers(engine: Engine) -> tuple[Sampler, ...]:
    """The samplers of a release, the one for the fewest sequences first. Raises NotModelled for other engines.

    >>> from simulator.catalog.engines import engine
    >>> [each.kernel for each in samplers(engine("vllm-0.18.0"))]
    ['a sort of the whole vocabulary', 'Triton']
    """
    entries = [stanzas.load_entry("samplers", name) for name in stanzas.stanzas("samplers")]
    reached = [entry for entry in entries if entry["family"] == engine.family and at_least(engine.version, entry["version"])]
    if not reached:
        raise NotModelled(
            f"sampling: what {engine.family} takes for top-k and top-p is not modelled; leave it out", field="sampling"
        )
    named = ("kernel", "fixed_us", "logit_bytes", "least_sequences")
    found = [Sampler(**{name: entry[name] for name in named if name in entry}) for entry in reached[-2:]]
    return tuple(found) if found[-1].least_sequences > 1 else (found[-1],)
