"""Helpers to start and read tasks of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from a2e_async.sandbox import check_media
from a2e_async.sandbox._core.api_spec import kind_table
from a2e_async.sandbox._core.kinds.registry import KINDS
from a2e_async.sandbox._core.media_check import MediaCheck

from .conftest import Api

ALL: Final = sorted(KINDS)
UNKNOWN: Final = "0" * 24
MEDIA: Final = {".png": "image", ".mp4": "video", ".wav": "audio", ".mp3": "audio"}


def path_of(kind: str, operation: str, task_id: str = "") -> str:
    """Return a kind's path from kinds.json, with the id where it belongs."""
    path = str(kind_table()[kind][operation]).partition(" ")[2].partition("?")[0]
    if KINDS[kind].detail_id_parameter and operation == "detail":
        return f"{path}?{KINDS[kind].detail_id_parameter}={task_id}"
    return path.replace("{_id}", task_id).replace("{id}", task_id)


def rows_of(data: Any) -> list[dict[str, Any]]:
    """Return the rows of a list in any envelope."""
    if isinstance(data, list):
        return data
    found = [value for value in data.values() if isinstance(value, list)]
    assert len(found) == 1
    return found[0]


async def listed(api: Api, kind: str, query: str = "?pageNum=1&pageSize=50") -> Any:
    reply = await api.get(path_of(kind, "list") + query)
    assert reply.status == 200, reply.body
    return reply.data


async def start_one(api: Api, kind: str, **inputs: Any) -> dict[str, Any]:
    """Start one task and return its record, in any envelope."""
    data = await api.start(kind, **inputs)
    record: dict[str, Any] = data[0] if isinstance(data, list) else data
    return record


async def read_record(api: Api, kind: str, task_id: str) -> dict[str, Any]:
    """Return the record by the first operation that the kind has: detail, batchDetail, list."""
    row = kind_table()[kind]
    if "detail" in row:
        path = "detail" if KINDS[kind].has_first_detail else "detail_fallback"
        data = (await api.get(path_of(kind, path, task_id))).data
    elif "batch_detail" in row:
        data = (await api.post(path_of(kind, "batch_detail"), {"ids": [task_id]})).data
    else:
        data = await listed(api, kind)
    records = rows_of(data) if isinstance(data, list) or "_id" not in data else [data]
    (record,) = (item for item in records if item["_id"] == task_id)
    return record


async def download(api: Api, url: str, folder: Path) -> MediaCheck:
    """Download a result file and return what the media check found."""
    reply = await api.fetch("GET", url)
    assert reply.status == 200, reply.body
    name = url.partition("?")[0].rpartition("/")[2]
    (folder / name).write_bytes(reply.body)
    found = check_media(folder / name)
    assert found.ok, found.detail
    assert found.kind == MEDIA[Path(name).suffix]
    assert reply.headers["Content-Type"].split("/")[0] == found.kind
    return found
