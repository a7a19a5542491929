"""Formats records, tasks, coins and times as text and as JSON."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from a2e_async._core.converter import unstructure
from a2e_async.errors import A2EError
from a2e_async.models import Output, Record, Status

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task


def record_json(record: Record, kind: str) -> dict[str, Any]:
    """Return a record as JSON values. URLs keep their signatures: they are the result."""
    values: dict[str, Any] = unstructure(record)
    del values["_parts"]
    result = text_result(record)
    return {
        "ref": f"{kind}:{record.id}",
        "kind": kind,
        **values,
        **({result[0]: result[1]} if result else {}),
        "outputs": [output_json(output) for output in record.outputs],
    }


def output_json(output: Output) -> dict[str, Any]:
    """Return an output as JSON values."""
    expires_at = unstructure(output.expires_at)
    return {"url": output.url, "media": output.media, "expires_at": expires_at}


def task_json(task: "Task[Any]") -> dict[str, Any]:
    """Return a task and its record, if it has one yet, as JSON values."""
    known = record_json(task.record, task.kind.name) if task.record else {"kind": task.kind.name}
    return {**known, "ref": task.ref, "ids": list(task.ids), "meta": unstructure(task.meta)}


def record_lines(record: Record, kind: str) -> list[tuple[str, str]]:
    """Return a record as pairs of a label and a text; unknown values are left out."""
    failure, raw = record.failure, record.raw_status
    shown: list[tuple[str, str | None]] = [
        ("ref", f"{kind}:{record.id}"),
        ("name", record.name),
        ("status", f"{record.status} ({raw})" if raw else str(record.status)),
        ("progress", None if record.progress is None else f"{record.progress:.0%}"),
        ("coins", None if record.coins is None else str(record.coins)),
        ("created", None if record.created_at is None else format_time(record.created_at)),
        ("failure", failure.message if failure else None),
        ("code", failure.code if failure else None),
        text_result(record) or ("", None),
        ("outputs", ", ".join(output_line(output) for output in record.outputs)),
    ]
    return [(name, value) for name, value in shown if value]


def text_result_field(cls: type[Record]) -> str | None:
    """Return the name of the field that holds the result of a kind without output files."""
    found = re.search(r"\brecord\.(\w+)", cls.result_attribute)
    return found[1] if found else None


def text_result(record: Record) -> tuple[str, str] | None:
    """Return the name and value of a finished record's result that is not a file, if any."""
    name = text_result_field(type(record)) if record.status is Status.SUCCEEDED else None
    if not name:
        return None
    try:
        value = getattr(record, name)
    except A2EError:  # the service calls it completed but does not show the result
        return None
    return (name, str(value)) if value else None


def output_line(output: Output) -> str:
    """Return an output's media type and when its URL expires."""
    until = f" until {format_time(output.expires_at)}" if output.expires_at else ""
    return f"{output.media}{until}"


def format_time(when: datetime) -> str:
    """Return a time to the minute, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def format_coins(coins: int | None) -> str:
    """Return a number of coins as text."""
    if coins is None:
        return "coins unknown"
    return format_count(coins, "coin")


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("ry") else f"{count} {noun}s"


def format_duration(seconds: float) -> str:
    """Return a duration such as ``4.2 s``, ``3:05 min`` or ``2:10 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def format_typical_duration(seconds: tuple[float, float] | None) -> str:
    """Return how long tasks of a kind typically take, such as ``1-10 min``."""
    if seconds is None:
        return "unknown"
    low, high = seconds
    size, unit = (1, "s") if high < 120 else (60, "min") if high < 3 * 3600 else (3600, "h")
    return f"{low / size:g}-{high / size:g} {unit}" if low else f"up to {high / size:g} {unit}"
