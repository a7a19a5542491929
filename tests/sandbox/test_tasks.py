"""Starts, status sequences, lists, details and deletes, as a client sees them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import BODIES, IMAGE, STARTS, TALKING, Api

pytestmark = pytest.mark.anyio

KINDS = ["dubbing", "talking_video", "image_to_video"]
FIELDS = {
    "dubbing": "name source_url current_status source_lang target_lang num_speakers "
    "drop_background_audio duration result_url faild_message _id user_id createdAt updatedAt",
    "talking_video": "_id name video_url audio_url duration current_status coins createdAt "
    "failed_message failed_code result_url prompt negative_prompt cover_url",
    "image_to_video": "_id name image_url prompt negative_prompt current_status coins createdAt "
    "failed_message failed_code result_url",
}
UNKNOWN = "0" * 24


@pytest.mark.parametrize("kind", KINDS)
async def test_record_has_exactly_the_fields_that_were_seen(api: Api, kind: str) -> None:
    record = await api.start(kind)
    assert set(record) == set(FIELDS[kind].split())
    assert record["current_status"] == ("sent" if kind == "dubbing" else "initialized")
    assert re.fullmatch(r"[0-9a-f]{24}", record["_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["createdAt"])
    assert record["result_url"] == ""
    for name, value in BODIES[kind].items():
        assert record[name] == value


WALKS = {
    "dubbing": ["sent", "sent", "pending", "processing", "processing", "completed"],
    "talking_video": [
        *("initialized", "sent", "pending", "processing", "processing", "completed"),
    ],
    "image_to_video": ["initialized", "sent", "sent", "pending", "processing", "completed"],
}


@pytest.mark.parametrize("kind", KINDS)
async def test_walk_goes_through_every_status(api: Api, kind: str) -> None:
    record = await api.start(kind)
    seen = []
    for step in (1, 5, 5, 25, 60, 5):
        api.sandbox.advance(step)
        seen.append((await api.detail(kind, record["_id"])).data["current_status"])
    assert seen == WALKS[kind]
    done = (await api.detail(kind, record["_id"])).data
    assert done["result_url"].startswith(api.sandbox.storage_url + "/results/")
    assert set(done) == set(record)


async def test_a_dubbing_echoes_auto_as_its_source_language(api: Api) -> None:
    record = await api.start("dubbing", source_lang="zh")
    assert record["source_lang"] == "auto"
    assert (await api.detail("dubbing", record["_id"])).data["source_lang"] == "auto"


async def test_usual_answers_do_not_vary(api: Api) -> None:
    """What was reported rarely happens only when it is ordered: `faults`."""
    for _ in range(30):
        (image,) = await api.start("text_to_image")
        assert image["current_status"] == "initialized"
        assert (await api.detail("text_to_image", image["_id"])).data["_id"] == image["_id"]
        assert isinstance(await api.start("video_twin"), dict)
        assert "message" in (await api.get("/api/v1/user/remainingCoins", token="wrong")).json


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("dubbing", {"source_url": None}, "source_url"),
        ("dubbing", {"source_url": "ftp://example.com/a"}, "source_url"),
        ("dubbing", {"source_url": "https://example.com/a b.wav"}, "source_url"),
        ("dubbing", {"num_speakers": True}, "num_speakers"),
        ("dubbing", {"webhook_url": "http://example.com/hook"}, "webhook_url"),
        ("dubbing", {"webhook_token": "x" * 257}, "webhook_token"),
        ("talking_video", {"duration": 21}, "duration"),
        ("talking_video", {"duration": 2.5}, "duration"),
        ("talking_video", {"name": ...}, "name"),
        ("talking_video", {"negative_prompt": ...}, "negative_prompt"),
        ("image_to_video", {"prompt": ...}, "prompt"),
        ("image_to_video", {"video_time": 7}, "video_time"),
        ("image_to_video", {"video_time": 25}, "video_time"),
        ("image_to_video", {"model_type": "FLF2V"}, "end_image_url"),
        ("image_to_video", {"model_type": "OTHER"}, "model_type"),
        ("image_to_video", {"number_of_images": 9}, "number_of_images"),
    ],
)
async def test_an_invalid_start_is_reported_by_field(
    api: Api, kind: str, change: dict[str, Any], field: str
) -> None:
    body = {name: value for name, value in {**BODIES[kind], **change}.items() if value is not ...}
    reply = await api.post(STARTS[kind], body)
    assert reply.status == 400
    assert reply.json["code"] == 400
    assert reply.json["message"]
    assert field in {error["field"] for error in reply.json["errors"]}
    assert api.sandbox.ledger.charges == ()


async def test_lora_and_unknown_inputs_are_taken(api: Api) -> None:
    record = await api.start("image_to_video", newer_input=1)
    assert "newer_input" not in record
    reply = await api.post(
        STARTS["image_to_video"], {"image_url": "https://example.com/a.png", "lora": "x"}
    )
    assert reply.json["code"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b'{"a": NaN}'])
async def test_body_that_is_no_object(api: Api, body: bytes) -> None:
    reply = await api.send("POST", STARTS["dubbing"], data=body)
    assert (reply.status, reply.json["code"]) == (400, 400)


async def test_several_images_are_one_charge(api: Api) -> None:
    records = await api.start("image_to_video", number_of_images=3, video_time=10)
    (charge,) = api.sandbox.ledger.charges
    assert charge.ids == tuple(record["_id"] for record in records)
    assert charge.coins == 3 * 60
    assert [record["coins"] for record in records] == [60, 60, 60]


async def test_lists_and_their_shapes(api: Api) -> None:
    ids = {kind: [(await api.start(kind))["_id"] for _ in range(3)] for kind in KINDS}
    for kind, prefix in (("dubbing", "userDubbing"), ("talking_video", "talkingVideo")):
        for query in ("", "?pageNum=1&pageSize=20"):
            data = (await api.get(f"/api/v1/{prefix}/allRecords{query}")).data
            assert [row["_id"] for row in data["rows"]] == ids[kind][::-1]
            assert data["count"] == 3
    bare = (await api.get("/api/v1/userImage2Video/allRecords")).data
    assert [row["_id"] for row in bare] == ids["image_to_video"][::-1]
    paged = (await api.get("/api/v1/userImage2Video/allRecords?pageNum=2&pageSize=2")).data
    assert [row["_id"] for row in paged["rows"]] == ids["image_to_video"][:1]
    assert paged["count"] == 3
    for query in ("pageNum=0", "pageNum=x", "pageSize=101", "pageSize=0"):
        assert (await api.get(f"/api/v1/userImage2Video/allRecords?{query}")).status == 400


async def test_processing_list_is_bare_and_drops_what_ended(api: Api) -> None:
    first = await api.start("dubbing")
    api.sandbox.advance(60)
    second = await api.start("dubbing")
    rows = (await api.get("/api/v1/userDubbing/allProcessing")).data
    assert [row["_id"] for row in rows] == [second["_id"], first["_id"]]
    api.sandbox.advance(50)
    rows = (await api.get("/api/v1/userDubbing/allProcessing")).data
    assert [row["_id"] for row in rows] == [second["_id"]]


async def test_lists_show_only_unexpired_records(api: Api) -> None:
    await api.start("talking_video")
    api.sandbox.advance(3 * 86400 + 1)
    assert (await api.get("/api/v1/talkingVideo/allRecords")).data == {"rows": [], "count": 0}


async def test_batch_detail(api: Api) -> None:
    ids = [(await api.start("talking_video"))["_id"] for _ in range(20)]
    other = (await api.start("dubbing"))["_id"]
    path = "/api/v1/talkingVideo/batchDetail"
    found = (await api.post(path, {"ids": [*ids, UNKNOWN, other, ids[0]]})).data
    assert sorted(row["_id"] for row in found) == sorted(ids)
    assert [row["_id"] for row in found] != ids
    assert (await api.post(path, {"ids": [*ids, "nonsense"]})).status == 400
    assert (await api.post(path, {"ids": [UNKNOWN] * 201})).status == 400
    assert (await api.post(path, {"ids": [1]})).status == 400
    assert (await api.post(path, {})).status == 400
    dubbing = await api.post("/api/v1/userDubbing/batchDetail", {"ids": [other]})
    assert dubbing.status == 404
    assert b"<html>" in dubbing.body


async def test_unknown_and_malformed_ids(api: Api) -> None:
    for kind in ("talking_video", "image_to_video"):
        reply = await api.detail(kind, UNKNOWN)
        assert (reply.status, reply.json["code"]) == (404, 404)
    reply = await api.detail("dubbing", UNKNOWN)
    assert (reply.status, reply.json["code"], reply.data) == (200, 0, None)
    for kind in KINDS:
        assert (await api.detail(kind, "xyz")).status == 400


@pytest.mark.parametrize("kind", ["talking_video", "image_to_video"])  # initialized at first
async def test_delete(api: Api, kind: str) -> None:
    prefix = STARTS[kind].rsplit("/", 1)[0]
    balance = api.sandbox.ledger.balance
    early, later = (await api.start(kind))["_id"], (await api.start(kind))["_id"]
    assert (await api.send("DELETE", f"{prefix}/{early}")).json["code"] == 0
    (first, second) = api.sandbox.ledger.charges
    assert (first.refunded, second.refunded) == (first.coins, 0)
    assert api.sandbox.ledger.balance == balance - second.coins
    assert (await api.send("DELETE", f"{prefix}/{early}")).status == 404
    api.sandbox.advance(50)
    assert (await api.send("DELETE", f"{prefix}/{later}")).status == 400
    api.sandbox.advance(50)
    assert (await api.send("DELETE", f"{prefix}/{later}")).status == 200
    assert api.sandbox.ledger.balance == balance - second.coins
    assert (await api.get(f"{prefix}/allRecords?pageNum=1")).data == {"rows": [], "count": 0}
    assert (await api.detail(kind, later)).status == 404


@pytest.mark.sandbox(failure_rate=1.0)
@pytest.mark.parametrize("kind", KINDS)
async def test_failure_fields_and_refund(api: Api, kind: str) -> None:
    task_id = (await api.start(kind))["_id"]
    api.sandbox.advance(100)
    record = (await api.detail(kind, task_id)).data
    assert record["current_status"] == "failed"
    assert record["faild_message" if kind == "dubbing" else "failed_message"]
    assert record["result_url"] == ""
    (charge,) = api.sandbox.ledger.charges
    assert charge.refunded == (charge.coins if kind == "image_to_video" else 0)
    assert api.sandbox.ledger.spent == charge.coins - charge.refunded


async def test_small_operations(api: Api) -> None:
    task_id = (await api.start("image_to_video"))["_id"]
    prefix = "/api/v1/userImage2Video"
    for name in ("markShared", "markDownloaded", "markCopied"):
        assert (await api.post(f"{prefix}/{task_id}/{name}")).json["code"] == 0
        assert (await api.post(f"{prefix}/{UNKNOWN}/{name}")).status == 404
    assert api.sandbox.tasks[0].marks == {"markShared", "markDownloaded", "markCopied"}
    assert (await api.get(f"{prefix}/avgProcessingTime")).data == {"avgProcessingTime": 90}
    assert (await api.get(f"{prefix}/unlimitedQueueLevel")).data == {"level": 0}


async def test_prompt_extension(api: Api) -> None:
    path = "/api/v1/userImage2Video/prompt_extension"
    body = {
        "reference_id": UNKNOWN,
        "image_url": "https://example.com/a.png",
        "prompt": "a dog",
        "negative_prompt": "blur",
    }
    data = (await api.post(path, body)).data
    assert data["prompt"].startswith("a dog")
    assert len((await api.post(path, {**body, "max_length": 4})).data["prompt"]) == 4
    cinematic = await api.post(path, {**body, "template": "cinematic", "shot_count": 9})
    assert cinematic.data["prompt"].count("SHOT") == 4
    assert (await api.post(path, {"prompt": "a dog"})).status == 400
    stream = await api.post(path, {**body, "stream": True})
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    events = re.findall(rb"^event: (\w+)$", stream.body, re.MULTILINE)
    assert events[-2:] == [b"result", b"done"]
    assert set(events[:-2]) == {b"delta"}
    api.sandbox.faults.code_error(1, "busy", "action", "image_to_video")
    stream = await api.post(path, {**body, "stream": True})
    assert stream.body.startswith(b"event: error\n")
    last = "/api/v1/userImage2Video/flf2v_prompt_extension"
    assert (await api.post(last, body)).status == 400
    assert (await api.post(last, {**body, "end_image_url": body["image_url"]})).data["prompt"]


async def test_ids_of_one_seed_repeat(api: Api, options: dict[str, Any]) -> None:
    from a2e_async.sandbox import Sandbox

    async with Sandbox(**options) as again:
        record = await Api(again, api.http).start("dubbing")
    assert record["_id"][8:] == (await api.start("dubbing"))["_id"][8:]


@pytest.mark.sandbox(speed=200)
async def test_dates_keep_to_the_true_calendar_at_any_speed(api: Api) -> None:
    import asyncio
    import time
    from datetime import datetime

    await asyncio.sleep(0.1)
    record = await api.start("talking_video", **{**TALKING, "duration": 1})
    assert abs(datetime.fromisoformat(record["createdAt"]).timestamp() - time.time()) < 0.5


async def test_durations_are_lognormal_ranges_or_functions() -> None:
    import random
    import statistics

    from a2e_async.sandbox._core.kinds.registry import KINDS
    from a2e_async.sandbox._core.simulated_task import draw_duration

    chance = random.Random(1)
    drawn = [draw_duration(KINDS["dubbing"], {}, chance) for _ in range(2000)]
    assert 55 < statistics.median(drawn) < 65
    assert 1 <= draw_duration(KINDS["dubbing"], {"dubbing": (1, 2)}, chance) <= 2
    assert draw_duration(KINDS["dubbing"], {"dubbing": lambda _: 9}, chance) == 9
    swaps = [draw_duration(KINDS["face_swap"], {}, chance) for _ in range(2000)]
    assert 270 < statistics.median(swaps) < 330
    assert max(swaps) == 900  # "up to 15 min"
    assert draw_duration(KINDS["face_swap"], {"face_swap": 5000}, chance) == 5000
    assert IMAGE
