"""All faults in poll responses, for all kinds: the wait continues and gets its result."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from a2e_async import A2E, Record, RetryPolicy
from a2e_async._core.journal.protocol import State
from a2e_async.errors import A2EError
from tests.hostile import KINDS, Fault, HostileServer, Step
from tests.hostile.catalogue import FILE_FAULTS, LOST
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES

WATCHED: Sequence[str] = tuple(name for name in SAMPLES if name != "wan30")
"""All kinds except the one without a status operation."""
POLLS = (Step.DETAIL, Step.BATCH_DETAIL, Step.LIST, Step.PROCESSING)
QUICK = RetryPolicy(initial=0.001, max_delay=0.01, max_attempts=2)


@pytest.fixture(autouse=True)
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit downloads to two attempts instead of six."""
    monkeypatch.setattr("a2e_async._core.files.http_download.MAX_ATTEMPTS", 2)


@pytest.mark.parametrize(
    "fault",
    [
        *LOST,
        Fault.refusal(404, 404, "record not found"),
        Fault.refusal(400, 400, "cannot read"),
        Fault.refusal(429, 429, "too many requests", Retry_After="0"),
        Fault.field("_id", "6b0b7d2f000000000000ffff"),
        Fault.field("_id", None),
        Fault.field("createdAt", {}),
        Fault.field("coins", 2**70),
    ],
    ids=lambda fault: fault.name,
)
async def test_poll(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    a2e = make_client(journal=tmp_path / "jobs.db", retry=QUICK)
    hostile.behaviour.duration = 0.15
    tasks = await asyncio.gather(
        *(a2e.kind(kind).start(**SAMPLES[kind], key=kind) for kind in WATCHED)
    )
    for kind in WATCHED:
        for step in POLLS:
            hostile.faults.add(step, fault, kind=kind, times=2)
    ends = await asyncio.gather(*(task.wait(timeout=20) for task in tasks), return_exceptions=True)
    wrong = [
        f"{kind}: {type(end).__name__}: {str(end)[:80]}"
        for kind, end in zip(WATCHED, ends, strict=True)
        if not isinstance(end, Record) or bool(end.outputs) != (KINDS[kind].media is not None)
    ]
    assert not wrong, "\n".join(wrong)


async def save(a2e: A2E, kind: str, directory: Path) -> Exception | None:
    """Start or resume a job and save its results; return the error, if any."""
    try:
        task = await a2e.kind(kind).start(**SAMPLES[kind], key=kind)
        await task.download(directory)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("fault", FILE_FAULTS, ids=lambda fault: fault.name)
async def test_file(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    """Whatever the file store returns: no wrong file has a final name; the next run saves all."""
    directory = tmp_path / "out"
    hostile.behaviour.duration = 0.0
    kinds = ("dubbing", "talking_video", "flux2", "image_to_video")
    hostile.faults.add(Step.FILE, fault, times=None)
    wrong: list[str] = []
    for run in (1, 2):
        async with make_client(journal=tmp_path / "jobs.db", retry=QUICK) as a2e:
            ends = await asyncio.gather(*(save(a2e, kind, directory) for kind in kinds))
            assert a2e.journal is not None
            entries = {entry.key: entry for entry in (await a2e.journal.entries())[0]}
        true = {id: task.content() for id, task in hostile.tasks.items()}
        for path in directory.glob("*"):
            content = path.read_bytes()
            if not path.name.endswith((".part", ".json")) and content not in true.values():
                wrong.append(f"run {run}: {path.name} holds {content[:30]!r}")
        for kind, end in zip(kinds, ends, strict=True):
            if end is not None and not isinstance(end, A2EError):
                wrong.append(f"run {run}: {kind}: {type(end).__name__}: {end!s:.80}")
            if end is not None and entries[kind].state is State.SAVED:
                wrong.append(f"run {run}: {kind}: closed as saved, and it is not")
            if run == 2 and end is not None:
                wrong.append(f"run {run}: {kind}: {type(end).__name__}: {end!s:.80}")
        hostile.faults.clear()
    saved = sorted(path.read_bytes() for path in directory.glob("*") if path.is_file())
    if saved != sorted(task.content() for task in hostile.tasks.values()):
        wrong.append(f"{len(saved)} files of {len(hostile.tasks)}")
    assert not wrong, "\n".join(wrong)
