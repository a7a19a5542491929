"""``version``: like ``--version``."""

from a2e_async._core.version import __version__
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.printer import Printer


def version(*, flags: OutputFlags = OutputFlags()) -> int:  # noqa: B008  # frozen
    """Print the version."""
    printer = Printer(as_json=flags.json)
    printer.out(__version__)
    printer.json({"version": __version__})
    return printer.exit_code(exit_codes.OK)
