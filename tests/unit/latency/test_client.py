"""What a client sees besides the engine, by hand."""

import pytest

from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.engines import engine
from simulator.latency.client import ApiServer, FrontEnd

V1, V0 = engine("vllm-0.9.0"), engine("vllm-0.6.3")
ONE = EngineArgs()


def test_a_client_waits_for_http_tokens_and_decode_steps() -> None:
    added = FrontEnd(fixed_ms=10.0, prompt_token_us=4.0, decode_steps=1.0).seconds([1000, 0], 0.02)
    assert added == pytest.approx([0.01 + 0.004 + 0.02, 0.01 + 0.02])


def test_by_default_only_the_prompt_makes_a_client_wait_longer() -> None:
    assert FrontEnd().seconds([512], 0.01) == pytest.approx([0.0055 + 512 * 4.4e-6])


def test_the_part_that_queues_is_taken_from_what_a_single_request_sees() -> None:
    client = FrontEnd()
    server = client.api_server(V1, ONE)
    assert server is not None
    alone = server.request_s + 512 * server.prompt_token_s + server.chunk_s + client.beside(server).seconds([512], 0.01)
    assert alone == pytest.approx(client.seconds([512], 0.01))
    assert client.beside(None) == client


def test_the_front_end_is_off_where_nobody_asked_for_it_or_measured_it() -> None:
    assert FrontEnd(queue=False).api_server(V1, ONE) is None
    assert FrontEnd().api_server(V0, ONE) is None
    assert FrontEnd().api_server(engine("tensorrt-llm-1.0.0"), ONE) is None
    stated = FrontEnd(request_ms=3.0).api_server(V0, ONE)
    assert stated is not None
    assert (stated.request_s, stated.chunk_s) == (0.003, 0.0)


def test_chat_takes_longer_and_longer_chunks_are_fewer() -> None:
    chat, plain = FrontEnd(endpoint="chat").api_server(V1, ONE), FrontEnd().api_server(V1, ONE)
    few = FrontEnd().api_server(V1, EngineArgs(stream_interval=10))
    assert chat is not None and plain is not None and few is not None
    assert chat.request_s > plain.request_s
    assert chat.chunk_s > plain.chunk_s
    assert few.chunk_s == pytest.approx(plain.chunk_s / 10)


@pytest.mark.parametrize(
    ("version", "args", "processes"),
    [
        ("0.14.0", EngineArgs(data_parallel_size=8), 1 / 8),
        ("0.15.0", EngineArgs(data_parallel_size=8), 1.0),
        ("0.15.0", EngineArgs(data_parallel_size=8, api_server_count=4), 1 / 2),
        ("0.15.0", EngineArgs(data_parallel_size=8, data_parallel_external_lb=True), 1.0),
        ("0.15.0", EngineArgs(api_server_count=4), 4.0),
    ],
)
def test_ranks_share_the_processes_of_their_server(version: str, args: EngineArgs, processes: float) -> None:
    """One process a server before vLLM 0.15, one a rank since, unless told."""
    server = FrontEnd().api_server(engine(f"vllm-{version}"), args)
    assert server is not None
    assert server.processes == processes


def test_the_work_of_a_request_is_that_of_its_prompt_and_its_chunks() -> None:
    server = ApiServer(request_s=0.002, prompt_token_s=1e-6, chunk_s=1e-4, processes=2.0)
    assert server.work_s([1000, 0], [10, 20]) == pytest.approx([0.002, 0.002])
