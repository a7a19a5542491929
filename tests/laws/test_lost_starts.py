"""A lost start is found, or its candidates are reported; its absence is never assumed."""

import asyncio
import contextlib
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from a2e_async.errors import StartOutcomeUnknown
from tests.hostile import KINDS, Fault, HostileServer, Step
from tests.hostile.spelling import SPELLINGS
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES

NAME = "  Cafe\u0301 \U0001f3ac “Première” & <Take  7> é  "

MORE: Mapping[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "compatibility form": lambda name: unicodedata.normalize("NFKC", name).strip(),
    "cut short": lambda name: name[:9],
    "cut, with dots": lambda name: name[:12] + "…",
    "cut in bytes": lambda name: name.encode()[:16].decode(errors="ignore"),
    "with underscores": lambda name: "_".join(name.split()),
    "emoji replaced": lambda name: name.replace("\U0001f3ac", "\ufffd"),
    "ascii alone": lambda name: name.encode("ascii", "ignore").decode(),
    "quoted": lambda name: f'"{name.strip()}"',
    "replaced": lambda _: "Untitled",
}
RESPELLED = {name: change for name, change in {**SPELLINGS, **MORE}.items() if name != "unchanged"}

ECHOES: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "re-hosted": lambda body: {
        key: "https://cdn.service.example/x" if str(value).startswith("http") else value
        for key, value in body.items()
    },
    "auto resolved": lambda body: {**body, "source_lang": "en"},
    "other texts": lambda body: {**body, "target_lang": "Spanish"},
}


@pytest.mark.parametrize("spelling", RESPELLED)
@pytest.mark.parametrize("marked", [False, True], ids=["own name", "marked name"])
async def test_changed_names_still_give_candidates(
    hostile: HostileServer, make_client: MakeClient, spelling: str, marked: bool
) -> None:
    hostile.behaviour.respell = RESPELLED[spelling]
    hostile.faults.add(Step.START, Fault.disconnect())
    a2e = make_client(mark_names=marked, on_unknown="resend_may_pay_twice")
    found = candidates = None
    try:
        found = list((await a2e.dubbing.start(**SAMPLES["dubbing"], name=NAME)).ids)
    except StartOutcomeUnknown as error:
        candidates = [one.id for one in error.candidates]
    assert (found or candidates) == hostile.ledger.ids
    assert marked or not found
    assert hostile.count(Step.START) == 1


@pytest.mark.parametrize("spelling", RESPELLED)
async def test_a_changed_mark_is_found_or_a_candidate(
    hostile: HostileServer, make_client: MakeClient, spelling: str
) -> None:
    hostile.behaviour.respell = RESPELLED[spelling]
    hostile.faults.add(Step.START, Fault.disconnect())
    a2e = make_client(on_unknown="resend_may_pay_twice")
    try:
        shown = list((await a2e.dubbing.start(**SAMPLES["dubbing"])).ids)
    except StartOutcomeUnknown as error:
        shown = [one.id for one in error.candidates]
    assert shown == hostile.ledger.ids
    assert hostile.count(Step.START) == 1


@pytest.mark.parametrize("echo", ECHOES)
async def test_changed_inputs_still_give_candidates(
    hostile: HostileServer, make_client: MakeClient, echo: str
) -> None:
    hostile.behaviour.echo = ECHOES[echo]
    hostile.faults.add(Step.START, Fault.disconnect())
    inputs = {**SAMPLES["dubbing"], "source_lang": "auto", "name": "take"}
    with pytest.raises(StartOutcomeUnknown) as lost:
        await make_client().dubbing.start(**inputs)
    assert [one.id for one in lost.value.candidates] == hostile.ledger.ids


async def test_numbers_as_text_are_the_same_numbers(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    hostile.behaviour.echo = lambda body: {key: str(value) for key, value in body.items()}
    hostile.faults.add(Step.START, Fault.disconnect())
    task = await make_client().wan.start(**SAMPLES["wan"], name="take")
    assert list(task.ids) == hostile.ledger.ids


@pytest.mark.parametrize("hours", [-13, -1, 1, 8])
@pytest.mark.parametrize("sends_date", [True, False], ids=["with a Date", "without a Date"])
async def test_clocks_hours_off(
    hostile: HostileServer, make_client: MakeClient, hours: int, sends_date: bool
) -> None:
    """With a measured clock offset it is found, otherwise a candidate; never absent."""
    hostile.behaviour.clock_skew = 3600.0 * hours
    hostile.behaviour.sends_date = sends_date
    hostile.faults.add(Step.START, Fault.disconnect())
    a2e = make_client(on_unknown="resend_may_pay_twice")
    try:
        ids = (await a2e.dubbing.start(**SAMPLES["dubbing"], name="take")).ids
    except StartOutcomeUnknown as error:
        assert not sends_date
        ids = tuple(one.id for one in error.candidates)
    assert list(ids) == hostile.ledger.ids
    assert hostile.count(Step.START) == 1


@pytest.mark.parametrize("minutes", [1, 7])
async def test_a_start_that_a_gateway_passed_on_later(
    hostile: HostileServer, make_client: MakeClient, minutes: int
) -> None:
    """It is listed with its name and inputs, but a later time."""
    hostile.faults.add(Step.START, Fault.page(504), after_accept=False)
    a2e = make_client()
    inputs = {**SAMPLES["dubbing"], "name": "take"}
    with pytest.raises(StartOutcomeUnknown) as lost:
        await a2e.dubbing.start(**inputs)
    hostile.accept(KINDS["dubbing"], inputs, "Qz7-topsecret-0123456789")
    for task in hostile.tasks.values():
        task.stamp += 60 * minutes
    with pytest.raises(StartOutcomeUnknown) as again:
        await a2e.recover(lost.value.recovery)
    assert [one.id for one in again.value.candidates] == hostile.ledger.ids


@pytest.mark.parametrize("kind", ["dubbing", "seedance", "voice_clone"])
async def test_absence_needs_a_list_that_repeats_marks(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """A start is submitted again only if the list is known to repeat marks unchanged."""
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.01)
    hostile.behaviour.duration = 0
    a2e = make_client(on_unknown="resend_may_pay_twice")

    async def lose() -> int:
        before = hostile.count(Step.START)
        hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
        with contextlib.suppress(StartOutcomeUnknown):
            await a2e.kind(kind).start(**SAMPLES[kind])
        return hostile.count(Step.START) - before

    assert await lose() == 1  # the list is empty
    hostile.behaviour.respell = lambda name: name[:10]
    await a2e.kind(kind).start(**SAMPLES[kind])
    assert await lose() == 1
    hostile.behaviour.respell = lambda name: name
    for task in hostile.tasks.values():
        task.ends_at = asyncio.get_running_loop().time() + (3600 if kind == "voice_clone" else 0)
    resent = await lose()
    # Running and finished trainings are in two lists, and both must be read.
    assert resent == (1 if kind == "voice_clone" else 2)


@pytest.mark.parametrize("kind", ["voice_clone", "video_twin", "caption_removal", "dubbing"])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("name", [None, "my voice"])
async def test_running_and_finished_tasks_are_found(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    kind: str,
    ended: bool,
    name: str | None,
) -> None:
    """Whatever a kind's lists contain, a start is found before and after its end."""
    hostile.behaviour.duration = 0 if ended else 3600
    hostile.faults.add(Step.START, Fault.disconnect())
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.kind(kind).start(**SAMPLES[kind], name=name, key="k")
    assert list(task.ids) == hostile.ledger.ids
    assert hostile.count(Step.START) == 1


async def test_one_broken_list_does_not_hide_the_other(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    hostile.behaviour.duration = 0
    hostile.faults.add(Step.START, Fault.disconnect())
    hostile.faults.add(Step.PROCESSING, Fault.page(404), times=None)
    task = await make_client().voice_clone.start(**SAMPLES["voice_clone"])
    assert list(task.ids) == hostile.ledger.ids


@pytest.mark.parametrize(
    "fault",
    [
        Fault.field("current_status", {"a": [1]}),
        Fault.field("createdAt", []),
        Fault.field("name", 7),
        Fault.field("result_url", 9),
    ],
    ids=lambda fault: fault.name,
)
async def test_nothing_else_in_the_response_keeps_an_id_from_being_written(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    hostile.faults.add(Step.START, fault)
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.dubbing.start(**SAMPLES["dubbing"], key="k")
    assert list(task.ids) == hostile.ledger.ids
    assert a2e.journal is not None
    entry = await a2e.journal.get("k")
    assert entry is not None
    assert entry.ids == task.ids


@pytest.mark.parametrize("option", ["raise", "resend_may_pay_twice"])
async def test_a_lost_start_of_a_living_client_is_searched_for_by_others(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    option: str,
) -> None:
    """Its owner gave up the search, and does not prevent others from searching."""
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.05)
    hostile.behaviour.respell = lambda name: ""
    hostile.behaviour.list_lag = 3600
    hostile.faults.add(Step.START, Fault.disconnect())
    one = make_client(journal=tmp_path / "jobs.db")
    two = make_client(journal=tmp_path / "jobs.db", on_unknown=option)
    for client in (one, two, one, two):
        with pytest.raises(StartOutcomeUnknown):
            async with asyncio.timeout(10):
                await client.dubbing.start(**SAMPLES["dubbing"], key="k")
    hostile.behaviour.list_lag = 0
    hostile.behaviour.respell = lambda name: name
    async with asyncio.timeout(10):
        tasks = [await client.dubbing.start(**SAMPLES["dubbing"], key="k") for client in (two, one)]
    assert [list(task.ids) for task in tasks] == [hostile.ledger.ids] * 2
    assert hostile.count(Step.START) == 1


async def test_a_start_in_flight_in_another_client_is_awaited(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Its response may still arrive, so no other process searches for it."""
    hostile.faults.add(Step.START, Fault.slow(0.5))
    one, two = (make_client(journal=tmp_path / "jobs.db") for _ in range(2))
    first = asyncio.create_task(one.dubbing.start(**SAMPLES["dubbing"], key="k"))
    while not hostile.count(Step.START):
        await asyncio.sleep(0.01)
    second = await two.dubbing.start(**SAMPLES["dubbing"], key="k")
    assert (await first).ids == second.ids
    assert hostile.count(Step.LIST) == hostile.count(Step.PROCESSING) == 0
    assert hostile.count(Step.START) == 1
