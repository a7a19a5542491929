"""Kinds of the user's own in a TOML file, one table each.

    [short_film]
    start = "POST /api/v1/shortFilm/start"
    detail = "GET /api/v1/shortFilm/{id}"
    outputs = { result_url = "video" }
    media = { image_urls = "image" }

The keys are the fields of `TaskKind`; the inputs are untyped.
"""

import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from a2e_async._core.paths import local_path
from a2e_async._core.tasks.kind import (
    Endpoint,
    ListPaging,
    OutputField,
    StatusVocabulary,
    TaskKind,
)
from a2e_async._core.tasks.kind_rules import METHODS, check_kind
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.errors import ConfigurationError, InvalidInput
from a2e_async.kinds.registry import check_name
from a2e_async.models import Record

MAX_FILE_BYTES: Final = 1_000_000
"""Largest file that is read; a kind takes about 500 bytes."""

_PYTHON_ONLY: Final = frozenset({"input", "record", "expected_tasks"})


def load_kinds(path: str | os.PathLike[str]) -> tuple[TaskKind[..., Record], ...]:
    """Return the kinds that a TOML file declares, in its order.

    Raises `ConfigurationError`, which names the file and the key.
    """
    try:
        file = local_path(path, "kinds")
        content = _content(file)
    except (InvalidInput, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = reason.removeprefix("kinds: ").removesuffix(".")
        raise ConfigurationError(f"kinds: {str(path)!r:.200} cannot be read: {reason}.") from None
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:  # also UnicodeDecodeError
        raise ConfigurationError(f"{file}: this is not TOML in UTF-8: {error}.") from None
    except RecursionError:
        raise ConfigurationError(f"{file}: values are nested too deeply.") from None
    return tuple(_kind(file, name, table) for name, table in document.items())


def _content(file: Path) -> bytes:
    # Opening a named pipe waits for a writer; devices such as /dev/zero have no end.
    status = file.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError("it is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise OSError(f"it has more than {MAX_FILE_BYTES:,} bytes")
    return file.read_bytes()


def _kind(file: Path, name: str, table: Any) -> TaskKind[..., Record]:
    place = f"{file}: {_shown(name)}"
    if not is_mapping(table):
        raise ConfigurationError(
            f"{place}: the file must consist of one table for each kind, such as [short_film]."
        )
    if only := sorted(_PYTHON_ONLY & table.keys()):
        raise ConfigurationError(
            f"{place}.{only[0]}: this can be declared in Python only, as a TaskKind."
        )
    _check_keys(table, READERS, place)
    if "start" not in table:
        raise ConfigurationError(
            f'{place}.start: is required, such as start = "POST /api/v1/shortFilm/start".'
        )
    values = {key: READERS[key](value, f"{place}.{key}") for key, value in table.items()}
    kind: TaskKind[..., Record] = TaskKind(name=name, **values)
    check_kind(kind, f"{place}.")
    check_name(name, (), place)
    return kind


def _check_keys(table: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    names = list(known)
    for key in table:
        if key not in names:
            close = get_close_matches(key, names, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(names)}."
            raise ConfigurationError(f"{place}.{_shown(key)}: there is no such key. {hint}")


def _shown(key: str) -> str:
    """Return a key as it is written in the file; long ones are cut, line breaks are escaped."""
    return key if len(key) <= 60 and key.isprintable() else f"{key!r:.60}"


# -- readers: each returns the value of a key, or raises with its place --------------------------


def _endpoint(value: Any, place: str) -> Endpoint:
    if is_mapping(value):
        _check_keys(value, ("method", "path", "id_parameter"), place)
        given = {key: _text(one, f"{place}.{key}") for key, one in value.items()}
        if missing := [key for key in ("method", "path") if key not in given]:
            raise ConfigurationError(f"{place}.{missing[0]}: is required.")
        return Endpoint(given["method"], given["path"], given.get("id_parameter"))
    method, space, path = _text(value, place).strip().partition(" ")
    if not space:
        raise ConfigurationError(
            f'{place}: give the method and the path, such as "GET /api/v1/shortFilm/{{id}}".'
        )
    path, question, query = path.strip().partition("?")
    parameter, equals, id = query.partition("=")
    if not question:
        return Endpoint(method, path)
    if not (parameter and equals and id == "{id}"):
        raise ConfigurationError(
            f"{place}: the query can only take the id, as in "
            '"GET /api/v1/shortFilm/detail?film_id={id}".'
        )
    return Endpoint(method, path, parameter)


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{place}: must be text.")
    return value


def _text_or_none(value: Any, place: str) -> str | None:
    if value is False:
        return None
    if not isinstance(value, str):
        raise ConfigurationError(f"{place}: must be text, or false if there is none.")
    return value


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{place}: must be true or false.")
    return value


def _whole(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError(f"{place}: must be a whole number.")
    return value


def _number(value: Any, place: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigurationError(f"{place}: must be a number.")
    return value


def _numbers(value: Any, place: str) -> tuple[float, ...]:
    if not is_list(value):
        raise ConfigurationError(f"{place}: must be a list of numbers.")
    return tuple(_number(one, place) for one in value)


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if not is_list(value):
        raise ConfigurationError(f"{place}: must be a list of texts.")
    return tuple(_text(one, place) for one in value)


def _words(value: Any, place: str) -> frozenset[str]:
    return frozenset(_texts(value, place))


def _table(value: Any, place: str) -> dict[str, Any]:
    if not is_mapping(value):
        raise ConfigurationError(f"{place}: must be a table.")
    return dict(value)


def _outputs(value: Any, place: str) -> tuple[OutputField, ...]:
    media: dict[str, Any] = {
        name: _text(one, f"{place}.{name}") for name, one in _table(value, place).items()
    }
    return tuple(OutputField(name, one) for name, one in media.items())


def _media(value: Any, place: str) -> dict[str, Any]:
    return {
        name: _texts(one, f"{place}.{name}") if is_list(one) else _text(one, f"{place}.{name}")
        for name, one in _table(value, place).items()
    }


def _paging(value: Any, place: str) -> ListPaging | None:
    if value is False:
        return None
    if not is_mapping(value):
        raise ConfigurationError(f"{place}: must be a table, or false for a list without pages.")
    return ListPaging(**_read(value, _PAGING_READERS, place))


def _statuses(value: Any, place: str) -> StatusVocabulary:
    return StatusVocabulary(**_read(_table(value, place), _STATUS_READERS, place))


Reader = Callable[[Any, str], Any]


def _read(table: Mapping[str, Any], readers: Mapping[str, Reader], place: str) -> dict[str, Any]:
    _check_keys(table, readers, place)
    return {key: readers[key](value, f"{place}.{key}") for key, value in table.items()}


_PAGING_READERS: Final[Mapping[str, Reader]] = {
    "page_parameter": _text,
    "size_parameter": _text,
    "max_size": _whole,
    "status_filters": _texts,
}

_STATUS_READERS: Final[Mapping[str, Reader]] = {
    "field": _text,
    "fallback_fields": _texts,
    "completion_field": _text,
    "queued": _words,
    "running": _words,
    "succeeded": _words,
    "failed": _words,
    "progress_field": _text,
    "progress_max": _number,
}

_OTHER_READERS: Final[Mapping[str, Reader]] = {
    "summary": _text,
    "start_doc": _text,
    "unreliable_detail": _flag,
    "accepts_webhook": _flag,
    "paging": _paging,
    "max_batch_size": _whole,
    "statuses": _statuses,
    "outputs": _outputs,
    "failure_message_fields": _texts,
    "failure_code_fields": _texts,
    "name_field": _text_or_none,
    "max_name_length": _whole,
    "media": _media,
    "constant_fields": _table,
    "count_input": _text,
    "default_timeout": _number,
    "typical_duration": _numbers,
    "tested_live": _flag,
}

READERS: Final[Mapping[str, Reader]] = dict.fromkeys(METHODS, _endpoint) | dict(_OTHER_READERS)
