"""Laws 1, 2 and 6: a server that responds twice never mixes up calls, charges or files."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from a2e_async import A2E
from a2e_async.errors import InvalidRequest

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
        said = json.loads(body)["msg"]
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
    yield stuttering, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()


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
