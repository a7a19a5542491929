"""Events as log records: levels by need for attention, fields for a JSON formatter."""

import asyncio
import json
import logging
import logging.config
from pathlib import Path
from typing import Any

import pytest
import structlog

from a2e_async.contrib.logging import log_events
from a2e_async.errors import BudgetExceeded, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox
from tests.client.conftest import BLIND, DUB, MakeClient

pytestmark = pytest.mark.anyio
NAME = "a2e_async.events"


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == NAME]


def names(records: list[logging.LogRecord]) -> list[str]:
    return [record.__dict__["event"] for record in records]


async def test_the_way_of_a_job(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, media: Path
) -> None:
    """INFO reports costs and outcomes, with fields; DEBUG reports each request."""
    caplog.set_level(logging.INFO, NAME)
    client = make_client(on_event=log_events())
    task = await client.dubbing.start(**DUB)
    await task.download(media)
    records = said(caplog)
    assert names(records) == ["a2e.accepted", "a2e.finished", "a2e.saved"]
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
    refused, outage, lost = said(caplog)
    assert "BudgetExceeded" in refused.getMessage()
    assert outage.__dict__["a2e_error"] == "ConnectionLost"
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
        values = {a.name: made.get(a.name, 1) for a in fields(cls)}
        if cls in (events.Attempt, events.FileRequest):
            values["status"] = 404
        elif cls is events.PollStarted:
            values["refs"] = ("dubbing:1",)
        write(cls(**values))
    assert len(said(caplog)) == len(get_args(events.Event)) - 1


async def test_one_record_for_each_pause(
    make_client: MakeClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests are refused, what is logged is the pause."""
    caplog.set_level(logging.INFO, NAME)
    client = make_client(on_event=log_events())
    sandbox.faults.http_error(429, role="start", retry_after=0.5, times=5)
    await asyncio.gather(*(client.dubbing.start(**DUB) for _ in range(5)))
    assert names(said(caplog)).count("a2e.rate_limit_pause") == 1
    assert set(names(said(caplog))) == {"a2e.rate_limit_pause", "a2e.accepted"}


async def test_one_record_for_each_outage(
    make_client: MakeClient,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One says that it began; one that it is over, when requests have succeeded for a while."""
    caplog.set_level(logging.INFO, NAME)
    client = make_client(on_event=log_events())
    task = await client.dubbing.start(**DUB)
    sandbox.faults.http_error(503, role="detail", times=2)
    await task
    assert names(said(caplog)) == ["a2e.accepted", "a2e.outage_started", "a2e.finished"]
    began = said(caplog)[1]
    assert (began.levelname, began.__dict__["a2e_status"]) == ("WARNING", 503)
    monkeypatch.setattr("a2e_async.contrib.logging.OUTAGE_END_SECONDS", 0.0)
    await client.credits.balance()
    await client.credits.balance()
    ended = said(caplog)[-1]
    assert names(said(caplog)).count("a2e.outage_ended") == 1
    assert ended.__dict__["a2e_failed_requests"] == 2


async def test_fields_of_an_adapter_are_kept(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Up to Python 3.12, an adapter would drop the fields of the event."""
    caplog.set_level(logging.INFO, "app")
    inner = logging.LoggerAdapter(logging.getLogger("app"), {"tenant": "north"})
    logger = logging.LoggerAdapter(inner, {"request": 17})
    await make_client(on_event=log_events(logger)).dubbing.start(**DUB)
    (record,) = [record for record in caplog.records if record.name == "app"]
    assert record.__dict__.items() >= {"tenant": "north", "request": 17}.items()
    assert (record.__dict__["event"], record.__dict__["a2e_kind"]) == ("a2e.accepted", "dubbing")


async def test_a_structlog_logger(make_client: MakeClient) -> None:
    """The event's name is the event, its fields are keys."""
    with structlog.testing.capture_logs() as logs:
        client = make_client(on_event=log_events(structlog.get_logger()))
        task = await client.dubbing.start(**DUB)
    (accepted,) = [entry for entry in logs if entry["event"] == "a2e.accepted"]
    assert accepted["a2e_ref"] == task.ref
    assert (accepted["a2e_kind"], accepted["log_level"]) == ("dubbing", "info")


async def test_records_through_structlog_by_dict_config(
    make_client: MakeClient, tmp_path: Path
) -> None:
    """structlog's formatter for the standard library shows the same name and keys as JSON."""
    path = tmp_path / "log.jsonl"
    formatter: dict[str, Any] = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [structlog.stdlib.ExtraAdder()],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    }
    handler = {"class": "logging.FileHandler", "filename": str(path), "formatter": "json"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {"file": handler},
            "loggers": {NAME: {"handlers": ["file"], "level": "INFO", "propagate": False}},
        }
    )
    try:
        task = await make_client(on_event=log_events()).dubbing.start(**DUB)
    finally:
        logger = logging.getLogger(NAME)
        logger.propagate = True
        for one in [*logger.handlers]:
            logger.removeHandler(one)
            one.close()
    (entry,) = map(json.loads, path.read_text().splitlines())
    assert (entry["event"], entry["a2e_ref"]) == ("a2e.accepted", task.ref)
