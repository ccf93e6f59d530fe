"""What an assistant is answered: plain data, our numbers, and mistakes in a line."""

import json
import os
import sys

import pytest

from simulator import catalog
from simulator.catalog.engine_args import EngineArgs
from simulator.errors import ScenarioError, SimulatorError
from simulator.memory.plan import plan_memory
from simulator.planning.tools import TOOLS_OF_ASSISTANTS, explain_tool, memory_tool, run_tool, size_tool

SCENARIO = """
model: llama-3.1-8b
engine: {version: vllm-0.19.0, max_model_len: 4096}
workload: {arrivals: 4/s, prompt: 200, output: 20, requests: 60}
slo: {ttft: 2s}
deployments: [{name: small, gpu: rtx-4090}, {name: none, gpu: t4, quantization: fp16}]
"""


def test_memory_is_the_plan() -> None:
    told = memory_tool("llama-3.1-8b", "h100", max_model_len=8192, engine="vllm-0.19.0")
    plan = plan_memory(
        catalog.model("llama-3.1-8b"), None, catalog.gpu("h100"), EngineArgs(max_model_len=8192), catalog.engine("vllm-0.19.0")
    )
    assert (told["outcome"], told["kv_tokens"]) == ("starts", plan.kv_tokens)
    assert sum(told["gib_by_part"].values()) == pytest.approx(plan.total_bytes / 2**30, abs=0.01)
    assert memory_tool("llama-3.1-70b", "l4")["remedies"]


def test_run_and_size_answer_in_plain_data() -> None:
    told = run_tool(SCENARIO)
    assert [d["verdict"] for d in told["deployments"]] == ["stable", "does not fit"]
    assert told["not_modelled"] and "small" in told["recommendation"]
    found = size_tool(SCENARIO)
    assert found["best"] == "small"
    assert json.loads(json.dumps([told, found, explain_tool("slo")], allow_nan=False))


def test_mistakes_are_told_in_a_line() -> None:
    with pytest.raises(ScenarioError, match="scenario.yaml:2:1: model: unknown model"):
        run_tool(SCENARIO.replace("llama-3.1-8b", "llama-9"))
    with pytest.raises(ScenarioError, match="expected a mapping"):
        run_tool("[1]")
    with pytest.raises(ScenarioError, match="at most 2,000 here"):
        run_tool(SCENARIO.replace("requests: 60", "requests: 5000"))
    with pytest.raises(SimulatorError, match="unknown GPU"):
        memory_tool("llama-3.1-8b", "h10")


def test_every_tool_says_what_it_answers() -> None:
    assert list(TOOLS_OF_ASSISTANTS) == ["memory", "run", "size", "explain"]
    assert all(len((tool.__doc__ or "").strip()) > 50 for tool in TOOLS_OF_ASSISTANTS.values())


def test_an_assistant_asks_over_stdio() -> None:
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    import anyio
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def ask() -> dict[str, object]:
        server = StdioServerParameters(command=sys.executable, args=["-m", "simulator", "mcp"], env=dict(os.environ))
        async with stdio_client(server) as streams, ClientSession(*streams) as session:
            await session.initialize()
            names = {tool.name for tool in (await session.list_tools()).tools}
            assert names == set(TOOLS_OF_ASSISTANTS)
            answer = await session.call_tool("memory", {"model": "llama-3.1-8b", "gpu": "h100"})
            found = answer.structured_content
            assert found is not None
            return dict(found)

    assert anyio.run(ask)["outcome"] == "starts"
