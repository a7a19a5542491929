"""``a2e.legacy.streaming_avatar``: an avatar that talks in an Agora video room."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import field, frozen

from a2e_async._core.clock import utc_now
from a2e_async._core.context import RequestContext
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.namespace_helpers import (
    ResponseFields,
    check_id_input,
    check_int,
    check_text,
    legacy_operation,
    unwrap_response,
)
from a2e_async._core.redact import HiddenText
from a2e_async._core.submission.calls import ChargedCall, DeferredCleanup
from a2e_async._core.tasks.parsing import read_raw_records
from a2e_async.errors import A2EError, ClientClosed, DecodeError, InvalidRequest, NotFound

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

logger: Final = logging.getLogger("a2e_async.streaming")

PREFIX: Final = "/api/v1/streaming-avatar"

MAX_CONTEXT_CHARACTERS: Final = 5000
"""Maximum length of the context of a room, in characters."""

MAX_EXPIRE_SECONDS: Final = 7 * 24 * 3600
"""Maximum paid time of a room in seconds; a longer time is most likely a mistake."""

LEAVE_TIMEOUT: Final = 15.0
"""Seconds within which leaving a room succeeds or is reported as failed."""


@frozen(kw_only=True)
class StreamingAvatar:
    """An avatar that can talk in a streaming room. Legacy."""

    id: str
    """Id, which `StreamingAvatars.room` takes."""
    name: str | None = None
    """Name of the avatar."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


@frozen(kw_only=True, eq=False)
class StreamingRoom:
    """A paid room: the values that the Agora SDK needs to join it, and methods to speak in it.

    Everyone who has the ``token`` can join: open one room for each end user. Legacy.
    """

    app_id: str
    """App id for the Agora SDK."""
    channel: str
    """Name of the Agora channel."""
    token: str = field(repr=False, converter=HiddenText)
    """Agora token. Anyone who has it can join the room."""
    uid: int | None
    """User id for the Agora SDK."""
    expires_at: datetime
    """When the room closes."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""
    _context: Callable[[], RequestContext] = field(repr=False, alias="room")
    """Returns the context of its requests. A function, so that serializers that follow attributes
    do not reach the client."""

    async def ask(self, text: str) -> None:
        """Ask a question; the avatar answers it in the room.

        The words of the answer arrive in Agora's data stream (``stream-message``). The request
        is not repeated if no response arrives. Legacy: ``POST /api/v1/streaming-avatar/ask``.
        """
        await self._post_text("ask", check_text(text, "text"), RetrySafety.CHARGED)

    async def speak(self, text: str) -> None:
        """Make the avatar say this text in the room.

        The request is not repeated if no response arrives. Legacy:
        ``POST /api/v1/streaming-avatar/speak``.
        """
        await self._post_text("speak", check_text(text, "text"), RetrySafety.CHARGED)

    async def set_context(self, text: str) -> None:
        """Set the context of the answers, at most 5000 characters.

        Legacy: ``POST /api/v1/streaming-avatar/set-qa-context``.
        """
        await self._post_text(
            "set-qa-context", check_text(text, "text", MAX_CONTEXT_CHARACTERS), RetrySafety.FREE
        )

    async def _post_text(self, what: str, text: str, repeat: RetrySafety) -> None:
        with legacy_operation(of_record=True):
            context = self._context()
            await context.session.request(
                "POST",
                f"{PREFIX}/{what}",
                json={"channel": self.channel, "text": text},
                retry_safety=repeat,
                **context.request_options(),
            )


class StreamingAvatars:
    """Rooms with a talking avatar. Legacy: the service's reference no longer lists them."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<a2e.legacy.streaming_avatar>"

    async def avatars(self) -> tuple[StreamingAvatar, ...]:
        """Return the avatars that can talk in a room. Free of charge.

        Legacy: ``GET /api/v1/streaming-avatar/all_avatars``.
        """
        with legacy_operation():
            response = await self._context.session.request(
                "GET", f"{PREFIX}/all_avatars", **self._context.request_options()
            )
        return tuple(
            StreamingAvatar(id=id, name=raw.text("name"), extra=raw.unread())
            for row in read_raw_records(response.data)
            if (id := (raw := ResponseFields(row)).id())
        )

    @asynccontextmanager
    async def room(self, avatar_id: str, *, expire_seconds: int) -> AsyncGenerator[StreamingRoom]:
        """Open a paid room, and leave it at the end: ``async with ….room(…) as room: …``.

        Charges coins for all of ``expire_seconds`` (at most 7 days) at once; the service refunds
        the unused time when the room is left. The room is left however the block ends, at the
        latest when the client is closed, within 15 s. If leaving fails, a WARNING is logged, and
        the exception that ended the block gets a note; if there is none, the failure is raised.
        A room whose caller was cancelled while it was opened is left, too.

        Raises `InvalidInput`, the `ApiError` of the service (code 1001: no host is available),
        and `StartOutcomeUnknown` if no response arrived. Legacy:
        ``POST /api/v1/streaming-avatar/agora-token`` and ``leave``.
        """
        check_id_input(avatar_id, "avatar_id")
        check_int(expire_seconds, "expire_seconds", maximum=MAX_EXPIRE_SECONDS)
        charged, until = self._context.charged, utc_now() + timedelta(seconds=expire_seconds)
        with legacy_operation(of_record=True):
            entered, cleanup = await charged.call(
                ChargedCall(
                    kind="streaming_avatar",
                    path=f"{PREFIX}/agora-token",
                    body={"avatar_id": avatar_id, "expire_seconds": expire_seconds},
                    timeout=self._context.start_timeout,
                    priority=self._context.priority,
                    read_result=partial(_read_room, self._context, until),
                    on_unclaimed=_start_leaving,
                    advice="A paid room closes when its time is over",
                )
            )
        # The room is paid for even if it cannot be joined: leave it, then raise.
        if not (entered.app_id and entered.token):
            await _await_cleanup(cleanup)
            raise DecodeError(
                f"The response of {PREFIX}/agora-token lacks values that are needed to join the "
                "room; the room was left.",
                method="POST",
                path=f"{PREFIX}/agora-token",
            )
        try:
            yield entered
        except BaseException as error:
            failure = await _await_cleanup(cleanup)
            if failure is not None:
                error.add_note(_not_left_message(entered, failure))
            raise
        failure = await _await_cleanup(cleanup)
        if failure is not None:
            failure.add_note(_not_left_message(entered, failure))
            raise failure


async def _leave(context: RequestContext, entered: StreamingRoom) -> None:
    """Leave a room; log a warning and raise if that fails."""
    try:
        await context.session.request(
            "POST",
            f"{PREFIX}/leave",
            json={"channel": entered.channel},
            deadline=context.session.loop_time() + LEAVE_TIMEOUT,
            **context.request_options(),
        )
    except A2EError as error:
        has_expired = utc_now() >= entered.expires_at
        # An earlier attempt without a response may have succeeded.
        left_before = isinstance(error, InvalidRequest | NotFound) and error.attempts > 1
        if has_expired or left_before:
            return
        logger.warning("%s", _not_left_message(entered, error))
        raise
    except asyncio.CancelledError:
        logger.warning(
            "%s", _not_left_message(entered, ClientClosed("the client was closed meanwhile"))
        )
        raise


async def _await_cleanup(cleanup: DeferredCleanup) -> A2EError | None:
    """Finish a cleanup even if the surrounding scope is cancelled; return its error, if any."""
    leaving = cleanup.run()
    # Leaving refunds coins, so it must finish even if the caller's scope is cancelled.
    with anyio.CancelScope(shield=True):
        await asyncio.wait([leaving])
    if leaving.cancelled():
        return ClientClosed("The client was closed before the room was left.")
    error = leaving.exception()
    if error is not None and not isinstance(error, A2EError):
        raise error
    return error


def _not_left_message(entered: StreamingRoom, failure: A2EError) -> str:
    return (
        f"the streaming room {entered.channel} could not be left ({failure}); it may cost coins "
        f"until {entered.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _read_room(
    context: RequestContext, until: datetime, response: "ApiResponse"
) -> tuple[StreamingRoom, DeferredCleanup] | None:
    """Return a room and the cleanup that leaves it, which exists once the room is known."""
    raw = unwrap_response(response.data, "channel", "token")
    channel = raw.text("channel")
    if channel is None:
        return None
    entered = StreamingRoom(
        app_id=raw.text("appId", "app_id") or "",
        channel=channel,
        token=raw.text("token") or "",
        uid=raw.integer("uid"),
        expires_at=raw.timestamp("expire_epoch_timestamp", "expire_date_UTC") or until,
        extra=raw.unread(),
        room=lambda: context,
    )
    return entered, context.charged.defer_cleanup(partial(_leave, context, entered))


def _start_leaving(visit: tuple[StreamingRoom, DeferredCleanup]) -> None:
    visit[1].run()
