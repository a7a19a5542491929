"""What web pages, https clients and clients behind a proxy need."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from a2e_async.sandbox import Sandbox

from .conftest import Api, Reply

pytestmark = pytest.mark.anyio

PAGE = "https://app.example"
ROOT = Path(__file__).parents[2]


async def preflight(api: Api, url: str, method: str, headers: str) -> Reply:
    sent = {
        "Origin": PAGE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return await api.fetch("OPTIONS", url, headers=sent)


async def finished_dubbing(api: Api) -> str:
    """Return the result URL of a finished dubbing."""
    record = await api.start("dubbing")
    api.sandbox.advance(100)
    return str((await api.detail("dubbing", record["_id"])).data["result_url"])


# -- web pages ---------------------------------------------------------------------------------


async def test_a_page_may_call_the_api_with_its_token(api: Api) -> None:
    url = f"{api.sandbox.base_url}/api/v1/userDubbing/startDubbing"
    allowed = await preflight(api, url, "POST", "authorization,content-type,x-lang")
    assert allowed.status == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == "*"
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization,content-type,x-lang"
    assert {"POST", "PUT", "DELETE"} <= set(
        allowed.headers["Access-Control-Allow-Methods"].split(", ")
    )
    assert api.sandbox.calls_total == 0
    for token, status in (("sandbox-key", 200), ("wrong", 401)):
        headers = {"Authorization": f"Bearer {token}", "Origin": PAGE}
        reply = await api.fetch(
            "GET", f"{api.sandbox.base_url}/api/v1/user/remainingCoins", headers=headers
        )
        assert reply.status == status
        assert reply.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_page_may_upload_and_read_parts_of_results(api: Api) -> None:
    permit = await api.post(
        "/api/v1/r2/upload-presigned-url",
        {"key": "a.png", "contentType": "image/png", "contentLength": 3, "expiresIn": 900},
    )
    upload = permit.data["uploadUrl"]
    assert (await preflight(api, upload, "PUT", "content-type")).status == 204
    headers = {"Origin": PAGE, "Content-Type": "image/png"}
    put = await api.fetch("PUT", upload, data=b"abc", headers=headers)
    assert (put.status, put.headers["Access-Control-Allow-Origin"]) == (200, "*")
    url = await finished_dubbing(api)
    assert (await preflight(api, url, "GET", "range")).status == 204
    part = await api.fetch("GET", url, headers={"Origin": PAGE, "Range": "bytes=0-9"})
    assert (part.status, len(part.body)) == (206, 10)
    exposed = set(part.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"ETag", "Content-Range", "Content-Length"} <= exposed
    assert part.headers["Access-Control-Allow-Origin"] == "*"
    gone = await api.fetch("GET", url[:-4], headers={"Origin": PAGE})
    assert (gone.status, gone.headers["Access-Control-Allow-Origin"]) == (403, "*")


async def test_a_streamed_prompt_can_be_read_by_a_page(api: Api) -> None:
    body = {"reference_id": "0" * 24, "prompt": "a dog", "negative_prompt": "", "stream": True}
    reply = await api.fetch(
        "POST",
        f"{api.sandbox.base_url}/api/v1/userImage2Video/prompt_extension",
        json={**body, "image_url": "https://example.com/a.png"},
        headers={"Authorization": f"Bearer {api.sandbox.api_key}", "Origin": PAGE},
    )
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


async def test_pages_cannot_read_the_control_routes_and_other_programs_see_no_cors(
    api: Api,
) -> None:
    control = f"{api.sandbox.base_url}/__sandbox__/ledger"
    assert (await preflight(api, control, "GET", "x")).status == 404
    read = await api.fetch("GET", control, headers={"Origin": PAGE})
    plain = await api.get("/api/v1/user/remainingCoins")
    for reply in (read, plain):
        assert reply.status == 200
        assert not [name for name in reply.headers if name.startswith("Access-Control")]


# -- https -------------------------------------------------------------------------------------

RUN = """
import asyncio, sys
from a2e_async import A2E

async def main():
    async with A2E() as a2e:
        record = await a2e.dubbing.run(source_url=sys.argv[1], target_lang="es")
        print(await record.output.save(sys.argv[2]))

asyncio.run(main())
"""


async def test_both_servers_serve_https_and_a_client_trusts_the_ca_file(tmp_path: Path) -> None:
    pytest.importorskip("trustme")
    talk = ROOT / "a2e_async/sandbox/media/speech.wav"
    async with Sandbox(tls=True, speed=6000, durations={"dubbing": 60}) as sandbox:
        assert sandbox.base_url.startswith("https://127.0.0.1:")
        assert sandbox.storage_url.startswith("https://127.0.0.1:")
        assert sandbox.ca_file is not None
        environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "A2E_BASE_URL": sandbox.base_url.replace("127.0.0.1", "localhost"),
            "A2E_API_KEY": sandbox.api_key,
            "SSL_CERT_FILE": str(sandbox.ca_file),
        }
        command = [sys.executable, "-c", RUN, str(talk), str(tmp_path / "talk.mp3")]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).stat().st_size > 1000
        assert sandbox.transfers == {"upload": 1, "result": 1}
        assert sandbox.leaks == ()
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(sandbox.base_url)
            context = ssl.create_default_context(cafile=sandbox.ca_file)
            api = Api(sandbox, http)
            reply = await api.get("/api/v1/user/remainingCoins", ssl=context)
            assert reply.status == 200
    assert not sandbox.ca_file.exists()


def test_tls_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"trustme: pip install 'a2e-async\[sandbox\]'"):
        Sandbox(tls=True, make_results="stdlib")


# -- a public URL ------------------------------------------------------------------------------


@asynccontextmanager
async def proxy(target: list[str]) -> AsyncIterator[str]:
    """Yield the URL of a reverse proxy that forwards the paths under ``/a2e`` to the target."""

    async def forward(request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path_qs.removeprefix("/a2e")
        headers = {key: value for key, value in request.headers.items() if key != "Host"}
        async with http.request(
            request.method, target[0] + path, data=await request.read(), headers=headers
        ) as answer:
            kept = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    runner = web.ServerRunner(web.Server(forward))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/a2e"
    await runner.cleanup()


async def test_all_urls_are_below_the_public_url(api: Api) -> None:
    target: list[str] = []
    async with (
        proxy(target) as public,
        Sandbox(public_url=f"{public}/", durations={"dubbing": 60}) as sandbox,
    ):
        target.append(sandbox.local_url)
        assert (sandbox.base_url, sandbox.storage_url) == (public, public)
        outside = Api(sandbox, api.http)
        source = await outside.upload("talk.wav", b"x" * 100, "audio/wav")
        assert source.startswith(f"{public}/cdn/")
        assert (await outside.fetch("GET", source)).body == b"x" * 100
        record = await outside.start("dubbing", source_url=source)
        missing = await outside.start("dubbing", source_url=f"{public}/cdn/none.wav")
        sandbox.advance(60)
        done = (await outside.detail("dubbing", record["_id"])).data
        assert done["result_url"].startswith(f"{public}/results/")
        assert len((await outside.fetch("GET", done["result_url"])).body) > 1000
        again = await outside.start("dubbing", source_url=done["result_url"])
        sandbox.advance(60)
        assert (await outside.detail("dubbing", again["_id"])).data["current_status"] == "completed"
        failed = (await outside.detail("dubbing", missing["_id"])).data
        assert failed["current_status"] == "failed"
        # A proxy on this machine would make the whole world local.
        for url in (sandbox.local_url, public):
            assert (await outside.fetch("GET", f"{url}/__sandbox__/ledger")).status == 404


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://example.com", "https://", "https://a.example/?x=1", "http://[x"],
)
def test_a_public_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="The public URL must be an http or https URL"):
        Sandbox(public_url=url)


# -- known ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize("voice", ["66dc61ec5148817d26f5b79e", "66dc3c1b7dc1f1c483cc5ab8"])
async def test_publicly_known_voices_speak(api: Api, voice: str) -> None:
    reply = await api.post("/api/v1/video/send_tts", {"msg": "Hello there.", "tts_id": voice})
    assert (await api.fetch("GET", reply.data)).status == 200
    groups = (await api.post("/api/v1/anchor/tts_list")).data
    assert voice in {item["value"] for group in groups for item in group["children"]}


async def test_documented_ids_of_a_cloned_voice_and_a_streaming_avatar(api: Api) -> None:
    body = {"msg": "Hello there.", "user_voice_id": "66f1234567890abcdef12345"}
    assert (await api.post("/api/v1/video/send_tts", body)).status == 200
    room = {"avatar_id": "676e1f054c86ff839eae2cc3", "expire_seconds": 60}
    assert (await api.post("/api/v1/streaming-avatar/agora-token", room)).status == 200
