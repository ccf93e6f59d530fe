"""A scenario small and simple enough to be answered in a fraction of a second, and by hand."""

from pathlib import Path

# With 64 sequences and 10 ms a step, a full replica completes 64 / (20 * 0.01 s + a prefill step each) of these requests.
SMALL = """\
name: small
model: llama-3.1-8b
engine: {version: vllm-0.19.0, max_model_len: 4096, max_num_seqs: 64}
latency: {kind: linear, step_ms: 10, token_us: 1}
frontend: {queue: false}
workload:
  arrivals: {kind: poisson, rate: 20/s}
  prompt: 100
  output: 20
  requests: 400
slo: {ttft_s: 0.5, tpot_s: 0.05, percentile: 95, goodput: 0.9}
prices: {usd_per_gpu_hour: {h100-sxm: 3.0, l40s: 1.0, t4: 0.5}}
deployments:
  - {name: H100, gpu: h100-sxm}
  - {name: L40S, gpu: l40s}
  - {name: T4, gpu: t4, quantization: fp16}
seed: 7
"""


def small(folder: Path, *replacements: tuple[str, str], name: str = "small.yaml") -> Path:
    """The small scenario as a file, with pieces of its text replaced."""
    text = SMALL
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text, "utf-8")
    return path
