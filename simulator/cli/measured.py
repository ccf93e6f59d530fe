"""Options that say what a benchmark tool's file leaves open: on what it was measured, and how long requests were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.validation.protocols import MeasuredServer
    from simulator.validation.readers.bench_files import Unsaid

GpuName = Annotated[str | None, typer.Option("--gpu", help="The GPU that a tool's file was measured on.")]
ModelName = Annotated[str | None, typer.Option("--model", help="The model served, where the file does not name it.")]
QuantizationName = Annotated[str | None, typer.Option("--quantization", help="The quantization served.")]
EngineName = Annotated[str, typer.Option("--engine", help="Engine and version.")]
TensorParallel = Annotated[int, typer.Option("--tensor-parallel-size", "--tp", min=1)]
MaxNumSeqs = Annotated[int | None, typer.Option("--max-num-seqs", min=1)]
MaxNumBatchedTokens = Annotated[int | None, typer.Option("--max-num-batched-tokens", min=1)]
MaxModelLen = Annotated[int | None, typer.Option("--max-model-len", min=1)]
PromptTokens = Annotated[float | None, typer.Option("--prompt-tokens", min=1, help="Mean prompt, where a file has none.")]
OutputTokens = Annotated[float | None, typer.Option("--output-tokens", min=1, help="Mean answer, where a file has none.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Requests in a batch of `vllm bench latency`.")]


def measured_server(
    files: list[Path],
    gpu: str | None,
    model: str | None,
    quantization: str | None,
    engine: str,
    tensor_parallel_size: int,
    max_num_seqs: int | None,
    max_num_batched_tokens: int | None,
    max_model_len: int | None,
    unsaid: Unsaid,
) -> MeasuredServer | None:
    """The server of the options, its model from the first file that names one; None where no GPU is given."""
    from simulator import catalog
    from simulator.latency.client import FrontEnd
    from simulator.validation.protocols import MeasuredServer
    from simulator.validation.readers.rows import measured_args

    if gpu is None:
        return None
    args = measured_args(
        tensor_parallel_size=tensor_parallel_size,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_model_len=max_model_len,
    )
    base = catalog.model(model or _model_in(files, unsaid))
    form = catalog.quantization(quantization) if quantization else base.quantization
    return MeasuredServer(base, form, catalog.gpu(gpu), catalog.engine(engine), args, client=FrontEnd())


def _model_in(files: list[Path], unsaid: Unsaid) -> str:
    from simulator.errors import MeasurementError
    from simulator.validation.readers.bench_files import KINDS, read_bench_file

    for path in files:
        if path.suffix.lower() in KINDS and path.is_file():
            for run in read_bench_file(path, unsaid):
                if run.model:
                    return run.model
    raise MeasurementError("no file names its model: give --model")
