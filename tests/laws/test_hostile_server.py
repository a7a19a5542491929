"""The hostile server itself: independent of the package, and correct without faults."""

import ast
import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests import hostile as package
from tests.hostile import KINDS, Fault, HostileServer, Step
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES


def test_it_knows_nothing_of_the_package() -> None:
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            assert not any(name.startswith("a2e_async") for name in names), path.name


@pytest.mark.parametrize("kind", SAMPLES)
async def test_every_kind_runs_where_it_behaves(
    hostile: HostileServer, make_client: MakeClient, kind: str, tmp_path: Path
) -> None:
    a2e = make_client()
    task = await a2e.kind(kind).start(**SAMPLES[kind])
    assert list(task.ids) == hostile.ledger.ids
    if not task.kind.pollable:
        return
    record = await task.wait(timeout=20)
    assert record.status.name == "SUCCEEDED"
    for output in record.outputs:
        id = output.ref.partition(":")[2] if output.ref else task.ids[0]
        assert await output.read() == hostile.tasks[id].content()
    assert bool(record.outputs) == (KINDS[kind].media is not None)
    assert not hostile.unknown_requests
    assert not hostile.keys_at_storage


async def test_speech_upload_quote_and_balance(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    a2e = make_client()
    await a2e.speech.say("Good morning.", tts_id="66ea4dd87db10c73fa29b5aa")
    picture = tmp_path / "face.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"x" * 100)
    url = await a2e.files.upload(picture)
    assert await a2e.files.download(url, tmp_path / "back.png")
    assert (tmp_path / "back.png").read_bytes() == picture.read_bytes()
    assert (await a2e.credits.balance()).coins == 100_000 - hostile.ledger.coins
    assert await a2e.dubbing.quote(**SAMPLES["dubbing"]) == 7
    assert [start.kind for start in hostile.ledger] == ["speech", "presign"]


async def test_faults_come_in_their_order_and_number(hostile: HostileServer) -> None:
    hostile.faults.add(Step.ACCOUNT, Fault.status(303), times=2)
    hostile.faults.add(Step.ACCOUNT, Fault.page(404), skip=1)
    url = f"{hostile.base_url}/api/v1/user/remainingCoins"
    seen = []
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            async with session.get(url, allow_redirects=False) as response:
                seen.append(response.status)
    assert seen == [303, 303, 200, 404, 200]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.encoded("gzip"),
        Fault.encoded("gzip-members"),
        Fault.encoded("deflate"),
        Fault.encoded("raw-deflate"),
        Fault.encoded("aws-chunked"),
        Fault.chunked(),
        Fault.slow(0.01),
        Fault.cut(1.0, reset=False, length=False),
    ],
    ids=lambda fault: fault.name,
)
async def test_harmless_forms_hold_the_same_bytes(hostile: HostileServer, fault: Fault) -> None:
    task = hostile.accept(KINDS["dubbing"], {})[0]
    hostile.faults.add(Step.FILE, fault)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        url = f"{hostile.base_url}/files/{task.id}.wav?X-Amz-Signature=x-0"
        async with session.get(url) as response:
            assert response.status == 200
            assert fault.name.startswith("encoded") or await response.read() == task.content()


@pytest.mark.parametrize(
    "fault",
    [
        Fault.disconnect(),
        Fault.cut(),
        Fault.cut(reset=False),
    ],
    ids=lambda fault: fault.name,
)
async def test_broken_connections_are_noticed(hostile: HostileServer, fault: Fault) -> None:
    hostile.faults.add(Step.ACCOUNT, fault, times=None)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.get(f"{hostile.base_url}/api/v1/user/remainingCoins") as response:
                await response.read()


async def test_a_reset_is_no_orderly_end(hostile: HostileServer) -> None:
    hostile.faults.add(Step.ACCOUNT, Fault.cut(length=False))
    address = hostile.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(address[0], int(address[1]))
    writer.write(b"GET /api/v1/user/remainingCoins HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    writer.transport.abort()


async def test_a_late_acceptance_is_in_the_ledger_later(hostile: HostileServer) -> None:
    hostile.faults.add(Step.START, Fault.page(504), accept_late=0.02)
    url = f"{hostile.base_url}{KINDS['dubbing'].start.partition(' ')[2]}"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json={"name": "n"}) as response:
            assert response.status == 504
        assert not hostile.ledger
        async with session.get(f"{hostile.base_url}/nothing", timeout=None) as response:
            assert response.status == 404
        while not hostile.ledger:
            async with session.get(f"{hostile.base_url}/nothing") as response:
                assert response.status == 404


async def test_lists_lag_repeat_overlap_and_ignore_pages(
    hostile: HostileServer,
) -> None:
    for n in range(5):
        hostile.accept(KINDS["dubbing"], {"name": f"n{n}"})
    behaviour = hostile.behaviour
    url = f"{hostile.base_url}/api/v1/userDubbing/allRecords"

    async def names(page: int) -> list[str]:
        query = {"pageNum": str(page), "pageSize": "2"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, params=query) as response,
        ):
            return [row["name"] for row in (await response.json())["data"]["rows"]]

    assert [await names(1), await names(2), await names(3)] == [["n4", "n3"], ["n2", "n1"], ["n0"]]
    behaviour.page_overlap = 1
    assert await names(2) == ["n3", "n2", "n1"]
    behaviour.ignores_paging = True
    assert await names(2) == ["n4", "n3"]
    behaviour.repeats_rows, behaviour.respell = True, str.upper
    assert await names(1) == ["N4", "N4"]
    behaviour.list_lag = 60
    assert await names(1) == []
