"""Uploads, downloads, and result files."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import pytest

from a2e_async.sandbox import check_media, media

from .conftest import HAS_AV, HOW, Api

pytestmark = pytest.mark.anyio

PERMIT = "/api/v1/r2/upload-presigned-url"


async def finished(api: Api, kind: str, **inputs: object) -> dict[str, str]:
    """Start a task and return its record when it has completed."""
    record = await api.start(kind, **inputs)
    api.sandbox.advance(100)
    done: dict[str, str] = (await api.detail(kind, record["_id"])).data
    assert done["current_status"] == "completed"
    return done


async def test_permit_is_scoped_and_charged(api: Api) -> None:
    reply = await api.post(PERMIT, {"key": "a.wav", "contentType": "audio/wav", "expiresIn": 60})
    assert set(reply.data) == {"uploadUrl", "cdnUrl", "key", "expiresIn"}
    assert reply.data["key"].startswith("adam2eve/stable/user/")
    assert reply.data["key"].endswith("/a.wav")
    assert reply.data["uploadUrl"].startswith(api.sandbox.storage_url)
    assert not reply.data["uploadUrl"].startswith(api.sandbox.base_url)
    (charge,) = api.sandbox.ledger.charges
    assert (charge.kind, charge.coins, charge.ids) == ("presign", 1, ())
    legacy = await api.post("/api/v1/r2/get_upload_presigned_url", {"key": "a.wav"})
    assert set(legacy.data) == {"uploadUrl", "key", "bucket", "expiresIn"}
    assert len(api.sandbox.ledger.charges) == 1
    for body in (
        {},
        {"key": "../a"},
        {"key": "a", "expiresIn": 59},
        {"key": "a", "expiresIn": 10**400},
        {"key": "a", "contentLength": -1},
        {"key": "a", "contentLength": 1.5},
        {"key": "a", "contentLength": 10**400},
        {"key": "\ud800"},
    ):
        assert (await api.post(PERMIT, body)).status == 400


@pytest.mark.parametrize("name", ["talk.wav", "my talk (1)+&é%41#?.wav", "a/b/~c'.wav"])
async def test_upload_and_read_back(api: Api, name: str) -> None:
    data = media.speech().read_bytes()
    url = await api.upload(name, data, "audio/wav")
    back = await api.fetch("GET", url)
    assert (back.status, back.body) == (200, data)
    assert back.headers["Content-Type"] == "audio/wav"
    assert api.sandbox.leaks == ()


async def test_upload_refusals(api: Api) -> None:
    body = {"key": "a.png", "contentType": "image/png", "contentLength": 4, "expiresIn": 60}
    url = (await api.post(PERMIT, body)).data["uploadUrl"]
    right = {"Content-Type": "image/png"}

    async def put(data: object = b"1234", to: str = url, **headers: str) -> int:
        sent = {**right, **{key.replace("_", "-"): value for key, value in headers.items()}}
        return (await api.fetch("PUT", to, data=data, headers=sent)).status

    assert await put(Content_Type="image/jpeg") == 403
    assert await put(b"12345") == 403
    assert await put(to=url[:-1] + ("0" if url[-1] != "0" else "1")) == 403
    assert await put(to=url.replace("a.png", "b.png")) == 403
    assert await put() == 200

    async def chunks() -> object:
        yield b"1234"

    assert await put(chunks()) == 411
    assert not api.sandbox.leaks
    assert await put(Authorization="Bearer sandbox-key") == 403
    leaks = [(leak.method, leak.path.rsplit("/", 1)[1]) for leak in api.sandbox.leaks]
    assert leaks == [("PUT", "a.png")]
    assert "sandbox-key" not in repr(api.sandbox.leaks)
    api.sandbox.advance(62)
    assert await put() == 403


async def test_large_upload_is_streamed(api: Api) -> None:
    data = bytes(range(256)) * 48_000
    body = {"key": "big.bin", "contentType": "application/zip", "contentLength": len(data)}
    permit = (await api.post(PERMIT, body)).data
    headers = {"Content-Type": "application/zip"}
    put = await api.fetch("PUT", permit["uploadUrl"], data=io.BytesIO(data), headers=headers)
    assert put.status == 200
    assert (await api.fetch("GET", permit["cdnUrl"])).body == data


async def test_uploaded_objects_are_kept_three_days(api: Api) -> None:
    url = await api.upload("a.bin", b"1", "application/octet-stream")
    api.sandbox.advance(3 * 86400 + 1)
    assert (await api.fetch("GET", url)).status == 404


async def test_ranges_etag_and_head(api: Api) -> None:
    url = (await finished(api, "dubbing"))["result_url"]
    whole = await api.fetch("GET", url)
    size, etag = len(whole.body), whole.headers["ETag"]
    head = await api.fetch("HEAD", url)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(size))

    async def part(wanted: str, **more: str) -> tuple[int, bytes, str | None]:
        headers = {"Range": wanted, **{key.replace("_", "-"): value for key, value in more.items()}}
        reply = await api.fetch("GET", url, headers=headers)
        return reply.status, reply.body, reply.headers.get("Content-Range")

    assert await part("bytes=0-9") == (206, whole.body[:10], f"bytes 0-9/{size}")
    assert await part("bytes=10-") == (206, whole.body[10:], f"bytes 10-{size - 1}/{size}")
    assert (await part("bytes=-5"))[:2] == (206, whole.body[-5:])
    assert await part(f"bytes={size}-") == (416, b"", f"bytes */{size}")
    assert (await part("bytes=5-", If_Range=etag))[0] == 206
    assert (await part("bytes=5-", If_Range='"other"'))[:2] == (200, whole.body)
    assert (await part("bytes=0-1,4-5"))[0] == 200


async def test_results_expire_and_are_signed_again(api: Api) -> None:
    record = await finished(api, "dubbing")
    url = record["result_url"]
    assert (await api.fetch("GET", url)).status == 200
    assert (await api.fetch("GET", url.replace("Expires=1", "Expires=2"))).status == 403
    assert (await api.fetch("GET", url.split("?")[0])).status == 403
    api.sandbox.advance(3 * 86400 + 2)
    expired = await api.fetch("GET", url)
    assert expired.status == 403
    assert b"<Error>" in expired.body
    fresh = (await api.detail("dubbing", record["_id"])).data["result_url"]
    assert fresh != url
    assert (await api.fetch("GET", fresh)).status == 200


@pytest.mark.sandbox(speed=600, result_life=600, durations={"dubbing": 1})
async def test_result_life_is_sped_up_too(api: Api) -> None:
    record = await finished(api, "dubbing")
    expires = int(record["result_url"].split("Expires=")[1].split("&")[0])
    assert expires - (time.time() + 100) <= 2


async def test_storage_knows_nothing_else(api: Api) -> None:
    for path in ("/", "/cdn/x", "/results/dubbing/x.mp3", "/upload/x", "/results"):
        assert (await api.fetch("GET", api.sandbox.storage_url + path)).status in {403, 404}
    record = await finished(api, "dubbing")
    await api.send("DELETE", f"/api/v1/userDubbing/{record['_id']}")
    assert (await api.fetch("GET", record["result_url"])).status in {403, 404}


@pytest.mark.parametrize(
    "made_with",
    [
        pytest.param(name, marks=pytest.mark.sandbox(make_results=name))
        for name in (("pyav", "stdlib") if HAS_AV else ("stdlib",))
    ],
)
@pytest.mark.parametrize("is_own", [True, False])
async def test_results_decode(api: Api, made_with: str, is_own: bool, tmp_path: Path) -> None:
    await _check_results(api, made_with, is_own, tmp_path)


async def _check_results(api: Api, made_with: str, is_own: bool, tmp_path: Path) -> None:
    assert api.sandbox.results_made_with == made_with
    speech = image = clip = "https://example.com/file"
    if is_own:
        speech = await api.upload("a.wav", media.speech().read_bytes(), "audio/wav")
        image = await api.upload("a.png", media.portrait().read_bytes(), "image/png")
        clip = await api.upload("a.mp4", media.clip().read_bytes(), "video/mp4")
    spoken = check_media(media.speech()).seconds or 0
    for kind, inputs, form, seconds in (
        ("dubbing", {"source_url": speech}, "audio", spoken if is_own else 3),
        ("talking_video", {"video_url": clip, "audio_url": speech, "duration": 4}, "video", 4),
        ("image_to_video", {"image_url": image}, "video", 5),
    ):
        started = await api.start(kind, **inputs)
        api.sandbox.advance(1000)
        record = (await api.detail(kind, started["_id"])).data
        reply = await api.fetch("GET", record["result_url"])
        assert reply.headers["X-Sandbox-Made-With"] == made_with
        assert reply.headers["Content-Type"].startswith(form)
        path = tmp_path / kind
        path.write_bytes(reply.body)
        checked = check_media(path)
        assert checked.ok, checked
        assert (checked.kind, checked.how) == (form, HOW)
        assert checked.seconds == pytest.approx(seconds, abs=0.2)
        assert reply.body not in {media.speech().read_bytes(), media.clip().read_bytes()}
        assert reply.headers["ETag"] != ""
        if form == "video" and HAS_AV:
            _frames_differ(path, sound=made_with == "pyav" and kind == "talking_video")
        if kind == "dubbing":
            assert record["duration"] == (round(spoken) if is_own else 51)


def _frames_differ(path: Path, *, sound: bool) -> None:
    import av

    with av.open(str(path)) as file:
        assert bool(file.streams.audio) == sound
        frames = [bytes(frame.planes[0]) for frame in file.decode(video=0)]
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert max(stream.width, stream.height) <= 640
    assert len(set(frames)) > len(frames) * 0.9


async def test_a_result_can_be_an_input(api: Api) -> None:
    image = await api.upload("a.png", media.portrait().read_bytes(), "image/png")
    first = await api.start("image_to_video", image_url=image)
    api.sandbox.advance(1000)
    video = (await api.detail("image_to_video", first["_id"])).data["result_url"]
    second = await api.start("talking_video", video_url=video)
    api.sandbox.advance(1000)
    record = (await api.detail("talking_video", second["_id"])).data
    assert (await api.fetch("GET", record["result_url"])).status == 200


async def test_an_input_that_was_never_uploaded_fails_the_task(api: Api) -> None:
    record = await api.start("dubbing", source_url=f"{api.sandbox.storage_url}/cdn/nothing.wav")
    api.sandbox.advance(1000)
    assert "source_url" in (await api.detail("dubbing", record["_id"])).data["faild_message"]


async def test_broken_sources_give_a_stand_in(api: Api) -> None:
    url = await api.upload("a.wav", b"RIFF no sound", "audio/wav")
    record = await api.start("dubbing", source_url=url)
    api.sandbox.advance(1000)
    done = (await api.detail("dubbing", record["_id"])).data
    assert done["duration"] == 51
    assert (await api.fetch("GET", done["result_url"])).status == 200


async def test_equal_jobs_share_the_work_and_outputs_differ(api: Api) -> None:
    same = [await api.start("image_to_video") for _ in range(5)]
    several = await api.start("image_to_video", number_of_images=2)
    api.sandbox.advance(1000)

    async def etag(task_id: str) -> str:
        record = (await api.detail("image_to_video", task_id)).data
        return (await api.fetch("GET", record["result_url"])).headers["ETag"]

    tags = await asyncio.gather(*(etag(record["_id"]) for record in same + several))
    assert len(set(tags[:5])) == 1
    assert len(set(tags[5:])) == 2


async def test_uploads_and_downloads_that_clients_leave(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"key": "a.bin", "contentType": "a/b", "contentLength": 2_000_000}
    permit = (await api.post(PERMIT, body)).data
    host, port = api.sandbox.storage_url.removeprefix("http://").split(":")
    target = permit["uploadUrl"].removeprefix(api.sandbox.storage_url)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\n".encode())
    writer.write(b"Content-Length: 2000000\r\n\r\n" + bytes(700_000))
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    assert (await api.fetch("GET", permit["cdnUrl"])).status == 404
    data = io.BytesIO(bytes(2_000_000))
    headers = {"Content-Type": "a/b"}
    assert (await api.fetch("PUT", permit["uploadUrl"], data=data, headers=headers)).status == 200
    for _ in range(3):
        async with api.http.get(permit["cdnUrl"]) as answer:
            await answer.content.readany()
            answer.close()
    await asyncio.sleep(0.05)
    assert not caplog.records
