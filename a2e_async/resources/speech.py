"""``a2e.speech``: text spoken by a voice."""

from functools import partial
from typing import TYPE_CHECKING, Final

from a2e_async.errors import InvalidInput
from a2e_async.models import Output
from a2e_async.resources.plain import (
    answered,
    as_output,
    check_id_in,
    check_number,
    check_text,
    given,
)
from a2e_async.resources.room import Room
from a2e_async.tasks.charged import ChargedCall

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer

PATH: Final = "/api/v1/video/send_tts"

MAX_CHARACTERS: Final = 1000
"""Unicode characters that one call speaks; those of the website may send more."""


_URL_NAMES: Final = ("url", "audio_url", "audioUrl", "audio", "result_url", "result")


class Speech:
    """Speech. It is made while the call waits: there is no task, no id and no list of it."""

    def __init__(self, context: Room) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<a2e.speech>"

    async def say(
        self,
        text: str,
        *,
        tts_id: str | None = None,
        user_voice_id: str | None = None,
        country: str | None = None,
        region: str | None = None,
        speech_rate: float | None = None,
    ) -> Output:
        """Return a text as speech (mp3 or wav). Costs coins.

        ``text`` has 1 to 1000 characters. The voice is either ``tts_id`` (a voice of
        `a2e.voices.public`) or ``user_voice_id`` (one of `a2e.voices.cloned`), which takes a
        ``country`` and ``region`` of `a2e.voices.languages` (the service takes en and US).
        ``speech_rate`` is the speed, 0.5 to 2. The client's ``start_timeout`` bounds the answer.

        Save the output while its URL lives: it cannot be renewed. Raises `InvalidInput`
        (nothing sent), the `ApiError` with which the service refused, and
        `StartOutcomeUnknown` when the answer was lost: then it may have been paid, it was not
        sent again, and the service has no list in which it could be found. When the caller is
        cancelled after it was sent, the output goes to `unclaimed`.
        ``POST /api/v1/video/send_tts``.
        """
        check_text(text, "text", MAX_CHARACTERS)
        if (tts_id is None) == (user_voice_id is None):
            raise InvalidInput("Give tts_id or user_voice_id: one voice.", field="tts_id")
        for name, id in (("tts_id", tts_id), ("user_voice_id", user_voice_id)):
            if id is not None:
                check_id_in(id, name)
        for name, value in (("country", country), ("region", region)):
            if value is None:
                continue
            check_text(value, name)
            if user_voice_id is None:
                raise InvalidInput(
                    f"{name} goes with user_voice_id; a tts_id has its own.", field=name
                )
        if speech_rate is not None:
            check_number(speech_rate, "speech_rate", 0.5, 2)
        body = given(
            msg=text,
            tts_id=tts_id,
            user_voice_id=user_voice_id,
            country=country,
            region=region,
            speechRate=speech_rate,
        )
        context = self._context
        return await context.charged.call(
            ChargedCall(
                kind="speech",
                path=PATH,
                body=body,
                timeout=context.start_timeout,
                priority=context.priority,
                read=partial(_read_speech, context),
            )
        )

    def unclaimed(self) -> tuple[Output, ...]:
        """Return paid speech whose callers were cancelled after it was sent, oldest first.

        No request. The last 100 are kept while the client lives.
        """
        return self._context.charged.unclaimed("speech")


def _read_speech(context: Room, answer: "Answer") -> Output | None:
    url = answered(answer.data, *_URL_NAMES, bare="url").url(*_URL_NAMES)
    return as_output(url, "audio", context.source) if url else None
