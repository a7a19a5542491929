"""The kinds that these tests declare, and one TOML file with each of the package's own kinds."""

from typing import Annotated, Any, Final

from attrs import define, fields

from a2e_async.kinds import (
    AcceptedMedia,
    Endpoint,
    FieldDoc,
    ListPaging,
    MediaInput,
    OutputField,
    Range,
    StatusVocabulary,
    TaskInput,
    TaskKind,
    WireName,
)
from a2e_async.models import Record

FILM: Final = TaskKind(
    name="short_film",
    summary="A short film",
    start=Endpoint("POST", "/api/v1/shortFilm/start"),
    detail=Endpoint("GET", "/api/v1/shortFilm/{id}"),
    list=Endpoint("GET", "/api/v1/shortFilm/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/shortFilm/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/shortFilm/{id}"),
    outputs=(OutputField("result_url", "video"), OutputField("cover_url", "image")),
    media={"image_urls": "image", "clip": ("audio", "video")},
    constant_fields={"engine": {"name": "film", "level": 2}},
    typical_duration=(20, 60),
)


@define(kw_only=True)
class PosterInput(TaskInput):
    """Inputs of a poster."""

    text: Annotated[str, FieldDoc("The text on the poster.")]
    background: Annotated[MediaInput | None, WireName("background_url"), AcceptedMedia("image")] = (
        None
    )
    size: Annotated[int | None, Range(1, 4)] = None
    count: int | None = None


@define(kw_only=True)
class PosterRecord(Record):
    """A poster."""

    text: str | None = None


POSTER: Final = TaskKind(
    name="poster",
    input=PosterInput,
    record=PosterRecord,
    start=Endpoint("POST", "/api/v1/poster/make"),
    detail=Endpoint("GET", "/api/v1/poster/status", id_parameter="poster_id"),
    list=Endpoint("GET", "/api/v1/poster/all"),
    paging=ListPaging(page_parameter="page", size_parameter="limit", max_size=20),
    delete=Endpoint("POST", "/api/v1/poster/remove"),
    rename=Endpoint("PUT", "/api/v1/poster/{id}"),
    statuses=StatusVocabulary(
        field="state",
        queued=frozenset({"waiting"}),
        running=frozenset({"drawing"}),
        succeeded=frozenset({"done"}),
        failed=frozenset({"broken"}),
        progress_field="percent",
    ),
    outputs=(OutputField("picture", "image"),),
    failure_message_fields=("why",),
    name_field="title",
    count_input="count",
)

ECHO: Final = TaskKind(
    name="echo_list",
    start=Endpoint("POST", "/api/v1/echo/start"),
    list=Endpoint("GET", "/api/v1/echo/list"),
    processing_list=Endpoint("GET", "/api/v1/echo/running"),
    retry=Endpoint("POST", "/api/v1/echo/retry"),
    paging=None,
    outputs=(OutputField("result_url", "audio"),),
    media={"sound": "audio"},
)

OWN: Final = (FILM, POSTER, ECHO)


def to_toml(name: str, kind: TaskKind[..., Any], media: dict[str, Any]) -> str:
    """Return a kind as the table of a TOML file, without its classes."""
    lines = [f"[{name}]"]
    for field in ("start", "detail", "detail_fallback", "list", "processing_list", "batch_detail"):
        lines += _endpoint(field, getattr(kind, field))
    for field in ("delete", "rename", "retry", "recovery_lists"):
        lines += _endpoint(field, getattr(kind, field))
    lines.append(f"summary = {_value(kind.summary)}")
    lines.append(f"name_field = {_value(kind.name_field or False)}")
    for field in ("max_name_length", "max_batch_size", "default_timeout"):
        lines.append(f"{field} = {getattr(kind, field)}")
    for field in ("unreliable_detail", "accepts_webhook", "tested_live"):
        lines.append(f"{field} = {_value(getattr(kind, field))}")
    for field in ("failure_message_fields", "failure_code_fields"):
        lines.append(f"{field} = {_value(list(getattr(kind, field)))}")
    if kind.typical_duration:
        lines.append(f"typical_duration = {list(kind.typical_duration)}")
    if kind.paging is None:
        lines.append("paging = false")
    else:
        lines += [f"[{name}.paging]", *_fields(kind.paging)]
    lines += [f"[{name}.statuses]", *_fields(kind.statuses)]
    lines.append(f"[{name}.outputs]")
    lines += [f"{_value(output.field)} = {_value(output.media)}" for output in kind.outputs]
    lines.append(f"[{name}.media]")
    lines += [f"{_value(key)} = {_value(list(types))}" for key, types in media.items()]
    constants = kind.constant_fields
    if kind.input is not None:
        constants = {**getattr(kind.input, "constant_fields", {}), **constants}
    lines.append(f"[{name}.constant_fields]")
    lines += [f"{_value(key)} = {_value(value)}" for key, value in constants.items()]
    return "\n".join(lines) + "\n"


def _endpoint(field: str, endpoint: Endpoint | None) -> list[str]:
    if endpoint is None:
        return []
    query = f"?{endpoint.id_parameter}={{id}}" if endpoint.id_parameter else ""
    return [f'{field} = "{endpoint.method} {endpoint.path}{query}"']


def _fields(table: Any) -> list[str]:
    values = {f.name: getattr(table, f.name) for f in fields(type(table))}
    return [f"{name} = {_value(value)}" for name, value in values.items() if value is not None]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset):
        return f"[{', '.join(sorted(map(_value, value)))}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)
