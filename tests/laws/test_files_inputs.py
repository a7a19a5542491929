"""Inputs, URLs and proxies: refused before a charge, or sent unchanged."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from a2e_async import A2E, Output, RetryPolicy
from a2e_async._core.files.download import FileSession
from a2e_async.errors import A2EError, ConfigurationError, DecodeError, InvalidInput, TransferError

from .files_server import ID, Service, mp4, png, serving

pytestmark = pytest.mark.anyio

MP4 = mp4()
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(range(256)) * 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def back_off(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(FileSession, "back_off", back_off)


def client(service: Service, **options: Any) -> A2E:
    return A2E("k" * 20, base_url=service.url, rate=None, poll_interval=0.1, **options)


# -- malformed URLs --------------------------------------------------------------------------

MALFORMED = [
    "http://",
    "https://[",
    "http://[::1/x",
    "http://[::1]x/",
    "http://[zz]/x",
    "http://127.0.0.1:99999/x",
    "http://127.0.0.1:0/x",
    "http://127.0.0.1:-1/x",
    "http://host:port/x",
    "http://xn--a/",
    "http://\u2100.com/",
    f"http://{'a' * 64}.org/x.mp4",
    f"http://{'a.' * 130}org/x.mp4",
    "https://bucket..s3.example/x.mp4",
    "https://.example/x.mp4",
    "https://exa mple.com/x.mp4",
    "https://exa%20mple.com/x.mp4",
    "http://256.1.1.1/x.mp4",
    "https://exa\\mple/x",
    "https:///x.mp4",
    "https://?x",
    "http://\ud800.com/x",
]


@pytest.mark.parametrize("url", [*MALFORMED, "https://h.example/\x00", "https://h.example/a\nb"])
async def test_malformed_inputs_are_refused_before_anything_is_sent(
    service: Service, url: str
) -> None:
    starts: dict[str, dict[str, Any]] = {
        "dubbing": {"source_url": url, "target_lang": "es"},
        "image_to_video": {"image_url": url, "prompt": "p", "negative_prompt": "n"},
        "upscale": {"source_url": url},
        "virtual_try_on": {"image_urls": [f"{service.url}/a.png", url]},
        "head_swap": {"image_url": f"{service.url}/a.png", "target_image_url": url},
    }
    async with client(service) as a2e:
        for kind, inputs in starts.items():
            space: Any = getattr(a2e, kind)
            for call in (space.start, space.quote, space.run):
                with pytest.raises(InvalidInput) as caught:
                    await call(**inputs)
                assert caught.value.field in inputs
        with pytest.raises(InvalidInput) as caught:
            await a2e.files.download(url, "x.mp4")
        assert caught.value.field == "source"
        with pytest.raises(InvalidInput):
            await a2e.dubbing.start(source_url=Output(url=url, media="audio"), target_lang="es")
    assert service.paid == []
    assert service.requests == []


@pytest.mark.parametrize("url", MALFORMED)
async def test_malformed_results_redirects_and_upload_urls(
    service: Service, tmp_path: Path, url: str
) -> None:
    (tmp_path / "in.wav").write_bytes(WAV)
    service.results = [url]
    location = url.encode("utf-8", "surrogateescape" if "\ud800" not in url else "ignore")

    async def redirects(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location.decode()})

    service.files["/r"] = redirects
    service.presign = {"uploadUrl": url}
    async with client(service) as a2e:
        record = await a2e.attach(f"dubbing:{ID}").wait()
        for output in record.outputs:
            for call in (output.save(f"{tmp_path}/"), output.save(tmp_path / "x"), output.read()):
                with pytest.raises(TransferError):
                    await call
            with pytest.raises(TransferError):
                async with output.open() as chunks:
                    _ = [chunk async for chunk in chunks]
        with pytest.raises(TransferError):
            await a2e.files.download(f"{service.url}/r", tmp_path / "y")
        with pytest.raises((DecodeError, TransferError)):
            await a2e.files.upload(tmp_path / "in.wav")
        with pytest.raises(A2EError):
            await a2e.attach(f"dubbing:{ID}").download(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


async def test_a_malformed_result_url_is_requested_again(service: Service, tmp_path: Path) -> None:
    service.results = ["http://[::1/x.mp4", f"{service.url}/files/out.mp4"]
    service.give("/files/out.mp4", MP4)
    async with client(service) as a2e:
        output = (await a2e.attach(f"dubbing:{ID}").wait()).output
        assert (await output.save(tmp_path / "x.mp4")).read_bytes() == MP4


async def test_hosts_of_other_scripts_are_sent_as_dns_spells_them(service: Service) -> None:
    from a2e_async._core.schema.inputs import clean_url

    assert clean_url("https://b\u00fccher.example/\u00fc.wav", "f") == (
        "https://xn--bcher-kva.example/\u00fc.wav"
    )


# -- sent unchanged --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a.mp4?", "/a.mp4?"),
        ("/a.mp4?sig=a%2Fb%7E+c==&x=%e2%82%ac", "/a.mp4?sig=a%2Fb%7E+c==&x=%e2%82%ac"),
        ("/a%20b.mp4?sig=%2f", "/a%20b.mp4?sig=%2f"),
        ("/a b.mp4?sig=%2f%7E", "/a%20b.mp4?sig=%2f%7E"),
        ("/\u00fc.mp4?sig=%2f%7E", "/%C3%BC.mp4?sig=%2f%7E"),
        ("/a.mp4?sig=%2f|%7E", "/a.mp4?sig=%2f%7C%7E"),
        ("/100%.mp4?sig=%2f", "/100%25.mp4?sig=%2f"),
        ("/a.mp4?q=1?r=2&&x", "/a.mp4?q=1?r=2&&x"),
        ("/./a/../b.mp4?x", "/./a/../b.mp4?x"),
        ("//a//b.mp4?x=;,:@!$'()*", "//a//b.mp4?x=;,:@!$'()*"),
        ("/a.mp4?x#frag", "/a.mp4?x"),
    ],
)
async def test_signed_urls_keep_their_spelling(
    service: Service, tmp_path: Path, given: str, sent: str
) -> None:
    (tmp_path / "in.wav").write_bytes(WAV)
    service.results = [service.url + given]

    async def redirects(_: web.Request) -> web.StreamResponse:
        location = f"{service.url}{given}" if given.startswith("//") else given
        return web.Response(status=307, headers={"Location": location})

    service.files["/redirects"] = redirects
    service.presign = {"uploadUrl": service.url + given}
    async with client(service) as a2e:
        output = (await a2e.attach(f"dubbing:{ID}").wait()).output
        for call in (output.read(), a2e.files.download(f"{service.url}/redirects", tmp_path / "x")):
            with pytest.raises(TransferError, match="404"):
                await call
        await a2e.files.upload(tmp_path / "in.wav")
    assert service.requests == [sent, "/redirects", sent, sent]


# -- local media -----------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 80678\n"
NOT_MEDIA = [POINTER, b'{"error": "not found"}', bytes(9999), b"hello", b"<html>", b"\0\1\2\3" * 99]
AUDIO = ("wav", "mp3", "flac", "ogg", "opus", "aac", "m4a", "aiff", "amr")
VIDEO = ("mp4", "mov", "webm", "mkv", "avi", "m4v", "3gp", "ogv")
IMAGE = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heic")


@pytest.mark.parametrize("data", NOT_MEDIA, ids=range(len(NOT_MEDIA)))
async def test_what_is_no_media_is_not_paid_for(
    service: Service, tmp_path: Path, data: bytes
) -> None:
    async with client(service) as a2e:
        for ending in (*AUDIO, *VIDEO, *IMAGE):
            path = tmp_path / f"in.{ending}"
            path.write_bytes(data)
            with pytest.raises(InvalidInput) as caught:
                await a2e.files.upload(path)
            assert caught.value.field == "source"
            image = a2e.image_to_video.start(image_url=path, prompt="p", negative_prompt="n")
            sound = a2e.dubbing.start(source_url=path, target_lang="es")
            for start in (image, sound):
                with pytest.raises(InvalidInput):
                    await start
        with pytest.raises(InvalidInput):
            await a2e.dubbing.start(source_url=data, target_lang="es")
        with pytest.raises(InvalidInput):
            await a2e.image_to_video.start(image_url=data, prompt="p", negative_prompt="n")
    assert service.paid == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.wav", WAV),
        ("a.mp3", b"ID3\x04" + bytes(600)),
        ("a.mp3", bytes(700) + b"\xff\xfb\x90\x64" * 99),
        ("a.mp3", b"\xff\xfb\x90\x64" + bytes(600)),
        ("a.aac", b"\xff\xf1\x50\x80" + bytes(600)),
        ("a.flac", b"fLaC" + bytes(600)),
        ("a.mp4", MP4),
        ("a.mp4", b"\0\0\0\x18styp" + bytes(600)),
        ("a.mov", b"\0\0\0\x08wide" + bytes(600)),
        ("a.png", png()),
        ("a.jpg", png()),
        ("a.tiff", b"II+\0" + bytes(600)),
        ("notes.txt", b"text"),
        ("no-ending", b"text"),
    ],
)
async def test_what_its_name_says_is_taken(
    service: Service, tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    async with client(service) as a2e:
        await a2e.files.upload(tmp_path / name)
        await a2e.files.upload(data)
    assert set(service.stored.values()) == {data}


@pytest.mark.parametrize("how", ["removed", "changed", "replaced"])
async def test_files_that_change_before_their_turn_cost_nothing(
    service: Service, tmp_path: Path, how: str
) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(png(100))
    second.write_bytes(png(200))

    async with client(service) as a2e:
        files = a2e._context.files
        prepared = [await files.resolve(p, ("image",), "image_urls") for p in (first, second)]
        if how == "removed":
            second.unlink()
        elif how == "changed":
            second.write_bytes(png(300))
        else:
            second.unlink()
            second.write_bytes(png(200))
        with pytest.raises(TransferError, match="nothing was sent or charged"):
            await files.check_unchanged(*prepared)
        with pytest.raises(TransferError, match="nothing was sent or charged"):
            await files.upload_inspected(prepared[1])
    assert service.paid == []


async def test_other_content_of_the_same_size_and_time_is_not_sent(
    service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    async with client(service) as a2e:
        prepared = await a2e._context.files.resolve(path, ("audio",), "source")
        state = path.stat()
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"other")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        with pytest.raises(TransferError, match="changed since"):
            await a2e._context.files.upload_inspected(prepared)
    assert service.stored == {}


# -- proxies ---------------------------------------------------------------------------------


class Proxy:
    """A forward proxy that records requests and responds itself."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.auth: list[str | None] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen.append(head.split(" ")[1])
        said = [line for line in head.split("\r\n") if line.lower().startswith("proxy-auth")]
        self.auth.append(said[0] if said else None)
        api = "/api/" in self.seen[-1]
        result = "http://store.example/out.mp4?a=b%7E"
        body = (
            b'{"code":0,"data":{"_id":"%s","current_status":"completed","result_url":"%s"}}'
            % (ID.encode(), result.encode())
            if api
            else MP4
        )
        if api and "all" in self.seen[-1]:
            body = b'{"code":0,"data":[]}'
        kind = b"application/json" if api else b"video/mp4"
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
            b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Proxy, str]]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    made = Proxy()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    async with server:
        yield made, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("env", "option"),
    [
        ({"HTTP_PROXY": "http://{}"}, None),
        ({"http_proxy": "{}"}, None),
        ({"http_proxy": " http://{} "}, None),
        ({"ALL_PROXY": "http://{}"}, None),
        ({"all_proxy": "{}"}, None),
        ({"ALL_PROXY": "http://{}\n"}, None),
        ({"HTTP_PROXY": "http://us%40er:pass%3Aword@{}"}, None),
        ({"ALL_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://{}"}, None),
        ({"HTTP_PROXY": "http://{}", "NO_PROXY": "other.example"}, None),
        ({}, "http://{} "),
        ({}, "{}"),
    ],
)
async def test_api_and_files_take_one_proxy(
    proxy: tuple[Proxy, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    env: dict[str, str],
    option: str | None,
) -> None:
    made, where = proxy
    for name, value in env.items():
        monkeypatch.setenv(name, value.format(where))
    given = None if option is None else option.format(where)
    async with A2E("k" * 20, base_url="http://api.test", proxy=given) as a2e:
        output = (await a2e.attach(f"dubbing:{ID}").wait()).output
        assert (await output.save(tmp_path / "a.mp4")).read_bytes() == MP4
    assert made.seen[-1] == "http://store.example/out.mp4?a=b%7E"
    assert "/api/" in made.seen[0]
    assert len(set(made.auth)) == 1
    assert "Bearer" not in str(made.auth)


async def test_the_api_key_is_not_given_to_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuses, "127.0.0.1", 0)
    async with server:
        where = f"http://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        quick = RetryPolicy(initial=0.001, max_attempts=2)
        async with A2E("k" * 20, proxy=where, base_url="https://api.example", retry=quick) as a2e:
            with pytest.raises(A2EError):
                await a2e.credits.balance()
    assert heads
    assert all(head.startswith(b"CONNECT api.example:443") for head in heads)
    assert all(b"Proxy-Authorization: Basic" in head for head in heads)
    assert b"k" * 20 not in b"".join(heads)


async def test_both_leave_out_what_no_proxy_names(
    proxy: tuple[Proxy, str],
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    made, where = proxy
    monkeypatch.setenv("ALL_PROXY", where)
    service.give("/files/out.mp4", MP4)
    for spared in ("127.0.0.1", "*", service.url.removeprefix("http://")):
        monkeypatch.setenv("NO_PROXY", spared)
        async with client(service) as a2e:
            output = (await a2e.attach(f"dubbing:{ID}").wait()).output
            await output.save(tmp_path / "a.mp4")
    assert made.seen == []


async def test_a_proxys_password_is_in_no_error(
    monkeypatch: pytest.MonkeyPatch, proxy: tuple[Proxy, str], tmp_path: Path
) -> None:
    shown: list[str] = []
    for value in ("http://me:pass-word@127.0.0.1:1", "socks5://me:pass-word@127.0.0.1:1"):
        monkeypatch.setenv("ALL_PROXY", value)
        async with A2E("k" * 20) as a2e:
            with pytest.raises((TransferError, ConfigurationError)) as caught:
                await a2e.files.download("http://store.example/a.mp4", tmp_path / "a.mp4")
            error: BaseException | None = caught.value
            while error is not None:
                shown += [str(error), repr(error), repr(vars(error))]
                error = error.__cause__ or error.__context__
            shown += [repr(a2e), repr(a2e.files)]
    assert shown
    assert "pass-word" not in " ".join(shown)
