"""The service's own voices, avatars and backgrounds: the same in every sandbox."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import attrs

from ... import media
from ..account_state import Record
from ..object_store import StoredObject
from ..service import Service

CREATED_AT: Final = "2024-01-01T00:00:00.000Z"
"""The creation date in the records of the service's own items."""

_LANGUAGES: Final = (
    ("en", "English", (("US", "United States"), ("GB", "United Kingdom"), ("IN", "India"))),
    ("zh", "Chinese", (("CN", "China"), ("TW", "Taiwan"))),
    ("es", "Spanish", (("ES", "Spain"), ("MX", "Mexico"))),
    ("fr", "French", (("FR", "France"), ("CA", "Canada"))),
    ("pt", "Portuguese", (("BR", "Brazil"), ("PT", "Portugal"))),
    ("de", "German", (("DE", "Germany"),)),
    ("it", "Italian", (("IT", "Italy"),)),
    ("ja", "Japanese", (("JP", "Japan"),)),
    ("ko", "Korean", (("KR", "South Korea"),)),
    ("ar", "Arabic", (("SA", "Saudi Arabia"),)),
    ("hi", "Hindi", (("IN", "India"),)),
    ("ru", "Russian", (("RU", "Russia"),)),
)

_VOICE_NAMES: Final = (("female", ("Mira", "Nora")), ("male", ("Emil", "Otto")))


@attrs.frozen(slots=True)
class SystemVoice:
    """A voice of the service, for one locale."""

    id: str
    name: str
    gender: str
    country: str
    """The language part of the locale, such as ``en``; the service calls it country."""

    region: str


_PUBLIC_VOICES: Final = (
    SystemVoice("66dc61ec5148817d26f5b79e", "Alice", "female", "en", "US"),
    SystemVoice("66d3fb1bc051cfb134c60f20", "Andrew Multilingual", "male", "en", "US"),
    SystemVoice("66dc3c1b7dc1f1c483cc5ab8", "Public voice 1", "female", "en", "US"),
    SystemVoice("6625ebd4613f49985c349f95", "Public voice 2", "female", "en", "US"),
    SystemVoice("63a549c1ad2a27fe43d9669a", "Public voice 3", "female", "ru", "RU"),
)
"""Voices of the real service whose ids its documentation or public clients name. Of all but the
first two only the id is known."""

DOCUMENTED_CLONED_VOICE: Final = "66f1234567890abcdef12345"
"""The cloned voice in the reference's examples."""

_PUBLIC_STREAMING_AVATAR: Final = "676e1f054c86ff839eae2cc3"
"""The streaming avatar in the reference's examples."""


@cache
def system_voices() -> dict[str, SystemVoice]:
    """Return every voice by its id."""
    made = (
        SystemVoice(_stable_id("voice", country, region, name), name, gender, country, region)
        for country, _, regions in _LANGUAGES
        for region, _ in regions
        for gender, names in _VOICE_NAMES
        for name in names
    )
    return {voice.id: voice for voice in (*made, *_PUBLIC_VOICES)}


def languages() -> list[Record]:
    """Return the languages with their regions."""
    return [
        {
            "value": country,
            "label": label,
            "children": [{"value": region, "label": name} for region, name in regions],
        }
        for country, label, regions in _LANGUAGES
    ]


def voice_groups(country: str | None = None, region: str | None = None) -> list[Record]:
    """Return the voices grouped by gender; None means any language or any region."""
    fitting = [
        voice
        for voice in system_voices().values()
        if country in {None, voice.country} and region in {None, voice.region}
    ]
    return [
        {
            "value": gender,
            "label": gender.capitalize(),
            "children": [
                {"value": voice.id, "label": voice.name, "ttsRate": 1}
                for voice in fitting
                if voice.gender == gender
            ],
        }
        for gender, _ in _VOICE_NAMES
        if fitting
    ]


def system_avatars(service: Service) -> list[Record]:
    """Return the service's avatars; as in the real service, some have no name."""
    picture, clip = _sample_url(service, media.portrait()), _sample_url(service, media.clip())
    return [
        {
            "_id": _stable_id("avatar", gender, str(name)),
            "type": "default",
            "name": name,
            "gender": gender,
            "video_cover": picture,
            "base_video": clip,
            "people_img": picture,
            "createdAt": CREATED_AT,
        }
        for gender, name in (("female", "Ada"), ("male", "Bruno"), ("female", None))
    ]


def streaming_avatars() -> list[Record]:
    """Return the avatars that can be streamed in a room."""
    made = [{"_id": _stable_id("room", name), "name": name} for name in ("Clara", "Dario")]
    return [*made, {"_id": _PUBLIC_STREAMING_AVATAR, "name": "Public avatar"}]


def system_backgrounds(service: Service) -> list[Record]:
    """Return the service's backgrounds."""
    picture = _sample_url(service, media.portrait())
    return [
        {"_id": _stable_id("background", name), "img_url": picture, "name": name, "type": "default"}
        for name in ("office", "garden", "studio")
    ]


def _stable_id(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:24]


def _sample_url(service: Service, path: Path) -> str:
    """Return the permanent URL of a sample file, after adding the file to the storage."""
    key = f"system/{path.name}"
    if key not in service.store.objects:
        service.store.objects[key] = _load_sample(path)
    return f"{service.store.base_url}/cdn/{key}"


@cache
def _load_sample(path: Path) -> StoredObject:
    data = path.read_bytes()
    kind = {".png": "image/png", ".mp4": "video/mp4"}[path.suffix]
    digest = hashlib.sha256(data).hexdigest()
    return StoredObject(path, kind, len(data), digest, None, float("inf"))
