"""The operations of the account."""

from __future__ import annotations

import io
import wave
from typing import Any

import pytest

from a2e_async.sandbox import media
from a2e_async.sandbox._core.api_spec import all_operations

from .conftest import Api

pytestmark = pytest.mark.anyio

SPEAK = "/api/v1/video/send_tts"
ROOM = "/api/v1/streaming-avatar"
NOBODY = "0" * 24


async def voice(api: Api) -> str:
    groups = (await api.get("/api/v1/anchor/voice_list")).data
    return str(groups[0]["children"][0]["value"])


def fields(reply: Any) -> list[str]:
    assert reply.status == 400, reply.body
    return [item["field"] for item in reply.json["errors"]]


async def test_every_operation_without_a_kind_is_served(api: Api) -> None:
    for operation in all_operations():
        if operation.kind:
            continue
        path = operation.path.replace("{_id}", NOBODY).replace("{id}", NOBODY)
        reply = await api.send(operation.method, path, json={})
        assert "trace_id" in reply.json, path


async def test_everything_needs_the_token(api: Api) -> None:
    assert (await api.post(SPEAK, {"msg": "hello"}, token="other")).status == 401
    assert (await api.get("/api/v1/anchor/voice_list", token="")).status == 401


# Voices and speech


async def test_voices_of_a_locale(api: Api) -> None:
    path = "/api/v1/anchor/voice_list"
    usual = (await api.get(path)).data
    assert [group["value"] for group in usual] == ["female", "male"]
    assert all(set(item) == {"value", "label", "ttsRate"} for item in usual[0]["children"])
    assert (await api.post(path)).data == (await api.post(path, {"country": "en"})).data == usual
    other = (await api.get(f"{path}?country=ja&region=JP")).data
    assert other == (await api.post(path, {"country": "ja", "region": "JP"})).data
    ids = [
        {item["value"] for group in groups for item in group["children"]}
        for groups in (usual, other)
    ]
    assert not ids[0] & ids[1]
    assert (await api.get(f"{path}?country=xx&region=XX")).data == []
    assert fields(await api.post(path, {"country": 7})) == ["country"]


async def test_languages_and_their_regions_have_voices(api: Api) -> None:
    languages = (await api.post("/api/v1/anchor/language_list")).data
    everyone = {
        item["value"]
        for group in (await api.post("/api/v1/anchor/tts_list")).data
        for item in group["children"]
    }
    found = set[str]()
    for language in languages:
        assert language["label"]
        for region in language["children"]:
            where = {"country": language["value"], "region": region["value"]}
            groups = (await api.post("/api/v1/anchor/voice_list", where)).data
            found |= {item["value"] for group in groups for item in group["children"]}
    assert found == everyone
    assert len(found) >= 40


async def test_speech_is_a_charged_url_of_real_audio(api: Api) -> None:
    tts_id = await voice(api)
    body = {"msg": "x" * 150, "tts_id": tts_id, "speechRate": 2}
    url = (await api.post(SPEAK, body)).data
    assert isinstance(url, str)
    assert api.sandbox.tasks == ()
    (charge,) = api.sandbox.ledger.charges
    assert (charge.kind, charge.ids, charge.coins) == ("speech", (), 2)
    assert (charge.path, charge.body) == (SPEAK, body)
    file = await api.fetch("GET", url)
    assert (file.status, file.headers["Content-Type"]) == (200, "audio/wav")
    with wave.open(io.BytesIO(file.body)) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(150 / 15 / 2, abs=0.1)
    assert (await api.fetch("GET", url.partition("?")[0])).status == 403
    api.sandbox.advance(4 * 86400)
    assert (await api.fetch("GET", url)).status == 403


async def test_speech_differs_by_text_length_and_voice(api: Api) -> None:
    groups = (await api.get("/api/v1/anchor/voice_list")).data
    first, second, *_ = (item["value"] for item in groups[0]["children"])
    bodies = [("hello there", first), ("hello there, all of you", first), ("hello there", second)]
    urls = [(await api.post(SPEAK, {"msg": msg, "tts_id": who})).data for msg, who in bodies]
    assert len({(await api.fetch("GET", url)).body for url in urls}) == 3


async def test_speech_can_be_an_input(api: Api) -> None:
    url = (await api.post(SPEAK, {"msg": "hello " * 10, "tts_id": await voice(api)})).data
    record = await api.start("dubbing", source_url=url)
    api.sandbox.advance(200)
    assert (await api.detail("dubbing", record["_id"])).data["current_status"] == "completed"
    gone = await api.start("dubbing", source_url=url.replace("/speech/", "/speech/0"))
    api.sandbox.advance(200)
    assert (await api.detail("dubbing", gone["_id"])).data["current_status"] == "failed"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"msg": "a"}, ["tts_id"]),
        ({"msg": "a", "tts_id": "VOICE", "user_voice_id": NOBODY}, ["tts_id"]),
        ({"msg": "a", "tts_id": NOBODY}, ["tts_id"]),
        ({"msg": "a", "user_voice_id": NOBODY}, ["user_voice_id"]),
        ({"msg": "", "tts_id": "VOICE"}, ["msg"]),
        ({"msg": "a" * 1001, "tts_id": "VOICE"}, ["msg"]),
        ({"tts_id": "VOICE"}, ["msg"]),
        ({"msg": "a", "tts_id": "VOICE", "speechRate": 0.4}, ["speechRate"]),
        ({"msg": "a", "tts_id": "VOICE", "speechRate": 2.1}, ["speechRate"]),
    ],
)
async def test_speech_that_is_refused_costs_nothing(
    api: Api, body: dict[str, Any], wrong: list[str]
) -> None:
    known = await voice(api)
    sent = {key: known if value == "VOICE" else value for key, value in body.items()}
    assert fields(await api.post(SPEAK, sent)) == wrong
    assert api.sandbox.ledger.charges == ()
    assert (await api.post(SPEAK, {"msg": "a" * 1000, "tts_id": known})).status == 200


@pytest.mark.sandbox(balance=1)
async def test_speech_needs_coins(api: Api) -> None:
    body = {"msg": "a" * 101, "tts_id": await voice(api)}
    reply = await api.post(SPEAK, body)
    assert (reply.status, reply.json["code"]) == (400, 4001)


async def test_speech_can_be_charged_and_lost(api: Api) -> None:
    body = {"msg": "a", "tts_id": await voice(api)}
    api.sandbox.faults.http_error(504, role="action", kind="avatar_video", accepted=True)
    assert (await api.post(SPEAK, body)).status == 504
    assert [charge.kind for charge in api.sandbox.ledger.charges] == ["speech"]


async def test_previews(api: Api) -> None:
    path = "/api/v1/tts/preview"
    rows = (await api.get(f"{path}/list")).data
    assert len(rows["rows"]) == rows["count"] == 3
    assert (await api.fetch("GET", rows["rows"][0]["url"])).status == 200
    await api.post(SPEAK, {"msg": "not here", "tts_id": await voice(api)})
    second = (await api.get(f"{path}/list?pageSize=1&current=2")).data
    assert second == {"rows": [rows["rows"][1]], "count": 3}
    assert (await api.send("DELETE", f"{path}/{second['rows'][0]['_id']}")).status == 200
    assert (await api.send("DELETE", f"{path}/{second['rows'][0]['_id']}")).status == 404
    assert (await api.get(f"{path}/list")).data["rows"] == [rows["rows"][0], rows["rows"][2]]
    assert (await api.fetch("GET", second["rows"][0]["url"])).status == 200
    assert fields(await api.get(f"{path}/list?pageSize=101")) == ["pageSize"]
    api.sandbox.advance(86400)
    assert (await api.get(f"{path}/list")).data == {"rows": [], "count": 0}


# Avatars, faces, backgrounds


async def test_system_avatars_have_pictures(api: Api) -> None:
    own = (await api.post("/api/v1/anchor/list")).data
    rows = (await api.post("/api/v1/anchor/list", {"web_type": "a2e"})).data
    assert own == []
    assert any(row["name"] is None for row in rows)
    assert len({row["_id"] for row in rows}) == len(rows)
    picture = await api.fetch("GET", rows[0]["people_img"])
    assert picture.body == media.portrait().read_bytes()
    assert picture.headers["Content-Type"] == "image/png"
    api.sandbox.advance(30 * 86400)
    assert (await api.fetch("GET", rows[0]["base_video"])).status == 200
    assert fields(await api.post("/api/v1/anchor/list", {"web_type": "web"})) == ["web_type"]
    characters = (await api.get("/api/v1/anchor/character_list")).data
    assert [row["_id"] for row in characters] == [row["_id"] for row in rows]
    assert (await api.get("/api/v1/anchor/character_list?type=custom")).data == []


async def test_own_avatars(api: Api) -> None:
    path = "/api/v1/custom_avatar"
    given = {"name": "Me", "people_img": "https://example.com/me.png", "tags": ["b", "a"]}
    first = (await api.post(f"{path}/add", {**given, "_id": NOBODY, "type": "default"})).data
    assert first["_id"] != NOBODY
    assert {name: first[name] for name in given} == given
    second = (await api.post(f"{path}/add", {"name": "You", "tags": ["c", "a"]})).data
    listed = (await api.post(f"{path}/list")).data
    assert listed == {"rows": [second, first], "count": 2}
    page = (await api.post(f"{path}/list", {"pageNum": 2, "pageSize": 1})).data
    assert page == {"rows": [first], "count": 2}
    assert (await api.get(f"{path}/all_tags")).data == ["a", "b", "c"]
    api.sandbox.advance(60)
    change = {"name": "I", "_id": NOBODY, "user_id": "x"}
    changed = (await api.send("PUT", f"{path}/{first['_id']}", json=change)).data
    assert changed == {**first, "name": "I", "updatedAt": changed["updatedAt"]}
    assert changed["updatedAt"] > first["updatedAt"]
    custom = (await api.get("/api/v1/anchor/character_list?type=custom")).data
    assert custom == (await api.post("/api/v1/anchor/list", {})).data == [second, changed]
    assert (await api.post(f"{path}/del", {"_id": first["_id"]})).status == 200
    assert (await api.post(f"{path}/del", {"_id": first["_id"]})).status == 404
    assert (await api.send("PUT", f"{path}/{first['_id']}", json={})).status == 404
    assert (await api.post(f"{path}/list")).data["rows"] == [second]


@pytest.mark.parametrize(
    ("action", "body", "wrong"),
    [
        ("add", {"name": 7}, ["name"]),
        ("add", {"people_img": "me.png"}, ["people_img"]),
        ("add", {"tags": [1]}, ["tags[0]"]),
        ("add", [], [""]),
        ("list", {"pageNum": 0, "pageSize": "5"}, ["pageNum", "pageSize"]),
        ("del", {}, ["_id"]),
        ("del", {"_id": "abc"}, ["_id"]),
    ],
)
async def test_own_avatars_are_checked(api: Api, action: str, body: Any, wrong: list[str]) -> None:
    assert fields(await api.post(f"/api/v1/custom_avatar/{action}", body)) == wrong


async def test_saved_faces(api: Api) -> None:
    path = "/api/v1/userFaceSwapImage"
    assert (await api.get(f"{path}/records")).data == []
    (first,) = (await api.post(f"{path}/add", {"face_url": "https://example.com/1.png"})).data
    rows = (await api.post(f"{path}/add", {"face_url": "https://example.com/2.png"})).data
    assert rows[1] == first
    assert rows == (await api.get(f"{path}/records")).data
    assert (await api.send("DELETE", f"{path}/{first['_id']}")).data == {"_id": first["_id"]}
    assert (await api.get(f"{path}/records")).data == rows[:1]
    assert (await api.send("DELETE", f"{path}/{first['_id']}")).status == 404
    assert fields(await api.send("DELETE", f"{path}/me")) == ["_id"]
    assert fields(await api.post(f"{path}/add", {"face_url": "file:///me.png"})) == ["face_url"]
    assert fields(await api.post(f"{path}/add", {})) == ["face_url"]


async def test_backgrounds(api: Api) -> None:
    path = "/api/v1/custom_back"
    back = (await api.post(f"{path}/add", {"img_url": "https://example.com/b.png"})).data
    assert (await api.post(f"{path}/list")).data == {"rows": [back], "count": 1}
    rows = (await api.post(f"{path}/allBackground")).data
    assert [row["type"] for row in rows] == ["custom", "default", "default", "default"]
    assert rows[0]["_id"] == back["_id"]
    chosen = (await api.post(f"{path}/randomBackground")).data
    assert chosen in rows[1:]
    assert (await api.fetch("GET", chosen["img_url"])).status == 200
    assert (await api.post(f"{path}/del", {"_id": back["_id"]})).status == 200
    assert (await api.post(f"{path}/list")).data == {"rows": [], "count": 0}
    assert fields(await api.post(f"{path}/add", {})) == ["img_url"]
    assert (await api.post(f"{path}/del", {"_id": back["_id"]})).status == 404


# Rooms


async def room(api: Api, seconds: int = 600) -> Any:
    (first, *_) = (await api.get(f"{ROOM}/all_avatars")).data
    body = {"avatar_id": first["_id"], "expire_seconds": seconds}
    return await api.post(f"{ROOM}/agora-token", body)


async def test_a_room_is_paid_ahead_and_the_rest_comes_back(api: Api) -> None:
    before = api.sandbox.ledger.balance
    opened = (await room(api)).data
    assert {"appId", "channel", "token", "uid", "expire_epoch_timestamp"} <= set(opened)
    (charge,) = api.sandbox.ledger.charges
    assert (charge.kind, charge.ids, charge.coins) == ("streaming_avatar", (), 60)
    assert charge.body["expire_seconds"] == 600
    where = {"channel": opened["channel"]}
    for action in ("ask", "speak", "set-qa-context"):
        assert (await api.post(f"{ROOM}/{action}", {**where, "text": "hello"})).data == {}
    api.sandbox.advance(200)
    assert (await api.post(f"{ROOM}/leave", where)).data == {}
    (charge,) = api.sandbox.ledger.charges
    assert charge.refunded == 39  # of the 21st coin a moment is used
    assert api.sandbox.ledger.balance == before - 21
    history = (await api.get("/api/v1/transactionRecord/creditsHistory")).data["rows"]
    assert [row["amount"] for row in history[:2]] == [39, -60]
    assert (await api.post(f"{ROOM}/leave", where)).status == 400
    assert (await api.post(f"{ROOM}/ask", {**where, "text": "hello"})).status == 400


async def test_hosts_are_few(api: Api) -> None:
    channels = [(await room(api)).data["channel"] for _ in range(3)]
    full = await room(api)
    assert (full.status, full.json["code"]) == (200, 1001)
    assert "hosts are occupied" in (full.json.get("message") or full.json["msg"])
    assert len(api.sandbox.ledger.charges) == 3
    await api.post(f"{ROOM}/leave", {"channel": channels[0]})
    assert (await room(api)).json["code"] == 0
    api.sandbox.advance(601)
    assert (await api.post(f"{ROOM}/speak", {"channel": channels[1], "text": "a"})).status == 400
    assert (await api.post(f"{ROOM}/leave", {"channel": channels[1]})).status == 400
    assert api.sandbox.ledger.charges[1].refunded == 0
    assert (await room(api)).json["code"] == 0


async def test_rooms_are_checked(api: Api) -> None:
    assert fields(await api.post(f"{ROOM}/agora-token", {})) == ["avatar_id"]
    for seconds in (0, 86_401, 10**400):
        assert fields(await room(api, seconds)) == ["expire_seconds"]
    where = {"channel": (await room(api)).data["channel"]}
    assert fields(await api.post(f"{ROOM}/speak", {"text": "a"})) == ["channel"]
    path = f"{ROOM}/set-qa-context"
    assert (await api.post(path, {**where, "text": "a" * 5000})).status == 200
    assert fields(await api.post(path, {**where, "text": "a" * 5001})) == ["text"]
    assert (await api.post(path, {"channel": "other", "text": "a"})).status == 400


# What tasks made


async def test_a_trained_twin_is_an_avatar(api: Api) -> None:
    body = {"name": "Me", "video_url": "https://example.com/me.mp4"}
    twin = (await api.post("/api/v1/userVideoTwin/startTraining", body)).data
    twin_id = (twin[0] if isinstance(twin, list) else twin)["_id"]
    path = f"/api/v1/anchor/character_list?user_video_twin_id={twin_id}"
    assert (await api.get(path)).data == []
    api.sandbox.advance(86400)
    record = (await api.get(f"/api/v1/userVideoTwin/{twin_id}")).data
    (avatar,) = (await api.get(path)).data
    assert avatar["_id"] == record["anchor_id"] != twin_id
    assert (avatar["type"], avatar["name"], avatar["base_video"]) == (
        "custom",
        "Me",
        body["video_url"],
    )
    assert (await api.post("/api/v1/anchor/list", {})).data == [avatar]
    assert (await api.post("/api/v1/userVideoTwin/remove", {"_id": twin_id})).status == 200
    assert (await api.get(path)).data == []


async def test_a_trained_voice_speaks(api: Api) -> None:
    body = {"name": "Mine", "voice_urls": ["https://example.com/me.wav"]}
    clone = (await api.post("/api/v1/userVoice/training", body)).data
    said = {"msg": "hello", "user_voice_id": clone["_id"], "country": "en", "region": "US"}
    assert fields(await api.post(SPEAK, said)) == ["user_voice_id"]
    api.sandbox.advance(86400)
    url = (await api.post(SPEAK, said)).data
    assert (await api.fetch("GET", url)).status == 200
    assert fields(await api.post(SPEAK, {"msg": "hello", "tts_id": clone["_id"]})) == ["tts_id"]


@pytest.mark.sandbox(durations={"text_to_image": 100.0})
async def test_a_picture_becomes_an_avatar(api: Api) -> None:
    body = {"name": "Eve", "prompt": "a face", "width": 512, "height": 512}
    data = (await api.post("/api/v1/userText2Image/start", body)).data
    picture = data[0] if isinstance(data, list) else data
    path = "/api/v1/userText2Image/quickAddAvatar"
    sent = {"_id": picture["_id"], "gender": "female"}
    assert (await api.post(path, sent)).status == 400
    api.sandbox.advance(7200)
    avatar = (await api.post(path, sent)).data
    assert (avatar["type"], avatar["gender"], avatar["name"]) == ("custom", "female", "Eve")
    assert (await api.fetch("GET", avatar["people_img"])).status == 200
    assert (await api.post("/api/v1/custom_avatar/list")).data["rows"] == [avatar]
    assert (await api.post(path, {"_id": NOBODY})).status == 404
    assert fields(await api.post(path, {"_id": picture["_id"], "gender": "none"})) == ["gender"]
