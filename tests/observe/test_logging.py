"""Events as log records: levels by need for attention, fields for a JSON formatter."""

import logging
from pathlib import Path

import pytest

from a2e_async.contrib.logging import log_events
from a2e_async.errors import BudgetExceeded, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox
from tests.client.conftest import BLIND, DUB, MakeClient

pytestmark = pytest.mark.anyio
NAME = "a2e_async.events"


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == NAME]


async def test_the_way_of_a_job(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, media: Path
) -> None:
    """INFO reports costs and outcomes, with fields; DEBUG reports each request."""
    caplog.set_level(logging.INFO, NAME)
    client = make_client(on_event=log_events())
    task = await client.dubbing.start(**DUB)
    await task.download(media)
    records = said(caplog)
    assert [record.__dict__["a2e_event"] for record in records] == ["Accepted", "Finished", "Saved"]
    assert {record.__dict__["a2e_ref"] for record in records} == {task.ref}
    assert records[1].__dict__["a2e_status"] == "succeeded"
    assert {record.levelname for record in records} == {"INFO"}
    caplog.set_level(logging.DEBUG, NAME)
    await client.credits.balance()
    assert "a2e_path" in said(caplog)[-1].__dict__


@BLIND
async def test_what_may_need_attention(
    make_client: MakeClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused and lost starts are warnings; the user's own name is not logged."""
    caplog.set_level(logging.WARNING, NAME)
    with pytest.raises(BudgetExceeded):
        await make_client(on_event=log_events(), budget=0).dubbing.start(**DUB)
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown):
        await make_client(on_event=log_events()).dubbing.start(**DUB, name="Grandma's birthday")
    refused, lost = said(caplog)
    assert "BudgetExceeded" in refused.getMessage()
    assert lost.__dict__["a2e_kind"] == "dubbing"
    assert "Grandma" not in repr(lost.__dict__)


async def test_every_event_can_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    """No field of an event clashes with an attribute of a log record."""
    from typing import get_args

    from attrs import fields

    from a2e_async import events
    from a2e_async.models import Status

    caplog.set_level(logging.DEBUG, NAME)
    write = log_events()
    made = {"status": Status.FAILED, "seconds": 1.0, "duration": 1.0, "elapsed": 1.0, "rate": 1.0}
    for cls in get_args(events.Event):
        if cls is events.StartLost:
            continue  # it holds no plain values; above
        write(cls(**{a.name: made.get(a.name, 1) for a in fields(cls)}))
    assert len(said(caplog)) == len(get_args(events.Event)) - 1
