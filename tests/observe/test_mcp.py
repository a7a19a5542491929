"""The MCP server as an agent uses it: the SDK's client over stdio, with the sandbox as service."""

import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import BlobResourceContents, ImageContent, ResourceLink

from a2e_async._core.submission.budget import Budget
from a2e_async.contrib.mcp import make_server
from a2e_async.errors import ConfigurationError
from a2e_async.sandbox import Sandbox
from a2e_async.sandbox import media as samples
from tests.client.conftest import MakeClient
from tests.samples import LEAST

pytestmark = pytest.mark.anyio
DUB = LEAST["dubbing"]
PICTURE = {"prompt": "a red boat"}
Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {"speed": 6000}


@pytest.fixture
def serve(make_client: MakeClient, tmp_path: Path) -> Serve:
    """Serve in this process, with a new A2E client each time; yield an agent's MCP client."""

    @asynccontextmanager
    async def run(coins: int | None = 500, files: Path | None = None) -> AsyncIterator[Client]:
        budget = None if coins is None else Budget(coins, whole_journal=True)
        a2e = make_client(journal=tmp_path / "jobs.db", budget=budget)
        server = make_server(a2e, out=tmp_path / "results", files=files, budget=budget)
        async with Client(server) as client:
            yield client
        await a2e.aclose()

    return run


@pytest.fixture
def spawn(sandbox: Sandbox, tmp_path: Path) -> Serve:
    """Run ``a2e mcp`` with these flags and yield an MCP client."""

    @asynccontextmanager
    async def run(*flags: str) -> AsyncIterator[Client]:
        env = {
            "A2E_API_KEY": sandbox.api_key,
            "A2E_BASE_URL": sandbox.base_url,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        out = str(tmp_path / "results")
        command = ["-m", "a2e_async", "mcp", "--out", out, *flags]
        server = StdioServerParameters(
            command=sys.executable, args=command, env=env, cwd=str(tmp_path)
        )
        async with Client(server, read_timeout_seconds=30) as client:
            yield client

    return run


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """Return the result of a tool call, which must succeed."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """Return the error text of a tool call, which must fail."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return "".join(getattr(part, "text", "") for part in result.content)


async def test_from_kinds_to_file(spawn: Serve, sandbox: Sandbox, tmp_path: Path) -> None:
    """An agent finds a kind, asks its price, starts it, waits, and downloads the file."""
    async with spawn("--budget", "500") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {
            *("kinds", "quote", "start", "status", "wait", "download", "unfinished"),
        }
        assert "image_to_video" in (await call(client, "kinds"))["kinds"]
        described = await call(client, "kinds", kind="image_to_video")
        assert described["inputs"]["image_url"]["required"]
        assert not {"key", "meta", "extra"} & set(described["inputs"])
        inputs = {
            "image_url": "https://media.example/face.png",
            "prompt": "wave",
            "negative_prompt": "blurry",
        }
        price = (await call(client, "quote", kind="image_to_video", inputs=inputs))["coins"]
        started = await call(client, "start", kind="image_to_video", inputs=inputs)
        assert started["paid_now"]
        assert started["budget"]["left"] == 500 - price
        waited = await call(client, "wait", ref=started["ref"], seconds=120)
        assert waited["done"]
        assert waited["next"] == "call download"
        assert "http" not in json.dumps(waited)
        assert [t["ref"] for t in (await call(client, "unfinished"))["tasks"]] == [started["ref"]]
        (path,) = (await call(client, "download", ref=started["ref"]))["paths"]
        assert Path(path).parent == tmp_path / "results"
        assert Path(path).stat().st_size > 0
        assert not (await call(client, "unfinished"))["tasks"]
        chained = {"video_url": started["ref"], "prompt": "smile", "negative_prompt": "blurry"}
        await call(client, "start", kind="talking_video", inputs=chained)
    assert len(sandbox.ledger.starts()) == 2


async def test_repeated_starts_are_paid_once(serve: Serve, sandbox: Sandbox) -> None:
    """In one run and the next. Another key is another start; other inputs are a conflict."""
    async with serve() as client:
        first = await call(client, "start", kind="dubbing", inputs=DUB)
        again = await call(client, "start", kind="dubbing", inputs=DUB)
        assert (again["ref"], again["paid_now"]) == (first["ref"], False)
        assert again["budget"] == first["budget"]
    async with serve() as client:
        later = await call(client, "start", kind="dubbing", inputs=DUB)
        assert (later["ref"], later["paid_now"]) == (first["ref"], False)
        assert later["budget"]["left"] <= first["budget"]["left"]
        other = await call(client, "start", kind="dubbing", inputs=DUB, key="second")
        assert other["ref"] != first["ref"]
        inputs = {**DUB, "target_lang": "fr"}
        said = await refused(client, "start", kind="dubbing", inputs=inputs, key="second")
        assert "other inputs" in said
    assert len(sandbox.ledger.starts()) == 2


async def test_a_lost_answer_is_not_paid_twice(serve: Serve, sandbox: Sandbox) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    async with serve() as client:
        await call(client, "start", kind="dubbing", inputs=DUB)
        await call(client, "start", kind="dubbing", inputs=DUB)
    assert len(sandbox.ledger.starts()) == 1


async def test_no_budget_no_start(serve: Serve, sandbox: Sandbox) -> None:
    async with serve(None) as client:
        assert "--budget" in await refused(client, "start", kind="dubbing", inputs=DUB)
        assert (await call(client, "quote", kind="text_to_image", inputs=PICTURE))["coins"]
    assert not sandbox.ledger.charges


async def test_the_budget_holds_over_runs(serve: Serve, sandbox: Sandbox) -> None:
    """Costs of earlier runs count; the refusal says who can raise the budget."""
    async with serve() as client:
        price = (await call(client, "quote", kind="dubbing", inputs=DUB))["coins"]
    async with serve(2 * price - 1) as client:
        await call(client, "start", kind="dubbing", inputs=DUB)
    async with serve(2 * price - 1) as client:
        said = await refused(client, "start", kind="dubbing", inputs={**DUB, "target_lang": "fr"})
    assert "Tell your user" in said
    assert len(sandbox.ledger.starts()) == 1


async def test_local_files_come_from_one_directory(
    serve: Serve, sandbox: Sandbox, tmp_path: Path
) -> None:
    """No path, link or absolute name leads outside it; without permission no file is read."""
    allowed = tmp_path / "in"
    allowed.mkdir()
    (allowed / "talk.wav").write_bytes(samples.speech().read_bytes())
    secret = tmp_path / "secret.wav"
    secret.write_bytes(samples.speech().read_bytes())
    (allowed / "link.wav").symlink_to(secret)
    async with serve(files=allowed) as client:
        for path in ("../secret.wav", str(secret), "link.wav", "\0", "in/../../secret.wav", "."):
            said = await refused(
                client, "start", kind="dubbing", inputs={**DUB, "source_url": path}
            )
            assert "allowed directory" in said
        assert not sandbox.ledger.charges
        await call(client, "start", kind="dubbing", inputs={**DUB, "source_url": "talk.wav"})
        (allowed / "talk.wav").write_bytes(samples.speech().read_bytes() + bytes(2))
        again = await call(
            client, "start", kind="dubbing", inputs={**DUB, "source_url": "talk.wav"}
        )
        assert again["paid_now"]  # another version of the file is another start
    async with serve() as client:
        inputs = {"source_url": "talk.wav", "target_lang": "fr"}
        assert "--files" in await refused(client, "start", kind="dubbing", inputs=inputs)
    assert len(sandbox.ledger.starts()) == 2


async def test_bad_calls_are_reported(
    serve: Serve, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is charged, and each refusal names what to fix."""
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)
    async with serve() as client:
        for arguments, word in (
            ({"kind": "dubing", "inputs": DUB}, "Did you mean dubbing"),
            ({"kind": "dubbing", "inputs": {}}, "must be given"),
            ({"kind": "dubbing", "inputs": {**DUB, "lang": "es"}}, "target_lang"),
            ({"kind": "dubbing", "inputs": {**DUB, "extra": {"x": 1}}}, "no input 'extra'"),
            ({"kind": "dubbing", "inputs": {**DUB, "key": "mine"}}, "no input 'key'"),
            ({"kind": "dubbing", "inputs": {**DUB, "source_url": 3}}, "must be text"),
        ):
            assert word in await refused(client, "start", **arguments)
        gone = await refused(client, "wait", ref="dubbing:66ea4dd80000000000000000")
        assert "does not know" in gone
        assert "unfinished" in gone
        assert "is not the ref of a task" in await refused(client, "status", ref="nonsense")
        assert "seconds" in await refused(client, "wait", ref="dubbing:1", seconds=1e9)
    assert not sandbox.ledger.charges


async def test_slow_and_failed_tasks(serve: Serve, sandbox: Sandbox) -> None:
    """Not done yet is not an error; a failure says that another attempt is charged."""
    sandbox.faults.stuck("dubbing")
    async with serve() as client:
        slow = await call(client, "start", kind="dubbing", inputs=DUB)
        stands = await call(client, "wait", ref=slow["ref"], seconds=0.1)
        assert not stands["done"]
        assert "do not start it again" in stands["next"]
        assert "Call wait" in await refused(client, "download", ref=slow["ref"])
        sandbox.faults.fail("dubbing", "no speech was found")
        failed = await call(client, "start", kind="dubbing", inputs=DUB, key="another")
        stands = await call(client, "wait", ref=failed["ref"], seconds=30)
        assert stands["failure"] == "no speech was found"
        assert "new key" in stands["next"]
        assert "no speech" in await refused(client, "download", ref=failed["ref"])


async def test_what_a_server_needs(make_client: MakeClient, tmp_path: Path) -> None:
    """A journal, and a budget that holds over all servers of it."""
    with pytest.raises(ConfigurationError, match="journal"):
        make_server(make_client(), out=tmp_path)
    a2e = make_client(journal=tmp_path / "jobs.db")
    with pytest.raises(ConfigurationError, match="whole_journal=True"):
        make_server(a2e, out=tmp_path, budget=Budget(9))


async def test_a_lost_start_is_reserved_once(
    serve: Serve, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is requested again, in this run and the next; then it is spent."""
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01,))
    sandbox.faults.drop_after_accept()
    sandbox.faults.list_lag(1e5, times=None)
    for _ in range(2):
        async with serve() as client:
            for _ in range(2):
                await refused(client, "start", kind="dubbing", inputs=DUB)
            budget = (await call(client, "unfinished"))["budget"]
            assert budget["left"] == 500 - sandbox.ledger.spent
    sandbox.advance(1e5)
    async with serve() as client:
        started = await call(client, "start", kind="dubbing", inputs=DUB)
    cost = sandbox.ledger.spent
    assert started["budget"] == {"coins": 500, "spent": cost, "left": 500 - cost}
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_though_stdin_stays_open(
    sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    env = {"A2E_API_KEY": sandbox.api_key, "A2E_BASE_URL": sandbox.base_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "a2e_async", "mcp"),
        env=env | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
    assert b'"id":1' in (await process.stdout.readline()).replace(b" ", b"")  # it reads by now
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 60) == 128 + number
    process.stdin.close()


async def test_two_servers_of_one_journal_keep_one_budget(serve: Serve, sandbox: Sandbox) -> None:
    """What one server has spent is gone for the other, too."""
    talk = {"video_url": "https://media.example/a.mp4", "negative_prompt": "blurry"}
    async with serve(40) as one, serve(40) as other:
        first = await call(one, "start", kind="talking_video", inputs={**talk, "prompt": "0"})
        cost = sandbox.ledger.spent
        assert first["budget"]["left"] == 40 - cost
        assert (await call(other, "unfinished"))["budget"] == first["budget"]
        for n in range(1, 40 // cost):
            client = (one, other)[n % 2]
            inputs = {**talk, "prompt": str(n)}
            await call(client, "start", kind="talking_video", inputs=inputs)
        spent = sandbox.ledger.spent
        assert 40 - spent < cost
        for client in (one, other):
            inputs = {**talk, "prompt": "more"}
            assert "left in the budget" in await refused(
                client, "start", kind="talking_video", inputs=inputs
            )
            assert (await call(client, "unfinished"))["budget"]["spent"] == spent
    assert sandbox.ledger.spent == spent


async def test_two_servers_that_start_at_once_keep_one_budget(
    serve: Serve, sandbox: Sandbox
) -> None:
    """The room is enough for one of the starts, and both servers see it before they send."""
    async with serve() as client:
        price = (await call(client, "quote", kind="dubbing", inputs=DUB))["coins"]
    talks = [{**DUB, "source_url": f"https://media.example/{n}.wav"} for n in range(2)]
    async with serve(2 * price - 1) as one, serve(2 * price - 1) as other:
        results = await asyncio.gather(
            *(
                client.call_tool("start", {"kind": "dubbing", "inputs": talk})
                for client, talk in zip((one, other), talks, strict=True)
            )
        )
        assert len(sandbox.ledger.starts()) <= 1
        for result in results:
            text = "".join(getattr(part, "text", "") for part in result.content)
            assert not result.is_error or "Tell your user" in text
        # Nothing of a refused one is left: the room is as large as before.
        await asyncio.gather(
            *(
                client.call_tool("start", {"kind": "dubbing", "inputs": talk})
                for client, talk in zip((one, other), reversed(talks), strict=True)
            )
        )
        await one.call_tool("start", {"kind": "dubbing", "inputs": talks[0]})
        assert len(sandbox.ledger.starts()) == 1
        left = [(await call(client, "unfinished"))["budget"]["left"] for client in (one, other)]
    assert left == [price - 1, price - 1]


async def test_starts_at_once_in_one_server(serve: Serve, sandbox: Sandbox) -> None:
    """An agent may call a tool several times in one turn: what fits into the budget is started."""
    talks = [{**DUB, "source_url": f"https://media.example/{n}.wav"} for n in range(8)]
    async with serve() as client:
        price = (await call(client, "quote", kind="dubbing", inputs=DUB))["coins"]
    async with serve(6 * price) as client:
        await call(client, "start", kind="dubbing", inputs=talks[0])
        results = await asyncio.gather(
            *(client.call_tool("start", {"kind": "dubbing", "inputs": talk}) for talk in talks)
        )
        texts = ["".join(getattr(part, "text", "") for part in one.content) for one in results]
        refused_texts = [text for text, one in zip(texts, results, strict=True) if one.is_error]
        assert len(refused_texts) == 2, texts
        assert all("Tell your user" in text for text in refused_texts), texts
        assert (await call(client, "unfinished"))["budget"]["left"] == 0
    assert len(sandbox.ledger.starts()) == 6


def reported(values: list[tuple[float, float | None, str | None]]) -> Any:
    """Return a callback for progress that notes its values."""

    async def note(progress: float, total: float | None, message: str | None) -> None:
        values.append((progress, total, message))

    return note


@pytest.mark.parametrize("kind", ["avatar_video", "dubbing"])
async def test_progress_is_reported_as_the_service_does(
    kind: str, serve: Serve, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a share where there is one, else as seconds without a total; it always increases."""
    monkeypatch.setattr("a2e_async.contrib.mcp.progress.PROGRESS_INTERVAL", 0.05)
    sandbox.faults.stuck(kind)
    values: list[tuple[float, float | None, str | None]] = []
    async with serve() as client:
        started = await call(client, "start", kind=kind, inputs=LEAST[kind])
        arguments = {"ref": started["ref"], "seconds": 0.5}
        await client.call_tool("wait", arguments, progress_callback=reported(values))
    assert values
    steps = [progress for progress, _, _ in values]
    assert steps == sorted(set(steps))
    totals = {total for _, total, _ in values}
    assert totals == ({1.0} if kind == "avatar_video" else {None})
    if kind == "dubbing":
        assert len(values) > 1  # nothing changes, but the host sees that the wait goes on
        assert values[-1][2] == "processing"


async def test_results_are_resources(serve: Serve, tmp_path: Path) -> None:
    """Each file has a link, small images are shown; other files of the directory are not read."""
    async with serve() as client:
        links: dict[str, ResourceLink] = {}
        for kind in ("text_to_image", "dubbing", "talking_video"):
            inputs = PICTURE if kind == "text_to_image" else LEAST[kind]
            started = await call(client, "start", kind=kind, inputs=inputs)
            await call(client, "wait", ref=started["ref"], seconds=120)
            result = await client.call_tool("download", {"ref": started["ref"]})
            assert result.structured_content is not None
            (path,) = map(Path, result.structured_content["paths"])
            (link,) = [part for part in result.content if isinstance(part, ResourceLink)]
            assert (link.uri, link.size) == (path.as_uri(), path.stat().st_size)
            links[kind] = link
            shown = [part for part in result.content if isinstance(part, ImageContent)]
            assert [base64.b64decode(image.data) for image in shown] == (
                [path.read_bytes()] if kind == "text_to_image" else []
            )
            (content,) = (await client.read_resource(link.uri)).contents
            assert isinstance(content, BlobResourceContents)
            assert base64.b64decode(content.blob) == path.read_bytes()
            assert content.mime_type == link.mime_type
        types = [str(link.mime_type).partition("/")[0] for link in links.values()]
        assert types == ["image", "audio", "video"]
        listed = (await client.list_resources()).resources
        assert {one.uri for one in listed} == {link.uri for link in links.values()}
        secret = tmp_path / "results" / "notes.png"
        secret.write_bytes(b"private")
        for path in (secret, tmp_path / "jobs.db"):
            with pytest.raises(MCPError, match="download"):
                await client.read_resource(path.as_uri())


async def test_arguments_are_checked_by_name(serve: Serve, sandbox: Sandbox) -> None:
    """What a tool does not have is refused, not ignored: the agent meant something by it."""
    async with serve() as client:
        said = await refused(client, "start", kind="dubbing", **DUB)
        assert "start has no argument 'source_url'" in said
        assert "belong into inputs" in said
        said = await refused(client, "start", kind="dubbing", inputs=DUB, again=True)
        assert "It takes: kind (required), inputs (required), key." in said
        assert "wait needs ref" in await refused(client, "wait")
        said = await refused(client, "start", kind="dubbing", inputs="talk.wav")
        assert "inputs: Input should be a valid dictionary. Call it again" in said
        assert "talk.wav" not in said
        said = await refused(client, "wait", ref="dubbing:1", seconds=1e9)
        assert "seconds: Input should be less than or equal to 300" in said
    assert not sandbox.ledger.charges


async def test_advice_names_tools(
    serve: Serve, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent can call tools; it can neither write Python nor set flags."""
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01,))
    faults, said = sandbox.faults, list[str]()

    async with serve() as client:

        async def note(tool: str, **arguments: Any) -> None:
            said.append(await refused(client, tool, **arguments))

        start = {"kind": "dubbing", "inputs": DUB}
        await note("kinds", kind="dubing")
        await note("quote", kind="dubing", inputs=DUB)
        await note("start", kind="dubbing", inputs={**DUB, "target_lang": 3})
        await note("start", kind="dubbing", inputs={**DUB, "source_url": "talk.wav"})
        await note("wait", ref="dubbing:66ea4dd80000000000000000")
        await note("start", kind="avatar_video", inputs=LEAST["dubbing"])
        await note("start", kind="voice_clone", inputs=LEAST["voice_clone"])
        assert "a2e mcp --unknown-cost" in said[-1]
        for status in (400, 401, 402, 403):
            faults.http_error(status, role="start")
            await note("start", **start)
        faults.drop_after_accept()
        faults.list_lag(1e5)
        await note("start", **start)
        faults.fail("dubbing", "no speech was found")
        failed = await call(client, "start", kind="dubbing", inputs=DUB, key="failing")
        await call(client, "wait", ref=failed["ref"], seconds=120)
        await note("download", ref=failed["ref"])
    tools = re.compile("|".join(("kinds", "start", "wait", "download", "unfinished", "user")))
    for text in said:
        assert tools.search(text), text
        assert not re.search(r"a2e\.|A2E\(|\w\(|=…|await|`|with_options", text), text
