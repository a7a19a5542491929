"""The shape of JSON values: types, formats and names of fields, none of the values (pure).

In JSON, an object's shape is an object, a list's a list with the shape of its items, and that of
anything else a text: ``integer|null``, ``text:id``, ``word:completed``. A field that some objects
lack has a ``?`` behind its name; alternatives with an object or a list are ``{"|": [...]}``. The
sandbox reads this to play a report.

A report is published, so nothing private may be in a shape. Of a text only its format is kept; of a
status field also its word, if it is one and the field is a record's: the state of an address is no
status. Of a URL the service's own domain and the form of its path are kept. A name of a field that
could be a value, such as an id, becomes ``*``; so do all names of a table, which is an object with
several fields, or one that holds an object or a list, none of which the contract knows.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

from a2e_async._core.redact import redact
from a2e_async._core.typeguards import is_list, is_mapping

STATUS_FIELDS: Final = frozenset({"current_status", "status", "state"})
"""Fields that hold the status word of a record."""

MAX_ROWS: Final = 50
"""Items of a list that its shape is read from."""

_MAX_DEPTH: Final = 8
_MAX_FIELDS: Final = 80
"""An object with more fields is a table of values: their names are left out."""

_MAX_WORDS: Final = 12
_ANY: Final = "*"
_WORD: Final = re.compile(r"[a-z]{2,16}([_-][a-z]{2,16})?|[A-Z]{2,16}(_[A-Z]{2,16})?")
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_\-]{0,39}")
_ID_LIKE: Final = re.compile(r"[0-9a-fA-F]{12,}|(?<![0-9])(?!1080(?![0-9]))[0-9]{4,}")
_NAME_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_SUFFIX: Final = re.compile(
    r"\.(mp4|mov|webm|mp3|wav|m4a|png|jpe?g|webp|gif|json|zip)", re.IGNORECASE
)
_MEDIA_TYPES: Final = frozenset(
    {
        *("application/json", "application/xml", "application/octet-stream", "text/html"),
        *("text/plain", "text/xml", "text/event-stream", "binary/octet-stream"),
        *("video/mp4", "video/quicktime", "video/webm", "audio/mpeg", "audio/wav", "audio/x-wav"),
        *("audio/mp4", "image/png", "image/jpeg", "image/webp", "image/gif"),
    }
)
_SERVICE_DOMAINS: Final = (
    "a2e.ai",
    "a2e.com.cn",
    "makefun.ai",
    "amazonaws.com",
    "cloudfront.net",
    "r2.dev",
    "cloudflarestorage.com",
    "googleapis.com",
    "aliyuncs.com",
    "volces.com",
)
"""Domains of the service and of large file stores; all others may belong to a person."""


@frozen(kw_only=True)
class Shape:
    """The shape of one value, or of several values in the same place."""

    types: tuple[str, ...] = ()
    """JSON types: null, boolean, integer, number, text, object, list."""
    formats: tuple[str, ...] = ()
    """Formats of its texts."""
    words: tuple[str, ...] = ()
    """Words of a status field."""
    fields: "Mapping[str, Shape]" = field(factory=dict[str, "Shape"])
    """The shapes of an object's fields."""
    optional: tuple[str, ...] = ()
    """Fields that some of the objects lack."""
    items: "Shape | None" = None
    """The shape of a list's items; None for an empty list."""

    def to_json(self) -> Any:
        """Return the shape as JSON values; see the module."""
        plain = [name for name in self.types if name not in ("text", "object", "list")]
        plain += [f"text:{name}" for name in self.formats if name != "word"]
        plain += [f"word:{word}" for word in self.words]
        ways: list[Any] = ["|".join(plain)] if plain else []
        if "object" in self.types:
            named = self.fields.items()
            ways.append({f"{n}?" if n in self.optional else n: s.to_json() for n, s in named})
        if "list" in self.types:
            ways.append([] if self.items is None else [self.items.to_json()])
        return ways[0] if len(ways) == 1 else {"|": ways}

    @classmethod
    def from_json(cls, value: Any) -> "Shape":
        """Return the shape that `to_json` wrote. Raises TypeError for anything else."""
        if isinstance(value, str):
            return merged(map(_plain_shape, value.split("|")))
        if is_list(value):
            return cls(types=("list",), items=cls.from_json(value[0]) if value else None)
        if not is_mapping(value):
            raise TypeError("expected a shape")
        if is_list(ways := value.get("|")):
            return merged(map(cls.from_json, ways))
        return cls(
            types=("object",),
            fields={name.removesuffix("?"): cls.from_json(part) for name, part in value.items()},
            optional=tuple(name[:-1] for name in value if name.endswith("?")),
        )

    def found(self) -> str:
        """Return the types and formats as a text."""
        others = [name for name in self.types if name != "text"]
        return " or ".join([*others, *(f"text ({name})" for name in self.formats)])


def shape_of(
    value: Any,
    status_fields: frozenset[str] = STATUS_FIELDS,
    *,
    known: frozenset[str] = frozenset(),
    name: str = "",
    depth: int = 0,
) -> Shape:
    """Return the shape of a JSON value; ``name`` is the name of the field that holds it.

    ``known`` are the names of fields that the contract knows.
    """
    if value is None:
        return Shape(types=("null",))
    if isinstance(value, bool):
        return Shape(types=("boolean",))
    if isinstance(value, int):
        return Shape(types=("integer",))
    if isinstance(value, float):
        return Shape(types=("number",))
    if isinstance(value, str):
        word = status_word(value) if name in status_fields else None
        if word is not None:
            return Shape(types=("text",), formats=("word",), words=(word,))
        return Shape(types=("text",), formats=(text_format(value),))
    if is_list(value):
        items = [
            shape_of(item, status_fields, known=known, name=name, depth=depth + 1)
            for item in value[:MAX_ROWS]
            if depth < _MAX_DEPTH
        ]
        return Shape(types=("list",), items=merged(items) if items else None)
    if not is_mapping(value):
        return Shape(types=("object",))
    fields: dict[str, Shape] = {}
    names_are_values = len(value) > _MAX_FIELDS or (
        bool(known) and known.isdisjoint(value) and _is_table(value)
    )
    is_record = "_id" in value
    for key, part in value.items() if depth < _MAX_DEPTH else ():
        shown = _ANY if names_are_values else field_name(key)
        words = status_fields if isinstance(part, str) is is_record else frozenset[str]()
        shape = shape_of(part, words, known=known, name=shown, depth=depth + 1)
        fields[shown] = merged((fields[shown], shape)) if shown in fields else shape
    return Shape(types=("object",), fields=dict(sorted(fields.items())))


def _is_table(value: Mapping[str, Any]) -> bool:
    """Return whether the names of an object could be values: not for a single plain field."""
    return len(value) > 1 or any(is_mapping(part) or is_list(part) for part in value.values())


def _plain_shape(text: str) -> Shape:
    """Return the shape of one alternative that is neither an object nor a list."""
    sort, _, form = text.partition(":")
    if sort == "word":
        return Shape(types=("text",), formats=("word",), words=(form,))
    return Shape(types=(sort,), formats=(form,) if form else ())


def merged(shapes: Iterable[Shape]) -> Shape:
    """Return one shape for values of several shapes in the same place."""
    return reduce(_merge, shapes)


def _merge(one: Shape, other: Shape) -> Shape:
    fields = {
        name: _merge(one.fields[name], other.fields[name])
        if name in one.fields and name in other.fields
        else one.fields.get(name) or other.fields[name]
        for name in sorted({*one.fields, *other.fields})
    }
    optional = {*one.optional, *other.optional}
    if "object" in one.types and "object" in other.types:
        optional |= one.fields.keys() ^ other.fields.keys()
    if one.items is None or other.items is None:
        items = one.items or other.items
    else:
        items = _merge(one.items, other.items)
    return Shape(
        types=_union(one.types, other.types),
        formats=_union(one.formats, other.formats)[:_MAX_WORDS],
        words=_union(one.words, other.words)[:_MAX_WORDS],
        fields=fields,
        optional=tuple(sorted(optional)),
        items=items,
    )


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return one if one == other else tuple(sorted({*one, *other}))


def status_word(value: str) -> str | None:
    """Return a status word, None for a text that is not a short word."""
    return value if _WORD.fullmatch(value) else None


def field_name(name: str) -> str:
    """Return the name of a field; ``*`` for one that may be a value."""
    if not _NAME.fullmatch(name) or _ID_LIKE.search(name) or redact(name) != name:
        return _ANY
    parts = _NAME_PART.findall(name)
    if len(parts) > 3 and sum(map(len, parts)) < 3 * len(parts):
        return _ANY  # a random id has no words
    return name


def text_format(text: str) -> str:
    """Return the format of a text, which reveals nothing that it says."""
    if not text:
        return "empty"
    if _OBJECT_ID.fullmatch(text):
        return "id"
    if _UUID.fullmatch(text):
        return "uuid"
    if _NUMBER.fullmatch(text):
        return "number"
    if re.match(r"(?i)https?://", text.strip()):
        return url_format(text.strip())
    if _is_time(text):
        return "time"
    return "text"


def url_format(url: str) -> str:
    """Return a URL's scheme, domain and form of its path; no part that names anything."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return "url, malformed"
    domain = next((d for d in _SERVICE_DOMAINS if host == d or host.endswith(f".{d}")), None)
    path = "".join(f"/{_segment(part)}" for part in parts.path.split("/")[1:9])
    signed = "?..." if parts.query else ""
    return f"url {parts.scheme.lower()}://{domain or 'other'}{path}{signed}"


def _segment(text: str) -> str:
    found = _SUFFIX.fullmatch(text[text.rfind(".") :]) if "." in text else None
    suffix = found[0].lower() if found else ""
    stem = text[: len(text) - len(suffix)]
    if not stem:
        return suffix
    form = "id" if _OBJECT_ID.fullmatch(stem) else "number" if stem.isdecimal() else "text"
    return f"{{{form}}}{suffix}"


def _is_time(text: str) -> bool:
    if len(text) > 40 or not text[:4].isdecimal():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a response; ``other`` for one that is not usual."""
    found = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return found if not found or found in _MEDIA_TYPES else "other"


def content_coding(value: str) -> str:
    """Return a Content-Encoding; ``other`` for one that is not usual."""
    return value if value in ("gzip", "br", "deflate", "zstd", "identity") else "other"


def host_class(base_url: str) -> str:
    """Return the public domain of an API's address; ``other`` for any other address."""
    return url_format(base_url).partition("://")[2].partition("/")[0]


def differences(recorded: Shape, ours: Shape, where: str = "") -> list[str]:
    """Return how two shapes of the same response differ, one line for each field.

    Lists that were empty on one side, null, and formats of URLs are not compared.
    """
    known, seen = {*ours.types} - {"null"}, {*recorded.types} - {"null"}
    place = where or "the response"
    if not known or not seen:
        return []
    if known.isdisjoint(seen):
        return [f"{place}: {recorded.found()} instead of {ours.found()}"]
    found = [f"{place}: word {word!r}" for word in recorded.words if word not in ours.words]
    if not ours.words:
        found = []
    if recorded.items is not None and ours.items is not None:
        found += differences(recorded.items, ours.items, f"{where}[]")
    if "object" in seen and "object" in known:
        for name in sorted({*recorded.fields, *ours.fields}):
            path = f"{where}.{name}" if where else name
            if name not in ours.fields:
                found.append(f"{path}: unknown here ({recorded.fields[name].found()})")
            elif name not in recorded.fields:
                found.append(f"{path}: missing there ({ours.fields[name].found()})")
            else:
                found += differences(recorded.fields[name], ours.fields[name], path)
    return found
