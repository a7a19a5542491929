"""Every kind of task: the same scenario for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from a2e_async.kinds.registry import kind_named
from a2e_async.sandbox._core.api_spec import all_operations, kind_table
from a2e_async.sandbox._core.kinds.kind import SimulatedKind
from a2e_async.sandbox._core.kinds.registry import KINDS
from a2e_async.sandbox._core.validation import schema_problems

from .bodies import BODIES, STARTS
from .conftest import Api
from .task_helpers import ALL, UNKNOWN, download, listed, path_of, read_record, rows_of, start_one

pytestmark = pytest.mark.anyio


def test_the_table_is_complete() -> None:
    assert set(KINDS) == set(kind_table()) == set(BODIES)


@pytest.mark.parametrize("kind", ALL)
def test_row_agrees_with_the_facts(kind: str) -> None:
    item, row = KINDS[kind], kind_table()[kind]
    start = next(entry for entry in all_operations() if entry.path == item.start_path)
    known = (start.body_schema or {})["properties"]
    assert {*item.price_inputs, *item.media_inputs, *item.sound_inputs} <= set(known)
    assert set(item.sound_inputs) <= set(item.media_inputs)
    assert list(schema_problems(start.body_schema or {}, BODIES[kind])) == []
    words = [word for word, _ in item.status_sequence.steps]
    assert set(words) <= set(row["waiting"])
    assert item.status_sequence.done in row["succeeded"]
    assert item.status_sequence.failed in row["failed"]
    assert {*item.result_fields, *filter(None, [item.product_id_field])} <= set(
        row["result_fields"]
    )
    assert item.failure_field in row["failure_fields"]
    if "list_key" in row:
        assert item.list_envelope is not None
        assert item.list_envelope[0] == row["list_key"]
    ends = [end for _, end in item.status_sequence.steps]
    assert ends == sorted(set(ends))
    assert ends[-1] == 1


def results_of(kind: SimulatedKind, record: dict[str, Any]) -> list[str]:
    """Return the result URLs of a record; all result fields must have the same ones."""
    if not kind.result_fields:
        return []
    shown = [record[name] for name in kind.result_fields]
    assert all(value == shown[0] for value in shown)
    assert isinstance(shown[0], list) is kind.result_list
    return list(filter(None, shown[0] if kind.result_list else shown[:1]))


def result_media(kind: str) -> str:
    """Return what a kind makes; some make what their first medium is."""
    media = next((output.media for output in kind_named(kind).outputs), "video")
    if media != "file":
        return media
    return "image" if BODIES[kind][KINDS[kind].media_inputs[0]].endswith(".png") else "video"


@pytest.mark.parametrize("kind", [name for name in ALL if name != "wan30"])
async def test_walk_to_the_result(api: Api, kind: str, tmp_path: Path) -> None:
    item = KINDS[kind]
    record = await start_one(api, kind)
    field = item.status_field
    assert record[field] == item.status_sequence.initial
    assert results_of(item, record) == []
    for name, value in BODIES[kind].items():
        assert record[name] == value
    assert record.get(item.failure_field, item.no_failure_values[0]) == item.no_failure_values[0]
    (charge,) = api.sandbox.ledger.starts(kind)
    assert charge.ids == (record["_id"],)
    assert record.get("coins", charge.coins) == charge.coins > 0
    seen = []
    for _ in range(51):
        seen.append((await read_record(api, kind, record["_id"]))[field])
        api.sandbox.advance(2)
    words = [word for word, _ in item.status_sequence.steps]
    assert list(dict.fromkeys(seen)) == [*words, item.status_sequence.done]
    done = await read_record(api, kind, record["_id"])
    assert done[field] == item.status_sequence.done
    assert set(done) == set(record)
    urls = results_of(item, done)
    assert len(urls) == item.file_count(BODIES[kind])
    for url in urls:
        found = await download(api, url, tmp_path)
        assert found.kind == result_media(kind)
    assert api.sandbox.calls["start", kind] == 1


async def test_wan30_can_only_be_started(api: Api) -> None:
    record = await start_one(api, "wan30")
    assert record["current_status"] == "initialized"
    assert (await api.get(f"/api/v1/userWan30/{record['_id']}")).status == 404
    api.sandbox.advance(100)
    (view,) = api.sandbox.tasks
    assert (view.id, view.status) == (record["_id"], "completed")


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.sandbox(failure_rate=1.0)
async def test_failure(api: Api, kind: str) -> None:
    item = KINDS[kind]
    record = await start_one(api, kind)
    api.sandbox.advance(100)
    (view,) = api.sandbox.tasks
    assert (view.status, view.kind) == (item.status_sequence.failed, kind)
    (charge,) = api.sandbox.ledger.charges
    assert charge.refunded == (charge.coins if item.refund_failed else 0)
    if kind == "wan30":
        return
    ended = await read_record(api, kind, record["_id"])
    assert "generation failed" in ended[item.failure_field]
    if item.code_field in ended:
        assert ended[item.code_field] == "500"
    assert results_of(item, ended) == []


@pytest.mark.parametrize("kind", ALL)
async def test_quotes(api: Api, kind: str) -> None:
    body = {"endpoint": STARTS[kind], "requestBody": BODIES[kind]}
    reply = await api.post("/api/v1/generation/quote", body)
    if kind in {"wan30", "voice_clone", "video_twin"}:
        assert reply.status == 400
        return
    await start_one(api, kind)
    assert reply.data["coins"] == api.sandbox.ledger.charges[0].coins
    assert reply.data["generationRequestValidated"] is False


BATCHES: Final = [name for name in ALL if "batch_detail" in kind_table()[name]]


@pytest.mark.parametrize("kind", BATCHES)
async def test_batch_detail(api: Api, kind: str) -> None:
    ids = [(await start_one(api, kind))["_id"] for _ in range(12)]
    path = path_of(kind, "batch_detail")
    found = (await api.post(path, {"ids": [*ids, UNKNOWN]})).data
    assert [row["_id"] for row in found] != ids
    assert {row["_id"] for row in found} == set(ids)
    assert (await api.post(path, {"ids": [UNKNOWN] * 201})).status == 400


DELETES: Final = [name for name in ALL if "delete" in kind_table()[name]]


@pytest.mark.parametrize("kind", DELETES)
async def test_delete(api: Api, kind: str) -> None:
    path = path_of(kind, "delete", "{}")

    async def delete(task_id: str) -> Any:
        if kind == "video_twin":
            return await api.post(path, {"_id": task_id})
        return await api.send(
            "DELETE",
            str(kind_table()[kind]["delete"])
            .partition(" ")[2]
            .replace("{_id}", task_id)
            .replace("{id}", task_id),
        )

    task_id = (await start_one(api, kind))["_id"]
    api.sandbox.advance(10)
    assert (await delete(task_id)).status == 400
    api.sandbox.advance(100)
    assert (await delete(task_id)).status == 200
    assert (await delete(task_id)).status == 404
    assert rows_of(await listed(api, kind)) == []
    (charge,) = api.sandbox.ledger.charges
    assert charge.refunded == 0
    if kind == "voice_clone":
        return
    early = (await start_one(api, kind))["_id"]
    status = (await delete(early)).status
    (_, charge) = api.sandbox.ledger.charges
    refunds = {"image_to_video", "head_swap", "talking_video"}
    assert charge.refunded == (charge.coins if kind in refunds else 0)
    assert status == (200 if KINDS[kind].status_sequence.initial == "initialized" else 400)


WITH_LISTS: Final = [name for name in ALL if "list" in kind_table()[name]]


@pytest.mark.parametrize("kind", WITH_LISTS)
async def test_list_shape_and_paging(api: Api, kind: str) -> None:
    count = 1 if kind == "voice_clone" else 3
    ids = [(await start_one(api, kind))["_id"] for _ in range(count)][::-1]
    api.sandbox.advance(100)
    operation = (
        next(
            entry
            for entry in all_operations()
            if entry.path == KINDS[kind].list_path and entry.query
        )
        if kind_table()[kind].get("paging")
        else None
    )
    shape = KINDS[kind].list_envelope
    if operation is None or operation.paging is None:
        data = await listed(api, kind, "")
        assert [row["_id"] for row in rows_of(data)] == ids
        return
    page, size = operation.paging.page, operation.paging.size
    data = await listed(api, kind, f"?{page}=2&{size}=2")
    assert shape is not None
    assert set(data) == set(shape)
    assert [row["_id"] for row in data[shape[0]]] == ids[2:]
    assert data[shape[1]] == 3
    required = [item["name"] for item in operation.query if item.get("required")]
    assert (await api.get(KINDS[kind].list_path)).status == (400 if required else 200)


def test_list_shapes_differ() -> None:
    shapes = {kind.list_envelope for kind in KINDS.values()}
    assert shapes == {
        ("rows", "count"),
        ("list", "total"),
        ("data", "total"),
        ("records", "total"),
        None,
    }
    assert {name for name in ALL if _needs_paging(name)} == {"nano_banana", "face_swap"}


def _needs_paging(kind: str) -> bool:
    return any("required" in item for item in kind_table()[kind].get("paging", ()))


@pytest.mark.parametrize("kind", ["nano_banana", "photobook", "think_sound", "upscale", "veo"])
@pytest.mark.sandbox(make_results="stdlib")
async def test_results_without_pyav(api: Api, kind: str, tmp_path: Path) -> None:
    record = await start_one(api, kind)
    api.sandbox.advance(100)
    urls = results_of(KINDS[kind], await read_record(api, kind, record["_id"]))
    for url in urls:
        await download(api, url, tmp_path)
    bodies = {(await api.fetch("GET", url)).body for url in urls}
    assert len(bodies) == KINDS[kind].file_count(BODIES[kind])
