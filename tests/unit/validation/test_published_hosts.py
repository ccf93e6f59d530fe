"""The host's CPU beside an engine of V0: one figure, or the row's own."""

import pytest

from simulator.errors import MeasurementError
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
