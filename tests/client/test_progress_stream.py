"""Progress streams: one for all jobs of a user, whoever follows them, resumable."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from a2e_async import A2E, Task
from a2e_async.contrib.asgi import ProgressStream
from a2e_async.errors import ConfigurationError, InvalidInput, InvalidRequest
from a2e_async.sandbox import Sandbox

from .conftest import DUB, LONG, MakeClient, until


class Reader:
    """A page that reads a stream: the last state of each job, and the id of the last event."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        self.events = events
        self.seen: list[dict[str, Any]] = []
        self.last_id = ""
        self.ready = False
        self.heartbeats = 0

    async def read(self) -> bool:
        """Read one event; return False at the end of the stream."""
        async with asyncio.timeout(60):
            event = await anext(self.events, None)
        if event is None:
            return False
        text = event.decode()
        assert text.endswith("\n\n")
        fields = dict(line.split(": ", 1) for line in text.splitlines() if line[1:2].isalpha())
        self.heartbeats += text.startswith(":")
        self.ready = self.ready or fields.get("event") == "ready"
        if "id" in fields:
            self.last_id = fields["id"]
            self.seen.append(json.loads(fields["data"]))
        return True

    async def until_ready(self) -> list[dict[str, Any]]:
        while not self.ready:
            assert await self.read()
        return self.seen

    async def until_status(self, status: str) -> dict[str, Any]:
        while not self.seen or self.seen[-1]["status"] != status:
            assert await self.read()
        return self.seen[-1]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_each_user_gets_their_own_jobs(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    a2e = make_client(journal=journal)
    async with ProgressStream(a2e, download_to=media, meta=["name"]) as progress:
        async with (
            aclosing(progress.events({}, caller="ann")) as ann,
            aclosing(progress.events({}, caller="ben")) as ben,
        ):
            reader, other = Reader(ann), Reader(ben)
            assert await reader.until_ready() == []
            assert await other.until_ready() == []
            meta = {"name": "talk.wav", "address": "private"}
            await a2e.dubbing.start(**DUB, key="ann:1:2", meta=meta)
            await a2e.dubbing.start(**DUB, key="no-caller")
            last = await reader.until_status("succeeded")
            assert {name: last[name] for name in last if name != "created_at"} == {
                "id": "1:2",
                "kind": "dubbing",
                "status": "succeeded",
                "progress": last["progress"],
                "error": None,
                "files": 1,
                "meta": {"name": "talk.wav"},
            }
            assert {one["id"] for one in reader.seen} == {"1:2"}
            assert other.seen == []
        (path,) = await progress.files("1:2", caller="ann")
        assert path.parent == media
        assert await progress.files("1:2", caller="ben") == []
        async with aclosing(progress.events({})) as events:
            assert {one["id"] for one in await Reader(events).until_ready()} == {"no-caller"}


async def test_files_are_those_of_the_caller_alone(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    """As in the streams: whoever names no caller does not get the files of one who has a name."""
    async with ProgressStream(make_client(journal=journal), download_to=media) as progress:
        async with aclosing(progress.events({}, caller="ann")) as events:
            await progress._a2e.dubbing.start(**DUB, key="ann:1")
            await Reader(events).until_status("succeeded")
        assert len(await progress.files("1", caller="ann")) == 1
        for id, caller in (("ann:1", ""), ("ann:1", "ann"), ("1", ""), ("ann:1", "ben")):
            assert await progress.files(id, caller=caller) == [], (id, caller)


async def test_files_of_keys_in_another_form(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    async with ProgressStream(
        make_client(journal=journal), download_to=media, caller_of=lambda key: key.split("-")[1]
    ) as progress:
        async with aclosing(progress.events({}, caller="ann")) as events:
            await progress._a2e.dubbing.start(**DUB, key="job-ann-1")
            last = await Reader(events).until_status("succeeded")
        assert len(await progress.files(last["id"], caller="ann")) == 1
        assert await progress.files(last["id"], caller="ben") == []
        assert await progress.files(last["id"]) == []


async def test_a_failed_job_says_why(
    make_client: MakeClient, journal: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.fail("dubbing")
    a2e, ended = make_client(journal=journal), list[str | None]()

    async def on_end(task: Task[Any]) -> None:
        ended.append(task.key)

    async with (
        ProgressStream(a2e, on_end=on_end) as progress,
        aclosing(progress.events({})) as events,
    ):
        await a2e.dubbing.start(**DUB, key="1")
        last = await Reader(events).until_status("failed")
        assert last["error"]
        assert ended == ["1"]


@LONG
async def test_a_reader_that_returns_gets_what_has_changed(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    a2e = make_client(journal=journal)
    async with ProgressStream(a2e, download_to=media) as progress:
        for number in range(3):
            await a2e.dubbing.start(**DUB, key=f"ann:{number}")
        async with aclosing(progress.events({}, caller="ann")) as events:
            first = Reader(events)
            while {one["id"] for one in first.seen} != {"0", "1", "2"}:
                await first.read()
        await a2e.dubbing.start(**DUB, key="ann:3")
        headers = {"last-event-id": first.last_id}
        async with aclosing(progress.events(headers, caller="ann")) as events:
            again = Reader(events)
            while "3" not in {one["id"] for one in again.seen}:
                await again.read()
            assert {one["id"] for one in again.seen} <= {"2", "3"}
        run, _, _ = first.last_id.partition(".")
        for wrong in (f"{run}.{10**17}", f"{run}.-1", f"{run}.", "0.1", "\u0663"):
            async with aclosing(progress.events({"last-event-id": wrong}, caller="ann")) as events:
                assert len(await Reader(events).until_ready()) == 4, wrong
        for unknown in ("0.1", f"{first.last_id}x", "." * 99, "é.½"):
            headers = {"Last-Event-ID": unknown}
            async with aclosing(progress.events(headers, caller="ann")) as events:
                assert len(await Reader(events).until_ready()) == 4


async def test_jobs_of_earlier_processes_are_listed_in_their_order(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    first = make_client(journal=journal)
    for number in range(25):
        await first.dubbing.start(**DUB, key=f"ann:{number}")
    await first.aclose()
    a2e = make_client(journal=journal)
    async with (
        ProgressStream(a2e, download_to=media) as progress,
        aclosing(progress.events({}, caller="ann")) as events,
    ):
        reader = Reader(events)
        seen = {one["id"]: one for one in await reader.until_ready()}
        by_time = sorted(seen.values(), key=lambda one: one["created_at"])
        assert [one["id"] for one in by_time] == [str(number) for number in range(25)]
        done: set[str] = set()
        while len(done) < 25:
            await reader.read()
            done |= {one["id"] for one in reader.seen if one["status"] == "succeeded"}


@LONG
async def test_a_slow_reader_skips_what_is_outdated(
    make_client: MakeClient, journal: Path, media: Path, sandbox: Sandbox
) -> None:
    a2e = make_client(journal=journal)
    async with (
        ProgressStream(a2e, download_to=media) as progress,
        aclosing(progress.events({})) as events,
        aclosing(progress.events({})) as quick_events,
    ):
        slow, quick = Reader(events), Reader(quick_events)
        await slow.until_ready()
        await a2e.dubbing.start(**DUB, key="1")
        await quick.until_status("queued")
        sandbox.advance(60)
        await quick.until_status("running")
        sandbox.advance(4000)
        await quick.until_status("succeeded")
        await slow.read()
        assert [one["status"] for one in slow.seen] == ["succeeded"]
        assert slow.last_id == quick.last_id


@LONG
async def test_tasks_of_another_process(
    make_client: MakeClient, journal: Path, tmp_path: Path, sandbox: Sandbox
) -> None:
    """A page may be connected to another worker than the one that follows its job."""
    here, there = make_client(journal=journal), make_client(journal=journal)
    async with (
        ProgressStream(there, download_to=tmp_path / "there"),
        ProgressStream(here, download_to=tmp_path / "here") as progress,
        aclosing(progress.events({}, caller="ann")) as events,
    ):
        reader = Reader(events)
        await reader.until_ready()
        await there.dubbing.start(**DUB, key="ann:1")
        await reader.until_status("queued")
        sandbox.advance(60)
        await reader.until_status("running")
        sandbox.advance(4000)
        assert (await reader.until_status("succeeded"))["files"] == 1
        assert not (tmp_path / "here").exists()


async def test_a_start_that_another_process_had_refused(
    make_client: MakeClient, journal: Path, tmp_path: Path
) -> None:
    """It leaves no entry, and a page must not show it as starting for ever."""
    shown = asyncio.Event()

    async def refuse_or_start(request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.json_response({"code": 404, "msg": "no"}, status=404)
        if shown.is_set():
            task = {"_id": "6" * 24, "name": "x", "current_status": "initialized"}
            return web.json_response({"code": 0, "data": task})
        await shown.wait()
        return web.json_response({"code": 1, "msg": "No voice."}, status=400)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse_or_start)
    async with TestServer(app) as server:
        options = {"journal": journal, "base_url": f"http://{server.host}:{server.port}"}
        here, there = make_client(**options), make_client(**options)
        stream = ProgressStream(here, download_to=tmp_path, heartbeat=0.1)
        async with (
            here,
            there,
            stream as progress,
            aclosing(progress.events({}, caller="ann")) as events,
        ):
            reader = Reader(events)
            await reader.until_ready()
            start = asyncio.create_task(there.dubbing.start(**DUB, key="ann:1"))
            await reader.until_status("starting")
            shown.set()
            with pytest.raises(InvalidRequest):
                await start
            await reader.until_status("withdrawn")
            await there.dubbing.start(**DUB, key="ann:1")  # again, with the same key
            await reader.until_status("queued")


async def test_a_job_that_the_program_saved_itself(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    a2e = make_client(journal=journal)
    async with ProgressStream(a2e, download_to=media / "followed") as progress:
        task = await a2e.dubbing.start(**DUB, key="1")
        await task.download(media)
        async with aclosing(progress.events({})) as events:
            assert (await Reader(events).until_status("succeeded"))["files"] == 1


@LONG
async def test_streams_end_when_the_server_stops(
    make_client: MakeClient, journal: Path, media: Path
) -> None:
    a2e = make_client(journal=journal)
    async with ProgressStream(a2e, download_to=media, heartbeat=0.01) as progress:
        async with aclosing(progress.events({})) as events:
            reader = Reader(events)
            while not reader.heartbeats:
                await reader.read()
            progress.close()
            while await reader.read():
                pass
        async with aclosing(progress.events({})) as events:
            late = Reader(events)
            assert await late.read()  # when to connect again
            assert not await late.read()
        assert repr(progress) == "<ProgressStream 0 jobs, 0 readers>"


@LONG
async def test_memory_is_bounded(make_client: MakeClient, journal: Path, media: Path) -> None:
    a2e = make_client(journal=journal)
    async with ProgressStream(a2e, download_to=media, max_jobs=2) as progress:
        for number in range(4):
            await a2e.dubbing.start(**DUB, key=f"{number}:1")
        await until(lambda: repr(progress) == "<ProgressStream 2 jobs, 0 readers>")
        await until(lambda: a2e.stats().waits == 4)
        async with aclosing(progress.events({}, caller="3")) as events:
            await Reader(events).until_status("queued")


async def test_mistakes(make_client: MakeClient, a2e: A2E, journal: Path, media: Path) -> None:
    with pytest.raises(ConfigurationError, match="journal"):
        await ProgressStream(a2e, download_to=media).__aenter__()
    with pytest.raises(InvalidInput, match="a list of names"):
        ProgressStream(a2e, download_to=media, meta="name")
    with pytest.raises(InvalidInput, match="greater than 0"):
        ProgressStream(a2e, download_to=media, heartbeat=0)
    with pytest.raises(InvalidInput, match="acknowledged and lost"):
        ProgressStream(make_client(journal=journal))
    async with ProgressStream(make_client(journal=journal), download_to=media) as progress:
        with pytest.raises(InvalidInput, match="no colon"):
            await anext(progress.events({}, caller="ann:1"))


async def test_a_journal_that_cannot_be_read_at_first(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams wait for it: the list is not ready before it is complete."""
    monkeypatch.setattr("a2e_async.contrib._web.progress.LOAD_RETRY_DELAY", 0.01)
    first = make_client(journal=tmp_path / "jobs.db")
    await first.dubbing.start(**DUB, key="1")
    await first.aclose()
    folder = tmp_path / "mounted-later"
    folder.mkdir()
    (folder / "jobs.db").write_text("This is no database. " * 99)
    a2e = make_client(journal=folder / "jobs.db")
    async with (
        ProgressStream(a2e, download_to=tmp_path / "out", heartbeat=0.02) as progress,
        aclosing(progress.events({})) as events,
    ):
        reader = Reader(events)
        while not reader.heartbeats:
            await reader.read()
        assert not reader.ready
        (tmp_path / "jobs.db").replace(folder / "jobs.db")
        assert [one["id"] for one in await reader.until_ready()][-1:] == ["1"]
