"""Voices, avatars and backgrounds: those of the service and those that the account adds."""

from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.account.avatars import read_avatars
from a2e_async.errors import InvalidInput, NotFound, ResponseTimeout, ServerError
from a2e_async.events import Attempt, Event
from a2e_async.sandbox import Sandbox, media

from .conftest import MakeClient, nothing_charged, until

ID = "66ea4dd87db10c73fa29b570"
PICTURE = "https://media.example/office.png?X-Amz-Signature=1"


def list_containing_itself() -> list[Any]:
    """Return a list that contains itself."""
    made: list[Any] = []
    made.append(made)
    return made


# -- voices ------------------------------------------------------------------------------------


async def test_public_voices(a2e: A2E) -> None:
    """The groups are flattened; each voice keeps the name of its group."""
    found = await a2e.voices.public(country="es", region="MX")
    assert {v.group for v in found} == {"female", "male"}
    assert len({v.id for v in found}) == len(found) == 4
    assert all(v.name and v.rate == 1 for v in found)
    assert found[0].extra == {}
    assert found != await a2e.voices.public()
    assert len(set(found)) == 4


@pytest.mark.parametrize("shape", ["list", "nested", "bare"])
async def test_voices_otherwise_wrapped(a2e: A2E, sandbox: Sandbox, shape: Any) -> None:
    """The response of the presets is undocumented: voices are found in any shape."""
    expected = await a2e.voices.presets()
    assert expected
    if shape != "list":
        sandbox.faults.data_shape(shape, "query")
        assert await a2e.voices.presets() == expected


async def test_languages(a2e: A2E) -> None:
    """The listed locales are the ones by which voices can be requested."""
    languages = await a2e.voices.languages()
    english = next(one for one in languages if one.value == "en")
    assert english.label == "English"
    assert [r.value for r in english.regions] == ["US", "GB", "IN"]
    assert await a2e.voices.public(country=english.value, region=english.regions[1].value)


async def test_previews(a2e: A2E) -> None:
    """Speech previews are listed in pages, can be downloaded, and can be deleted."""
    first = await a2e.voices.previews(page_size=2)
    second = await a2e.voices.previews(page=2, page_size=2)
    assert first.total == 3
    assert [len(first), len(second)] == [2, 1]
    preview = second.items[0]
    assert preview.text
    assert preview.text not in repr(preview)
    assert preview.output is not None
    assert (await preview.output.read()).startswith(b"RIFF")
    await a2e.voices.delete_preview(preview.id)
    assert (await a2e.voices.previews()).total == 2
    with pytest.raises(NotFound):
        await a2e.voices.delete_preview(preview.id)


async def test_deleted_by_a_lost_try(a2e: A2E, sandbox: Sandbox) -> None:
    """A deletion without a response is retried; 404 on the retry is success."""
    preview = (await a2e.voices.previews()).items[0]
    sandbox.faults.http_error(502, role="delete", accepted=True)
    await a2e.voices.delete_preview(preview.id)
    assert (await a2e.voices.previews()).total == 2


@pytest.mark.parametrize(
    ("page", "size", "field"),
    [(0, 20, "page"), (True, 20, "page"), (1, 0, "page_size"), (1, 101, "page_size")],
)
async def test_pages_refused(a2e: A2E, sandbox: Sandbox, page: int, size: int, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await a2e.voices.previews(page=page, page_size=size)
    assert caught.value.field == field
    assert sandbox.calls_total == 0


# -- avatars -----------------------------------------------------------------------------------


async def test_avatars(a2e: A2E) -> None:
    """Lists the service's and the account's avatars, with the type that avatar videos require."""
    assert await a2e.avatars.list(system=False) == ()
    system = await a2e.avatars.list()
    assert {(one.kind, one.anchor_type) for one in system} == {("system", 0)}
    assert None in {one.name for one in system}
    assert all(one.cover for one in system)
    made = await a2e.avatars.add(name="Eve", people_img=PICTURE, tags=["red", "blue"])
    assert made is not None
    assert (made.kind, made.anchor_type, made.name) == ("custom", 1, "Eve")
    assert made.cover == PICTURE
    assert "Signature" not in repr(made)
    assert made.id in {one.id for one in await a2e.avatars.list(system=False)}
    assert await a2e.avatars.tags() == ("blue", "red")


async def test_own_avatars(a2e: A2E) -> None:
    """Adds, lists with filters, updates and deletes an avatar."""
    ids = [made.id for n in range(3) if (made := await a2e.avatars.add(name=str(n)))]
    page = await a2e.avatars.custom(pageNum=1, pageSize=2)
    assert [one.id for one in page] == ids[:0:-1]
    assert page.total == 3
    await a2e.avatars.update(ids[0], name="new")
    assert (await a2e.avatars.custom()).items[-1].name == "new"
    await a2e.avatars.delete(ids[0])
    assert (await a2e.avatars.custom()).total == 2
    for call in (a2e.avatars.delete(ids[0]), a2e.avatars.update(ids[0], name="gone")):
        with pytest.raises(NotFound):
            await call


@pytest.mark.parametrize(
    "data",
    [
        {"skip_face_mask": True},
        {"a": {"allowMinor": 1}},
        {"a": [{"force_generate": True}]},
        {"a": b"bytes"},
        {"a": float("nan")},
        {"a": list_containing_itself()},
    ],
    ids=lambda data: next(iter(data)),
)
async def test_free_inputs_refused(a2e: A2E, sandbox: Sandbox, data: dict[str, Any]) -> None:
    """Extra inputs must be JSON and must not affect a safety check."""
    for call in (
        a2e.avatars.add(**data),
        a2e.avatars.custom(**data),
        a2e.avatars.update(ID, **data),
        a2e.backgrounds.custom(**data),
    ):
        with pytest.raises(InvalidInput):
            await call
    assert sandbox.calls_total == 0


async def test_added_once(a2e: A2E, sandbox: Sandbox) -> None:
    """An addition without a response is not retried: it would exist twice."""
    sandbox.faults.http_error(502, role="action", accepted=True, times=2)
    with pytest.raises(ServerError):
        await a2e.avatars.add(name="Eve")
    with pytest.raises(ServerError):
        await a2e.backgrounds.add(PICTURE)
    assert (await a2e.avatars.custom()).total == 1
    assert (await a2e.backgrounds.custom()).total == 1


def test_avatar_of_odd_types() -> None:
    """A field of an unexpected type is kept in `extra`; the rest is still read."""
    (one,) = read_avatars(
        [
            {"_id": "a1", "name": 7, "type": "new", "anchor_type": "1", "video_cover": ["x"]},
            {"name": "no id"},
            "text",
        ]
    )
    assert (one.id, one.name, one.kind, one.anchor_type, one.cover) == ("a1", None, None, 1, None)
    assert one.extra == {"name": 7, "type": "new", "video_cover": ["x"]}


# -- backgrounds -------------------------------------------------------------------------------


async def test_backgrounds(a2e: A2E, sandbox: Sandbox) -> None:
    """Adds a background from a URL or a file, lists it with the service's, and deletes it."""
    first = await a2e.backgrounds.add(PICTURE)
    assert (first.url, first.kind) == (PICTURE, "custom")
    assert "Signature" not in repr(first)
    second = await a2e.backgrounds.add(media.portrait())
    assert second.url is not None
    assert second.url.startswith(sandbox.storage_url)
    assert {b.id for b in await a2e.backgrounds.custom()} == {first.id, second.id}
    kinds = [b.kind for b in await a2e.backgrounds.all()]
    assert kinds.count("custom") == 2
    assert kinds.count("system") == 3
    assert (await a2e.backgrounds.random()).kind == "system"
    await a2e.backgrounds.delete(first.id)
    assert {b.id for b in await a2e.backgrounds.custom()} == {second.id}


@pytest.mark.parametrize("image", [None, 7, "", b"", "data:image/png;base64,AA", media.speech()])
async def test_background_refused(a2e: A2E, sandbox: Sandbox, image: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        await a2e.backgrounds.add(image)
    assert caught.value.field == "image"
    assert nothing_charged(sandbox)


# -- options -----------------------------------------------------------------------------------


async def test_options(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Calls use the timeout of their client, and read calls are retried."""
    events: list[Event] = []
    client = make_client(on_event=events.append)
    sandbox.faults.slow(1, "action")
    hasty = client.with_options(request_timeout=0.1)
    with pytest.raises(ResponseTimeout):
        await hasty.avatars.add(name="Eve")
    sandbox.faults.clear()
    sandbox.faults.http_error(503, role="query")
    assert await hasty.voices.presets()
    tried = [e for e in events if isinstance(e, Attempt) and e.path.endswith("tts_list")]
    assert [e.status for e in tried] == [503, 200]
    await until(lambda: sandbox.calls["action", ""])
