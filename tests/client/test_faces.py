"""Saved faces of the account, and running face swaps."""

from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import DecodeError, InvalidInput, NotFound, ServerError
from a2e_async.sandbox import Sandbox, media
from tests.samples import CLIP, FACE

from .conftest import paid
from .people_inputs import SWAP

LONG = pytest.mark.parametrize(
    "sandbox_options", [{"durations": {"face_swap": 3600.0}}], ids=["long"]
)


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {"durations": {"face_swap": 20.0, "upscale": 20.0}}


async def test_faces(a2e: A2E, sandbox: Sandbox) -> None:
    """Faces are saved, listed newest first, used, and deleted, all free of charge."""
    first = await a2e.face_swap.save_face(f"{FACE}?Signature=secret")
    local = await a2e.face_swap.save_face(media.portrait())
    again = await a2e.face_swap.save_face(f"{FACE}?Signature=secret")
    assert await a2e.face_swap.faces() == (again, local, first)
    assert len({first.id, local.id, again.id}) == 3
    assert first.face_url == f"{FACE}?Signature=secret"
    assert "secret" not in repr(first)
    assert first.created_at is not None
    assert local.face_url
    assert local.face_url.startswith(sandbox.storage_url)
    assert not paid(sandbox)
    record = await a2e.face_swap.run(video_url=CLIP, face_url=local.face_url)
    assert record.face_url == local.face_url
    await a2e.face_swap.delete_face(local.id)
    assert await a2e.face_swap.faces() == (again, first)
    with pytest.raises(NotFound):
        await a2e.face_swap.delete_face(local.id)


async def test_a_face_of_another_task(a2e: A2E, sandbox: Sandbox) -> None:
    """An Output can be a face; nothing is uploaded for it."""
    larger = await a2e.upscale.run(source_url=FACE)
    face = await a2e.face_swap.save_face(larger.output)
    assert face.face_url == larger.output.url
    assert not sandbox.transfers["upload"]


@pytest.mark.parametrize("wrong", [7, None, "", [FACE], media.speech(), "missing.png"])
async def test_no_face(a2e: A2E, sandbox: Sandbox, wrong: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        await a2e.face_swap.save_face(wrong)
    assert caught.value.field == "face_url"
    assert sandbox.calls_total == 0
    with pytest.raises(InvalidInput):
        await a2e.face_swap.delete_face("../x")
    assert sandbox.calls_total == 0


async def test_a_face_is_not_saved_twice(a2e: A2E, sandbox: Sandbox) -> None:
    """A request without a response is not retried."""
    sandbox.faults.http_error(502, role="action", accepted=True)
    with pytest.raises(ServerError):
        await a2e.face_swap.save_face(FACE)
    assert [face.face_url for face in await a2e.face_swap.faces()] == [FACE]


async def test_the_face_is_not_shown(a2e: A2E, sandbox: Sandbox) -> None:
    """A response without the face raises an error that names no input."""
    sandbox.faults.data_shape("text", role="action")
    with pytest.raises(DecodeError, match="faces") as caught:
        await a2e.face_swap.save_face(f"{FACE}?Signature=secret")
    assert "secret" not in str(caught.value)


@LONG
async def test_running(a2e: A2E, sandbox: Sandbox) -> None:
    """The swaps of the account that have not ended."""
    tasks = [await a2e.face_swap.start(**SWAP) for _ in range(2)]
    assert {record.id for record in await a2e.face_swap.running()} == {t.ids[0] for t in tasks}
    sandbox.advance(3600)
    assert await a2e.face_swap.running() == ()
