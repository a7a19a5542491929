"""Invalid arguments raise an `A2EError` with a short message, and change nothing."""

import asyncio
import copy
import os
import pickle
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget, blocking
from a2e_async._core.http.retry import RetryPolicy
from a2e_async.errors import A2EError, InvalidInput
from a2e_async.models import Output

from .money_server import DUB, KEY, Service

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
REF = "dubbing:66ea4dd87db10c73fa29b570"
HUGE = "QUJD" * 230_000


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as made:
        yield made


class BytesPath(os.PathLike[Any]):
    def __fspath__(self) -> bytes:
        return b"/tmp/talk.wav"


class LongPath(os.PathLike[str]):
    def __fspath__(self) -> str:
        return HUGE


class LongRepr:
    def __repr__(self) -> str:
        return HUGE


HUGE_VALUES: list[Any] = [
    HUGE,
    f"data:audio/wav;base64,{HUGE}",
    f"https://e.org/{HUGE}",
    [HUGE],
    {"a": HUGE},
    {HUGE: 1},
    HUGE.encode(),
    LongPath(),
    LongRepr(),
    "Q" * 300,
    "Q" * 4000,
]

CALLS: dict[str, Callable[[A2E, Any], Any]] = {
    "start": lambda a2e, value: a2e.dubbing.start(**{**DUB, "source_url": value}),
    "job": lambda a2e, value: a2e.dubbing.job(**{**DUB, "source_url": value}),
    "upload": lambda a2e, value: a2e.files.upload(value),
    "target": lambda a2e, value: a2e.dubbing.start(**{**DUB, "target_lang": value}),
    "key": lambda a2e, value: a2e.dubbing.job(**DUB, key=value),
    "extra": lambda a2e, value: a2e.dubbing.job(**DUB, extra=value),
    "attach": lambda a2e, value: a2e.attach(value),
    "kind": lambda a2e, value: a2e.kind(value),
    "timeout": lambda a2e, value: a2e.with_options(request_timeout=value),
    "caller": lambda a2e, value: a2e.for_caller("u", max_unfinished=value),
    "batch": lambda a2e, value: a2e.batch([], limit=value),
    "prompt": lambda a2e, value: a2e.image_to_video.extend_prompt(
        reference_id="r", prompt="p", negative_prompt="n", image_url=value
    ),
    "client": lambda _, value: A2E(KEY, rate=value),
    "retry": lambda _, value: RetryPolicy(max_attempts=value),
    "budget": lambda _, value: Budget(value),
}


async def error_of(call: Callable[[A2E, Any], Any], a2e: A2E, value: Any) -> A2EError | None:
    """Return the error raised by a call, or None."""
    try:
        made = call(a2e, value)
        if asyncio.iscoroutine(made):
            await made
    except A2EError as error:
        return error
    return None


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_errors_quote_little(service: Service, call: Callable[[A2E, Any], Any]) -> None:
    """Neither the error nor its cause repeats an argument of 900,000 characters."""
    async with A2E(KEY, base_url=service.base_url, trust_env=False) as a2e:
        for value in HUGE_VALUES:
            error = await error_of(call, a2e, value)
            if error is not None:
                assert len(str(error)) < 1000
                assert len("".join(traceback.format_exception(error))) < 20_000


@pytest.mark.parametrize("bad", [5, 2.5, True, b"out", "", "a\0b", [], object()])
async def test_directories(service: Service, bad: Any) -> None:
    async with A2E(KEY, base_url=service.base_url, trust_env=False) as a2e:
        with pytest.raises(InvalidInput):
            a2e.batch([], download_to=bad)
        with pytest.raises(InvalidInput):
            await a2e.attach(REF).download(bad)


async def test_a_path_of_bytes(service: Service) -> None:
    """A bytes path is accepted; here no file exists at it."""
    async with A2E(KEY, base_url=service.base_url, trust_env=False) as a2e:
        with pytest.raises(InvalidInput, match="cannot be read"):
            await a2e.dubbing.start(**{**DUB, "source_url": BytesPath()})
        with pytest.raises(InvalidInput, match="cannot be read"):
            await a2e.files.upload(BytesPath())


async def test_a_caller_that_is_none_changes_nothing(service: Service) -> None:
    """As before the refusal, a start does not wait for a slot."""
    async with A2E(KEY, base_url=service.base_url, trust_env=False) as a2e:
        for bad in ("", 5, None):
            with pytest.raises(InvalidInput):
                a2e.for_caller(bad)  # type: ignore[arg-type]  # it is wrong
        await a2e.dubbing.start(**DUB)
        assert a2e.stats().unfinished_tasks == 0  # as long as no start waits for a slot


async def test_handles_are_shared_and_not_copied(service: Service) -> None:
    """A deep copy keeps the same task object; pickling stores only its ref."""
    async with A2E(KEY, base_url=service.base_url, trust_env=False) as a2e:
        task = await a2e.dubbing.start(**DUB)
        for thing in (task, a2e, a2e.dubbing, a2e.files):
            assert copy.copy({"it": thing})["it"] is thing
            assert copy.deepcopy({"it": thing})["it"] is thing
            with pytest.raises(A2EError, match="be pickled"):
                pickle.dumps([thing])
        copy.deepcopy(a2e.speech)
        with pytest.raises(A2EError, match="be pickled"):
            pickle.dumps(a2e.speech)
        output = (await task).outputs[0]
        for twin in (copy.copy(output), copy.deepcopy(output), pickle.loads(pickle.dumps(output))):
            assert isinstance(twin, Output)
            assert twin == output


async def test_blocking_handles(service: Service) -> None:
    def work() -> None:
        with blocking(KEY, base_url=service.base_url, trust_env=False) as a2e:
            task = a2e.dubbing.start(**DUB)
            for thing in (task, a2e, a2e.dubbing, a2e.files):
                assert copy.deepcopy([thing])[0] is thing
                with pytest.raises(A2EError, match="be pickled"):
                    pickle.dumps(thing)

    await asyncio.to_thread(work)


FORKING = """
import os, sys
from a2e_async import blocking
a2e = blocking("sk_test_0123456789", base_url=sys.argv[1], trust_env=False)
child = os.fork()
with a2e:
    a2e.dubbing.start(source_url="https://e.org/a.wav", target_lang="es")
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_blocking_made_before_a_fork(service: Service) -> None:
    """An unused client belongs to the process that uses it first."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORKING, service.base_url, cwd=ROOT
    )
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    assert service.starts() == 2
