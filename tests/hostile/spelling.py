"""Ways in which services change the names that clients send."""

import html
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

Respell = Callable[[str], str]


def _without_emoji(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char) not in ("So", "Cs"))


SPELLINGS: Final[Mapping[str, Respell]] = {
    "unchanged": lambda text: text,
    "cut": lambda text: text[:20],
    "trimmed": lambda text: " ".join(text.split()),
    "lower case": str.lower,
    "escaped": html.escape,
    "normalised": lambda text: unicodedata.normalize("NFC", text),
    "without emoji": _without_emoji,
    "dropped": lambda _: "",
}
