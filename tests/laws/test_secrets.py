"""Law 10: nothing shown, logged, raised, serialised or stored contains a secret.

`secrets_server` repeats all secrets it has received. A scenario returns the objects that a user has
after it; `WAYS` are the ways to display an object. Logs, events, files and file names are searched,
too. To add a scenario or a way, add one entry.
"""

import asyncio
import base64
import copy
import json
import logging
import os
import pickle
import pprint
import subprocess
import sys
import textwrap
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import cattrs
import pytest
from aiohttp import web

from a2e_async import A2E, blocking
from a2e_async._core.http.retry import RetryPolicy
from a2e_async.errors import A2EError, JournalError
from a2e_async.models import Output, Record
from tests.laws.secrets_server import (
    DATABASE_PASSWORD,
    ID,
    INPUT_URL,
    KEY,
    PROXY_PASSWORD,
    SECRETS,
    WAVE,
    WEBHOOK_SECRET,
    EchoServer,
)

HERE = str(Path(__file__).parent)


def found_in(text: str | bytes) -> set[str]:
    """Return the names of the secrets that a text contains, plain or encoded."""
    said = text if isinstance(text, str) else text.decode("latin-1")
    lower = said.lower()
    found: set[str] = set()
    for name, secret in SECRETS.items():
        forms = {
            secret,
            secret[::-1],
            secret.replace("/", "\\/"),
            urllib.parse.quote(secret, safe=""),
            base64.b64encode(secret.encode()).decode().rstrip("=")[:-1],
        }
        # Parts of a signature, after a line break or before a truncation, count as well.
        forms |= {secret[:12], secret[-12:]} if "signature" in name else set()
        if any(form.lower() in lower for form in forms):
            found.add(name)
    return found


# -- ways to show an object --------------------------------------------------------------------


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception with its causes, contexts and members."""
    seen: list[BaseException] = []
    to_visit: list[BaseException | None] = [error]
    while to_visit:
        one = to_visit.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        to_visit += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            to_visit += one.exceptions


def within(value: Any) -> Iterator[Any]:
    """Yield what a debugger shows of a value: attributes, slots, members."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif not isinstance(value, str | bytes | type):
        with suppress(Exception):
            yield from vars(value).values()
        for cls in type(value).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                with suppress(Exception):
                    yield getattr(value, name)


def locals_of(error: BaseException) -> Iterator[Any]:
    """Yield the locals of the package's and other libraries' frames, recursively."""
    for one in chain(error):
        link: TracebackType | None = one.__traceback__
        while link is not None:
            if not link.tb_frame.f_code.co_filename.startswith(HERE):
                for value in list(link.tb_frame.f_locals.values()):
                    yield value
                    yield from within(value)
            link = link.tb_next


def in_rich(value: Any) -> str:
    from rich.pretty import pretty_repr

    return pretty_repr(value, max_string=200)


def inspected(value: Any) -> str:
    import io

    import rich
    from rich.console import Console

    into = io.StringIO()
    rich.inspect(value, console=Console(file=into, width=300), docs=False, private=True)
    return into.getvalue()


def as_locals(value: Any) -> str:
    """Format a traceback with locals, as rich and the standard library do."""
    import io

    from rich.console import Console
    from rich.traceback import Traceback

    if not isinstance(value, BaseException):
        return ""
    plain = traceback.TracebackException.from_exception(value)
    shown = "".join(plain.format())
    for one in chain(value):
        frames = [
            (frame, line)
            for frame, line in traceback.walk_tb(one.__traceback__)
            if not frame.f_code.co_filename.startswith(HERE)
        ]
        shown += "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format())
    into = io.StringIO()
    Console(file=into, width=300).print(Traceback.from_exception(type(value), value, None))
    return shown + into.getvalue()


WAYS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": lambda v: "" if isinstance(v, str) else str(v),
    "traceback": as_locals,
    "locals": lambda v: "\n".join(map(repr, locals_of(v))) if isinstance(v, BaseException) else "",
    "attributes": lambda v: "\n".join(map(repr, within(v))),
    "chain": lambda v: (
        "\n".join(f"{e!r} {e} {vars(e)}" for e in chain(v)) if isinstance(v, BaseException) else ""
    ),
    "rich": in_rich,
    "rich.inspect": inspected,
    "pprint": pprint.pformat,
    "attrs.asdict": lambda v: attrs.asdict(v) if attrs.has(type(v)) else "",
    "JSON of attrs.asdict": lambda v: (
        json.dumps(attrs.asdict(v), default=str) if attrs.has(type(v)) else ""
    ),
    "cattrs": lambda v: cattrs.unstructure(v) if attrs.has(type(v)) else "",
    "JSON by vars": lambda v: json.dumps(v, default=vars),
    "pickle": pickle.dumps,
    "pickle, back": lambda v: pprint.pformat(vars(pickle.loads(pickle.dumps(v)))),
    "deep copy": lambda v: (
        repr(copy.deepcopy(v)) if isinstance(v, Record | Output | BaseException) else ""
    ),
}

_CANNOT = (TypeError, AttributeError, ValueError, pickle.PicklingError, A2EError)


def shown_by(objects: list[Any]) -> set[tuple[str, str, str]]:
    """Return each leak as way, class and secret."""
    found: set[tuple[str, str, str]] = set()
    for value in objects:
        for way, show in WAYS.items():
            try:
                text = show(value)
            except _CANNOT:  # cannot be pickled, copied or iterated
                continue
            text = text if isinstance(text, str | bytes) else repr(text)
            found |= {(way, type(value).__name__, name) for name in found_in(text)}
    return found


# -- scenarios ---------------------------------------------------------------------------------


class Kit:
    """The tools of a scenario; ``events`` are those of its clients."""

    def __init__(self, server: EchoServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.journal = directory / "jobs.db"
        self.events: list[Any] = []
        self.clients: list[A2E] = []

    def client(self, key: str = KEY, **options: Any) -> A2E:
        """Return a client of the server, closed after the scenario."""
        usual: dict[str, Any] = {
            "base_url": self.server.base,
            "journal": self.journal,
            "poll_interval": 0.02,
            "rate": None,
            "request_timeout": 5,
            "start_timeout": 5,
            "trust_env": False,
            "on_event": self.events.append,
            "retry": RetryPolicy(initial=0, max_attempts=2, max_elapsed=0.5),
        }
        made = A2E(key, **{**usual, **options})
        self.clients.append(made)
        return made


Scenario = Callable[[Kit], Awaitable[list[Any]]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(work: Scenario) -> Scenario:
    SCENARIOS[work.__name__] = work
    return work


async def raised(work: Awaitable[Any]) -> BaseException:
    """Return the exception that an awaitable raises."""
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:
        return error
    raise AssertionError("nothing was raised")


def dub(a2e: A2E, **more: Any) -> Awaitable[Any]:
    return a2e.dubbing.start(source_url=INPUT_URL, target_lang="es", **more)


@scenario
async def a_good_task(kit: Kit) -> list[Any]:
    a2e = kit.client()
    task = await dub(a2e, key="good")
    record: Record = await task
    paths = await task.download(kit.directory / "out")
    assert paths[0].read_bytes() == WAVE
    answer = await a2e.request("GET", f"/api/v1/userDubbing/{ID}")
    entry = await a2e.journal.get("good")  # type: ignore[union-attr]
    rest = [Shown(answer), answer.headers, entry, a2e, await a2e.dubbing.list()]
    return [task, record, record.output, record.outputs, record.extra, *rest]


class Shown:
    """Checked only with repr and rich: inputs belong to the user and may be serialised."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return repr(self._value)

    def __rich_repr__(self) -> Iterator[Any]:
        yield self._value

    def __reduce__(self) -> Any:
        raise TypeError("not pickled")


@scenario
async def jobs_and_inputs(kit: Kit) -> list[Any]:
    job = kit.client().dubbing.job(source_url=INPUT_URL, target_lang="es")
    return [Shown(job), Shown(job.input)]


@scenario
async def a_failed_task(kit: Kit) -> list[Any]:
    kit.server.status = "failed"
    a2e = kit.client()
    task = await dub(a2e)
    error: Any = await raised(task.wait())
    return [error, error.record, error.record.failure, task.record, a2e]


@scenario
async def a_failed_run_and_a_batch(kit: Kit) -> list[Any]:
    kit.server.status = "failed"
    a2e = kit.client()
    error = await raised(a2e.dubbing.run(source_url=INPUT_URL, target_lang="es"))
    jobs = [a2e.dubbing.job(source_url=INPUT_URL, target_lang=lang) for lang in ("es", "fr")]
    outcomes = [outcome async for outcome in a2e.batch(jobs, limit=2)]
    return [error, *map(Shown, outcomes), *(outcome.error for outcome in outcomes)]


REFUSALS: dict[str, Callable[[str], web.StreamResponse]] = {
    "400": lambda q: web.json_response(
        {"code": 400, "msg": q, "trace_id": KEY, "errors": [q]}, status=400
    ),
    "401": lambda q: web.json_response({"code": 401, "message": q, "traceId": q}, status=401),
    "200 with a code": lambda q: web.json_response({"code": 4711, "msg": q, "trace_id": KEY}),
    "200 and success false": lambda q: web.json_response({"success": False, "message": q}),
    "200 and a reason": lambda q: web.json_response({"code": 0, "data": {"failed_message": q}}),
    "200 and a text": lambda q: web.json_response({"code": 0, "data": q}),
    "a trace id alone": lambda q: web.Response(status=402, headers={"X-Trace-Id": KEY}),
    "403 page": lambda q: web.Response(
        status=403, text=f"<title>{q}</title>", content_type="text/html"
    ),
    "404 text": lambda q: web.Response(status=404, text=q),
    "302": lambda q: web.Response(status=302, headers={"Location": f"{INPUT_URL}&k={KEY}"}),
    "500": lambda q: web.json_response({"code": 500, "msg": q}, status=500),
    "200 page": lambda q: web.Response(text=q, content_type="text/html"),
    "no JSON": lambda q: web.Response(text=q, content_type="application/json"),
    "bad header": lambda q: web.Response(text=q, headers={"Content-Encoding": "gzip"}),
    "429": lambda q: web.json_response(
        {"code": 429, "msg": q}, status=429, headers={"Retry-After": "900"}
    ),
}


def _refused(how: str) -> Scenario:
    async def refused(kit: Kit) -> list[Any]:
        kit.server.refuse = REFUSALS[how]
        a2e = kit.client()
        error = await raised(dub(a2e, key="refused"))
        entry = await a2e.journal.get("refused")  # type: ignore[union-attr]
        return [error, entry, a2e.unknown()]

    return refused


SCENARIOS |= {f"a refused start: {how}": _refused(how) for how in REFUSALS}


@scenario
async def a_raw_request(kit: Kit) -> list[Any]:
    a2e = kit.client()
    url = {"url": INPUT_URL}
    return [
        await raised(a2e.request("GET", "/api/v1/nothing", params=url)),
        await raised(a2e.request("POST", "/api/v1/nothing", json=url)),
        await raised(a2e.request("POST", "/api/v1/nothing", json=url, charged=False)),
        await raised(a2e.image_to_video.get(ID[:-1] + "2")),
        await raised(a2e.credits.balance()),
    ]


@scenario
async def wrong_inputs(kit: Kit) -> list[Any]:
    a2e = kit.client()
    return [
        await raised(dub(a2e, num_speakers=1000)),
        await raised(dub(a2e, nothing=INPUT_URL)),
        await raised(a2e.dubbing.start(source_url=f"{INPUT_URL}\n", target_lang=5)),  # type: ignore[arg-type]
    ]


@scenario
async def prompts(kit: Kit) -> list[Any]:
    prompt = a2e_prompt(kit.client())
    bad = a2e_prompt(kit.client(), reference_id=None)
    return [await raised(use()) for use in (*prompt, *bad)]


def a2e_prompt(a2e: A2E, **changed: Any) -> list[Callable[[], Awaitable[Any]]]:
    """Return the calls that rewrite a prompt."""
    texts = {"reference_id": ID, "prompt": "a lake", "negative_prompt": "blurry"}
    inputs: dict[str, Any] = {"image_url": INPUT_URL, **texts, **changed}

    async def stream() -> None:
        async with a2e.image_to_video.stream_prompt(**inputs) as events:
            async for _ in events:
                pass

    return [lambda: a2e.image_to_video.extend_prompt(**inputs), stream]


@scenario
async def the_accounts_own_things(kit: Kit) -> list[Any]:
    a2e = kit.client()
    (avatar,), (background,) = await a2e.avatars.list(), await a2e.backgrounds.all()
    data = {"img_url": INPUT_URL}
    return [
        await raised(a2e.avatars.add(**data)),
        await raised(a2e.avatars.custom(**data)),
        await raised(a2e.avatars.update(ID[:-1] + "2", **data)),
        await raised(a2e.backgrounds.add(INPUT_URL)),
        await raised(a2e.backgrounds.custom(**data)),
        await raised(a2e.face_swap.save_face(INPUT_URL)),
        await raised(a2e.credits.quote("/api/v1/userDubbing/startDubbing", data)),
        await raised(a2e.legacy.watermark(INPUT_URL, text="x")),
        await raised(a2e.legacy.copy_to_storage(INPUT_URL)),
        *(Shown(avatar), avatar.extra, Shown(background), background.extra),
    ]


async def briefly(work: Awaitable[Any]) -> None:
    """Cancel an awaitable after a moment, as a web app does."""
    async with asyncio.timeout(0.05):
        await work


@scenario
async def a_wait_that_is_cut_off(kit: Kit) -> list[Any]:
    kit.server.status = "processing"
    a2e = kit.client()
    task = await dub(a2e)
    errors = [await raised(task.wait(timeout=0.05)), await raised(briefly(task.wait()))]
    kit.server.hold = asyncio.Event()
    errors.append(await raised(briefly(a2e.dubbing.get(ID))))
    errors.append(await raised(briefly(a2e.request("POST", "/api/v1/x", json={"u": INPUT_URL}))))
    errors.append(await raised(briefly(dub(a2e, num_speakers=3))))
    kit.server.hold.set()
    return [*errors, task]


@scenario
async def an_answer_that_is_too_slow(kit: Kit) -> list[Any]:
    kit.server.hold = asyncio.Event()
    a2e = kit.client(request_timeout=0.05, start_timeout=0.05)
    errors = [await raised(a2e.dubbing.get(ID)), await raised(dub(a2e))]
    kit.server.hold.set()
    return errors


@scenario
async def a_file_that_cannot_be_fetched(kit: Kit) -> list[Any]:
    a2e = kit.client()
    record = await (await dub(a2e))
    shown: list[Any] = []
    for status in (403, 400, 500):
        kit.server.store_status = status
        shown.append(await raised(record.output.save(kit.directory / "out" / "a.wav")))
        shown.append(await raised(record.output.read()))
        shown.append(await raised(_chunks(record.output)))
        shown.append(await raised(a2e.files.download(record.output.url, kit.directory / "b.wav")))
    return shown


async def _chunks(output: Output) -> None:
    async with output.open() as chunks:
        async for _ in chunks:
            pass


@scenario
async def a_file_that_cannot_be_uploaded(kit: Kit) -> list[Any]:
    a2e = kit.client()
    errors = [
        await raised(a2e.files.upload(WAVE)),
        await raised(a2e.dubbing.start(source_url=WAVE, target_lang="es")),
    ]
    return [*errors, a2e.files]


@scenario
async def speech(kit: Kit) -> list[Any]:
    output = await kit.client(journal=None).speech.say("Hello.", tts_id=ID)
    return [output, (output,)]


PROXY = f"http://me:{PROXY_PASSWORD}@127.0.0.1:1"


@scenario
async def a_proxy_that_is_away(kit: Kit) -> list[Any]:
    a2e = kit.client(proxy=PROXY, journal=None)
    return [
        await raised(a2e.dubbing.get(ID)),
        await raised(dub(a2e)),
        await raised(a2e.files.download(INPUT_URL, kit.directory / "x")),
        a2e,
    ]


def refused(**options: Any) -> BaseException:
    """Return the error of creating a client."""
    try:
        A2E(**options)
    except A2EError as error:
        return error
    raise AssertionError("it was made")


@scenario
async def settings_that_cannot_work(kit: Kit) -> list[Any]:
    database = f"postgresql://me:{DATABASE_PASSWORD}@host with spaces/x y"
    return [
        refused(api_key=f"{KEY} x"),
        refused(api_key=f"'{KEY}'"),
        refused(api_key=KEY, base_url=f"https://me:{PROXY_PASSWORD}@video.a2e.ai"),
        refused(api_key=KEY, rate=-1, proxy=PROXY),
        refused(api_key=KEY, proxy=PROXY.replace("http:", "ftp:")),
        refused(api_key=KEY, proxy=PROXY.encode()),
        refused(api_key=KEY, webhook_url=f"https://me:{PROXY_PASSWORD}@app.example/"),
        refused(api_key=KEY, journal=database),
        refused(api_key=KEY, journal=database.encode()),
    ]


@scenario
async def a_database_that_is_away(kit: Kit) -> list[Any]:
    pytest.importorskip("psycopg")
    url = f"postgresql://me:{DATABASE_PASSWORD}@127.0.0.1:1/jobs"
    a2e = kit.client(journal=url)
    error = await raised(dub(a2e, key="k"))
    assert isinstance(error, JournalError)
    return [error, a2e.journal, a2e.journal.target]  # type: ignore[union-attr]


@scenario
async def webhooks(kit: Kit) -> list[Any]:
    a2e = kit.client(webhook_url="https://app.example/a2e", journal=None)
    task = await dub(a2e)
    record = await task
    sent = kit.server.bodies[-1]["webhook_token"]
    for shown in (record.extra, repr(record.extra), pickle.dumps(record)):
        assert sent not in str(shown)
    return [record, a2e.webhooks, a2e.webhooks.app(), task]


@scenario
async def the_blocking_client(kit: Kit) -> list[Any]:
    kit.server.status = "failed"

    def work() -> list[Any]:
        with blocking(KEY, base_url=kit.server.base, poll_interval=0.02, trust_env=False) as a2e:
            task = a2e.dubbing.start(source_url=INPUT_URL, target_lang="es")
            shown: list[Any] = [a2e, task]
            for call in (
                task.wait,
                lambda: a2e.dubbing.run(source_url=INPUT_URL, target_lang="es"),
                lambda: a2e.request("POST", "/api/v1/nothing", json={"url": INPUT_URL}),
                lambda: blocking(f"{KEY} x"),
            ):
                try:
                    call()
                except A2EError as error:
                    shown.append(error)
            assert len(shown) == 6
            return shown

    return await asyncio.to_thread(work)


# -- the tests ---------------------------------------------------------------------------------


@pytest.fixture
async def kit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[Kit]:
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", WEBHOOK_SECRET)
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01,))
    monkeypatch.setattr("a2e_async._core.files.http_download.MAX_ATTEMPTS", 1)
    monkeypatch.setattr("a2e_async.contrib.postgres.worker.RECONNECT_TIMEOUT", 0, raising=False)
    async with EchoServer() as server:
        made = Kit(server, tmp_path)
        yield made
        for client in made.clients:
            await client.aclose()


@pytest.mark.parametrize("name", SCENARIOS)
async def test_no_secret_is_shown(kit: Kit, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """No object of the user, log record, event or file contains a secret."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    try:
        objects = await SCENARIOS[name](kit)
        found = shown_by([*objects, *kit.events])
        for client in kit.clients:
            await client.aclose()
    finally:
        loop.set_debug(False)
    logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    found |= {("log", "", secret) for secret in found_in(logged)}
    for path in kit.directory.rglob("*"):
        content = b"" if path.is_dir() else path.read_bytes()
        found |= {("file", path.name, s) for s in found_in(content) | found_in(path.name)}
    assert not found


COMMANDS = [
    ["run", "dubbing", "--source-url", INPUT_URL, "--target-lang", "es"],
    ["start", "dubbing", "--source-url", INPUT_URL, "--target-lang", "es"],
    ["task", "wait", f"dubbing:{ID}"],
    ["task", "show", f"dubbing:{ID}"],
    ["list", "dubbing"],
    ["credits"],
    ["doctor"],
]


@pytest.mark.parametrize("more", [[], ["--json"], ["--debug"]], ids=["plain", "json", "debug"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c[:2]))
async def test_no_command_shows_a_secret(kit: Kit, command: list[str], more: list[str]) -> None:
    """Also if the task failed or the call was refused; also with --json and --debug."""
    kit.server.status = "failed"
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "A2E_API_KEY": KEY,
        "A2E_BASE_URL": kit.server.base,
        "NO_COLOR": "1",
        "https_proxy": PROXY,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "a2e_async", *command, *more, cwd=kit.directory, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert said
    assert b"unexpected" not in said
    assert process.returncode != 2, said
    assert not found_in(said)
    for path in kit.directory.rglob("*.db*"):
        assert not found_in(path.read_bytes())


USER_TESTS = f"""
import asyncio
import aiohttp
import pytest
from a2e_async import A2E
from tests.laws.secrets_server import *

OPTIONS = dict(rate=None, trust_env=False, poll_interval=0.02, request_timeout=2)

def client(server):
    return A2E(KEY, base_url=server.base, proxy=None, **OPTIONS)

async def ask(do, status="completed", refuse=None):
    async with EchoServer() as server:
        server.status, server.refuse = status, refuse
        async with client(server) as a2e:
            await do(a2e)

def test_refused():
    async def do(a2e):
        await a2e.dubbing.start(source_url=INPUT_URL, target_lang="es")
    refuse = lambda quoted: aiohttp.web.json_response({{"code": 1, "msg": quoted}}, status=400)
    asyncio.run(ask(do, refuse=refuse))

def test_failed():
    async def do(a2e):
        await a2e.dubbing.run(source_url=INPUT_URL, target_lang="es")
    asyncio.run(ask(do, "failed"))

def test_not_found():
    async def do(a2e):
        await a2e.dubbing.get("{ID[:-1]}2")
    asyncio.run(ask(do))

def test_unreachable():
    async def do(a2e):
        a2e = A2E(KEY, base_url="http://127.0.0.1:1", **OPTIONS)
        try:
            async with asyncio.timeout(0.3):
                await a2e.dubbing.get("{ID}")
        finally:
            await a2e.aclose()
    asyncio.run(ask(do))

def test_own_failure():
    async def do(a2e):
        task = await a2e.dubbing.start(source_url=INPUT_URL, target_lang="es")
        record = await task
        output, url, extra = record.output, record.output.url, record.extra
        assert url == 5
    asyncio.run(ask(do))

def test_wrong_key():
    A2E(KEY + " x")
"""


async def test_pytest_with_locals_shows_no_secret(tmp_path: Path) -> None:
    """Failing tests of a user, run with --showlocals and full reprs."""
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(USER_TESTS))
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-vv", "--showlocals", "--tb=long",
        "-p", "no:cacheprovider", "-p", "no:anyio", "test_mine.py", cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    text = said.decode()
    assert "6 failed" in text
    assert not found_in(text), text
