"""``a2e.files``: uploads of local media to the service's storage, downloads of results."""

# pyright: reportPrivateUsage=false
# The underscore keeps an output's source out of users' completion; the package uses it.

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.handle import NotCopyable
from a2e_async._core.paths import path_text
from a2e_async._core.schema.inputs import MediaInput, clean_url, is_url
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType, Output

if TYPE_CHECKING:
    from a2e_async._core.submission.file_transfers import FileTransfers

ANY_MEDIA: Final[tuple[MediaType, ...]] = ("video", "audio", "image", "file")


class Files(NotCopyable):
    """``a2e.files``: uploads and downloads. Inputs and outputs of tasks use them automatically."""

    def __init__(self, transfers: "FileTransfers") -> None:
        self._transfers = transfers

    def __repr__(self) -> str:
        return "<a2e.files>"

    @hide_frames
    async def upload(self, source: MediaInput, *, media: Sequence[MediaType] = ANY_MEDIA) -> str:
        """Upload a file, bytes or a stream and return its public URL, valid for about 3 days.

        ``media`` are the types that it may have: "video", "audio", "image", or any "file". A file
        of another type is refused before it is uploaded.

        What is at a URL already is not uploaded, and costs nothing: a URL is checked and returned,
        and an `Output` gives its URL, renewed if it has expired. To have the service keep a copy
        of a URL, use `a2e.legacy.copy_to_storage`.

        A client uploads the same content once in 24 hours; so do clients that share a journal.
        Costs what the service charges for ``POST /api/v1/r2/upload-presigned-url``. Concurrent
        uploads of the same content share one request, with the options of the first caller.
        Raises `InvalidInput`, `TransferError`, `ApiError`.
        """
        if isinstance(media, str) or not media or not set(media) <= set(ANY_MEDIA):
            raise InvalidInput(f"media must be a list of {', '.join(ANY_MEDIA)}.", field="media")
        return await self._transfers.url(source, tuple(media), "source")

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


def bound_output(files: Files, output: Output) -> Output:
    """Return a copy of an unpickled output that ``files`` can fetch."""
    return files._transfers.bind_output(output)
