"""Tokens, coins, quotes, history and unknown paths."""

from __future__ import annotations

import pytest

from .conftest import BODIES, IMAGE, STARTS, TALKING, Api

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("token", ["", "wrong", " sandbox-key", '"sandbox-key"'])
async def test_bad_token(api: Api, token: str) -> None:
    reply = await api.post(STARTS["dubbing"], BODIES["dubbing"], token=token)
    assert (reply.status, reply.json["code"]) == (401, 401)
    assert reply.json.get("message") or reply.json.get("msg")
    assert api.sandbox.ledger.charges == ()


@pytest.mark.parametrize("path", ["/", "/api/v1/nothing", "/api/v1/userDubbing/startDubbing/x"])
async def test_unknown_paths_answer_html(api: Api, path: str) -> None:
    reply = await api.get(path)
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("text/html")


async def test_prices_quotes_and_coins_agree(api: Api) -> None:
    for kind, inputs, price in (
        ("dubbing", {}, 9),
        ("talking_video", {"duration": 6}, 26),
        ("image_to_video", {"video_time": 10, "number_of_images": 2}, 120),
    ):
        quote = await api.post(
            "/api/v1/generation/quote",
            {"endpoint": f"POST {STARTS[kind]}", "requestBody": {**BODIES[kind], **inputs}},
        )
        assert quote.data == {"coins": price, "generationRequestValidated": False}
        before = api.sandbox.ledger.balance
        await api.start(kind, **inputs)
        assert api.sandbox.ledger.balance == before - price
    coins = (await api.get("/api/v1/user/remainingCoins")).data
    assert coins["coins"] == api.sandbox.ledger.balance == 100_000 - 9 - 26 - 120
    assert api.sandbox.ledger.spent == 9 + 26 + 120
    for endpoint, body in (("/api/v1/other/start", {}), (STARTS["talking_video"], {"duration": 0})):
        path = "/api/v1/generation/quote"
        reply = await api.post(path, {"endpoint": endpoint, "requestBody": body})
        assert reply.status == 400
    assert len(api.sandbox.tasks) == 4


@pytest.mark.sandbox(balance=14)
async def test_too_few_coins(api: Api) -> None:
    await api.start("talking_video")
    reply = await api.post(STARTS["talking_video"], TALKING)
    assert (reply.status, reply.json["code"]) == (400, 4001)
    assert "insufficient coins" in (reply.json.get("message") or reply.json["msg"])
    assert api.sandbox.ledger.balance == 1
    assert len(api.sandbox.tasks) == 1


async def test_history(api: Api) -> None:
    path = "/api/v1/transactionRecord/creditsHistory"
    first = await api.start("dubbing")
    api.sandbox.advance(3600)
    await api.start("image_to_video")
    rows = (await api.get(path)).data
    assert [row["amount"] for row in rows["rows"]] == [-30, -9, 100_000]
    assert rows["count"] == 3
    spending = (await api.get(f"{path}?is_consumption=true&pageSize=1&pageNum=2")).data
    assert [row["task_ids"] for row in spending["rows"]] == [[first["_id"]]]
    assert spending["count"] == 2
    income = (await api.get(f"{path}?is_consumption=false")).data
    assert [row["amount"] for row in income["rows"]] == [100_000]
    when = first["createdAt"]
    assert (await api.get(path, params={"startDate": "2999-01-01"})).data["rows"] == []
    until = (await api.get(path, params={"endDate": when.replace("Z", "+00:00")})).data
    assert until["count"] <= 2
    assert (await api.get(f"{path}?startDate=soon")).status == 400
    assert (await api.get(f"{path}?is_consumption=maybe")).status == 400


async def test_calls_are_counted_by_role_and_kind(api: Api) -> None:
    record = await api.start("dubbing")
    await api.detail("dubbing", record["_id"])
    await api.detail("dubbing", record["_id"])
    await api.get("/api/v1/userImage2Video/allRecords")
    await api.get("/api/v1/user/remainingCoins")
    await api.upload("a.bin", b"x", "application/octet-stream")
    assert api.sandbox.calls == {
        ("start", "dubbing"): 1,
        ("detail", "dubbing"): 2,
        ("list", "image_to_video"): 1,
        ("coins", ""): 1,
        ("presign", ""): 1,
    }
    assert api.sandbox.calls_total == 6
    assert api.sandbox.transfers == {"upload": 1}


async def test_tasks_and_charges_contain_the_request(api: Api) -> None:
    record = await api.start("image_to_video")
    (view,) = api.sandbox.tasks
    assert (view.id, view.kind, view.body) == (record["_id"], "image_to_video", IMAGE)
    assert view.ends_at - view.created_at == pytest.approx(100)
    (charge,) = api.sandbox.ledger.starts("image_to_video")
    assert (charge.path, charge.body) == (STARTS["image_to_video"], IMAGE)
    assert api.sandbox.ledger.starts("dubbing") == ()
    with pytest.raises(ValueError, match="forward"):
        api.sandbox.advance(-1)


@pytest.mark.parametrize("kind", STARTS)
async def test_a_start_of_each_kind_is_charged_to_it(api: Api, kind: str) -> None:
    await api.start(kind)
    assert [charge.kind for charge in api.sandbox.ledger.charges] == [kind]
