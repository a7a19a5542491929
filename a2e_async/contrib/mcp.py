"""An MCP server, for agents that make media: ``a2e mcp``. Needs the extra ``mcp``.

An agent repeats calls, invents paths and does not know what things cost. So a start is identified
by its key (or by its inputs, if there is none) and charged once in all runs that share the journal;
nothing is charged without a budget; results are saved in one directory, and local inputs are read
from one.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from inspect import formatannotation
from pathlib import Path
from typing import Annotated, Any, Final, Literal, ParamSpec, get_args, get_origin

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from a2e_async import __version__
from a2e_async.client import A2E
from a2e_async.errors import (
    A2EError,
    BudgetExceeded,
    ConfigurationError,
    InvalidInput,
    StartOutcomeUnknown,
    TaskFailed,
    TaskTimeout,
)
from a2e_async.inputs import Doc, InputField, Media, input_fields, is_url
from a2e_async.models import Output, Record, Status
from a2e_async.narrow import is_sequence
from a2e_async.resources.registry import kind_named, kind_names
from a2e_async.tasks.budget import Budget
from a2e_async.tasks.journal import Journal, State
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.task import Task

P = ParamSpec("P")
Result = dict[str, Any]

LONGEST: Final = 300.0
"""Maximum duration of one call of ``wait`` (s)."""

KEPT: Final = 1000
"""Maximum number of task handles in memory."""

INPUTS_OF: Final = "mcp_inputs"
"""Key in ``meta`` under which the digest of the agent's inputs is stored."""

INSTRUCTIONS: Final = """\
Make images, videos and audio with A2E. Starting a task costs coins that a real person pays for;
checking its status is free. Call kinds, then kinds(kind) for the inputs of one kind, quote for the
price, start, wait until done is true, and download. Starting the same kind with the same inputs
returns the same task and is charged once: after an error or a lost response, call start again with
the same arguments. Pass a key of your own only to pay for another attempt with the same inputs. If
a task is slow, call wait again; do not start another one."""

Kind = Annotated[str, Field(description="A kind of task, as listed by the tool kinds.")]
Inputs = Annotated[
    dict[str, Any],
    Field(
        description="The kind's inputs by name. A media input is a URL, a path inside the "
        "allowed input directory, or the ref of a finished task, whose output is then used."
    ),
]
Ref = Annotated[str, Field(description="The ref of a task, as returned by start.")]

_READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=True)
_PAYS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
)


def make_server(
    a2e: A2E, *, out: Path, files: Path | None = None, budget: Budget | None = None
) -> MCPServer[Any]:
    """Return an MCP server for one client, which needs a journal; ``budget`` is the client's own.

    Without a budget it refuses to start tasks. Results are saved in ``out``. Local inputs are read
    from ``files`` only; without it there are no local inputs. Raises `ConfigurationError`.
    """
    if a2e.journal is None:
        raise ConfigurationError(
            "The MCP server needs a client with a journal: create it with A2E(journal=…)."
        )
    server: MCPServer[Any] = MCPServer("a2e", instructions=INSTRUCTIONS, version=__version__)
    tools = _Tools(a2e, a2e.journal, out, None if files is None else files.resolve(), budget)
    for tool in (tools.kinds, tools.quote, tools.status, tools.wait, tools.unfinished):
        server.add_tool(tool, annotations=_READS)
    for tool in (tools.start, tools.download):
        server.add_tool(tool, annotations=_PAYS)
    return server


def _tool(method: Callable[P, Coroutine[Any, Any, Result]]) -> Callable[P, Any]:
    """Turn errors into text that the agent can act on."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return await method(*args, **kwargs)
        except BudgetExceeded as error:
            raise ToolError(f"{error} Tell your user; only they can raise the budget.") from error
        except StartOutcomeUnknown as error:
            raise ToolError(
                f"The {error.recovery.kind} start was sent, but its response was lost: it may have "
                "been charged. Call start again with the same arguments: that searches for the "
                "task and is not charged twice. Do not pass another key."
            ) from error
        except A2EError as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error

    return call


class _Tools:
    """The tools that an agent can call; it reads their docstrings."""

    def __init__(
        self, a2e: A2E, journal: Journal, out: Path, files: Path | None, budget: Budget | None
    ) -> None:
        self._a2e = a2e
        self._journal = journal
        self._out = out
        self._files = files
        self._budget = budget
        self._tasks: OrderedDict[str, Task[Any]] = OrderedDict()
        self._keys: set[str] = set()
        """Keys that this run started, whose cost the budget has counted already."""
        self._counting = asyncio.Lock()

    @_tool
    async def kinds(
        self,
        kind: Annotated[str | None, Field(description="Describe this kind alone.")] = None,
    ) -> Result:
        """List all kinds of task, or describe the inputs of one. Free."""
        if kind is not None:
            return _described(kind_named(kind))
        return {"kinds": {name: kind_named(name).summary for name in kind_names()}}

    @_tool
    async def quote(self, kind: Kind, inputs: Inputs) -> Result:
        """Return the price of a start in coins (null: the service does not report it). Free."""
        given = await self._given(kind_named(kind), inputs)
        coins = await self._a2e.kind(kind).quote(**given)
        return {"coins": coins, "budget": await self._left()}

    @_tool
    async def start(
        self,
        kind: Kind,
        inputs: Inputs,
        key: Annotated[
            str | None,
            Field(
                description="Your own name for this start. The same key returns the same task, "
                "charged once. By default the kind and the inputs identify the start."
            ),
        ] = None,
    ) -> Result:
        """Start a task and return its ref. COSTS COINS, once for the same kind and inputs."""
        found = kind_named(kind)
        digest = _digest(kind, {name: self._stamped(value) for name, value in inputs.items()})
        key = key or f"mcp:{digest[:32]}"
        if (known := await self._known(found, key, digest)) is not None:
            return {**_shown(known), "key": key, "paid_now": False, "budget": await self._left()}
        if self._budget is None:
            raise ToolError(
                "This server cannot start tasks, because it has no budget. Tell your user: they "
                "can run it with a2e mcp --budget COINS"
            )
        given = await self._given(found, inputs)
        # Before the start is sent: its cost must not be counted as that of another run.
        self._keys.add(key)
        await self._count(self._budget)
        task = await self._a2e.kind(kind).start(**given, key=key, meta={INPUTS_OF: digest})
        self._keep(task)
        return {**_shown(task), "key": key, "paid_now": True, "budget": await self._left()}

    @_tool
    async def status(self, ref: Ref) -> Result:
        """Check the status of a task once. Free."""
        return await self._look(ref, 0)

    @_tool
    async def wait(
        self,
        ref: Ref,
        context: Context,
        seconds: Annotated[
            float, Field(ge=0, le=LONGEST, description="How long to wait; the task keeps running.")
        ] = 50,
    ) -> Result:
        """Wait for a task and return its status. Not done yet is not an error: wait again. Free."""
        return await self._look(ref, seconds, context)

    @_tool
    async def download(self, ref: Ref) -> Result:
        """Save all outputs of a finished task in the results directory; return the paths. Free."""
        task = self._task(ref)
        try:
            await task.wait(timeout=0)
        except TaskTimeout as error:
            raise ToolError(f"{ref} is not finished. Call wait first.") from error
        return {"ref": task.ref, "paths": [str(path) for path in await task.download(self._out)]}

    @_tool
    async def unfinished(self) -> Result:
        """List tasks of all runs that are started but not saved yet, and the coins spent. Free."""
        entries, more = await self._journal.entries(open_only=True, limit=200)
        listed = [
            {"key": e.key, "kind": e.kind, "ref": e.ref, "state": e.state.name.lower()}
            for e in entries
        ]
        return {"tasks": listed, "more": bool(more), "budget": await self._left()}

    # -- internals ---------------------------------------------------------------------------

    async def _left(self) -> Result | None:
        budget = self._budget
        if budget is None:
            return None
        await self._count(budget)
        return {"coins": budget.coins, "spent": budget.spent, "left": budget.left}

    async def _count(self, budget: Budget) -> None:
        """Add to the budget what other runs that share the journal have spent by now."""
        async with self._counting:
            entries = [await self._journal.get(key) for key in self._keys]
            mine = [entry for entry in entries if entry]
            days = await self._journal.spent()
            own = sum(entry.cost for entry in mine)
            # The journal lists the reservation of a task with unknown price separately from known
            # prices; so does the budget.
            unknown = sum(
                e.reserved or 0 for e in mine if e.coins is None and e.succeeded is not False
            )
            reserved = sum(day.reserved for day in days) - unknown
            spent = sum(day.coins for day in days) - (own - unknown)
            budget.count_elsewhere(spent, reserved)

    def _task(self, ref: str) -> Task[Any]:
        return self._tasks.get(ref) or self._keep(self._a2e.attach(ref))

    def _keep(self, task: Task[Any]) -> Task[Any]:
        self._tasks[task.ref] = task
        while len(self._tasks) > KEPT:
            self._tasks.popitem(last=False)
        return task

    async def _known(self, kind: TaskKind[..., Any], key: str, digest: str) -> Task[Any] | None:
        """Return the existing task of a key, so that the budget is not checked again."""
        entry = await self._journal.get(key)
        if entry is None:
            return None
        if entry.kind != kind.name or (entry.meta or {}).get(INPUTS_OF) != digest:
            raise ToolError(
                f"The key {key!r:.60} was used for a start with other inputs. Pass another key to "
                "pay for a new start, or the same inputs to get the existing task."
            )
        if entry.state < State.ACCEPTED or entry.ref is None:
            return None  # starting it again searches for the task, or sends the start
        return self._task(entry.ref)

    async def _look(self, ref: str, seconds: float, context: Context | None = None) -> Result:
        task = self._task(ref)
        try:
            async for record in task.updates(timeout=seconds):
                if context is not None:
                    await context.report_progress(record.progress or 0, 1, record.raw_status)
        except (TaskTimeout, TaskFailed):
            pass
        return _shown(task)

    async def _given(self, kind: TaskKind[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return an agent's inputs as arguments of `start`; raise `InvalidInput` for others."""
        known = {f.name: f for f in _own_inputs(kind)}
        if wrong := [name for name in inputs if name not in known]:
            names = ", ".join(known)
            raise InvalidInput(
                f"{kind.name} has no input {wrong[0][:60]!r}. Its inputs are: {names}.",
                field=wrong[0],
            )
        return {
            name: await self._media(name, value) if known[name].note(Media) else value
            for name, value in inputs.items()
        }

    async def _media(self, field: str, value: Any) -> Any:
        if is_sequence(value):
            return [await self._media(field, item) for item in value]
        if not isinstance(value, str):
            raise InvalidInput(
                f"{field}: a media input must be text: a URL, a path or a ref.", field=field
            )
        if is_url(value):
            return value
        if value.partition(":")[0] in kind_names():
            return await self._output(field, value)
        return self._file(field, value)

    async def _output(self, field: str, ref: str) -> Output:
        try:
            record: Record = await self._task(ref).wait(timeout=0)
        except TaskTimeout as error:
            raise InvalidInput(
                f"{field}: {ref} is not finished. Call wait first.", field=field
            ) from error
        return record.output

    def _stamped(self, value: Any) -> Any:
        """Return a value, with size and time for a local file: a new version counts as new."""
        if is_sequence(value):
            return [self._stamped(item) for item in value]
        path = _inside(self._files, value) if self._files and isinstance(value, str) else None
        if path is None:
            return value
        seen = path.stat()
        return [value, seen.st_size, seen.st_mtime_ns]

    def _file(self, field: str, value: str) -> Path:
        if self._files is None:
            raise InvalidInput(
                f"{field}: this server reads no local files. Pass a URL or the ref of a task, or "
                "ask your user to run it with a2e mcp --files DIRECTORY",
                field=field,
            )
        path = _inside(self._files, value)
        if path is None:
            raise InvalidInput(
                f"{field}: there is no file {value[:90]!r} in the allowed directory {self._files}.",
                field=field,
            )
        return path


def _inside(directory: Path, name: str) -> Path | None:
    """Return a file's real path, None unless it is inside the directory after resolving links."""
    try:
        path = (directory / name).resolve()
        return path if path.is_relative_to(directory) and path.is_file() else None
    except (OSError, ValueError):  # the name is too long or contains a null character
        return None


def _shown(task: Task[Any]) -> Result:
    """Return a task's status and what to do next. Result URLs are signed and are left out."""
    record = task.record
    return {
        "ref": task.ref,
        "kind": task.kind.name,
        "status": task.status.value if task.status else "unknown",
        "service_status": record.raw_status if record else None,
        "done": task.done,
        "progress": record.progress if record else None,
        "coins": task.coins,
        "elapsed_seconds": round(task.elapsed),
        "outputs": [output.media for output in record.outputs] if record else [],
        "failure": record.failure.message if record and record.failure else None,
        "next": _next(task),
    }


def _next(task: Task[Any]) -> str:
    if not task.done:
        return "call wait; do not start it again"
    if task.status is Status.FAILED:
        return "it failed; another attempt is charged again and needs a new key"
    record = task.record
    return "call download" if record and record.outputs else "nothing is left to do"


def _own_inputs(kind: TaskKind[..., Any]) -> list[InputField]:
    cls: Any = kind.input
    return [f for f in input_fields(cls) if not f.common or f.name == "name"]


def _described(kind: TaskKind[..., Any]) -> Result:
    return {
        "kind": kind.name,
        "makes": kind.summary,
        "outputs": list(dict.fromkeys(result.media for result in kind.results)),
        "usual_seconds": list(kind.usual) if kind.usual else None,
        "inputs": {
            f.name: {
                "required": f.required,
                "type": _type(f),
                "meaning": doc.text if (doc := f.note(Doc)) else "",
            }
            for f in _own_inputs(kind)
        },
    }


def _type(f: InputField) -> str:
    if (media := f.note(Media)) is not None:
        return f"{' or '.join(media.types)}: URL, path or ref (see inputs of start)"
    return _word(f.hint)


def _word(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(json.dumps(word) for word in get_args(hint))
    parts = [part for part in get_args(hint) if part is not type(None)]
    if type(None) in get_args(hint) or any(get_origin(part) is Literal for part in parts):
        return " or ".join(map(_word, parts))
    return formatannotation(hint).replace("collections.abc.", "")


def _digest(kind: str, inputs: Mapping[str, Any]) -> str:
    wire = json.dumps([kind, dict(inputs)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(wire.encode()).hexdigest()


__all__ = ["make_server"]
