"""What a client sees besides the engine: the API server, HTTP, and the way back."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.engines import Engine
from simulator.catalog.frontends import Endpoint, api_servers, frontend_costs
from simulator.spec import NonNegative, Positive, spec
from simulator.units import MS, US


@spec
class ApiServer:
    """What the front end of one engine takes: seconds a request, a token of its prompt, and a chunk of output.

    A process does one thing after another: it parses, renders and tokenizes a request before the
    engine gets it, and sends the chunks of a step once the engine has ended it. With several
    `processes` an engine's chunks are shared out evenly, and as many requests are taken in at a time.
    """

    request_s: NonNegative = 0.0
    prompt_token_s: NonNegative = 0.0
    chunk_s: NonNegative = 0.0
    processes: Positive = 1.0

    def work_s(self, prompt_tokens: ArrayLike, output_tokens: ArrayLike) -> NDArray[np.float64]:
        """Seconds of all its processes together that each request takes, its output included."""
        prompt, output = (np.asarray(each, dtype=np.float64) for each in (prompt_tokens, output_tokens))
        work = self.request_s + self.prompt_token_s * prompt + self.chunk_s * output
        return np.asarray(work / self.processes)


@spec
class FrontEnd:
    """TTFT at the client = TTFT in the engine + fixed + so much per prompt token and per decode step.

    Of this the API server's part is simulated where there is a `queue`: `request_ms`, so much per
    prompt token, and `chunk_us` for each chunk of output, one thing after another in each of its
    processes. None takes the release's own, by `endpoint`. How many processes there are and how
    many tokens a chunk has are arguments of the engine (`api_server_count`, `stream_interval`).

    Defaults: what single requests to vLLM 0.30 see, Qwen3-8B on one H100, 128 to 8,192 prompt tokens (silybench-data, November
    2026). Open loops of inference-perf have the same, whatever their concurrency, and AccelMark's about that at low rates.
    """

    fixed_ms: NonNegative = 5.5
    prompt_token_us: NonNegative = 4.4
    decode_steps: NonNegative = 0.0
    queue: bool = True
    endpoint: Endpoint = "completions"
    request_ms: NonNegative | None = None
    chunk_us: NonNegative | None = None

    def seconds(self, prompt_tokens: ArrayLike, decode_step_s: float) -> NDArray[np.float64]:
        """Seconds to add to each request's time to first token, shape of `prompt_tokens`, from the engine's mean decode step."""
        constant = self.fixed_ms * MS + self.decode_steps * decode_step_s
        return np.asarray(constant + self.prompt_token_us * US * np.asarray(prompt_tokens, dtype=np.float64))

    def api_server(self, engine: Engine, args: EngineArgs) -> ApiServer | None:
        """The API server before each engine; None without a queue, or where nothing is known of it or given.

        The processes of a server with several data-parallel ranks are shared out among these, but
        where each rank is a server of its own.
        """
        known = frontend_costs(engine, self.endpoint) if self.queue else None
        request = self.request_ms if self.request_ms is not None or known is None else known.request_ms
        chunk = self.chunk_us if self.chunk_us is not None or known is None else known.chunk_us
        if not self.queue or (request is None and chunk is None):
            return None
        ranks = 1 if args.data_parallel_external_lb else args.data_parallel_size
        return ApiServer(
            request_s=(request or 0.0) * MS,
            prompt_token_s=self.prompt_token_us * US,
            chunk_s=(chunk or 0.0) * US / args.stream_interval,
            processes=(args.api_server_count or api_servers(engine, ranks)) / ranks,
        )

    def beside(self, server: ApiServer | None) -> FrontEnd:
        """What a client sees besides the engine and its API server, where that is simulated."""
        if server is None:
            return self
        rest = self.fixed_ms - (server.request_s + server.chunk_s) / MS
        return dataclasses.replace(self, fixed_ms=max(rest, 0.0), prompt_token_us=0.0)
