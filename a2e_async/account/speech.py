"""``a2e.speech``: speech from text."""

from functools import partial
from typing import TYPE_CHECKING, Final

from a2e_async._core.context import RequestContext
from a2e_async._core.namespace_helpers import (
    check_id_input,
    check_number,
    check_text,
    output_from_url,
    unwrap_response,
    without_none,
)
from a2e_async._core.schema.inputs import MAX_KEY_CHARS
from a2e_async._core.submission.calls import ChargedCall
from a2e_async.errors import InvalidInput
from a2e_async.models import Output

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

SPEECH_PATH: Final = "/api/v1/video/send_tts"

MAX_CHARACTERS: Final = 1000
"""Unicode characters of one request; the website of the service allows more."""


_URL_NAMES: Final = ("url", "audio_url", "audioUrl", "audio", "result_url", "result")


class Speech:
    """``a2e.speech``: speech from text. The request returns it; there is no task, id or list."""

    def __init__(self, context: RequestContext) -> None:
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
        key: str | None = None,
    ) -> Output:
        """Return text as speech (mp3 or wav). Costs coins.

        ``text`` has 1 to 1000 characters. The voice is either ``tts_id`` (a voice of
        `a2e.voices.public`) or ``user_voice_id`` (one of `a2e.voices.cloned`). With the latter,
        ``country`` and ``region`` are values of `a2e.voices.languages` (en and US by default).
        ``speech_rate`` is the speed, 0.5 to 2. The response is awaited for the client's
        ``start_timeout``.

        The same ``key`` is the same speech, paid once (with a journal, also after a restart). Save
        the output before its URL expires: it cannot be renewed.

        Raises `InvalidInput` (nothing was sent), `KeyConflict` (the key has other inputs), the
        `ApiError` with which the service refused, and `StartOutcomeUnknown` if no response arrived:
        it may have been charged, is not repeated, and the service has no list to search. If the
        caller is cancelled after the request was sent, the output is listed by `unclaimed`.
        ``POST /api/v1/video/send_tts``.
        """
        check_text(text, "text", MAX_CHARACTERS)
        if (tts_id is None) == (user_voice_id is None):
            raise InvalidInput("Give exactly one of tts_id and user_voice_id.", field="tts_id")
        for name, id in (("tts_id", tts_id), ("user_voice_id", user_voice_id)):
            if id is not None:
                check_id_input(id, name)
        for name, value in (("country", country), ("region", region)):
            if value is None:
                continue
            check_text(value, name)
            if user_voice_id is None:
                raise InvalidInput(
                    f"{name} requires user_voice_id: a tts_id has a fixed {name}.", field=name
                )
        if speech_rate is not None:
            check_number(speech_rate, "speech_rate", 0.5, 2)
        body = without_none(
            msg=text,
            tts_id=tts_id,
            user_voice_id=user_voice_id,
            country=country,
            region=region,
            speechRate=speech_rate,
        )
        if key is not None:
            check_text(key, "key", MAX_KEY_CHARS)
        context = self._context
        # Never retried: no list of the service would show the result of a lost request.
        return await context.charged.call(
            ChargedCall(
                kind="speech",
                path=SPEECH_PATH,
                body=body,
                timeout=context.start_timeout,
                priority=context.priority,
                read_result=partial(_read_speech, context),
                key=key,
                restore_result=partial(_restore_speech, context),
            )
        )

    def unclaimed(self) -> tuple[Output, ...]:
        """Return speech that was charged although its caller was cancelled, oldest first.

        Makes no request. The client keeps the last 100.
        """
        return self._context.charged.unclaimed("speech")


def _restore_speech(context: RequestContext, urls: tuple[str, ...]) -> Output:
    return output_from_url(urls[0], "audio", context.source)


def _read_speech(context: RequestContext, response: "ApiResponse") -> Output | None:
    url = unwrap_response(response.data, *_URL_NAMES, bare_name="url").url(*_URL_NAMES)
    return output_from_url(url, "audio", context.source) if url else None
