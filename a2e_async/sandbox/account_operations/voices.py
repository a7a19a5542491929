"""Voices, languages, speech, and the speech that was tried on the web."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ..clock import Moment
from ..api_spec import Problem
from . import catalogue
from .helpers import Call, Play, finished, invalid, new_record, page, pay, remove, speak
from ..account_state import Record

if TYPE_CHECKING:
    from ..service import Service

LONGEST_TEXT: Final = 1000
"""Characters that a caller of the API may have spoken at once."""

CHARACTERS_PER_COIN: Final = 100
"""How much text one coin speaks."""

PREVIEW_LIFE: Final = 86400.0
"""How long a preview is listed, in service seconds."""

_TRIED: Final = ("Welcome to the show.", "Good morning, everyone.", "This way, please.")


def _languages(service: Service, call: Call, now: Moment) -> Any:
    return catalogue.languages()


def _all_voices(service: Service, call: Call, now: Moment) -> Any:
    return catalogue.voice_groups()


def _voices(service: Service, call: Call, now: Moment) -> Any:
    asked = {**call.query, **call.body}
    return catalogue.voice_groups(asked.get("country", "en"), asked.get("region", "US"))


def _speech(service: Service, call: Call, now: Moment) -> Any:
    text, wrong = call.body["msg"], list[Problem]()
    if len(text) > LONGEST_TEXT:
        wrong.append(Problem("msg", f"must have at most {LONGEST_TEXT} characters"))
    named = [name for name in ("tts_id", "user_voice_id") if call.body.get(name)]
    if len(named) == 1:
        wrong += _voice_problems(service, named[0], call.body[named[0]], now)
    else:
        wrong.append(Problem("tts_id", "exactly one of tts_id and user_voice_id is needed"))
    if wrong:
        invalid(service, *wrong)
    pay(service, call, "speech", math.ceil(len(text) / CHARACTERS_PER_COIN), now)
    rate = float(call.body.get("speechRate", 1))
    return speak(service, text, call.body[named[0]], rate, now)


def _voice_problems(service: Service, name: str, voice: str, now: Moment) -> list[Problem]:
    known = catalogue.voices() if name == "tts_id" else _clones(service, now)
    return [] if voice.lower() in known else [Problem(name, "is no voice that can be used")]


def _clones(service: Service, now: Moment) -> set[str]:
    return {task.id for task in finished(service, "voice_clone", now)}


def _previews(service: Service, now: Moment) -> dict[str, Record]:
    """Returns the previews: made when first asked for, gone after a day."""
    others = service.others
    if others.previews is None:
        others.previews, others.previews_until = {}, now.work + PREVIEW_LIFE
        voice = next(iter(catalogue.voices().values()))
        for text in _TRIED:
            fields = {
                "msg": text,
                "tts_id": voice.id,
                "country": voice.country,
                "region": voice.region,
                "speechRate": 1,
                "url": speak(service, text, voice.id, 1.0, now),
            }
            record = new_record(service, now, fields)
            others.previews[record["_id"]] = record
    elif now.work >= others.previews_until:
        others.previews.clear()
    return others.previews


def _preview_list(service: Service, call: Call, now: Moment) -> Any:
    rows = list(reversed(_previews(service, now).values()))
    return page(rows, call.query.get("current", 1), call.query.get("pageSize", 20))


def _preview_delete(service: Service, call: Call, now: Moment) -> Any:
    return remove(service, _previews(service, now), call.id)


PLAYS: Final[dict[str, Play]] = {
    "POST /api/v1/anchor/language_list": _languages,
    "POST /api/v1/anchor/tts_list": _all_voices,
    "POST /api/v1/anchor/voice_list": _voices,
    "GET /api/v1/anchor/voice_list": _voices,
    "POST /api/v1/video/send_tts": _speech,
    "GET /api/v1/tts/preview/list": _preview_list,
    "DELETE /api/v1/tts/preview/{id}": _preview_delete,
}
"""What this module carries out, by method and path."""
