"""The sandbox in a thread, as a fixture, as a process; shutting down; webhooks; benchmarks."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox._core.server import API_KEY

from .conftest import BODIES, DUBBING, MADE_WITH, STARTS, Api

ROOT = Path(__file__).parents[2]


def call(base: str, path: str, body: object = None, token: str = API_KEY) -> Any:
    """Send one request with the standard library; return the decoded answer."""
    request = urllib.request.Request(
        base + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_in_a_thread_for_synchronous_code() -> None:
    with Sandbox(speed=1000, durations={"dubbing": 20}) as sandbox:
        record = call(sandbox.base_url, STARTS["dubbing"], DUBBING)["data"]
        assert sandbox.ledger.charges[0].ids == (record["_id"],)
        time.sleep(0.05)
        (view,) = sandbox.tasks
        assert view.status == "completed"
        sandbox.faults.http_error(503)
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            call(sandbox.base_url, "/api/v1/user/remainingCoins")
        caught.value.close()
    with pytest.raises(OSError, match=r".+"):
        call(sandbox.base_url, "/api/v1/user/remainingCoins")


def test_thread_serves_other_loops() -> None:
    async def many(sandbox: Sandbox) -> int:
        async with aiohttp.ClientSession() as http:
            api = Api(sandbox, http)
            await asyncio.gather(*(api.start("dubbing") for _ in range(50)))
        return len(sandbox.tasks)

    with Sandbox() as sandbox:
        assert asyncio.run(many(sandbox)) == 50
        assert asyncio.run(many(sandbox)) == 100


@pytest.mark.a2e_sandbox(balance=12, api_key="other")
def test_fixture_takes_options_from_a_marker(a2e_sandbox: Sandbox) -> None:
    assert (a2e_sandbox.speed, a2e_sandbox.ledger.balance) == (6000, 12)
    assert call(a2e_sandbox.base_url, "/api/v1/user/remainingCoins", token="other")


def test_a_port_in_use_is_reported_in_both_forms() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=str(port)), Sandbox(port=port):
            pass

        async def again() -> None:
            async with Sandbox(port=port):
                pass

        with pytest.raises(OSError, match=str(port)):
            asyncio.run(again())


def test_a_sandbox_runs_once() -> None:
    sandbox = Sandbox()
    with sandbox:
        pass
    with pytest.raises(RuntimeError, match="runs only once"), sandbox:
        pass


def test_options_are_checked() -> None:
    for options in ({"speed": 0}, {"failure_rate": 2}, {"rate_limit": 0}):
        with pytest.raises(ValueError, match=r".+"):
            Sandbox(**options)  # type: ignore[arg-type]


def test_importing_the_package_and_the_plugin_is_cheap() -> None:
    code = (
        "import sys, a2e_async.sandbox, a2e_async.sandbox.pytest_plugin\n"
        "assert not {'aiohttp', 'av', 'attrs'} & set(sys.modules) - before, sys.modules"
    )
    code = "import sys, pytest, attrs\nbefore = set(sys.modules)\n" + code
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.anyio
async def test_shutdown_with_clients_still_connected() -> None:
    begun = time.monotonic()
    async with aiohttp.ClientSession() as http:
        async with Sandbox() as sandbox:
            api = Api(sandbox, http)
            sandbox.faults.slow(60)
            waiting = asyncio.create_task(api.get("/api/v1/user/remainingCoins"))
            await asyncio.sleep(0.05)
            await api.get("/api/v1/user/remainingCoins")
        with pytest.raises(aiohttp.ClientError):
            await waiting
    assert time.monotonic() - begun < 30  # the slow call would take 60 s


@pytest.mark.anyio
async def test_virtual_time() -> None:
    now = [0.0]
    options: dict[str, Any] = {"clock": lambda: now[0], "epoch": 1e9, "speed": 10}
    async with (
        Sandbox(durations={"dubbing": 100}, **options) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        api = Api(sandbox, http)
        record = await api.start("dubbing")
        assert record["createdAt"] == "2001-09-09T01:46:40.000Z"
        now[0] = 9.9
        assert (await api.detail("dubbing", record["_id"])).data["current_status"] == "processing"
        now[0] = 10
        assert (await api.detail("dubbing", record["_id"])).data["current_status"] == "completed"


def _process(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "a2e_async.sandbox", "--json", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_with_control_routes(number: signal.Signals) -> None:
    process, facts = _process("--speed", "1", "--seed", "1", "--exit-with-parent")
    assert facts["pid"] == process.pid
    base = facts["base_url"]
    ledger = _control(base)
    record = call(base, STARTS["talking_video"], BODIES["talking_video"])["data"]
    call(base, "/__sandbox__/clock", {"advance": 10_000})
    tasks = call(base, "/__sandbox__/tasks")["tasks"]
    assert [(task["id"], task["status"]) for task in tasks] == [(record["_id"], "completed")]
    assert (ledger["balance"], ledger["spent"]) == (100_000, 0)
    ledger = call(base, "/__sandbox__/ledger")
    assert ledger["charges"][0]["ids"] == [record["_id"]]
    assert ledger["calls"] == [{"role": "start", "kind": "talking_video", "count": 1}]
    assert (ledger["leaks"], ledger["results_made_with"]) == ([], MADE_WITH)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def _control(base: str) -> Any:
    reply = call(base, "/__sandbox__/faults", {"fault": "stuck", "kind": "dubbing"})
    assert reply["pending"] == ["stuck"]
    for path, body in (
        ("faults", {"fault": "_add"}),
        ("faults", {"fault": "stuck", "color": 1}),
        ("faults", []),
        ("clock", {}),
        ("clock", {"advance": -1}),
        ("nothing", {}),
    ):
        with pytest.raises(urllib.error.HTTPError, match="40") as caught:
            call(base, f"/__sandbox__/{path}", body)
        caught.value.close()
    return call(base, "/__sandbox__/ledger", token="")


def test_process_ends_with_its_parent() -> None:
    process, _ = _process("--exit-with-parent")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.anyio
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
async def test_webhooks_are_delivered_once(tmp_path: Path) -> None:
    from aiohttp import web

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    await asyncio.to_thread(
        subprocess.run,
        [*command, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    got: list[tuple[str, Any]] = []

    async def receive(request: web.BaseRequest) -> web.Response:
        got.append(
            (request.headers.get("X-A2e-Webhook-Token", ""), json.loads(await request.read()))
        )
        return web.Response(status=500)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(receive))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    hook = {"webhook_url": f"https://127.0.0.1:{runner.addresses[0][1]}/", "webhook_token": "mine"}
    options: dict[str, Any] = {"deliver_webhooks": True, "webhook_verify": False}
    async with Sandbox(**options) as sandbox, aiohttp.ClientSession() as http:
        api = Api(sandbox, http)
        good = await api.start("dubbing", **hook)
        sandbox.faults.fail("dubbing")
        bad = await api.start("dubbing", **hook)
        await api.start("dubbing")
        sandbox.advance(100_000)
        await asyncio.sleep(0.3)
        assert [delivery.status for delivery in sandbox.webhooks] == [500, 500]
    await runner.cleanup()
    received = {body["data"]["_id"]: (token, body["event"]) for token, body in got}
    assert received == {
        good["_id"]: ("mine", "task.completed"),
        bad["_id"]: ("mine", "task.failed"),
    }
    assert len(got) == 2
