"""What a client adds to the time to the first token."""

import pytest

from simulator.latency.client import FrontEnd


def test_a_client_waits_for_http_tokens_the_others_and_the_next_step() -> None:
    added = FrontEnd(fixed_ms=10.0, prompt_token_us=4.0, concurrent_ms=0.5, decode_steps=1.0).seconds([1000, 0], 16, 0.02)
    assert added == pytest.approx([0.010 + 0.004 + 0.008 + 0.020, 0.010 + 0.008 + 0.020])


def test_by_default_only_the_prompt_makes_a_client_wait_longer() -> None:
    few, many = FrontEnd().seconds([512], 1, 0.01), FrontEnd().seconds([512], 200, 0.1)
    assert few == many == pytest.approx([0.0055 + 512 * 4.4e-6])
