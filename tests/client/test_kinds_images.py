"""The kinds that make images: validation, request bodies, records."""

from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.tasks.parsing import read_record
from a2e_async.errors import InvalidInput, InvalidRequest, NotFound, StartOutcomeUnknown, TaskFailed
from a2e_async.kinds.photobook import PHOTOBOOK
from a2e_async.kinds.text_to_image import TEXT_TO_IMAGE, MadeAvatar
from a2e_async.sandbox import Sandbox, media
from tests.samples import FACE, Inputs

from .conftest import nothing_charged, paid
from .image_starts import COAT, PRODUCT, PROMPT, RECT

# -- what is refused ---------------------------------------------------------------------------

EDIT: dict[str, Any] = {"edit_type": "clothing", "image_urls": [FACE, COAT]}

REFUSED: list[tuple[str, Inputs, str]] = [
    ("text_to_image", {"prompt": " "}, "prompt"),
    ("text_to_image", {**PROMPT, "max_images": 9}, "max_images"),
    ("text_to_image", {**PROMPT, "max_images": 0}, "max_images"),
    ("text_to_image", {**PROMPT, "width": "1024"}, "width"),
    ("text_to_image", {**PROMPT, "aspect_ratio": "5:4"}, "aspect_ratio"),
    ("text_to_image", {**PROMPT, "input_images": FACE}, "input_images"),
    ("text_to_image", {**PROMPT, "input_images": []}, "input_images"),
    ("text_to_image", {**PROMPT, "input_images": [FACE] * 3}, "input_images"),
    ("text_to_image", {**PROMPT, "model_type": "a2e", "input_images": [FACE] * 3}, "input_images"),
    (
        "text_to_image",
        {**PROMPT, "model_type": "seedream", "input_images": [FACE] * 11},
        "input_images",
    ),
    ("text_to_image", {**PROMPT, "input_images": [FACE, 7]}, "input_images"),
    ("text_to_image", {**PROMPT, "input_images": [FACE, media.speech()]}, "input_images"),
    ("nano_banana", {**PROMPT, "model": "nano-banana", "image_size": "2K"}, "image_size"),
    ("nano_banana", {**PROMPT, "model": "nano-banana-2-lite", "image_size": "4K"}, "image_size"),
    ("nano_banana", {**PROMPT, "image_size": "8K"}, "image_size"),
    ("nano_banana", {**PROMPT, "extra": {"force_generate": True}}, "extra"),
    ("gpt_image", {"prompt": "x" * 3001}, "prompt"),
    ("gpt_image", {**PROMPT, "input_images": [FACE] * 17}, "input_images"),
    ("gpt_image", {**PROMPT, "aspect_ratio": "5:4"}, "aspect_ratio"),
    ("gpt_image", {**PROMPT, "resolution": "2K"}, "resolution"),
    ("gpt_image", {**PROMPT, "model": "gpt-image-1.5", "resolution": "4K"}, "resolution"),
    ("gpt_image", {**PROMPT, "model": "gpt-image-2", "resolution": "2K"}, "aspect_ratio"),
    (
        "gpt_image",
        {**PROMPT, "model": "gpt-image-2", "resolution": "4K", "aspect_ratio": "auto"},
        "aspect_ratio",
    ),
    ("nano_banana", {**PROMPT, "google_search": True}, "google_search"),
    (
        "nano_banana",
        {**PROMPT, "model": "nano-banana-2-lite", "google_search": True},
        "google_search",
    ),
    ("gpt_image", {**PROMPT, "aspect_ratio": "21:9"}, "aspect_ratio"),
    ("gpt_image", {**PROMPT, "model": "gpt-image-2", "quality": "high"}, "quality"),
    ("flux2", {**PROMPT, "input_images": [FACE] * 9}, "input_images"),
    ("flux2", {**PROMPT, "resolution": "4K"}, "resolution"),
    ("qwen_image", {**PROMPT, "size": "2048*2048"}, "size"),
    ("qwen_image", {**PROMPT, "model": "qwen-image-3.0", "size": "1152*2048"}, "size"),
    ("qwen_image", {**PROMPT, "model": "qwen-image-3.0-pro", "size": "1024x1024"}, "size"),
    ("kling_image", {**PROMPT, "n": 10}, "n"),
    ("kling_image", {**PROMPT, "n": True}, "n"),
    ("kling_image", {**PROMPT, "resolution": "2K"}, "resolution"),
    ("image_edit", {"edit_type": "face", "image_urls": [FACE, COAT]}, "edit_type"),
    ("image_edit", {"edit_type": "product", "image_urls": [FACE]}, "image_urls"),
    ("virtual_try_on", {"image_urls": [FACE]}, "image_urls"),
    ("virtual_try_on", {"image_urls": [FACE] * 5}, "image_urls"),
    ("virtual_try_on", {"image_urls": [FACE, COAT], "processing_limit": "60"}, "processing_limit"),
    ("virtual_try_on", {"image_urls": [FACE, COAT], "extra": {"timeout": 60}}, "extra"),
    ("product_avatar", {"image_urls": [COAT, FACE]}, "product_rect"),
    ("product_avatar", {**PRODUCT, "image_urls": [COAT, FACE, FACE]}, "image_urls"),
    ("product_avatar", {**PRODUCT, "product_rect": [1, 2, 3, 4]}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "x": "100"}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "scale": None}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "y": True}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "y": float("inf")}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "width": 0}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "height": -1}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "product_rect": {**RECT, "scale": 0}}, "product_rect"),
    ("product_avatar", {**PRODUCT, "processing_limit": 0}, "processing_limit"),
    ("image_edit", {**EDIT, "processing_limit": 0.5}, "processing_limit"),
    ("virtual_try_on", {"image_urls": [FACE, COAT], "processing_limit": -1}, "processing_limit"),
    ("text_to_image", {**PROMPT, "width": 0}, "width"),
    ("text_to_image", {**PROMPT, "height": -5}, "height"),
    ("text_to_image", {**PROMPT, "width": 10**30}, "width"),
    ("photobook", {"face_image_url": FACE, "total_count": 5}, "total_count"),
    ("photobook", {"face_image_url": media.clip()}, "face_image_url"),
]


@pytest.mark.parametrize(("kind", "inputs", "field"), REFUSED)
async def test_refused(a2e: A2E, sandbox: Sandbox, kind: str, inputs: Inputs, field: str) -> None:
    """Inputs that the service would refuse, or charge for and ignore, are refused locally."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.kind(kind).start(**inputs)
    assert caught.value.field == field
    assert nothing_charged(sandbox)


ALLOWED: list[tuple[str, Inputs]] = [
    ("text_to_image", {**PROMPT, "model_type": "newer", "input_images": [FACE] * 10}),
    ("text_to_image", {**PROMPT, "input_images": [FACE] * 2, "aspect_ratio": "1:1"}),
    ("nano_banana", {**PROMPT, "model": "newer", "image_size": "4K"}),
    (
        "nano_banana",
        {**PROMPT, "model": "nano-banana-2", "image_size": "4K", "google_search": True},
    ),
    ("nano_banana", {**PROMPT, "image_size": "4K", "google_search": False}),
    ("nano_banana", {**PROMPT, "model": "nano-banana", "image_size": "1K"}),
    ("gpt_image", {**PROMPT, "model": "newer", "resolution": "4K"}),
    ("gpt_image", {**PROMPT, "model": "gpt-image-2", "resolution": "1K"}),
    ("gpt_image", {"prompt": "x" * 3000, "resolution": "1K", "aspect_ratio": "auto"}),
    (
        "gpt_image",
        {**PROMPT, "model": "gpt-image-2", "resolution": "4K", "aspect_ratio": "1:1"},
    ),
    ("flux2", {**PROMPT, "aspect_ratio": "custom"}),
    ("qwen_image", {**PROMPT, "model": "newer", "size": "2048*2048"}),
    ("virtual_try_on", {"image_urls": [FACE] * 4}),
    ("product_avatar", {**PRODUCT, "product_rect": {"x": 1, "anchor": "left"}}),
    ("product_avatar", {**PRODUCT, "product_rect": {"x": -5, "y": 0, "rotation": -90}}),
    ("text_to_image", {**PROMPT, "width": 1, "height": 1}),
]


@pytest.mark.parametrize(("kind", "inputs"), ALLOWED)
def test_left_to_the_service(a2e: A2E, kind: str, inputs: Inputs) -> None:
    """Newer models, and inputs documented as having no effect, are accepted."""
    assert a2e.kind(kind).job(**inputs).kind.name == kind


# -- media -------------------------------------------------------------------------------------


async def test_local_pictures_keep_their_places(a2e: A2E, sandbox: Sandbox) -> None:
    """Files in a list keep their positions, which decide who is dressed."""
    await a2e.virtual_try_on.start(
        image_urls=[media.portrait(), COAT, media.portrait().read_bytes()], processing_limit=60
    )
    (charge,) = paid(sandbox)
    person, clothes, third = charge.body["image_urls"]
    assert clothes == COAT
    assert person.startswith(sandbox.storage_url)
    assert third.startswith(sandbox.storage_url)
    assert charge.body["timeout"] == 60
    assert "processing_limit" not in charge.body


async def test_a_picture_of_another_task(a2e: A2E, sandbox: Sandbox) -> None:
    """An Output is passed by URL: nothing is downloaded or uploaded."""
    made = await a2e.flux2.run(**PROMPT)
    await a2e.image_edit.run(edit_type="clothing", image_urls=[made.output, COAT])
    assert sandbox.ledger.starts("image_edit")[0].body["image_urls"] == [made.output.url, COAT]
    assert not sandbox.transfers["upload"]
    assert not sandbox.transfers["result"]


# -- several tasks from one start --------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), [("text_to_image", "max_images"), ("kling_image", "n")])
async def test_parts(a2e: A2E, sandbox: Sandbox, kind: str, count: str) -> None:
    """One start, one charge, several tasks: one handle, a part for each, each with a picture."""
    task = await a2e.kind(kind).start(**PROMPT, **{count: 4})
    assert len(task.ids) == 4
    assert sandbox.calls["start", kind] == 1
    record = await task.wait()
    assert [part.id for part in record.parts] == list(task.ids)
    assert [output.ref for output in record.outputs] == [f"{kind}:{id}" for id in task.ids]
    assert await a2e.attach(task.ref).wait() == record


@pytest.mark.parametrize("kind", ["text_to_image", "kling_image"])
async def test_finished_at_once(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """A start that returns finished tasks needs no poll."""
    sandbox.faults.done_at_once(kind)
    task = await a2e.kind(kind).start(**PROMPT)
    calls_before = sandbox.calls_total
    assert (await task.wait()).output.media == "image"
    assert sandbox.calls_total == calls_before


# -- each kind's own ---------------------------------------------------------------------------


async def test_text_to_image_detail(a2e: A2E, sandbox: Sandbox) -> None:
    """Its detail sometimes refuses existing tasks: get and waits use other operations."""
    record = await a2e.text_to_image.run(**PROMPT)
    assert sandbox.calls["detail", "text_to_image"] == 0
    for status in (400, 404, 405):
        sandbox.faults.detail_refused(status)
        assert await a2e.text_to_image.get(record.id) == record
    assert sandbox.calls["detail", "text_to_image"] == 3
    assert sandbox.faults.is_idle
    with pytest.raises(NotFound):
        await a2e.text_to_image.get("5f" * 12)


async def test_a_detail_at_another_path(a2e: A2E, sandbox: Sandbox) -> None:
    """Where it is unknown which of two detail paths exists, the second is tried after the first."""
    first = await a2e.wan26_image.run(**PROMPT)
    second = await a2e.wan27_image.run(**PROMPT)  # the sandbox has no detail/{id} for these
    assert sandbox.calls["batch_detail", "wan27_image"] == 0
    for namespace, record, requests in ((a2e.wan26_image, first, 1), (a2e.wan27_image, second, 2)):
        at = "detail", namespace.kind.name
        before = sandbox.calls[at]
        assert await namespace.get(record.id) == record
        assert sandbox.calls[at] == before + requests
    with pytest.raises(NotFound) as caught:
        await a2e.wan27_image.get("5f" * 12)
    assert caught.value.path.endswith(f"detail/{'5f' * 12}")


@pytest.mark.parametrize("kind", ["nano_banana", "gpt_image", "flux2"])
async def test_refused_under_200(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """A 200 with a reason and no task is a refusal, not an unknown outcome."""
    with pytest.raises(InvalidRequest, match="NSFW"):
        await a2e.kind(kind).start(prompt="please refuse-me")
    assert not paid(sandbox)
    assert a2e.unknown() == ()


@pytest.mark.parametrize("kind", ["nano_banana", "flux2"])
async def test_list_by_status(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """Two lists can be filtered by the service's own words, and by no others."""
    namespace = a2e.kind(kind)
    sandbox.faults.fail(kind)
    failed = await namespace.start(**PROMPT)
    made = await namespace.run(**PROMPT)
    with pytest.raises(TaskFailed):
        await failed.wait()
    assert [r.id for r in await namespace.list(status="failed")] == list(failed.ids)
    assert [r.id async for r in namespace.iter(status="completed")] == [made.id]
    with pytest.raises(InvalidInput, match="completed"):
        await namespace.list(status="sent")


@pytest.mark.parametrize("kind", ["qwen_image", "kling_image"])
async def test_list_without_pages(a2e: A2E, kind: str) -> None:
    """A list without paging is complete, whatever page size is requested."""
    ids = {(await a2e.kind(kind).start(**PROMPT)).ids[0] for _ in range(3)}
    assert {record.id for record in await a2e.kind(kind).list(page_size=1)} == ids
    with pytest.raises(InvalidInput, match="one page only"):
        await a2e.kind(kind).list(page=2)


@pytest.mark.parametrize(
    "sandbox_options", [{"durations": {"product_avatar": 9 * 3600.0}}], ids=["stuck"]
)
async def test_product_avatar_given_up(a2e: A2E, sandbox: Sandbox) -> None:
    """The service gives up after two hours; the default timeout is longer."""
    assert a2e.product_avatar.kind.default_timeout > 2 * 3600
    task = await a2e.product_avatar.start(**PRODUCT)
    sandbox.advance(2 * 3600 + 60)
    with pytest.raises(TaskFailed):
        await task.wait()
    assert paid(sandbox)[0].refunded == 30


@pytest.mark.parametrize("sandbox_options", [{"durations": {"photobook": 36_000.0}}], ids=["long"])
async def test_photobook_is_not_deleted_while_it_runs(a2e: A2E, sandbox: Sandbox) -> None:
    """Deleting a running task is refused; deleting it afterwards works."""
    task = await a2e.photobook.start(face_image_url=FACE)
    sandbox.advance(18_000)
    with pytest.raises(InvalidRequest):
        await task.delete()
    sandbox.advance(18_000)
    await task.wait()
    await task.delete()
    assert not (await a2e.photobook.list()).items


def test_photobook_of_one_picture() -> None:
    """Whether its result is a list or one URL is undocumented: both are read."""
    raw = {"_id": "5f" * 12, "current_status": "completed"}
    several = read_record(PHOTOBOOK, {**raw, "result_url": [FACE, COAT]})
    assert [(o.url, o.index) for o in several.outputs] == [(FACE, 0), (COAT, 1)]
    assert read_record(PHOTOBOOK, {**raw, "result_url": FACE}).output.url == FACE


# -- from a picture to an avatar ---------------------------------------------------------------


async def test_make_avatar(a2e: A2E, sandbox: Sandbox) -> None:
    """A finished picture becomes an avatar of the account."""
    picture = await a2e.text_to_image.run(**PROMPT, name="Ada")
    made = await a2e.text_to_image.make_avatar(picture.id, gender="male")
    (avatar,) = await a2e.avatars.list(system=False)
    assert (avatar.id, avatar.gender) == (made.id, "male")
    assert made.extra["gender"] == "male"
    assert "http" not in repr(made)
    assert len(sandbox.ledger.charges) == 1  # the picture's


async def test_make_avatar_refused(a2e: A2E, sandbox: Sandbox) -> None:
    """Invalid arguments are not sent; an unknown or unfinished task raises an error."""
    wrong: list[tuple[str, Any]] = [("a/b", None), ("a+b", None), ("5f" * 12, "other")]
    for id, gender in wrong:
        with pytest.raises(InvalidInput):
            await a2e.text_to_image.make_avatar(id, gender=gender)
    assert sandbox.calls_total == 0
    with pytest.raises(NotFound):
        await a2e.text_to_image.make_avatar("5f" * 12)
    sandbox.faults.stuck("text_to_image")
    task = await a2e.text_to_image.start(**PROMPT)
    with pytest.raises(InvalidRequest, match="not finished"):
        await a2e.text_to_image.make_avatar(task.ids[0])


async def test_make_avatar_is_not_repeated(a2e: A2E, sandbox: Sandbox) -> None:
    """A request without a response is not retried: the avatar would exist twice."""
    picture = await a2e.text_to_image.run(**PROMPT)
    sandbox.faults.http_error(502, role="action", kind="text_to_image", accepted=True)
    with pytest.raises(StartOutcomeUnknown, match="avatars"):
        await a2e.text_to_image.make_avatar(picture.id)
    assert len(await a2e.avatars.list(system=False)) == 1


@pytest.mark.parametrize(
    ("data", "id", "extra"),
    [
        ({"_id": "a1", "name": "Ada"}, "a1", {"name": "Ada"}),
        ([{"_id": "a1", "name": "Ada"}], "a1", {"name": "Ada"}),
        ({"anchor_id": "a1"}, "a1", {}),
        ({"ok": True}, None, {"ok": True}),
        (None, None, {}),
        ("done", None, {}),
    ],
)
def test_made_avatar_of_any_answer(data: Any, id: str | None, extra: Inputs) -> None:
    """Its response is undocumented: an id is found in the usual places, the rest is kept."""
    assert MadeAvatar.of(data) == MadeAvatar(id=id, extra=extra)


def test_text_to_image_record_keeps_odd_fields() -> None:
    """A field of an unexpected type does not lose the result."""
    raw = {"_id": "5f" * 12, "current_status": "completed", "image_urls": [FACE], "width": "wide"}
    record = read_record(TEXT_TO_IMAGE, raw)
    assert record.output.url == FACE
    assert record.width is None
    assert record.extra == {"width": "wide"}
