"""A service that repeats all secrets it has received, in every part of its responses."""

import asyncio
import base64
import json
import urllib.parse
from collections.abc import Callable
from typing import Any

from aiohttp import web

# In pieces, so that source lines in tracebacks do not contain them.
KEY = "sk_" + "plantedkey/" + "Zq81+xT"
PROXY_PASSWORD = "proxy" + "Pw4Zq82xT"
DATABASE_PASSWORD = "database" + "Pw4Zq83xT"
WEBHOOK_SECRET = "webhook" + "Secret4Zq84xT"
INPUT = "input" + "Signature4Zq85xT"
RESULT = "result" + "Signature4Zq86xT"
UPLOAD = "upload" + "Signature4Zq87xT"

SECRETS = {
    "API key": KEY,
    "proxy password": PROXY_PASSWORD,
    "database password": DATABASE_PASSWORD,
    "webhook secret": WEBHOOK_SECRET,
    "signature of an input": INPUT,
    "signature of a result": RESULT,
    "signature of an upload": UPLOAD,
}

INPUT_URL = f"https://bucket.s3.example/private.wav?X-Amz-Signature={INPUT}"
ID = "66ea4dd80000000000000001"

WAVE = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(40)


def spellings(url: str, key: str) -> str:
    """Return a text that quotes a URL and the key in many ways."""
    return "\n".join(
        [
            f"cannot read {url}",
            url.replace("https", "HTTPS"),
            url.replace("/", "\\/"),
            url.replace("?", "\\u003f").replace("=", "\\u003d").replace("&", "\\u0026"),
            url.replace("&", "&amp;"),
            urllib.parse.quote(url, safe=""),
            urllib.parse.quote(urllib.parse.quote(url, safe=""), safe=""),
            url.partition("//")[2],
            "?" + url.partition("?")[2],
            url.replace("Signature=", "\nSignature="),
            json.dumps({"url": url, "token": url.partition("=")[2]}),
            f"Authorization: Bearer {key}",
            f"authorization={key}",
            json.dumps({"headers": {"Authorization": key}}),
            key.upper(),
            key[::-1],
            urllib.parse.quote(key, safe=""),
            base64.b64encode(key.encode()).decode(),
            base64.b64encode(f"Bearer {key}".encode()).decode(),
        ]
    )


class EchoServer:
    """One account with one task of status ``status``."""

    def __init__(self) -> None:
        self.base = ""
        self.status = "completed"
        self.bodies: list[Any] = []
        self.refuse: Callable[[str], web.StreamResponse] | None = None
        """Builds the response to a start from the secrets to quote."""
        self.store_status = 200
        self.hold: asyncio.Event | None = None
        """Responses are delayed until this event is set."""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "EchoServer":
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def quoted(self) -> str:
        """Return a text with everything that the service may repeat."""
        sent = "\n".join(json.dumps(body) for body in self.bodies)
        result = f"{self.base}/files/a.wav?X-Amz-Signature={RESULT}"
        return "\n".join([spellings(INPUT_URL, KEY), spellings(result, KEY), sent])

    def record(self) -> dict[str, Any]:
        """Return a task's record, which repeats everything in known and unknown fields."""
        made: dict[str, Any] = {
            "_id": ID,
            "current_status": self.status,
            "coins": 3,
            "unknown": {"deep": [INPUT_URL, f"Bearer {KEY}"], "url": INPUT_URL, INPUT_URL: 1},
            INPUT_URL: None,
            f"of {INPUT_URL}": {KEY: None},
            "trace": KEY,
            **(self.bodies[-1] if self.bodies and isinstance(self.bodies[-1], dict) else {}),
        }
        if self.status == "completed":
            made["result_url"] = f"{self.base}/files/a.wav?X-Amz-Signature={RESULT}"
        if self.status == "failed":
            made |= {"faild_message": self.quoted(), "failed_code": f"E {KEY} {INPUT_URL}"}
        return made

    def ok(self, data: Any) -> web.Response:
        """Return a successful response in which every part repeats the key."""
        said = {"code": 0, "data": data, "msg": f"done for {KEY}", "trace_id": KEY}
        return web.json_response(said, headers={"X-Trace-Id": KEY, "X-Key": KEY})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if self.hold is not None:
            await self.hold.wait()
        if path.startswith("/files/"):
            if self.store_status != 200:
                return web.Response(status=self.store_status, text=f"<Code>{RESULT}</Code>")
            return web.Response(body=WAVE, content_type="audio/wav")
        if path.startswith("/put/"):
            await request.read()
            return web.Response(status=403, text=f"<Code>No</Code> {UPLOAD} {request.url}")
        body = await request.json() if request.can_read_body else None
        if path.endswith("/startDubbing"):
            self.bodies.append(body)
            if self.refuse is not None:
                return self.refuse(self.quoted())
            return self.ok({**self.record(), "current_status": "initialized"})
        if path.endswith("/upload-presigned-url"):
            return self.ok(
                {
                    "uploadUrl": f"{self.base}/put/a?X-Amz-Signature={UPLOAD}",
                    "cdnUrl": "https://cdn.example/a.wav",
                }
            )
        if path.endswith("/send_tts"):
            return self.ok(f"{self.base}/files/a.wav?X-Amz-Signature={RESULT}")
        if path.endswith(("/anchor/list", "/allBackground")):
            return self.ok([{**self.record(), "name": INPUT_URL}])
        if path.endswith(("/allRecords", "/allProcessing")):
            return self.ok([])
        if ID in path:
            return self.ok(self.record())
        said = {"code": 404, "msg": self.quoted(), "trace_id": f"t {KEY}", "errors": [INPUT_URL]}
        return web.json_response(said, status=404)
