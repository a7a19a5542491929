"""Asks for confirmation before something is deleted or closed for good."""

import sys

from a2e_async.cli.printer import Printer
from a2e_async.cli.streams import is_terminal


def confirm(printer: Printer, question: str, verb: str, done: str) -> bool:
    """Ask on the terminal and return whether the answer is yes; without a terminal it is no.

    ``verb`` and ``done`` name the action, such as "delete" and "deleted".
    """
    if not is_terminal(sys.stdin):
        printer.error(
            f"error: {verb} asks for confirmation, which needs a terminal; add --yes to {verb} "
            "without confirmation."
        )
        return False
    printer.ask(f"{question} [y/N] ")
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    printer.error(f"Nothing was {done}.")
    return False
