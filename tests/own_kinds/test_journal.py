"""Kinds of a program's own in the journal, after a restart, in batches, webhooks and threads."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from a2e_async import A2E, Job, blocking
from a2e_async.errors import ConfigurationError, InvalidInput, StartOutcomeUnknown, TaskFailed
from a2e_async.kinds import Endpoint, OutputField, TaskKind
from a2e_async.sandbox import Sandbox

from .conftest import MakeClient
from .declarations import ECHO, FILM, OWN, POSTER, PosterInput

PNG = "https://media.example/a.png"
WAV = "https://media.example/a.wav"


async def collect(items: Any) -> list[Any]:
    """Return all items of an async iterator."""
    return [item async for item in items]


async def test_a_restarted_program_continues_its_tasks(
    sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    """unfinished() yields the task with its kind, and attach() takes its ref."""
    journal = str(tmp_path / "jobs.db")
    first = make_client(sandbox, journal=journal)
    task = await first.kind("short_film").start(prompt="a", key="k", meta={"n": 1})
    await first.aclose()
    second = make_client(sandbox, journal=journal)
    (found,) = await collect(second.unfinished())
    assert (found.ref, found.key, found.meta) == (task.ref, "k", {"n": 1})
    assert found.kind is FILM
    assert len(await found.download(tmp_path)) == 2
    again = await second.kind("short_film").start(prompt="a", key="k")
    assert again.ref == second.attach(task.ref).ref == task.ref
    assert len(sandbox.ledger.starts()) == 1
    assert await collect(second.unfinished()) == []


async def test_a_client_without_the_kind_skips_and_keeps_its_entries(
    sandbox: Sandbox,
    make_client: MakeClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entries of unknown kinds do not stop unfinished(): one warning a kind, all entries kept."""
    journal = str(tmp_path / "jobs.db")
    first = make_client(sandbox, journal=journal)
    for n in range(3):
        await first.kind("short_film").start(prompt=f"{n}", key=f"call:{n}")
    sandbox.faults.drop_before_accept("echo_list")
    with pytest.raises(StartOutcomeUnknown):
        await first.kind("echo_list").start(sound=WAV, key="lost")
    known = await first.dubbing.start(source_url=WAV, target_lang="es", key="known")
    await first.aclose()

    plain = make_client(sandbox, journal=journal, kinds=None)
    caplog.set_level(logging.WARNING)
    found = await collect(plain.unfinished())
    assert [task.ref for task in found] == [known.ref]
    assert plain.unknown() == ()
    texts = [record.getMessage() for record in caplog.records if record.name.endswith("journal")]
    assert len(texts) == 2
    assert "3 unfinished short_film starts" in texts[0]
    assert "1 unfinished echo_list start " in texts[1]
    assert all("A2E(kinds=" in text for text in texts)

    # The other client is still open: it must hold no lease on entries that it cannot continue.
    second = make_client(sandbox, journal=journal)
    assert {task.key for task in await collect(second.unfinished())} == {
        "call:0",
        "call:1",
        "call:2",
    }
    assert [recovery.kind for recovery in second.unknown()] == ["echo_list"]


async def test_paid_calls_without_a_task_are_still_reported(
    sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    """A lost paid call is no start of an unknown kind: unknown() lists it as before."""
    journal = str(tmp_path / "jobs.db")
    first = make_client(sandbox, journal=journal)
    sandbox.faults.http_error(502, times=None)
    with pytest.raises(StartOutcomeUnknown):
        await first.speech.say("hello", tts_id="0" * 24)
    await first.aclose()
    second = make_client(sandbox, journal=journal)
    assert await collect(second.unfinished()) == []
    assert [recovery.kind for recovery in second.unknown()] == ["speech"]


async def test_a_lost_start_is_found_in_the_declared_list(
    sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    """The mark is sent in the declared name input and searched in the declared lists."""
    a2e = make_client(sandbox, journal=str(tmp_path / "jobs.db"))
    for kind, given in (("short_film", {"prompt": "a"}), ("poster", {"text": "a"})):
        sandbox.faults.drop_after_accept(kind)
        task = await a2e.kind(kind).start(**given, key=kind)
        assert len(sandbox.ledger.starts(kind)) == 1
        assert task.ids == sandbox.ledger.starts(kind)[0].ids


async def test_several_tasks_of_a_lost_start_are_searched_after_a_restart(
    sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    """The number that ``count_input`` says is kept with the start."""
    journal = str(tmp_path / "jobs.db")
    first = make_client(sandbox, journal=journal)
    sandbox.faults.drop_after_accept("poster")
    sandbox.faults.list_lag(1e9, "poster", times=None)
    with pytest.raises(StartOutcomeUnknown):
        await first.kind("poster").start(text="a", count=2, key="p")
    await first.aclose()
    second = make_client(sandbox, journal=journal)
    assert await collect(second.unfinished()) == []
    assert [recovery.expected for recovery in second.unknown()] == [2]


async def test_recover_takes_a_recovery_of_a_declared_kind(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """recover() searches with the client's declaration."""
    a2e = make_client(sandbox)
    sandbox.faults.drop_after_accept("short_film")
    sandbox.faults.list_lag(1e9, "short_film")
    with pytest.raises(StartOutcomeUnknown) as lost:
        await a2e.kind("short_film").start(prompt="a")
    assert lost.value.recovery.kind == "short_film"
    plain = make_client(sandbox, kinds=None)
    with pytest.raises(InvalidInput, match="There is no kind 'short_film'"):
        await plain.recover(lost.value.recovery)
    sandbox.advance(2e9)
    with pytest.raises(StartOutcomeUnknown):
        await a2e.recover(lost.value.recovery)  # its record has expired meanwhile


async def test_batches_take_jobs_of_declared_kinds(
    sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    """By namespace, by declaration and by name; run again they are done."""
    a2e = make_client(sandbox, journal=str(tmp_path / "jobs.db"), budget=100)

    def jobs() -> list[Job[Any]]:
        return [
            a2e.kind("short_film").job(prompt="a", key="one"),
            Job(FILM, {"prompt": "b", "image_urls": [PNG]}, key="two"),
            Job("short_film", {"prompt": "c", "key": "three"}),
            Job(POSTER, PosterInput(text="hi"), "four"),
            Job("poster", PosterInput(text="ho"), "five"),
            Job("echo_list", {"sound": WAV}, meta={"n": 1}),
        ]

    plans = await collect(a2e.batch(jobs(), dry_run=True))
    assert [outcome.plan.coins for outcome in plans] == [10] * 6
    outcomes = await collect(a2e.batch(jobs(), download_to=tmp_path / "out"))
    assert [outcome.error for outcome in outcomes] == [None] * 6
    assert {outcome.job.kind.name for outcome in outcomes} == {kind.name for kind in OWN}
    assert sum(len(outcome.paths) for outcome in outcomes) == 9
    again = await collect(a2e.batch(jobs(), download_to=tmp_path / "out"))
    assert all(outcome.earlier for outcome in again)
    assert len(sandbox.ledger.starts()) == 6


async def test_a_job_that_its_client_cannot_take_is_an_outcome(
    sandbox: Sandbox, make_client: MakeClient, tmp_path: Path
) -> None:
    """Unknown names, invalid inputs and other declarations fail alone, before anything is paid."""
    a2e = make_client(sandbox, journal=str(tmp_path / "jobs.db"), budget=100)
    other = TaskKind(name="short_film", start=Endpoint("POST", "/api/v1/poster/make"))
    jobs = [
        Job("no_such_kind_anywhere", {"prompt": "a"}),
        Job("poster", {"colour": 1}),
        Job("short_film", PosterInput(text="hi")),
        Job(other, {"prompt": "a"}),
        Job(TaskKind(name="unheard", start=FILM.start), {"prompt": "a"}),
        Job("short_film", {"prompt": "fine"}),
    ]
    for dry_run in (True, False):
        outcomes = {
            jobs.index(o.job) if o.job in jobs else 5: o.error
            for o in await collect(a2e.batch(jobs, limit=1, dry_run=dry_run))
        }
        assert outcomes.pop(5) is None
        assert len(outcomes) == 5
        assert all(isinstance(error, InvalidInput) for error in outcomes.values())
        assert "declared differently" in str(outcomes[3])
        assert "There is no kind 'unheard'" in str(outcomes[4])
    assert len(sandbox.ledger.starts()) == 1


async def test_an_equal_declaration_is_the_same_kind(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """A kind that is read twice, such as from a file, is not another one."""

    def declare() -> TaskKind[..., Any]:
        return TaskKind(
            name="twice",
            start=FILM.start,
            detail=FILM.detail,
            outputs=(OutputField("result_url", "video"),),
        )

    a2e = make_client(sandbox, kinds=[declare()])
    (outcome,) = await collect(a2e.batch([Job(declare(), {"prompt": "a"})]))
    assert outcome.ok


def test_misspelt_kinds_of_the_package_are_refused_at_once() -> None:
    """A job with a name that nearly is one of the package's does not wait for its client."""
    with pytest.raises(InvalidInput, match="Did you mean dubbing"):
        Job("dubing", {})
    assert Job("seedance3", {"prompt": "a"}, key="k").key == "k"
    with pytest.raises(InvalidInput, match="given twice"):
        Job("seedance3", {"key": "a"}, key="k")
    with pytest.raises(InvalidInput, match="There is no kind 'seed dance'"):
        Job("seed dance", {})


async def test_webhooks_end_a_declared_kind(
    sandbox: Sandbox, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start asks for an event, and the event ends the wait long before the next poll."""
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", "Wh9-another-secret-0123456789")
    clients: list[A2E] = []

    async def receive(request: web.BaseRequest) -> web.StreamResponse:
        return await clients[0].webhooks.app().handle(request)

    runner = web.ServerRunner(web.Server(receive), shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/a2e"
    try:
        clients.append(make_client(sandbox, webhook_url=url, poll_interval=60))
        task = await clients[0].kind("short_film").start(prompt="a")
        assert (await asyncio.wait_for(task.wait(), 30)).outputs
        assert clients[0].webhooks.received == 1
    finally:
        await runner.cleanup()


def test_the_blocking_client(tmp_path: Path) -> None:
    """The same without await: kind(), run, updates, rename, retry, batch, unfinished."""
    with (
        Sandbox(speed=6000, kinds=OWN, make_results="stdlib") as sandbox,
        blocking(
            sandbox.api_key,
            base_url=sandbox.base_url,
            kinds=OWN,
            rate=None,
            poll_interval=0.02,
            journal=str(tmp_path / "jobs.db"),
        ) as a2e,
    ):
        films: Any = a2e.kind("short_film")
        record = films.run(prompt="a", image_urls=[PNG])
        assert record.outputs[0].save(tmp_path).suffix == ".mp4"
        posters: Any = a2e.kind("poster")
        task = posters.start(text="a")
        assert [one.status for one in task.updates()][-1] == "succeeded"
        posters.rename(task.ids[0], "b")
        assert posters.get(task.ids[0]).name == "b"
        sandbox.faults.fail("echo_list")
        echo: Any = a2e.kind("echo_list")
        failed = echo.start(sound=WAV)
        with pytest.raises(TaskFailed):
            failed.wait()
        (outcome,) = a2e.batch([Job("echo_list", {"sound": WAV})])
        assert outcome.ok
        assert echo.retry(failed.ids[0]).wait().outputs
        assert a2e.kind("dubbing") is a2e.dubbing
        assert len(list(a2e.unfinished())) == 4


def test_kinds_is_a_list_or_a_path() -> None:
    """Anything else is refused with a clear error."""
    wrong: Any
    for wrong in ({"short_film": FILM}, 5, FILM):
        with pytest.raises(ConfigurationError, match="kinds must be a list of TaskKind"):
            A2E("key", kinds=wrong)
    with pytest.raises(ConfigurationError, match="kinds must contain TaskKind objects"):
        A2E("key", kinds=["short_film"])  # type: ignore[list-item]
    assert ECHO.name not in A2E("key", kinds=[])._context.kinds.declared  # pyright: ignore[reportPrivateUsage]
