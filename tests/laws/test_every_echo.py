"""Lost starts that the service lists with changes, with resend allowed.

The user allows a start to be submitted again once its absence is proved. A record with another
name, other inputs, another time or in an unusual list does not prove absence: whatever the list
looks like, each job is charged once.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.hostile import KINDS, Behaviour, Fault, HostileServer, Step
from tests.hostile.spelling import SPELLINGS
from tests.laws.conftest import API_KEY, MakeClient
from tests.samples import SAMPLES

NAME = " Café <b>N°1</b> & \U0001f3b5 of Long Name, 2"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept absence after a moment instead of three minutes."""
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.02)


def as_texts(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        key: str(value) if isinstance(value, int | float) else value for key, value in body.items()
    }


def rehosted(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        key: value.replace("https://media.example/", "https://cdn.service/copy-1/")
        if isinstance(value, str)
        else value
        for key, value in body.items()
    }


def resolved(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**body, "source_lang": "auto", "target_lang": "Spanish"}


ECHOES: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "unchanged": lambda body: body,
    "numbers as text": as_texts,
    "other hosts": rehosted,
    "languages resolved": resolved,
    "none": lambda _: {},
}


def paged(behaviour: Behaviour) -> None:
    behaviour.page_limit = 1


def unpaged(behaviour: Behaviour) -> None:
    behaviour.ignores_paging = True


def odd(behaviour: Behaviour) -> None:
    behaviour.odd_rows = (None, "x", {"_id": None}, {"_id": 5, "name": []})


def uncounted(behaviour: Behaviour) -> None:
    behaviour.counts, behaviour.page_limit = False, 2


def shifting(behaviour: Behaviour) -> None:
    behaviour.page_limit, behaviour.page_overlap, behaviour.repeats_rows = 2, 1, True


def wrapped(behaviour: Behaviour) -> None:
    behaviour.list_shape = lambda rows, count: {"data": {"list": rows, "total": count}}


def empty(behaviour: Behaviour) -> None:
    behaviour.list_shape = lambda rows, count: {"rows": [], "count": 0}


def lagging(behaviour: Behaviour) -> None:
    behaviour.list_lag = 60


def ahead(behaviour: Behaviour) -> None:
    behaviour.clock_skew = 3 * 3600.0


def behind(behaviour: Behaviour) -> None:
    behaviour.clock_skew, behaviour.sends_date = -3 * 3600.0, False


LISTS = (paged, unpaged, odd, uncounted, shifting, wrapped, empty, lagging, ahead, behind)


async def lose_all(hostile: HostileServer, make_client: MakeClient, name: str | None) -> list[str]:
    """Start a job of every kind, losing each response once; return the jobs charged twice."""
    hostile.behaviour.duration = 0.0
    for kind in KINDS:
        if kind in SAMPLES:
            # An older task of the account, whose name contains a mark, if the list shows names.
            older = {KINDS[kind].name_input or "x": "older a2e-0123456789abcdefghij"}
            hostile.accept(KINDS[kind], older, API_KEY)
            hostile.faults.add(Step.START, Fault.page(502), kind=kind)
    before = {kind: len(hostile.ledger.of(kind)) for kind in SAMPLES}
    a2e = make_client(on_unknown="resend_may_pay_twice")

    async def start(kind: str) -> Any:
        named = {KINDS[kind].name_input: name} if name and KINDS[kind].name_input else {}
        inputs = {**SAMPLES[kind], **({"name": name} if named else {})}
        return await a2e.kind(kind).start(**inputs)

    outcomes = await asyncio.gather(*(start(kind) for kind in SAMPLES), return_exceptions=True)
    wrong = [
        f"{kind}: paid {paid} times"
        for kind in SAMPLES
        if (paid := len(hostile.ledger.of(kind)) - before[kind]) != 1
    ]
    true = {id for start in hostile.ledger for id in start.ids}
    for outcome in outcomes:
        ids = getattr(outcome, "ids", ())
        wrong += [f"{outcome!r:.60} is no task" for id in ids if id not in true]
    return wrong


@pytest.mark.parametrize("name", [None, NAME], ids=["marked", "named"])
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_names(
    hostile: HostileServer, make_client: MakeClient, spelling: str, name: str | None
) -> None:
    hostile.behaviour.respell = SPELLINGS[spelling]
    assert not await lose_all(hostile, make_client, name)


@pytest.mark.parametrize("name", [None, NAME], ids=["marked", "named"])
@pytest.mark.parametrize("echo", ECHOES)
async def test_inputs(
    hostile: HostileServer, make_client: MakeClient, echo: str, name: str | None
) -> None:
    hostile.behaviour.echo = ECHOES[echo]
    assert not await lose_all(hostile, make_client, name)


@pytest.mark.parametrize("name", [None, NAME], ids=["marked", "named"])
@pytest.mark.parametrize("change", LISTS, ids=lambda change: change.__name__)
async def test_lists(
    hostile: HostileServer,
    make_client: MakeClient,
    change: Callable[[Behaviour], None],
    name: str | None,
) -> None:
    change(hostile.behaviour)
    assert not await lose_all(hostile, make_client, name)
