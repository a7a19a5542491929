"""`a2e.request`: any call by its path, with the same guarantees as all others."""

from typing import Any

import pytest

from a2e_async import A2E, RetryPolicy
from a2e_async.errors import (
    AuthenticationError,
    ClientClosed,
    InvalidInput,
    InvalidRequest,
    NotFound,
    ResponseTimeout,
)
from a2e_async.sandbox import Sandbox

from .conftest import DUB, KEY, MakeClient, assert_no_secrets, starts_sent

pytestmark = pytest.mark.anyio

LIST = "/api/v1/userDubbing/allRecords"
START = "/api/v1/userDubbing/startDubbing"


def list_containing_itself() -> list[Any]:
    """Return a list that contains itself: not JSON, and endless to traverse."""
    made: list[Any] = []
    made.append(made)
    return made


async def test_the_answer(a2e: A2E) -> None:
    """It has the data, the status, the headers and the trace id."""
    answer = await a2e.request("get", LIST, params={"pageNum": 1, "pageSize": 5, "none": None})
    assert answer.data == {"rows": [], "count": 0}
    assert answer.http_status == 200
    assert answer.code == 0
    assert answer.trace_id
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_a_start_by_hand(a2e: A2E, sandbox: Sandbox) -> None:
    """A task it started can be attached; the response data is not in the repr."""
    answer = await a2e.request("POST", START, json={**DUB, "name": "by hand"})
    record = await a2e.attach(f"dubbing:{answer.data['_id']}")
    assert record.output
    assert "by hand" not in repr(answer)
    assert_no_secrets(answer)
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.parametrize("fault", ["drop_after_accept", "http_error"])
async def test_a_post_is_not_sent_again(a2e: A2E, sandbox: Sandbox, fault: str) -> None:
    """A POST without a response raises an error that it may have been charged."""
    if fault == "http_error":
        sandbox.faults.http_error(503, role="start", accepted=True)
    else:
        sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(Exception, match="charged") as caught:
        await a2e.request("POST", START, json={**DUB, "name": "x"})
    assert starts_sent(sandbox) == 1
    assert_no_secrets(caught.value)


async def test_a_reading_post_is_sent_again(a2e: A2E, sandbox: Sandbox) -> None:
    """`charged=False` makes a POST retryable."""
    path = "/api/v1/talkingVideo/batchDetail"
    sandbox.faults.http_error(503, role="batch_detail")
    answer = await a2e.request("POST", path, json={"ids": []}, charged=False)
    assert answer.data == []
    assert sandbox.calls["batch_detail", "talking_video"] == 2


async def test_errors_are_those_of_all_calls(make_client: MakeClient, a2e: A2E) -> None:
    """It raises the same errors with the same texts."""
    with pytest.raises(InvalidRequest) as caught:
        await a2e.request("POST", START, json={"source_url": 5})
    assert caught.value.http_status == 400
    with pytest.raises(NotFound):
        await a2e.request("GET", "/api/v1/userDubbing/66ea4dd87db10c73fa29b570/none")
    with pytest.raises(AuthenticationError):
        await make_client(api_key="wrong-key-0123456789").request("GET", LIST)
    await a2e.aclose()
    with pytest.raises(ClientClosed):
        await a2e.request("GET", LIST)


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("FETCH", LIST, {}),
        (None, LIST, {}),
        ("GET", "api/v1/x", {}),
        ("GET", "https://elsewhere.example/api", {}),
        ("GET", "//elsewhere.example/api", {}),
        ("GET", f"{LIST}?pageNum=1", {}),
        ("GET", f"{LIST}#x", {}),
        ("GET", "/a b", {}),
        ("GET", "/a\r\nHost: elsewhere.example", {}),
        ("GET", None, {}),
        ("GET", LIST, {"params": [("a", 1)]}),
        ("POST", START, {"charged": "no"}),
        ("GET", LIST, {"charged": True}),
        ("POST", START, {"json": {"x": object()}}),
        ("POST", START, {"json": {"x": float("nan")}}),
        ("POST", START, {"json": {**DUB, "force_generate": True}}),
        ("POST", START, {"json": {"requestBody": [{"skip_minor_check": 1}]}}),
        ("POST", START, {"json": '{"force_generate": true}'}),
        ("POST", START, {"json": b"{}"}),
        ("POST", START, {"json": 7}),
        ("POST", START, {"json": list_containing_itself()}),
        ("GET", LIST, {"params": {"a": list_containing_itself()}}),
        ("GET", LIST, {"params": {"a": {"force_generate": 1}}}),
        ("GET", LIST, {"params": {"force_generate": 1}}),
        ("GET", LIST, {"params": {1: 1}}),
        pytest.param("GET", LIST, {"params": {"a": 10**5000}}, id="huge"),
        ("GET", LIST, {"params": {"a": float("nan")}}),
    ],
)
async def test_what_is_refused(
    a2e: A2E, sandbox: Sandbox, method: Any, path: Any, more: dict[str, Any]
) -> None:
    """A host, a query in the path, or an input against the safety checks; nothing is sent."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.request(method, path, **more)
    assert sandbox.calls_total == 0
    assert KEY not in str(caught.value)


async def test_with_options(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Timeouts follow the options: the start timeout for calls that may be charged."""
    quick = make_client(retry=RetryPolicy(max_attempts=1)).with_options(
        request_timeout=0.3, start_timeout=0.3
    )
    sandbox.faults.slow(2, "list", times=None)
    with pytest.raises(ResponseTimeout):
        await quick.request("GET", LIST)
    sandbox.faults.slow(2, "start")
    with pytest.raises(ResponseTimeout):
        await quick.request("POST", START, json={**DUB, "name": "x"})


async def test_options_reach_uploads(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The call for an upload URL waits as long as these options say, and is sent once."""
    client = make_client()
    sandbox.faults.slow(2, "presign", times=2)
    with pytest.raises(ResponseTimeout):
        await client.with_options(request_timeout=0.3).files.upload(b"one")
    assert await client.files.upload(b"two")
    assert sandbox.calls["presign", ""] == 2


async def test_options_reach_the_handles(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A task started or attached under options deletes under them, too."""
    client = make_client(retry=RetryPolicy(max_attempts=1))
    quick = client.with_options(request_timeout=0.3)
    task = await quick.dubbing.start(**DUB)
    await task
    sandbox.faults.slow(2, "delete", times=2)
    for handle in (task, quick.attach(task.ref)):
        with pytest.raises(ResponseTimeout):
            await handle.delete()
