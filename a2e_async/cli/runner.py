"""Runs a command on an event loop; reports its errors and interruptions."""

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.error_messages import describe_lost_start, error_message, where_to_search
from a2e_async.cli.formatting import output_json
from a2e_async.cli.printer import Printer
from a2e_async.cli.signals import SignalHandler, handle_signals
from a2e_async.errors import DecodeError, StartOutcomeUnknown, TaskGone

RESULT_ON_SITE: Final = "its result is shown on the service's site."
"""What to say of tasks for which the service has no status operation."""

_INTERRUPTIONS: Final = {
    exit_codes.INTERRUPTED: "interrupted",
    exit_codes.TERMINATED: "terminated (SIGTERM)",
    exit_codes.HUNG_UP: "the terminal was closed (SIGHUP)",
}


def run_command(
    flags: OutputFlags, work: Callable[[CommandContext], Coroutine[Any, Any, int]]
) -> int:
    """Run a command's work on an event loop and return its exit code.

    All errors and interruptions are reported here, so that every command ends the same way.
    """
    context = CommandContext(flags=flags, printer=Printer(as_json=flags.json, quiet=flags.quiet))
    if flags.debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    else:
        # What a second Ctrl-C cuts off is reported below, not as tracebacks of the event loop.
        logging.getLogger("asyncio").addHandler(logging.NullHandler())
    with handle_signals() as signals:
        try:
            code = _run(signals, work(context))
            return context.printer.exit_code(_report_left_over(context, code))
        except (KeyboardInterrupt, asyncio.CancelledError):
            signals.reporting = True
            return _report_interruption(context, signals.code)
        except Exception as error:
            # When the terminal is gone, every further write to it fails.
            if signals.raised or (isinstance(error, OSError) and signals.number is not None):
                signals.reporting = True
                return _report_interruption(context, signals.code)
            return report_error(error, context)


def _run(signals: SignalHandler, work: Coroutine[Any, Any, int]) -> int:
    """Run the work on an event loop and return its exit code."""
    runner = asyncio.Runner()
    try:
        return runner.run(signals.run(work))
    finally:
        # An exception raised in the loop's own code may lose what it was about to call, and closing
        # it waits for every task: for good, if one waits for such a call.
        if not signals.raised:
            runner.close()


def _report_left_over(context: CommandContext, code: int) -> int:
    """Print which charged tasks a command that succeeded has not handled; return the exit code.

    The response to a start may name fewer tasks than were ordered. The client searches for the
    others while the command continues, and these are of no job.
    """
    if code != exit_codes.OK:
        return code  # it has reported what is left
    for task in context.unclaimed:
        context.printer.error(
            f"The start also created {task.ref}, which its response did not name. Download it "
            f"with: a2e task download {task.ref}"
        )
        code = exit_codes.PARTIAL
    for recovery in context.unknown:
        tasks = "1 task" if recovery.expected == 1 else f"{recovery.expected} tasks"
        context.printer.error(
            f"{describe_lost_start(recovery)} may have created {tasks} more, which may have been "
            f"charged and were not found. Search for the name {recovery.name!r} in: "
            f"{where_to_search(recovery)}"
        )
        code = exit_codes.UNKNOWN
    return code


def report_error(error: Exception, context: CommandContext) -> int:
    """Print what went wrong in one line and how to continue, if possible; return the exit code."""
    printer, code = context.printer, exit_codes.code_for(error)
    message = error_message(error)
    if context.flags.debug:
        printer.error("".join(traceback.format_exception(error)).rstrip())
        if isinstance(error, DecodeError) and error.excerpt:
            printer.error(f"response: {error.excerpt}")
    printer.error(f"error: {message}")
    document: dict[str, Any] = {
        "type": type(error).__name__,
        "message": message,
        "exit_code": code,
    }
    if isinstance(error, StartOutcomeUnknown):
        recovery = error.recovery.to_dict()
        printer.error(
            f"Search for it with: {context.resume_command or where_to_search(error.recovery)}"
        )
        printer.error(json.dumps(recovery))
        document["recovery"] = recovery
        document["candidates"] = [record.id for record in error.candidates]
    if isinstance(error, TaskGone):  # nothing continues
        context.tasks.pop(error.ref, None)
    if context.tasks:
        document["refs"] = list(context.tasks)
    if context.unsaved_outputs:
        document["outputs"] = [output_json(output) for output in context.unsaved_outputs]
    if code not in (exit_codes.FAILED, exit_codes.TIMEOUT):  # a timeout's message says it already
        _print_how_to_continue(context)
    printer.json({"error": document})
    return code


def _print_how_to_continue(context: CommandContext) -> list[str]:
    """Print how to get the result of each charged task; return the refs of unfinished ones."""
    refs = [ref for ref, task in context.tasks.items() if not task.done]
    for ref in refs:
        pollable = context.tasks[ref].kind.pollable
        advice = (
            f"Wait for it with: a2e task wait {ref}" if pollable else f"{ref}: {RESULT_ON_SITE}"
        )
        context.printer.error(f"The task continues. {advice}")
    for ref, task in context.tasks.items():
        if task.record is not None and task.done and task.record.outputs:
            context.printer.error(
                f"The service keeps its results. Download them with: a2e task download {ref}"
            )
    for output in context.unsaved_outputs:
        context.printer.error(
            f"It is paid and not saved. Download it before its URL expires: {output.url}"
        )
    return refs


def _report_interruption(context: CommandContext, code: int) -> int:
    printer, message = context.printer, _INTERRUPTIONS[code]
    printer.stop_drawing()
    printer.error(message)
    refs: list[str] = []
    if context.interruption_lines is not None:
        for line in context.interruption_lines():
            printer.error(line)
    else:
        refs = _print_how_to_continue(context)
        for recovery in context.lost_starts:
            named = f"the name {recovery.name!r}" if recovery.name else "it"
            search = (
                f"it with: {context.resume_command}"
                if context.resume_command
                else f"{named} in: {where_to_search(recovery)}"
            )
            printer.error(
                f"{describe_lost_start(recovery)} was sent and got no response: it may have been "
                f"charged. Search for {search}"
            )
            printer.error(json.dumps(recovery.to_dict()))
    document = {
        "type": "Interrupted",
        "message": message,
        "exit_code": code,
        "refs": refs,
        "recoveries": [recovery.to_dict() for recovery in context.lost_starts],
        "outputs": [output_json(output) for output in context.unsaved_outputs],
    }
    printer.json({"error": document})
    return code
