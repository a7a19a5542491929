"""Law 3: all tasks of a start are found, even those missing from its response."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget, Task
from a2e_async._core.journal.protocol import BeginResult, Entry, State
from a2e_async._core.submission.attempt import StartAttempt
from a2e_async._core.submission.executor import StartExecutor
from a2e_async._core.submission.recovery_search import SCAN_DELAYS
from a2e_async.cli import exit_codes, main
from a2e_async.cli.journal import settle
from a2e_async.errors import BudgetExceeded, JournalError, TaskFailed
from tests.hostile import Fault, HostileServer, Step
from tests.laws.conftest import API_KEY, MakeClient
from tests.samples import SAMPLES

SEVERAL = {
    "image_to_video": {"number_of_images": 3},
    "text_to_image": {"max_images": 3},
    "kling_image": {"n": 3},
}
FEWER = {
    "first alone": Fault.fewer_records(),
    "one record": Fault.edit("one record", lambda data: data[0]),
    "rows without ids": Fault.edit("no ids", lambda data: [data[0], *({} for _ in data[1:])]),
    "ids of a wrong type": Fault.edit(
        "odd ids", lambda data: [data[0], *({**row, "_id": 7} for row in data[1:])]
    ),
}


def known(a2e: A2E, *tasks: Task[Any]) -> set[str]:
    return {id for task in (*tasks, *a2e.unclaimed()) for id in task.ids}


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("fewer", FEWER)
@pytest.mark.parametrize("name", [None, "take"])
async def test_the_rest_is_found_at_once(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    kind: str,
    fewer: str,
    name: str | None,
) -> None:
    hostile.faults.add(Step.START, FEWER[fewer])
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.kind(kind).start(**{**SAMPLES[kind], **SEVERAL[kind]}, name=name, key="k")
    assert sorted(task.ids) == sorted(hostile.ledger.ids)
    assert len(task.ids) == 3
    assert a2e.journal is not None
    entry = await a2e.journal.get("k")
    assert entry is not None
    assert sorted(entry.ids) == sorted(task.ids)
    assert len((await task.wait(timeout=20)).parts) == 3


async def test_a_list_that_lags_shows_the_rest_later(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The start returns the known tasks; the others are unclaimed once they are found."""
    monkeypatch.setattr("a2e_async._core.submission.remaining_tasks.SHORT_SCAN_DELAYS", (0.0,))
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", SCAN_DELAYS)
    hostile.behaviour.list_lag = 0.3
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client(journal=tmp_path / "jobs.db")
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    task = await a2e.image_to_video.start(**inputs, key="k")
    assert len(task.ids) == 1
    while len(known(a2e, task)) < 3:
        await asyncio.sleep(0.01)
    assert known(a2e, task) == set(hostile.ledger.ids)
    (rest,) = a2e.unclaimed()
    assert len((await rest.wait(timeout=20)).outputs) == 2
    await a2e.aclose()
    again = make_client(journal=tmp_path / "jobs.db")
    unfinished = [one async for one in again.unfinished()]
    assert sorted(id for one in unfinished for id in one.ids) == sorted(hostile.ledger.ids)


async def test_a_later_run_goes_on_with_the_search(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """After an early close, `unfinished` or the same key continues the search."""
    hostile.behaviour.list_lag = 60
    hostile.faults.add(Step.START, Fault.fewer_records(), times=2)
    first = make_client(journal=tmp_path / "jobs.db")
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    for key in ("k1", "k2"):
        starting = asyncio.create_task(first.image_to_video.start(**inputs, key=key))
        await asyncio.sleep(0)
        assert len((await starting).ids) == 1
    # As if it had been killed: what it found afterwards is not in the journal.
    assert first.journal is not None
    for key in ("k1", "k2"):
        entry = await first.journal.get(key)
        assert entry is not None
        await first.journal.advance(key, entry.state, expected=3)
    await first.aclose()
    hostile.behaviour.list_lag = 0
    second = make_client(journal=tmp_path / "jobs.db")
    again = await second.image_to_video.start(**inputs, key="k1")
    while len(known(second, again)) < 3:
        await asyncio.sleep(0.01)
    found = [task async for task in second.unfinished()]
    assert known(second, *found) == set(hostile.ledger.ids)


@pytest.mark.parametrize("kind", SEVERAL)
async def test_remaining_tasks_that_are_not_found_for_certain_are_logged(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """Candidates are logged, and the entry keeps the number of requested tasks."""
    hostile.behaviour.respell = str.upper
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client(journal=tmp_path / "jobs.db")
    inputs = {**SAMPLES[kind], **SEVERAL[kind], "name": "My take"}
    task = await a2e.kind(kind).start(**inputs, key="k")
    async with asyncio.timeout(20):
        while "were not found" not in caplog.text:
            await asyncio.sleep(0.01)
    assert "search for remaining tasks of a start failed" not in caplog.text
    assert all(id in caplog.text for id in hostile.ledger.ids if id not in task.ids)
    assert a2e.journal is not None
    entry = await a2e.journal.get("k")
    assert entry is not None
    assert (entry.ids, entry.expected) == (task.ids, 3)


async def test_fewer_tasks_than_ordered(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service creates one task with all outputs, this only costs a search."""
    task = hostile.accept
    monkeypatch.setattr(
        hostile,
        "accept",
        lambda kind, body, account="": task(kind, {**body, "max_images": 1}, account),
    )
    a2e = make_client()
    made = await a2e.text_to_image.start(prompt="a lake", max_images=3)
    assert list(made.ids) == hostile.ledger.ids
    assert len(made.ids) == 1
    assert (await made.wait(timeout=20)).output
    await a2e.aclose()
    assert a2e.unclaimed() == ()


@pytest.mark.parametrize("name", [None, "take"])
async def test_fewer_tasks_than_ordered_and_no_response(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str | None,
) -> None:
    """Tasks with the start's mark belong to it, even if fewer than requested."""
    accept = hostile.accept
    monkeypatch.setattr(
        hostile,
        "accept",
        lambda kind, body, account="": accept(kind, {**body, "max_images": 1}, account),
    )
    hostile.faults.add(Step.START, Fault.page(502))
    a2e = make_client(journal=tmp_path / "jobs.db", mark_names=True)
    made = await a2e.text_to_image.start(prompt="a lake", max_images=3, name=name, key="k")
    assert list(made.ids) == hostile.ledger.ids
    assert len(made.ids) == 1
    assert (await made.wait(timeout=20)).output
    await a2e.aclose()
    again = make_client(journal=tmp_path / "jobs.db")
    assert (
        await again.text_to_image.start(prompt="a lake", max_images=3, name=name, key="k")
    ).ref == made.ref
    assert len(hostile.ledger) == 1


async def test_a_lost_start_whose_tasks_come_into_the_list_one_by_one(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
) -> None:
    """The start returns the tasks found; the others are unclaimed once they are found."""
    hostile.faults.add(Step.START, Fault.page(502))
    one = Fault.edit("one row", lambda data: {**data, "rows": data["rows"][:1]})
    hostile.faults.add(Step.LIST, one, times=2)
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.image_to_video.start(
        **{**SAMPLES["image_to_video"], "number_of_images": 3}, key="k"
    )
    while len(known(a2e, task)) < 3:
        await asyncio.sleep(0.01)
    assert known(a2e, task) == set(hostile.ledger.ids)
    assert len(hostile.ledger) == 1


async def lose_the_rest(hostile: HostileServer, a2e: A2E, **options: Any) -> Task[Any]:
    """Start three videos of which the response names one, and no search is sure of the others."""
    hostile.behaviour.respell = str.upper
    hostile.faults.add(Step.START, Fault.fewer_records())
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3, "name": "My take"}
    task: Task[Any] = await a2e.image_to_video.start(**inputs, **options)
    assert len(task.ids) == 1
    async with asyncio.timeout(20):
        while not a2e.unknown():
            await asyncio.sleep(0.01)
    return task


@pytest.mark.parametrize("with_journal", [True, False])
async def test_a_rest_that_is_not_found_is_unknown(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, with_journal: bool
) -> None:
    """What was paid and is not found is listed, and can be searched for again."""
    a2e = make_client(journal=tmp_path / "jobs.db" if with_journal else None)
    task = await lose_the_rest(hostile, a2e, key="k" if with_journal else None)
    (lost,) = a2e.unknown()
    assert (lost.kind, lost.name, lost.expected) == ("image_to_video", "My take", 2)
    hostile.behaviour.respell = str  # the service shows the name as it was given
    rest = await a2e.recover(lost)
    assert {*task.ids, *rest.ids} == set(hostile.ledger.ids)
    assert a2e.unknown() == ()


@pytest.mark.parametrize("closed", ["saved", "acknowledged", "failed"])
async def test_a_closed_entry_does_not_hide_the_rest(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, closed: str
) -> None:
    """The named task's entry closes; what was not named has an open entry of its own."""
    first = make_client(journal=tmp_path / "jobs.db")
    if closed == "failed":
        hostile.behaviour.fails = lambda _: True
    task = await lose_the_rest(hostile, first, key="k")
    if closed == "saved":
        await task.download(tmp_path / "out")
    elif closed == "acknowledged":
        await task.wait(timeout=20)
        await task.ack()
    else:
        with pytest.raises(TaskFailed):
            await task.wait(timeout=20)
    assert first.journal is not None
    entry = await first.journal.get("k")
    assert entry is not None
    assert not entry.open
    await first.aclose()

    second = make_client(journal=tmp_path / "jobs.db")
    assert [one async for one in second.unfinished()] == []  # in vain once more
    assert [lost.expected for lost in second.unknown()] == [2]
    await second.aclose()

    hostile.behaviour.respell = str
    third = make_client(journal=tmp_path / "jobs.db")
    found = [one async for one in third.unfinished()]
    assert known(third, task, *found) == set(hostile.ledger.ids)
    assert len(hostile.ledger) == 1
    await third.aclose()

    fourth = make_client(journal=tmp_path / "jobs.db")
    assert [one.ids async for one in fourth.unfinished()] == [one.ids for one in found]


async def test_an_entry_closed_by_a_client_that_knows_only_the_ref(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """A process died before it wrote what its start lacked; the next one only saves the task."""
    hostile.behaviour.respell = str.upper
    first = make_client(journal=tmp_path / "jobs.db")
    task = await lose_the_rest(hostile, first, key="k")
    assert first.journal is not None
    (rest,) = [entry for entry in (await first.journal.entries())[0] if entry.state is State.INTENT]
    assert await first.journal.drop(rest.key)
    await first.aclose()
    second = make_client(journal=tmp_path / "jobs.db")
    await second.attach(task.ref).download(tmp_path / "out")
    assert second.journal is not None
    assert await second.journal.get(rest.key) is not None


async def test_one_record_with_all_outputs_leaves_nothing_to_find(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Only its end shows that nothing is missing, where the list does not repeat the name."""
    accept = hostile.accept
    monkeypatch.setattr(
        hostile,
        "accept",
        lambda kind, body, account="": accept(kind, {**body, "n": 1}, account),
    )
    hostile.behaviour.respell = str.upper
    hostile.behaviour.outputs = 3
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.kling_image.start(prompt="a lake", n=3, name="My take", key="k")
    assert len((await task.wait(timeout=20)).outputs) == 3
    async with asyncio.timeout(20):
        while a2e.journal is None or len((await a2e.journal.entries(open_only=True))[0]) > 1:
            await asyncio.sleep(0.01)
    await a2e.aclose()
    assert a2e.unknown() == ()


async def test_a_full_disk_delays_the_entry_of_the_rest(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What could not be written is written before the next start."""
    a2e = make_client(journal=tmp_path / "jobs.db")
    assert a2e.journal is not None
    begin = a2e.journal.begin

    async def full(entry: Entry) -> BeginResult:
        if entry.expected == 2:
            raise JournalError("The disk is full.")
        return await begin(entry)

    monkeypatch.setattr(a2e.journal, "begin", full)
    await lose_the_rest(hostile, a2e, key="k")
    monkeypatch.undo()
    await a2e.image_to_video.start(**SAMPLES["image_to_video"])
    entries, _ = await a2e.journal.entries(states=[State.INTENT])
    assert [entry.expected for entry in entries] == [2]


@pytest.mark.parametrize("verdict", ["unpaid", "paid"])
async def test_a_rest_that_is_settled_is_not_searched_for_again(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verdict: settle.SettledAs,
) -> None:
    """What the user has settled stays settled, while the named task is still open."""
    monkeypatch.setattr(settle, "MIN_AGE_FOR_RESEND", -1)
    first = make_client(journal=tmp_path / "jobs.db")
    task = await lose_the_rest(hostile, first, key="k")
    await first.aclose()
    second = make_client(journal=tmp_path / "jobs.db")
    assert second.journal is not None
    (rest,), _ = await second.journal.entries(states=[State.INTENT])
    what = await settle.prepare(second.journal, rest, verdict, ref=None, coins=None)
    await settle.settle(second.journal, what)
    for _ in range(2):
        assert [one.ids async for one in second.unfinished()] == [task.ids]
    assert second.unknown() == ()
    assert (await second.journal.entries(states=[State.INTENT]))[0] == []


@pytest.mark.parametrize("with_journal", [True, False])
async def test_a_list_that_lags_proves_no_absence(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, with_journal: bool
) -> None:
    """The list shows the other tasks only after all scans of the search: they stay unknown."""
    hostile.behaviour.list_lag = 60
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client(journal=tmp_path / "jobs.db" if with_journal else None)
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    task = await a2e.image_to_video.start(**inputs, key="k" if with_journal else None)
    async with asyncio.timeout(20):
        while not a2e.unknown():
            await asyncio.sleep(0.01)
    await task.wait(timeout=20)
    await task.ack()
    hostile.behaviour.list_lag = 0
    rest = await a2e.recover(a2e.unknown()[0])
    assert {*task.ids, *rest.ids} == set(hostile.ledger.ids)


@pytest.mark.parametrize("with_journal", [True, False])
async def test_remaining_tasks_that_are_listed_one_by_one(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, with_journal: bool
) -> None:
    """Finding some of the remaining tasks does not end the search for the others."""
    hostile.faults.add(Step.START, Fault.fewer_records())
    two = Fault.edit("two rows", lambda data: {**data, "rows": data["rows"][-2:]})
    hostile.faults.add(Step.LIST, two, times=5)
    a2e = make_client(journal=tmp_path / "jobs.db" if with_journal else None)
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    task = await a2e.image_to_video.start(**inputs, key="k" if with_journal else None)
    async with asyncio.timeout(20):
        while len(known(a2e, task)) < 3 and not a2e.unknown():
            await asyncio.sleep(0.01)
    found = known(a2e, task)
    for lost in a2e.unknown():
        found |= set((await a2e.recover(lost)).ids)
    assert found == set(hostile.ledger.ids)


async def test_closing_during_the_first_scans_leaves_the_rest_unknown(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """Without a journal, `unknown` is the only place that still names what was paid."""
    hostile.behaviour.respell = str.upper
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client()
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3, "name": "My take"}
    starting = asyncio.create_task(a2e.image_to_video.start(**inputs))
    while not hostile.ledger.ids:
        await asyncio.sleep(0.001)
    await a2e.aclose()
    task = await starting
    assert len(task.ids) + sum(lost.expected for lost in a2e.unknown()) == 3


@pytest.mark.parametrize("lag", [0.0, 60.0])
async def test_a_budget_counts_tasks_that_are_not_named(
    hostile: HostileServer, make_client: MakeClient, lag: float
) -> None:
    """The quoted price is that of all tasks, and stays counted while some are missing."""
    hostile.behaviour.list_lag = lag
    hostile.faults.add(Step.START, Fault.fewer_records(), times=None)
    budget = Budget(50)
    a2e = make_client(budget=budget)
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    hostile.behaviour.quote = {"coins": 21}
    for _ in range(2):
        await a2e.image_to_video.start(**inputs)
    with pytest.raises(BudgetExceeded):
        await a2e.image_to_video.start(**inputs)
    assert budget.spent == 42
    assert len(hostile.ledger.ids) == 6  # 7 coins each


@pytest.mark.parametrize("lag", [0.0, 0.3])
async def test_a_budget_counts_more_than_its_estimate(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, lag: float
) -> None:
    """Where no price is known before, each task counts at the price that the service names."""
    monkeypatch.setattr("a2e_async._core.submission.remaining_tasks.SHORT_SCAN_DELAYS", (0.0,))
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", SCAN_DELAYS)
    hostile.behaviour.list_lag = lag
    hostile.faults.add(Step.START, Fault.fewer_records())
    budget = Budget(100, unknown_cost=1)
    a2e = make_client(budget=budget)
    monkeypatch.setattr(StartExecutor, "_price_before_uploads", unquoted)
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    task = await a2e.image_to_video.start(**inputs)
    async with asyncio.timeout(20):
        while len(known(a2e, task)) < 3:
            await asyncio.sleep(0.01)
    assert budget.spent == 21


@pytest.mark.parametrize("found", [True, False])
async def test_a_cap_counts_tasks_that_are_not_named(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """Each ordered task counts in ``max_unfinished`` until it has ended or its search is over."""
    monkeypatch.setattr("a2e_async._core.submission.remaining_tasks.SHORT_SCAN_DELAYS", (0.0,))
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.5, 0.2))
    hostile.behaviour.list_lag = 0.3 if found else 600
    hostile.behaviour.duration = 1.0 if found else 600
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client(max_unfinished=3)
    inputs = SAMPLES["image_to_video"]
    task = await a2e.image_to_video.start(**{**inputs, "number_of_images": 3})
    first = list(hostile.ledger.ids)
    assert len(task.ids) == 1
    assert len(first) == 3
    async with asyncio.timeout(20):
        second = await a2e.image_to_video.start(**{**inputs, "number_of_images": 1})
    assert len(second.ids) == 1
    if found:
        (rest,) = a2e.unclaimed()
        assert {*task.ids, *rest.ids} == set(first)
        assert any(hostile.tasks[id].ended(asyncio.get_running_loop().time()) for id in first)
    else:
        (lost,) = a2e.unknown()
        assert lost.expected == 2


async def unquoted(_: StartExecutor, attempt: StartAttempt) -> tuple[list[Any], bool]:
    """Return the price of a start that cannot be quoted."""
    return [(attempt.spec.kind.name, None)], True


@pytest.mark.parametrize("command", ["start", "run", "batch"])
@pytest.mark.parametrize("found", [True, False])
async def test_the_command_line_names_what_was_left_out(
    hostile: HostileServer,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
    found: bool,
) -> None:
    """A command that succeeded otherwise says which charged tasks are left, also by its code."""
    monkeypatch.setenv("A2E_API_KEY", API_KEY)
    monkeypatch.setenv("A2E_BASE_URL", hostile.base_url)
    monkeypatch.chdir(tmp_path)
    if found:
        monkeypatch.setattr("a2e_async._core.submission.remaining_tasks.SHORT_SCAN_DELAYS", (0.0,))
        monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.4, 0.5))
        hostile.behaviour.list_lag = 0.3
    else:
        hostile.behaviour.respell = str.upper
    hostile.faults.add(Step.START, Fault.fewer_records())
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3, "name": "My take"}
    if command == "batch":
        row = {"kind": "image_to_video", "key": "k", "input": inputs}
        Path("jobs.jsonl").write_text(json.dumps(row))
        words = ["batch", "jobs.jsonl", "-o", "out", "--journal", "jobs.db"]
    else:
        flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in inputs.items()]
        words = [command, "image_to_video", *(word for flag in flags for word in flag)]
    code = await asyncio.to_thread(main, words)
    said = capsys.readouterr().err
    first, *rest = hostile.ledger.ids
    if found:
        assert code == exit_codes.PARTIAL, said
        assert f"a2e task download image_to_video:{'+'.join(reversed(rest))}" in said or (
            f"a2e task download image_to_video:{'+'.join(rest)}" in said
        )
    else:
        assert code == exit_codes.UNKNOWN, said
        assert "2 tasks more" in said
        assert "My take" in said
        assert "a2e list image_to_video" in said
    assert f"download image_to_video:{first}" not in said
