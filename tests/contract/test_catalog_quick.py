"""What is read quickly is what ruamel.yaml reads."""

import pytest

from simulator.catalog import stanzas
from simulator.catalog.quick import quick

KINDS = ("engines", "errors", "gpus", "kernels", "models", "overheads", "prices", "quantizations")


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_the_catalog_is_read_as_ruamel_reads_it(kind):
    for name, text in stanzas.stanzas(kind).items():
        if (found := quick(text)) is not None:
            assert repr(found) == repr(stanzas.slow(text)), name


def test_nine_entries_in_ten_are_read_quickly():
    texts = [text for kind in KINDS for text in stanzas.stanzas(kind).values()]
    assert sum(quick(text) is not None for text in texts) > 0.9 * len(texts)


WRITTEN = [
    "a: 1",
    "a: -1.50",
    "a: [1, two words, 3.5, true, null]",
    "a: {b: [x, y], c: {d: 0.1}}",
    "a:\n  b: 2\n  16: {c: 3}\nd: e",
    'a: "a text: with # and \\"quotes\\""',
    "a:\n  - x y\n  - {b: 1}\nb: 0.19.0",
    "# first\na: https://example.org/x, and more\n\n  # between\nb: 2026-11-24",
    "a: []\nb: {}",
]
BEYOND = [
    "a: 1 # why",
    "a: {b: c} # why",
    "a: 'quoted'",
    "a: 1e5",
    "a: 0x1f",
    "a: .5",
    "a: True",
    "a: ~",
    "a:",
    "a: >-\n  folded\n  text",
    "a: plain\n  and further",
    "a: &x 1\nb: *x",
    "a: {b: 2026-11-24}",
    "a: {1: 2}",
    "a: {b, c}",
    "a: {x:y}",
    "a: [1, 2,]",
    "- a\n- b",
    '"a": 1',
    "",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_it_reads_what_the_catalog_is_written_in(text):
    assert repr(quick(text)) == repr(stanzas.slow(text))


@pytest.mark.parametrize("text", BEYOND)
def test_it_leaves_alone_what_goes_beyond(text):
    assert quick(text) is None


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {b: 1, b: 2}", "a: b: c", "a: {b: 1", "a:\n    b: 1\n  c: 2"])
def test_it_has_nothing_to_say_of_what_is_not_yaml(text):
    assert quick(text) is None
