"""Models of the HuggingFace hub by name: their config.json, fetched once and kept by huggingface_hub. Extra `hf`.

A token comes from the environment (HF_TOKEN) or `hf auth login`, as huggingface_hub takes it; HF_HUB_OFFLINE=1 stays off the
network.
"""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from simulator.catalog import hf_config
from simulator.catalog.models import Model
from simulator.errors import ConfigError

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SECONDS = 10
_BESIDE = ("hf_quant_config.json", "model.safetensors.index.json")
OTHERWISE = "give the path of its config.json"
WITHOUT = f"{OTHERWISE}, or install the extra hf to fetch it: pip install 'inference-sizing-simulator[hf]'"


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository, `org/name`."""
    return _REPOSITORY.fullmatch(name) is not None


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("huggingface_hub") is not None


def fetch(name: str) -> Model:
    """The model of a repository. Raises ConfigError saying what to do where it cannot be had within ten seconds a file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    def got(file: str) -> Path:
        return Path(hf_hub_download(name, file, etag_timeout=_SECONDS))

    try:
        config = got("config.json")
    except GatedRepoError:
        where = f"https://huggingface.co/{name}"
        raise ConfigError(f"{name} is gated: accept its terms at {where} and set HF_TOKEN, or {OTHERWISE}") from None
    except RepositoryNotFoundError:
        raise ConfigError(f"{name}: no such repository on the hub, or a private one: set HF_TOKEN for it") from None
    except LocalEntryNotFoundError:
        raise ConfigError(f"{name}: the hub was not reached in {_SECONDS} s, and it is not kept here; {OTHERWISE}") from None
    except EntryNotFoundError:
        raise ConfigError(f"{name} has no config.json; name the repository of the model in the format of transformers") from None
    except Exception as problem:  # whatever its HTTP client raises: that names itself
        why = f"{type(problem).__name__}: {_line(problem)}"
        raise ConfigError(f"{name}: cannot be fetched ({why}); {OTHERWISE}") from None
    for file in _BESIDE:
        try:
            got(file)
        except EntryNotFoundError:  # most repositories have only one of them: what is there lies beside config.json now
            continue
        except Exception as problem:
            raise ConfigError(
                f"{name}: {file} cannot be fetched ({type(problem).__name__}: {_line(problem)}); {OTHERWISE}"
            ) from None
    return replace(hf_config.read(config.parent), name=name.rsplit("/", 1)[-1].lower(), source=f"https://huggingface.co/{name}")


def _line(problem: Exception) -> str:
    return (str(problem).strip() or "no reason given").splitlines()[0][:200]
