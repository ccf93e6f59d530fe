"""`sim mcp`: the simulator as tools of an assistant, over stdin and stdout. Extra `mcp`."""

from __future__ import annotations


def mcp_command() -> None:
    """Serve memory, run, size and explain to an assistant over stdio (Model Context Protocol)."""
    from importlib.util import find_spec

    from simulator import __version__
    from simulator.errors import SimulatorError
    from simulator.planning.tools import TOOLS_OF_ASSISTANTS

    if find_spec("mcp") is None:
        raise SimulatorError("sim mcp needs the extra mcp: pip install 'inference-sizing-simulator[mcp]'")
    from mcp.server.mcpserver import MCPServer

    server = MCPServer(
        "inference-sizing-simulator",
        version=__version__,
        instructions="Sizes LLM inference. Ask `memory` whether a model fits, `explain` what a scenario may have, then `run` or "
        "`size` with one. Say with a number what it rests on: every answer lists what is not modelled.",
        log_level="WARNING",
    )
    for name, tool in TOOLS_OF_ASSISTANTS.items():
        server.tool(name, structured_output=True)(tool)
    server.run("stdio")
