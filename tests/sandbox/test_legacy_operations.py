"""The legacy operations, which the current reference no longer lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from a2e_async.sandbox import check_media, media

from .conftest import Api

pytestmark = pytest.mark.anyio

NOBODY = "0" * 24
TWIN = "/api/v1/userVideoTwin"


def fields(reply: Any) -> list[str]:
    assert reply.status == 400, reply.body
    return [item["field"] for item in reply.json["errors"]]


async def twin(api: Api, **source: str) -> str:
    """Start the training of a video twin; return its id."""
    data = (await api.post(f"{TWIN}/startTraining", {"name": "Me", **source})).data
    return str((data[0] if isinstance(data, list) else data)["_id"])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Good morning", "en"),
        ("早上好", "zh"),
        ("お早う", "ja"),
        ("좋은 아침", "ko"),
        ("صباح الخير", "ar"),
        ("Доброе утро", "ru"),
    ],
)
async def test_language_of_a_text(api: Api, text: str, language: str) -> None:
    assert (await api.post("/api/v1/video/lang_classify", {"msg": text})).data == language


async def test_a_file_is_taken_over(api: Api, tmp_path: Path) -> None:
    path = "/api/v1/tos/transferToStorage"
    own = await api.upload("talk.wav", media.speech().read_bytes(), "audio/wav")
    copied = (await api.post(path, {"url": own})).data["url"]
    assert api.sandbox.storage_url in copied
    assert copied != own
    file = await api.fetch("GET", copied)
    assert (file.body, file.headers["Content-Type"]) == (media.speech().read_bytes(), "audio/wav")
    again = (await api.post(path, {"url": copied})).data["url"]
    assert (await api.fetch("GET", again)).body == file.body
    for name, kind in (("a.png?x=1", "image/png"), ("a.mp3", "audio/wav"), ("a", "video/mp4")):
        url = (await api.post(path, {"url": f"https://example.com/{name}"})).data["url"]
        assert (await api.fetch("GET", url)).headers["Content-Type"] == kind
    assert fields(await api.post(path, {"url": "a.png"})) == ["url"]
    assert fields(await api.post(path, {})) == ["url"]


async def test_a_watermark_is_ready_at_once(api: Api, tmp_path: Path) -> None:
    path = "/api/v1/watermark/start"
    body = {"media_url": "https://example.com/a.mp4", "text": "mine", "fontsize": 20}
    record = (await api.post(path, body)).data
    assert {name: record[name] for name in body} == body
    assert (record["current_status"], record["coins"]) == ("completed", 1)
    (charge,) = api.sandbox.ledger.charges
    assert (charge.kind, charge.ids, charge.coins, charge.body) == ("watermark", (), 1, body)
    file = tmp_path / "a.mp4"
    file.write_bytes((await api.fetch("GET", record["result_url"])).body)
    assert check_media(file).kind == "video"
    for wrong, names in (
        ({"text": "mine"}, ["media_url"]),
        ({"media_url": body["media_url"]}, ["text"]),
        ({**body, "watermark_type": "image"}, ["watermark_image_url"]),
        ({**body, "watermark_type": "sound"}, ["watermark_type"]),
    ):
        assert fields(await api.post(path, wrong)) == names
    assert len(api.sandbox.ledger.charges) == 1


async def test_the_older_list_has_image_tasks_in_older_words(api: Api) -> None:
    await api.start("image_to_video", name="one")
    api.sandbox.advance(200)
    record = await api.start("image_to_video", name="two")
    found = (await api.get("/api/v1/video/awsList")).data
    assert (found["current"], found["total"], found["success"]) == (1, 2, True)
    assert [(row["name"], row["status"], row["process"]) for row in found["data"]] == [
        ("two", "init", 0),
        ("one", "success", 100),
    ]
    assert found["data"][0]["_id"] == record["_id"]
    assert (await api.fetch("GET", found["data"][1]["result"])).status == 200
    second = (await api.get("/api/v1/video/awsList?current=2&pageSize=1")).data
    assert [row["name"] for row in second["data"]] == ["one"]
    assert fields(await api.get("/api/v1/video/awsList?current=0&pageSize=x")) == [
        "current",
        "pageSize",
    ]


async def test_an_unknown_avatar_video_is_an_empty_list(api: Api) -> None:
    path = "/api/v1/video/awsResult"
    assert (await api.post(path, {"_id": NOBODY})).data == []
    assert (await api.post(path, {"_id": (await api.start("image_to_video"))["_id"]})).data == []
    assert fields(await api.post(path, {"_id": "x"})) == ["_id"]


async def test_small_older_ones(api: Api) -> None:
    pool = "/api/v1/video/auto-public-pool"
    assert (await api.post(pool, {})).data == {"isAutoToPublicPool": False}
    assert (await api.post(pool, {"isAutoToPublicPool": True})).data == {"isAutoToPublicPool": True}
    assert (await api.post(pool)).data == {"isAutoToPublicPool": True}
    token = (await api.post("/api/v1/token/generate", {"alias": "bot"})).data
    assert set(token) == {"_id", "token"}
    assert fields(await api.post("/api/v1/token/generate", {})) == ["alias"]
    assert (await api.post("/api/v1/user/add", {"username": "ada"})).data["username"] == "ada"
    assert fields(await api.post("/api/v1/user/add", {})) == ["username"]


async def test_older_ones_can_be_gone(api: Api) -> None:
    api.sandbox.faults.http_error(404, role="legacy", html=True, times=None)
    reply = await api.post("/api/v1/video/lang_classify", {"msg": "hello"})
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("text/html")
    assert (await api.get("/api/v1/streaming-avatar/all_avatars")).status == 404
    assert (await api.get("/api/v1/anchor/voice_list")).status == 200


# Twins and avatar videos


async def test_training_goes_on_under_the_misspelt_path(api: Api) -> None:
    twin_id = await twin(api, video_url="https://example.com/me.mp4")
    api.sandbox.advance(86400)
    detail = f"{TWIN}/{twin_id}"
    assert (await api.get(detail)).data["current_status"] == "completed"
    reply = await api.post(f"{TWIN}/continueTranining", {"_id": twin_id})
    assert reply.status == 200
    assert (await api.get(detail)).data["current_status"] != "completed"
    characters = (await api.get("/api/v1/anchor/character_list?type=custom")).data
    assert [row["user_video_twin_id"] for row in characters] == [twin_id]
    assert (await api.post(f"{TWIN}/continueTranining", {"_id": NOBODY})).status == 404
    assert fields(await api.post(f"{TWIN}/continueTranining", {})) == ["_id"]


async def test_a_twins_video_gives_a_voice(api: Api) -> None:
    path = f"{TWIN}/addVoiceClone"
    spoken = await twin(api, video_url="https://example.com/me.mp4")
    silent = await twin(api, image_url="https://example.com/me.png")
    clone = (await api.post(path, {"_id": spoken})).data
    assert [item.kind for item in api.sandbox.ledger.charges][-1] == "voice_clone"
    api.sandbox.advance(86400)
    voice = (await api.get(f"/api/v1/userVoice/{clone['_id']}")).data
    assert voice["current_status"] == "completed"
    assert voice["voice_urls"] == ["https://example.com/me.mp4"]
    assert (await api.post(path, {"_id": silent})).status == 400
    assert (await api.post(path, {"_id": NOBODY})).status == 404
    assert fields(await api.post(path, {})) == ["_id"]


async def test_files_of_twins(api: Api) -> None:
    assert (await api.get(f"{TWIN}/uploadStatus")).data == []
    file = (await api.post(f"{TWIN}/upload")).data
    assert (await api.get(f"{TWIN}/uploadStatus")).data == [file]


async def test_an_avatar_video_is_found_by_the_older_calls(api: Api) -> None:
    (avatar, *_) = (await api.post("/api/v1/anchor/list", {"web_type": "a2e"})).data
    body = {
        "title": "news",
        "anchor_id": avatar["_id"],
        "anchor_type": 0,
        "audioSrc": "https://example.com/a.mp3",
    }
    record = (await api.post("/api/v1/video/generate", body)).data
    for seconds, word in ((0, "init"), (86400, "success")):
        api.sandbox.advance(seconds)
        (result,) = (await api.post("/api/v1/video/awsResult", {"_id": record["_id"]})).data
        assert (result["_id"], result["status"]) == (record["_id"], word)
        (listed,) = (await api.get("/api/v1/video/awsList")).data["data"]
        assert (listed["_id"], listed["status"]) == (record["_id"], word)
    assert result["process"] == 100
    assert (await api.fetch("GET", result["result"])).status == 200


# Images from text


async def test_images_by_the_older_path(api: Api) -> None:
    """They are the images of the current operations: same records, price and refusals."""
    path = "/api/v1/userText2image"
    body = {"name": "lake", "prompt": "a lake", "width": 512, "height": 768}
    reply = await api.post(f"{path}/start", {**body, "req_key": "high_aes"})
    (record,) = reply.data
    assert {name: record[name] for name in body} == body
    (charge,) = api.sandbox.ledger.charges
    assert (charge.kind, charge.ids, charge.body) == ("text_to_image", (record["_id"],), body)
    api.sandbox.advance(86400)
    for listed in (f"{path}/allRecords", "/api/v1/userText2Image/allRecords?pageNum=1"):
        assert [row["_id"] for row in (await api.get(listed)).data["rows"]] == [record["_id"]]
    shown = (await api.get(f"{path}/{record['_id']}")).data
    assert (shown["current_status"], len(shown["image_urls"])) == ("completed", 1)
    assert (await api.get(f"{path}/{NOBODY}")).status == 404
    assert fields(await api.post(f"{path}/start", body)) == ["req_key"]
    assert len(api.sandbox.ledger.charges) == 1
