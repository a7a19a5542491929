"""Queue jobs run many times and are charged once; another worker takes over when one ends."""

import asyncio
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import procrastinate
import psycopg
import pytest
from procrastinate import jobs
from procrastinate.exceptions import ConnectorException

from a2e_async import A2E
from a2e_async.contrib import procrastinate as module
from a2e_async.contrib.procrastinate import (
    RetryTransientErrors,
    apply_schema,
    make_app,
    make_blueprint,
)
from a2e_async.errors import (
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    JournalError,
    StartOutcomeUnknown,
    TaskFailed,
)
from a2e_async.models import Recovery
from a2e_async.sandbox import Sandbox

from .pooler import pooler
from .proxy import proxy
from .server import Server
from .show import ROOT, show

INPUTS = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}
JOB = {"kind": "dubbing", "inputs": INPUTS}
NEVER = "0 0 1 1 *"
"""Times of a sweep that is never scheduled by itself."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=600, make_results="stdlib") as made:
        yield made


def app_of(url: str, sandbox: Sandbox, **others: Any) -> procrastinate.App:
    def client() -> A2E:
        return A2E(sandbox.api_key, base_url=sandbox.base_url, journal=url, poll_interval=0.1)

    return make_app(url, **{"client": client, **others})


def own_app(url: str, sandbox: Sandbox, **others: Any) -> procrastinate.App:
    """Return an app of a user, with a connector of its own, that has the blueprint's tasks."""

    def client() -> A2E:
        return A2E(sandbox.api_key, base_url=sandbox.base_url, journal=url, poll_interval=0.1)

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=5))
    app.add_tasks_from(make_blueprint(client, **{"sweep": NEVER, **others}), namespace="a2e")
    return app


async def defer(app: procrastinate.App, name: str = "a2e.start", **values: Any) -> int:
    return await app.configure_task(name).defer_async(**(values or JOB))


async def run(app: procrastinate.App) -> None:
    """Run all jobs in the queue to their end."""
    await app.run_worker_async(
        wait=False, install_signal_handlers=False, shutdown_graceful_timeout=60
    )


def states(url: str) -> list[str]:
    with psycopg.connect(url) as db:
        query = """SELECT status::text FROM procrastinate_jobs
            WHERE task_name NOT LIKE 'a2e%sweep' ORDER BY id"""
        return [row[0] for row in db.execute(query)]


async def test_two_jobs_of_one_key_are_paid_once(
    url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    done: list[tuple[str, object]] = []

    async def on_done(task: Any, record: Any) -> None:
        done.append((task.ref, task.meta["chat"]))

    app = app_of(url, sandbox, download_to=tmp_path, on_done=on_done)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for _ in range(2):
            await defer(app, **JOB, key="talk-17", meta={"chat": 4711})
        await run(app)
        assert states(url) == ["succeeded"] * 2
        assert len(sandbox.ledger.starts()) == 1
        ((ref, meta),) = set(done)
        assert meta == 4711
        await defer(app, "a2e.follow", ref=ref)
        await run(app)
    assert states(url) == ["succeeded"] * 3
    assert len(sandbox.ledger.starts()) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


async def test_the_good_outputs_of_a_failed_task_are_saved(
    url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.faults.fail("text_to_image")
    app = app_of(url, sandbox, download_to=tmp_path)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await defer(app, kind="text_to_image", inputs={"prompt": "a lake", "max_images": 2})
        await run(app)
    assert states(url) == ["failed"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


async def test_a_job_that_is_tried_again_is_not_paid_again(url: str, sandbox: Sandbox) -> None:
    calls = 0

    async def on_done(task: Any, record: Any) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ClientClosed("as if its worker ended")

    app = app_of(url, sandbox, on_done=on_done)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await defer(app)
        for _ in range(3):
            await run(app)
    assert (calls, states(url)) == (3, ["succeeded"])
    assert len(sandbox.ledger.starts()) == 1


async def test_a_result_that_nobody_takes_stays_unfinished(url: str, sandbox: Sandbox) -> None:
    app = app_of(url, sandbox)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await defer(app)
        await run(app)
    assert states(url) == ["succeeded"]
    async with A2E(sandbox.api_key, base_url=sandbox.base_url, journal=url) as a2e:
        assert [task.ids async for task in a2e.unfinished()] == [sandbox.ledger.starts()[0].ids]


async def test_a_worker_that_is_stopped_hands_its_jobs_over(
    url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHUTDOWN_GRACE_SECONDS", 0.1)
    waiting, forever = asyncio.Event(), asyncio.Event()
    owners: list[str | None] = []

    async def never(task: Any, record: Any) -> None:
        waiting.set()
        await forever.wait()

    first = app_of(url, sandbox, on_done=never)
    async with first.open_async():
        await first.schema_manager.apply_schema_async()
        await defer(first)
        worker = asyncio.create_task(first.run_worker_async(install_signal_handlers=False))
        await waiting.wait()
        worker.cancel()
        await asyncio.wait([worker])
        assert states(url) == ["todo"]
    with psycopg.connect(url) as db:
        owners = [row[0] for row in db.execute("SELECT owner FROM a2e_owners")]
    assert owners == []  # its lease was given up
    second = app_of(url, sandbox)
    async with second.open_async():
        await run(second)
    assert states(url) == ["succeeded"]
    assert len(sandbox.ledger.starts()) == 1


async def test_a_job_that_its_user_aborts_is_over(url: str, sandbox: Sandbox) -> None:
    waiting, forever = asyncio.Event(), asyncio.Event()

    async def never(task: Any, record: Any) -> None:
        waiting.set()
        await forever.wait()

    app = app_of(url, sandbox, on_done=never)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        number = await defer(app)
        worker = asyncio.create_task(
            app.run_worker_async(install_signal_handlers=False, abort_job_polling_interval=0.1)
        )
        await waiting.wait()
        await app.job_manager.cancel_job_by_id_async(number, abort=True)
        async with asyncio.timeout(30):
            while states(url) == ["doing"]:
                await asyncio.sleep(0.02)
        worker.cancel()
        await asyncio.wait([worker])
    assert states(url) == ["aborted"]


async def test_jobs_of_a_dead_worker_are_swept_and_those_of_others_kept(
    url: str, sandbox: Sandbox
) -> None:
    # At the turn of a minute a scheduled sweep would already be queued.
    app = app_of(url, sandbox, sweep=NEVER)

    @app.task(name="other")
    async def other() -> None: ...

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await defer(app)
        await app.configure_task("other").defer_async()
        await app.configure_task("a2e.sweep").defer_async(timestamp=0)
        dead = await app.job_manager.register_worker()
        for _ in range(3):
            assert await app.job_manager.fetch_job(queues=None, worker_id=dead)
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(
                "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'"
            )
            for times in range(2):  # the sweep of the dead worker is no hindrance
                await app.configure_task("a2e.sweep").defer_async(timestamp=times + 1)
                await app.run_worker_async(
                    wait=False,
                    install_signal_handlers=False,
                    stalled_worker_timeout=7200,
                    shutdown_graceful_timeout=60,
                )
            query = "SELECT status::text FROM procrastinate_jobs WHERE task_name = 'a2e.sweep'"
            assert {row[0] for row in db.execute(query)} == {"succeeded"}
    assert states(url) == ["succeeded", "doing"]
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ClientClosed("closed"), True),
        (JournalError("away"), True),
        (OSError("no space left"), True),
        (ConfigurationError("no key"), False),
        (ValueError("a bug of on_done"), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_what_is_tried_again(error: BaseException, again: bool) -> None:
    job = jobs.Job(
        id=1, queue="a2e", lock=None, queueing_lock=None, task_name="a2e.start", attempts=99
    )
    assert (
        RetryTransientErrors().get_retry_decision(exception=error, job=job) is not None
    ) is again


@pytest.mark.parametrize(("hours", "again"), [(0, True), (23, True), (25, False)])
@pytest.mark.parametrize("attempts", [0, 99])
def test_a_start_that_stays_unknown_is_searched_for_during_a_day(
    hours: int, again: bool, attempts: int
) -> None:
    sent_at = datetime.now(UTC) - timedelta(hours=hours)
    recovery = Recovery(
        kind="dubbing", path="/x", name=None, mark=None, digest="d", sent_at=sent_at
    )
    error = StartOutcomeUnknown("lost", recovery=recovery)
    job = jobs.Job(
        id=1, queue="a2e", lock=None, queueing_lock=None, task_name="a2e.start", attempts=attempts
    )
    decision = RetryTransientErrors().get_retry_decision(exception=error, job=job)
    assert (decision is not None) is again
    if decision is not None:
        assert decision.retry_at is not None
        assert decision.retry_at - datetime.now(UTC) <= timedelta(hours=1)


def test_what_has_cost_or_would_cost_again_is_not_tried_again() -> None:
    for final in (InsufficientCredits, TaskFailed):
        assert not issubclass(final, module._TRANSIENT_ERRORS)


async def test_a_client_without_a_journal_is_refused(url: str, sandbox: Sandbox) -> None:
    def bare() -> A2E:
        return A2E(sandbox.api_key, base_url=sandbox.base_url)

    app = app_of(url, sandbox, client=bare)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await defer(app)
        await run(app)
    assert states(url) == ["failed"]
    assert not sandbox.ledger.starts()
    with pytest.raises(ConfigurationError, match="dead_after"):
        make_app(url, dead_after=0)


async def test_the_blueprint_in_an_app_with_its_own_connector(
    url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its client lives as long as jobs run; jobs of a dead worker are given to others."""
    app = own_app(url, sandbox, download_to=tmp_path)
    async with app.open_async():
        assert await apply_schema(app)
        await defer(app, "a2e:start", **JOB, key="talk-17")
        dead = await app.job_manager.register_worker()
        assert await app.job_manager.fetch_job(queues=None, worker_id=dead)
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 day'")
            await app.configure_task("a2e:sweep").defer_async(timestamp=0)
            await app.run_worker_async(
                wait=False,
                install_signal_handlers=False,
                stalled_worker_timeout=1e6,
                shutdown_graceful_timeout=60,
            )
            assert states(url) == ["succeeded"]
            assert db.execute("SELECT FROM a2e_owners").fetchall() == []
        await defer(app, "a2e:follow", ref=f"dubbing:{sandbox.tasks[0].id}", version=1)
        await run(app)
    assert states(url) == ["succeeded"] * 2
    assert len(sandbox.ledger.starts()) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


async def test_the_schema_step_can_be_repeated_by_several_hosts(url: str, sandbox: Sandbox) -> None:
    apps = [own_app(url, sandbox) for _ in range(3)]
    for app in apps:
        await app.open_async()
    assert sorted(await asyncio.gather(*map(apply_schema, apps))) == [False, False, True]
    assert not await apply_schema(apps[0])
    for app in apps:
        await app.close_async()


async def test_jobs_for_other_code_stay_in_the_queue(url: str, sandbox: Sandbox) -> None:
    """A worker before its update neither fails nor does what it does not understand."""
    app = own_app(url, sandbox)
    async with app.open_async():
        await apply_schema(app)
        await defer(app, "a2e:start", **JOB, version=2, priority="high")
        await defer(app, "a2e:follow", ref="of_tomorrow:68c3e20ad54b2f0047dd3c4c")
        await defer(app, "a2e:follow", ref="dubbing:68c3e20ad54b2f0047dd3c4c", typo=1)
        await defer(app, "a2e:follow", ref="no ref")
        await defer(app, "a2e:start", **{**JOB, "kind": "typo"})
        await defer(app, "a2e:start", job=JOB, version=2)
        await defer(app, "a2e:follow", task="dubbing:68c3e20ad54b2f0047dd3c4c", version=2)
        await run(app)
    assert states(url) == ["todo", "todo", "failed", "failed", "failed", "todo", "todo"]
    assert not sandbox.ledger.starts()


@pytest.mark.parametrize(
    ("task", "arguments", "text"),
    [
        ("a2e:start", {"kind": "dubbing", "input": {}}, "takes kind, inputs, key, meta; not input"),
        ("a2e:start", {"kind": "dubbing"}, "takes kind, inputs, key, meta; inputs is missing"),
        ("a2e:follow", {"refs": ["x"]}, "takes ref; not refs"),
    ],
)
async def test_wrong_arguments_of_a_job(
    url: str,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    task: str,
    arguments: dict[str, Any],
    text: str,
) -> None:
    """The error in the log says what the task takes, not how it is written."""
    app = own_app(url, sandbox)
    async with app.open_async():
        await apply_schema(app)
        await defer(app, task, **arguments)
        await run(app)
    assert states(url) == ["failed"]
    assert text in caplog.text
    assert "locals" not in caplog.text


async def test_opening_waits_for_a_database_that_starts_later(
    url: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxy(url) as way:
        way.refuses = True
        app = app_of(way.before(url), sandbox)
        opening = asyncio.ensure_future(app.open_async())
        async with asyncio.timeout(60):
            while "waiting up to 45 s" not in caplog.text:
                await asyncio.sleep(0.02)
        way.refuses = False
        await opening
        await apply_schema(app)
        await app.close_async()


async def test_a_pooler_that_gives_sessions_away_is_refused(url: str, sandbox: Sandbox) -> None:
    async with pooler(url, keeps_sessions=False) as way:
        with pytest.raises(ConnectorException, match=r"The queue 127.*pool_mode = session"):
            await app_of(way.before(url), sandbox).open_async()


async def test_no_error_shows_the_password(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a text nor a local variable of a traceback has it."""
    monkeypatch.setattr(module, "RECONNECT_TIMEOUT", 0.0)
    caplog.set_level(0)
    app = app_of("postgresql://me:correct-horse@127.0.0.1:1/jobs", sandbox)
    with pytest.raises(ConnectorException, match=r"127\.0\.0\.1/jobs cannot be used") as caught:
        await app.open_async()
    connect = app.connector._pool_args["connection_class"].connect  # type: ignore[attr-defined]
    with pytest.raises(psycopg.OperationalError) as refused:  # as when it is lost later
        await connect("", autocommit=True)
    shown = [caplog.text, repr(app.connector), str(vars(app.connector))]
    for raised in (caught.value, refused.value):
        shown += traceback.TracebackException.from_exception(raised, capture_locals=True).format()
    assert "horse" not in "".join(shown)


async def test_an_app_defers_synchronously(url: str, sandbox: Sandbox) -> None:
    app = app_of(url, sandbox)
    async with app.open_async():
        await apply_schema(app)
    other = app_of(url, sandbox)

    def defer_in_thread() -> None:
        with other.open():
            other.configure_task("a2e.start").defer(**JOB)

    await asyncio.to_thread(defer_in_thread)
    assert states(url) == ["todo"]


def test_procrastinates_own_commands_run_it(url: str, sandbox: Sandbox, tmp_path: Path) -> None:
    def command(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "procrastinate", "--app=tests.fleet.app.app", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "A2E_FLEET_URL": url,
                "A2E_FLEET_OUT": str(tmp_path),
                "A2E_FLEET_RATE": "50,10",
                "A2E_API_KEY": sandbox.api_key,
                "A2E_BASE_URL": sandbox.base_url,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    command("schema", "--apply")
    command("defer", "a2e.start", json.dumps(JOB))
    command("worker", "--one-shot", "--shutdown-graceful-timeout=50")
    assert states(url) == ["succeeded"]
    assert len(sandbox.ledger.starts()) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


async def test_workers_that_are_killed_and_a_database_that_is_restarted(
    postgres: Server, tmp_path: Path
) -> None:
    """The small form of `show`: nothing is charged twice, nothing is lost, the rate limit holds."""
    found = await show(
        postgres,
        tmp_path / "out",
        jobs=60,
        rate=8,  # so low that the pace decides how long it takes
        burst=4,
        kill_every=2.5,
        restart_at=0.4,
        patience=600,  # only a hang may fail
    )
    assert (found.charges, found.saved, found.files) == (60, 60, 60), found
    assert found.killed >= 1, found
    assert found.restarts == 1, found
    assert found.excess <= 1.02, found
