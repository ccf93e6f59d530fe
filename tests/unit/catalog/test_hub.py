"""Models of the hub: fetched with the extra, explained without it. The network is a stand-in here."""

import json
import sys
import types
from pathlib import Path

import pytest

from simulator.catalog import hub
from simulator.catalog.models import _named, model
from simulator.errors import ConfigError, UnknownName

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "head_dim": 64,
    "max_position_embeddings": 131072, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub with the files of one repository; `fail` makes it raise."""
    errors = types.ModuleType("huggingface_hub.errors")
    kinds = ("RepositoryNotFoundError", "GatedRepoError", "EntryNotFoundError", "LocalEntryNotFoundError")
    for kind in kinds:
        setattr(errors, kind, type(kind, (Exception,), {}))
    state: dict[str, object] = {"fail": None, "asked": []}

    def download(repo: str, file: str, etag_timeout: float) -> str:
        assert etag_timeout == 10
        state["asked"] += [file]  # type: ignore[operator]
        if state["fail"] is not None:
            raise state["fail"] if isinstance(state["fail"], Exception) else getattr(errors, str(state["fail"]))(repo)
        if file != "config.json":
            raise errors.EntryNotFoundError(file)  # type: ignore[attr-defined]
        (tmp_path / file).write_text(json.dumps(CONFIG))
        return str(tmp_path / file)

    package = types.ModuleType("huggingface_hub")
    package.hf_hub_download = download  # type: ignore[attr-defined]
    package.errors = errors  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    monkeypatch.setattr(hub, "is_installed", lambda: True)
    _named.cache_clear()
    yield state
    _named.cache_clear()


def test_a_repository_that_the_catalog_has_not_is_fetched_by_name(remote) -> None:
    found = model("mine/My-Tuned-1B")
    assert (found.name, found.checkpoint, len(found.layers)) == ("my-tuned-1b", "mine/My-Tuned-1B", 16)
    assert remote["asked"] == ["config.json", "hf_quant_config.json", "model.safetensors.index.json"]
    assert model("Qwen/Qwen3-8B").name == "qwen3-8b"
    assert len(remote["asked"]) == 3, "what the catalog has is not asked for"


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ("GatedRepoError", "is gated: accept its terms at https://huggingface.co/mine/x and set HF_TOKEN"),
        ("RepositoryNotFoundError", "no such repository on the hub, or a private one: set HF_TOKEN"),
        ("LocalEntryNotFoundError", "was not reached in 10 s, and it is not kept here; give the path of its config.json"),
        ("EntryNotFoundError", "has no config.json"),
        (ConnectionError("refused"), r"cannot be fetched \(ConnectionError: refused\); give the path of its config.json"),
    ],
)
def test_what_cannot_be_fetched_says_what_to_do(fail: object, said: str, remote) -> None:
    remote["fail"] = fail
    with pytest.raises(ConfigError, match=said):
        model("mine/x")


def test_without_the_extra_a_repository_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_installed", lambda: False)
    _named.cache_clear()
    with pytest.raises(UnknownName, match=r"unknown model 'none-such'.*config.json, or install the extra hf"):
        model("mine/none-such")
    with pytest.raises(UnknownName) as plain:
        model("none-such-model")
    assert "extra hf" not in str(plain.value)
