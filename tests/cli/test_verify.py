"""The verification: what it finds at servers that keep, and that break, the contract."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from a2e_async.cli import exit_codes, main
from a2e_async.cli.verify import paid_runs, verifier
from a2e_async.cli.verify.contract import known_names
from a2e_async.cli.verify.report import TABLE_HEAD, PaidRun, Report, kinds_table, read_report
from a2e_async.cli.verify.shapes import shape_of
from a2e_async.client import A2E
from a2e_async.errors import InvalidInput
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.models import Output
from a2e_async.sandbox import Sandbox
from tests.cli.conftest import KEY, Invoke
from tests.contract.report import fill, report_differences
from tests.hostile import Fault, HostileServer, OrderedFault, Step
from tests.ports import free_port
from tests.samples import SAMPLES

REPORT = "verify-report.json"
MAX_REQUESTS = 140


@pytest.fixture(autouse=True)
def unlimited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default rate limit, each verification takes more than ten seconds."""
    monkeypatch.setitem(A2E.__init__.__kwdefaults__, "rate", None)


@pytest.fixture
def verify(a2e: Invoke, quiet_env: Path) -> Callable[..., tuple[int, Report]]:
    """Run the command against the sandbox; return its exit code and its report."""

    def call(*flags: str) -> tuple[int, Report]:
        code = a2e("verify", *flags).code
        return code, read_report((quiet_env / REPORT).read_text(), REPORT)

    return call


@pytest.fixture
def other_server(
    monkeypatch: pytest.MonkeyPatch, quiet_env: Path
) -> Callable[[str], Awaitable[tuple[int, Report]]]:
    """Run the command against a server on the running loop."""

    async def call(url: str) -> tuple[int, Report]:
        monkeypatch.setenv("A2E_API_KEY", KEY)
        monkeypatch.setenv("A2E_BASE_URL", url)
        code = await asyncio.to_thread(main, ("verify",))
        return code, read_report((quiet_env / REPORT).read_text(), REPORT)

    return call


def found(report: Report) -> set[str]:
    """Return each deviation with the name of its observation."""
    return {f"{one.name}: {deviation}" for one, deviation in report.deviations}


# -- a server that keeps the contract ------------------------------------------------------------


def test_the_sandbox_is_as_documented(
    verify: Callable[..., tuple[int, Report]], sandbox: Sandbox
) -> None:
    """With a task of every kind: no deviation, free, and few requests."""
    asyncio.run(fill(sandbox))
    spent = sandbox.ledger.spent
    before = sandbox.calls_total
    code, report = verify()
    assert found(report) == set()
    assert code == exit_codes.OK
    assert report.complete
    assert sandbox.ledger.spent == spent
    assert report.requests == sandbox.calls_total - before + 1  # an unknown path is not counted
    assert report.requests <= MAX_REQUESTS
    listed = {name for name in kind_names() if kind_named(name).list is not None}
    names = {one.name for one in report.observations}
    assert {f"list {name}" for name in listed} <= names
    assert {f"quote {name}" for name in kind_names()} <= names
    rows = {one.part for one in report.observations if one.name.startswith("list ") and one.rows}
    assert rows == listed
    assert sum(name.startswith("detail ") for name in names) == verifier.MAX_DETAILS


def test_paging_is_followed_for_a_few_lists(
    verify: Callable[..., tuple[int, Report]], sandbox: Sandbox
) -> None:
    """The second page is requested where there is one, for few kinds only."""
    asyncio.run(fill(sandbox, times=3))
    code, report = verify()
    assert (code, found(report)) == (exit_codes.OK, set())
    second = [one for one in report.observations if one.name.startswith("page 2 ")]
    assert len(second) == verifier.MAX_SECOND_PAGES
    assert report.requests <= MAX_REQUESTS


def test_json_and_table(a2e: Invoke, quiet_env: Path) -> None:
    """Standard output has the table, or the report as one document."""
    result = a2e("verify")
    assert result.out.splitlines()[0].split() == ["PART", "CHECKED", "DEVIATIONS"]
    assert "as documented" in result.err
    document = a2e("verify", "--json", "-o", "other.json").document
    assert document["path"] == "other.json"
    assert document["deviations"] == 0
    assert {*document} >= {"format", "package", "observations", "requests"}


def test_each_operation_with_its_documented_fields(
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
) -> None:
    """A server made from the description of the service: every field that it names is known."""

    async def run() -> None:
        async with serving(DescribedService().answer) as url:
            code, report = await other_server(url)
        words = ("unknown field", "unknown status", "wrong type")
        assert {text for text in found(report) if any(word in text for word in words)} == set()
        assert code in (exit_codes.OK, exit_codes.DEVIATIONS)
        assert any(one.name.startswith("detail ") for one in report.observations)

    asyncio.run(run())


# -- servers that do not -------------------------------------------------------------------------

FAULTS: Mapping[str, tuple[Step, Fault]] = {
    "list dubbing: not JSON (502 text/html)": (Step.LIST, Fault.page(502)),
    "list dubbing: not JSON (200 text/html)": (Step.LIST, Fault.page(200)),
    "list dubbing: unexpected status (404, NotFound)": (Step.LIST, Fault.refusal(404, 404)),
    "list dubbing: unexpected status (418, InvalidRequest)": (Step.LIST, Fault.refusal(418, 418)),
    "list dubbing: unreadable (code 777, ApiError)": (Step.LIST, Fault.refusal(200, 777)),
    "list dubbing: unreadable data (text (text))": (Step.LIST, Fault.data("no list")),
    "list dubbing: no response (ConnectionLost)": (Step.LIST, Fault.disconnect()),
    "list dubbing: missing field trace_id": (Step.LIST, Fault.huge(10)),
    "list dubbing: unknown field filler (text (text))": (Step.LIST, Fault.huge(10)),
    "list dubbing: unknown field data[].surprise (integer)": (
        Step.LIST,
        Fault.field("surprise", 7),
    ),
    "list dubbing: wrong type data[].duration (object)": (
        Step.LIST,
        Fault.field("duration", {"x": 1}),
    ),
    "list dubbing: unknown status data[].current_status (rendering)": (
        Step.LIST,
        Fault.field("current_status", "rendering"),
    ),
    "list dubbing: unknown status data[].current_status (not a word)": (
        Step.LIST,
        Fault.field("current_status", "Secret 4711"),
    ),
    "list dubbing: missing field data[].current_status": (
        Step.LIST,
        Fault.field("current_status", None),
    ),
    "list dubbing: missing field data[]._id": (Step.LIST, Fault.field("_id", None)),
    "list dubbing: missing field data[].result_url (completed)": (
        Step.LIST,
        Fault.field("result_url", ""),
    ),
    "detail dubbing: unexpected status (404, NotFound)": (Step.DETAIL, Fault.refusal(404, 404)),
    "detail dubbing: wrong type data.coins (text (text))": (
        Step.DETAIL,
        Fault.field("coins", "seven"),
    ),
    "quote dubbing: unexpected status (403, PermissionDenied)": (
        Step.QUOTE,
        Fault.refusal(403, 403),
    ),
    "quote dubbing: unreadable data": (Step.QUOTE, Fault.data({"worth": 7})),
}
"""What the report says of each fault."""


@pytest.mark.parametrize("expected", FAULTS)
def test_the_report_names_each_fault(
    expected: str, other_server: Callable[[str], Awaitable[tuple[int, Report]]]
) -> None:
    """The independent server with one fault; what else the report finds there is the same."""

    async def run() -> tuple[int, set[str]]:
        async with HostileServer() as server:
            await start_dubbing(server)
            step, fault = FAULTS[expected]
            kind = None if step is Step.QUOTE else "dubbing"
            server.faults.add(step, fault, times=None, kind=kind)
            code, report = await other_server(server.base_url)
            return code, found(report)

    code, deviations = asyncio.run(run())
    assert code == exit_codes.DEVIATIONS
    assert expected in deviations


def test_without_a_fault_the_independent_server_has_its_records_right(
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
) -> None:
    """It knows no voices and accepts any key: nothing else is found."""

    async def run() -> set[str]:
        async with HostileServer() as server:
            await start_dubbing(server)
            _, report = await other_server(server.base_url)
            return {one.name for one, _ in report.deviations if one.part != "account"}

    assert asyncio.run(run()) == {"bad key", "bad quote"}


def test_ignored_paging_is_found(
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
) -> None:
    """Pages that are all the first one, and pages longer than requested."""

    async def run(*, size: bool) -> set[str]:
        async with HostileServer() as server:
            await start_dubbing(server, times=3)
            if size:
                server.behaviour.list_shape = lambda _, full: {
                    "rows": [row(id) for id in [*server.tasks][:full]]
                }
            else:
                server.behaviour.ignores_paging = True
            _, report = await other_server(server.base_url)
            return found(report)

    assert "page 2 dubbing: paging ignored pageNum" in asyncio.run(run(size=False))
    assert "list dubbing: paging ignored pageSize" in asyncio.run(run(size=True))


def test_a_refused_key_ends_the_verification(
    a2e: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, quiet_env: Path
) -> None:
    """One request, and the exit code of a key."""
    monkeypatch.setenv("A2E_API_KEY", "sk_another_key_of_nobody")
    assert a2e("verify").code == exit_codes.KEY
    assert sandbox.calls_total == 1
    report = read_report((quiet_env / REPORT).read_text(), REPORT)
    assert [one.status for one in report.observations] == [401]
    assert not report.complete


def test_a_service_that_cannot_be_reached(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its own exit code."""
    monkeypatch.setenv("A2E_API_KEY", KEY)
    monkeypatch.setenv("A2E_BASE_URL", f"http://127.0.0.1:{free_port()}")
    assert invoke("verify").code == exit_codes.SERVICE


def test_an_interrupted_report_is_continued(
    other_server: Callable[[str], Awaitable[tuple[int, Report]]], quiet_env: Path
) -> None:
    """The service falls silent halfway; with --resume only the rest is requested."""

    async def run() -> None:
        async with HostileServer() as server:
            server.faults.choose = lambda step, _: (
                OrderedFault(step, Fault.disconnect()) if server.requests.total() > 40 else None
            )
            code, first = await other_server(server.base_url)
            assert code == exit_codes.SERVICE
            assert not first.complete
            assert 0 < len(first.parts) < len(kind_names())
            server.faults.choose = None
            server.requests.clear()
            code = await asyncio.to_thread(main, ("verify", "--resume"))
            report = read_report((quiet_env / REPORT).read_text(), REPORT)
            assert code == exit_codes.DEVIATIONS
            assert report.complete
            assert {*report.parts} == {*first.parts} | {*kind_names(), "account", "errors"}
            again = sum(
                count
                for (step, kind), count in server.requests.items()
                if step is Step.LIST and kind in first.parts
            )
            assert again == 0

    asyncio.run(run())


# -- playing a report ----------------------------------------------------------------------------

PLAYED = [text for text in FAULTS if "no response" not in text and "_id" not in text]


@pytest.mark.parametrize("expected", [*PLAYED, "list dubbing: missing field data[]._id"])
def test_a_played_report_shows_the_same_deviations(
    expected: str,
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
    quiet_env: Path,
) -> None:
    """A sandbox that plays the report deviates in the same way, in every part."""

    async def run() -> None:
        async with HostileServer() as server:
            await start_dubbing(server)
            step, fault = FAULTS[expected]
            kind = None if step is Step.QUOTE else "dubbing"
            server.faults.add(step, fault, times=None, kind=kind)
            _, recorded = await other_server(server.base_url)
        (quiet_env / REPORT).rename("recorded.json")
        async with Sandbox(api_key=KEY, replay="recorded.json") as player:
            _, again = await other_server(player.base_url)
        assert expected in found(again)
        assert found(again) == found(recorded)

    asyncio.run(run())


def test_a_played_report_of_the_sandbox_has_no_deviation(
    verify: Callable[..., tuple[int, Report]],
    sandbox: Sandbox,
    quiet_env: Path,
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
) -> None:
    """Every list of the played sandbox shows records of the recorded shape."""
    asyncio.run(fill(sandbox))
    _, recorded = verify()
    (quiet_env / REPORT).rename("recorded.json")

    async def run() -> tuple[int, Report]:
        async with Sandbox(api_key=KEY, replay="recorded.json") as player:
            return await other_server(player.base_url)

    code, again = asyncio.run(run())
    assert (code, found(again)) == (exit_codes.OK, set())
    assert [one.rows for one in again.observations if one.name == "list dubbing"] == [1]
    # There is no avatar of the account, only those of the service.
    line = "avatars: data[].user_video_twin_id: unknown here (text (id))"
    assert report_differences(recorded, again) in ([line], [])


def test_tasks_run_in_a_played_sandbox(quiet_env: Path) -> None:
    """A status word that the package does not know means that the task is running."""
    record = {
        "_id": "text:id",
        "current_status": "word:completed|word:rendering",
        "result_url?": "text:url https://other/{text}.mp4",
        "mood": "text:text",
    }
    observation = {
        "name": "batch image_to_video",
        "part": "image_to_video",
        "operation": "POST /api/v1/userImage2Video/batchDetail",
        "status": 200,
        "code": 0,
        "body": {"code": "integer", "data": [record], "trace_id": "text:uuid"},
    }
    recorded = {"format": 1, "observations": [observation]}
    (quiet_env / "recorded.json").write_text(json.dumps(recorded))

    async def run() -> None:
        seconds = {"image_to_video": 3600}
        async with (
            Sandbox(
                api_key=KEY, durations=seconds, replay="recorded.json", make_results="stdlib"
            ) as player,
            A2E(KEY, base_url=player.base_url, poll_interval=0.05) as client,
        ):
            task = await client.image_to_video.start(**SAMPLES["image_to_video"])
            async for update in task.updates():
                if update.raw_status == "rendering":
                    assert update.status == "running"
                    player.advance(4000)
            done = await task
            assert done.extra["mood"] == "recorded text"
            assert done.prompt is None
            assert await done.outputs[0].read()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', "\x00"])
def test_what_is_no_report_is_not_played(text: str, invoke: Invoke, quiet_env: Path) -> None:
    """The sandbox does not start, and says which file is wrong."""
    (quiet_env / "wrong.json").write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.json is not a report of a2e verify"):
        Sandbox(replay="wrong.json")
    result = invoke("sandbox", "--replay", "wrong.json")
    assert result.code != exit_codes.OK
    assert "wrong.json" in result.err
    if text != '{"format": 1}':  # a report of nothing
        result = invoke("verify", "--docs", "wrong.json")
        assert result.code == exit_codes.USAGE
        assert "wrong.json" in result.err


# -- differences ---------------------------------------------------------------------------------


def test_differences_to_the_sandbox_are_listed(
    verify: Callable[..., tuple[int, Report]],
    sandbox: Sandbox,
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
) -> None:
    """What a maintainer gets from a report: where the sandbox is not like the service."""
    asyncio.run(fill(sandbox))
    _, ours = verify()

    async def run() -> Report:
        async with HostileServer() as server:
            await start_dubbing(server)
            server.faults.add(Step.LIST, Fault.field("mood", "calm"), times=None, kind="dubbing")
            return (await other_server(server.base_url))[1]

    lines = report_differences(asyncio.run(run()), ours)
    assert "list dubbing: data.rows[].mood: unknown here (text (text))" in lines
    assert any(line.startswith("voices: status 404 instead of 200") for line in lines)


def test_the_table_of_kinds(
    verify: Callable[..., tuple[int, Report]], a2e: Invoke, sandbox: Sandbox
) -> None:
    """One row for each kind; the table of the docs has the same kinds."""
    asyncio.run(fill(sandbox))
    _, report = verify()
    result = a2e("verify", "--docs", REPORT)
    assert result.code == exit_codes.OK
    assert result.out.strip() == kinds_table(report, kind_names())
    rows = dict(line[3:].split("` |", 1) for line in result.out.splitlines()[2:])
    assert {*rows} == {*kind_names()}
    assert [cell.strip() for cell in rows["flux2"].split("|")][:4] == ["yes"] * 4
    page = (Path(__file__).parents[2] / "docs/not-verified-live.md").read_text()
    assert f"| {' | '.join(TABLE_HEAD)} |" in page
    assert all(f"| `{name}` |" in page for name in kind_names())


# -- privacy ---------------------------------------------------------------------------------------

MARK = "4711"
"""Part of every private value of the server below."""

SECRETS = (
    f"Ada Example {MARK}",
    f"66ea4dd87db10c73fa2{MARK}0",
    f"https://ada-{MARK}.example/private-{MARK}/{MARK}.mp4?X-Amz-Signature=s{MARK}&X-Amz-Expires=600",
    f"https://bucket-{MARK}.a2e.ai/user-{MARK}/66ea4dd87db10c73fa2{MARK}0/talk.wav",
    f"sk_live_{MARK}abcdefghijkl",
    f"ada{MARK}@example.com",
    f"+49 30 {MARK}",
    f"status{MARK}",
)


def test_a_report_reveals_nothing_private(
    other_server: Callable[[str], Awaitable[tuple[int, Report]]],
    quiet_env: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A server that puts private values, and the key, into every text, name and header."""

    async def run() -> None:
        async with serving(private_service) as url:
            _, report = await other_server(url)
        assert len([one for one in report.observations if one.rows]) > 20

    asyncio.run(run())
    out, err = capfd.readouterr()
    for text in ((quiet_env / REPORT).read_text(), out, err):
        assert MARK not in text
        assert KEY not in text
        assert "Ada" not in text
    assert '"_id":"text:id' in (quiet_env / REPORT).read_text()


async def private_service(request: web.Request) -> web.Response:
    """Answer anything with records whose every field is private."""
    turn = 0

    def secret() -> str:
        nonlocal turn
        turn += 1
        return SECRETS[turn % len(SECRETS)]

    def record(number: int) -> dict[str, Any]:
        fields = {name: secret() for name in ("name", "prompt", "current_status", "state", "mood")}
        named = {secret(): secret(), f"{number:020x}{MARK}": KEY, "key": KEY, "tags": [*SECRETS]}
        id = f"{number:020x}{MARK}"
        urls = dict.fromkeys(("result_url", "source_url", "image_url"), SECRETS[2])
        return {"_id": id, **fields, **named, **urls, "owner": {"name": secret(), secret(): 1}}

    if request.path == "/api/v1/user/remainingCoins":
        data: Any = {"coins": 12, "owner": secret()}
    elif request.path.endswith("/quote"):
        data = {"coins": 5, "note": secret()}
    elif request.path.rpartition("/")[2].endswith(MARK):
        data = {**record(1), "_id": request.path.rpartition("/")[2]}
    else:
        data = {"rows": [record(1), record(2)], "count": 2}
    body = {"code": 0, "data": data, "trace_id": secret(), "msg": secret(), secret(): secret()}
    headers = {f"X-RateLimit-{MARK}1": secret(), "X-RateLimit-Limit": SECRETS[0], "Server": MARK}
    return web.json_response(body, headers=headers)


@pytest.mark.parametrize(
    "value",
    [
        {"alice": {"coins": 3}},
        {"alice": 3, "alice_smith": 5},
        [{"alice": ["x"]}],
        {"_id": "1", "V1alice_8Z5jdHi6B": 1},
        {"_id": "1", "status": {"status": "alice"}},
        {"_id": "1", "owner": {"name": "x", "state": "alice"}},
        {"name": "x", "state": "alice"},
    ],
)
def test_names_and_words_that_may_be_a_persons_are_left_out(value: Any) -> None:
    """Keys of a table, a random id as a name, the state of an address."""
    shape = shape_of({"code": 0, "data": value}, known=known_names())
    assert "alice" not in str(shape.to_json())
    assert "code" in shape.fields


def test_new_fields_and_words_of_a_record_are_kept() -> None:
    """They are what a report is for."""
    record = {"_id": "1", "current_status": "paused", "mood2K": 1, "isAIGCVideo": True}
    shape = shape_of({"code": 0, "data": {"rows": [record]}}, known=known_names())
    text = str(shape.to_json())
    assert all(part in text for part in ("word:paused", "mood2K", "isAIGCVideo"))


# -- paid runs -------------------------------------------------------------------------------------


def test_a_paid_run_within_its_budget(
    verify: Callable[..., tuple[int, Report]], sandbox: Sandbox
) -> None:
    """Each kind is run once, also if the command is repeated; what happens is recorded."""
    flags = ("--spend", "30", "--kinds", "text_to_image,dubbing,sora", "--yes")
    code, report = verify(*flags)
    assert (code, found(report)) == (exit_codes.OK, set())
    runs = {run.kind: run for run in report.paid_runs}
    assert {kind: run.outcome for kind, run in runs.items()} == {
        "text_to_image": "succeeded",
        "dubbing": "succeeded",
        "sora": "skipped",
    }
    for run in (runs["text_to_image"], runs["dubbing"]):
        assert run.statuses[-1][1] == "completed"
        assert (run.head, run.ranges, run.name_echo) == (200, 206, "same")
        assert run.listed_after is not None
        assert run.expires_hours is not None
        assert run.result.startswith("url http")
    assert {charge.kind for charge in sandbox.ledger.starts()} == {"text_to_image", "dubbing"}
    spent = sandbox.ledger.spent
    assert spent <= 30
    names = {one.name for one in report.observations}
    assert {"start dubbing", "start text_to_image"} <= names
    verify("--resume", *flags)
    assert sandbox.ledger.spent == spent


def test_a_result_whose_host_is_no_name_is_reported() -> None:
    """Its task is paid by then: the run must be in the report."""
    run = PaidRun(kind="sora", outcome="succeeded")
    output = Output(url="https://a..b/x.mp4", media="video")
    found = asyncio.run(paid_runs._check_result(run, output))
    assert (found.result, found.head) == ("url https://other/{text}.mp4", None)


def test_nothing_is_spent_without_confirmation(a2e: Invoke, sandbox: Sandbox) -> None:
    """A test has no terminal, so the answer is no; the free report is written."""
    result = a2e("verify", "--spend", "30")
    assert result.code == exit_codes.USAGE
    assert "--yes" in result.err
    assert sandbox.ledger.spent == 0
    assert Path(REPORT).exists()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--kinds", "dubbing"), "--spend"),
        (("--spend", "0"), "--spend"),
        (("--spend", "5", "--kinds", "dubing"), "dubbing"),
        (("-o", "no/such/directory.json"), "directory"),
        (("--docs", "missing.json"), "missing.json"),
    ],
)
def test_wrong_usage_sends_nothing(
    flags: tuple[str, ...], word: str, a2e: Invoke, sandbox: Sandbox
) -> None:
    """The message names the flag or the file."""
    result = a2e("verify", *flags)
    assert result.code == exit_codes.USAGE
    assert word in result.err
    assert sandbox.calls_total == 0


def test_a_report_of_another_service_is_not_continued(a2e: Invoke, quiet_env: Path) -> None:
    """A report is about one service."""
    text = json.dumps({"format": 1, "service": "a2e.ai"})
    (quiet_env / REPORT).write_text(text)
    result = a2e("verify", "--resume")
    assert result.code == exit_codes.USAGE
    assert "a2e.ai" in result.err
    with pytest.raises(InvalidInput, match="format"):
        read_report('{"format": 99}', "x.json")


# -- servers -------------------------------------------------------------------------------------


async def start_dubbing(server: HostileServer, times: int = 1) -> None:
    """Start tasks, which are finished at once."""
    async with A2E(KEY, base_url=server.base_url) as client:
        for _ in range(times):
            await client.dubbing.start(**SAMPLES["dubbing"])
    server.finish()


def row(id: str) -> dict[str, Any]:
    return {"_id": id, "current_status": "failed"}


class serving:  # used like a function
    """Serve a handler on this machine: ``async with serving(handler) as url``."""

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self._handler = handler

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handler)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


EXAMPLES = {"integer": 3, "number": 1.5, "boolean": True, "ISO": "2026-08-01T12:00:00.000Z"}


class DescribedService:
    """Responds with examples of the fields that the description of the service names."""

    def __init__(self) -> None:
        data = files("a2e_async.sandbox") / "data"
        self.paths = json.loads((data / "openapi.json").read_text())["paths"]
        self.kinds = {row["kind"]: row for row in json.loads((data / "kinds.json").read_text())}

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != f"Bearer {KEY}":
            return web.json_response({"code": 401, "msg": "no", "trace_id": "t"}, status=401)
        if request.path.endswith("/quote"):
            return web.json_response({"code": 0, "data": {"coins": 4}, "trace_id": "t"})
        entry = self.find(request.method, request.path)
        if entry is None:
            return web.Response(status=404, text="<html>", content_type="text/html")
        data = [*self.records(entry)]
        role, shape = entry["x-role"], entry.get("x-response-seen", {}).get("data_shape", "")
        if shape == "object" or (role in ("detail", "query") and "array" not in shape):
            value: Any = data[0]
        else:
            value = {"rows": data, "count": len(data)} if "holding" in shape else data
        return web.json_response({"code": 0, "data": value, "trace_id": "t"})

    def find(self, method: str, path: str) -> Mapping[str, Any] | None:
        found = self.paths.get(path, {}).get(method.lower())
        if found is None:
            head, _, id = path.rpartition("/")
            at = (name for name in self.paths if name.rpartition("/")[0] == head and "{" in name)
            entries = [self.paths[name].get(method.lower()) for name in at if len(id) == 24]
            found = next(filter(None, entries), None)
        return found  # type: ignore[no-any-return]

    def records(self, entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        fields = entry.get("x-response-seen", {}).get("record_fields", {})
        made = {
            name: "https://media.example/a.png" if name.endswith("url") else self.example(text)
            for name, text in fields.items()
            if name.isidentifier()
        }
        kind = self.kinds.get(entry.get("x-kind", ""))
        if kind is not None:
            made |= {kind["status_field"]: kind["failed"][0], "coins": 7}
        elif entry["x-role"] == "account":
            made |= {"amount": -1}
        yield {**made, "createdAt": EXAMPLES["ISO"], "_id": f"{1:024x}"}

    @staticmethod
    def example(text: str) -> Any:
        if text.startswith("array"):
            return [f"https://media.example/{len(text)}.png"]
        return next((v for word, v in EXAMPLES.items() if text.startswith(word)), "text")
