"""End to end: from a local file to a result on disk, for every kind and form of input."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import InvalidInput, TaskFailed
from a2e_async.models import Output, Status
from a2e_async.sandbox import Sandbox, media

from .conftest import DUB, KEY, MOVE, STARTS, TALK, MakeClient, paid

LOCAL: dict[str, tuple[str, Path, dict[str, Any]]] = {
    "dubbing": ("source_url", media.speech(), {"target_lang": "es"}),
    "talking_video": (
        "video_url",
        media.clip(),
        {"audio_url": media.speech(), "prompt": "smile", "negative_prompt": "blurry"},
    ),
    "image_to_video": (
        "image_url",
        media.portrait(),
        {"prompt": "wave", "negative_prompt": "blurry"},
    ),
}
FORMS = {"path": lambda p: p, "str": str, "bytes": Path.read_bytes}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", LOCAL)
async def test_local_file_to_result(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path, kind: str, form: str
) -> None:
    """A local medium in any form becomes a saved result; the key never leaves for storage."""
    field, path, more = LOCAL[kind]
    task = await a2e.kind(kind).start(**{field: FORMS[form](path)}, **more)
    assert task.ref == f"{kind}:{task.ids[0]}"
    assert task.status is Status.QUEUED
    record = await task.wait(timeout=20)
    assert record.status is Status.SUCCEEDED
    assert record.name is None
    coins = None if kind == "dubbing" else paid(sandbox)[0].coins  # which reports no coins
    assert record.coins == task.coins == coins
    assert record.created_at is not None
    assert record.failure is None
    saved = await task.download(tmp_path / "new" / "out")
    assert len(saved) == 1
    assert saved[0].stat().st_size > 100
    assert saved[0].read_bytes() == await record.output.read()
    local = 2 if kind == "talking_video" else 1
    assert sandbox.transfers["upload"] == sandbox.calls["presign", ""] == local
    assert paid(sandbox)[0].body[field].startswith(sandbox.storage_url)
    assert sandbox.leaks == ()
    assert not list(saved[0].parent.glob("*.part"))


async def test_record_fields(a2e: A2E, sandbox: Sandbox) -> None:
    """A record has the kind's own fields, and keeps under extra what is not modelled."""
    record = await a2e.dubbing.run(**DUB, name="my talk", num_speakers=2)
    assert (record.name, record.target_lang, record.num_speakers) == ("my talk", "es", 2)
    assert (record.source_url, record.source_lang) == (DUB["source_url"], "auto")
    assert (record.duration, record.drop_background_audio) == (51, False)
    assert record.raw_status == "completed"
    assert record.updated_at is not None
    assert record.output.media == "audio"
    assert record.output.expires_at is not None
    assert record.parts == (record,)
    again = await a2e.dubbing.get(record.id)
    assert again == record
    assert sandbox.tasks[0].body["name"] == "my talk"


async def test_output_as_input(a2e: A2E, sandbox: Sandbox) -> None:
    """One task's output goes into another as it is, without a transfer."""
    moved = await a2e.image_to_video.run(**MOVE)
    talk = await a2e.talking_video.run(
        video_url=moved.output, prompt="smile", negative_prompt="blurry"
    )
    assert talk.status is Status.SUCCEEDED
    assert paid(sandbox)[1].body["video_url"] == moved.output.url
    dub = await a2e.dubbing.start(source_url=talk.output, target_lang="de")
    assert (await dub).status is Status.SUCCEEDED
    assert sandbox.transfers["upload"] == 0
    assert sandbox.leaks == ()


async def test_expired_output_as_input(a2e: A2E, sandbox: Sandbox) -> None:
    """An output with an expired URL is renewed before it is used in a start."""
    moved = await a2e.image_to_video.run(**MOVE)
    stale = moved.output
    stale.expires_at = moved.created_at
    details = sandbox.calls["detail", "image_to_video"]
    await a2e.dubbing.start(source_url=stale, target_lang="de")
    assert sandbox.calls["detail", "image_to_video"] == details + 1
    assert paid(sandbox)[1].body["source_url"].startswith(sandbox.storage_url)


async def test_several_outputs(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """One start of three tasks gives one handle, one record, three files side by side."""
    task = await a2e.image_to_video.start(**MOVE, number_of_images=3, name="three")
    assert len(task.ids) == 3
    assert task.ref == "image_to_video:" + "+".join(task.ids)
    record = await task
    assert record.status is Status.SUCCEEDED
    assert record.id == "+".join(task.ids)
    assert [part.id for part in record.parts] == list(task.ids)
    assert len(record.outputs) == 3
    assert record.coins == paid(sandbox)[0].coins == 90
    with pytest.raises(InvalidInput, match="3 outputs"):
        _ = record.output
    saved = await task.download(tmp_path)
    assert len({path.name for path in saved}) == 3
    assert [p.read_bytes() for p in saved] == [await o.read() for o in record.outputs]
    assert len(paid(sandbox)) == 1


async def test_part_failed(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """When one of several parts fails the error keeps the good outputs, which can be saved."""
    sandbox.faults.fail("image_to_video", "too blurry", "77")
    task = await a2e.image_to_video.start(**MOVE, number_of_images=3)
    with pytest.raises(TaskFailed, match="too blurry") as caught:
        await task.wait(timeout=20)
    error = caught.value
    assert error.task is task
    assert error.ref == task.ref
    assert error.record.failure is not None
    assert error.record.failure.code == "77"
    assert "2 good outputs" in str(error)
    assert task.done
    for output in error.record.outputs:
        assert (await output.save(f"{tmp_path}/")).stat().st_size > 0
    assert len(list(tmp_path.iterdir())) == 2
    assert [p.status for p in error.record.parts].count(Status.FAILED) == 1


async def test_failed(a2e: A2E, sandbox: Sandbox) -> None:
    """A failed task raises the service's reason on each await, without a poll."""
    sandbox.faults.fail("talking_video", "no speech found", "31")
    task = await a2e.talking_video.start(**TALK)
    with pytest.raises(TaskFailed, match=r"no speech found \(code 31\)"):
        await task
    calls = sandbox.calls_total
    with pytest.raises(TaskFailed):
        await task
    assert sandbox.calls_total == calls


async def test_attach(a2e: A2E, make_client: MakeClient, sandbox: Sandbox) -> None:
    """A ref brings a task back in another client, without a request until it is awaited."""
    one = await a2e.dubbing.start(**DUB)
    many = await a2e.image_to_video.start(**MOVE, number_of_images=2)
    other = make_client()
    calls = sandbox.calls_total
    tasks = [other.attach(one.ref), other.attach(many.ref)]
    tasks += [other.dubbing.attach(one.ids[0]), other.image_to_video.attach("+".join(many.ids))]
    assert [t.ref for t in tasks] == [one.ref, many.ref] * 2
    assert all(t.record is None and t.status is None and not t.done for t in tasks)
    assert sandbox.calls_total == calls
    records = await asyncio.gather(*tasks)
    assert [len(r.outputs) for r in records] == [1, 2, 1, 2]


async def test_lists(a2e: A2E, sandbox: Sandbox) -> None:
    """list, iter, get and get_many show the same records, newest first; delete removes one."""
    tasks = [await a2e.talking_video.start(**TALK, name=f"n{n}") for n in range(5)]
    await asyncio.gather(*tasks)
    ids = [task.ids[0] for task in reversed(tasks)]
    page = await a2e.talking_video.list(page=2, page_size=2)
    assert page.total == 5
    assert [r.id for r in page] == ids[2:4]
    assert [r.id async for r in a2e.talking_video.iter(page_size=2)] == ids
    assert [r.id async for r in a2e.talking_video.iter()] == ids
    many = await a2e.talking_video.get_many([*ids, "f" * 24])
    assert list(many) == ids
    assert (await a2e.talking_video.get(ids[0])).name == "n4"
    await a2e.talking_video.delete(ids[0])
    await tasks[0].delete()
    assert [t.id for t in sandbox.tasks] == ids[1:4][::-1]
    with pytest.raises(InvalidInput, match="batchDetail"):
        await a2e.dubbing.get_many(ids)


async def test_processing(a2e: A2E, sandbox: Sandbox) -> None:
    """Running tasks can be listed where the service has such a list."""
    sandbox.faults.stuck("dubbing")
    task = await a2e.dubbing.start(**DUB)
    done = await a2e.dubbing.start(**DUB)
    await done
    assert [record.id for record in await a2e.dubbing.processing()] == list(task.ids)
    with pytest.raises(InvalidInput, match="no processing list"):
        await a2e.talking_video.processing()


async def test_list_shapes(a2e: A2E, sandbox: Sandbox) -> None:
    """Lists are read in each shape that the service may use."""
    await a2e.dubbing.start(**DUB)
    for shape in ("bare", "nested"):
        sandbox.faults.data_shape(shape, "list")
        assert len(await a2e.dubbing.list()) == 1


@pytest.mark.parametrize("shape", ["list", "nested", "bare"])
async def test_start_shapes(a2e: A2E, sandbox: Sandbox, shape: Any) -> None:
    """A start's response is read in each shape that the service may use."""
    sandbox.faults.data_shape(shape, "start")
    task = await a2e.dubbing.start(**DUB)
    assert task.ids == paid(sandbox)[0].ids


@pytest.mark.parametrize("kind", STARTS)
async def test_quote(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """A quote is what a start then costs, and costs nothing itself."""
    price = await a2e.kind(kind).quote(**STARTS[kind])
    assert sandbox.ledger.charges == ()
    task = await a2e.kind(kind).start(**STARTS[kind])
    assert price == paid(sandbox)[0].coins
    assert task.coins in (price, None)


async def test_quote_local_file(a2e: A2E, sandbox: Sandbox) -> None:
    """A quote for a local file uploads nothing."""
    assert await a2e.dubbing.quote(source_url=media.speech(), target_lang="es")
    assert sandbox.ledger.charges == ()
    assert sandbox.transfers["upload"] == 0


async def test_credits(a2e: A2E, sandbox: Sandbox) -> None:
    """Balance and history agree with what was charged."""
    assert (await a2e.credits.balance()).coins == sandbox.balance
    task = await a2e.talking_video.start(**TALK)
    left = (await a2e.credits.balance()).coins
    assert left == sandbox.balance - (task.coins or 0) == sandbox.ledger.balance
    spent = await a2e.credits.history(spending=True)
    assert [t.coins for t in spent] == [-(task.coins or 0)]
    assert len(await a2e.credits.history()) == 2
    assert [t.coins async for t in a2e.credits.iter_history(spending=False)] == [sandbox.balance]
    assert await a2e.credits.quote("/api/v1/talkingVideo/start", TALK) == task.coins


async def test_same_content_presigned_once(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """The same content is uploaded once, whatever its name, also concurrently."""
    twin = tmp_path / "twin.wav"
    twin.write_bytes(media.speech().read_bytes())
    sources = [media.speech(), twin, twin.read_bytes(), str(twin)] * 3
    tasks = await asyncio.gather(
        *(a2e.dubbing.start(source_url=s, target_lang="es") for s in sources)
    )
    assert len({t.ref for t in tasks}) == 12
    assert await a2e.files.upload(twin) == paid(sandbox)[0].body["source_url"]
    assert sandbox.calls["presign", ""] == sandbox.transfers["upload"] == 1
    assert [c.kind for c in sandbox.ledger.charges].count("presign") == 1


async def test_files(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """An upload can be fetched again by its URL, to a file and into a directory."""
    url = await a2e.files.upload(media.portrait())
    path = await a2e.files.download(url, tmp_path / "a.png")
    assert path.read_bytes() == media.portrait().read_bytes()
    assert (await a2e.files.download(url, f"{tmp_path}/")).parent == tmp_path
    assert sandbox.leaks == ()


async def test_unpickled_output(a2e: A2E, tmp_path: Path) -> None:
    """An output that was unpickled is bound again by the client's files."""
    import pickle

    output = (await a2e.dubbing.run(**DUB)).output
    lone: Output = pickle.loads(pickle.dumps(output))
    with pytest.raises(InvalidInput, match="belongs to no client"):
        await lone.save(tmp_path / "a.wav")
    assert (await a2e.files.download(lone, tmp_path / "a.wav")).stat().st_size > 0


async def test_open_chunks(a2e: A2E) -> None:
    """An output can be read in chunks, and raises when it is larger than allowed."""
    output = (await a2e.dubbing.run(**DUB)).output
    async with output.open() as chunks:
        data = b"".join([chunk async for chunk in chunks])
    assert data == await output.read()


EXTENSION = {"reference_id": "r1", "prompt": "a cat", "negative_prompt": "dogs"}


async def test_prompt_extension(a2e: A2E, sandbox: Sandbox) -> None:
    """A prompt is extended, plainly and word by word, with the same result."""
    image = media.portrait()
    plain = await a2e.image_to_video.extend_prompt(image_url=image, **EXTENSION)
    assert plain.prompt.startswith("a cat, ")
    assert "jitter" in (plain.negative_prompt or "")
    async with a2e.image_to_video.stream_prompt(image_url=image, **EXTENSION) as events:
        seen = [event async for event in events]
    assert seen[-1].result == plain
    assert seen[-2].text.strip() == plain.prompt
    both = await a2e.image_to_video.extend_prompt(image_url=image, end_image_url=image, **EXTENSION)
    assert "last frame" in both.prompt
    assert sandbox.calls["presign", ""] == 1
    with pytest.raises(InvalidInput, match="shot_count"):
        await a2e.image_to_video.extend_prompt(
            image_url=image, end_image_url=image, shot_count=2, **EXTENSION
        )


async def test_stream_left_early(a2e: A2E) -> None:
    """A stream of which only the beginning is read leaves the client usable."""
    async with a2e.image_to_video.stream_prompt(image_url=MOVE["image_url"], **EXTENSION) as events:
        async for event in events:
            assert event.text
            break
    assert await a2e.credits.balance()


async def test_marks_and_hints(a2e: A2E, sandbox: Sandbox) -> None:
    """The helpers of image_to_video reach the service."""
    task = await a2e.image_to_video.start(**MOVE)
    await a2e.image_to_video.mark_shared(task.ids[0])
    await a2e.image_to_video.mark_downloaded(task.ids[0])
    await a2e.image_to_video.mark_copied(task.ids[0])
    assert sandbox.tasks[0].marks == {"markShared", "markDownloaded", "markCopied"}
    assert await a2e.image_to_video.avg_processing_time() == 90
    assert await a2e.image_to_video.unlimited_queue_level() == {"level": 0}


async def test_with_options(a2e: A2E, sandbox: Sandbox) -> None:
    """Other options share everything else: tasks, keys, closing."""
    from a2e_async._core.http.rate_limit import Priority

    quick = a2e.with_options(request_timeout=5, start_timeout=7, priority=Priority.LIST)
    task = await quick.dubbing.start(**DUB, key="k")
    assert (await a2e.dubbing.start(**DUB, key="k")) is task
    assert (await quick.credits.balance()).coins < sandbox.balance
    await task
    await quick.aclose()
    assert a2e.closed


async def test_meta_and_extra(a2e: A2E, sandbox: Sandbox) -> None:
    """meta comes back with the task and is not sent; extra is sent as it is."""
    task = await a2e.dubbing.start(**DUB, meta={"row": 7}, extra={"model": "new-one"})
    assert task.meta == {"row": 7}
    body = paid(sandbox)[0].body
    assert body["model"] == "new-one"
    assert "row" not in json.dumps(dict(body))
    assert KEY not in json.dumps(dict(body))


async def test_sound_under_the_name_of_a_video(a2e: A2E, tmp_path: Path) -> None:
    """The file gets the suffix of what it is, and the path that is returned says so."""
    record = await a2e.dubbing.run(**DUB)
    assert await record.output.save(tmp_path / "a.mp4") == tmp_path / "a.wav"
    assert await record.output.save(tmp_path / "b.mp3") == tmp_path / "b.mp3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.mp3"]
