"""The same object without an event loop: what it gives, and what holds however it is used."""

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import a2e_async
from a2e_async import A2E, BlockingA2E, BlockingTask, Output, Status
from a2e_async._blocking import bridge
from a2e_async._blocking.client import BlockingJournal
from a2e_async._blocking.faces import BlockingTaskNamespace
from a2e_async._core.tasks.task import Task
from a2e_async._namespaces import Namespaces
from a2e_async.errors import ClientClosed, ConfigurationError, InvalidInput, TaskFailed, TaskTimeout
from a2e_async.kinds.namespace import TaskNamespace
from a2e_async.sandbox import Sandbox

from .conftest import DUB, KEY, LONG, TALK, MakeClient


def test_a_job(a2e: BlockingA2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """From the start to the file, each step returns when it is done."""
    task = a2e.dubbing.start(**DUB, meta={"to": "es"})
    assert isinstance(task, BlockingTask)
    assert (task.done, task.meta) == (False, {"to": "es"})
    record = task.wait()
    assert record.status is Status.SUCCEEDED
    assert a2e.attach(task.ref).wait() == record
    (path,) = task.download(tmp_path / "out")
    output: Any = record.output
    assert output.save(tmp_path / "talk.wav").read_bytes() == path.read_bytes()
    assert output.read() == a2e.files.read(record.output) == path.read_bytes()
    with output.open() as chunks, a2e.files.open(record.output) as others:
        assert b"".join(chunks) == b"".join(others) == path.read_bytes()
    assert a2e.files.download(record.output, tmp_path / "again.wav").is_file()
    task.delete()
    assert len(sandbox.ledger.starts()) == 1


def test_iterations(a2e: BlockingA2E) -> None:
    """Async iterators are plain ones."""
    task = a2e.talking_video.start(**TALK)
    seen = [record.status for record in task.updates()]
    assert seen[-1] is Status.SUCCEEDED
    assert seen == sorted(seen, key=list(Status).index)
    assert [record.id for record in a2e.talking_video.iter()] == list(task.ids)
    assert list(a2e.credits.iter_history())


def test_an_output_is_an_input(a2e: BlockingA2E, sandbox: Sandbox) -> None:
    """An output of a blocking client goes back in, as everywhere."""
    record = a2e.talking_video.run(**TALK)
    assert isinstance(record.output, Output)
    again = a2e.talking_video.run(**{**TALK, "video_url": record.output})
    assert again.done
    assert sandbox.ledger.starts()[-1].body["video_url"] == record.output.url


def test_errors_are_the_same(a2e: BlockingA2E, sandbox: Sandbox) -> None:
    """What `A2E` raises comes out as it is."""
    with pytest.raises(InvalidInput):
        a2e.dubbing.run(source_url="https://media.example/talk.wav", target_lang="")
    sandbox.faults.fail(kind="dubbing")
    with pytest.raises(TaskFailed) as caught:
        a2e.dubbing.run(**DUB)
    assert a2e.attach(caught.value.ref).ids == (caught.value.record.id,)
    with pytest.raises(TaskTimeout):
        a2e.dubbing.start(**DUB).wait(timeout=0)


def test_batch(make_client: MakeClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A batch is iterated as a list; its jobs may use the client themselves."""
    a2e = make_client(journal=tmp_path / "jobs.db")

    def jobs() -> Any:
        for key in ("a", "b", "c"):
            assert a2e.dubbing.quote(**DUB) is not None
            yield a2e.dubbing.job(**DUB, key=key)

    outcomes = list(a2e.batch(jobs(), limit=2, download_to=tmp_path / "out"))
    assert sorted(outcome.job.key or "" for outcome in outcomes) == ["a", "b", "c"]
    assert all(outcome.ok and outcome.paths[0].is_file() for outcome in outcomes)
    (again,) = a2e.batch([a2e.dubbing.job(**DUB, key="a")])
    assert again.earlier
    assert len(sandbox.ledger.starts()) == 3
    with pytest.raises(InvalidInput):
        list(a2e.batch(5))  # type: ignore[arg-type]  # what a program might give


@LONG
@pytest.mark.parametrize("how", ["break", "close", "drop"])
def test_leaving_a_batch_stops_spending(a2e: BlockingA2E, sandbox: Sandbox, how: str) -> None:
    """Nothing is started any more once nobody iterates."""
    closed = threading.Event()

    def jobs() -> Any:
        try:
            while True:
                yield a2e.dubbing.job(**DUB)
        finally:
            closed.set()

    sandbox.faults.http_error(400, role="start")
    outcomes = a2e.batch(jobs(), limit=1)
    if how == "break":
        for _ in outcomes:
            break
    else:
        next(outcomes)
    if how == "close":
        outcomes.close()  # type: ignore[attr-defined]  # as a generator's
    del outcomes
    gc.collect()
    assert closed.wait(10)
    calls = sandbox.calls_total
    a2e.credits.balance()
    assert sandbox.calls_total == calls + 1


@LONG
def test_unfinished(make_client: MakeClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """What an earlier program began comes back; the journal is there to look at."""
    first = make_client(journal=tmp_path / "jobs.db")
    begun = first.dubbing.start(**DUB, key="k", meta={"n": 1})
    assert isinstance(first.journal, BlockingJournal)
    assert first.journal.get("k").ref == begun.ref  # type: ignore[union-attr]  # it is there
    first.close()
    second = make_client(journal=tmp_path / "jobs.db")
    (left,) = second.unfinished()
    assert (left.ref, left.key, left.meta) == (begun.ref, "k", {"n": 1})
    sandbox.advance(3600)
    assert left.wait().done


def test_many_threads(a2e: BlockingA2E, sandbox: Sandbox) -> None:
    """One client serves all threads of a program."""
    with ThreadPoolExecutor(16) as pool:
        records = list(pool.map(lambda _: a2e.dubbing.run(**DUB), range(40)))
    assert len({record.id for record in records}) == len(sandbox.ledger.starts()) == 40


def test_where_a_loop_runs_already(make_client: MakeClient) -> None:
    """As in a notebook: the caller's loop is not touched."""

    async def cell() -> None:
        with make_client() as a2e:
            assert a2e.dubbing.run(**DUB).done

    asyncio.run(cell())


def test_made_but_not_used(make_client: MakeClient) -> None:
    """Making and closing one starts nothing."""
    before = threading.active_count()
    with make_client() as a2e:
        assert threading.active_count() == before
    assert a2e.closed
    with pytest.raises(ClientClosed):
        a2e.dubbing.list()
    with pytest.raises(ClientClosed):
        a2e.__enter__()


def test_after_it_was_closed(make_client: MakeClient) -> None:
    """Whatever came out of it says so."""
    with make_client() as a2e:
        record: Any = a2e.dubbing.run(**DUB)
        task = a2e.dubbing.start(**DUB)
        updates = task.updates()
        next(updates)
    for late in (task.wait, record.output.read, updates.__next__, a2e.unclaimed):
        with pytest.raises(ClientClosed):
            late()
    a2e.close()


@LONG
def test_closed_by_another_thread(a2e: BlockingA2E) -> None:
    """A thread that waits is told."""
    task = a2e.dubbing.start(**DUB)
    errors: list[Exception] = []

    def wait() -> None:
        try:
            task.wait()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not a2e.stats().polled_tasks:
        time.sleep(0.002)
    a2e.close()
    thread.join(10)
    assert [type(error) for error in errors] == [ClientClosed]


def test_called_from_inside(make_client: MakeClient) -> None:
    """A callback that calls the client would wait for itself: it is told, and nothing hangs."""
    errors: list[Exception] = []

    def on_event(_: Any) -> None:
        try:
            a2e.credits.balance()
        except ConfigurationError as error:
            errors.append(error)

    a2e = make_client(on_event=on_event)
    a2e.credits.balance()
    assert errors
    assert "on_event" in str(errors[0])


def test_a_loop_that_a_callback_has_ended(make_client: MakeClient) -> None:
    """SystemExit is for the whole program; whoever goes on is told, and does not wait."""

    events: list[Any] = []

    def on_event(event: Any) -> None:
        events.append(event)
        if len(events) == 1:
            raise SystemExit(3)

    a2e = make_client(on_event=on_event)
    with pytest.raises(SystemExit):
        a2e.credits.balance()
    for _ in range(2):
        with pytest.raises(ClientClosed):
            a2e.credits.balance()


def test_options_and_callers(a2e: BlockingA2E) -> None:
    """Twins share the thread, and close with it."""
    user = a2e.with_options(request_timeout=5).for_caller("u", max_unfinished=2)
    assert user.dubbing.start(**DUB).caller == "u"
    assert len(user.unclaimed()) == 1
    assert a2e.request("GET", "/api/v1/userDubbing/allRecords").http_status == 200
    assert a2e.unknown() == ()
    a2e.close()
    assert user.closed


NOT_THERE = {
    # `close` instead; a program that receives events, or follows all its tasks while it does
    # something else, is async.
    A2E: {"aclose", "webhooks", "follow_all"},
    Task: {"kind"},
}
"""Names that the blocking classes do not have: internal, or named differently there."""


def public(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_nothing_is_missing() -> None:
    """Each public name of the client, its namespaces and its tasks has its blocking one."""
    client = BlockingA2E(A2E(KEY, base_url="http://127.0.0.1:1"), None)  # type: ignore[arg-type]
    assert public(A2E) - public(BlockingA2E) <= NOT_THERE[A2E]
    assert public(Task) - public(BlockingTask) <= NOT_THERE[Task]
    assert public(TaskNamespace) <= public(BlockingTaskNamespace)
    for name in public(Namespaces):
        face, inner = getattr(client, name), getattr(client._inner, name)
        assert public(type(inner)) <= public(type(face)), name


def test_methods_document_their_inputs(a2e: BlockingA2E) -> None:
    """Signatures and documentation are those of the async methods."""
    other = A2E(KEY, base_url="http://127.0.0.1:1")
    for path in ("dubbing.run", "dubbing.quote", "voices.public", "veo.wait_1080p", "request"):
        mine, theirs = a2e, other
        for name in path.split("."):
            mine, theirs = getattr(mine, name), getattr(theirs, name)
        assert inspect.signature(mine) == inspect.signature(theirs)  # type: ignore[arg-type]
        assert inspect.getdoc(mine) == inspect.getdoc(theirs)
    for name in ("batch", "recover", "attach", "kind", "unfinished", "unclaimed"):
        mine, theirs = getattr(BlockingA2E, name), getattr(A2E, name)
        assert [*inspect.signature(mine).parameters] == [*inspect.signature(theirs).parameters]
    assert [*inspect.signature(a2e_async.blocking).parameters] == [
        *inspect.signature(A2E).parameters
    ]


def test_loaded_when_it_is_used() -> None:
    """The async client does not pay for the blocking one."""
    code = (
        "import sys; from a2e_async import A2E; print([m for m in sys.modules if '_blocking' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def interrupted_once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """Let Ctrl-C come right after the next call of this function."""
    inner = getattr(where, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(where, name, inner)
        inner(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(where, name, call)


@LONG
def test_interrupted_while_a_call_is_handed_over(
    a2e: BlockingA2E, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is cancelled all the same: nothing goes on, or pays, behind the caller's back."""
    a2e.credits.balance()
    interrupted_once(monkeypatch, bridge, "_submit")
    with pytest.raises(KeyboardInterrupt):
        a2e.dubbing.run(**DUB)
    outcomes = a2e.batch([a2e.dubbing.job(**DUB) for _ in range(3)])
    interrupted_once(monkeypatch, bridge, "_submit")
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    end = time.monotonic() + 60
    while len(a2e.unclaimed()) != len(sandbox.ledger.starts()):  # answers that are on their way
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("goes_on", [True, False])
def test_interrupted_while_the_thread_begins(
    a2e: BlockingA2E, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    """The next call goes on with that thread; closing ends it."""
    interrupted_once(monkeypatch, threading.Thread, "start")
    with pytest.raises(KeyboardInterrupt):
        a2e.credits.balance()
    if goes_on:
        a2e.credits.balance()
    assert [t.name for t in threading.enumerate()].count("a2e_async-blocking") == 1


@pytest.mark.parametrize("given", [(), ("key",), (A2E(KEY),), ("key", "url")], ids=len)
def test_the_class_cannot_be_called_by_hand(given: tuple[Any, ...]) -> None:
    """The error names the function that makes a client."""
    with pytest.raises(TypeError, match=r"made by blocking\(\), which takes what A2E takes"):
        BlockingA2E(*given)
    with pytest.raises(TypeError, match=r"made by blocking\(\)"):
        BlockingA2E(api_key=KEY)  # type: ignore[call-arg]
