"""The catalog reads the same as YAML 1.1 and as YAML 1.2."""

import pytest
from ruamel.yaml import YAML

from simulator.catalog import stanzas

KINDS = (
    "architectures",
    "engines",
    "error_bands",
    "gpus",
    "kernels",
    "memory_overheads",
    "models",
    "overheads",
    "prices",
    "quantizations",
    "serve_arguments",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_the_catalog_is_read_as_ruamel_reads_it(kind: str) -> None:
    names = stanzas.stanzas(kind)
    assert names
    for name, text in names.items():
        assert repr(stanzas.load_entry(kind, name)) == repr(YAML(typ="safe", pure=True).load(text)), name
