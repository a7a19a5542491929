"""Jobs created directly: by a kind or its name, from an object or a mapping."""

from typing import Any

import pytest
from attrs import evolve

from a2e_async import A2E, Job
from a2e_async.errors import InvalidInput
from a2e_async.kinds.dubbing import DUBBING, DubbingInput
from a2e_async.kinds.talking_video import TALKING_VIDEO, TalkingVideoInput
from a2e_async.sandbox import Sandbox

from .conftest import DUB, TALK

pytestmark = pytest.mark.anyio


async def test_all_ways_to_create_a_job_are_equal(a2e: A2E, sandbox: Sandbox) -> None:
    """All ways to create a job give the same start, paid once."""
    made = a2e.dubbing.job(**DUB, key="k", meta={"to": "es"})
    ways: list[Job[Any]] = [
        made,
        Job(a2e.dubbing.kind, DUB, key="k", meta={"to": "es"}),
        Job("dubbing", {**DUB, "key": "k"}, meta={"to": "es"}),
        Job(DUBBING, DubbingInput(**DUB), "k", {"to": "es"}),
        Job(DUBBING, DubbingInput(**DUB, key="k", meta={"to": "es"})),
    ]
    assert all(job == made for job in ways)
    assert (made.key, made.meta) == ("k", {"to": "es"})
    assert evolve(made) == made
    assert all([o.ok async for o in a2e.batch(ways)])
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.parametrize(
    ("kind", "given", "beside", "field"),
    [
        ("dubing", DUB, {}, "kind"),
        (None, DUB, {}, "kind"),
        ("dubbing", {"source_url": "https://m.example/a.wav"}, {}, "target_lang"),
        ("dubbing", {**DUB, "colour": 1}, {}, "colour"),
        ("dubbing", TalkingVideoInput(**TALK), {}, "input"),
        (TALKING_VIDEO, "jobs", {}, "input"),
        (TALKING_VIDEO, [TALK], {}, "input"),
        ("dubbing", DUB, {"key": ""}, "key"),
        ("dubbing", DUB, {"key": 5}, "key"),
        ("dubbing", DUB, {"meta": [1]}, "meta"),
        ("dubbing", DUB, {"key": "\ud800"}, "key"),
        ("text_to_image", {"prompt": "a \udcff"}, {}, "prompt"),
        ("dubbing", {**DUB, "key": "a"}, {"key": "b"}, "key"),
        (DUBBING, DubbingInput(**DUB, key="a"), {"key": "a"}, "key"),
        ("dubbing", {**DUB, 5: 1}, {}, "5"),
    ],
)
def test_what_is_refused(kind: Any, given: Any, beside: dict[str, Any], field: str) -> None:
    """Refused before anything is sent; the error names the invalid input."""
    with pytest.raises(InvalidInput) as caught:
        Job(kind, given, **beside)
    assert caught.value.field == field


async def test_kinds_without_polling_are_refused(a2e: A2E, sandbox: Sandbox) -> None:
    """A kind that cannot be polled is refused: a batch could not tell when it is done."""
    (outcome,) = [
        o async for o in a2e.batch([Job("wan30", {"model": "wan3.0-video", "prompt": "a lake"})])
    ]
    assert isinstance(outcome.error, InvalidInput)
    assert sandbox.ledger.charges == ()
