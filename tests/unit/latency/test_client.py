"""What a client adds to the time to the first token."""

import pytest

from simulator.catalog.engines import engine
from simulator.latency.client import FrontEnd


def test_a_client_waits_for_http_tokens_the_others_and_the_next_step() -> None:
    added = FrontEnd(fixed_ms=10.0, prompt_token_us=4.0, concurrent_ms=0.5, decode_steps=1.0).seconds([1000, 0], 16, 0.02)
    assert added == pytest.approx([0.010 + 0.004 + 0.008 + 0.020, 0.010 + 0.008 + 0.020])


def test_by_default_only_the_prompt_makes_a_client_wait_longer() -> None:
    few, many = FrontEnd().seconds([512], 1, 0.01), FrontEnd().seconds([512], 200, 0.1)
    assert few == many == pytest.approx([0.0055 + 512 * 4.4e-6])


V1, V0 = engine("vllm-0.9.0"), engine("vllm-0.6.3")


def test_the_part_that_queues_is_taken_from_what_a_single_request_sees() -> None:
    client = FrontEnd()
    server = client.api_server(V1)
    assert server is not None
    alone = server.request_s + 512 * server.prompt_token_s + server.chunk_s + client.beside(server).seconds([512], 1, 0.01)
    assert alone == pytest.approx(client.seconds([512], 1, 0.01))


def test_the_front_end_is_off_where_nobody_asked_for_it_or_measured_it() -> None:
    assert FrontEnd(queue=False).api_server(V1) is None
    assert FrontEnd().api_server(V0) is None
    assert FrontEnd().api_server(engine("sglang-0.5.6")) is None
    stated = FrontEnd(request_ms=3.0).api_server(V0)
    assert stated is not None
    assert (stated.request_s, stated.chunk_s) == (0.003, 0.0)


def test_chat_takes_longer_several_processes_share_and_longer_chunks_are_fewer() -> None:
    chat, plain = FrontEnd(endpoint="chat").api_server(V1), FrontEnd().api_server(V1)
    few = FrontEnd(stream_interval=10, api_server_count=4).api_server(V1, 2)
    assert chat is not None and plain is not None and few is not None
    assert chat.request_s > plain.request_s
    assert chat.chunk_s > plain.chunk_s
    assert few.chunk_s == pytest.approx(plain.chunk_s / 10)
    assert few.processes == 2.0
