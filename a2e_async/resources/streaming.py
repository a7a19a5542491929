"""``a2e.legacy.streaming_avatar``: an avatar that talks in a room, by Agora's video chat."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import field, frozen

from a2e_async._clock import utc_now
from a2e_async.errors import A2EError, ClientClosed, DecodeError, InvalidRequest, NotFound
from a2e_async.resources.plain import (
    Fields,
    answered,
    check_id_in,
    check_text,
    check_whole,
    older,
)
from a2e_async.resources.room import Room
from a2e_async.tasks.charged import ChargedCall, Duty
from a2e_async.tasks.status import read_rows
from a2e_async.transport.retry import Repeat

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer

logger = logging.getLogger("a2e_async.streaming")

PREFIX: Final = "/api/v1/streaming-avatar"

MAX_CONTEXT: Final = 5000
"""Characters of a room's context."""

MAX_STAY: Final = 7 * 24 * 3600
"""Seconds for which a room can be paid ahead; more is a mistake."""

LEAVE_WITHIN: Final = 15.0
"""Seconds in which a room is left, or said not to be."""


@frozen(kw_only=True)
class StreamingAvatar:
    """Somebody who can be met in a room; ``id`` is what `StreamingAvatars.room` takes."""

    id: str
    """Id, which `StreamingAvatars.room` takes."""
    name: str | None = None
    """Name of the avatar."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


@frozen(kw_only=True, eq=False)
class StreamingRoom:
    """A room that is paid for: what Agora's SDK needs to join it, and what can be said there.

    ``token`` lets anybody in: give each end user a room of their own. ``expires_at`` is when
    the room ends by itself. Legacy.
    """

    app_id: str
    """App id for the Agora SDK."""
    channel: str
    """Name of the Agora channel."""
    token: str = field(repr=False)
    """Agora token. Anyone who has it can join the room."""
    uid: int | None
    """User id for the Agora SDK."""
    expires_at: datetime
    """When the room closes."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""
    _context: Callable[[], Room] = field(repr=False, alias="room")
    """Gives what its calls go over: behind a function, so that nothing walks into the client."""

    async def ask(self, text: str) -> None:
        """Put a question; the avatar answers in the room.

        Its words come over Agora's data stream (``stream-message``). Not sent again when the
        answer is lost. Legacy: ``POST /api/v1/streaming-avatar/ask``.
        """
        await self._post_text("ask", check_text(text, "text"), Repeat.CHARGED)

    async def speak(self, text: str) -> None:
        """Let the avatar say exactly this in the room.

        Not sent again when the answer is lost. Legacy:
        ``POST /api/v1/streaming-avatar/speak``.
        """
        await self._post_text("speak", check_text(text, "text"), Repeat.CHARGED)

    async def set_context(self, text: str) -> None:
        """Tell what answers are to rest on, in at most 5000 characters.

        Legacy: ``POST /api/v1/streaming-avatar/set-qa-context``.
        """
        await self._post_text("set-qa-context", check_text(text, "text", MAX_CONTEXT), Repeat.FREE)

    async def _post_text(self, what: str, text: str, repeat: Repeat) -> None:
        with older(of_record=True):
            room = self._context()
            await room.session.request(
                "POST",
                f"{PREFIX}/{what}",
                json={"channel": self.channel, "text": text},
                repeat=repeat,
                **room.options(),
            )


class StreamingAvatars:
    """Rooms with an avatar that talks. Legacy: the service's reference lists them no longer."""

    def __init__(self, room: Room) -> None:
        self._context = room

    def __repr__(self) -> str:
        return "<a2e.legacy.streaming_avatar>"

    async def avatars(self) -> tuple[StreamingAvatar, ...]:
        """Return who can be met in a room. Free.

        Legacy: ``GET /api/v1/streaming-avatar/all_avatars``.
        """
        with older():
            answer = await self._context.session.request(
                "GET", f"{PREFIX}/all_avatars", **self._context.options()
            )
        return tuple(
            StreamingAvatar(id=id, name=raw.text("name"), extra=raw.rest())
            for row in read_rows(answer.data)
            if (id := (raw := Fields(row)).id())
        )

    @asynccontextmanager
    async def room(self, avatar_id: str, *, expire_seconds: int) -> AsyncGenerator[StreamingRoom]:
        """Pay for a room, and leave it at the end: ``async with ….room(…) as room: …``.

        Costs coins for all of ``expire_seconds`` (at most 7 days) at once; the unused ones come
        back when the room is left. That is done however the block ends, at the latest when the
        client is closed, within 15 seconds. Should it fail, a WARNING says so, and the exception
        that ended the block has a note; without one the failure is raised. A room that was paid
        for while its caller was cancelled is left as well.

        Raises `InvalidInput`, the service's `ApiError` (code 1001: all hosts are taken), and
        `StartOutcomeUnknown` when the answer was lost. Legacy:
        ``POST /api/v1/streaming-avatar/agora-token`` and ``leave``.
        """
        check_id_in(avatar_id, "avatar_id")
        check_whole(expire_seconds, "expire_seconds", most=MAX_STAY)
        charged, until = self._context.charged, utc_now() + timedelta(seconds=expire_seconds)
        with older(of_record=True):
            entered, duty = await charged.call(
                ChargedCall(
                    kind="streaming_avatar",
                    path=f"{PREFIX}/agora-token",
                    body={"avatar_id": avatar_id, "expire_seconds": expire_seconds},
                    timeout=self._context.start_timeout,
                    priority=self._context.priority,
                    read=partial(_read_room, self._context, until),
                    left=_start_leaving,
                    advice="A room that was paid for ends by itself when its time is over",
                )
            )
        if not (entered.app_id and entered.token):
            await _await_cleanup(duty)
            raise DecodeError(
                f"{PREFIX}/agora-token opened a room without all that is needed to join it; the "
                "room was left again.",
                method="POST",
                path=f"{PREFIX}/agora-token",
            )
        try:
            yield entered
        except BaseException as error:
            failure = await _await_cleanup(duty)
            if failure is not None:
                error.add_note(_not_left_message(entered, failure))
            raise
        failure = await _await_cleanup(duty)
        if failure is not None:
            failure.add_note(_not_left_message(entered, failure))
            raise failure


async def _leave(room: Room, entered: StreamingRoom) -> None:
    """Leave a room; when that fails, say so and raise."""
    try:
        await room.session.request(
            "POST",
            f"{PREFIX}/leave",
            json={"channel": entered.channel},
            deadline=room.session.clock() + LEAVE_WITHIN,
            **room.options(),
        )
    except A2EError as error:
        over = utc_now() >= entered.expires_at
        # An earlier try whose answer was lost may have been heard.
        again = isinstance(error, InvalidRequest | NotFound) and error.attempts > 1
        if over or again:
            return
        logger.warning("%s", _not_left_message(entered, error))
        raise
    except asyncio.CancelledError:
        logger.warning(
            "%s", _not_left_message(entered, ClientClosed("the client was closed meanwhile"))
        )
        raise


async def _await_cleanup(duty: Duty) -> A2EError | None:
    """Wait for a duty whatever scope is cancelled around; return what it failed by."""
    leaving = duty.begin()
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
        f"the streaming room {entered.channel} could not be left ({failure}); its coins may be "
        f"taken until {entered.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _read_room(room: Room, until: datetime, answer: "Answer") -> tuple[StreamingRoom, Duty] | None:
    """Return a room, and that it is to be left: owed from the moment it is known."""
    raw = answered(answer.data, "channel", "token")
    channel = raw.text("channel")
    if channel is None:
        return None
    entered = StreamingRoom(
        app_id=raw.text("appId", "app_id") or "",
        channel=channel,
        token=raw.text("token") or "",
        uid=raw.whole("uid"),
        expires_at=raw.time("expire_epoch_timestamp", "expire_date_UTC") or until,
        extra=raw.rest(),
        room=lambda: room,
    )
    return entered, room.charged.owe(partial(_leave, room, entered))


def _start_leaving(visit: tuple[StreamingRoom, Duty]) -> None:
    visit[1].begin()
