"""Records and tasks as text and as JSON."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import fields

from a2e_async.errors import A2EError
from a2e_async.models import Output, Record, Status

if TYPE_CHECKING:
    from a2e_async.tasks.task import Task


def record_json(record: Record, kind: str) -> dict[str, Any]:
    """Return all of a record as JSON values. Result URLs are given whole: they are the result."""
    own: dict[str, Any] = {
        a.name: plain(getattr(record, a.name))
        for a in fields(type(record))
        if a.name not in ("_parts", "outputs", "failure", "extra")
    }
    made = instead(record)
    return {
        "ref": f"{kind}:{record.id}",
        "kind": kind,
        **own,
        **({made[0]: made[1]} if made else {}),
        "failure": {"message": record.failure.message, "code": record.failure.code}
        if record.failure
        else None,
        "outputs": [output_json(output) for output in record.outputs],
        "extra": plain(record.extra),
    }


def output_json(output: Output) -> dict[str, Any]:
    """Return an output as JSON values."""
    return {
        "url": output.url,
        "media": output.media,
        "expires_at": output.expires_at.isoformat() if output.expires_at else None,
    }


def task_json(task: "Task[Any]") -> dict[str, Any]:
    """Return what is known of a task as JSON values."""
    known = record_json(task.record, task.kind.name) if task.record else {"kind": task.kind.name}
    return {**known, "ref": task.ref, "ids": list(task.ids), "meta": plain(task.meta)}


def plain(value: Any) -> Any:
    """Return a value of a record as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        named: Mapping[Any, Any] = cast("Any", value)
        return {str(name): plain(item) for name, item in named.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items: Sequence[Any] = cast("Any", value)
        return [plain(item) for item in items]
    return value


def record_lines(record: Record, kind: str) -> list[tuple[str, str]]:
    """Return a record as pairs of words for people, without what is not known."""
    failure, raw = record.failure, record.raw_status
    shown: list[tuple[str, str | None]] = [
        ("ref", f"{kind}:{record.id}"),
        ("name", record.name),
        ("status", f"{record.status} ({raw})" if raw else str(record.status)),
        ("progress", None if record.progress is None else f"{record.progress:.0%}"),
        ("coins", None if record.coins is None else str(record.coins)),
        ("created", None if record.created_at is None else moment(record.created_at)),
        ("failure", failure.message if failure else None),
        ("code", failure.code if failure else None),
        instead(record) or ("", None),
        ("outputs", ", ".join(output_line(output) for output in record.outputs)),
    ]
    return [(name, value) for name, value in shown if value]


def instead_name(cls: type[Record]) -> str | None:
    """Return the name of the field that is the result of a kind whose tasks make no files."""
    found = re.search(r"\brecord\.(\w+)", cls.instead_of_outputs)
    return found[1] if found else None


def instead(record: Record) -> tuple[str, str] | None:
    """Return name and value of what a finished record has instead of files, None without it."""
    name = instead_name(type(record)) if record.status is Status.SUCCEEDED else None
    if not name:
        return None
    try:
        value = getattr(record, name)
    except A2EError:  # completed, and the service does not say what came of it
        return None
    return (name, str(value)) if value else None


def output_line(output: Output) -> str:
    """Return what kind of file an output is and until when it can be fetched."""
    until = f" until {moment(output.expires_at)}" if output.expires_at else ""
    return f"{output.media}{until}"


def moment(when: datetime) -> str:
    """Return a time as people read it, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def coins_word(coins: int | None) -> str:
    """Return a number of coins in words."""
    if coins is None:
        return "coins unknown"
    return counted(coins, "coin")


def counted(count: int, thing: str) -> str:
    """Return a number of things in words; the plural is made with an s."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def seconds_word(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def usual_word(usual: tuple[float, float] | None) -> str:
    """Return how long a kind usually takes, as people read it: ``1-10 min``."""
    if usual is None:
        return "not known"
    low, high = usual
    size, unit = (1, "s") if high < 120 else (60, "min") if high < 3 * 3600 else (3600, "h")
    return f"{low / size:g}-{high / size:g} {unit}" if low else f"up to {high / size:g} {unit}"
