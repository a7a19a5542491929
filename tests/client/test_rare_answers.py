"""Answers that users of the service reported rarely: the client takes them as the usual ones."""

from collections.abc import Callable

import pytest

from a2e_async import A2E, Status
from a2e_async.errors import InvalidRequest
from a2e_async.sandbox import Faults, Sandbox
from tests.samples import LEAST

pytestmark = pytest.mark.anyio

RARE: dict[str, tuple[str, Callable[[Faults], None]]] = {
    "a list from the training of a twin": (
        "video_twin",
        lambda faults: faults.data_shape("list", "start", "video_twin"),
    ),
    "a record instead of a list of one": (
        "text_to_image",
        lambda faults: faults.data_shape("record", "start", "text_to_image"),
    ),
    "a finished image at once": (
        "text_to_image",
        lambda faults: faults.done_at_once("text_to_image"),
    ),
    "a misspelt status": (
        "dubbing",
        lambda faults: faults.odd_status("dubbing", "pendding"),
    ),
    "no detail of images": (
        "text_to_image",
        lambda faults: faults.detail_refused(405, times=None),
    ),
    "neither detail nor batchDetail of images": (
        "text_to_image",
        lambda faults: (
            faults.detail_refused(404, times=None),
            faults.http_error(404, role="batch_detail", kind="text_to_image", times=None),
        )[0],
    ),
}


@pytest.mark.parametrize("name", RARE)
async def test_a_rare_answer_loses_no_result(a2e: A2E, sandbox: Sandbox, name: str) -> None:
    kind, order = RARE[name]
    order(sandbox.faults)
    record = await a2e.kind(kind).run(**LEAST[kind])
    assert record.status is Status.SUCCEEDED
    assert record.id == sandbox.tasks[0].id
    (charge,) = sandbox.ledger.starts(kind)
    assert charge.ids == (record.id,)
    assert not set(sandbox.faults.pending) - {"detail_refused", "http_error"}


async def test_a_text_in_msg_is_in_the_error(a2e: A2E, sandbox: Sandbox) -> None:
    sandbox.faults.http_error(400, role="coins", times=2)
    sandbox.faults.error_in_msg()
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="Sandbox fault 400"):
            await a2e.credits.balance()
