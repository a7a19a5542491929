"""Asks before something is gone for good."""

import sys

from a2e_async.cli.printer import Printer, is_terminal


def agreed(printer: Printer, question: str, verb: str, done: str) -> bool:
    """Ask on the terminal and return whether the answer is yes; without a terminal it is no.

    ``verb`` and ``done`` are what is asked for, as in delete and deleted.
    """
    if not is_terminal(sys.stdin):
        printer.error(f"error: {verb} asks on a terminal only; add --yes to {verb} without asking.")
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    printer.error(f"Nothing was {done}.")
    return False
