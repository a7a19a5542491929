"""Law 6: a file with its final name is complete and has the claimed content."""

import asyncio
import base64
import errno
import gzip
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from a2e_async import A2E, Output
from a2e_async._core.files.download import FileSession
from a2e_async.account.files import bound_output
from a2e_async.errors import A2EError, ClientClosed, InvalidInput, TransferError

from .files_server import ID, Service, mp4, png, raw_server, serving

pytestmark = pytest.mark.anyio

MP4 = mp4()
BIG = mp4(3_000_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Skip the back-off between attempts."""
    passed: list[float] = []

    async def back_off(_: FileSession, failures: int, *, at_least: float = 0.0) -> None:
        passed.append(at_least)
        await asyncio.sleep(0)

    monkeypatch.setattr(FileSession, "back_off", back_off)
    return passed


def client(service: Service, **options: Any) -> A2E:
    return A2E("k" * 20, base_url=service.url, rate=None, poll_interval=0.1, **options)


async def result(a2e: A2E, ref: str = f"dubbing:{ID}") -> Output:
    return (await a2e.attach(ref).wait()).output


async def every_way(output: Output, folder: Path) -> list[bytes | A2EError]:
    """Return the results of save, read and open for an output."""

    async def opened() -> bytes:
        async with output.open() as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def saved() -> bytes:
        return (await output.save(folder / "out.mp4")).read_bytes()

    found: list[bytes | A2EError] = []
    for way in (saved, output.read, opened):
        try:
            found.append(await way())
        except A2EError as error:
            found.append(error)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# -- compressed ------------------------------------------------------------------------------


def members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


@pytest.mark.parametrize(
    ("label", "body"),
    [
        ("gzip", members(BIG)),
        ("gzip", members(BIG) + bytes(700)),
        ("x-gzip", gzip.compress(BIG)),
        ("gzip", BIG),
        ("gzip,aws-chunked", members(BIG)),
        ("aws-chunked, gzip", gzip.compress(BIG)),
        ("gzip, gzip", gzip.compress(members(BIG))),
        ("gzip", gzip.compress(members(BIG))),
        ("deflate", zlib.compress(BIG)),
        ("deflate", raw_deflate(BIG)),
        ("deflate", BIG),
        ("aws-chunked", BIG),
        ("binary", BIG),
        ("utf-8", BIG),
        ("identity", BIG),
        ("", BIG),
        ("base64", BIG),
        ("br", BIG),
        ("identity", gzip.compress(BIG)),
    ],
)
async def test_every_label_gives_the_true_bytes(
    service: Service, tmp_path: Path, label: str, body: bytes
) -> None:
    service.give("/files/out.mp4", body, Content_Type="video/mp4", Content_Encoding=label)
    async with client(service) as a2e:
        found = await every_way(await result(a2e), tmp_path)
    assert found == [BIG] * 3


@pytest.mark.parametrize("label", ["gzip", "deflate", "br", "zstd", "compress"])
@pytest.mark.parametrize("cut", [1, 9, 30_000])
async def test_cut_compressed_data_is_an_error(
    service: Service, tmp_path: Path, label: str, cut: int
) -> None:
    noise = os.urandom(100_000)
    packed = {"gzip": members(noise), "deflate": zlib.compress(noise)}.get(label, noise)
    service.give("/files/out.mp4", packed[:-cut], Content_Type="video/mp4", Content_Encoding=label)
    async with client(service) as a2e:
        found = await every_way(await result(a2e), tmp_path)
    assert [type(each) for each in found] == [TransferError] * 3
    assert names(tmp_path) == []


async def test_cut_between_two_members_of_a_known_length(service: Service, tmp_path: Path) -> None:
    body = members(BIG)
    first = len(gzip.compress(BIG[: len(BIG) // 2]))
    service.give("/files/out.mp4", body[:first], Content_Type="video/mp4", Content_Encoding="gzip")
    async with client(service) as a2e:
        found = await every_way(await result(a2e), tmp_path)
    assert [type(each) for each in found] == [TransferError] * 3  # by its boxes, the file is longer


# -- content type ----------------------------------------------------------------------------

XML = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
PAGE = b"<!DOCTYPE html><html>Bad gateway</html>"
DOCUMENTS = {
    "xml": (XML, {"Content_Type": "application/xml"}),
    "xml as video": (XML, {"Content_Type": "video/mp4"}),
    "json": (b'{"error":"expired"}', {"Content_Type": "application/json"}),
    "json with spaces": (b'  \r\n\t{"error":"expired"}', {"Content_Type": "audio/wav"}),
    "text": (b"upstream error", {"Content_Type": "text/plain"}),
    "text as binary": (b"no healthy upstream", {"Content_Type": "application/octet-stream"}),
    "a word": (b"Forbidden", {}),
    "text in another script": ("アクセスが拒否されました".encode(), {"Content_Type": "video/mp4"}),
    "text in latin-1": ("Zugriff nicht mehr möglich".encode("latin-1"), {}),
    "blank": (b" \r\n\n", {"Content_Type": "video/mp4"}),
    "html": (b"<html>no</html>", {"Content_Type": "text/html"}),
    "html as audio": (PAGE, {"Content_Type": "audio/wav"}),
    "html with a mark": (b"\xef\xbb\xbf\n " + PAGE, {"Content_Type": "video/mp4"}),
    "utf-16": ("\ufeff<html>nein</html>".encode("utf-16-le"), {"Content_Type": "video/mp4"}),
    "utf-16 without a mark": (PAGE.decode().encode("utf-16-le"), {"Content_Type": "text/html"}),
    "utf-32 without a mark": (PAGE.decode().encode("utf-32-be"), {"Content_Type": "text/xml"}),
    "legacy letters": ("Файл не найден.".encode("cp1251"), {"Content_Type": "text/html"}),
    "with a NUL": (b"NoSuchKey\0", {"Content_Type": "text/plain"}),
    "a query": (b"error=AccessDenied&code=403", {"Content_Type": "application/octet-stream"}),
    "Base64": (base64.b64encode(MP4), {"Content_Type": "video/mp4"}),
    "a data URL": (
        b"data:video/mp4;base64," + base64.b64encode(MP4),
        {"Content_Type": "video/mp4"},
    ),
    "gzip twice": (
        gzip.compress(gzip.compress(PAGE)),
        {"Content_Type": "video/mp4", "Content_Encoding": "gzip"},
    ),
    "gbk": ("<p>\u8bf7\u6c42\u5df2\u8fc7\u671f".encode("gbk"), {"Content_Type": "video/mp4"}),
    "long": (PAGE + b"<p>sorry</p>" * 1000, {"Content_Type": "video/mp4"}),
    "gzip": (gzip.compress(PAGE), {"Content_Type": "video/mp4", "Content_Encoding": "gzip"}),
    "gzip without a label": (gzip.compress(PAGE), {"Content_Type": "video/mp4"}),
    "empty": (b"", {"Content_Type": "video/mp4"}),
}


@pytest.mark.parametrize("status", [200, 203, 206])
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_an_error_document_is_not_the_result(
    service: Service, tmp_path: Path, name: str, status: int
) -> None:
    body, headers = DOCUMENTS[name]
    service.give("/files/out.mp4", body, status=status, **headers)
    async with client(service) as a2e:
        output = await result(a2e)
        found = await every_way(output, tmp_path)
        assert [type(each) for each in found] == [TransferError] * 3
        assert names(tmp_path) == []
        with pytest.raises(TransferError):
            await a2e.files.download(output.url, tmp_path / "by-url.mp4")
        assert names(tmp_path) == []
        service.give("/files/out.mp4", MP4, Content_Type="video/mp4")
        assert await every_way(output, tmp_path) == [MP4] * 3


@pytest.mark.parametrize("body", [b"R" * 4096, bytes(range(33, 127)) * 9, b"\0" * 99], ids=repr)
async def test_bytes_of_an_unknown_format_are_a_result(
    service: Service, tmp_path: Path, body: bytes
) -> None:
    """Only a text is refused: the file was paid for, and the service may use a new format."""
    service.give("/files/out.mp4", body, Content_Type="application/octet-stream")
    async with client(service) as a2e:
        assert await every_way(await result(a2e), tmp_path) == [body] * 3


@pytest.mark.parametrize(
    ("ref", "kind_field"),
    [
        (f"upscale:{ID}", ("userEnhance", "result_url")),
        (f"head_swap:{ID}", ("userHeadSwap", "result_url")),
        (f"text_to_image:{ID}", ("userText2Image", "image_urls")),
    ],
)
async def test_nor_that_of_a_kind_whose_files_have_no_type(
    service: Service, tmp_path: Path, ref: str, kind_field: tuple[str, str]
) -> None:
    service.kind_field = kind_field
    service.results = [f"{service.url}/get?id=7"]
    service.give("/get", b'{"code":403}', Content_Type="application/octet-stream")
    async with client(service) as a2e:
        output = await result(a2e, ref)
        with pytest.raises(TransferError, match="a JSON document"):
            await output.save(f"{tmp_path}/")
        assert names(tmp_path) == []
        service.give("/get", png(), Content_Type="text/html")
        saved = await output.save(f"{tmp_path}/")
    assert saved.read_bytes() == png()
    assert saved.suffix == ".png"


async def test_a_store_that_recovers_and_one_that_needs_a_fresh_url(
    service: Service, tmp_path: Path
) -> None:
    service.give("/files/bad.mp4", XML, Content_Type="application/xml")
    service.give("/files/out.mp4", MP4, Content_Type="video/mp4")
    service.results = [f"{service.url}/files/bad.mp4", f"{service.url}/files/out.mp4"]
    async with client(service) as a2e:
        output = await result(a2e)
        assert (await output.save(tmp_path / "a.mp4")).read_bytes() == MP4
    assert service.requests.count("/files/bad.mp4") == 2


async def test_texts_that_are_requested_as_such_are_saved(service: Service, tmp_path: Path) -> None:
    page = service.give("/files/page.html", PAGE, Content_Type="text/html")
    async with client(service) as a2e:
        assert (await a2e.files.download(page, f"{tmp_path}/")).read_bytes() == PAGE
        lines = service.give("/lines", b"1\nHello.", Content_Type="application/x-subrip")
        saved = await a2e.files.download(lines, f"{tmp_path}/")
    assert (saved.name, saved.read_bytes()) == ("lines.srt", b"1\nHello.")


@pytest.mark.parametrize("status", [200, 203, 206])
async def test_true_bytes_under_a_wrong_label(
    service: Service, tmp_path: Path, status: int
) -> None:
    service.give("/files/out.mp4", MP4, status=status, Content_Type="text/html")
    async with client(service) as a2e:
        output = await result(a2e)
        assert await every_way(output, tmp_path) == [MP4] * 3
        saved = await output.save(f"{tmp_path}/folder/")
    assert (saved.suffix, saved.read_bytes()) == (".mp4", MP4)


async def test_an_unrequested_range_is_completed(service: Service, tmp_path: Path) -> None:
    async def first_half(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        stop = len(MP4) if start else 1000
        said = f"bytes {start}-{stop - 1}/{len(MP4)}"
        headers = {"Content-Range": said, "ETag": '"a"', "Content-Type": "video/mp4"}
        return web.Response(status=206, body=MP4[start:stop], headers=headers)

    service.files["/files/out.mp4"] = first_half
    async with client(service) as a2e:
        assert await every_way(await result(a2e), tmp_path) == [MP4] * 3


# -- complete --------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n"


@pytest.mark.parametrize("body", [bytes(50_000), MP4, b"R" * 400])
async def test_a_reset_is_not_an_end(tmp_path: Path, body: bytes) -> None:
    async with raw_server(HEAD + b"\r\n" + body, reset=True) as url, A2E("k" * 20) as a2e:
        found = await every_way(bound_output(a2e.files, Output(url=f"{url}/out.mp4")), tmp_path)
        assert [type(each) for each in found] == [TransferError] * 3
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "saved"),
    [
        (MP4, "out.mp4"),
        (MP4[:-1], None),
        (MP4[:60_000], None),
        (MP4[: MP4.index(b"moov") - 4], None),
        (png(), "out.png"),
        (png()[:-12], None),
        (png()[:900], None),
        (b"RIFF\x24\0\0\0WAVE" + bytes(32), "out.wav"),
        (b"RIFF\x24\0\0\0WAVE" + bytes(31), None),
        (b"\xff\xd8\xff\xe0" + bytes(99) + b"\xff\xd9", "out.jpg"),
        (b"\xff\xd8\xff\xe0" + bytes(99), None),
        (b"GIF89a" + bytes(99) + b";", "out.gif"),
        (b"GIF89a" + bytes(99), None),
        (b"\xff\xfb\x90\x64" + bytes(99), "out.mp3"),  # the format has no length
    ],
)
async def test_a_body_without_length_ends_where_the_file_does(
    tmp_path: Path, body: bytes, saved: str | None
) -> None:
    async with raw_server(HEAD + b"\r\n" + body) as url, A2E("k" * 20) as a2e:
        found = await every_way(bound_output(a2e.files, Output(url=f"{url}/out.mp4")), tmp_path)
    assert [each if isinstance(each, bytes) else None for each in found] == (
        [None] * 3 if saved is None else [body] * 3
    )
    assert names(tmp_path) == ([] if saved is None else [saved])  # that of another medium is wrong


@pytest.mark.parametrize("length", [len(MP4) + 5, len(MP4) - 5000])
async def test_a_wrong_content_length(tmp_path: Path, length: int) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n" % length
    async with raw_server(head + MP4) as url, A2E("k" * 20) as a2e:
        found = await every_way(bound_output(a2e.files, Output(url=f"{url}/out.mp4")), tmp_path)
    assert [type(each) for each in found] == [TransferError] * 3
    assert max(len(str(each)) for each in found) < 2000  # aiohttp's errors quote what came
    assert names(tmp_path) == []


async def test_a_chunked_body_that_is_cut(tmp_path: Path) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % len(MP4) + MP4 + b"\r\n"
    async with raw_server(head + chunk, head + chunk + b"0\r\n\r\n") as url, A2E("k" * 20) as a2e:
        saved = await a2e.files.download(f"{url}/out.mp4", tmp_path / "x.mp4")
    assert saved.read_bytes() == MP4


# -- one version -----------------------------------------------------------------------------

OLD, NEW = mp4(2_000_000, b"A"), mp4(2_000_000, b"B")
TEN, ELEVEN = "Sat, 28 Nov 2020 10:00:00 GMT", "Sat, 28 Nov 2020 11:00:00 GMT"


@pytest.mark.parametrize("honoured", [True, False])
@pytest.mark.parametrize("same_run", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"a"'}, {"ETag": '"b"'}),
        ({"ETag": 'W/"a"'}, {"ETag": 'W/"b"'}),
        ({"Last-Modified": TEN}, {"Last-Modified": ELEVEN}),
        ({"ETag": '"a"'}, {}),
        ({"Last-Modified": TEN}, {}),
        ({}, {"ETag": '"b"'}),
        ({}, {}),
    ],
)
async def test_two_versions_are_never_joined(
    service: Service,
    tmp_path: Path,
    before: dict[str, str],
    after: dict[str, str],
    same_run: bool,
    honoured: bool,
) -> None:
    fetched = asyncio.Event()
    now: dict[str, Any] = {"data": OLD, "headers": before, "cut": True}

    async def changing(request: web.Request) -> web.StreamResponse:
        data, headers = now["data"], {"Content-Type": "video/mp4", **now["headers"]}
        requested_range, known = request.headers.get("Range"), request.headers.get("If-Range")
        current = (now["headers"].get("ETag"), now["headers"].get("Last-Modified"))
        if requested_range and (known in current or not honoured or known is None):
            start = int(requested_range[6:-1])
            said = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return web.Response(status=206, body=data[start:], headers=headers | said)
        if not now["cut"]:
            return web.Response(body=data, headers=headers)
        response = web.StreamResponse(headers=headers | {"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[:1_500_000])
        await asyncio.sleep(0.05)  # lets the bytes arrive before the end
        if same_run:
            now.update(cut=False, data=NEW, headers=after)
        fetched.set()
        assert request.transport is not None
        request.transport.abort()
        return response

    service.files["/files/out.mp4"] = changing
    target = tmp_path / "x.mp4"
    if not same_run:
        async with client(service) as a2e:
            task = asyncio.create_task((await result(a2e)).save(target))
            await fetched.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        now.update(cut=False, data=NEW, headers=after)
    async with client(service) as a2e:
        assert (await (await result(a2e)).save(target)).read_bytes() == NEW
    assert names(tmp_path) == ["x.mp4"]


@pytest.mark.parametrize("validator", [{"ETag": '"a"'}, {"Last-Modified": TEN}])
async def test_one_version_is_resumed_at_the_byte(
    service: Service, tmp_path: Path, validator: dict[str, str]
) -> None:
    requested: list[tuple[str | None, str | None]] = []

    async def cutting(request: web.Request) -> web.StreamResponse:
        requested.append((request.headers.get("Range"), request.headers.get("If-Range")))
        start = int((requested[-1][0] or "bytes=0-")[6:-1])
        headers = {"Content-Type": "video/mp4", "Content-Length": str(len(OLD) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(OLD) - 1}/{len(OLD)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers | validator)
        await response.prepare(request)
        await response.write(OLD[start : start + 1_500_000])
        if not start:
            await asyncio.sleep(0.05)  # lets the bytes arrive before the end
            assert request.transport is not None
            request.transport.abort()
        return response

    service.files["/files/out.mp4"] = cutting
    async with client(service) as a2e:
        assert await every_way(await result(a2e), tmp_path) == [OLD] * 3
    assert requested == [(None, None), ("bytes=1500000-", *validator.values())] * 3


async def test_open_without_a_validator_compares_what_it_reads_again(
    service: Service, tmp_path: Path
) -> None:
    served: list[bytes] = [OLD, OLD, OLD, NEW]

    async def cutting(request: web.Request) -> web.StreamResponse:
        data, cut = served.pop(0), len(served) % 2
        headers = {"Content-Type": "video/mp4", "Content-Length": str(len(data))}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(data[:1_000_000] if cut else data)
        if cut:
            await asyncio.sleep(0.05)  # lets the bytes arrive before the end
            assert request.transport is not None
            request.transport.abort()
        return response

    service.files["/files/out.mp4"] = cutting

    async def opened() -> bytes:
        async with (await result(a2e)).open() as chunks:
            return b"".join([chunk async for chunk in chunks])

    async with client(service) as a2e:
        assert await opened() == OLD
        with pytest.raises(TransferError, match="changed while it was being read"):
            await opened()


# -- one result's own file -------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["id", "token", "sig"])
async def test_urls_that_differ_in_the_query_make_files_of_their_own(
    service: Service, tmp_path: Path, parameter: str
) -> None:
    async def by_query(request: web.Request) -> web.StreamResponse:
        body = MP4 + request.query[parameter].encode()
        headers = {"Content-Type": "video/mp4", "ETag": f'"{len(body)}"'}
        return web.Response(body=body, headers=headers)

    service.files["/files/get"] = by_query
    urls = [f"{service.url}/files/get?{parameter}=secret-{n}" for n in range(4)]
    async with client(service) as a2e:
        one_by_one = [await a2e.files.download(url, f"{tmp_path}/a/") for url in urls]
        at_once = await asyncio.gather(*(a2e.files.download(u, f"{tmp_path}/b/") for u in urls))
    for paths in (one_by_one, at_once):
        assert len(set(paths)) == 4
        for n, path in enumerate(paths):
            assert path.read_bytes() == MP4 + f"secret-{n}".encode()
    assert not [name for name in names(tmp_path) if "secret" in name]


async def test_ten_results_into_a_directory_that_is_not_there_yet(
    service: Service, tmp_path: Path
) -> None:
    outputs = []
    for n in range(10):
        service.give(f"/files/{n}", MP4 + bytes([n]), Content_Type="video/mp4")
        outputs.append(Output(url=f"{service.url}/files/{n}", media="video", ref=f"dubbing:{n}x"))
    async with client(service) as a2e:
        into = [await a2e.files.download(each, tmp_path / "one by one") for each in outputs]
        at_once = [a2e.files.download(each, tmp_path / "at once") for each in outputs]
        into += await asyncio.gather(*at_once)
        into += [await bound_output(a2e.files, each).save(tmp_path / "saved") for each in outputs]
    assert len(set(into)) == 30
    for n, path in enumerate(into):
        assert path.read_bytes() == MP4 + bytes([n % 10])


async def test_what_a_path_means(service: Service, tmp_path: Path) -> None:
    video = service.give("/files/a.mp4", MP4, Content_Type="video/mp4")
    plain = service.give("/files/LICENCE", b"R" * 99, Content_Type="application/x-none")
    (tmp_path / "there").write_bytes(b"old")
    async with client(service) as a2e:
        for url, path, made in (
            (video, "x.mp4", "x.mp4"),
            (video, "new", "new/a.mp4"),
            (video, "newer/", "newer/a.mp4"),
            (video, "there", "there"),
            (plain, "LICENCE", "LICENCE"),
            (plain, "texts/", "texts/LICENCE"),
        ):
            saved = await a2e.files.download(url, f"{tmp_path}/{path}")
            assert saved == tmp_path / made


async def test_refs_that_look_alike_as_names(service: Service, tmp_path: Path) -> None:
    refs = ["dubbing:a/b", "dubbing:a-b", "dubbing:a:b", "dubbing:" + "x" * 150 + "1"]
    refs.append("dubbing:" + "x" * 150 + "2")
    async with client(service) as a2e:
        for n, ref in enumerate(refs):
            url = service.give(f"/files/{n}", MP4 + bytes([n]), Content_Type="video/mp4")
            await a2e.files.download(Output(url=url, media="video", ref=ref), f"{tmp_path}/")
    assert len(names(tmp_path)) == len(refs)


# -- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["headers", "body"])
async def test_all_transfers_end_with_the_client(
    service: Service, tmp_path: Path, before: str
) -> None:
    stop = asyncio.Event()
    waiting: list[str] = []

    async def stalls(request: web.Request) -> web.StreamResponse:
        waiting.append(request.method)
        if request.method == "PUT" or before == "headers":
            await stop.wait()
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(MP4[:1000])
        await stop.wait()
        return response

    service.files["/files/out.mp4"] = stalls
    (tmp_path / "in.png").write_bytes(png())
    service.presign = {"uploadUrl": f"{service.url}/files/out.mp4"}
    a2e = client(service)
    output = await result(a2e)

    async def opened() -> None:
        async with output.open() as chunks:
            async for _ in chunks:
                pass

    running = [
        asyncio.create_task(coro)
        for coro in (
            output.save(tmp_path / "a.mp4"),
            output.read(),
            opened(),
            a2e.files.upload(tmp_path / "in.png"),
        )
    ]
    while len(waiting) < 4:
        await asyncio.sleep(0.01)
    await a2e.aclose()
    _done, late = await asyncio.wait(running, timeout=10)
    stop.set()
    assert not late
    assert [type(task.exception()) for task in running] == [ClientClosed] * 4


# -- on disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace", "writev"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
async def test_disk_failures_leave_no_file_under_its_name(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    service.give("/files/out.mp4", MP4, Content_Type="video/mp4", ETag='"a"')

    def fails(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    async with client(service) as a2e:
        output = await result(a2e)
        with monkeypatch.context() as patch:
            patch.setattr(*((Path, "replace") if call == "replace" else (os, call)), fails)
            with pytest.raises(TransferError, match=os.strerror(code)) as caught:
                await output.save(tmp_path / "a.mp4")
        assert caught.value.path == str(tmp_path / "a.mp4")
        assert "a.mp4" not in names(tmp_path)
        assert ("are kept" in str(caught.value)) == bool(names(tmp_path))
        assert (await output.save(tmp_path / "a.mp4")).read_bytes() == MP4


class BytesPath:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


async def test_odd_paths(service: Service, tmp_path: Path) -> None:
    service.give("/files/out.mp4", MP4, Content_Type="video/mp4")
    async with client(service) as a2e:
        output = await result(a2e)
        bytes_path: Any = BytesPath(tmp_path / "b.mp4")
        assert await output.save(bytes_path) == tmp_path / "b.mp4"
        odd: tuple[Any, ...] = ("a\0b.mp4", "", 7, b"bytes", "x" * 300 + ".mp4")
        for path in (*odd, tmp_path / ("y" * 300), f"{tmp_path}/{'z' * 300}/"):
            for save in (output.save, lambda p: a2e.files.download(output, p)):
                with pytest.raises(InvalidInput) as caught:
                    await save(path)
                assert caught.value.field == "path"
        for directory in ("a\0b", "", 7):
            bad: Any = directory
            with pytest.raises(InvalidInput) as caught:
                await a2e.attach(f"dubbing:{ID}").download(bad)
            assert caught.value.field == "directory"
        for source in ("a\0b.wav", "x" * 300 + ".wav", BytesPath(tmp_path / "no.wav")):
            given: Any = source
            with pytest.raises(InvalidInput) as caught:
                await a2e.dubbing.start(source_url=given, target_lang="es")
            assert caught.value.field == "source_url"
    assert service.paid == []


async def test_a_part_of_before_the_machine_started_is_not_resumed(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from a2e_async._core.files import part_file

    stop = asyncio.Event()
    ranges: list[str | None] = []

    async def half(request: web.Request) -> web.StreamResponse:
        ranges.append(request.headers.get("Range"))
        headers = {"Content-Type": "video/mp4", "ETag": '"a"', "Content-Length": str(len(BIG))}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(BIG[:2_000_000] if len(ranges) == 1 else BIG)
        if len(ranges) == 1:
            await stop.wait()
        return response

    service.files["/files/out.mp4"] = half
    async with client(service) as a2e:
        task = asyncio.create_task((await result(a2e)).save(tmp_path / "a.mp4"))
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            await asyncio.sleep(0.01)
    with pytest.raises(ClientClosed):
        await task
    stop.set()
    monkeypatch.setattr(part_file, "_boot_id", lambda: "another")
    async with client(service) as a2e:
        assert (await (await result(a2e)).save(tmp_path / "a.mp4")).read_bytes() == BIG
    assert ranges == [None, None]
