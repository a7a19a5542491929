"""The ``a2e`` command. It needs the ``cli`` extra; its modules are imported when it runs."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from a2e_async._core.version import __version__
from a2e_async.cli.streams import write

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (by default the one in ``sys.argv``) and return its exit code."""
    missing = [name for name in ("cyclopts", "rich") if find_spec(name) is None]
    if missing:
        write(
            sys.stderr,
            f"error: the a2e command needs {' and '.join(missing)}; "
            "install with: pip install '.[cli]' in a clone, or pip install 'a2e-async[cli]'\n",
        )
        return 2
    given = sys.argv[1:] if arguments is None else list(arguments)
    words = [word for word in given if word != "--json"]
    if words in (["--version"], ["-V"]):  # without the parser, whose import takes most of the time
        text = __version__ if words == given else f'{{"version": "{__version__}"}}'
        error = write(sys.stdout, f"{text}\n")
        if error is not None:
            write(sys.stderr, f"error: stdout cannot be written: {error.strerror}.\n")
        return 0 if error is None else 6
    from a2e_async.cli.signals import exit_after_signal

    try:
        from a2e_async.cli.app import run

        code = run(given)
    except KeyboardInterrupt:
        code = 130
    if arguments is None:  # this process runs the command and nothing else
        exit_after_signal(code)
    return code
