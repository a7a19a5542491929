"""An MCP server, for agents that make media: ``a2e mcp``. Needs the extra ``mcp``.

An agent repeats calls, invents paths and does not know what things cost. So a start is identified
by its key (or by its inputs, if there is none) and charged once in all runs that share the journal;
nothing is charged without a budget; results are saved in one directory, and local inputs are read
from one.
"""

from a2e_async.contrib.mcp.server import make_server

__all__ = ["make_server"]
