"""Responses that the sandbox never sends: undocumented shapes and wrong types."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from attrs import define, field

from a2e_async import A2E
from a2e_async.errors import DecodeError, InvalidRequest, StartOutcomeUnknown

from .conftest import KEY, assert_no_secrets

ID = "66ea4dd87db10c73fa29b570"
SOUND = "https://results.example/a.mp3?Signature=secret"


@define
class Service:
    """Responds to every call with ``data`` in the usual envelope, or with ``body`` alone."""

    data: Any = None
    body: str | None = None
    """A gateway's response, as JSON."""
    a2e: A2E = field(init=False)
    paths: list[str] = field(init=False, factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.paths.append(request.path)
        envelope = json.dumps({"code": 0, "data": self.data, "trace_id": "t"})
        return web.json_response(text=envelope if self.body is None else self.body)


@pytest.fixture
async def service(anyio_backend: str) -> AsyncIterator[Service]:
    made = Service()
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with A2E(KEY, base_url=f"http://127.0.0.1:{port}") as made.a2e:
            yield made
    finally:
        await runner.cleanup()


def wrapped(data: Any) -> list[Any]:
    """Return a value in each of the ways that the service wraps one."""
    return [
        data,
        [data],
        {"data": data},
        {"data": [data]},
        {"code": 0, "data": {"data": data}},
        [{"data": data}],
        json.dumps(data),
        json.dumps({"data": data}),
    ]


@pytest.mark.parametrize(
    "data",
    [
        f" {SOUND} ",
        [{"audioUrl": SOUND}],
        {"audio_url": SOUND},
        {"audio": SOUND},
        {"url": SOUND, "data": {"format": "mp3"}},
        *wrapped(SOUND)[:-2],
        *wrapped({"url": SOUND}),
    ],
    ids=str,
)
async def test_speech(service: Service, data: Any) -> None:
    service.data = data
    output = await service.a2e.speech.say("Hello", tts_id=ID)
    assert output.url == SOUND
    assert output.media == "audio"


@pytest.mark.parametrize(
    "data",
    [None, "", {}, [], [SOUND, SOUND], "accepted", {"url": 7}, "{url", "[" * 9000, {"data": None}],
    ids=lambda data: str(data)[:20],
)
async def test_speech_without_sound(service: Service, data: Any) -> None:
    """Success without a result may have been charged, and the error says so."""
    service.data = data
    with pytest.raises(StartOutcomeUnknown, match="without a result"):
        await service.a2e.speech.say("Hello", tts_id=ID)


@pytest.mark.parametrize("data", [{"failed_message": "too loud"}, {"faild_message": "too loud"}])
async def test_refused_in_the_data(service: Service, data: Any) -> None:
    """A reason in place of the result is a refusal."""
    service.data = data
    with pytest.raises(InvalidRequest, match="too loud"):
        await service.a2e.speech.say("Hello", tts_id=ID)
    with pytest.raises(InvalidRequest, match="too loud"):
        await service.a2e.legacy.watermark("https://m.example/a.png", text="mine")
    with pytest.raises(InvalidRequest, match="too loud"):
        await service.a2e.legacy.continue_training(ID)


async def test_voices(service: Service) -> None:
    """Voices in groups, in groups of groups, and alone; what has no id is left out."""
    service.data = [
        {"value": "female", "children": [{"value": "v1", "label": "Mira", "ttsRate": "2"}, 7]},
        {"label": "male", "children": [{"children": [{"_id": "v2", "lang": "en"}]}]},
        {"tts_id": "v3", "name": "Otto", "gender": "male", "ttsRate": "fast"},
        {"label": "nobody"},
    ]
    one, two, three = await service.a2e.voices.public()
    assert (one.id, one.name, one.group, one.rate) == ("v1", "Mira", "female", 2.0)
    assert (two.id, two.extra) == ("v2", {"lang": "en"})
    assert (three.id, three.group, three.rate) == ("v3", "male", None)
    assert three.extra == {"ttsRate": "fast"}


async def test_languages(service: Service) -> None:
    service.data = {"list": [{"value": "en", "children": None}, {"label": "none"}]}
    (english,) = await service.a2e.voices.languages()
    assert (english.value, english.label, english.regions) == ("en", None, ())


@pytest.mark.parametrize(
    "data",
    [["a", "b"], [{"name": "a"}, {"tag": "b"}], {"tags": ["a", "b"]}, {"n": 2, "rows": ["a", "b"]}],
    ids=str,
)
async def test_tags(service: Service, data: Any) -> None:
    service.data = data
    assert await service.a2e.avatars.tags() == ("a", "b")


async def test_nothing_there(service: Service) -> None:
    """Null in place of a list is an empty list; in place of an object it is an error."""
    client = service.a2e
    assert await client.voices.public() == await client.voices.presets() == ()
    assert await client.voices.languages() == ()
    assert len(await client.voices.previews()) == 0
    assert await client.avatars.list() == ()
    assert await client.avatars.tags() == ()
    assert await client.avatars.add(name="x") is None
    assert await client.backgrounds.all() == ()
    assert await client.legacy.streaming_avatar.avatars() == ()
    assert await client.legacy.set_public_pool(True) is True
    assert (await client.legacy.add_user("eve")).id is None
    assert await client.legacy.continue_training(ID) is None
    assert await client.legacy.clone_voice_of_twin(ID) is None
    for call in (
        client.backgrounds.random(),
        client.backgrounds.add("https://m.example/a.png"),
        client.legacy.detect_language("x"),
    ):
        with pytest.raises(DecodeError):
            await call
    for paid in (
        client.legacy.copy_to_storage("https://m.example/a.png"),
        client.legacy.upload_permit("a.png"),
    ):
        with pytest.raises(StartOutcomeUnknown, match="success without a result"):
            await paid


@pytest.mark.parametrize("data", ["en", {"language": "en"}, {"lang": "en"}], ids=str)
async def test_language_of_a_text(service: Service, data: Any) -> None:
    service.data = data
    assert await service.a2e.legacy.detect_language("Hello") == "en"


async def test_room(service: Service) -> None:
    """A room without an end time ends after the requested time; numbers may be strings."""
    service.data = {"appId": "app", "channel": "c", "token": "t0ken", "uid": "17", "expire": []}
    before = datetime.now(UTC)
    async with service.a2e.legacy.streaming_avatar.room(ID, expire_seconds=60) as room:
        assert room.uid == 17
        assert timedelta(seconds=59) < room.expires_at - before < timedelta(seconds=61)
        assert room.extra == {"expire": []}
    assert_no_secrets(repr(room), "t0ken")


ROOM = {"appId": "app", "channel": "c", "token": "t0ken", "uid": 17}


@pytest.mark.parametrize("data", wrapped(ROOM), ids=str)
async def test_room_however_wrapped(service: Service, data: Any) -> None:
    """A charged room is entered and left, whatever else the response has."""
    service.data = data
    async with service.a2e.legacy.streaming_avatar.room(ID, expire_seconds=60) as room:
        assert (room.app_id, room.channel, room.token, room.uid) == ("app", "c", "t0ken", 17)
    assert [path.rpartition("/")[2] for path in service.paths] == ["agora-token", "leave"]


MARKED = "https://results.example/a.png?Signature=secret"


@pytest.mark.parametrize("data", [*wrapped({"result_url": MARKED}), MARKED, [MARKED]], ids=str)
async def test_watermark_however_wrapped(service: Service, data: Any) -> None:
    service.data = data
    output = await service.a2e.legacy.watermark("https://m.example/a.png", text="mine")
    assert (output.url, output.media) == (MARKED, "image")


@pytest.mark.parametrize("data", [*wrapped({"cdnUrl": MARKED}), MARKED], ids=str)
async def test_copy_however_wrapped(service: Service, data: Any) -> None:
    service.data = data
    assert await service.a2e.legacy.copy_to_storage("https://m.example/a.png") == MARKED


@pytest.mark.parametrize("data", wrapped({"uploadUrl": MARKED, "key": "k"}), ids=str)
async def test_permit_however_wrapped(service: Service, data: Any) -> None:
    service.data = data
    permit = await service.a2e.legacy.upload_permit("k")
    assert (permit.upload_url, permit.key) == (MARKED, "k")


@pytest.mark.parametrize("missing", ["appId", "token"])
async def test_room_that_cannot_be_joined(service: Service, missing: str) -> None:
    """A charged but unusable room is left at once."""
    service.data = {"appId": "app", "channel": "c", "token": "t0ken", missing: None}
    with pytest.raises(DecodeError, match="the room was left") as caught:
        async with service.a2e.legacy.streaming_avatar.room(ID, expire_seconds=60):
            pytest.fail("it cannot be entered")
    assert [path.rpartition("/")[2] for path in service.paths] == ["agora-token", "leave"]
    assert_no_secrets(caught.value, "t0ken")


async def test_room_that_cannot_be_named(service: Service) -> None:
    """Without its channel a room cannot be left: the error says that it may be charged."""
    service.data = {"appId": "app", "token": "t0ken"}
    with pytest.raises(StartOutcomeUnknown) as caught:
        async with service.a2e.legacy.streaming_avatar.room(ID, expire_seconds=60):
            pytest.fail("it cannot be entered")
    assert_no_secrets(caught.value, "t0ken")
