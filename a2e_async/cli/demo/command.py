"""The command ``demo``."""

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

from a2e_async.cli import exits
from a2e_async.cli.demo.shelf import Shelf
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.places import make_ready
from a2e_async.cli.printer import Printer, columns, is_dumb, is_terminal
from a2e_async.cli.settings import Settings
from a2e_async.cli.show import coins_word, counted
from a2e_async.cli.signals import CODES

if TYPE_CHECKING:
    from a2e_async.cli.demo.process import SandboxProcess
    from a2e_async.cli.demo.report import Report
    from a2e_async.cli.demo.work import DemoJob
    from a2e_async.client import A2E

FAULTS: Final = "A2E_DEMO_FAULTS"
"""A variable for tests: a JSON list of faults that the sandbox is told before the jobs begin."""

SPEED: Final = 25.0
"""Thirty jobs then take 10 to 15 seconds."""


HELP: Final = (
    "Run many jobs against a sandbox on this machine and compare the books. Free, offline.\n\n"
    "Uploads the sample media, starts all jobs at once, waits, saves and checks every result, and "
    "asks the sandbox what it charged. Exit code 0 only if each job was paid once and each result "
    "is here and whole."
)


def demo(
    *,
    jobs: Annotated[
        int,
        Parameter(
            help="How many jobs, of three kinds in turn.",
            validator=validators.Number(gte=1, lte=1000),
        ),
    ] = 30,
    out: Annotated[
        Path, Parameter(name=("--out", "-o"), help="Where the results are saved.")
    ] = Path("a2e-demo"),
    speed: Annotated[
        float,
        Parameter(
            help="How many times faster than in truth the sandbox is.",
            validator=validators.Number(gt=0, lte=1_000_000),
        ),
    ] = SPEED,
    keep: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Keep the sandbox running afterwards, until Ctrl-C, to look at it.",
        ),
    ] = False,
    settings: Settings = Settings(),  # noqa: B008  # frozen
) -> int:
    """Run many jobs against a sandbox on this machine and compare the books. Free, offline."""
    return conduct(settings, lambda desk: _demo(desk, jobs, out, speed, keep))


async def _demo(desk: Desk, count: int, out: Path, speed: float, keep: bool) -> int:
    from a2e_async.cli.demo.process import sandbox_process

    make_ready(out)
    made: list[DemoJob] = []
    found = Shelf.of(out)
    desk.farewell = lambda: _farewell(made, found)
    desk.printer.note(f"A sandbox on this machine, {speed:g} times faster than in truth; no coins.")
    try:
        async with sandbox_process(speed) as sandbox:
            for fault in json.loads(os.environ.get(FAULTS, "[]")):
                await sandbox.order(fault)
            report = await _perform_all(desk, sandbox, made, count, out)
            _close(desk.printer, report)
            code = exits.FAILED if report.problems else exits.OK
            if keep:
                await _keep(desk.printer, sandbox)
    finally:
        found.drop_parts(made)
    return code


async def _perform_all(
    desk: Desk, sandbox: "SandboxProcess", made: "list[DemoJob]", count: int, out: Path
) -> "Report":
    from a2e_async.cli.demo.report import Report
    from a2e_async.cli.demo.table import live_table
    from a2e_async.cli.demo.work import Tally, perform, plan
    from a2e_async.client import A2E

    tally, printer, began = Tally(), desk.printer, time.monotonic()
    # The sandbox is on this machine: a proxy from the environment could only be in the way.
    async with A2E(
        sandbox.api_key, base_url=sandbox.base_url, on_event=tally.hear, trust_env=False
    ) as a2e:
        before = (await a2e.credits.balance()).coins
        made += plan(count, await _upload(a2e, printer))
        silent = printer.live or printer.quiet

        def say(job: "DemoJob") -> None:
            if not silent:
                printer.out(_line(job))

        async with live_table(printer, made), asyncio.TaskGroup() as group:
            for job in made:
                group.create_task(perform(a2e, job, out, say))
        balances = before, (await a2e.credits.balance()).coins
    return Report(
        jobs=made,
        ledger=await sandbox.ledger(),
        tally=tally,
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


def _close(printer: Printer, report: "Report") -> None:
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


async def _keep(printer: Printer, sandbox: "SandboxProcess") -> None:
    printer.error(
        "The sandbox goes on until Ctrl-C:\n"
        f"  export A2E_BASE_URL={sandbox.base_url}\n"
        f"  export A2E_API_KEY={sandbox.api_key}"
    )
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C then is an interruption
        for number in CODES:
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, done.set)
    await done.wait()


def _farewell(jobs: "Sequence[DemoJob]", found: "Shelf") -> list[str]:
    """Say what an interruption left: files, but no tasks, for those lived in the sandbox."""
    found.drop_parts(jobs)  # once more: a second Ctrl-C may have come before
    running = sum(job.task is not None and job.stage != "saved" for job in jobs)
    tasks = f", and its {counted(running, 'unfinished task')} with it" if running else ""
    files = len(found.new_files())
    return [
        f"The sandbox is gone{tasks}; nothing was spent.",
        f"{counted(files, 'file')} of this run {'is' if files == 1 else 'are'} in "
        f"{found.directory}. Against the real service you would now be told how to come back to "
        "each task.",
    ]


def _line(job: "DemoJob") -> str:
    took = "" if job.elapsed is None else f"{job.elapsed:5.1f} s"
    path = job.files[0][0].name if job.files else job.error
    return (
        f"job {job.number:>3}  {job.kind:<14}  {job.label:<6}  {job.status:<8}  {took}  "
        f"{'-' if job.coins is None else coins_word(job.coins):<8}  {path}"
    )
