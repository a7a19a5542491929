"""``open``: shows a task's results with the programs that the system has for them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import Ref, ServiceFlags, switch
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import task_json
from a2e_async.cli.output_paths import prepare_directory
from a2e_async.cli.preview import Preview, show_images
from a2e_async.cli.runner import run_command
from a2e_async.cli.start_commands import Timeout
from a2e_async.cli.start_commands import wait as wait_for
from a2e_async.cli.task_commands import attach_known


def open_result(
    ref: Ref,
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(
            name=("--out", "-o"), help="Directory for the files; default: a new temporary one."
        ),
    ] = None,
    preview: Preview = False,
    print_: Annotated[bool, switch("Only print the paths of the files.", name="--print")] = False,
    timeout: Timeout = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Download a task's results and show them with the system's programs. Free."""

    async def work(context: CommandContext) -> int:
        if out is not None:
            prepare_directory(out)
        async with context.client() as a2e:
            task = await attach_known(a2e, ref)
            await wait_for(context, task, timeout)
            paths = await task.download(f"{out or tempfile.mkdtemp(prefix='a2e-')}/")
        for path in paths:
            context.printer.out(str(path))
        previewed = show_images(context.printer, paths) if preview else ()
        context.printer.json({**task_json(task), "files": [str(path) for path in paths]})
        # A list: the others are shown, too, if one cannot be.
        shown = [print_ or path in previewed or _show(path) for path in paths]
        if not all(shown):
            context.printer.note("There is no program to show them, or no display.")
        return exit_codes.OK

    return run_command(flags, work)


def _show(path: Path) -> bool:
    """Open a local file, never a URL, with the system's program; return whether it could be."""
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606  # a file that was just downloaded
        return True
    command = _opener()
    if command is None:
        return False
    silent = subprocess.DEVNULL
    shown = subprocess.run(  # noqa: S603  # no shell
        [*command, str(path.absolute())], stdin=silent, stdout=silent, stderr=silent, check=False
    )
    return shown.returncode == 0


def _opener() -> Sequence[str] | None:
    if sys.platform == "darwin":
        return ("open",)
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    found = shutil.which("xdg-open") if display else None
    return (found,) if found else None
