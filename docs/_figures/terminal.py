"""Pictures of the terminal, from real runs against a sandbox: ``python docs/_figures/terminal.py``.

``_static/batch.svg`` is a batch half-way, ``_static/demo.svg`` the end of ``a2e demo``. Only the
name of the temporary directory is replaced.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from a2e_async.sandbox import Sandbox, media

STATIC = Path(__file__).resolve().parents[1] / "_static"
COMMAND = Path(sys.executable).with_name("a2e")
WIDTH = 100

PIECES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


def shown_by(output: str) -> list[str]:
    """Return the lines that a terminal shows after this output, colours as they came."""
    lines, row, overwrites = [""], 0, False
    for piece in PIECES.findall(output.replace("\r\n", "\n")):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            overwrites = True  # what comes next is written over the line
            continue
        elif piece.endswith("A"):
            row = max(row - int(piece[2:-1] or 1), 0)
        elif piece.endswith("K"):
            lines[row] = ""
        elif piece.endswith("m") or not piece.startswith("\x1b"):
            lines[row] = piece if overwrites and piece.strip() else lines[row] + piece
        overwrites = False
    return lines


def run(
    arguments: list[str], folder: Path, env: Mapping[str, str], until: Callable[[str], bool]
) -> str:
    """Return what a command wrote to its terminal until then; end it by Ctrl-C."""
    # No fork of this process: the sandbox runs in a thread, whose locks a fork would keep forever.
    terminal, other_end = pty.openpty()
    child = subprocess.Popen(  # noqa: S603  # our own
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **env},
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        start_new_session=True,
    )
    os.close(other_end)
    written, last = "", time.monotonic() + 120
    while time.monotonic() < last and not until(written):
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            written += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # how Linux reports that the command has ended
            break
    child.send_signal(signal.SIGINT)
    child.wait()
    os.close(terminal)
    return written


def picture(name: str, title: str, lines: list[str]) -> None:
    """Write an SVG; the reader's own fixed-width font is used, so nothing is loaded for it."""
    console = Console(width=WIDTH, record=True, file=StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), overflow="ellipsis", no_wrap=True)
    svg = console.export_svg(title=title, unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, monospace")
    (STATIC / f"{name}.svg").write_text("\n".join(map(str.rstrip, svg.splitlines())) + "\n")


def batch(folder: Path) -> None:
    """A batch of 24 jobs of three kinds, half-way; some of them done by an earlier run."""
    talk = shutil.copy(media.speech(), folder / "talk.wav").name
    face = shutil.copy(media.portrait(), folder / "portrait.png").name
    says = {"prompt": "smile", "negative_prompt": "blurry"}
    jobs = [
        *(
            {"kind": "dubbing", "input": {"source_url": talk, "target_lang": lang}}
            for lang in LANGS
        ),
        *({"kind": "image_to_video", "input": {"image_url": face, **says}} for _ in LANGS),
        *({"kind": "talking_photo", "input": {"image_url": face, **says}} for _ in LANGS),
    ]
    for n, job in enumerate(jobs):
        job["key"] = f"{job['kind']}-{n:02}"
    jobs.sort(key=lambda job: str(job["key"])[-1])
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    words = ["batch", "jobs.jsonl", "-o", "out", "--journal", "jobs.db", "--limit", "6"]
    with Sandbox(speed=30, seed=7) as sandbox:
        sandbox.faults.fail("talking_photo", "no face was found")
        env = {"A2E_API_KEY": sandbox.api_key, "A2E_BASE_URL": sandbox.base_url, **TERMINAL}
        run(words, folder, env, lambda said: bool(re.search(r"\b[3-5] done", said)))
        written = run(words, folder, env, lambda said: bool(re.search(r"\b1[0-3] done", said)))
    lines = [line.replace(str(folder), "/films") for line in shown_by(written)]
    picture("batch", "a2e batch", [f"$ a2e {' '.join(words)}", *lines])


def demo(folder: Path) -> None:
    """The whole demo, as it ends."""
    written = run(["demo"], folder, TERMINAL, lambda _: False)
    picture("demo", "a2e demo", ["$ a2e demo", *shown_by(written)])


LANGS = ("en", "zh", "ar", "ja", "es", "de", "fr", "it")
TERMINAL = {
    "COLUMNS": str(WIDTH),
    "LINES": "40",
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
}


if __name__ == "__main__":
    for make in (batch, demo):
        with tempfile.TemporaryDirectory() as made:
            make(Path(made))
