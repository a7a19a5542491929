"""The one path of what costs, step by step: what is sent, withdrawn, kept, freed or unknown."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from a2e_async import Budget
from a2e_async._core.http.loop_affinity import LoopAffinity
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.submission.budget import Reservation
from a2e_async._core.submission.paid_request import (
    PaidExecutor,
    PaidRequest,
    PaidRequests,
    refused_by_service,
)
from a2e_async.errors import (
    A2EError,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    InvalidRequest,
    StartOutcomeUnknown,
)
from a2e_async.models import Recovery

pytestmark = pytest.mark.anyio

BODY: dict[str, Any] = {"msg": "hello"}
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
LOST = ConnectionLost("lost", method="POST", path="/x", sent=True)
NOT_CONNECTED = ConnectError("down", method="POST", path="/x", sent=False)
REFUSED = InvalidRequest(
    http_status=400, code=4001, message="no", trace_id=None, method="P", path="/x", from_api=True
)
UNKNOWN = StartOutcomeUnknown(
    "?", recovery=Recovery(kind="k", path="/x", name=None, mark=None, digest="d", sent_at=NOW)
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@define(eq=False, kw_only=True, repr=False)
class Request(PaidRequest[str]):
    """A paid request with the result "paid"."""

    timeout: float = 1
    shared: bool = False

    @property
    def is_shared(self) -> bool:
        return self.shared

    def describe(self, body: Mapping[str, Any]) -> Recovery:
        assert body is BODY
        return UNKNOWN.recovery

    def entry(self, state: State, ids: tuple[str, ...] = (), coins: int | None = None) -> Entry:
        raise NotImplementedError  # the recorder of these tests needs none


@define
class ScriptedSession:
    """The session: each turn takes the next step of a script, and notes what happens."""

    steps: Iterator[Any]
    log: list[str]

    def new_call(self) -> Any:
        return SimpleNamespace(sent=False, withdrawn=False)

    def loop_time(self) -> float:
        return 7.0

    def turn(self, call: Any) -> "Turn":
        return Turn(self, call)


@define
class Turn:
    """One turn. A step is: "ok", "429", an error, or an event to wait for while it is (un)sent."""

    session: ScriptedSession
    call: Any

    async def __aenter__(self) -> "Turn":
        self.session.log.append("turn")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.session.log.append("end of turn")

    async def send(self) -> Any:
        step = next(self.session.steps)
        if isinstance(step, tuple):  # (sent, event): in flight, or still connecting
            self.call.sent, event = step
            await event.wait()
            step = "ok"
        if self.call.withdrawn:
            raise asyncio.CancelledError
        self.session.log.append("sent")
        self.call.sent = step != "429" and step is not NOT_CONNECTED
        if isinstance(step, BaseException):
            raise step
        return "response" if step == "ok" else None


@define
class Recorder:
    """The journal's recorder, as far as the path uses it."""

    log: list[str]
    fails: bool = False

    async def record_intent(self, request: Request) -> None:
        assert request.key == "k"
        self.log.append("intent")
        if self.fails:
            raise A2EError("the disk is full")

    async def drop_start(self, request: Request) -> None:
        assert request.key == "k"
        self.log.append("drop")

    def withdraw(self, key: str | None, request: Request) -> None:
        assert key == request.key == "k"
        self.log.append("withdraw")

    def end_intent(self, request: Request) -> None:
        assert request.key == "k"
        self.log.append("end")


class Executor(PaidExecutor[Request, str]):
    """An executor whose requests need nothing and are never found again."""

    def __init__(
        self, session: ScriptedSession, recorder: Recorder, **hooks: Callable[[], Any]
    ) -> None:
        super().__init__(session, recorder)  # type: ignore[arg-type]
        self.log, self.hooks = session.log, hooks

    async def _prepare(self, request: Request) -> Mapping[str, Any]:
        assert isinstance(request, Request)
        if "prepare" in self.hooks:
            await self.hooks["prepare"]()
        return BODY

    def _new_call(self, request: Request, body: Mapping[str, Any]) -> Any:
        assert isinstance(request, Request)
        assert body is BODY
        return self._session.new_call()  # type: ignore[call-arg]

    def _on_turn(self, request: Request) -> None:
        assert request.recovery is UNKNOWN.recovery
        self.log.append("on turn")

    def _on_not_accepted(self, request: Request) -> None:
        assert isinstance(request, Request)
        self.log.append("not accepted")

    async def _read(self, request: Request, response: Any) -> str:
        assert response == "response"
        if "response" in self.hooks:
            await self.hooks["response"]()
        request.result = "paid"
        if "read" in self.hooks:
            await self.hooks["read"]()
        return "paid"

    async def _recover(self, request: Request, reason: str, cause: A2EError) -> str:
        assert isinstance(request, Request)
        self.log.append(f"recover: {reason}")
        assert str(cause) == reason
        if "recover" in self.hooks:
            await self.hooks["recover"]()
        raise UNKNOWN

    def report_unknown(self, request: Request, reason: str) -> StartOutcomeUnknown:
        assert isinstance(request, Request)
        self.log.append(f"unknown: {reason}")
        return UNKNOWN


class Requests(PaidRequests[Request, str]):
    """The requests of one client."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(LoopAffinity())
        self.executor = executor
        self.kept: list[Any] = []
        self.ended: list[Any] = []

    def _execute(self, request: Request) -> Coroutine[Any, Any, str]:
        return self.executor.submit(request)

    def _report_unknown(self, request: Request, reason: str) -> StartOutcomeUnknown:
        return self.executor.report_unknown(request, reason)

    def _keep(self, request: Request) -> None:
        self.kept.append(request.result or request.unknown_outcome)

    def _on_done(self, request: Request, error: BaseException | None, *, cancelled: bool) -> None:
        assert isinstance(request, Request)
        self.ended.append("cancelled" if cancelled else error)

    async def call(self, request: Request) -> str:
        self._check_usable()
        return await self._join(request)

    async def close(self, timeout: float = 0) -> None:
        self._closed = True
        await self._finish(timeout)


@define
class World:
    """One client, with the script of its session."""

    log: list[str] = field(factory=list[str])
    recorder: Recorder = field(init=False)
    requests: Requests = field(init=False)
    budget: Budget = field(factory=lambda: Budget(10))

    def script(self, *steps: Any, **hooks: Callable[[], Any]) -> "World":
        self.recorder = Recorder(self.log)
        self.requests = Requests(
            Executor(ScriptedSession(iter(steps), self.log), self.recorder, **hooks)
        )
        return self

    def request(self, **values: Any) -> Request:
        request = Request(key="k", reservation=Reservation((self.budget,)), **values)
        request.reservation.reserve(("k", 4))
        return request

    @property
    def reserved(self) -> int:
        return self.budget.reserved


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_path() -> None:
    world = World().script("ok")
    request = world.request()
    assert await world.requests.call(request) == "paid"
    assert world.log == ["turn", "intent", "on turn", "sent", "end of turn", "end"]
    assert (request.sent, request.sent_at_loop_time, request.recovery) == (
        True,
        7.0,
        UNKNOWN.recovery,
    )
    await settle()
    assert (world.requests.kept, world.requests.ended) == ([], [None])
    assert world.requests.keys_in_progress() == set()


async def test_after_a_429_the_next_turn_records_it_again() -> None:
    world = World().script("429", "ok")
    assert await world.requests.call(world.request()) == "paid"
    turn = ["turn", "intent", "on turn", "sent", "end of turn"]
    assert world.log == [*turn, "not accepted", *turn, "end"]


@pytest.mark.parametrize("error", [NOT_CONNECTED, REFUSED])
async def test_what_was_not_accepted_leaves_nothing(error: A2EError) -> None:
    world = World().script(error)
    with pytest.raises(type(error)):
        await world.requests.call(world.request())
    assert world.log[-2:] == ["not accepted", "drop"]  # which ends the intent, too
    assert world.reserved == 0


async def test_a_failed_intent_sends_nothing() -> None:
    world = World().script("ok")
    world.recorder.fails = True
    with pytest.raises(A2EError, match="disk is full"):
        await world.requests.call(world.request())
    assert world.log == ["turn", "intent", "end of turn", "not accepted", "drop"]
    assert world.reserved == 0


async def test_a_lost_response_is_recovered() -> None:
    world = World().script(LOST)
    with pytest.raises(StartOutcomeUnknown):
        await world.requests.call(world.request())
    assert world.log[-2:] == ["recover: lost", "end"]
    assert "drop" not in world.log
    assert world.reserved == 4
    await settle()
    assert world.requests.kept == []  # its caller has the error


@pytest.mark.parametrize("sent", [True, False])
async def test_a_bug_is_not_taken_for_a_refusal(sent: bool) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    world = World().script("ok", **{"response" if sent else "prepare": broken})
    with pytest.raises(StartOutcomeUnknown if sent else ZeroDivisionError) as caught:
        await world.requests.call(world.request())
    assert ("drop" in world.log) is not sent
    assert (world.reserved == 4) is sent
    if sent:
        assert world.log[-1].startswith("unknown: ZeroDivisionError")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_caller_who_leaves_withdraws_what_was_not_sent() -> None:
    world = World().script((False, asyncio.Event()))
    request = world.request()
    caller = asyncio.ensure_future(world.requests.call(request))
    await settle()
    call = request.api_call
    assert call is not None
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await settle()
    assert request.withdrawn
    assert call.withdrawn
    assert world.log[-3:] == ["end of turn", "not accepted", "drop"]
    assert (world.requests.kept, world.requests.ended) == ([], ["cancelled"])
    assert world.reserved == 0


async def test_a_caller_who_leaves_does_not_end_what_was_sent() -> None:
    answer = asyncio.Event()
    world = World().script((True, answer))
    request = world.request()
    caller = asyncio.ensure_future(world.requests.call(request))
    await settle()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not request.withdrawn
    assert world.requests.keys_in_progress() == {"k"}
    answer.set()
    await settle()
    assert (world.requests.kept, world.requests.ended) == (["paid"], [None])


async def test_a_lost_response_without_a_caller_is_kept_as_unknown() -> None:
    world = World().script(LOST)
    blocked = asyncio.Event()

    async def wait() -> None:
        await blocked.wait()

    world.requests.executor.hooks["prepare"] = wait
    request = world.request()
    caller = asyncio.ensure_future(world.requests.call(request))
    await settle()
    request.sent_earlier = True
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    blocked.set()
    await settle()
    assert world.requests.kept == [UNKNOWN]


async def test_a_429_ends_a_request_without_a_caller() -> None:
    """Its caller left while it was in flight; refused, it is not sent again."""
    world = World().script("429", "ok")
    request = world.request()
    on_turn = world.requests.executor._on_turn

    def leave(one: Request) -> None:
        on_turn(one)
        one.waiter_count = 0

    world.requests.executor._on_turn = leave  # type: ignore[method-assign]
    caller = asyncio.ensure_future(world.requests.call(request))
    with pytest.raises(ClientClosed):
        await caller
    assert world.log.count("sent") == 1
    assert request.withdrawn
    assert world.log[-2:] == ["not accepted", "drop"]


async def test_one_caller_of_two_leaves() -> None:
    answer = asyncio.Event()
    world = World().script((False, answer))
    request = world.request(shared=True)
    one, two = (asyncio.ensure_future(world.requests.call(request)) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    assert request.waiter_count == 1
    answer.set()
    assert await two == "paid"
    assert world.log.count("sent") == 1
    assert request.waiter_count == 0
    await settle()
    assert world.requests.kept == []


async def test_each_caller_gets_an_error_of_its_own() -> None:
    world = World().script(LOST)
    request = world.request(shared=True)
    errors = await asyncio.gather(
        *(world.requests.call(request) for _ in range(2)), return_exceptions=True
    )
    assert [type(error) for error in errors] == [StartOutcomeUnknown] * 2
    assert errors[0] is not errors[1]


@pytest.mark.parametrize("sent", [True, False])
async def test_closing_ends_what_is_in_progress(sent: bool) -> None:
    world = World().script((sent, asyncio.Event()))
    caller = asyncio.ensure_future(world.requests.call(world.request()))
    await settle()
    await world.requests.close()
    with pytest.raises(StartOutcomeUnknown if sent else ClientClosed) as caught:
        await caller
    if not sent:
        assert "closed before the call was sent" in str(caught.value)
    assert ("drop" in world.log) is not sent
    if sent:
        assert world.log[-1] == "unknown: the client was closed before its result was known"
    with pytest.raises(ClientClosed, match="nothing was sent"):
        await world.requests.call(world.request())


async def test_closing_waits_for_what_is_in_progress() -> None:
    answer = asyncio.Event()
    world = World().script((True, answer))
    caller = asyncio.ensure_future(world.requests.call(world.request()))
    await settle()
    asyncio.get_running_loop().call_soon(answer.set)
    await world.requests.close(timeout=5)
    assert await caller == "paid"
    await world.requests.close()


async def test_closing_while_the_result_is_recorded_loses_nothing() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    world = World().script("ok", read=wait)
    caller = asyncio.ensure_future(world.requests.call(world.request()))
    await settle()
    await world.requests.close()
    assert await caller == "paid"


@pytest.mark.parametrize("sent", [True, False])
async def test_an_interrupt_withdraws_without_waiting(sent: bool) -> None:
    """The recorder withdraws only what was not sent."""

    def interrupt() -> Any:
        raise KeyboardInterrupt

    world = World().script("ok", **{"read" if sent else "prepare": interrupt})
    request = world.request()
    with pytest.raises(KeyboardInterrupt):
        await world.requests.executor.submit(request)
    assert world.log[-1] == ("end" if sent else "withdraw")
    assert "withdraw" in world.log  # the recorder withdraws only what was not sent
    assert "drop" not in world.log


async def test_withdrawn_before_it_has_a_body() -> None:
    """A cancellation that arrives only after the request was built stops it all the same."""
    world = World().script("ok")

    async def withdraw() -> None:
        request.withdraw()

    world.requests.executor.hooks["prepare"] = withdraw
    request = world.request()
    with pytest.raises(asyncio.CancelledError):
        await world.requests.executor.submit(request)
    assert "sent" not in world.log
    assert "drop" in world.log


async def test_without_a_journal() -> None:
    world = World().script(NOT_CONNECTED)
    world.requests.executor._recorder = None
    with pytest.raises(ConnectError):
        await world.requests.call(world.request())
    assert world.log[-1] == "not accepted"
    assert world.reserved == 0


def test_a_refusal_with_http_200() -> None:
    response: Any = SimpleNamespace(http_status=200, code=0, trace_id="t", data={})
    error = refused_by_service(response, "/y", "Too long. " * 200, "Nothing was made.", "PUT")
    assert (error.http_status, error.code, error.trace_id) == (200, 0, "t")
    assert (error.method, error.path, error.from_api) == ("PUT", "/y", True)
    assert str(error).endswith("Nothing was made.")
    assert error.message is not None
    assert error.message.startswith("Too long.")
    assert len(error.message) < 600
    assert refused_by_service(response, "/y", "no", "").method == "POST"


async def test_the_task_of_a_request_has_no_context_of_its_caller() -> None:
    """It may outlive the caller, whose context may hold a whole web request."""
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen: list[str] = []

    async def look() -> None:
        seen.append(variable.get())

    world = World().script("ok", prepare=look)
    variable.set("a web request")
    await world.requests.call(world.request())
    assert seen == ["nothing"]


async def test_launch_and_end_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the request's task runs, with the context that it gets; and after its end."""
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen: list[Any] = []

    async def look() -> None:
        seen.append((variable.get(), set(world.requests.keys_in_progress())))

    def launched(one: Request, context: Context) -> None:
        seen.append(one)
        context.run(variable.set, "the request's own")

    world = World().script("ok", prepare=look)
    monkeypatch.setattr(world.requests, "_on_launch", launched)
    request = world.request()
    await world.requests.call(request)
    assert seen == [request, ("the request's own", {"k"})]
    assert request.delivered
    await settle()
    assert not world.requests._requests
    assert not world.requests._run_tasks


async def test_errors_that_nobody_reads_are_not_reported(caplog: Any) -> None:
    """asyncio would log that an exception was never retrieved."""
    world = World().script(LOST)
    request = world.request()
    request.sent_earlier = True
    caller = asyncio.ensure_future(world.requests.call(request))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await settle()
    assert world.requests.ended == [UNKNOWN]
    del caller, request
    world.requests.ended.clear()
    gc.collect()
    assert caplog.records == []


async def test_a_result_is_kept_once() -> None:
    """Also if its caller leaves while it is recorded, and is gone when it is."""
    recorded = asyncio.Event()

    async def wait() -> None:
        await recorded.wait()

    world = World().script("ok", read=wait)
    caller = asyncio.ensure_future(world.requests.call(world.request()))
    await settle()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert world.requests.kept == []  # it may still turn out to be another start's
    recorded.set()
    await settle()
    assert (world.requests.kept, world.requests.ended) == (["paid"], [None])


async def test_a_client_that_was_closed_before_its_first_request() -> None:
    affinity = LoopAffinity()
    affinity.closed = True
    world = World().script("ok")
    PaidRequests.__init__(world.requests, affinity)
    with pytest.raises(ClientClosed):
        await world.requests.call(world.request())


@pytest.mark.parametrize("error", [ZeroDivisionError(), LOST, asyncio.CancelledError()])
async def test_a_known_result_is_returned_whatever_fails_afterwards(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail() -> Any:
        raise error

    world = World().script("ok", read=fail)
    assert await world.requests.call(world.request()) == "paid"
    assert "drop" not in world.log
    assert bool(caplog.records) is not isinstance(error, asyncio.CancelledError)


@pytest.mark.parametrize("caller_stays", [True, False])
async def test_closing_during_the_search_leaves_the_outcome_unknown(caller_stays: bool) -> None:
    """It was sent: nothing may say that nothing was charged."""

    async def search() -> None:
        await asyncio.Event().wait()

    world = World().script(LOST, recover=search)
    request = world.request()
    caller = asyncio.ensure_future(world.requests.call(request))
    await settle()
    if not caller_stays:
        caller.cancel()
        await settle()
    await world.requests.close()
    with pytest.raises(StartOutcomeUnknown if caller_stays else asyncio.CancelledError):
        await caller
    assert world.requests.kept == ([] if caller_stays else [UNKNOWN])
    assert "drop" not in world.log


async def test_what_is_kept_is_the_final_result() -> None:
    """A first result may turn out to be another start's, after its caller has left."""
    recorded = asyncio.Event()

    async def replace() -> None:
        await recorded.wait()
        request.result = None
        raise UNKNOWN

    world = World().script("ok", read=replace)
    request = world.request()
    caller = asyncio.ensure_future(world.requests.call(request))
    await settle()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    recorded.set()
    await settle()
    assert world.requests.kept == [UNKNOWN]
