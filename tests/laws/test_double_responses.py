"""Laws 1, 2 and 6: a server that responds twice never mixes up calls, charges or files."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from a2e_async import A2E, RetryPolicy
from a2e_async.errors import InvalidRequest
from a2e_async.events import Attempt, Event, StartLost

KEY = "sk_test_0123456789"
VOICE = "66ea4dd87db10c73fa29b570"


class StutteringServer:
    """Sends each response again a moment later, while its connection is idle."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.repeated = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                response = self.respond(*await _read_request(reader))
                self.repeated.clear()
                for _ in range(2):
                    writer.write(response)
                    await writer.drain()
                    await asyncio.sleep(0.05)
                self.repeated.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.repeated.set()
        finally:
            writer.close()

    def respond(self, path: str, body: bytes) -> bytes:
        """Return a response that only fits its own request."""
        if path.startswith("/files/"):
            return _response(200, WAVE + path.encode(), "audio/wav")
        fields = json.loads(body)
        if "source_url" in fields:
            self.calls.append(id := fields["source_url"][-28:-4])
            record = {"_id": id, "name": fields["name"], "current_status": "processing"}
            return _response(200, json.dumps({"code": 0, "data": record}).encode())
        said = fields["msg"]
        self.calls.append(said)
        if said == "refuse":
            return _response(400, b'{"code": 4000, "msg": "no"}')
        data = {"code": 0, "data": f"https://cdn.example/{said}.mp3"}
        return _response(200, json.dumps(data).encode())


WAVE = b"RIFF\xff\xff\xff\xffWAVEfmt "


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return head.split(" ", 2)[1], body


def _response(status: int, body: bytes, mime: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {mime}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[tuple[StutteringServer, str]]:
    stuttering = StutteringServer()
    listening = await asyncio.start_server(stuttering, "127.0.0.1", 0)
    yield stuttering, f"http://127.0.0.1:{port_of(listening)}"
    listening.close()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a certificate of localhost and of its key."""
    directory = tmp_path_factory.mktemp("tls")
    made, key = directory / "certificate.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return made, key


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of a proxy that only knows CONNECT."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    host, _, port = head.split(" ")[1].partition(":")
    assert head.startswith("CONNECT ")
    below, above = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    await asyncio.gather(pump(reader, above), pump(below, writer), return_exceptions=True)


NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@NEEDS_OPENSSL
@pytest.mark.parametrize("way", ["plain", "tls", "proxy"])
async def test_each_start_gets_its_own_task(
    way: str, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS and through a proxy, too. A start that was not written is not taken for sent."""
    serving = None if way == "plain" else ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if serving is not None:
        serving.load_cert_chain(*certificate)
        trusting = ssl.create_default_context(cafile=certificate[0])
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
    stuttering, events = StutteringServer(), list[Event]()
    listening = await asyncio.start_server(stuttering, "127.0.0.1", 0, ssl=serving)
    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    a2e = A2E(
        KEY,
        base_url=f"{'http' if serving is None else 'https'}://localhost:{port_of(listening)}",
        journal=tmp_path / "jobs.db",
        rate=None,
        trust_env=False,
        proxy=f"http://127.0.0.1:{port_of(proxy)}" if way == "proxy" else None,
        on_event=events.append,
        retry=RetryPolicy(initial=0.001),
    )
    ids = [f"66ea4dd87db10c73fa29b5{n:02x}" for n in range(4)]
    async with a2e:
        for id in ids:
            url = f"https://media.example/{id}.wav"
            task = await a2e.dubbing.start(source_url=url, target_lang="es", key=id)
            assert task.ids == (id,)
            await stuttering.repeated.wait()
        assert a2e.journal is not None
        entries, _ = await a2e.journal.entries()
    assert [entry.ids for entry in entries] == [(id,) for id in ids]
    assert stuttering.calls == ids
    assert not [event for event in events if isinstance(event, StartLost)]
    failed = [one.error for one in events if isinstance(one, Attempt) and one.error]
    assert failed == ["ConnectError"] * 3  # each found the second response, and was sent anew
    listening.close()
    proxy.close()


async def test_each_call_gets_its_own_response(server: tuple[StutteringServer, str]) -> None:
    """Also after a refusal: taken for the next call's own, it would allow a second charge."""
    stuttering, url = server
    async with A2E(KEY, base_url=url, rate=None, trust_env=False) as a2e:
        for said in ("one", "refuse", "two", "three"):
            if said == "refuse":
                with pytest.raises(InvalidRequest):
                    await a2e.speech.say(said, tts_id=VOICE)
            else:
                output = await a2e.speech.say(said, tts_id=VOICE)
                assert output.url == f"https://cdn.example/{said}.mp3"
            await stuttering.repeated.wait()
    assert stuttering.calls == ["one", "refuse", "two", "three"]


async def test_each_file_is_its_own(server: tuple[StutteringServer, str], tmp_path: Path) -> None:
    stuttering, url = server
    async with A2E(KEY, base_url=url, rate=None, trust_env=False) as a2e:
        for name in ("one", "two", "three"):
            path = await a2e.files.download(f"{url}/files/{name}.wav", tmp_path / f"{name}.wav")
            assert path.read_bytes() == WAVE + f"/files/{name}.wav".encode()
            await stuttering.repeated.wait()
