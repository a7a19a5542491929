"""The server: its tools, the check of their arguments, and the saved files as resources."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.types import CallToolResult, InputRequiredResult, Resource, ToolAnnotations
from pydantic import AnyUrl, ValidationError

from a2e_async._core.submission.budget import Budget
from a2e_async._core.version import __version__
from a2e_async.client import A2E
from a2e_async.contrib.mcp.advice import check_argument_names, explain_validation
from a2e_async.contrib.mcp.results import SavedResults, read_file
from a2e_async.contrib.mcp.tools import Tools
from a2e_async.errors import ConfigurationError

INSTRUCTIONS: Final = """\
Make images, videos and audio with A2E. Starting a task costs coins that a real person pays for;
checking its status is free. Call kinds, then kinds(kind) for the inputs of one kind, quote for the
price, start, wait until done is true, and download: it saves the files, shows small images, and
returns a resource link for each file. Starting the same kind with the same inputs returns the same
task and is charged once: after an error or a lost response, call start again with the same
arguments. Pass a key of your own only to pay for another attempt with the same inputs. If a task is
slow, call wait again; do not start another one."""

_READ_ONLY: Final = ToolAnnotations(read_only_hint=True, open_world_hint=True)
_COSTS_COINS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
)


def make_server(
    a2e: A2E, *, out: Path, files: Path | None = None, budget: Budget | None = None
) -> MCPServer[Any]:
    """Return an MCP server for one client, which needs a journal; ``budget`` is the client's own.

    The budget must be one for the whole journal, so that it holds over all servers that share it.
    Without a budget the server refuses to start tasks. Results are saved in ``out``. Local inputs
    are read from ``files`` only; without it there are no local inputs. Raises `ConfigurationError`.
    """
    if a2e.journal is None:
        raise ConfigurationError(
            "The MCP server needs a client with a journal: create it with A2E(journal=…)."
        )
    if budget is not None and not budget.whole_journal:
        raise ConfigurationError(
            "The budget of an MCP server must hold over all servers of its journal: create it "
            f"with Budget({budget.coins}, whole_journal=True), and give it to A2E(budget=…), too."
        )
    results = SavedResults()
    server = _Server(results)
    tools = Tools(
        a2e, a2e.journal, out, None if files is None else files.resolve(), budget, results
    )
    for tool in (tools.kinds, tools.quote, tools.status, tools.wait, tools.unfinished):
        server.add_tool(tool, annotations=_READ_ONLY)
    for tool in (tools.start, tools.download):
        server.add_tool(tool, annotations=_COSTS_COINS)
    return server


class _Server(MCPServer[Any]):
    """The MCP server: it checks the names of arguments, and offers saved files as resources."""

    def __init__(self, results: SavedResults) -> None:
        super().__init__("a2e", instructions=INSTRUCTIONS, version=__version__)
        self._results = results

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: "Context[Any, Any] | None" = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; refuse what it does not take, instead of ignoring it, in plain words."""
        for tool in await self.list_tools():
            if tool.name == name:
                check_argument_names(name, tool.input_schema, arguments)
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(explain_validation(name, error.__cause__)) from error.__cause__
            raise

    async def list_resources(self) -> list[Resource]:
        """List the files that were saved by this server."""
        files = await asyncio.to_thread(self._results.describe_all)
        return [Resource(**file) for file in files]

    async def read_resource(
        self, uri: AnyUrl | str, context: "Context[Any, Any] | None" = None
    ) -> Iterable[ReadResourceContents]:
        """Return the content of a file that was saved by this server."""
        path = self._results.find(str(uri))
        if path is None:
            raise ResourceNotFoundError(
                "There is no such result here. Call download with the ref of its task: that is "
                "free, and returns the link of each file."
            )
        return [await asyncio.to_thread(read_file, path)]
