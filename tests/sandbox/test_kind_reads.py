"""Details, lists, actions and failures of single kinds."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from a2e_async.sandbox import Sandbox, check_media
from a2e_async.sandbox._core.kinds.registry import KINDS
from a2e_async.sandbox._core.results.samples import write_clip
from a2e_async.sandbox.media import clip, portrait, speech

from .bodies import BODIES, IMAGE, OTHER_IMAGE, STARTS, VIDEO
from .conftest import Api
from .task_helpers import ALL, UNKNOWN, download, listed, path_of, read_record, rows_of, start_one

pytestmark = pytest.mark.anyio


async def test_avatar_video_counts_to_a_hundred(api: Api) -> None:
    task_id = (await start_one(api, "avatar_video"))["_id"]
    counted = []
    for _ in range(10):
        counted.append((await read_record(api, "avatar_video", task_id))["process"])
        api.sandbox.advance(10)
    counted.append((await read_record(api, "avatar_video", task_id))["process"])
    assert counted == [*range(0, 100, 10), 100]
    assert (await api.get(f"/api/v1/video/detail?video_id={UNKNOWN}")).status == 404
    assert (await api.get("/api/v1/video/detail?video_id=x")).status == 400
    assert (await api.get("/api/v1/video/detail")).status == 400


async def test_veo_has_no_current_status(api: Api) -> None:
    record = await start_one(api, "veo")
    assert record["state"] == "waiting"
    assert "current_status" not in record


async def test_preview_detail_is_an_array(api: Api) -> None:
    task_id = (await start_one(api, "face_swap_preview"))["_id"]
    path = "/api/v1/userFaceSwapPreview/status"
    (record,) = (await api.get(f"{path}?_id={task_id}")).data
    assert record["_id"] == task_id
    assert (await api.get(f"{path}?_id={UNKNOWN}")).data == []
    assert (await api.get(f"{path}?_id=x")).status == 400
    assert (await api.get(path)).status == 400


async def test_text_to_image_detail_answers_unless_a_fault_is_ordered(api: Api) -> None:
    task_id = (await start_one(api, "text_to_image"))["_id"]
    path = path_of("text_to_image", "detail", task_id)
    assert {(await api.get(path)).status for _ in range(9)} == {200}
    api.sandbox.faults.detail_refused(404, "text_to_image", times=9)
    assert 200 not in {(await api.get(path)).status for _ in range(9)}
    for _ in range(9):
        assert rows_of(await listed(api, "text_to_image"))[0]["_id"] == task_id
        batch = await api.post(path_of("text_to_image", "batch_detail"), {"ids": [task_id]})
        assert batch.data[0]["_id"] == task_id


async def test_face_swap_status_lists_what_runs(api: Api) -> None:
    first = (await start_one(api, "face_swap"))["_id"]
    api.sandbox.advance(60)
    second = (await start_one(api, "face_swap"))["_id"]
    path = "/api/v1/userFaceSwapTask/status"
    assert [row["_id"] for row in (await api.get(path)).data] == [second, first]
    api.sandbox.advance(50)
    assert [row["_id"] for row in (await api.get(path)).data] == [second]


@pytest.mark.parametrize("kind", ["nano_banana", "flux2", "video_twin"])
async def test_status_filter(api: Api, kind: str) -> None:
    done = (await start_one(api, kind))["_id"]
    api.sandbox.advance(100)
    running = (await start_one(api, kind))["_id"]
    api.sandbox.advance(30)
    query = "?pageNum=1&pageSize=10&status="
    word = "processing"
    assert [row["_id"] for row in rows_of(await listed(api, kind, query + word))] == [running]
    found = await listed(api, kind, f"{query}completed")
    assert [row["_id"] for row in rows_of(found)] == [done]
    assert next(value for value in found.values() if isinstance(value, int)) == 1
    assert (await api.get(path_of(kind, "list") + f"{query}gone")).status == 400


async def test_voice_lists(api: Api) -> None:
    voice = (await start_one(api, "voice_clone"))["_id"]
    training, completed = (path_of("voice_clone", name) for name in ("processing", "list"))
    assert [row["_id"] for row in (await api.get(training)).data] == [voice]
    assert (await api.get(completed)).data == []
    api.sandbox.advance(20)
    assert (await api.get(training)).data[0]["current_status"] == "pendding"
    api.sandbox.advance(100)
    assert [row["_id"] for row in (await api.get(completed)).data] == [voice]
    api.sandbox.advance(30 * 86400)
    assert [row["_id"] for row in (await api.get(completed)).data] == [voice]


async def test_one_voice_at_a_time(api: Api) -> None:
    await start_one(api, "voice_clone")
    reply = await api.post(STARTS["voice_clone"], BODIES["voice_clone"])
    assert reply.status == 400
    assert len(api.sandbox.ledger.charges) == 1
    api.sandbox.advance(100)
    await start_one(api, "voice_clone")
    assert len(api.sandbox.ledger.starts("voice_clone")) == 2


async def test_seedance_has_a_list_only(api: Api) -> None:
    task_id = (await start_one(api, "seedance"))["_id"]
    assert (await api.get(f"/api/v1/seedanceVideo/{task_id}")).status == 404
    assert rows_of(await listed(api, "seedance"))[0]["_id"] == task_id


async def test_flux2_is_kept_longer(api: Api) -> None:
    await start_one(api, "flux2")
    await start_one(api, "gpt_image")
    api.sandbox.advance(5 * 86400)
    (record,) = rows_of(await listed(api, "flux2", ""))
    assert rows_of(await listed(api, "gpt_image", "")) == []
    assert (await api.fetch("GET", record["image_urls"][0])).status == 200
    api.sandbox.advance(3 * 86400)
    assert rows_of(await listed(api, "flux2", "")) == []


async def test_face_swap_shows_a_code_when_nothing_failed(api: Api) -> None:
    record = await start_one(api, "face_swap")
    assert (record["error_code"], record["faild_message"]) == ("0", None)
    assert record["duration"] > 0


# Actions


@pytest.mark.parametrize("kind", ["seedance2", "kling_video", "kling_omni", "voice_clone"])
async def test_rename(api: Api, kind: str) -> None:
    record = await start_one(api, kind)
    path = path_of(kind, "rename", record["_id"])
    assert (await api.send("PUT", path, json={"name": "other"})).status == 200
    assert (await api.send("PUT", path, json={})).status == 400
    unknown = path_of(kind, "rename", UNKNOWN)
    assert (await api.send("PUT", unknown, json={"name": "x"})).status == 404
    renamed = (await api.get(path_of(kind, "detail", record["_id"]))).data
    assert renamed == {**record, "name": "other"}


async def _fail(api: Api, kind: str) -> str:
    api.sandbox.faults.fail(kind)
    task_id = str((await start_one(api, kind))["_id"])
    api.sandbox.advance(100)
    return task_id


async def test_caption_removal_retry_is_a_new_task(api: Api) -> None:
    path = "/api/v1/userCaptionRemoval/retry"
    failed = await _fail(api, "caption_removal")
    again = (await api.post(path, {"_id": failed})).data
    assert again["_id"] != failed
    assert again["source_url"] == VIDEO
    charges = api.sandbox.ledger.starts("caption_removal")
    assert [charge.ids for charge in charges] == [(failed,), (again["_id"],)]
    assert charges[0].coins == charges[1].coins
    assert (await api.post(path, {"_id": again["_id"]})).status == 400
    assert (await api.post(path, {"_id": UNKNOWN})).status == 404
    assert (await api.post(path, {})).status == 400
    assert (await api.post(path)).status == 400
    api.sandbox.advance(100)
    assert (await read_record(api, "caption_removal", again["_id"]))["result_url"]


async def test_twin_retry_is_the_same_task(api: Api) -> None:
    path = "/api/v1/userVideoTwin/retry"
    failed = await _fail(api, "video_twin")
    assert (await read_record(api, "video_twin", failed))["anchor_id"] == ""
    again = (await api.post(path, {"_id": failed})).data
    assert (again["_id"], again["current_status"]) == (failed, "initialized")
    assert [charge.ids for charge in api.sandbox.ledger.charges] == [(failed,)] * 2
    assert (await api.post(path, {"_id": failed})).status == 400
    api.sandbox.advance(100)
    assert (await read_record(api, "video_twin", failed))["anchor_id"]


@pytest.mark.parametrize(
    ("name", "word", "coins"),
    [("continueTraining", "training", 0), ("eyeContact", "processing", 30)],
)
async def test_a_finished_twin_works_on(api: Api, name: str, word: str, coins: int) -> None:
    path = f"/api/v1/userVideoTwin/{name}"
    task_id = (await start_one(api, "video_twin"))["_id"]
    assert (await api.post(path, {"_id": task_id})).status == 400
    api.sandbox.advance(100)
    done = await read_record(api, "video_twin", task_id)
    assert done["anchor_id"]
    spent = api.sandbox.ledger.spent
    again = (await api.post(path, {"_id": task_id})).data
    assert (again["current_status"], again["anchor_id"]) == (word, done["anchor_id"])
    assert api.sandbox.ledger.spent == spent + coins
    api.sandbox.advance(50)
    assert (await read_record(api, "video_twin", task_id))["current_status"] == word
    api.sandbox.advance(50)
    ended = await read_record(api, "video_twin", task_id)
    assert (ended["current_status"], ended["anchor_id"]) == ("completed", done["anchor_id"])
    assert (await api.post(path, {"_id": UNKNOWN})).status == 404
    assert (await api.post(path, {})).status == 400


async def test_twin_lists_and_the_undocumented_start(api: Api) -> None:
    reply = await api.post("/api/v1/userVideoTwin/training", {"image_url": IMAGE})
    record = rows_of(reply.data if isinstance(reply.data, list) else [reply.data])[0]
    assert (await api.post("/api/v1/userVideoTwin/training", {})).status == 400
    assert (await api.post("/api/v1/userVideoTwin/training")).status == 400
    for name in ("trainingRecords", "userRecords"):
        rows = (await api.get(f"/api/v1/userVideoTwin/{name}")).data
        assert [row["_id"] for row in rows] == [record["_id"]]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("auto", marks=pytest.mark.sandbox(make_results="auto")),
        pytest.param("stdlib", marks=pytest.mark.sandbox(make_results="stdlib")),
    ],
)
async def test_larger_veo_file(api: Api, how: str, tmp_path: Path) -> None:
    assert api.sandbox.make_results == how
    task_id = (await start_one(api, "veo", aspectRatio="16:9"))["_id"]
    path = f"/api/v1/veoVideo/{task_id}/1080p"
    waiting = await api.get(path)
    assert (waiting.status, waiting.json["code"], waiting.data) == (202, 0, None)
    api.sandbox.advance(129)
    assert (await api.get(path)).status == 202
    api.sandbox.advance(1)
    larger = (await api.get(path)).data["video_output"]
    usual = (await read_record(api, "veo", task_id))["video_output"]
    assert (await download(api, larger, tmp_path)).kind == "video"
    bodies = [(await api.fetch("GET", url)).body for url in (larger, usual)]
    assert len(bodies[0]) > len(bodies[1])
    other = (await start_one(api, "veo", aspectRatio="9:16"))["_id"]
    assert (await api.get(f"/api/v1/veoVideo/{other}/1080p")).status == 400
    assert (await api.get(f"/api/v1/veoVideo/{UNKNOWN}/1080p")).status == 404
    failed = await _fail(api, "veo")
    assert (await api.get(f"/api/v1/veoVideo/{failed}/1080p")).status == 400


# Endings


@pytest.mark.sandbox(durations={"product_avatar": 9000})
async def test_product_avatar_gives_up(api: Api) -> None:
    task_id = (await start_one(api, "product_avatar"))["_id"]
    api.sandbox.faults.stuck("product_avatar")
    stuck = (await start_one(api, "product_avatar"))["_id"]
    api.sandbox.advance(7199)
    assert (await read_record(api, "product_avatar", task_id))["current_status"] == "processing"
    api.sandbox.advance(1)
    for item in (task_id, stuck):
        record = await read_record(api, "product_avatar", item)
        assert record["current_status"] == "failed"
        assert record["failed_message"]
    assert api.sandbox.ledger.spent == 0


@pytest.mark.sandbox(durations={})
async def test_avatar_video_takes_five_times_its_length(api: Api) -> None:
    data = speech().read_bytes()
    url = await api.upload("speech.wav", data, "audio/wav")
    seconds = check_media(speech()).seconds
    assert seconds is not None
    for _ in range(200):
        await start_one(api, "avatar_video", audioSrc=url)
    took = sorted(view.ends_at - view.created_at for view in api.sandbox.tasks)
    assert 0.7 < math.exp(math.log(took[100]) - math.log(5 * seconds)) < 1.4


async def test_head_swap_target_is_at_most_15_seconds(api: Api, tmp_path: Path) -> None:
    for seconds, status in ((14, 200), (16, 400)):
        write_clip(tmp_path / "clip.mp4", seconds, b"seed")
        url = await api.upload("clip.mp4", (tmp_path / "clip.mp4").read_bytes(), "video/mp4")
        body = {**BODIES["head_swap"], "target_image_url": url}
        reply = await api.post(STARTS["head_swap"], body)
        assert reply.status == status
    api.sandbox.advance(100)
    (task,) = api.sandbox.tasks
    record = await read_record(api, "head_swap", task.id)
    assert (await download(api, record["result_url"], tmp_path)).kind == "video"


@pytest.mark.parametrize("kind", ["upscale", "face_swap"])
async def test_results_follow_the_type_of_their_source(api: Api, kind: str, tmp_path: Path) -> None:
    name = KINDS[kind].media_inputs[0]
    image = await api.upload("noname", portrait().read_bytes(), "image/png")
    video = await api.upload("clip.mp4", clip().read_bytes(), "video/mp4")
    wanted = {image: "image", OTHER_IMAGE: "image", video: "video", VIDEO: "video"}
    ids = {
        (await start_one(api, kind, **{name: url}))["_id"]: media for url, media in wanted.items()
    }
    api.sandbox.advance(100)
    for task_id, media in ids.items():
        record = await read_record(api, kind, task_id)
        assert (await download(api, record["result_url"], tmp_path)).kind == media


async def test_a_result_can_be_the_next_input(api: Api, tmp_path: Path) -> None:
    picture = (await start_one(api, "nano_banana"))["_id"]
    api.sandbox.advance(100)
    url = (await read_record(api, "nano_banana", picture))["image_urls"][0]
    video = (await start_one(api, "wan", image_url=url))["_id"]
    missing = f"{api.sandbox.storage_url}/cdn/nothing.png"
    lost = (await start_one(api, "virtual_try_on", image_urls=[url, missing]))["_id"]
    api.sandbox.advance(100)
    found = await download(api, (await read_record(api, "wan", video))["result_url"], tmp_path)
    assert found.seconds == pytest.approx(5, abs=0.5)
    record = await read_record(api, "virtual_try_on", lost)
    assert "image_urls[1]" in record["failed_message"]


async def test_think_sound_has_sound(api: Api, tmp_path: Path) -> None:
    if api.sandbox.results_made_with != "pyav":
        pytest.skip("only PyAV writes sound into a video")
    task_id = (await start_one(api, "think_sound"))["_id"]
    api.sandbox.advance(100)
    record = await read_record(api, "think_sound", task_id)
    found = await download(api, record["result_url"], tmp_path)
    assert "audio" in found.detail


async def test_webhooks_only_where_the_kind_takes_them() -> None:
    hook = {"webhook_url": "http://127.0.0.1:9/"}
    options: dict[str, Any] = {"speed": 1, "durations": dict.fromkeys(KINDS, 1)}
    async with Sandbox(**options) as sandbox, aiohttp.ClientSession() as http:
        sandbox.faults.drop_webhook(times=None)
        api = Api(sandbox, http)
        for kind in ALL:
            record = await start_one(api, kind, **hook)
            assert "webhook_url" not in record
        sandbox.advance(10)
        async with asyncio.timeout(10):
            while len(sandbox.webhooks) < len(ALL) - 3:
                await asyncio.sleep(0.02)
        kinds = {delivery.kind for delivery in sandbox.webhooks}
    assert set(ALL) - kinds == {"face_swap_preview", "photobook", "video_twin"}


@pytest.mark.parametrize("kind", ALL)
async def test_faults_by_kind(api: Api, kind: str) -> None:
    api.sandbox.faults.stuck(kind)
    await start_one(api, kind)
    api.sandbox.advance(7000)
    (view,) = api.sandbox.tasks
    assert view.status not in {"completed", "success", "failed", "fail"}
    api.sandbox.faults.drop_after_accept(kind)
    if kind == "voice_clone":
        return
    with pytest.raises(aiohttp.ClientError):
        await api.post(STARTS[kind], BODIES[kind])
    assert len(api.sandbox.ledger.starts(kind)) == 2
