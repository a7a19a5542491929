"""Voices, languages, speech synthesis, and the speech previews of the web page."""

from __future__ import annotations

import math
from typing import Any, Final

from ..account_state import Record
from ..clock import Moment
from ..service import Service
from ..validation import FieldProblem
from . import system_catalogue
from .helpers import (
    OperationFunction,
    ValidatedCall,
    charge_call,
    completed_tasks,
    delete_record,
    make_page,
    make_speech_file,
    new_record,
    refuse_invalid,
)

MAX_TEXT_LENGTH: Final = 1000
"""The longest text of one speech request, in characters."""

CHARACTERS_PER_COIN: Final = 100
"""How many characters one coin pays for."""

PREVIEW_LIFE: Final = 86400.0
"""How long a preview is listed, in service seconds."""

_PREVIEW_TEXTS: Final = ("Welcome to the show.", "Good morning, everyone.", "This way, please.")


def _list_languages(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return system_catalogue.languages()


def _list_all_voices(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return system_catalogue.voice_groups()


def _list_voices(service: Service, call: ValidatedCall, now: Moment) -> Any:
    parameters = {**call.query, **call.body}
    return system_catalogue.voice_groups(
        parameters.get("country", "en"), parameters.get("region", "US")
    )


def _synthesize_speech(service: Service, call: ValidatedCall, now: Moment) -> Any:
    text, problems = call.body["msg"], list[FieldProblem]()
    if len(text) > MAX_TEXT_LENGTH:
        problems.append(FieldProblem("msg", f"must have at most {MAX_TEXT_LENGTH} characters"))
    named = [name for name in ("tts_id", "user_voice_id") if call.body.get(name)]
    if len(named) == 1:
        problems += _voice_problems(service, named[0], call.body[named[0]], now)
    else:
        problems.append(FieldProblem("tts_id", "exactly one of tts_id and user_voice_id is needed"))
    if problems:
        refuse_invalid(service, *problems)
    charge_call(service, call, "speech", math.ceil(len(text) / CHARACTERS_PER_COIN), now)
    rate = float(call.body.get("speechRate", 1))
    return make_speech_file(service, text, call.body[named[0]], rate, now)


def _voice_problems(service: Service, name: str, voice: str, now: Moment) -> list[FieldProblem]:
    known = (
        system_catalogue.system_voices() if name == "tts_id" else _cloned_voice_ids(service, now)
    )
    return [] if voice.lower() in known else [FieldProblem(name, "is no voice that can be used")]


def _cloned_voice_ids(service: Service, now: Moment) -> set[str]:
    own = {task.id for task in completed_tasks(service, "voice_clone", now)}
    return own | {system_catalogue.DOCUMENTED_CLONED_VOICE}


def _current_previews(service: Service, now: Moment) -> dict[str, Record]:
    """Return the speech previews: created on the first call, dropped after a day."""
    others = service.account
    if others.previews is None:
        others.previews, others.previews_until = {}, now.service_time + PREVIEW_LIFE
        voice = next(iter(system_catalogue.system_voices().values()))
        for text in _PREVIEW_TEXTS:
            fields = {
                "msg": text,
                "tts_id": voice.id,
                "country": voice.country,
                "region": voice.region,
                "speechRate": 1,
                "url": make_speech_file(service, text, voice.id, 1.0, now),
            }
            record = new_record(service, now, fields)
            others.previews[record["_id"]] = record
    elif now.service_time >= others.previews_until:
        others.previews.clear()
    return others.previews


def _list_previews(service: Service, call: ValidatedCall, now: Moment) -> Any:
    rows = list(reversed(_current_previews(service, now).values()))
    return make_page(rows, call.query.get("current", 1), call.query.get("pageSize", 20))


def _delete_preview(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return delete_record(service, _current_previews(service, now), call.id)


OPERATIONS: Final[dict[str, OperationFunction]] = {
    "POST /api/v1/anchor/language_list": _list_languages,
    "POST /api/v1/anchor/tts_list": _list_all_voices,
    "POST /api/v1/anchor/voice_list": _list_voices,
    "GET /api/v1/anchor/voice_list": _list_voices,
    "POST /api/v1/video/send_tts": _synthesize_speech,
    "GET /api/v1/tts/preview/list": _list_previews,
    "DELETE /api/v1/tts/preview/{id}": _delete_preview,
}
"""The operations of this module, by method and path."""
