"""Command lines that nobody should have typed: `sim ask`, `init`, `memory --train`, `explain`, `trace`, `size` and `serve:`."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

from support.spoiling import CELLS, VALUES, as_json, as_yaml

ASK = ("--gpu h100-sxm --rate 4/s --prompt 200 --output 20 --ttft 2s --tpot 50ms --e2e 30s --max-model-len 4096"
       " --requests 40 --engine vllm-0.19.0 --quantization fp8")  # fmt: skip
USERS = "--gpu l4 --users 20 --each 12/h --prompt 200 --output 20 --requests 40"
TRAIN = ("--gpu h100-sxm --train --lora --micro-batch-size 2 --sequence-length 1024 --gradient-accumulation-steps 2"
         " --zero-stage 2 --data-parallel-size 8 --lora-rank 8 --tokens 3B --utilization 0.4 --reduce-bucket-size 100000"
         " --context-parallel-size 1 --logit-bytes 4 --usd-per-gpu-hour 2 --optimizer adamw")  # fmt: skip
PLAN = ("--gpu h100-sxm --max-model-len 32k --max-num-seqs 64 --max-num-batched-tokens 8k --gpu-memory-utilization 0.9"
        " --block-size 16 --used-gib 1 --tensor-parallel-size 2 --context 4096 --kv-cache-dtype fp8")  # fmt: skip
SIZE = ("gpus l4,h100-sxm --quantizations fp8,auto --tensor-parallel-size 1,2 --over max_num_seqs=64,256 --spare 1"
        " --growth 2 --months 6 --max-replicas 4 --max-cost 9 --seed 1 --max-requests 100000 --max-memory 2")  # fmt: skip
SERVED = (
    "vllm serve llama-3.1-8b --max-model-len 4096 --tensor-parallel-size 2 --enable-prefix-caching --max-num-seqs 64",
    'vllm serve qwen3-8b -tp 2 --speculative-config \'{"method": "ngram", "num_speculative_tokens": 3}\' --max-model-len 8k',
    "VLLM_USE_V1=1 vllm serve llama-3.1-8b --kv-cache-dtype fp8 --compilation-config.cudagraph_mode FULL --port 8000",
    "python -m sglang.launch_server --model-path llama-3.1-8b --tp 2 --mem-fraction-static 0.85 --max-running-requests 64",
    "trtllm-serve llama-3.1-8b --tp_size 2 --max_batch_size 64 --kv_cache_free_gpu_memory_fraction 0.9",
    "llama-server -m model.gguf -ngl 99 -c 8192 -np 4 -b 2048 -ub 512 -fa on -ctk q8_0",
    "docker run --gpus all -p 8000:8000 vllm/vllm-openai:v0.19.0 --model llama-3.1-8b --max-num-seqs 64",
)
FEW: dict[str, Any] = {
    "name": "case",
    "model": "llama-3.1-8b",
    "workload": {"arrivals": "4/s", "prompt": 50, "output": 5, "requests": 6},
    "slo": {"ttft_s": 1.0},
    "deployments": [{"name": "one", "gpu": "rtx-4090"}],
}
PATHS = (
    "", "x", "workload", "workload.arrivals", "workload.requests", "deployments", "deployments.one", "deployments[0].gpu",
    "deployments.0.faults.0.at_s", "deployments.one.autoscaler", "slo.ttft_s", "prices", "prices.usd_per_gpu_hour.h100-sxm",
    "...", "a.b.c.d", "[0]", "deployments[-1]", "deployments[x", "workload.arrivals.kind", "name", "engine", "latency",
    "deployments.one.speculative_config", "sampling.top_p", "deployments[0].link", "workload.classes.0.share", "seed",
)  # fmt: skip
SETTINGS = (
    "{kind: hpa, target: 1e-300, max_replicas: 3}", "{kind: keda, target: 2, max_replicas: 3, interval_s: 1e-9}", "[1, 2",
    "{kind: random, mtbf_s: 1e-9}", "rdma-400g", "{method: eagle, num_speculative_tokens: 900000000000}", "1e308", "!!x 1",
    "&a [*a]", "? [a]", "- 1", "{a: {b: {c: 1}}}", "|\n x", "'", "h100-sxm", "{[1]: 2}", "0x7fffffffffffffffffff", "~",
    "2024-99-99",
)  # fmt: skip


def draw_line(rng: random.Random, folder: Path) -> tuple[str, ...]:
    """One of the commands that take figures in options."""
    return rng.choice((_ask, _ask, _memory, _memory, _size, _serve, _explain, _trace, _set, _set))(rng, folder)


def _value(rng: random.Random) -> str:
    found = rng.choice([*CELLS, "1k", "9" * 400, "-1k", "1e400k", "4/s/s", "ms", "-5ms", "1h-2m", ",", ",,", "a=b=c", "auto"])
    return str(found)[:400].encode("utf-8", "replace").decode().replace("\0", "")


def _spoilt_words(rng: random.Random, line: str) -> list[str]:
    words = line.split()
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(words))
        if rng.random() < 0.8 and not words[at].startswith("--"):
            words[at] = _value(rng)
        elif rng.random() < 0.5:
            del words[at]
        else:
            words.insert(at, rng.choice((words[at], "--x", "--", "-", _value(rng))))
        if not words:
            break
    return words


def _model(rng: random.Random) -> str:
    return rng.choice(("llama-3.1-8b", "llama-3.1-8b", "qwen3-8b", "gpt-oss-20b", _value(rng)))


def _ask(rng: random.Random, folder: Path) -> tuple[str, ...]:
    words = _spoilt_words(rng, rng.choice((ASK, USERS)))
    verb = "ask" if rng.random() < 0.2 else "init"
    if verb == "init":
        at = words.index("--requests") if "--requests" in words else len(words)
        words = [*words[:at], *words[at + 2 :]]
        return (verb, str(folder / "new.yaml"), "--model", _model(rng), *words)
    return (verb, _model(rng), "--file", str(folder / "new.yaml"), "--quiet", *words, "--gpu", "t4")  # where it does not fit


def _memory(rng: random.Random, folder: Path) -> tuple[str, ...]:
    return ("memory", _model(rng), *_spoilt_words(rng, rng.choice((TRAIN, PLAN))), "--json")


def _size(rng: random.Random, folder: Path) -> tuple[str, ...]:
    (folder / "case.yaml").write_bytes(as_yaml(FEW))
    few = " --".join(rng.sample(SIZE.split(" --"), 3))
    return ("size", str(folder / "case.yaml"), *_spoilt_words(rng, f"--{few}"), "--json", "--workers", "1")


def _serve(rng: random.Random, folder: Path) -> tuple[str, ...]:
    words = rng.choice(SERVED).split(" ")
    for _ in range(rng.choice((1, 2))):
        at = rng.randrange(len(words))
        words[at] = rng.choice((_value(rng), "'", '"', "--x", "--max-model-len", "{}", "$(x)", "\\", "-", words[at] * 30))
    line = " ".join(words)
    if rng.random() < 0.5:
        return ("memory", line, "--gpu", "h100-sxm", "--json")
    tree = {**FEW, "deployments": [{"name": "one", "gpu": "h100-sxm", "serve": line}]}
    (folder / "case.yaml").write_bytes(as_yaml(tree))
    return ("check", str(folder / "case.yaml"))


def _explain(rng: random.Random, folder: Path) -> tuple[str, ...]:
    return rng.choice((("explain", rng.choice((*PATHS, _value(rng)))), ("catalog", rng.choice(("links", "prices", _value(rng))))))


def _trace(rng: random.Random, folder: Path) -> tuple[str, ...]:
    (folder / "t.csv").write_text("a,b,c\n" + "".join(f"{at},{at + 5},{at + 2}\n" for at in range(20)))
    words = "--column arrival=a --column prompt=b --column output=c --time-unit s --block-size 16"
    return ("trace", str(folder / "t.csv"), *_spoilt_words(rng, words), "--json")


def _set(rng: random.Random, folder: Path) -> tuple[str, ...]:
    (folder / "case.yaml").write_bytes(as_yaml(copy.deepcopy(FEW)))
    some = rng.choice([*VALUES, *SETTINGS])
    value = some if isinstance(some, str) else as_json(some)[:20_000]
    place = rng.choice(PATHS) if rng.random() < 0.9 else _value(rng)
    setting = f"{place}={value}".encode("utf-8", "replace").decode().replace("\0", "")
    return ("run", str(folder / "case.yaml"), "--no-report", "--no-limits", "--json", "--set", setting)
