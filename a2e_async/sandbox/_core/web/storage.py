"""The storage server: receives uploads, serves uploaded objects and results."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar
from urllib.parse import unquote

import attrs
from aiohttp import web

from ..faults import Fault
from ..locked_service import LockedService
from ..media_structure import BrokenMedia, read_media_structure
from ..object_store import AuthLeak, StorageRefusal, StoredObject, result_file_part, result_task_id
from ..simulated_task import SimulatedTask
from .byte_ranges import ByteRange, select_byte_range
from .responses import close_connection, cors_headers, html_response, xml_error

T = TypeVar("T")

BLOCK_BYTES: Final = 256 * 1024
"""The number of bytes read or written at once."""

MAX_PROBED_BYTES: Final = 64 * 1024 * 1024
"""The length in seconds of files above this size is not read."""

STORAGE_PREFIXES: Final = ("/upload/", "/results/", "/cdn/")
"""What the paths of the storage begin with."""

_COMMON_FAULTS: Final = frozenset({"http_error", "slow", "reset"})


@attrs.define(slots=True)
class StorageHandler:
    """Handles each request of this server; called by aiohttp."""

    locked: LockedService
    pool: Executor

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request."""
        path = unquote(request.rel_url.raw_path)
        if "Authorization" in request.headers:
            with self.locked.lock:
                at = self.locked.clock.now().calendar
                self.locked.leaks.append(AuthLeak(request.method, path, at))
        role = {"upload": "upload", "results": "result", "cdn": "cdn"}.get(
            path.partition("/")[2].partition("/")[0], ""
        )
        if request.method not in ({"PUT"} if role == "upload" else {"GET", "HEAD"}) or not role:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        with self.locked.lock:
            self.locked.transfers[role] += 1
        fault = self._take_fault(request, role, path)
        if fault is not None and fault.name in _COMMON_FAULTS | {"upload_error", "drop_download"}:
            broken = await self._fault_response(request, fault)
            if broken is not None:
                return broken
        if role == "upload":
            return await self._receive_upload(request, path)
        if role == "cdn":
            return await self._send_object(request, path)
        return await self._send_result(request, path, fault)

    def _take_fault(self, request: web.BaseRequest, role: str, path: str) -> Fault | None:
        if request.method == "HEAD":
            return None
        names = {"upload": {"upload_error"}, "cdn": set[str]()}.get(
            role, {"cut_download", "drop_download", "expire_results"}
        )
        kind = path.removeprefix("/results/").partition("/")[0] if role == "result" else ""
        return self.locked.faults.take(_COMMON_FAULTS | names, role, kind)

    async def _fault_response(self, request: web.BaseRequest, fault: Fault) -> web.Response | None:
        values = fault.values
        if fault.name == "slow":
            await asyncio.sleep(values["seconds"])
            return None
        if fault.name in {"reset", "drop_download"}:
            return close_connection(request, reset=fault.name == "reset")
        await _discard_body(request)
        status = values["status"]
        if values.get("html"):
            return html_response(status, f"{status} Error")
        response = xml_error(status, "InternalError", f"Sandbox fault {status}")
        if values.get("retry_after") is not None:
            response.headers["Retry-After"] = str(values["retry_after"])
        return response

    # Uploads

    async def _receive_upload(self, request: web.BaseRequest, path: str) -> web.Response:
        with self.locked.lock:
            now = self.locked.clock.now()
            checked = self.locked.service.store.check_upload(
                path, request.rel_url.query, request.headers, now.calendar
            )
        if isinstance(checked, StorageRefusal):
            await _discard_body(request)
            return xml_error(checked.status, checked.code, checked.message)
        file = self.locked.maker.directory / f"{secrets.token_hex(16)}.object"
        kind = request.headers.get("Content-Type", "application/octet-stream")
        try:
            size, digest = await self._write_upload(request, file)
            seconds = await self._run_in_pool(lambda: _measure_seconds(file, size))
        except BaseException:
            await asyncio.shield(self._run_in_pool(lambda: file.unlink(missing_ok=True)))
            raise
        stored = StoredObject(file, kind, size, digest, seconds, now.calendar)
        self.locked.store_upload(checked, stored)
        return web.Response(headers={"ETag": f'"{digest[:32]}"'})

    async def _write_upload(self, request: web.BaseRequest, file: Path) -> tuple[int, str]:
        digest = hashlib.sha256()
        stream: BinaryIO = await self._run_in_pool(lambda: file.open("wb"))

        def write(block: bytes) -> None:
            digest.update(block)
            stream.write(block)

        size, unwritten = 0, bytearray()
        try:
            async for part in request.content.iter_any():
                unwritten += part
                size += len(part)
                if len(unwritten) >= BLOCK_BYTES:
                    block, unwritten = bytes(unwritten), bytearray()
                    await self._run_in_pool(partial(write, block))
            await self._run_in_pool(partial(write, bytes(unwritten)))
        finally:
            stream.close()
        return size, digest.hexdigest()

    # Downloads

    async def _send_object(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        with self.locked.lock:
            calendar = self.locked.clock.now().calendar
            found = self.locked.service.store.get_object(path.removeprefix("/cdn/"), calendar)
        if found is None:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"Content-Type": found.content_type}
        return await self._send_file(request, found.path, found.size, found.digest[:32], headers)

    async def _send_result(
        self, request: web.BaseRequest, path: str, fault: Fault | None
    ) -> web.StreamResponse:
        checked = self._check_result(request, path, fault)
        if isinstance(checked, StorageRefusal):
            return xml_error(checked.status, checked.code, checked.message)
        made = await self._run_in_pool(
            lambda: self.locked.make_result(checked, result_file_part(path))
        )
        headers = {"Content-Type": made.content_type, "X-Sandbox-Made-With": made.made_with}
        cut = fault.values["after_bytes"] if fault and fault.name == "cut_download" else None
        return await self._send_file(request, made.path, made.size, made.etag, headers, cut)

    def _check_result(
        self, request: web.BaseRequest, path: str, fault: Fault | None
    ) -> SimulatedTask | StorageRefusal:
        with self.locked.lock:
            service, now = self.locked.service, self.locked.clock.now()
            task = service.find_result_task(result_task_id(path), now)
            if task is not None and fault is not None and fault.name == "expire_results":
                task.url_generation += 1
            refusal = service.store.check_result(
                path, request.rel_url.query, task.url_generation if task else 0, now.calendar
            )
        if refusal is not None:
            return refusal
        return task or StorageRefusal(404, "NoSuchKey", "The specified key does not exist.")

    async def _send_file(
        self,
        request: web.BaseRequest,
        path: Path,
        size: int,
        etag: str,
        headers: dict[str, str],
        cut: int | None = None,
    ) -> web.StreamResponse:
        headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **cors_headers(request)}
        sent_headers = request.headers
        span = select_byte_range(
            size, sent_headers.get("Range"), sent_headers.get("If-Range"), etag
        )
        if span is None:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        if span.is_part:
            last = span.first + span.length - 1
            headers["Content-Range"] = f"bytes {span.first}-{last}/{size}"
        response = web.StreamResponse(status=206 if span.is_part else 200, headers=headers)
        response.content_length = span.length
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        if cut is not None:
            span = ByteRange(span.first, min(cut, span.length), span.is_part)
        sent = 0
        while sent < span.length:
            at, count = span.first + sent, min(BLOCK_BYTES, span.length - sent)
            await response.write(await self._run_in_pool(partial(_read_block, path, at, count)))
            sent += count
        if cut is not None:
            await asyncio.sleep(0.02)  # let the written bytes leave before the connection is cut
            close_connection(request)
        return response

    async def _run_in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)


def _read_block(path: Path, at: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(count)


def _measure_seconds(file: Path, size: int) -> float | None:
    if size > MAX_PROBED_BYTES:
        return None
    try:
        return read_media_structure(file).seconds
    except BrokenMedia:
        return None


async def _discard_body(request: web.BaseRequest) -> None:
    """Read and discard the body; otherwise the client might not read the response."""
    async for _ in request.content.iter_any():
        pass
