"""Codes of languages whose names people write instead (pure)."""

from collections.abc import Mapping
from typing import Final

_NAMES: Final[Mapping[str, str]] = {
    "ar": "arabic, العربية",
    "bg": "bulgarian, български",
    "cs": "czech, čeština",
    "da": "danish, dansk",
    "de": "german, deutsch",
    "el": "greek, ελληνικά",
    "en": "english",
    "es": "spanish, español, espanol, castellano",
    "fi": "finnish, suomi",
    "fr": "french, français, francais",
    "he": "hebrew, עברית",
    "hi": "hindi, हिन्दी",
    "hr": "croatian, hrvatski",
    "hu": "hungarian, magyar",
    "id": "indonesian, bahasa indonesia",
    "it": "italian, italiano",
    "ja": "japanese, 日本語",
    "ko": "korean, 한국어",
    "ms": "malay, bahasa melayu",
    "nl": "dutch, nederlands",
    "no": "norwegian, norsk",
    "pl": "polish, polski",
    "pt": "portuguese, português, portugues",
    "ro": "romanian, română",
    "ru": "russian, русский",
    "sk": "slovak, slovenčina",
    "sv": "swedish, svenska",
    "ta": "tamil, தமிழ்",
    "th": "thai, ไทย",
    "tl": "filipino, tagalog",
    "tr": "turkish, türkçe, turkce",
    "uk": "ukrainian, українська",
    "vi": "vietnamese, tiếng việt",
    "zh": "chinese, mandarin, 中文, 汉语",
}
"""ISO 639-1 codes, and the languages' names in English and in themselves."""

_CODES: Final = {name: code for code, names in _NAMES.items() for name in names.split(", ")}


def code_of_language(text: str) -> str | None:
    """Return the code of a language that is given by name; None for a code or an unknown name."""
    return _CODES.get(" ".join(text.casefold().split()))
