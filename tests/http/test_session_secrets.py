"""The key and signed queries stay inside, whatever goes wrong."""

import asyncio
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from a2e_async._core.http.retry import RetryPolicy, RetrySafety
from a2e_async.errors import A2EError

pytestmark = pytest.mark.anyio

SIGNED = "https://r2.example/result.mp4?X-Amz-Signature=deadbeefdeadbeef&Signature=deadbeef"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = list[int]()
    todo = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.append(id(one))
            yield one
            todo += [one.__cause__, one.__context__]


@pytest.mark.parametrize(
    "fault",
    [
        "refused", "drop", "cut", "not http", "bad header", "bad encoding", "html", "redirect",
        "echo 400", "echo 403", "echo 500", "echo 200", "echo 429", "timeout", "proxy", "closed",
    ],
)  # fmt: skip
async def test_nothing_shows_the_key_or_a_signature(
    serve: Any, connect: Any, reply: Any, key: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"Bearer {key} {SIGNED}"

    async def forever(hit: Any, writer: Any) -> None:
        await asyncio.Event().wait()

    async def cut(hit: Any, writer: Any) -> None:
        writer.write(reply(200, text.encode(), length=5000))
        await writer.drain()

    replies: dict[str, Any] = {
        "drop": None,
        "cut": cut,
        "not http": b"NOT " + text.encode() + b"\r\n\r\n",
        "bad header": reply(200, headers=f"X-A: {key}\x00\r\n"),
        "bad encoding": reply(200, text.encode(), headers="Content-Encoding: gzip\r\n"),
        "html": reply(200, b"<html>" + text.encode(), kind="text/html"),
        "redirect": reply(302, headers=f"Location: {SIGNED}&k={key}\r\n"),
        "timeout": forever,
        "closed": forever,
    }
    if fault.startswith("echo"):
        status = int(fault.split()[1])
        body = {"code": 9, "message": text, "data": text, "errors": [text], "trace_id": text}
        replies[fault] = reply(status, body)
    url = "http://127.0.0.1:1"
    options: dict[str, Any] = {}
    if fault == "proxy":
        options["proxy"] = "http://me:secretpassword@127.0.0.1:1"
    elif fault in replies:
        url = (await serve(replies[fault])).url
    caplog.set_level(logging.DEBUG)
    events = list[Any]()
    policy = RetryPolicy(initial=0, max_attempts=2, max_elapsed=0.5)
    session = connect(url, events, policy=policy, **options)
    calls = (
        ("GET", {"params": {"url": SIGNED}}),
        ("POST", {"json": {"url": SIGNED}, "retry_safety": RetrySafety.CHARGED}),
    )
    for method, more in calls:
        timeout = 0.05 if fault == "timeout" else 5
        task = asyncio.create_task(session.request(method, "/x", timeout=timeout, **more))
        if fault == "closed":
            await asyncio.sleep(0.02)
            await session.aclose()
        with pytest.raises(A2EError) as caught:
            await task
        shown = [caplog.text, repr(events), repr(session), repr(pickle.dumps(caught.value))]
        for error in chain(caught.value):
            shown += [str(error), repr(error), repr(vars(error)), repr(error.args)]
        shown += traceback.format_exception(caught.value)
        for secret in (key, "deadbeef", "secretpassword"):
            assert not any(secret in text for text in shown), (fault, secret)
    records = [vars(record) for record in caplog.records if record.name.startswith("a2e")]
    assert key not in repr(records)
    assert "Signature=" not in repr(records)
