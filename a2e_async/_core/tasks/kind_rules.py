"""Checks of the kinds that users declare (pure). Each raises `ConfigurationError` with the place.

The service is never asked: what is checked is what would fail later, after something was paid, and
what this package does not offer.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from a2e_async._core.schema.inputs import COMMON_NAMES, TaskInput, input_fields
from a2e_async._core.schema.json_guard import check_field_name, guarded_json
from a2e_async._core.tasks.kind import (
    FORCED_GENERATION,
    Endpoint,
    ListPaging,
    OutputField,
    StatusVocabulary,
    TaskKind,
)
from a2e_async._core.typeguards import is_mapping, is_sequence
from a2e_async.errors import ConfigurationError, InvalidInput
from a2e_async.models import MediaType, Record

METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("POST",),
    "detail": ("GET", "POST"),
    "detail_fallback": ("GET", "POST"),
    "list": ("GET", "POST"),
    "processing_list": ("GET", "POST"),
    "recovery_lists": ("GET", "POST"),
    "batch_detail": ("POST",),
    "delete": ("DELETE", "POST"),
    "rename": ("PUT", "POST", "PATCH"),
    "retry": ("POST",),
}
"""The endpoints of a kind, and the methods with which the client can call each."""

_NEEDS_ID: Final = frozenset({"detail", "detail_fallback", "delete", "rename"})

_MEDIA_TYPES: Final = get_args(MediaType)

_CHARGES: Final = re.compile(
    r"/(?:add|create|generate|retry|send|start|submit|training)(?:[A-Z_\-][^/]*)?\Z"
)
"""Ends of the paths of the service's operations that cost coins, none of which only reads."""

_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9_\-.~]+|\{id\}))+")
_OTHER_ID: Final = re.compile(r"\{(?!id\})[^/{}]*\}|/:[A-Za-z_]+|<[^/<>]*>")

# The service has a kind for adult content, which this package does not offer in any form. Rather
# too many words than too few: no other operation of the service has any of them in its path.
_ADULT: Final = re.compile(
    r"adult|nsfw|porn|erotic|nudity|naked|undress|hentai|spicy|uncensor|xxx|18plus"
)
_ADULT_WORDS: Final = ("sex", "nude", "lewd")
"""These are also parts of other words, such as usersExport: only a word may begin with them."""
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_WEBHOOK_INPUTS: Final = frozenset({"webhook_url", "webhook_token"})


def check_kind(given: Any, prefix: str = "") -> None:
    """Raise `ConfigurationError` for a kind that cannot be used.

    The message begins with ``prefix`` (default: the name of the kind) and the field.
    """
    if not isinstance(given, TaskKind):
        raise ConfigurationError(f"kinds must contain TaskKind objects, not {given!r:.60}.")
    kind = cast("TaskKind[..., Any]", given)
    name: Any = kind.name
    if not (isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= 60):
        place = prefix.rstrip(".") or f"kind {name!r:.70}"
        raise ConfigurationError(
            f"{place}: the name must be an identifier of at most 60 ASCII characters, such as "
            "short_film."
        )
    prefix = prefix or f"kind {name}: "
    for field in METHODS:
        check_endpoint(getattr(kind, field), field, f"{prefix}{field}")
        _check_free_of_charge(kind, field, f"{prefix}{field}")
    if kind.detail_fallback is not None and kind.detail is None:
        raise ConfigurationError(f"{prefix}detail_fallback: declare it as detail; there is none.")
    _check_inputs(kind, prefix)
    _check_record(kind, prefix)
    _check_numbers(kind, prefix)


def check_endpoint(endpoint: Any, field: str, place: str) -> None:
    """Raise `ConfigurationError` for an endpoint that the client cannot call."""
    if endpoint is None and field != "start":
        return
    if not isinstance(endpoint, Endpoint):
        raise ConfigurationError(f"{place} must be an Endpoint, not {endpoint!r:.60}.")
    methods = METHODS[field]
    if endpoint.method not in methods:
        raise ConfigurationError(
            f"{place}: the method must be {' or '.join(methods)}, not {endpoint.method!r:.20}."
        )
    _check_path(endpoint.path, place)
    if endpoint.id_parameter is not None:
        _check_name(endpoint.id_parameter, f"{place}: id_parameter")
    by_path = endpoint.path.count("{id}")
    if field not in _NEEDS_ID:
        if by_path or endpoint.id_parameter:
            raise ConfigurationError(f"{place}: this operation takes no id; remove it.")
        return
    by_body = field == "delete" and endpoint.method == "POST"
    if by_path > 1 or (by_path and endpoint.id_parameter):
        raise ConfigurationError(f"{place}: the id is given twice; give it once.")
    if not by_path and not endpoint.id_parameter and not by_body:
        raise ConfigurationError(
            f"{place}: {endpoint.path} does not say where the id goes: write {{id}} in the path, "
            "or give the query parameter that takes it as id_parameter."
        )


def _check_free_of_charge(kind: "TaskKind[..., Any]", field: str, place: str) -> None:
    """Raise `ConfigurationError` for a charged operation where the client reads or deletes."""
    endpoint: Endpoint | None = getattr(kind, field)
    if endpoint is None or endpoint.method != "POST" or field in ("start", "retry"):
        return
    starts = {one.path for one in (kind.start, kind.retry) if one is not None}
    if endpoint.path in starts or _CHARGES.search(endpoint.path):
        raise ConfigurationError(
            f"{place}: POST {endpoint.path} is an operation that costs coins; it can only be the "
            "start, or the retry, of a kind."
        )


def _check_path(path: Any, place: str) -> None:
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"{place}: the path must be text such as /api/v1/shortFilm/start.")
    if "://" in path or path.startswith("//"):
        raise ConfigurationError(
            f"{place}: {path!r:.80} has a host. Give the path alone, such as "
            "/api/v1/shortFilm/start; the host is that of the client (base_url)."
        )
    if (other := _OTHER_ID.search(path)) is not None:
        raise ConfigurationError(
            f"{place}: write {{id}} where the id goes, not {other[0].lstrip('/')}."
        )
    if "?" in path or "#" in path:
        raise ConfigurationError(
            f"{place}: {path!r:.80} has a query. A query parameter that takes the id is given as "
            "id_parameter; others cannot be declared."
        )
    parts = path.split("/")
    if not _PATH.fullmatch(path) or "." in parts or ".." in parts:
        raise ConfigurationError(
            f"{place}: {path!r:.80} is not the path of an operation, such as "
            "/api/v1/shortFilm/start: it begins with a slash, and has only letters, digits and "
            "_-.~ between slashes."
        )
    words = _WORD.findall(path)
    plain = (re.sub(r"[^a-z0-9]", "", part) for part in path.lower().split("/"))
    if any(map(_ADULT.search, plain)) or any(
        word.lower().startswith(_ADULT_WORDS) for word in words
    ):
        raise ConfigurationError(
            f"{place}: {path!r:.80} is an operation for adult content; this package does not "
            "offer those."
        )


def _check_inputs(kind: "TaskKind[..., Any]", prefix: str) -> None:
    given: Any = kind.input
    wire_names = {*_WEBHOOK_INPUTS}
    if kind.name_field is not None:
        _check_name(kind.name_field, f"{prefix}name_field")
        wire_names.add(kind.name_field)
    cls: type[TaskInput] | None = None
    if given is not None:
        if not (isinstance(given, type) and issubclass(given, TaskInput)):
            raise ConfigurationError(f"{prefix}input must be a subclass of TaskInput, or None.")
        cls = given
        if "__attrs_attrs__" not in vars(cls):
            raise ConfigurationError(f"{prefix}{cls.__name__} must be decorated with attrs.define.")
        if kind.media:
            raise ConfigurationError(
                f"{prefix}media is for kinds without an input class; declare media in "
                f"{cls.__name__}, as Annotated[MediaInput, AcceptedMedia(…)]."
            )
        for f in input_fields(cls):
            if not f.common:
                _check_name(f.wire_name, f"{prefix}{cls.__name__}.{f.name}")
                wire_names.add(f.wire_name)
        check_constants(cls.constant_fields, f"{prefix}{cls.__name__}.constant_fields")
    check_media(kind.media, f"{prefix}media")
    wire_names.update(kind.media)
    check_constants(kind.constant_fields, f"{prefix}constant_fields")
    for name in kind.constant_fields:
        if name in wire_names:
            raise ConfigurationError(
                f"{prefix}constant_fields: {name} is an input as well; remove one of them."
            )
    if kind.count_input is not None:
        _check_name(kind.count_input, f"{prefix}count_input")
        if cls is not None and kind.count_input not in {f.name for f in input_fields(cls)}:
            raise ConfigurationError(
                f"{prefix}count_input: {cls.__name__} has no input {kind.count_input!r:.40}."
            )


def check_media(media: Any, place: str) -> None:
    """Raise `ConfigurationError` for a mapping of media inputs that cannot be used."""
    if not is_mapping(media):
        raise ConfigurationError(f"{place} must be a mapping such as {{'image_urls': 'image'}}.")
    for name, types in media.items():
        _check_name(name, place)
        if name in COMMON_NAMES:
            raise ConfigurationError(f"{place}: {name} is an input of every kind.")
        several = is_sequence(types) and types
        for one in types if several else (types,):
            check_media_type(one, f"{place}: {name}")


def check_media_type(given: Any, place: str) -> None:
    """Raise `ConfigurationError` for anything but video, audio, image or file."""
    if not isinstance(given, str) or given not in _MEDIA_TYPES:
        raise ConfigurationError(
            f"{place} must be one of {', '.join(_MEDIA_TYPES)}, or several of them, "
            f"not {given!r:.40}."
        )


def check_constants(constants: Any, place: str) -> None:
    """Raise `ConfigurationError` for constant fields that are no JSON, or that are not sent."""
    if not is_mapping(constants):
        raise ConfigurationError(f"{place} must be a mapping of names to JSON values.")
    for name, value in constants.items():
        # The only value that leaves this check of the service on; its own default may be off.
        if name == FORCED_GENERATION and value is False:
            continue
        _check_name(name, place)
        if name in COMMON_NAMES - {"name"} or name in _WEBHOOK_INPUTS:
            raise ConfigurationError(f"{place}: {name} cannot be the same for every start.")
        try:
            guarded_json(name, value)
        except InvalidInput as error:
            raise ConfigurationError(f"{place}: {error}") from None


def _check_record(kind: "TaskKind[..., Any]", prefix: str) -> None:
    record: Any = kind.record
    if not (isinstance(record, type) and issubclass(record, Record)):
        raise ConfigurationError(f"{prefix}record must be a subclass of Record.")
    outputs: Any = kind.outputs
    if not is_sequence(outputs):
        raise ConfigurationError(
            f"{prefix}outputs must be a tuple such as (OutputField('result_url', 'video'),)."
        )
    for output in outputs:
        if not isinstance(output, OutputField) or not _is_text(output.field):
            raise ConfigurationError(f"{prefix}outputs: {output!r:.60} is not an OutputField.")
        check_media_type(output.media, f"{prefix}outputs: {output.field}")
    for name in ("failure_message_fields", "failure_code_fields"):
        _check_texts(getattr(kind, name), f"{prefix}{name}")
    check_statuses(kind.statuses, f"{prefix}statuses")
    check_paging(kind.paging, f"{prefix}paging")


def check_statuses(statuses: Any, place: str) -> None:
    """Raise `ConfigurationError` for a status vocabulary that contradicts itself."""
    if not isinstance(statuses, StatusVocabulary):
        raise ConfigurationError(f"{place} must be a StatusVocabulary, not {statuses!r:.60}.")
    if not _is_text(statuses.field):
        raise ConfigurationError(f"{place}: field must be the name of the status field.")
    for name in ("completion_field", "progress_field"):
        value: Any = getattr(statuses, name)
        if value is not None and not _is_text(value):
            raise ConfigurationError(f"{place}: {name} must be the name of a field, or None.")
    full: Any = statuses.progress_max
    if not _is_number(full) or not 0 < full < math.inf:
        raise ConfigurationError(f"{place}: progress_max must be a number above 0.")
    _check_texts(statuses.fallback_fields, f"{place}: fallback_fields")
    seen: dict[str, str] = {}
    for name in ("queued", "running", "succeeded", "failed"):
        words: frozenset[str] = getattr(statuses, name)
        if not _are_words(words):
            raise ConfigurationError(f"{place}: {name} must be a frozenset of status words.")
        for word in words:
            if (other := seen.setdefault(word.strip().lower(), name)) != name:
                raise ConfigurationError(f"{place}: {word!r:.40} is both {other} and {name}.")
    if not statuses.succeeded or not statuses.failed:
        raise ConfigurationError(
            f"{place}: succeeded and failed each need at least one word: a wait would never end."
        )


def check_paging(paging: Any, place: str) -> None:
    """Raise `ConfigurationError` for paging that cannot be used."""
    if paging is None:
        return
    if not isinstance(paging, ListPaging):
        raise ConfigurationError(f"{place} must be a ListPaging or None, not {paging!r:.60}.")
    _check_name(paging.page_parameter, f"{place}: page_parameter")
    _check_name(paging.size_parameter, f"{place}: size_parameter")
    _check_whole(paging.max_size, 1, f"{place}: max_size")
    _check_texts(paging.status_filters, f"{place}: status_filters")


def _check_numbers(kind: "TaskKind[..., Any]", prefix: str) -> None:
    _check_whole(kind.max_batch_size, 1, f"{prefix}max_batch_size")
    _check_whole(kind.max_name_length, 1, f"{prefix}max_name_length")
    timeout: Any = kind.default_timeout
    if not _is_number(timeout) or timeout <= 0:
        raise ConfigurationError(f"{prefix}default_timeout must be a number of seconds above 0.")
    usual: Any = kind.typical_duration
    if usual is not None and not (
        is_sequence(usual)
        and len(usual) == 2
        and all(map(_is_number, usual))
        and 0 <= usual[0] <= usual[1] < math.inf
    ):
        raise ConfigurationError(
            f"{prefix}typical_duration must be two numbers of seconds, the shorter first."
        )
    for name in ("unreliable_detail", "accepts_webhook", "tested_live"):
        if not isinstance(getattr(kind, name), bool):
            raise ConfigurationError(f"{prefix}{name} must be True or False.")
    for name in ("summary", "start_doc"):
        if not isinstance(getattr(kind, name), str):
            raise ConfigurationError(f"{prefix}{name} must be text.")


def _check_name(name: Any, place: str) -> None:
    """Raise `ConfigurationError` for a name that is not sent to the service."""
    try:
        check_field_name(place, name)
    except InvalidInput as error:
        raise ConfigurationError(str(error)) from None


def _check_texts(given: Any, place: str) -> None:
    if not is_sequence(given) or not all(map(_is_text, given)):
        raise ConfigurationError(f"{place} must be a tuple of names.")


def _check_whole(given: Any, low: int, place: str) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < low:
        raise ConfigurationError(f"{place} must be a whole number of at least {low}.")


def _are_words(given: Any) -> bool:
    words: frozenset[Any] = given
    return isinstance(given, frozenset) and all(map(_is_text, words))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # an int that no float can hold
        return False
