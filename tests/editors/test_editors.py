"""What static tools show of the package: completion, signatures and hover texts.

Jedi stands for IPython and Jupyter, pyright's language server for VS Code and the like.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jedi
import pytest

from a2e_async.kinds.docstrings import docstring, ordered_inputs
from a2e_async.kinds.registry import kind_named, kind_names

ROOT: Final = Path(__file__).parents[2]

HEAD: Final = """\
from a2e_async import A2E, blocking
a2e = A2E()
blocked = blocking()
async def main():
    task = await a2e.dubbing.start(source_url="a.mp4", target_lang="es")
    record = await task
    """


def complete(code: str) -> list[str]:
    source = HEAD + code
    script = jedi.Script(source, path=ROOT / "user.py", project=jedi.Project(ROOT))
    return [found.name for found in script.complete()]


def public(code: str) -> set[str]:
    return {name for name in complete(code) if not name.startswith("_")}


# -- the generated stubs -------------------------------------------------------------------------


def test_the_stubs_are_current() -> None:
    # In a process of its own: `typing` gives literals with equal values the order of those that
    # were created first, so the text depends on what was imported before.
    script = Path(__file__).with_name("signatures.py")
    check = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert check.returncode == 0, "run python tests/editors/signatures.py"


@pytest.mark.parametrize("name", kind_names())
def test_each_start_has_its_own_text(name: str) -> None:
    kind = kind_named(name)
    assert kind.start_doc.endswith("."), f"{name} has no start_doc"
    others = {kind_named(other).start_doc for other in kind_names() if other != name}
    assert kind.start_doc not in others
    text = " ".join(docstring(kind, "start").split())
    for said in (kind.start_doc, "Costs coins", kind.start.path):
        assert said in text
    if kind.pollable:
        assert "Typical duration" in text
        assert kind.record.__name__ in text


@pytest.mark.parametrize("name", kind_names())
def test_required_inputs_come_first_and_each_has_a_meaning(name: str) -> None:
    kind = kind_named(name)
    inputs = ordered_inputs(kind)
    assert [f.required for f in inputs] == sorted((f.required for f in inputs), reverse=True)
    for method in ("start", "run", "quote"):
        lines = docstring(kind, method).splitlines()
        for f in inputs:
            start = f"    {f.name}{'' if f.required else ' (optional)'}: "
            (line,) = [line for line in lines if line.startswith(start)]
            assert len(line) > len(start) + 3, f"{name}.{f.name} has no meaning"


# -- jedi ----------------------------------------------------------------------------------------


def test_completion_after_the_client() -> None:
    found = public("a2e.")
    assert set(kind_names()) <= found
    assert found - set(kind_names()) == {
        *("aclose", "attach", "batch", "closed", "files", "for_caller", "journal", "kind"),
        *("follow_all", "recipes", "recover", "request", "unclaimed", "unfinished", "unknown"),
        *("webhooks", "with_options"),
        *("avatars", "backgrounds", "credits", "legacy", "speech", "stats", "voices"),
    }
    assert public("a2e.files.") == {"download", "upload"}
    assert set(kind_names()) <= public("blocked.")


def test_completion_after_a_task() -> None:
    assert public("task.") == {
        *("ack", "caller", "coins", "delete", "done", "download", "elapsed", "ids", "key", "kind"),
        *("meta", "parts", "record", "ref", "status", "updates", "wait"),
    }


def test_completion_after_a_record() -> None:
    assert {"output", "status", "source_lang", "duration"} <= public("record.")


@pytest.mark.parametrize("client", ["a2e", "blocked"])
@pytest.mark.parametrize("method", ["start", "run", "quote", "job"])
def test_signature_in_jedi(client: str, method: str) -> None:
    source = f"{HEAD}{client}.dubbing.{method}("
    script = jedi.Script(source, path=ROOT / "user.py", project=jedi.Project(ROOT))
    (found,) = script.get_signatures()
    names = [parameter.name for parameter in found.params]
    assert names == [*(f.name for f in ordered_inputs(kind_named("dubbing")))]
    assert kind_named("dubbing").start_doc[-40:] in " ".join(found.docstring().split())


# -- pyright -------------------------------------------------------------------------------------


class LanguageServer:
    """As much of the language server protocol as these tests need."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(
            [command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self._id = 0
        folder = {"uri": ROOT.as_uri(), "name": "package"}
        self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": ROOT.as_uri(),
                "capabilities": {"textDocument": {"hover": {"contentFormat": ["plaintext"]}}},
                "workspaceFolders": [folder],
            },
        )
        self._send({"method": "initialized", "params": {}})

    def request(self, method: str, params: Any) -> Any:
        self._id += 1
        self._send({"id": self._id, "method": method, "params": params})
        while True:
            message = self._receive()
            if "method" in message and "id" in message:  # it asks for settings: there are none
                items = message.get("params", {}).get("items", [])
                self._send({"id": message["id"], "result": [{} for _ in items]})
            elif message.get("id") == self._id:
                return message["result"]

    def at_end(self, method: str, code: str, back: int = 0) -> Any:
        """Ask about the end of the code, or ``back`` characters before it."""
        text, uri = HEAD + code, (ROOT / f"user{self._id}.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        lines = text.splitlines()
        place = {"line": len(lines) - 1, "character": len(lines[-1]) - back}
        return self.request(
            f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": place}
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length"):
                length = int(line.partition(b":")[2])
        return json.loads(self._process.stdout.read(length))


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    command = shutil.which("pyright-langserver", path=str(Path(sys.executable).parent))
    assert command is not None, "pyright is one of the development requirements"
    opened = LanguageServer(command)
    yield opened
    opened.close()


@pytest.mark.parametrize("client", ["a2e", "blocked"])
def test_open_inputs_keep_their_known_values(server: LanguageServer, client: str) -> None:
    items = server.at_end("completion", f'{client}.dubbing.start(source_lang="', 0)["items"]
    assert {'"auto"', '"en"', '"fr"'} <= {item["label"] for item in items}


@pytest.mark.parametrize(
    "name", ["avatar_video", "seedance2", "text_to_image", "voice_clone", "wan"]
)
def test_hover_shows_each_input_in_order(server: LanguageServer, name: str) -> None:
    text = server.at_end("hover", f"a2e.{name}.start", 2)["contents"]["value"]
    lines = text.partition("Inputs (keyword only")[2].splitlines()
    shown = [line.strip().partition(": ")[0] for line in lines if re.match(r"    \w", line)]
    inputs = ordered_inputs(kind_named(name))
    assert shown == [f"{f.name}{'' if f.required else ' (optional)'}" for f in inputs]


@pytest.mark.parametrize("method", ["start", "run", "quote"])
def test_hover_shows_required_inputs_first(server: LanguageServer, method: str) -> None:
    text = server.at_end("hover", f"a2e.dubbing.{method}", 2)["contents"]["value"]
    assert text.index("source_url: ") < text.index("target_lang: ") < text.index("source_lang: ")
    assert text.index("source_lang: ") < text.index("name: ")
    assert "source_url: The speech to dub" in text
    assert "Known values: auto, en" in text


def test_completion_in_pyright(server: LanguageServer) -> None:
    for code in ("a2e.", "task."):
        labels = {item["label"] for item in server.at_end("completion", code)["items"]}
        assert {name for name in labels if not name.startswith("_")} == public(code)
