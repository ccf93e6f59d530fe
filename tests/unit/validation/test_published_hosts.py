"""The host's CPU beside an engine of V0: one figure, or the row's own."""

import pytest

from simulator.catalog.engine_args import EngineArgs
from simulator.errors import MeasurementError
from simulator.validation.protocols import Bench
from simulator.validation.readers.published import CLIENT_SEQUENCE_S, servers_of

ROW = {
    "model": "llama-3.1-8b",
    "quant_class": "bf16",
    "gpu_norm": "H20",
    "n_gpu": "1",
    "tp": "1",
    "isl": "",
    "osl": "344",
    "len_note": "sharegpt_standard_v1",
    "concurrency": "Poisson 5 qps",
    "engine_version": "0.7.3",
    "notes": "online; suite_A",
}


def host(**changed: str) -> float:
    (server,) = servers_of({**ROW, **changed})
    return server.client_sequence_s


def test_every_host_has_one_figure_unless_a_row_states_its_own() -> None:
    assert host() == host(gpu_norm="L4") == CLIENT_SEQUENCE_S
    assert host(client_sequence_us="240") == pytest.approx(240e-6)


def test_v1_and_the_offline_engine_have_no_client_beside_them() -> None:
    assert host(engine_version="0.20.1") == 0
    assert host(notes="offline; suite_A") == 0


def test_a_negative_figure_is_refused_by_its_column() -> None:
    with pytest.raises(MeasurementError, match="column client_sequence_us: -1 cannot be"):
        host(client_sequence_us="-1")


def arguments(**changed: str) -> EngineArgs:
    (server,) = servers_of({**ROW, **changed})
    return server.args


def test_v1_behind_its_own_async_class_takes_fewer_sequences_than_a_server() -> None:
    online = arguments(engine_version="0.20.1")
    assert (online.max_num_seqs, online.max_num_batched_tokens) == (128, 2048)
    offline = arguments(engine_version="0.20.1", notes="offline; max_num_seqs=512; suite_A")
    assert (offline.max_num_seqs, offline.max_num_batched_tokens) == (512, 16384)
    assert arguments(engine_version="0.20.1", gpu_norm="A100-80GB", notes="offline").max_num_batched_tokens == 8192
    assert arguments().max_num_seqs is None


def test_a_set_of_long_prompts_stays_below_what_turns_chunks_on() -> None:
    long = {"len_note": "sharegpt_longctx_v1", "notes": "online; suite_D", "osl": "256"}
    (server,) = servers_of({**ROW, **long})
    assert server.args.max_model_len == 30_208
    assert Bench().bind(server).limits.prefill_first
