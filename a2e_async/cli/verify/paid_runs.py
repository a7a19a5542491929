"""Runs one cheap task of a kind through the normal client, and records how it goes."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from attrs import evolve

from a2e_async._core.http.call import proxy_setting
from a2e_async._core.tasks.parsing import read_id, read_raw_records
from a2e_async.cli.verify.contract import data_of
from a2e_async.cli.verify.report import PaidRun
from a2e_async.cli.verify.samples import fewest_inputs, with_files
from a2e_async.cli.verify.shapes import content_coding, media_type, status_word, url_format
from a2e_async.errors import A2EError, StartOutcomeUnknown, TaskFailed

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async._core.tasks.task import Task
    from a2e_async.cli.context import CommandContext
    from a2e_async.cli.verify.verifier import RawResponse, Verifier
    from a2e_async.models import Output

LIST_TRIES: Final = 8
"""Requests for the list until a new task is in it, one a second."""

_STORE_TIMEOUT: Final = 20.0


async def quote_runs(verifier: "Verifier", kinds: "list[TaskKind[..., Any]]") -> list[PaidRun]:
    """Return what a run of each kind would cost. Free."""
    runs: list[PaidRun] = []
    for kind in kinds:
        try:
            coins = await verifier.a2e.kind(kind.name).quote(**with_files(fewest_inputs(kind)))
        except A2EError as error:
            runs.append(PaidRun(kind=kind.name, outcome=type(error).__name__))
        else:
            outcome = "skipped" if coins is None else "quoted"
            runs.append(PaidRun(kind=kind.name, outcome=outcome, quoted=coins))
    verifier.background.clear()
    return runs


async def pay_for(
    verifier: "Verifier", context: "CommandContext", kind: "TaskKind[..., Any]", run: PaidRun
) -> PaidRun:
    """Run one task and return what was seen. The same journal never pays for a kind twice.

    Raises what the start raises if its outcome is unknown.
    """
    namespace = verifier.a2e.kind(kind.name)
    inputs = with_files(fewest_inputs(kind))
    loop = asyncio.get_running_loop()
    verifier.show(f"{kind.name}: starting")
    try:
        task: Task[Any] = await namespace.start(**inputs, key=f"verify {kind.name}")
    except StartOutcomeUnknown:
        raise
    except A2EError as error:
        verifier.observe_background(kind)
        return evolve(run, outcome=type(error).__name__)
    context.track(task)
    started = loop.time()
    run = evolve(run, outcome="running", coins=task.coins)
    run = evolve(run, name_echo=_name_echo(kind, task, verifier.background))
    run = evolve(run, listed_after=await _listed_after(verifier, kind, task.ids[0], started))
    if not kind.pollable:
        verifier.observe_background(kind)
        return run
    words: list[tuple[float, str]] = []
    try:
        async for update in task.updates():
            verifier.show(f"{kind.name}: {update.status}")
            word = status_word(update.raw_status) or "not a word"
            if not words or words[-1][1] != word:
                words.append((round(loop.time() - started, 1), word))
        record = await task.wait()
        outcome = "succeeded"
    except TaskFailed as error:
        record, outcome = error.record, "failed"
    finally:
        verifier.observe_background(kind)
    run = evolve(
        run,
        outcome=outcome,
        statuses=tuple(words),
        seconds=round(loop.time() - started, 1),
        coins=run.coins if record.coins is None else record.coins,
    )
    if record.outputs:
        run = await _check_result(run, record.outputs[0])
    await task.ack()
    return run


def _name_echo(
    kind: "TaskKind[..., Any]", task: "Task[Any]", responses: "list[RawResponse]"
) -> str:
    """Return whether the response to the start repeats the name that the client chose."""
    if kind.name_field is None or task.record is None:
        return ""
    starts = [raw for raw in responses if raw.path == kind.start.path]
    rows = read_raw_records(data_of(starts[-1].json)) if starts else []
    name = rows[0].get(kind.name_field) if rows else None
    if not isinstance(name, str) or not name:
        return "absent"
    return "same" if task.record.name is None else "changed"


async def _listed_after(
    verifier: "Verifier", kind: "TaskKind[..., Any]", id: str, started: float
) -> float | None:
    """Return the seconds until the kind's list shows the task; None if it does not."""
    if kind.list is None:
        return None
    loop, namespace = asyncio.get_running_loop(), verifier.a2e.kind(kind.name)
    path = kind.list.path
    for turn in range(LIST_TRIES):
        await asyncio.sleep(1 if turn else 0)
        try:
            await namespace.list(page_size=min(10, kind.max_page_size))
        except A2EError:
            continue
        listed = [raw for raw in verifier.background if raw.path == path]
        rows = read_raw_records(data_of(listed[-1].json)) if listed else []
        if any(read_id(row) == id for row in rows):
            return round(loop.time() - started, 1)
    return None


async def _check_result(run: PaidRun, output: "Output") -> PaidRun:
    """Request the head and the first bytes of a result, as any HTTP client would, without key."""
    run = evolve(run, result=url_format(output.url))
    if output.expires_at is not None:
        left = (output.expires_at - datetime.now(UTC)).total_seconds() / 3600
        run = evolve(run, expires_hours=round(left, 1))
    timeout = aiohttp.ClientTimeout(total=_STORE_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            proxy = proxy_setting(output.url)
            async with session.head(output.url, proxy=proxy, allow_redirects=False) as response:
                run = evolve(run, head=response.status)
            ranges = {"Range": "bytes=0-99", "Accept-Encoding": "identity"}
            async with session.get(output.url, proxy=proxy, headers=ranges) as response:
                kind = media_type(response.headers)
                run = evolve(run, ranges=response.status, media_type=kind)
            gzip = {"Accept-Encoding": "gzip"}
            async with session.get(output.url, proxy=proxy, headers=gzip) as response:
                coding = response.headers.get("Content-Encoding", "identity")
                run = evolve(run, encoding=content_coding(coding))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):  # of a host that is no name
        pass  # what was found until then is in the report
    return run
