"""The charged request for an upload URL. The service reports no price; budgets have a fixed one."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define

from a2e_async._core.files.upload import PRESIGN_PATH
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.submission.budget import (
    UPLOAD_COST,
    Reservation,
    commit_on_exit,
    was_accepted,
)
from a2e_async._core.typeguards import is_mapping

if TYPE_CHECKING:
    from a2e_async._core.http.call import RequestKwargs
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder


@define(eq=False)
class PresignRequest:
    """Requests the upload URLs that one caller needs, and pays for them from its reservation.

    Created for each upload; the `Uploader` calls it, at most once at a time.
    """

    session: "ApiSession"
    options: "RequestKwargs"
    recorder: "JournalRecorder | None"
    reservation: Reservation
    coins: int = 0
    """Total cost of its requests so far."""

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the data of the response. If that is lost, the request is not sent again."""
        paid = self.reservation.split_upload()
        coins = UPLOAD_COST if paid.price is None else paid.price
        call = self.session.new_call(
            "POST",
            PRESIGN_PATH,
            json=dict(body),
            retry_safety=RetrySafety.CHARGED,
            **self.options,
        )
        try:
            with commit_on_exit(paid, UPLOAD, call):
                response = await self.session.send(call)
        except (Exception, asyncio.CancelledError) as error:
            if self.recorder is not None and was_accepted(call, error):
                await self.recorder.record_upload_cost(coins, is_certain=False)
            raise
        self.coins += coins
        if self.recorder is not None:
            await self.recorder.record_upload_cost(coins)
        return response.data if is_mapping(response.data) else {}
