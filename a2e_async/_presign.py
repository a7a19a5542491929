"""Requests upload URLs, which are charged, for the caller whose budget pays for them."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define

from a2e_async._core.context import RequestKwargs
from a2e_async._core.files.upload import PRESIGN_PATH
from a2e_async._core.http.retry import RetrySafety, may_have_been_accepted
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.submission.budget import UPLOAD_COST, Reservation, commit_on_exit
from a2e_async._core.typeguards import is_mapping
from a2e_async.errors import A2EError

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.submission.file_transfers import PresignFactory


@define(eq=False)
class _PresignCall:
    """Requests upload URLs for one caller, whose budget pays for them."""

    session: "ApiSession"
    options: RequestKwargs
    reservation: Reservation
    recorder: "JournalRecorder | None"
    coins: int = 0
    """Total cost of its requests so far."""

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        paid = self.reservation.split_upload()
        coins = UPLOAD_COST if paid.price is None else paid.price
        was_sent = False
        try:
            # A charged request: if its response is lost it is not sent again.
            with commit_on_exit(paid, UPLOAD) as (sent, refused):

                def on_sent() -> None:
                    nonlocal was_sent
                    was_sent = True
                    sent()

                def on_rate_limited() -> None:
                    nonlocal was_sent
                    was_sent = False
                    refused()

                response = await self.session.request(
                    "POST",
                    PRESIGN_PATH,
                    json=dict(body),
                    retry_safety=RetrySafety.CHARGED,
                    on_sent=on_sent,
                    on_rate_limited=on_rate_limited,
                    **self.options,
                )
        except (Exception, asyncio.CancelledError) as error:
            refused_by_api = isinstance(error, A2EError) and not may_have_been_accepted(error)
            if self.recorder is not None and was_sent and not refused_by_api:
                await self.recorder.record_upload_cost(coins, is_certain=False)
            raise
        self.coins += coins
        if self.recorder is not None:
            await self.recorder.record_upload_cost(coins)
        return response.data if is_mapping(response.data) else {}


def presign_factory(
    session: "ApiSession", options: RequestKwargs, recorder: "JournalRecorder | None"
) -> "PresignFactory":
    """Return a function that creates presigners with these request options."""

    def presign_for(reservation: Reservation) -> _PresignCall:
        return _PresignCall(session, options, reservation, recorder)

    return presign_for
