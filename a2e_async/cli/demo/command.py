"""``demo``: runs many jobs against a sandbox and checks the charges."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter, validators

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.demo.output_directory import OutputDirectory
from a2e_async.cli.formatting import format_coins, format_count
from a2e_async.cli.output_paths import prepare_directory
from a2e_async.cli.printer import Printer, columns, is_dumb, is_terminal
from a2e_async.cli.runner import run_command
from a2e_async.cli.signals import CODES

if TYPE_CHECKING:
    from a2e_async.cli.demo.jobs import DemoJob
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
        Parameter(
            negative="",
            show_default=False,
            help="Keep the sandbox running afterwards, until Ctrl-C.",
        ),
    ] = False,
    flags: OutputFlags = OutputFlags(),  # noqa: B008  # frozen
) -> int:
    """Run many jobs against a sandbox on this machine and check the charges. Free, offline."""
    return run_command(flags, lambda context: _demo(context, jobs, out, speed, keep))


async def _demo(context: CommandContext, count: int, out: Path, speed: float, keep: bool) -> int:
    from a2e_async.cli.demo.sandbox_process import sandbox_process

    prepare_directory(out)
    jobs: list[DemoJob] = []
    directory = OutputDirectory.of(out)
    context.interruption_lines = lambda: _interruption_lines(jobs, directory)
    context.printer.note(
        f"A sandbox on this machine, {speed:g} times faster than in real time; no coins are spent."
    )
    try:
        async with sandbox_process(speed) as sandbox:
            for fault in json.loads(os.environ.get(FAULTS_VARIABLE, "[]")):
                await sandbox.inject(fault)
            report = await _perform_all(context, sandbox, jobs, count, out)
            _print_report(context.printer, report)
            code = exit_codes.FAILED if report.problems else exit_codes.OK
            if keep:
                await _keep_running(context.printer, sandbox)
    finally:
        directory.delete_part_files(jobs)
    return code


async def _perform_all(
    context: CommandContext, sandbox: "SandboxProcess", jobs: "list[DemoJob]", count: int, out: Path
) -> "DemoReport":
    from a2e_async.cli.demo.jobs import RequestCounts, plan, run_job
    from a2e_async.cli.demo.live_table import live_table
    from a2e_async.cli.demo.report import DemoReport
    from a2e_async.client import A2E

    request_counts, printer, began = RequestCounts(), context.printer, time.monotonic()
    # The sandbox is on this machine, where a proxy from the environment cannot reach it.
    async with A2E(
        sandbox.api_key,
        base_url=sandbox.base_url,
        on_event=request_counts.on_event,
        trust_env=False,
    ) as a2e:
        before = (await a2e.credits.balance()).coins
        jobs += plan(count, await _upload(a2e, printer))
        silent = printer.live or printer.quiet

        def show(job: "DemoJob") -> None:
            if not silent:
                printer.out(_job_line(job))

        async with live_table(printer, jobs), asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(run_job(a2e, job, out, show))
        balances = before, (await a2e.credits.balance()).coins
    return DemoReport(
        jobs=jobs,
        ledger=await sandbox.ledger(),
        request_counts=request_counts,
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


def _interruption_lines(jobs: "Sequence[DemoJob]", directory: "OutputDirectory") -> list[str]:
    """Return what an interruption left: files, but no tasks, because those end with the sandbox."""
    directory.delete_part_files(jobs)  # again: a second Ctrl-C may have skipped the first
    running = sum(job.task is not None and job.stage != "saved" for job in jobs)
    tasks = f", and its {format_count(running, 'unfinished task')} with it" if running else ""
    files = len(directory.new_files())
    return [
        f"The sandbox has ended{tasks}; nothing was spent.",
        f"{format_count(files, 'file')} of this run {'is' if files == 1 else 'are'} in "
        f"{directory.path}. With the real service, this command would now print how to continue "
        "each task.",
    ]


def _job_line(job: "DemoJob") -> str:
    duration = "" if job.elapsed is None else f"{job.elapsed:5.1f} s"
    path = job.files[0][0].name if job.files else job.error
    return (
        f"job {job.number:>3}  {job.kind:<14}  {job.label:<6}  {job.status:<8}  {duration}  "
        f"{'-' if job.coins is None else format_coins(job.coins):<8}  {path}"
    )
