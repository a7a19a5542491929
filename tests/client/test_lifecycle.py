"""The client's lifecycle: event loops, processes, closing, options."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import a2e_async
from a2e_async import A2E
from a2e_async._core.http.retry import RetryPolicy
from a2e_async.errors import (
    A2EError,
    ClientClosed,
    ConfigurationError,
    ResponseTimeout,
    StartOutcomeUnknown,
)
from a2e_async.sandbox import Sandbox, media

from .conftest import DUB, KEY, LONG, TALK, MakeClient, own_tasks, turns, until


def test_made_without_a_loop() -> None:
    """Creating a client, its repr, derived clients and attaching need no loop or network."""
    client = A2E(KEY, base_url="http://127.0.0.1:1")
    assert KEY not in repr(client)
    assert repr(client) == "<A2E http://127.0.0.1:1>"
    client.with_options(request_timeout=1)
    assert client.attach("dubbing:" + "a" * 24).ref
    assert client.dubbing.job(**DUB, key="k").key == "k"
    assert client.unclaimed() == ()
    assert not client.closed


async def test_opened_and_closed_elsewhere(make_client: MakeClient) -> None:
    """A client may be opened in one asyncio task, used in others, closed in yet another."""
    client = make_client()

    async def in_own_task(call: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await call

        return await asyncio.create_task(run())

    assert await in_own_task(client.__aenter__()) is client
    task = await in_own_task(client.dubbing.start(**DUB))
    assert (await in_own_task(task.wait())).output
    await in_own_task(client.__aexit__(None, None, None))
    assert client.closed


USES: dict[str, Callable[[A2E, Any], Awaitable[Any]]] = {
    "start": lambda c, t: c.dubbing.start(**DUB),
    "start keyed": lambda c, t: c.dubbing.start(**DUB, key="k"),
    "start local": lambda c, t: c.dubbing.start(source_url=media.speech(), target_lang="es"),
    "run": lambda c, t: c.dubbing.run(**DUB),
    "get": lambda c, t: c.dubbing.get(t.ids[0]),
    "list": lambda c, t: c.dubbing.list(),
    "quote": lambda c, t: c.dubbing.quote(**DUB),
    "delete": lambda c, t: t.delete(),
    "wait": lambda c, t: t.wait(),
    "wait attached": lambda c, t: c.attach(t.ref).wait(),
    "download": lambda c, t: t.download("out"),
    "balance": lambda c, t: c.credits.balance(),
    "upload": lambda c, t: c.files.upload(media.speech()),
    "fetch": lambda c, t: c.files.download("http://127.0.0.1:1/a", "out"),
    "enter": lambda c, t: c.__aenter__(),
}


@LONG
@pytest.mark.parametrize("use", USES)
async def test_use_after_close(make_client: MakeClient, sandbox: Sandbox, use: str) -> None:
    """Every use of a closed client is ClientClosed; closing again does nothing."""
    client = make_client()
    task = await client.dubbing.start(**DUB)
    await client.aclose()
    await client.aclose()
    calls = sandbox.calls_total
    with pytest.raises(ClientClosed):
        await USES[use](client, task)
    assert sandbox.calls_total == calls
    assert task.status is not None
    assert repr(client).endswith("closed>")


@pytest.mark.parametrize("use", [use for use in USES if use not in ("delete", "wait", "download")])
async def test_closed_before_use(use: str) -> None:
    """A client that was never used closes without a connection; what it uses later is closed."""
    client = A2E(KEY, base_url="http://127.0.0.1:1")
    await client.aclose()
    task = client.attach("dubbing:" + "a" * 24)
    with pytest.raises(ClientClosed):
        await USES[use](client, task)
    assert client.unclaimed() == client.unknown() == client.speech.unclaimed() == ()
    assert (client.stats().waits, client.stats().starts, client.stats().connections) == (0, 0, 0)


NEW_CLIENT = """
    import sys
    from a2e_async import A2E

    A2E({key!r})
    print("loaded", sorted(name for name in sys.modules if name.startswith(("a2e_async", "anyio"))))
"""


async def test_a_new_client_loads_the_session_alone() -> None:
    """What starts, polls, transfers files, keeps a journal or reports events is loaded later."""
    out, err = await _run_program(NEW_CLIENT)
    assert out.startswith("loaded ["), err
    assert "a2e_async._core.http.session" in out
    later = ("submission", "polling", "files", "journal", "tasks", "webhooks", "schema", "batch")
    names = {f"a2e_async._core.{name}" for name in later} | {"a2e_async.events", "anyio"}
    assert [name for name in sorted(names) if f"'{name}" in out] == []


@LONG
async def test_close_with_a_download(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Closing during a download raises a library error and leaves no file."""
    client = make_client()
    task = await client.talking_video.start(video_url=media.clip(), prompt="a", negative_prompt="b")
    sandbox.advance(3600)
    record = await task
    sandbox.faults.drop_download(times=None)
    loading = asyncio.create_task(record.output.save(tmp_path / "a.mp4"))
    await until(lambda: sandbox.transfers["result"])
    await client.aclose()
    with pytest.raises(A2EError):
        await loading
    assert not (tmp_path / "a.mp4").exists()
    assert not own_tasks()


def in_thread_loop(call: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
    """Run a coroutine on its own event loop in a thread."""

    def run() -> Any:
        async def body() -> Any:
            async with asyncio.timeout(10):
                return await call()

        return asyncio.run(body())

    return asyncio.to_thread(run)


@LONG
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("use", [use for use in USES if use != "enter"])
async def test_other_loop(a2e: A2E, sandbox: Sandbox, use: str, busy: bool) -> None:
    """Use on another loop raises a clear error, even while the first is busy."""
    task = await a2e.dubbing.start(**DUB, key="k")
    await a2e.files.upload(media.portrait())
    waiting = asyncio.create_task(task.wait()) if busy else None
    await turns(5)
    calls = sandbox.calls_total
    with pytest.raises(ConfigurationError, match="loop"):
        await in_thread_loop(lambda: USES[use](a2e, task))
    if not busy:
        assert sandbox.calls_total == calls
    sandbox.advance(3600)
    assert (await task).output
    if waiting:
        assert (await waiting).output


LOOPS = """
    import asyncio, sys
    from a2e_async import A2E
    from a2e_async.errors import ConfigurationError
    from a2e_async.sandbox import media

    DUB = dict(source_url="https://m.example/a.wav", target_lang="es")
    a2e = A2E({key!r}, base_url={url!r}, poll_interval=0.05)

    async def first():
        global task
        task = await a2e.dubbing.start(**DUB, key="k")
        await a2e.files.upload(media.speech())
        {waiting}

    async def second():
        for call in (a2e.dubbing.start(**DUB, key="k"), task.wait(), a2e.dubbing.list(),
                     a2e.files.upload(media.speech()), a2e.dubbing.start(**DUB)):
            try:
                async with asyncio.timeout(10):
                    await call
            except ConfigurationError as error:
                assert "loop" in str(error), error
            else:
                raise AssertionError("it worked")
        await a2e.aclose()
        print("closed", a2e.closed)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    loop.close()
    asyncio.run(second())
"""

FORK = """
    import asyncio, os, sys
    from a2e_async import A2E
    from a2e_async.errors import ConfigurationError
    from a2e_async.sandbox import media

    DUB = dict(source_url="https://m.example/a.wav", target_lang="es")
    a2e = A2E({key!r}, base_url={url!r}, poll_interval=0.05)

    async def child(task):
        for call in (a2e.dubbing.start(**DUB), task.wait(), a2e.dubbing.list(),
                     a2e.files.upload(media.speech()), a2e.dubbing.start(**DUB, key="k")):
            try:
                async with asyncio.timeout(10):
                    await call
            except ConfigurationError as error:
                assert "fork" in str(error) or "loop" in str(error), error
            else:
                raise AssertionError("it worked")
        await a2e.aclose()
        async with A2E({key!r}, base_url={url!r}, poll_interval=0.05) as fresh:
            assert (await fresh.attach(task.ref).wait(timeout=0.1 if {long} else 60)).output

    async def main():
        task = await a2e.dubbing.start(**DUB, key="k")
        {waiting}
        pid = os.fork()
        if not pid:
            asyncio._set_running_loop(None)
            try:
                asyncio.run(child(task))
            except TimeoutError:
                pass
            except BaseException as error:
                print("child", repr(error), flush=True)
                os._exit(1)
            os._exit(0)
        code = (await asyncio.to_thread(os.waitpid, pid, 0))[1]
        print("code", code, (await a2e.credits.balance()).coins > 0, flush=True)
        if {waiting!r}:
            waiting.cancel()
        await a2e.aclose()

    asyncio.run(main())
"""


async def _run_program(text: str, **values: Any) -> tuple[str, str]:
    code = textwrap.dedent(text).format(key=KEY, **values)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(40):
            out, err = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
    return out.decode(), err.decode()


@LONG
@pytest.mark.parametrize("waiting", [False, True])
async def test_two_loops(sandbox: Sandbox, waiting: bool) -> None:
    """A client of a closed loop raises an error on the next one and can be closed there."""
    wait = "asyncio.ensure_future(task.wait()); await asyncio.sleep(0.1)" if waiting else "pass"
    out, err = await _run_program(LOOPS, url=sandbox.base_url, waiting=wait)
    assert "closed True" in out, err


@LONG
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("waiting", [False, True])
async def test_fork(sandbox: Sandbox, waiting: bool) -> None:
    """A forked child gets an error to create its own client; the parent's works on."""
    wait = "waiting = asyncio.ensure_future(task.wait()); await asyncio.sleep(0.1)"
    out, err = await _run_program(
        FORK, url=sandbox.base_url, waiting=wait if waiting else "", long=True
    )
    assert "code 0 True" in out, out + err


GARBAGE = """
    import asyncio, gc, weakref
    from a2e_async import A2E

    async def main():
        a2e = A2E({key!r}, base_url={url!r}, poll_interval=0.05)
        await a2e.dubbing.run(source_url="https://m.example/a.wav", target_lang="es")
        gone = weakref.ref(a2e._components)
        del a2e
        gc.collect()
        await asyncio.sleep(0.1)
        gc.collect()
        print("gone", gone() is None, len(asyncio.all_tasks()))

    asyncio.run(main())
"""


async def test_garbage(sandbox: Sandbox) -> None:
    """A client dropped without closing is collected with all its asyncio tasks."""
    out, err = await _run_program(GARBAGE, url=sandbox.base_url)
    assert "gone True 1" in out, out + err
    assert "Traceback" not in err
    assert KEY not in err


BAD_OPTIONS: dict[str, tuple[Any, ...]] = {
    "request_timeout": (0, -1, "5", None, True, float("nan"), float("inf")),
    "start_timeout": (0, -1, "5", None, float("nan")),
    "poll_interval": (0, -2, "x", float("inf"), None),
    "rate": (0, -1, "10", True, float("nan")),
    "burst": (0, 0.5, -3, "x", None),
    "max_connections": (0, 0.5, 2.5, -1, "x", None),
    "retry": ("x", 5, {}),
    "on_event": ("x", 5),
    "language": ("", "en US", 5, "en\r\nX: 1", None),
    "proxy": (5, "socks5://127.0.0.1:1", "ftp://x"),
    "mark_names": ("no", 1),
    "trust_env": ("no",),
    "journal": (5, b"jobs.db"),
    "max_unfinished": (0, -1, 2.5, "5", True),
    "webhook_url": (
        5,
        b"https://x.example",
        "",
        "x.example",
        "http://x.example",
        "https://",
        "https://u:p@x.example",
        "https://x.example/#a",
        "ftp://127.0.0.1",
        "https://x.example:0",
        "https://x.example:x",
        "https://x.example/a b",
        "https://x.example/\u00e9",
        "https://x.example/" + "a" * 2048,
    ),
    "on_unknown": ("resend", "x", None),
    "base_url": (5, "ftp://x", "https://api.a2e.ai", "http://video.a2e.ai", "https://u:p@h"),
    "api_key": ("", " ", "'k'", "Bearer k", "a b", "k\u00e9", 5, b"k"),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD_OPTIONS.items() for v in vs])
def test_bad_option(name: str, value: Any) -> None:
    """Every invalid option raises a ConfigurationError that names it immediately."""
    options = {"api_key": KEY, "base_url": "http://127.0.0.1:1", name: value}
    with pytest.raises(ConfigurationError) as caught:
        A2E(**options)
    assert str(caught.value)


def test_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the error says where it is read from; the environment provides one."""
    monkeypatch.delenv("A2E_API_KEY", raising=False)
    monkeypatch.delenv("A2E_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="A2E_API_KEY"):
        A2E()
    monkeypatch.setenv("A2E_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("A2E_BASE_URL", "http://127.0.0.1:1/api/v1/")
    assert repr(A2E()) == "<A2E http://127.0.0.1:1>"


def test_bad_with_options() -> None:
    """Per-call options are checked as those of the client are."""
    client = A2E(KEY)
    for options in ({"request_timeout": 0}, {"start_timeout": "x"}, {"priority": "high"}):
        with pytest.raises(ConfigurationError):
            client.with_options(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ref", ["", "dubbing", "dubbing:", "x:y", 5, None, "dubbing:a/b", "a:b:c"])
def test_bad_ref(ref: Any) -> None:
    """An invalid ref is refused immediately."""
    with pytest.raises(a2e_async.errors.InvalidInput):
        A2E(KEY).attach(ref)


async def test_wrong_host(sandbox: Sandbox) -> None:
    """An HTML response from a host that is not the API raises a clear error."""
    async with A2E(KEY, base_url=sandbox.storage_url) as client:
        with pytest.raises(A2EError) as caught:
            await client.credits.balance()
    assert type(caught.value) is not A2EError


async def test_with_options_use_their_timeout(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A client with another request_timeout uses it for every call, delete included."""
    client = make_client(retry=RetryPolicy(max_attempts=1))
    task = await client.talking_video.start(**TALK)
    sandbox.faults.slow(60, times=None)
    quick = client.with_options(request_timeout=0.2, start_timeout=0.2)
    async with asyncio.timeout(30):
        with pytest.raises(StartOutcomeUnknown):
            await quick.dubbing.start(**DUB)
        for call in (quick.talking_video.delete(task.ids[0]), quick.credits.balance()):
            with pytest.raises(ResponseTimeout):
                await call
