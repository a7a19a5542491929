"""Every method of every namespace is called against the sandbox, and held to the contract.

The test fails for an operation that no method reaches, a method whose operation the contract
does not know, an input that no method sends, and a method that is not called here.
"""

import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from a2e_async import A2E
from a2e_async._namespaces import Namespaces
from a2e_async.errors import InvalidInput, NotFound
from a2e_async.kinds.namespace import RenamableNamespace, TaskNamespace
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.sandbox import Sandbox, check_media
from tests.samples import SAMPLES

from .calls import CALLS, EXTRAS
from .spec import CONTRACT, EXCLUDED, EXCLUDED_INPUTS, WEBHOOK
from .wire import Log, logged, uncovered

pytestmark = pytest.mark.anyio

ALWAYS = frozenset({"force_generate"})
"""Sent though the contract leaves it out: the safe choice where the service's is not."""


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    async with Sandbox(speed=3600, seed=7, make_results="stdlib") as made:
        yield made


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2E]:
    async with A2E(
        sandbox.api_key, base_url=sandbox.base_url, rate=None, poll_interval=0.05
    ) as made:
        yield made


WITHIN = frozenset(
    f"files.{name}"
    for name in (
        "bind_output",
        "check_unchanged",
        "is_upload_charged",
        "inspect_upload",
        "resolve",
        "refetch_output",
        "fresh_output",
        "upload_inspected",
        "url",
        "urls",
    )
)
"""Methods that namespaces and the starter use; they are not for users."""


def namespaces(a2e: A2E) -> dict[str, Any]:
    """Return every namespace by its name."""
    names = [*kind_names(), *(name for name in vars(Namespaces) if not name.startswith("_"))]
    found = {name: getattr(a2e, name) for name in names} | {"files": a2e.files}
    return found | {"legacy.streaming_avatar": a2e.legacy.streaming_avatar}


def methods(namespace: Any) -> set[str]:
    """Return the names of a namespace's public methods."""
    found: set[str] = set()
    for name, value in inspect.getmembers(type(namespace)):
        if not name.startswith("_") and callable(value):
            found.add(name)
    return found


def test_every_method_is_called(a2e: A2E) -> None:
    """The tables of calls name every public method, and no other."""
    common = {name for name in vars(TaskNamespace) if not name.startswith("_")}
    common |= {name for name in vars(RenamableNamespace) if not name.startswith("_")}
    ours: set[str] = set()
    for name, namespace in namespaces(a2e).items():
        own = methods(namespace)
        if name in kind_names():
            own -= common
        ours |= {f"{name}.{method}" for method in own}
    assert ours - WITHIN == set(CALLS) | set(EXTRAS)


def test_type_checkers_refuse_a_wrong_call_of_each(a2e: A2E) -> None:
    """For every namespace a file that type checkers read has a call that they must refuse."""
    typing = Path(__file__).parents[1] / "typing"
    code = "".join((typing / name).read_text() for name in ("every_kind.py", "namespaces.py"))
    wrong = {
        line.split("a2e.")[1].split(".")[0]
        for line in code.splitlines()
        if "a2e." in line and "# type: ignore" in line
    }
    assert {name.partition(".")[0] for name in namespaces(a2e)} <= wrong


@pytest.mark.parametrize("name", kind_names())
async def test_start_wait_download(a2e: A2E, sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """The main path of every kind: start, wait, download; the files are complete media."""
    kind = kind_named(name)
    task = await a2e.kind(name).start(**SAMPLES[name])
    assert len(sandbox.ledger.starts(name)) == 1
    if not kind.pollable:
        with pytest.raises(InvalidInput, match="cannot wait for it"):
            await task.wait()
        return
    record = await task.wait()
    assert record.done
    if kind.record.result_attribute:
        where = kind.record.result_attribute.removeprefix("record.")
        assert getattr(record, where)
        with pytest.raises(InvalidInput, match=where):
            await task.download(tmp_path)
        return
    paths = await task.download(tmp_path)
    assert len(paths) >= len(task.ids)
    wanted = {result.media for result in kind.outputs}
    for path in paths:
        media = check_media(path)
        assert media.ok, media.detail
        assert media.kind in wanted or "file" in wanted
    assert len(sandbox.ledger.starts(name)) == 1


async def everything(a2e: A2E, sandbox: Sandbox) -> Log:
    """Call every method of every namespace; return what went out."""
    with logged() as log:
        for name in kind_names():
            await every_common_method(a2e, name)
        for call in dict.fromkeys((*EXTRAS.values(), *CALLS.values())):
            await call(a2e, sandbox)
    return log


async def every_common_method(a2e: A2E, name: str) -> None:
    """Call the methods of every kind's namespace; missing operations are refused locally."""
    kind, namespace = kind_named(name), a2e.kind(name)
    task = await namespace.start(**SAMPLES[name])
    await namespace.quote(**SAMPLES[name])
    if kind.pollable:
        record = await task.wait()
        assert (await namespace.get(task.ids[0])).id == record.parts[0].id
        assert await namespace.attach("+".join(task.ids)).wait() == record
    if kind.list is not None:
        status = (
            kind.paging.status_filters[0] if kind.paging and kind.paging.status_filters else None
        )
        assert (await namespace.list(page=1, page_size=5)).items
        await namespace.list(page=1, page_size=5, status=status)
        assert [one async for one in namespace.iter()]
    if kind.processing_list is not None:
        await namespace.processing()
    if kind.batch_detail is not None:
        assert set(await namespace.get_many(task.ids)) == set(task.ids)
    if isinstance(namespace, RenamableNamespace):
        await namespace.rename(task.ids[0], "another name")
        assert (await namespace.get(task.ids[0])).name == "another name"
    if kind.delete is not None:
        for id in task.ids:
            await namespace.delete(id)
    if kind.detail_fallback is not None:
        with pytest.raises(NotFound):  # from both paths
            await namespace.get(task.ids[0])
    for has, call in (
        (kind.list, namespace.list),
        (kind.processing_list, namespace.processing),
        (kind.batch_detail, lambda: namespace.get_many(task.ids)),
        (kind.delete, lambda: namespace.delete(task.ids[0])),
    ):
        if has is None:
            with pytest.raises(InvalidInput):
                await call()


async def test_the_contract(a2e: A2E, sandbox: Sandbox) -> None:
    """All operations are reached, all inputs are sent, and every start's body is valid."""
    log = await everything(a2e, sandbox)
    assert not log.unknown, "methods that the contract does not know"
    left = {item.name for item in uncovered(log)}
    assert left == set(EXCLUDED), "operations without a method, or no longer without one"

    missing = {
        (name, wire)
        for name in log.operations
        for wire in CONTRACT[name].inputs - log.inputs[name] - WEBHOOK
        if CONTRACT[name].role != "start"
    }
    starts = {f"{k.start.method} {k.start.path}" for k in map(kind_named, kind_names())}
    declared = {pair for pair in EXCLUDED_INPUTS if pair[0] not in starts}
    assert missing - declared == set(), "inputs that no method sends"
    assert declared - missing == set(), "inputs that are sent after all"

    for name in log.operations:
        operation = CONTRACT[name]
        extra = log.inputs[name] - operation.inputs - ALWAYS
        assert not extra or not operation.inputs, f"{name}: {extra} are not in the contract"
        for body in log.bodies[name]:
            if operation.body:
                jsonschema.validate(body, dict(operation.body))

    covered = len(log.operations)
    print(  # noqa: T201  # the table that `pytest -s` shows
        f"\noperations: {covered} covered, {len(left)} excluded with a reason, "
        f"{len(CONTRACT)} in the contract\n"
        f"inputs: {sum(len(o.inputs) for o in CONTRACT.values())} in the contract, "
        f"{len(EXCLUDED_INPUTS)} excluded with a reason"
    )
