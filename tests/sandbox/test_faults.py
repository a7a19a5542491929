"""Every fault, as a client sees it."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from typing import Any

import aiohttp
import pytest

from a2e_async.sandbox import Faults
from a2e_async.sandbox._core.fault_options import inject_fault

from .conftest import BODIES, STARTS, Api

pytestmark = pytest.mark.anyio

TWICE = 2
"""aiohttp silently retries a lost GET once: a fault must fire twice to be noticed."""

LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


async def start(api: Api, kind: str = "dubbing") -> Any:
    return await api.post(STARTS[kind], BODIES[kind])


async def test_drop_before_accept(api: Api) -> None:
    api.sandbox.faults.drop_before_accept("dubbing")
    with pytest.raises(LOST):
        await start(api)
    assert (api.sandbox.ledger.charges, api.sandbox.tasks) == ((), ())
    assert (await start(api)).status == 200


async def test_drop_after_accept(api: Api) -> None:
    api.sandbox.faults.drop_after_accept("dubbing")
    await start(api, "talking_video")
    with pytest.raises(LOST):
        await start(api)
    (charge,) = api.sandbox.ledger.starts("dubbing")
    listed = (await api.get("/api/v1/userDubbing/allRecords")).data["rows"]
    assert [row["_id"] for row in listed] == list(charge.ids)


async def test_reset(api: Api) -> None:
    api.sandbox.faults.reset("list", "dubbing", times=TWICE)
    with pytest.raises(aiohttp.ClientOSError) as caught:
        await api.get("/api/v1/userDubbing/allRecords")
    assert caught.value.errno == errno.ECONNRESET
    assert (await api.get("/api/v1/userDubbing/allRecords")).status == 200


async def test_http_error(api: Api) -> None:
    faults = api.sandbox.faults
    faults.http_error(503, role="start", kind="dubbing", times=2, retry_after=3)
    faults.http_error(502, role="start", kind="dubbing", html=True)
    faults.http_error(429, retry_after="Fri, 01 Jan 2100 00:00:00 GMT")
    first = await start(api)
    assert (first.status, first.headers["Retry-After"], first.json["code"]) == (503, "3", 503)
    assert (await start(api)).status == 503
    third = await start(api)
    assert (third.status, third.json) == (502, None)
    assert b"<html>" in third.body
    fourth = await api.get("/api/v1/user/remainingCoins")
    assert (fourth.status, fourth.headers["Retry-After"][:3]) == (429, "Fri")
    assert api.sandbox.ledger.charges == ()
    faults.http_error(500, role="start", accepted=True)
    assert (await start(api)).status == 500
    assert len(api.sandbox.ledger.charges) == len(api.sandbox.tasks) == 1


async def test_slow(api: Api) -> None:
    api.sandbox.faults.slow(0.1, "start", "dubbing")
    api.sandbox.faults.slow(0.1, "start", "dubbing", accepted=True)
    for charged_early in (0, 1):
        begun = time.monotonic()
        request = asyncio.create_task(start(api))
        await asyncio.sleep(0.05)
        assert len(api.sandbox.ledger.charges) == charged_early * 2
        assert (await request).status == 200
        assert time.monotonic() - begun > 0.09


async def test_faults_fire_in_order_and_clear(api: Api) -> None:
    faults = api.sandbox.faults
    faults.http_error(500, role="start")
    faults.http_error(501, role="start")
    faults.http_error(400, times=None)
    assert faults.pending == ("http_error",) * 3
    assert [(await start(api)).status for _ in range(4)] == [500, 501, 400, 400]
    faults.clear()
    assert (await start(api)).status == 200
    with pytest.raises(ValueError, match="times"):
        faults.html(times=0)


async def test_rate_limit(api: Api) -> None:
    api.sandbox.faults.rate_limit(20, burst=3)
    replies = [await api.get("/api/v1/user/remainingCoins") for _ in range(5)]
    assert [reply.status for reply in replies[:3]] == [200] * 3
    limited = [reply for reply in replies if reply.status == 429]
    assert limited
    assert limited[0].headers["Retry-After"] == "1"
    await asyncio.sleep(0.06)
    assert (await api.get("/api/v1/user/remainingCoins")).status == 200


@pytest.mark.sandbox(rate_limit=(1, 2))
async def test_rate_limit_as_an_option(api: Api) -> None:
    statuses = [(await api.get("/api/v1/user/remainingCoins")).status for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_stuck(api: Api) -> None:
    api.sandbox.faults.stuck("dubbing")
    record = (await start(api)).data
    api.sandbox.advance(10**7)
    assert (await api.detail("dubbing", record["_id"])).data["current_status"] == "processing"
    assert api.sandbox.tasks[0].ends_at == float("inf")


async def test_fail(api: Api) -> None:
    api.sandbox.faults.fail("talking_video", "no face", "E7")
    record = (await start(api, "talking_video")).data
    api.sandbox.advance(100)
    done = (await api.detail("talking_video", record["_id"])).data
    failure = (done["current_status"], done["failed_message"], done["failed_code"])
    assert failure == ("failed", "no face", "E7")


async def test_list_lag(api: Api) -> None:
    api.sandbox.faults.list_lag(10, "dubbing")
    record = (await start(api)).data
    later = (await start(api)).data
    listed = (await api.get("/api/v1/userDubbing/allRecords")).data
    assert ([row["_id"] for row in listed["rows"]], listed["count"]) == ([later["_id"]], 1)
    assert len((await api.get("/api/v1/userDubbing/allProcessing")).data) == 1
    assert (await api.detail("dubbing", record["_id"])).data["_id"] == record["_id"]
    api.sandbox.advance(10)
    assert (await api.get("/api/v1/userDubbing/allRecords")).data["count"] == 2


async def test_not_found_after_start(api: Api) -> None:
    api.sandbox.faults.not_found_after_start(10, "talking_video")
    record = (await start(api, "talking_video")).data
    batch = {"ids": [record["_id"]]}
    assert (await api.detail("talking_video", record["_id"])).status == 404
    assert (await api.post("/api/v1/talkingVideo/batchDetail", batch)).data == []
    api.sandbox.advance(10)
    assert (await api.detail("talking_video", record["_id"])).status == 200


async def test_html_and_malformed(api: Api) -> None:
    api.sandbox.faults.html("start")
    page = await start(api)
    assert (page.status, page.json) == (200, None)
    assert api.sandbox.ledger.charges == ()
    api.sandbox.faults.malformed("start")
    cut = await start(api)
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.body)
    assert len(api.sandbox.ledger.charges) == 1


async def test_code_error(api: Api) -> None:
    api.sandbox.faults.code_error(1003, "refused", "start", "dubbing")
    reply = await start(api)
    assert (reply.status, reply.json["code"]) == (200, 1003)
    assert "refused" in reply.json.values()
    assert api.sandbox.ledger.charges == ()


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ("null", None),
        ("object", {}),
        ("list", []),
        ("string", "queued"),
        ("success_false", None),
        ("refused", {"failed_message": "The content was refused", "failed_code": "400"}),
    ],
)
async def test_empty_start(api: Api, shape: Any, data: object) -> None:
    api.sandbox.faults.empty_start("dubbing", shape=shape)
    reply = await start(api)
    assert (reply.status, reply.json["code"], reply.json["data"]) == (200, 0, data)
    assert reply.json.get("success") is (False if shape == "success_false" else None)
    assert (api.sandbox.ledger.charges, api.sandbox.tasks) == ((), ())


async def test_odd_status(api: Api) -> None:
    api.sandbox.faults.odd_status("dubbing", "cooking")
    record = (await start(api)).data
    api.sandbox.advance(50)
    assert (await api.detail("dubbing", record["_id"])).data["current_status"] == "cooking"
    api.sandbox.advance(50)
    assert (await api.detail("dubbing", record["_id"])).data["current_status"] == "completed"


async def test_no_result(api: Api) -> None:
    api.sandbox.faults.no_result("dubbing")
    record = (await start(api)).data
    api.sandbox.advance(100)
    done = (await api.detail("dubbing", record["_id"])).data
    assert (done["current_status"], done["result_url"]) == ("completed", "")


async def test_data_shape(api: Api) -> None:
    task_id = (await start(api)).data["_id"]
    seen = {}
    for shape in ("list", "nested", "bare", "text"):
        api.sandbox.faults.data_shape(shape, "detail")
        seen[shape] = (await api.detail("dubbing", task_id)).json
    assert seen["list"]["data"][0]["_id"] == task_id
    assert seen["nested"]["data"]["data"]["_id"] == task_id
    assert seen["bare"]["_id"] == task_id
    assert json.loads(seen["text"]["data"])["_id"] == task_id


async def test_a_list_of_one_as_the_record_itself(api: Api) -> None:
    api.sandbox.faults.data_shape("record", "start", "text_to_image")
    assert isinstance(await api.start("text_to_image"), dict)
    assert isinstance(await api.start("text_to_image"), list)


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_detail_refused(api: Api, status: Any) -> None:
    (record,) = await api.start("text_to_image")
    api.sandbox.faults.detail_refused(status)
    refused = await api.detail("text_to_image", record["_id"])
    assert (refused.status, refused.json["code"]) == (status, status)
    assert (await api.detail("text_to_image", record["_id"])).data["_id"] == record["_id"]


async def test_error_in_msg(api: Api) -> None:
    api.sandbox.faults.error_in_msg()
    replies = [await api.get("/api/v1/user/remainingCoins", token="wrong") for _ in range(2)]
    assert [("msg" in reply.json, "message" in reply.json) for reply in replies] == [
        (True, False),
        (False, True),
    ]


async def test_a_role_or_kind_that_does_not_exist_is_refused(api: Api) -> None:
    with pytest.raises(ValueError, match="no such kind: dubing"):
        api.sandbox.faults.stuck("dubing")
    with pytest.raises(ValueError, match="no such role: strat"):
        api.sandbox.faults.html("strat")
    assert api.sandbox.faults.is_idle


@pytest.mark.parametrize(
    ("text", "name", "times", "values"),
    [
        ("stuck", "stuck", 1, {}),
        ("detail_refused,status=405", "detail_refused", 1, {"status": 405}),
        ("data_shape,shape=list,role=start,times=2", "data_shape", 2, {"shape": "list"}),
        ("slow,seconds=0.5,accepted=true,times=always", "slow", None, {"seconds": 0.5}),
        ("http_error,status=503,retry_after=3", "http_error", 1, {"retry_after": 3.0}),
        ("fail, message=no face, kind=dubbing", "fail", 1, {"message": "no face"}),
    ],
)
def test_a_fault_as_text(text: str, name: str, times: int | None, values: dict[str, Any]) -> None:
    faults = Faults()
    inject_fault(faults, text)
    role = "detail" if name == "detail_refused" else "start"
    kind = "text_to_image" if name == "detail_refused" else "dubbing"
    fault = faults.take(frozenset({name}), role, kind)
    assert fault is not None
    assert fault.remaining == (None if times is None else times - 1)
    assert values.items() <= fault.values.items()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stuk", "no such fault: stuk; faults: .*stuck"),
        ("clear", "no such fault"),
        ("stuck,color=red", "stuck: color=red is no option; options: kind, times"),
        ("stuck,times", "is no option"),
        ("stuck,times=0", "times must be at least 1"),
        ("stuck,times=x", "times takes a whole number or always"),
        ("stuck,kind=always,kind=dubbing", "is no option"),
        ("slow", "slow needs a value: slow,seconds="),
        ("slow,seconds=nan", "seconds takes a number"),
        ("slow,seconds=1,accepted=yes", "accepted takes true or false"),
        ("detail_refused,status=500", "status takes 400 or 404 or 405"),
    ],
)
def test_a_fault_that_is_none(text: str, said: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=said):
        inject_fault(faults, text)
    assert faults.is_idle


async def _result(api: Api) -> tuple[str, str]:
    record = (await start(api)).data
    api.sandbox.advance(100)
    return record["_id"], (await api.detail("dubbing", record["_id"])).data["result_url"]


async def test_download_faults(api: Api) -> None:
    task_id, url = await _result(api)
    whole = await api.fetch("GET", url)
    api.sandbox.faults.cut_download(1000)
    async with api.http.get(url) as answer:
        assert int(answer.headers["Content-Length"]) == len(whole.body)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    api.sandbox.faults.cut_download(500)
    async with api.http.get(url, headers={"Range": "bytes=1000-"}) as answer:
        assert await answer.content.readexactly(500) == whole.body[1000:1500]
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    api.sandbox.faults.drop_download(times=TWICE)
    with pytest.raises(LOST):
        await api.fetch("GET", url)
    api.sandbox.faults.expire_results()
    assert (await api.fetch("GET", url)).status == 403
    assert (await api.fetch("GET", url)).status == 403
    fresh = (await api.detail("dubbing", task_id)).data["result_url"]
    assert (await api.fetch("GET", fresh)).body == whole.body
    api.sandbox.faults.http_error(503, role="result", retry_after=1)
    assert (await api.fetch("GET", fresh)).headers["Retry-After"] == "1"
    assert (await api.fetch("GET", fresh)).status == 200


async def test_upload_error(api: Api) -> None:
    api.sandbox.faults.upload_error(500)
    with pytest.raises(AssertionError, match="InternalError"):
        await api.upload("a.bin", b"x", "application/octet-stream")
    assert await api.upload("a.bin", b"x", "application/octet-stream")


async def test_storage_faults_leave_the_api_alone(api: Api) -> None:
    api.sandbox.faults.http_error(500)
    _, url = "", api.sandbox.storage_url + "/cdn/x"
    assert (await api.fetch("GET", url)).status == 404
    assert (await api.get("/api/v1/user/remainingCoins")).status == 500
