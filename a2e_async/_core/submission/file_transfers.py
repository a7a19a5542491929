"""Uploads of local media inputs, and the outputs of tasks as inputs of others."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.clock import utc_now
from a2e_async._core.files.download import Downloader
from a2e_async._core.files.local_file import MAX_UPLOAD_BYTES, LocalUpload, prepare_upload
from a2e_async._core.files.media_types import filename_from_url, sniff_media_type
from a2e_async._core.files.open_file import held_files
from a2e_async._core.files.upload import Uploader
from a2e_async._core.handle import NotCopyable
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.schema.inputs import (
    MediaInput,
    MediaSource,
    check_media,
    clean_url,
    is_url,
)
from a2e_async._core.submission.budget import Budget, BudgetQueue, Reservation
from a2e_async._core.submission.presign import PresignRequest
from a2e_async._core.tasks.kind import split_ref
from a2e_async.errors import BudgetExceeded, InvalidInput, TransferError
from a2e_async.models import MediaType, Output, Record

if TYPE_CHECKING:
    from a2e_async._core.http.call import RequestKwargs
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder

_RENEW_BEFORE_EXPIRY: Final = timedelta(seconds=60)


class FileTransfers(NotCopyable):
    """The uploads and downloads of one client, for submissions and namespaces."""

    def __init__(
        self,
        uploader: Uploader,
        downloader: Downloader,
        fetch_record: Callable[[str, str], Coroutine[Any, Any, Record]],
        session: "ApiSession",
        options: "RequestKwargs",
        recorder: "JournalRecorder | None",
        budgets: tuple[Budget, ...],
        queue: BudgetQueue,
    ) -> None:
        self._uploader = uploader
        self.downloader = downloader
        self._fetch_record = fetch_record
        self._session = session
        self._options = options
        self._recorder = recorder
        self._budgets = budgets
        self._queue = queue

    async def url(self, source: MediaInput, allowed: tuple[MediaType, ...], field: str) -> str:
        """Return a URL from which the service can read ``source``; upload a local file first."""
        (url,) = await self.urls((source, allowed, field))
        return url

    async def urls(self, *sources: MediaSource) -> list[str]:
        """Return such URLs for several inputs; all are checked before the first upload."""
        inputs = [
            (check_media(field, source), allowed, field) for source, allowed, field in sources
        ]
        with held_files(source for source, _, _ in inputs):
            # An upload may be charged, so no file is uploaded if another input is wrong.
            ready = [await self.resolve(*source) for source in inputs]
            return [
                item if isinstance(item, str) else (await self.upload_inspected(item))[0]
                for item in ready
            ]

    async def resolve(
        self, source: MediaInput, allowed: tuple[MediaType, ...], field: str
    ) -> LocalUpload | str:
        """Return an input as a URL, or as an inspected local file. Uploads nothing.

        The content of a stream is kept while its `OpenFile` is held.

        Raises `InvalidInput` for inputs that the service cannot use, and the errors of the
        request that renews the expired URL of an Output.
        """
        if isinstance(source, Output):
            _check_output(source, allowed, field)
            return clean_url((await self.fresh_output(source)).url, field)
        if isinstance(source, str) and is_url(source):
            return clean_url(source, field)
        return await prepare_upload(
            source, allowed=allowed, field=field, max_bytes=MAX_UPLOAD_BYTES
        )

    async def check_unchanged(self, *prepared: LocalUpload) -> None:
        """Raise `TransferError` if one of these files has changed since its inspection."""
        for one in prepared:
            await self._uploader.check_unchanged(one)

    async def upload_inspected(
        self, prepared: LocalUpload, reservation: Reservation | None = None
    ) -> tuple[str, int]:
        """Upload an inspected file; return its URL and the coins that this call was charged.

        The price is reserved in the budgets of ``reservation``; raises `BudgetExceeded` if they
        cannot cover it now. Without ``reservation`` it waits until the client's own budget can.
        """
        if reservation is not None:
            presign = PresignRequest(self._session, self._options, self._recorder, reservation)
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

    def is_upload_charged(self, prepared: LocalUpload) -> bool:
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
