"""``a2e.voices``: the voices of speech, their languages, and previews."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from a2e_async._core.context import RequestContext
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.namespace_helpers import (
    ResponseFields,
    check_int,
    check_text,
    delete_resource,
    output_from_url,
    without_none,
)
from a2e_async._core.tasks.kind import check_task_id
from a2e_async._core.tasks.parsing import read_raw_records, read_total_count
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.kinds.namespace import TaskNamespace
from a2e_async.kinds.voice_clone import VOICE_CLONE, VoiceCloneRecord
from a2e_async.models import Output, Page, Status


@frozen(kw_only=True)
class Voice:
    """A voice of the service, for `a2e.speech.say`."""

    id: str
    """Id, which `a2e.speech.say` takes as ``tts_id``."""
    name: str | None = None
    """Name of the voice."""
    group: str | None = None
    """Group that the voice is listed in, such as ``female``."""
    rate: float | None = None
    """Usual speed of the voice; None if the service does not report it."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


@frozen(kw_only=True)
class VoiceRegion:
    """A region where a language is spoken."""

    value: str
    """The ``region`` of `a2e.speech.say`, such as ``US``."""
    label: str | None = None
    """Name of the region."""


@frozen(kw_only=True)
class VoiceLanguage:
    """A language that voices speak."""

    value: str
    """The ``country`` of `a2e.speech.say`, such as ``en``."""
    label: str | None = None
    """Name of the language."""
    regions: tuple[VoiceRegion, ...] = ()
    """Regions where the language is spoken."""


@frozen(kw_only=True)
class SpeechPreview:
    """A speech preview of the last 24 hours."""

    id: str
    """Id of the preview."""
    text: str | None = field(default=None, repr=False)
    """The spoken text."""
    output: Output | None = None
    """The audio; None if the service gives none."""
    created_at: datetime | None = None
    """When it was made."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


class Voices:
    """``a2e.voices``: voices, their languages, and the account's previews. Free of charge.

    To train your own voice, use `a2e.voice_clone`.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<a2e.voices>"

    async def public(
        self, *, country: str = "en", region: str = "US", voice_map_type: str | None = None
    ) -> tuple[Voice, ...]:
        """Return the service's voices for a language and a region as a flat list.

        ``country`` and ``region`` are values of `languages`; ``voice_map_type`` is a locale
        such as ``en-US`` (the service's default). ``GET /api/v1/anchor/voice_list``.
        """
        params = without_none(
            country=check_text(country, "country"),
            region=check_text(region, "region"),
            voice_map_type=voice_map_type,
        )
        path = "/api/v1/anchor/voice_list"
        response = await self._context.session.request(
            "GET", path, params=params, **self._context.request_options()
        )
        return tuple(_read_voices(response.data, None))

    async def presets(self) -> tuple[Voice, ...]:
        """Return the voices that are set up for this account.

        The response is undocumented; entries without an id are skipped.
        ``POST /api/v1/anchor/tts_list``.
        """
        path = "/api/v1/anchor/tts_list"
        response = await self._context.session.request(
            "POST", path, **self._context.request_options()
        )
        return tuple(_read_voices(response.data, None))

    async def languages(self, voice_map_type: str | None = None) -> tuple[VoiceLanguage, ...]:
        """Return the languages that voices speak, each with its regions.

        ``voice_map_type`` limits them to a locale such as ``en-US``.
        ``POST /api/v1/anchor/language_list``.
        """
        response = await self._context.session.request(
            "POST",
            "/api/v1/anchor/language_list",
            json=without_none(voice_map_type=voice_map_type),
            **self._context.request_options(),
        )
        return tuple(
            VoiceLanguage(
                value=value,
                label=raw.text("label"),
                regions=tuple(
                    VoiceRegion(value=region, label=child.text("label"))
                    for entry in _children(row)
                    if (region := (child := ResponseFields(entry)).text("value"))
                ),
            )
            for row in read_raw_records(response.data)
            if (value := (raw := ResponseFields(row)).text("value"))
        )

    async def cloned(self) -> tuple[VoiceCloneRecord, ...]:
        """Return the account's own voices, newest first.

        `a2e.speech.say` takes a record's ``voice_id`` as ``user_voice_id``. These are the
        succeeded tasks of ``a2e.voice_clone.iter()``.
        """
        clones = TaskNamespace(self._context, VOICE_CLONE)
        return tuple([r async for r in clones.iter() if r.status is Status.SUCCEEDED])

    async def previews(self, *, page: int = 1, page_size: int = 20) -> Page[SpeechPreview]:
        """Return one page of the speech previews of the last 24 hours.

        ``page`` counts from 1; ``page_size`` is at most 100. ``GET /api/v1/tts/preview/list``.
        """
        params = {
            "current": check_int(page, "page"),
            "pageSize": check_int(page_size, "page_size", maximum=100),
        }
        response = await self._context.session.request(
            "GET",
            "/api/v1/tts/preview/list",
            params=params,
            **self._context.request_options(Priority.LIST),
        )
        rows = read_raw_records(response.data)
        found = tuple(p for row in rows if (p := self._read_preview(row)) is not None)
        return Page(found, read_total_count(response.data))

    async def delete_preview(self, id: str) -> None:
        """Remove a preview from the list; its audio stays in storage. Raises `NotFound`.

        ``DELETE /api/v1/tts/preview/{id}``.
        """
        await delete_resource(self._context, "DELETE", f"/api/v1/tts/preview/{check_task_id(id)}")

    def _read_preview(self, row: Mapping[str, Any]) -> SpeechPreview | None:
        raw = ResponseFields(row)
        id = raw.id()
        if id is None:
            return None
        url = raw.url("url", "audio_url", "audioUrl", "result_url", "result", "audio")
        return SpeechPreview(
            id=id,
            text=raw.text("msg", "text"),
            output=output_from_url(url, "audio", self._context.source) if url else None,
            created_at=raw.timestamp("createdAt"),
            extra=raw.unread(),
        )


def _children(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    children = row.get("children")
    return [child for child in children if is_mapping(child)] if is_list(children) else []


def _read_voices(data: Any, group: str | None) -> Iterator[Voice]:
    """Yield the voices of a list, including those in groups."""
    for row in read_raw_records(data):
        raw = ResponseFields(row)
        if is_list(row.get("children")):
            yield from _read_voices(_children(row), raw.text("value", "label"))
            continue
        id = raw.id("value", "tts_id", "voice_id")
        if id is None:
            continue
        yield Voice(
            id=id,
            name=raw.text("label", "name"),
            group=group or raw.text("gender", "group"),
            rate=raw.number("ttsRate", "rate"),
            extra=raw.unread(),
        )
