"""The tools that an agent can call."""

import asyncio
import hashlib
import json
import random
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from inspect import formatannotation
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ContentBlock, TextContent
from pydantic import Field

from a2e_async._core.journal.protocol import Journal, State
from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, InputField, is_url
from a2e_async._core.submission.budget import Budget
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task
from a2e_async._core.typeguards import is_sequence
from a2e_async.client import A2E
from a2e_async.contrib.mcp.advice import with_tool_errors
from a2e_async.contrib.mcp.progress import ProgressReports
from a2e_async.contrib.mcp.results import SavedResults, file_content
from a2e_async.errors import A2EError, BudgetExceeded, InvalidInput, TaskFailed, TaskTimeout
from a2e_async.models import Output, Record, Status

ToolResult = dict[str, Any]

MAX_WAIT_SECONDS: Final = 300.0
"""Maximum duration of one call of ``wait`` (s)."""

MAX_CACHED_TASKS: Final = 1000
"""Maximum number of task handles in memory."""

BUDGET_RETRY_DELAYS: Final = (0.1, 0.2, 0.4, 0.8)
"""Maximum pauses (s) before a start is tried again that only collided with another server's."""

INPUT_DIGEST_META: Final = "mcp_inputs"
"""Key in ``meta`` under which the digest of the agent's inputs is stored."""

KindArgument = Annotated[str, Field(description="A kind of task, as listed by the tool kinds.")]
InputsArgument = Annotated[
    dict[str, Any],
    Field(
        description="The kind's inputs by name. A media input is a URL, a path inside the "
        "allowed input directory, or the ref of a finished task, whose output is then used."
    ),
]
RefArgument = Annotated[str, Field(description="The ref of a task, as returned by start.")]


class Tools:
    """The tools that an agent can call; it reads their docstrings.

    Created by `make_server` and changed by the agent's calls; lives as long as the server.
    """

    def __init__(
        self,
        a2e: A2E,
        journal: Journal,
        out: Path,
        files: Path | None,
        budget: Budget | None,
        results: SavedResults,
    ) -> None:
        self._a2e = a2e
        self._results = results
        self._known = a2e._context.kinds  # pyright: ignore[reportPrivateUsage]  # of this package
        self._journal = journal
        self._output_directory = out
        self._input_directory = files
        self._budget = budget
        self._tasks: OrderedDict[str, Task[Any]] = OrderedDict()
        self._started_keys: set[str] = set()
        """Keys that this run started, whose cost the budget has counted already."""
        self._budget_lock = asyncio.Lock()

    @with_tool_errors
    async def kinds(
        self,
        kind: Annotated[str | None, Field(description="Describe this kind alone.")] = None,
    ) -> ToolResult:
        """List all kinds of task, or describe the inputs of one. Free."""
        if kind is not None:
            return _describe_kind(self._kind(kind))
        return {"kinds": {name: self._known.named(name).summary for name in self._known.names()}}

    @with_tool_errors
    async def quote(self, kind: KindArgument, inputs: InputsArgument) -> ToolResult:
        """Return the price of a start in coins (null: the service does not report it). Free."""
        given = await self._check_inputs(self._kind(kind), inputs)
        coins = await self._a2e.kind(kind).quote(**given)
        return {"coins": coins, "budget": await self._budget_status()}

    @with_tool_errors
    async def start(
        self,
        kind: KindArgument,
        inputs: InputsArgument,
        key: Annotated[
            str | None,
            Field(
                description="Your own name for this start. The same key returns the same task, "
                "charged once. By default the kind and the inputs identify the start."
            ),
        ] = None,
    ) -> ToolResult:
        """Start a task and return its ref. COSTS COINS, once for the same kind and inputs."""
        found = self._kind(kind)
        digest = _input_digest(
            kind, {name: self._with_file_version(value) for name, value in inputs.items()}
        )
        key = key or f"mcp:{digest[:32]}"
        if (known := await self._existing_task(found, key, digest)) is not None:
            return {
                **_task_status(known),
                "key": key,
                "paid_now": False,
                "budget": await self._budget_status(),
            }
        if self._budget is None:
            raise ToolError(
                "This server cannot start tasks, because it has no budget. Tell your user: they "
                "can run it with a2e mcp --budget COINS"
            )
        given = await self._check_inputs(found, inputs)
        task = await self._start(self._budget, found, given, key, digest)
        self._cache_task(task)
        return {
            **_task_status(task),
            "key": key,
            "paid_now": True,
            "budget": await self._budget_status(),
        }

    @with_tool_errors
    async def status(self, ref: RefArgument) -> ToolResult:
        """Check the status of a task once. Free."""
        return await self._poll(ref, 0)

    @with_tool_errors
    async def wait(
        self,
        ref: RefArgument,
        context: Context,
        seconds: Annotated[
            float,
            Field(
                ge=0, le=MAX_WAIT_SECONDS, description="How long to wait; the task keeps running."
            ),
        ] = 50,
    ) -> ToolResult:
        """Wait for a task and return its status. Not done yet is not an error: wait again. Free."""
        return await self._poll(ref, seconds, context)

    @with_tool_errors
    async def download(self, ref: RefArgument) -> CallToolResult:
        """Save all outputs of a finished task; return their paths and resource links. Free.

        Small images are in the result, too.
        """
        task = self._task(ref)
        with suppress(TaskFailed):  # raised again once its good outputs are saved
            await task.wait(timeout=0)
        paths = await task.download(self._output_directory)
        for path in paths:
            self._results.add(path.absolute())
        saved = {"ref": task.ref, "paths": [str(path) for path in paths]}
        content: list[ContentBlock] = [TextContent(text=json.dumps(saved))]
        for path in paths:
            content += await asyncio.to_thread(file_content, path.absolute())
        return CallToolResult(content=content, structured_content=saved)

    @with_tool_errors
    async def unfinished(self) -> ToolResult:
        """List tasks of all runs that are started but not saved yet, and the coins spent. Free."""
        entries, more = await self._journal.entries(open_only=True, limit=200)
        listed = [
            {"key": e.key, "kind": e.kind, "ref": e.ref, "state": e.state.name.lower()}
            for e in entries
        ]
        return {"tasks": listed, "more": bool(more), "budget": await self._budget_status()}

    # -- internals ---------------------------------------------------------------------------

    def _kind(self, name: str) -> TaskKind[..., Any]:
        if name not in self._known.names():
            close = get_close_matches(name, self._known.names(), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ToolError(f"There is no kind {name!r:.60}.{hint} The tool kinds lists them all.")
        return self._known.named(name)

    async def _start(
        self,
        budget: Budget,
        kind: TaskKind[..., Any],
        inputs: Mapping[str, Any],
        key: str,
        digest: str,
    ) -> Task[Any]:
        """Start a task within what all servers of the journal leave of the budget."""
        namespace, meta = self._a2e.kind(kind.name), {INPUT_DIGEST_META: digest}
        # Before the start is sent: its cost must not be counted as that of another run.
        self._started_keys.add(key)
        delays = list(BUDGET_RETRY_DELAYS)
        while True:
            await self._update_budget(budget)
            try:
                return await namespace.start(**inputs, key=key, meta=meta)
            except A2EError as error:
                is_collision = isinstance(error, BudgetExceeded) and error.pending
                if not is_collision or not delays:
                    await self._forget_unsent(key)
                    raise
            # Another server was about to send one, too. Its own is counted now, or was not sent.
            await asyncio.sleep(delays.pop(0) * random.random())  # noqa: S311  # no secret

    async def _forget_unsent(self, key: str) -> None:
        """Forget a key of which the journal has nothing of this server: another may start it."""
        entry = await self._journal.get(key)
        if entry is None or entry.owner != self._journal.owner:
            self._started_keys.discard(key)

    async def _budget_status(self) -> ToolResult | None:
        budget = self._budget
        if budget is None:
            return None
        await self._update_budget(budget)
        return {"coins": budget.coins, "spent": budget.spent, "left": budget.left}

    async def _update_budget(self, budget: Budget) -> None:
        """Add to the budget what other runs that share the journal have spent by now."""
        async with self._budget_lock:
            # First the sum, then its own parts, to which other calls may add: none of them is taken
            # for another run's. What that leaves out the journal counts when the start is sent.
            days = await self._journal.spent()
            entries = [await self._journal.get(key) for key in list(self._started_keys)]
            mine = [entry for entry in entries if entry]
            own = sum(entry.cost for entry in mine)
            # The journal lists the reservation of a task with unknown price separately from known
            # prices; so does the budget.
            unknown = sum(
                e.reserved or 0 for e in mine if e.coins is None and e.succeeded is not False
            )
            reserved = sum(day.reserved for day in days) - unknown
            spent = sum(day.coins for day in days) - (own - unknown)
            budget.set_other_runs(spent, reserved)

    def _task(self, ref: str) -> Task[Any]:
        known = self._tasks.get(ref)
        if known is not None:
            return known
        try:
            return self._cache_task(self._a2e.attach(ref))
        except InvalidInput as error:
            raise ToolError(
                f"{ref!r:.60} is not the ref of a task. Pass one as start and unfinished return "
                "it, such as dubbing:66ea4dd80000000000000000."
            ) from error

    def _cache_task(self, task: Task[Any]) -> Task[Any]:
        self._tasks[task.ref] = task
        while len(self._tasks) > MAX_CACHED_TASKS:
            self._tasks.popitem(last=False)
        return task

    async def _existing_task(
        self, kind: TaskKind[..., Any], key: str, digest: str
    ) -> Task[Any] | None:
        """Return the existing task of a key, so that the budget is not checked again."""
        entry = await self._journal.get(key)
        if entry is None:
            return None
        if entry.kind != kind.name or (entry.meta or {}).get(INPUT_DIGEST_META) != digest:
            raise ToolError(
                f"The key {key!r:.60} was used for a start with other inputs. Pass another key to "
                "pay for a new start, or the same inputs to get the existing task."
            )
        if entry.state < State.ACCEPTED or entry.ref is None:
            return None  # starting it again searches for the task, or sends the start
        return self._task(entry.ref)

    async def _poll(self, ref: str, seconds: float, context: Context | None = None) -> ToolResult:
        task = self._task(ref)
        reports = None if context is None else ProgressReports(context, task)
        repeating = None if reports is None else asyncio.create_task(reports.repeat())
        try:
            async for _ in task.updates(timeout=seconds):
                if reports is not None:
                    await reports.report()
        except (TaskTimeout, TaskFailed):
            pass
        finally:
            if repeating is not None:
                repeating.cancel()
                await asyncio.gather(repeating, return_exceptions=True)  # the host may be gone
        return _task_status(task)

    async def _check_inputs(
        self, kind: TaskKind[..., Any], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return an agent's inputs as arguments of `start`; raise `InvalidInput` for others."""
        known = {f.name: f for f in _kind_inputs(kind)}
        unknown = [name for name in inputs if name not in known]
        if unknown and kind.input is not None:
            names = ", ".join(known)
            raise InvalidInput(
                f"{kind.name} has no input {unknown[0][:60]!r}. Its inputs are: {names}.",
                field=unknown[0],
            )
        return {
            name: await self._resolve_media(name, value)
            if name in known and known[name].media is not None
            else value
            for name, value in inputs.items()
        }

    async def _resolve_media(self, field: str, value: Any) -> Any:
        if is_sequence(value):
            return [await self._resolve_media(field, item) for item in value]
        if not isinstance(value, str):
            raise InvalidInput(
                f"{field}: a media input must be text: a URL, a path or a ref.", field=field
            )
        if is_url(value):
            return value
        if value.partition(":")[0] in self._known.names():
            return await self._output_of_task(field, value)
        return self._local_file(field, value)

    async def _output_of_task(self, field: str, ref: str) -> Output:
        try:
            record: Record = await self._task(ref).wait(timeout=0)
        except TaskTimeout as error:
            raise InvalidInput(
                f"{field}: {ref} is not finished. Call wait first.", field=field
            ) from error
        return record.output

    def _with_file_version(self, value: Any) -> Any:
        """Return a value, with size and time for a local file: a new version counts as new."""
        if is_sequence(value):
            return [self._with_file_version(item) for item in value]
        path = (
            _file_inside(self._input_directory, value)
            if self._input_directory and isinstance(value, str)
            else None
        )
        if path is None:
            return value
        seen = path.stat()
        return [value, seen.st_size, seen.st_mtime_ns]

    def _local_file(self, field: str, value: str) -> Path:
        if self._input_directory is None:
            raise InvalidInput(
                f"{field}: this server reads no local files. Pass a URL or the ref of a task, or "
                "ask your user to run it with a2e mcp --files DIRECTORY",
                field=field,
            )
        path = _file_inside(self._input_directory, value)
        if path is None:
            raise InvalidInput(
                f"{field}: there is no file {value[:90]!r} in the allowed directory "
                f"{self._input_directory}.",
                field=field,
            )
        return path


def _file_inside(directory: Path, name: str) -> Path | None:
    """Return a file's real path, None unless it is inside the directory after resolving links."""
    try:
        path = (directory / name).resolve()
        return path if path.is_relative_to(directory) and path.is_file() else None
    except (OSError, ValueError):  # the name is too long or contains a null character
        return None


def _task_status(task: Task[Any]) -> ToolResult:
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
        "next": _next_step(task),
    }


def _next_step(task: Task[Any]) -> str:
    if not task.done:
        return "call wait; do not start it again"
    if task.status is Status.FAILED:
        return "it failed; another attempt is charged again and needs a new key"
    record = task.record
    return "call download" if record and record.outputs else "nothing is left to do"


def _kind_inputs(kind: TaskKind[..., Any]) -> list[InputField]:
    return [f for f in kind.inputs if not f.common or f.name == "name"]


def _describe_kind(kind: TaskKind[..., Any]) -> ToolResult:
    return {
        "kind": kind.name,
        "makes": kind.summary,
        "outputs": list(dict.fromkeys(result.media for result in kind.outputs)),
        "usual_seconds": list(kind.typical_duration) if kind.typical_duration else None,
        "inputs": {
            f.name: {
                "required": f.required,
                "type": _describe_type(f),
                "meaning": doc.text if (doc := f.find_metadata(FieldDoc)) else "",
            }
            for f in _kind_inputs(kind)
        },
        "takes_other_inputs": kind.input is None,
    }


def _describe_type(f: InputField) -> str:
    if (media := f.find_metadata(AcceptedMedia)) is not None:
        return f"{' or '.join(media.types)}: URL, path or ref (see inputs of start)"
    return _describe_hint(f.hint)


def _describe_hint(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(json.dumps(word) for word in get_args(hint))
    parts = [part for part in get_args(hint) if part is not type(None)]
    if type(None) in get_args(hint) or any(get_origin(part) is Literal for part in parts):
        return " or ".join(map(_describe_hint, parts))
    return formatannotation(hint).replace("collections.abc.", "")


def _input_digest(kind: str, inputs: Mapping[str, Any]) -> str:
    wire = json.dumps([kind, dict(inputs)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(wire.encode()).hexdigest()
