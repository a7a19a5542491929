"""``demo``: runs many jobs against a sandbox and checks the charges."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter, validators

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import OutputFlags, switch
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_coins, format_count
from a2e_async.cli.output_paths import prepare_directory
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.runner import run_command
from a2e_async.cli.signals import CODES
from a2e_async.cli.streams import is_dumb, is_terminal
from a2e_async.events import Attempt, Event

if TYPE_CHECKING:
    from a2e_async.cli.batch.progress_bar import BatchProgress
    from a2e_async.cli.demo.jobs import JobResult
    from a2e_async.cli.demo.report import DemoReport
    from a2e_async.cli.demo.sandbox_process import SandboxProcess
    from a2e_async.client import A2E

FAULTS_VARIABLE: Final = "A2E_DEMO_FAULTS"
"""Variable for tests: a JSON list of faults that the sandbox injects."""

SPEED: Final = 25.0
"""With it, thirty jobs take 10 to 15 seconds."""


HELP: Final = (
    "Run many jobs against a sandbox on this machine and check the charges. Free, offline.\n\n"
    "Uploads sample media, starts all jobs at once, waits for them, saves and checks every result, "
    "and compares the client's record of charges with the sandbox's ledger. The exit code is 0 "
    "only if each job was paid once and each result is saved and complete."
)


def demo(
    *,
    jobs: Annotated[
        int,
        Parameter(
            help="Number of jobs, of three kinds in turn.",
            validator=validators.Number(gte=1, lte=1000),
        ),
    ] = 30,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="Directory for the results.")] = Path(
        "a2e-demo"
    ),
    speed: Annotated[
        float,
        Parameter(
            help="How many times faster than in real time the sandbox runs.",
            validator=validators.Number(gt=0, lte=1_000_000),
        ),
    ] = SPEED,
    keep: Annotated[
        bool,
        switch("Keep the sandbox running afterwards, until Ctrl-C."),
    ] = False,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Run many jobs against a sandbox on this machine and check the charges. Free, offline."""
    return run_command(flags, lambda context: _demo(context, jobs, out, speed, keep))


async def _demo(context: CommandContext, count: int, out: Path, speed: float, keep: bool) -> int:
    from a2e_async.cli.batch.progress_bar import BatchProgress
    from a2e_async.cli.demo.sandbox_process import sandbox_process

    prepare_directory(out)
    results: list[JobResult] = []
    progress = BatchProgress(total=count)
    context.interruption_lines = lambda: _interruption_lines(results, progress, out)
    context.printer.note(
        f"A sandbox on this machine, {speed:g} times faster than in real time; no coins are spent."
    )
    async with sandbox_process(speed) as sandbox:
        for fault in json.loads(os.environ.get(FAULTS_VARIABLE, "[]")):
            await sandbox.inject(fault)
        report = await _run_jobs(context, sandbox, results, progress, out)
        _print_report(context.printer, report)
        if keep:
            await _keep_running(context.printer, sandbox)
    return exit_codes.FAILED if report.problems else exit_codes.OK


async def _run_jobs(
    context: CommandContext,
    sandbox: "SandboxProcess",
    results: "list[JobResult]",
    progress: "BatchProgress",
    out: Path,
) -> "DemoReport":
    from a2e_async.cli.batch.progress_bar import progress_bar
    from a2e_async.cli.demo.report import DemoReport
    from a2e_async.client import A2E

    requests, printer, began = Counter[str](), context.printer, time.monotonic()

    def on_event(event: Event) -> None:
        progress.on_event(event)
        if isinstance(event, Attempt):
            requests[_request_purpose(event.path)] += 1

    # The sandbox is on this machine, where a proxy from the environment cannot reach it.
    async with A2E(
        sandbox.api_key, base_url=sandbox.base_url, on_event=on_event, trust_env=False
    ) as a2e:
        before = (await a2e.credits.balance()).coins
        urls = await _upload(a2e, printer)
        with progress_bar(printer, progress) as update:
            async with contextlib.aclosing(_results(a2e, progress.total, urls, out)) as finished:
                async for result in finished:
                    results.append(result)
                    progress.counts["ok" if result.status == "saved" else "failed"] += 1
                    if not printer.quiet:
                        printer.out(_job_line(result, printer))
                    update()
        balances = before, (await a2e.credits.balance()).coins
    return DemoReport(
        results=sorted(results, key=lambda result: result.number),
        ledger=await sandbox.ledger(),
        requests=requests,
        seconds=time.monotonic() - began,
        out=out,
        balances=balances,
    )


async def _upload(a2e: "A2E", printer: Printer) -> dict[str, str]:
    from a2e_async.sandbox import media

    sources = {"speech": media.speech(), "portrait": media.portrait(), "clip": media.clip()}
    urls = {name: await a2e.files.upload(path) for name, path in sources.items()}
    printer.note(f"uploaded {', '.join(path.name for path in sources.values())}")
    return urls


async def _results(
    a2e: "A2E", count: int, urls: dict[str, str], out: Path
) -> "AsyncGenerator[JobResult]":
    """Run all jobs at once; yield each one when its files are checked and in ``out``."""
    from a2e_async.cli.demo.jobs import JobResult, plan
    from a2e_async.sandbox import check_media

    began = time.monotonic()
    # What an interruption leaves unfinished in there cannot be resumed: the sandbox ends, too.
    with tempfile.TemporaryDirectory(prefix=".a2e-demo-", dir=out) as unchecked:
        outcomes = a2e.batch(plan(count, urls), limit=count, download_to=unchecked)
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                checks = [await asyncio.to_thread(check_media, path) for path in outcome.paths]
                paths = [path.replace(out / path.name) for path in outcome.paths]
                files = dict(zip(paths, checks, strict=True))
                yield JobResult(outcome, files, time.monotonic() - began)


def _request_purpose(path: str) -> str:
    from a2e_async.cli.demo.jobs import KINDS
    from a2e_async.kinds.registry import kind_named

    if path in {kind_named(name).start.path for name in KINDS}:
        return "start"
    if path.endswith("/remainingCoins"):
        return "account"
    return "upload" if "/r2/" in path else "poll"


def _print_report(printer: Printer, report: "DemoReport") -> None:
    if is_terminal(sys.stdout) and not is_dumb() and not printer.as_json:
        from rich.table import Table

        table = Table(show_header=False)
        for row in report.rows():
            table.add_row(*row)
        printer.console(stderr=False).print(table)
    else:
        printer.out(columns(report.rows()))
    for problem in report.problems:
        printer.error(f"error: {problem}")
    printer.out(report.headline)
    printer.json(report.to_json())


async def _keep_running(printer: Printer, sandbox: "SandboxProcess") -> None:
    printer.error(
        "The sandbox runs until Ctrl-C:\n"
        f"  export A2E_BASE_URL={sandbox.base_url}\n"
        f"  export A2E_API_KEY={sandbox.api_key}"
    )
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
        for number in CODES:
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, done.set)
    await done.wait()


def _interruption_lines(
    results: "list[JobResult]", progress: "BatchProgress", out: Path
) -> list[str]:
    """Return what an interruption left: files, but no tasks, because those end with the sandbox."""
    running = progress.started - sum(result.outcome.task is not None for result in results)
    tasks = f", and its {format_count(running, 'unfinished task')} with it" if running else ""
    files = sum(len(result.files) for result in results)
    return [
        f"The sandbox has ended{tasks}; nothing was spent.",
        f"{format_count(files, 'file')} of this run {'is' if files == 1 else 'are'} in {out}. With "
        "the real service, this command would now print how to continue each task.",
    ]


def _job_line(result: "JobResult", printer: Printer) -> str:
    # A terminal may have no room for the names of files.
    name = next((path.name for path in result.files if not printer.live), "")
    coins = "-" if result.coins is None else format_coins(result.coins)
    return (
        f"job {result.number:>3}  {result.kind:<14}  {result.label:<6}  {result.status:<8}  "
        f"{result.seconds:5.1f} s  {coins:<8}  {result.error or name}"
    ).rstrip()
