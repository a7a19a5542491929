"""Every block of the README and of docs/ runs, against the sandbox.

Python blocks run one by one, as a program, as tests, or as the inside of a program. Shell blocks
of a page run in their order in one directory; before them, each Python block that begins with
``# name.py`` is written there. A shell block that cannot run here has the reason in a comment
before it.
"""

import asyncio
import logging
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox, media

pytest_plugins = "pytester"

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# The files that the examples name, and their samples.
FILES = {
    "talk.wav": media.speech(),
    "speech.wav": media.speech(),
    "clip.mp4": media.clip(),
    **dict.fromkeys(("portrait.png", "person.png", "coat.png", "product.png"), media.portrait()),
}
KNOWN_REF = "talking_video:68c3e20ad54b2f0047dd3c4c"


def blocks() -> Iterator[Any]:
    """Yield each Python block with its page; its number is in the id."""
    for page in PAGES:
        for number, code in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        ):
            yield pytest.param(page, code, id=f"{page.stem}-{number}")


def toml_files() -> dict[str, str]:
    """Return the TOML blocks that begin with the name of their file, by that name."""
    found: dict[str, str] = {}
    for page in PAGES:
        for name, code in re.findall(
            r"^```toml\n# (\w+\.toml)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            assert name not in found, f"two blocks of {name}"
            found[name] = code
    return found


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that also simulates the kinds that the pages declare."""
    kinds = tmp_path_factory.mktemp("kinds") / "kinds.toml"
    kinds.write_text(toml_files()["kinds.toml"])
    with Sandbox(speed=6000, make_results="stdlib", kinds=kinds) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that holds the files the examples name."""
    for name, source in FILES.items():
        shutil.copy(source, tmp_path / name)
    for name, code in toml_files().items():
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def logging_unchanged() -> Iterator[None]:
    """Undo what a block configures."""
    loggers = [logging.getLogger(f"a2e_async.{name}") for name in ("events", "http")]
    before = [(logger.level, logger.propagate, [*logger.handlers]) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


def run_whole(code: str) -> None:
    """Run a block that is a program of its own."""
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def run_tests(page: Path, code: str, pytester: pytest.Pytester) -> None:
    """Run a block that holds tests, beside the named modules of its page."""
    for name, module in re.findall(
        r"^```python\n# (\w+\.py)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    ):
        (pytester.path / name).write_text(module)
    (pytester.path / "test_block.py").write_text(code)
    # A run in this process cannot rewrite the assertions of what is imported already.
    done = pytester.runpytest_inprocess(
        *("-q", "-p", "no:cacheprovider", "--disable-plugin-autoload"),
        *("-p", "anyio.pytest_plugin", "-p", "a2e_async.sandbox.pytest_plugin"),
        *("-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    )
    done.assert_outcomes(passed=code.count("def test_"))


async def run_inside(code: str, sandbox: Sandbox) -> None:
    """Run a block as the inside of a program that has a client and a task."""
    async with A2E(sandbox.api_key, base_url=sandbox.base_url, poll_interval=0.05) as a2e:
        task = await a2e.talking_video.start(
            video_url="clip.mp4", prompt="smile", negative_prompt="blurry"
        )
        await task
        body = "async def block():\n" + textwrap.indent(code.replace(KNOWN_REF, task.ref), "    ")
        names = {"a2e": a2e, "asyncio": asyncio, "task": task, "A2E": A2E}
        exec(compile(body, "block", "exec"), names)
        await names["block"]()  # type: ignore[operator]  # made by the line above


@pytest.mark.usefixtures("logging_unchanged")
@pytest.mark.parametrize(("page", "code"), list(blocks()))
def test_block_runs(
    page: Path,
    code: str,
    sandbox: Sandbox,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A block of the documentation works unchanged."""
    monkeypatch.setenv("A2E_API_KEY", sandbox.api_key)
    monkeypatch.setenv("A2E_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", "of the examples, long enough")
    if "def test_" in code:
        run_tests(page, code, request.getfixturevalue("pytester"))
    elif "asyncio.run(" in code:
        run_whole(code)
    else:
        asyncio.run(run_inside(code, sandbox))


def shell_pages() -> Iterator[Any]:
    """Yield each page that has shell blocks to run; those of the README are run by CI."""
    for page in PAGES[1:]:
        if any(code for reason, code in shell_blocks(page.read_text()) if not reason):
            yield pytest.param(page, id=page.stem)


def shell_blocks(text: str) -> list[tuple[str, str]]:
    """Return each shell block, and the reason why it is not run (or nothing)."""
    found = re.findall(
        r"^( *)(?:<!-- not run: (.+?) -->\n *)?```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL
    )
    return [(reason, textwrap.dedent(code)) for _, reason, code in found]


@pytest.mark.parametrize("page", list(shell_pages()))
def test_shell_blocks_run(page: Path, sandbox: Sandbox, folder: Path) -> None:
    """The shell commands of a page work in order."""
    text = page.read_text()
    for kind, suffix in (("python", "py"), ("json", "jsonl")):
        blocks = re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for code in blocks:
            name = re.match(rf"# (\w+\.{suffix})\n", code)
            if name or kind == "json":
                (folder / (name[1] if name else "jobs.jsonl")).write_text(code)
    code = "\n".join(code for reason, code in shell_blocks(text) if not reason)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "A2E_API_KEY": sandbox.api_key,
            "A2E_BASE_URL": sandbox.base_url,
        },
        capture_output=True,
        text=True,
        timeout=1200,  # only a hang may fail,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
