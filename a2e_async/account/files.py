"""``a2e.files``: uploads of local media to the service's storage, downloads of results."""

# pyright: reportPrivateUsage=false
# The underscore keeps an output's source is out of users' completion; the package uses it.

import os
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.clock import utc_now
from a2e_async._core.files.media_types import filename_from_url, sniff_media_type
from a2e_async._core.handle import NotCopyable
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.paths import path_text
from a2e_async._core.schema.inputs import MediaInput, MediaSource, check_media, clean_url, is_url
from a2e_async._core.submission.budget import Reservation
from a2e_async._core.tasks.kind import split_ref
from a2e_async.errors import BudgetExceeded, InvalidInput, TransferError
from a2e_async.models import MediaType, Output, Record

if TYPE_CHECKING:
    from a2e_async._core.files.download import Downloader
    from a2e_async._core.files.upload import LocalUpload, Uploader
    from a2e_async._core.submission.budget import Budget, BudgetQueue

MAX_UPLOAD_BYTES: Final = 5 * 1024**3
"""Maximum size of an upload in bytes: the limit of one presigned PUT."""

ANY_MEDIA: Final[tuple[MediaType, ...]] = ("video", "audio", "image", "file")


_RENEW_BEFORE_EXPIRY: Final = timedelta(seconds=60)


class PaidPresign(Protocol):
    """Requests an upload URL, which is charged. ``coins`` is the total charged by its calls."""

    coins: int

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]: ...


PresignFactory = Callable[["Reservation"], PaidPresign]
"""Returns such a function that counts its costs in the given budget reservation."""


class Files(NotCopyable):
    """``a2e.files``: uploads and downloads. Inputs and outputs of tasks use them automatically."""

    def __init__(self, transfers: "FileTransfers") -> None:
        self._transfers = transfers

    def __repr__(self) -> str:
        return "<a2e.files>"

    @hide_frames
    async def upload(self, source: str | os.PathLike[str] | bytes) -> str:
        """Upload a local file or bytes and return its public URL, valid for about 3 days.

        A client uploads the same content once in 24 hours; so do clients that share a journal.
        Costs what the service charges for ``POST /api/v1/r2/upload-presigned-url``. Concurrent
        uploads of the same content share one request, with the options of the first caller.
        Raises `InvalidInput`, `TransferError`, `ApiError`.
        """
        if not isinstance(source, str | os.PathLike | bytes):
            raise InvalidInput("source must be a path or bytes.", field="source")
        check_media("source", source)
        url, _ = await self._transfers.upload_inspected(
            await self._transfers.inspect_upload(source, ANY_MEDIA, "source")
        )
        return url

    @hide_frames
    async def download(self, source: str | Output, path: str | os.PathLike[str]) -> Path:
        """Save a result, given as a URL or Output, to a file or directory; return the path.

        ``path`` works as in `Output.save`. Free of charge; the API key is not sent. Raises
        `InvalidInput`, `TransferError`.
        """
        path_text(path, "path")
        output = source
        if isinstance(source, str):
            if not is_url(source):
                raise InvalidInput("source must be an http(s) URL or an Output.", field="source")
            output = Output(url=clean_url(source, "source"), source=self._transfers.downloader)
        elif isinstance(source, Output) and source._source is None:
            output = self._transfers.bind_output(source)
            if output.unsigned and output.ref is not None:
                output = await self._transfers.refetch_output(output)
        if not isinstance(output, Output):
            raise InvalidInput("source must be an http(s) URL or an Output.", field="source")
        return await output.save(path)


class FileTransfers(NotCopyable):
    """The uploads and downloads of one client, for submissions and namespaces."""

    def __init__(
        self,
        uploader: "Uploader",
        downloader: "Downloader",
        fetch_record: Callable[[str, str], Coroutine[Any, Any, Record]],
        presign_for: "PresignFactory",
        budgets: "tuple[Budget, ...]",
        queue: "BudgetQueue",
    ) -> None:
        self._uploader = uploader
        self.downloader = downloader
        self._fetch_record = fetch_record
        self._presign_for = presign_for
        self._budgets = budgets
        self._queue = queue

    @property
    def namespace(self) -> Files:
        """The public namespace, ``a2e.files``."""
        return Files(self)

    def with_presign(self, presign_for: "PresignFactory") -> "FileTransfers":
        """Return a copy that requests upload URLs with another function."""
        return FileTransfers(
            self._uploader,
            self.downloader,
            self._fetch_record,
            presign_for,
            self._budgets,
            self._queue,
        )

    async def url(self, source: MediaInput, allowed: tuple[MediaType, ...], field: str) -> str:
        """Return a URL from which the service can read ``source``; upload a local file first."""
        (url,) = await self.urls((source, allowed, field))
        return url

    async def urls(self, *sources: MediaSource) -> list[str]:
        """Return such URLs for several inputs; all are checked before the first upload."""
        # An upload may be charged, so no file is uploaded if another input is wrong.
        ready = [await self.resolve(*source) for source in sources]
        return [
            item if isinstance(item, str) else (await self.upload_inspected(item))[0]
            for item in ready
        ]

    async def resolve(
        self, source: MediaInput, allowed: tuple[MediaType, ...], field: str
    ) -> "LocalUpload | str":
        """Return an input as a URL, or as an inspected local file. Uploads nothing.

        Raises `InvalidInput` for inputs that the service cannot use, and the errors of the
        request that renews the expired URL of an Output.
        """
        if isinstance(source, Output):
            _check_output(source, allowed, field)
            return clean_url((await self.fresh_output(source)).url, field)
        if isinstance(source, str) and is_url(source):
            return clean_url(source, field)
        return await self.inspect_upload(source, allowed, field)

    async def inspect_upload(
        self, source: MediaInput, allowed: tuple[MediaType, ...], field: str
    ) -> "LocalUpload":
        """Check and hash a local file or bytes. Uploads nothing. Raises `InvalidInput`."""
        from a2e_async._core.files.upload import prepare_upload

        assert not isinstance(source, Output)  # noqa: S101  # an Output already has a URL
        return await prepare_upload(
            source, allowed=allowed, field=field, max_bytes=MAX_UPLOAD_BYTES
        )

    async def check_unchanged(self, *prepared: "LocalUpload") -> None:
        """Raise `TransferError` if one of these files has changed since its inspection."""
        for one in prepared:
            await self._uploader.check_unchanged(one)

    async def upload_inspected(
        self, prepared: "LocalUpload", reservation: "Reservation | None" = None
    ) -> tuple[str, int]:
        """Upload an inspected file; return its URL and the coins that this call was charged.

        The price is reserved in the budgets of ``reservation``; raises `BudgetExceeded` if they
        cannot cover it now. Without ``reservation`` it waits until the client's own budget can.
        """
        if reservation is not None:
            presign = self._presign_for(reservation)
            return await self._uploader.upload(prepared, presign), presign.coins
        reservation = Reservation(self._budgets)
        try:
            while True:
                try:
                    return await self.upload_inspected(prepared, reservation)
                except BudgetExceeded:  # raised to all callers that share one upload request
                    await self._queue.reserve(
                        reservation,
                        lambda: [(UPLOAD, None)] if self.is_upload_charged(prepared) else [],
                    )
        finally:
            reservation.release()

    def is_upload_charged(self, prepared: "LocalUpload") -> bool:
        """Return whether an upload would be charged now, as far as this client knows."""
        return self._uploader.needs_presign(prepared)

    async def fresh_output(self, output: Output) -> Output:
        """Return the output with a URL that stays valid for a while; renew it if necessary."""
        if output.unsigned:
            if output.ref is None:
                raise InvalidInput(
                    "This Output lost the signature of its URL when it was pickled, and it belongs "
                    "to no task that could renew it. Create it again, or store output.url."
                )
            return await self.refetch_output(output)
        if output.expires_at is None or output.expires_at > utc_now() + _RENEW_BEFORE_EXPIRY:
            return output
        return await self.refetch_output(output)

    async def refetch_output(self, output: Output) -> Output:
        """Return the output from the current record of its task, with a new URL."""
        if output.ref is None:
            return output
        kind, ids = split_ref(output.ref)
        record = await self._fetch_record(kind, ids[0])
        if output.index >= len(record.outputs):
            raise TransferError(
                f"The service no longer has output {output.index + 1} of {output.ref}: results "
                "are kept for a few days only."
            )
        return record.outputs[output.index]

    def bind_output(self, output: Output) -> Output:
        """Return a copy of an unpickled output that this client can fetch."""
        return Output(
            url=output.url,
            media=output.media,
            expires_at=output.expires_at,
            ref=output.ref,
            index=output.index,
            source=self.downloader,
        )


def bound_output(files: Files, output: Output) -> Output:
    """Return a copy of an unpickled output that ``files`` can fetch."""
    return files._transfers.bind_output(output)  # pyright: ignore[reportPrivateUsage]  # same module


def _check_output(output: Output, allowed: tuple[MediaType, ...], field: str) -> None:
    """Raise for an output of the wrong media type, or whose URL has expired for good."""
    ending, _ = sniff_media_type(
        b"", filename_from_url(output.url)
    )  # the URL may be more precise than the record
    if "file" not in (output.media, *allowed) and not {output.media, ending} & set(allowed):
        raise InvalidInput(
            f"{field} takes {' or '.join(allowed)}, but this Output is {output.media}. To send it "
            "anyway, give output.url.",
            field=field,
        )
    gone = output.expires_at is not None and output.expires_at <= utc_now()
    if gone and output.ref is None:
        raise InvalidInput(
            f"{field}: the URL of this Output has expired, and it belongs to no task that could "
            "renew it. Create it again.",
            field=field,
        )
